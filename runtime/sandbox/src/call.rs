//! A task to be run once, as who asks for it says it. Hides how it is run ([`run`]).

mod attempt;
mod instance;

use crate::manifest::Limits;
use crate::outcome::PluginStamp;
use crate::registry::Upload;
use crate::secret::CallSecrets;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

pub(crate) use attempt::{Services, limits_of, run, unstarted};
pub(crate) use instance::{Instance, Stdio};

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
    /// What sets those, for people who meet one; the limit's key in a manifest is put behind it.
    pub lowered_by: &'static str,
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
    /// Whether [`crate::TaskEnd::log_tail`] is wanted.
    pub log_tail: bool,
    /// Ends the call and lets the guest tidy up. Dropping the call's future ends it at once.
    pub cancel: Option<CancelHandle>,
    /// Whether the thread that first polls the call has nothing else to begin. A plugin whose calls are quick runs there then, as
    /// far as it comes within an epoch tick, where a thread of the sandbox would have been free for it.
    pub alone: bool,
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
            lowered_by: "the call's own limit of ",
            wall: None,
            deadline: None,
            heartbeats: None,
            started: None,
            permit: None,
            waits: None,
            log_tail: false,
            cancel: None,
            alone: false,
        }
    }
}
