//! Brings executions into memory: those that become due on disk, and those with messages that their shard had no room
//! for.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use stepwell_interp::Timestamp;
use tokio::sync::Notify;

use super::{Node, now};
use crate::{
    journal::{ExecutionId, Message, Partition, ReadError},
    limits::{ROWS_MAX, WAKER_REST_MAX, WAKER_REST_MIN, WAKER_REST_STUCK},
    shard::In,
};

/// See the module.
#[derive(Default)]
pub(super) struct Waker {
    called: Notify,
    /// When it will look again without being called.
    next_ms: AtomicU64,
    /// Executions with a message that their shard had no room for.
    untold: Mutex<BTreeSet<ExecutionId>>,
}

impl Waker {
    fn untold(&self) -> MutexGuard<'_, BTreeSet<ExecutionId>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    pub(super) async fn wake(&self, execution: ExecutionId) {
        // Waiting for room is right here: recovery must not drop anyone.
        let seat = self.seat_of(execution);
        seat.put_when_room(In::Wake(execution)).await;
    }

    /// Loads executions from disk as they become due.
    pub(super) async fn keep_waking(&self) {
        let mut woken = BTreeSet::new();
        while !self.shutdown.is_closing() {
            let partitions = self.leases.partitions();
            self.waker.next_ms.store(u64::MAX, SeqCst);
            let untold = std::mem::take(&mut *self.waker.untold());
            for execution in untold {
                self.wake(execution).await;
            }
            let rest = match self.wake_due(&partitions, &mut woken).await {
                Ok(rest) => rest,
                Err(error) => {
                    tracing::error!(%error, "due executions cannot be read");
                    WAKER_REST_MAX.min(Duration::from_secs(1))
                }
            };
            let _ = tokio::time::timeout(rest, self.waker.called.notified()).await;
        }
    }

    /// `woken` is what was due at the last look: what is still due is on its way, or cannot be loaded.
    async fn wake_due(
        &self,
        partitions: &[Partition],
        woken: &mut BTreeSet<ExecutionId>,
    ) -> Result<Duration, ReadError> {
        let at = now();
        let due = self.journal.due(partitions, at, ROWS_MAX).await?;
        let due: BTreeSet<ExecutionId> = due.into_iter().map(|(execution, _)| execution).collect();
        for execution in &due {
            self.wake(*execution).await;
        }
        let fresh = due.difference(woken).next().is_some();
        *woken = due;
        if fresh {
            return Ok(WAKER_REST_MIN);
        }
        if !woken.is_empty() {
            return Ok(WAKER_REST_STUCK);
        }
        let next = self.journal.next_due(partitions).await?;
        let rest = next.map_or(WAKER_REST_MAX, |next| {
            Duration::from_millis(next.since_ms(at))
        });
        self.waker
            .next_ms
            .fetch_min(next.map_or(u64::MAX, |next| next.0), SeqCst);
        Ok(rest.clamp(WAKER_REST_MIN, WAKER_REST_MAX))
    }

    /// An execution went to sleep until then.
    pub(super) fn wake_at(&self, at: Timestamp) {
        if self.waker.next_ms.fetch_min(at.0, SeqCst) > at.0 {
            self.waker.called.notify_one();
        }
    }

    /// Has a line looked at again. When the queue is full the waker does it later.
    pub(super) fn nudge(&self, line: ExecutionId) {
        if self.send(line, In::Wake(line)).is_err() {
            self.waker.untold().insert(line);
            self.waker.called.notify_one();
        }
    }

    /// Tells the execution of a message that is in its inbox. When the queue is full the waker brings it later.
    pub(crate) fn announce(&self, message: Message) {
        let execution = message.to;
        if execution.is_outbox() {
            return self.put_in_outbox(&message);
        }
        if self.send(execution, In::Message(message)).is_err() {
            self.waker.untold().insert(execution);
            self.waker.called.notify_one();
        }
    }
}
