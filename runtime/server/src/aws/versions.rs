//! Versions of state machines: publish, list, delete. Wire types of these calls, AWS JSON 1.0.

use serde::Serialize;

use super::{
    fault::Fault,
    operation::Call,
    wire::{Nothing, Seconds, json, page},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    state_machine_version_arn: &'a str,
    creation_date: Seconds,
}

pub(super) async fn publish(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let input = &mut call.input;
    let arn = input.required("stateMachineArn");
    let (revision_id, description) = (input.text("revisionId"), input.text("description"));
    let version = call
        .state
        .engine
        .publish_version(&call.caller, &arn, revision_id.as_deref(), description)
        .await?;
    json(&Item {
        state_machine_version_arn: &version.arn,
        creation_date: Seconds(version.created_at.0),
    })
}

pub(super) async fn list(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        state_machine_versions: Vec<Item<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<&'a str>,
    }
    let arn = call.input.required("stateMachineArn");
    let page = page(&mut call.input);
    let found = call.state.engine.versions(&call.caller, &arn, page).await?;
    let items = found.items.iter().map(|version| Item {
        state_machine_version_arn: &version.arn,
        creation_date: Seconds(version.created_at.0),
    });
    json(&Answer {
        state_machine_versions: items.collect(),
        next_token: found.next_token.as_deref(),
    })
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let arn = call.input.required("stateMachineVersionArn");
    call.state.engine.delete_version(&call.caller, &arn).await?;
    json(&Nothing {})
}
