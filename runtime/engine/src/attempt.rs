//! What an attempt tells its shard: that it began, that it lives, how it ended. Hides that an end is told however it comes.

use std::sync::Arc;

use stepwell_interp::{Input, TaskId};

use crate::{
    attempt_logs::{AttemptLog, LogSlot},
    dispatch,
    journal::{Amounts, ExecutionId, Meter},
    node::{Seat, now},
    runner::{PluginUse, Signals},
    shard::{In, Info},
};

/// Byte microseconds of a MiB millisecond.
const MEMORY_TIME: u128 = (1 << 20) * 1_000;

/// What an attempt of a plugin counts as.
pub(crate) fn amounts(used: PluginUse) -> Amounts {
    let whole = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
    let memory_time = u128::from(used.memory_bytes_max) * used.wall.as_micros() / MEMORY_TIME;
    Amounts::of(&[
        (Meter::Tasks, 1),
        (Meter::CpuMicros, whole(used.cpu.as_micros())),
        (Meter::MemoryTime, whole(memory_time)),
        (Meter::BytesIn, used.input_bytes),
        (Meter::BytesOut, used.output_bytes),
    ])
}

/// Tells the shard of an attempt's end however it comes: a runner that panics fails the attempt, nothing else.
pub(crate) struct AttemptEnd {
    execution: ExecutionId,
    task: TaskId,
    seat: Arc<Seat>,
    tells: Option<In>,
}

impl AttemptEnd {
    pub(crate) fn new(execution: ExecutionId, task: TaskId, seat: Arc<Seat>) -> AttemptEnd {
        AttemptEnd {
            execution,
            task,
            seat,
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
        self.seat.tell(tells);
    }
}

/// News of one attempt from the thread it runs on.
pub(crate) struct AttemptSignals {
    pub(crate) execution: ExecutionId,
    pub(crate) task: TaskId,
    pub(crate) info: Arc<Info>,
    pub(crate) plugin: Arc<str>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) log: LogSlot,
}

impl Signals for AttemptSignals {
    fn started(&self, version: &str) {
        let input = Input::TaskStarted {
            task: self.task,
            by: Some(version.into()),
            at: now(),
        };
        self.seat.leave(In::Input {
            execution: self.execution,
            input,
        });
    }

    fn waits(&self, why: &str) {
        let input = Input::TaskWaits {
            task: self.task,
            why: why.into(),
        };
        self.seat.leave(In::Input {
            execution: self.execution,
            input,
        });
    }

    fn used(&self, used: PluginUse) {
        self.seat.leave(In::Spent {
            execution: self.execution,
            info: self.info.clone(),
            plugin: self.plugin.clone(),
            usage: amounts(used),
        });
    }

    fn logged(&self, log: AttemptLog) {
        self.log.put(log);
    }

    fn heartbeat(&self) {
        let input = Input::Heartbeat { task: self.task };
        self.seat.leave(In::Input {
            execution: self.execution,
            input,
        });
    }
}
