//! What a task is told about its call, and how it says that it lives.

use std::time::Duration;

/// Where a call comes from. The same for the whole call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The execution's ARN.
    pub execution_id: String,
    /// The state machine's ARN.
    pub state_machine: String,
    /// The name of the Task state.
    pub state_name: String,
    /// 1 for the first attempt of this visit to the state, one more for every retry.
    pub attempt: u32,
    /// The same for every attempt of this visit to the state. Hand it to systems that recognise doubled requests.
    pub idempotency_key: String,
    /// Present in a `.waitForTaskToken` state.
    pub task_token: Option<String>,
    /// Time from the start of the call until it is ended, where there is such a bound.
    pub deadline: Option<Duration>,
    /// A W3C `traceparent` value, when the call is traced.
    pub trace_parent: Option<String>,
}

impl Context {
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn for_test() -> Self {
        Self {
            execution_id: "arn:aws:states:us-east-1:000000000000:execution:Test:test".into(),
            state_machine: "arn:aws:states:us-east-1:000000000000:stateMachine:Test".into(),
            state_name: "Test".into(),
            attempt: 1,
            idempotency_key: "test".into(),
            task_token: None,
            deadline: None,
            trace_parent: None,
        }
    }
}

/// The call is being ended: tidy up and return within half a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The execution was stopped, or nobody waits for this task any more.
    Stopped,
    /// The time of the state or of its heartbeat is over.
    TimedOut,
}

impl std::fmt::Display for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stopped => "the task was stopped",
            Self::TimedOut => "the task's time is over",
        })
    }
}

impl std::error::Error for Cancelled {}

/// Says that the task is alive, which renews the state's `HeartbeatSeconds`, and notes its progress (at most 1 KiB).
///
/// # Errors
/// [`Cancelled`] when the call is being ended; `?` turns it into a task error of that name.
pub fn heartbeat(progress: impl AsRef<str>) -> Result<(), Cancelled> {
    crate::host::heartbeat(progress.as_ref())
}
