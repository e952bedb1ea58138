//! CloudWatch Logs, as far as tools need it that make a log group before the state machine that is to log to it: groups, their
//! retention and tags are kept and given back. AWS JSON 1.1. What it hides: the calls. Lines are not kept by group: all go to
//! `logs/executions.jsonl`, whose `log_group` names it, and retention is the operator's.
//!
//! Source: the API reference of CloudWatch Logs (2014-03-28). Texts of errors are those that its clients are known to meet.

use std::collections::BTreeMap;

use axum::{body::Body, http::request::Parts};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use stepwell_engine::{Caller, CompanionError, CompanionKind, Engine, PageRequest};

use super::{Fault, accepted_type, body_bytes_max, caller, read_body};
use crate::{
    auth::{CHANGE, Identity, LOOK, Permit, now_s},
    objects,
    serve::ServerState,
};

/// Before the operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "Logs_20140328.";
const KIND: CompanionKind = CompanionKind::LogGroup;
const NAME_CHARS_MAX: usize = 512;
const TAGS_MAX: usize = 50;
/// Groups of a page (`limit`).
const GROUPS_MAX: u32 = 50;
/// Days that logs may be kept for (PutRetentionPolicy).
const RETENTION_DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// Stored form, codec v1: fields are only added, with a default.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogGroup {
    name: String,
    arn: String,
    created_ms: i64,
    class: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// Members of all calls.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Input {
    log_group_name: Option<String>,
    log_group_name_prefix: Option<String>,
    log_group_class: Option<String>,
    kms_key_id: Option<String>,
    retention_in_days: Option<u32>,
    limit: Option<u32>,
    next_token: Option<String>,
    resource_arn: Option<String>,
    tag_keys: Vec<String>,
    /// Tags to add, or the keys of those to remove.
    tags: Value,
}

/// Whether a target is one of this service.
pub(super) fn is_its(target: &str) -> bool {
    target.starts_with(TARGET_PREFIX)
}

/// Answers one call.
pub(super) async fn answer(
    state: &ServerState,
    target: &str,
    parts: &Parts,
    body: Body,
    request_id: &str,
) -> Result<Vec<u8>, Fault> {
    accepted_type(&parts.headers)?;
    let mut place = state.body_place(parts);
    let body_max = body_bytes_max(false);
    let body = read_body(body, &parts.headers, body_max, &mut place).await?;
    let input: Input = objects::read(&body).map_err(|error| Fault::unreadable(&error))?;
    let operation = target.strip_prefix(TARGET_PREFIX).unwrap_or_default();
    let identity = parts.extensions.get::<Identity>();
    let caller = caller(&state.config, &parts.headers, identity);
    let permit = match identity {
        Some(identity) => {
            let looks = operation.starts_with("Describe") || operation.starts_with("List");
            let right = if looks { LOOK } else { CHANGE };
            let action = format!("logs:{operation}");
            let named = input
                .log_group_name
                .as_ref()
                .or(input.resource_arn.as_ref());
            let about = named.map_or("", String::as_str);
            Some(Permit::ask_for(state, identity, &action, right, about, request_id).await?)
        }
        None => None,
    };
    let call = Call {
        engine: &state.engine,
        caller: &caller,
        input: &input,
    };
    let served = call.serve(operation, target).await;
    if let (Some(permit), Err(fault)) = (permit, &served) {
        permit.failed(fault.code()).await?;
    }
    // An answer without members has no body at all.
    Ok(served?.map_or_else(Vec::new, |answer| answer.to_string().into_bytes()))
}

struct Call<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    input: &'a Input,
}

impl Call<'_> {
    async fn serve(&self, operation: &str, target: &str) -> Result<Option<Value>, Fault> {
        match operation {
            "CreateLogGroup" => self.create().await?,
            "DescribeLogGroups" => return self.describe().await.map(Some),
            "DeleteLogGroup" => {
                let name = self.name()?;
                let removed = self.engine.remove_companion(self.caller, KIND, name).await;
                removed.map_err(unwritten)?;
            }
            "PutRetentionPolicy" => {
                let days = self.input.retention_in_days.unwrap_or(0);
                if !RETENTION_DAYS.contains(&days) {
                    return Err(invalid(format!(
                        "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: {:?}",
                        RETENTION_DAYS
                    )));
                }
                self.change(self.name()?, |group| group.retention_days = Some(days))
                    .await?;
            }
            "DeleteRetentionPolicy" => {
                self.change(self.name()?, |group| group.retention_days = None)
                    .await?;
            }
            "TagResource" | "TagLogGroup" => self.tag().await?,
            "UntagResource" | "UntagLogGroup" => self.untag().await?,
            "ListTagsForResource" | "ListTagsLogGroup" => {
                let group = self.stored(self.resource()?).await?;
                return Ok(Some(json!({"tags": group.tags})));
            }
            // None is kept: what may write here is the server alone.
            "DescribeResourcePolicies" => return Ok(Some(json!({"resourcePolicies": []}))),
            "DescribeIndexPolicies" => return Ok(Some(json!({"indexPolicies": []}))),
            _ => return Err(Fault::unknown_operation(target)),
        }
        Ok(None)
    }

    async fn create(&self) -> Result<(), Fault> {
        let name = self.name()?;
        let (region, account) = (&self.caller.region, &self.caller.tenant);
        let class = self.input.log_group_class.as_deref().unwrap_or("STANDARD");
        if !["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"].contains(&class) {
            return Err(invalid(format!("`{class}` is no class of log groups")));
        }
        let group = LogGroup {
            name: name.to_owned(),
            arn: format!("arn:aws:logs:{region}:{account}:log-group:{name}"),
            created_ms: now_s().saturating_mul(1_000),
            class: class.to_owned(),
            retention_days: None,
            key: self.input.kms_key_id.clone(),
            tags: self.tags()?,
        };
        let added = self
            .engine
            .add_companion(self.caller, KIND, name, &group)
            .await;
        added.map_err(unwritten)
    }

    async fn describe(&self) -> Result<Value, Fault> {
        let size = self.input.limit.unwrap_or(GROUPS_MAX);
        if !(1..=GROUPS_MAX).contains(&size) {
            return Err(invalid(format!("limit must be from 1 to {GROUPS_MAX}")));
        }
        let page = PageRequest {
            max_results: size,
            next_token: self.input.next_token.clone(),
        };
        let prefix = self
            .input
            .log_group_name_prefix
            .as_deref()
            .unwrap_or_default();
        let found = self
            .engine
            .companions::<LogGroup>(self.caller, KIND, prefix, page)
            .await?;
        let groups: Vec<Value> = found.items.iter().map(LogGroup::shown).collect();
        let mut answer = json!({"logGroups": groups});
        if let Some(next) = found.next_token {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    async fn tag(&self) -> Result<(), Fault> {
        let added = self.tags()?;
        let name = self.resource()?;
        let group = self.stored(name).await?;
        let keys = added
            .keys()
            .filter(|key| !group.tags.contains_key(*key))
            .count();
        if group.tags.len() + keys > TAGS_MAX {
            return Err(Fault::refused(
                "TooManyTagsException",
                format!("A resource has at most {TAGS_MAX} tags."),
            ));
        }
        self.change(name, |group| group.tags.extend(added.clone()))
            .await
    }

    async fn untag(&self) -> Result<(), Fault> {
        // UntagLogGroup has the keys in `tags`.
        let old: Vec<String> = read(&self.input.tags)?.unwrap_or_default();
        let keys: Vec<&String> = self.input.tag_keys.iter().chain(&old).collect();
        self.change(self.resource()?, |group| {
            group.tags.retain(|key, _| !keys.contains(&key));
        })
        .await
    }

    fn tags(&self) -> Result<BTreeMap<String, String>, Fault> {
        Ok(read(&self.input.tags)?.unwrap_or_default())
    }

    /// `logGroupName`, in the characters that it may have.
    fn name(&self) -> Result<&str, Fault> {
        let name = self.input.log_group_name.as_deref().unwrap_or_default();
        let named = |c: char| c.is_ascii_alphanumeric() || ".-_/#".contains(c);
        if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(named) {
            return Ok(name);
        }
        Err(invalid(format!(
            r"1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint: Member must have length from 1 to {NAME_CHARS_MAX} and satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+"
        )))
    }

    /// The group's name, out of `resourceArn` where the call has one.
    fn resource(&self) -> Result<&str, Fault> {
        let Some(arn) = self.input.resource_arn.as_deref() else {
            return self.name();
        };
        let (region, account) = (&self.caller.region, &self.caller.tenant);
        let stem = format!("arn:aws:logs:{region}:{account}:log-group:");
        let name = arn.strip_prefix(&stem).ok_or_else(missing)?;
        Ok(name.strip_suffix(":*").unwrap_or(name))
    }

    async fn stored(&self, name: &str) -> Result<LogGroup, Fault> {
        let found = self
            .engine
            .companion::<LogGroup>(self.caller, KIND, name)
            .await?;
        found.ok_or_else(missing)
    }

    async fn change(&self, name: &str, change: impl Fn(&mut LogGroup)) -> Result<(), Fault> {
        let change = |group: &mut LogGroup| -> Result<(), CompanionError> {
            change(group);
            Ok(())
        };
        let changed = self
            .engine
            .change_companion(self.caller, KIND, name, change)
            .await;
        changed.map_err(unwritten)
    }
}

impl LogGroup {
    fn shown(&self) -> Value {
        let mut shown = json!({
            "logGroupName": self.name,
            "creationTime": self.created_ms,
            "metricFilterCount": 0,
            "arn": format!("{}:*", self.arn),
            "logGroupArn": self.arn,
            "storedBytes": 0,
            "logGroupClass": self.class,
        });
        if let Some(days) = self.retention_days {
            shown["retentionInDays"] = days.into();
        }
        if let Some(key) = &self.key {
            shown["kmsKeyId"] = key.as_str().into();
        }
        shown
    }
}

/// A member that may be absent.
fn read<T: DeserializeOwned>(value: &Value) -> Result<Option<T>, Fault> {
    Option::<T>::deserialize(value).map_err(|error| Fault::unreadable(&error))
}

fn invalid(text: String) -> Fault {
    Fault::refused("InvalidParameterException", text)
}

fn missing() -> Fault {
    let text = "The specified log group does not exist.";
    Fault::refused("ResourceNotFoundException", text)
}

fn unwritten(error: CompanionError) -> Fault {
    match error {
        CompanionError::Exists => {
            let text = "The specified log group already exists";
            Fault::refused("ResourceAlreadyExistsException", text)
        }
        CompanionError::Missing => missing(),
        CompanionError::Full(most) => {
            let text = format!("Resource limit exceeded: {most} log groups.");
            Fault::refused("LimitExceededException", text)
        }
        CompanionError::Failed(error) => error.into(),
    }
}
