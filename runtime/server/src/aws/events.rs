//! EventBridge: events, rules and their targets, on the bus `default`; connections stand beside. AWS JSON 1.1. What it hides: the
//! calls and their wire types.
//!
//! Source: EventBridge, API reference (2015-10-07).

use std::collections::BTreeMap;

use axum::{body::Body, http::request::Parts};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell_engine::{
    Accepted, Caller, Engine, Event, EventInput, EventTarget, NewRule, PageRequest, Role, Rule,
    TriggerError, event_matches,
};

use super::{Fault, accepted_type, body_bytes_max, caller, connections, read_body};
use crate::{
    auth::{CHANGE, Identity, LOOK, Permit, Right, STEER},
    limits::{EVENTS_MAX, RULES_PAGE_MAX, SCHEDULE_AGE_S, SCHEDULE_RETRIES},
    objects,
    serve::ServerState,
};

/// Before the operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "AWSEvents.";
const BUS: &str = "default";

/// Operations by name, with what each takes and the name that it is counted under.
const OPERATIONS: &[(&str, Right, &str)] = &[
    ("CreateConnection", CHANGE, "events:CreateConnection"),
    ("DeleteConnection", CHANGE, "events:DeleteConnection"),
    ("DeleteRule", CHANGE, "events:DeleteRule"),
    ("DescribeConnection", LOOK, "events:DescribeConnection"),
    ("DescribeEventBus", LOOK, "events:DescribeEventBus"),
    ("DescribeRule", LOOK, "events:DescribeRule"),
    ("DisableRule", CHANGE, "events:DisableRule"),
    ("EnableRule", CHANGE, "events:EnableRule"),
    ("ListConnections", LOOK, "events:ListConnections"),
    ("ListRules", LOOK, "events:ListRules"),
    ("ListTagsForResource", LOOK, "events:ListTagsForResource"),
    ("ListTargetsByRule", LOOK, "events:ListTargetsByRule"),
    ("PutEvents", STEER, PUT_EVENTS),
    ("PutRule", CHANGE, "events:PutRule"),
    ("PutTargets", CHANGE, "events:PutTargets"),
    ("RemoveTargets", CHANGE, "events:RemoveTargets"),
    ("TestEventPattern", LOOK, "events:TestEventPattern"),
    ("UpdateConnection", CHANGE, "events:UpdateConnection"),
];
/// What events are counted as, whichever way they come.
pub(crate) const PUT_EVENTS: &str = "events:PutEvents";

/// Members of all calls.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Input {
    name: String,
    rule: String,
    name_prefix: String,
    event_bus_name: Option<String>,
    event_pattern: Option<String>,
    schedule_expression: Option<String>,
    state: Option<String>,
    description: Option<String>,
    role_arn: Option<String>,
    tags: Vec<Value>,
    entries: Vec<Entry>,
    targets: Vec<Target>,
    ids: Vec<String>,
    limit: Option<u32>,
    next_token: Option<String>,
    event: String,
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
}

/// Wire form of an event.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Entry {
    source: String,
    detail_type: String,
    detail: String,
    resources: Vec<String>,
    time: Option<f64>,
    event_bus_name: Option<String>,
}

/// Wire form of a target. What is not offered is read to be refused.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Target {
    id: String,
    arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_transformer: Option<Transformer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<Retry>,
    #[serde(skip_serializing)]
    dead_letter_config: Option<Value>,
}

/// Wire form of an input transformer.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Transformer {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    input_paths_map: BTreeMap<String, String>,
    input_template: String,
}

/// Wire form of a retry policy.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Retry {
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_event_age_in_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_retry_attempts: Option<u32>,
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
    let operation = target.strip_prefix(TARGET_PREFIX).unwrap_or_default();
    let found = OPERATIONS.binary_search_by(|(name, _, _)| (*name).cmp(operation));
    let (_, right, rated) = OPERATIONS[found.map_err(|_| Fault::unknown_operation(target))?];
    let identity = parts.extensions.get::<Identity>();
    let caller = caller(&state.config, &parts.headers, identity);
    state.engine.admit(&caller.tenant, rated)?;
    let raised = state.engine.raised_limits(&caller.tenant);
    let mut place = state.body_place(parts);
    let body_max = body_bytes_max(raised);
    let body = read_body(body, &parts.headers, body_max, &mut place).await?;
    let input: Input = objects::read(&body).map_err(|error| Fault::unreadable(&error))?;
    let permit = match identity {
        Some(identity) => {
            let about = [&input.rule, &input.name, &input.resource_arn];
            let about = about.into_iter().find(|named| !named.is_empty());
            let about = about.map_or("", String::as_str);
            Some(Permit::ask_for(state, identity, rated, right, about, request_id).await?)
        }
        None => None,
    };
    let served = if connections::is_its(operation) {
        let role = identity.map(|identity| identity.key.role);
        let operator = role.is_none_or(|role| role >= Role::Operator);
        let engine = &state.engine;
        let served = connections::serve(engine, &caller, operator, operation, &body);
        served.await.map(Some)
    } else {
        let call = Call {
            engine: &state.engine,
            caller: &caller,
        };
        call.serve(operation, input).await
    };
    if let (Some(permit), Err(fault)) = (permit, &served) {
        permit.failed(fault.code()).await?;
    }
    // An answer without members has no body at all.
    Ok(served?.map_or_else(Vec::new, |answer| answer.to_string().into_bytes()))
}

struct Call<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
}

impl Call<'_> {
    async fn serve(&self, operation: &str, input: Input) -> Result<Option<Value>, Fault> {
        let (engine, caller) = (self.engine, self.caller);
        if operation == "PutEvents" {
            return self.put_events(input.entries).await.map(Some);
        }
        self.check_bus(input.event_bus_name.as_deref())?;
        let answer = match operation {
            "PutRule" => self.put_rule(input).await?,
            "DescribeRule" => {
                let rule = engine.rule(caller, &input.name).await?;
                let mut shown = shown(rule);
                shown["CreatedBy"] = caller.tenant.to_string().into();
                shown
            }
            "ListRules" => self.list(input).await?,
            "DeleteRule" => {
                engine.delete_rule(caller, &input.name).await?;
                return Ok(None);
            }
            "EnableRule" | "DisableRule" => {
                let enabled = operation == "EnableRule";
                engine.enable_rule(caller, &input.name, enabled).await?;
                return Ok(None);
            }
            "PutTargets" => {
                let targets = input.targets.into_iter().map(target_of);
                let targets = targets.collect::<Result<_, _>>()?;
                engine.put_targets(caller, &input.rule, targets).await?;
                none_failed()
            }
            "RemoveTargets" => {
                let removed = engine.remove_targets(caller, &input.rule, &input.ids);
                removed.await?;
                none_failed()
            }
            "ListTargetsByRule" => {
                let rule = engine.rule(caller, &input.rule).await?;
                let targets: Vec<Target> = rule.targets.into_iter().map(wire_target).collect();
                json!({"Targets": targets})
            }
            "TestEventPattern" => {
                let pattern = input.event_pattern.unwrap_or_default();
                let matched = event_matches(&pattern, &input.event)?;
                json!({"Result": matched})
            }
            "DescribeEventBus" => {
                let named = Some(input.name.as_str()).filter(|name| !name.is_empty());
                self.check_bus(named)?;
                json!({"Name": BUS, "Arn": self.bus_arn()})
            }
            // None are kept of rules.
            _ => json!({"Tags": []}),
        };
        Ok(Some(answer))
    }

    async fn put_events(&self, entries: Vec<Entry>) -> Result<Value, Fault> {
        if !(1..=EVENTS_MAX).contains(&entries.len()) {
            return Err(invalid(format!(
                "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length between 1 and {EVENTS_MAX}"
            )));
        }
        let mut events = Vec::new();
        let mut foreign = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            if self.check_bus(entry.event_bus_name.as_deref()).is_err() {
                foreign.push(index);
                continue;
            }
            events.push(Event {
                id: None,
                source: entry.source,
                detail_type: entry.detail_type,
                detail: entry.detail,
                resources: entry.resources,
                time_s: entry.time.map(|seconds| seconds as i64),
            });
        }
        let mut taken: Vec<Value> = self
            .engine
            .put_events(self.caller, events)
            .await?
            .into_iter()
            .map(|accepted| match accepted {
                Accepted::Yes { id } => json!({"EventId": id}),
                Accepted::No { code, why } => json!({"ErrorCode": code, "ErrorMessage": why}),
            })
            .collect();
        for index in foreign {
            let why = "there is the event bus `default` alone";
            taken.insert(
                index,
                json!({"ErrorCode": "InvalidArgument", "ErrorMessage": why}),
            );
        }
        let failed = taken.iter().filter(|one| one.get("ErrorCode").is_some());
        Ok(json!({"FailedEntryCount": failed.count(), "Entries": taken}))
    }

    async fn put_rule(&self, input: Input) -> Result<Value, Fault> {
        if input.schedule_expression.is_some() {
            return Err(invalid(
                "rules with a ScheduleExpression are not offered; CreateSchedule of EventBridge Scheduler makes schedules here".to_owned(),
            ));
        }
        if !input.tags.is_empty() {
            return Err(invalid(
                "tags of rules are not kept; leave them out".to_owned(),
            ));
        }
        let enabled = match input.state.as_deref().unwrap_or("ENABLED") {
            "ENABLED" => true,
            "DISABLED" => false,
            other => {
                return Err(invalid(format!(
                    "State is ENABLED or DISABLED, and not `{other}`"
                )));
            }
        };
        let pattern = input.event_pattern.ok_or_else(|| {
            let text = "Parameter(s) EventPattern or ScheduleExpression must be specified.";
            invalid(text.to_owned())
        })?;
        let rule = NewRule {
            name: input.name,
            pattern,
            enabled,
            description: input.description.unwrap_or_default(),
            role_arn: input.role_arn,
        };
        let arn = self.engine.put_rule(self.caller, rule).await?;
        Ok(json!({"RuleArn": arn}))
    }

    async fn list(&self, input: Input) -> Result<Value, Fault> {
        let page = PageRequest {
            max_results: input
                .limit
                .unwrap_or(RULES_PAGE_MAX)
                .clamp(1, RULES_PAGE_MAX),
            next_token: input.next_token,
        };
        let found = self.engine.rules(self.caller, &input.name_prefix, page);
        let found = found.await?;
        let rules: Vec<Value> = found.items.into_iter().map(shown).collect();
        let mut answer = json!({"Rules": rules});
        if let Some(next) = found.next_token {
            answer["NextToken"] = next.into();
        }
        Ok(answer)
    }

    fn bus_arn(&self) -> String {
        let Caller { tenant, region } = self.caller;
        format!("arn:aws:events:{region}:{tenant}:event-bus/{BUS}")
    }

    /// There is one bus, by its name or ARN.
    fn check_bus(&self, name: Option<&str>) -> Result<(), Fault> {
        match name {
            Some(name) if name != BUS && name != self.bus_arn() => Err(Fault::refused(
                "ResourceNotFoundException",
                format!("Event bus {name} does not exist."),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

fn none_failed() -> Value {
    json!({"FailedEntryCount": 0, "FailedEntries": []})
}

fn shown(rule: Rule) -> Value {
    let mut shown = json!({
        "Name": rule.name,
        "Arn": rule.arn,
        "EventPattern": rule.pattern,
        "State": if rule.enabled { "ENABLED" } else { "DISABLED" },
        "EventBusName": BUS,
    });
    if !rule.description.is_empty() {
        shown["Description"] = rule.description.into();
    }
    if let Some(role) = rule.role_arn {
        shown["RoleArn"] = role.into();
    }
    shown
}

fn target_of(wire: Target) -> Result<EventTarget, Fault> {
    if wire.dead_letter_config.is_some() {
        return Err(invalid(
            "DeadLetterConfig is not offered: there is no queue that what fails could go to. `stepwell trigger show` and the metrics tell of it.".to_owned(),
        ));
    }
    let input = match (wire.input, wire.input_path, wire.input_transformer) {
        (None, None, None) => EventInput::Event,
        (Some(text), None, None) => EventInput::Constant(text),
        (None, Some(path), None) => EventInput::Path(path),
        (None, None, Some(transformer)) => EventInput::Template {
            paths: transformer.input_paths_map,
            template: transformer.input_template,
        },
        _ => {
            return Err(invalid(format!(
                "Only one of Input, InputPath, or InputTransformer must be provided for target {}.",
                wire.id
            )));
        }
    };
    let retry = wire.retry_policy.unwrap_or_default();
    Ok(EventTarget {
        id: wire.id,
        arn: wire.arn,
        role_arn: wire.role_arn,
        input,
        age_s_max: retry.maximum_event_age_in_seconds.unwrap_or(SCHEDULE_AGE_S),
        retries_max: retry.maximum_retry_attempts.unwrap_or(SCHEDULE_RETRIES),
    })
}

fn wire_target(target: EventTarget) -> Target {
    let (input, input_path, input_transformer) = match target.input {
        EventInput::Event => (None, None, None),
        EventInput::Constant(text) => (Some(text), None, None),
        EventInput::Path(path) => (None, Some(path), None),
        EventInput::Template { paths, template } => {
            let transformer = Transformer {
                input_paths_map: paths,
                input_template: template,
            };
            (None, None, Some(transformer))
        }
    };
    let usual = (target.age_s_max, target.retries_max) == (SCHEDULE_AGE_S, SCHEDULE_RETRIES);
    let retry = Retry {
        maximum_event_age_in_seconds: Some(target.age_s_max),
        maximum_retry_attempts: Some(target.retries_max),
    };
    Target {
        id: target.id,
        arn: target.arn,
        role_arn: target.role_arn,
        input,
        input_path,
        input_transformer,
        retry_policy: (!usual).then_some(retry),
        dead_letter_config: None,
    }
}

fn invalid(text: String) -> Fault {
    Fault::refused("ValidationException", text)
}

impl From<TriggerError> for Fault {
    fn from(error: TriggerError) -> Fault {
        let code = match &error {
            TriggerError::NotFound(_) => "ResourceNotFoundException",
            TriggerError::Conflict(_) => "ConcurrentModificationException",
            TriggerError::Invalid(text) if text.starts_with("Event pattern") => {
                "InvalidEventPatternException"
            }
            TriggerError::Invalid(_) => "ValidationException",
            TriggerError::Full(_) => "LimitExceededException",
            TriggerError::Engine(_) => "",
        };
        match error {
            TriggerError::NotFound(text)
            | TriggerError::Conflict(text)
            | TriggerError::Invalid(text)
            | TriggerError::Full(text) => Fault::refused(code, text),
            TriggerError::Engine(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OPERATIONS;

    #[test]
    fn the_table_is_in_order_and_counts_each_as_itself() {
        assert!(OPERATIONS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(
            OPERATIONS
                .iter()
                .all(|(name, _, rated)| *rated == format!("events:{name}"))
        );
    }
}
