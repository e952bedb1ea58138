//! A queue that is fair by tenant: whoever waits for one thing does not wait behind another's thousand. Hides the
//! arithmetic of turns.
//!
//! Each tenant has a time of its own, which goes on by what its turns cost, the slower the greater its weight is; the
//! tenant whose time is the earliest has the next turn (start-time fair queueing). So tenants that always have something
//! waiting get parts by weight of what turns cost, not of how many there are. Who comes back after a while begins at the
//! time of the others: nothing is saved up by being idle.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::weight::Weight;

/// What a turn costs at the least, and until more is known.
const COST_MIN: Duration = Duration::from_micros(1);
/// What is remembered at most of what a tenant had while nobody else wanted it: who comes then is not ahead for longer.
const AHEAD_MAX: Duration = Duration::from_secs(1);
/// By how much tenants without entries, or entries that were taken out, may outnumber the others before they are looked for.
const SLACK: usize = 64;

/// See the module. Within a tenant, who came first goes first.
pub(crate) struct Rota<T> {
    /// No tenant is kept for long that has neither an entry nor a time ahead of the others.
    tenants: HashMap<Arc<str>, Line<T>>,
    /// When the next turn of each tenant with entries is, or earlier: a time, and since when it has had entries. A tenant
    /// is in it once at most, and perhaps without entries.
    turns: BinaryHeap<Reverse<(Time, u64, Arc<str>)>>,
    /// The time of the last turn; once nobody waits, the latest time that a tenant has got to by its turns.
    now: Time,
    latest: Time,
    /// Counts on; names an entry within its tenant.
    tickets: u64,
    /// Entries of all tenants.
    len: usize,
}

/// A tenant's time, in nanoseconds at a weight of [`Weight::MAX`].
type Time = u128;

/// What one tenant has waiting.
struct Line<T> {
    /// In order of arrival, by ticket; those that were taken out are none.
    waiting: VecDeque<(u64, Option<T>)>,
    /// Those in `waiting` that are some.
    len: usize,
    time: Time,
    /// The ticket by which it came to have entries: of equal times the first goes first.
    since: u64,
    weight: Weight,
    /// Whether it is in `turns`.
    listed: bool,
}

impl<T> Default for Rota<T> {
    fn default() -> Self {
        Self {
            tenants: HashMap::new(),
            turns: BinaryHeap::new(),
            now: 0,
            latest: 0,
            tickets: 0,
            len: 0,
        }
    }
}

impl<T> Rota<T> {
    /// Entries of all tenants.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Queues a value behind its tenant's others; returns the ticket that [`Rota::remove`] takes.
    pub(crate) fn push(&mut self, tenant: &Arc<str>, weight: Weight, value: T) -> u64 {
        let ticket = self.tickets;
        self.tickets += 1;
        self.len += 1;
        let now = self.now;
        let line = self.line(tenant);
        line.weight = weight;
        if line.len == 0 {
            line.waiting.clear();
            line.time = line.time.max(now);
            line.since = ticket;
        }
        line.waiting.push_back((ticket, Some(value)));
        line.len += 1;
        if !line.listed {
            line.listed = true;
            let turn = (line.time, line.since, tenant.clone());
            self.turns.push(Reverse(turn));
        }
        ticket
    }

    /// Takes the value whose turn it is. What the turn costs is told to [`Rota::charge`] once it is known.
    pub(crate) fn pop(&mut self) -> Option<T> {
        loop {
            let Reverse((time, since, tenant)) = self.turns.pop()?;
            let now = self.now;
            let line = self.tenants.get_mut(&tenant)?;
            if line.len == 0 {
                line.listed = false;
                if line.time <= now {
                    self.tenants.remove(&tenant);
                }
                continue;
            }
            if (time, since) != (line.time, line.since) {
                // It was charged, or came anew, since it was listed.
                let turn = (line.time, line.since, tenant);
                self.turns.push(Reverse(turn));
                continue;
            }
            self.now = now.max(time);
            let value = line.take_first();
            line.time = time + line.weight.time(COST_MIN);
            self.latest = self.latest.max(line.time);
            line.listed = line.len > 0;
            if line.listed {
                let turn = (line.time, line.since, tenant);
                self.turns.push(Reverse(turn));
            }
            self.len -= 1;
            if self.len == 0 {
                self.now = self.now.max(self.latest);
            }
            return value;
        }
    }

    /// Tells what a turn of a tenant cost: its next ones are the later for it.
    pub(crate) fn charge(&mut self, tenant: &Arc<str>, weight: Weight, cost: Duration) {
        let now = self.now;
        let more = weight.time(cost.saturating_sub(COST_MIN));
        if more == 0 {
            return;
        }
        let line = self.line(tenant);
        let most = (now + weight.time(AHEAD_MAX)).max(line.time);
        line.time = (line.time.max(now) + more).min(most);
        let time = line.time;
        self.latest = self.latest.max(time);
    }

    /// How many values have their turn before this one, if all turns cost the least; none when its own has come.
    pub(crate) fn before(&self, tenant: &str, ticket: u64) -> Option<usize> {
        let line = self.tenants.get(tenant)?;
        let place = line.place(ticket)?;
        let own = line.waiting.range(..place);
        let own = own.filter(|entry| entry.1.is_some()).count();
        let time = line.time + own as Time * line.weight.time(COST_MIN);
        let others = self.tenants.iter().filter(|(name, _)| &***name != tenant);
        let others = others.map(|(_, other)| other.turns_before(time, line.since));
        Some(own + others.sum::<usize>())
    }

    /// Takes a value out of turn; none when its turn has come already.
    pub(crate) fn remove(&mut self, tenant: &str, ticket: u64) -> Option<T> {
        let line = self.tenants.get_mut(tenant)?;
        let place = line.place(ticket)?;
        let value = line.waiting.get_mut(place)?.1.take()?;
        line.len -= 1;
        self.len -= 1;
        if line.waiting.len() > 2 * line.len + SLACK {
            line.waiting.retain(|entry| entry.1.is_some());
        }
        Some(value)
    }

    fn line(&mut self, tenant: &Arc<str>) -> &mut Line<T> {
        if !self.tenants.contains_key(tenant) {
            if self.tenants.len() > 2 * self.turns.len() + SLACK {
                let now = self.now;
                self.tenants
                    .retain(|_, line| line.listed || line.time > now);
            }
            self.tenants.insert(tenant.clone(), Line::default());
        }
        self.tenants
            .get_mut(tenant)
            .expect("it was there or is now")
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            len: 0,
            time: 0,
            since: 0,
            weight: Weight::default(),
            listed: false,
        }
    }
}

impl<T> Line<T> {
    fn take_first(&mut self) -> Option<T> {
        while let Some((_, value)) = self.waiting.pop_front() {
            if value.is_some() {
                self.len -= 1;
                return value;
            }
        }
        None
    }

    /// How many of its turns come before that time, or at it if it goes first then.
    fn turns_before(&self, time: Time, since: u64) -> usize {
        let Some(ahead) = time.checked_sub(self.time) else {
            return 0;
        };
        let step = self.weight.time(COST_MIN);
        let (whole, rest) = (ahead / step, ahead % step);
        let turns = whole + Time::from(rest > 0 || self.since < since);
        usize::try_from(turns).unwrap_or(usize::MAX).min(self.len)
    }

    /// Where an entry is that was not taken out.
    fn place(&self, ticket: u64) -> Option<usize> {
        let found = self.waiting.binary_search_by_key(&ticket, |entry| entry.0);
        found.ok().filter(|place| self.waiting[*place].1.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USUAL: Weight = Weight::USUAL;

    fn weight(number: u32) -> Weight {
        Weight::new(number).unwrap()
    }

    fn drained(rota: &mut Rota<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| rota.pop()).collect()
    }

    #[test]
    fn tenants_take_turns_and_each_keeps_its_order() {
        let (many, few): (Arc<str>, Arc<str>) = ("many".into(), "few".into());
        let mut rota = Rota::default();
        for value in ["m1", "m2", "m3"] {
            rota.push(&many, USUAL, value);
        }
        rota.push(&few, USUAL, "f1");
        rota.push(&few, USUAL, "f2");
        assert_eq!(drained(&mut rota), ["m1", "f1", "m2", "f2", "m3"]);
        assert_eq!(rota.len(), 0);
    }

    #[test]
    fn who_comes_back_stands_behind_the_other_tenants() {
        let tenants: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut rota = Rota::default();
        rota.push(&tenants[0], USUAL, 0);
        rota.push(&tenants[0], USUAL, 0);
        rota.push(&tenants[1], USUAL, 1);
        let mut turns = Vec::new();
        for _ in 0..6 {
            let tenant = rota.pop().unwrap();
            turns.push(tenant);
            rota.push(&tenants[tenant], USUAL, tenant);
        }
        assert_eq!(turns, [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn how_many_come_before_is_known() {
        let tenants: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
        let arrivals = [1, 0, 1, 2, 0, 1, 1];
        for weights in [[100, 100, 100], [100, 200, 1_000], [300, 50, 100]] {
            for gone in 0..arrivals.len() {
                for (asked, of) in arrivals.iter().enumerate() {
                    let mut rota = Rota::default();
                    let tickets =
                        arrivals.map(|of| rota.push(&tenants[of], weight(weights[of]), of));
                    for _ in 0..gone {
                        rota.pop();
                    }
                    let (tenant, ticket) = (&tenants[*of], tickets[asked]);
                    let before = rota.before(tenant, ticket);
                    let mut popped = 0_usize;
                    while rota.before(tenant, ticket).is_some() {
                        rota.pop();
                        popped += 1;
                    }
                    let told = popped.checked_sub(1);
                    assert_eq!(before, told, "{asked} after {gone} at {weights:?}");
                }
            }
        }
    }

    #[test]
    fn what_was_taken_out_has_no_turn() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut rota = Rota::default();
        let ticket = rota.push(&a, USUAL, "a1");
        rota.push(&b, USUAL, "b1");
        assert_eq!(rota.remove(&a, ticket), Some("a1"));
        assert_eq!(rota.remove(&a, ticket), None);
        rota.push(&a, USUAL, "a2");
        assert_eq!(drained(&mut rota), ["b1", "a2"]);
    }

    #[test]
    fn what_was_taken_out_is_not_kept() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut rota = Rota::default();
        rota.push(&a, USUAL, 0);
        for _ in 0..10_000 {
            for tenant in [&a, &b] {
                let ticket = rota.push(tenant, USUAL, 1);
                rota.remove(tenant, ticket);
            }
        }
        let kept: usize = rota.tenants.values().map(|line| line.waiting.len()).sum();
        assert!(kept <= 2 * (SLACK + 2) && rota.turns.len() == 2, "{kept}");
        for number in 0..10_000 {
            let name: Arc<str> = number.to_string().into();
            rota.push(&name, USUAL, 2);
            assert_eq!(rota.pop(), Some(if number == 0 { 0 } else { 2 }));
            // The first one leaves room for the one behind it.
            if number == 0 {
                assert_eq!(rota.pop(), Some(2));
            }
        }
        assert!(rota.tenants.len() <= 2 * SLACK, "{}", rota.tenants.len());
    }

    /// Turns of tenants that always have something waiting: what each had of the time.
    fn flooded(tenants: &[(u32, u64)], turns: usize) -> Vec<u64> {
        let names: Vec<Arc<str>> = (0..tenants.len()).map(|at| at.to_string().into()).collect();
        let mut rota = Rota::default();
        for (at, (of, _)) in tenants.iter().enumerate() {
            rota.push(&names[at], weight(*of), at);
        }
        let mut had = vec![0; tenants.len()];
        for _ in 0..turns {
            let at = rota.pop().unwrap();
            let (of, cost_us) = tenants[at];
            had[at] += cost_us;
            rota.charge(&names[at], weight(of), Duration::from_micros(cost_us));
            rota.push(&names[at], weight(of), at);
        }
        had
    }

    proptest! {
        #[test]
        fn parts_follow_weights_and_not_counts(
            tenants in proptest::collection::vec((1_u32..=1_000, 1_u64..=10_000), 2..6)
        ) {
            let had = flooded(&tenants, 3_000);
            let scaled = |at: usize| had[at] as f64 / f64::from(tenants[at].0);
            let slack = |at: usize| tenants[at].1 as f64 / f64::from(tenants[at].0);
            for one in 0..tenants.len() {
                for other in 0..tenants.len() {
                    // In start-time fair queueing two differ by a turn of each at most.
                    let most = slack(one) + slack(other) + 1.0;
                    let apart = (scaled(one) - scaled(other)).abs();
                    prop_assert!(apart <= most, "{tenants:?} had {had:?}");
                }
            }
        }

        #[test]
        fn nobody_starves(
            comings in proptest::collection::vec((0_usize..4, 1_u64..=10_000), 1..400)
        ) {
            // Whatever the others bring, an entry has its turn after so much of what they cost.
            let names: Vec<Arc<str>> = (0..4).map(|at| at.to_string().into()).collect();
            let quiet: Arc<str> = "quiet".into();
            let mut rota = Rota::default();
            for name in &names {
                rota.push(name, USUAL, None);
            }
            rota.pop();
            let ticket = rota.push(&quiet, USUAL, Some("quiet"));
            let mut others = [Duration::ZERO; 4];
            for (at, cost_us) in comings {
                rota.push(&names[at], USUAL, None);
                if rota.before(&quiet, ticket).is_none() {
                    break;
                }
                // Whose turn it was is told by whose line became shorter.
                let lens: Vec<usize> = names.iter().map(|name| rota.tenants[name].len).collect();
                if rota.pop().flatten().is_some() {
                    break;
                }
                let at = (0..4).find(|at| rota.tenants[&names[*at]].len < lens[*at]).unwrap();
                let cost = Duration::from_micros(cost_us);
                rota.charge(&names[at], USUAL, cost);
                others[at] += cost;
                // One turn each, and no second one before the quiet one's.
                prop_assert!(others.iter().all(|cost| *cost <= Duration::from_micros(10_000)));
            }
        }
    }

    #[test]
    fn nothing_is_saved_up_by_being_idle() {
        let (busy, idle): (Arc<str>, Arc<str>) = ("busy".into(), "idle".into());
        let turn = Duration::from_millis(10);
        let mut rota = Rota::default();
        rota.push(&idle, USUAL, "idle");
        assert_eq!(rota.pop(), Some("idle"));
        for _ in 0..1_000 {
            rota.push(&busy, USUAL, "busy");
            rota.pop();
            rota.charge(&busy, USUAL, turn);
        }
        for _ in 0..10 {
            rota.push(&idle, USUAL, "idle");
            rota.push(&busy, USUAL, "busy");
        }
        // It is one turn behind at most, not a thousand; from then on they alternate.
        let mut order = Vec::new();
        for _ in 0..6 {
            let name = rota.pop().unwrap();
            let tenant = if name == "busy" { &busy } else { &idle };
            rota.charge(tenant, USUAL, turn);
            order.push(name);
        }
        assert_eq!(order, ["idle", "busy", "idle", "busy", "idle", "busy"]);
    }

    #[test]
    fn what_nobody_else_wanted_is_remembered_for_a_second_of_it() {
        let (greedy, late): (Arc<str>, Arc<str>) = ("greedy".into(), "late".into());
        let mut rota = Rota::default();
        // A thousand seconds at once, on many places.
        for _ in 0..100 {
            rota.charge(&greedy, USUAL, Duration::from_secs(10));
        }
        rota.push(&greedy, USUAL, "greedy");
        let mut waited = Duration::ZERO;
        loop {
            rota.push(&late, USUAL, "late");
            if rota.pop() == Some("greedy") {
                break;
            }
            rota.charge(&late, USUAL, Duration::from_millis(10));
            waited += Duration::from_millis(10);
        }
        assert_eq!(waited, AHEAD_MAX);
    }
}
