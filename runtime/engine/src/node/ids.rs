//! Fresh ids of executions. Hides that each is greater than all that this node gave before.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use stepwell_interp::{ChildId, Timestamp};

use super::{Node, now};
use crate::{
    error::Error,
    journal::{ExecutionId, Partition},
};

/// See the module.
#[derive(Default)]
pub(super) struct Ids {
    last: AtomicU64,
}

impl Ids {
    pub(super) fn fresh(&self, partition: Partition, at: Timestamp) -> ExecutionId {
        let fresh = ExecutionId::new(at.0, 0, partition).0 >> 10;
        let previous = self
            .last
            .fetch_update(SeqCst, SeqCst, |last| {
                Some(last.saturating_add(1).max(fresh))
            })
            .unwrap_or_else(|last| last);
        let stem = previous.saturating_add(1).max(fresh);
        ExecutionId(stem << 10 | u64::from(partition.0))
    }
}

impl Node {
    /// A fresh id on a partition of this node, in turn.
    pub(crate) fn new_execution_id(&self, at: Timestamp) -> Result<ExecutionId, Error> {
        let partition = self.leases.next_partition();
        let none = || Error::Busy("this engine serves no executions now".to_owned());
        Ok(self.ids.fresh(partition.ok_or_else(none)?, at))
    }

    /// Fresh ids for the children of a map run, on all partitions of this node in turn; fewer, when it lost them all.
    pub(super) fn child_ids(&self, count: usize) -> Vec<ChildId> {
        let at = now();
        let ids = (0..count).map_while(|_| self.new_execution_id(at).ok());
        ids.map(|id| ChildId(id.0)).collect()
    }
}
