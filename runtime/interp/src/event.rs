//! The one table of history events: what each stores. Hides nothing; the fold (`run`), the codec and the history view
//! are its projections, each an exhaustive match. A variant once released is never changed, only added.
//!
//! Public events are AWS's history; internal ones carry decisions that AWS's history does not show, take no public id
//! and do not count to the history's limit. Events carry outcomes, so that nothing is evaluated when they are folded.

use std::sync::Arc;

use stepwell_asl::{Kind, Resource};
use stepwell_query::Value;

use crate::{
    Timestamp,
    border::{ChildId, Start, TaskId, TaskToken},
    map_run::MapRunEvent,
    measure::Measures,
};

/// One entry of an execution's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened; never earlier than the event before it.
    pub at: Timestamp,
    /// `previousEventId`: the public id of the event before it in its chain, 0 for none. 0 for internal events.
    pub previous: u64,
    /// Where it happened.
    pub place: Place,
    pub what: What,
}

/// A running flow of states: the numbers of branches and iterations that lead to it from the execution's own flow,
/// which is the empty path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub Arc<[u32]>);

impl Place {
    /// The place of the branch or iteration of that number below this one.
    pub fn child(&self, index: u32) -> Place {
        Place(self.0.iter().copied().chain([index]).collect())
    }
}

/// What happened, with all that the fold needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    // The execution.
    /// `first` is the state to enter first; the deadline is that of `TimeoutSeconds` or of EXPRESS.
    ExecutionStarted {
        start: Box<Start>,
        first: Arc<str>,
        timeout_at: Option<Timestamp>,
    },
    ExecutionSucceeded {
        output: Value,
    },
    ExecutionFailed {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
    ExecutionTimedOut {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
    ExecutionAborted {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },

    /// It goes on with the states that did not succeed; `count` from 1, the deadline is the new one. `token` is the
    /// caller's: the same call again is not another redrive.
    ExecutionRedriven {
        count: u32,
        timeout_at: Option<Timestamp>,
        token: Option<Arc<str>>,
    },

    // States of every type.
    /// `input` is the raw input, before InputPath.
    StateEntered {
        kind: StateKind,
        name: Arc<str>,
        input: Value,
    },
    /// `assigned` are the variables with their new values, `next` the state to enter; none ends the flow.
    StateExited {
        kind: StateKind,
        name: Arc<str>,
        output: Value,
        assigned: Assigned,
        next: Option<Arc<str>>,
    },
    /// A Task, Wait, Parallel or Map state ended because the flow around it did.
    StateAborted {
        kind: StateKind,
        name: Arc<str>,
    },
    /// A JSONata expression failed, and with it the state's work; `terminal` when Retry and Catch are past.
    EvaluationFailed {
        state: Arc<str>,
        error: Arc<str>,
        cause: Arc<str>,
        location: Arc<str>,
        terminal: bool,
    },

    // Attempts at a task. The resource decides whether they are LambdaFunction, Activity or Task events.
    Scheduled(Box<Scheduled>),
    /// `by` is the worker's name or the version of the plugin.
    Started {
        resource: Arc<Resource>,
        by: Option<Arc<str>>,
    },
    Submitted {
        resource: Arc<Resource>,
        output: Value,
    },
    Succeeded {
        resource: Arc<Resource>,
        output: Value,
    },
    Failed {
        resource: Arc<Resource>,
        stage: Stage,
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
    TimedOut {
        resource: Arc<Resource>,
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
        heartbeat: bool,
    },

    // Parallel and Map.
    /// `firsts` are the states that the branches start at; every branch gets the same input.
    ParallelStarted {
        firsts: Arc<[Arc<str>]>,
        input: Value,
    },
    /// `items` is an array or an object; `concurrency` is none when it could not be told, which fails the state next.
    MapStarted {
        items: Value,
        first: Arc<str>,
        concurrency: Option<u32>,
    },
    /// Every branch or iteration succeeded; the result is made of their outputs.
    FlowsSucceeded {
        kind: StateKind,
    },
    /// A Parallel or Map state failed; no retrier takes it.
    FlowsFailed {
        kind: StateKind,
    },
    /// `input` is none when it is the item itself. The place is the Map's, here and in the next three.
    IterationStarted {
        name: Arc<str>,
        index: u32,
        input: Option<Value>,
    },
    IterationSucceeded {
        name: Arc<str>,
        index: u32,
    },
    IterationFailed {
        name: Arc<str>,
        index: u32,
        failure: Failure,
    },
    IterationAborted {
        name: Arc<str>,
        index: u32,
    },

    // Internal.
    /// A Wait state knows until when.
    WaitPlanned {
        until: Timestamp,
    },
    /// The retrier of that number makes another attempt at that time.
    RetryPlanned {
        retrier: u32,
        fire_at: Timestamp,
    },
    /// The attempt's process was lost and it is dispatched once more; `count` from 1, the same again when its guest had
    /// not begun since.
    Redispatched {
        count: u32,
    },
    /// The guest of an attempt that was dispatched again is about to begin.
    Begins,
    /// What an attempt used that a plugin ended, told before its outcome; once more of one that was dispatched again.
    Used {
        task: TaskId,
        /// The plugin's name.
        plugin: Arc<str>,
        measures: Arc<Measures>,
    },
    /// The state's work failed without a public event that says so.
    StateFailed {
        failure: Failure,
    },
    /// A branch failed; the place is the Parallel's, here and in the next one.
    BranchFailed {
        index: u32,
        failure: Failure,
    },
    BranchAborted {
        index: u32,
    },
    /// The child execution that the task waits for; recorded with the submission. Or the map run of a Map state.
    ChildStarted {
        child: ChildId,
    },

    /// What was before was recorded again from another execution, and this one goes on from there. `input` takes the
    /// place of that of the state that is entered next; `assigned` are variables with new values.
    Forked {
        input: Option<Value>,
        assigned: Assigned,
    },

    // Distributed Map.
    /// The Map state starts; `items` are those from the state's data, none when a reader reads them.
    DistributedMapStarted {
        items: Option<Value>,
    },
    MapRunStarted {
        arn: Arc<str>,
    },
    /// The map run of the state goes on with the children that did not succeed; `count` from 1.
    MapRunRedriven {
        arn: Arc<str>,
        count: u32,
    },
    /// `result` is the Map state's result.
    MapRunSucceeded {
        result: Value,
    },
    MapRunFailed {
        failure: Failure,
    },
    MapRunAborted,
    /// Internal: of a map run's own log, and of no execution's.
    MapRun(Box<MapRunEvent>),
}

/// Variables and their new values, in document order; empty when nothing is assigned.
pub type Assigned = Arc<[(Arc<str>, Value)]>;

/// An attempt at a task as it was scheduled.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    pub resource: Arc<Resource>,
    /// The effective parameters: the task's input.
    pub parameters: Value,
    /// Region of the execution.
    pub region: Arc<str>,
    pub timeout_s: Option<u32>,
    pub heartbeat_s: Option<u32>,
    /// `Credentials.RoleArn`.
    pub role_arn: Option<Arc<str>>,
    /// Drawn for activities, `.waitForTaskToken` and `.sync`. Never shown in the history.
    pub token: Option<TaskToken>,
}

/// The stage at which an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Schedule,
    Start,
    Submit,
    Run,
}

/// A state's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    Pass,
    Task,
    Choice,
    Wait,
    Succeed,
    Fail,
    Parallel,
    Map,
}

impl From<&Kind> for StateKind {
    fn from(kind: &Kind) -> StateKind {
        match kind {
            Kind::Pass(_) => StateKind::Pass,
            Kind::Task(_) => StateKind::Task,
            Kind::Choice(_) => StateKind::Choice,
            Kind::Wait(_) => StateKind::Wait,
            Kind::Succeed(_) => StateKind::Succeed,
            Kind::Fail(_) => StateKind::Fail,
            Kind::Parallel(_) => StateKind::Parallel,
            Kind::Map(_) => StateKind::Map,
        }
    }
}

/// How a state's work failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub error: Option<Arc<str>>,
    pub cause: Option<Arc<str>>,
    pub class: FailureClass,
}

/// What Retry and Catch may do with a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// They match it by name.
    Named,
    /// A missed heartbeat: `States.HeartbeatTimeout` matches it beside its own name, `States.Timeout`.
    Heartbeat,
    /// Its name matches it, `States.ALL` does not (`States.DataLimitExceeded` of a state's own output).
    NamedOnly,
    /// Nothing matches it (`States.Runtime`).
    Terminal,
}

/// Where an event's previous id comes from, and whether its own id is the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// Internal: it has no part in them.
    None,
    /// It has none before it.
    First,
    /// The last event of its flow; the next one hangs on it.
    Next,
    /// As `Next`, but a failure before the state's work hangs on what came before the state.
    Evaluation,
    /// The last event of its flow; the next one hangs on that one, too.
    Aside,
    /// The last event of the branch or iteration of that number, on which, if it `goes_on`, the next one hangs too.
    OfFlow { index: u32, goes_on: bool },
}

impl What {
    /// Whether AWS's history shows it; only then it takes a public id.
    pub fn is_public(&self) -> bool {
        match self {
            What::WaitPlanned { .. }
            | What::RetryPlanned { .. }
            | What::Redispatched { .. }
            | What::Begins
            | What::Used { .. }
            | What::StateFailed { .. }
            | What::BranchFailed { .. }
            | What::BranchAborted { .. }
            | What::ChildStarted { .. }
            | What::Forked { .. }
            | What::MapRun(_) => false,
            What::ExecutionStarted { .. }
            | What::ExecutionSucceeded { .. }
            | What::ExecutionFailed { .. }
            | What::ExecutionTimedOut { .. }
            | What::ExecutionAborted { .. }
            | What::ExecutionRedriven { .. }
            | What::StateEntered { .. }
            | What::StateExited { .. }
            | What::StateAborted { .. }
            | What::EvaluationFailed { .. }
            | What::Scheduled(_)
            | What::Started { .. }
            | What::Submitted { .. }
            | What::Succeeded { .. }
            | What::Failed { .. }
            | What::TimedOut { .. }
            | What::ParallelStarted { .. }
            | What::MapStarted { .. }
            | What::FlowsSucceeded { .. }
            | What::FlowsFailed { .. }
            | What::IterationStarted { .. }
            | What::IterationSucceeded { .. }
            | What::IterationFailed { .. }
            | What::IterationAborted { .. }
            | What::DistributedMapStarted { .. }
            | What::MapRunStarted { .. }
            | What::MapRunRedriven { .. }
            | What::MapRunSucceeded { .. }
            | What::MapRunFailed { .. }
            | What::MapRunAborted => true,
        }
    }

    /// How it hangs in the chains of previous ids.
    pub(crate) fn chain(&self) -> Chain {
        match self {
            What::ExecutionStarted { .. }
            | What::ExecutionTimedOut { .. }
            | What::ExecutionAborted { .. } => Chain::First,
            What::ExecutionSucceeded { .. }
            | What::ExecutionFailed { .. }
            | What::ExecutionRedriven { .. }
            | What::StateEntered { .. }
            | What::StateExited { .. }
            | What::Scheduled(_)
            | What::Started { .. }
            | What::Submitted { .. }
            | What::Succeeded { .. }
            | What::Failed { .. }
            | What::TimedOut { .. }
            | What::ParallelStarted { .. }
            | What::MapStarted { .. }
            | What::DistributedMapStarted { .. }
            | What::MapRunStarted { .. }
            | What::MapRunRedriven { .. }
            | What::MapRunSucceeded { .. }
            | What::MapRunFailed { .. }
            | What::FlowsFailed { .. } => Chain::Next,
            What::EvaluationFailed { .. } => Chain::Evaluation,
            What::StateAborted { .. }
            | What::MapRunAborted
            | What::FlowsSucceeded { .. }
            | What::IterationStarted { .. } => Chain::Aside,
            What::IterationSucceeded { index, .. } | What::IterationAborted { index, .. } => {
                Chain::OfFlow {
                    index: *index,
                    goes_on: false,
                }
            }
            What::IterationFailed { index, .. } | What::BranchFailed { index, .. } => {
                Chain::OfFlow {
                    index: *index,
                    goes_on: true,
                }
            }
            What::WaitPlanned { .. }
            | What::RetryPlanned { .. }
            | What::Redispatched { .. }
            | What::Begins
            | What::Used { .. }
            | What::StateFailed { .. }
            | What::BranchAborted { .. }
            | What::ChildStarted { .. }
            | What::Forked { .. }
            | What::MapRun(_) => Chain::None,
        }
    }

    /// Whether it closes the execution.
    pub fn is_ending(&self) -> bool {
        matches!(
            self,
            What::ExecutionSucceeded { .. }
                | What::ExecutionFailed { .. }
                | What::ExecutionTimedOut { .. }
                | What::ExecutionAborted { .. }
        )
    }
}
