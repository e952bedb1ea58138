//! One attempt, from its instance to its end. Hides time keeping, and how a call is cancelled.

use super::instance::Instance;
use super::{CallContext, CancelHandle, TaskCall};
use crate::bindings::stepwell::task::types::Context as WireContext;
use crate::kept::Shelf;
use crate::limits;
use crate::manifest::{Contract, Limits, Reuse};
use crate::metered::Metered;
use crate::origin::Origins;
use crate::outcome::{Outcome, Tail, TaskEnd, Usage};
use crate::registry::Loaded;
use crate::sandbox::SecretSource;
use crate::secret::Had;
use crate::turns::Pace;
use crate::verdict::{Ended, Returned};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use stepwell_egress::Connector;

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
        setting: None,
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
    let origins = Origins::new(plugin, limits, call);
    let (outcome, refused) = instance.outcome(plugin, origins, due.wall, ended);
    let usage = Usage {
        cpu: pace.cpu(),
        wall: begun.elapsed(),
        queued,
        input_bytes,
        output_bytes: outcome.output().map_or(0, |output| output.len() as u64),
        fuel: instance.used_fuel(limits.fuel),
        ..instance.usage()
    };
    let mut end = instance.end(plugin, outcome, usage, frames, refused);
    end.started = Some(started);
    end.setting = origins.of_outcome(&end.outcome);
    if may_reuse && instance.is_sound(&end.outcome) {
        services.shelf.put(plugin, instance);
    }
    end
}

/// What an instance is made or taken for.
pub(super) struct Attempt<'a> {
    pub(super) plugin: &'a Arc<Loaded>,
    pub(super) limits: &'a Limits,
    pub(super) services: &'a Services,
    pub(super) call: &'a TaskCall,
    pub(super) secrets: Had,
    pub(super) begun: Instant,
    pub(super) left: Duration,
}

impl Attempt<'_> {
    /// Whether its instance may have served before, and may serve again. What has its memory already keeps to no lower
    /// limit.
    pub(super) fn may_reuse(&self) -> bool {
        self.plugin.instance.reuse == Reuse::Tenant
            && self.plugin.contract == Contract::Component
            && self.call.lowered.is_none()
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
