//! Whose turn it is to compute: the queue of attempts that could go on, and the threads that take from it. Hides
//! threads, wake-ups and the queue's order.
//!
//! A guest that computes gives its thread back at each epoch tick; what it does until then is a turn. Attempts that have
//! computed little (*young*) and those that computed for long have threads of their own, so that a short task is never
//! queued behind endless ones; the threads of the long ones give way to all others at the operating system too.

use crate::limits;
use crate::outcome::TaskEnd;
use crate::rota::Rota;
use futures_util::task::AtomicWaker;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

type Attempt = Pin<Box<dyn Future<Output = TaskEnd> + Send>>;

/// What an attempt shows of itself, by which its turns are given.
pub(crate) struct Pace {
    pub(crate) tenant: Arc<str>,
    /// When the call arrived.
    pub(crate) called: Instant,
    cpu_ns: AtomicU64,
    /// From `called`.
    due_ns: AtomicU64,
}

impl Pace {
    /// Of a call that arrives now. `deadline`: when it must have ended, if that is known already.
    pub(crate) fn new(tenant: Arc<str>, deadline: Option<Duration>) -> Self {
        Self {
            tenant,
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

    fn due(&self) -> Option<Instant> {
        match self.due_ns.load(Ordering::Relaxed) {
            u64::MAX => None,
            due => self.called.checked_add(Duration::from_nanos(due)),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits for something, or is not there yet.
const PARKED: u8 = 0;
/// In the queue.
const READY: u8 = 1;
/// It is its turn.
const RUNNING: u8 = 2;
/// Woken during its turn: goes back into the queue.
const WOKEN: u8 = 3;
const ENDED: u8 = 4;

/// An attempt, and its end once that is known.
struct Job {
    state: AtomicU8,
    /// Nobody wants its end any more.
    cancelled: AtomicBool,
    pace: Arc<Pace>,
    /// Key in `Ready::due`; kept under that lock.
    ticket: AtomicU64,
    /// None once it ended or was cancelled.
    attempt: Mutex<Option<Attempt>>,
    end: Mutex<Option<Result<TaskEnd, Lost>>>,
    caller: AtomicWaker,
    shared: Arc<Shared>,
}

/// Why an attempt has no end of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The host's code panicked.
    Panicked,
    /// The sandbox is going.
    Stopped,
}

/// What a job waits in the queue as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Come {
    /// New, or what it waited for is there.
    Woken,
    /// Its turn was over.
    Yielded,
}

/// The two kinds of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Young,
    Long,
}

/// The jobs that could run now.
#[derive(Default)]
struct Ready {
    /// Young ones that have not run since they were woken: for a thread of the young ones.
    woken: VecDeque<Arc<Job>>,
    /// Young ones whose turn a tick ended: for the same, after the woken ones. Threads of the long ones help with
    /// them, since without an end of woken ones they would never get a turn.
    yielded: VecDeque<Arc<Job>>,
    /// Long ones, by turns of tenants.
    long: Rota<Arc<Job>>,
    /// Those of all of these that must end at some time. They go first once it is there, so that they end then and not
    /// when all others had their turn.
    due: BTreeMap<(Instant, u64), Arc<Job>>,
    tickets: u64,
    /// Whether a thread of the long ones looks at `yielded` first.
    helps: bool,
    young_threads: Sleepers,
    long_threads: Sleepers,
    stopped: bool,
}

/// Threads of one kind that found nothing to do.
#[derive(Default)]
struct Sleepers {
    asleep: usize,
    /// Called, and not up yet.
    called: usize,
}

impl Ready {
    /// Queues a job; returns the kind of thread that may have to be woken for it.
    fn push(&mut self, job: Arc<Job>, come: Come) -> Kind {
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
    fn next(&mut self, kind: Kind, now: impl Fn() -> Instant) -> Option<Arc<Job>> {
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
    fn call(&mut self, kind: Kind) -> bool {
        let sleepers = self.sleepers(kind);
        let sleeps = sleepers.asleep > sleepers.called;
        if sleeps {
            sleepers.called += 1;
        }
        sleeps
    }

    fn sleepers(&mut self, kind: Kind) -> &mut Sleepers {
        match kind {
            Kind::Young => &mut self.young_threads,
            Kind::Long => &mut self.long_threads,
        }
    }
}

/// The threads that guests compute on.
pub(crate) struct Turns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ready: Mutex<Ready>,
    /// Length of `Ready::woken` a moment ago.
    woken: AtomicUsize,
    young: Condvar,
    long: Condvar,
}

impl Turns {
    /// Starts so many threads of each kind. Timers and sockets of guests belong to `io`.
    pub(crate) fn new(threads: usize, io: &Handle) -> std::io::Result<Self> {
        let turns = Self(Arc::default());
        for (kind, name) in [
            (Kind::Young, "stepwell-guest"),
            (Kind::Long, "stepwell-long"),
        ] {
            for _ in 0..threads {
                let (shared, io) = (turns.0.clone(), io.clone());
                std::thread::Builder::new()
                    .name(name.into())
                    .spawn(move || {
                        let _io = io.enter();
                        if kind == Kind::Long {
                            give_way();
                        }
                        shared.work(kind);
                    })?;
            }
        }
        Ok(turns)
    }

    /// Begins an attempt. Dropping what is returned ends it.
    pub(crate) fn begin(&self, pace: Arc<Pace>, attempt: Attempt) -> Begun {
        let job = Arc::new(Job {
            state: AtomicU8::new(PARKED),
            cancelled: AtomicBool::new(false),
            pace,
            ticket: AtomicU64::new(0),
            attempt: Mutex::new(Some(attempt)),
            end: Mutex::new(None),
            caller: AtomicWaker::new(),
            shared: self.0.clone(),
        });
        job.wake_by_ref();
        Begun(job)
    }
}

impl Drop for Turns {
    /// Does not wait for the threads: the last handle of a sandbox may go on one of them.
    fn drop(&mut self) {
        let mut ready = self.0.ready();
        ready.stopped = true;
        let mut jobs: Vec<_> = ready.woken.drain(..).collect();
        jobs.extend(ready.yielded.drain(..));
        jobs.extend(std::iter::from_fn(|| ready.long.pop()));
        ready.due.clear();
        drop(ready);
        self.0.young.notify_all();
        self.0.long.notify_all();
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
    fn push(&self, job: Arc<Job>) {
        let mut ready = self.ready();
        let kind = ready.push(job, Come::Woken);
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

    /// What a thread does. Waking a caller costs as much as half a short call, so ends are told in groups: only while
    /// others are there to run at once, and none waits longer than one turn.
    fn work(&self, kind: Kind) {
        let (mut back, mut ended) = (None, Vec::new());
        while let Some(job) = self.take(kind, back.take(), &mut ended) {
            match job.turn() {
                After::Parked => {}
                After::Ended => {
                    ended.push(job);
                    let more = kind == Kind::Young && self.woken.load(Ordering::Relaxed) > 0;
                    if more && ended.len() < limits::TOLD_AT_ONCE_MAX {
                        continue;
                    }
                }
                After::Yielded => back = Some(job),
            }
            tell(&mut ended);
        }
        tell(&mut ended);
    }

    /// Puts back the job whose turn is over, and takes the next: in one go, so that no other thread gets it between.
    fn take(
        &self,
        kind: Kind,
        back: Option<Arc<Job>>,
        ended: &mut Vec<Arc<Job>>,
    ) -> Option<Arc<Job>> {
        let mut ready = self.ready();
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
            if ended.is_empty() {
                ready = self.sleep(ready, kind);
            } else {
                drop(ready);
                tell(ended);
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

/// Wakes the callers of these.
fn tell(ended: &mut Vec<Arc<Job>>) {
    for job in ended.drain(..) {
        job.caller.wake();
    }
}

/// What became of a job in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Parked,
    /// It goes back into the queue.
    Yielded,
    /// Its caller is to be told.
    Ended,
}

impl Job {
    /// Takes it from the queue; false when that was done by another way already.
    fn claim(&self) -> bool {
        self.swap(READY, RUNNING)
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        let swapped = self
            .state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        swapped.is_ok()
    }

    /// Lets a claimed job have its turn.
    fn turn(self: &Arc<Self>) -> After {
        if self.cancelled.load(Ordering::SeqCst) {
            return self.finish(Err(Lost::Stopped));
        }
        let waker = Waker::from(self.clone());
        let polled = {
            let mut attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(attempt) = attempt.as_mut() else {
                return After::Parked;
            };
            // Whatever a panic leaves half done is the attempt's own, which is dropped.
            catch_unwind(AssertUnwindSafe(|| {
                attempt.as_mut().poll(&mut Context::from_waker(&waker))
            }))
        };
        match polled {
            Ok(Poll::Pending) if self.swap(RUNNING, PARKED) => After::Parked,
            Ok(Poll::Pending) => {
                // It was woken meanwhile, and nothing else changes that state.
                self.state.store(READY, Ordering::SeqCst);
                After::Yielded
            }
            Ok(Poll::Ready(end)) => self.finish(Ok(end)),
            Err(_) => self.finish(Err(Lost::Panicked)),
        }
    }

    /// Frees what the attempt holds, and leaves the end to the caller.
    fn finish(&self, end: Result<TaskEnd, Lost>) -> After {
        self.state.store(ENDED, Ordering::SeqCst);
        let attempt = self
            .attempt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A panic in here must not end the thread.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(attempt)));
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        After::Ended
    }

    /// Lets it end without another turn.
    fn cancel(self: &Arc<Self>) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.wake_by_ref();
        if self.state.load(Ordering::SeqCst) == READY {
            // It may stand far behind; a second entry, at the front, frees its instance now.
            self.shared.push(self.clone());
        }
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        loop {
            match self.state.load(Ordering::SeqCst) {
                PARKED if self.swap(PARKED, READY) => return self.shared.push(self.clone()),
                RUNNING if self.swap(RUNNING, WOKEN) => return,
                // Another thread was faster.
                PARKED | RUNNING => {}
                READY if self.pace.due().is_some_and(|due| due <= Instant::now()) => {
                    return self.shared.hurry();
                }
                // It is queued, or will be, or has ended.
                _ => return,
            }
        }
    }
}

/// An attempt that was begun; ends it when dropped.
pub(crate) struct Begun(Arc<Job>);

impl Future for Begun {
    type Output = Result<TaskEnd, Lost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.caller.register(cx.waker());
        let mut end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.0.state.load(Ordering::SeqCst) != ENDED {
            self.0.cancel();
        }
    }
}

/// Lowers the calling thread's priority, where that is possible.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(limits::LONG_NICE) {
        tracing::warn!(%error, "long tasks compute at the same priority as short ones");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::unstarted;
    use crate::outcome::Outcome;
    use std::sync::mpsc;

    fn end() -> TaskEnd {
        unstarted(Outcome::Cancelled, None, 0, Duration::ZERO)
    }

    /// A queue that no thread takes from, and calls by name.
    #[derive(Default)]
    struct Table {
        shared: Arc<Shared>,
        begun: Vec<(&'static str, Begun)>,
    }

    impl Table {
        /// A call arrives.
        fn come(&mut self, name: &'static str, tenant: &str, deadline: Option<Duration>) {
            let pace = Arc::new(Pace::new(tenant.into(), deadline));
            let turns = Turns(self.shared.clone());
            let begun = turns.begin(pace, Box::pin(std::future::pending()));
            std::mem::forget(turns);
            self.begun.push((name, begun));
        }

        /// The turn of that call is over: it computed for so long.
        fn yields(&mut self, name: &'static str, cpu: Duration) {
            let job = self.job(name);
            job.pace.add_cpu(cpu);
            assert!(job.swap(RUNNING, READY), "{name} has no turn");
            self.shared.ready().push(job, Come::Yielded);
        }

        fn job(&self, name: &str) -> Arc<Job> {
            let (_, begun) = self.begun.iter().find(|(n, _)| *n == name).unwrap();
            begun.0.clone()
        }

        /// Whose turn it is on a thread of that kind.
        fn turn(&mut self, kind: Kind) -> &'static str {
            self.turn_at(kind, Instant::now())
        }

        fn turn_at(&mut self, kind: Kind, now: Instant) -> &'static str {
            let Some(job) = self.shared.ready().next(kind, || now) else {
                return "nobody";
            };
            let mut begun = self.begun.iter();
            begun.find(|(_, b)| Arc::ptr_eq(&b.0, &job)).unwrap().0
        }
    }

    const TICK: Duration = limits::EPOCH_TICK;
    const LITTLE: Duration = Duration::from_millis(1);

    #[test]
    fn who_has_not_run_goes_before_who_yielded_and_never_behind_long_ones() {
        let mut table = Table::default();
        for name in ["endless", "unlucky"] {
            table.come(name, "t", None);
            assert_eq!(table.turn(Kind::Young), name);
        }
        table.yields("endless", TICK);
        // A tick came early in its turn: it stays with the young ones.
        table.yields("unlucky", LITTLE);
        table.come("new", "t", None);
        let young = [0; 3].map(|_| table.turn(Kind::Young));
        assert_eq!(young, ["new", "unlucky", "nobody"]);
        assert_eq!(table.turn(Kind::Long), "endless");
    }

    #[test]
    fn long_ones_take_turns_by_tenant_and_help_the_young_that_yielded() {
        let mut table = Table::default();
        for (name, tenant) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")] {
            table.come(name, tenant, None);
            table.turn(Kind::Young);
            table.yields(name, TICK);
        }
        for name in ["y1", "y2"] {
            table.come(name, "c", None);
            table.turn(Kind::Young);
            table.yields(name, LITTLE);
        }
        let turns = [0; 7].map(|_| table.turn(Kind::Long));
        assert_eq!(turns, ["y1", "a1", "y2", "b1", "a2", "a3", "nobody"]);
    }

    #[test]
    fn who_is_due_goes_first_on_any_thread() {
        let mut table = Table::default();
        let begun = Instant::now();
        for (name, due) in [
            ("never", None),
            ("late", Some(9)),
            ("soon", Some(3)),
            ("sooner", Some(2)),
        ] {
            table.come(name, "t", due.map(Duration::from_secs));
            table.turn(Kind::Young);
            table.yields(name, TICK);
        }
        table.come("new", "t", Some(Duration::from_secs(3)));
        let then = begun + Duration::from_secs(5);
        assert_eq!(table.turn_at(Kind::Young, begun), "new");
        assert_eq!(table.turn_at(Kind::Young, then), "sooner");
        assert_eq!(table.turn_at(Kind::Long, then), "soon");
        let rest = [0; 3].map(|_| table.turn_at(Kind::Long, then));
        assert_eq!(rest, ["never", "late", "nobody"]);
        assert!(table.shared.ready().due.is_empty());
    }

    #[test]
    fn who_is_dropped_is_freed_next() {
        let mut table = Table::default();
        for name in ["first", "dropped"] {
            table.come(name, "t", Some(Duration::from_secs(900)));
            table.turn(Kind::Young);
            table.yields(name, TICK);
        }
        table.come("new", "t", None);
        let (_, dropped) = table.begun.remove(1);
        let job = dropped.0.clone();
        drop(dropped);
        let next = table.shared.ready().next(Kind::Young, Instant::now);
        assert!(next.is_some_and(|next| Arc::ptr_eq(&next, &job)));
        assert_eq!(job.turn(), After::Ended);
        assert!(job.attempt.lock().unwrap().is_none());
        assert_eq!(table.turn(Kind::Young), "new");
        let rest = [0; 2].map(|_| table.turn(Kind::Long));
        assert_eq!(rest, ["first", "nobody"]);
        assert!(table.shared.ready().due.is_empty());
    }

    /// Each of the long ones holds its thread until the short one has ended: on shared threads nobody would ever.
    #[test]
    fn a_short_one_ends_while_more_long_ones_than_threads_compute() {
        let io = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let turns = Turns::new(1, io.handle()).unwrap();
        let begin = |attempt: Attempt, pace: Pace| turns.begin(Arc::new(pace), attempt);
        let pace = || Pace::new("t".into(), None);
        let (holds, held) = mpsc::channel();
        let mut releases = Vec::new();
        let mut long = Vec::new();
        for _ in 0..3 {
            let (release, released) = mpsc::channel::<()>();
            let (pace, holds) = (pace(), holds.clone());
            pace.add_cpu(TICK);
            releases.push(release);
            let attempt = Box::pin(async move {
                holds.send(()).unwrap();
                released.recv().unwrap();
                end()
            });
            long.push(begin(attempt, pace));
        }
        held.recv().unwrap();
        let short = begin(Box::pin(async { end() }), pace());
        assert_eq!(
            io.block_on(short).map(|end| end.outcome),
            Ok(Outcome::Cancelled)
        );
        for release in releases {
            release.send(()).unwrap();
        }
        for long in long {
            assert!(io.block_on(long).is_ok());
        }
    }

    #[test]
    fn a_panic_ends_its_attempt_alone() {
        let io = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let turns = Turns::new(1, io.handle()).unwrap();
        let pace = || Arc::new(Pace::new("t".into(), None));
        let panics = turns.begin(pace(), Box::pin(async { panic!("on purpose") }));
        assert_eq!(
            io.block_on(panics).map(|end| end.outcome),
            Err(Lost::Panicked)
        );
        assert!(
            io.block_on(turns.begin(pace(), Box::pin(async { end() })))
                .is_ok()
        );
    }
}
