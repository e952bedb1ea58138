//! Who waits for executions' ends, and who watches their events.

use std::{collections::HashMap, sync::atomic::Ordering::Release};

use stepwell_interp::Limits;
use tokio::sync::{mpsc::error::TrySendError, oneshot};

use super::Watcher;
use crate::{api::HistoryEntry, journal::ExecutionId, limits::WATCH_BATCH_BYTES_MAX};

/// Executions with listeners from which on those are looked for that went away.
const SWEEP_MIN: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Audience {
    waiters: HashMap<ExecutionId, Vec<oneshot::Sender<()>>>,
    watchers: HashMap<ExecutionId, Vec<Watcher>>,
    /// Executions with listeners with which the next sweep comes.
    sweep_at: usize,
}

impl Audience {
    pub(super) fn wait(&mut self, execution: ExecutionId, reply: oneshot::Sender<()>) {
        self.sweep();
        let waiters = self.waiters.entry(execution).or_default();
        // Callers that went away leave nothing behind but their last entry.
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(reply);
    }

    pub(super) fn watch(&mut self, execution: ExecutionId, watcher: Watcher) {
        self.sweep();
        let watchers = self.watchers.entry(execution).or_default();
        watchers.retain(|watcher| !watcher.sender.is_closed());
        watchers.push(watcher);
    }

    /// Drops who went away without a word, also of executions that sleep or were closed before, whenever there are twice as
    /// many as were left by the last sweep.
    fn sweep(&mut self) {
        if self.waiters.len() + self.watchers.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        self.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        self.watchers.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.sender.is_closed());
            !watchers.is_empty()
        });
        self.sweep_at = 2 * (self.waiters.len() + self.watchers.len());
    }

    /// Shows durable events to who watches, or says that they are there: what waits for a slow one is little.
    pub(super) fn show(&mut self, execution: ExecutionId, history: &[HistoryEntry]) {
        let Some(watchers) = self.watchers.get_mut(&execution) else {
            return;
        };
        if history.is_empty() {
            return;
        }
        let batch = if bytes(history) > WATCH_BATCH_BYTES_MAX {
            &[]
        } else {
            history
        };
        watchers.retain(|watcher| match watcher.sender.try_send(batch.to_vec()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                watcher.behind.store(true, Release);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        });
    }

    /// The execution is closed.
    pub(super) fn close(&mut self, execution: ExecutionId) {
        for waiter in self.waiters.remove(&execution).unwrap_or_default() {
            let _ = waiter.send(());
        }
        // Dropping a watcher's sender is its end of stream.
        self.watchers.remove(&execution);
    }

    /// There is nothing to wait for any more.
    pub(super) fn let_go(&mut self, execution: ExecutionId) {
        self.waiters.remove(&execution);
        self.watchers.remove(&execution);
    }
}

/// Bytes of the payloads of events.
fn bytes(history: &[HistoryEntry]) -> u64 {
    let used = |entry: &HistoryEntry| {
        let usage = stepwell_interp::usage(&entry.event, Limits::of(false));
        usage.first().map_or(0, |payload| payload.used)
    };
    history.iter().map(used).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Acquire},
    };

    use stepwell_interp::{Event, Place, Timestamp, What};
    use stepwell_query::Value;
    use tokio::sync::{mpsc, oneshot};

    use super::{Audience, SWEEP_MIN, Watcher};
    use crate::{
        api::HistoryEntry,
        journal::ExecutionId,
        limits::{WATCH_BATCH_BYTES_MAX, WATCH_BATCHES_MAX},
    };

    fn watcher() -> (Watcher, mpsc::Receiver<Vec<HistoryEntry>>) {
        let (sender, receiver) = mpsc::channel(WATCH_BATCHES_MAX);
        let behind = Arc::new(AtomicBool::new(false));
        (Watcher { sender, behind }, receiver)
    }

    fn entry(output: Value) -> HistoryEntry {
        HistoryEntry {
            id: 1,
            event: Event {
                at: Timestamp(0),
                previous: 0,
                place: Place::default(),
                what: What::ExecutionSucceeded { output },
            },
            used: None,
        }
    }

    #[test]
    fn little_waits_for_a_slow_watcher_and_it_is_told() {
        let mut audience = Audience::default();
        let (watcher, mut slow) = watcher();
        let behind = watcher.behind.clone();
        audience.watch(ExecutionId(0), watcher);
        let large = "x".repeat(WATCH_BATCH_BYTES_MAX as usize);
        audience.show(ExecutionId(0), &[entry(Value::from(large))]);
        assert_eq!(slow.try_recv(), Ok(Vec::new()));
        for _ in 0..WATCH_BATCHES_MAX {
            audience.show(ExecutionId(0), &[entry(Value::Null)]);
        }
        assert!(!behind.load(Acquire));
        audience.show(ExecutionId(0), &[entry(Value::Null)]);
        assert!(behind.load(Acquire));
        assert_eq!(slow.len(), WATCH_BATCHES_MAX);
    }

    #[test]
    fn who_went_away_is_not_kept() {
        let mut audience = Audience::default();
        let (reply, mut stays) = oneshot::channel();
        audience.wait(ExecutionId(0), reply);
        for number in 1..10_000 {
            audience.watch(ExecutionId(number), watcher().0);
            let (reply, _) = oneshot::channel();
            audience.wait(ExecutionId(number), reply);
            audience.watch(ExecutionId(1), watcher().0);
        }
        assert!(audience.watchers.len() <= 2 * SWEEP_MIN);
        assert!(audience.waiters.len() <= 2 * SWEEP_MIN);
        assert_eq!(audience.watchers[&ExecutionId(1)].len(), 1);
        assert!(stays.try_recv().is_err());
        audience.close(ExecutionId(0));
        assert_eq!(stays.try_recv(), Ok(()));
    }
}
