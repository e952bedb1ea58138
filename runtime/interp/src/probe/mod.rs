//! One state alone, as TestState runs it: the turns of [`crate::step`] for a single visit, with its outcome mocked or
//! real, and an account of what each field made of the data. Hides that there is an execution around the state.

mod flows;
mod inspection;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use stepwell_asl::{Kind, Program};
use stepwell_query::Value;

use crate::{
    border::{Effect, Ending, Env, FailedAt, Input, Start, TaskOutcome, TaskRequest, TimerId},
    run::{FrameId, Phase, Run, Stage},
    step::Turn,
};

pub(crate) use inspection::Watch;
pub use inspection::{ErrorDetails, Inspection, InspectionData, Verdict};

/// What a state is tried with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The execution it pretends to be in; its input is the state's.
    pub start: Start,
    /// Workflow variables at its entry.
    pub variables: Vec<(Arc<str>, Value)>,
    /// Takes the whole context object's place.
    pub context: Option<Value>,
    /// What its work comes to; a Parallel or Map state needs it.
    pub mock: Option<Mock>,
    /// Retries that the retrier which matches the mocked error has made.
    pub retries: u32,
    /// The state within a Parallel state that its mocked error comes from.
    pub error_caused_by: Option<Arc<str>>,
    /// Iterations of a Map that failed.
    pub failed_iterations: Option<u32>,
    /// What a Map's ItemReader has read: its items.
    pub read_items: Option<Value>,
}

/// What the work of a state comes to.
#[derive(Clone, Debug)]
pub enum Mock {
    Result(Value),
    Error {
        error: Option<Arc<str>>,
        cause: Option<Arc<str>>,
    },
}

/// A state being tried.
pub struct Probe {
    setup: Setup,
    run: Run,
    watch: Watch,
}

/// How far a state has come.
#[derive(Debug)]
pub enum Probed {
    /// It waits for the outcome of a task, until [`Probe::next_timer`] at most.
    Task(Box<TaskRequest>),
    Done(Box<Inspection>),
    /// The setup does not fit what the state made of its input.
    Refused(Refusal),
}

/// Why a setup is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// More iterations failed than there are.
    FailedIterations,
    /// Its outcome comes from branches, iterations or somebody outside, none of which are there: it needs a mock.
    NoMock,
}

impl Probe {
    /// Enters the state that the program starts at. A Wait state's time passes at once.
    pub fn begin(program: &Program, setup: Setup, env: Env) -> (Probe, Probed) {
        let mut probe = Probe {
            watch: Watch::new(setup.context.clone()),
            run: Run::default(),
            setup,
        };
        let start = Box::new(probe.setup.start.clone());
        let variables = std::mem::take(&mut probe.setup.variables);
        let mut turn = Turn::new(program, &mut probe.run, env, Some(&probe.watch));
        turn.take(Input::Started(start));
        turn.run.give_variables(variables);
        turn.advance(FrameId::ROOT);
        let retriers = turn
            .state(FrameId::ROOT)
            .and_then(|state| state.kind.handlers())
            .map_or(0, |handlers| handlers.retry.len());
        turn.run.preset_retries(probe.setup.retries, retriers);
        let probed = turn.probe(&probe.setup);
        (probe, probed)
    }

    /// Goes on with the end of the task, or the deadline that came first.
    pub fn take(&mut self, program: &Program, input: Input, env: Env) -> Probed {
        let mut turn = Turn::new(program, &mut self.run, env, Some(&self.watch));
        turn.take(input);
        turn.probe(&self.setup)
    }

    /// The earliest deadline of the task or of the whole.
    pub fn next_timer(&self) -> Option<(crate::Timestamp, TimerId)> {
        self.run.next_timer()
    }
}

impl Turn<'_> {
    /// Gives the state's turns until it is over or a task has to be run.
    fn probe(&mut self, setup: &Setup) -> Probed {
        loop {
            if let Some(inspection) = self.inspected() {
                return Probed::Done(Box::new(inspection));
            }
            let visit = self
                .run
                .frame(FrameId::ROOT)
                .and_then(|frame| frame.visit());
            // A state that is not over has a visit; without a phase nothing can be done, as below.
            let Some(phase) = visit.map(|visit| &visit.phase) else {
                return Probed::Refused(Refusal::NoMock);
            };
            match phase {
                Phase::Entered => {
                    if let Some(refusal) = self.begin_probed(setup) {
                        return Probed::Refused(refusal);
                    }
                }
                Phase::Waiting { .. } => self.pass_time(),
                Phase::Attempt(_) => {
                    if let Some(probed) = self.attempt_probed(setup) {
                        return probed;
                    }
                }
                Phase::Worked { .. } | Phase::Failing { .. } => self.advance(FrameId::ROOT),
                Phase::Flows
                | Phase::MapRunOpening { .. }
                | Phase::MapRunReopening { .. }
                | Phase::MapRun { .. }
                | Phase::MapRunStopped
                | Phase::MapRunDone { .. }
                | Phase::Backoff { .. }
                | Phase::Aborted => {
                    return Probed::Refused(Refusal::NoMock);
                }
            }
        }
    }

    fn begin_probed(&mut self, setup: &Setup) -> Option<Refusal> {
        let kind = self.state(FrameId::ROOT).map(|state| &state.kind);
        if let (Some(Kind::Map(map)), Some(mock)) = (kind, &setup.mock) {
            return self.mock_map(map, mock, setup);
        }
        if let (Some(Kind::Parallel(parallel)), Some(mock)) = (kind, &setup.mock) {
            self.mock_parallel(parallel, mock, setup);
        } else {
            self.begin(FrameId::ROOT);
        }
        None
    }

    /// Ends the open attempt as its mock says; without a mock, what has to be run.
    fn attempt_probed(&mut self, setup: &Setup) -> Option<Probed> {
        let open = self.run.open_tasks().next()?;
        let task = open.task;
        let outcome = match &setup.mock {
            Some(Mock::Result(result)) => TaskOutcome::Succeeded {
                output: result.clone(),
            },
            Some(Mock::Error { error, cause }) => TaskOutcome::Failed {
                error: error.clone(),
                cause: cause.clone(),
                at: FailedAt::Run,
            },
            None => {
                let request = self.effects.drain(..).find_map(Effect::into_attempt);
                return Some(match request {
                    Some(request) => Probed::Task(Box::new(request)),
                    None => Probed::Refused(Refusal::NoMock),
                });
            }
        };
        self.task_ended(task, outcome);
        None
    }

    /// Lets the time of the next deadline come.
    fn pass_time(&mut self) {
        if let Some((due, timer)) = self.run.next_timer() {
            self.at = self.at.max(due);
            self.take(Input::TimerDue { timer });
        }
    }

    /// What the state came to, once it is over.
    fn inspected(&self) -> Option<Inspection> {
        let (output, next) = match (self.run.ending(), &self.run.frame(FrameId::ROOT)?.stage) {
            (Some(Ending::Succeeded { output }), _) | (None, Stage::Done { output }) => {
                (output, None)
            }
            (
                Some(
                    Ending::Failed { error, cause }
                    | Ending::TimedOut { error, cause }
                    | Ending::Aborted { error, cause },
                ),
                _,
            ) => {
                let watch = self.watch?;
                return Some(watch.failed(self.run, error.clone(), cause.clone()));
            }
            (None, Stage::Next { state, input }) => (input, Some(state.clone())),
            (None, Stage::In(visit)) => {
                return match &visit.phase {
                    Phase::Backoff { .. } => self.watch.map(|watch| watch.retriable(self.run)),
                    Phase::Entered
                    | Phase::Waiting { .. }
                    | Phase::Attempt(_)
                    | Phase::Flows
                    | Phase::MapRunOpening { .. }
                    | Phase::MapRunReopening { .. }
                    | Phase::MapRun { .. }
                    | Phase::MapRunStopped
                    | Phase::MapRunDone { .. }
                    | Phase::Worked { .. }
                    | Phase::Failing { .. }
                    | Phase::Aborted => None,
                };
            }
        };
        Some(self.watch?.left(self.run, output.clone(), next))
    }
}
