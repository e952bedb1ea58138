//! How many requests of whom are handled at a time, and whose turn is next. Pure: time is a number of ticks, and nobody
//! waits in here. What it hides: the arithmetic of parts.
//!
//! While one account alone asks, as many of its requests are handled as come. Once others ask too, each has a part of the
//! places by its weight, and one place at least. A part is kept free for its account, or its next request would wait for those
//! of others to end; but half of all places are anybody's as long as they are not taken. Nothing is saved up by asking
//! little. A request takes a place for two ticks at most: what takes longer waits for something, unless it says that it
//! computes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Whose;
use crate::limits::{REQUESTS_WAITING_MAX, TENANT_RECENT, TURN_TICK};

/// How long an account counts as one that asks, in ticks.
const RECENT_TICKS: u64 = (TENANT_RECENT.as_millis() / TURN_TICK.as_millis()) as u64;
/// Those that have not asked for long are looked for so often.
const SWEEP_TICKS: u64 = RECENT_TICKS / 10;

/// See the module.
pub(super) struct Order {
    places: u32,
    parties: BTreeMap<Whose, Party>,
    /// Those of them for which somebody waits.
    queued: BTreeSet<Whose>,
    /// Places that are taken.
    taken: Held,
    /// The accounts that have asked of late, and the sum of their weights. Who has proved nothing is not among them: a
    /// stranger takes nothing from anybody's part.
    accounts: usize,
    weights: u64,
    tickets: u64,
    swept: u64,
}

/// One account, or one address of those who have proved nothing yet.
#[derive(Default)]
struct Party {
    weight: u32,
    taken: Held,
    waiting: VecDeque<u64>,
    /// When it last asked.
    asked: u64,
    /// Whether it is among the accounts that count.
    counts: bool,
}

/// Places taken in this tick and in the one before, and those that are kept; those of earlier ticks are not counted any more.
#[derive(Clone, Copy, Default)]
struct Held {
    tick: u64,
    now: u32,
    before: u32,
    kept: u32,
}

/// What [`Order::enter`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A place.
    Now,
    /// [`Order::next`] tells when it is there.
    Later(u64),
    /// As many wait as may.
    Full,
}

impl Order {
    pub(super) fn new(places: u32) -> Order {
        Order {
            places,
            parties: BTreeMap::new(),
            queued: BTreeSet::new(),
            taken: Held::default(),
            accounts: 0,
            weights: 0,
            tickets: 0,
            swept: 0,
        }
    }

    /// A request comes. Its place is given back by [`Order::leave`].
    pub(super) fn enter(&mut self, whose: &Whose, weight: u32, tick: u64) -> Entry {
        self.pass(tick);
        self.note(whose, weight.max(1), tick);
        let may_enter = self.may_enter(whose);
        let Some(party) = self.parties.get_mut(whose) else {
            return Entry::Full;
        };
        if may_enter && party.waiting.is_empty() {
            party.taken.take();
            self.taken.take();
            return Entry::Now;
        }
        if party.waiting.len() >= REQUESTS_WAITING_MAX {
            return Entry::Full;
        }
        self.tickets += 1;
        party.waiting.push_back(self.tickets);
        self.queued.insert(whose.clone());
        Entry::Later(self.tickets)
    }

    /// A place that was taken in that tick is given back.
    pub(super) fn leave(&mut self, whose: &Whose, taken: u64, tick: u64) {
        self.pass(tick);
        self.taken.give_back(taken);
        if let Some(party) = self.parties.get_mut(whose) {
            party.taken.roll(tick);
            party.taken.give_back(taken);
        }
    }

    /// A place that was taken in that tick is kept until [`Order::leave_kept`], however long that takes.
    pub(super) fn keep(&mut self, whose: &Whose, taken: u64, tick: u64) {
        self.leave(whose, taken, tick);
        self.taken.kept += 1;
        if let Some(party) = self.parties.get_mut(whose) {
            party.taken.kept += 1;
        }
    }

    /// A place that was kept is given back.
    pub(super) fn leave_kept(&mut self, whose: &Whose, tick: u64) {
        self.pass(tick);
        self.taken.kept = self.taken.kept.saturating_sub(1);
        if let Some(party) = self.parties.get_mut(whose) {
            party.taken.kept = party.taken.kept.saturating_sub(1);
        }
    }

    /// Whoever waited with that ticket has gone.
    pub(super) fn give_up(&mut self, whose: &Whose, ticket: u64) {
        let Some(party) = self.parties.get_mut(whose) else {
            return;
        };
        if let Ok(place) = party.waiting.binary_search(&ticket) {
            party.waiting.remove(place);
        }
        if party.waiting.is_empty() {
            self.queued.remove(whose);
        }
    }

    /// Gives a place to the next who waits and may have one: the party that has the fewest for its weight, and of equal ones
    /// the one that has waited longest.
    pub(super) fn next(&mut self, tick: u64) -> Option<(Whose, u64)> {
        self.pass(tick);
        let mut first: Option<(f64, u64, &Whose)> = None;
        for whose in &self.queued {
            let Some(party) = self.parties.get_mut(whose) else {
                continue;
            };
            party.taken.roll(tick);
            let has = f64::from(party.taken.count() + 1) / f64::from(party.weight);
            let ticket = party.waiting.front().copied().unwrap_or(u64::MAX);
            let earlier = first.is_none_or(|(least, before, _)| (has, ticket) < (least, before));
            if earlier && self.may_enter(whose) {
                first = Some((has, ticket, whose));
            }
        }
        let whose = first?.2.clone();
        let party = self.parties.get_mut(&whose)?;
        let ticket = party.waiting.pop_front()?;
        party.taken.take();
        self.taken.take();
        if party.waiting.is_empty() {
            self.queued.remove(&whose);
        }
        Some((whose, ticket))
    }

    /// Whether anybody waits.
    pub(super) fn has_waiting(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Whether a party may have one place more. Its places are those of this tick.
    fn may_enter(&self, whose: &Whose) -> bool {
        let Some(party) = self.parties.get(whose) else {
            return false;
        };
        let is_account = matches!(whose, Whose::Account(_));
        if is_account && self.accounts <= 1 {
            return true;
        }
        let weight = u64::from(party.weight);
        let all = self.weights + if party.counts { 0 } else { weight };
        let part = u64::from(self.places) * weight / all.max(1);
        u64::from(party.taken.count()) < part.max(1) || self.taken.count() < self.places / 2
    }

    /// Takes note of who asks.
    fn note(&mut self, whose: &Whose, weight: u32, tick: u64) {
        if !self.parties.contains_key(whose) {
            self.parties.insert(whose.clone(), Party::default());
        }
        let Some(party) = self.parties.get_mut(whose) else {
            return;
        };
        party.taken.roll(tick);
        party.asked = tick;
        if party.counts {
            self.weights = self.weights - u64::from(party.weight) + u64::from(weight);
        } else if matches!(whose, Whose::Account(_)) {
            party.counts = true;
            self.accounts += 1;
            self.weights += u64::from(weight);
        }
        party.weight = weight;
    }

    /// Time passes: places that were taken long ago are free, and who has not asked for long is forgotten.
    fn pass(&mut self, tick: u64) {
        self.taken.roll(tick);
        if tick.saturating_sub(self.swept) < SWEEP_TICKS {
            return;
        }
        self.swept = tick;
        let (accounts, weights) = (&mut self.accounts, &mut self.weights);
        self.parties.retain(|_, party| {
            party.taken.roll(tick);
            // Accounts are few; strangers may be any number.
            let recent = party.counts && tick.saturating_sub(party.asked) < RECENT_TICKS;
            let stays = recent || party.taken.count() > 0 || !party.waiting.is_empty();
            if !stays && party.counts {
                *accounts -= 1;
                *weights -= u64::from(party.weight);
            }
            stays
        });
    }
}

impl Held {
    fn count(self) -> u32 {
        self.now + self.before + self.kept
    }

    fn roll(&mut self, tick: u64) {
        match tick.saturating_sub(self.tick) {
            0 => return,
            1 => self.before = self.now,
            _ => self.before = 0,
        }
        self.now = 0;
        self.tick = tick;
    }

    fn take(&mut self) {
        self.now += 1;
    }

    fn give_back(&mut self, taken: u64) {
        if taken == self.tick {
            self.now = self.now.saturating_sub(1);
        } else if taken + 1 == self.tick {
            self.before = self.before.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    const PLACES: u32 = 16;

    fn account(name: &str) -> Whose {
        Whose::Account(name.into())
    }

    fn stranger() -> Whose {
        Whose::Address(IpAddr::from([192, 0, 2, 1]))
    }

    /// So many requests come; how many are handled at once.
    fn flood(order: &mut Order, whose: &Whose, weight: u32, count: u32, tick: u64) -> u32 {
        let entries = (0..count).map(|_| order.enter(whose, weight, tick));
        entries.filter(|entry| *entry == Entry::Now).count() as u32
    }

    #[test]
    fn who_asks_alone_waits_for_nobody() {
        let mut order = Order::new(PLACES);
        assert_eq!(flood(&mut order, &account("a"), 100, 1_000, 0), 1_000);
        // Strangers are no reason to hold anybody back, and have a part of their own.
        assert_eq!(order.enter(&stranger(), 100, 0), Entry::Now);
        assert_eq!(order.enter(&account("a"), 100, 0), Entry::Now);
    }

    #[test]
    fn a_part_is_kept_free_for_each_who_asks() {
        let mut order = Order::new(PLACES);
        let (quiet, noisy) = (account("quiet"), account("noisy"));
        assert_eq!(order.enter(&quiet, 100, 0), Entry::Now);
        order.leave(&quiet, 0, 0);
        assert_eq!(flood(&mut order, &noisy, 100, 100, 0), PLACES / 2);
        assert_eq!(flood(&mut order, &quiet, 100, 100, 0), PLACES / 2);
        // Who comes while all is taken has one place at least.
        assert_eq!(order.enter(&account("third"), 1, 0), Entry::Now);
        assert_ne!(order.enter(&account("third"), 1, 0), Entry::Now);
    }

    #[test]
    fn half_of_the_places_are_anybodys() {
        let mut order = Order::new(PLACES);
        for number in 0..50 {
            let name = account(&number.to_string());
            assert_eq!(order.enter(&name, 100, 0), Entry::Now);
            order.leave(&name, 0, 0);
        }
        assert_eq!(flood(&mut order, &account("7"), 100, 100, 0), PLACES / 2);
        assert_eq!(flood(&mut order, &account("8"), 100, 100, 0), 1);
    }

    #[test]
    fn strangers_take_nothing_from_anybodys_part() {
        let mut order = Order::new(PLACES);
        let (one, other) = (account("one"), account("other"));
        order.enter(&other, 100, 0);
        order.leave(&other, 0, 0);
        assert_eq!(flood(&mut order, &stranger(), 100, 100, 0), PLACES / 2);
        assert_eq!(flood(&mut order, &one, 100, 100, 0), PLACES / 2);
        assert_eq!(flood(&mut order, &other, 100, 100, 0), PLACES / 2);
    }

    #[test]
    fn an_account_that_asks_no_more_is_forgotten_and_has_saved_nothing() {
        let mut order = Order::new(PLACES);
        let (idle, busy) = (account("idle"), account("busy"));
        order.enter(&idle, 100, 0);
        order.leave(&idle, 0, 0);
        assert_eq!(flood(&mut order, &busy, 100, 100, 0), PLACES / 2);
        let later = 2 * RECENT_TICKS;
        // Those that wait are let in, since nobody else asks.
        let waited = std::iter::from_fn(|| order.next(later)).count();
        assert_eq!(waited as u32, 100 - PLACES / 2);
        assert_eq!(order.enter(&busy, 100, later), Entry::Now);
        assert!(order.parties.len() == 1 && order.weights == 100);
        assert_eq!(flood(&mut order, &idle, 100, 100, later), PLACES / 2);
    }

    #[test]
    fn strangers_are_forgotten_soon() {
        let mut order = Order::new(PLACES);
        for number in 0..1_000 {
            let address = Whose::Address(IpAddr::from([
                192,
                0,
                (number / 250) as u8,
                (number % 250) as u8,
            ]));
            if order.enter(&address, 100, 0) == Entry::Now {
                order.leave(&address, 0, 0);
            }
        }
        assert_eq!(order.parties.len(), 1_000);
        order.enter(&account("a"), 100, SWEEP_TICKS);
        assert_eq!(order.parties.len(), 1);
    }

    #[test]
    fn what_takes_long_gives_its_place_back_once() {
        let mut order = Order::new(PLACES);
        let (polls, other) = (account("polls"), account("other"));
        order.enter(&other, 100, 0);
        assert_eq!(flood(&mut order, &polls, 100, PLACES / 2, 0), PLACES / 2);
        assert_ne!(order.enter(&polls, 100, 1), Entry::Now);
        let let_in = |order: &mut Order, tick| std::iter::from_fn(|| order.next(tick)).count();
        assert_eq!(let_in(&mut order, 1), 0);
        assert_eq!(let_in(&mut order, 2), 1);
        assert_eq!(flood(&mut order, &polls, 100, PLACES, 2), PLACES / 2 - 1);
        // They end at last: their places are others' by now.
        for _ in 0..PLACES / 2 {
            order.leave(&polls, 0, 2);
        }
        assert_eq!(let_in(&mut order, 2), 0);
    }

    #[test]
    fn what_computes_keeps_its_place_for_as_long_as_it_takes() {
        let mut order = Order::new(2);
        let (computes, other) = (account("computes"), account("other"));
        order.enter(&other, 100, 0);
        assert_eq!(order.enter(&computes, 100, 0), Entry::Now);
        order.keep(&computes, 0, 1);
        let waits = order.enter(&computes, 100, 1);
        let long = 10 * RECENT_TICKS;
        order.enter(&other, 100, long);
        assert_eq!(order.next(long), None, "{waits:?}");
        order.leave_kept(&computes, long);
        assert_eq!(order.next(long).map(|(whose, _)| whose), Some(computes));
    }

    #[test]
    fn who_gave_up_is_let_in_nowhere() {
        let mut order = Order::new(2);
        let (a, b) = (account("a"), account("b"));
        order.enter(&b, 100, 0);
        assert_eq!(order.enter(&a, 100, 0), Entry::Now);
        let waiting = [0; 2].map(|_| order.enter(&a, 100, 0));
        let [Entry::Later(first), Entry::Later(second)] = waiting else {
            panic!("{waiting:?}");
        };
        order.give_up(&a, first);
        order.leave(&a, 0, 0);
        assert_eq!(order.next(0), Some((a.clone(), second)));
        order.give_up(&a, second);
        assert!(!order.has_waiting());
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let mut order = Order::new(2);
        let (a, b) = (account("a"), account("b"));
        order.enter(&b, 100, 0);
        order.enter(&a, 100, 0);
        let entries = (0..=REQUESTS_WAITING_MAX).map(|_| order.enter(&a, 100, 0));
        let full = entries.filter(|entry| *entry == Entry::Full).count();
        assert_eq!(full, 1);
        assert_ne!(
            order.enter(&b, 100, 0),
            Entry::Full,
            "another's are its own"
        );
    }

    proptest! {
        /// Requests that all take as long, of accounts that always have more: each handles them by its part.
        #[test]
        fn what_is_handled_follows_the_weights(
            weights in proptest::collection::vec(1_u32..=1_000, 2..5),
            takes in 1_usize..6,
        ) {
            let mut order = Order::new(PLACES);
            let names: Vec<Whose> = (0..weights.len()).map(|at| account(&at.to_string())).collect();
            let mut running: VecDeque<Vec<usize>> = VecDeque::from([Vec::new()]);
            for (at, name) in names.iter().enumerate() {
                for _ in 0..4 * PLACES {
                    if order.enter(name, weights[at], 0) == Entry::Now {
                        running[0].push(at);
                    }
                }
            }
            let mut served = vec![0_u32; weights.len()];
            for step in 0..400 {
                if running.len() >= takes {
                    for at in running.pop_back().unwrap() {
                        // What was let in before the others came is over by then.
                        served[at] += u32::from(step >= 100);
                        order.leave(&names[at], 0, 0);
                        let again = order.enter(&names[at], weights[at], 0);
                        prop_assert!(matches!(again, Entry::Later(_)));
                    }
                }
                let let_in = std::iter::from_fn(|| order.next(0));
                let let_in = let_in.map(|(whose, _)| names.iter().position(|name| *name == whose));
                running.push_front(let_in.map(Option::unwrap).collect());
            }
            let all: u32 = weights.iter().sum();
            let parts: Vec<u32> = weights.iter().map(|of| (PLACES * of / all).max(1)).collect();
            // Nobody has less than its part, and nobody more while all of the parts are at least half of the places.
            for (at, part) in parts.iter().enumerate() {
                let expected = 300 * part / takes as u32;
                let apart = served[at].abs_diff(expected);
                prop_assert!(apart <= 2 * part, "{weights:?} had {served:?}, {expected} expected");
            }
        }

        /// Whoever comes and goes, all that wait are let in in the end, and places never leak.
        #[test]
        fn nobody_waits_for_ever(
            comings in proptest::collection::vec((0_usize..5, 0_u8..4, 1_u32..=1_000), 1..300)
        ) {
            let mut order = Order::new(4);
            let names: Vec<Whose> = (0..4).map(|at| account(&at.to_string())).chain([stranger()]).collect();
            let (mut inside, mut waiting) = (Vec::new(), Vec::new());
            let mut tick = 0;
            for (at, what, weight) in comings {
                match what {
                    0 | 1 => match order.enter(&names[at], weight, tick) {
                        Entry::Now => inside.push((names[at].clone(), tick)),
                        Entry::Later(ticket) => waiting.push((names[at].clone(), ticket)),
                        Entry::Full => prop_assert!(false, "few wait"),
                    },
                    2 if !inside.is_empty() => {
                        let (whose, taken) = inside.swap_remove(at % inside.len());
                        order.leave(&whose, taken, tick);
                    }
                    3 if !waiting.is_empty() && at < 2 => {
                        let (whose, ticket) = waiting.swap_remove(at % waiting.len());
                        order.give_up(&whose, ticket);
                    }
                    _ => tick += at as u64 % 3,
                }
                while let Some(let_in) = order.next(tick) {
                    waiting.retain(|waits| *waits != let_in);
                    inside.push((let_in.0, tick));
                }
                // Of each who has nothing, the first request has a place.
                for (whose, _) in &waiting {
                    let has = inside.iter().any(|(of, taken)| of == whose && taken + 2 > tick);
                    prop_assert!(has, "{whose:?} waits and has nothing");
                }
            }
            while let Some((whose, taken)) = inside.pop() {
                order.leave(&whose, taken, tick);
                while let Some(let_in) = order.next(tick) {
                    waiting.retain(|waits| *waits != let_in);
                    inside.push((let_in.0, tick));
                }
            }
            prop_assert!(waiting.is_empty() && !order.has_waiting());
            prop_assert_eq!(order.taken.count(), 0);
        }
    }
}
