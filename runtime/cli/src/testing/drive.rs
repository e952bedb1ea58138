//! Runs a state machine on the bare interpreter in virtual time: tasks answer at once with what is mocked, and the clock
//! jumps to whatever is due next. Equal arguments, equal runs: seeds are counted and the start is fixed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use stepwell_asl::Program;
use stepwell_interp::{
    Effect, Ending, Env, FailedAt, Input, Run, Start, TaskId, TaskOutcome, Timestamp, What, step,
};

use super::file::{Case, Response};

/// When every run starts: 2026-01-01T00:00:00Z.
pub(super) const STARTED_AT: Timestamp = Timestamp(1_767_225_600_000);
/// Steps after which a run that does not end is given up; a history ends long before.
const STEPS_MAX: u64 = 10_000_000;

/// A run to its end.
pub(super) struct Ran {
    pub(super) ending: Ending,
    /// States entered, in order.
    pub(super) states: Vec<Arc<str>>,
    /// How long it would have taken, tasks aside.
    pub(super) virtual_ms: u64,
}

/// Why a run does not come to an end, with the states entered until then.
pub(super) struct Stuck {
    pub(super) why: String,
    pub(super) states: Vec<Arc<str>>,
}

pub(super) fn drive(program: &Program, start: Start, case: &Case) -> Result<Ran, Stuck> {
    let mut driver = Driver {
        program,
        case,
        run: Run::default(),
        at: STARTED_AT,
        steps: 0,
        attempts: BTreeMap::new(),
        ended: VecDeque::new(),
        states: Vec::new(),
    };
    match driver.run(start) {
        Ok(ending) => Ok(Ran {
            ending,
            states: driver.states,
            virtual_ms: driver.run.last_at().since_ms(STARTED_AT),
        }),
        Err(why) => Err(Stuck {
            why,
            states: driver.states,
        }),
    }
}

struct Driver<'a> {
    program: &'a Program,
    case: &'a Case,
    run: Run,
    at: Timestamp,
    steps: u64,
    /// Attempts so far, by state.
    attempts: BTreeMap<Arc<str>, u32>,
    /// Ends of tasks that are to be told.
    ended: VecDeque<Input>,
    states: Vec<Arc<str>>,
}

impl Driver<'_> {
    fn run(&mut self, start: Start) -> Result<Ending, String> {
        let mut input = Input::Started(Box::new(start));
        loop {
            let again = self.feed(input)?;
            if let Some(ending) = self.run.ending() {
                return Ok(ending.clone());
            }
            input = match (again, self.ended.pop_front(), self.run.next_timer()) {
                (true, None, _) => Input::Continue,
                (_, Some(ended), _) => ended,
                (false, None, Some((due, timer))) => {
                    self.at = self.at.max(due);
                    Input::TimerDue { timer }
                }
                (false, None, None) => {
                    return Err("the execution waits for something that never comes".to_owned());
                }
            };
        }
    }

    /// One step; true when the interpreter wants to go on.
    fn feed(&mut self, input: Input) -> Result<bool, String> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(format!(
                "the execution does not end within {STEPS_MAX} steps"
            ));
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.steps.to_le_bytes());
        let env = Env { at: self.at, seed };
        let mut again = false;
        for effect in step(self.program, &mut self.run, input, env) {
            match effect {
                Effect::Record(event) => {
                    if let What::StateEntered { name, .. } = event.what {
                        self.states.push(name);
                    }
                }
                Effect::RunTask(request) => self.answer(request.task, &request.state)?,
                Effect::OpenToken {
                    task,
                    activity: Some(_),
                    ..
                } => {
                    let state = self.run.open_task(task).map(|open| open.state.clone());
                    if let Some(state) = state {
                        self.answer(task, &state)?;
                    }
                }
                // Its request is a task of its own, and that one's mock is the answer.
                Effect::OpenToken { activity: None, .. } => {}
                // A late end changes nothing, and no mock is lost with a process.
                Effect::CancelTask { .. } | Effect::Begin { .. } | Effect::Finish => {}
                Effect::StartMapRun(_) | Effect::RedriveMapRun { .. } | Effect::MapRun(_) => {
                    return Err("a Map in DISTRIBUTED mode cannot be tested yet; test its processor as a state machine of its own".to_owned());
                }
                Effect::Again => again = true,
            }
        }
        Ok(again)
    }

    /// Ends an attempt as its mock says.
    fn answer(&mut self, task: TaskId, state: &Arc<str>) -> Result<(), String> {
        let Some((response, attempts)) = self.case.mocked.get(&**state) else {
            return Err(format!(
                "the task of `{state}` is not mocked: add \"{state}\" with the name of a mocked response to the test case"
            ));
        };
        let count = self.attempts.entry(state.clone()).or_default();
        let number = *count;
        *count += 1;
        let found = attempts
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&number));
        let outcome = match found {
            None => {
                return Err(format!(
                    "`{state}` was attempted {} times, and its mocked response `{response}` has no \"{number}\"",
                    number + 1
                ));
            }
            Some((_, _, Response::Return(output))) => TaskOutcome::Succeeded {
                output: output.clone(),
            },
            Some((_, _, Response::Throw { error, cause })) => TaskOutcome::Failed {
                error: error.clone(),
                cause: cause.clone(),
                at: FailedAt::Run,
            },
        };
        self.ended.push_back(Input::TaskEnded { task, outcome });
        Ok(())
    }
}
