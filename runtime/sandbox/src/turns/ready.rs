//! The queue of jobs that could run now, and which kind of thread takes which of them.

use super::job::Job;
use crate::limits;
use crate::rota::Rota;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What a job waits in the queue as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Come {
    /// New, or what it waited for is there.
    Woken,
    /// Its turn was over.
    Yielded,
}

/// The two kinds of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Young,
    Long,
}

/// The jobs that could run now.
#[derive(Default)]
pub(super) struct Ready {
    /// Young ones that have not run since they were woken: for a thread of the young ones.
    pub(super) woken: VecDeque<Arc<Job>>,
    /// Young ones whose turn a tick ended: for the same, after the woken ones. Threads of the long ones help with
    /// them, since without an end of woken ones they would never get a turn.
    pub(super) yielded: VecDeque<Arc<Job>>,
    /// Long ones, by turns of tenants.
    pub(super) long: Rota<Arc<Job>>,
    /// Those of all of these that must end at some time. They go first once it is there, so that they end then and not
    /// when all others had their turn.
    pub(super) due: BTreeMap<(Instant, u64), Arc<Job>>,
    tickets: u64,
    /// Whether a thread of the long ones looks at `yielded` first.
    helps: bool,
    young_threads: Sleepers,
    long_threads: Sleepers,
    pub(super) stopped: bool,
}

/// Threads of one kind that found nothing to do.
#[derive(Default)]
pub(super) struct Sleepers {
    pub(super) asleep: usize,
    /// Called, and not up yet.
    pub(super) called: usize,
}

impl Ready {
    /// Queues a job; returns the kind of thread that may have to be woken for it.
    pub(super) fn push(&mut self, job: Arc<Job>, come: Come) -> Kind {
        if job.cancelled.load(Ordering::SeqCst) {
            // Nothing is left to do but to free its instance.
            self.woken.push_front(job);
            return Kind::Young;
        }
        if let Some(due) = job.pace.due() {
            self.tickets += 1;
            job.ticket.store(self.tickets, Ordering::Relaxed);
            self.due.insert((due, self.tickets), job.clone());
        }
        if job.pace.cpu() >= limits::YOUNG_CPU {
            let tenant = job.pace.tenant.clone();
            self.long.push(&tenant, job);
            return Kind::Long;
        }
        match come {
            Come::Woken => self.woken.push_back(job),
            Come::Yielded => self.yielded.push_back(job),
        }
        Kind::Young
    }

    /// Takes the job whose turn it is on a thread of this kind.
    pub(super) fn next(&mut self, kind: Kind, now: impl Fn() -> Instant) -> Option<Arc<Job>> {
        if !self.due.is_empty() {
            let now = now();
            while let Some(first) = self.due.first_entry()
                && first.key().0 <= now
            {
                let job = first.remove();
                if job.claim() {
                    return Some(job);
                }
            }
        }
        loop {
            let job = self.pop(kind)?;
            // One that was due or cancelled had its turn already.
            if job.claim() {
                if let Some(due) = job.pace.due() {
                    self.due.remove(&(due, job.ticket.load(Ordering::Relaxed)));
                }
                return Some(job);
            }
        }
    }

    fn pop(&mut self, kind: Kind) -> Option<Arc<Job>> {
        match kind {
            Kind::Young => self.woken.pop_front().or_else(|| self.yielded.pop_front()),
            Kind::Long => {
                self.helps = !self.helps;
                if self.helps {
                    self.yielded.pop_front().or_else(|| self.long.pop())
                } else {
                    self.long.pop().or_else(|| self.yielded.pop_front())
                }
            }
        }
    }

    /// Whether a thread of the kind has to be notified; counts it as called then.
    pub(super) fn call(&mut self, kind: Kind) -> bool {
        let sleepers = self.sleepers(kind);
        let sleeps = sleepers.asleep > sleepers.called;
        if sleeps {
            sleepers.called += 1;
        }
        sleeps
    }

    pub(super) fn sleepers(&mut self, kind: Kind) -> &mut Sleepers {
        match kind {
            Kind::Young => &mut self.young_threads,
            Kind::Long => &mut self.long_threads,
        }
    }
}
