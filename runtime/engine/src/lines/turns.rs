//! Who waits in one line, and whose turn it is: keys take turns, and within a key the executions are taken in the order of
//! their starts. Hides how a place among a hundred thousand is told without counting them: keys are kept by how many of each
//! wait, and there are few such numbers, since all together are no more than may wait.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::ranked::Ranked;
use crate::journal::ExecutionId;

/// See the module.
#[derive(Default)]
pub(super) struct Turns {
    /// Those of which somebody waits.
    keys: HashMap<Arc<str>, Queue>,
    /// Keys that are not passed over, by their turns.
    order: BTreeMap<u64, Arc<str>>,
    next_turn: u64,
    /// Keys by how many of each wait.
    lengths: BTreeMap<usize, OfLength>,
}

/// Who waits of one key.
#[derive(Default)]
struct Queue {
    waiting: Ranked<ExecutionId>,
    /// `None`: it is passed over until one of its own ends.
    turn: Option<u64>,
}

#[derive(Default)]
struct OfLength {
    /// Those that are passed over included.
    keys: usize,
    turns: Ranked<u64>,
}

impl Turns {
    /// An execution waits, too. A key that is new comes last.
    pub(super) fn push(&mut self, execution: ExecutionId, key: &Arc<str>) {
        let mut queue = self.take(key);
        if queue.waiting.is_empty() {
            self.give_turn(&mut queue, key);
        }
        queue.waiting.insert(execution);
        self.put(key, queue);
    }

    /// It waits no more.
    pub(super) fn remove(&mut self, execution: ExecutionId, key: &Arc<str>) {
        let mut queue = self.take(key);
        queue.waiting.remove(execution);
        self.put(key, queue);
    }

    /// The key whose turn it is.
    pub(super) fn first(&self) -> Option<&Arc<str>> {
        self.order.first_key_value().map(|(_, key)| key)
    }

    /// Takes the oldest of a key, which comes last then.
    pub(super) fn pop(&mut self, key: &Arc<str>) -> Option<ExecutionId> {
        let mut queue = self.take(key);
        let first = queue.waiting.first();
        if let Some(first) = first {
            queue.waiting.remove(first);
        }
        self.take_turn(&mut queue);
        if !queue.waiting.is_empty() {
            self.give_turn(&mut queue, key);
        }
        self.put(key, queue);
        first
    }

    /// Passes a key over from now on.
    pub(super) fn pass_over(&mut self, key: &Arc<str>) {
        let mut queue = self.take(key);
        self.take_turn(&mut queue);
        self.put(key, queue);
    }

    /// Passes it over no more: it comes last.
    pub(super) fn bring_back(&mut self, key: &Arc<str>) {
        if self.keys.get(key).is_some_and(|queue| queue.turn.is_none()) {
            let mut queue = self.take(key);
            self.give_turn(&mut queue, key);
            self.put(key, queue);
        }
    }

    /// The place of one that waits, from 1, as if no key were passed over. One of a key that is comes after all whose turn comes
    /// in the same round.
    pub(super) fn position(&self, execution: ExecutionId, key: &Arc<str>) -> Option<u64> {
        let own = self.keys.get(key)?;
        // So many of its own key are before it, and each other key has as many turns before the last round.
        let rounds = own.waiting.rank(execution);
        let mut before = 0;
        for (length, of_length) in &self.lengths {
            before += of_length.keys * rounds.min(*length);
            if *length > rounds {
                before += match own.turn {
                    Some(turn) => of_length.turns.rank(turn),
                    None => of_length.turns.len(),
                };
            }
        }
        Some(before as u64 + 1)
    }

    /// Takes a key out; it has to be [`Turns::put`] back.
    fn take(&mut self, key: &Arc<str>) -> Queue {
        let Some(queue) = self.keys.remove(key) else {
            return Queue::default();
        };
        let length = queue.waiting.len();
        if let Some(of_length) = self.lengths.get_mut(&length) {
            of_length.keys -= 1;
            if let Some(turn) = queue.turn {
                of_length.turns.remove(turn);
            }
            if of_length.keys == 0 {
                self.lengths.remove(&length);
            }
        }
        queue
    }

    /// Keeps a key, unless nobody of it waits.
    fn put(&mut self, key: &Arc<str>, mut queue: Queue) {
        if queue.waiting.is_empty() {
            return self.take_turn(&mut queue);
        }
        let of_length = self.lengths.entry(queue.waiting.len()).or_default();
        of_length.keys += 1;
        if let Some(turn) = queue.turn {
            of_length.turns.insert(turn);
        }
        self.keys.insert(key.clone(), queue);
    }

    fn give_turn(&mut self, queue: &mut Queue, key: &Arc<str>) {
        self.take_turn(queue);
        queue.turn = Some(self.next_turn);
        self.order.insert(self.next_turn, key.clone());
        self.next_turn += 1;
    }

    fn take_turn(&mut self, queue: &mut Queue) {
        if let Some(turn) = queue.turn.take() {
            self.order.remove(&turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet, VecDeque},
        sync::Arc,
    };

    use super::Turns;
    use crate::journal::ExecutionId;

    /// The same, told by counting.
    #[derive(Default)]
    struct Counted {
        waiting: BTreeMap<Arc<str>, BTreeSet<ExecutionId>>,
        turns: VecDeque<Arc<str>>,
    }

    impl Counted {
        fn push(&mut self, execution: ExecutionId, key: &Arc<str>) {
            let of_key = self.waiting.entry(key.clone()).or_default();
            if of_key.is_empty() {
                self.turns.push_back(key.clone());
            }
            of_key.insert(execution);
        }

        fn remove(&mut self, execution: ExecutionId, key: &Arc<str>) {
            let Some(of_key) = self.waiting.get_mut(key) else {
                return;
            };
            of_key.remove(&execution);
            if of_key.is_empty() {
                self.waiting.remove(key);
                self.turns.retain(|other| other != key);
            }
        }

        fn pop(&mut self, key: &Arc<str>) -> Option<ExecutionId> {
            let first = self.waiting.get(key)?.first().copied()?;
            let turned = self.turns.iter().any(|other| other == key);
            self.remove(first, key);
            if self.waiting.contains_key(key) && turned {
                self.turns.retain(|other| other != key);
                self.turns.push_back(key.clone());
            }
            Some(first)
        }

        fn position(&self, execution: ExecutionId, own: &Arc<str>) -> Option<u64> {
            let rounds = self.waiting.get(own)?.range(..execution).count();
            let others = self.waiting.iter().filter(|(key, _)| *key != own);
            let before: usize = others.map(|(_, of_key)| of_key.len().min(rounds)).sum();
            let ahead = self.turns.iter().take_while(|key| *key != own);
            let has_more = |key: &&Arc<str>| self.waiting[*key].len() > rounds;
            Some((rounds + before + ahead.filter(has_more).count() + 1) as u64)
        }
    }

    /// Numbers that look drawn, the same at each run.
    struct Drawn(u64);

    impl Drawn {
        fn below(&mut self, most: u64) -> u64 {
            let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = next.wrapping_add(1);
            (self.0 >> 33) % most
        }
    }

    #[test]
    fn places_are_those_that_counting_tells() {
        for seed in 0..20 {
            let mut drawn = Drawn(seed);
            let (mut turns, mut counted) = (Turns::default(), Counted::default());
            let keys = 1 + drawn.below(12);
            for _ in 0..600 {
                let execution = ExecutionId(drawn.below(200));
                let key: Arc<str> = format!("k{}", execution.0 % keys).into();
                match drawn.below(8) {
                    0..4 => {
                        turns.push(execution, &key);
                        counted.push(execution, &key);
                    }
                    4 => {
                        turns.remove(execution, &key);
                        counted.remove(execution, &key);
                    }
                    5 => {
                        assert_eq!(turns.first(), counted.turns.front());
                        if let Some(first) = turns.first().cloned() {
                            assert_eq!(turns.pop(&first), counted.pop(&first));
                        }
                    }
                    6 => {
                        turns.pass_over(&key);
                        counted.turns.retain(|other| *other != key);
                    }
                    _ => {
                        turns.bring_back(&key);
                        let known = counted.waiting.contains_key(&key);
                        if known && !counted.turns.contains(&key) {
                            counted.turns.push_back(key);
                        }
                    }
                }
                for (key, of_key) in &counted.waiting {
                    for execution in of_key {
                        let expected = counted.position(*execution, key);
                        assert_eq!(turns.position(*execution, key), expected, "seed {seed}");
                    }
                }
            }
        }
    }

    #[test]
    fn keys_are_kept_by_few_numbers() {
        // As many different numbers as a hundred thousand that wait can have.
        let mut turns = Turns::default();
        let mut next = 0;
        for length in 1..=446_u64 {
            let key: Arc<str> = format!("k{length}").into();
            for _ in 0..length {
                turns.push(ExecutionId(next), &key);
                next += 1;
            }
        }
        assert!(next < 100_000);
        assert_eq!(turns.lengths.len(), 446);
        // A hundred thousand keys are of one number, whose turns are few blocks.
        let mut turns = Turns::default();
        for number in 0..100_000_u64 {
            turns.push(ExecutionId(number), &format!("k{number}").into());
        }
        assert_eq!(turns.lengths.len(), 1);
        let last = turns.position(ExecutionId(99_999), &"k99999".into());
        assert_eq!(last, Some(100_000));
        // One after the other leaves, which counted all keys before.
        for number in 0..100_000_u64 {
            turns.remove(ExecutionId(number), &format!("k{number}").into());
        }
        assert!(turns.lengths.is_empty() && turns.order.is_empty() && turns.keys.is_empty());
    }
}
