//! What an attempt tells its shard: that it began, that it lives, how it ended. Hides that an end is told however it comes.

use stepwell_interp::{Input, TaskId};
use tokio::sync::mpsc;

use crate::{dispatch, journal::ExecutionId, node::now, runner::Signals, shard::In};

/// Tells the shard of an attempt's end however it comes: a runner that panics fails the attempt, nothing else.
pub(crate) struct AttemptEnd {
    execution: ExecutionId,
    task: TaskId,
    news: mpsc::UnboundedSender<In>,
    tells: Option<In>,
}

impl AttemptEnd {
    pub(crate) fn new(
        execution: ExecutionId,
        task: TaskId,
        news: mpsc::UnboundedSender<In>,
    ) -> AttemptEnd {
        AttemptEnd {
            execution,
            task,
            news,
            tells: None,
        }
    }

    pub(crate) fn tell(mut self, input: Input) {
        self.tells = Some(In::Input {
            execution: self.execution,
            input,
        });
    }

    /// The attempt did its part; its outcome comes by other ways.
    pub(crate) fn wait(mut self) {
        self.tells = Some(In::Served {
            execution: self.execution,
            task: self.task,
        });
    }
}

impl Drop for AttemptEnd {
    fn drop(&mut self) {
        let tells = self.tells.take().unwrap_or_else(|| In::Input {
            execution: self.execution,
            input: Input::TaskEnded {
                task: self.task,
                outcome: dispatch::lost(),
            },
        });
        let _ = self.news.send(tells);
    }
}

/// News of one attempt from the thread it runs on.
pub(crate) struct AttemptSignals {
    pub(crate) execution: ExecutionId,
    pub(crate) task: TaskId,
    pub(crate) news: mpsc::UnboundedSender<In>,
}

impl Signals for AttemptSignals {
    fn started(&self, version: &str) {
        let input = Input::TaskStarted {
            task: self.task,
            by: Some(version.into()),
            at: now(),
        };
        let _ = self.news.send(In::Input {
            execution: self.execution,
            input,
        });
    }

    fn heartbeat(&self) {
        let input = Input::Heartbeat { task: self.task };
        let _ = self.news.send(In::Input {
            execution: self.execution,
            input,
        });
    }
}
