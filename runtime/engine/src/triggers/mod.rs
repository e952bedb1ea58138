//! What starts executions beside calls of the API: schedules, HTTP endpoints, events. Hides their records, the queue of what is
//! due, and who looks at it.
//!
//! A run has a name that follows from what asks for it (a schedule and a time, an event and a target), and the execution has
//! that name: whatever a crash repeats finds it there. What is due is a record whose name begins with its time, written with
//! what it follows from, so nothing that was accepted is forgotten.

mod counts;
mod cron;
mod deliveries;
mod events;
mod firing;
mod groups;
mod http;
mod keeper;
#[cfg(test)]
mod life;
mod look;
mod pattern;
mod queue;
mod removal;
mod rules;
mod schedule;
mod schedules;
mod timing;
mod transform;

use crate::error::{Code, Error};

pub(crate) use counts::Counts;
pub use counts::{FiringOutcome, TriggerKind};
pub use events::{Accepted, Event};
pub use groups::ScheduleGroup;
pub use http::{HttpAdmission, HttpAnswer, HttpMode, HttpTrigger, NewHttpTrigger, SecretChange};
pub(crate) use keeper::TriggerKeeper;
pub(crate) use look::LookPulse;
pub use pattern::event_matches;
pub use rules::{EventTarget, NewRule, Rule};
pub use schedule::{LastRun, Missed, Schedule, ScheduleSpec, ScheduleTarget};
pub use schedules::ScheduleFilter;
pub use transform::EventInput;

/// Why a call about triggers was not carried out.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum TriggerError {
    /// There is no such trigger.
    #[error("{0}")]
    NotFound(String),
    /// The name is taken, or others change the trigger at the same time.
    #[error("{0}")]
    Conflict(String),
    /// The request asks for what cannot be.
    #[error("{0}")]
    Invalid(String),
    /// There are as many as there may be.
    #[error("{0}")]
    Full(String),
    /// Anything else.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// A refusal of a call of events, by whoever translates it.
impl From<TriggerError> for Error {
    fn from(error: TriggerError) -> Error {
        match error {
            TriggerError::NotFound(text) => Error::rejected(Code::ResourceNotFound, text),
            TriggerError::Conflict(text) => Error::rejected(Code::ConflictException, text),
            TriggerError::Invalid(text) => Error::rejected(Code::ValidationException, text),
            TriggerError::Full(text) => Error::rejected(Code::ServiceQuotaExceededException, text),
            TriggerError::Engine(error) => error,
        }
    }
}

/// What became of an attempt to start an execution.
#[derive(Clone, Debug, PartialEq)]
enum Attempted {
    /// It was started now, or by the same attempt before a crash.
    Started { arn: String, now: bool },
    /// It may be started later.
    Later(String),
    /// It cannot be started.
    Never(String),
}

impl Attempted {
    fn of_error(error: Error) -> Attempted {
        match error {
            Error::Rejected {
                code:
                    Code::ThrottlingException
                    | Code::ExecutionLimitExceeded
                    | Code::ServiceQuotaExceededException
                    | Code::ConflictException,
                message,
            }
            | Error::Busy(message) => Attempted::Later(message),
            Error::Rejected { code, message } => Attempted::Never(format!("{code:?}: {message}")),
            Error::Broken(why)
            | Error::Damaged(why)
            | Error::Held(why)
            | Error::Unopened(why)
            | Error::Unusable(why) => {
                tracing::error!(error = %why, "a trigger could not start its execution");
                Attempted::Later(
                    "the start failed inside the runtime; its log has the cause".to_owned(),
                )
            }
        }
    }
}

/// Milliseconds until the next of `attempts` that failed: doubled each time, a minute at most.
fn pause_ms(attempts: u32) -> u64 {
    const FIRST_MS: u64 = 1_000;
    const LAST_MS: u64 = 60_000;
    (FIRST_MS << attempts.saturating_sub(1).min(16)).min(LAST_MS)
}

/// `2026-01-31T12:00:00Z`.
fn iso(at_s: i64) -> String {
    let at = jiff::Timestamp::from_second(at_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The name of a run's execution: what it can be told by, and a hash of all that makes it this run.
fn run_name(readable: &str, parts: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    const READABLE_CHARS: usize = 44;
    const HASH_BYTES: usize = 12;
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = crate::dispatch::hex(&hash.finalize()[..HASH_BYTES]);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let readable: String = readable
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(READABLE_CHARS)
        .collect();
    format!("{readable}-{hash}")
}

/// A UUID that follows from a run's name.
fn run_uuid(name: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(name);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .hyphenated()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_tell_runs_apart() {
        let name = run_name(&"x".repeat(200), &["a", "b"]);
        assert!(crate::arn::check_name(&name).is_ok(), "{name}");
        assert_eq!(name, run_name(&"x".repeat(200), &["a", "b"]));
        assert_ne!(name, run_name(&"x".repeat(200), &["ab", ""]));
        let odd = run_name("a b/c:ä", &["a"]);
        assert!(odd.starts_with("a-b-c---"), "{odd}");
        assert_eq!(run_uuid(&name).len(), 36);
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let pauses: Vec<u64> = [1, 2, 3, 6, 7, 200].map(pause_ms).to_vec();
        assert_eq!(pauses, [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
    }
}
