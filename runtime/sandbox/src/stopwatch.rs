//! The CPU time that a thread gives to one thing. Hides that it is dear to read.
//!
//! A thread's CPU time is told by a system call, two of which take as long as a tenth of a short task. The clock on the
//! wall is read without one. So what is short by the wall was computed through, as far as anybody pays for it: a thread that
//! another one takes the core from is away for longer than that. What is longer is read from the CPU's clock: what passed
//! since that was read last, less what was counted since then.

use crate::limits;
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static OF_THIS_THREAD: Cell<Option<Stopwatch>> = const { Cell::new(None) };
}

/// What something gave, how much time it took by CPU and wall, and when it was over.
pub(crate) struct Timed<T> {
    pub(crate) value: T,
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) at: Instant,
}

/// Does something, and tells its CPU time. Not for use within itself.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> Timed<T> {
    let began = Instant::now();
    let mut watch = match OF_THIS_THREAD.get() {
        Some(watch) => watch,
        None => Stopwatch::new(began, thread_cpu()),
    };
    watch.begin(began, thread_cpu);
    let value = work();
    let at = Instant::now();
    let cpu = watch.end(at, thread_cpu);
    OF_THIS_THREAD.set(Some(watch));
    Timed {
        value,
        cpu,
        wall: at - began,
        at,
    }
}

/// See the module.
#[derive(Clone, Copy)]
struct Stopwatch {
    /// When the clock on the wall was last looked at.
    seen: Instant,
    /// What the CPU's clock showed when it was last read.
    read: Duration,
    /// What was counted by the wall since then.
    counted: Duration,
}

impl Stopwatch {
    fn new(seen: Instant, read: Duration) -> Self {
        Self {
            seen,
            read,
            counted: Duration::ZERO,
        }
    }

    /// Something begins now. `cpu` reads the CPU's clock.
    fn begin(&mut self, now: Instant, cpu: impl FnOnce() -> Duration) {
        let between = now.saturating_duration_since(self.seen);
        self.counted += between;
        // The thread may have slept, or been away; and small errors add up.
        if between > limits::CPU_UNREAD || self.counted > limits::CPU_UNREAD_SUM {
            *self = Self::new(now, cpu());
        }
        self.seen = now;
    }

    /// It is over; returns its CPU time.
    fn end(&mut self, now: Instant, cpu: impl FnOnce() -> Duration) -> Duration {
        let wall = now.saturating_duration_since(self.seen);
        self.seen = now;
        if wall <= limits::CPU_UNREAD {
            self.counted += wall;
            return wall;
        }
        let (before, read) = (self.read + self.counted, cpu());
        *self = Self::new(now, read);
        read.saturating_sub(before).min(wall)
    }
}

/// CPU time of this thread so far.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Both parts count up from zero on every system that has this clock.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    /// A thread, as its two clocks show it.
    struct Thread {
        now: Instant,
        cpu: Duration,
        reads: u32,
        watch: Stopwatch,
    }

    impl Thread {
        fn new() -> Self {
            let now = Instant::now();
            // It has run before.
            let cpu = 5_000_000 * US;
            Self {
                now,
                cpu,
                reads: 0,
                watch: Stopwatch::new(now, cpu),
            }
        }

        /// It computes for so long, and is away for so long.
        fn pass(&mut self, computes: u32, away: u32) {
            self.now += computes * US + away * US;
            self.cpu += computes * US;
        }

        /// CPU time that is told of something that computes and is away for so long, in µs.
        fn told(&mut self, computes: u32, away: u32) -> u128 {
            let (cpu, reads) = (self.cpu, &mut self.reads);
            self.watch.begin(self.now, || {
                *reads += 1;
                cpu
            });
            self.pass(computes, away);
            let (cpu, reads) = (self.cpu, &mut self.reads);
            let told = self.watch.end(self.now, || {
                *reads += 1;
                cpu
            });
            told.as_micros()
        }
    }

    #[test]
    fn what_is_short_is_told_without_a_look_at_the_dear_clock() {
        let mut thread = Thread::new();
        for _ in 0..20 {
            assert_eq!(thread.told(7, 0), 7);
            thread.pass(2, 0);
        }
        assert_eq!(thread.reads, 0);
    }

    #[test]
    fn who_loses_the_core_pays_for_what_it_computed_alone() {
        let mut thread = Thread::new();
        for _ in 0..10 {
            thread.told(7, 0);
            thread.pass(2, 0);
        }
        assert_eq!(thread.told(30, 4_000), 30);
        assert_eq!(thread.told(7, 0), 7);
        assert_eq!(thread.told(9_000, 0), 9_000);
        assert_eq!(thread.told(400, 100), 400);
    }

    #[test]
    fn a_sleep_between_two_is_nobodys() {
        let mut thread = Thread::new();
        thread.told(7, 0);
        thread.pass(3, 1_000_000);
        assert_eq!(thread.told(8_000, 2_000), 8_000);
        thread.pass(40_000, 1_000_000);
        assert_eq!(thread.told(8_000, 2_000), 8_000);
    }

    /// Each of these loses a little time that is taken for its own; what comes then must not get all of it for nothing.
    #[test]
    fn errors_do_not_add_up() {
        let mut thread = Thread::new();
        for _ in 0..10_000 {
            thread.told(7, 2);
        }
        let long = u32::try_from(limits::CPU_UNREAD_SUM.as_micros()).unwrap();
        let told = thread.told(20 * long, 0);
        assert!(told >= u128::from(19 * long), "{told}");
        assert!(thread.reads < 200, "{}", thread.reads);
    }
}
