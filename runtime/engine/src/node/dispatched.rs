//! One attempt that was dispatched: it runs, its end is told, its log is kept. Hides what its end means for the task.

use std::sync::Arc;

use stepwell_interp::{Input, TaskRequest};

use super::Node;
use crate::{
    attempt::{AttemptEnd, AttemptSignals},
    attempt_logs,
    dispatch::{self, Meaning, Plan},
    journal::ExecutionId,
    quotas::{TaskPlace, tasks_full},
    runner::{PluginCall, PluginEnd},
    shard::Info,
};

/// See the module.
pub(super) struct Dispatched {
    pub(super) node: Arc<Node>,
    pub(super) execution: ExecutionId,
    pub(super) info: Arc<Info>,
    pub(super) request: TaskRequest,
    pub(super) plan: Plan,
    pub(super) signals: Arc<AttemptSignals>,
    pub(super) end: AttemptEnd,
}

impl Dispatched {
    /// Runs it, unless as many run as may; `place` has that number then.
    pub(super) async fn run(mut self, call: PluginCall, place: Result<TaskPlace, u64>) {
        let task = self.request.task;
        let ended = match place {
            // Held until it has ended, or is cut off.
            Ok(_place) => dispatch::run(&self.node, &mut self.plan, call).await,
            Err(most) => PluginEnd::TooManyRunning {
                cause: tasks_full(most),
            },
        };
        self.signals.progress.end();
        let said = attempt_logs::Said {
            log: &self.signals.log,
            progress: self.signals.progress.last(),
        };
        let (node, execution, plugin) = (&self.node, self.execution, &self.plan.plugin);
        let kept = attempt_logs::keep(node, execution, &self.info, &self.request, plugin, said);
        let input = match dispatch::meaning(&self.plan.form, ended) {
            Meaning::Ended(outcome) => Input::TaskEnded { task, outcome },
            Meaning::Submitted(output) => Input::TaskSubmitted { task, output },
        };
        self.end.tell_with(input, self.signals.spent());
        if let Some(kept) = kept
            && let Some(Err(why)) = kept.await.first()
        {
            let arn = &self.info.execution_arn;
            tracing::warn!(%arn, ?why, "the log of an attempt is not kept");
        }
    }
}
