//! Groups of schedules and their tags. Wire types, REST JSON.

use serde::{Deserialize, Serialize};
use serde_json::json as object;
use stepwell_engine::ScheduleGroup;

use super::{Answer, Call, Fault, json};
use crate::aws::Seconds;

/// Wire form of a tag.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

/// Wire form of what brings tags.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Tagged {
    client_token: Option<String>,
    tags: Vec<Tag>,
}

/// Wire form of a group.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Group {
    arn: String,
    name: String,
    state: &'static str,
    creation_date: Seconds,
    last_modification_date: Seconds,
}

impl From<ScheduleGroup> for Group {
    fn from(group: ScheduleGroup) -> Group {
        Group {
            arn: group.arn,
            name: group.name,
            state: if group.deleting { "DELETING" } else { "ACTIVE" },
            creation_date: Seconds(group.created_at.0),
            last_modification_date: Seconds(group.modified_at.0),
        }
    }
}

fn pairs(tags: Vec<Tag>) -> Vec<(String, String)> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

pub(super) async fn create(call: Call<'_>) -> Result<Answer, Fault> {
    let input: Tagged = call.input()?;
    let engine = &call.state.engine;
    let made = engine.create_schedule_group(
        &call.caller,
        call.named(),
        pairs(input.tags),
        input.client_token,
    );
    json(&object!({"ScheduleGroupArn": made.await?}))
}

pub(super) async fn get(call: Call<'_>) -> Result<Answer, Fault> {
    let engine = &call.state.engine;
    let found = engine.schedule_group(&call.caller, call.named()).await?;
    json(&Group::from(found))
}

pub(super) async fn delete(call: Call<'_>) -> Result<Answer, Fault> {
    let engine = &call.state.engine;
    engine
        .delete_schedule_group(&call.caller, call.named())
        .await?;
    json(&object!({}))
}

pub(super) async fn list(call: Call<'_>) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        schedule_groups: Vec<Group>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    let prefix = call.route.query.get("NamePrefix").unwrap_or_default();
    let engine = &call.state.engine;
    let found = engine.schedule_groups(&call.caller, prefix, call.page()?);
    let found = found.await?;
    json(&Listed {
        schedule_groups: found.items.into_iter().map(Group::from).collect(),
        next_token: found.next_token,
    })
}

pub(super) async fn tags(call: Call<'_>) -> Result<Answer, Fault> {
    let engine = &call.state.engine;
    let tags = engine
        .schedule_group_tags(&call.caller, call.named())
        .await?;
    let tags: Vec<Tag> = tags
        .into_iter()
        .map(|(key, value)| Tag { key, value })
        .collect();
    json(&object!({"Tags": tags}))
}

pub(super) async fn tag(call: Call<'_>) -> Result<Answer, Fault> {
    let input: Tagged = call.input()?;
    let engine = &call.state.engine;
    engine
        .tag_schedule_group(&call.caller, call.named(), pairs(input.tags), &[])
        .await?;
    json(&object!({}))
}

pub(super) async fn untag(call: Call<'_>) -> Result<Answer, Fault> {
    let keys = call.route.query.all("TagKeys");
    let engine = &call.state.engine;
    engine
        .tag_schedule_group(&call.caller, call.named(), Vec::new(), &keys)
        .await?;
    json(&object!({}))
}
