//! AWS's names of the event types and of their details.

use std::sync::Arc;

use stepwell_asl::{Pattern, Resource, Target};

use crate::event::{Stage, StateKind, What};

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
        | What::Begins
        | What::Used { .. }
        | What::StateFailed { .. }
        | What::BranchFailed { .. }
        | What::BranchAborted { .. }
        | What::ChildStarted { .. }
        | What::Forked { .. }
        | What::MapRun(_) => return None,
        What::DistributedMapStarted { .. } => "MapStateStarted",
        What::MapRunStarted { .. } => "MapRunStarted",
        What::MapRunRedriven { .. } => "MapRunRedriven",
        What::MapRunSucceeded { .. } => "MapRunSucceeded",
        What::MapRunFailed { .. } => "MapRunFailed",
        What::MapRunAborted => "MapRunAborted",
    })
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
pub(super) struct AttemptTypes {
    scheduled: &'static str,
    started: &'static str,
    succeeded: &'static str,
    timed_out: &'static str,
    pub(super) scheduled_key: &'static str,
    pub(super) succeeded_key: &'static str,
    pub(super) timed_out_key: &'static str,
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
pub(super) enum Family {
    Lambda,
    Activity,
    Task,
}

pub(super) fn family(resource: &Resource) -> Family {
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

pub(super) fn attempt_types(resource: &Resource) -> &'static AttemptTypes {
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

pub(super) fn failed_key(resource: &Resource, stage: Stage) -> &'static str {
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
