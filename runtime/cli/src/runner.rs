//! The engine's tasks on the sandbox. Hides how the two describe one attempt and its end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use stepwell_engine::{
    AttemptLog, FunctionBounds, FunctionCode, FunctionVersion, PluginCall, PluginEnd, PluginLog,
    Signals, TaskLimits, TaskLogLevel, TaskLogLine, TaskRunner, TaskSecrets,
};
use stepwell_interp::{Measure, Measures, OnCrash};
use stepwell_sandbox::{
    Allowance, CallContext, CallSecrets, Frame, Heartbeat, Limits, LogLevel, LogLine, Outcome,
    PluginStamp, Sandbox, StoredSecrets, TaskCall, TaskEnd, Upload, UploadCode, Usage, Waits,
    Weight,
};
use tokio::sync::{oneshot, watch};

/// Frames of a guest's stack that a cause shows (ours).
const FRAMES_MAX: usize = 12;
/// Bytes of the end of stderr that a cause shows (ours).
const SAID_BYTES_MAX: usize = 2 << 10;
/// What lowers limits that a call has of its state machine; the limit's name is put behind it.
const LOWERED_BY: &str = "the state machine's tag stepwell:limit:";

/// See the module.
pub(crate) struct SandboxRunner {
    pub(crate) sandbox: Sandbox,
}

impl TaskRunner for SandboxRunner {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        let sandbox = self.sandbox.clone();
        Box::pin(async move {
            let (beat, mut beats) = watch::channel(Heartbeat::default());
            let mut heard = Heartbeat::default();
            let (begun, mut begins) = oneshot::channel();
            let remaining = call.remaining;
            let signals = call.signals.clone();
            let told = signals.clone();
            let waits = Waits::new(move |why| told.waits(why));
            let mut task = std::pin::pin!(sandbox.call(TaskCall {
                waits: Some(waits),
                ..task_call(call, beat, begun)
            }));
            let mut waits = true;
            let end = loop {
                tokio::select! {
                    end = &mut task => break end,
                    begun = &mut begins, if waits => {
                        waits = false;
                        // Dropped unused when nothing began; its end follows.
                        if let Ok(plugin) = begun {
                            signals.started(&plugin.label());
                        }
                    }
                    Ok(()) = beats.changed() => {
                        let latest = beats.borrow_and_update().clone();
                        tell(&*signals, &mut heard, latest);
                    }
                }
            };
            // A short task may end before its start was seen.
            if waits && let Ok(plugin) = begins.try_recv() {
                signals.started(&plugin.label());
            }
            // Nor its last note.
            let latest = beats.borrow().clone();
            tell(&*signals, &mut heard, latest);
            log(&end);
            if !matches!(end.outcome, Outcome::Ok(_))
                && let Some(log) = plugin_log(&end)
            {
                signals.failed_log(log);
            }
            // What no plugin served used nothing.
            if end.plugin.is_some() {
                signals.logged(said(&end));
                signals.used(measures(&end.usage));
            }
            plugin_end(end, remaining)
        })
    }

    fn has_secret(&self, tenant: &str, name: &str) -> bool {
        self.sandbox.has_secret(tenant, name)
    }

    fn check_ceiling(&self, tenant: &str, text: &str) -> Result<(), String> {
        let read = self.sandbox.parse_ceiling(tenant, "the ceiling", text);
        read.map(drop)
            .map_err(|slips| format!("{slips}\nhint: docs/plugins.md has a ceiling whole"))
    }

    fn set_ceiling(&self, tenant: &str, text: Option<&str>) {
        let read = text.map(|text| self.sandbox.parse_ceiling(tenant, "the ceiling", text));
        let own = read.map(|read| {
            read.unwrap_or_else(|slips| {
                tracing::error!(
                    tenant,
                    slips,
                    "the ceiling of a tenant cannot be read; its plugins are granted nothing until it is set again"
                );
                Allowance::default()
            })
        });
        self.sandbox.set_ceiling(tenant, own);
    }

    fn serves(&self, tenant: &str, plugin: &str, version: Option<&str>) -> bool {
        self.sandbox.has(tenant, plugin, version)
    }

    fn weigh(&self, tenant: &str, weight: u32) {
        // The engine refuses what is none.
        if let Some(weight) = Weight::new(weight) {
            self.sandbox.weigh(tenant, weight);
        }
    }

    fn function_bounds(&self, tenant: &str) -> Option<FunctionBounds> {
        let most = self.sandbox.most(tenant);
        Some(FunctionBounds {
            memory_bytes: most.memory_bytes,
            time: most.wall.min(most.cpu),
        })
    }

    fn check(
        &self,
        tenant: &str,
        plugin: &str,
        function: Arc<FunctionVersion>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
        let (sandbox, tenant, plugin) =
            (self.sandbox.clone(), tenant.to_owned(), plugin.to_owned());
        Box::pin(async move {
            if sandbox.has(&tenant, &plugin, None) {
                tracing::warn!(
                    tenant,
                    plugin,
                    "a function of this name hides the plugin in the plugin directory"
                );
            }
            let checked = sandbox.check(&tenant, &plugin, upload(&function)).await;
            checked.map_err(|error| match error {
                stepwell_sandbox::Error::Plugin { why, .. } => why,
                other => other.to_string(),
            })
        })
    }

    fn waits_for(&self, tenant: &str, plugin: &str, function: &FunctionVersion) -> Option<String> {
        Some(self.sandbox.waits_for(tenant, plugin, &upload(function)))
    }

    fn forget(&self, wasm_sha256: &str) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (sandbox, sha256) = (self.sandbox.clone(), wasm_sha256.to_owned());
        Box::pin(async move {
            // A failure has been logged by then.
            let _ = tokio::task::spawn_blocking(move || sandbox.forget(&sha256)).await;
        })
    }

    fn on_crash(&self, tenant: &str, plugin: &str) -> OnCrash {
        match self.sandbox.on_crash(tenant, plugin) {
            stepwell_sandbox::OnCrash::Fail => OnCrash::Fail,
            stepwell_sandbox::OnCrash::Retry => OnCrash::Redispatch,
        }
    }
}

/// Tells of signs of life that were not told of, with the last note where that is another one than before.
fn tell(signals: &dyn Signals, told: &mut Heartbeat, latest: Heartbeat) {
    if latest.beats > told.beats {
        let note = latest.progress.as_deref();
        signals.heartbeat(note.filter(|note| told.progress.as_deref() != Some(*note)));
        *told = latest;
    }
}

/// What an attempt used, in the engine's words.
fn measures(used: &Usage) -> Measures {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let host = &used.host;
    Measures::of(&[
        (Measure::Cpu, micros(used.cpu)),
        (Measure::Wall, micros(used.wall)),
        (Measure::Queued, micros(used.queued)),
        (Measure::Memory, used.memory_bytes_max),
        (Measure::Fuel, used.fuel.unwrap_or(0)),
        (Measure::BytesIn, used.input_bytes),
        (Measure::BytesOut, used.output_bytes),
        (Measure::HttpSent, host.http_bytes_sent),
        (Measure::HttpReceived, host.http_bytes_received),
        (Measure::TcpSent, host.tcp_bytes_sent),
        (Measure::TcpReceived, host.tcp_bytes_received),
        (Measure::Logs, host.logs),
        (Measure::Heartbeats, host.heartbeats),
        (Measure::Configs, host.configs),
        (Measure::Secrets, host.secrets),
        (Measure::HttpRequests, host.http_requests),
        (Measure::TcpConnections, host.tcp_connections),
        (Measure::Files, host.files),
    ])
}

/// The store's secrets, in the sandbox's words.
struct Secrets(Arc<dyn TaskSecrets>);

impl StoredSecrets for Secrets {
    fn open(
        &self,
        names: Vec<String>,
    ) -> Pin<Box<dyn Future<Output = Result<BTreeMap<String, String>, String>> + Send>> {
        self.0.open(names)
    }
}

/// A function in the sandbox's words.
fn upload(function: &FunctionVersion) -> Upload {
    Upload {
        id: function.id.clone(),
        version: function.version.map(|number| number.to_string()),
        memory_bytes: function.memory_bytes,
        wall: function.wall,
        environment: function.environment.clone(),
        code: Arc::new(Code(function.code.clone())),
    }
}

struct Code(Arc<dyn FunctionCode>);

impl UploadCode for Code {
    fn wasm(&self) -> Pin<Box<dyn Future<Output = Result<Arc<[u8]>, String>> + Send>> {
        self.0.wasm()
    }

    fn sha256(&self) -> Option<String> {
        self.0.sha256()
    }
}

fn task_call(
    call: PluginCall,
    beat: watch::Sender<Heartbeat>,
    begun: oneshot::Sender<Arc<PluginStamp>>,
) -> TaskCall {
    let text = |text: &Arc<str>| text.to_string();
    let mut task = TaskCall::new(call.tenant, call.plugin, call.input);
    task.version = call.version.as_ref().map(text);
    task.upload = call.function.as_deref().map(upload);
    task.secrets = call.secrets.map(|stored| CallSecrets::new(Secrets(stored)));
    task.context = CallContext {
        execution_id: call.execution_arn.to_string(),
        state_machine: call.machine_arn.to_string(),
        state_name: call.state.to_string(),
        attempt: call.attempt,
        idempotency_key: call.idempotency_key,
        task_token: call.task_token.as_ref().map(text),
        trace_parent: call.trace_parent.as_ref().map(text),
    };
    task.deadline = call.remaining;
    task.log_tail = call.log_wanted;
    task.lowered = call
        .limits
        .as_deref()
        .map(|limits| Arc::new(lowered(limits)));
    task.lowered_by = LOWERED_BY;
    task.heartbeats = Some(beat);
    task.started = Some(begun);
    task.permit = call.permit;
    task.alone = call.alone;
    task
}

/// Limits by tags, in the sandbox's words.
fn lowered(limits: &TaskLimits) -> Limits {
    let all = Limits::unlimited();
    let log = limits.log_bytes.unwrap_or(all.log_bytes);
    Limits {
        memory_bytes: limits.memory_bytes.unwrap_or(all.memory_bytes),
        wall: limits.wall.unwrap_or(all.wall),
        cpu: limits.cpu.unwrap_or(all.cpu),
        input_bytes: limits.input_bytes.unwrap_or(all.input_bytes),
        output_bytes: limits.output_bytes.unwrap_or(all.output_bytes),
        log_bytes: log,
        stdout_bytes: log,
        stderr_bytes: log,
        ..all
    }
}

/// The guest's own lines go to the log of the process.
fn log(end: &TaskEnd) {
    let plugin = end.plugin.as_ref().map_or("", |stamp| stamp.name.as_str());
    for line in &end.logs {
        tracing::debug!(plugin, level = ?line.level, fields = ?line.fields, "{}", line.message);
    }
    for refused in &end.refused {
        tracing::warn!(plugin, "refused: {refused}");
    }
    if let Outcome::HostFault { cause } = &end.outcome {
        tracing::error!(plugin, "a task failed inside the host: {cause}");
    }
}

/// What the guest said, in the engine's words. A command's stdout is its output.
fn said(end: &TaskEnd) -> AttemptLog {
    let line = |line: &LogLine| TaskLogLine {
        level: match line.level {
            LogLevel::Trace => TaskLogLevel::Trace,
            LogLevel::Debug => TaskLogLevel::Debug,
            LogLevel::Info => TaskLogLevel::Info,
            LogLevel::Warn => TaskLogLevel::Warn,
            LogLevel::Error => TaskLogLevel::Error,
        },
        message: line.message.clone(),
        fields: line.fields.clone(),
        after_ms: u64::try_from(line.after.as_millis()).unwrap_or(u64::MAX),
    };
    AttemptLog {
        lines: end.logs.iter().map(line).collect(),
        stdout: end.stdout.text.clone(),
        stderr: end.stderr.text.clone(),
        cut: end.logs_cut || end.stdout.truncated || end.stderr.truncated,
    }
}

/// The end of the log, where it was wanted and the guest began.
fn plugin_log(end: &TaskEnd) -> Option<PluginLog> {
    let tail = end.log_tail.as_ref()?;
    Some(PluginLog {
        tail: tail.text.clone(),
        wall: end.usage.wall,
        memory_bytes_max: end.usage.memory_bytes_max,
    })
}

/// The sandbox's outcome in the engine's words. The cause of a guest that broke down or was stopped tells what it said last and
/// in which functions it was; a trap's has what it said already, before the reason.
fn plugin_end(end: TaskEnd, remaining: Option<Duration>) -> PluginEnd {
    let explained = end.explain();
    let log = plugin_log(&end);
    let worded = |cause: String| with_said(cause, &end.stderr.text);
    let stopped = |cause: String| with_frames(worded(cause), &end.frames);
    match end.outcome {
        Outcome::Ok(output) => PluginEnd::Succeeded { output, log },
        Outcome::Failed { error, cause } => PluginEnd::Failed { error, cause },
        Outcome::Exited { .. } => PluginEnd::Exited { cause: explained },
        Outcome::Trapped { cause } => PluginEnd::Trapped {
            cause: with_frames(cause, &end.frames),
        },
        // The sandbox names the nearer of plugin's limit and state's timeout.
        Outcome::TimedOut { wall } if remaining == Some(wall) => PluginEnd::Deadline,
        Outcome::TimedOut { .. } => PluginEnd::WallTime {
            cause: stopped(explained),
        },
        Outcome::CpuTime { .. } => PluginEnd::CpuTime {
            cause: stopped(explained),
        },
        Outcome::OutOfFuel { .. } => PluginEnd::OutOfFuel {
            cause: stopped(explained),
        },
        Outcome::OutOfMemory { cause } => PluginEnd::OutOfMemory {
            cause: stopped(cause),
        },
        Outcome::InputTooLarge { .. } => PluginEnd::InputTooLarge { cause: explained },
        Outcome::OutputTooLarge { .. } => PluginEnd::OutputTooLarge {
            cause: worded(explained),
        },
        Outcome::InvalidOutput { cause } => PluginEnd::InvalidOutput {
            cause: worded(cause),
        },
        Outcome::GrantRefused { cause } => PluginEnd::GrantRefused {
            cause: with_frames(cause, &end.frames),
        },
        Outcome::PluginMissing { cause } => PluginEnd::Missing { cause },
        Outcome::PluginBroken { cause } => PluginEnd::Broken { cause },
        Outcome::NotReady { cause } => PluginEnd::NotReady { cause },
        Outcome::TooManyRunning { cause } => PluginEnd::TooManyRunning { cause },
        Outcome::Cancelled => PluginEnd::Cancelled,
        Outcome::HostFault { cause } => PluginEnd::Internal { cause },
    }
}

/// A cause, and behind it the end of what the guest wrote to stderr.
fn with_said(cause: String, stderr: &str) -> String {
    let said = stderr.trim();
    if said.is_empty() {
        return cause;
    }
    let from = said.ceil_char_boundary(said.len().saturating_sub(SAID_BYTES_MAX));
    format!("{cause}\nstderr: {}", &said[from..])
}

fn with_frames(cause: String, frames: &[Frame]) -> String {
    let names = frames
        .iter()
        .take(FRAMES_MAX)
        .map(|frame| format!("\n  at {}", frame.function));
    std::iter::once(cause).chain(names).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_sandbox::Tail;

    /// The cause of a guest that ended so, after it wrote to stderr and in two functions.
    fn cause(outcome: Outcome) -> Option<String> {
        let frame = |function: &str| Frame {
            function: function.to_owned(),
            offset: None,
        };
        let end = TaskEnd {
            outcome,
            usage: Usage::default(),
            started: None,
            plugin: None,
            logs: Vec::new(),
            logs_cut: false,
            stdout: Tail::default(),
            stderr: Tail {
                text: "the last words\n".to_owned(),
                truncated: false,
            },
            log_tail: None,
            frames: vec![frame("inner"), frame("outer")],
            refused: Vec::new(),
            setting: None,
        };
        match plugin_end(end, None) {
            PluginEnd::Succeeded { .. } | PluginEnd::Deadline | PluginEnd::Cancelled => None,
            PluginEnd::Failed { cause, .. }
            | PluginEnd::Exited { cause }
            | PluginEnd::InputTooLarge { cause }
            | PluginEnd::OutputTooLarge { cause }
            | PluginEnd::InvalidOutput { cause }
            | PluginEnd::Trapped { cause }
            | PluginEnd::OutOfMemory { cause }
            | PluginEnd::OutOfFuel { cause }
            | PluginEnd::CpuTime { cause }
            | PluginEnd::WallTime { cause }
            | PluginEnd::NotReady { cause }
            | PluginEnd::GrantRefused { cause }
            | PluginEnd::TooManyRunning { cause }
            | PluginEnd::Missing { cause }
            | PluginEnd::Broken { cause }
            | PluginEnd::Internal { cause } => Some(cause),
        }
    }

    #[test]
    fn who_was_stopped_tells_what_it_said_and_where_it_was() {
        let limit = Duration::from_secs(1);
        let memory = || "too much".to_owned();
        for outcome in [
            Outcome::CpuTime { limit },
            Outcome::TimedOut { wall: limit },
            Outcome::OutOfFuel { limit: 1 },
            Outcome::OutOfMemory { cause: memory() },
        ] {
            let wanted = format!(
                "{}\nstderr: the last words\n  at inner\n  at outer",
                outcome.explain()
            );
            assert_eq!(cause(outcome), Some(wanted));
        }
        // The sandbox puts the words of who traps before the trap.
        let cause_of = |text: &str| text.to_owned();
        for outcome in [
            Outcome::Trapped {
                cause: cause_of("words\nthen: a trap"),
            },
            Outcome::GrantRefused {
                cause: cause_of("words\nthen: a trap"),
            },
        ] {
            let wanted = "words\nthen: a trap\n  at inner\n  at outer";
            assert_eq!(cause(outcome).as_deref(), Some(wanted));
        }
        let garbage = Outcome::InvalidOutput { cause: memory() };
        assert_eq!(
            cause(garbage).as_deref(),
            Some("too much\nstderr: the last words")
        );
        // What is its own is told as it is.
        let own = Outcome::Failed {
            error: "Own".to_owned(),
            cause: memory(),
        };
        assert_eq!(cause(own).as_deref(), Some("too much"));
    }

    #[test]
    fn a_cause_is_bounded_whatever_the_guest_wrote() {
        let flood = "\u{e9}".repeat(100_000);
        let told = with_said("why".to_owned(), &flood);
        assert!(told.len() <= "why\nstderr: ".len() + SAID_BYTES_MAX);
        let frame = Frame {
            function: "f".to_owned(),
            offset: None,
        };
        let told = with_frames(String::new(), &vec![frame; 1_000]);
        assert_eq!(told.lines().count(), FRAMES_MAX + 1);
    }
}
