//! How callers are told of ends. Hides that to wake one costs as much as half a short call.
//!
//! A thread tells of ends in groups: only while others are there to run at once, and only for as long as some short calls
//! take. The first caller that wakes often takes the core from the thread that tells, finds one end, and sleeps again; so
//! whoever takes its end tells of what is left of the group. To wake a caller who is awake costs next to nothing.

use super::job::Job;
use crate::limits;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Jobs whose ends their callers do not know of yet: one thread's.
#[derive(Default)]
pub(super) struct Untold {
    jobs: Vec<Arc<Job>>,
    since: Option<Instant>,
}

impl Untold {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Adds one; says whether it is time to tell of all. `more`: whether others will end soon.
    pub(super) fn push(
        &mut self,
        job: Arc<Job>,
        more: bool,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        self.jobs.push(job);
        if !more || self.jobs.len() >= limits::TOLD_AT_ONCE_MAX {
            return true;
        }
        let now = now();
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since) >= limits::TOLD_WITHIN
    }
}

/// Jobs whose callers are being woken, by whoever comes along. No more than the threads had.
#[derive(Default)]
pub(super) struct Telling(Mutex<VecDeque<Arc<Job>>>);

impl Telling {
    /// Tells of all of these.
    pub(super) fn tell(&self, untold: &mut Untold) {
        if untold.len() > 0 {
            self.begin(untold);
            self.go_on();
        }
    }

    /// From now on whoever comes along tells of these.
    pub(super) fn begin(&self, untold: &mut Untold) {
        untold.since = None;
        self.jobs().extend(untold.jobs.drain(..));
    }

    /// Tells of what is left.
    pub(super) fn go_on(&self) {
        while let Some(job) = self.next() {
            job.caller.wake();
        }
    }

    fn next(&self) -> Option<Arc<Job>> {
        self.jobs().pop_front()
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Arc<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
