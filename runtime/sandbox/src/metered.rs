//! The time of one attempt: CPU and wall, kept while its guest runs. Hides the thread's clock.

use crate::turns::Pace;
use crate::verdict::{Ended, Returned};
use rustix::time::{ClockId, clock_gettime};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// Runs a guest's future and keeps its time. A computing guest yields at each epoch tick; that is when its CPU time and
/// its deadline are looked at. A parked guest is woken by the timer, which short calls never set.
pub(crate) struct Metered<'a, F> {
    guest: Pin<Box<F>>,
    pub(crate) pace: &'a Pace,
    cpu_limit: Duration,
    due: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a, F> Metered<'a, F> {
    pub(crate) fn new(guest: F, pace: &'a Pace, cpu_limit: Duration, due: Instant) -> Self {
        Self {
            guest: Box::pin(guest),
            pace,
            cpu_limit,
            due,
            timer: None,
        }
    }
}

impl<F: Future<Output = wasmtime::Result<Returned>>> Future for Metered<'_, F> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Ended> {
        let this = &mut *self;
        // The time may have been over before its turn came.
        if this.timer.is_some() && Instant::now() >= this.due {
            return Poll::Ready(Ended::Wall);
        }
        let before = thread_cpu();
        let polled = this.guest.as_mut().poll(cx);
        let cpu = this.pace.add_cpu(thread_cpu().saturating_sub(before));
        match polled {
            Poll::Ready(returned) => Poll::Ready(Ended::Returned(returned)),
            Poll::Pending if cpu >= this.cpu_limit => Poll::Ready(Ended::Cpu),
            Poll::Pending if Instant::now() >= this.due => Poll::Ready(Ended::Wall),
            Poll::Pending => {
                let due = this.due.into();
                let timer = this
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
                timer.as_mut().poll(cx).map(|()| Ended::Wall)
            }
        }
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
