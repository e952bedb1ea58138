//! Executions on their way into memory: read, folded, given what waited for them, and picked up in the middle of what
//! they were doing.

use stepwell_interp::{Effect, Input, OnCrash, Timestamp};

use super::{
    Shard,
    border::{CrashRules, LoadError, Mode, Out, StartReply, Stored, StoredOpen, message_input},
    loaded::Loaded,
    subject::Subject,
    waiting::Waiting,
};
use crate::{
    children,
    journal::{ExecutionId, Message},
    limits::RELOAD_AFTER_MS,
};

impl Shard {
    pub(super) fn load(&mut self, execution: ExecutionId, inputs: Vec<Waiting>) {
        if self.damaged.contains(&execution) {
            for input in inputs {
                input.refuse();
            }
            return;
        }
        self.loading.insert(execution, inputs);
        self.read(execution);
    }

    /// Has what is stored of an execution read for the inputs that wait for it.
    pub(super) fn read(&mut self, execution: ExecutionId) {
        let waiting = self.loading.get(&execution);
        let closed_too = waiting.is_some_and(|waiting| waiting.iter().any(Waiting::is_redrive));
        self.out.push(Out::Load {
            execution,
            closed_too,
        });
    }

    /// A message that finds its execution closed changes nothing; a child whose parent no longer waits is stopped.
    fn too_late(&mut self, messages: Vec<Message>) {
        let mut moot = Vec::new();
        for message in messages {
            match message_input(&message) {
                Some(Input::ChildStarted { child, .. }) => {
                    self.post(children::stop(child), vec![message.id]);
                }
                Some(_) | None => moot.push(message.id),
            }
        }
        self.discard(moot);
    }

    /// A read of an execution came back: fold its events, take its inbox, and pick up what it was doing.
    pub(super) fn fold(
        &mut self,
        now: Timestamp,
        execution: ExecutionId,
        result: Result<Stored, LoadError>,
        on_crash: &CrashRules,
    ) {
        let Some(waiting) = self.loading.remove(&execution) else {
            return;
        };
        let stored = match result {
            Ok(stored) => stored,
            Err(LoadError::Damaged(why)) => return self.give_up(now, execution, &why, waiting),
            Err(LoadError::Unreadable(error)) => {
                tracing::error!(
                    execution = execution.0,
                    error,
                    "an execution cannot be loaded; trying again"
                );
                self.loading.insert(execution, waiting);
                self.reloads.insert(now.plus_ms(RELOAD_AFTER_MS), execution);
                return;
            }
        };
        match stored {
            Stored::Closed { messages, exists } => {
                self.too_late(messages);
                self.audience.close(execution);
                self.refuse_or_reopen(now, execution, waiting, exists);
            }
            Stored::Open(open) => {
                let StoredOpen {
                    info,
                    program,
                    subject,
                    messages,
                } = *open;
                let loaded = Loaded::fold(info, program, subject, self.environment.opened_at, now);
                self.take_up(execution, loaded, messages, waiting, on_crash);
            }
            Stored::New { open, new, mode } => {
                if matches!(open.subject, Subject::Execution(_)) {
                    self.counters.started();
                }
                let mut loaded = Loaded::new(open.info, open.program, mode, open.subject);
                loaded.create = Some((*new, StartReply::Nobody));
                self.take_up(execution, loaded, open.messages, waiting, on_crash);
            }
        }
    }

    /// It is closed: only who wants to redrive it is of any use, and has it read once more.
    pub(super) fn refuse_or_reopen(
        &mut self,
        now: Timestamp,
        execution: ExecutionId,
        mut waiting: Vec<Waiting>,
        exists: bool,
    ) {
        self.charge_untaken(now, &mut waiting);
        let reopens = |waiting: &Waiting| exists && waiting.is_redrive();
        let (redrives, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(reopens);
        for waiting in others {
            waiting.refuse();
        }
        if !redrives.is_empty() {
            self.load(execution, redrives);
        }
    }

    /// Takes an execution into memory with what its inbox holds and what came while it was read.
    fn take_up(
        &mut self,
        execution: ExecutionId,
        mut loaded: Loaded,
        messages: Vec<Message>,
        waiting: Vec<Waiting>,
        on_crash: &CrashRules,
    ) {
        self.environment.recent.forget(execution);
        let mut inbox = Vec::new();
        for message in messages {
            match message_input(&message) {
                Some(input) => inbox.push((message.id, input)),
                None => self.discard(vec![message.id]),
            }
        }
        // An answer to a task's token is accepted for good; the end of its child is not.
        inbox.sort_by_key(|(_, input)| matches!(input, Input::ChildEnded { .. }));
        for (id, input) in inbox {
            self.served(execution, &input);
            loaded.accept(Waiting {
                input,
                message: Some(id),
                take: None,
                redrive: None,
                spent: None,
            });
        }
        for input in waiting {
            loaded.accept(input);
        }
        self.pick_up(execution, &mut loaded, on_crash);
        self.keep(execution, loaded);
    }

    /// What is stored of it is damaged: it stays where it is until another start of the program. Who waits is let go.
    fn give_up(
        &mut self,
        now: Timestamp,
        execution: ExecutionId,
        why: &str,
        mut waiting: Vec<Waiting>,
    ) {
        self.charge_untaken(now, &mut waiting);
        tracing::error!(why, "an execution does not go on");
        self.damaged.insert(execution);
        self.counters.damaged(execution);
        for waiting in waiting {
            waiting.refuse();
        }
        self.audience.let_go(execution);
    }

    /// Re-derives what a folded run was in the middle of. An attempt that still runs in this process goes on.
    fn pick_up(&mut self, execution: ExecutionId, loaded: &mut Loaded, on_crash: &CrashRules) {
        if matches!(loaded.mode, Mode::ExpressAsync) {
            return;
        }
        for (task, activity) in loaded.unsure_activities(&self.environment.knows_activity) {
            let info = loaded.info.clone();
            self.out.push(Out::ActivityOpened {
                execution,
                info,
                task,
                activity,
            });
        }
        for effect in loaded.run.pending() {
            match effect {
                Effect::RunTask(request) => {
                    if !self.attempts.is_running(execution, request.task) {
                        let task = request.task;
                        let rule = on_crash.get(&task).copied();
                        loaded.inbox.push_back(Waiting::plain(Input::TaskLost {
                            task,
                            on_crash: rule.unwrap_or(OnCrash::Redispatch),
                        }));
                    }
                }
                // Tokens have their rows; the rest is never pending.
                Effect::Record(_)
                | Effect::Begin { .. }
                | Effect::OpenToken { .. }
                | Effect::CancelTask { .. }
                | Effect::StartMapRun(_)
                | Effect::RedriveMapRun { .. }
                | Effect::MapRun(_)
                | Effect::Again
                | Effect::Finish => {}
            }
        }
        loaded.goes_on = loaded.is_unfinished();
    }
}
