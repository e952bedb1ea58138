//! The time of one attempt: CPU and wall, kept while its guest runs.

use crate::stopwatch;
use crate::turns::Pace;
use crate::verdict::{Ended, Returned};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// Runs a guest's future and keeps its time. A computing guest yields at each epoch tick; that is when its CPU time and
/// its deadline are looked at. A parked guest is woken by the timer, which short calls never set.
pub(crate) struct Metered<'a, F> {
    guest: Pin<&'a mut F>,
    pub(crate) pace: &'a Pace,
    cpu_limit: Duration,
    due: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a, F> Metered<'a, F> {
    pub(crate) fn new(
        guest: Pin<&'a mut F>,
        pace: &'a Pace,
        cpu_limit: Duration,
        due: Instant,
    ) -> Self {
        Self {
            guest,
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
        let polled = stopwatch::time(|| this.guest.as_mut().poll(cx));
        let cpu = this.pace.add_cpu(polled.cpu);
        match polled.value {
            Poll::Ready(returned) => Poll::Ready(Ended::Returned(returned)),
            Poll::Pending if cpu >= this.cpu_limit => Poll::Ready(Ended::Cpu),
            Poll::Pending if polled.at >= this.due => Poll::Ready(Ended::Wall),
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
