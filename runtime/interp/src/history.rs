//! Events as people and the API see them: the neutral form that the server prints as AWS's JSON and the console and
//! command line as a line. Hides AWS's names of the event types and of their details.

use std::sync::Arc;

use stepwell_asl::{Pattern, Resource, Target};
use stepwell_query::Value;

use crate::{
    Timestamp,
    event::{Assigned, Event, Failure, Scheduled, Stage, StateKind, What},
    map_run::MapRunEvent,
};

/// One event of the public history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryView {
    pub id: u64,
    pub previous: u64,
    pub at: Timestamp,
    /// AWS's name of the type: `TaskStateEntered`.
    pub event_type: &'static str,
    /// Key and fields of its details; none for types that have none.
    pub details: Option<(&'static str, Vec<(&'static str, Field)>)>,
}

/// A field of an event's details.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Text(Arc<str>),
    /// A value whose JSON text is the field's string.
    Json(Value),
    Int(i64),
    Bool(bool),
    Object(Vec<(&'static str, Field)>),
    /// An object with a string of JSON text for each name.
    JsonMap(Assigned),
}

type Fields = Vec<(&'static str, Field)>;

/// The public form of an event with its public id; `None` for internal events.
///
/// Without `include_execution_data` inputs, outputs, parameters and variables are left out.
pub fn history_view(id: u64, event: &Event, include_execution_data: bool) -> Option<HistoryView> {
    let event_type = event_type(&event.what)?;
    let details = details(&event.what, include_execution_data);
    Some(HistoryView {
        id,
        previous: event.previous,
        at: event.at,
        event_type,
        details,
    })
}

/// AWS's name of the event's type; `None` for internal events.
pub fn event_type(what: &What) -> Option<&'static str> {
    Some(match what {
        What::ExecutionStarted { .. } => "ExecutionStarted",
        What::ExecutionSucceeded { .. } => "ExecutionSucceeded",
        What::ExecutionFailed { .. } => "ExecutionFailed",
        What::ExecutionTimedOut { .. } => "ExecutionTimedOut",
        What::ExecutionAborted { .. } => "ExecutionAborted",
        What::ExecutionRedriven { .. } => "ExecutionRedriven",
        What::StateEntered { kind, .. } => entered_type(*kind),
        What::StateExited { kind, .. } => exited_type(*kind),
        What::StateAborted { kind, .. } => return aborted_type(*kind),
        What::EvaluationFailed { .. } => "EvaluationFailed",
        What::Scheduled(scheduled) => attempt_types(&scheduled.resource).scheduled,
        What::Started { resource, .. } => attempt_types(resource).started,
        What::Submitted { .. } => "TaskSubmitted",
        What::Succeeded { resource, .. } => attempt_types(resource).succeeded,
        What::Failed {
            resource, stage, ..
        } => failed_type(resource, *stage),
        What::TimedOut { resource, .. } => attempt_types(resource).timed_out,
        What::ParallelStarted { .. } => "ParallelStateStarted",
        What::MapStarted { .. } => "MapStateStarted",
        What::FlowsSucceeded { kind } if *kind == StateKind::Map => "MapStateSucceeded",
        What::FlowsSucceeded { .. } => "ParallelStateSucceeded",
        What::FlowsFailed { kind } if *kind == StateKind::Map => "MapStateFailed",
        What::FlowsFailed { .. } => "ParallelStateFailed",
        What::IterationStarted { .. } => "MapIterationStarted",
        What::IterationSucceeded { .. } => "MapIterationSucceeded",
        What::IterationFailed { .. } => "MapIterationFailed",
        What::IterationAborted { .. } => "MapIterationAborted",
        What::WaitPlanned { .. }
        | What::RetryPlanned { .. }
        | What::Redispatched { .. }
        | What::StateFailed { .. }
        | What::BranchFailed { .. }
        | What::BranchAborted { .. }
        | What::ChildStarted { .. }
        | What::MapRun(_) => return None,
        What::DistributedMapStarted { .. } => "MapStateStarted",
        What::MapRunStarted { .. } => "MapRunStarted",
        What::MapRunRedriven { .. } => "MapRunRedriven",
        What::MapRunSucceeded { .. } => "MapRunSucceeded",
        What::MapRunFailed { .. } => "MapRunFailed",
        What::MapRunAborted => "MapRunAborted",
    })
}

/// A line for people: `Task state Charge entered`, `retry planned for 2026-01-31T12:00:00.000Z`.
pub fn label(event: &Event) -> String {
    match &event.what {
        What::ExecutionStarted { .. } => "execution started".into(),
        What::ExecutionSucceeded { .. } => "execution succeeded".into(),
        What::ExecutionFailed { error, .. } => with_error("execution failed", error.as_deref()),
        What::ExecutionTimedOut { .. } => "execution timed out".into(),
        What::ExecutionAborted { error, .. } => with_error("execution aborted", error.as_deref()),
        What::ExecutionRedriven { count, .. } => format!("execution redriven, redrive {count}"),
        What::StateEntered { kind, name, .. } => format!("{kind:?} state {name} entered"),
        What::StateExited {
            name,
            next: Some(next),
            ..
        } => format!("{name} exited to {next}"),
        What::StateExited {
            name, next: None, ..
        } => format!("{name} exited, end of the flow"),
        What::StateAborted { name, .. } => format!("{name} aborted"),
        What::EvaluationFailed { location, .. } => format!("evaluation of {location} failed"),
        What::Scheduled(scheduled) => format!("{} scheduled", scheduled.resource.text),
        What::Started { by: Some(by), .. } => format!("started by {by}"),
        What::Started { by: None, .. } => "started".into(),
        What::Submitted { .. } => "submitted".into(),
        What::Succeeded { .. } => "succeeded".into(),
        What::Failed { error, .. } => with_error("failed", error.as_deref()),
        What::TimedOut {
            heartbeat: true, ..
        } => "heartbeat missed".into(),
        What::TimedOut {
            heartbeat: false, ..
        } => "timed out".into(),
        What::ParallelStarted { firsts, .. } => format!("{} branches started", firsts.len()),
        What::MapStarted { items, .. } => format!("map over {} items started", items_len(items)),
        What::FlowsSucceeded { .. } => "all succeeded".into(),
        What::FlowsFailed { .. } => "failed".into(),
        What::IterationStarted { index, .. } => format!("iteration {index} started"),
        What::IterationSucceeded { index, .. } => format!("iteration {index} succeeded"),
        What::IterationFailed { index, failure, .. } => with_error(
            &format!("iteration {index} failed"),
            failure.error.as_deref(),
        ),
        What::IterationAborted { index, .. } => format!("iteration {index} aborted"),
        What::WaitPlanned { until } => format!("waits until {until}"),
        What::RetryPlanned { fire_at, .. } => format!("retry planned for {fire_at}"),
        What::Redispatched { count } => format!(
            "lost and dispatched again, {count} of {}",
            crate::REDISPATCH_MAX
        ),
        What::StateFailed { failure } => with_error("state failed", failure.error.as_deref()),
        What::BranchFailed { index, failure } => {
            with_error(&format!("branch {index} failed"), failure.error.as_deref())
        }
        What::BranchAborted { index } => format!("branch {index} aborted"),
        What::ChildStarted { .. } => "waits for its child execution".into(),
        What::DistributedMapStarted { items: Some(items) } => {
            format!("distributed map over {} items started", items_len(items))
        }
        What::DistributedMapStarted { items: None } => "distributed map started".into(),
        What::MapRunStarted { .. } => "map run started".into(),
        What::MapRunRedriven { count, .. } => format!("map run redriven, redrive {count}"),
        What::MapRunSucceeded { .. } => "map run succeeded".into(),
        What::MapRunFailed { failure } => with_error("map run failed", failure.error.as_deref()),
        What::MapRunAborted => "map run aborted".into(),
        What::MapRun(event) => map_run_label(event),
    }
}

/// `resourceType` and `resource` of a task's events: `lambda` and `invoke.waitForTaskToken`.
pub fn resource_names(resource: &Resource) -> (Arc<str>, Arc<str>) {
    let suffix = match resource.target.pattern() {
        Pattern::RequestResponse => "",
        Pattern::Sync => ".sync",
        Pattern::Sync2 => ".sync:2",
        Pattern::WaitForTaskToken => ".waitForTaskToken",
    };
    let call = |action: &str| -> Arc<str> { format!("{action}{suffix}").into() };
    match &resource.target {
        Target::LambdaFunction { .. } => ("lambda".into(), resource.text.clone()),
        Target::Activity { .. } => ("activity".into(), resource.text.clone()),
        Target::LambdaInvoke(_) => ("lambda".into(), call("invoke")),
        Target::StartExecution(_) => ("states".into(), call("startExecution")),
        Target::HttpInvoke => ("http".into(), "invoke".into()),
        Target::Service {
            service, action, ..
        } => (service.clone(), call(action)),
        Target::AwsSdk {
            service, action, ..
        } => (format!("aws-sdk:{service}").into(), call(action)),
        Target::Wasm {
            name,
            version: None,
        } => ("wasm".into(), name.clone()),
        Target::Wasm {
            name,
            version: Some(version),
        } => ("wasm".into(), format!("{name}@{version}").into()),
    }
}

fn with_error(what: &str, error: Option<&str>) -> String {
    match error {
        Some(error) => format!("{what}: {error}"),
        None => what.to_owned(),
    }
}

fn entered_type(kind: StateKind) -> &'static str {
    match kind {
        StateKind::Pass => "PassStateEntered",
        StateKind::Task => "TaskStateEntered",
        StateKind::Choice => "ChoiceStateEntered",
        StateKind::Wait => "WaitStateEntered",
        StateKind::Succeed => "SucceedStateEntered",
        StateKind::Fail => "FailStateEntered",
        StateKind::Parallel => "ParallelStateEntered",
        StateKind::Map => "MapStateEntered",
    }
}

fn exited_type(kind: StateKind) -> &'static str {
    match kind {
        StateKind::Pass => "PassStateExited",
        StateKind::Task => "TaskStateExited",
        StateKind::Choice => "ChoiceStateExited",
        StateKind::Wait => "WaitStateExited",
        StateKind::Succeed => "SucceedStateExited",
        StateKind::Fail => "FailStateExited",
        StateKind::Parallel => "ParallelStateExited",
        StateKind::Map => "MapStateExited",
    }
}

/// Only states that wait can be aborted.
fn aborted_type(kind: StateKind) -> Option<&'static str> {
    match kind {
        StateKind::Task => Some("TaskStateAborted"),
        StateKind::Wait => Some("WaitStateAborted"),
        StateKind::Parallel => Some("ParallelStateAborted"),
        StateKind::Map => Some("MapStateAborted"),
        StateKind::Pass | StateKind::Choice | StateKind::Succeed | StateKind::Fail => None,
    }
}

/// The names of one family of attempt events: their types and the keys of their details.
struct AttemptTypes {
    scheduled: &'static str,
    started: &'static str,
    succeeded: &'static str,
    timed_out: &'static str,
    scheduled_key: &'static str,
    succeeded_key: &'static str,
    timed_out_key: &'static str,
}

const LAMBDA: AttemptTypes = AttemptTypes {
    scheduled: "LambdaFunctionScheduled",
    started: "LambdaFunctionStarted",
    succeeded: "LambdaFunctionSucceeded",
    timed_out: "LambdaFunctionTimedOut",
    scheduled_key: "lambdaFunctionScheduledEventDetails",
    succeeded_key: "lambdaFunctionSucceededEventDetails",
    timed_out_key: "lambdaFunctionTimedOutEventDetails",
};

const ACTIVITY: AttemptTypes = AttemptTypes {
    scheduled: "ActivityScheduled",
    started: "ActivityStarted",
    succeeded: "ActivitySucceeded",
    timed_out: "ActivityTimedOut",
    scheduled_key: "activityScheduledEventDetails",
    succeeded_key: "activitySucceededEventDetails",
    timed_out_key: "activityTimedOutEventDetails",
};

const TASK: AttemptTypes = AttemptTypes {
    scheduled: "TaskScheduled",
    started: "TaskStarted",
    succeeded: "TaskSucceeded",
    timed_out: "TaskTimedOut",
    scheduled_key: "taskScheduledEventDetails",
    succeeded_key: "taskSucceededEventDetails",
    timed_out_key: "taskTimedOutEventDetails",
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Lambda,
    Activity,
    Task,
}

fn family(resource: &Resource) -> Family {
    match &resource.target {
        Target::LambdaFunction { .. } => Family::Lambda,
        Target::Activity { .. } => Family::Activity,
        Target::LambdaInvoke(_)
        | Target::StartExecution(_)
        | Target::HttpInvoke
        | Target::Service { .. }
        | Target::AwsSdk { .. }
        | Target::Wasm { .. } => Family::Task,
    }
}

fn attempt_types(resource: &Resource) -> &'static AttemptTypes {
    match family(resource) {
        Family::Lambda => &LAMBDA,
        Family::Activity => &ACTIVITY,
        Family::Task => &TASK,
    }
}

/// Type of a failure event. Families that have none for a stage report the nearest one they have.
fn failed_type(resource: &Resource, stage: Stage) -> &'static str {
    match (family(resource), stage) {
        (Family::Lambda, Stage::Schedule) => "LambdaFunctionScheduleFailed",
        (Family::Lambda, Stage::Start) => "LambdaFunctionStartFailed",
        (Family::Lambda, Stage::Submit | Stage::Run) => "LambdaFunctionFailed",
        (Family::Activity, Stage::Schedule) => "ActivityScheduleFailed",
        (Family::Activity, Stage::Start | Stage::Submit | Stage::Run) => "ActivityFailed",
        (Family::Task, Stage::Start) => "TaskStartFailed",
        (Family::Task, Stage::Submit) => "TaskSubmitFailed",
        (Family::Task, Stage::Schedule | Stage::Run) => "TaskFailed",
    }
}

fn failed_key(resource: &Resource, stage: Stage) -> &'static str {
    match (family(resource), stage) {
        (Family::Lambda, Stage::Schedule) => "lambdaFunctionScheduleFailedEventDetails",
        (Family::Lambda, Stage::Start) => "lambdaFunctionStartFailedEventDetails",
        (Family::Lambda, Stage::Submit | Stage::Run) => "lambdaFunctionFailedEventDetails",
        (Family::Activity, Stage::Schedule) => "activityScheduleFailedEventDetails",
        (Family::Activity, Stage::Start | Stage::Submit | Stage::Run) => {
            "activityFailedEventDetails"
        }
        (Family::Task, Stage::Start) => "taskStartFailedEventDetails",
        (Family::Task, Stage::Submit) => "taskSubmitFailedEventDetails",
        (Family::Task, Stage::Schedule | Stage::Run) => "taskFailedEventDetails",
    }
}

fn details(what: &What, data: bool) -> Option<(&'static str, Fields)> {
    match what {
        What::ExecutionStarted { start, .. } => {
            let mut fields = payload("input", "inputDetails", &start.input, data);
            fields.push(("roleArn", Field::Text(start.role_arn.clone())));
            text(
                &mut fields,
                "stateMachineVersionArn",
                start.version_arn.as_ref(),
            );
            text(
                &mut fields,
                "stateMachineAliasArn",
                start.alias_arn.as_ref(),
            );
            Some(("executionStartedEventDetails", fields))
        }
        What::ExecutionSucceeded { output } => Some((
            "executionSucceededEventDetails",
            payload("output", "outputDetails", output, data),
        )),
        What::ExecutionFailed { error, cause } => {
            Some(("executionFailedEventDetails", errors(error, cause)))
        }
        What::ExecutionTimedOut { error, cause } => {
            Some(("executionTimedOutEventDetails", errors(error, cause)))
        }
        What::ExecutionAborted { error, cause } => {
            Some(("executionAbortedEventDetails", errors(error, cause)))
        }
        What::ExecutionRedriven { count, .. } => Some((
            "executionRedrivenEventDetails",
            vec![("redriveCount", Field::Int((*count).into()))],
        )),
        What::StateEntered { name, input, .. } => {
            let mut fields = vec![("name", Field::Text(name.clone()))];
            fields.extend(payload("input", "inputDetails", input, data));
            Some(("stateEnteredEventDetails", fields))
        }
        What::StateExited {
            name,
            output,
            assigned,
            ..
        } => Some((
            "stateExitedEventDetails",
            exited(name, output, assigned, data),
        )),
        What::EvaluationFailed {
            state,
            error,
            cause,
            location,
            terminal: _,
        } => {
            let fields = [
                ("error", error),
                ("cause", cause),
                ("location", location),
                ("state", state),
            ];
            let fields = fields
                .into_iter()
                .map(|(key, value)| (key, Field::Text(value.clone())));
            Some(("evaluationFailedEventDetails", fields.collect()))
        }
        What::Scheduled(_)
        | What::Started { .. }
        | What::Submitted { .. }
        | What::Succeeded { .. }
        | What::Failed { .. }
        | What::TimedOut { .. } => attempt_details(what, data),
        What::MapStarted { items, .. } => Some((
            "mapStateStartedEventDetails",
            vec![("length", Field::Int(items_len(items) as i64))],
        )),
        What::IterationStarted { name, index, .. } => {
            Some(("mapIterationStartedEventDetails", iteration(name, *index)))
        }
        What::IterationSucceeded { name, index } => {
            Some(("mapIterationSucceededEventDetails", iteration(name, *index)))
        }
        What::IterationFailed { name, index, .. } => {
            Some(("mapIterationFailedEventDetails", iteration(name, *index)))
        }
        What::IterationAborted { name, index } => {
            Some(("mapIterationAbortedEventDetails", iteration(name, *index)))
        }
        What::StateAborted { .. }
        | What::ParallelStarted { .. }
        | What::FlowsSucceeded { .. }
        | What::FlowsFailed { .. }
        | What::WaitPlanned { .. }
        | What::RetryPlanned { .. }
        | What::Redispatched { .. }
        | What::StateFailed { .. }
        | What::BranchFailed { .. }
        | What::BranchAborted { .. }
        | What::ChildStarted { .. }
        | What::MapRunSucceeded { .. }
        | What::MapRunAborted
        | What::MapRun(_) => None,
        What::DistributedMapStarted { items } => {
            let length = items.as_ref().map_or(0, items_len);
            Some((
                "mapStateStartedEventDetails",
                vec![("length", Field::Int(length as i64))],
            ))
        }
        What::MapRunStarted { arn } => Some((
            "mapRunStartedEventDetails",
            vec![("mapRunArn", Field::Text(arn.clone()))],
        )),
        What::MapRunRedriven { arn, count } => Some((
            "mapRunRedrivenEventDetails",
            vec![
                ("mapRunArn", Field::Text(arn.clone())),
                ("redriveCount", Field::Int((*count).into())),
            ],
        )),
        What::MapRunFailed { failure } => {
            let Failure { error, cause, .. } = failure;
            Some(("mapRunFailedEventDetails", errors(error, cause)))
        }
    }
}

fn attempt_details(what: &What, data: bool) -> Option<(&'static str, Fields)> {
    if let What::Scheduled(scheduled) = what {
        return Some((
            attempt_types(&scheduled.resource).scheduled_key,
            schedule(scheduled, data),
        ));
    }
    if let What::Started { resource, by } = what {
        return started(resource, by.as_ref());
    }
    if let What::Submitted { resource, output } | What::Succeeded { resource, output } = what {
        let submitted = matches!(what, What::Submitted { .. });
        let key = if submitted {
            "taskSubmittedEventDetails"
        } else {
            attempt_types(resource).succeeded_key
        };
        let mut fields = named(resource);
        fields.extend(payload("output", "outputDetails", output, data));
        return Some((key, fields));
    }
    if let What::Failed {
        resource,
        error,
        cause,
        ..
    }
    | What::TimedOut {
        resource,
        error,
        cause,
        ..
    } = what
    {
        let key = if let What::Failed { stage, .. } = what {
            failed_key(resource, *stage)
        } else {
            attempt_types(resource).timed_out_key
        };
        let mut fields = named(resource);
        fields.extend(errors(error, cause));
        return Some((key, fields));
    }
    None
}

fn started(resource: &Resource, by: Option<&Arc<str>>) -> Option<(&'static str, Fields)> {
    match family(resource) {
        Family::Lambda => None,
        Family::Activity => {
            let mut fields = Vec::new();
            text(&mut fields, "workerName", by);
            Some(("activityStartedEventDetails", fields))
        }
        Family::Task => Some(("taskStartedEventDetails", named(resource))),
    }
}

fn schedule(scheduled: &Scheduled, data: bool) -> Fields {
    let mut fields;
    let family = family(&scheduled.resource);
    if family == Family::Task {
        fields = named(&scheduled.resource);
        fields.push(("region", Field::Text(scheduled.region.clone())));
        if data {
            fields.push(("parameters", Field::Json(scheduled.parameters.clone())));
        }
    } else {
        fields = vec![("resource", Field::Text(scheduled.resource.text.clone()))];
        fields.extend(payload(
            "input",
            "inputDetails",
            &scheduled.parameters,
            data,
        ));
    }
    if let Some(seconds) = scheduled.timeout_s {
        fields.push(("timeoutInSeconds", Field::Int(seconds.into())));
    }
    if let Some(seconds) = scheduled.heartbeat_s.filter(|_| family != Family::Lambda) {
        fields.push(("heartbeatInSeconds", Field::Int(seconds.into())));
    }
    if let Some(role) = scheduled
        .role_arn
        .as_ref()
        .filter(|_| family != Family::Activity)
    {
        fields.push((
            "taskCredentials",
            Field::Object(vec![("roleArn", Field::Text(role.clone()))]),
        ));
    }
    fields
}

fn exited(name: &Arc<str>, output: &Value, assigned: &Assigned, data: bool) -> Fields {
    let mut fields = vec![("name", Field::Text(name.clone()))];
    fields.extend(payload("output", "outputDetails", output, data));
    if data && !assigned.is_empty() {
        fields.push(("assignedVariables", Field::JsonMap(assigned.clone())));
        fields.push(("assignedVariablesDetails", complete()));
    }
    fields
}

/// A payload with the note that it is whole.
fn payload(key: &'static str, details: &'static str, value: &Value, data: bool) -> Fields {
    if !data {
        return Vec::new();
    }
    vec![(key, Field::Json(value.clone())), (details, complete())]
}

fn complete() -> Field {
    Field::Object(vec![("truncated", Field::Bool(false))])
}

/// `resourceType` and `resource`, which only Task events have.
fn named(resource: &Resource) -> Fields {
    if family(resource) != Family::Task {
        return Vec::new();
    }
    let (resource_type, name) = resource_names(resource);
    vec![
        ("resourceType", Field::Text(resource_type)),
        ("resource", Field::Text(name)),
    ]
}

fn errors(error: &Option<Arc<str>>, cause: &Option<Arc<str>>) -> Fields {
    let mut fields = Vec::new();
    text(&mut fields, "error", error.as_ref());
    text(&mut fields, "cause", cause.as_ref());
    fields
}

fn iteration(name: &Arc<str>, index: u32) -> Fields {
    vec![
        ("name", Field::Text(name.clone())),
        ("index", Field::Int(index.into())),
    ]
}

fn text(fields: &mut Fields, key: &'static str, value: Option<&Arc<str>>) {
    if let Some(value) = value {
        fields.push((key, Field::Text(value.clone())));
    }
}

fn map_run_label(event: &MapRunEvent) -> String {
    match event {
        MapRunEvent::Began(_) => "began".into(),
        MapRunEvent::ChildrenStarted { children, .. } => {
            format!("{} children started", children.len())
        }
        MapRunEvent::ItemsCounted { total } => format!("{total} items"),
        MapRunEvent::ChildEnded { index, status, .. } => format!("child {index} {status:?}"),
        MapRunEvent::Failing { failure } => with_error("failing", failure.error.as_deref()),
        MapRunEvent::Stopping => "stopping".into(),
        MapRunEvent::Changed(_) => "changed".into(),
        MapRunEvent::PartWritten(part) => format!("{} written", part.key),
        MapRunEvent::Closed(_) => "closed".into(),
        MapRunEvent::ChildFull { index } => format!("child {index} has a full history"),
        MapRunEvent::RedriveAsked { count } => format!("redrive {count} asked for"),
        MapRunEvent::Redriven { count, .. } => format!("redriven, redrive {count}"),
        MapRunEvent::ChildrenRedriven { children } => {
            format!("{} children redriven", children.len())
        }
    }
}

fn items_len(items: &Value) -> usize {
    match items {
        Value::Array(items) => items.len(),
        Value::Object(items) => items.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
