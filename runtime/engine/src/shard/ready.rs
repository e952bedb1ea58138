//! The order in which executions get their turns: round robin over tenants. Within one tenant what goes on after a turn
//! that was not enough alternates with what has news, each first come first served, and has no more of the time: a few
//! executions that compute for long cannot hold up the many that need a moment.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use crate::journal::ExecutionId;

/// What is remembered of a lead at most: what has news and much to do must not keep the rest waiting for long.
const AHEAD_MS_MAX: u64 = 1_000;

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
    /// Milliseconds that what goes on has had more than what has news.
    ahead_ms: u64,
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

    /// The execution whose turn it is, with its tenant.
    pub(super) fn pop(&mut self) -> Option<(Arc<str>, ExecutionId)> {
        let tenant = self.order.pop_front()?;
        let queues = self.by_tenant.get_mut(&tenant)?;
        let execution = queues.pop()?;
        if !queues.is_empty() {
            self.order.push_back(tenant.clone());
        }
        self.queued.remove(&execution);
        Some((tenant, execution))
    }

    /// How long the last turn of that tenant took.
    pub(super) fn took(&mut self, tenant: &Arc<str>, ms: u64) {
        let Some(queues) = self.by_tenant.get_mut(tenant) else {
            return;
        };
        let ahead_ms = match queues.had_news {
            true => queues.ahead_ms.saturating_sub(ms),
            false => queues.ahead_ms.saturating_add(ms),
        };
        queues.ahead_ms = ahead_ms.min(AHEAD_MS_MAX);
        if queues.is_empty() {
            self.by_tenant.remove(tenant);
        }
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
        let due = self.had_news && self.ahead_ms == 0;
        !self.going_on.is_empty() && (due || self.with_news.is_empty())
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

    /// All that have turns, in their order. Those below 10 take three times as long.
    fn all(ready: &mut Ready, ms: u64) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some((tenant, ExecutionId(id))) = ready.pop() {
            ready.took(&tenant, if id < 10 { 3 * ms } else { ms });
            order.push(id);
        }
        order
    }

    #[test]
    fn a_flooding_tenant_leaves_others_their_turns() {
        let (noisy, quiet) = ("noisy".into(), "quiet".into());
        let mut ready = Ready::default();
        for id in 0..100 {
            ready.push(&noisy, ExecutionId(id));
        }
        ready.push(&quiet, ExecutionId(1_000));
        ready.push(&quiet, ExecutionId(1_000));
        let order: Vec<u64> = all(&mut ready, 0);
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
        assert_eq!(all(&mut ready, 0), [10, 0, 11, 1, 12, 2]);
    }

    #[test]
    fn what_goes_on_has_no_more_time_than_what_has_news() {
        let tenant = "one".into();
        let mut ready = Ready::default();
        ready.push_again(&tenant, ExecutionId(0));
        ready.push_again(&tenant, ExecutionId(1));
        for id in 10..20 {
            ready.push(&tenant, ExecutionId(id));
        }
        // The turns of those that go on take 300 ms, those of the others 100.
        let order = all(&mut ready, 100);
        assert_eq!(order[..3], [10, 0, 11], "{order:?}");
        let second = order.iter().position(|id| *id == 1);
        assert_eq!(second, Some(5), "three times as many: {order:?}");
    }
}
