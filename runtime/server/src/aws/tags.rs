//! Tags of state machines and activities. Wire types of these calls, AWS JSON 1.0.

use serde::Serialize;
use stepwell_engine::{Code, Error};

use super::{
    fault::Fault,
    input::{Fields, Wire},
    operation::Call,
    wire::json,
};

/// Takes the member `tags`: keys and values in the order given.
pub(super) fn take(input: &mut Fields<'_>) -> Vec<(String, String)> {
    let pair = |item| match item {
        Wire::Structure(mut tag) => Some((tag.text("key")?, tag.text("value").unwrap_or_default())),
        Wire::Text(_) | Wire::Number(_) | Wire::Boolean(_) | Wire::List(_) => None,
    };
    input
        .list("tags")
        .unwrap_or_default()
        .into_iter()
        .filter_map(pair)
        .collect()
}

pub(super) async fn list(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    struct Tag<'a> {
        key: &'a str,
        value: &'a str,
    }
    #[derive(Serialize)]
    struct Answer<'a> {
        tags: Vec<Tag<'a>>,
    }
    let arn = call.input.required("resourceArn");
    // The sixth part of an ARN is the type of its resource.
    let tags = match arn.split(':').nth(5) {
        Some("activity") => call
            .state
            .engine
            .activity(&call.caller, &arn)
            .await
            .map(|activity| activity.tags),
        Some(_) | None => call
            .state
            .engine
            .machine(&call.caller, &arn)
            .await
            .map(|machine| machine.tags),
    };
    let tags = tags.map_err(missing_resource)?;
    json(&Answer {
        tags: tags.iter().map(|(key, value)| Tag { key, value }).collect(),
    })
}

/// Tagging has one error for whatever is not there.
fn missing_resource(error: Error) -> Fault {
    match error {
        Error::Rejected {
            code: Code::StateMachineDoesNotExist | Code::ActivityDoesNotExist,
            ..
        } => Fault::refused(
            "ResourceNotFound",
            "Request references a resource that does not exist.",
        ),
        error => error.into(),
    }
}
