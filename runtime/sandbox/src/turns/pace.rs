//! What an attempt shows of itself, by which its turns are given.

use crate::limits;
use crate::weight::Weight;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// See the module.
pub(crate) struct Pace {
    pub(crate) tenant: Arc<str>,
    pub(crate) weight: Weight,
    /// When the call arrived.
    pub(crate) called: Instant,
    cpu_ns: AtomicU64,
    /// Of its guest's turns.
    wall_ns: AtomicU64,
    /// The worst that its plugin was told of it.
    noted: AtomicU8,
    /// It is taken for a long one before it has computed for long.
    expected: AtomicBool,
    /// Its turn is on the thread of who called.
    here: AtomicBool,
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
            wall_ns: AtomicU64::new(0),
            noted: AtomicU8::new(Speed::Quick as u8),
            expected: AtomicBool::new(false),
            here: AtomicBool::new(false),
            due_ns: AtomicU64::new(deadline.map_or(u64::MAX, nanoseconds)),
        }
    }

    /// Counts a turn of its guest; returns the attempt's CPU time in all.
    pub(crate) fn add(&self, cpu: Duration, wall: Duration) -> Duration {
        // Only the thread whose turn it is writes.
        let add = |to: &AtomicU64, more: Duration| {
            let sum = to.load(Ordering::Relaxed) + nanoseconds(more);
            to.store(sum, Ordering::Relaxed);
            Duration::from_nanos(sum)
        };
        add(&self.wall_ns, wall);
        add(&self.cpu_ns, cpu)
    }

    /// Wall time of its guest's turns.
    pub(super) fn guest_wall(&self) -> Duration {
        Duration::from_nanos(self.wall_ns.load(Ordering::Relaxed))
    }

    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    /// Takes it for a long one from now on.
    pub(crate) fn expect_long(&self) {
        self.expected.store(true, Ordering::Relaxed);
    }

    /// Whether it computed for long, or is expected to.
    pub(crate) fn is_long(&self) -> bool {
        self.expected.load(Ordering::Relaxed) || self.cpu() >= limits::YOUNG_CPU
    }

    /// Notes whether its turn is on the thread of who called.
    pub(super) fn set_here(&self, here: bool) {
        self.here.store(here, Ordering::Relaxed);
    }

    /// Whether its turn is on the thread of who called.
    pub(crate) fn is_here(&self) -> bool {
        self.here.load(Ordering::Relaxed)
    }

    /// Goes on in another turn, which is on a thread of the sandbox.
    pub(crate) async fn leave(&self) {
        poll_fn(|cx| match self.here.swap(false, Ordering::Relaxed) {
            true => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
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

/// What the attempts of a plugin have been, by which the next one is taken: else each new one of a flood of endless
/// guests would be a young one for its first turn, before short tasks of others. Two of a kind turn the judgement, as
/// predictors of branches do it, so that one odd call does not.
#[derive(Default)]
pub(crate) struct Habit {
    level: AtomicU8,
    /// Quick ones, less those that were not by their weight.
    quick: AtomicU8,
}

impl Habit {
    const LASTING: u8 = 2;
    const MAX: u8 = 3;

    /// Notes what an attempt was. One that was cut off before it had computed for long says nothing: it may have had no
    /// turn, as happens in a flood, which would else undo what is known of it.
    pub(crate) fn note(&self, pace: &Pace, ended_by_itself: bool) {
        let long = pace.cpu() >= limits::YOUNG_CPU;
        let noted = |level: u8| match (long, ended_by_itself) {
            (true, _) => level.saturating_add(1).min(Self::MAX),
            (false, true) => level.saturating_sub(1),
            (false, false) => level,
        };
        let counted = |count: u8| match (Speed::of(pace), ended_by_itself) {
            (Speed::Quick, true) => count.saturating_add(1).min(limits::QUICK_MAX),
            (Speed::Quick, false) => count,
            (speed @ (Speed::NotQuick | Speed::Slow), _) => speed.less(count, pace),
        };
        write(&self.level, noted(self.level.load(Ordering::Relaxed)));
        write(&self.quick, counted(self.quick.load(Ordering::Relaxed)));
    }

    /// Notes of an attempt that goes on whether it was a quick one: until it ends others of its plugin would be taken for such.
    pub(crate) fn note_turn(&self, pace: &Pace) {
        let less = Speed::of(pace).less(self.quick.load(Ordering::Relaxed), pace);
        write(&self.quick, less);
    }

    /// Whether the next attempt will compute for long, as far as one can tell.
    pub(crate) fn lasts(&self) -> bool {
        self.level.load(Ordering::Relaxed) >= Self::LASTING
    }

    /// Whether the next attempt will be over at once, as far as one can tell.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick.load(Ordering::Relaxed) >= limits::QUICK_AFTER
    }
}

/// How an attempt looks to the caller whose thread it would be on.
#[derive(Clone, Copy)]
enum Speed {
    Quick,
    NotQuick,
    /// Seldom bad luck: the plugin's own doing.
    Slow,
}

impl Speed {
    fn of(pace: &Pace) -> Self {
        match pace.cpu() {
            cpu if cpu <= limits::QUICK_CPU => Self::Quick,
            cpu if cpu <= limits::HERE_CPU => Self::NotQuick,
            _ => Self::Slow,
        }
    }

    /// What is left of so many quick ones after an attempt of this, each of which counts once.
    fn less(self, count: u8, of: &Pace) -> u8 {
        if of.noted.fetch_max(self as u8, Ordering::Relaxed) >= self as u8 {
            return count;
        }
        match self {
            Self::Quick => count,
            Self::NotQuick => count.saturating_sub(limits::NOT_QUICK_WEIGHS),
            Self::Slow => 0,
        }
    }
}

/// Written seldom: most plugins stay what they are. Of two that write at once one may be lost.
fn write(to: &AtomicU8, value: u8) {
    if to.load(Ordering::Relaxed) != value {
        to.store(value, Ordering::Relaxed);
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cpu: Duration) -> Pace {
        let pace = Pace::new("t".into(), Weight::USUAL, None);
        pace.add(cpu, cpu);
        pace
    }

    #[test]
    fn two_of_a_kind_turn_the_judgement() {
        let (short, long) = (of(Duration::ZERO), of(limits::YOUNG_CPU));
        let habit = Habit::default();
        let seen = |paces: &[&Pace]| {
            paces.iter().for_each(|pace| habit.note(pace, true));
            habit.lasts()
        };
        assert!(!seen(&[]), "new");
        assert!(!seen(&[&long]), "one odd call");
        assert!(seen(&[&long, &long, &long]));
        assert!(seen(&[&short]), "one odd call");
        assert!(!seen(&[&short]));
    }

    #[test]
    fn what_was_cut_off_says_nothing_unless_it_was_long() {
        let (short, long) = (of(Duration::ZERO), of(limits::YOUNG_CPU));
        let habit = Habit::default();
        (0..3).for_each(|_| habit.note(&long, false));
        assert!(habit.lasts(), "long, however it ended");
        (0..3).for_each(|_| habit.note(&short, false));
        assert!(habit.lasts(), "it may have had no turn");
        (0..2).for_each(|_| habit.note(&short, true));
        assert!(!habit.lasts());
    }

    #[test]
    fn those_that_are_not_quick_undo_those_that_were() {
        let (quick, slower, slow) = (
            limits::QUICK_CPU,
            limits::QUICK_CPU + Duration::from_micros(1),
            limits::HERE_CPU + Duration::from_micros(1),
        );
        let habit = Habit::default();
        let after = |times: u8, cpu: Duration, ended_by_itself: bool| {
            (0..times).for_each(|_| habit.note(&of(cpu), ended_by_itself));
            habit.is_quick()
        };
        assert!(!after(limits::QUICK_AFTER - 1, quick, true));
        assert!(after(1, quick, true));
        assert!(after(200, quick, true), "it stays");
        assert!(after(9, quick, false), "what was cut off says nothing");
        assert!(after(2, slower, true), "bad luck");
        assert!(!after(1, slower, false), "a habit");
        assert!(after(limits::NOT_QUICK_WEIGHS, quick, true));
        assert!(!after(1, slow, false));
        assert!(
            !after(limits::QUICK_AFTER - 1, quick, true),
            "all are undone"
        );
        assert!(after(1, quick, true));
        assert!(!habit.lasts());
    }

    #[test]
    fn one_that_goes_on_is_noted_once() {
        let habit = Habit::default();
        (0..limits::QUICK_MAX).for_each(|_| habit.note(&of(Duration::ZERO), true));
        habit.note_turn(&of(limits::QUICK_CPU));
        let slower = of(limits::QUICK_CPU + Duration::from_micros(1));
        (0..3).for_each(|_| habit.note_turn(&slower));
        habit.note(&slower, true);
        assert!(habit.is_quick(), "it waits for its host");
        slower.add(limits::HERE_CPU, limits::HERE_CPU);
        habit.note_turn(&slower);
        assert!(!habit.is_quick(), "nobody knows when it ends");
    }

    #[test]
    fn what_is_expected_to_be_long_is_long() {
        let pace = of(Duration::ZERO);
        assert!(!pace.is_long());
        pace.expect_long();
        assert!(pace.is_long());
        assert_eq!(pace.cpu(), Duration::ZERO, "nothing is counted for it");
        assert!(of(limits::YOUNG_CPU).is_long());
    }
}
