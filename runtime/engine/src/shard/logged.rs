//! What observers are told of executions. A durable execution's events are told once they are durable, and after a
//! crash in between not at all; an EXPRESS one keeps none of them, so they are told as they come once its start is durable,
//! and again when a crash makes it begin again.

use std::sync::Arc;

use super::{
    Mode, Shard,
    loaded::{Loaded, Taken},
};
use crate::{
    api::HistoryEntry,
    journal::ExecutionId,
    observer::{Observed, Observer},
    reader,
};

impl Shard {
    /// Tells of durable events.
    pub(super) fn log(&self, execution: ExecutionId, entries: Vec<HistoryEntry>) {
        if let Some(loaded) = self.loaded.get(&execution) {
            tell(self.environment.observer.as_ref(), loaded, entries);
        }
    }
}

/// Tells of the events of a turn that are not kept. Gives back those that are to be told when the execution's start is
/// durable: it may be refused.
pub(super) fn log_unkept(
    observer: Option<&Arc<dyn Observer>>,
    loaded: &mut Loaded,
    taken: &Taken,
) -> Vec<HistoryEntry> {
    let kept = matches!(loaded.mode, Mode::Durable);
    if kept || observer.is_none() {
        return Vec::new();
    }
    let entries = reader::public_entries(&taken.events, loaded.next_logged);
    loaded.next_logged = loaded.run.next_public_id();
    if matches!(loaded.mode, Mode::ExpressAsync) && loaded.create.is_some() {
        return entries;
    }
    tell(observer, loaded, entries);
    Vec::new()
}

fn tell(observer: Option<&Arc<dyn Observer>>, loaded: &Loaded, entries: Vec<HistoryEntry>) {
    let (Some(observer), Some(run)) = (observer, loaded.run.execution()) else {
        return;
    };
    if !entries.is_empty() {
        observer.observe(&Arc::new(Observed {
            tenant: loaded.info.tenant.clone(),
            execution_arn: loaded.info.execution_arn.clone(),
            start: run.shared_start(),
            started_at: run.started_at(),
            redrives: run.redrives(),
            redriven_at: run.redriven_at(),
            logging: loaded.info.logging.clone(),
            trace: loaded.info.trace(),
            entries,
        }));
    }
}
