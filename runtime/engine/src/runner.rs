//! The border to whatever runs plugins. What it hides from the rest of the engine: that plugins are WebAssembly.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use stepwell_interp::{Measures, OnCrash};
use tokio::sync::oneshot;

use crate::{attempt_logs::AttemptLog, task_limits::TaskLimits};

/// Runs task attempts for the engine. One implementation calls the sandbox; tests script theirs.
pub trait TaskRunner: Send + Sync + 'static {
    /// Runs one attempt. Dropping the future cancels it: the guest ends and its instance is freed.
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>>;

    /// What the plugin's manifest says of an attempt that a crash interrupted. Where nothing is said it is dispatched again;
    /// there is no default here, since a runner around another one that forgot to ask it would run twice what may run once.
    fn on_crash(&self, tenant: &str, plugin: &str) -> OnCrash;

    /// Whether a plugin that is no function is there, in that version where one is given; asked before a call that nobody
    /// waits for.
    fn serves(&self, _tenant: &str, _plugin: &str, _version: Option<&str>) -> bool {
        false
    }

    /// A tenant's part, in proportion to the others', of what its tasks run on, from now on: from 1 to 1,000, and 100 of a
    /// tenant that nobody gave another one.
    fn weigh(&self, _tenant: &str, _weight: u32) {}

    /// Whether the operator has set a secret of that name for the account, which then counts before the store's.
    fn has_secret(&self, _tenant: &str, _name: &str) -> bool {
        false
    }

    /// Whether a text can be what an account's plugins may be granted and use.
    ///
    /// # Errors
    /// All that is wrong with it.
    fn check_ceiling(&self, _tenant: &str, _text: &str) -> Result<(), String> {
        Ok(())
    }

    /// What an account's plugins may be granted and use from now on, beside what the operator's file says; `None` leaves it to
    /// that. Told for each account that has one before the first attempt, and at every change.
    fn set_ceiling(&self, _tenant: &str, _text: Option<&str>) {}

    /// The most that an attempt of an account's functions has, whatever they ask for; `None` where nothing bounds it.
    fn function_bounds(&self, _tenant: &str) -> Option<FunctionBounds> {
        None
    }

    /// Looks whether a function can be called, and makes it ready; an error says why not and how to mend it.
    fn check(
        &self,
        _tenant: &str,
        _plugin: &str,
        _function: Arc<FunctionVersion>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
        Box::pin(async { Err("functions are not run here".to_owned()) })
    }

    /// What a function that is looked at waits for, for people.
    fn waits_for(
        &self,
        _tenant: &str,
        _plugin: &str,
        _function: &FunctionVersion,
    ) -> Option<String> {
        None
    }

    /// Nobody has a function's code any more, by its lower-case hex SHA-256: what was made of it goes as well. What runs
    /// goes on.
    fn forget(&self, _wasm_sha256: &str) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// A function as it was uploaded, with what it is called with.
pub struct FunctionVersion {
    /// Names this code with these settings among all that the account ever has under the function's name.
    pub id: Arc<str>,
    /// Its number; none is `$LATEST`.
    pub version: Option<u64>,
    pub memory_bytes: u64,
    /// Wall and CPU time of a call, each.
    pub wall: Duration,
    pub environment: BTreeMap<String, String>,
    pub code: Arc<dyn FunctionCode>,
}

/// Where a function's code is.
pub trait FunctionCode: Send + Sync {
    /// The `.wasm`; an error says why it cannot be had.
    fn wasm(&self) -> BoxFuture<'static, Result<Arc<[u8]>, String>>;

    /// Its SHA-256 in lower-case hex, where that is certain: what was made of it before is found by that.
    fn sha256(&self) -> Option<String> {
        None
    }
}

/// Where an attempt finds the secrets of its account that are kept in the store.
pub trait TaskSecrets: Send + Sync {
    /// Those of these names that there are, with their values. An error says why they cannot be had, and shows none.
    fn open(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'static, Result<BTreeMap<String, String>, String>>;
}

/// The most that an attempt of a function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionBounds {
    pub memory_bytes: u64,
    /// By the clock and of CPU time, each.
    pub time: Duration,
}

/// One attempt, as the plugin sees it.
pub struct PluginCall {
    pub tenant: Arc<str>,
    pub plugin: Arc<str>,
    /// A pinned version or alias; `None` the current one.
    pub version: Option<Arc<str>>,
    /// What was uploaded under that name; `version` counts for nothing then.
    pub function: Option<Arc<FunctionVersion>>,
    /// JSON text, at most the payload limit.
    pub input: String,
    pub execution_arn: Arc<str>,
    pub machine_arn: Arc<str>,
    pub state: Arc<str>,
    /// RetryCount + 1.
    pub attempt: u32,
    /// Lower-case hex SHA-256 of (execution, state entry): the same for all attempts of one visit.
    pub idempotency_key: String,
    pub task_token: Option<Arc<str>>,
    /// Time left of the state's TimeoutSeconds; the engine enforces it, the guest may want to know.
    pub remaining: Option<Duration>,
    pub trace_parent: Option<Arc<str>>,
    /// Whether the end of the attempt's log is wanted: with its end if it succeeds, and else by [`Signals::failed_log`].
    pub log_wanted: bool,
    /// What the state machine's tags leave of the plugin's limits.
    pub limits: Option<Arc<TaskLimits>>,
    /// Secrets that the operator's own file does not have; asked before the guest begins, and only for those that it may use.
    pub secrets: Option<Arc<dyn TaskSecrets>>,
    /// Signals of life, for the engine.
    pub signals: Arc<dyn Signals>,
    /// Of an attempt that is dispatched again: after [`Signals::started`] the guest waits for this before it does anything.
    /// An error means that nobody wants it to begin any more.
    pub permit: Option<oneshot::Receiver<()>>,
    /// Whether the thread that polls the attempt first has nothing else to begin: a guest that is over at once may run there.
    pub alone: bool,
}

/// What a running attempt tells the engine before it ends.
pub trait Signals: Send + Sync {
    /// The guest was instantiated and runs, on this version of the plugin.
    fn started(&self, version: &str);
    /// The guest cannot be instantiated yet, and what it waits for: the last such text is the cause of a timeout that
    /// comes before the guest.
    fn waits(&self, why: &str);
    /// The guest called `heartbeat`, with a note on its progress where it gave one.
    fn heartbeat(&self, note: Option<&str>);
    /// What the attempt used; told once, before its end.
    fn used(&self, used: Measures);
    /// What the guest said; told once, before its end.
    fn logged(&self, log: AttemptLog);
    /// The end of the log of an attempt that does not succeed, where it is wanted; told once, before its end.
    fn failed_log(&self, _log: PluginLog) {}
}

/// The end of an attempt's log, and what the attempt used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginLog {
    /// Its last 4 KiB or more: what the plugin printed and logged, in the order in which it did.
    pub tail: String,
    /// From the guest's start to its end.
    pub wall: Duration,
    /// Most memory held at once.
    pub memory_bytes_max: u64,
}

/// How an attempt ended, decided by the sandbox; [`crate::Engine`] maps it to ASL's error names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginEnd {
    Succeeded {
        /// JSON text.
        output: String,
        /// Where [`PluginCall::log_wanted`] says so.
        log: Option<PluginLog>,
    },
    /// The guest's own error, verbatim.
    Failed {
        error: String,
        cause: String,
    },
    /// A command ended with a code other than 0 and gave no error.
    Exited {
        cause: String,
    },
    InputTooLarge {
        cause: String,
    },
    OutputTooLarge {
        cause: String,
    },
    /// The output is not JSON.
    InvalidOutput {
        cause: String,
    },
    /// Trap: unreachable, stack overflow, memory access out of bounds, …
    Trapped {
        cause: String,
    },
    OutOfMemory {
        cause: String,
    },
    OutOfFuel {
        cause: String,
    },
    /// The plugin's limit of CPU time.
    CpuTime {
        cause: String,
    },
    /// The plugin's limit of wall time.
    WallTime {
        cause: String,
    },
    /// [`PluginCall::remaining`] is over: the state's timeout, whichever of guest and timer saw it first.
    Deadline,
    /// The same before the guest could be instantiated, and what it waited for.
    NotReady {
        cause: String,
    },
    GrantRefused {
        cause: String,
    },
    TooManyRunning {
        cause: String,
    },
    /// There is no plugin of that name or version.
    Missing {
        cause: String,
    },
    /// The file is there and cannot be used.
    Broken {
        cause: String,
    },
    Cancelled,
    /// The runtime's own failure, not the plugin's.
    Internal {
        cause: String,
    },
}

/// Ends no task: for unit tests whose executions run none, or only begin one.
#[cfg(test)]
pub(crate) struct Hangs;

#[cfg(test)]
impl TaskRunner for Hangs {
    fn run(&self, _: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        Box::pin(std::future::pending())
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}
