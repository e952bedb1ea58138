//! Who is told of what happens in executions: logs, metrics, traces, events to others. Hides nothing; it is the words that
//! the shards say it in.

use std::sync::Arc;

use stepwell_interp::{Start, Timestamp};

use crate::{api::HistoryEntry, logging::Logging, trace::TraceContext};

/// Public events of one execution that count from now on: durable ones of a STANDARD execution, an EXPRESS one's as they
/// come. Each is told once and in the order of the ids, unless the process dies in between; an EXPRESS execution that a
/// crash made begin again tells of itself again, from the first id on.
#[derive(Clone, Debug)]
pub struct Observed {
    pub tenant: Arc<str>,
    pub execution_arn: Arc<str>,
    /// What was fixed at its start, the state machine's ARN and the input among it.
    pub start: Arc<Start>,
    pub started_at: Timestamp,
    /// How often the execution was redriven by then, and when last.
    pub redrives: u32,
    pub redriven_at: Option<Timestamp>,
    /// What its state machine logs of it.
    pub logging: Option<Logging>,
    /// Where its spans belong, when its state machine traces and the caller's trace does not say that it is not recorded.
    pub trace: Option<TraceContext>,
    /// Never empty.
    pub entries: Vec<HistoryEntry>,
}

impl Observed {
    /// Whether the store has its events: [`crate::Engine::history`] gives those before.
    pub fn is_kept(&self) -> bool {
        !self.start.express
    }

    /// Whether that event only repeats, at the beginning of a fork, what another execution did.
    pub fn is_repeated(&self, entry: &HistoryEntry) -> bool {
        is_repeated(&self.start, entry.id)
    }

    /// The events that this execution did itself.
    pub fn own(&self) -> impl Iterator<Item = &HistoryEntry> {
        self.entries.iter().filter(|entry| !self.is_repeated(entry))
    }
}

/// Whether the event of that id only repeats what the execution did that this one is a fork of.
pub(crate) fn is_repeated(start: &Start, id: u64) -> bool {
    let from = start.forked_from.as_ref();
    id > 1 && from.is_some_and(|from| id <= from.event)
}

/// Is told of the events of all executions.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// Called where executions are worked on: it must not wait.
    fn observe(&self, observed: &Arc<Observed>);
}
