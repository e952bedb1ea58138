//! The deciding half: what an input leads to. Hides that one call does many small turns, each of which records events
//! that the run evolves by at once.

use std::sync::Arc;

use stepwell_asl::{Flow, Kind, Program, State};
use stepwell_query::{Effort, Ledger, Random, Room};

use crate::{
    Timestamp,
    border::{Effect, Env, Input, RedrivenBy, Start, TaskToken, TimerId},
    event::{Event, Place, What},
    fault::{Fault, Outcome, TIMEOUT},
    flow,
    limits::{EXPRESS_DURATION_MS_MAX, Limits, STEP_EVENTS_MAX, STEP_WORK_MAX},
    probe::Watch,
    redrive::Redrive,
    run::{FrameId, Phase, Run, Stage, Unfinished},
    scope::Moment,
};

/// Advances one execution: takes an input, runs on until every flow waits for the outside world, and says what is to
/// be done. Pure and total: an input that fits nothing that is open has no effects.
///
/// It stops with [`Effect::Again`] and wants [`Input::Continue`] next after [`STEP_EVENTS_MAX`] events or evaluations
/// that are as much work, and before an expression that may take long: that one is the first thing the next step does.
/// So it stops between two expressions of one state as well; what they came to is remembered in the run. Any other
/// input may be taken first. A timer whose work was not done yet stays due.
pub fn step(program: &Program, run: &mut Run, input: Input, env: Env) -> Vec<Effect> {
    let mut turn = Turn::new(program, run, env, None);
    turn.take(input);
    turn.run_on();
    debug_assert!(turn.run.is_consistent());
    turn.effects
}

/// Takes an input and runs nothing on: what an execution gets that began and has to wait before its first state. It goes on
/// with [`Input::Continue`], given to [`step`].
pub fn step_held(program: &Program, run: &mut Run, input: Input, env: Env) -> Vec<Effect> {
    let mut turn = Turn::new(program, run, env, None);
    turn.take(input);
    debug_assert!(turn.run.is_consistent());
    turn.effects
}

/// One call of [`step`].
pub(crate) struct Turn<'a> {
    pub(crate) program: &'a Program,
    pub(crate) run: &'a mut Run,
    pub(crate) at: Timestamp,
    pub(crate) random: Random,
    pub(crate) limits: &'static Limits,
    pub(crate) effects: Vec<Effect>,
    events: u32,
    /// Work of evaluations so far.
    work: u64,
    /// The position at which a flow's turn began, during one.
    turn: Option<u64>,
    /// What that turn evaluates.
    evaluated: Option<Box<Unfinished>>,
    /// The turn came upon more work than the step takes: it is given again in another one.
    put_off: bool,
    /// Who looks on, when the state is tried alone.
    pub(crate) watch: Option<&'a Watch>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        program: &'a Program,
        run: &'a mut Run,
        env: Env,
        watch: Option<&'a Watch>,
    ) -> Turn<'a> {
        let limits = Limits::of(run.start().is_some_and(|start| start.raised_limits));
        let at = env.at.max(run.last_at());
        Turn {
            program,
            run,
            at,
            random: Random::from_seed(env.seed),
            limits,
            effects: Vec::new(),
            events: 0,
            work: 0,
            turn: None,
            evaluated: None,
            put_off: false,
            watch,
        }
    }

    pub(crate) fn take(&mut self, input: Input) {
        if let Input::RedriveAsked { token, by } = input {
            return self.redrive(token, by);
        }
        if self.run.ending().is_some() {
            return;
        }
        match input {
            Input::Started(start) => self.start(*start),
            Input::Forked(fork) => self.fork(&fork),
            Input::Continue => {}
            Input::TaskStarted { task, by, at } => self.task_begins(task, by, at),
            Input::TaskSubmitted { task, output } => self.task_submitted(task, output),
            Input::ChildStarted {
                task,
                child,
                output,
            } => self.child_started(task, child, output),
            Input::TaskEnded { task, outcome } | Input::ChildEnded { task, outcome } => {
                self.task_ended(task, outcome);
            }
            Input::MapRunEnded {
                run,
                redrive,
                ending,
            } => self.map_run_ended(run, redrive, ending),
            Input::MapRun(_) => {}
            Input::TaskUsed {
                task,
                plugin,
                measures,
            } => self.task_used(task, plugin, measures),
            Input::TaskLost { task, on_crash } => self.task_lost(task, on_crash),
            Input::TimerDue { timer } => self.timer_due(timer),
            Input::Heartbeat { task } => self.run.beat(task, self.at),
            Input::TaskWaits { task, why } => self.run.awaits(task, why),
            Input::StopAsked { error, cause } => {
                if !self.run.is_fresh() {
                    self.record(FrameId::ROOT, What::ExecutionAborted { error, cause });
                }
            }
            Input::RedriveAsked { .. } => {}
        }
    }

    /// Goes on with what did not succeed, if that may be.
    fn redrive(&mut self, token: Option<Arc<str>>, by: RedrivenBy) {
        let may = self.run.may_redrive(token.as_deref(), by, self.at);
        let (Ok(Redrive::Now), Some(start)) = (may, self.run.start()) else {
            return;
        };
        let timeout_at = self.timeout_at(start, self.run.started_at());
        let count = self.run.redrives() + 1;
        self.record(
            FrameId::ROOT,
            What::ExecutionRedriven {
                count,
                timeout_at,
                token,
            },
        );
    }

    fn start(&mut self, start: Start) {
        if !self.run.is_fresh() {
            return;
        }
        self.limits = Limits::of(start.raised_limits);
        let processor = start
            .processor_of
            .as_ref()
            .and_then(|of| self.processor(of));
        let flow = processor.unwrap_or(&self.program.root);
        let first = self.program[flow.start].name.clone();
        let timeout_at = self.timeout_at(&start, self.at);
        self.record(
            FrameId::ROOT,
            What::ExecutionStarted {
                start: Box::new(start),
                first,
                timeout_at,
            },
        );
    }

    /// When an execution that starts now, or goes on now and started then, has to be over.
    pub(crate) fn timeout_at(&self, start: &Start, started_at: Timestamp) -> Option<Timestamp> {
        let of_item = start.processor_of.as_ref();
        let own = match of_item.and_then(|of| self.processor(of)) {
            // The state machine's timeout is not that of a map run's children.
            Some(_) => None,
            None => self.program.timeout_s,
        };
        let own = own.map(|seconds| self.at.plus_secs(seconds.get().into()));
        let bound = if start.express {
            Some(self.at.plus_ms(EXPRESS_DURATION_MS_MAX))
        } else {
            let most = self.limits.duration_ms_max;
            most.map(|ms| started_at.plus_ms(ms))
        };
        own.into_iter().chain(bound).min()
    }

    /// The flow that the Map state of that name runs for each item.
    fn processor(&self, of: &str) -> Option<&'a Flow> {
        let state = self.state_named(of)?;
        match &state.kind {
            Kind::Map(map) => Some(&map.processor),
            Kind::Pass(_)
            | Kind::Task(_)
            | Kind::Choice(_)
            | Kind::Wait(_)
            | Kind::Succeed(_)
            | Kind::Fail(_)
            | Kind::Parallel(_) => None,
        }
    }

    fn timer_due(&mut self, timer: TimerId) {
        if timer == TimerId::Execution {
            if let Some(due) = self.run.timeout_at().filter(|due| *due <= self.at) {
                // The execution ends at its deadline, however late we are told.
                self.at = due.max(self.run.last_at());
                let error = Some(TIMEOUT.into());
                self.record(
                    FrameId::ROOT,
                    What::ExecutionTimedOut { error, cause: None },
                );
            }
            return;
        }
        let Some((frame, _)) = self.run.due(timer).filter(|(_, due)| *due <= self.at) else {
            return;
        };
        match timer {
            TimerId::Execution => {}
            TimerId::Wait { .. } => self.give_turn(frame, |turn| turn.conclude_wait(frame)),
            TimerId::Retry { .. } => self.give_turn(frame, |turn| turn.begin(frame)),
            TimerId::Timeout { task } => self.task_timed_out(task, false),
            TimerId::Heartbeat { task } => self.task_timed_out(task, true),
        }
    }

    /// Gives a flow a turn, which is given again in another step when it is more work than this one takes. A state that
    /// is tried alone has all its turns in one step.
    fn give_turn(&mut self, id: FrameId, turn: impl FnOnce(&mut Self)) {
        if self.watch.is_some() {
            return turn(self);
        }
        self.turn = Some(self.run.next_position());
        self.evaluated = self.run.unfinished.remove(&id);
        if let Some(evaluated) = &mut self.evaluated {
            evaluated.ledger.rewind();
            if let Some(random) = evaluated.random.take() {
                self.random = random;
            }
        }
        turn(self);
        let evaluated = self.evaluated.take();
        if self.put_off
            && let Some(mut evaluated) = evaluated
        {
            evaluated.random = Some(self.random.clone());
            self.run.unfinished.insert(id, evaluated);
        }
        self.turn = None;
    }

    /// What the turn has evaluated so far.
    fn evaluated(&mut self) -> &mut Unfinished {
        let at = self.at;
        self.evaluated
            .get_or_insert_with(|| Box::new(Unfinished::new(at)))
    }

    /// The token that was drawn for the attempt to be scheduled when its turn was given before, or a fresh one.
    pub(crate) fn token(&mut self, draw: impl FnOnce(&mut Random) -> TaskToken) -> TaskToken {
        let drawn = self
            .evaluated
            .as_ref()
            .and_then(|evaluated| evaluated.token.clone());
        let token = drawn.unwrap_or_else(|| draw(&mut self.random));
        if self.turn.is_some() {
            self.evaluated().token = Some(token.clone());
        }
        token
    }

    /// Gives turns until all flows wait or the bound of one step is reached.
    fn run_on(&mut self) {
        while self.run.ending().is_none() {
            if self.put_off {
                self.effects.push(Effect::Again);
                return;
            }
            let Some(frame) = self.run.next_ready() else {
                return;
            };
            if self.events >= STEP_EVENTS_MAX || self.work >= STEP_WORK_MAX {
                self.effects.push(Effect::Again);
                return;
            }
            let before = self.run.next_position();
            self.give_turn(frame, |turn| turn.advance(frame));
            // Every turn records something, or the same turn would come for ever.
            debug_assert!(self.put_off || self.run.next_position() > before);
            if !self.put_off && self.run.next_position() == before {
                self.fail(frame, Fault::Runtime("The state cannot go on.".to_owned()));
            }
        }
    }

    /// One turn of one flow.
    pub(crate) fn advance(&mut self, id: FrameId) {
        let Some(frame) = self.run.frame(id) else {
            return;
        };
        match &frame.stage {
            Stage::Next { state, input } => {
                let (name, input) = (state.clone(), input.clone());
                let Some(state) = self.state_named(&name) else {
                    let cause = format!("The state machine has no state '{name}'.");
                    let failed = What::ExecutionFailed {
                        error: Some(crate::fault::RUNTIME.into()),
                        cause: Some(cause.into()),
                    };
                    return self.record(FrameId::ROOT, failed);
                };
                self.record(
                    id,
                    What::StateEntered {
                        kind: (&state.kind).into(),
                        name,
                        input,
                    },
                );
            }
            Stage::Done { output } => {
                let output = output.clone();
                match frame.parent {
                    None => self.record(id, What::ExecutionSucceeded { output }),
                    Some((parent, index)) => {
                        let Some(name) = self.run.state_of(parent) else {
                            return;
                        };
                        self.record(parent, What::IterationSucceeded { name, index });
                    }
                }
            }
            Stage::In(visit) => match &visit.phase {
                Phase::Entered => self.begin(id),
                Phase::Worked { result } => {
                    let result = result.clone();
                    self.conclude_work(id, &result);
                }
                Phase::Failing { .. } => self.handle_failure(id),
                Phase::Flows => self.advance_flows(id),
                Phase::MapRunOpening { .. } => self.start_map_run(id),
                Phase::MapRunReopening { .. } => self.redrive_map_run(id),
                Phase::MapRunDone { .. } => {
                    let kind = visit.kind;
                    self.record(id, What::FlowsSucceeded { kind });
                }
                Phase::Waiting { .. }
                | Phase::Attempt(_)
                | Phase::MapRun { .. }
                | Phase::MapRunStopped
                | Phase::Backoff { .. }
                | Phase::Aborted => {}
            },
        }
    }

    /// The state that the frame is in.
    pub(crate) fn state(&self, id: FrameId) -> Option<&'a State> {
        let name = &self.run.frame(id)?.visit()?.state;
        self.state_named(name)
    }

    fn state_named(&self, name: &str) -> Option<&'a State> {
        let program: &'a Program = self.program;
        program.find(name).map(|id| &program[id])
    }

    /// Evaluates something for the state that the frame is in; `None` when there is none, or when it is more work than
    /// this step takes and is left to others. Only a flow's turn that has recorded nothing can be given again.
    pub(crate) fn evaluate<T>(
        &mut self,
        id: FrameId,
        evaluate: impl FnOnce(&Moment, &mut Random, &Limits) -> Outcome<T>,
    ) -> Option<Outcome<T>> {
        let left = STEP_WORK_MAX.saturating_sub(self.work);
        let room = if self.turn != Some(self.run.next_position()) {
            Room::Whole
        } else if self.events == 0 && left > 0 {
            Room::First(left)
        } else {
            Room::Left(left)
        };
        let (ledger, at) = match &mut self.evaluated {
            Some(evaluated) => (std::mem::take(&mut evaluated.ledger), evaluated.at),
            None => (Ledger::default(), self.at),
        };
        let effort = Effort::new(ledger, self.limits.expressions, room);
        let made = Moment::of(self.run, id, at, &effort).map(|moment| {
            let watch = self.watch;
            let moment = Moment { watch, ..moment };
            evaluate(&moment, &mut self.random, self.limits)
        });
        self.work = self.work.saturating_add(effort.work());
        self.put_off |= effort.is_put_off();
        let too_much = effort.is_exhausted();
        let ledger = effort.into_ledger();
        // Most of all evaluations leave nothing to remember.
        if self.turn.is_some() && (self.put_off || !ledger.is_empty()) {
            self.evaluated().ledger = ledger;
        }
        match made {
            _ if self.put_off => None,
            Some(_) if too_much => Some(Err(Fault::TooMuchWork)),
            made => made,
        }
    }

    /// Records that the work of the state that the frame is in has failed.
    pub(crate) fn fail(&mut self, id: FrameId, fault: Fault) {
        self.fail_with(id, fault, false);
    }

    pub(crate) fn fail_with(&mut self, id: FrameId, fault: Fault, terminal: bool) {
        let Some(visit) = self.run.frame(id).and_then(|frame| frame.visit()) else {
            return;
        };
        let failed = fault.into_event(visit, terminal);
        self.record(id, failed);
    }

    /// Appends an event, unless the execution is over or the flow's turn is to be given again.
    pub(crate) fn record(&mut self, id: FrameId, what: What) {
        self.record_at(id, what, self.at);
    }

    pub(crate) fn record_at(&mut self, id: FrameId, what: What, at: Timestamp) {
        let over = self.run.ending().is_some();
        if (over && !matches!(what, What::ExecutionRedriven { .. })) || self.put_off {
            return;
        }
        let full = self.run.next_public_id() >= self.limits.history_events_max;
        let what = if full && what.is_public() && !what.is_ending() {
            flow::history_full(self.limits)
        } else {
            what
        };
        let open = if what.is_ending() {
            self.run.cancel_all()
        } else {
            Vec::new()
        };
        let place = match self.run.frame(id) {
            Some(frame) if !what.is_ending() => frame.place.clone(),
            Some(_) | None => Place::default(),
        };
        let event = Event {
            at,
            previous: self.run.previous(id, &what),
            place,
            what,
        };
        self.run.evolve(&event);
        self.events += 1;
        self.effects.push(Effect::Record(event));
        if self.run.ending().is_some() {
            self.effects.extend(open);
            self.effects.push(Effect::Finish);
        }
    }
}
