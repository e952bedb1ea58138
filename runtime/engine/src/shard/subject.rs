//! What a log folds to: an execution, or a map run. Hides which of the two a shard has before it.

use stepwell_asl::Program;
use stepwell_interp::{
    ChildId, Effect, Ending, Env, Event, Input, MapRun, MapRunEnding, NotRedrivable, OpenTask,
    Redrive, RedrivenBy, Run, TaskId, TimerId, Timestamp, step, step_held, step_map_run,
};

use crate::journal::Status;

/// See the module.
pub(crate) enum Subject {
    Execution(Box<Run>),
    MapRun(Box<MapRun>),
}

impl Default for Subject {
    fn default() -> Subject {
        Subject::Execution(Box::default())
    }
}

impl Subject {
    pub(crate) fn evolve(&mut self, event: &Event) {
        match self {
            Subject::Execution(run) => run.evolve(event),
            Subject::MapRun(run) => run.evolve(event),
        }
    }

    pub(super) fn step(&mut self, program: &Program, input: Input, env: Env) -> Vec<Effect> {
        match self {
            Subject::Execution(run) => step(program, run, input, env),
            Subject::MapRun(run) => step_map_run(program, run, input, env),
        }
    }

    /// The same for an execution that waits before its first state: it runs nothing on.
    pub(super) fn step_held(&mut self, program: &Program, input: Input, env: Env) -> Vec<Effect> {
        match self {
            Subject::Execution(run) => step_held(program, run, input, env),
            Subject::MapRun(run) => step_map_run(program, run, input, env),
        }
    }

    pub(crate) fn execution(&self) -> Option<&Run> {
        match self {
            Subject::Execution(run) => Some(run),
            Subject::MapRun(_) => None,
        }
    }

    pub(super) fn map_run(&self) -> Option<&MapRun> {
        match self {
            Subject::Execution(_) => None,
            Subject::MapRun(run) => Some(run),
        }
    }

    pub(super) fn status(&self) -> Status {
        match self {
            Subject::Execution(run) => match run.ending() {
                None => Status::Running,
                Some(Ending::Succeeded { .. }) => Status::Succeeded,
                Some(Ending::Failed { .. }) => Status::Failed,
                Some(Ending::TimedOut { .. }) => Status::TimedOut,
                Some(Ending::Aborted { .. }) => Status::Aborted,
            },
            Subject::MapRun(run) => match run.ending() {
                None => Status::Running,
                Some(MapRunEnding::Succeeded { .. }) => Status::Succeeded,
                Some(MapRunEnding::Failed { .. }) => Status::Failed,
                Some(MapRunEnding::Aborted) => Status::Aborted,
            },
        }
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.status() != Status::Running
    }

    /// What a call to redrive it comes to.
    pub(super) fn may_redrive(
        &self,
        token: Option<&str>,
        at: Timestamp,
    ) -> Result<Redrive, NotRedrivable> {
        match self {
            Subject::Execution(run) => run.may_redrive(token, RedrivenBy::Caller, at),
            // Nobody but its execution redrives a map run.
            Subject::MapRun(_) => Err(NotRedrivable::Running),
        }
    }

    pub(super) fn redrives(&self) -> u32 {
        match self {
            Subject::Execution(run) => run.redrives(),
            Subject::MapRun(run) => run.redrives(),
        }
    }

    pub(super) fn redriven_at(&self) -> Option<Timestamp> {
        match self {
            Subject::Execution(run) => run.redriven_at(),
            Subject::MapRun(run) => run.redriven_at(),
        }
    }

    /// How an execution ended.
    pub(super) fn ending(&self) -> Option<&Ending> {
        self.execution()?.ending()
    }

    pub(super) fn last_at(&self) -> Timestamp {
        match self {
            Subject::Execution(run) => run.last_at(),
            Subject::MapRun(run) => run.last_at(),
        }
    }

    pub(super) fn next_position(&self) -> u64 {
        match self {
            Subject::Execution(run) => run.next_position(),
            Subject::MapRun(run) => run.next_position(),
        }
    }

    /// A map run has no public events.
    pub(super) fn next_public_id(&self) -> u64 {
        self.execution().map_or(1, Run::next_public_id)
    }

    pub(super) fn next_timer(&self) -> Option<(Timestamp, TimerId)> {
        self.execution()?.next_timer()
    }

    pub(super) fn open_task(&self, task: TaskId) -> Option<OpenTask<'_>> {
        self.execution()?.open_task(task)
    }

    pub(super) fn open_tasks(&self) -> impl Iterator<Item = OpenTask<'_>> {
        self.execution().into_iter().flat_map(Run::open_tasks)
    }

    pub(super) fn waits_for(&self, task: TaskId, child: ChildId) -> bool {
        self.execution()
            .is_some_and(|run| run.waits_for(task, child))
    }

    pub(crate) fn pending(&self) -> Vec<Effect> {
        self.execution().map(Run::pending).unwrap_or_default()
    }

    /// Whether it has to be loaded at the next start. A map run has, as long as it runs: it may have items to read.
    pub(super) fn is_hot(&self) -> bool {
        match self {
            Subject::Execution(run) => run.is_hot(),
            Subject::MapRun(run) => run.ending().is_none(),
        }
    }

    /// Whether it goes on without an input, once it is folded.
    pub(super) fn is_unfinished(&self) -> bool {
        match self {
            Subject::Execution(run) => run.is_unfinished(),
            Subject::MapRun(run) => run.ending().is_none(),
        }
    }
}
