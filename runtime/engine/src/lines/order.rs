//! The state of one line: who has a place, and who waits for one. Hides how places are given: each key in its turn admits its
//! oldest, and one that has as many running as it may is passed over until one of them ends.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use stepwell_interp::Timestamp;

use super::{Concurrency, LineRecord, NoRoom, turns::Turns};
use crate::{
    api::LineCount,
    journal::{ExecutionId, MessageId},
    record::LineMachine,
};

/// An execution that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) execution: ExecutionId,
    /// By which it asked: it lies in the inbox for as long as it waits.
    pub(crate) message: MessageId,
    key: Arc<str>,
    since: Timestamp,
}

/// What an execution's asking came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It waits.
    Waits,
    /// It had a place of which nothing durable told, and has it for good.
    Reserved,
    /// It has a place already: whoever gave it may not have told it.
    Admitted,
    /// It waits already, by another message.
    Twice,
}

/// See the module.
pub(crate) struct Line {
    machine: LineMachine,
    /// `None`: the state machine has no limit by now, and all are admitted.
    limits: Option<Concurrency>,
    /// Who has a place, with its key.
    running: BTreeMap<ExecutionId, Arc<str>>,
    /// Who has one of which nothing durable tells.
    reserved: BTreeMap<ExecutionId, Arc<str>>,
    /// How many of either there are of each key.
    taken: HashMap<Arc<str>, u32>,
    /// In the order of their starts.
    waiting: BTreeMap<ExecutionId, Waiter>,
    turns: Turns,
}

impl Line {
    pub(crate) fn new(machine: LineMachine, limits: Option<Concurrency>) -> Line {
        Line {
            machine,
            limits,
            running: BTreeMap::new(),
            reserved: BTreeMap::new(),
            taken: HashMap::new(),
            waiting: BTreeMap::new(),
            turns: Turns::default(),
        }
    }

    /// Gives a place to an execution, whether there is room or not: it has it, or does not wait.
    pub(crate) fn hold(&mut self, execution: ExecutionId, key: Arc<str>) {
        if self.running.insert(execution, key.clone()).is_none() {
            *self.taken.entry(key).or_default() += 1;
        }
    }

    /// Takes over the places of a former state of the line of which nothing durable tells.
    pub(super) fn take_reserved(&mut self, before: &mut Line) {
        for (execution, key) in std::mem::take(&mut before.reserved) {
            if !self.running.contains_key(&execution) {
                *self.taken.entry(key.clone()).or_default() += 1;
                self.reserved.insert(execution, key);
            }
        }
    }

    /// An execution asks for a place.
    pub(crate) fn ask(
        &mut self,
        execution: ExecutionId,
        key: Arc<str>,
        message: MessageId,
        since: Timestamp,
    ) -> Asked {
        if self.running.contains_key(&execution) {
            return Asked::Admitted;
        }
        if let Some(key) = self.reserved.remove(&execution) {
            self.running.insert(execution, key);
            return Asked::Reserved;
        }
        if let Some(waiter) = self.waiting.get(&execution) {
            // The message by which it waits may be announced once more, and has to stay where it is.
            return match waiter.message == message {
                true => Asked::Waits,
                false => Asked::Twice,
            };
        }
        self.turns.push(execution, &key);
        let waiter = Waiter {
            execution,
            message,
            key,
            since,
        };
        self.waiting.insert(execution, waiter);
        Asked::Waits
    }

    /// An execution ended. Gives the message by which it asked, when it waited.
    pub(crate) fn leave(&mut self, execution: ExecutionId) -> Option<MessageId> {
        if let Some(key) = self.running.remove(&execution) {
            self.free(&key);
            return None;
        }
        self.give_back(execution);
        let waiter = self.waiting.remove(&execution)?;
        self.turns.remove(execution, &waiter.key);
        Some(waiter.message)
    }

    /// Gives places to those whose turn it is, as far as there is room, and to so many at most.
    pub(crate) fn admit(&mut self, most: usize) -> Vec<Waiter> {
        let mut admitted = Vec::new();
        while admitted.len() < most && self.room().is_ok() {
            let Some(key) = self.turns.first().cloned() else {
                break;
            };
            if self.room_of(&key).is_err() {
                self.turns.pass_over(&key);
                continue;
            }
            let first = self.turns.pop(&key);
            let Some(waiter) = first.and_then(|first| self.waiting.remove(&first)) else {
                continue;
            };
            self.hold(waiter.execution, key);
            admitted.push(waiter);
        }
        admitted
    }

    /// Takes a place of which nothing durable tells.
    pub(super) fn reserve(&mut self, execution: ExecutionId, key: &Arc<str>) -> Result<(), NoRoom> {
        self.room()?;
        self.room_of(key)?;
        *self.taken.entry(key.clone()).or_default() += 1;
        self.reserved.insert(execution, key.clone());
        Ok(())
    }

    /// Gives such a place back; whether it was one.
    pub(super) fn give_back(&mut self, execution: ExecutionId) -> bool {
        let Some(key) = self.reserved.remove(&execution) else {
            return false;
        };
        self.free(&key);
        true
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The place of an execution among those that wait, from 1, as if no key were full.
    pub(super) fn position(&self, execution: ExecutionId) -> Option<u64> {
        let waiter = self.waiting.get(&execution)?;
        self.turns.position(execution, &waiter.key)
    }

    pub(super) fn machine(&self) -> &LineMachine {
        &self.machine
    }

    pub(super) fn count(&self) -> LineCount {
        LineCount {
            tenant: self.machine.tenant.clone(),
            machine_arn: self.machine.arn.clone(),
            waiting: self.waiting.len() as u64,
            running: (self.running.len() + self.reserved.len()) as u64,
            oldest: self.waiting.values().next().map(|first| first.since),
        }
    }

    /// Whether nobody stands in it: nothing has to be known of it.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.reserved.is_empty() && self.waiting.is_empty()
    }

    /// Whether the state machine has no limit, or is not there any more.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.limits.is_none()
    }

    /// What is stored of it: who has a place.
    pub(crate) fn record(&self) -> LineRecord {
        let running = self.running.iter();
        LineRecord {
            machine: self.machine.clone(),
            running: running
                .map(|(execution, key)| (execution.0, key.clone()))
                .collect(),
        }
    }

    /// Whether there is a place at all.
    fn room(&self) -> Result<(), NoRoom> {
        let most = self.limits.as_ref().and_then(|limits| limits.most);
        let taken = self.running.len() + self.reserved.len();
        match most {
            Some(most) if taken >= most as usize => Err(NoRoom::All(most)),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether there is one for that key.
    fn room_of(&self, key: &Arc<str>) -> Result<(), NoRoom> {
        let most = self.limits.as_ref().and_then(|limits| limits.per_key);
        match most {
            Some(most) if self.taken.get(key).is_some_and(|taken| *taken >= most) => {
                Err(NoRoom::Key(most))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// One less of that key has a place.
    fn free(&mut self, key: &Arc<str>) {
        if let Some(taken) = self.taken.get_mut(key) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(key);
            }
        }
        self.turns.bring_back(key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stepwell_interp::Timestamp;

    use super::{Asked, Line};
    use crate::{
        journal::{ExecutionId, MessageId},
        lines::{Concurrency, NoRoom},
        record::LineMachine,
    };

    fn limits(most: Option<u32>, per_key: Option<u32>) -> Option<Concurrency> {
        Some(Concurrency {
            most,
            per_key,
            key: None,
            mode: None,
            usual: false,
        })
    }

    fn line(limits: Option<Concurrency>) -> Line {
        let machine = LineMachine {
            tenant: "000000000000".into(),
            arn: "m".into(),
        };
        Line::new(machine, limits)
    }

    /// Executions ask in the order of this text, each by its key: `aab` is 1, 2 of `a` and 3 of `b`.
    fn asked(line: &mut Line, keys: &str) {
        let before = line.waiting() as u64;
        for (number, key) in keys.chars().enumerate() {
            let id = before + number as u64 + 1;
            let key: Arc<str> = key.to_string().into();
            let (message, since) = (MessageId(id), Timestamp(id));
            assert_eq!(line.ask(ExecutionId(id), key, message, since), Asked::Waits);
        }
    }

    fn admitted(line: &mut Line) -> Vec<u64> {
        line.admit(usize::MAX)
            .iter()
            .map(|waiter| waiter.execution.0)
            .collect()
    }

    /// All in the order in which they get places, when one ends after the other.
    fn one_by_one(line: &mut Line) -> Vec<u64> {
        let mut order = admitted(line);
        let mut next = 0;
        while let Some(execution) = order.get(next).copied() {
            line.leave(ExecutionId(execution));
            order.extend(admitted(line));
            next += 1;
        }
        order
    }

    #[test]
    fn keys_take_turns_and_each_is_in_order_of_start() {
        let mut line = line(limits(Some(1), None));
        asked(&mut line, "aaaabbc");
        assert_eq!(one_by_one(&mut line), [1, 5, 7, 2, 6, 3, 4]);
        assert_eq!((line.waiting(), line.count().running), (0, 0));
    }

    #[test]
    fn positions_are_the_order_of_the_turns() {
        let mut line = line(limits(Some(1), None));
        asked(&mut line, "aaaabbc");
        let positions: Vec<_> = (1..=7).map(|id| line.position(ExecutionId(id))).collect();
        let expected = [1, 4, 6, 7, 2, 5, 3].map(Some);
        assert_eq!(positions, expected);
        assert_eq!(line.position(ExecutionId(8)), None);
    }

    #[test]
    fn a_full_key_holds_up_no_other() {
        let mut line = line(limits(Some(3), Some(1)));
        asked(&mut line, "aaaab");
        assert_eq!(admitted(&mut line), [1, 5]);
        // There is a place, and only executions of full keys wait.
        assert!(admitted(&mut line).is_empty());
        line.leave(ExecutionId(5));
        assert!(admitted(&mut line).is_empty());
        line.leave(ExecutionId(1));
        assert_eq!(admitted(&mut line), [2]);
    }

    #[test]
    fn who_leaves_while_it_waits_takes_its_message_along() {
        let mut line = line(limits(Some(1), None));
        asked(&mut line, "aab");
        assert_eq!(admitted(&mut line), [1]);
        assert_eq!(line.leave(ExecutionId(2)), Some(MessageId(2)));
        assert_eq!(line.leave(ExecutionId(2)), None);
        assert_eq!(line.leave(ExecutionId(1)), None);
        assert_eq!(one_by_one(&mut line), [3]);
    }

    #[test]
    fn asking_twice_changes_nothing() {
        let mut line = line(limits(Some(1), None));
        asked(&mut line, "aa");
        let again =
            |line: &mut Line, id| line.ask(ExecutionId(id), "a".into(), MessageId(9), Timestamp(9));
        assert_eq!(again(&mut line, 2), Asked::Twice);
        assert_eq!(admitted(&mut line), [1]);
        assert_eq!(again(&mut line, 1), Asked::Admitted);
        assert!(one_by_one(&mut line).is_empty());
        line.leave(ExecutionId(1));
        assert_eq!(one_by_one(&mut line), [2]);
    }

    #[test]
    fn a_reserved_place_is_taken_until_it_is_given_back() {
        let mut line = line(limits(Some(2), Some(1)));
        let (a, b, c): (Arc<str>, Arc<str>, Arc<str>) = ("a".into(), "b".into(), "c".into());
        assert_eq!(line.reserve(ExecutionId(1), &a), Ok(()));
        assert_eq!(line.reserve(ExecutionId(2), &a), Err(NoRoom::Key(1)));
        assert_eq!(line.reserve(ExecutionId(3), &b), Ok(()));
        assert_eq!(line.reserve(ExecutionId(4), &c), Err(NoRoom::All(2)));
        let told = line.ask(ExecutionId(1), a, MessageId(1), Timestamp(1));
        assert_eq!(told, Asked::Reserved);
        assert!(!line.give_back(ExecutionId(1)), "it has it for good");
        assert!(line.give_back(ExecutionId(3)));
        assert_eq!(line.reserve(ExecutionId(4), &c), Ok(()));
        assert_eq!(line.record().running, [(1, Arc::from("a"))]);
    }

    #[test]
    fn without_limits_all_are_admitted_some_at_a_time() {
        let mut line = line(None);
        asked(&mut line, "aabb");
        let three: Vec<u64> = line.admit(3).iter().map(|one| one.execution.0).collect();
        assert_eq!(three, [1, 3, 2]);
        assert_eq!(admitted(&mut line), [4]);
    }

    #[test]
    fn the_message_by_which_one_waits_may_come_twice() {
        let mut line = line(limits(Some(1), None));
        asked(&mut line, "aa");
        let same = line.ask(ExecutionId(2), "a".into(), MessageId(2), Timestamp(2));
        assert_eq!(same, Asked::Waits);
        assert_eq!(line.waiting(), 2);
    }

    #[test]
    fn it_is_empty_when_nobody_stands_in_it() {
        let mut line = line(limits(Some(1), None));
        assert!(line.is_empty());
        asked(&mut line, "a");
        assert!(!line.is_empty(), "one waits");
        assert_eq!(admitted(&mut line), [1]);
        assert!(!line.is_empty(), "it has a place");
        line.leave(ExecutionId(1));
        assert!(line.is_empty());
        assert_eq!(line.reserve(ExecutionId(2), &"a".into()), Ok(()));
        assert!(
            !line.is_empty(),
            "it has one of which nothing durable tells"
        );
        line.give_back(ExecutionId(2));
        assert!(line.is_empty());
    }

    #[test]
    fn who_rejoins_counts_though_there_is_no_room() {
        let mut line = line(limits(Some(1), None));
        asked(&mut line, "aa");
        assert_eq!(admitted(&mut line), [1]);
        line.hold(ExecutionId(9), "a".into());
        line.leave(ExecutionId(1));
        assert!(admitted(&mut line).is_empty());
        line.leave(ExecutionId(9));
        assert_eq!(admitted(&mut line), [2]);
    }
}
