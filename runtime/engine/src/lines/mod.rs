//! Lines: which executions of a state machine with a concurrency limit have a place, and who waits for one. Hides the order
//! in which places are given, and that a line is kept by one shard alone.
//!
//! A line has an address like an execution's, on the partition that its list's number names, and an inbox there. An execution
//! says in its own appends that it began (`LineItem::Asks`) and that it ended (`LineItem::Leaves`); until it is admitted it
//! does nothing. What waits is what lies in the inbox; who has a place is a record, written before anyone is told of it. So the
//! store knows all of it, and no crash loses a place or gives one twice. `shard::lines` does the writing; the state in memory
//! stands here, where those who start and describe executions see it.

mod key;
mod order;
mod settings;
mod starts;
mod stored;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use stepwell_interp::Timestamp;

use crate::{
    api::{LineCount, Waiting},
    journal::{ExecutionId, ExecutionRow, Partition, ScopeId, Status},
    limits::{LISTED_POSITIONS_MAX, PARTITIONS, TOLD_POSITIONS_MAX, WAITING_MAX},
    record::{InLine, Meta},
};

pub(crate) use order::{Asked, Line};
pub(crate) use settings::{Concurrency, changes, of_tags};
pub(crate) use stored::{LineRecord, StoredLine, record_key, stored};

/// Calls a line's shard to look again.
type Nudge = Box<dyn Fn(ExecutionId) + Send + Sync>;

/// The lines that this node keeps. See the module.
#[derive(Default)]
pub(crate) struct Lines {
    kept: Mutex<HashMap<ExecutionId, Line>>,
    nudge: OnceLock<Nudge>,
}

/// Why an execution got no place at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// So many run.
    All(u32),
    /// So many of its key run.
    Key(u32),
    /// So many wait already.
    Waiting(usize),
}

/// A place that an execution has of which nothing durable tells yet, or never will. Given back when it is dropped.
pub(crate) struct Reservation {
    lines: Arc<Lines>,
    line: ExecutionId,
    execution: ExecutionId,
    settled: bool,
}

impl Reservation {
    /// What is durable tells of it from now on.
    pub(crate) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut kept = self.lines.kept();
        let line = kept.get_mut(&self.line);
        let given_back = line.is_some_and(|line| line.give_back(self.execution));
        drop(kept);
        if let (true, Some(nudge)) = (given_back, self.lines.nudge.get()) {
            nudge(self.line);
        }
    }
}

/// The address of the line before the executions of a list.
pub(crate) fn address(list: ScopeId) -> ExecutionId {
    let partition = u16::try_from(list.0 % u64::from(PARTITIONS)).unwrap_or(0);
    ExecutionId::line(list, Partition(partition))
}

/// The line of an execution that may wait, by its row: it is open and has done nothing.
fn line_of(row: &ExecutionRow, meta: &Meta) -> Option<InLine> {
    let open = row.view.status == Status::Running;
    let line = meta.line.clone();
    line.filter(|line| open && line.is_unbegun(row.next))
}

impl Lines {
    fn kept(&self) -> MutexGuard<'_, HashMap<ExecutionId, Line>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is called when there is room that no message tells of. Once, before the first line.
    pub(crate) fn on_room(&self, nudge: Nudge) {
        let _ = self.nudge.set(nudge);
    }

    /// Keeps a line as the store has it. Places that nothing durable tells of stay taken.
    pub(crate) fn put(&self, address: ExecutionId, mut line: Line) {
        let mut kept = self.kept();
        if let Some(before) = kept.remove(&address) {
            line.take_reserved(before);
        }
        kept.insert(address, line);
    }

    pub(crate) fn remove(&self, address: ExecutionId) {
        self.kept().remove(&address);
    }

    pub(crate) fn knows(&self, address: ExecutionId) -> bool {
        self.kept().contains_key(&address)
    }

    /// Changes a line, or does nothing when it is not kept here.
    pub(crate) fn change<T>(
        &self,
        address: ExecutionId,
        change: impl FnOnce(&mut Line) -> T,
    ) -> Option<T> {
        self.kept().get_mut(&address).map(change)
    }

    /// Takes a place at once; `None` when the line is not kept here, so that nobody here can tell.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        address: ExecutionId,
        execution: ExecutionId,
        key: &Arc<str>,
    ) -> Result<Option<Reservation>, NoRoom> {
        let mut kept = self.kept();
        let Some(line) = kept.get_mut(&address) else {
            return Ok(None);
        };
        line.reserve(execution, key)?;
        Ok(Some(Reservation {
            lines: self.clone(),
            line: address,
            execution,
            settled: false,
        }))
    }

    /// Refuses one more where as many wait as may.
    pub(crate) fn has_room_to_wait(&self, address: ExecutionId) -> Result<(), NoRoom> {
        let waiting = self.kept().get(&address).map_or(0, Line::waiting);
        match waiting < WAITING_MAX {
            true => Ok(()),
            false => Err(NoRoom::Waiting(waiting)),
        }
    }

    /// What there is to say of an execution that waits; `None` when it does not.
    pub(crate) fn waiting(&self, row: &ExecutionRow, meta: &Meta) -> Option<Waiting> {
        self.told(row, meta, TOLD_POSITIONS_MAX)
    }

    /// The same in a list: positions are told of shorter lines alone, since each of them is counted.
    pub(crate) fn listed(&self, row: &ExecutionRow, meta: &Meta) -> Option<Waiting> {
        self.told(row, meta, LISTED_POSITIONS_MAX)
    }

    fn told(&self, row: &ExecutionRow, meta: &Meta, counted_max: usize) -> Option<Waiting> {
        let InLine { line, key, .. } = line_of(row, meta)?;
        let kept = self.kept();
        let line = kept.get(&ExecutionId(line));
        // Another node keeps it: that it waits is all that can be told here.
        let (position, of) = match line {
            None => (None, None),
            Some(line) if line.waiting() <= counted_max => {
                (Some(line.position(row.id)?), Some(line.waiting() as u64))
            }
            Some(line) => (None, line.waits(row.id).then(|| line.waiting() as u64)),
        };
        if line.is_some() && of.is_none() {
            return None;
        }
        Some(Waiting {
            since: row.new.started_at,
            key: Some(key).filter(|key| !key.is_empty()),
            position,
            of,
        })
    }

    /// How many wait before each state machine, and how many have a place; the longest line first.
    pub(crate) fn counts(&self) -> Vec<LineCount> {
        let kept = self.kept();
        let mut counts: Vec<LineCount> = kept.values().map(Line::count).collect();
        drop(kept);
        counts.sort_by(|one, other| {
            let by_length = other.waiting.cmp(&one.waiting);
            by_length.then_with(|| one.machine_arn.cmp(&other.machine_arn))
        });
        counts
    }
}

/// Since when the first of a line waits.
fn oldest(since: impl Iterator<Item = Timestamp>) -> Option<Timestamp> {
    since.min()
}
