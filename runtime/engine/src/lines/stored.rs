//! What the store holds of a line: its inbox, the record of those that have a place, and the limits of its state machine.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Concurrency, of_tags, within};
use crate::{
    journal::{CatalogKey, ExecutionId, Journal, Message},
    machines,
    quotas::Allowances,
    reader,
    record::{self, InboxItem, LineItem, LineMachine, MachineRecord},
    shard::LoadError,
};

/// Kind of the records of lines, which belong to the installation.
const KIND: &str = "line";

/// Stored form, codec v1: who has a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LineRecord {
    pub(crate) machine: LineMachine,
    /// Executions with their keys.
    pub(crate) running: Vec<(u64, Arc<str>)>,
}

/// A line to keep.
pub(crate) struct StoredLine {
    /// `None` when nothing is stored of it.
    pub(crate) machine: Option<LineMachine>,
    pub(crate) limits: Option<Concurrency>,
    pub(crate) running: Vec<(u64, Arc<str>)>,
    /// Of the record; 0 when there is none.
    pub(crate) revision: u64,
    pub(crate) messages: Vec<Message>,
}

pub(crate) fn record_key(line: ExecutionId) -> CatalogKey {
    CatalogKey {
        tenant: "".into(),
        kind: KIND.into(),
        name: line.0.to_string().into(),
    }
}

/// Reads a line. `machine` says whose it is, where that is known.
pub(crate) async fn stored(
    journal: &dyn Journal,
    allowances: &Allowances,
    line: ExecutionId,
    machine: Option<LineMachine>,
) -> Result<StoredLine, LoadError> {
    // The inbox first: who left it since has a place in the record.
    let messages = journal.inbox(line).await.map_err(reader::broken)?;
    let stored = journal.get(&record_key(line)).await;
    let stored = stored.map_err(reader::broken)?;
    let (revision, record) = match stored {
        Some(stored) => {
            let record: LineRecord = record::decode(&stored.bytes)?;
            (stored.revision, Some(record))
        }
        None => (0, None),
    };
    let asked = || messages.iter().find_map(machine_of);
    let (of_record, running) = match record {
        Some(record) => (Some(record.machine), record.running),
        None => (None, Vec::new()),
    };
    let machine = machine.or(of_record).or_else(asked);
    let limits = match &machine {
        Some(machine) => limits(journal, allowances, machine).await?,
        None => None,
    };
    Ok(StoredLine {
        machine,
        limits,
        running,
        revision,
        messages,
    })
}

/// The limits of a state machine by now; none when it is gone or being deleted: its executions were asked to stop, and who is
/// left shall not wait for ever.
async fn limits(
    journal: &dyn Journal,
    allowances: &Allowances,
    machine: &LineMachine,
) -> Result<Option<Concurrency>, LoadError> {
    let Some(key) = machines::key_by_arn(&machine.tenant, &machine.arn) else {
        return Ok(None);
    };
    let stored = journal.get(&key).await.map_err(reader::broken)?;
    let record = stored.map(|stored| record::decode::<MachineRecord>(&stored.bytes));
    let Some(record) = record.transpose()?.filter(|record| !record.deleting) else {
        return Ok(None);
    };
    let own = of_tags(&record.tags).unwrap_or_else(|why| {
        tracing::error!(
            machine = &*machine.arn,
            why,
            "tags set no limit: they are wrong"
        );
        None
    });
    Ok(within(own, allowances.machine_concurrency(&machine.tenant)))
}

fn machine_of(message: &Message) -> Option<LineMachine> {
    let InboxItem::Line(item) = record::decode(&message.payload).ok()? else {
        return None;
    };
    match item {
        LineItem::Asks { machine, .. }
        | LineItem::Rejoins { machine, .. }
        | LineItem::Changed { machine } => Some(machine),
        LineItem::Leaves { .. } => None,
    }
}
