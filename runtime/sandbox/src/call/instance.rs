//! A guest's instance: its store, what it says, and what of it is another attempt's when it serves again. Hides WASI's contexts.

use super::CallContext;
use super::attempt::Attempt;
use crate::bindings::Task;
use crate::bindings::stepwell::task::types::Context as WireContext;
use crate::clock;
use crate::code::{Code, chain};
use crate::egress::Egress;
use crate::folders::Opened;
use crate::guest::{Guest, Log, Meter, Refused};
use crate::limits;
use crate::manifest::{Contract, Limits};
use crate::metered::Brake;
use crate::origin::Origins;
use crate::outcome::{Frame, Outcome, TaskEnd, Usage};
use crate::registry::Loaded;
use crate::secret::Used;
use crate::sockets;
use crate::stdio::{Capture, Keep};
use crate::tally::Tally;
use crate::verdict::{Ended, Returned, Seen};
use bytes::Bytes;
use std::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiView as _};
use wasmtime_wasi_http::WasiHttpCtx;

/// A guest's instance, with all that it holds.
pub(crate) struct Instance {
    store: Store<Guest>,
    /// A component that was instantiated and can be called again; not while it runs.
    task: Option<Task>,
    /// One that was stopped by it serves nobody again.
    pub(super) brake: Brake,
    stdio: Stdio,
    pub(crate) made: Instant,
    /// Calls so far, with the one that runs.
    pub(crate) calls: u64,
}

impl Instance {
    /// One that waits for such an attempt, else a fresh one.
    pub(super) fn of(attempt: &Attempt<'_>) -> Result<Self, String> {
        if attempt.may_reuse()
            && let Some(mut kept) = attempt.services.shelf.take(attempt.plugin)
        {
            kept.renew(attempt);
            return Ok(kept);
        }
        let log_tail = attempt.call.log_tail;
        let stdio = Stdio::new(attempt.plugin.contract, attempt.limits, log_tail);
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
    pub(super) fn end(
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
            setting: None,
        };
        guest.egress.used.mask(&mut end);
        end
    }

    /// What the attempt comes to, and what it was refused meanwhile.
    pub(super) fn outcome(
        &self,
        plugin: &Loaded,
        origins: Origins<'_>,
        wall: Duration,
        ended: Ended,
    ) -> (Outcome, Vec<String>) {
        let guest = self.store.data();
        let refused = guest.egress.refused.take();
        let seen = Seen {
            contract: plugin.contract,
            limits: origins.in_force,
            wall,
            exceeded: guest.meter.exceeded.as_ref(),
            origins,
            stdio: &self.stdio,
            refused: &refused,
        };
        (seen.decide(ended), refused)
    }

    /// Fuel used of a limit, where there is one.
    pub(super) fn used_fuel(&self, limit: Option<u64>) -> Option<u64> {
        let limit = limit?;
        let left = self.store.get_fuel().ok()?;
        Some(limit.saturating_sub(left))
    }

    /// What it knows of the attempt's use.
    pub(super) fn usage(&self) -> Usage {
        let guest = self.store.data();
        Usage {
            memory_bytes_max: guest.meter.memory_max,
            reused: self.calls > 1,
            host: guest.egress.tally.take(),
            ..Usage::default()
        }
    }

    /// Whether it may serve another attempt after this end: only who came back of himself.
    pub(super) fn is_sound(&self, outcome: &Outcome) -> bool {
        let came_back = matches!(outcome, Outcome::Ok(_) | Outcome::Failed { .. });
        came_back && self.task.is_some()
    }

    /// Calls the guest.
    pub(super) async fn drive(
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

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.store.data().meter.held()
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
    let names = attempt.services.connector.names();
    sockets::allow(&mut builder, plugin, refused, &names);
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
