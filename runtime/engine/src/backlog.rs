//! How many map runs of an account are open at a time: the others wait, begun and with nothing read, until one has ended,
//! as on AWS (developer guide, quotas and metrics: backlogged Map Runs wait at MapRunStarted). Hides the queues.
//!
//! It is memory of one node, which counts the map runs that it has asked to read since it was started: one that had read all
//! its items before does not count.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{
    journal::{ExecutionId, Partition},
    limits::{MAP_RUNS_MAX, MAP_RUNS_MAX_RAISED},
};

/// See the module. One for a node.
#[derive(Default)]
pub(crate) struct Backlog(Mutex<BTreeMap<Arc<str>, Account>>);

#[derive(Default)]
struct Account {
    open: BTreeSet<ExecutionId>,
    /// Those that wait, first come first; each may be woken once.
    waiting: VecDeque<(ExecutionId, oneshot::Sender<()>)>,
    most: usize,
}

impl Backlog {
    /// Answers when the map run may read. At once when it is open or has read before, which `has_begun` says; never when it
    /// ends before its turn: the answer is an error then, and nothing is to be read.
    pub(crate) fn turn(
        &self,
        tenant: &Arc<str>,
        map_run: ExecutionId,
        has_begun: bool,
        raised: bool,
    ) -> Option<oneshot::Receiver<()>> {
        let mut accounts = self.lock();
        let account = accounts.entry(tenant.clone()).or_default();
        account.most = if raised {
            MAP_RUNS_MAX_RAISED
        } else {
            MAP_RUNS_MAX
        };
        if account.open.contains(&map_run) {
            return None;
        }
        if has_begun || account.open.len() < account.most && account.waiting.is_empty() {
            account.open.insert(map_run);
            return None;
        }
        if account.waiting.is_empty() {
            let (tenant, most) = (&**tenant, account.most);
            tracing::warn!(
                tenant,
                most,
                "map runs wait: as many are open as an account may have"
            );
        }
        let (wake, turn) = oneshot::channel();
        // One that was folded anew asks again, and has its place in the queue still.
        match account.waiting.iter_mut().find(|(id, _)| *id == map_run) {
            Some((_, waiting)) => *waiting = wake,
            None => account.waiting.push_back((map_run, wake)),
        }
        Some(turn)
    }

    /// The map run has ended, whether it had its turn or not.
    pub(crate) fn over(&self, map_run: ExecutionId) {
        self.drop_those(|id| id == map_run);
    }

    /// Another node serves what is on other partitions than these.
    pub(crate) fn keep(&self, held: &[Partition]) {
        self.drop_those(|id| !held.contains(&id.partition()));
    }

    /// Map runs that wait, of all accounts.
    #[cfg(test)]
    fn waiting(&self) -> u64 {
        self.lock()
            .values()
            .map(|account| account.waiting.len() as u64)
            .sum()
    }

    fn drop_those(&self, drops: impl Fn(ExecutionId) -> bool) {
        let mut accounts = self.lock();
        for account in accounts.values_mut() {
            account.open.retain(|id| !drops(*id));
            account.waiting.retain(|(id, _)| !drops(*id));
            account.wake();
        }
        accounts.retain(|_, account| !account.open.is_empty() || !account.waiting.is_empty());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn wake(&mut self) {
        while self.open.len() < self.most
            && let Some((id, wake)) = self.waiting.pop_front()
        {
            // Nobody waits any more: the process is ending.
            if wake.send(()).is_ok() {
                self.open.insert(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(turn: &mut Option<oneshot::Receiver<()>>) -> bool {
        turn.as_mut().is_none_or(|turn| turn.try_recv().is_ok())
    }

    #[test]
    fn those_beyond_the_bound_wait_their_turn() {
        let (backlog, tenant) = (Backlog::default(), Arc::from("a"));
        let most = MAP_RUNS_MAX as u64;
        for run in 0..most {
            assert!(
                backlog
                    .turn(&tenant, ExecutionId(run), false, false)
                    .is_none()
            );
        }
        let [mut first, mut second, mut third] =
            [0, 1, 2].map(|more| backlog.turn(&tenant, ExecutionId(most + more), false, false));
        assert_eq!(backlog.waiting(), 3);
        // Another account has places of its own, one that is open asks again, and one that has read is open.
        let other = Arc::from("b");
        assert!(
            backlog
                .turn(&other, ExecutionId(1 << 40), false, false)
                .is_none()
        );
        assert!(
            backlog
                .turn(&tenant, ExecutionId(0), false, false)
                .is_none()
        );
        assert!(
            backlog
                .turn(&tenant, ExecutionId(1 << 41), true, false)
                .is_none()
        );
        backlog.over(ExecutionId(1 << 41));
        assert!(!woken(&mut first));
        // Who stops waiting makes room for nobody.
        backlog.over(ExecutionId(most + 1));
        assert!(!woken(&mut first) && !woken(&mut second));
        backlog.over(ExecutionId(7));
        assert!(woken(&mut first) && !woken(&mut third));
        backlog.over(ExecutionId(most));
        assert!(woken(&mut third));
        assert_eq!(backlog.waiting(), 0);
    }

    #[test]
    fn raised_limits_have_more_places_and_lost_partitions_none() {
        let (backlog, tenant) = (Backlog::default(), Arc::from("a"));
        for run in 0..=MAP_RUNS_MAX as u64 {
            assert!(
                backlog
                    .turn(&tenant, ExecutionId(run), false, true)
                    .is_none()
            );
        }
        let mut waits = backlog.turn(&tenant, ExecutionId(1 << 40), false, false);
        assert!(!woken(&mut waits));
        backlog.keep(&[ExecutionId(1 << 40).partition()]);
        assert!(woken(&mut waits));
    }
}
