//! Who runs a shard. Whoever brings it something runs it where they are, as long as that is a moment's work and nobody
//! else does: waking the shard's own thread and being woken by it again would cost a lone caller more than the work.
//! What takes longer, and what comes while someone is at it, is left to the shard's thread, so that under load one
//! thread does the work of many callers and shares their commits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU8, AtomicU64,
            Ordering::{AcqRel, Acquire, SeqCst},
        },
    },
    task::{Wake, Waker},
    time::{Duration, Instant},
};

use stepwell_interp::Timestamp;
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
    watch,
};

use super::{
    now,
    shard_loop::{Reach, ShardLoop},
};
use crate::{
    limits::{SHARD_QUEUE_MAX, WAKER_REST_MAX},
    shard::In,
};

/// Looks that a caller takes before the shard's thread goes on.
const CALLER_LOOKS_MAX: usize = 2;

/// A caller's look that took longer than this says that the shard has more than a moment's work. Wall time, for which a
/// thread that has to wait for a core needs room.
const CALLER_LOOK_MAX: Duration = Duration::from_millis(20);

/// How long callers then leave the shard to its thread: expressions that take long come again.
const CALLERS_KEEP_AWAY: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Seat {
    baton: Baton,
    /// Locked by who has the baton alone; nothing before the shard's thread began and once it ended.
    body: Mutex<Option<ShardLoop>>,
    queue: mpsc::Sender<In>,
    news: mpsc::UnboundedSender<In>,
    /// Wakes the shard's thread.
    call: Notify,
    /// When the shard's thread looks again without being called.
    rests_until: AtomicU64,
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    /// The shard has ended.
    Ended,
}

/// What a seat's shard takes its inputs from.
pub(super) struct Inboxes {
    /// What callers bring, bounded.
    pub(super) queue: mpsc::Receiver<In>,
    /// News from the shard's own attempts and reads; unbounded, since each answers something bounded.
    pub(super) news: mpsc::UnboundedReceiver<In>,
}

impl Seat {
    /// The shard's thread has the baton before it runs.
    pub(super) fn new() -> (Arc<Seat>, Inboxes) {
        let (queue, queued) = mpsc::channel(SHARD_QUEUE_MAX);
        let (news, told) = mpsc::unbounded_channel();
        let seat = Seat {
            baton: Baton::held(),
            body: Mutex::new(None),
            queue,
            news,
            call: Notify::new(),
            rests_until: AtomicU64::new(0),
        };
        let inboxes = Inboxes {
            queue: queued,
            news: told,
        };
        (Arc::new(seat), inboxes)
    }

    /// Inputs that wait for a look.
    pub(super) fn depth(&self) -> u64 {
        (self.queue.max_capacity() - self.queue.capacity()) as u64
    }

    /// Brings an input, unless the queue is full or the shard has ended.
    pub(super) fn put(self: &Arc<Seat>, input: In) -> Result<(), Refusal> {
        self.queue.try_send(input).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Full,
            TrySendError::Closed(_) => Refusal::Ended,
        })?;
        self.run_here(Reach::Whole);
        Ok(())
    }

    /// Leaves an input to the shard's thread, once there is room.
    pub(super) async fn put_when_room(&self, input: In) {
        // A shard that has ended needs nothing.
        let _ = self.queue.send(input).await;
        self.call.notify_one();
    }

    /// Brings news of something the shard began.
    pub(crate) fn tell(self: &Arc<Seat>, input: In) {
        // Nobody listens once the shard has ended.
        let _ = self.news.send(input);
        self.run_here(Reach::Whole);
    }

    /// Leaves such news to the shard's thread: for threads that have other things to do.
    pub(crate) fn leave(&self, input: In) {
        let _ = self.news.send(input);
        self.call.notify_one();
    }

    fn run_here(self: &Arc<Seat>, reach: Reach) {
        if !self.baton.take() {
            return;
        }
        let held = Held(self);
        for _ in 0..CALLER_LOOKS_MAX {
            // A panic poisons the lock, by which the shard ends; whoever came by with something has no part in it.
            let looked = catch_unwind(AssertUnwindSafe(|| self.look_briefly(reach)));
            let Some(rest) = looked.ok().flatten() else {
                return;
            };
            if self.baton.lay_down() {
                std::mem::forget(held);
                if rest.is_some_and(|due| due.0 < self.rests_until.load(SeqCst)) {
                    self.call.notify_one();
                }
                return;
            }
        }
    }

    /// A caller's look: what is due next, or `None` when the shard's thread is to go on.
    fn look_briefly(self: &Arc<Seat>, reach: Reach) -> Option<Option<Timestamp>> {
        let mut body = self.body();
        let body = body.as_mut().filter(|body| body.is_light())?;
        let began = Instant::now();
        let goes_on = body.look(reach, &Waker::from(self.clone()));
        let end = Instant::now();
        if end - began > CALLER_LOOK_MAX {
            body.heavy_until = Some(end + CALLERS_KEEP_AWAY);
        }
        (!goes_on).then(|| body.next_due())
    }

    /// The body of the shard's thread.
    pub(super) async fn serve(self: Arc<Seat>, body: ShardLoop) {
        let mut closed = body.closed();
        // It may have been closed before this thread came to look.
        closed.mark_changed();
        let _ends = body.pulse().ends();
        *self.body() = Some(body);
        let _leaves = Leaves(&self);
        let waker = Waker::from(self.clone());
        while let Some(rest) = self.look(&waker) {
            match rest {
                Some(rest) => self.wait(rest, &mut closed).await,
                None => tokio::task::yield_now().await,
            }
            if *closed.borrow() {
                break;
            }
        }
    }

    /// The thread's look: how long it may rest, if it may; `None` when a caller's look went wrong, and the shard with it.
    fn look(&self, waker: &Waker) -> Option<Option<Duration>> {
        let mut body = self.body.lock().ok()?;
        let body = body.as_mut()?;
        if body.look(Reach::Whole, waker) {
            return Some(None);
        }
        let at = now();
        let rest = body.next_due().map_or(WAKER_REST_MAX, |due| {
            Duration::from_millis(due.since_ms(at)).min(WAKER_REST_MAX)
        });
        let until = at.plus_ms(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX));
        self.rests_until.store(until.0, SeqCst);
        Some(Some(rest))
    }

    /// Lets go of the baton until something is left for the thread, or it is time; returns with the baton.
    async fn wait(&self, rest: Duration, closed: &mut watch::Receiver<bool>) {
        if !self.baton.lay_down() {
            return tokio::task::yield_now().await;
        }
        let mut rest = rest;
        loop {
            tokio::select! {
                () = self.call.notified() => {}
                () = tokio::time::sleep(rest) => {}
                _ = closed.changed() => {}
            }
            if self.baton.take_over() {
                return;
            }
            // A caller is at it, and may do what this thread was called for without handing anything over.
            rest = CALLER_LOOK_MAX;
        }
    }

    fn body(&self) -> MutexGuard<'_, Option<ShardLoop>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A commit that the shard waits for has its verdict. Who brings it is a thread of the journal, which has commits of
/// everyone to make: it lets go what waited for the verdict, and makes no turns.
impl Wake for Seat {
    fn wake(self: Arc<Seat>) {
        self.run_here(Reach::Verdicts);
    }

    fn wake_by_ref(self: &Arc<Seat>) {
        self.run_here(Reach::Verdicts);
    }
}

/// Hands the baton over to the shard's thread when a caller leaves with it, by a panic too.
struct Held<'a>(&'a Seat);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.baton.hand_over();
        self.0.call.notify_one();
    }
}

/// Takes the shard away when its thread ends, by a panic too: its queue closes, and who waits for it is let go. The baton is
/// kept, so that nobody looks for a shard any more.
struct Leaves<'a>(&'a Seat);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let body = self.0.body().take();
        // When nothing is locked: who is let go may be woken by it.
        drop(body);
    }
}

/// Held by one thread at a time; says to who holds it that something came meanwhile.
struct Baton(AtomicU8);

const FREE: u8 = 0;
const HELD: u8 = 1;
/// Held, and something came since the last look.
const HELD_WITH_NEWS: u8 = 2;
/// Laid down for the shard's thread alone.
const HANDED_OVER: u8 = 3;

impl Baton {
    fn held() -> Baton {
        Baton(AtomicU8::new(HELD))
    }

    /// For a caller: whether it has the baton now. If not, who has it will look again.
    fn take(&self) -> bool {
        let taken = self.change(|state| match state {
            FREE => Some(HELD),
            HELD => Some(HELD_WITH_NEWS),
            _ => None,
        });
        taken == Ok(FREE)
    }

    /// For the shard's thread: the same, and what was handed over is its.
    fn take_over(&self) -> bool {
        let taken = self.change(|state| match state {
            FREE | HANDED_OVER => Some(HELD),
            HELD => Some(HELD_WITH_NEWS),
            _ => None,
        });
        matches!(taken, Ok(FREE | HANDED_OVER))
    }

    /// Whether the baton is free; if not, something came, and the holder looks again.
    fn lay_down(&self) -> bool {
        let left = self.change(|state| match state {
            HELD => Some(FREE),
            _ => Some(HELD),
        });
        left == Ok(HELD)
    }

    fn hand_over(&self) {
        self.0.store(HANDED_OVER, SeqCst);
    }

    fn change(&self, next: impl FnMut(u8) -> Option<u8>) -> Result<u8, u8> {
        self.0.fetch_update(AcqRel, Acquire, next)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Mutex,
            atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        },
        thread,
    };

    use super::*;

    /// A shard that only counts: whoever looks must be alone, and what was put is seen by a look after it.
    #[derive(Default)]
    struct Count {
        put: AtomicUsize,
        seen: Mutex<usize>,
    }

    impl Count {
        fn look(&self) {
            let mut seen = self.seen.try_lock().expect("one thread looks at a time");
            *seen = self.put.load(SeqCst);
        }
    }

    #[test]
    fn all_that_is_put_is_seen_by_one_thread_at_a_time() {
        // What is lost shows at the end alone: anything later brings it along. So there are many ends.
        for _ in 0..2_000 {
            seen_at_the_end();
        }
    }

    const CALLERS: usize = 3;
    const TURNS: usize = 8;

    fn seen_at_the_end() {
        let (baton, count, over) = (Baton::held(), Count::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            let owner = scope.spawn(|| owner(&baton, &count, &over));
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| scope.spawn(|| caller(&baton, &count)))
                .collect();
            for caller in callers {
                caller.join().expect("it looked alone");
            }
            over.store(true, SeqCst);
            owner.join().expect("it looked alone");
        });
        assert_eq!(*count.seen.lock().expect("nobody failed"), CALLERS * TURNS);
    }

    /// The shard's thread, which begins with the baton and takes it again when it is handed over: looks that nobody asks
    /// for would hide what is lost.
    fn owner(baton: &Baton, count: &Count, over: &AtomicBool) {
        loop {
            count.look();
            if !baton.lay_down() {
                continue;
            }
            loop {
                // Asked before the baton is looked at: once all is over, nobody else changes it.
                let ends = over.load(SeqCst);
                if baton.0.load(SeqCst) == HANDED_OVER {
                    assert!(
                        baton.take_over(),
                        "what is handed over is this thread's alone"
                    );
                    break;
                }
                if ends {
                    return;
                }
                thread::yield_now();
            }
        }
    }

    fn caller(baton: &Baton, count: &Count) {
        for turn in 0..TURNS {
            count.put.fetch_add(1, SeqCst);
            if baton.take() {
                count.look();
                if turn % 3 == 0 || !baton.lay_down() {
                    baton.hand_over();
                }
            }
        }
    }
}
