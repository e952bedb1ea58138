//! One attempt of a task, from its instance to its end. Hides stores, contexts and time keeping.

use crate::bindings::Task;
use crate::bindings::stepwell::task::types::Context as WireContext;
use crate::clock;
use crate::code::{Code, chain};
use crate::egress::Egress;
use crate::folders::Opened;
use crate::guest::{Guest, Log, Meter, Refused};
use crate::kept::Shelf;
use crate::limits;
use crate::manifest::{Contract, Limits, Reuse};
use crate::metered::{Brake, Metered};
use crate::outcome::{Frame, Outcome, PluginStamp, Tail, TaskEnd, Usage};
use crate::registry::{Loaded, Upload};
use crate::sandbox::SecretSource;
use crate::secret::{CallSecrets, Had, Used};
use crate::sockets;
use crate::stdio::{Capture, Keep};
use crate::tally::Tally;
use crate::turns::Pace;
use crate::verdict::{Ended, Returned, Seen};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use stepwell_egress::Connector;
use tokio::sync::{oneshot, watch};
use wasmtime::Store;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiView as _};
use wasmtime_wasi_http::WasiHttpCtx;

/// A task to be run once.
#[derive(Debug)]
pub struct TaskCall {
    /// The account whose plugin and grants are used: 12 digits.
    pub tenant: Arc<str>,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The version wanted; none or `$LATEST` takes what there is.
    pub version: Option<String>,
    /// The plugin itself, when it is kept elsewhere than in the folder; `version` counts for nothing then.
    pub upload: Option<Upload>,
    /// Where secrets are that the operator's file does not have; none has no others.
    pub secrets: Option<CallSecrets>,
    /// One JSON text.
    pub input: Arc<str>,
    /// What the task is told about the call.
    pub context: CallContext,
    /// Limits of this call, where they are lower than the plugin's own. Fuel counts for nothing here.
    pub lowered: Option<Arc<Limits>>,
    /// A wall limit for this call that replaces the plugin's own, as far as the operator's ceiling goes.
    pub wall: Option<Duration>,
    /// Time from now until the call is ended, waiting included. None leaves it to the plugin's limits.
    pub deadline: Option<Duration>,
    /// Has the guest's signs of life: those that come faster than it is looked at are merged.
    pub heartbeats: Option<watch::Sender<Heartbeat>>,
    /// Told when the guest begins to run, and which plugin that is.
    pub started: Option<oneshot::Sender<Arc<PluginStamp>>>,
    /// After `started` the guest waits for this; an error cancels the call.
    pub permit: Option<oneshot::Receiver<()>>,
    /// Told what the call waits for while its plugin is not loaded, again whenever that changes.
    pub waits: Option<Waits>,
    /// Whether [`TaskEnd::log_tail`] is wanted.
    pub log_tail: bool,
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

/// Is told, in a sentence for people, what a call waits for.
#[derive(Clone)]
pub struct Waits(Arc<dyn Fn(&str) + Send + Sync>);

impl Waits {
    /// Calls this with each text; it must not block.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, why: &str) {
        (self.0)(why);
    }
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waits")
    }
}

/// The signs of life of a call so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// How many there were.
    pub beats: u64,
    /// The last note that came with one, at most 1 KiB.
    pub progress: Option<Arc<str>>,
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

    pub(crate) async fn cancelled(&self) {
        // The sender lives in this handle, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

impl TaskCall {
    /// A call with no bounds of its own.
    pub fn new(
        tenant: impl Into<Arc<str>>,
        plugin: impl Into<Arc<str>>,
        input: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            tenant: tenant.into(),
            plugin: plugin.into(),
            version: None,
            upload: None,
            secrets: None,
            input: input.into(),
            context: CallContext {
                attempt: 1,
                ..CallContext::default()
            },
            lowered: None,
            wall: None,
            deadline: None,
            heartbeats: None,
            started: None,
            permit: None,
            waits: None,
            log_tail: false,
            cancel: None,
        }
    }
}

/// The host's part in an attempt.
pub(crate) struct Services {
    pub(crate) connector: Connector,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) shelf: Arc<Shelf>,
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
        log_tail: None,
        frames: Vec::new(),
        refused: Vec::new(),
    }
}

/// What one attempt may use: the plugin's own limits, or lower ones.
pub(crate) fn limits_of(plugin: &Loaded, call: &TaskCall) -> Limits {
    let mut limits = match &call.lowered {
        Some(lowered) => plugin.limits.within(lowered),
        None => plugin.limits.clone(),
    };
    // Which engine a plugin needs is decided when it is loaded.
    limits.fuel = plugin.limits.fuel;
    limits
}

/// Runs the guest.
pub(crate) async fn run(
    plugin: &Arc<Loaded>,
    limits: &Limits,
    services: &Services,
    secrets: Had,
    call: &mut TaskCall,
    pace: &Pace,
) -> TaskEnd {
    let input_bytes = call.input.len() as u64;
    if !may_begin(plugin, call).await {
        let queued = pace.called.elapsed();
        return unstarted(Outcome::Cancelled, Some(plugin), input_bytes, queued);
    }
    let (begun, started) = (Instant::now(), SystemTime::now());
    let queued = begun - pace.called;
    let due = Due::new(plugin, limits, call, pace.called, begun);
    pace.set_due(due.at);
    let attempt = Attempt {
        plugin,
        limits,
        services,
        call: &*call,
        secrets,
        begun,
        left: due.at - begun,
    };
    let may_reuse = attempt.may_reuse();
    let mut instance = match Instance::of(&attempt) {
        Ok(instance) => instance,
        Err(cause) => {
            let broken = Outcome::PluginBroken { cause };
            return unstarted(broken, Some(plugin), input_bytes, queued);
        }
    };
    let context = wire(std::mem::take(&mut call.context), due.at - begun);
    let ended = {
        let brake = instance.brake.clone();
        let guest = std::pin::pin!(instance.drive(plugin, &call.input, &context));
        let metered = Metered::new(guest, pace, brake, limits.cpu, due.at);
        until_ended(metered, call.cancel.as_ref()).await
    };
    let frames = ended.frames();
    let refused = instance.store.data().egress.refused.take();
    let seen = Seen {
        contract: plugin.contract,
        limits,
        wall: due.wall,
        exceeded: instance.store.data().meter.exceeded.as_deref(),
        stdio: &instance.stdio,
        refused: &refused,
    };
    let outcome = seen.decide(ended);
    let usage = Usage {
        cpu: pace.cpu(),
        wall: begun.elapsed(),
        queued,
        input_bytes,
        output_bytes: outcome.output().map_or(0, |output| output.len() as u64),
        fuel: used_fuel(&instance.store, limits.fuel),
        ..instance.usage()
    };
    let mut end = instance.end(plugin, outcome, usage, frames, refused);
    end.started = Some(started);
    if may_reuse && instance.is_sound(&end.outcome) {
        services.shelf.put(plugin, instance);
    }
    end
}

/// What an instance is made or taken for.
struct Attempt<'a> {
    plugin: &'a Arc<Loaded>,
    limits: &'a Limits,
    services: &'a Services,
    call: &'a TaskCall,
    secrets: Had,
    begun: Instant,
    left: Duration,
}

impl Attempt<'_> {
    /// Whether its instance may have served before, and may serve again. What has its memory already keeps to no lower
    /// limit.
    fn may_reuse(&self) -> bool {
        self.plugin.instance.reuse == Reuse::Tenant
            && self.plugin.contract == Contract::Component
            && self.call.lowered.is_none()
    }

    fn stdio(&self) -> Stdio {
        Stdio::new(self.plugin.contract, self.limits, self.call.log_tail)
    }
}

/// A guest's instance, with all that it holds.
pub(crate) struct Instance {
    store: Store<Guest>,
    /// A component that was instantiated and can be called again; not while it runs.
    task: Option<Task>,
    /// One that was stopped by it serves nobody again.
    brake: Brake,
    stdio: Stdio,
    pub(crate) made: Instant,
    /// Calls so far, with the one that runs.
    pub(crate) calls: u64,
}

impl Instance {
    /// One that waits for such an attempt, else a fresh one.
    fn of(attempt: &Attempt<'_>) -> Result<Self, String> {
        if attempt.may_reuse()
            && let Some(mut kept) = attempt.services.shelf.take(attempt.plugin)
        {
            kept.renew(attempt);
            return Ok(kept);
        }
        let stdio = attempt.stdio();
        let refused = Refused::default();
        let wasi = wasi(attempt, &stdio, &refused)?;
        let brake = Brake::default();
        let mut store = store(attempt, wasi, refused, brake.clone());
        store.data_mut().log.copied_to = stdio.log_tail.clone();
        Ok(Self {
            store,
            task: None,
            brake,
            stdio,
            made: attempt.begun,
            calls: 1,
        })
    }

    /// Makes an instance that has served ready for another attempt: all that is of an attempt is this one's.
    fn renew(&mut self, attempt: &Attempt<'_>) {
        let call = attempt.call;
        self.calls += 1;
        let tail = || Capture::new(Keep::Tail, limits::LOG_TAIL_BYTES);
        self.stdio.log_tail = call.log_tail.then(tail);
        let all = self.stdio.log_tail.as_ref();
        self.stdio.stdout.renew(all);
        self.stdio.stderr.renew(all);
        let guest = self.store.data_mut();
        guest.log = Log::new(attempt.limits.log_bytes, attempt.begun);
        guest.log.copied_to = self.stdio.log_tail.clone();
        guest.meter.renew();
        // What came in between was nobody's.
        guest.egress.tally.take();
        guest.egress.secrets = attempt.secrets.clone();
        guest.heartbeats.clone_from(&call.heartbeats);
        guest.cancel.clone_from(&call.cancel);
        guest
            .egress
            .idempotency_key
            .clone_from(&call.context.idempotency_key);
        // What a request noted after the end of its attempt is not this one's.
        guest.egress.refused.take();
        begin(&mut self.store, attempt.limits);
    }

    /// The attempt's end, with all that was said; secrets that were sent out are not in it.
    fn end(
        &mut self,
        plugin: &Loaded,
        outcome: Outcome,
        usage: Usage,
        frames: Vec<Frame>,
        refused: Vec<String>,
    ) -> TaskEnd {
        let guest = self.store.data_mut();
        let mut end = TaskEnd {
            outcome,
            usage,
            started: None,
            plugin: Some(plugin.stamp.clone()),
            logs: std::mem::take(&mut guest.log.lines),
            logs_cut: guest.log.cut,
            stdout: self.stdio.stdout.tail(),
            stderr: self.stdio.stderr.tail(),
            log_tail: self.stdio.log_tail.as_ref().map(Capture::tail),
            frames,
            refused,
        };
        guest.egress.used.mask(&mut end);
        end
    }

    /// What it knows of the attempt's use.
    fn usage(&self) -> Usage {
        let guest = self.store.data();
        Usage {
            memory_bytes_max: guest.meter.memory_max,
            reused: self.calls > 1,
            host: guest.egress.tally.take(),
            ..Usage::default()
        }
    }

    /// Whether it may serve another attempt after this end: only who came back of himself.
    fn is_sound(&self, outcome: &Outcome) -> bool {
        let came_back = matches!(outcome, Outcome::Ok(_) | Outcome::Failed { .. });
        came_back && self.task.is_some()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.store.data().meter.held()
    }
}

/// Tells that the guest is about to begin, and waits until it may; false when nobody wants it to any more.
async fn may_begin(plugin: &Loaded, call: &mut TaskCall) -> bool {
    if let Some(listener) = call.started.take() {
        // Nobody has to listen.
        let _ = listener.send(plugin.stamp.clone());
    }
    match call.permit.take() {
        Some(permit) => permit.await.is_ok(),
        None => true,
    }
}

/// Fuel used of a limit, where there is one.
fn used_fuel(store: &Store<Guest>, limit: Option<u64>) -> Option<u64> {
    let limit = limit?;
    let left = store.get_fuel().ok()?;
    Some(limit.saturating_sub(left))
}

/// Waits for the guest, and for whoever cancels it.
async fn until_ended<F>(mut metered: Metered<'_, F>, cancel: Option<&CancelHandle>) -> Ended
where
    F: Future<Output = wasmtime::Result<Returned>>,
{
    let Some(cancel) = cancel else {
        return metered.await;
    };
    tokio::select! {
        biased;
        // It may have heard of the cancelling before this did.
        ended = &mut metered => if cancel.reason().is_some() { Ended::Cancelled } else { ended },
        () = cancel.cancelled() => {
            // The guest may tidy up; what it returns now is of no interest.
            metered.pace.set_due(Instant::now() + limits::CANCEL_GRACE);
            let _ = tokio::time::timeout(limits::CANCEL_GRACE, &mut metered).await;
            Ended::Cancelled
        }
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
        limits: &Limits,
        call: &TaskCall,
        called: Instant,
        begun: Instant,
    ) -> Self {
        let wall = call.wall.unwrap_or(limits.wall).min(plugin.wall_max);
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

pub(crate) struct Stdio {
    pub(crate) stdout: Capture,
    pub(crate) stderr: Capture,
    /// What both and the log interface get, where that is asked for.
    log_tail: Option<Capture>,
}

impl Stdio {
    fn new(contract: Contract, limits: &Limits, log_tail: bool) -> Self {
        let log_tail = log_tail.then(|| Capture::new(Keep::Tail, limits::LOG_TAIL_BYTES));
        let log = |bytes| Capture::new(Keep::Tail, bytes).copied_to(log_tail.as_ref());
        let stdout = match contract {
            Contract::Component => log(limits.stdout_bytes),
            Contract::Command => Capture::new(Keep::Head, limits.output_bytes),
        };
        Self {
            stdout,
            stderr: log(limits.stderr_bytes),
            log_tail,
        }
    }
}

fn wasi(attempt: &Attempt<'_>, stdio: &Stdio, refused: &Refused) -> Result<WasiP1Ctx, String> {
    let (plugin, call) = (attempt.plugin, attempt.call);
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
        for (name, value) in environment(&call.context, attempt.left) {
            builder.env(name, value);
        }
    }
    sockets::allow(&mut builder, plugin, refused);
    clock::set(&mut builder, plugin, &call.context.idempotency_key);
    for grant in &plugin.granted.fs {
        let perms = match grant.mode {
            crate::FsMode::ReadOnly => FsPerms::ReadOnly,
            crate::FsMode::ReadWrite => FsPerms::ReadWrite,
        };
        let unusable = |why: String| {
            format!(
                "the granted folder {} cannot be opened: {why}",
                grant.host.display()
            )
        };
        let opened = Opened::new(&grant.host).map_err(|error| unusable(error.to_string()))?;
        builder
            .preopened_dir(opened.path(), &grant.guest, perms)
            .map_err(|error| unusable(chain(&error)))?;
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

fn wire(context: CallContext, left: Duration) -> WireContext {
    WireContext {
        execution_id: context.execution_id,
        state_machine: context.state_machine,
        state_name: context.state_name,
        attempt: context.attempt,
        idempotency_key: context.idempotency_key,
        task_token: context.task_token,
        deadline_ms: u32::try_from(left.as_millis()).ok(),
        trace_parent: context.trace_parent,
    }
}

fn store(
    attempt: &Attempt<'_>,
    mut wasi: WasiP1Ctx,
    refused: Refused,
    brake: Brake,
) -> Store<Guest> {
    let &Attempt {
        plugin,
        limits,
        services,
        call,
        ..
    } = attempt;
    wasi.ctx().table.set_max_capacity(limits::RESOURCES_MAX);
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(limits::HTTP_FIELDS_BYTES_MAX);
    let tally = Tally::default();
    let guest = Guest {
        wasi,
        http,
        egress: Egress {
            plugin: plugin.clone(),
            refused,
            connector: services.connector.clone(),
            secrets: attempt.secrets.clone(),
            used: Used::default(),
            idempotency_key: call.context.idempotency_key.clone(),
            tally,
        },
        meter: Meter::new(limits.memory_bytes, limits.table_elements),
        log: Log::new(limits.log_bytes, attempt.begun),
        heartbeats: call.heartbeats.clone(),
        cancel: call.cancel.clone(),
    };
    let mut store = Store::new(&plugin.machine.engine, guest);
    store.limiter(|guest| &mut guest.meter);
    store.epoch_deadline_callback(move |_| Ok(brake.at_tick()));
    store.set_hostcall_fuel(limits::HOSTCALL_BYTES);
    begin(&mut store, limits);
    store
}

/// Sets what is counted anew for each attempt.
fn begin(store: &mut Store<Guest>, limits: &Limits) {
    store.set_epoch_deadline(1);
    if let Some(fuel) = limits.fuel {
        // The engine of a metered plugin counts fuel, so this cannot fail; were it to, the guest would have none.
        let _ = store.set_fuel(fuel);
    }
}

impl Instance {
    async fn drive(
        &mut self,
        plugin: &Loaded,
        input: &str,
        context: &WireContext,
    ) -> wasmtime::Result<Returned> {
        let store = &mut self.store;
        match &plugin.code {
            Code::Task(pre) => {
                let task = match self.task.take() {
                    Some(task) => task,
                    None => pre.instantiate_async(&mut *store).await?,
                };
                let returned = task
                    .stepwell_task_handler()
                    .call_handle(&mut *store, input, context)
                    .await?;
                self.task = Some(task);
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
}
