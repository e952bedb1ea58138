//! Whose turn it is: on a queue that no thread takes from, and on threads.

use super::job::{After, Attempt, Job};
use super::ready::{Come, Kind, Turn};
use super::told::Untold;
use super::{Begun, Lost, Pace, Shared, Turns};
use crate::call::unstarted;
use crate::limits;
use crate::machine::Ticker;
use crate::outcome::{Outcome, TaskEnd};
use crate::weight::Weight;
use futures_util::FutureExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

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
        self.come_as(name, (tenant, Weight::USUAL), deadline);
    }

    fn come_as(
        &mut self,
        name: &'static str,
        (tenant, weight): (&str, Weight),
        deadline: Option<Duration>,
    ) {
        let pace = Arc::new(Pace::new(tenant.into(), weight, deadline));
        let attempt = Box::pin(std::future::pending());
        let job = Arc::new(Job::new(pace, attempt, self.shared.clone()));
        job.wake_by_ref();
        self.begun.push((name, Begun::new(job, None)));
    }

    /// The turn of that call is over: it computed for so long.
    fn yields(&mut self, name: &'static str, cpu: Duration) {
        let job = self.job(name);
        let turn = Turn::of(&job);
        job.pace.add(cpu, cpu);
        assert!(job.yields(), "{name} has no turn");
        let mut ready = self.shared.ready();
        ready.charge(&turn.end());
        ready.push(job, Come::Yielded);
    }

    fn job(&self, name: &str) -> Arc<Job> {
        let (_, begun) = self.begun.iter().find(|(n, _)| *n == name).unwrap();
        begun.job.clone()
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
        begun.find(|(_, b)| Arc::ptr_eq(&b.job, &job)).unwrap().0
    }
}

fn ticker() -> Arc<Ticker> {
    Arc::new(Ticker::new(wasmtime::Engine::default()).unwrap())
}

/// One thread of each kind, and the runtime that their callers wait on.
fn of_one_thread() -> (Runtime, Turns) {
    let io = Builder::new_current_thread().build().unwrap();
    let turns = Turns::new(1, io.handle(), &ticker()).unwrap();
    (io, turns)
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
fn who_is_expected_to_compute_for_long_waits_with_the_long_ones() {
    let mut table = Table::default();
    table.come("expected", "t", None);
    assert_eq!(table.turn(Kind::Young), "expected");
    // It learned of its plugin, and computed nothing.
    table.job("expected").pace.expect_long();
    table.yields("expected", Duration::ZERO);
    assert_eq!(table.turn(Kind::Young), "nobody");
    assert_eq!(table.turn(Kind::Long), "expected");
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

/// What each of these has of the CPU time when all compute for as long as they are let.
fn parts(kind: Kind, tenants: &[(&'static str, u32, Duration)]) -> Vec<Duration> {
    let mut table = Table::default();
    for (name, weight, _) in tenants {
        let weight = Weight::new(*weight).unwrap();
        table.come_as(name, (name, weight), None);
        assert_eq!(table.turn(Kind::Young), *name);
        if kind == Kind::Long {
            table.yields(name, TICK);
        } else {
            table.yields(name, Duration::ZERO);
        }
    }
    let mut had = vec![Duration::ZERO; tenants.len()];
    for _ in 0..if kind == Kind::Long { 4_000 } else { 40 } {
        let name = table.turn(kind);
        let at = tenants.iter().position(|of| of.0 == name).unwrap();
        had[at] += tenants[at].2;
        table.yields(name, tenants[at].2);
    }
    had
}

#[test]
fn turns_are_given_by_weight_and_by_what_they_take() {
    let short = TICK / 10;
    // A short turn of one and a long one of another are not the same.
    let had = parts(Kind::Long, &[("a", 100, TICK), ("b", 300, short)]);
    let times = had[1].as_secs_f64() / had[0].as_secs_f64();
    assert!((2.97..3.03).contains(&times), "{had:?}");
    // Young ones have no more than a tick altogether: the weights count from the first microsecond on.
    let little = Duration::from_micros(10);
    let had = parts(Kind::Young, &[("a", 100, little), ("b", 300, little)]);
    assert!((9 * little..=11 * little).contains(&had[0]), "{had:?}");
}

/// Thousands of calls of one tenant that have not begun yet are no line for another's.
#[test]
fn a_flood_of_new_calls_leaves_another_tenant_its_turn() {
    let mut table = Table::default();
    for name in ["f1", "f2", "f3", "f4"] {
        table.come(name, "flood", None);
    }
    table.come("quiet", "other", None);
    let turns = [0; 5].map(|_| table.turn(Kind::Young));
    assert_eq!(turns, ["f1", "quiet", "f2", "f3", "f4"]);
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
    let job = dropped.job.clone();
    drop(dropped);
    let next = table.shared.ready().next(Kind::Young, Instant::now);
    assert!(next.is_some_and(|next| Arc::ptr_eq(&next, &job)));
    assert_eq!(job.turn(), After::Ended);
    assert!(job.is_freed());
    assert_eq!(table.turn(Kind::Young), "new");
    let rest = [0; 2].map(|_| table.turn(Kind::Long));
    assert_eq!(rest, ["first", "nobody"]);
    assert!(table.shared.ready().due.is_empty());
}

/// Counts how often callers are woken.
#[derive(Default)]
struct Told(AtomicUsize);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn ends_are_told_together_unless_nothing_follows_or_one_is_old() {
    let now = Instant::now();
    let late = now + limits::TOLD_WITHIN;
    let most = limits::TOLD_AT_ONCE_MAX;
    // What ends, whether more will, and when; and when all are told.
    for (ends, told) in [
        (vec![(true, now); 3], vec![false; 3]),
        (
            vec![(true, now), (true, now), (false, now)],
            vec![false, false, true],
        ),
        (vec![(true, now), (true, late)], vec![false, true]),
        (
            vec![(true, now); most],
            (1..=most).map(|ended| ended == most).collect(),
        ),
    ] {
        let (mut table, mut untold) = (Table::default(), Untold::default());
        let pushed = ends.into_iter().map(|(more, at)| {
            table.come("one", "t", None);
            untold.push(table.job("one"), more, || at)
        });
        assert_eq!(pushed.collect::<Vec<_>>(), told);
    }
}

/// The thread that tells is held up at the first caller whom it wakes; that one tells the others.
#[test]
fn whoever_takes_its_end_tells_the_rest_of_its_group() {
    let mut table = Table::default();
    let told = [(); 3].map(|()| Arc::new(Told::default()));
    let mut untold = Untold::default();
    for (name, told) in ["a", "b", "c"].into_iter().zip(&told) {
        table.come(name, "t", None);
        let (_, begun) = table.begun.last_mut().unwrap();
        let waker = Waker::from(told.clone());
        assert!(
            begun
                .poll_unpin(&mut Context::from_waker(&waker))
                .is_pending()
        );
        begun.job.finish(Ok(end()));
        untold.push(begun.job.clone(), true, Instant::now);
    }
    let counts = || told.each_ref().map(|told| told.0.load(Ordering::SeqCst));
    table.shared.telling.begin(&mut untold);
    assert_eq!(counts(), [0; 3]);
    let (_, first) = table.begun.first_mut().unwrap();
    assert!(first.now_or_never().is_some());
    // Its own is not waited for any more.
    assert_eq!(counts()[1..], [1; 2]);
}

/// Each of the long ones holds its thread until the short one has ended: on shared threads nobody would ever.
#[test]
fn a_short_one_ends_while_more_long_ones_than_threads_compute() {
    let (io, turns) = of_one_thread();
    let begin = |attempt: Attempt, pace: Pace| turns.begin(Arc::new(pace), attempt);
    let pace = || Pace::new("t".into(), Weight::USUAL, None);
    let (holds, held) = mpsc::channel();
    let mut releases = Vec::new();
    let mut long = Vec::new();
    for _ in 0..3 {
        let (release, released) = mpsc::channel::<()>();
        let (pace, holds) = (pace(), holds.clone());
        pace.add(TICK, TICK);
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
    let (io, turns) = of_one_thread();
    let pace = || Arc::new(Pace::new("t".into(), Weight::USUAL, None));
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

/// Threads that an attempt is on, before and after it leaves its caller's.
fn threads_of(turns: &Turns) -> (Begun, mpsc::Receiver<ThreadId>) {
    let (tell, told) = mpsc::channel();
    let pace = Arc::new(Pace::new("t".into(), Weight::USUAL, None));
    let attempt = {
        let pace = pace.clone();
        async move {
            tell.send(thread::current().id()).unwrap();
            pace.leave().await;
            tell.send(thread::current().id()).unwrap();
            end()
        }
    };
    (turns.begin_here(pace, Box::pin(attempt)), told)
}

/// Until the next that comes alone begins where it is polled.
fn rests(turns: &Turns) {
    while !turns.shared.ready().is_at_rest() {
        thread::yield_now();
    }
}

#[test]
fn who_comes_alone_begins_where_it_is_polled_if_a_thread_rests() {
    let (io, turns) = of_one_thread();
    let me = thread::current().id();
    rests(&turns);
    let (begun, told) = threads_of(&turns);
    assert!(told.try_recv().is_err(), "it began before it was polled");
    assert!(io.block_on(begun).is_ok());
    let on: Vec<bool> = told.iter().map(|thread| thread == me).collect();
    assert_eq!(on, [true, false], "it left");

    rests(&turns);
    let (begun, told) = threads_of(&turns);
    drop(begun);
    // Freed, without a turn.
    assert!(told.recv().is_err());

    let (release, released) = mpsc::channel::<()>();
    let (holds, held) = mpsc::channel();
    let pace = Arc::new(Pace::new("t".into(), Weight::USUAL, None));
    let busy = turns.begin(
        pace,
        Box::pin(async move {
            holds.send(()).unwrap();
            released.recv().unwrap();
            end()
        }),
    );
    held.recv().unwrap();
    let (begun, told) = threads_of(&turns);
    release.send(()).unwrap();
    assert!(io.block_on(begun).is_ok() && io.block_on(busy).is_ok());
    assert!(told.iter().all(|thread| thread != me), "none rested");
}

#[test]
fn who_keeps_the_thread_of_its_caller_sends_the_next_away_from_it() {
    let (io, turns) = of_one_thread();
    let me = thread::current().id();
    rests(&turns);
    let pace = Arc::new(Pace::new("t".into(), Weight::USUAL, None));
    let keeps = {
        let pace = pace.clone();
        async move {
            assert_eq!(thread::current().id(), me);
            // So long that the test is over before the rest is.
            let long = Duration::from_secs(60);
            pace.add(long, long);
            end()
        }
    };
    assert!(io.block_on(turns.begin_here(pace, Box::pin(keeps))).is_ok());
    rests(&turns);
    let (begun, told) = threads_of(&turns);
    assert!(io.block_on(begun).is_ok());
    assert!(told.iter().all(|thread| thread != me));
}
