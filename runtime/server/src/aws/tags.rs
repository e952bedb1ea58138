//! Tags of state machines and activities. Wire types of these calls, AWS JSON 1.0.

use serde::Serialize;

use super::{
    fault::Fault,
    input::{Fields, Wire},
    operation::Call,
    wire::{Nothing, json},
};

/// Takes the member `tags`: keys and values in the order given.
pub(super) fn take(input: &mut Fields<'_>) -> Vec<(String, String)> {
    let pair = |item| match item {
        Wire::Structure(mut tag) => {
            let key = tag.text("key").unwrap_or_default();
            Some((key, tag.text("value").unwrap_or_default()))
        }
        Wire::Text(_) | Wire::Number(_) | Wire::Fraction(_) | Wire::Boolean(_) | Wire::List(_) => {
            None
        }
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
    let tags = call.state.engine.tags(&call.caller, &arn).await?;
    json(&Answer {
        tags: tags.iter().map(|(key, value)| Tag { key, value }).collect(),
    })
}

pub(super) async fn add(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let arn = call.input.required("resourceArn");
    let tags = take(&mut call.input);
    call.state.engine.tag(&call.caller, &arn, tags).await?;
    json(&Nothing {})
}

pub(super) async fn remove(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let arn = call.input.required("resourceArn");
    let text = |item| match item {
        Wire::Text(key) => Some(key.into_owned()),
        Wire::Structure(_)
        | Wire::Number(_)
        | Wire::Fraction(_)
        | Wire::Boolean(_)
        | Wire::List(_) => None,
    };
    let keys = call.input.list("tagKeys").unwrap_or_default();
    let keys: Vec<String> = keys.into_iter().filter_map(text).collect();
    call.state.engine.untag(&call.caller, &arn, &keys).await?;
    json(&Nothing {})
}
