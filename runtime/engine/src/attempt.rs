//! What an attempt tells its shard: that it began, that it lives, how it ended. Hides that an end is told however it comes.

use std::sync::{Arc, Mutex, PoisonError};

use stepwell_interp::{Input, Measure, Measures, TaskId};

use crate::{
    attempt_logs::{AttemptLog, LogSlot},
    dispatch,
    journal::{Amounts, ExecutionId, Meter},
    node::{Seat, now},
    notes::AttemptNotes,
    runner::Signals,
    shard::{In, Info, Spending},
};

/// Byte microseconds of a MiB millisecond.
const MEMORY_TIME: u128 = (1 << 20) * 1_000;

/// What an attempt of a plugin counts as.
pub(crate) fn amounts(used: &Measures) -> Amounts {
    let of = |measure| used.get(measure);
    let held = u128::from(of(Measure::Memory)) * u128::from(of(Measure::Wall));
    // Rounded up: of a million short attempts nobody would be charged anything.
    let memory_time = held.div_ceil(MEMORY_TIME);
    Amounts::of(&[
        (Meter::Tasks, 1),
        (Meter::CpuMicros, of(Measure::Cpu)),
        (
            Meter::MemoryTime,
            u64::try_from(memory_time).unwrap_or(u64::MAX),
        ),
        (Meter::BytesIn, of(Measure::BytesIn)),
        (Meter::BytesOut, of(Measure::BytesOut)),
        (Meter::Fuel, of(Measure::Fuel)),
        (Meter::HostCalls, used.host_calls()),
        (Meter::BytesSent, used.bytes_sent()),
        (Meter::BytesReceived, used.bytes_received()),
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

    pub(crate) fn tell(self, input: Input) {
        self.tell_with(input, None);
    }

    /// The end of an attempt for which a plugin used something.
    pub(crate) fn tell_with(mut self, input: Input, spent: Option<Spending>) {
        self.tells = Some(In::Ended {
            execution: self.execution,
            task: self.task,
            spent: spent.map(Box::new),
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
        let tells = self.tells.take().unwrap_or_else(|| In::Ended {
            execution: self.execution,
            task: self.task,
            spent: None,
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
    pub(crate) progress: AttemptNotes,
    /// Until the end is told.
    pub(crate) spent: Mutex<Option<Measures>>,
}

impl AttemptSignals {
    /// What the attempt used, if a plugin served it.
    pub(crate) fn spent(&self) -> Option<Spending> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Spending {
            info: self.info.clone(),
            plugin: self.plugin.clone(),
            measures: Arc::new(spent.take()?),
        })
    }
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

    fn used(&self, used: Measures) {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) = Some(used);
    }

    fn logged(&self, log: AttemptLog) {
        self.log.put(log);
    }

    fn heartbeat(&self, note: Option<&str>) {
        if let Some(note) = note {
            self.progress.note(note);
        }
        let input = Input::Heartbeat { task: self.task };
        self.seat.leave(In::Input {
            execution: self.execution,
            input,
        });
    }
}
