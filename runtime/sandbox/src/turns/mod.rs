//! Whose turn it is to compute: the queue of attempts that could go on, and the threads that take from it. Hides
//! threads, wake-ups and the queue's order.
//!
//! A guest that computes gives its thread back at each epoch tick; what it does until then is a turn. Attempts that have
//! computed little (*young*) and those that computed for long have threads of their own, so that a short task is never
//! queued behind endless ones; the threads of the long ones give way to all others at the operating system too. An
//! attempt of a plugin whose last ones were long is long from its beginning (*habit*). On the threads of either kind
//! tenants take turns by weight and by the CPU time that these take.
//!
//! An attempt that comes alone, while a thread of the young ones rests, begins where its caller is (*here*): if its plugin's
//! last ones were quick it is over before that thread would have been awake, else it goes on there. Nobody would have waited
//! for that thread; but what its caller has to do waits meanwhile, so those who keep callers' threads send all others away from
//! them for a while.

mod here;
mod job;
mod pace;
mod ready;
mod told;

use crate::limits;
use crate::machine::{Awake, Ticker};
use here::Here;
use job::{After, Attempt, Job};
use ready::{Come, Kind, Ready, Turn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake as _;
use std::time::Instant;
use tokio::runtime::Handle;
use told::{Telling, Untold};

pub(crate) use job::{Begun, Lost};
pub(crate) use pace::{Habit, Pace};

/// The threads that guests compute on.
pub(crate) struct Turns {
    shared: Arc<Shared>,
    here: Arc<Here>,
}

#[derive(Default)]
struct Shared {
    ready: Mutex<Ready>,
    /// Length of `Ready::woken` a moment ago.
    woken: AtomicUsize,
    young: Condvar,
    long: Condvar,
    telling: Telling,
}

impl Turns {
    /// Starts so many threads of each kind. Timers and sockets of guests belong to `io`; `ticker` ticks while any of the
    /// threads is at work.
    pub(crate) fn new(threads: usize, io: &Handle, ticker: &Arc<Ticker>) -> std::io::Result<Self> {
        let turns = Self {
            shared: Arc::default(),
            here: Arc::new(Here::new(io.clone(), ticker.clone())),
        };
        for (kind, name) in [
            (Kind::Young, "stepwell-guest"),
            (Kind::Long, "stepwell-long"),
        ] {
            for _ in 0..threads {
                let (shared, io, ticker) = (turns.shared.clone(), io.clone(), ticker.clone());
                std::thread::Builder::new()
                    .name(name.into())
                    .spawn(move || {
                        let _io = io.enter();
                        if kind == Kind::Long {
                            give_way();
                        }
                        shared.work(kind, &ticker);
                    })?;
            }
        }
        Ok(turns)
    }

    /// Begins an attempt. Dropping what is returned ends it.
    pub(crate) fn begin(&self, pace: Arc<Pace>, attempt: Attempt) -> Begun {
        let job = Arc::new(Job::new(pace, attempt, self.shared.clone()));
        job.wake_by_ref();
        Begun::new(job, None)
    }

    /// The same, whose first turn is where what is returned is first polled, if a thread rests.
    pub(crate) fn begin_here(&self, pace: Arc<Pace>, attempt: Attempt) -> Begun {
        if !self.here.is_open(pace.called) || !self.shared.ready().is_at_rest() {
            return self.begin(pace, attempt);
        }
        let job = Arc::new(Job::new(pace, attempt, self.shared.clone()));
        Begun::new(job, Some(self.here.clone()))
    }
}

impl Drop for Turns {
    /// Does not wait for the threads: the last handle of a sandbox may go on one of them.
    fn drop(&mut self) {
        let mut ready = self.shared.ready();
        ready.stopped = true;
        let jobs = ready.drain();
        drop(ready);
        self.shared.young.notify_all();
        self.shared.long.notify_all();
        for job in jobs {
            if job.claim() {
                job.finish(Err(Lost::Stopped));
                job.caller.wake();
            }
        }
    }
}

impl Shared {
    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn condvar(&self, kind: Kind) -> &Condvar {
        match kind {
            Kind::Young => &self.young,
            Kind::Long => &self.long,
        }
    }

    /// Queues a job from outside, and wakes a thread for it.
    fn push(&self, job: Arc<Job>, come: Come) {
        let mut ready = self.ready();
        let kind = ready.push(job, come);
        if ready.call(kind) {
            drop(ready);
            self.condvar(kind).notify_one();
        }
    }

    /// Wakes a thread for one that is due. Those of the long ones would come to it too, but on a busy machine they are late.
    fn hurry(&self) {
        let mut ready = self.ready();
        if ready.call(Kind::Young) {
            drop(ready);
            self.young.notify_one();
        }
    }

    /// What a thread does.
    fn work(&self, kind: Kind, ticker: &Arc<Ticker>) {
        let mut desk = Desk {
            kind,
            ticker,
            awake: Some(ticker.awake()),
            over: None,
            ended: Untold::default(),
        };
        let mut back = None;
        while let Some(job) = self.take(&mut desk, back.take()) {
            let turn = Turn::of(&job);
            let after = job.turn();
            desk.over = Some(turn.end());
            match after {
                After::Parked => self.telling.tell(&mut desk.ended),
                After::Ended => {
                    // Callers that wait for their ends bring no more.
                    let woken = self.woken.load(Ordering::Relaxed);
                    let more = kind == Kind::Young && woken > desk.ended.len();
                    if desk.ended.push(job, more, Instant::now) {
                        self.telling.tell(&mut desk.ended);
                    }
                }
                After::Yielded => {
                    back = Some(job);
                    self.telling.tell(&mut desk.ended);
                }
            }
        }
        self.telling.tell(&mut desk.ended);
    }

    /// Counts the turn that is over, puts back its job, and takes the next: in one go, so that no other thread gets it
    /// between.
    fn take(&self, desk: &mut Desk<'_>, back: Option<Arc<Job>>) -> Option<Arc<Job>> {
        let kind = desk.kind;
        let mut ready = self.ready();
        if let Some(turn) = desk.over.take() {
            ready.charge(&turn);
        }
        if let Some(job) = back {
            let other = ready.push(job, Come::Yielded);
            if other != kind && ready.call(other) {
                self.condvar(other).notify_one();
            }
        }
        loop {
            if ready.stopped {
                return None;
            }
            let next = ready.next(kind, Instant::now);
            self.woken.store(ready.woken.len(), Ordering::Relaxed);
            if next.is_some() {
                return next;
            }
            if desk.ended.len() == 0 {
                desk.awake = None;
                ready = self.sleep(ready, kind);
                desk.awake = Some(desk.ticker.awake());
            } else {
                drop(ready);
                self.telling.tell(&mut desk.ended);
                ready = self.ready();
            }
        }
    }

    fn sleep<'a>(&self, mut ready: MutexGuard<'a, Ready>, kind: Kind) -> MutexGuard<'a, Ready> {
        ready.sleepers(kind).asleep += 1;
        while ready.sleepers(kind).called == 0 && !ready.stopped {
            ready = self
                .condvar(kind)
                .wait(ready)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let sleepers = ready.sleepers(kind);
        sleepers.called = sleepers.called.saturating_sub(1);
        sleepers.asleep -= 1;
        ready
    }
}

/// What a thread has about it.
struct Desk<'a> {
    kind: Kind,
    ticker: &'a Arc<Ticker>,
    /// While it does not sleep.
    awake: Option<Awake>,
    /// The turn that was taken last, until it is counted.
    over: Option<Turn>,
    ended: Untold,
}

/// Lowers the calling thread's priority, where that is possible.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(limits::LONG_NICE) {
        tracing::warn!(%error, "long tasks compute at the same priority as short ones");
    }
}

#[cfg(test)]
mod tests;
