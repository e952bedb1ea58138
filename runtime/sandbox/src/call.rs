//! One attempt of a task, from its instance to its outcome. Hides stores, traps, exit codes and time keeping.

use crate::bindings::stepwell::task::types::{Context as WireContext, TaskError};
use crate::code::{Code, chain};
use crate::egress::{Egress, Tls};
use crate::guest::{Guest, Log, Meter, Refused};
use crate::limits;
use crate::machine::Machine;
use crate::manifest::Contract;
use crate::outcome::{Frame, LogLine, Outcome, Tail, TaskEnd, Usage};
use crate::registry::Loaded;
use crate::sandbox::SecretSource;
use crate::stdio::{Capture, Keep};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;
use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiView as _};
use wasmtime_wasi_http::WasiHttpCtx;

/// A task to be run once.
#[derive(Debug)]
pub struct TaskCall {
    /// The account whose plugin and grants are used: 12 digits.
    pub tenant: String,
    /// The plugin's name.
    pub plugin: String,
    /// The version wanted; none or `$LATEST` takes what there is.
    pub version: Option<String>,
    /// One JSON text.
    pub input: Arc<str>,
    /// What the task is told about the call.
    pub context: CallContext,
    /// A wall limit for this call that replaces the plugin's own, as far as the operator's ceiling goes.
    pub wall: Option<Duration>,
    /// Time from now until the call is ended, waiting included. None leaves it to the plugin's limits.
    pub deadline: Option<Duration>,
    /// Receives the guest's signs of life; beats that find it full are merged.
    pub heartbeats: Option<mpsc::Sender<Heartbeat>>,
    /// Told when the guest begins to run.
    pub started: Option<oneshot::Sender<SystemTime>>,
    /// Ends the call and lets the guest tidy up. Dropping the call's future ends it at once.
    pub cancel: Option<CancelHandle>,
}

/// What a task is told about its call; see `types.context` in task.wit.
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    /// The execution's ARN.
    pub execution_id: String,
    /// The state machine's ARN.
    pub state_machine: String,
    /// The Task state's name.
    pub state_name: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The same for all attempts of one visit to the state.
    pub idempotency_key: String,
    /// Present in a `.waitForTaskToken` state.
    pub task_token: Option<String>,
    /// A W3C `traceparent` value.
    pub trace_parent: Option<String>,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The guest's note, at most 1 KiB.
    pub progress: Option<String>,
}

/// Why a call is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Nobody waits for the result any more.
    Stopped,
    /// A time limit outside of the sandbox is over.
    TimedOut,
}

/// Cancels a call from outside. Clones cancel the same call.
#[derive(Debug, Clone)]
pub struct CancelHandle(Arc<watch::Sender<Option<CancelReason>>>);

impl Default for CancelHandle {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl CancelHandle {
    /// A handle for one call.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the call: the guest hears of it at its next heartbeat and has half a second to return.
    pub fn cancel(&self, reason: CancelReason) {
        self.0.send_replace(Some(reason));
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        *self.0.borrow()
    }

    async fn cancelled(&self) {
        // The sender lives in this handle, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

impl TaskCall {
    /// A call with no bounds of its own.
    pub fn new(
        tenant: impl Into<String>,
        plugin: impl Into<String>,
        input: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            tenant: tenant.into(),
            plugin: plugin.into(),
            version: None,
            input: input.into(),
            context: CallContext {
                attempt: 1,
                ..CallContext::default()
            },
            wall: None,
            deadline: None,
            heartbeats: None,
            started: None,
            cancel: None,
        }
    }
}

/// The host's part in an attempt.
pub(crate) struct Services {
    pub(crate) tls: Tls,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) wall_max: Duration,
}

/// The attempt's end before anything ran.
pub(crate) fn unstarted(
    outcome: Outcome,
    plugin: Option<&Loaded>,
    input_bytes: u64,
    queued: Duration,
) -> TaskEnd {
    TaskEnd {
        outcome,
        usage: Usage {
            input_bytes,
            queued,
            ..Usage::default()
        },
        started: None,
        plugin: plugin.map(|plugin| plugin.stamp.clone()),
        logs: Vec::new(),
        logs_cut: false,
        stdout: Tail::default(),
        stderr: Tail::default(),
        frames: Vec::new(),
        refused: Vec::new(),
    }
}

/// Runs the guest. `called` is when the call arrived.
pub(crate) async fn run(
    machine: &Machine,
    plugin: &Arc<Loaded>,
    services: &Services,
    mut call: TaskCall,
    called: Instant,
) -> TaskEnd {
    let begun = Instant::now();
    let started = SystemTime::now();
    if let Some(listener) = call.started.take() {
        // Nobody has to listen.
        let _ = listener.send(started);
    }
    let input_bytes = call.input.len() as u64;
    let queued = begun - called;
    let due = Due::new(plugin, services, &call, called, begun);
    let stdio = Stdio::new(plugin);
    let wasi = match wasi(plugin, &call, &stdio, due.at - begun) {
        Ok(wasi) => wasi,
        Err(cause) => {
            return unstarted(
                Outcome::PluginBroken { cause },
                Some(plugin),
                input_bytes,
                queued,
            );
        }
    };
    let mut store = store(machine, plugin, services, &call, wasi, begun);
    let context = wire(&call.context, due.at - begun);
    let (ended, cpu) = {
        let mut metered = Metered::new(
            drive(&mut store, plugin, &call.input, &context),
            plugin.limits.cpu,
            due.at,
        );
        let ended = match &call.cancel {
            None => (&mut metered).await,
            Some(cancel) => tokio::select! {
                biased;
                ended = &mut metered => ended,
                () = cancel.cancelled() => {
                    // The guest may tidy up; what it returns now is of no interest.
                    let _ = tokio::time::timeout(limits::CANCEL_GRACE, &mut metered).await;
                    Ended::Cancelled
                }
            },
        };
        (ended, metered.cpu)
    };
    let fuel = plugin
        .limits
        .fuel
        .and_then(|limit| store.get_fuel().ok().map(|left| limit.saturating_sub(left)));
    let frames = ended.frames();
    let refused = store.data().refused.take();
    let outcome = decide(ended, plugin, &due, &store.data().meter, &stdio, &refused);
    let guest = store.into_data();
    let usage = Usage {
        cpu,
        wall: begun.elapsed(),
        queued,
        memory_bytes_max: guest.meter.memory_max,
        input_bytes,
        output_bytes: if let Outcome::Ok(output) = &outcome {
            output.len() as u64
        } else {
            0
        },
        fuel,
    };
    end(
        outcome, usage, started, plugin, guest.log, &stdio, frames, refused,
    )
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one record, put together at its only place"
)]
fn end(
    outcome: Outcome,
    usage: Usage,
    started: SystemTime,
    plugin: &Loaded,
    log: Log,
    stdio: &Stdio,
    frames: Vec<Frame>,
    refused: Vec<String>,
) -> TaskEnd {
    let (logs, logs_cut): (Vec<LogLine>, bool) = (log.lines, log.cut);
    TaskEnd {
        outcome,
        usage,
        started: Some(started),
        plugin: Some(plugin.stamp.clone()),
        logs,
        logs_cut,
        stdout: stdio.stdout.tail(),
        stderr: stdio.stderr.tail(),
        frames,
        refused,
    }
}

/// When the attempt's time is over, and the bound that says so.
struct Due {
    at: Instant,
    wall: Duration,
}

impl Due {
    fn new(
        plugin: &Loaded,
        services: &Services,
        call: &TaskCall,
        called: Instant,
        begun: Instant,
    ) -> Self {
        let wall = call
            .wall
            .unwrap_or(plugin.limits.wall)
            .min(services.wall_max);
        let by_wall = Self {
            at: begun + wall,
            wall,
        };
        match call.deadline {
            Some(deadline) if called + deadline < by_wall.at => Self {
                at: (called + deadline).max(begun),
                wall: deadline,
            },
            Some(_) | None => by_wall,
        }
    }
}

struct Stdio {
    stdout: Capture,
    stderr: Capture,
}

impl Stdio {
    fn new(plugin: &Loaded) -> Self {
        let log = plugin.limits.log_bytes;
        let stdout = match plugin.contract {
            Contract::Component => Capture::new(Keep::Tail, log),
            Contract::Command => Capture::new(Keep::Head, plugin.limits.output_bytes),
        };
        Self {
            stdout,
            stderr: Capture::new(Keep::Tail, log),
        }
    }
}

fn wasi(
    plugin: &Loaded,
    call: &TaskCall,
    stdio: &Stdio,
    left: Duration,
) -> Result<wasmtime_wasi::p1::WasiP1Ctx, String> {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(stdio.stdout.clone())
        .stderr(stdio.stderr.clone())
        .max_random_size(limits::RANDOM_BYTES_MAX);
    for (name, value) in &plugin.granted.env {
        builder.env(name, value);
    }
    if plugin.contract == Contract::Command {
        builder
            .arg("task")
            .stdin(MemoryInputPipe::new(Bytes::copy_from_slice(
                call.input.as_bytes(),
            )));
        for (name, value) in environment(&call.context, left) {
            builder.env(name, value);
        }
    }
    for grant in &plugin.granted.fs {
        let perms = match grant.mode {
            crate::FsMode::ReadOnly => FsPerms::ReadOnly,
            crate::FsMode::ReadWrite => FsPerms::ReadWrite,
        };
        builder
            .preopened_dir(&grant.host, &grant.guest, perms)
            .map_err(|error| {
                format!(
                    "the granted folder {} cannot be opened: {}",
                    grant.host.display(),
                    chain(&error)
                )
            })?;
    }
    Ok(builder.build_p1())
}

/// The context as a command sees it.
fn environment(context: &CallContext, left: Duration) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("STEPWELL_EXECUTION_ID", context.execution_id.clone()),
        ("STEPWELL_STATE_MACHINE", context.state_machine.clone()),
        ("STEPWELL_STATE_NAME", context.state_name.clone()),
        ("STEPWELL_ATTEMPT", context.attempt.to_string()),
        ("STEPWELL_IDEMPOTENCY_KEY", context.idempotency_key.clone()),
        ("STEPWELL_DEADLINE_MS", left.as_millis().to_string()),
    ];
    environment.extend(
        context
            .task_token
            .clone()
            .map(|token| ("STEPWELL_TASK_TOKEN", token)),
    );
    environment.extend(
        context
            .trace_parent
            .clone()
            .map(|parent| ("TRACEPARENT", parent)),
    );
    environment
}

fn wire(context: &CallContext, left: Duration) -> WireContext {
    WireContext {
        execution_id: context.execution_id.clone(),
        state_machine: context.state_machine.clone(),
        state_name: context.state_name.clone(),
        attempt: context.attempt,
        idempotency_key: context.idempotency_key.clone(),
        task_token: context.task_token.clone(),
        deadline_ms: u32::try_from(left.as_millis()).ok(),
        trace_parent: context.trace_parent.clone(),
    }
}

fn store(
    machine: &Machine,
    plugin: &Arc<Loaded>,
    services: &Services,
    call: &TaskCall,
    mut wasi: wasmtime_wasi::p1::WasiP1Ctx,
    begun: Instant,
) -> Store<Guest> {
    wasi.ctx().table.set_max_capacity(limits::RESOURCES_MAX);
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(limits::HTTP_FIELDS_BYTES_MAX);
    let refused = Refused::default();
    let guest = Guest {
        wasi,
        http,
        egress: Egress {
            plugin: plugin.clone(),
            refused: refused.clone(),
            tls: services.tls.clone(),
        },
        meter: Meter::new(plugin.limits.memory_bytes, plugin.limits.table_elements),
        log: Log::new(plugin.limits.log_bytes, begun),
        refused,
        plugin: plugin.clone(),
        tenant: call.tenant.as_str().into(),
        secrets: services.secrets.clone(),
        heartbeats: call.heartbeats.clone(),
        cancel: call.cancel.clone(),
    };
    let mut store = Store::new(&machine.engine, guest);
    store.limiter(|guest| &mut guest.meter);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store.set_hostcall_fuel(limits::HOSTCALL_BYTES);
    if let Some(fuel) = plugin.limits.fuel {
        // The engine of a metered plugin counts fuel, so this cannot fail; were it to, the guest would have none.
        let _ = store.set_fuel(fuel);
    }
    store
}

/// What a guest that ran to its end gave back.
enum Returned {
    Task(Result<String, TaskError>),
    Command(Result<(), ()>),
}

async fn drive(
    store: &mut Store<Guest>,
    plugin: &Loaded,
    input: &str,
    context: &WireContext,
) -> wasmtime::Result<Returned> {
    match &plugin.code {
        Code::Task(pre) => {
            let task = pre.instantiate_async(&mut *store).await?;
            let returned = task
                .stepwell_task_handler()
                .call_handle(&mut *store, input, context)
                .await?;
            Ok(Returned::Task(returned))
        }
        Code::Command(pre) => {
            let command = pre.instantiate_async(&mut *store).await?;
            Ok(Returned::Command(
                command.wasi_cli_run().call_run(&mut *store).await?,
            ))
        }
        Code::Module(pre) => {
            let instance = pre.instantiate_async(&mut *store).await?;
            let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
            start.call_async(&mut *store, ()).await?;
            Ok(Returned::Command(Ok(())))
        }
    }
}

/// How the guest's future ended.
enum Ended {
    Returned(wasmtime::Result<Returned>),
    Wall,
    Cpu,
    Cancelled,
}

impl Ended {
    fn frames(&self) -> Vec<Frame> {
        let Self::Returned(Err(error)) = self else {
            return Vec::new();
        };
        let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
            return Vec::new();
        };
        let frames = backtrace.frames().iter().take(limits::FRAMES_MAX);
        frames
            .map(|frame| Frame {
                function: match frame.func_name() {
                    Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
                    None => format!("function {}", frame.func_index()),
                },
                offset: frame.module_offset().map(|offset| offset as u64),
            })
            .collect()
    }
}

/// Runs a guest's future and keeps its time. A computing guest yields at each epoch tick; that is when its CPU time and
/// its deadline are looked at. A parked guest is woken by the timer, which short calls never set.
struct Metered<F> {
    guest: Pin<Box<F>>,
    cpu: Duration,
    cpu_limit: Duration,
    due: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F> Metered<F> {
    fn new(guest: F, cpu_limit: Duration, due: Instant) -> Self {
        Self {
            guest: Box::pin(guest),
            cpu: Duration::ZERO,
            cpu_limit,
            due,
            timer: None,
        }
    }
}

impl<F: Future<Output = wasmtime::Result<Returned>>> Future for Metered<F> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Ended> {
        let this = &mut *self;
        let before = thread_cpu();
        let polled = this.guest.as_mut().poll(cx);
        this.cpu += thread_cpu().saturating_sub(before);
        match polled {
            Poll::Ready(returned) => Poll::Ready(Ended::Returned(returned)),
            Poll::Pending if this.cpu >= this.cpu_limit => Poll::Ready(Ended::Cpu),
            Poll::Pending if Instant::now() >= this.due => Poll::Ready(Ended::Wall),
            Poll::Pending => {
                let due = this.due.into();
                let timer = this
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
                timer.as_mut().poll(cx).map(|()| Ended::Wall)
            }
        }
    }
}

/// CPU time of this thread so far.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Both parts count up from zero on every system that has this clock.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The one place where an outcome is decided.
fn decide(
    ended: Ended,
    plugin: &Loaded,
    due: &Due,
    meter: &Meter,
    stdio: &Stdio,
    refused: &[String],
) -> Outcome {
    let returned = match ended {
        Ended::Wall => return Outcome::TimedOut { wall: due.wall },
        Ended::Cpu => {
            return Outcome::CpuTime {
                limit: plugin.limits.cpu,
            };
        }
        Ended::Cancelled => return Outcome::Cancelled,
        Ended::Returned(returned) => returned,
    };
    match returned {
        Ok(Returned::Task(Ok(output))) => check_output(output, plugin),
        Ok(Returned::Task(Err(TaskError { error, cause }))) => failed(&error, &cause),
        Ok(Returned::Command(Ok(()))) => command_output(plugin, stdio),
        Ok(Returned::Command(Err(()))) => exited(1, stdio, refused),
        Err(error) => broke_down(&error, plugin, meter, stdio, refused),
    }
}

fn broke_down(
    error: &wasmtime::Error,
    plugin: &Loaded,
    meter: &Meter,
    stdio: &Stdio,
    refused: &[String],
) -> Outcome {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return match (exit.0, plugin.contract) {
            (0, Contract::Command) => command_output(plugin, stdio),
            (0, Contract::Component) => Outcome::Trapped {
                cause: "the component left with `exit` instead of returning a result".into(),
            },
            (code, _) => exited(code, stdio, refused),
        };
    }
    if let Some(cause) = &meter.exceeded {
        return Outcome::OutOfMemory {
            cause: cause.clone(),
        };
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Outcome::TooManyRunning {
            cause: chain_of(error),
        };
    }
    if let (Some(Trap::OutOfFuel), Some(limit)) = (error.downcast_ref::<Trap>(), plugin.limits.fuel)
    {
        return Outcome::OutOfFuel { limit };
    }
    let said = last_lines(&stdio.stderr.peek());
    let cause = if said.is_empty() {
        chain_of(error)
    } else {
        format!("{}; stderr: {said}", chain_of(error))
    };
    match refusal(refused) {
        Some(what) => Outcome::GrantRefused {
            cause: format!("{what}; then {cause}"),
        },
        None => Outcome::Trapped { cause },
    }
}

/// The error without its list of frames, which are reported apart.
fn chain_of(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    }
}

fn refusal(refused: &[String]) -> Option<String> {
    if refused.is_empty() {
        return None;
    }
    let what = refused.join(", ");
    Some(format!(
        "not granted: {what}; ask for it in [grants] of plugin.toml and have the operator allow it"
    ))
}

fn failed(error: &str, cause: &str) -> Outcome {
    let cut = |text: &str, chars_max: usize| text.chars().take(chars_max).collect();
    Outcome::Failed {
        error: cut(error, limits::ERROR_CHARS_MAX),
        cause: cut(cause, limits::CAUSE_CHARS_MAX),
    }
}

/// A command's failure: its own, when the last line of stderr is `{"Error", "Cause"}`.
fn exited(code: i32, stdio: &Stdio, refused: &[String]) -> Outcome {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Own {
        error: String,
        #[serde(default)]
        cause: String,
    }
    let stderr = stdio.stderr.peek();
    let last = stderr.trim_end().rsplit('\n').next().unwrap_or_default();
    if let Ok(own) = serde_json::from_str::<Own>(last) {
        return failed(&own.error, &own.cause);
    }
    match refusal(refused) {
        Some(what) => Outcome::GrantRefused {
            cause: format!("{what}; then the command left with exit code {code}"),
        },
        None => Outcome::Exited {
            code,
            cause: last_lines(&stderr),
        },
    }
}

/// The end of a text, short enough for a message.
fn last_lines(text: &str) -> String {
    const SHOWN_BYTES: usize = 2048;
    let text = text.trim();
    let start = text.ceil_char_boundary(text.len().saturating_sub(SHOWN_BYTES));
    text[start..].to_owned()
}

fn command_output(plugin: &Loaded, stdio: &Stdio) -> Outcome {
    let (bytes, total) = stdio.stdout.take();
    let limit = plugin.limits.output_bytes;
    if total > limit {
        return Outcome::OutputTooLarge {
            bytes: total,
            limit,
        };
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => Outcome::InvalidOutput {
            cause: "the command wrote nothing to stdout; write one JSON text, `null` for no output"
                .into(),
        },
        Ok(text) => check_output(text.trim().to_owned(), plugin),
        Err(error) => Outcome::InvalidOutput {
            cause: format!(
                "stdout is not UTF-8 at byte {}; write one JSON text",
                error.utf8_error().valid_up_to()
            ),
        },
    }
}

fn check_output(output: String, plugin: &Loaded) -> Outcome {
    let limit = plugin.limits.output_bytes;
    let bytes = output.len() as u64;
    if bytes > limit {
        return Outcome::OutputTooLarge { bytes, limit };
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(&output) {
        Ok(_) => Outcome::Ok(output),
        Err(error) => {
            let start: String = output.chars().take(100).collect();
            Outcome::InvalidOutput {
                cause: format!("the output is not JSON: {error}; it begins with `{start}`"),
            }
        }
    }
}
