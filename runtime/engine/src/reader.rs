//! Reads of one execution from the store: what recovery folds and what the describing calls show. Hides segments.

mod log;
mod stored;

use std::sync::Arc;

use stepwell_interp::{Event, NotRedrivable, Start, What};

use crate::{
    api::{Execution, ExecutionSummary, Redrivable, Status},
    error::Error,
    journal::{ExecutionId, ExecutionRow, Journal, Look, ReadError, SegmentRange, StoredSegment},
    outbox::StatusChange,
    record::{self, Child, Meta},
};
use log::damaged;
pub(crate) use log::{Decoder, each_event, follows, lacks, public_entries, seal_segment};
pub(crate) use stored::{folded, stored};

/// An execution in a list, from its row alone.
pub(crate) fn summary(row: &ExecutionRow) -> Result<ExecutionSummary, Error> {
    let meta = meta(row)?;
    Ok(ExecutionSummary {
        arn: execution_arn(&meta, &row.new.name),
        name: row.new.name.clone(),
        machine_arn: meta.machine_arn,
        version_arn: meta.version_arn,
        alias_arn: meta.alias_arn,
        status: row.view.status,
        started_at: row.new.started_at,
        stopped_at: row.view.stopped_at,
        map_run_arn: meta.map_run,
        items: meta.items,
        redrive_count: row.view.redrive_count,
        redriven_at: row.view.redriven_at,
        // Its map run knows.
        pending_redrive: false,
        // Its line knows.
        waiting: None,
    })
}

/// An execution as DescribeExecution shows it.
pub(crate) async fn describe(journal: &dyn Journal, look: &Look) -> Result<Execution, Error> {
    let row = &look.row;
    let meta = meta(row)?;
    let first = look
        .first
        .as_ref()
        .ok_or_else(|| damaged(&row.id, &"it has no events"))?;
    let mut decoder = Decoder::new(journal);
    let first = decoder.events(row.id, first).await?;
    let start = start_of(&first).ok_or_else(|| damaged(&row.id, &"it has no start"))?;
    let (input, forked_from) = (start.input.clone(), start.forked_from.clone());
    let mut execution = Execution {
        arn: execution_arn(&meta, &row.new.name),
        name: row.new.name.clone(),
        machine_arn: meta.machine_arn,
        version_arn: meta.version_arn,
        alias_arn: meta.alias_arn,
        status: row.view.status,
        started_at: row.new.started_at,
        stopped_at: row.view.stopped_at,
        input,
        output: None,
        error: None,
        cause: None,
        trace_header: meta.trace_header,
        map_run_arn: meta.map_run,
        forked_from,
        redrive_count: row.view.redrive_count,
        redriven_at: row.view.redriven_at,
        // The catalog has a say in it too.
        redrivable: Redrivable::No(NotRedrivable::Running),
        pending_redrive: false,
        waiting: None,
    };
    if row.view.status != Status::Running {
        let stored = look.last.as_ref().or(look.first.as_ref());
        if stored.is_none_or(|last| last.first + u64::from(last.segment.events) != row.next) {
            return Err(damaged(&row.id, &"its last events are missing"));
        }
        let last = match &look.last {
            Some(last) => decoder.events(row.id, last).await?,
            None => first,
        };
        if !close(&mut execution, last.last()) {
            return Err(damaged(&row.id, &"its last event is not how it ended"));
        }
    }
    Ok(execution)
}

/// Fills in how an execution ended, from its last event; false when its status says otherwise.
fn close(execution: &mut Execution, last: Option<&Event>) -> bool {
    match (execution.status, last.map(|event| &event.what)) {
        (Status::Succeeded, Some(What::ExecutionSucceeded { output })) => {
            execution.output = Some(output.clone());
            true
        }
        (Status::Failed, Some(What::ExecutionFailed { error, cause }))
        | (Status::Aborted, Some(What::ExecutionAborted { error, cause })) => {
            execution.error.clone_from(error);
            execution.cause.clone_from(cause);
            true
        }
        // DescribeExecution has neither error nor cause for TIMED_OUT.
        (Status::TimedOut, Some(What::ExecutionTimedOut { .. })) => true,
        (
            Status::Running
            | Status::Succeeded
            | Status::Failed
            | Status::TimedOut
            | Status::Aborted,
            _,
        ) => false,
    }
}

/// What was fixed when a stored execution started.
pub(crate) async fn start_of_execution(
    journal: &dyn Journal,
    id: ExecutionId,
) -> Result<Option<Start>, Error> {
    let first = edge(journal, id, SegmentRange::From { first: 1 }).await?;
    Ok(start_of(&first).cloned())
}

/// The role with which a stored execution was started.
pub(crate) async fn role_of(
    journal: &dyn Journal,
    id: ExecutionId,
) -> Result<Option<Arc<str>>, Error> {
    let first = edge(journal, id, SegmentRange::From { first: 1 }).await?;
    Ok(start_of(&first).map(|start| start.role_arn.clone()))
}

async fn edge(
    journal: &dyn Journal,
    id: ExecutionId,
    range: SegmentRange,
) -> Result<Vec<Event>, Error> {
    let segments = journal.segments(id, range, 1).await.map_err(broken)?;
    match segments.first() {
        Some(segment) => Decoder::new(journal).events(id, segment).await,
        None => Ok(Vec::new()),
    }
}

fn start_of(events: &[Event]) -> Option<&Start> {
    match &events.first()?.what {
        What::ExecutionStarted { start, .. } => Some(start),
        _ => None,
    }
}

/// What there is to say of the change of status that an execution's event of that id is.
pub(crate) async fn status_change(
    journal: &dyn Journal,
    id: ExecutionId,
    public: u64,
) -> Result<StatusChange, Error> {
    let row = journal.execution(id).await.map_err(broken)?;
    let row = row.ok_or_else(|| damaged(&id, &"it is not there"))?;
    let meta = meta(&row)?;
    let mut decoder = Decoder::new(journal);
    let range = SegmentRange::From { first: 1 };
    let first = journal.segments(id, range, 1).await.map_err(broken)?;
    let first = first
        .first()
        .ok_or_else(|| damaged(&id, &"it has no events"))?;
    let begun = decoder.events(id, first).await?;
    let start = start_of(&begun).ok_or_else(|| damaged(&id, &"it has no start"))?;
    let of_segment = |events: &[Event], stored: &StoredSegment| {
        let mut entries = public_entries(events, stored.segment.first_public).into_iter();
        entries.find(|entry| entry.id == public)
    };
    let found = match of_segment(&begun, first) {
        Some(found) => Some(found),
        None => {
            let range = SegmentRange::Forward { public };
            let segments = journal.segments(id, range, 1).await.map_err(broken)?;
            match segments.first() {
                Some(stored) => of_segment(&decoder.events(id, stored).await?, stored),
                None => None,
            }
        }
    };
    Ok(StatusChange {
        execution_arn: execution_arn(&meta, &row.new.name),
        start: start.clone(),
        started_at: row.new.started_at,
        event: found.ok_or_else(|| lacks(id, public))?.event,
    })
}

/// The ARN of a stored execution, or of a map run.
pub(crate) fn execution_arn(meta: &Meta, name: &str) -> Arc<str> {
    if let (Some(arn), Some(Child::MapRun { .. })) =
        (&meta.map_run, meta.parent.map(|parent| parent.of))
    {
        return arn.clone();
    }
    let (stem, machine) = meta
        .machine_arn
        .split_once(":stateMachine:")
        .unwrap_or((&meta.machine_arn, ""));
    match &meta.express_run {
        Some(run) => format!("{stem}:express:{machine}:{name}:{run}").into(),
        None => format!("{stem}:execution:{machine}:{name}").into(),
    }
}

fn meta(row: &ExecutionRow) -> Result<Meta, Error> {
    let name = || format!("execution {}", row.id.0);
    record::decode(&row.new.meta).map_err(|error| named(&name(), error))
}

/// An error with the name by which users know the execution.
pub(crate) fn named(arn: &str, error: Error) -> Error {
    match error {
        Error::Damaged(why) => Error::Damaged(format!("{arn}: {why}")),
        error @ (Error::Rejected { .. }
        | Error::Busy(_)
        | Error::Held(_)
        | Error::Unopened(_)
        | Error::Unusable(_)
        | Error::Broken(_)) => error,
    }
}

/// A failed read is the runtime's failure.
pub(crate) fn broken(error: ReadError) -> Error {
    match &error {
        ReadError::Unreadable(_) => Error::Broken(error.to_string()),
        ReadError::Damaged(_) => Error::Damaged(error.to_string()),
    }
}
