//! Limits that a state machine's tags set for its tasks: they only ever lower what a plugin may use. Hides how tags are
//! written, and how long what was read of them counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    error::{Code, Error},
    journal::CatalogKey,
    limits::{TASK_LIMITS_AGE_MAX, TASK_LIMITS_KNOWN_MAX},
    machines,
    node::Node,
    record::{self, MachineRecord},
};

/// What the keys of such tags begin with.
const LIMIT: &str = "stepwell:limit:";

/// What one attempt of a plugin may use at most; none where the tags say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskLimits {
    /// Bytes, all memories together.
    pub memory_bytes: Option<u64>,
    /// Wall time from the guest's start.
    pub wall: Option<Duration>,
    /// CPU time.
    pub cpu: Option<Duration>,
    /// Bytes of input and of output.
    pub input_bytes: Option<u64>,
    pub output_bytes: Option<u64>,
    /// Bytes of log lines, of stdout and of stderr, each.
    pub log_bytes: Option<u64>,
}

impl TaskLimits {
    /// Reads one tag; `None` when it is none of ours.
    fn read(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        let name = key.strip_prefix(LIMIT)?;
        let size = || bytes(value).ok_or_else(|| NO_SIZE.to_owned());
        let time = || duration(value).ok_or_else(|| NO_DURATION.to_owned());
        let read = match name {
            "memory" => size().map(|size| self.memory_bytes = Some(size)),
            "input" => size().map(|size| self.input_bytes = Some(size)),
            "output" => size().map(|size| self.output_bytes = Some(size)),
            "log" => size().map(|size| self.log_bytes = Some(size)),
            "wall" => time().map(|time| self.wall = Some(time)),
            "cpu" => time().map(|time| self.cpu = Some(time)),
            _ => Err(format!("there is no such limit; {KNOWN}")),
        };
        Some(read)
    }

    /// The limits of a state machine with these tags; none when they set none. What was refused when the tag was set, or
    /// was set before there were limits, sets none.
    fn of(tags: &[(String, String)]) -> Option<Self> {
        let mut limits = Self::default();
        for (key, value) in tags {
            // Nothing to tell here: see `check`.
            let _ = limits.read(key, value);
        }
        (limits != Self::default()).then_some(limits)
    }
}

const NO_SIZE: &str = "it is a size above 0, such as 64MiB, in B, kB, KiB, MB, MiB, GB or GiB";
const NO_DURATION: &str = "it is a duration above 0, such as 500ms or 30s, in ms, s, m or h";
const KNOWN: &str = "the limits are memory, wall, cpu, input, output and log";

/// Refuses a tag that is to set a limit and sets none.
pub(crate) fn check(key: &str, value: &str) -> Result<(), Error> {
    match TaskLimits::default().read(key, value) {
        None | Some(Ok(())) => Ok(()),
        Some(Err(why)) => {
            let text = format!("The tag '{key}' cannot have the value '{value}': {why}");
            Err(Error::rejected(Code::ValidationException, text))
        }
    }
}

/// `64MiB`, `256KiB`, `1000`: more than none.
fn bytes(text: &str) -> Option<u64> {
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1000),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    number(text, &units)
}

/// `30s`, `500ms`, `2m`, `1h`: more than none.
fn duration(text: &str) -> Option<Duration> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    number(text, &units).map(Duration::from_millis)
}

fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, factor) = units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then_some((digits, *factor))
    })?;
    let number = digits.parse::<u64>().ok()?.checked_mul(factor)?;
    (number > 0).then_some(number)
}

/// What tags of state machines set, in memory. Tags are changed at other nodes as well: what was read counts for a while.
#[derive(Default)]
pub(crate) struct TaggedLimits(Mutex<Entries>);

type Limits = Option<Arc<TaskLimits>>;
/// A tenant and the record name of one of its machines.
type Named = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Entries {
    by_machine: HashMap<Named, (Limits, Instant)>,
    /// How often something was forgotten: what was read from the store before is not kept after.
    forgotten: u64,
}

impl TaggedLimits {
    /// Forgets a machine whose tags change.
    pub(crate) fn forget(&self, key: &CatalogKey) {
        let mut entries = self.entries();
        entries.forgotten += 1;
        entries
            .by_machine
            .remove(&(key.tenant.clone(), key.name.clone()));
    }

    fn get(&self, named: &Named) -> Result<Limits, u64> {
        let entries = self.entries();
        let known = entries.by_machine.get(named);
        let known = known.filter(|(_, read)| read.elapsed() < TASK_LIMITS_AGE_MAX);
        known
            .map(|(limits, _)| limits.clone())
            .ok_or(entries.forgotten)
    }

    fn put(&self, named: Named, stamp: u64, limits: Limits) {
        let mut entries = self.entries();
        if entries.forgotten != stamp {
            return;
        }
        if entries.by_machine.len() >= TASK_LIMITS_KNOWN_MAX {
            entries.by_machine.clear();
        }
        entries.by_machine.insert(named, (limits, Instant::now()));
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// What the tags of an execution's state machine leave to its tasks. A failed read is no verdict: the text says so.
    pub(crate) async fn task_limits(
        &self,
        tenant: &Arc<str>,
        machine_arn: &str,
    ) -> Result<Limits, String> {
        let Some(name) = record_name(machine_arn) else {
            return Ok(None);
        };
        let named = (tenant.clone(), name);
        let stamp = match self.tagged_limits.get(&named) {
            Ok(known) => return Ok(known),
            Err(stamp) => stamp,
        };
        let found = self.journal.get(&machines::key(tenant, &named.1)).await;
        let found = found.map_err(|error| error.to_string())?;
        let machine = found.map(|found| record::decode::<MachineRecord>(&found.bytes));
        let machine = machine.transpose().map_err(|error| error.to_string())?;
        let limits = machine.and_then(|machine| TaskLimits::of(&machine.tags));
        let limits = limits.map(Arc::new);
        self.tagged_limits.put(named, stamp, limits.clone());
        Ok(limits)
    }
}

/// The record name of the machine of an ARN, which for a map run's children has a label.
fn record_name(machine_arn: &str) -> Option<Arc<str>> {
    let mut parts = machine_arn.split(':');
    let region = parts.nth(3)?;
    let name = parts.nth(2)?.split('/').next()?;
    Some(format!("{region}/{name}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn tags_are_read_and_others_left_alone() {
        let limits = TaskLimits::of(&tags(&[
            ("team", "payments"),
            ("stepwell:limit:memory", "64MiB"),
            ("stepwell:limit:cpu", "500ms"),
            ("stepwell:limit:wall", "2m"),
            ("stepwell:limit:output", "1000"),
        ]));
        let expected = TaskLimits {
            memory_bytes: Some(64 << 20),
            cpu: Some(Duration::from_millis(500)),
            wall: Some(Duration::from_secs(120)),
            output_bytes: Some(1000),
            ..TaskLimits::default()
        };
        assert_eq!(limits, Some(expected));
        assert_eq!(TaskLimits::of(&tags(&[("team", "payments")])), None);
    }

    #[test]
    fn a_tag_that_says_nothing_is_refused() {
        for (key, value, why) in [
            (
                "stepwell:limit:memory",
                "1TiB",
                "in B, kB, KiB, MB, MiB, GB or GiB",
            ),
            ("stepwell:limit:wall", "1d", "in ms, s, m or h"),
            ("stepwell:limit:memory", "much", "it is a size"),
            ("stepwell:limit:memory", "0", "it is a size"),
            (
                "stepwell:limit:memory",
                "99999999999999999999GiB",
                "it is a size",
            ),
            ("stepwell:limit:wall", "1", "it is a duration"),
            ("stepwell:limit:speed", "1s", "there is no such limit"),
            ("stepwell:limit:", "1s", "the limits are memory, wall"),
        ] {
            let refused = check(key, value).unwrap_err().to_string();
            assert!(refused.contains(why), "{key} {value}: {refused}");
        }
        for (key, value) in [
            ("team", ""),
            ("stepwell:limit:log", "1KiB"),
            ("stepwell:limit:log", "1kB"),
            ("stepwell:other", "x"),
        ] {
            assert!(check(key, value).is_ok(), "{key}");
        }
    }

    #[test]
    fn the_machine_of_a_child_is_its_parents() {
        let name = |arn| record_name(arn).unwrap().to_string();
        assert_eq!(
            name("arn:aws:states:eu-west-1:000000000000:stateMachine:m"),
            "eu-west-1/m"
        );
        assert_eq!(
            name("arn:aws:states:eu-west-1:000000000000:stateMachine:m/label"),
            "eu-west-1/m"
        );
        assert_eq!(record_name(""), None);
    }
}
