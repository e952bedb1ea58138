//! The queue of jobs that could run now, and which kind of thread takes which of them.

use super::job::Job;
use super::pace::Pace;
use crate::rota::Rota;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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

/// The jobs that could run now. In each of the queues tenants take turns, by the CPU time that these take.
#[derive(Default)]
pub(super) struct Ready {
    /// Those that nobody wants any more, before all others: nothing is left to do but to free their instances.
    gone: VecDeque<Arc<Job>>,
    /// Young ones that have not run since they were woken: for a thread of the young ones.
    pub(super) woken: Rota<Arc<Job>>,
    /// Young ones whose turn a tick ended: for the same, after the woken ones. Threads of the long ones help with
    /// them, since without an end of woken ones they would never get a turn.
    pub(super) yielded: Rota<Arc<Job>>,
    /// Long ones.
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

/// A turn that is over.
pub(super) struct Turn {
    pace: Arc<Pace>,
    /// What its attempt was when it began.
    kind: Kind,
    /// The attempt's before it, then that of the turn alone.
    cpu: Duration,
}

impl Turn {
    /// Begins.
    pub(super) fn of(job: &Job) -> Turn {
        Turn {
            pace: job.pace.clone(),
            kind: kind_of(&job.pace),
            cpu: job.pace.cpu(),
        }
    }

    /// Is over.
    pub(super) fn end(mut self) -> Turn {
        self.cpu = self.pace.cpu().saturating_sub(self.cpu);
        self
    }
}

/// What an attempt is now.
fn kind_of(pace: &Pace) -> Kind {
    match pace.is_long() {
        true => Kind::Long,
        false => Kind::Young,
    }
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
            self.gone.push_back(job);
            return Kind::Young;
        }
        if let Some(due) = job.pace.due() {
            self.tickets += 1;
            job.ticket.store(self.tickets, Ordering::Relaxed);
            self.due.insert((due, self.tickets), job.clone());
        }
        let pace = job.pace.clone();
        let kind = kind_of(&pace);
        let queue = match (kind, come) {
            (Kind::Long, _) => &mut self.long,
            (Kind::Young, Come::Woken) => &mut self.woken,
            (Kind::Young, Come::Yielded) => &mut self.yielded,
        };
        queue.push(&pace.tenant, pace.weight, job);
        kind
    }

    /// Counts what a turn cost among those who wait for the same threads.
    pub(super) fn charge(&mut self, turn: &Turn) {
        let queues: &mut [&mut Rota<Arc<Job>>] = match turn.kind {
            Kind::Young => &mut [&mut self.woken, &mut self.yielded],
            Kind::Long => &mut [&mut self.long],
        };
        for queue in queues {
            // Nobody is the later for what nobody waited for.
            if queue.len() > 0 {
                queue.charge(&turn.pace.tenant, turn.pace.weight, turn.cpu);
            }
        }
    }

    /// All that wait, to be ended.
    pub(super) fn drain(&mut self) -> Vec<Arc<Job>> {
        let mut jobs: Vec<_> = self.gone.drain(..).collect();
        for queue in [&mut self.woken, &mut self.yielded, &mut self.long] {
            jobs.extend(std::iter::from_fn(|| queue.pop()));
        }
        self.due.clear();
        jobs
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
            Kind::Young => {
                let gone = self.gone.pop_front();
                let woken = gone.or_else(|| self.woken.pop());
                woken.or_else(|| self.yielded.pop())
            }
            Kind::Long => {
                self.helps = !self.helps;
                if self.helps {
                    self.yielded.pop().or_else(|| self.long.pop())
                } else {
                    self.long.pop().or_else(|| self.yielded.pop())
                }
            }
        }
    }

    /// Whether a young one that came now would be given a thread at once.
    pub(super) fn is_at_rest(&self) -> bool {
        let threads = &self.young_threads;
        threads.asleep > threads.called && self.gone.is_empty() && self.woken.len() == 0
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
