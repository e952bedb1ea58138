//! What listeners to a state machine are told of its executions: that they began and ended, once that is durable. Hides
//! nothing else.

use super::loaded::Loaded;
use crate::{feed::MachineChange, journal::Status};

/// What the turn that an execution has just had is told by. It `begins` with its start, or with a redrive.
pub(super) fn of(loaded: &Loaded, begins: bool) -> Vec<MachineChange> {
    let Some(run) = loaded.run.execution() else {
        return Vec::new();
    };
    let change = |status, stopped_at| MachineChange {
        machine_arn: loaded.info.machine_arn.clone(),
        execution_arn: loaded.info.execution_arn.clone(),
        status,
        started_at: run.started_at(),
        stopped_at,
        redrive_count: run.redrives(),
    };
    let ended = Some(loaded.run.status()).filter(|status| *status != Status::Running);
    let begun = begins.then(|| change(Status::Running, None));
    let ended = ended.map(|status| change(status, Some(run.last_at())));
    begun.into_iter().chain(ended).collect()
}
