//! The border to whatever runs plugins. What it hides from the rest of the engine: that plugins are WebAssembly.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use stepwell_interp::OnCrash;

/// Runs task attempts for the engine. One implementation calls the sandbox; tests script theirs.
pub trait TaskRunner: Send + Sync + 'static {
    /// Runs one attempt. Dropping the future cancels it: the guest ends and its instance is freed.
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>>;

    /// What the plugin's manifest says of an attempt that a crash interrupted.
    fn on_crash(&self, tenant: &str, plugin: &str) -> OnCrash;
}

/// One attempt, as the plugin sees it.
pub struct PluginCall {
    pub tenant: Arc<str>,
    pub plugin: Arc<str>,
    /// A pinned version or alias; `None` the current one.
    pub version: Option<Arc<str>>,
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
    /// Signals of life, for the engine.
    pub signals: Arc<dyn Signals>,
}

/// What a running attempt tells the engine before it ends.
pub trait Signals: Send + Sync {
    /// The guest was instantiated and runs, on this version of the plugin.
    fn started(&self, version: &str);
    /// The guest called `heartbeat`.
    fn heartbeat(&self);
}

/// How an attempt ended, decided by the sandbox; [`crate::Engine`] maps it to ASL's error names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginEnd {
    /// JSON text.
    Succeeded {
        output: String,
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
