//! Attempts that were dispatched and have not ended. Hides those that wait for the leases to be renewed, and that each
//! is counted.

use std::{collections::BTreeSet, sync::Arc};

use stepwell_interp::{TaskId, TaskRequest};

use super::border::{Info, Out};
use crate::{counters::Counters, journal::ExecutionId};

/// See the module.
pub(super) struct Attempts {
    running: BTreeSet<(ExecutionId, TaskId)>,
    withheld: Vec<(ExecutionId, Arc<Info>, Box<TaskRequest>)>,
    counters: Arc<Counters>,
}

impl Attempts {
    pub(super) fn new(counters: Arc<Counters>) -> Attempts {
        Attempts {
            running: BTreeSet::new(),
            withheld: Vec::new(),
            counters,
        }
    }

    pub(super) fn is_running(&self, execution: ExecutionId, task: TaskId) -> bool {
        self.running.contains(&(execution, task))
    }

    /// Begins one. With leases that are not fresh it is withheld: there is nothing to do yet.
    pub(super) fn begin(
        &mut self,
        execution: ExecutionId,
        info: Arc<Info>,
        request: Box<TaskRequest>,
        fresh: bool,
    ) -> Option<Out> {
        self.running.insert((execution, request.task));
        self.counters.task_started();
        if !fresh {
            self.withheld.push((execution, info, request));
            return None;
        }
        Some(Out::Run {
            execution,
            info,
            request,
        })
    }

    /// Takes those that were withheld and have not been cancelled meanwhile.
    pub(super) fn release(&mut self) -> impl Iterator<Item = Out> {
        let withheld = std::mem::take(&mut self.withheld).into_iter();
        withheld
            .filter(move |(execution, _, request)| self.is_running(*execution, request.task))
            .map(|(execution, info, request)| Out::Run {
                execution,
                info,
                request,
            })
    }

    /// Notes that one ended; false when it had.
    pub(super) fn end(&mut self, execution: ExecutionId, task: TaskId) -> bool {
        let ended = self.running.remove(&(execution, task));
        if ended {
            self.counters.task_ended();
        }
        ended
    }

    /// Ends all of an execution.
    pub(super) fn end_all(&mut self, execution: ExecutionId) -> Vec<TaskId> {
        let first = TaskId {
            entry: 0,
            attempt: 0,
        };
        let from = self.running.range((execution, first)..);
        let own = from.take_while(|(owner, _)| *owner == execution);
        let tasks: Vec<TaskId> = own.map(|(_, task)| *task).collect();
        for task in &tasks {
            self.end(execution, *task);
        }
        tasks
    }
}
