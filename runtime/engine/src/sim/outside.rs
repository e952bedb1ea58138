//! What is outside a simulated engine: running attempts, workers, clients with tokens. Scripted; each sign comes at
//! its time, however often the engine crashes meanwhile.

use std::sync::Arc;

use stepwell_interp::{Input, Measure, Measures, OnCrash, Run, TaskId, TaskOutcome, TaskRequest};
use tokio::sync::oneshot;

use super::{Item, RETRY_MS, Seen, World, now};
use crate::{
    journal::{ExecutionId, Message, Outgoing, Refused, Write},
    record::{self, Answer, InboxItem, TaskKey},
    shard::{In, Info},
    tokens,
};

/// Decides what becomes of task attempts. A redispatch of the same attempt should get the same answer.
pub trait Script {
    /// A plugin's attempt was dispatched: what it does, after how many ms.
    fn dispatched(&mut self, execution: &str, request: &TaskRequest) -> Signals;
    /// An activity task waits for a worker; the request is made of what the worker gets.
    fn opened(&mut self, execution: &str, request: &TaskRequest) -> Signals;
}

/// What an attempt does, after how many ms.
pub type Signals = Vec<(u64, Signal)>;

/// A sign of an attempt.
#[derive(Clone, Debug)]
pub enum Signal {
    /// A plugin begins.
    Started { by: Option<Arc<str>> },
    /// A worker takes the activity task.
    Taken { by: Option<Arc<str>> },
    /// The request of a callback task is accepted.
    Submitted(stepwell_query::Value),
    /// A guest, worker or client is alive.
    Heartbeat,
    /// A plugin ends.
    Ended(TaskOutcome),
    /// Someone answers the task's token.
    Answered(TaskOutcome),
    /// The attempt's process is lost, the engine's is not.
    Lost(OnCrash),
}

impl World {
    pub(super) fn dispatch(
        &mut self,
        node: usize,
        execution: ExecutionId,
        info: Arc<Info>,
        request: TaskRequest,
    ) {
        let at = self.now();
        let task = request.task;
        let row = self
            .journal()
            .ok()
            .and_then(|journal| now(journal.execution(execution)).ok().flatten());
        self.seen.push(Seen::Dispatched {
            execution,
            task,
            durable: row.map(|row| row.next - 1),
        });
        self.count_limited();
        if self.serves(&request) {
            let start = Item::Child {
                node,
                execution,
                info,
                request: Box::new(request),
            };
            return self.agenda.plan(at, start);
        }
        for (after_ms, signal) in self.script.dispatched(&info.execution_arn, &request) {
            let due = at.plus_ms(after_ms);
            let input = match signal {
                Signal::Started { by } => Input::TaskStarted { task, by, at: due },
                Signal::Submitted(output) => Input::TaskSubmitted { task, output },
                // A callback's client lives outside.
                Signal::Heartbeat if request.token.is_none() => Input::Heartbeat { task },
                Signal::Ended(outcome) => {
                    self.agenda.plan(due, used(node, execution, &request));
                    Input::TaskEnded { task, outcome }
                }
                Signal::Lost(on_crash) => Input::TaskLost { task, on_crash },
                signal @ (Signal::Heartbeat | Signal::Taken { .. } | Signal::Answered(_)) => {
                    let item = Item::Outside {
                        execution,
                        task,
                        signal,
                    };
                    self.agenda.plan(due, item);
                    continue;
                }
            };
            let news = Item::News {
                node,
                execution,
                input,
            };
            self.agenda.plan(due, news);
        }
    }

    /// A cancelled attempt says no more.
    pub(super) fn cancel(&mut self, node: usize, execution: ExecutionId, task: TaskId) {
        self.agenda.retain(|item| match item {
            Item::News {
                node: owner,
                execution: of,
                input:
                    Input::TaskStarted { task: id, .. }
                    | Input::TaskEnded { task: id, .. }
                    | Input::TaskSubmitted { task: id, .. }
                    | Input::TaskUsed { task: id, .. }
                    | Input::TaskLost { task: id, .. }
                    | Input::TaskWaits { task: id, .. }
                    | Input::Heartbeat { task: id },
            } => !(*owner == node && *of == execution && *id == task),
            Item::News { .. }
            | Item::Commit { .. }
            | Item::Verdicts { .. }
            | Item::Load { .. }
            | Item::LoadLine { .. }
            | Item::Work { .. }
            | Item::Keep { .. }
            | Item::Look { .. }
            | Item::Outside { .. }
            | Item::Stop { .. }
            | Item::Redrive(_)
            | Item::Turns { .. }
            | Item::MapRun { .. }
            | Item::Announce(_)
            | Item::Child { .. }
            | Item::Restart { .. } => true,
        });
    }

    /// Workers that poll after a crash find the tasks that nobody told them of.
    pub(super) fn look_for_work(&mut self) {
        for (execution, arn) in self.started.clone() {
            let Some(run) = self.folded(execution) else {
                continue;
            };
            let waiting = run.open_tasks().filter(|open| open.activity().is_some());
            for task in waiting.map(|open| open.task).collect::<Vec<_>>() {
                self.opened(execution, &arn, task);
            }
        }
    }

    pub(super) fn opened(&mut self, execution: ExecutionId, arn: &str, task: TaskId) {
        if !self.told.insert((execution, task)) {
            return;
        }
        let Some(run) = self.folded(execution) else {
            return;
        };
        let Some(open) = run.open_task(task) else {
            return;
        };
        let request = TaskRequest {
            task,
            state: open.state.clone(),
            entered_id: 0,
            resource: open.resource.clone(),
            parameters: open.parameters.clone(),
            retry_count: 0,
            token: open.token.cloned(),
            role_arn: None,
            deadline: open.deadline,
            again: false,
        };
        for (after_ms, signal) in self.script.opened(arn, &request) {
            let item = Item::Outside {
                execution,
                task,
                signal,
            };
            self.agenda.plan(self.now().plus_ms(after_ms), item);
        }
    }

    fn folded(&mut self, execution: ExecutionId) -> Option<Run> {
        let (_, events) = self.execution(execution).ok().flatten()?;
        let mut run = Run::default();
        for event in &events {
            run.evolve(event);
        }
        Some(run)
    }

    /// A sign from outside goes to whoever serves the execution; when nobody does, it comes again.
    pub(super) fn outside(&mut self, execution: ExecutionId, task: TaskId, signal: Signal) {
        let Some(node) = self.server_of(execution) else {
            return self.again(execution, task, signal);
        };
        match signal {
            Signal::Taken { by } => self.take(node, execution, task, by),
            Signal::Answered(outcome) => self.answer(execution, task, outcome),
            Signal::Heartbeat => {
                let input = Input::Heartbeat { task };
                self.hand(node, In::Heartbeat { execution, input });
            }
            Signal::Ended(outcome) => {
                let input = Input::TaskEnded { task, outcome };
                self.hand(node, In::Input { execution, input });
            }
            Signal::Lost(on_crash) => {
                let input = Input::TaskLost { task, on_crash };
                self.hand(node, In::Input { execution, input });
            }
            // These are a plugin's alone.
            Signal::Started { .. } | Signal::Submitted(_) => {}
        }
    }

    fn again(&mut self, execution: ExecutionId, task: TaskId, signal: Signal) {
        let item = Item::Outside {
            execution,
            task,
            signal,
        };
        self.agenda.plan(self.now().plus_ms(RETRY_MS), item);
    }

    pub(super) fn server_of(&self, execution: ExecutionId) -> Option<usize> {
        let partition = execution.partition();
        let at = self.now();
        self.nodes
            .iter()
            .position(|node| node.is_up() && node.holds(partition) && node.paused_until <= at)
    }

    /// A worker polls for this task, and again until it is seen to have begun or to be gone.
    fn take(&mut self, node: usize, execution: ExecutionId, task: TaskId, by: Option<Arc<str>>) {
        let waits = match self.folded(execution) {
            Some(run) => run.open_task(task).is_some_and(|open| !open.started),
            None => true,
        };
        if !waits {
            return;
        }
        let (reply, granted) = oneshot::channel();
        let worker = by.clone();
        self.hand(
            node,
            In::Take {
                execution,
                task,
                worker,
                reply,
            },
        );
        // Whether it was granted shows in the log; this worker needs no more of the answer.
        drop(granted);
        self.again(execution, task, Signal::Taken { by });
    }

    fn answer(&mut self, execution: ExecutionId, task: TaskId, outcome: TaskOutcome) {
        let Some(run) = self.folded(execution) else {
            return self.again(execution, task, Signal::Answered(outcome));
        };
        // A client knows the token from the request or the poll; one that is gone is no longer in the log.
        let Some(token) = run.open_task(task).and_then(|open| open.token.cloned()) else {
            return;
        };
        let answer = match outcome.clone() {
            TaskOutcome::Succeeded { output } => Answer::Success { output },
            TaskOutcome::Failed { error, cause, .. } => Answer::Failure { error, cause },
        };
        let TaskKey { entry, attempt } = task.into();
        let payload = record::encode(&InboxItem::Answer {
            entry,
            attempt,
            answer,
        });
        let message = Outgoing {
            to: execution,
            payload: payload.clone(),
        };
        let write = Write::Answer {
            token: tokens::hash(&token),
            message,
        };
        let verdict = self
            .journal()
            .ok()
            .and_then(|journal| now(journal.commit(vec![write])).pop());
        match verdict {
            Some(Ok(landed)) => {
                self.seen.push(Seen::Answered {
                    execution,
                    task,
                    accepted: true,
                });
                self.announce_all(landed.messages, execution, &payload);
            }
            Some(Err(Refused::TokenGone)) => self.seen.push(Seen::Answered {
                execution,
                task,
                accepted: false,
            }),
            // A client tries again until the store has an answer.
            Some(Err(_)) | None => self.again(execution, task, Signal::Answered(outcome)),
        }
    }

    pub(super) fn stop(
        &mut self,
        execution: ExecutionId,
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    ) {
        let payload = record::encode(&InboxItem::Stop {
            error: error.clone(),
            cause: cause.clone(),
        });
        let write = Write::Post(Outgoing {
            to: execution,
            payload: payload.clone(),
        });
        let verdict = self
            .journal()
            .ok()
            .and_then(|journal| now(journal.commit(vec![write])).pop());
        match verdict {
            Some(Ok(landed)) => {
                self.seen.push(Seen::Stopped(execution));
                self.announce_all(landed.messages, execution, &payload);
            }
            Some(Err(_)) | None => {
                let again = Item::Stop {
                    execution,
                    error,
                    cause,
                };
                self.agenda.plan(self.now().plus_ms(RETRY_MS * 10), again);
            }
        }
    }

    /// Tells the node that serves the execution, if one is up; otherwise its messages are found by looking.
    pub(super) fn announce_all(
        &mut self,
        ids: Vec<crate::journal::MessageId>,
        to: ExecutionId,
        payload: &Arc<[u8]>,
    ) {
        let Some(node) = self.server_of(to) else {
            return;
        };
        for id in ids {
            let payload = payload.clone();
            self.hand(node, In::Message(Message { id, to, payload }));
        }
    }
}

/// What an attempt used, told right before its end.
fn used(node: usize, execution: ExecutionId, request: &TaskRequest) -> Item {
    let measures = Measures::of(&[(Measure::Cpu, 1), (Measure::Logs, 2)]);
    Item::News {
        node,
        execution,
        input: Input::TaskUsed {
            task: request.task,
            plugin: "p".into(),
            measures: Arc::new(measures),
        },
    }
}
