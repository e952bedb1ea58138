//! The events that wait for one webhook, and which is sent next. What it hides: whose turn it is. Pure: the time comes with
//! each call.
//!
//! Events of one execution go one after the other. Tenants take turns. Who fails waits alone: an event that failed holds up
//! its execution; a tenant of whose events one after the other failed is tried one at a time; and what failed before never
//! has more than its share of the requests, so that a receiver that hangs on some events takes the others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use stepwell_engine::StatusEvent;

use crate::limits::{
    WEBHOOK_AGE_MAX, WEBHOOK_EXPIRED_AT_A_TIME, WEBHOOK_FAILING_AFTER, WEBHOOK_PAUSE,
    WEBHOOK_PAUSE_MAX, WEBHOOK_REQUESTS_MAX, WEBHOOK_RETRIES_MAX, WEBHOOK_TENANT_REQUESTS_MAX,
    WEBHOOK_TENANT_RETRIES_MAX,
};

/// When it is: by a clock that nobody sets, for pauses, and since the epoch, for the age of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) steady_ms: u64,
    pub(super) wall_ms: u64,
}

/// An event to send. It is to be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    pub(super) event: StatusEvent,
    /// It has its part of the requests for what failed before.
    again: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done with.
    Settled,
    /// The receiver did not take it; it is sent again.
    Failed,
    /// It could not be sent, and not for the receiver's sake; it is sent again.
    Unsent,
}

/// The events of a tenant in order: when they were, then their ids.
type Place = (u64, u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    tenants: BTreeMap<Arc<str>, Tenant>,
    /// Tenants that may have something to send now.
    turns: VecDeque<Arc<str>>,
    /// When tenants have something to send again.
    rests: BTreeSet<(u64, Arc<str>)>,
    /// Tenants that wait for a part of the requests for what failed before.
    crowded: Vec<Arc<str>>,
    /// Executions whose events are in doubt.
    held: HashSet<u64>,
    /// Partitions of those that wait, with how many are of each: that none was lost is seen without looking at them all.
    partitions: BTreeMap<u16, usize>,
    waiting: usize,
    sending: usize,
    again: usize,
}

#[derive(Debug, Default)]
struct Tenant {
    waiting: BTreeMap<Place, StatusEvent>,
    executions: HashMap<u64, Execution>,
    /// Executions whose first event was not tried. One may stand here that has another stage by now.
    fresh: VecDeque<u64>,
    /// Those whose first event failed, by when it is sent again. As above.
    failed: BTreeSet<(u64, u64)>,
    sending: usize,
    again: usize,
    /// How many tries failed since the receiver answered for one.
    failures: u32,
    /// After too many it rests until then.
    rests_until: u64,
    in_turns: bool,
    rest: Option<u64>,
}

#[derive(Debug)]
struct Execution {
    /// Ids of its events with their times, in order.
    events: VecDeque<Place>,
    tries: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    Failed { due: u64 },
    Sending,
    Held,
}

/// What a tenant has to send.
enum Pick {
    Event(Sending),
    /// It would send something that failed before, and there is no room for more of that.
    Crowded,
    /// Nothing before that time, if it is known.
    Rests(Option<u64>),
}

impl Queue {
    /// How many events wait, those under way among them.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// How many of a tenant do.
    pub(super) fn len_of(&self, tenant: &str) -> usize {
        self.tenants
            .get(tenant)
            .map_or(0, |tenant| tenant.waiting.len())
    }

    /// When the oldest event was, milliseconds since the epoch.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let firsts = self.tenants.values();
        let firsts = firsts.filter_map(|tenant| tenant.waiting.first_key_value());
        firsts.map(|((at, _), _)| *at).min()
    }

    /// Takes an event, unless it has it.
    pub(super) fn put(&mut self, event: StatusEvent) {
        let (name, partition) = (event.tenant.clone(), event.partition);
        let held = self.held.contains(&event.execution);
        let tenant = self.tenants.entry(name.clone()).or_default();
        if tenant.put(event, held) {
            self.waiting += 1;
            *self.partitions.entry(partition).or_default() += 1;
            self.give_turn(&name);
        }
    }

    /// The next event to send, or when there is one again. What grew too old meanwhile is put to `expired`.
    pub(super) fn next(
        &mut self,
        now: Now,
        expired: &mut Vec<StatusEvent>,
    ) -> Result<Sending, Option<u64>> {
        while let Some((due, name)) = self.rests.first().cloned() {
            if due > now.steady_ms {
                break;
            }
            self.give_turn(&name);
        }
        if self.sending >= WEBHOOK_REQUESTS_MAX {
            return Err(self.next_due());
        }
        while let Some(name) = self.turns.pop_front() {
            let Some(tenant) = self.tenants.get_mut(&name) else {
                continue;
            };
            tenant.in_turns = false;
            let before = expired.len();
            let more = tenant.expire(now, expired);
            self.waiting -= expired.len() - before;
            for event in &expired[before..] {
                one_less(&mut self.partitions, event.partition);
            }
            let pick = tenant.pick(now, self.again < WEBHOOK_RETRIES_MAX);
            if more {
                self.give_turn(&name);
            }
            match pick {
                Pick::Event(sending) => {
                    self.sending += 1;
                    self.again += usize::from(sending.again);
                    self.give_turn(&name);
                    return Ok(sending);
                }
                Pick::Crowded => self.crowded.push(name),
                Pick::Rests(due) => self.rest(&name, due),
            }
        }
        Err(self.next_due())
    }

    /// Takes note of what became of an event.
    pub(super) fn done(&mut self, sending: &Sending, outcome: Outcome, now: Now) {
        self.sending -= 1;
        if sending.again {
            self.again -= 1;
            for name in std::mem::take(&mut self.crowded) {
                self.give_turn(&name);
            }
        }
        let name = &sending.event.tenant;
        let held = self.held.contains(&sending.event.execution);
        if let Some(tenant) = self.tenants.get_mut(name) {
            if tenant.done(sending, outcome, held, now) {
                self.waiting -= 1;
                one_less(&mut self.partitions, sending.event.partition);
            }
            self.give_turn(name);
        }
    }

    /// Drops the events of other partitions.
    pub(super) fn keep(&mut self, partitions: &BTreeSet<u16>) {
        if self.partitions.keys().all(|own| partitions.contains(own)) {
            return;
        }
        self.partitions.retain(|own, _| partitions.contains(own));
        for tenant in self.tenants.values_mut() {
            let gone: Vec<Place> = tenant
                .waiting
                .iter()
                .filter(|(_, event)| !partitions.contains(&event.partition))
                .map(|(place, _)| *place)
                .collect();
            for place in gone {
                tenant.remove(place);
                self.waiting -= 1;
            }
        }
    }

    /// Sends none of an execution's events until it is released.
    pub(super) fn hold(&mut self, execution: u64) {
        self.held.insert(execution);
    }

    pub(super) fn release(&mut self, execution: u64) {
        if !self.held.remove(&execution) {
            return;
        }
        let mut names = Vec::new();
        for (name, tenant) in &mut self.tenants {
            if tenant.release(execution) {
                names.push(name.clone());
            }
        }
        for name in names {
            self.give_turn(&name);
        }
    }

    fn next_due(&self) -> Option<u64> {
        self.rests.first().map(|(due, _)| *due)
    }

    fn give_turn(&mut self, name: &Arc<str>) {
        let Some(tenant) = self.tenants.get_mut(name) else {
            return;
        };
        if let Some(rest) = tenant.rest.take() {
            self.rests.remove(&(rest, name.clone()));
        }
        if !tenant.in_turns {
            tenant.in_turns = true;
            self.turns.push_back(name.clone());
        }
    }

    fn rest(&mut self, name: &Arc<str>, due: Option<u64>) {
        let Some(tenant) = self.tenants.get_mut(name) else {
            return;
        };
        if tenant.in_turns {
            return;
        }
        tenant.rest = due;
        self.rests.extend(due.map(|due| (due, name.clone())));
        if tenant.is_over() {
            self.tenants.remove(name);
        }
    }
}

impl Tenant {
    /// False when it is there.
    fn put(&mut self, event: StatusEvent, held: bool) -> bool {
        let place = (event.at.0, event.id);
        let number = event.execution;
        if self.waiting.contains_key(&place) {
            return false;
        }
        self.waiting.insert(place, event);
        let execution = self.executions.entry(number).or_insert_with(|| {
            let stage = if held { Stage::Held } else { Stage::Fresh };
            if stage == Stage::Fresh {
                self.fresh.push_back(number);
            }
            Execution {
                events: VecDeque::new(),
                tries: 0,
                stage,
            }
        });
        // Nearly always the last one.
        let behind = execution.events.iter().rev();
        let later = behind.take_while(|(_, id)| *id > place.1).count();
        let at = execution.events.len() - later;
        execution.events.insert(at, place);
        true
    }

    /// Takes out what is too old, some at a time; true when there may be more.
    fn expire(&mut self, now: Now, expired: &mut Vec<StatusEvent>) -> bool {
        for _ in 0..WEBHOOK_EXPIRED_AT_A_TIME {
            let Some((place, event)) = self.waiting.first_key_value() else {
                return false;
            };
            let age_ms = now.wall_ms.saturating_sub(place.0);
            let under_way = self
                .executions
                .get(&event.execution)
                .is_some_and(|execution| execution.stage == Stage::Sending);
            if u128::from(age_ms) <= WEBHOOK_AGE_MAX.as_millis() || under_way {
                return false;
            }
            expired.extend(self.remove(*place));
        }
        true
    }

    fn pick(&mut self, now: Now, room: bool) -> Pick {
        let failing = self.failures >= WEBHOOK_FAILING_AFTER;
        let most = match failing {
            true => 1,
            false => WEBHOOK_TENANT_REQUESTS_MAX,
        };
        if self.sending >= most {
            // What is under way gives it a turn when it ends.
            return Pick::Rests(None);
        }
        if failing && now.steady_ms < self.rests_until {
            return Pick::Rests((!self.is_empty()).then_some(self.rests_until));
        }
        let own_room = self.again < WEBHOOK_TENANT_RETRIES_MAX;
        let due = self.due(now);
        if due.is_some() && own_room && room {
            return self.begin(due, true);
        }
        let fresh = self.first_fresh();
        match (fresh, failing, room) {
            (Some(_), true, false) => Pick::Crowded,
            (Some(number), _, _) => {
                self.fresh.pop_front();
                self.begin(Some(number), failing)
            }
            (None, _, _) if due.is_some() && own_room => Pick::Crowded,
            (None, _, _) if due.is_some() => Pick::Rests(None),
            (None, _, _) => Pick::Rests(self.failed.first().map(|(due, _)| *due)),
        }
    }

    fn begin(&mut self, number: Option<u64>, again: bool) -> Pick {
        let execution = number.and_then(|number| self.executions.get_mut(&number));
        let Some(execution) = execution else {
            return Pick::Rests(None);
        };
        let first = execution.events.front();
        let Some(event) = first.and_then(|place| self.waiting.get(place)) else {
            return Pick::Rests(None);
        };
        if let Stage::Failed { due } = execution.stage {
            self.failed.remove(&(due, event.execution));
        }
        execution.stage = Stage::Sending;
        self.sending += 1;
        self.again += usize::from(again);
        Pick::Event(Sending {
            event: event.clone(),
            again,
        })
    }

    /// The execution whose failed event is to be sent again by now.
    fn due(&mut self, now: Now) -> Option<u64> {
        while let Some((due, number)) = self.failed.first().copied() {
            let execution = self.executions.get(&number);
            if execution.is_some_and(|execution| execution.stage == Stage::Failed { due }) {
                return (due <= now.steady_ms).then_some(number);
            }
            self.failed.pop_first();
        }
        None
    }

    /// The first execution with an event that was not tried; it stays where it is.
    fn first_fresh(&mut self) -> Option<u64> {
        while let Some(number) = self.fresh.front().copied() {
            let execution = self.executions.get(&number);
            if execution.is_some_and(|execution| execution.stage == Stage::Fresh) {
                return Some(number);
            }
            self.fresh.pop_front();
        }
        None
    }

    /// Whether an event waits no more by that.
    fn done(&mut self, sending: &Sending, outcome: Outcome, held: bool, now: Now) -> bool {
        let Sending { event, again } = sending;
        self.sending -= 1;
        self.again -= usize::from(*again);
        let steady_ms = now.steady_ms;
        match outcome {
            Outcome::Settled => self.failures = 0,
            Outcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                let over = self.failures.saturating_sub(WEBHOOK_FAILING_AFTER);
                self.rests_until = steady_ms.saturating_add(pause_ms(over));
            }
            Outcome::Unsent => {}
        }
        let settled = outcome == Outcome::Settled;
        let removed = settled && self.remove((event.at.0, event.id)).is_some();
        // Without one it was dropped meanwhile.
        if let Some(execution) = self.executions.get_mut(&event.execution) {
            let tries = if settled { 0 } else { execution.tries + 1 };
            execution.tries = tries;
            execution.stage = match (held, settled) {
                (true, _) => Stage::Held,
                (false, true) => {
                    self.fresh.push_back(event.execution);
                    Stage::Fresh
                }
                (false, false) => {
                    let due = steady_ms.saturating_add(pause_ms(tries - 1));
                    self.failed.insert((due, event.execution));
                    Stage::Failed { due }
                }
            };
        }
        removed
    }

    fn release(&mut self, number: u64) -> bool {
        let execution = self.executions.get_mut(&number);
        let Some(execution) = execution.filter(|execution| execution.stage == Stage::Held) else {
            return false;
        };
        execution.stage = Stage::Fresh;
        self.fresh.push_back(number);
        true
    }

    fn remove(&mut self, place: Place) -> Option<StatusEvent> {
        let event = self.waiting.remove(&place)?;
        if let Some(execution) = self.executions.get_mut(&event.execution) {
            execution.events.retain(|other| *other != place);
            if execution.events.is_empty() {
                self.executions.remove(&event.execution);
            }
        }
        Some(event)
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nothing of it is worth keeping.
    fn is_over(&self) -> bool {
        self.is_empty() && self.sending == 0
    }
}

/// One event less of that partition waits.
fn one_less(partitions: &mut BTreeMap<u16, usize>, partition: u16) {
    if let Some(count) = partitions.get_mut(&partition) {
        *count -= 1;
        if *count == 0 {
            partitions.remove(&partition);
        }
    }
}

/// The pause after so many tries before the last one.
fn pause_ms(tries: u32) -> u64 {
    let most = u64::try_from(WEBHOOK_PAUSE_MAX.as_millis()).unwrap_or(u64::MAX);
    let first = u64::try_from(WEBHOOK_PAUSE.as_millis()).unwrap_or(u64::MAX);
    first.saturating_mul(1 << tries.min(20)).min(most)
}
