//! How an attempt ended. Decided in this crate and nowhere else; hides what the Wasm runtime reports.

use crate::limits;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The task returned. The text is valid JSON in UTF-8, at most the plugin's output limit.
    Ok(String),
    /// The task reported a failure of its own: at most 256 characters of error, 32,768 of cause.
    Failed { error: String, cause: String },
    /// A command left with this exit code and no error of its own; `cause` is the end of its stderr.
    Exited { code: i32, cause: String },
    /// The guest trapped: a panic, `unreachable`, an exhausted stack. `cause` is for people; no host detail.
    Trapped { cause: String },
    /// Over the wall time limit, or past the call's deadline.
    TimedOut { wall: Duration },
    /// Over the CPU time limit.
    CpuTime { limit: Duration },
    /// Over the fuel limit.
    OutOfFuel { limit: u64 },
    /// Over the memory limit (or the table limit, as `cause` says).
    OutOfMemory { cause: String },
    /// The input is larger than the plugin takes; it was not run.
    InputTooLarge { bytes: u64, limit: u64 },
    /// The output is larger than the plugin may return.
    OutputTooLarge { bytes: u64, limit: u64 },
    /// The output is not JSON.
    InvalidOutput { cause: String },
    /// The guest broke down after something it asked for was refused.
    GrantRefused { cause: String },
    /// There is no such plugin, or not in that version.
    PluginMissing { cause: String },
    /// The plugin's file or manifest cannot be used.
    PluginBroken { cause: String },
    /// The plugin's own concurrency or the host's queue is full; trying again later helps.
    TooManyRunning { cause: String },
    /// The call's deadline passed before its plugin was loaded; `cause` says what that waited for.
    NotReady { cause: String },
    /// The call was cancelled through its [`CancelHandle`](crate::CancelHandle).
    Cancelled,
    /// The host itself failed; the details are in its log.
    HostFault { cause: String },
}

/// The name of the outcome of a task that succeeded.
pub(crate) const SUCCEEDED: &str = "ok";

impl Outcome {
    /// A short stable name, for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ok(_) => SUCCEEDED,
            Self::Failed { .. } => "failed",
            Self::Exited { .. } => "exited",
            Self::Trapped { .. } => "trapped",
            Self::TimedOut { .. } => "timed-out",
            Self::CpuTime { .. } => "cpu-time",
            Self::OutOfFuel { .. } => "out-of-fuel",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::InputTooLarge { .. } => "input-too-large",
            Self::OutputTooLarge { .. } => "output-too-large",
            Self::InvalidOutput { .. } => "invalid-output",
            Self::GrantRefused { .. } => "grant-refused",
            Self::PluginMissing { .. } => "plugin-missing",
            Self::PluginBroken { .. } => "plugin-broken",
            Self::TooManyRunning { .. } => "too-many-running",
            Self::NotReady { .. } => "not-ready",
            Self::Cancelled => "cancelled",
            Self::HostFault { .. } => "host-fault",
        }
    }

    /// Whether the guest came to its end, or to a bound of what it computes and holds; not whether it was cut off, or never
    /// ran.
    pub(crate) fn is_guests_own(&self) -> bool {
        match self {
            Self::Ok(_)
            | Self::Failed { .. }
            | Self::Exited { .. }
            | Self::Trapped { .. }
            | Self::CpuTime { .. }
            | Self::OutOfFuel { .. }
            | Self::OutOfMemory { .. }
            | Self::OutputTooLarge { .. }
            | Self::InvalidOutput { .. }
            | Self::GrantRefused { .. } => true,
            Self::TimedOut { .. }
            | Self::InputTooLarge { .. }
            | Self::PluginMissing { .. }
            | Self::PluginBroken { .. }
            | Self::TooManyRunning { .. }
            | Self::NotReady { .. }
            | Self::Cancelled
            | Self::HostFault { .. } => false,
        }
    }

    /// The output of a task that succeeded.
    pub fn output(&self) -> Option<&str> {
        if let Self::Ok(output) = self {
            Some(output)
        } else {
            None
        }
    }

    /// The outcome in a sentence, for people; an `Ok` says nothing of its output. What raises a limit, [`TaskEnd::explain`] says.
    pub fn explain(&self) -> String {
        match self {
            Self::Ok(_) => "the task succeeded".into(),
            Self::Failed { error, cause } if cause.is_empty() => error.clone(),
            Self::Failed { error, cause } => format!("{error}: {cause}"),
            Self::Exited { code, cause } if cause.is_empty() => {
                format!("the task left with exit code {code}")
            }
            Self::Exited { code, cause } => {
                format!("the task left with exit code {code}: {cause}")
            }
            Self::TimedOut { wall } => {
                format!("the task did not end within {}", seconds(*wall))
            }
            Self::CpuTime { limit } => {
                format!("the task computed for more than {}", seconds(*limit))
            }
            Self::OutOfFuel { limit } => {
                format!("the task used more than {limit} units of fuel")
            }
            Self::InputTooLarge { bytes, limit } => {
                format!("the input has {bytes} bytes, the plugin takes {limit}")
            }
            Self::OutputTooLarge { bytes, limit } => {
                format!("the output has {bytes} bytes, the plugin may return {limit}")
            }
            Self::Trapped { cause }
            | Self::OutOfMemory { cause }
            | Self::InvalidOutput { cause }
            | Self::GrantRefused { cause }
            | Self::PluginMissing { cause }
            | Self::PluginBroken { cause }
            | Self::TooManyRunning { cause }
            | Self::NotReady { cause }
            | Self::HostFault { cause } => cause.clone(),
            Self::Cancelled => "the task was cancelled".into(),
        }
    }
}

/// `1.5 s`, `30 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// The end of one attempt and all that is known of it.
#[derive(Debug, Clone)]
pub struct TaskEnd {
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// When the guest began to run, after any waiting; none when it never did.
    pub started: Option<SystemTime>,
    /// The plugin that served it; none when there was none.
    pub plugin: Option<Arc<PluginStamp>>,
    /// Lines from the log interface, in order.
    pub logs: Vec<LogLine>,
    /// Whether lines were dropped at the log limit.
    pub logs_cut: bool,
    /// The end of stdout; of a command only what is no output.
    pub stdout: Tail,
    /// The end of stderr.
    pub stderr: Tail,
    /// The last 4 KiB of stdout, stderr and log lines together, in the order in which they were written; none unless the
    /// call asks for it. A command's stdout is its output and no part of it.
    pub log_tail: Option<Tail>,
    /// Wasm frames of a trap, or of where a guest computed when its time was over; innermost first. Never host frames.
    pub frames: Vec<Frame>,
    /// What was asked for during the call and refused, for people.
    pub refused: Vec<String>,
    /// What raises the limit that the outcome is about, for people; none where it is about none, or its cause says so.
    pub setting: Option<String>,
}

impl TaskEnd {
    /// The outcome in a sentence, for people, and what raises the limit that it is about.
    pub fn explain(&self) -> String {
        let outcome = self.outcome.explain();
        match &self.setting {
            Some(setting) => format!("{outcome}; {setting} raises it"),
            None => outcome,
        }
    }
}

/// What an attempt used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of the guest and of the host on its behalf.
    pub cpu: Duration,
    /// From the guest's start to its end.
    pub wall: Duration,
    /// From the call to the guest's start.
    pub queued: Duration,
    /// Most memory held at once, all memories together, in bytes.
    pub memory_bytes_max: u64,
    /// Size of the input.
    pub input_bytes: u64,
    /// Size of the output, 0 when there is none.
    pub output_bytes: u64,
    /// Fuel used, where the plugin asks for metering.
    pub fuel: Option<u64>,
    /// Whether the instance had served before.
    pub reused: bool,
    /// What it did with its host.
    pub host: HostUse,
}

/// What an attempt did with its host: calls by kind, and bytes over the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostUse {
    /// Lines given to the log interface, those beyond its bound too.
    pub logs: u64,
    /// Signs of life.
    pub heartbeats: u64,
    /// Values asked for of the configuration.
    pub configs: u64,
    /// Secrets asked for, refused ones too.
    pub secrets: u64,
    /// HTTP requests, refused ones too.
    pub http_requests: u64,
    /// TCP connections begun, refused ones too.
    pub tcp_connections: u64,
    /// Files and folders opened by a component, refused ones too. Those of a preview 1 module are not counted.
    pub files: u64,
    /// Bytes of HTTP requests, heads and bodies; of HTTPS before they are encrypted.
    pub http_bytes_sent: u64,
    /// Bytes of HTTP replies, as far as they came before the attempt ended.
    pub http_bytes_received: u64,
    /// Bytes written to TCP connections.
    pub tcp_bytes_sent: u64,
    /// Bytes read from TCP connections.
    pub tcp_bytes_received: u64,
}

impl HostUse {
    /// Calls by kind, with the names that metrics have for them.
    pub fn calls(&self) -> [(&'static str, u64); 7] {
        [
            ("log", self.logs),
            ("heartbeat", self.heartbeats),
            ("config", self.configs),
            ("secret", self.secrets),
            ("http", self.http_requests),
            ("tcp", self.tcp_connections),
            ("file", self.files),
        ]
    }

    pub(crate) fn add(&mut self, more: &HostUse) {
        let HostUse {
            logs,
            heartbeats,
            configs,
            secrets,
            http_requests,
            tcp_connections,
            files,
            http_bytes_sent,
            http_bytes_received,
            tcp_bytes_sent,
            tcp_bytes_received,
        } = more;
        self.logs += logs;
        self.heartbeats += heartbeats;
        self.configs += configs;
        self.secrets += secrets;
        self.http_requests += http_requests;
        self.tcp_connections += tcp_connections;
        self.files += files;
        self.http_bytes_sent += http_bytes_sent;
        self.http_bytes_received += http_bytes_received;
        self.tcp_bytes_sent += tcp_bytes_sent;
        self.tcp_bytes_received += tcp_bytes_received;
    }
}

/// Which plugin served an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginStamp {
    /// Its name.
    pub name: String,
    /// The version in its manifest.
    pub version: Option<String>,
    /// SHA-256 of the `.wasm`, in hex.
    pub sha256: String,
    /// Whether a running attempt may be dispatched again after a crash.
    pub on_crash: crate::OnCrash,
}

impl PluginStamp {
    /// The plugin in one word: `pay@1.2.0`, or `pay@sha256:` and the first digits of its hash when its manifest gives
    /// no version.
    pub fn label(&self) -> String {
        let Self { name, sha256, .. } = self;
        let digits = limits::LABEL_HASH_DIGITS;
        match &self.version {
            Some(version) => format!("{name}@{version}"),
            None => format!("{name}@sha256:{sha256:.digits$}"),
        }
    }
}

/// The last part of an output stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// The text; what is not UTF-8 is replaced.
    pub text: String,
    /// Whether earlier text was dropped.
    pub truncated: bool,
}

/// A line from the log interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its level.
    pub level: LogLevel,
    /// Its message.
    pub message: String,
    /// Its fields, in order.
    pub fields: Vec<(String, String)>,
    /// From the guest's start.
    pub after: Duration,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For whoever hunts a defect.
    Debug,
    /// The normal course.
    Info,
    /// Unexpected, and dealt with.
    Warn,
    /// Failed.
    Error,
}

/// A function on the guest's stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The function, demangled, or its index: at most 200 characters, none of them a control character.
    pub function: String,
    /// The offset in the module, where known.
    pub offset: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn no_colon_ends_what_failed_without_a_cause() {
        let failed = |cause: &str| Outcome::Failed {
            error: "CustomException".to_owned(),
            cause: cause.to_owned(),
        };
        assert_eq!(failed("").explain(), "CustomException");
        assert_eq!(failed("no money").explain(), "CustomException: no money");
    }
}
