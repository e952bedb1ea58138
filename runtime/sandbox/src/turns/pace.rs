//! What an attempt shows of itself, by which its turns are given.

use crate::weight::Weight;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// See the module.
pub(crate) struct Pace {
    pub(crate) tenant: Arc<str>,
    pub(crate) weight: Weight,
    /// When the call arrived.
    pub(crate) called: Instant,
    cpu_ns: AtomicU64,
    /// From `called`.
    due_ns: AtomicU64,
}

impl Pace {
    /// Of a call that arrives now. `deadline`: when it must have ended, if that is known already.
    pub(crate) fn new(tenant: Arc<str>, weight: Weight, deadline: Option<Duration>) -> Self {
        Self {
            tenant,
            weight,
            called: Instant::now(),
            cpu_ns: AtomicU64::new(0),
            due_ns: AtomicU64::new(deadline.map_or(u64::MAX, nanoseconds)),
        }
    }

    /// Counts CPU time; returns the attempt's CPU time in all.
    pub(crate) fn add_cpu(&self, more: Duration) -> Duration {
        let more = nanoseconds(more);
        // Only the thread whose turn it is writes.
        Duration::from_nanos(self.cpu_ns.fetch_add(more, Ordering::Relaxed) + more)
    }

    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    /// Sets when the attempt must have ended.
    pub(crate) fn set_due(&self, due: Instant) {
        let due = nanoseconds(due.saturating_duration_since(self.called));
        self.due_ns.store(due, Ordering::Relaxed);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match self.due_ns.load(Ordering::Relaxed) {
            u64::MAX => None,
            due => self.called.checked_add(Duration::from_nanos(due)),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
