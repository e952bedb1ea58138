//! The partitions that a shard's node holds, for how long that is sure, and what becomes of executions whose partition
//! is lost.

use std::collections::BTreeMap;

use stepwell_interp::Timestamp;

use super::{
    Shard,
    border::{Monotonic, Out},
    loaded::Loaded,
    waiting::Waiting,
};
use crate::journal::{Epoch, ExecutionId, Partition};

/// See the module. Appends to partitions that are not held are not attempted.
pub(super) struct Leases {
    held: BTreeMap<Partition, Epoch>,
    /// When they were asked for, and the time now: dispatching stops before another node may have taken them.
    asked: Monotonic,
    now: Monotonic,
    fresh_ms: u64,
}

impl Leases {
    pub(super) fn new(fresh_ms: u64) -> Leases {
        Leases {
            held: BTreeMap::new(),
            asked: Monotonic(0),
            now: Monotonic(0),
            fresh_ms,
        }
    }

    pub(super) fn hold(&self, execution: ExecutionId) -> bool {
        self.held.contains_key(&execution.partition())
    }

    pub(super) fn epoch(&self, execution: ExecutionId) -> Option<Epoch> {
        self.held.get(&execution.partition()).copied()
    }

    /// Whether no other node can have taken them by now.
    pub(super) fn are_fresh(&self) -> bool {
        self.now.0.saturating_sub(self.asked.0) < self.fresh_ms
    }
}

impl Shard {
    /// Brings the monotonic time. While the leases are old by it, nothing is dispatched.
    pub(crate) fn pass(&mut self, monotonic: Monotonic) {
        self.leases.now = monotonic;
        if self.leases.are_fresh() {
            self.out.extend(self.attempts.release());
        }
    }

    /// The node's leases changed: what is no longer held is dropped without another append. So is what was lost and
    /// taken again meanwhile (its epoch tells): another node may have gone on with it. Recovery folds it anew.
    pub(super) fn renew_leases(
        &mut self,
        now: Timestamp,
        held: BTreeMap<Partition, Epoch>,
        asked: Monotonic,
    ) {
        self.leases.asked = asked;
        self.drop_lines(&held);
        let lost = |execution: &ExecutionId| {
            let epoch = held.get(&execution.partition()).copied();
            epoch.is_none() || epoch != self.leases.epoch(*execution)
        };
        let mut gone: Vec<ExecutionId> = self.loaded.keys().copied().filter(lost).collect();
        gone.sort_unstable();
        for execution in gone {
            if let Some(loaded) = self.forget(now, execution) {
                self.drop_execution(now, execution, loaded);
            }
        }
        self.leases.held = held;
        let leases = &self.leases;
        let gone = self
            .loading
            .extract_if(|execution, _| !leases.hold(*execution));
        let mut gone: Vec<Waiting> = gone.flat_map(|(_, waiting)| waiting).collect();
        self.charge_untaken(now, &mut gone);
        gone.into_iter().for_each(Waiting::lose);
        let leases = &self.leases;
        self.reloads.retain(|execution| leases.hold(execution));
    }

    /// Another node goes on with it.
    pub(super) fn drop_execution(
        &mut self,
        now: Timestamp,
        execution: ExecutionId,
        mut loaded: Loaded,
    ) {
        self.charge_untaken(now, &mut loaded.inbox);
        self.owed.add(now, loaded.take_unflushed_spent());
        for flight in loaded.in_flight.iter_mut().filter(|flight| !flight.durable) {
            let spent = flight.take_spent();
            match self.writes.is_under_way(flight.ticket) {
                true => self.writes.keep_spent(flight.ticket, spent),
                false => self.owed.add(now, spent),
            }
        }
        let mine = self.attempts.end_all(execution).into_iter();
        self.out
            .extend(mine.map(|task| Out::Cancel { execution, task }));
        loaded.refuse_all();
    }
}
