//! Stored forms that are the engine's own: records of the catalog, the constant part of an execution's row, inbox
//! messages, the key of an open task. Each is JSON under a seal, codec v1: fields are only added, with a default.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use stepwell_interp::{FailedAt, Start, TaskId, TaskOutcome, Timestamp};
use stepwell_query::Value;

use crate::{
    api::MachineKind, error::Error, journal::RESTORE, limits::DATE_MS_MAX, logging::Logging, seal,
};

/// Stored form, codec v1: a state machine. Its definition is a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MachineRecord {
    pub(crate) arn: Arc<str>,
    pub(crate) express: bool,
    /// Lower-case hex SHA-256 of the definition's text.
    pub(crate) definition: String,
    pub(crate) role_arn: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logging: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tracing: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encryption: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<(String, String)>,
    #[serde(deserialize_with = "date_ms")]
    pub(crate) created_ms: u64,
    #[serde(deserialize_with = "date_ms")]
    pub(crate) updated_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revision_id: Option<Arc<str>>,
    /// Being deleted: takes no new executions, its running ones are stopped.
    #[serde(default)]
    pub(crate) deleting: bool,
    /// The highest number that a version ever got; 0 before the first.
    #[serde(default)]
    pub(crate) last_version: u64,
    /// How many versions there are.
    #[serde(default)]
    pub(crate) versions: u32,
    /// The version that the current revision was published as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) published: Option<u64>,
    /// Set when the machine's creation published its first version: a repeated creation has to ask for the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_version: Option<FirstVersion>,
}

/// Stored form, codec v1: the version that a machine's creation asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirstVersion {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Arc<str>>,
}

impl MachineRecord {
    /// What an execution still tells of its machine when that is deleted.
    pub(crate) fn deleted(meta: &Meta, express: bool) -> MachineRecord {
        MachineRecord {
            arn: meta.machine_arn.clone(),
            express,
            definition: meta.definition.clone(),
            role_arn: Arc::from(""),
            logging: None,
            tracing: None,
            encryption: None,
            tags: Vec::new(),
            created_ms: meta.revised_ms,
            updated_ms: meta.revised_ms,
            revision_id: None,
            deleting: true,
            last_version: 0,
            versions: 0,
            published: None,
            first_version: None,
        }
    }

    pub(crate) fn kind(&self) -> MachineKind {
        if self.express {
            MachineKind::Express
        } else {
            MachineKind::Standard
        }
    }
}

/// Stored form, codec v1: a version of a state machine. It never changes; its number is in its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    /// Lower-case hex SHA-256 of the definition's text.
    pub(crate) definition: String,
    pub(crate) role_arn: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logging: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tracing: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encryption: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Arc<str>>,
    /// The revision it is a copy of, and when that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revision_id: Option<Arc<str>>,
    #[serde(deserialize_with = "date_ms")]
    pub(crate) revised_ms: u64,
    #[serde(deserialize_with = "date_ms")]
    pub(crate) created_ms: u64,
    /// The number under which its executions are listed.
    pub(crate) list: u64,
}

/// Stored form, codec v1: an alias of a state machine; its name is the record's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AliasRecord {
    /// Version numbers of the machine with their weights, which add up to 100.
    pub(crate) routes: Vec<(u64, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Arc<str>>,
    /// The number under which its executions are listed.
    pub(crate) list: u64,
    #[serde(deserialize_with = "date_ms")]
    pub(crate) created_ms: u64,
    #[serde(deserialize_with = "date_ms")]
    pub(crate) updated_ms: u64,
}

/// A number for a list of executions: 63 random bits, so that no two lists share one.
pub(crate) fn fresh_list() -> u64 {
    (uuid::Uuid::new_v4().as_u128() >> 65) as u64
}

/// Stored form, codec v1: the number under which the executions of a machine's name are listed. It outlives the
/// machine, so that executions of a deleted one can still be found by their ARN.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ScopeRecord {
    pub(crate) scope: u64,
}

/// Stored form, codec v1: an activity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ActivityRecord {
    pub(crate) arn: Arc<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encryption: Option<Value>,
    #[serde(deserialize_with = "date_ms")]
    pub(crate) created_ms: u64,
}

/// Stored form, codec v1: what never changes in an execution's row, beside its name and start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    #[serde(rename = "t")]
    pub(crate) tenant: Arc<str>,
    #[serde(rename = "m")]
    pub(crate) machine_arn: Arc<str>,
    /// Lower-case hex SHA-256 of the definition it runs.
    #[serde(rename = "d")]
    pub(crate) definition: String,
    /// The last part of an EXPRESS execution's ARN.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub(crate) express_run: Option<Arc<str>>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub(crate) version_arn: Option<Arc<str>>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias_arn: Option<Arc<str>>,
    /// The machine's revision that it runs, and when that was made (0: not known).
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(crate) revision_id: Option<Arc<str>>,
    #[serde(rename = "u", default)]
    #[serde(deserialize_with = "date_ms")]
    pub(crate) revised_ms: u64,
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace_header: Option<Arc<str>>,
    /// Who started it, when that was no call from outside.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Parent>,
    /// ARN of the map run that it is a child of, or that it is.
    #[serde(rename = "M", default, skip_serializing_if = "Option::is_none")]
    pub(crate) map_run: Option<Arc<str>>,
    /// What its state machine logs of it.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub(crate) logging: Option<Logging>,
    /// Whether its state machine traces it.
    #[serde(rename = "T", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) traced: bool,
    /// Of a child of a map run: how many items it has.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    pub(crate) items: u32,
    /// Where it waits for its place, when its state machine had a concurrency limit as it started.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<InLine>,
}

/// Stored form, codec v1: the line that an execution stands in, and its key there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InLine {
    #[serde(rename = "l")]
    pub(crate) line: u64,
    /// Empty where the limit has no key.
    #[serde(rename = "k", default, skip_serializing_if = "str::is_empty")]
    pub(crate) key: Arc<str>,
    /// Events with which a fork begins; 0 for all others, which begin with one.
    #[serde(rename = "b", default, skip_serializing_if = "is_zero")]
    pub(crate) begins: u64,
}

impl InLine {
    /// Whether an execution of which this event is the next has done nothing yet but begin.
    pub(crate) fn is_unbegun(&self, next: u64) -> bool {
        next <= self.begins.max(1) + 1
    }
}

/// Stored form, codec v1: a message in the inbox of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum LineItem {
    /// An execution began, and waits to be admitted.
    Asks {
        execution: u64,
        key: Arc<str>,
        since_ms: u64,
        machine: LineMachine,
    },
    /// An execution goes on that had ended. It does not wait.
    Rejoins {
        execution: u64,
        key: Arc<str>,
        machine: LineMachine,
    },
    /// An execution ended, wherever it was.
    Leaves { execution: u64 },
    /// The limits of its state machine are others by now.
    Changed { machine: LineMachine },
}

/// Stored form, codec v1: whose line it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LineMachine {
    pub(crate) tenant: Arc<str>,
    /// Without a version.
    pub(crate) arn: Arc<str>,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// Stored form, codec v1: on whose behalf an execution was started. Two starts with equal parents are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    /// Whose log it is: an execution's, or a map run's.
    #[serde(rename = "l")]
    pub(crate) log: u64,
    #[serde(rename = "o")]
    pub(crate) of: Child,
}

/// Stored form, codec v1: which child of its parent an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Child {
    /// Of an attempt at a `.sync` task, which is told of the child's start and end.
    #[serde(rename = "j")]
    Job {
        entry: u64,
        attempt: u32,
        /// `.sync:2`: input and output are JSON, not its text.
        parsed: bool,
    },
    /// Of an attempt at a task that does not wait for its end. Nobody is told anything.
    #[serde(rename = "f")]
    Free { entry: u64, attempt: u32 },
    /// Of a map run, which is told of the child's end.
    #[serde(rename = "i")]
    Item { index: u64, redrive: u32 },
    /// No execution but a map run, of a visit of a Map state, which is told of its start and end.
    #[serde(rename = "m")]
    MapRun { entry: u64, attempt: u32 },
}

/// Stored form, codec v1: a message in an execution's inbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum InboxItem {
    /// SendTaskSuccess or SendTaskFailure, decided for good by the deletion of the token's row.
    Answer {
        entry: u64,
        attempt: u32,
        answer: Answer,
    },
    /// To an execution that waits before its first state: it has a place.
    Admitted,
    /// To a line.
    Line(LineItem),
    /// To an outbox.
    Status(StatusItem),
    /// To a closed child of a map run: it goes on, or starts anew.
    Redrive,
    /// To a map run: its execution goes on, and it does with it.
    RedriveMapRun { count: u32 },
    /// StopExecution, of a caller or of the parent.
    Stop {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
    /// To an execution that is not yet: it begins with this.
    Begin(Box<ChildStart>),
    /// To a parent: the child is durable.
    ChildStarted {
        of: Child,
        child: u64,
        arn: Arc<str>,
        started_ms: u64,
    },
    /// To a parent: the child is closed.
    ChildEnded {
        of: Child,
        child: u64,
        end: Box<ChildEnd>,
    },
    /// To a map run that is not yet: it begins with this.
    BeginMapRun(Box<MapRunBegin>),
    /// To a parent: the map run is closed.
    MapRunEnded {
        of: Child,
        ending: RunEnding,
        /// The redrive that it ended after; 0 for none.
        #[serde(default)]
        redrive: u32,
    },
    /// UpdateMapRun: new values; what is none stays.
    ChangeMapRun {
        concurrency: Option<u32>,
        tolerated_count: Option<u64>,
        tolerated_percentage: Option<f64>,
    },
}

/// Stored form, codec v1: a change of an execution's status that somebody must be told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusItem {
    #[serde(rename = "q")]
    pub(crate) queue: Arc<str>,
    #[serde(rename = "t")]
    pub(crate) tenant: Arc<str>,
    #[serde(rename = "x")]
    pub(crate) execution: u64,
    /// Id of the change in the history.
    #[serde(rename = "e")]
    pub(crate) event: u64,
    /// By its stored number.
    #[serde(rename = "s")]
    pub(crate) status: u8,
    #[serde(rename = "a")]
    pub(crate) at_ms: u64,
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub(crate) redrives: u32,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) redriven_ms: Option<u64>,
}

/// Stored form, codec v1: all that a map run is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MapRunBegin {
    pub(crate) meta: Meta,
    pub(crate) name: Arc<str>,
    /// ARN of its execution.
    pub(crate) parent_arn: Arc<str>,
    pub(crate) started_ms: u64,
    /// A segment with its first event, in base64.
    pub(crate) event: String,
}

/// Stored form, codec v1: how a map run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum RunEnding {
    Succeeded {
        result: Value,
    },
    Failed {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
        /// 0: Retry and Catch match it; 1: by its name only; 2: nothing does.
        caught: u8,
    },
    Aborted,
}

/// Stored form, codec v1: all that an execution is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChildStart {
    pub(crate) meta: Meta,
    pub(crate) scope: u64,
    pub(crate) name: Arc<str>,
    pub(crate) unique_name: bool,
    pub(crate) started_ms: u64,
    pub(crate) machine_name: Arc<str>,
    pub(crate) role_arn: Arc<str>,
    pub(crate) express: bool,
    pub(crate) raised_limits: bool,
    /// Of a child of a map run: the Map state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) processor_of: Option<Arc<str>>,
    pub(crate) input: Value,
}

impl ChildStart {
    /// What the interpreter begins with.
    pub(crate) fn start(&self, execution_arn: Arc<str>) -> Start {
        Start {
            execution_arn,
            execution_name: self.name.clone(),
            machine_arn: self.meta.machine_arn.clone(),
            machine_name: self.machine_name.clone(),
            role_arn: self.role_arn.clone(),
            version_arn: self.meta.version_arn.clone(),
            alias_arn: self.meta.alias_arn.clone(),
            express: self.express,
            raised_limits: self.raised_limits,
            processor_of: self.processor_of.clone(),
            forked_from: None,
            input: self.input.clone(),
        }
    }
}

/// Stored form, codec v1: what DescribeExecution would say of a closed child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChildEnd {
    pub(crate) arn: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) machine_arn: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version_arn: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias_arn: Option<Arc<str>>,
    pub(crate) started_ms: u64,
    pub(crate) stopped_ms: u64,
    pub(crate) input: Value,
    pub(crate) ending: ChildEnding,
    /// Redrives of the child so far.
    #[serde(default)]
    pub(crate) redrive_count: u32,
    /// Public events of its log.
    #[serde(default)]
    pub(crate) events: u64,
}

/// Stored form, codec v1: how a child ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ChildEnding {
    Succeeded {
        output: Value,
    },
    Failed {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
    TimedOut,
    Aborted {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
}

/// The two answers to a task token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Success {
        output: Value,
    },
    Failure {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
}

impl Answer {
    /// The outcome as the interpreter takes it.
    pub(crate) fn outcome(self) -> TaskOutcome {
        match self {
            Answer::Success { output } => TaskOutcome::Succeeded { output },
            Answer::Failure { error, cause } => TaskOutcome::Failed {
                error,
                cause,
                at: FailedAt::Run,
            },
        }
    }
}

/// Stored form, codec v1: the task within its execution, in an open task's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskKey {
    pub(crate) entry: u64,
    pub(crate) attempt: u32,
}

impl From<TaskId> for TaskKey {
    fn from(task: TaskId) -> TaskKey {
        TaskKey {
            entry: task.entry,
            attempt: task.attempt,
        }
    }
}

impl From<TaskKey> for TaskId {
    fn from(key: TaskKey) -> TaskId {
        TaskId {
            entry: key.entry,
            attempt: key.attempt,
        }
    }
}

/// Bytes of a stored form.
pub(crate) fn encode<T: Serialize>(value: &T) -> Arc<[u8]> {
    let json = serde_json::to_vec(value).expect("a record holds only what JSON can say");
    seal::seal(&[], &json).into()
}

/// A stored form of bytes; they may be damaged.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    let damaged = |why: &dyn std::fmt::Display| {
        Error::Damaged(format!("a stored record is damaged: {why}; {RESTORE}"))
    };
    let json = seal::open(&[], bytes).map_err(|error| damaged(&error))?;
    serde_json::from_slice(json).map_err(|error| damaged(&error))
}

/// A stored time that clients are told: one that no client can read was not stored.
pub(crate) fn date_ms<'de, D: Deserializer<'de>>(stored: D) -> Result<u64, D::Error> {
    let ms = u64::deserialize(stored)?;
    match ms <= DATE_MS_MAX {
        true => Ok(ms),
        false => Err(D::Error::custom(format_args!("{ms} is no time"))),
    }
}

/// The time of a stored number.
pub(crate) fn time(ms: u64) -> Timestamp {
    Timestamp(ms)
}

#[cfg(test)]
mod tests {
    use super::{ActivityRecord, DATE_MS_MAX, decode, encode};
    use crate::error::Error;

    #[test]
    fn a_record_with_a_date_that_no_client_can_read_is_damaged() {
        let read = |created_ms| {
            decode::<ActivityRecord>(&encode(&ActivityRecord {
                arn: "arn".into(),
                tags: Vec::new(),
                encryption: None,
                created_ms,
            }))
        };
        assert!(read(DATE_MS_MAX).is_ok());
        for none in [DATE_MS_MAX + 1, u64::MAX] {
            assert!(matches!(read(none), Err(Error::Damaged(_))), "{none}");
        }
    }
}
