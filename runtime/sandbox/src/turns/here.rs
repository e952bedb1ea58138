//! Turns on callers' threads. Hides what a guest needs about it there, and that who keeps such a thread closes them to all for
//! a while.

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
        self.rest.note(over, over - began, pace.cpu());
        done
    }
}

/// How long callers' threads are left alone. A caller has others to serve, and what a plugin's next attempt takes nobody
/// knows: a tenant may make one quick that then is not, or have many that are. So the threads are closed for a multiple of
/// the time for which one was kept, whoever's attempt it was: the part of their time that is lost so has a bound.
struct Rest {
    made: Instant,
    /// From `made`.
    until_ns: AtomicU64,
}

impl Rest {
    fn new(made: Instant) -> Self {
        Self {
            made,
            until_ns: AtomicU64::new(0),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.passed(now) >= self.until_ns.load(Ordering::Relaxed)
    }

    /// Notes a turn that is over now: how long it took, and its CPU time.
    fn note(&self, now: Instant, wall: Duration, cpu: Duration) {
        if cpu.is_zero() {
            // No guest ran.
            return;
        }
        // A thread that loses its core is away for some milliseconds. What is away for longer may wait for its host.
        let kept = match wall > limits::EPOCH_TICK {
            true => wall,
            false => cpu,
        };
        if kept > limits::QUICK_CPU {
            let rest = nanoseconds(kept.saturating_mul(limits::HERE_REST_FACTOR));
            let until = self.passed(now).saturating_add(rest);
            self.until_ns.fetch_max(until, Ordering::Relaxed);
        }
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

    #[test]
    fn who_keeps_a_callers_thread_closes_them_for_a_multiple_of_that() {
        let over = Instant::now();
        // A turn's wall and CPU time, and for how long it closes callers' threads.
        for (wall, cpu, closed) in [
            (QUICK, QUICK, Duration::ZERO),
            // It may have lost its core.
            (TICK, QUICK, Duration::ZERO),
            // It went to another thread before its guest began.
            (5 * TICK, Duration::ZERO, Duration::ZERO),
            (TICK, 2 * QUICK, 2 * QUICK * limits::HERE_REST_FACTOR),
            (TICK, TICK, TICK * limits::HERE_REST_FACTOR),
            // Of a guest that computes little and waits for its host on that thread.
            (3 * TICK, QUICK, 3 * TICK * limits::HERE_REST_FACTOR),
        ] {
            let rest = Rest::new(over);
            rest.note(over, wall, cpu);
            assert!(rest.is_over(over + closed), "{wall:?} {cpu:?}");
            if let Some(before) = closed.checked_sub(Duration::from_nanos(1)) {
                assert!(!rest.is_over(over + before), "{wall:?} {cpu:?}");
            }
        }
    }

    #[test]
    fn who_kept_one_for_less_opens_nothing() {
        let over = Instant::now();
        let rest = Rest::new(over);
        for cpu in [TICK, 2 * QUICK] {
            rest.note(over, TICK, cpu);
        }
        let closed = TICK * limits::HERE_REST_FACTOR;
        assert!(!rest.is_over(over + closed / 2));
        assert!(rest.is_over(over + closed));
    }
}
