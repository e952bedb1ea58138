//! Tasks that do what a file says. Hides the file's form:
//!
//! ```json
//! { "<resource>": [ { "output": 1, "after_ms": 50 }, { "error": "E", "cause": "c" }, { "never": true } ],
//!   "$stop": { "after_ms": 1000, "error": "E" }, "$redrive": [ { "after_ms": 1000 } ] }
//! ```
//!
//! The nth attempt at a resource takes its nth entry, the last entry serves all further ones. Other members of an
//! entry: `at` (`schedule`, `start`, `submit`, `run`, `timeout`: the stage at which it fails), `submitted` (output of
//! the accepted request), `start_after_ms` and `by` (when and who starts it), `heartbeats_ms` (signs of life, counted
//! from the schedule), `lost` (times that its process is lost as soon as it began), `lost_early` (true: before it began), `on_crash` (`fail`).

use std::{collections::BTreeMap, sync::Arc};

use stepwell_asl::Program;
use stepwell_interp::{FailedAt, OnCrash, TaskOutcome};
use stepwell_query::Value;

/// All that a file says.
#[derive(Clone, Debug, Default)]
pub struct Script {
    tasks: BTreeMap<String, Vec<Act>>,
    taken: BTreeMap<String, usize>,
    pub stop: Option<Stop>,
    /// How long after each of its ends the execution is redriven.
    pub redrives_ms: Vec<u64>,
    /// Whether the run draws random numbers that show in its history.
    pub random: bool,
    /// State machines that tasks may start, by ARN.
    pub machines: BTreeMap<String, Arc<Program>>,
}

/// When and with what StopExecution is called.
#[derive(Clone, Debug)]
pub struct Stop {
    pub after_ms: u64,
    pub error: Option<String>,
    pub cause: Option<String>,
}

/// What one attempt does.
#[derive(Clone, Debug)]
pub struct Act {
    /// `None`: it never ends.
    pub outcome: Option<TaskOutcome>,
    pub after_ms: u64,
    pub start_after_ms: u64,
    pub by: Option<String>,
    pub submitted: Option<Value>,
    pub heartbeats_ms: Vec<u64>,
    pub lost: u64,
    pub lost_early: bool,
    pub on_crash: OnCrash,
}

impl Script {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Script {
        let file = Value::parse(text).expect("a script is JSON");
        let mut script = Script::default();
        for (resource, acts) in file.as_object().expect("a script is an object").iter() {
            match &**resource {
                "$stop" => script.stop = Some(stop(acts)),
                "$random" => script.random = true,
                "$redrive" => script.redrives_ms = redrives(acts),
                resource => {
                    let acts = acts.as_array().expect("a resource has a list of entries");
                    script
                        .tasks
                        .insert(resource.to_owned(), acts.iter().map(act).collect());
                }
            }
        }
        script
    }

    /// Whether an attempt's process is lost by the script itself.
    pub fn loses(&self) -> bool {
        self.tasks.values().flatten().any(|act| act.lost > 0)
    }

    /// What the next attempt at a resource does; fails it when the script does not know the resource.
    pub fn next(&mut self, resource: &str) -> Act {
        let taken = self.taken.entry(resource.to_owned()).or_default();
        let act = self
            .tasks
            .get(resource)
            .and_then(|acts| acts.get(*taken).or(acts.last()))
            .cloned();
        *taken += 1;
        act.unwrap_or_else(|| Act {
            outcome: Some(failed(
                "Script.NoSuchResource",
                Some(resource),
                FailedAt::Run,
            )),
            ..Act::at_once()
        })
    }
}

impl Act {
    /// An attempt that never ends, started at once.
    pub fn at_once() -> Act {
        Act {
            outcome: None,
            after_ms: 0,
            start_after_ms: 0,
            by: None,
            submitted: None,
            heartbeats_ms: Vec::new(),
            lost: 0,
            lost_early: false,
            on_crash: OnCrash::Redispatch,
        }
    }
}

/// A failure at a stage.
pub fn failed(error: &str, cause: Option<&str>, at: FailedAt) -> TaskOutcome {
    TaskOutcome::Failed {
        error: Some(error.into()),
        cause: cause.map(Into::into),
        at,
    }
}

fn stop(stop: &Value) -> Stop {
    Stop {
        after_ms: ms(stop, "after_ms"),
        error: text(stop, "error"),
        cause: text(stop, "cause"),
    }
}

fn redrives(list: &Value) -> Vec<u64> {
    let list = list.as_array().expect("redrives are a list");
    list.iter().map(|redrive| ms(redrive, "after_ms")).collect()
}

fn act(entry: &Value) -> Act {
    let at = match entry.get("at").and_then(Value::as_str) {
        None | Some("run") => FailedAt::Run,
        Some("schedule") => FailedAt::Schedule,
        Some("start") => FailedAt::Start,
        Some("submit") => FailedAt::Submit,
        Some("timeout") => FailedAt::Timeout,
        Some(other) => panic!("unknown stage {other}"),
    };
    let outcome = match (entry.get("output"), entry.get("error")) {
        (Some(output), _) => Some(TaskOutcome::Succeeded {
            output: output.clone(),
        }),
        (None, Some(error)) => Some(TaskOutcome::Failed {
            error: error.as_str().map(Into::into),
            cause: text(entry, "cause").map(Into::into),
            at,
        }),
        (None, None) => None,
    };
    let heartbeats = entry.get("heartbeats_ms").and_then(Value::as_array);
    Act {
        outcome,
        after_ms: ms(entry, "after_ms"),
        start_after_ms: ms(entry, "start_after_ms"),
        by: text(entry, "by"),
        submitted: entry.get("submitted").cloned(),
        heartbeats_ms: heartbeats
            .iter()
            .flat_map(|list| list.iter())
            .filter_map(unsigned)
            .collect(),
        lost: ms(entry, "lost"),
        lost_early: entry.get("lost_early") == Some(&Value::Bool(true)),
        on_crash: match entry.get("on_crash").and_then(Value::as_str) {
            Some("fail") => OnCrash::Fail,
            _ => OnCrash::Redispatch,
        },
    }
}

fn ms(entry: &Value, name: &str) -> u64 {
    entry.get(name).and_then(unsigned).unwrap_or(0)
}

fn unsigned(value: &Value) -> Option<u64> {
    value.as_i64().and_then(|number| u64::try_from(number).ok())
}

fn text(entry: &Value, name: &str) -> Option<String> {
    entry.get(name).and_then(Value::as_str).map(str::to_owned)
}
