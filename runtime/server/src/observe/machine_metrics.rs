//! What CloudWatch counts of Step Functions, under the same names, by state machine. What it hides: the counters, how long
//! attempts took, and Prometheus's text for them.
//!
//! Counting is done where executions are worked on: a few atomics for each append. A count begins at 0 with the process.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use stepwell_engine::{Observed, Observer};
use stepwell_interp::{Event, Place, Timestamp, What, event_type};

use super::{
    cloudwatch::{BILLED_TIME, COUNTS, EXECUTION_TIME, Family, TIMES, When, snake},
    exposition::{describe, histogram, line},
};
use crate::limits::{METRIC_ATTEMPTS_MAX, METRIC_MACHINES_MAX, METRIC_MACHINES_MIN};

/// The state machine of series that are those of several: of machines that were first seen when their account had enough.
const OTHERS: &str = "other";
/// Attempts that are measured, in so many parts with a lock each.
const PARTS: usize = 16;
/// Milliseconds of a synchronous execution that are billed at a time.
const BILLED_STEP_MS: u64 = 100;

/// Upper bounds of the histograms, milliseconds.
const BOUNDS_MS: [u64; 12] = [
    5, 25, 100, 250, 1_000, 5_000, 15_000, 60_000, 300_000, 1_800_000, 10_800_000, 86_400_000,
];

/// Whose a series is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    account: Arc<str>,
    machine_arn: Arc<str>,
}

/// Those that have series.
#[derive(Debug, Default)]
struct Machines {
    known: BTreeMap<Key, Arc<Machine>>,
    /// How many have their own, of each account and of all.
    own: BTreeMap<Arc<str>, usize>,
    all: usize,
}

impl Machines {
    /// The machine of that key, or the one that stands for all without series.
    fn of(&mut self, key: Key) -> Arc<Machine> {
        if let Some(machine) = self.known.get(&key) {
            return machine.clone();
        }
        let own = self.own.entry(key.account.clone()).or_default();
        let left = METRIC_MACHINES_MAX.saturating_sub(self.all);
        let key = if *own < left || *own < METRIC_MACHINES_MIN {
            *own += 1;
            self.all += 1;
            key
        } else {
            Key {
                machine_arn: OTHERS.into(),
                ..key
            }
        };
        self.known.entry(key).or_default().clone()
    }
}

/// Of one state machine.
#[derive(Debug, Default)]
struct Machine {
    counts: [AtomicU64; COUNTS.len()],
    times: [OnceLock<Histogram>; TIMES.len()],
}

#[derive(Debug, Default)]
struct Histogram {
    /// Not cumulative; the last one is for all above the last bound.
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

/// Attempts that are under way, by execution.
type Attempts = HashMap<Arc<str>, Vec<Attempt>>;

#[derive(Debug)]
struct Attempt {
    place: Place,
    scheduled_at: Timestamp,
    started_at: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub struct MachineMetrics {
    machines: RwLock<Machines>,
    attempts: [Mutex<Attempts>; PARTS],
    hasher: RandomState,
}

impl Default for MachineMetrics {
    fn default() -> MachineMetrics {
        MachineMetrics {
            machines: RwLock::default(),
            attempts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl Observer for MachineMetrics {
    fn observe(&self, observed: &Arc<Observed>) {
        let machine = self.machine(&observed.tenant, &observed.start.machine_arn);
        for entry in observed.own() {
            let (what, at) = (&entry.event.what, entry.event.at);
            let Some(event_type) = event_type(what) else {
                continue;
            };
            machine.count(event_type, what, observed.redrives > 0);
            if what.is_ending() {
                machine.ended(observed, at);
            }
        }
        let part = self.hasher.hash_one(&*observed.execution_arn) as usize % PARTS;
        let attempts = self.attempts[part].lock();
        let mut attempts = attempts.unwrap_or_else(PoisonError::into_inner);
        for entry in observed.own() {
            let took = |time, ms| machine.took(time, ms);
            follow(&mut attempts, &observed.execution_arn, &entry.event, took);
        }
    }
}

impl MachineMetrics {
    fn machine(&self, account: &Arc<str>, machine_arn: &Arc<str>) -> Arc<Machine> {
        let key = Key {
            account: account.clone(),
            machine_arn: machine_arn.clone(),
        };
        let known = self.machines.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = known.known.get(&key) {
            return machine.clone();
        }
        drop(known);
        let machines = self.machines.write();
        let mut machines = machines.unwrap_or_else(PoisonError::into_inner);
        machines.of(key)
    }

    /// Appends the series of that account to an exposition, or those of all.
    pub(crate) fn write(&self, text: &mut String, account: Option<&str>) {
        let machines = self.machines.read();
        let machines = machines.unwrap_or_else(PoisonError::into_inner);
        let seen = || {
            let all = machines.known.iter();
            all.filter(move |(key, _)| account.is_none_or(|account| *key.account == *account))
        };
        if seen().next().is_none() {
            return;
        }
        for (index, count) in COUNTS.iter().enumerate() {
            let name = format!("aws_states_{}", snake(count.name));
            describe(text, &name, "counter", count.help);
            for (key, machine) in seen() {
                let value = machine.counts[index].load(Relaxed);
                line(text, &format!("{name}_total"), &labels(key), value);
            }
        }
        for (index, (name, help)) in TIMES.iter().enumerate() {
            let name = format!("aws_states_{}_seconds", snake(name));
            let measured =
                seen().filter_map(|(key, machine)| Some((key, machine.times[index].get()?)));
            for (number, (key, histogram)) in measured.enumerate() {
                if number == 0 {
                    describe(text, &name, "histogram", help);
                }
                histogram.write(text, &name, &labels(key));
            }
        }
    }
}

impl Machine {
    fn count(&self, event_type: &str, what: &What, redriven: bool) {
        let silent = matches!(what, What::TimedOut { heartbeat, .. } if *heartbeat);
        for (count, counter) in COUNTS.iter().zip(&self.counts) {
            let counts = match count.when {
                When::Always => true,
                When::Redriven => redriven,
                When::Silent => silent,
                When::Late => !silent,
            };
            if counts && count.events.contains(&event_type) {
                counter.fetch_add(1, Relaxed);
            }
        }
    }

    fn ended(&self, observed: &Observed, at: Timestamp) {
        let ms = at.since_ms(observed.started_at);
        self.took(EXECUTION_TIME, ms);
        if observed.start.express {
            let steps = ms.div_ceil(BILLED_STEP_MS).max(1);
            self.took(BILLED_TIME, steps * BILLED_STEP_MS);
        }
    }

    fn took(&self, time: usize, ms: u64) {
        if let Some(place) = self.times.get(time) {
            place.get_or_init(Histogram::default).took(ms);
        }
    }
}

impl Histogram {
    fn took(&self, ms: u64) {
        let bucket = BOUNDS_MS.partition_point(|bound| *bound < ms);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_ms.fetch_add(ms, Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Relaxed))
            .collect();
        let sum_ms = self.sum_ms.load(Relaxed);
        histogram(text, name, labels, (&BOUNDS_MS, &counts), sum_ms);
    }
}

/// Follows attempts and tells how long they took. One whose schedule was not seen, in an earlier process or for want of
/// room, is not measured.
fn follow(
    attempts: &mut Attempts,
    arn: &Arc<str>,
    event: &Event,
    mut took: impl FnMut(usize, u64),
) {
    let Event {
        at, place, what, ..
    } = event;
    if matches!(what, What::Scheduled(_)) {
        if attempts.len() >= METRIC_ATTEMPTS_MAX / PARTS && !attempts.contains_key(arn) {
            return;
        }
        let own = attempts.entry(arn.clone()).or_default();
        own.retain(|attempt| attempt.place != *place);
        return own.push(Attempt {
            place: place.clone(),
            scheduled_at: *at,
            started_at: None,
        });
    }
    let Some(own) = attempts.get_mut(arn) else {
        return;
    };
    let started = matches!(what, What::Started { .. });
    let closed = matches!(
        what,
        What::Succeeded { .. } | What::Failed { .. } | What::TimedOut { .. }
    );
    let found = own.iter().position(|attempt| attempt.place == *place);
    if let Some(index) = found.filter(|_| started || closed) {
        let family = Family::of(event_type(what).unwrap_or_default());
        let attempt = &mut own[index];
        if started {
            took(family.schedule(), at.since_ms(attempt.scheduled_at));
            attempt.started_at = Some(*at);
        } else {
            took(family.whole(), at.since_ms(attempt.scheduled_at));
            if let Some(started) = attempt.started_at {
                took(family.run(), at.since_ms(started));
            }
            own.swap_remove(index);
        }
    }
    if own.is_empty() || what.is_ending() {
        attempts.remove(arn);
    }
}

/// ARNs have no character that a label's value must escape but those of names, of which the API refuses `"` and `\`.
fn labels(key: &Key) -> String {
    format!(
        "account=\"{}\",state_machine_arn=\"{}\"",
        key.account, key.machine_arn
    )
}

#[cfg(test)]
mod tests {
    use stepwell_engine::HistoryEntry;
    use stepwell_interp::Start;
    use stepwell_query::Value;

    use super::*;

    fn told(
        machine: &str,
        account: &str,
        redrives: u32,
        events: Vec<(u64, What)>,
    ) -> Arc<Observed> {
        let start = Start {
            machine_arn: machine.into(),
            ..Start::default()
        };
        let entries = events
            .into_iter()
            .zip(1..)
            .map(|((at, what), id)| HistoryEntry {
                id,
                event: Event {
                    at: Timestamp(at),
                    previous: 0,
                    place: Place::default(),
                    what,
                },
                used: None,
            });
        Arc::new(Observed {
            tenant: account.into(),
            execution_arn: "arn:e".into(),
            start: Arc::new(start),
            started_at: Timestamp(1_000),
            redrives,
            redriven_at: None,
            logging: None,
            trace: None,
            entries: entries.collect(),
        })
    }

    fn started() -> What {
        What::ExecutionStarted {
            start: Box::default(),
            first: "A".into(),
            timeout_at: None,
        }
    }

    fn succeeded() -> What {
        What::ExecutionSucceeded {
            output: Value::Null,
        }
    }

    fn text(metrics: &MachineMetrics, account: Option<&str>) -> String {
        let mut text = String::new();
        metrics.write(&mut text, account);
        text
    }

    #[test]
    fn executions_are_counted_and_measured_by_state_machine() {
        let metrics = MachineMetrics::default();
        let events = vec![(1_000, started()), (1_250, succeeded())];
        metrics.observe(&told("arn:m", "1", 0, events));
        metrics.observe(&told("arn:n", "2", 1, vec![(4_000, succeeded())]));
        let all = text(&metrics, None);
        for line in [
            "# TYPE aws_states_executions_started counter",
            "aws_states_executions_started_total{account=\"1\",state_machine_arn=\"arn:m\"} 1",
            "aws_states_executions_started_total{account=\"2\",state_machine_arn=\"arn:n\"} 0",
            "aws_states_executions_succeeded_total{account=\"2\",state_machine_arn=\"arn:n\"} 1",
            "aws_states_redriven_executions_succeeded_total{account=\"1\",state_machine_arn=\"arn:m\"} 0",
            "aws_states_redriven_executions_succeeded_total{account=\"2\",state_machine_arn=\"arn:n\"} 1",
            "# TYPE aws_states_execution_time_seconds histogram",
            "aws_states_execution_time_seconds_bucket{account=\"1\",state_machine_arn=\"arn:m\",le=\"0.1\"} 0",
            "aws_states_execution_time_seconds_bucket{account=\"1\",state_machine_arn=\"arn:m\",le=\"0.25\"} 1",
            "aws_states_execution_time_seconds_bucket{account=\"1\",state_machine_arn=\"arn:m\",le=\"+Inf\"} 1",
            "aws_states_execution_time_seconds_sum{account=\"1\",state_machine_arn=\"arn:m\"} 0.25",
            "aws_states_execution_time_seconds_sum{account=\"2\",state_machine_arn=\"arn:n\"} 3.0",
        ] {
            assert!(all.lines().any(|found| found == line), "{line}\n{all}");
        }
        let own = text(&metrics, Some("2"));
        assert!(own.contains("arn:n") && !own.contains("arn:m"), "{own}");
        assert_eq!(text(&metrics, Some("3")), "");
    }

    /// How many state machines of an account have series of their own.
    fn own_series(metrics: &MachineMetrics, account: &str) -> usize {
        let text = text(metrics, Some(account));
        let started = text
            .lines()
            .filter(|line| line.starts_with("aws_states_executions_started_total"));
        started.filter(|line| !line.contains("\"other\"")).count()
    }

    #[test]
    fn the_series_are_bounded_and_no_account_takes_all() {
        let metrics = MachineMetrics::default();
        let half = METRIC_MACHINES_MAX / 2;
        let start = |account: &str, number: usize| {
            let machine = format!("arn:{number}");
            metrics.observe(&told(&machine, account, 0, vec![(1, started())]));
        };
        for number in 0..METRIC_MACHINES_MAX {
            start("greedy", number);
        }
        assert_eq!(own_series(&metrics, "greedy"), half);
        // Those that have series go on, the others are one.
        start("greedy", 0);
        start("greedy", METRIC_MACHINES_MAX);
        let own = text(&metrics, Some("greedy"));
        let series = |machine: &str, count: usize| {
            format!("started_total{{account=\"greedy\",state_machine_arn=\"{machine}\"}} {count}\n")
        };
        assert!(own.contains(&series("arn:0", 2)), "{own}");
        assert!(own.contains(&series("other", half + 1)));
        for number in 0..half {
            start("later", number);
        }
        assert_eq!(own_series(&metrics, "later"), half / 2);
        // However many come, each has some.
        for account in 0..100 {
            for number in 0..2 * METRIC_MACHINES_MIN {
                start(&format!("a{account}"), number);
            }
        }
        let last = own_series(&metrics, "a99");
        assert_eq!(last, METRIC_MACHINES_MIN);
        assert_eq!(own_series(&metrics, "greedy"), half);
    }

    #[test]
    fn attempts_are_measured_from_schedule_to_start_to_close() {
        let resource = Arc::new(stepwell_asl::Resource {
            text: "wasm:echo".into(),
            target: stepwell_asl::Target::Wasm {
                name: "echo".into(),
                version: None,
            },
        });
        let scheduled = What::Scheduled(Box::new(stepwell_interp::Scheduled {
            resource: resource.clone(),
            parameters: Value::Null,
            region: "us-east-1".into(),
            timeout_s: None,
            heartbeat_s: None,
            role_arn: None,
            token: None,
        }));
        let begun = What::Started {
            resource: resource.clone(),
            by: None,
        };
        let done = What::Succeeded {
            resource,
            output: Value::Null,
        };
        let metrics = MachineMetrics::default();
        let events = vec![(1_000, scheduled), (1_010, begun), (1_200, done)];
        metrics.observe(&told("arn:m", "1", 0, events));
        let all = text(&metrics, None);
        for (name, seconds) in [
            ("schedule_time", "0.01"),
            ("run_time", "0.19"),
            ("time", "0.2"),
        ] {
            let line = format!(
                "aws_states_service_integration_{name}_seconds_sum{{account=\"1\",state_machine_arn=\"arn:m\"}} {seconds}"
            );
            assert!(all.lines().any(|found| found == line), "{line}\n{all}");
        }
        assert!(
            metrics
                .attempts
                .iter()
                .all(|part| part.lock().unwrap().is_empty())
        );
    }
}
