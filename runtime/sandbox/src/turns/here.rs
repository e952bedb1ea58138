//! Turns on callers' threads. Hides what a guest needs about it there, and that those who keep such threads close them to all
//! for a while.

use super::pace::{Pace, nanoseconds};
use crate::limits;
use crate::machine::Ticker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// What a caller's thread has about it for a turn, as the threads of the sandbox have it always.
pub(super) struct Here {
    io: Handle,
    ticker: Arc<Ticker>,
    rest: Rest,
}

impl Here {
    pub(super) fn new(io: Handle, ticker: Arc<Ticker>) -> Self {
        Self {
            io,
            ticker,
            rest: Rest::new(Instant::now()),
        }
    }

    /// Whether a call that came then may have its first turn on its caller's thread.
    pub(super) fn is_open(&self, called: Instant) -> bool {
        self.rest.is_over(called)
    }

    /// Has the first turn of an attempt on this thread.
    pub(super) fn work<T>(&self, pace: &Pace, turn: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = {
            let _io = self.io.enter();
            let _awake = self.ticker.awake();
            turn()
        };
        let over = Instant::now();
        let wall = over - began;
        // What its host did for it there, such as reading its output, is on no clock of the CPU.
        let host = wall.saturating_sub(pace.guest_wall());
        self.rest.note(over, wall, pace.cpu(), host);
        done
    }
}

/// What callers' threads have lost. A caller has others to serve, and what a plugin's next attempt takes nobody knows: a
/// tenant may make one quick that then is not, or have many that are. So whoever keeps such a thread, the threads are closed
/// until the time for which it was kept is a small part of what has passed: a leaky bucket, as one moment at which it will
/// be empty. One bad turn closes nothing, since it may be the machine's: who loses a core for some milliseconds is charged
/// for them where that core is a virtual one.
struct Rest {
    made: Instant,
    /// When what was lost will be made up for, from `made`.
    empty_ns: AtomicU64,
}

impl Rest {
    fn new(made: Instant) -> Self {
        Self {
            made,
            empty_ns: AtomicU64::new(0),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let most = nanoseconds(limits::HERE_LOST_AT_ONCE * limits::HERE_LOST_PART);
        let empty = self.empty_ns.load(Ordering::Relaxed);
        empty.saturating_sub(self.passed(now)) <= most
    }

    /// Notes a turn that is over now: how long it took, its guest's CPU time, and how long its host took.
    fn note(&self, now: Instant, wall: Duration, cpu: Duration, host: Duration) {
        if cpu.is_zero() {
            // No guest ran.
            return;
        }
        // A thread that loses its core is away for some milliseconds. What is away for longer may wait for its host.
        let kept = match wall > limits::EPOCH_TICK {
            true => wall,
            false => cpu + host,
        };
        if kept <= limits::QUICK_CPU {
            return;
        }
        let usual = kept.min(limits::HERE_LOST_AT_ONCE);
        let long = (kept - usual).saturating_mul(limits::HERE_LONG_PART);
        let made_up = nanoseconds(long.saturating_add(usual * limits::HERE_LOST_PART));
        let now = self.passed(now);
        let later = |empty: u64| Some(empty.max(now).saturating_add(made_up));
        // It is never refused.
        let _ = self
            .empty_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    fn passed(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = limits::EPOCH_TICK;
    const QUICK: Duration = limits::QUICK_CPU;
    const NONE: Duration = Duration::ZERO;
    const PART: u32 = limits::HERE_LOST_PART;
    const AT_ONCE: Duration = limits::HERE_LOST_AT_ONCE;

    /// Turns of so many: wall time, CPU time of the guest, time of its host.
    type Turns = (usize, Duration, Duration, Duration);

    #[test]
    fn who_keeps_callers_threads_closes_them_until_that_is_a_small_part() {
        let made = Instant::now();
        // What was long ago gives nobody more.
        let over = made + Duration::from_secs(3600);
        // Turns, and for how long they close callers' threads.
        let cases: &[(&[Turns], Duration)] = &[
            (&[(1000, QUICK, QUICK, NONE)], NONE),
            // They may have lost their core.
            (&[(1000, TICK, QUICK, NONE)], NONE),
            // They went to another thread before their guest began.
            (&[(1000, 5 * TICK, NONE, 5 * TICK)], NONE),
            // One bad turn, or two.
            (&[(1, AT_ONCE, AT_ONCE, NONE)], NONE),
            (&[(2, TICK, TICK, NONE)], NONE),
            (&[(3, TICK, TICK, NONE)], TICK * PART),
            (
                &[(2, TICK, TICK, NONE), (1, TICK, QUICK, QUICK)],
                2 * QUICK * PART,
            ),
            // Of a guest that computes little and waits for its host on that thread, or fills a memory.
            (
                &[(1, 5 * TICK, QUICK, NONE)],
                (5 * TICK - AT_ONCE) * limits::HERE_LONG_PART,
            ),
        ];
        for (turns, closed) in cases {
            let rest = Rest::new(made);
            for &(times, wall, cpu, host) in *turns {
                (0..times).for_each(|_| rest.note(over, wall, cpu, host));
            }
            assert!(rest.is_over(over + *closed), "{:?}", turns[0]);
            if let Some(before) = closed.checked_sub(Duration::from_nanos(1)) {
                assert!(!rest.is_over(over + before), "{:?}", turns[0]);
            }
        }
    }

    /// However the turns that are not quick are dealt out, the part that is lost of a minute keeps to its bound.
    #[test]
    fn no_more_than_its_part_is_lost_of_a_minute() {
        let made = Instant::now();
        let began = made + Duration::from_secs(3600);
        for kept in [2 * QUICK, TICK, AT_ONCE, 30 * TICK] {
            let rest = Rest::new(made);
            let (mut now, mut lost) = (began, NONE);
            while now < began + Duration::from_secs(60) {
                if rest.is_over(now) {
                    now += kept;
                    lost += kept;
                    rest.note(now, kept, kept, NONE);
                } else {
                    now += QUICK;
                }
            }
            let most = (now - began) / PART + AT_ONCE + kept;
            assert!(lost <= most, "{kept:?}: {lost:?} of at most {most:?}");
            let is_long = kept > AT_ONCE;
            assert!(
                is_long || lost >= most / 2,
                "{kept:?}: {lost:?}, closed for no reason"
            );
        }
    }
}
