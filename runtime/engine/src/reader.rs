//! Reads of one execution from the store: what recovery folds and what the describing calls show. Hides segments.

use std::sync::Arc;

use stepwell_asl::Program;
use stepwell_interp::{Event, Start, Timestamp, What};
use stepwell_query::Value;

use crate::{
    api::{Execution, ExecutionSummary, Status},
    error::Error,
    journal::{
        ExecutionId, ExecutionRow, Journal, Look, Message, NewExecution, ScopeId, SegmentRange,
        StoredSegment,
    },
    limits::READ_BYTES_MAX,
    programs::{Programs, from_hex},
    record::{self, ChildStart, InboxItem, Meta},
    shard::{Info, Mode, Stored, StoredOpen},
};

/// What a shard needs to take up an execution.
pub(crate) async fn stored(
    journal: &dyn Journal,
    programs: &Programs,
    id: ExecutionId,
) -> Result<Stored, String> {
    let row = journal
        .execution(id)
        .await
        .map_err(|error| error.to_string())?;
    let messages = journal.inbox(id).await.map_err(|error| error.to_string())?;
    let begins = || messages.iter().find_map(beginning);
    match (row, begins()) {
        (Some(row), _) if row.view.status == Status::Running => {
            let meta: Meta = record::decode(&row.new.meta)?;
            let program = program(programs, &meta).await?;
            let events = events(journal, id)
                .await
                .map_err(|error| error.to_string())?;
            Ok(Stored::Open(Box::new(StoredOpen {
                info: Arc::new(info(&meta, &row.new.name)),
                program,
                events,
                messages,
            })))
        }
        (None, Some(start)) => {
            let program = program(programs, &start.meta).await?;
            let open = StoredOpen {
                info: Arc::new(info(&start.meta, &start.name)),
                program,
                events: Vec::new(),
                messages,
            };
            Ok(Stored::New {
                open: Box::new(open),
                new: Box::new(new_execution(&start)),
                mode: if start.express {
                    Mode::ExpressAsync
                } else {
                    Mode::Durable
                },
            })
        }
        (Some(_), _) | (None, None) => Ok(Stored::Closed { messages }),
    }
}

/// What a message begins, when it is one that begins its execution.
fn beginning(message: &Message) -> Option<Box<ChildStart>> {
    match record::decode(&message.payload).ok()? {
        InboxItem::Begin(start) => Some(start),
        InboxItem::Answer { .. }
        | InboxItem::Stop { .. }
        | InboxItem::ChildStarted { .. }
        | InboxItem::ChildEnded { .. } => None,
    }
}

fn new_execution(start: &ChildStart) -> NewExecution {
    NewExecution {
        scope: ScopeId(start.scope),
        version: None,
        alias: None,
        name: start.name.clone(),
        unique_name: start.unique_name,
        started_at: Timestamp(start.started_ms),
        meta: record::encode(&start.meta),
    }
}

fn info(meta: &Meta, name: &str) -> Info {
    Info {
        tenant: meta.tenant.clone(),
        execution_arn: execution_arn(meta, name),
        machine_arn: meta.machine_arn.clone(),
        trace_header: meta.trace_header.clone(),
        parent: meta.parent,
    }
}

async fn program(programs: &Programs, meta: &Meta) -> Result<Arc<Program>, String> {
    let hash = from_hex(&meta.definition).ok_or("a stored execution names no definition")?;
    let found = programs.get(hash).await;
    found
        .map(|(_, program)| program)
        .map_err(|error| error.to_string())
}

/// All events of an execution.
async fn events(journal: &dyn Journal, id: ExecutionId) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    let mut first = 1;
    loop {
        let page = journal
            .segments(id, SegmentRange::From { first }, READ_BYTES_MAX)
            .await
            .map_err(broken)?;
        let Some(last) = page.last() else {
            return Ok(events);
        };
        first = last.first + u64::from(last.segment.events);
        for segment in &page {
            events.extend(decode(segment)?);
        }
    }
}

/// The events of one segment.
pub(crate) fn decode(segment: &StoredSegment) -> Result<Vec<Event>, Error> {
    stepwell_interp::decode(&segment.segment.bytes)
        .map_err(|error| Error::Broken(format!("a stored segment is damaged: {error}")))
}

/// The ARN of a stored execution.
pub(crate) fn execution_arn(meta: &Meta, name: &str) -> Arc<str> {
    let (stem, machine) = meta
        .machine_arn
        .split_once(":stateMachine:")
        .unwrap_or((&meta.machine_arn, ""));
    match &meta.express_run {
        Some(run) => format!("{stem}:express:{machine}:{name}:{run}").into(),
        None => format!("{stem}:execution:{machine}:{name}").into(),
    }
}

/// An execution in a list, from its row alone.
pub(crate) fn summary(row: &ExecutionRow) -> Result<ExecutionSummary, Error> {
    let meta: Meta = record::decode(&row.new.meta).map_err(Error::Broken)?;
    Ok(ExecutionSummary {
        arn: execution_arn(&meta, &row.new.name),
        name: row.new.name.clone(),
        machine_arn: meta.machine_arn,
        version_arn: meta.version_arn,
        alias_arn: meta.alias_arn,
        status: row.view.status,
        started_at: row.new.started_at,
        stopped_at: row.view.stopped_at,
        redrive_count: row.view.redrive_count,
        redriven_at: row.view.redriven_at,
    })
}

/// An execution as DescribeExecution shows it.
pub(crate) fn describe(look: &Look) -> Result<Execution, Error> {
    let row = &look.row;
    let meta: Meta = record::decode(&row.new.meta).map_err(Error::Broken)?;
    let first = look.first.as_ref().map_or_else(|| Ok(Vec::new()), decode)?;
    let input = start_of(&first).map_or(Value::Null, |start| start.input.clone());
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
        redrive_count: row.view.redrive_count,
        redriven_at: row.view.redriven_at,
    };
    if row.view.status != Status::Running {
        let last = look.last.as_ref().map_or(Ok(first), decode)?;
        close(&mut execution, last.last());
    }
    Ok(execution)
}

/// Fills in how an execution ended, from its last event.
fn close(execution: &mut Execution, last: Option<&Event>) {
    match last.map(|event| &event.what) {
        Some(What::ExecutionSucceeded { output }) => execution.output = Some(output.clone()),
        Some(What::ExecutionFailed { error, cause } | What::ExecutionAborted { error, cause }) => {
            execution.error.clone_from(error);
            execution.cause.clone_from(cause);
        }
        // DescribeExecution has neither error nor cause for TIMED_OUT.
        Some(_) | None => {}
    }
}

/// The input of a stored execution, to compare a second StartExecution of its name with.
pub(crate) async fn input_of(
    journal: &dyn Journal,
    id: ExecutionId,
) -> Result<Option<Value>, Error> {
    let first = edge(journal, id, SegmentRange::From { first: 1 }).await?;
    Ok(start_of(&first).map(|start| start.input.clone()))
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
    segments.first().map_or_else(|| Ok(Vec::new()), decode)
}

fn start_of(events: &[Event]) -> Option<&Start> {
    match &events.first()?.what {
        What::ExecutionStarted { start, .. } => Some(start),
        _ => None,
    }
}

/// A failed read is the runtime's failure.
pub(crate) fn broken(error: crate::journal::ReadError) -> Error {
    Error::Broken(error.to_string())
}
