//! The order in which executions get their turns: round robin over tenants. Within one tenant what goes on after a turn
//! that was not enough alternates with what has news, each first come first served: a few executions that compute for
//! long cannot hold up the many that need a moment.

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
    by_tenant: HashMap<Arc<str>, Queues>,
}

/// One tenant's executions with something to do.
#[derive(Default)]
struct Queues {
    with_news: VecDeque<ExecutionId>,
    going_on: VecDeque<ExecutionId>,
    /// The last turn was one with news.
    had_news: bool,
}

impl Ready {
    /// An execution has news.
    pub(super) fn push(&mut self, tenant: &Arc<str>, execution: ExecutionId) {
        if let Some(queues) = self.queues(tenant, execution) {
            queues.with_news.push_back(execution);
        }
    }

    /// An execution's turn was not enough.
    pub(super) fn push_again(&mut self, tenant: &Arc<str>, execution: ExecutionId) {
        if let Some(queues) = self.queues(tenant, execution) {
            queues.going_on.push_back(execution);
        }
    }

    /// Where to queue it, unless it is queued.
    fn queues(&mut self, tenant: &Arc<str>, execution: ExecutionId) -> Option<&mut Queues> {
        if !self.queued.insert(execution) {
            return None;
        }
        let queues = self.by_tenant.entry(tenant.clone()).or_default();
        if queues.is_empty() {
            self.order.push_back(tenant.clone());
        }
        Some(queues)
    }

    pub(super) fn pop(&mut self) -> Option<ExecutionId> {
        let tenant = self.order.pop_front()?;
        let queues = self.by_tenant.get_mut(&tenant)?;
        let execution = queues.pop()?;
        if queues.is_empty() {
            self.by_tenant.remove(&tenant);
        } else {
            self.order.push_back(tenant);
        }
        self.queued.remove(&execution);
        Some(execution)
    }

    /// Whether the next turn is one of an execution that goes on.
    pub(super) fn next_goes_on(&self) -> bool {
        let tenant = self.order.front();
        let queues = tenant.and_then(|tenant| self.by_tenant.get(tenant));
        queues.is_some_and(Queues::next_goes_on)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.with_news.is_empty() && self.going_on.is_empty()
    }

    fn next_goes_on(&self) -> bool {
        !self.going_on.is_empty() && (self.had_news || self.with_news.is_empty())
    }

    fn pop(&mut self) -> Option<ExecutionId> {
        self.had_news = !self.next_goes_on();
        if self.had_news {
            self.with_news.pop_front()
        } else {
            self.going_on.pop_front()
        }
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

    #[test]
    fn what_goes_on_alternates_with_what_has_news() {
        let tenant = "one".into();
        let mut ready = Ready::default();
        for id in 0..3 {
            ready.push_again(&tenant, ExecutionId(id));
            ready.push(&tenant, ExecutionId(10 + id));
        }
        assert!(!ready.next_goes_on());
        let order: Vec<u64> = std::iter::from_fn(|| ready.pop()).map(|id| id.0).collect();
        assert_eq!(order, [10, 0, 11, 1, 12, 2]);
    }
}
