//! The time of one attempt: CPU and wall, kept while its guest runs. Hides how a guest that computes is stopped so that it can
//! be told where it was.

use crate::stopwatch;
use crate::turns::Pace;
use crate::verdict::{Ended, Returned};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;
use wasmtime::UpdateDeadline;

/// What an instance's engine asks at each epoch tick. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Brake(Arc<Braking>);

#[derive(Default)]
struct Braking {
    stops: AtomicBool,
    /// Whether the guest yielded since that was last asked.
    yielded: AtomicBool,
    /// Whether it has not been asked since it yielded.
    resumes: AtomicBool,
}

impl Brake {
    /// What becomes of a guest that computes: it yields, or traps where it is. It is asked at each tick, and once more as soon as
    /// it goes on after it yielded, so that one that is to be stopped need not compute until the next tick for it.
    pub(crate) fn at_tick(&self) -> UpdateDeadline {
        let of = &self.0;
        if of.stops.load(Ordering::Relaxed) {
            return UpdateDeadline::Interrupt;
        }
        if of.resumes.swap(false, Ordering::Relaxed) {
            return UpdateDeadline::Continue(1);
        }
        of.yielded.store(true, Ordering::Relaxed);
        of.resumes.store(true, Ordering::Relaxed);
        UpdateDeadline::Yield(0)
    }

    /// Another attempt begins.
    fn renew(&self) {
        self.0.resumes.store(false, Ordering::Relaxed);
    }
}

/// Runs a guest's future and keeps its time. A computing guest yields at each epoch tick; that is when its CPU time and
/// its deadline are looked at. A parked guest is woken by the timer, which short calls never set.
pub(crate) struct Metered<'a, F> {
    guest: Pin<&'a mut F>,
    pub(crate) pace: &'a Pace,
    brake: Brake,
    cpu_limit: Duration,
    due: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether it yielded at the end of its last turn, else it waits for its host.
    computes: bool,
}

/// What came of a turn.
struct Turn {
    polled: Poll<wasmtime::Result<Returned>>,
    /// The attempt's CPU time in all.
    cpu: Duration,
    /// When it was over.
    at: Instant,
}

impl<'a, F: Future<Output = wasmtime::Result<Returned>>> Metered<'a, F> {
    pub(crate) fn new(
        guest: Pin<&'a mut F>,
        pace: &'a Pace,
        brake: Brake,
        cpu_limit: Duration,
        due: Instant,
    ) -> Self {
        brake.renew();
        Self {
            guest,
            pace,
            brake,
            cpu_limit,
            due,
            timer: None,
            computes: false,
        }
    }

    /// Lets the guest run until it yields, waits or ends.
    fn turn(&mut self, cx: &mut TaskContext<'_>) -> Turn {
        self.brake.0.yielded.store(false, Ordering::Relaxed);
        let timed = stopwatch::time(|| self.guest.as_mut().poll(cx));
        self.computes = self.brake.0.yielded.load(Ordering::Relaxed);
        Turn {
            polled: timed.value,
            cpu: self.pace.add(timed.cpu, timed.wall),
            at: timed.at,
        }
    }

    /// The trap of a guest that computes and whose time is over: it is stopped where it is. One that waits for its host is dropped there, and what it gives back now counts for nothing.
    fn stop(&mut self, cx: &mut TaskContext<'_>) -> Option<wasmtime::Error> {
        if !self.computes {
            return None;
        }
        self.brake.0.stops.store(true, Ordering::Relaxed);
        match self.turn(cx).polled {
            Poll::Ready(Err(trap)) => Some(trap),
            Poll::Ready(Ok(_)) | Poll::Pending => None,
        }
    }
}

impl<F: Future<Output = wasmtime::Result<Returned>>> Future for Metered<'_, F> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Ended> {
        let this = &mut *self;
        // The time may have been over before its turn came.
        if this.timer.is_some() && Instant::now() >= this.due {
            return Poll::Ready(Ended::Wall(this.stop(cx)));
        }
        let turn = this.turn(cx);
        match turn.polled {
            Poll::Ready(returned) => Poll::Ready(Ended::Returned(returned)),
            Poll::Pending if turn.cpu >= this.cpu_limit => Poll::Ready(Ended::Cpu(this.stop(cx))),
            Poll::Pending if turn.at >= this.due => Poll::Ready(Ended::Wall(this.stop(cx))),
            Poll::Pending => {
                let due = this.due.into();
                let timer = this
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
                timer.as_mut().poll(cx).map(|()| Ended::Wall(None))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters of what becomes of it at each of so many ticks and beginnings of turns.
    fn asked(brake: &Brake, times: usize) -> String {
        let letter = || match brake.at_tick() {
            UpdateDeadline::Continue(1) => 'c',
            UpdateDeadline::Yield(0) => 'y',
            UpdateDeadline::Interrupt => 'i',
            _ => panic!("no other is given"),
        };
        std::iter::repeat_with(letter).take(times).collect()
    }

    #[test]
    fn one_that_is_to_be_stopped_computes_no_further() {
        let brake = Brake::default();
        assert_eq!(asked(&brake, 5), "ycycy");
        brake.0.stops.store(true, Ordering::Relaxed);
        // At once, not a tick later.
        assert_eq!(asked(&brake, 1), "i");
    }

    #[test]
    fn what_is_left_of_an_attempt_gives_the_next_no_turn_more() {
        let brake = Brake::default();
        assert_eq!(asked(&brake, 1), "y");
        brake.renew();
        assert_eq!(asked(&brake, 2), "yc");
    }
}
