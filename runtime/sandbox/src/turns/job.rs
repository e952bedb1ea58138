//! An attempt as it takes its turns. Hides its states, and that it may be woken or dropped at any time.

use super::Shared;
use super::here::Here;
use super::pace::Pace;
use super::ready::Come;
use crate::outcome::TaskEnd;
use futures_util::task::AtomicWaker;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

pub(super) type Attempt = Pin<Box<dyn Future<Output = TaskEnd> + Send>>;

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
pub(super) struct Job {
    state: AtomicU8,
    /// Nobody wants its end any more.
    pub(super) cancelled: AtomicBool,
    pub(super) pace: Arc<Pace>,
    /// Key in `Ready::due`; kept under that lock.
    pub(super) ticket: AtomicU64,
    /// None once it ended or was cancelled.
    attempt: Mutex<Option<Attempt>>,
    end: Mutex<Option<Result<TaskEnd, Lost>>>,
    pub(super) caller: AtomicWaker,
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

/// What became of a job in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Parked,
    /// It goes back into the queue.
    Yielded,
    /// Its caller is to be told.
    Ended,
}

impl Job {
    /// One that waits, until it is woken.
    pub(super) fn new(pace: Arc<Pace>, attempt: Attempt, shared: Arc<Shared>) -> Self {
        Self {
            state: AtomicU8::new(PARKED),
            cancelled: AtomicBool::new(false),
            pace,
            ticket: AtomicU64::new(0),
            attempt: Mutex::new(Some(attempt)),
            end: Mutex::new(None),
            caller: AtomicWaker::new(),
            shared,
        }
    }

    /// Takes it from the queue; false when that was done by another way already.
    pub(super) fn claim(&self) -> bool {
        self.swap(READY, RUNNING)
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        let swapped = self
            .state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        swapped.is_ok()
    }

    /// Gives one that was never queued its first turn on the calling thread.
    fn turn_here(self: &Arc<Self>, here: &Here) {
        if !self.swap(PARKED, RUNNING) {
            return;
        }
        self.pace.set_here(true);
        let after = here.work(&self.pace, || self.turn());
        self.pace.set_here(false);
        match after {
            After::Yielded if self.pace.cpu().is_zero() => {
                self.shared.push(self.clone(), Come::Woken);
            }
            After::Yielded => self.shared.push(self.clone(), Come::Yielded),
            // Its caller is the one who is here.
            After::Parked | After::Ended => {}
        }
    }

    /// Lets a claimed job have its turn.
    pub(super) fn turn(self: &Arc<Self>) -> After {
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
    pub(super) fn finish(&self, end: Result<TaskEnd, Lost>) -> After {
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
            self.shared.push(self.clone(), Come::Woken);
        }
    }
}

#[cfg(test)]
impl Job {
    /// Its turn is over; false when it had none.
    pub(super) fn yields(&self) -> bool {
        self.swap(RUNNING, READY)
    }

    /// Whether what it held is gone.
    pub(super) fn is_freed(&self) -> bool {
        self.attempt.lock().is_ok_and(|attempt| attempt.is_none())
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        loop {
            match self.state.load(Ordering::SeqCst) {
                PARKED if self.swap(PARKED, READY) => {
                    return self.shared.push(self.clone(), Come::Woken);
                }
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
pub(crate) struct Begun {
    pub(super) job: Arc<Job>,
    /// Until it was polled, if its first turn is where that is.
    here: Option<Arc<Here>>,
}

impl Begun {
    /// Of a job that is queued, or of one whose first turn is `here`.
    pub(super) fn new(job: Arc<Job>, here: Option<Arc<Here>>) -> Self {
        Self { job, here }
    }
}

impl Future for Begun {
    type Output = Result<TaskEnd, Lost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(here) = self.here.take() {
            self.job.turn_here(&here);
        }
        let job = &self.job;
        job.caller.register(cx.waker());
        let end = {
            let mut end = job.end.lock().unwrap_or_else(PoisonError::into_inner);
            end.take()
        };
        let Some(end) = end else {
            return Poll::Pending;
        };
        job.shared.telling.go_on();
        Poll::Ready(end)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.job.state.load(Ordering::SeqCst) != ENDED {
            self.job.cancel();
        }
    }
}
