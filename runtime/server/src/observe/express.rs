//! Histories of EXPRESS executions, which no store keeps: those of the last day, as far as they have room in memory. Hides what
//! goes when there is none left: the oldest of the account that takes most.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stepwell_engine::{HistoryEntry, Observed, Observer};
use stepwell_interp::{Limits, Timestamp, What};

use crate::limits::{EXPRESS_AGE_MS_MAX, EXPRESS_BYTES_EACH_MAX, EXPRESS_SWEEP_MS};

/// Bytes of memory that an execution takes beside its events, and an event beside its data.
const EXECUTION_BYTES: u64 = 1_024;
const EVENT_BYTES: u64 = 384;
/// Bytes of memory that a byte of JSON takes as a value.
const VALUE_FACTOR: u64 = 3;

/// See the module.
#[derive(Debug)]
pub struct ExpressHistories {
    bytes_max: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    accounts: BTreeMap<Arc<str>, Account>,
    bytes: u64,
    /// When those that are too old were last dropped.
    swept_at: Timestamp,
}

/// What is kept of one account.
#[derive(Debug, Default)]
struct Account {
    executions: HashMap<Arc<str>, Recorded>,
    /// ARNs by the time they were first heard of, and the same of each state machine.
    order: VecDeque<Arc<str>>,
    machines: HashMap<Arc<str>, VecDeque<Arc<str>>>,
    bytes: u64,
}

/// What is kept of one execution.
#[derive(Debug)]
struct Recorded {
    machine_arn: Arc<str>,
    name: Arc<str>,
    started_at: Timestamp,
    ended: Option<(&'static str, Timestamp)>,
    entries: VecDeque<HistoryEntry>,
    /// Of all events that there were, the first ones of which may be gone.
    events: u64,
    bytes: u64,
}

/// A page of a history.
#[derive(Debug, PartialEq)]
pub(crate) struct ExpressPage {
    pub(crate) entries: Vec<HistoryEntry>,
    /// Id of the first event of the next page.
    pub(crate) next: Option<u64>,
    /// Events at its beginning that are not kept any more.
    pub(crate) dropped: u64,
}

/// An execution that is kept.
#[derive(Debug, PartialEq)]
pub(crate) struct ExpressExecution {
    pub(crate) execution_arn: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) status: &'static str,
    pub(crate) started_at: Timestamp,
    pub(crate) stopped_at: Option<Timestamp>,
    pub(crate) events: u64,
}

impl Observer for ExpressHistories {
    fn observe(&self, observed: &Arc<Observed>) {
        let last = observed.entries.last();
        if let Some(last) = last.filter(|_| !observed.is_kept() && self.bytes_max > 0) {
            self.kept().take(observed, last.event.at, self.bytes_max);
        }
    }
}

impl ExpressHistories {
    /// Keeps so many bytes; with 0 it keeps nothing.
    pub fn new(bytes_max: u64) -> ExpressHistories {
        ExpressHistories {
            bytes_max,
            kept: Mutex::default(),
        }
    }

    /// Events of an execution from that id on, or from its first or last one on; nothing when it is not kept.
    pub(crate) fn page(
        &self,
        (account, arn): (&str, &str),
        now: Timestamp,
        reverse: bool,
        from: Option<u64>,
        most: usize,
    ) -> Option<ExpressPage> {
        let kept = self.kept();
        let recorded = kept.accounts.get(account)?.executions.get(arn)?;
        if is_old(recorded.started_at, now) {
            return None;
        }
        let dropped = recorded.events - recorded.entries.len() as u64;
        let wanted = |entry: &&HistoryEntry| match (from, reverse) {
            (None, _) => true,
            (Some(from), false) => entry.id >= from,
            (Some(from), true) => entry.id <= from,
        };
        let mut entries: Vec<HistoryEntry> = match reverse {
            false => recorded
                .entries
                .iter()
                .filter(wanted)
                .take(most + 1)
                .cloned()
                .collect(),
            true => {
                let backward = recorded.entries.iter().rev();
                backward.filter(wanted).take(most + 1).cloned().collect()
            }
        };
        let next = entries.get(most).map(|entry| entry.id);
        entries.truncate(most);
        Some(ExpressPage {
            entries,
            next,
            dropped,
        })
    }

    /// The executions of a state machine that are kept, the newest first.
    pub(crate) fn of_machine(
        &self,
        (account, machine_arn): (&str, &str),
        now: Timestamp,
        most: usize,
    ) -> Vec<ExpressExecution> {
        let kept = self.kept();
        let Some(account) = kept.accounts.get(account) else {
            return Vec::new();
        };
        let arns = account.machines.get(machine_arn).into_iter().flatten();
        let found = arns.rev().filter_map(|arn| {
            let recorded = account.executions.get(arn)?;
            (!is_old(recorded.started_at, now)).then(|| recorded.told(arn))
        });
        found.take(most).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, observed: &Observed, now: Timestamp, bytes_max: u64) {
        if now.since_ms(self.swept_at) >= EXPRESS_SWEEP_MS {
            self.swept_at = now;
            self.sweep(now);
        }
        let account = self.accounts.entry(observed.tenant.clone()).or_default();
        let before = account.bytes;
        account.add(observed);
        self.bytes = self.bytes - before + account.bytes;
        if account.order.is_empty() {
            self.accounts.remove(&observed.tenant);
        }
        while self.bytes > bytes_max {
            let Some(account) = self.largest(&observed.tenant, bytes_max) else {
                return;
            };
            self.drop_oldest(&account);
        }
    }

    /// Drops what is older than it may be.
    fn sweep(&mut self, now: Timestamp) {
        let old: Vec<Arc<str>> = self.accounts.keys().cloned().collect();
        for account in old {
            while self
                .accounts
                .get(&account)
                .is_some_and(|kept| kept.is_old(now))
            {
                self.drop_oldest(&account);
            }
        }
    }

    /// Whose oldest execution makes room: the one's that was just told of if it has more than its share.
    fn largest(&self, told_of: &Arc<str>, bytes_max: u64) -> Option<Arc<str>> {
        let share = bytes_max / (self.accounts.len() as u64).max(1);
        let own = self.accounts.get(told_of);
        if own.is_some_and(|account| account.bytes > share) {
            return Some(told_of.clone());
        }
        let all = self.accounts.iter();
        let largest = all.max_by_key(|(_, account)| account.bytes);
        largest.map(|(name, _)| name.clone())
    }

    fn drop_oldest(&mut self, name: &Arc<str>) {
        let Some(account) = self.accounts.get_mut(name) else {
            return;
        };
        self.bytes -= account.drop_oldest();
        if account.order.is_empty() {
            self.accounts.remove(name);
        }
    }
}

impl Account {
    fn add(&mut self, observed: &Observed) {
        let arn = &observed.execution_arn;
        let begins = observed.entries.first().is_some_and(|first| first.id == 1);
        if !self.executions.contains_key(arn) {
            if !begins {
                // It was dropped meanwhile.
                return;
            }
            let start = &observed.start;
            let recorded = Recorded {
                machine_arn: start.machine_arn.clone(),
                name: start.execution_name.clone(),
                started_at: observed.started_at,
                ended: None,
                entries: VecDeque::new(),
                events: 0,
                bytes: EXECUTION_BYTES,
            };
            self.bytes += recorded.bytes;
            self.order.push_back(arn.clone());
            let of_machine = self.machines.entry(start.machine_arn.clone());
            of_machine.or_default().push_back(arn.clone());
            self.executions.insert(arn.clone(), recorded);
        }
        if let Some(recorded) = self.executions.get_mut(arn) {
            let before = recorded.bytes;
            recorded.add(&observed.entries, begins);
            self.bytes = self.bytes - before + recorded.bytes;
        }
    }

    fn is_old(&self, now: Timestamp) -> bool {
        let oldest = self.order.front().and_then(|arn| self.executions.get(arn));
        oldest.is_some_and(|oldest| is_old(oldest.started_at, now))
    }

    /// Bytes that there are less.
    fn drop_oldest(&mut self) -> u64 {
        let Some(arn) = self.order.pop_front() else {
            return 0;
        };
        let Some(recorded) = self.executions.remove(&arn) else {
            return 0;
        };
        // What is the oldest of the account is the oldest of its state machine.
        if let Some(of_machine) = self.machines.get_mut(&recorded.machine_arn) {
            of_machine.pop_front();
            if of_machine.is_empty() {
                self.machines.remove(&recorded.machine_arn);
            }
        }
        self.bytes -= recorded.bytes;
        recorded.bytes
    }
}

impl Recorded {
    /// What a crash or a lost lease made begin again is told of anew, from its first event on.
    fn add(&mut self, entries: &[HistoryEntry], begins: bool) {
        if begins {
            self.entries.clear();
            (self.events, self.bytes, self.ended) = (0, EXECUTION_BYTES, None);
        }
        for entry in entries {
            self.bytes += weight(entry);
            self.events = entry.id;
            self.ended = ended_as(&entry.event.what).map(|status| (status, entry.event.at));
            self.entries.push_back(entry.clone());
        }
        while self.bytes > EXPRESS_BYTES_EACH_MAX && self.entries.len() > 1 {
            let dropped = self.entries.pop_front();
            self.bytes -= dropped.as_ref().map_or(0, weight);
        }
    }

    fn told(&self, arn: &Arc<str>) -> ExpressExecution {
        ExpressExecution {
            execution_arn: arn.clone(),
            name: self.name.clone(),
            status: self.ended.map_or("RUNNING", |(status, _)| status),
            started_at: self.started_at,
            stopped_at: self.ended.map(|(_, at)| at),
            events: self.events,
        }
    }
}

fn is_old(started_at: Timestamp, now: Timestamp) -> bool {
    now.since_ms(started_at) > EXPRESS_AGE_MS_MAX
}

/// Bytes of memory that an event takes, roughly.
fn weight(entry: &HistoryEntry) -> u64 {
    let used = stepwell_interp::usage(&entry.event, Limits::of(false));
    let data: u64 = used.iter().map(|usage| usage.used).sum();
    EVENT_BYTES + VALUE_FACTOR * data
}

fn ended_as(what: &What) -> Option<&'static str> {
    if matches!(what, What::ExecutionSucceeded { .. }) {
        Some("SUCCEEDED")
    } else if matches!(what, What::ExecutionFailed { .. }) {
        Some("FAILED")
    } else if matches!(what, What::ExecutionTimedOut { .. }) {
        Some("TIMED_OUT")
    } else if matches!(what, What::ExecutionAborted { .. }) {
        Some("ABORTED")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use stepwell_interp::{Event, Place, Start};
    use stepwell_query::Value;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn entry(id: u64, output: &str) -> HistoryEntry {
        HistoryEntry {
            id,
            event: Event {
                at: Timestamp(NOW),
                previous: 0,
                place: Place::default(),
                what: What::ExecutionSucceeded {
                    output: Value::from(output.to_owned()),
                },
            },
            used: None,
        }
    }

    fn observed(account: &str, name: &str, entries: Vec<HistoryEntry>) -> Observed {
        let start = Start {
            execution_arn: name.into(),
            execution_name: name.into(),
            machine_arn: "machine".into(),
            machine_name: "machine".into(),
            role_arn: "".into(),
            version_arn: None,
            alias_arn: None,
            express: true,
            raised_limits: false,
            processor_of: None,
            forked_from: None,
            input: Value::Null,
        };
        Observed {
            tenant: account.into(),
            execution_arn: name.into(),
            start: Arc::new(start),
            started_at: Timestamp(NOW),
            redrives: 0,
            redriven_at: None,
            logging: None,
            trace: None,
            entries,
        }
    }

    fn tell(histories: &ExpressHistories, account: &str, name: &str, bytes: usize) {
        let told = observed(account, name, vec![entry(1, &"x".repeat(bytes))]);
        histories.observe(&Arc::new(told));
    }

    fn names(histories: &ExpressHistories, account: &str) -> Vec<String> {
        let found = histories.of_machine((account, "machine"), Timestamp(NOW), 100);
        found.iter().map(|each| each.name.to_string()).collect()
    }

    #[test]
    fn pages_go_both_ways() {
        let histories = ExpressHistories::new(1 << 20);
        let entries = (1..=3).map(|id| entry(id, "x")).collect();
        histories.observe(&Arc::new(observed("a", "e", entries)));
        let ids = |reverse, from, most| {
            let page = histories.page(("a", "e"), Timestamp(NOW), reverse, from, most);
            let page = page.expect("it is kept");
            let ids: Vec<u64> = page.entries.iter().map(|entry| entry.id).collect();
            (ids, page.next)
        };
        assert_eq!(ids(false, None, 2), (vec![1, 2], Some(3)));
        assert_eq!(ids(false, Some(3), 2), (vec![3], None));
        assert_eq!(ids(true, None, 2), (vec![3, 2], Some(1)));
        assert_eq!(ids(true, Some(1), 2), (vec![1], None));
        for other in [("b", "e"), ("a", "f")] {
            assert_eq!(histories.page(other, Timestamp(NOW), false, None, 1), None);
        }
    }

    #[test]
    fn what_is_old_is_told_no_more() {
        let histories = ExpressHistories::new(1 << 20);
        tell(&histories, "a", "e", 1);
        let page = |at| histories.page(("a", "e"), Timestamp(at), false, None, 1);
        assert!(page(NOW + EXPRESS_AGE_MS_MAX).is_some());
        let later = NOW + EXPRESS_AGE_MS_MAX + 1;
        assert_eq!(page(later), None);
        assert_eq!(
            histories.of_machine(("a", "machine"), Timestamp(later), 9),
            []
        );
        // The next one that is told of drops it.
        let mut next = observed("b", "f", vec![entry(1, "x")]);
        next.entries[0].event.at = Timestamp(later);
        next.started_at = Timestamp(later);
        histories.observe(&Arc::new(next));
        assert!(!histories.kept().accounts.contains_key("a"));
    }

    #[test]
    fn memory_is_bounded_and_shared_among_accounts() {
        let histories = ExpressHistories::new(200_000);
        tell(&histories, "quiet", "q", 1_000);
        for number in 0..200 {
            tell(&histories, "loud", &number.to_string(), 5_000);
            assert!(histories.kept().bytes <= 200_000);
        }
        assert_eq!(names(&histories, "quiet"), ["q"]);
        let loud = names(&histories, "loud");
        assert!((2..20).contains(&loud.len()), "{loud:?}");
        assert_eq!(loud[0], "199", "the newest come first");
        // Whoever has less than his share has room at once.
        for number in 0..8 {
            tell(&histories, "quiet", &format!("q{number}"), 1_000);
        }
        assert_eq!(names(&histories, "quiet").len(), 9);
        let kept = histories.kept();
        for account in kept.accounts.values() {
            let bytes = account.executions.values().map(|each| each.bytes);
            assert_eq!(bytes.sum::<u64>(), account.bytes);
            let listed: usize = account.machines.values().map(VecDeque::len).sum();
            let lengths = [account.order.len(), account.executions.len(), listed];
            assert_eq!(lengths, [lengths[0]; 3]);
        }
        let all: u64 = kept.accounts.values().map(|account| account.bytes).sum();
        assert_eq!(all, kept.bytes);
    }

    #[test]
    fn of_a_long_one_the_first_events_go_and_that_is_told() {
        let histories = ExpressHistories::new(1 << 30);
        let large = "x".repeat(200_000);
        let entries = (1..=5).map(|id| entry(id, &large)).collect();
        histories.observe(&Arc::new(observed("a", "e", entries)));
        let page = histories.page(("a", "e"), Timestamp(NOW), false, None, 100);
        let page = page.expect("it is kept");
        let last = page.entries.last().map(|entry| entry.id);
        assert_eq!((page.entries[0].id, last), (page.dropped + 1, Some(5)));
        assert!(page.dropped > 0);
    }

    #[test]
    fn one_that_begins_again_is_told_anew_and_nothing_is_kept_where_nothing_may_be() {
        let histories = ExpressHistories::new(1 << 20);
        for _ in 0..2 {
            let entries = vec![entry(1, "x"), entry(2, "y")];
            histories.observe(&Arc::new(observed("a", "e", entries)));
        }
        let page = histories.page(("a", "e"), Timestamp(NOW), false, None, 100);
        assert_eq!(page.map(|page| page.entries.len()), Some(2));
        let kept = histories.kept();
        assert_eq!(kept.accounts["a"].order.len(), 1);
        drop(kept);
        let none = ExpressHistories::new(0);
        tell(&none, "a", "e", 1);
        assert!(none.kept().accounts.is_empty());
    }
}
