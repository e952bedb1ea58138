//! How often triggers fired, for the metrics. Hides that the counts are shared by threads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What starts executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerKind {
    Schedule,
    Http,
    Event,
}

/// What became of a firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FiringOutcome {
    /// An execution was started.
    Started,
    /// It had been started before: a crash, or a request that was sent again.
    Repeated,
    /// It could not be started yet and is tried again.
    Retried,
    /// It could not be started.
    Failed,
    /// It was due while nobody looked, and the policy passes over it.
    Missed,
    /// The request did not have the trigger's secret.
    Denied,
}

impl TriggerKind {
    pub const ALL: [TriggerKind; 3] =
        [TriggerKind::Schedule, TriggerKind::Http, TriggerKind::Event];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            TriggerKind::Schedule => "schedule",
            TriggerKind::Http => "http",
            TriggerKind::Event => "event",
        }
    }
}

impl FiringOutcome {
    pub const ALL: [FiringOutcome; 6] = [
        FiringOutcome::Started,
        FiringOutcome::Repeated,
        FiringOutcome::Retried,
        FiringOutcome::Failed,
        FiringOutcome::Missed,
        FiringOutcome::Denied,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            FiringOutcome::Started => "started",
            FiringOutcome::Repeated => "repeated",
            FiringOutcome::Retried => "retried",
            FiringOutcome::Failed => "failed",
            FiringOutcome::Missed => "missed",
            FiringOutcome::Denied => "denied",
        }
    }
}

/// One for an engine.
#[derive(Default)]
pub(crate) struct Counts([[AtomicU64; FiringOutcome::ALL.len()]; TriggerKind::ALL.len()]);

impl Counts {
    pub(super) fn add(&self, kind: TriggerKind, outcome: FiringOutcome, more: u64) {
        self.0[kind as usize][outcome as usize].fetch_add(more, Relaxed);
    }

    /// Each kind and outcome with its count, in the order of the kinds.
    pub(crate) fn all(&self) -> Vec<(TriggerKind, FiringOutcome, u64)> {
        let kinds = TriggerKind::ALL.into_iter();
        kinds
            .flat_map(|kind| FiringOutcome::ALL.map(|outcome| (kind, outcome)))
            .map(|(kind, outcome)| {
                let count = self.0[kind as usize][outcome as usize].load(Relaxed);
                (kind, outcome, count)
            })
            .collect()
    }
}
