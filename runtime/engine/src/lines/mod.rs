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
mod ranked;
mod settings;
mod starts;
mod stored;
mod turns;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use crate::{
    api::{LineCount, Waiting},
    journal::{ExecutionId, ExecutionRow, Partition, ScopeId, Status},
    limits::{PARTITIONS, WAITING_MAX},
    record::{InLine, LineMachine, Meta},
};

pub(crate) use order::{Asked, Line};
pub use settings::Exceeding;
pub(crate) use settings::{Concurrency, UsualConcurrency, changes, of_tags, within};
pub(crate) use stored::{LineRecord, StoredLine, record_key, stored};

/// Calls a line's shard to look again.
type Nudge = Box<dyn Fn(ExecutionId) + Send + Sync>;

/// The lines that this node keeps. Each has a lock of its own, so that nobody waits for another one's line. See the module.
#[derive(Default)]
pub(crate) struct Lines {
    kept: Mutex<HashMap<ExecutionId, Arc<Mutex<Line>>>>,
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
        let execution = self.execution;
        let given_back = self
            .lines
            .change(self.line, |line| line.give_back(execution));
        if let (Some(true), Some(nudge)) = (given_back, self.lines.nudge.get()) {
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
    fn kept(&self) -> MutexGuard<'_, HashMap<ExecutionId, Arc<Mutex<Line>>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, address: ExecutionId) -> Option<Arc<Mutex<Line>>> {
        self.kept().get(&address).cloned()
    }

    /// Who is called when there is room that no message tells of. Once, before the first line.
    pub(crate) fn on_room(&self, nudge: Nudge) {
        let _ = self.nudge.set(nudge);
    }

    /// Keeps a line as the store has it. Places that nothing durable tells of stay taken.
    pub(crate) fn put(&self, address: ExecutionId, mut line: Line) {
        let before = {
            let mut kept = self.kept();
            let Some(before) = kept.get(&address) else {
                kept.insert(address, Arc::new(Mutex::new(line)));
                return;
            };
            before.clone()
        };
        // In its place: who has found it already must not take a place in one that nobody looks at any more.
        let mut before = locked(&before);
        line.take_reserved(&mut before);
        *before = line;
    }

    pub(crate) fn remove(&self, address: ExecutionId) {
        self.kept().remove(&address);
    }

    /// Lets go of a line in which nobody stands; whether it did.
    pub(crate) fn remove_empty(&self, address: ExecutionId) -> bool {
        let mut kept = self.kept();
        let empty = kept
            .get(&address)
            // Who has found it may be about to take a place in it.
            .is_some_and(|line| Arc::strong_count(line) == 1 && locked(line).is_empty());
        if empty {
            kept.remove(&address);
        }
        empty
    }

    pub(crate) fn knows(&self, address: ExecutionId) -> bool {
        self.kept().contains_key(&address)
    }

    /// The lines of an account, with their state machines.
    pub(crate) fn of_tenant(&self, tenant: &str) -> Vec<(ExecutionId, LineMachine)> {
        let kept = self.kept();
        let lines: Vec<_> = kept.iter().map(|(at, line)| (*at, line.clone())).collect();
        drop(kept);
        let machines = lines
            .into_iter()
            .map(|(at, line)| (at, locked(&line).machine().clone()));
        machines
            .filter(|(_, machine)| *machine.tenant == *tenant)
            .collect()
    }

    /// Changes a line, or does nothing when it is not kept here.
    pub(crate) fn change<T>(
        &self,
        address: ExecutionId,
        change: impl FnOnce(&mut Line) -> T,
    ) -> Option<T> {
        let line = self.line(address)?;
        let changed = change(&mut locked(&line));
        Some(changed)
    }

    /// Takes a place at once; `None` when the line is not kept here, so that nobody here can tell.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        address: ExecutionId,
        execution: ExecutionId,
        key: &Arc<str>,
    ) -> Result<Option<Reservation>, NoRoom> {
        let Some(reserved) = self.change(address, |line| line.reserve(execution, key)) else {
            return Ok(None);
        };
        reserved?;
        Ok(Some(Reservation {
            lines: self.clone(),
            line: address,
            execution,
            settled: false,
        }))
    }

    /// Refuses one more where as many wait as may.
    pub(crate) fn has_room_to_wait(&self, address: ExecutionId) -> Result<(), NoRoom> {
        let line = self.line(address);
        let waiting = line.map_or(0, |line| locked(&line).waiting());
        match waiting < WAITING_MAX {
            true => Ok(()),
            false => Err(NoRoom::Waiting(waiting)),
        }
    }

    /// What there is to say of an execution that waits; `None` when it does not.
    pub(crate) fn waiting(&self, row: &ExecutionRow, meta: &Meta) -> Option<Waiting> {
        let InLine { line, key, .. } = line_of(row, meta)?;
        let (position, of) = match self.line(ExecutionId(line)) {
            // Another node keeps it: that it waits is all that can be told here.
            None => (None, None),
            Some(line) => {
                let line = locked(&line);
                (Some(line.position(row.id)?), Some(line.waiting() as u64))
            }
        };
        Some(Waiting {
            since: row.new.started_at,
            key: Some(key).filter(|key| !key.is_empty()),
            position,
            of,
        })
    }

    /// How many wait before each state machine, and how many have a place; the longest line first.
    pub(crate) fn counts(&self) -> Vec<LineCount> {
        // In one go: a line that somebody else has in hand is not let go of.
        let kept = self.kept();
        let mut counts: Vec<LineCount> = kept.values().map(|line| locked(line).count()).collect();
        drop(kept);
        counts.sort_by(|one, other| {
            let by_length = other.waiting.cmp(&one.waiting);
            by_length.then_with(|| one.machine_arn.cmp(&other.machine_arn))
        });
        counts
    }
}

fn locked(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
