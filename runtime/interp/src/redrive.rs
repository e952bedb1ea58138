//! Whether an execution can be redriven, and why not, in the service's words. One rule for those who describe an
//! execution and for the one who decides.

use crate::{
    Timestamp,
    border::{Ending, RedrivenBy},
    limits::{Limits, REDRIVE_EVENTS, REDRIVE_TOKEN_MS},
    run::Run,
};

/// Why an execution cannot be redriven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRedrivable {
    #[error("State machine is in DELETING status")]
    Deleting,
    #[error("Execution is RUNNING and cannot be redriven")]
    Running,
    #[error("Execution is SUCCEEDED and cannot be redriven")]
    Succeeded,
    #[error("Execution history event limit exceeded")]
    HistoryFull,
    #[error("Execution has exceeded the max execution time")]
    TooLong,
    #[error("Execution redrivable period exceeded")]
    TooLate,
    /// Of no STANDARD state machine. No public call gets so far with one.
    #[error("Execution is of type EXPRESS and cannot be redriven")]
    Express,
}

/// What a call to redrive comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redrive {
    /// It redrives the execution.
    Now,
    /// It did before: it is the same call, by its token.
    Before(Timestamp),
}

/// What decides on it, as an execution's row has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub started_at: Timestamp,
    /// When it closed without success; `Err` for others.
    pub failed_at: Result<Timestamp, NotRedrivable>,
    /// Public events so far.
    pub events: u64,
    pub raised_limits: bool,
}

impl Standing {
    /// Whether a redrive at that time is allowed.
    pub fn check(&self, at: Timestamp) -> Result<(), NotRedrivable> {
        let limits = Limits::of(self.raised_limits);
        let failed_at = self.failed_at?;
        if self.is_full() {
            return Err(NotRedrivable::HistoryFull);
        }
        let over = |most: Option<u64>, since| most.is_some_and(|ms| at.since_ms(since) >= ms);
        if over(limits.duration_ms_max, self.started_at) {
            return Err(NotRedrivable::TooLong);
        }
        if over(limits.redrivable_ms, failed_at) {
            return Err(NotRedrivable::TooLate);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let most = Limits::of(self.raised_limits).history_events_max;
        self.events.saturating_add(REDRIVE_EVENTS) > most
    }
}

impl Run {
    /// What a call to redrive it at that time comes to.
    pub fn may_redrive(
        &self,
        token: Option<&str>,
        by: RedrivenBy,
        at: Timestamp,
    ) -> Result<Redrive, NotRedrivable> {
        let before = token.and_then(|token| self.redriven_with(token));
        if let Some(before) = before.filter(|before| at.since_ms(*before) < REDRIVE_TOKEN_MS) {
            return Ok(Redrive::Before(before));
        }
        let standing = self.standing().ok_or(NotRedrivable::Running)?;
        let express = self.start().is_some_and(|start| start.express);
        match by {
            RedrivenBy::Caller if express => return Err(NotRedrivable::Express),
            RedrivenBy::Caller => standing.check(at)?,
            // The map run has looked at the time when it decided on all its children.
            RedrivenBy::MapRun => {
                standing.failed_at?;
                if standing.is_full() {
                    return Err(NotRedrivable::HistoryFull);
                }
            }
        }
        Ok(Redrive::Now)
    }

    /// What decides on its redrive; none before its start.
    fn standing(&self) -> Option<Standing> {
        Some(Standing {
            started_at: self.started_at(),
            failed_at: match self.ending() {
                None => Err(NotRedrivable::Running),
                Some(Ending::Succeeded { .. }) => Err(NotRedrivable::Succeeded),
                Some(Ending::Failed { .. } | Ending::TimedOut { .. } | Ending::Aborted { .. }) => {
                    Ok(self.last_at())
                }
            },
            events: self.next_public_id() - 1,
            raised_limits: self.start()?.raised_limits,
        })
    }
}
