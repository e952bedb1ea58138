//! How near an execution is to its limits: what a warning says before one is hit. Hides what counts to which.

use stepwell_query::Value;

use crate::{
    border::Start,
    event::{Assigned, Event, What},
    limits::{Limits, NEAR_PERCENT},
    run::Run,
};

/// A limit of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Bytes of an input, output or result.
    Payload,
    /// Public events.
    History,
    /// Bytes of one variable.
    Variable,
    /// Bytes of all variables that one state assigns.
    Assign,
    /// Bytes of all variables.
    Variables,
}

impl Limit {
    /// All of them.
    pub const ALL: [Limit; 5] = [
        Limit::Payload,
        Limit::History,
        Limit::Variable,
        Limit::Assign,
        Limit::Variables,
    ];

    /// Its name for logs, metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Payload => "payload",
            Limit::History => "history",
            Limit::Variable => "variable",
            Limit::Assign => "assign",
            Limit::Variables => "variables",
        }
    }

    /// What it counts.
    pub fn unit(self) -> &'static str {
        match self {
            Limit::History => "events",
            Limit::Payload | Limit::Variable | Limit::Assign | Limit::Variables => "bytes",
        }
    }
}

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub limit: Limit,
    pub used: u64,
    pub most: u64,
}

impl Usage {
    /// What is left of the limit.
    pub fn left(&self) -> u64 {
        self.most.saturating_sub(self.used)
    }

    /// Whether at least [`NEAR_PERCENT`] of the limit is used.
    pub fn is_near(&self) -> bool {
        self.used.saturating_mul(100) >= self.most.saturating_mul(NEAR_PERCENT)
    }

    fn of(limit: Limit, used: usize, most: usize) -> Usage {
        Usage {
            limit,
            used: used as u64,
            most: most as u64,
        }
    }
}

/// How much of the limits one event uses: its largest payload, and what it assigns.
pub fn usage(event: &Event, limits: &Limits) -> Vec<Usage> {
    let payload = payload(&event.what).map(|value| {
        let bytes = value.json_bytes();
        Usage::of(Limit::Payload, bytes, limits.payload_bytes_max)
    });
    payload
        .into_iter()
        .chain(assigned(&event.what, limits))
        .collect()
}

impl Run {
    /// The limits that it runs under.
    pub fn limits(&self) -> &'static Limits {
        Limits::of(
            self.start()
                .is_some_and(|start: &Start| start.raised_limits),
        )
    }

    /// How much of the limits of the whole execution is used: its history and its variables.
    pub fn usage(&self) -> [Usage; 2] {
        let limits = self.limits();
        let variables = self.variables_bytes();
        [
            Usage {
                limit: Limit::History,
                used: self.next_public_id().saturating_sub(1),
                most: limits.history_events_max,
            },
            Usage::of(Limit::Variables, variables, limits.variables_bytes_max),
        ]
    }
}

/// The payload of an event.
fn payload(what: &What) -> Option<&Value> {
    match what {
        What::ExecutionStarted { start, .. } => Some(&start.input),
        What::StateEntered { input, .. } | What::ParallelStarted { input, .. } => Some(input),
        What::ExecutionSucceeded { output }
        | What::StateExited { output, .. }
        | What::Submitted { output, .. }
        | What::Succeeded { output, .. } => Some(output),
        What::Scheduled(scheduled) => Some(&scheduled.parameters),
        What::IterationStarted { input, .. } => input.as_ref(),
        What::MapRunSucceeded { result, .. } => Some(result),
        // A Map's items are bounded by where they come from.
        What::MapStarted { .. }
        | What::DistributedMapStarted { .. }
        | What::MapRunStarted { .. }
        | What::MapRunRedriven { .. }
        | What::MapRunFailed { .. }
        | What::MapRunAborted
        | What::MapRun(_)
        | What::ExecutionFailed { .. }
        | What::ExecutionTimedOut { .. }
        | What::ExecutionAborted { .. }
        | What::ExecutionRedriven { .. }
        | What::StateAborted { .. }
        | What::EvaluationFailed { .. }
        | What::Started { .. }
        | What::Failed { .. }
        | What::TimedOut { .. }
        | What::FlowsSucceeded { .. }
        | What::FlowsFailed { .. }
        | What::IterationSucceeded { .. }
        | What::IterationFailed { .. }
        | What::IterationAborted { .. }
        | What::WaitPlanned { .. }
        | What::RetryPlanned { .. }
        | What::Redispatched { .. }
        | What::Begins
        | What::Used { .. }
        | What::StateFailed { .. }
        | What::BranchFailed { .. }
        | What::BranchAborted { .. }
        | What::ChildStarted { .. }
        | What::Forked { .. } => None,
    }
}

/// What an event assigns: its largest variable and all of them.
fn assigned(what: &What, limits: &Limits) -> Vec<Usage> {
    let (What::StateExited { assigned, .. } | What::Forked { assigned, .. }) = what else {
        return Vec::new();
    };
    let bytes = |assigned: &Assigned| -> Vec<usize> {
        assigned
            .iter()
            .map(|(_, value)| value.json_bytes())
            .collect()
    };
    let bytes = bytes(assigned);
    let Some(largest) = bytes.iter().max() else {
        return Vec::new();
    };
    vec![
        Usage::of(Limit::Variable, *largest, limits.variable_bytes_max),
        Usage::of(Limit::Assign, bytes.iter().sum(), limits.assign_bytes_max),
    ]
}
