//! Events as a line for people.

use super::items_len;
use crate::{
    event::{Event, What},
    map_run::MapRunEvent,
};

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
        What::Begins => "begins again".into(),
        What::Used { plugin, .. } => format!("use of {plugin} measured"),
        What::StateFailed { failure } => with_error("state failed", failure.error.as_deref()),
        What::BranchFailed { index, failure } => {
            with_error(&format!("branch {index} failed"), failure.error.as_deref())
        }
        What::BranchAborted { index } => format!("branch {index} aborted"),
        What::Forked { .. } => "goes on from here, forked".into(),
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

fn with_error(what: &str, error: Option<&str>) -> String {
    match error {
        Some(error) => format!("{what}: {error}"),
        None => what.to_owned(),
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
