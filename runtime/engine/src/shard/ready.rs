//! The order in which executions get their turns: round robin over tenants, first come first served within one.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use crate::journal::ExecutionId;

/// Executions with something to do, each at most once.
#[derive(Default)]
pub(super) struct Ready {
    queued: HashSet<ExecutionId>,
    /// Tenants with work, in the order of their next turn.
    order: VecDeque<Arc<str>>,
    by_tenant: HashMap<Arc<str>, VecDeque<ExecutionId>>,
}

impl Ready {
    pub(super) fn push(&mut self, tenant: &Arc<str>, execution: ExecutionId) {
        if !self.queued.insert(execution) {
            return;
        }
        let queue = self.by_tenant.entry(tenant.clone()).or_default();
        if queue.is_empty() {
            self.order.push_back(tenant.clone());
        }
        queue.push_back(execution);
    }

    pub(super) fn pop(&mut self) -> Option<ExecutionId> {
        let tenant = self.order.pop_front()?;
        let queue = self.by_tenant.get_mut(&tenant)?;
        let execution = queue.pop_front()?;
        if queue.is_empty() {
            self.by_tenant.remove(&tenant);
        } else {
            self.order.push_back(tenant);
        }
        self.queued.remove(&execution);
        Some(execution)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Ready;
    use crate::journal::ExecutionId;

    #[test]
    fn a_flooding_tenant_leaves_others_their_turns() {
        let (noisy, quiet) = ("noisy".into(), "quiet".into());
        let mut ready = Ready::default();
        for id in 0..100 {
            ready.push(&noisy, ExecutionId(id));
        }
        ready.push(&quiet, ExecutionId(1_000));
        ready.push(&quiet, ExecutionId(1_000));
        let order: Vec<u64> = std::iter::from_fn(|| ready.pop()).map(|id| id.0).collect();
        assert_eq!(order.len(), 101);
        assert_eq!(order[1], 1_000);
    }
}
