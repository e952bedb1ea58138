//! Runs a state machine on the bare interpreter in virtual time: the clock jumps to whatever comes next. Hides the
//! agenda of tasks and timers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stepwell_asl::{Pattern, Program, Target};
use stepwell_engine::sim;
use stepwell_interp::{
    ChildId, Effect, Ending, Env, Event, Fork, Input, MapRunInput, MapRunStart, RedrivenBy, Run,
    Start, TaskId, TaskOutcome, TaskRequest, Timestamp, step,
};
use stepwell_query::Value;

use crate::{
    map_runs,
    script::{Act, Script},
};

/// When every run starts: 2026-01-31T12:00:00Z.
pub const STARTED_AT: Timestamp = Timestamp(1_769_860_800_000);
/// Steps after which a run that does not end is given up.
const STEPS_MAX: usize = 200_000;

/// Who serves the tasks.
pub trait Tasks {
    /// What an attempt does; for an activity task `request` is made of what its worker gets.
    fn next(&mut self, request: &TaskRequest) -> Act;
    /// The state machine of that ARN, where tasks really start executions.
    fn machine(&self, _arn: &str) -> Option<Arc<Program>> {
        None
    }
    /// Whether there are state machines to start.
    fn has_machines(&self) -> bool {
        false
    }
    /// How long after each of its ends the execution is redriven.
    fn redrives_ms(&self) -> Vec<u64> {
        Vec::new()
    }
}

impl Tasks for Script {
    fn next(&mut self, request: &TaskRequest) -> Act {
        Script::next(self, &request.resource.text)
    }

    fn machine(&self, arn: &str) -> Option<Arc<Program>> {
        self.machines.get(arn).cloned()
    }

    fn has_machines(&self) -> bool {
        !self.machines.is_empty()
    }

    fn redrives_ms(&self) -> Vec<u64> {
        self.redrives_ms.clone()
    }
}

/// One call of the interpreter: what went in, and how many events the log had after it.
pub struct Stepped {
    pub input: Input,
    pub env: Env,
    pub events: usize,
}

/// A run and all that led to it.
pub struct Driven {
    pub run: Run,
    pub events: Vec<Event>,
    pub steps: Vec<Stepped>,
    /// Tasks whose cancellation was asked for.
    pub cancelled: Vec<TaskId>,
}

impl Driven {
    /// The output of a run that succeeded.
    pub fn output(&self) -> Option<&Value> {
        match self.run.ending()? {
            Ending::Succeeded { output } => Some(output),
            Ending::Failed { .. } | Ending::TimedOut { .. } | Ending::Aborted { .. } => None,
        }
    }
}

/// The start of an execution with this input.
pub fn start(input: Value, express: bool) -> Start {
    Start {
        execution_arn: "arn:aws:states:us-east-1:000000000000:execution:machine:run".into(),
        execution_name: "run".into(),
        machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:machine".into(),
        machine_name: "machine".into(),
        role_arn: "arn:aws:iam::000000000000:role/test".into(),
        version_arn: None,
        alias_arn: None,
        express,
        raised_limits: false,
        processor_of: None,
        forked_from: None,
        input,
    }
}

/// Runs to the end.
pub fn drive(
    program: &Program,
    start: Start,
    tasks: &mut dyn Tasks,
    stop: Option<(u64, Input)>,
) -> Driven {
    let redrives = tasks.redrives_ms();
    drive_from(STARTED_AT, program, start, tasks, stop, redrives)
}

/// Runs a fork to the end, from the start time of every run; redrives it so long after each of its ends.
pub fn drive_fork(
    program: &Program,
    fork: Fork,
    tasks: &mut dyn Tasks,
    redrives: Vec<u64>,
) -> Driven {
    let mut driver = Driver::new(STARTED_AT, program, tasks);
    driver.feed(Input::Forked(Arc::new(fork)));
    driver.drive(redrives);
    driver.driven
}

fn drive_from(
    at: Timestamp,
    program: &Program,
    start: Start,
    tasks: &mut dyn Tasks,
    stop: Option<(u64, Input)>,
    redrives: Vec<u64>,
) -> Driven {
    let mut driver = Driver::new(at, program, tasks);
    if let Some((after_ms, input)) = stop {
        let stop_at = at.plus_ms(after_ms);
        driver.stop_at = Some(stop_at);
        driver.plan(stop_at, input);
    }
    driver.feed(Input::Started(Box::new(start)));
    driver.drive(redrives);
    driver.driven
}

/// The children of a map run.
struct Items<'a> {
    program: &'a Program,
    tasks: &'a mut dyn Tasks,
    stop_at: Option<Timestamp>,
}

impl map_runs::Children for Items<'_> {
    fn stop_at(&self) -> Option<Timestamp> {
        self.stop_at
    }

    fn begin(&mut self, at: Timestamp, start: Start) -> Run {
        let stop = self
            .stop_at
            .filter(|stop_at| *stop_at >= at)
            .map(|stop_at| {
                let stop = Input::StopAsked {
                    error: None,
                    cause: None,
                };
                (stop_at.since_ms(at), stop)
            });
        drive_from(at, self.program, start, self.tasks, stop, Vec::new()).run
    }

    fn redrive(&mut self, at: Timestamp, run: Run) -> Run {
        let mut driver = Driver::new(at, self.program, self.tasks);
        driver.driven.run = run;
        driver.feed(Input::RedriveAsked {
            token: None,
            by: RedrivenBy::MapRun,
        });
        driver.drive(Vec::new());
        driver.driven.run
    }
}

/// A seed that follows from its number.
pub fn seed(number: usize) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    seed
}

struct Driver<'a> {
    program: &'a Program,
    tasks: &'a mut dyn Tasks,
    /// What comes when; what comes at one time comes in the order in which it was planned.
    agenda: BTreeMap<(Timestamp, u64), Input>,
    entries: u64,
    at: Timestamp,
    stop_at: Option<Timestamp>,
    /// Acts of attempts that are lost some times before they do anything.
    lost: BTreeMap<TaskId, (u64, Act)>,
    /// ARNs of executions that tasks started.
    children: BTreeSet<Arc<str>>,
    /// Map runs that have ended.
    map_runs: BTreeMap<ChildId, map_runs::Ran>,
    driven: Driven,
}

impl<'a> Driver<'a> {
    fn new(at: Timestamp, program: &'a Program, tasks: &'a mut dyn Tasks) -> Driver<'a> {
        let driven = Driven {
            run: Run::default(),
            events: Vec::new(),
            steps: Vec::new(),
            cancelled: Vec::new(),
        };
        Driver {
            program,
            tasks,
            agenda: BTreeMap::new(),
            entries: 0,
            at,
            stop_at: None,
            lost: BTreeMap::new(),
            children: BTreeSet::new(),
            map_runs: BTreeMap::new(),
            driven,
        }
    }

    /// Goes on to the end, and after it as often as it is redriven.
    fn drive(&mut self, redrives: Vec<u64>) {
        let mut redrives = redrives.into_iter();
        while self.driven.steps.len() < STEPS_MAX {
            if self.driven.run.ending().is_some() {
                let Some(after_ms) = redrives.next() else {
                    break;
                };
                self.redrive(after_ms);
            } else if !self.turn() {
                break;
            }
        }
    }
}

impl Driver<'_> {
    /// Feeds what comes next; false when nothing ever comes.
    fn turn(&mut self) -> bool {
        let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let timer = self.driven.run.next_timer();
        let input = match (planned, timer) {
            (None, None) => return false,
            (Some(planned), timer) if timer.is_none_or(|(due, _)| planned <= due) => {
                self.at = self.at.max(planned);
                self.agenda
                    .pop_first()
                    .map(|(_, input)| input)
                    .expect("the agenda has a first entry")
            }
            (_, Some((due, timer))) => {
                self.at = self.at.max(due);
                Input::TimerDue { timer }
            }
            (Some(_), None) => return false,
        };
        self.feed(input);
        true
    }

    /// Redrives an execution that has ended.
    fn redrive(&mut self, after_ms: u64) {
        self.at = self.driven.run.last_at().plus_ms(after_ms);
        // A stop that has come is none of what begins now, be it at the same moment.
        let is_stop = |input: &Input| matches!(input, Input::StopAsked { .. });
        if !self.agenda.values().any(is_stop) {
            self.stop_at = None;
        }
        self.feed(Input::RedriveAsked {
            token: None,
            by: RedrivenBy::Caller,
        });
    }

    fn feed(&mut self, input: Input) {
        let mut input = Some(input);
        while let Some(next) = input.take() {
            let env = Env {
                at: self.at,
                seed: seed(self.driven.steps.len()),
            };
            let effects = step(self.program, &mut self.driven.run, next.clone(), env);
            for effect in effects {
                match effect {
                    Effect::Record(event) => self.driven.events.push(event),
                    Effect::RunTask(request) => self.run_task(request),
                    Effect::OpenToken {
                        task,
                        activity: Some(_),
                        ..
                    } => self.offer_activity(task),
                    // The request of a callback task is a task of its own. What is scripted has begun by then.
                    Effect::OpenToken { .. } | Effect::Begin { .. } => {}
                    Effect::CancelTask { task, .. } => {
                        self.driven.cancelled.push(task);
                        self.agenda.retain(|_, input| task_of(input) != Some(task));
                    }
                    Effect::StartMapRun(start) => self.start_map_run(*start),
                    Effect::RedriveMapRun { map_run, redrive } => {
                        self.redrive_map_run(map_run, redrive);
                    }
                    Effect::Again => input = Some(Input::Continue),
                    Effect::MapRun(_) | Effect::Finish => {}
                }
            }
            self.driven.steps.push(Stepped {
                input: next,
                env,
                events: self.driven.events.len(),
            });
        }
    }

    fn plan(&mut self, at: Timestamp, input: Input) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), input);
    }

    fn run_task(&mut self, request: TaskRequest) {
        let task = request.task;
        if let Target::StartExecution(pattern) = request.resource.target
            && self.tasks.has_machines()
        {
            return self.start_child(&request, pattern);
        }
        let (left, act) = match self.lost.remove(&task) {
            Some(known) => known,
            None => {
                let act = self.tasks.next(&request);
                (act.lost, act)
            }
        };
        if left > 0 {
            let on_crash = act.on_crash;
            if !act.lost_early {
                let (by, at) = (act.by.clone().map(Into::into), self.at);
                self.plan(at, Input::TaskStarted { task, by, at });
            }
            self.lost.insert(task, (left - 1, act));
            return self.plan(self.at, Input::TaskLost { task, on_crash });
        }
        self.act(task, act);
    }

    /// Runs the child that a task asks for to its end, and plans what its parent hears of it.
    fn start_child(&mut self, request: &TaskRequest, pattern: Pattern) {
        let task = request.task;
        let parent = self.driven.run.start().expect("a parent has begun").clone();
        let known = |arn: &str| self.tasks.machine(arn).is_some();
        let start = match sim::asked_child(&parent.execution_arn, request, known) {
            Ok(start) => start,
            Err(outcome) => return self.plan(self.at, Input::TaskEnded { task, outcome }),
        };
        if !self.children.insert(start.execution_arn.clone()) {
            let outcome = sim::name_taken(&parent.execution_arn, request, &start.execution_arn);
            return self.plan(self.at, Input::TaskEnded { task, outcome });
        }
        let program = self.tasks.machine(&start.machine_arn).expect("it is known");
        let output = sim::child_response(&start, self.at);
        let child = drive_from(self.at, &program, start, self.tasks, None, Vec::new());
        match pattern {
            Pattern::RequestResponse => {
                let outcome = TaskOutcome::Succeeded { output };
                self.plan(self.at, Input::TaskEnded { task, outcome });
            }
            Pattern::WaitForTaskToken => {
                self.plan(self.at, Input::TaskSubmitted { task, output });
            }
            Pattern::Sync | Pattern::Sync2 => {
                let started = Input::ChildStarted {
                    task,
                    child: ChildId(task.entry),
                    output,
                };
                self.plan(self.at, started);
                if let Some(outcome) = sim::child_outcome(request, &child.run) {
                    let ended = child.run.last_at();
                    self.plan(ended, Input::ChildEnded { task, outcome });
                }
            }
        }
    }

    /// Runs a map run to its end, and plans what its Map state hears of it.
    fn start_map_run(&mut self, start: MapRunStart) {
        let run = start.run;
        let begun = Input::ChildStarted {
            task: run,
            child: ChildId(run.entry),
            output: Value::Null,
        };
        self.plan(self.at, begun);
        let began = MapRunInput::Started(Box::new(start));
        self.drive_map_run(ChildId(run.entry), map_runs::Ran::default(), began);
    }

    fn redrive_map_run(&mut self, map_run: ChildId, count: u32) {
        let ran = self.map_runs.remove(&map_run);
        let ran = ran.expect("a map run is redriven that was started");
        self.drive_map_run(map_run, ran, MapRunInput::RedriveAsked { count });
    }

    /// Drives a map run to its end, and plans that its Map state hears of it.
    fn drive_map_run(&mut self, map_run: ChildId, mut ran: map_runs::Ran, input: MapRunInput) {
        let mut children = Items {
            program: self.program,
            tasks: &mut *self.tasks,
            stop_at: self.stop_at,
        };
        let ended = ran.drive(self.program, self.at, input, &mut children);
        if let Some((at, ended)) = ended {
            self.plan(at, ended);
        }
        self.map_runs.insert(map_run, ran);
    }

    fn offer_activity(&mut self, task: TaskId) {
        let Some(open) = self.driven.run.open_task(task) else {
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
        let act = self.tasks.next(&request);
        self.act(task, act);
    }

    fn act(&mut self, task: TaskId, act: Act) {
        let started = self.at.plus_ms(act.start_after_ms);
        let before_start = matches!(
            &act.outcome,
            Some(TaskOutcome::Failed { at, .. })
                if matches!(at, stepwell_interp::FailedAt::Schedule | stepwell_interp::FailedAt::Start)
        );
        if !before_start {
            self.plan(
                started,
                Input::TaskStarted {
                    task,
                    by: act.by.map(Into::into),
                    at: started,
                },
            );
        }
        if let Some(output) = act.submitted {
            self.plan(started, Input::TaskSubmitted { task, output });
        }
        for ms in act.heartbeats_ms {
            self.plan(self.at.plus_ms(ms), Input::Heartbeat { task });
        }
        if let Some(outcome) = act.outcome {
            self.plan(
                started.plus_ms(act.after_ms),
                Input::TaskEnded { task, outcome },
            );
        }
    }
}

fn task_of(input: &Input) -> Option<TaskId> {
    match input {
        Input::TaskStarted { task, .. }
        | Input::TaskSubmitted { task, .. }
        | Input::TaskEnded { task, .. }
        | Input::ChildStarted { task, .. }
        | Input::ChildEnded { task, .. }
        | Input::MapRunEnded { run: task, .. }
        | Input::TaskUsed { task, .. }
        | Input::TaskLost { task, .. }
        | Input::TaskWaits { task, .. }
        | Input::Heartbeat { task } => Some(*task),
        Input::Started(_)
        | Input::Forked(_)
        | Input::Continue
        | Input::MapRun(_)
        | Input::TimerDue { .. }
        | Input::StopAsked { .. }
        | Input::RedriveAsked { .. } => None,
    }
}
