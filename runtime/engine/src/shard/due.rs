//! Executions by the time at which something is due. Hides that several may be due at the same time.

use std::collections::BTreeSet;

use stepwell_interp::Timestamp;

use crate::journal::ExecutionId;

/// See the module.
#[derive(Default)]
pub(super) struct Due(BTreeSet<(Timestamp, ExecutionId)>);

impl Due {
    pub(super) fn insert(&mut self, at: Timestamp, execution: ExecutionId) {
        self.0.insert((at, execution));
    }

    pub(super) fn remove(&mut self, at: Timestamp, execution: ExecutionId) {
        self.0.remove(&(at, execution));
    }

    /// Takes the first that is due by now.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<ExecutionId> {
        let (at, execution) = self.0.first().copied()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some(execution)
    }

    /// When the first is due.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, _)| *at)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(ExecutionId) -> bool) {
        self.0.retain(|(_, execution)| keep(*execution));
    }
}
