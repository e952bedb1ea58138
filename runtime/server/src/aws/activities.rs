//! Activities and the long poll of their workers. Wire types of these calls, AWS JSON 1.0.

use serde::Serialize;
use stepwell_query::Value;

use super::{
    fault::Fault,
    operation::Call,
    settings, tags,
    wire::{Nothing, Seconds, Text, json, page},
};
use crate::limits::ACTIVITY_POLL_TIME;

pub(super) async fn create(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        activity_arn: &'a str,
        creation_date: Seconds,
    }
    let encryption = settings::take_encryption(&mut call.input)?
        // With the default and without the block is the same request.
        .filter(|block| *block != settings::default_encryption());
    let name = call.input.required("name");
    let tags = tags::take(&mut call.input);
    let activity = call
        .state
        .engine
        .create_activity(&call.caller, &name, encryption, tags)
        .await?;
    json(&Answer {
        activity_arn: &activity.arn,
        creation_date: Seconds(activity.created_at.0),
    })
}

pub(super) async fn describe(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        activity_arn: &'a str,
        name: &'a str,
        creation_date: Seconds,
        encryption_configuration: Value,
    }
    let activity = call
        .state
        .engine
        .activity(&call.caller, &call.input.required("activityArn"))
        .await?;
    json(&Answer {
        activity_arn: &activity.arn,
        name: &activity.name,
        creation_date: Seconds(activity.created_at.0),
        encryption_configuration: activity
            .encryption
            .clone()
            .unwrap_or_else(settings::default_encryption),
    })
}

pub(super) async fn list(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Item<'a> {
        activity_arn: &'a str,
        name: &'a str,
        creation_date: Seconds,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        activities: Vec<Item<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<&'a str>,
    }
    let found = call
        .state
        .engine
        .activities(&call.caller, page(&mut call.input))
        .await?;
    let activities = found.items.iter().map(|activity| Item {
        activity_arn: &activity.arn,
        name: &activity.name,
        creation_date: Seconds(activity.created_at.0),
    });
    json(&Answer {
        activities: activities.collect(),
        next_token: found.next_token.as_deref(),
    })
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    call.state
        .engine
        .delete_activity(&call.caller, &call.input.required("activityArn"))
        .await?;
    json(&Nothing {})
}

/// Waits for a task up to a minute; ends at once, without one, when the server shuts down.
pub(super) async fn get_task(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    /// The one answer with a null: what the service sends when no task came.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        task_token: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        input: Option<Text<'a>>,
    }
    let (arn, worker) = (
        call.input.required("activityArn"),
        call.input.text("workerName"),
    );
    let engine = &call.state.engine;
    let task = tokio::select! {
        // A task that is ready when the shutdown comes is handed out: its start is committed.
        biased;
        task = engine.activity_task(&call.caller, &arn, worker, ACTIVITY_POLL_TIME) => task?,
        () = call.state.draining() => None,
    };
    match &task {
        Some(task) => json(&Answer {
            task_token: Some(&task.token),
            input: Some(Text(&task.input)),
        }),
        None => json(&Answer {
            task_token: None,
            input: None,
        }),
    }
}
