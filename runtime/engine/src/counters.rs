//! Counters of a running engine. Hides that they are shared by threads.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use stepwell_interp::{Ending, Limit};

use crate::{
    api::{COMMIT_BOUNDS_MS, Metrics},
    journal::ExecutionId,
    pulse::Pulse,
};

/// See the module.
#[derive(Default)]
pub(crate) struct Counters {
    started: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    aborted: AtomicU64,
    redriven: AtomicU64,
    /// Executions in memory, one gauge a shard.
    loaded: AtomicU64,
    tasks_dispatched: AtomicU64,
    tasks_running: AtomicU64,
    commits: AtomicU64,
    appends: AtomicU64,
    append_bytes: AtomicU64,
    /// Commits by how long they took, and the sum.
    commit_times: [AtomicU64; COMMIT_BOUNDS_MS.len() + 1],
    commit_ms: AtomicU64,
    /// Executions that came near a limit, in the order of [`Limit::ALL`].
    limits_neared: [AtomicU64; Limit::ALL.len()],
    /// Executions of which something stored was found damaged.
    damaged: Mutex<BTreeSet<ExecutionId>>,
    /// What the shard is at.
    pub(crate) pulse: Arc<Pulse>,
}

impl Counters {
    pub(crate) fn started(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self, ending: Option<&Ending>) {
        let counter = match ending {
            Some(Ending::Succeeded { .. }) => &self.succeeded,
            Some(Ending::Failed { .. }) => &self.failed,
            Some(Ending::TimedOut { .. }) => &self.timed_out,
            Some(Ending::Aborted { .. }) => &self.aborted,
            None => return,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn redriven(&self) {
        self.redriven.fetch_add(1, Relaxed);
    }

    /// Sets the gauge of one shard's executions in memory.
    pub(crate) fn loaded(&self, executions: usize) {
        self.loaded.store(executions as u64, Relaxed);
    }

    pub(crate) fn task_started(&self) {
        self.tasks_dispatched.fetch_add(1, Relaxed);
        self.tasks_running.fetch_add(1, Relaxed);
    }

    pub(crate) fn task_ended(&self) {
        self.tasks_running.fetch_sub(1, Relaxed);
    }

    /// Counts a commit that took so long, from when its appends were handed over.
    pub(crate) fn commit(&self, took: Duration) {
        self.commits.fetch_add(1, Relaxed);
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BOUNDS_MS.partition_point(|bound| *bound < ms);
        self.commit_times[bucket].fetch_add(1, Relaxed);
        self.commit_ms.fetch_add(ms, Relaxed);
    }

    pub(crate) fn append(&self, bytes: usize) {
        self.appends.fetch_add(1, Relaxed);
        self.append_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn neared(&self, limit: Limit) {
        let known = Limit::ALL.iter().zip(&self.limits_neared);
        for (_, counter) in known.filter(|(known, _)| **known == limit) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Takes note of a damaged execution; false when it was known.
    pub(crate) fn damaged(&self, execution: ExecutionId) -> bool {
        self.all_damaged().insert(execution)
    }

    fn all_damaged(&self) -> MutexGuard<'_, BTreeSet<ExecutionId>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum over the shards' counters.
    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Counters>) -> Metrics {
        let mut sum = Metrics::default();
        for counters in all {
            sum.executions_started += counters.started.load(Relaxed);
            sum.executions_succeeded += counters.succeeded.load(Relaxed);
            sum.executions_failed += counters.failed.load(Relaxed);
            sum.executions_timed_out += counters.timed_out.load(Relaxed);
            sum.executions_aborted += counters.aborted.load(Relaxed);
            sum.executions_redriven += counters.redriven.load(Relaxed);
            sum.executions_loaded += counters.loaded.load(Relaxed);
            sum.executions_damaged += counters.all_damaged().len() as u64;
            sum.tasks_dispatched += counters.tasks_dispatched.load(Relaxed);
            sum.tasks_running += counters.tasks_running.load(Relaxed);
            sum.commits += counters.commits.load(Relaxed);
            sum.appends += counters.appends.load(Relaxed);
            sum.append_bytes += counters.append_bytes.load(Relaxed);
            sum.commit_ms += counters.commit_ms.load(Relaxed);
            for (sum, count) in sum.commit_times.iter_mut().zip(&counters.commit_times) {
                *sum += count.load(Relaxed);
            }
            for (sum, neared) in sum.limits_neared.iter_mut().zip(&counters.limits_neared) {
                *sum += neared.load(Relaxed);
            }
        }
        sum
    }
}
