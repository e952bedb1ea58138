//! The engine's tasks on the sandbox. Hides how the two describe one attempt and its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use stepwell_engine::{
    AttemptLog, FunctionCode, FunctionVersion, PluginCall, PluginEnd, PluginLog, PluginUse,
    TaskLimits, TaskLogLevel, TaskLogLine, TaskRunner,
};
use stepwell_interp::OnCrash;
use stepwell_sandbox::{
    CallContext, Frame, Limits, LogLevel, LogLine, Outcome, PluginStamp, Sandbox, TaskCall,
    TaskEnd, Upload, UploadCode, Waits,
};
use tokio::sync::{mpsc, oneshot};

/// Heartbeats under way from a guest to the engine; later ones are merged (ours).
const HEARTBEATS_MAX: usize = 4;
/// Frames of a trap's stack that its cause shows (ours).
const FRAMES_MAX: usize = 12;

/// See the module.
pub(crate) struct SandboxRunner {
    pub(crate) sandbox: Sandbox,
}

impl TaskRunner for SandboxRunner {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        let sandbox = self.sandbox.clone();
        Box::pin(async move {
            let (beat, mut beats) = mpsc::channel(HEARTBEATS_MAX);
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
                    Some(_) = beats.recv() => signals.heartbeat(),
                }
            };
            // A short task may end before its start was seen.
            if waits && let Ok(plugin) = begins.try_recv() {
                signals.started(&plugin.label());
            }
            log(&end);
            if end.plugin.is_some() {
                signals.logged(said(&end));
            }
            // What no plugin served used nothing.
            if end.plugin.is_some() {
                signals.used(PluginUse {
                    cpu: end.usage.cpu,
                    wall: end.usage.wall,
                    memory_bytes_max: end.usage.memory_bytes_max,
                    input_bytes: end.usage.input_bytes,
                    output_bytes: end.usage.output_bytes,
                });
            }
            plugin_end(end, remaining)
        })
    }

    fn serves(&self, tenant: &str, plugin: &str, version: Option<&str>) -> bool {
        self.sandbox.has(tenant, plugin, version)
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

    fn on_crash(&self, tenant: &str, plugin: &str) -> OnCrash {
        match self.sandbox.on_crash(tenant, plugin) {
            stepwell_sandbox::OnCrash::Fail => OnCrash::Fail,
            stepwell_sandbox::OnCrash::Retry => OnCrash::Redispatch,
        }
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
}

fn task_call(
    call: PluginCall,
    beat: mpsc::Sender<stepwell_sandbox::Heartbeat>,
    begun: oneshot::Sender<Arc<PluginStamp>>,
) -> TaskCall {
    let text = |text: &Arc<str>| text.to_string();
    let mut task = TaskCall::new(call.tenant, call.plugin, call.input);
    task.version = call.version.as_ref().map(text);
    task.upload = call.function.as_deref().map(upload);
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
    task.heartbeats = Some(beat);
    task.started = Some(begun);
    task.permit = call.permit;
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

/// The sandbox's outcome in the engine's words.
fn plugin_end(end: TaskEnd, remaining: Option<Duration>) -> PluginEnd {
    let explained = end.outcome.explain();
    match end.outcome {
        Outcome::Ok(output) => PluginEnd::Succeeded {
            output,
            log: end.log_tail.map(|tail| PluginLog {
                tail: tail.text,
                wall: end.usage.wall,
                memory_bytes_max: end.usage.memory_bytes_max,
            }),
        },
        Outcome::Failed { error, cause } => PluginEnd::Failed { error, cause },
        Outcome::Exited { .. } => PluginEnd::Exited { cause: explained },
        Outcome::Trapped { cause } => PluginEnd::Trapped {
            cause: with_frames(cause, &end.frames),
        },
        // The sandbox names the nearer of plugin's limit and state's timeout.
        Outcome::TimedOut { wall } if remaining == Some(wall) => PluginEnd::Deadline,
        Outcome::TimedOut { .. } => PluginEnd::WallTime { cause: explained },
        Outcome::CpuTime { .. } => PluginEnd::CpuTime { cause: explained },
        Outcome::OutOfFuel { .. } => PluginEnd::OutOfFuel { cause: explained },
        Outcome::OutOfMemory { cause } => PluginEnd::OutOfMemory { cause },
        Outcome::InputTooLarge { .. } => PluginEnd::InputTooLarge { cause: explained },
        Outcome::OutputTooLarge { .. } => PluginEnd::OutputTooLarge { cause: explained },
        Outcome::InvalidOutput { cause } => PluginEnd::InvalidOutput { cause },
        Outcome::GrantRefused { cause } => PluginEnd::GrantRefused { cause },
        Outcome::PluginMissing { cause } => PluginEnd::Missing { cause },
        Outcome::PluginBroken { cause } => PluginEnd::Broken { cause },
        Outcome::NotReady { cause } => PluginEnd::NotReady { cause },
        Outcome::TooManyRunning { cause } => PluginEnd::TooManyRunning { cause },
        Outcome::Cancelled => PluginEnd::Cancelled,
        Outcome::HostFault { cause } => PluginEnd::Internal { cause },
    }
}

fn with_frames(cause: String, frames: &[Frame]) -> String {
    let names = frames
        .iter()
        .take(FRAMES_MAX)
        .map(|frame| format!("\n  at {}", frame.function));
    std::iter::once(cause).chain(names).collect()
}
