//! The plain data of the engine's public calls. What it hides: nothing; it is the vocabulary of [`crate::Engine`].
//! AWS's wire shapes are not here: the server makes them from these.

use std::sync::Arc;

use stepwell_interp::{
    Event, ForkedFrom, Limit, Measures, NotRedrivable, Progress, Timestamp, Usage,
};
use stepwell_query::Value;

pub use crate::journal::Status;

/// On whose behalf a call is made: the account, and the region that new ARNs carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// 12-digit account id.
    pub tenant: Arc<str>,
    pub region: Arc<str>,
}

/// STANDARD or EXPRESS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MachineKind {
    Standard,
    Express,
}

/// What CreateStateMachine stores.
#[derive(Clone, Debug)]
pub struct CreateMachine {
    pub name: String,
    pub definition: String,
    pub role_arn: String,
    pub kind: MachineKind,
    pub settings: MachineSettings,
    pub tags: Vec<(String, String)>,
    /// Publishes the first version too.
    pub publish: Option<Publish>,
}

/// What a version is published with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    pub description: Option<String>,
}

/// A state machine after a change, with the version that the change published or found published.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    pub machine: Machine,
    pub version_arn: Option<Arc<str>>,
}

/// Configuration blocks that are stored and given back as they came, each `None` when never set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineSettings {
    pub logging: Option<Value>,
    pub tracing: Option<Value>,
    pub encryption: Option<Value>,
}

/// A state machine in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSummary {
    pub arn: Arc<str>,
    pub name: Arc<str>,
    pub kind: MachineKind,
    pub created_at: Timestamp,
    /// It takes no more executions and changes, and is going to be gone.
    pub deleting: bool,
}

/// What UpdateStateMachine changes; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct UpdateMachine {
    pub definition: Option<String>,
    pub role_arn: Option<String>,
    pub settings: MachineSettings,
    /// Publishes a version of what the update leaves.
    pub publish: Option<Publish>,
}

/// A version of a state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub arn: Arc<str>,
    pub description: Option<Arc<str>>,
    pub created_at: Timestamp,
}

/// A part of an alias's routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub version_arn: Arc<str>,
    /// Of 100 starts, so many are this version's.
    pub weight: u32,
}

/// What CreateStateMachineAlias stores.
#[derive(Clone, Debug)]
pub struct CreateAlias {
    pub name: String,
    pub description: Option<String>,
    /// One or two versions of one machine.
    pub routes: Vec<Route>,
}

/// An alias of a state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub arn: Arc<str>,
    pub name: Arc<str>,
    pub description: Option<Arc<str>>,
    pub routes: Vec<Route>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A state machine, or a version of one, as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub arn: Arc<str>,
    pub name: Arc<str>,
    pub kind: MachineKind,
    pub definition: Arc<str>,
    pub role_arn: Arc<str>,
    pub settings: MachineSettings,
    pub tags: Vec<(String, String)>,
    /// A version's.
    pub description: Option<Arc<str>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// `None` until the first update, as on AWS.
    pub revision_id: Option<Arc<str>>,
    /// Takes no new executions; its running ones are being stopped.
    pub deleting: bool,
    /// Of the state machine of a map run's children: the Map state's label, and the map run.
    pub label: Option<Arc<str>>,
    pub map_run_arn: Option<Arc<str>>,
}

/// What StartExecution and StartSyncExecution take.
#[derive(Clone, Debug)]
pub struct StartRequest {
    pub machine_arn: String,
    /// A UUID when absent.
    pub name: Option<String>,
    /// JSON text; `{}` when absent.
    pub input: Option<String>,
    pub trace_header: Option<String>,
}

/// A started execution.
#[derive(Clone, Debug, PartialEq)]
pub struct StartedExecution {
    pub execution_arn: Arc<str>,
    pub started_at: Timestamp,
}

/// What ForkExecution takes.
#[derive(Clone, Debug, Default)]
pub struct ForkRequest {
    /// The execution to go on from: a STANDARD one that is no child of a map run. It may run or have ended.
    pub execution_arn: String,
    /// Id of the last one of its events that the fork begins with; when absent, the last after which it was about to
    /// enter a state.
    pub event_id: Option<u64>,
    /// The fork's; a UUID when absent.
    pub name: Option<String>,
    /// JSON text in place of the input of the state that is entered next.
    pub input: Option<String>,
    /// JSON text of an object: variables of the outermost scope with new values.
    pub variables: Option<String>,
    /// A definition to run in place of the other execution's.
    pub definition: Option<String>,
    /// Its state machine, or a version or an alias of that, whose definition it runs in place of the other execution's.
    pub machine_arn: Option<String>,
    pub trace_header: Option<String>,
}

/// A fork that has begun.
#[derive(Clone, Debug, PartialEq)]
pub struct ForkedExecution {
    pub execution_arn: Arc<str>,
    pub started_at: Timestamp,
    /// The last event of the other execution that it begins with.
    pub event_id: u64,
    /// Variables that the request gives values to and the other execution did not have there.
    pub new_variables: Vec<Arc<str>>,
}

/// An execution as DescribeExecution shows it. Fields that do not apply are absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    pub arn: Arc<str>,
    pub name: Arc<str>,
    pub machine_arn: Arc<str>,
    pub version_arn: Option<Arc<str>>,
    pub alias_arn: Option<Arc<str>>,
    pub status: Status,
    pub started_at: Timestamp,
    pub stopped_at: Option<Timestamp>,
    pub input: Value,
    pub output: Option<Value>,
    pub error: Option<Arc<str>>,
    pub cause: Option<Arc<str>>,
    pub trace_header: Option<Arc<str>>,
    /// Of a child of a map run.
    pub map_run_arn: Option<Arc<str>>,
    /// Of a fork: where it comes from.
    pub forked_from: Option<Arc<ForkedFrom>>,
    pub redrive_count: u32,
    pub redriven_at: Option<Timestamp>,
    pub redrivable: Redrivable,
    /// A child of a map run that waits until there is room to redrive it.
    pub pending_redrive: bool,
    /// It waits for a place before its first state.
    pub waiting: Option<Waiting>,
}

/// An execution that has begun and waits for a place, since its state machine has a concurrency limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub since: Timestamp,
    /// What its state machine's expression made of its input, where there is one.
    pub key: Option<Arc<str>>,
    /// 1 is the next; `None` when the node that was asked cannot tell.
    pub position: Option<u64>,
    /// How many wait.
    pub of: Option<u64>,
}

/// How many executions of a state machine with a concurrency limit wait for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineCount {
    pub tenant: Arc<str>,
    pub machine_arn: Arc<str>,
    pub waiting: u64,
    /// How many have a place.
    pub running: u64,
    /// Since when the first one waits.
    pub oldest: Option<Timestamp>,
}

/// Whether an execution can be redriven now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redrivable {
    Yes,
    /// A child of a map run goes on with it, when its parent is redriven.
    ByMapRun,
    No(NotRedrivable),
}

/// An execution in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionSummary {
    pub arn: Arc<str>,
    pub name: Arc<str>,
    pub machine_arn: Arc<str>,
    pub version_arn: Option<Arc<str>>,
    pub alias_arn: Option<Arc<str>>,
    pub status: Status,
    pub started_at: Timestamp,
    pub stopped_at: Option<Timestamp>,
    /// Of a child of a map run, with the number of its items.
    pub map_run_arn: Option<Arc<str>>,
    pub items: u32,
    pub redrive_count: u32,
    pub redriven_at: Option<Timestamp>,
    /// A child of a map run that waits until there is room to redrive it.
    pub pending_redrive: bool,
    /// It waits for a place before its first state.
    pub waiting: Option<Waiting>,
}

/// A map run.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRunDescription {
    pub arn: Arc<str>,
    /// The execution of its Map state.
    pub execution_arn: Arc<str>,
    pub status: Status,
    pub started_at: Timestamp,
    pub stopped_at: Option<Timestamp>,
    /// 0 sets no limit.
    pub concurrency: u32,
    pub tolerated_count: u64,
    /// 0 to 100.
    pub tolerated_percentage: f64,
    pub items: Progress,
    pub executions: Progress,
    /// How many items there are in all, or seem to be while they are read; none while that cannot be told.
    pub expected_items: Option<u64>,
    pub redrive_count: u32,
    pub redriven_at: Option<Timestamp>,
}

/// A map run in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRunSummary {
    pub arn: Arc<str>,
    pub execution_arn: Arc<str>,
    pub machine_arn: Arc<str>,
    pub started_at: Timestamp,
    pub stopped_at: Option<Timestamp>,
}

/// The result of a synchronous EXPRESS execution. `execution` is complete; nothing of it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncResult {
    pub execution: Execution,
    /// Wall time rounded up to 100 ms, as AWS bills it.
    pub billed_duration_ms: u64,
    /// The most memory that an attempt of its tasks held, in steps of 64 MB; one at least.
    pub billed_memory_mb: u64,
}

/// A public event of an execution with its id.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    pub id: u64,
    pub event: Event,
    /// Of the outcome of a plugin's attempt: what that used. AWS's history does not have it.
    pub used: Option<Arc<Measures>>,
}

/// How near an execution is to its limits, as its stored history tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionLimits {
    /// Whether it runs under the raised limits.
    pub raised: bool,
    /// The most that was used of each limit that was used at all.
    pub usage: Vec<Usage>,
    /// The events that came near a limit, by id, at most `NEAR_EVENTS_MAX`; of the limits of the whole execution the one
    /// that came near first.
    pub near: Vec<(u64, Usage)>,
}

/// A page of items and the opaque token of the next page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_token: Option<String>,
}

/// How much of a list to give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// 1..=1000; 0 means 100.
    pub max_results: u32,
    pub next_token: Option<String>,
}

/// An activity as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    pub arn: Arc<str>,
    pub name: Arc<str>,
    pub tags: Vec<(String, String)>,
    pub encryption: Option<Value>,
    pub created_at: Timestamp,
}

/// What a worker got from GetActivityTask.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivityTask {
    pub token: Arc<str>,
    pub input: Value,
}

/// Upper bounds of the steps by which commits are counted, milliseconds.
pub const COMMIT_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000];

/// Counters since the engine was opened; what `/metrics` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    pub executions_started: u64,
    pub executions_succeeded: u64,
    pub executions_failed: u64,
    pub executions_timed_out: u64,
    pub executions_aborted: u64,
    pub executions_redriven: u64,
    pub executions_loaded: u64,
    /// Executions of which something stored was found damaged since the engine was opened.
    pub executions_damaged: u64,
    /// Records (state machines, activities, functions, triggers, …) of which what is stored is damaged, as far as met.
    pub records_damaged: u64,
    pub tasks_dispatched: u64,
    pub tasks_running: u64,
    pub commits: u64,
    pub appends: u64,
    pub append_bytes: u64,
    /// Commits by how long their appends waited for them, in the steps of [`COMMIT_BOUNDS_MS`]; the last ones longer.
    pub commit_times: [u64; COMMIT_BOUNDS_MS.len() + 1],
    /// The sum of those times.
    pub commit_ms: u64,
    /// Executions that came near a limit, in the order of [`Limit::ALL`].
    pub limits_neared: [u64; Limit::ALL.len()],
    pub queue_depth: u64,
}
