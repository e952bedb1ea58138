//! The queue for the compiler: fair by tenant and weight, with a lane of its own for what takes long. Hides who waits where.
//!
//! A plugin is compiled on a seat of the short lane. One that holds its seat for longer than its share goes on in the long
//! lane as soon as that has a free seat; while it has none and others wait, it is ended, and begins again in the long lane
//! when its turn comes. So neither a plugin that takes minutes nor a compiler that hangs holds up the others for longer
//! than a share.

use crate::rota::Rota;
use crate::weight::{Weight, Weights};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{oneshot, watch};

/// Where a plugin is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// For no longer than a share.
    Short,
    /// For as long as it may.
    Long,
}

/// See the module.
pub(crate) struct Queue {
    state: Mutex<State>,
    weights: Weights,
    /// Changes whenever somebody's place does.
    moves: watch::Sender<u64>,
}

struct State {
    short: Seats,
    long: Seats,
}

struct Seats {
    all: usize,
    free: usize,
    /// Empty while any seat is free.
    waiting: Rota<Next>,
}

/// Who waits for a seat.
struct Next {
    tenant: Arc<str>,
    sender: oneshot::Sender<Seat>,
}

/// A seat at the compiler; goes to the next who waits when dropped. What it costs is the time for which it is held.
pub(crate) struct Seat {
    queue: Arc<Queue>,
    lane: Lane,
    tenant: Arc<str>,
    weight: Weight,
    since: Instant,
}

impl Queue {
    /// With so many seats in each lane.
    pub(crate) fn new(seats: usize, weights: Weights) -> Arc<Self> {
        let seats = || Seats {
            all: seats,
            free: seats,
            waiting: Rota::default(),
        };
        Arc::new(Self {
            state: Mutex::new(State {
                short: seats(),
                long: seats(),
            }),
            weights,
            moves: watch::Sender::new(0),
        })
    }

    /// Plugins that are compiled now, and those that wait.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let state = self.state();
        let of = |seats: &Seats| (seats.all - seats.free, seats.waiting.len());
        let (short, long) = (of(&state.short), of(&state.long));
        (short.0 + long.0, short.1 + long.1)
    }

    /// Seats of a lane.
    pub(crate) fn seats(&self) -> usize {
        self.state().short.all
    }

    /// Tells of every change of anybody's place.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.moves.subscribe()
    }

    /// Takes a seat, or a place in the queue for one.
    pub(crate) fn enter(self: &Arc<Self>, lane: Lane, tenant: &Arc<str>) -> Waiting {
        let (sender, given) = oneshot::channel();
        let weight = self.weights.of(tenant);
        let mut state = self.state();
        let seats = state.lane(lane);
        let ticket = match seats.free.checked_sub(1) {
            Some(left) => {
                seats.free = left;
                // The receiver is at hand.
                let _ = sender.send(self.seat(lane, tenant));
                None
            }
            None => {
                let next = Next {
                    tenant: tenant.clone(),
                    sender,
                };
                Some(seats.waiting.push(tenant, weight, next))
            }
        };
        drop(state);
        self.moved();
        Waiting {
            place: ticket.map(|ticket| Place {
                queue: self.clone(),
                lane,
                tenant: tenant.clone(),
                ticket,
            }),
            given,
        }
    }

    fn seat(self: &Arc<Self>, lane: Lane, tenant: &Arc<str>) -> Seat {
        Seat {
            queue: self.clone(),
            lane,
            tenant: tenant.clone(),
            weight: self.weights.of(tenant),
            since: Instant::now(),
        }
    }

    /// Gives a seat to the next who waits for one.
    fn leave(self: &Arc<Self>, seat: &Seat) {
        let lane = seat.lane;
        let next = {
            let mut state = self.state();
            let seats = state.lane(lane);
            let next = seats.waiting.pop();
            match next {
                Some(_) => {
                    let cost = seat.since.elapsed();
                    seats.waiting.charge(&seat.tenant, seat.weight, cost);
                }
                None => seats.free += 1,
            }
            next
        };
        if let Some(next) = next {
            // Whoever gave up at this very moment drops it, and so hands it on.
            let _ = next.sender.send(self.seat(lane, &next.tenant));
        }
        self.moved();
    }

    /// Tells that something changed.
    pub(crate) fn moved(&self) {
        self.moves.send_modify(|moves| *moves += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lane(&mut self, lane: Lane) -> &mut Seats {
        match lane {
            Lane::Short => &mut self.short,
            Lane::Long => &mut self.long,
        }
    }
}

/// A place in the queue.
#[derive(Clone)]
pub(crate) struct Place {
    queue: Arc<Queue>,
    lane: Lane,
    tenant: Arc<str>,
    ticket: u64,
}

impl Place {
    /// How many have their turn before, those who have it now included; none when its own has come.
    pub(crate) fn before(&self) -> Option<usize> {
        let mut state = self.queue.state();
        let seats = state.lane(self.lane);
        let before = seats.waiting.before(&self.tenant, self.ticket)?;
        Some(before + seats.all)
    }
}

/// Who waits for a seat; gives up the place when dropped.
pub(crate) struct Waiting {
    place: Option<Place>,
    given: oneshot::Receiver<Seat>,
}

impl Waiting {
    /// The place in the queue; none when there was a seat at once.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place.clone()
    }

    /// Waits for the turn; none only when the queue is gone.
    pub(crate) async fn seat(mut self) -> Option<Seat> {
        (&mut self.given).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A seat that was sent meanwhile is dropped with the receiver, and so handed on.
        if let Some(place) = &self.place {
            let mut state = place.queue.state();
            let given_up = state
                .lane(place.lane)
                .waiting
                .remove(&place.tenant, place.ticket);
            drop(state);
            if given_up.is_some() {
                place.queue.moved();
            }
        }
    }
}

impl Seat {
    /// Whether who has held it for a share may stay: it goes over to the long lane, or nobody else wants the seat.
    #[cfg_attr(
        not(feature = "compiler"),
        allow(dead_code, reason = "nobody asks where nothing is compiled")
    )]
    pub(crate) fn may_stay(&mut self) -> bool {
        if self.lane == Lane::Long {
            return true;
        }
        let mut state = self.queue.state();
        let Some(left) = state.long.free.checked_sub(1) else {
            return state.short.waiting.len() == 0;
        };
        state.long.free = left;
        drop(state);
        self.queue.leave(self);
        self.lane = Lane::Long;
        self.since = Instant::now();
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.queue.leave(self);
    }
}

/// What compiling plugins of one sandbox has to do with the queue.
pub(crate) enum Leave<'a> {
    /// Only what was compiled before is wanted.
    Stored,
    /// It may be compiled on this seat.
    #[cfg_attr(
        not(feature = "compiler"),
        allow(dead_code, reason = "nobody asks for it where nothing is compiled")
    )]
    Seat(&'a mut Seat),
    /// It may be compiled without one: for who compiles a plugin to look at it.
    Alone,
}

impl Leave<'_> {
    /// Whether a compilation that has taken its share goes on.
    #[cfg(feature = "compiler")]
    pub(crate) fn goes_on(&mut self) -> bool {
        match self {
            Self::Stored => false,
            Self::Seat(seat) => seat.may_stay(),
            Self::Alone => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::time::Duration;

    fn tenant(name: &str) -> Arc<str> {
        name.into()
    }

    fn now(waiting: Waiting) -> Seat {
        assert!(waiting.place().is_none());
        waiting.seat().now_or_never().flatten().unwrap()
    }

    fn before(waiting: &Waiting) -> Option<usize> {
        waiting.place()?.before()
    }

    #[test]
    fn a_tenant_with_one_plugin_waits_for_one_of_each_other() {
        let (many, one) = (tenant("many"), tenant("one"));
        let queue = Queue::new(1, Weights::default());
        let seat = now(queue.enter(Lane::Short, &many));
        let waits = [&many, &many, &many, &one].map(|of| queue.enter(Lane::Short, of));
        assert_eq!(
            waits.each_ref().map(before),
            [Some(1), Some(3), Some(4), Some(2)]
        );
        assert_eq!(queue.sizes(), (1, 4));
        drop(seat);
        let [first, second, third, of_one] = waits;
        let seat = first.seat().now_or_never().flatten().unwrap();
        assert_eq!(
            [&second, &third, &of_one].map(before),
            [Some(2), Some(3), Some(1)]
        );
        drop(second);
        drop(seat);
        let seat = of_one.seat().now_or_never().flatten().unwrap();
        assert_eq!(before(&third), Some(1));
        drop(seat);
        assert_eq!(before(&third), None);
        drop(now_or_given(third));
        assert_eq!(queue.sizes(), (0, 0));
    }

    fn now_or_given(waiting: Waiting) -> Seat {
        waiting.seat().now_or_never().flatten().unwrap()
    }

    #[test]
    fn a_tenant_whose_plugins_take_long_waits_behind_the_others() {
        let (slow, quick) = (tenant("slow"), tenant("quick"));
        let queue = Queue::new(1, Weights::default());
        let mut seat = now(queue.enter(Lane::Short, &slow));
        seat.since = seat.since.checked_sub(Duration::from_secs(2)).unwrap();
        let waits = [&slow, &slow, &quick, &quick].map(|of| queue.enter(Lane::Short, of));
        drop(seat);
        let [first, second, of_quick, last] = waits;
        let _seat = now_or_given(first);
        assert_eq!(
            [&second, &of_quick, &last].map(before),
            [Some(3), Some(1), Some(2)]
        );
    }

    #[test]
    fn what_exceeds_its_share_leaves_the_short_lane() {
        let of = tenant("t");
        let queue = Queue::new(1, Weights::default());
        let mut slow = now(queue.enter(Lane::Short, &of));
        let next = queue.enter(Lane::Short, &of);
        assert_eq!(before(&next), Some(1));
        assert!(slow.may_stay());
        // It goes on beside the others, for as long as it likes.
        let mut next = now_or_given(next);
        assert!(slow.may_stay());
        // There is no second one of its kind: who wants the seat gets it, while nobody does it is kept.
        assert!(next.may_stay());
        let third = queue.enter(Lane::Short, &of);
        assert!(!next.may_stay());
        let again = queue.enter(Lane::Long, &of);
        assert_eq!(before(&again), Some(1));
        drop(next);
        drop(now_or_given(third));
        drop(slow);
        assert!(now_or_given(again).may_stay());
        assert_eq!(queue.sizes(), (0, 0));
    }

    #[test]
    fn every_move_is_told() {
        let of = tenant("t");
        let queue = Queue::new(1, Weights::default());
        let mut moves = queue.moves();
        let seat = now(queue.enter(Lane::Short, &of));
        assert!(moves.has_changed().unwrap());
        let waiting = queue.enter(Lane::Short, &of);
        moves.mark_unchanged();
        drop(seat);
        assert!(moves.has_changed().unwrap());
        moves.mark_unchanged();
        drop(waiting);
        assert!(moves.has_changed().unwrap());
    }
}
