//! Who waits for executions' ends, and who watches their events.

use std::collections::HashMap;

use tokio::sync::{mpsc, oneshot};

use crate::{api::HistoryEntry, journal::ExecutionId};

/// Executions with listeners from which on those are looked for that went away.
const SWEEP_MIN: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Audience {
    waiters: HashMap<ExecutionId, Vec<oneshot::Sender<()>>>,
    watchers: HashMap<ExecutionId, Vec<mpsc::UnboundedSender<Vec<HistoryEntry>>>>,
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

    pub(super) fn watch(
        &mut self,
        execution: ExecutionId,
        sender: mpsc::UnboundedSender<Vec<HistoryEntry>>,
    ) {
        self.sweep();
        let watchers = self.watchers.entry(execution).or_default();
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(sender);
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
            watchers.retain(|watcher| !watcher.is_closed());
            !watchers.is_empty()
        });
        self.sweep_at = 2 * (self.waiters.len() + self.watchers.len());
    }

    /// Shows durable events to who watches.
    pub(super) fn show(&mut self, execution: ExecutionId, history: &[HistoryEntry]) {
        if !history.is_empty()
            && let Some(watchers) = self.watchers.get_mut(&execution)
        {
            watchers.retain(|watcher| watcher.send(history.to_vec()).is_ok());
        }
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

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::{Audience, SWEEP_MIN};
    use crate::journal::ExecutionId;

    #[test]
    fn who_went_away_is_not_kept() {
        let mut audience = Audience::default();
        let (reply, mut stays) = oneshot::channel();
        audience.wait(ExecutionId(0), reply);
        for number in 1..10_000 {
            let (sender, _) = mpsc::unbounded_channel();
            audience.watch(ExecutionId(number), sender);
            let (reply, _) = oneshot::channel();
            audience.wait(ExecutionId(number), reply);
            let (sender, _) = mpsc::unbounded_channel();
            audience.watch(ExecutionId(1), sender);
        }
        assert!(audience.watchers.len() <= 2 * SWEEP_MIN);
        assert!(audience.waiters.len() <= 2 * SWEEP_MIN);
        assert_eq!(audience.watchers[&ExecutionId(1)].len(), 1);
        assert!(stays.try_recv().is_err());
        audience.close(ExecutionId(0));
        assert_eq!(stays.try_recv(), Ok(()));
    }
}
