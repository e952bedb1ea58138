//! What a shard takes up: an execution or map run folded from its log, or begun by a message. Hides where its definition is.

use std::sync::Arc;

use stepwell_asl::Program;
use stepwell_interp::Timestamp;

use super::{
    broken, execution_arn,
    log::{damaged, each_event},
    meta, named,
};
use crate::{
    api::Status,
    error::Error,
    journal::{ExecutionId, ExecutionRow, Journal, Message, NewExecution, ScopeId},
    map_run,
    programs::{Programs, from_hex},
    record::{self, Child, ChildStart, InboxItem, MapRunBegin, Meta},
    shard::{Info, LoadError, Mode, Stored, StoredOpen, Subject},
};

/// What a shard needs to take up an execution; one that is closed only when it is to be redriven.
pub(crate) async fn stored(
    journal: &dyn Journal,
    programs: &Programs,
    id: ExecutionId,
    closed_too: bool,
) -> Result<Stored, LoadError> {
    let row = journal.execution(id).await.map_err(broken)?;
    let messages = journal.inbox(id).await.map_err(broken)?;
    let begins = || messages.iter().find_map(beginning);
    let reopens = closed_too || messages.iter().any(is_redrive);
    match (row, begins()) {
        (Some(row), _) if reopens || row.view.status == Status::Running => {
            let meta = meta(&row)?;
            let info = info(&meta, &row.new.name);
            let named = |error| named(&info.execution_arn, error);
            let program = program(programs, id, &meta).await.map_err(named)?;
            let subject = folded(journal, &row, &meta).await.map_err(named)?;
            Ok(Stored::Open(Box::new(StoredOpen {
                info: Arc::new(info),
                program,
                subject,
                messages,
            })))
        }
        (None, Some(Beginning::MapRun(begin))) => {
            let open = StoredOpen {
                info: Arc::new(info(&begin.meta, &begin.name)),
                program: program(programs, id, &begin.meta).await?,
                subject: Subject::MapRun(Box::default()),
                messages,
            };
            Ok(Stored::New {
                open: Box::new(open),
                new: Box::new(map_run::new_map_run(&begin)),
                mode: Mode::Durable,
            })
        }
        (None, Some(Beginning::Execution(start))) => {
            let program = program(programs, id, &start.meta).await?;
            let open = StoredOpen {
                info: Arc::new(info(&start.meta, &start.name)),
                program,
                subject: Subject::default(),
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
        (Some(_), _) => Ok(Stored::Closed {
            messages,
            exists: true,
        }),
        (None, None) => Ok(Stored::Closed {
            messages,
            exists: false,
        }),
    }
}

/// Whether a message lets a closed execution or map run go on.
fn is_redrive(message: &Message) -> bool {
    let item = record::decode(&message.payload);
    item.is_ok_and(|item| matches!(item, InboxItem::Redrive | InboxItem::RedriveMapRun { .. }))
}

/// What a message begins, when it is one that begins its execution.
fn beginning(message: &Message) -> Option<Beginning> {
    match record::decode(&message.payload).ok()? {
        InboxItem::Begin(start) => Some(Beginning::Execution(start)),
        InboxItem::BeginMapRun(begin) => Some(Beginning::MapRun(begin)),
        InboxItem::Admitted
        | InboxItem::Line(_)
        | InboxItem::Status(_)
        | InboxItem::Answer { .. }
        | InboxItem::Stop { .. }
        | InboxItem::Redrive
        | InboxItem::RedriveMapRun { .. }
        | InboxItem::ChildStarted { .. }
        | InboxItem::ChildEnded { .. }
        | InboxItem::MapRunEnded { .. }
        | InboxItem::ChangeMapRun { .. } => None,
    }
}

enum Beginning {
    Execution(Box<ChildStart>),
    MapRun(Box<MapRunBegin>),
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
        definition: meta.definition.as_str().into(),
        revision_id: meta.revision_id.clone(),
        revised_ms: meta.revised_ms,
        logging: meta.logging.clone(),
        line: meta.line.clone(),
        traced: meta.traced,
    }
}

async fn program(programs: &Programs, id: ExecutionId, meta: &Meta) -> Result<Arc<Program>, Error> {
    let hash = from_hex(&meta.definition).ok_or_else(|| damaged(&id, &"it names no definition"))?;
    programs.get(hash).await.map(|(_, program)| program)
}

/// What the log of an execution or map run folds to.
pub(crate) async fn folded(
    journal: &dyn Journal,
    row: &ExecutionRow,
    meta: &Meta,
) -> Result<Subject, Error> {
    let mut subject = match meta.parent.map(|parent| parent.of) {
        Some(Child::MapRun { .. }) => Subject::MapRun(Box::default()),
        Some(Child::Job { .. } | Child::Free { .. } | Child::Item { .. }) | None => {
            Subject::default()
        }
    };
    each_event(journal, row, |event| subject.evolve(event)).await?;
    Ok(subject)
}
