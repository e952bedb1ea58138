//! Tenants beside each other: whose requests are handled when, so that one who asks for as much as he can slows nobody
//! else. What it hides: the order of turns (`order`), whose a request is before it is proved (`whose`), the pauses of those who
//! are refused (`refusals`), and that whoever waits may go away at any time.

mod order;
mod refusals;
mod whose;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use axum::http::Response;
use tokio::sync::oneshot;

use crate::{limits::TURN_TICK, metrics::TurnCounts};
use order::{Entry, Order};

pub(crate) use refusals::Refusals;
pub(crate) use whose::{Known, Whose, claimed_key};

/// The turns of requests. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Inner>);

struct Inner {
    clock: Clock,
    counts: TurnCounts,
    state: Mutex<State>,
}

/// Counts ticks.
enum Clock {
    Since(Instant),
    /// As a test says.
    #[cfg(test)]
    Set(std::sync::atomic::AtomicU64),
}

impl Clock {
    fn tick(&self) -> u64 {
        match self {
            Clock::Since(began) => {
                let ticks = began.elapsed().as_micros() / TURN_TICK.as_micros();
                u64::try_from(ticks).unwrap_or(u64::MAX)
            }
            #[cfg(test)]
            Clock::Set(tick) => tick.load(Relaxed),
        }
    }
}

struct State {
    order: Order,
    /// By ticket.
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
    /// Whether a task looks at each tick who may go on.
    ticks: bool,
    /// The server ends: nobody waits any more.
    open: bool,
}

/// The turn of a request that is handled; goes to the next when it is dropped.
pub(crate) struct Turn {
    turns: Turns,
    whose: Whose,
    /// When it was given.
    tick: u64,
    kept: AtomicBool,
}

/// As many requests of one tenant wait for their turn as may.
#[derive(Debug)]
pub(crate) struct Crowded;

/// In the extensions of an answer: it is a refusal of somebody who asks for too much.
#[derive(Clone, Copy)]
pub(crate) struct Refusal;

/// Marks an answer as such a refusal if its code says so.
pub(crate) fn mark<B>(response: &mut Response<B>, code: &str) {
    if ["ThrottlingException", "TooManyRequestsException"].contains(&code) {
        response.extensions_mut().insert(Refusal);
    }
}

impl Turns {
    /// For so many requests at a time where several tenants ask.
    pub(crate) fn new(places: u32, counts: TurnCounts) -> Turns {
        Turns::by(Clock::Since(Instant::now()), places, counts)
    }

    fn by(clock: Clock, places: u32, counts: TurnCounts) -> Turns {
        Turns(Arc::new(Inner {
            clock,
            counts,
            state: Mutex::new(State {
                order: Order::new(places),
                waiting: BTreeMap::new(),
                ticks: false,
                open: false,
            }),
        }))
    }

    /// Waits for the turn of a request.
    pub(crate) async fn enter(&self, whose: &Whose, weight: u32) -> Result<Turn, Crowded> {
        let tick = self.tick();
        let (waiting, ticks) = {
            let mut state = self.state();
            if state.open {
                return Ok(self.turn(whose.clone(), tick));
            }
            let ticket = match state.order.enter(whose, weight, tick) {
                Entry::Now => return Ok(self.turn(whose.clone(), tick)),
                Entry::Full => return Err(Crowded),
                Entry::Later(ticket) => ticket,
            };
            let (sender, given) = oneshot::channel();
            state.waiting.insert(ticket, sender);
            self.0.counts.waiting.inc();
            let waiting = Waiting {
                turns: self,
                whose,
                ticket,
                given,
            };
            (waiting, std::mem::replace(&mut state.ticks, true))
        };
        if !ticks {
            // A runtime that ends drops it at once, which takes the lock.
            tokio::spawn(Ticking(self.clone()).go_on());
        }
        waiting.turn().await
    }

    fn turn(&self, whose: Whose, tick: u64) -> Turn {
        Turn {
            turns: self.clone(),
            whose,
            tick,
            kept: AtomicBool::new(false),
        }
    }

    /// Gives turns to all who may have one. What nobody took is to be dropped after the lock.
    fn give(&self, state: &mut State) -> Vec<Turn> {
        let tick = self.tick();
        let mut left = Vec::new();
        while let Some((whose, ticket)) = state.order.next(tick) {
            let turn = self.turn(whose, tick);
            match state.waiting.remove(&ticket) {
                Some(sender) => left.extend(sender.send(turn).err()),
                None => left.push(turn),
            }
        }
        left
    }

    /// Lets in who may go on by now; tells whether anybody still waits.
    fn look(&self) -> bool {
        let mut state = self.state();
        let left = self.give(&mut state);
        let waits = state.order.has_waiting();
        state.ticks = waits;
        drop(state);
        drop(left);
        waits
    }

    fn tick(&self) -> u64 {
        self.0.clock.tick()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The request computes: its turn takes as long as it does.
    pub(crate) fn keep(&self) {
        let mut state = self.turns.state();
        if !self.kept.swap(true, Relaxed) {
            state.order.keep(&self.whose, self.tick, self.turns.tick());
        }
    }

    /// Whether it is one of theirs.
    pub(crate) fn is_of(&self, whose: &Whose) -> bool {
        self.whose == *whose
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        let tick = self.turns.tick();
        match *self.kept.get_mut() {
            true => state.order.leave_kept(&self.whose, tick),
            false => state.order.leave(&self.whose, self.tick, tick),
        }
        if state.order.has_waiting() {
            let left = self.turns.give(&mut state);
            drop(state);
            drop(left);
        }
    }
}

/// Who waits for a turn; gives up when it is dropped.
struct Waiting<'a> {
    turns: &'a Turns,
    whose: &'a Whose,
    ticket: u64,
    given: oneshot::Receiver<Turn>,
}

impl Waiting<'_> {
    async fn turn(mut self) -> Result<Turn, Crowded> {
        // No sender is dropped unused but with all of this.
        (&mut self.given).await.map_err(|_| Crowded)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turns.0.counts.waiting.dec();
        let mut state = self.turns.state();
        if state.waiting.remove(&self.ticket).is_some() {
            state.order.give_up(self.whose, self.ticket);
        }
        // A turn that was sent meanwhile is dropped with the receiver, after the lock.
    }
}

/// Looks at each tick whose places are free by then, as long as anybody waits.
struct Ticking(Turns);

impl Ticking {
    async fn go_on(self) {
        loop {
            tokio::time::sleep(TURN_TICK).await;
            if !self.0.look() {
                return;
            }
        }
    }
}

impl Drop for Ticking {
    /// Whatever it runs on ends, and with it the server: nobody waits any more.
    fn drop(&mut self) {
        let mut state = self.0.state();
        if !std::mem::take(&mut state.ticks) {
            return;
        }
        state.open = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        let tick = self.0.tick();
        for sender in waiting.into_values() {
            // Of nobody's part. Who has gone needs none.
            let _ = sender.send(self.0.turn(Whose::stranger(None), tick));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use futures_util::FutureExt;

    use super::*;

    const PLACES: u32 = 4;

    fn account(name: &str) -> Whose {
        Whose::Account(name.into())
    }

    /// Turns where another account than `a` asks too: half of the places are `a`'s.
    fn turns() -> Turns {
        let turns = Turns::by(Clock::Set(AtomicU64::new(0)), PLACES, TurnCounts::default());
        let other = turns.enter(&account("b"), 100).now_or_never();
        drop(other);
        turns
    }

    fn now(turns: &Turns, whose: &Whose) -> Turn {
        let turn = turns.enter(whose, 100).now_or_never();
        turn.expect("at once").expect("few wait")
    }

    #[tokio::test]
    async fn a_request_that_ends_lets_the_next_one_in() {
        let (turns, a) = (turns(), account("a"));
        let (first, second) = (now(&turns, &a), now(&turns, &a));
        let mut third = Box::pin(turns.enter(&a, 100));
        assert!(third.as_mut().now_or_never().is_none());
        // Another account has its own.
        drop(now(&turns, &account("b")));
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        let third = third.now_or_never().expect("its turn").expect("few wait");
        drop((second, third));
        assert!(!turns.state().order.has_waiting() && turns.state().waiting.is_empty());
    }

    #[tokio::test]
    async fn connections_that_go_away_free_their_places() {
        let (turns, a) = (turns(), account("a"));
        let (first, _second) = (now(&turns, &a), now(&turns, &a));
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(turns.enter(&a, 100))).collect();
        for waiting in &mut waiting {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        // One goes away while it waits, one when its turn was on its way.
        drop(waiting.remove(0));
        drop(first);
        drop(waiting.remove(0));
        let last = waiting.remove(0).now_or_never();
        assert!(last.expect("its turn").is_ok());
        assert!(turns.state().waiting.is_empty());
        let _one = now(&turns, &a);
        assert!(
            turns.enter(&a, 100).now_or_never().is_none(),
            "two and no more"
        );
    }

    #[tokio::test]
    async fn requests_that_wait_for_something_hold_nobody_up() {
        let (turns, a) = (turns(), account("a"));
        let polls: Vec<Turn> = (0..PLACES / 2).map(|_| now(&turns, &a)).collect();
        let mut next = Box::pin(turns.enter(&a, 100));
        assert!(next.as_mut().now_or_never().is_none());
        for (tick, waits) in [(1, true), (2, false)] {
            let Clock::Set(clock) = &turns.0.clock else {
                panic!("the clock is set");
            };
            clock.store(tick, Relaxed);
            assert_eq!(turns.look(), waits, "at {tick}");
        }
        let next = next.now_or_never().expect("its turn").expect("few wait");
        assert!(!turns.state().ticks, "nobody waits");
        drop((polls, next));
        assert!(turns.state().waiting.is_empty());
        assert_eq!(turns.0.counts.waiting.get(), 0);
    }

    #[tokio::test]
    async fn requests_that_compute_keep_their_places() {
        let (turns, a) = (turns(), account("a"));
        let computing: Vec<Turn> = (0..PLACES / 2).map(|_| now(&turns, &a)).collect();
        for turn in &computing {
            turn.keep();
            turn.keep();
        }
        let mut next = Box::pin(turns.enter(&a, 100));
        assert!(next.as_mut().now_or_never().is_none());
        let Clock::Set(clock) = &turns.0.clock else {
            panic!("the clock is set");
        };
        clock.store(1_000, Relaxed);
        // Another tenant asks still.
        drop(now(&turns, &account("b")));
        assert!(turns.look());
        drop(computing);
        assert!(next.now_or_never().expect("its turn").is_ok());
    }

    #[test]
    fn nobody_waits_for_a_server_that_has_ended() {
        let (turns, a) = (turns(), account("a"));
        let _held: Vec<Turn> = (0..PLACES / 2).map(|_| now(&turns, &a)).collect();
        let mut waiting = Box::pin(turns.enter(&a, 100));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        assert!(
            runtime
                .block_on(async { waiting.as_mut().now_or_never() })
                .is_none()
        );
        drop(runtime);
        assert!(waiting.now_or_never().expect("let in").is_ok());
        drop(now(&turns, &a));
    }
}
