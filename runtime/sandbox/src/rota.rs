//! A queue that is fair by tenant: whoever waits for one thing does not wait behind another's thousand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Tenants take turns; within a tenant, who came first goes first.
pub(crate) struct Rota<T> {
    /// By tenant, then by ticket: in order of arrival. No tenant is kept without an entry.
    queues: BTreeMap<Arc<str>, BTreeMap<u64, T>>,
    /// The tenants in `queues`, the next one first.
    turns: VecDeque<Arc<str>>,
    /// Counts on; names an entry within its tenant.
    tickets: u64,
    len: usize,
}

impl<T> Default for Rota<T> {
    fn default() -> Self {
        Self {
            queues: BTreeMap::new(),
            turns: VecDeque::new(),
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
    pub(crate) fn push(&mut self, tenant: &Arc<str>, value: T) -> u64 {
        let ticket = self.tickets;
        self.tickets += 1;
        self.len += 1;
        match self.queues.get_mut(tenant) {
            Some(queue) => {
                queue.insert(ticket, value);
            }
            None => {
                self.queues
                    .insert(tenant.clone(), BTreeMap::from([(ticket, value)]));
                self.turns.push_back(tenant.clone());
            }
        }
        ticket
    }

    /// Takes the value whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let tenant = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&tenant)?;
        let (_, value) = queue.pop_first()?;
        self.len -= 1;
        if queue.is_empty() {
            self.queues.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        Some(value)
    }

    /// How many values have their turn before this one; none when its own has come.
    pub(crate) fn before(&self, tenant: &str, ticket: u64) -> Option<usize> {
        let queue = self.queues.get(tenant)?;
        queue.get(&ticket)?;
        let own = queue.range(..ticket).count();
        // A tenant that comes earlier in the round has one turn more by then.
        let mut round = own + 1;
        let mut before = own;
        for turn in &self.turns {
            if &**turn == tenant {
                round = own;
                continue;
            }
            before += self.queues.get(turn).map_or(0, BTreeMap::len).min(round);
        }
        Some(before)
    }

    /// Takes a value out of turn; none when its turn has come already.
    pub(crate) fn remove(&mut self, tenant: &str, ticket: u64) -> Option<T> {
        let queue = self.queues.get_mut(tenant)?;
        let value = queue.remove(&ticket)?;
        self.len -= 1;
        if queue.is_empty() {
            self.queues.remove(tenant);
            self.turns.retain(|turn| &**turn != tenant);
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(rota: &mut Rota<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| rota.pop()).collect()
    }

    #[test]
    fn tenants_take_turns_and_each_keeps_its_order() {
        let (many, few): (Arc<str>, Arc<str>) = ("many".into(), "few".into());
        let mut rota = Rota::default();
        for value in ["m1", "m2", "m3"] {
            rota.push(&many, value);
        }
        rota.push(&few, "f1");
        rota.push(&few, "f2");
        assert_eq!(drained(&mut rota), ["m1", "f1", "m2", "f2", "m3"]);
        assert_eq!(rota.len(), 0);
    }

    #[test]
    fn who_comes_back_stands_behind_the_other_tenants() {
        let tenants: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut rota = Rota::default();
        rota.push(&tenants[0], 0);
        rota.push(&tenants[0], 0);
        rota.push(&tenants[1], 1);
        let mut turns = Vec::new();
        for _ in 0..6 {
            let tenant = rota.pop().unwrap();
            turns.push(tenant);
            rota.push(&tenants[tenant], tenant);
        }
        assert_eq!(turns, [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn how_many_come_before_is_known() {
        let tenants: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
        let arrivals = [1, 0, 1, 2, 0, 1, 1];
        for gone in 0..arrivals.len() {
            for (asked, of) in arrivals.iter().enumerate() {
                let mut rota = Rota::default();
                let tickets = arrivals.map(|of| rota.push(&tenants[of], of));
                for _ in 0..gone {
                    rota.pop();
                }
                let (tenant, ticket) = (&tenants[*of], tickets[asked]);
                let before = rota.before(tenant, ticket);
                let mut popped = 0;
                while rota.before(tenant, ticket).is_some() {
                    rota.pop();
                    popped += 1;
                }
                assert_eq!(
                    before,
                    (popped as usize).checked_sub(1),
                    "{asked} after {gone}"
                );
            }
        }
    }

    #[test]
    fn what_was_taken_out_has_no_turn() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut rota = Rota::default();
        let ticket = rota.push(&a, "a1");
        rota.push(&b, "b1");
        assert_eq!(rota.remove(&a, ticket), Some("a1"));
        assert_eq!(rota.remove(&a, ticket), None);
        rota.push(&a, "a2");
        assert_eq!(drained(&mut rota), ["b1", "a2"]);
    }
}
