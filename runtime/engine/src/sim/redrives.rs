//! Callers who redrive executions: each some time after an end, and again until there is an answer.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;

use super::{Item, RETRY_MS, Seen, World, now};
use crate::{
    journal::{ExecutionId, Status},
    shard::{In, RedriveAnswer, RedriveReply},
};

/// A redrive that is asked for: which one of its execution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    execution: ExecutionId,
    number: usize,
}

/// Redrives to come and those that are not answered.
#[derive(Default)]
pub(super) struct Redrives {
    /// How long after each of its next ends, and the number of the first of them.
    planned: BTreeMap<ExecutionId, (usize, Vec<u64>)>,
    /// In the agenda.
    called: usize,
    waiting: Vec<(Call, oneshot::Receiver<RedriveAnswer>)>,
}

impl Redrives {
    pub(super) fn is_empty(&self) -> bool {
        self.planned.is_empty() && self.called == 0 && self.waiting.is_empty()
    }
}

impl World {
    /// Plans a redrive so many ms after each of the execution's next ends.
    pub fn redrive_after(&mut self, execution: ExecutionId, after_ms: &[u64]) {
        if !after_ms.is_empty() {
            let planned = (1, after_ms.to_vec());
            self.redrives.planned.insert(execution, planned);
        }
    }

    pub(super) fn redrive(&mut self, call: Call) {
        self.redrives.called -= 1;
        let Some(node) = self.server_of(call.execution) else {
            return self.redrive_in(RETRY_MS, call);
        };
        let (reply, answer) = oneshot::channel();
        self.redrives.waiting.push((call, answer));
        let token: Arc<str> = format!("redrive-{}", call.number).into();
        let redrive = In::Redrive {
            execution: call.execution,
            token: Some(token),
            reply: RedriveReply::new(reply, None),
        };
        self.hand(node, redrive);
    }

    fn redrive_in(&mut self, ms: u64, call: Call) {
        self.redrives.called += 1;
        self.agenda
            .plan(self.now().plus_ms(ms), Item::Redrive(call));
    }

    /// Looks at answers and at executions that closed.
    pub(super) fn collect_redrives(&mut self) {
        for (call, mut answer) in std::mem::take(&mut self.redrives.waiting) {
            match answer.try_recv() {
                Ok(Ok(answer)) => self.seen.push(Seen::Redriven {
                    execution: call.execution,
                    accepted: answer.is_ok(),
                }),
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {
                    self.redrive_in(RETRY_MS, call);
                }
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.redrives.waiting.push((call, answer));
                }
            }
        }
        // The next one follows the end that comes after the answer to the one before.
        let answered = self.redrives.called == 0 && self.redrives.waiting.is_empty();
        if !answered || self.redrives.planned.is_empty() {
            return;
        }
        let Ok(journal) = self.journal() else { return };
        for (execution, (number, mut after_ms)) in std::mem::take(&mut self.redrives.planned) {
            let row = now(journal.execution(execution)).ok().flatten();
            if row.is_some_and(|row| row.view.status != Status::Running) {
                let ms = after_ms.remove(0);
                self.redrive_in(ms, Call { execution, number });
                if !after_ms.is_empty() {
                    let planned = (number + 1, after_ms);
                    self.redrives.planned.insert(execution, planned);
                }
            } else {
                let planned = (number, after_ms);
                self.redrives.planned.insert(execution, planned);
            }
        }
    }
}
