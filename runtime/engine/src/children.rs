//! Child executions: what parent and child tell each other, and what a task that starts one gets to see. Hides the
//! messages and the shapes of the service's answers.
//!
//! A parent is an attempt at a task of an execution, or an item of a map run. It stands in the child's row; the
//! child's own appends carry the news to it, so that no crash loses any.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use stepwell_interp::{ChildId, Ending, FailedAt, Run, TaskId, TaskOutcome, Timestamp};
use stepwell_query::{ObjectBuilder, Value};
use uuid::Uuid;

use crate::{
    dispatch::failed,
    journal::{ExecutionId, Outgoing},
    lambda,
    record::{self, Child, ChildEnd, ChildEnding, InboxItem, Parent},
    shard::Info,
};

/// How the service's integrations write a date.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dates {
    /// Milliseconds since the Unix epoch: the optimized integrations.
    Millis,
    /// ISO 8601: the SDK integrations.
    Iso,
}

impl Dates {
    pub(crate) fn value(self, at: Timestamp) -> Value {
        match self {
            Dates::Millis => Value::from(at.0),
            Dates::Iso => Value::from(at.to_string()),
        }
    }
}

/// The task that waits for the child; none when it is no task or does not wait.
pub(crate) fn task(of: Child) -> Option<TaskId> {
    match of {
        Child::Job { entry, attempt, .. } | Child::MapRun { entry, attempt } => {
            Some(TaskId { entry, attempt })
        }
        Child::Free { .. } | Child::Item { .. } => None,
    }
}

/// What an execution tells its parent in an append: that it `started`, that it is closed.
pub(crate) fn news(id: ExecutionId, info: &Info, run: &Run, started: bool) -> Vec<Outgoing> {
    let Some(Parent { log, of }) = info.parent else {
        return Vec::new();
    };
    let to_parent = |item: InboxItem| Outgoing {
        to: ExecutionId(log),
        payload: record::encode(&item),
    };
    let begins = match of {
        Child::Job { .. } => started.then(|| InboxItem::ChildStarted {
            of,
            child: id.0,
            arn: info.execution_arn.clone(),
            started_ms: run.started_at().0,
        }),
        Child::Item { .. } => None,
        Child::Free { .. } | Child::MapRun { .. } => return Vec::new(),
    };
    let ends = end(&info.execution_arn, run).map(|end| InboxItem::ChildEnded {
        of,
        child: id.0,
        end: Box::new(end),
    });
    begins.into_iter().chain(ends).map(to_parent).collect()
}

/// The message that stops a child whose parent no longer waits for it.
pub(crate) fn stop(child: ChildId) -> Outgoing {
    let (error, cause) = (None, None);
    Outgoing {
        to: ExecutionId(child.0),
        payload: record::encode(&InboxItem::Stop { error, cause }),
    }
}

/// The message that lets a closed child of a map run go on.
pub(crate) fn redrive(child: ChildId) -> Outgoing {
    Outgoing {
        to: ExecutionId(child.0),
        payload: record::encode(&InboxItem::Redrive),
    }
}

/// What is told of an execution that is closed.
pub(crate) fn end(execution_arn: &Arc<str>, run: &Run) -> Option<ChildEnd> {
    let (start, ending) = (run.start()?, run.ending()?);
    let ending = match ending.clone() {
        Ending::Succeeded { output } => ChildEnding::Succeeded { output },
        Ending::Failed { error, cause } => ChildEnding::Failed { error, cause },
        // As DescribeExecution has it.
        Ending::TimedOut { .. } => ChildEnding::TimedOut,
        Ending::Aborted { error, cause } => ChildEnding::Aborted { error, cause },
    };
    Some(ChildEnd {
        arn: execution_arn.clone(),
        name: start.execution_name.clone(),
        machine_arn: start.machine_arn.clone(),
        version_arn: start.version_arn.clone(),
        alias_arn: start.alias_arn.clone(),
        started_ms: run.started_at().0,
        stopped_ms: run.last_at().0,
        input: start.input.clone(),
        ending,
        redrive_count: run.redrives(),
        events: run.next_public_id() - 1,
    })
}

/// The outcome of a `.sync` task whose child ended so: its description, or that as the cause of a failure.
pub(crate) fn outcome(of: Child, end: &ChildEnd) -> TaskOutcome {
    let parsed = matches!(of, Child::Job { parsed: true, .. });
    match &end.ending {
        ChildEnding::Succeeded { .. } => TaskOutcome::Succeeded {
            output: description(end, Dates::Millis, parsed),
        },
        ChildEnding::Failed { .. } | ChildEnding::TimedOut | ChildEnding::Aborted { .. } => {
            let description = description(end, Dates::Millis, false);
            failed(FailedAt::Run, "States.TaskFailed", description.to_json())
        }
    }
}

/// An execution that is closed, as the integrations show what DescribeExecution answers.
pub(crate) fn description(end: &ChildEnd, dates: Dates, parsed: bool) -> Value {
    let data = |value: &Value| match parsed {
        true => value.clone(),
        false => Value::from(value.to_json()),
    };
    let text = |text: &Arc<str>| Value::from(text.clone());
    let included = || Value::object([("Included", Value::from(true))]);
    let (status, error, cause, output) = match &end.ending {
        ChildEnding::Succeeded { output } => ("SUCCEEDED", None, None, Some(output)),
        ChildEnding::Failed { error, cause } => ("FAILED", error.as_ref(), cause.as_ref(), None),
        ChildEnding::TimedOut => ("TIMED_OUT", None, None, None),
        ChildEnding::Aborted { error, cause } => ("ABORTED", error.as_ref(), cause.as_ref(), None),
    };
    let members = [
        ("Cause", cause.map(text)),
        ("Error", error.map(text)),
        ("ExecutionArn", Some(text(&end.arn))),
        ("Input", Some(data(&end.input))),
        ("InputDetails", Some(included())),
        ("Name", Some(text(&end.name))),
        ("Output", output.map(data)),
        ("OutputDetails", output.map(|_| included())),
        ("StartDate", Some(dates.value(Timestamp(end.started_ms)))),
        ("StateMachineAliasArn", end.alias_arn.as_ref().map(text)),
        ("StateMachineArn", Some(text(&end.machine_arn))),
        ("StateMachineVersionArn", end.version_arn.as_ref().map(text)),
        ("Status", Some(Value::from(status))),
        ("StopDate", Some(dates.value(Timestamp(end.stopped_ms)))),
    ];
    let mut description = ObjectBuilder::with_capacity(members.len());
    for (name, member) in members {
        if let Some(member) = member {
            description.insert(name, member);
        }
    }
    description.into()
}

/// The answer to `states:startExecution`, with what the wire adds to it.
pub(crate) fn response(execution_arn: &Arc<str>, started_at: Timestamp) -> Value {
    let request_id = derived_uuid(&[b"request", execution_arn.as_bytes()]);
    let seconds = started_at.0 as f64 / 1_000.0;
    let body = format!(r#"{{"executionArn":"{execution_arn}","startDate":{seconds:.3}}}"#);
    let headers = [
        ("Connection", "keep-alive".to_owned()),
        ("Content-Length", body.len().to_string()),
        ("Content-Type", "application/x-amz-json-1.0".to_owned()),
        ("x-amzn-RequestId", request_id.clone()),
    ];
    let metadata = lambda::http_metadata(&headers);
    Value::object([
        ("ExecutionArn", Value::from(execution_arn.clone())),
        ("SdkHttpMetadata", metadata),
        (
            "SdkResponseMetadata",
            Value::object([("RequestId", Value::string(request_id))]),
        ),
        ("StartDate", Dates::Millis.value(started_at)),
    ])
}

/// A UUID that follows from what is given: the same attempt asks for the same child, however often it is dispatched.
pub(crate) fn derived_uuid(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    let uuid: Uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    uuid.to_string()
}
