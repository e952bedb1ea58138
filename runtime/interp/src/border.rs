//! What crosses the border of the interpreter: inputs, effects and the plain data they carry.

use std::sync::Arc;

use stepwell_asl::Resource;
use stepwell_query::Value;

use crate::{
    Timestamp,
    event::Event,
    fork::{Fork, ForkedFrom},
    map_run::{MapRunEffect, MapRunEnding, MapRunInput, MapRunStart},
    measure::Measures,
};

/// What the caller brings to every step: the time and fresh randomness. Equal arguments, equal results.
#[derive(Clone, Copy, Debug)]
pub struct Env {
    /// Now. A step takes the later one of this and the time of the run's last event, so time never goes back.
    pub at: Timestamp,
    /// 32 fresh bytes from the operating system, expanded with ChaCha: tokens, UUIDs, jitter, `$random`.
    pub seed: [u8; 32],
}

/// What happens to an execution. An input for a task or timer that is not open changes nothing and records nothing.
#[derive(Clone, Debug)]
pub enum Input {
    /// The first input; a fresh [`crate::Run`] takes this one or the next one and no other.
    Started(Box<Start>),
    /// The first input of a fork.
    Forked(Arc<Fork>),
    /// The caller's answer to [`Effect::Again`].
    Continue,
    /// A task attempt really began: a guest was instantiated or a worker took the activity task.
    TaskStarted {
        task: TaskId,
        /// The worker's name, or the plugin version that serves the attempt.
        by: Option<Arc<str>>,
        /// When it began; never later than `Env::at`.
        at: Timestamp,
    },
    /// The request of a `.sync` or `.waitForTaskToken` task was accepted; its outcome comes later.
    TaskSubmitted { task: TaskId, output: Value },
    /// The child execution that a `.sync` task asked for is durable; `output` is the answer to the request. Its end
    /// comes later.
    ChildStarted {
        task: TaskId,
        child: ChildId,
        output: Value,
    },
    /// The child execution of a `.sync` task ended: that is the task's outcome.
    ChildEnded { task: TaskId, outcome: TaskOutcome },
    /// A task attempt ended.
    TaskEnded { task: TaskId, outcome: TaskOutcome },
    /// What an attempt used, told before it ends; once of each time that it was dispatched.
    TaskUsed {
        task: TaskId,
        /// The plugin that served it.
        plugin: Arc<str>,
        measures: Arc<Measures>,
    },
    /// The process that ran an attempt is gone. Redispatches the attempt, counted by an internal event; the
    /// `REDISPATCH_MAX + 1`th time it fails instead, as it does at once with [`OnCrash::Fail`]. A redispatch whose guest
    /// never began is not counted: it only waited for a compiler or a place. Whether the first dispatch came to that is
    /// not known; it counts.
    TaskLost { task: TaskId, on_crash: OnCrash },
    /// The map run that a Map state waits for has ended, for the first time or after that redrive.
    MapRunEnded {
        run: TaskId,
        redrive: u32,
        ending: MapRunEnding,
    },
    /// Something that happened to a map run; an execution knows none of it.
    MapRun(Box<MapRunInput>),
    /// The time of [`crate::Run::next_timer`] has come.
    TimerDue { timer: TimerId },
    /// A worker or guest is alive: moves the heartbeat deadline. Not history: it counts anew after a crash.
    Heartbeat { task: TaskId },
    /// A task attempt waits for something of its host before it can begin, and for what: the cause of a timeout that
    /// comes first. Not history: the last one counts, and none after a crash.
    TaskWaits { task: TaskId, why: Arc<str> },
    /// StopExecution was called.
    StopAsked {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
    /// RedriveExecution was called, or the map run redrives its child: the one input that a closed execution takes.
    /// [`crate::Run::may_redrive`] says what it comes to.
    RedriveAsked {
        token: Option<Arc<str>>,
        by: RedrivenBy,
    },
}

/// Who redrives an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedrivenBy {
    /// A caller of the API.
    Caller,
    /// Its map run, which has looked whether that is allowed.
    MapRun,
}

/// What a step wants done, in order. Nothing but `Record` may be acted upon before the recorded events are durable.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Append this event; the run has already evolved by it.
    Record(Event),
    /// Dispatch a task attempt (a plugin, a service; never an activity).
    RunTask(TaskRequest),
    /// Let the guest of an attempt that was dispatched again begin: that it does is noted, so that a guest that takes its
    /// process with it at once does so a few times only.
    Begin { task: TaskId },
    /// A task waits for an answer from outside: keep a row by the token's hash.
    OpenToken {
        task: TaskId,
        token: TaskToken,
        activity: Option<Arc<str>>,
    },
    /// The attempt is over without its outcome: end the guest, forget the token, stop the child execution.
    CancelTask {
        task: TaskId,
        token: Option<TaskToken>,
        child: Option<ChildId>,
        why: Cancelled,
    },
    /// Start a map run. It is a message of the same append.
    StartMapRun(Box<MapRunStart>),
    /// Redrive a map run, for that time. It is a message of the same append.
    RedriveMapRun { map_run: ChildId, redrive: u32 },
    /// What a map run wants done; no execution does.
    MapRun(Box<MapRunEffect>),
    /// The step stopped at its bound: call again with [`Input::Continue`].
    Again,
    /// The execution is closed; [`crate::Run::ending`] says how.
    Finish,
}

impl Effect {
    /// The attempt that it asks for, if it asks for one.
    pub fn into_attempt(self) -> Option<TaskRequest> {
        match self {
            Effect::RunTask(request) => Some(request),
            Effect::Record(_)
            | Effect::Begin { .. }
            | Effect::OpenToken { .. }
            | Effect::CancelTask { .. }
            | Effect::StartMapRun(_)
            | Effect::RedriveMapRun { .. }
            | Effect::MapRun(_)
            | Effect::Again
            | Effect::Finish => None,
        }
    }

    /// Keeps the events of a step and says whether it has to go on, for whoever does nothing else of what it wants done.
    pub fn keep_events(effects: Vec<Effect>, events: &mut Vec<Event>) -> bool {
        let mut again = false;
        for effect in effects {
            match effect {
                Effect::Record(event) => events.push(event),
                Effect::Again => again = true,
                Effect::RunTask(_)
                | Effect::Begin { .. }
                | Effect::OpenToken { .. }
                | Effect::CancelTask { .. }
                | Effect::StartMapRun(_)
                | Effect::RedriveMapRun { .. }
                | Effect::MapRun(_)
                | Effect::Finish => {}
            }
        }
        again
    }
}

/// Everything that is fixed when an execution starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    pub execution_arn: Arc<str>,
    pub execution_name: Arc<str>,
    pub machine_arn: Arc<str>,
    pub machine_name: Arc<str>,
    pub role_arn: Arc<str>,
    pub version_arn: Option<Arc<str>>,
    pub alias_arn: Option<Arc<str>>,
    pub express: bool,
    /// Beyond AWS's walls: the `raised` values of every limit.
    pub raised_limits: bool,
    /// Of a child of a map run: name of the Map state whose processor it runs in place of the whole state machine.
    pub processor_of: Option<Arc<str>>,
    /// Of a fork: the execution that it goes on from.
    pub forked_from: Option<Arc<ForkedFrom>>,
    pub input: Value,
}

/// One attempt at the task of one visit of a state; the engine adds the execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Position in the log (counted from 1, internal events included) of the event that entered the state.
    pub entry: u64,
    /// Counts the attempts of this visit from 1, over all retriers and redrives.
    pub attempt: u32,
}

/// A child execution, by the number under which the engine keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub u64);

/// A task attempt to dispatch: everything the engine needs to serve it, again after a crash.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRequest {
    pub task: TaskId,
    /// Name of the state.
    pub state: Arc<str>,
    /// Public id of the event that entered the state.
    pub entered_id: u64,
    pub resource: Arc<Resource>,
    /// Input of the task: the effective parameters.
    pub parameters: Value,
    /// ASL's RetryCount: 0 at the first attempt.
    pub retry_count: u32,
    /// Set for `.waitForTaskToken`, and for `.sync` tasks, which whoever has the token may answer too.
    pub token: Option<TaskToken>,
    /// `Credentials.RoleArn`, when given.
    pub role_arn: Option<Arc<str>>,
    /// End of TimeoutSeconds, when given. The interpreter's own timer ends the attempt; this tells the guest.
    pub deadline: Option<Timestamp>,
    /// It is dispatched again: its guest waits for [`Effect::Begin`].
    pub again: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskOutcome {
    Succeeded {
        output: Value,
    },
    /// SendTaskFailure may leave out both texts.
    Failed {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
        at: FailedAt,
    },
}

/// The stage at which an attempt failed; it names the history event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedAt {
    /// It could not be handed to what serves it (`*ScheduleFailed`, where the task's events have it, else `*Failed`).
    Schedule,
    /// It could not be started (`*StartFailed`).
    Start,
    /// The request of a `.sync` or callback task was refused (`TaskSubmitFailed`).
    Submit,
    /// It ran and failed (`*Failed`).
    Run,
    /// It ran over a limit of time that is not in the ASL (`*TimedOut`).
    Timeout,
}

/// What a crash means for a running attempt; a plugin's manifest says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCrash {
    /// Run it again under the same attempt: at least once.
    Redispatch,
    /// Fail it with a named error that Retry and Catch see: at most once.
    Fail,
}

/// Why an attempt is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// Its TimeoutSeconds or HeartbeatSeconds ran out. Its token's row must still exist: an answer may have won.
    TimedOut,
    /// The execution ended, or a sibling branch failed.
    Abandoned,
}

/// A task token: base64url text, opaque to clients, at least 256 bits of randomness.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskToken(pub Arc<str>);

/// A deadline of a run. There is at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerId {
    /// TimeoutSeconds of the state machine.
    Execution,
    /// A Wait state, by the position of its entry.
    Wait { entry: u64 },
    /// The backoff before an attempt.
    Retry { task: TaskId },
    /// TimeoutSeconds of a task.
    Timeout { task: TaskId },
    /// HeartbeatSeconds of a task.
    Heartbeat { task: TaskId },
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    Succeeded {
        output: Value,
    },
    Failed {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
    TimedOut {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
    Aborted {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
}
