//! Starts and changes of status of executions, by state machine, for who listens. Hides how many are remembered: a
//! listener keeps its place among them and nothing else, so that a slow one costs nothing and is told when it is too late.
//!
//! What is here is durable, but for synchronous EXPRESS executions, which never are. It is of this process alone: a place
//! of an earlier one, or one from which on changes were forgotten, is told to be none.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use stepwell_interp::Timestamp;
use tokio::sync::watch;

use crate::{
    api::{Caller, Status},
    arn::{self, Qualifier},
    engine::Engine,
    error::{Code, Error},
    functions,
    limits::{FEED_CHANGES_MAX, FEED_PAGE_MAX},
};

/// That an execution started or was redriven (`Running`), or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineChange {
    pub machine_arn: Arc<str>,
    pub execution_arn: Arc<str>,
    pub status: Status,
    pub started_at: Timestamp,
    pub stopped_at: Option<Timestamp>,
    pub redrive_count: u32,
}

/// A change as all listeners of its state machine are given it: one and the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldChange {
    pub change: MachineChange,
    /// Of the process that tells it.
    life: Arc<str>,
    number: u64,
    shown: OnceLock<Arc<[u8]>>,
}

impl ToldChange {
    /// The place behind it, to go on from.
    pub fn place(&self) -> String {
        place(&self.life, self.number)
    }

    /// What it looks like to whoever listens: made by the first who asks, and kept for all.
    pub fn shown(&self, show: impl FnOnce(&ToldChange) -> Vec<u8>) -> Arc<[u8]> {
        self.shown.get_or_init(|| show(self).into()).clone()
    }
}

fn place(life: &str, number: u64) -> String {
    format!("{life}-{number}")
}

/// What a listener gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineNews {
    /// In the order in which they became durable.
    Changes(Vec<Arc<ToldChange>>),
    /// It was too slow: what comes next is forgotten.
    Gone,
}

/// See the module.
pub(crate) struct Feed {
    /// Of this process: places of others are none here.
    life: Arc<str>,
    known: Mutex<Known>,
}

struct Known {
    /// Number of the next change, from 1.
    next: u64,
    /// The newest change that was forgotten.
    lost: u64,
    /// The machines of all that are remembered, oldest first.
    order: VecDeque<Arc<str>>,
    machines: HashMap<Arc<str>, Machine>,
}

struct Machine {
    changes: VecDeque<Arc<ToldChange>>,
    /// The newest of its changes that was forgotten, or an earlier one of any machine.
    lost: u64,
    listeners: usize,
    news: watch::Sender<u64>,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed {
            life: uuid::Uuid::new_v4().simple().to_string().into(),
            known: Mutex::new(Known {
                next: 1,
                lost: 0,
                order: VecDeque::new(),
                machines: HashMap::new(),
            }),
        }
    }
}

impl Feed {
    pub(crate) fn push(&self, change: MachineChange) {
        let mut known = self.known();
        let number = known.next;
        known.next += 1;
        let name = change.machine_arn.clone();
        known.order.push_back(name.clone());
        let machine = known.machine(&name);
        machine.changes.push_back(Arc::new(ToldChange {
            change,
            life: self.life.clone(),
            number,
            shown: OnceLock::new(),
        }));
        machine.news.send_replace(number);
        if known.order.len() > FEED_CHANGES_MAX {
            known.forget_oldest();
        }
    }

    /// It is not known whether something that a machine's listeners would have been told became durable: all that listen
    /// are told that they missed something.
    pub(crate) fn doubt(&self, machine: &Arc<str>) {
        let mut known = self.known();
        let number = known.next;
        known.next += 1;
        known.lost = number;
        if let Some(entry) = known.machines.get_mut(machine) {
            entry.lost = number;
            entry.news.send_replace(number);
        }
    }

    /// A place to listen from: behind the one that is named, if that can be; else from now on, and that it is so.
    fn listen(&self, machine: Arc<str>, after: Option<&str>) -> (u64, watch::Receiver<u64>, bool) {
        let mut known = self.known();
        let now = known.next;
        let entry = known.machine(&machine);
        entry.listeners += 1;
        let place = after.map(|after| {
            let (life, number) = after.rsplit_once('-')?;
            let number = number.parse::<u64>().ok()?;
            let kept = *life == *self.life && (entry.lost..now).contains(&number);
            kept.then_some(number + 1)
        });
        let news = entry.news.subscribe();
        match place {
            None => (now, news, false),
            Some(Some(place)) => (place, news, false),
            Some(None) => (now, news, true),
        }
    }

    /// The changes of a machine from a number on, and the number to go on from.
    fn read(&self, machine: &str, from: u64) -> (Option<MachineNews>, u64) {
        let known = self.known();
        let Some(entry) = known.machines.get(machine) else {
            return (None, from);
        };
        if entry.lost >= from {
            return (Some(MachineNews::Gone), from);
        }
        let first = entry.changes.partition_point(|told| told.number < from);
        let page = entry.changes.range(first..).take(FEED_PAGE_MAX);
        let page: Vec<_> = page.cloned().collect();
        match page.last() {
            None => (None, known.next),
            Some(last) => {
                let next = last.number + 1;
                (Some(MachineNews::Changes(page)), next)
            }
        }
    }

    fn leave(&self, machine: &str) {
        let mut known = self.known();
        if let Some(entry) = known.machines.get_mut(machine) {
            entry.listeners = entry.listeners.saturating_sub(1);
        }
        known.forget_if_idle(machine);
    }

    /// The place behind a change.
    fn place(&self, number: u64) -> String {
        place(&self.life, number)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn machine(&mut self, name: &Arc<str>) -> &mut Machine {
        let lost = self.lost;
        self.machines
            .entry(name.clone())
            .or_insert_with(|| Machine {
                changes: VecDeque::new(),
                lost,
                listeners: 0,
                news: watch::Sender::new(0),
            })
    }

    fn forget_oldest(&mut self) {
        let Some(name) = self.order.pop_front() else {
            return;
        };
        if let Some(machine) = self.machines.get_mut(&name)
            && let Some(told) = machine.changes.pop_front()
        {
            machine.lost = machine.lost.max(told.number);
            self.lost = self.lost.max(told.number);
        }
        self.forget_if_idle(&name);
    }

    fn forget_if_idle(&mut self, name: &str) {
        let idle = |machine: &Machine| machine.listeners == 0 && machine.changes.is_empty();
        if self.machines.get(name).is_some_and(idle) {
            self.machines.remove(name);
        }
    }
}

/// Starts and changes of status of a state machine's executions, as they become durable on this node.
pub struct MachineWatch {
    engine: Engine,
    machine: Arc<str>,
    /// Number of the next change.
    next: u64,
    news: watch::Receiver<u64>,
    /// The place that was named is none: what was between is not told.
    is_reset: bool,
}

impl Engine {
    /// Listens to a state machine's executions, or to the calls of a function that nobody waits for, from now on or from behind a
    /// place that an earlier listener was given.
    pub async fn watch_machine(
        &self,
        caller: &Caller,
        arn_text: &str,
        after: Option<&str>,
    ) -> Result<MachineWatch, Error> {
        let machine = arn::machine(caller, arn_text)?;
        if machine.qualified() != Qualifier::Nothing {
            let why = "a state machine is listened to as a whole: leave out the version or alias; its changes tell the execution, which tells them";
            return Err(Error::rejected(Code::ValidationException, why));
        }
        let machine: Arc<str> = if functions::is_of_events(&machine) {
            self.list_of_events(caller, &machine).await?;
            machine.to_string().into()
        } else {
            let chosen = self.startable(caller, arn_text).await?;
            chosen.startable.arn.clone()
        };
        let (next, news, is_reset) = self.node().feed.listen(machine.clone(), after);
        Ok(MachineWatch {
            engine: self.clone(),
            machine,
            next,
            news,
            is_reset,
        })
    }
}

impl MachineWatch {
    /// Whether it could not go on from the place that was named.
    pub fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// The place to go on from later: behind all that was given.
    pub fn place(&self) -> String {
        self.engine.node().feed.place(self.next - 1)
    }

    /// What comes next. Nothing is lost when it is dropped before it answers.
    pub async fn next(&mut self) -> Option<MachineNews> {
        loop {
            self.news.mark_unchanged();
            let (news, next) = self.engine.node().feed.read(&self.machine, self.next);
            self.next = next;
            if news.is_some() {
                return news;
            }
            self.news.changed().await.ok()?;
        }
    }
}

impl Drop for MachineWatch {
    fn drop(&mut self) {
        self.engine.node().feed.leave(&self.machine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(machine: &str, execution: u64) -> MachineChange {
        MachineChange {
            machine_arn: machine.into(),
            execution_arn: execution.to_string().into(),
            status: Status::Running,
            started_at: Timestamp(execution),
            stopped_at: None,
            redrive_count: 0,
        }
    }

    fn told(feed: &Feed, machine: &str, from: u64) -> Vec<String> {
        match feed.read(machine, from).0 {
            Some(MachineNews::Changes(changes)) => {
                let changes = changes.iter();
                changes
                    .map(|told| told.change.execution_arn.to_string())
                    .collect()
            }
            Some(MachineNews::Gone) => vec!["gone".to_owned()],
            None => Vec::new(),
        }
    }

    #[test]
    fn a_machine_has_its_own_changes_from_the_place_on() {
        let feed = Feed::default();
        feed.push(change("a", 1));
        let (next, news, reset) = feed.listen("a".into(), None);
        assert!(!reset && !news.has_changed().unwrap());
        feed.push(change("b", 2));
        feed.push(change("a", 3));
        assert!(news.has_changed().unwrap());
        assert_eq!(told(&feed, "a", next), ["3"]);
        assert_eq!(told(&feed, "b", 1), ["2"]);
        let (place, ..) = feed.listen("a".into(), Some(&feed.place(1)));
        assert_eq!(told(&feed, "a", place), ["3"]);
        // It has got to the newest of all.
        assert_eq!(feed.read("a", 4), (None, 4));
    }

    #[test]
    fn what_one_makes_of_a_change_is_made_for_all() {
        let feed = Feed::default();
        let (from, ..) = feed.listen("a".into(), None);
        feed.push(change("a", 1));
        feed.push(change("a", 2));
        let made = std::cell::Cell::new(0);
        let shown = || {
            let Some(MachineNews::Changes(changes)) = feed.read("a", from).0 else {
                panic!("there are changes")
            };
            let show = |told: &ToldChange| {
                made.set(made.get() + 1);
                format!("{} {}", told.place(), told.change.execution_arn).into_bytes()
            };
            changes.iter().map(|told| told.shown(show)).collect()
        };
        let first: Vec<Arc<[u8]>> = shown();
        assert_eq!(*first[1], *format!("{} 2", feed.place(2)).as_bytes());
        for _ in 0..1_000 {
            let again: Vec<Arc<[u8]>> = shown();
            assert!(
                again
                    .iter()
                    .zip(&first)
                    .all(|(one, other)| Arc::ptr_eq(one, other))
            );
        }
        assert_eq!(made.get(), 2);
    }

    #[test]
    fn a_place_of_another_life_or_of_what_is_forgotten_is_none() {
        let feed = Feed::default();
        for place in [
            "other-1",
            "",
            "-",
            &feed.place(7),
            &Feed::default().place(0),
        ] {
            assert!(feed.listen("a".into(), Some(place)).2, "{place}");
        }
        assert!(!feed.listen("a".into(), Some(&feed.place(0))).2);
        feed.push(change("a", 0));
        for number in 1..=FEED_CHANGES_MAX as u64 {
            feed.push(change("b", number));
        }
        assert!(feed.listen("a".into(), Some(&feed.place(0))).2);
        assert!(!feed.listen("a".into(), Some(&feed.place(1))).2);
        assert!(!feed.listen("b".into(), Some(&feed.place(1))).2);
        // A machine that nobody heard of may have been forgotten.
        assert!(feed.listen("c".into(), Some(&feed.place(0))).2);
    }

    #[test]
    fn what_may_have_become_durable_is_not_passed_over() {
        let feed = Feed::default();
        feed.push(change("a", 1));
        feed.push(change("b", 2));
        let (next, ..) = feed.listen("a".into(), None);
        feed.doubt(&"a".into());
        assert_eq!(told(&feed, "a", next), ["gone"]);
        assert!(feed.listen("a".into(), Some(&feed.place(1))).2);
        assert!(!feed.listen("b".into(), Some(&feed.place(2))).2);
    }

    #[test]
    fn a_slow_listener_is_told_and_memory_is_bounded() {
        let feed = Feed::default();
        let (slow, ..) = feed.listen("a".into(), None);
        for number in 0..3 * FEED_CHANGES_MAX as u64 {
            feed.push(change("a", number));
        }
        assert_eq!(told(&feed, "a", slow), ["gone"]);
        assert_eq!(feed.known().order.len(), FEED_CHANGES_MAX);
        let last = feed.known().next - FEED_CHANGES_MAX as u64;
        assert_eq!(told(&feed, "a", last).len(), FEED_PAGE_MAX);
        for number in 0..FEED_CHANGES_MAX as u64 {
            feed.push(change(&number.to_string(), 0));
        }
        feed.leave("a");
        assert!(!feed.known().machines.contains_key("a"));
        assert_eq!(feed.known().machines.len(), FEED_CHANGES_MAX);
    }
}
