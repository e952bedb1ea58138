//! The details of events: a key, and fields under their names.

use std::sync::Arc;

use stepwell_asl::Resource;
use stepwell_query::Value;

use super::{
    Field, items_len,
    names::{Family, attempt_types, failed_key, family, resource_names},
};
use crate::{
    event::{Assigned, Failure, Scheduled, What},
    fork::ForkedFrom,
};

type Fields = Vec<(&'static str, Field)>;

pub(super) fn details(what: &What, data: bool) -> Option<(&'static str, Fields)> {
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
            fields.extend(start.forked_from.as_deref().map(origin));
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
        | What::Begins
        | What::Used { .. }
        | What::StateFailed { .. }
        | What::BranchFailed { .. }
        | What::BranchAborted { .. }
        | What::ChildStarted { .. }
        | What::Forked { .. }
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

/// Where a fork comes from.
fn origin(from: &ForkedFrom) -> (&'static str, Field) {
    let event = i64::try_from(from.event).unwrap_or(i64::MAX);
    let fields = vec![
        ("executionArn", Field::Text(from.execution_arn.clone())),
        ("eventId", Field::Int(event)),
    ];
    ("forkedFrom", Field::Object(fields))
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
