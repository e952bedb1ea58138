//! How a node's threads begin and end. Hides what is waited for, and for how long.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

use super::Node;
use crate::{error::Error, limits::SHUTDOWN_WORK};

/// How often `drain` looks whether the shards are idle, beside being told.
const SHUTDOWN_LOOK: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Default)]
pub(super) struct Shutdown {
    closing: AtomicBool,
    /// Executions get no more turns: only commits in flight are waited for.
    halted: AtomicBool,
    /// True once the threads are to end.
    closed: watch::Sender<bool>,
    /// Threads, and works of the I/O runtime, that have not ended: they hold the node, and with it the store.
    running: Arc<watch::Sender<usize>>,
    /// A shard has become idle, and no other is busy.
    idle: Notify,
    busy_shards: AtomicU64,
}

/// Something that holds the node; counted as long as it lives.
struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// Returns once the node is closed, also when it was before the call.
pub(super) async fn ended(closed: &mut watch::Receiver<bool>) {
    // Without a sender the node is gone.
    let _ = closed.wait_for(|closed| *closed).await;
}

impl Shutdown {
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Relaxed)
    }

    /// Becomes true once the threads are to end.
    pub(super) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// A shard is being looked at, has turns to make or appends on their way, or none of it any more.
    pub(super) fn shard_is_busy(&self, busy: bool) {
        if busy {
            self.busy_shards.fetch_add(1, SeqCst);
        } else if self.busy_shards.fetch_sub(1, SeqCst) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// Starts a thread and counts it. The body owns what it needs of the node, so that nothing is held once it is counted
    /// as ended.
    pub(super) fn spawn(
        &self,
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let counted = self.count();
        let spawned = thread::Builder::new().name(name).spawn(move || {
            body();
            drop(counted);
        });
        spawned
            .map(drop)
            .map_err(|error| Error::Broken(format!("a thread cannot be started: {error}")))
    }

    fn count(&self) -> Counted {
        self.running.send_modify(|running| *running += 1);
        Counted(self.running.clone())
    }
}

impl Node {
    /// Runs what waits for the network or for object storage, until the node is closed: what it holds of the node must
    /// not keep the store open.
    pub(crate) fn spawn_io(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Option<AbortHandle> {
        let counted = self.shutdown.count();
        let mut closed = self.shutdown.closed();
        self.io_runtime.spawn(async move {
            tokio::select! {
                () = work => {}
                () = ended(&mut closed) => {}
            }
            drop(counted);
        })
    }

    /// Refuses new executions, lets those that have something to do go on for a moment, waits until no append is on its
    /// way, and ends the threads: the store is free again once the last handle is dropped.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.shutdown.closing.store(true, SeqCst);
        if !self.idle_within(SHUTDOWN_WORK.min(patience)).await {
            // Work may go on for ever, each step of it durable.
            self.shutdown.halted.store(true, SeqCst);
            if self.idle_within(patience).await {
                tracing::info!(
                    "executions still had something to do; they go on at the next start, and task attempts whose end was not recorded run again"
                );
            } else {
                tracing::warn!(
                    "commits were still in flight when the engine closed; recovery takes them up"
                );
            }
        }
        let _ = self.journal.release(self.leases.owner()).await;
        self.close();
        // A thread that does not end holds the store open; that is no reason to wait for ever.
        let mut running = self.shutdown.running.subscribe();
        let _ = tokio::time::timeout(patience, running.wait_for(|running| *running == 0)).await;
    }

    /// Whether no shard has turns to make or appends on their way, at one moment of that time.
    async fn idle_within(&self, time: Duration) -> bool {
        let idle = async {
            // In this order: what is taken out of a queue between the two is at a shard that is busy by then.
            while self.queue_depth() > 0 || self.shutdown.busy_shards.load(SeqCst) > 0 {
                let woken = self.shutdown.idle.notified();
                // The last shard may have become idle between the look and the wait.
                let _ = tokio::time::timeout(SHUTDOWN_LOOK, woken).await;
            }
        };
        tokio::time::timeout(time, idle).await.is_ok()
    }

    /// Ends the threads without waiting for anything.
    pub(crate) fn close(&self) {
        self.shutdown.closing.store(true, SeqCst);
        self.shutdown.closed.send_replace(true);
    }
}
