//! The fold: what each event does to a [`Run`]. Total: an event that fits nothing changes nothing, and no expression
//! is evaluated. Hides how the indexes are kept in step with the frames.

use std::sync::Arc;

use stepwell_query::{Array, Value};

use super::{
    Attempt, Flows, Frame, FrameId, Items, MapRunOf, Phase, Run, Stage, Visit, activity_of,
};
use crate::{
    Timestamp,
    border::{ChildId, Ending, Start, TaskId, TimerId},
    event::{Assigned, Chain, Event, Failure, FailureClass, Place, Scheduled, StateKind, What},
};

/// Turn of a state that failed: before all others, so that its siblings stop at once.
const URGENT: u8 = 0;
pub(super) const IN_TURN: u8 = 1;

impl Run {
    /// Folds one event. Recovery folds the whole log; [`crate::step`] has already folded what it records.
    pub fn evolve(&mut self, event: &Event) {
        self.position += 1;
        self.last_at = self.last_at.max(event.at);
        if event.what.is_public() {
            self.public += 1;
        }
        if let What::ExecutionStarted {
            start,
            first,
            timeout_at,
        } = &event.what
        {
            self.begin(start, first, *timeout_at, event.at);
            return;
        }
        if let Some(id) = self.at(&event.place) {
            self.unfinished.remove(&id);
            self.advance_chain(id, &event.what);
            self.apply(id, event);
        }
    }

    fn apply(&mut self, id: FrameId, event: &Event) {
        match &event.what {
            What::ExecutionStarted { .. } => {}
            What::ExecutionSucceeded { output } => self.end(Ending::Succeeded {
                output: output.clone(),
            }),
            What::ExecutionFailed { error, cause } => {
                self.end(Ending::Failed {
                    error: error.clone(),
                    cause: cause.clone(),
                });
            }
            What::ExecutionTimedOut { error, cause } => {
                self.end(Ending::TimedOut {
                    error: error.clone(),
                    cause: cause.clone(),
                });
            }
            What::ExecutionAborted { error, cause } => {
                self.end(Ending::Aborted {
                    error: error.clone(),
                    cause: cause.clone(),
                });
            }
            What::ExecutionRedriven {
                count,
                timeout_at,
                token,
            } => self.redrive(*count, *timeout_at, token.as_ref(), event.at),
            What::StateEntered { kind, name, input } => self.enter(id, event, *kind, name, input),
            What::StateExited {
                output,
                assigned,
                next,
                ..
            } => self.exit(id, output, assigned, next.as_ref()),
            What::StateAborted { .. } => self.set_phase(id, Phase::Aborted),
            What::EvaluationFailed {
                error,
                cause,
                terminal,
                ..
            } => {
                let class = if *terminal {
                    FailureClass::Terminal
                } else {
                    FailureClass::Named
                };
                self.fail(
                    id,
                    Failure {
                        error: Some(error.clone()),
                        cause: Some(cause.clone()),
                        class,
                    },
                );
            }
            What::Scheduled(scheduled) => self.schedule(id, scheduled, event.at),
            What::Started { .. } => self.started(id, event.at),
            What::Submitted { .. } => self.change_attempt(id, |attempt| attempt.submitted = true),
            What::Succeeded { output, .. } => self.set_phase(
                id,
                Phase::Worked {
                    result: output.clone(),
                },
            ),
            What::Failed { error, cause, .. } => {
                self.fail(
                    id,
                    Failure {
                        error: error.clone(),
                        cause: cause.clone(),
                        class: FailureClass::Named,
                    },
                );
            }
            What::TimedOut {
                error,
                cause,
                heartbeat,
                ..
            } => {
                let class = if *heartbeat {
                    FailureClass::Heartbeat
                } else {
                    FailureClass::Named
                };
                self.fail(
                    id,
                    Failure {
                        error: error.clone(),
                        cause: cause.clone(),
                        class,
                    },
                );
            }
            What::ParallelStarted { firsts, input } => self.start_branches(id, firsts, input),
            What::MapStarted {
                items,
                first,
                concurrency,
            } => self.start_map(id, items, first, *concurrency),
            What::FlowsSucceeded { .. } => self.collect(id),
            What::FlowsFailed { .. } => self.announce(id),
            What::IterationStarted { index, input, .. } => {
                self.start_iteration(id, *index, input.as_ref())
            }
            What::IterationSucceeded { index, .. } => self.succeed_child(id, *index),
            What::IterationFailed { index, failure, .. }
            | What::BranchFailed { index, failure } => {
                self.stop_child(id, *index);
                self.fail(id, failure.clone());
            }
            What::IterationAborted { index, .. } | What::BranchAborted { index } => {
                self.stop_child(id, *index)
            }
            What::WaitPlanned { until } => self.set_phase(id, Phase::Waiting { until: *until }),
            What::RetryPlanned { retrier, fire_at } => self.plan_retry(id, *retrier, *fire_at),
            What::Redispatched { count } => self.redispatched(id, *count, event.at),
            What::StateFailed { failure } => self.fail(id, failure.clone()),
            What::ChildStarted { child } => self.child_started(id, *child),
            What::DistributedMapStarted { items } => self.set_phase(
                id,
                Phase::MapRunOpening {
                    items: items.clone(),
                },
            ),
            What::MapRunStarted { arn } => self.map_run_started(id, arn),
            What::MapRunRedriven { count, .. } => self.map_run_redriven(id, *count),
            What::MapRunSucceeded { result } => self.set_phase(
                id,
                Phase::MapRunDone {
                    result: result.clone(),
                },
            ),
            What::MapRunFailed { failure } => self.fail(id, failure.clone()),
            What::MapRunAborted => self.set_phase(id, Phase::MapRunStopped),
            What::MapRun(_) => {}
        }
    }

    // The execution.

    fn begin(
        &mut self,
        start: &Start,
        first: &Arc<str>,
        timeout_at: Option<Timestamp>,
        at: Timestamp,
    ) {
        if self.start.is_some() {
            return;
        }
        let start = Arc::new(start.clone());
        let stage = Stage::Next {
            state: first.clone(),
            input: start.input.clone(),
        };
        self.start = Some(start);
        self.started_at = at;
        self.timeout_at = timeout_at;
        if let Some(due) = timeout_at {
            self.timers.insert((due, TimerId::Execution));
        }
        let root = self.open_frame(Place::default(), None, stage, 0);
        self.make_ready(root, IN_TURN, 0);
    }

    fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.unfinished.clear();
        self.timers.clear();
        for id in std::mem::take(&mut self.ready).into_values() {
            if let Some(frame) = self.frames.get_mut(id) {
                frame.ready = None;
            }
        }
    }

    // States.

    fn enter(
        &mut self,
        id: FrameId,
        event: &Event,
        kind: StateKind,
        name: &Arc<str>,
        input: &Value,
    ) {
        let visit = Visit {
            state: name.clone(),
            kind,
            entry: self.position,
            entered_id: self.public,
            entered_previous: event.previous,
            entered_at: event.at,
            input: input.clone(),
            attempts: 0,
            retries: 0,
            retriers: Vec::new(),
            phase: Phase::Entered,
            flows: None,
            result: None,
            map_run: None,
        };
        if let Some(frame) = self.frames.get_mut(id) {
            frame.stage = Stage::In(Box::new(visit));
        }
        self.make_ready(id, IN_TURN, 0);
    }

    fn exit(&mut self, id: FrameId, output: &Value, assigned: &Assigned, next: Option<&Arc<str>>) {
        self.release(id);
        self.drop_flows(id);
        self.assign(id, assigned);
        let Some(frame) = self.frames.get_mut(id) else {
            return;
        };
        let parent = frame.parent;
        frame.stage = match next {
            Some(state) => Stage::Next {
                state: state.clone(),
                input: output.clone(),
            },
            None => Stage::Done {
                output: output.clone(),
            },
        };
        match parent {
            // A branch has no event of its own end.
            Some((parent, index)) if next.is_none() && self.is_parallel(parent) => {
                self.succeed_child(parent, index)
            }
            Some(_) | None => self.make_ready(id, IN_TURN, 0),
        }
    }

    pub(super) fn assign(&mut self, id: FrameId, assigned: &Assigned) {
        for (name, value) in assigned.iter() {
            let Some(frame) = self.frames.get_mut(id) else {
                return;
            };
            self.variables_bytes += value.json_bytes();
            if let Some(old) = frame.variables.insert(name.clone(), value.clone()) {
                self.variables_bytes = self.variables_bytes.saturating_sub(old.json_bytes());
            }
        }
    }

    fn fail(&mut self, id: FrameId, failure: Failure) {
        if let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) {
            visit.keep_result();
        }
        self.set_phase(
            id,
            Phase::Failing {
                failure,
                announced: false,
            },
        );
    }

    fn announce(&mut self, id: FrameId) {
        let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) else {
            return;
        };
        if let Phase::Failing { announced, .. } = &mut visit.phase {
            *announced = true;
        }
    }

    fn plan_retry(&mut self, id: FrameId, retrier: u32, fire_at: Timestamp) {
        let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) else {
            return;
        };
        let slot = retrier as usize;
        if visit.retriers.len() <= slot {
            visit.retriers.resize(slot + 1, 0);
        }
        visit.retriers[slot] += 1;
        visit.retries += 1;
        self.set_phase(id, Phase::Backoff { fire_at });
    }

    // Attempts.

    fn schedule(&mut self, id: FrameId, scheduled: &Scheduled, at: Timestamp) {
        let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) else {
            return;
        };
        visit.attempts += 1;
        // A worker's heartbeat counts from when it took the task.
        let beats = activity_of(&scheduled.resource).is_none();
        let attempt = Attempt {
            id: TaskId {
                entry: visit.entry,
                attempt: visit.attempts,
            },
            resource: scheduled.resource.clone(),
            parameters: scheduled.parameters.clone(),
            role_arn: scheduled.role_arn.clone(),
            token: scheduled.token.clone(),
            scheduled_at: at,
            timeout_s: scheduled.timeout_s,
            deadline: scheduled.timeout_s.map(|s| at.plus_secs(s.into())),
            heartbeat_s: scheduled.heartbeat_s,
            heartbeat_due: scheduled
                .heartbeat_s
                .filter(|_| beats)
                .map(|s| at.plus_secs(s.into())),
            started: false,
            submitted: false,
            child: None,
            redispatches: 0,
        };
        self.set_phase(id, Phase::Attempt(Box::new(attempt)));
    }

    fn started(&mut self, id: FrameId, at: Timestamp) {
        self.change_attempt(id, |attempt| {
            attempt.started = true;
            if activity_of(&attempt.resource).is_some() {
                attempt.heartbeat_due = attempt.heartbeat_s.map(|s| at.plus_secs(s.into()));
            }
        });
    }

    fn redispatched(&mut self, id: FrameId, count: u32, at: Timestamp) {
        self.change_attempt(id, |attempt| {
            attempt.redispatches = count;
            attempt.deadline = attempt.timeout_s.map(|s| at.plus_secs(s.into()));
            attempt.heartbeat_due = attempt.heartbeat_s.map(|s| at.plus_secs(s.into()));
        });
    }

    /// A sign of life: moves the heartbeat's deadline. Not an event.
    pub(crate) fn beat(&mut self, task: TaskId, at: Timestamp) {
        if let Some(id) = self.task_frame(task) {
            self.change_attempt(id, |attempt| {
                if attempt.heartbeat_due.is_some() {
                    attempt.heartbeat_due = attempt.heartbeat_s.map(|s| at.plus_secs(s.into()));
                }
            });
        }
    }

    fn change_attempt(&mut self, id: FrameId, change: impl FnOnce(&mut Attempt)) {
        let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) else {
            return;
        };
        let Phase::Attempt(attempt) = &mut visit.phase else {
            return;
        };
        let before = attempt_timers(attempt);
        change(attempt);
        let after = attempt_timers(attempt);
        if before != after {
            before.iter().flatten().for_each(|timer| {
                self.timers.remove(timer);
            });
            self.timers.extend(after.into_iter().flatten());
        }
    }

    // Flows.

    fn start_branches(&mut self, id: FrameId, firsts: &Arc<[Arc<str>]>, input: &Value) {
        let total = u32::try_from(firsts.len()).unwrap_or(u32::MAX);
        let flows = Flows {
            next: total,
            active: total,
            ..Flows::of(Items::Branches, total, Some(total))
        };
        self.start_flows(id, flows);
        for (index, first) in (0..total).zip(firsts.iter()) {
            self.open_child(id, index, first.clone(), input.clone(), IN_TURN);
        }
    }

    fn start_map(
        &mut self,
        id: FrameId,
        items: &Value,
        first: &Arc<str>,
        concurrency: Option<u32>,
    ) {
        let first = first.clone();
        let (items, len) = match items {
            Value::Array(items) => (
                Items::Array {
                    first,
                    items: items.clone(),
                },
                items.len(),
            ),
            Value::Object(object) => {
                let keys = object.keys().cloned().collect();
                (
                    Items::Object {
                        first,
                        keys,
                        items: object.values().cloned().collect::<Array>(),
                    },
                    object.len(),
                )
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
        };
        let total = u32::try_from(len).unwrap_or(u32::MAX);
        self.start_flows(id, Flows::of(items, total, concurrency));
    }

    fn start_flows(&mut self, id: FrameId, flows: Flows) {
        self.drop_flows(id);
        if let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) {
            visit.flows = Some(Box::new(flows));
        }
        self.set_phase(id, Phase::Flows);
    }

    fn start_iteration(&mut self, id: FrameId, index: u32, input: Option<&Value>) {
        let Some(flows) = self.flows_mut(id) else {
            return;
        };
        let Some(first) = flows.items.first().cloned() else {
            return;
        };
        let input = input
            .or_else(|| flows.items.item(index))
            .cloned()
            .unwrap_or_default();
        flows.next = index + 1;
        flows.active += 1;
        self.open_child(id, index, first, input, IN_TURN);
        self.refresh_flows(id);
    }

    fn succeed_child(&mut self, id: FrameId, index: u32) {
        let Some(child) = self
            .flows_mut(id)
            .and_then(|flows| flows.children.remove(&index))
        else {
            return;
        };
        let Some(child) = self.close_frame(child) else {
            return;
        };
        if let Some(frame) = self.frames.get_mut(id) {
            frame.last = child.last;
        }
        let Some(flows) = self.flows_mut(id) else {
            return;
        };
        if let (Stage::Done { output }, Some(result)) =
            (child.stage, flows.results.get_mut(index as usize))
        {
            *result = Some(output);
        }
        flows.active = flows.active.saturating_sub(1);
        flows.left = flows.left.saturating_sub(1);
        self.refresh_flows(id);
    }

    fn stop_child(&mut self, id: FrameId, index: u32) {
        let Some(flows) = self.flows_mut(id) else {
            return;
        };
        flows.active = flows.active.saturating_sub(1);
        let Some(child) = flows.children.get(&index).copied() else {
            return;
        };
        self.release(child);
        let Some(child) = self.frames.get_mut(child) else {
            return;
        };
        child.stopped = true;
    }

    fn map_run_started(&mut self, id: FrameId, arn: &Arc<str>) {
        let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) else {
            return;
        };
        let run = visit.next_map_run();
        visit.attempts = run.attempt;
        visit.map_run = Some(MapRunOf {
            arn: arn.clone(),
            child: None,
            redrives: 0,
        });
        self.set_phase(id, Phase::MapRun { run, child: None });
    }

    fn map_run_redriven(&mut self, id: FrameId, count: u32) {
        let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) else {
            return;
        };
        let run = TaskId {
            entry: visit.entry,
            attempt: visit.attempts,
        };
        let Some(of) = &mut visit.map_run else { return };
        of.redrives = count;
        let child = of.child;
        self.set_phase(id, Phase::MapRun { run, child });
    }

    fn child_started(&mut self, id: FrameId, started: ChildId) {
        let visit = self.frames.get_mut(id).and_then(Frame::visit_mut);
        if let Some(visit) = visit
            && let Phase::MapRun { child, .. } = &mut visit.phase
        {
            *child = Some(started);
            if let Some(of) = &mut visit.map_run {
                of.child = Some(started);
            }
        } else {
            self.change_attempt(id, |attempt| attempt.child = Some(started));
        }
    }

    fn collect(&mut self, id: FrameId) {
        let visit = self.frames.get(id).and_then(Frame::visit);
        if let Some(Phase::MapRunDone { result }) = visit.map(|visit| &visit.phase) {
            let result = result.clone();
            return self.set_phase(id, Phase::Worked { result });
        }
        let Some(flows) = self.flows_mut(id) else {
            return;
        };
        let results = std::mem::take(&mut flows.results);
        let result = Value::array(results.into_iter().map(Option::unwrap_or_default));
        self.drop_flows(id);
        self.set_phase(id, Phase::Worked { result });
    }

    pub(super) fn flows_mut(&mut self, id: FrameId) -> Option<&mut Flows> {
        self.frames.get_mut(id)?.visit_mut()?.flows.as_deref_mut()
    }

    fn is_parallel(&self, id: FrameId) -> bool {
        self.frames
            .get(id)
            .and_then(Frame::visit)
            .is_some_and(|visit| visit.kind == StateKind::Parallel)
    }

    /// A Parallel or Map state takes turns while an iteration can start, its concurrency is unknown, or all is done.
    fn refresh_flows(&mut self, id: FrameId) {
        let Some(frame) = self.frames.get(id) else {
            return;
        };
        let Some(visit) = frame.visit() else { return };
        let Some(flows) = visit.flows.as_deref() else {
            return;
        };
        let busy = flows.takes_turns();
        if matches!(visit.phase, Phase::Flows) {
            match (busy, frame.ready) {
                (true, None) => self.make_ready(id, IN_TURN, 0),
                (false, Some(_)) => self.unready(id),
                (true, Some(_)) | (false, None) => {}
            }
        }
    }

    fn open_child(&mut self, id: FrameId, index: u32, first: Arc<str>, input: Value, urgency: u8) {
        let Some(place) = self.frames.get(id).map(|frame| frame.place.child(index)) else {
            return;
        };
        let last = self.public;
        let child = self.open_frame(
            place,
            Some((id, index)),
            Stage::Next {
                state: first,
                input,
            },
            last,
        );
        if let Some(flows) = self.flows_mut(id) {
            flows.children.insert(index, child);
        }
        self.make_ready(child, urgency, index);
    }

    pub(super) fn drop_flows(&mut self, id: FrameId) {
        let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) else {
            return;
        };
        let Some(flows) = visit.flows.take() else {
            return;
        };
        for child in flows.children.into_values() {
            self.drop_flows(child);
            self.close_frame(child);
        }
    }

    // Frames and indexes.

    pub(super) fn open_frame(
        &mut self,
        place: Place,
        parent: Option<(FrameId, u32)>,
        stage: Stage,
        last: u64,
    ) -> FrameId {
        let variables = Default::default();
        self.frames.insert(Frame {
            place,
            parent,
            last,
            variables,
            stage,
            ready: None,
            stopped: false,
        })
    }

    fn close_frame(&mut self, id: FrameId) -> Option<Box<Frame>> {
        self.release(id);
        let frame = self.frames.remove(id)?;
        let bytes: usize = frame.variables.values().map(Value::json_bytes).sum();
        self.variables_bytes = self.variables_bytes.saturating_sub(bytes);
        Some(frame)
    }

    /// The frame at a place that still runs or is kept.
    fn at(&self, place: &Place) -> Option<FrameId> {
        place.0.iter().try_fold(FrameId::ROOT, |id, index| {
            let flows = self.frames.get(id)?.visit()?.flows.as_deref()?;
            flows.children.get(index).copied()
        })
    }

    fn advance_chain(&mut self, id: FrameId, what: &What) {
        let last = match what.chain() {
            Chain::None | Chain::Aside | Chain::OfFlow { goes_on: false, .. } => None,
            Chain::First | Chain::Next | Chain::Evaluation => Some(self.public),
            Chain::OfFlow {
                index,
                goes_on: true,
            } => self.child(id, index).map(|child| child.last),
        };
        if let (Some(frame), Some(last)) = (self.frames.get_mut(id), last) {
            frame.last = last;
        }
    }

    pub(super) fn make_ready(&mut self, id: FrameId, urgency: u8, index: u32) {
        self.unready(id);
        let key = (urgency, self.position, index);
        if let Some(frame) = self.frames.get_mut(id).filter(|frame| !frame.stopped) {
            frame.ready = Some(key);
            self.ready.insert(key, id);
        }
    }

    fn unready(&mut self, id: FrameId) {
        if let Some(key) = self.frames.get_mut(id).and_then(|frame| frame.ready.take()) {
            self.ready.remove(&key);
        }
    }

    /// Takes a frame out of all indexes.
    pub(super) fn release(&mut self, id: FrameId) {
        self.unready(id);
        let Some(visit) = self.frames.get(id).and_then(Frame::visit) else {
            return;
        };
        if self.blocked.get(&visit.entry) == Some(&id) {
            self.blocked.remove(&visit.entry);
        }
        for timer in phase_timers(visit).into_iter().flatten() {
            self.timers.remove(&timer);
        }
    }

    /// Puts a visit into a phase and the frame into the indexes that go with it.
    pub(super) fn set_phase(&mut self, id: FrameId, phase: Phase) {
        self.release(id);
        let Some(visit) = self.frames.get_mut(id).and_then(Frame::visit_mut) else {
            return;
        };
        visit.phase = phase;
        let entry = visit.entry;
        self.timers
            .extend(phase_timers(visit).into_iter().flatten());
        match &visit.phase {
            Phase::Entered
            | Phase::MapRunOpening { .. }
            | Phase::MapRunReopening { .. }
            | Phase::MapRunDone { .. }
            | Phase::Worked { .. } => self.make_ready(id, IN_TURN, 0),
            Phase::Failing { .. } => self.make_ready(id, URGENT, 0),
            Phase::Waiting { .. }
            | Phase::Backoff { .. }
            | Phase::Attempt(_)
            | Phase::MapRun { .. } => {
                self.blocked.insert(entry, id);
            }
            Phase::Flows => self.refresh_flows(id),
            Phase::MapRunStopped | Phase::Aborted => {}
        }
    }
}

impl Flows {
    fn of(items: Items, total: u32, concurrency: Option<u32>) -> Flows {
        let results = vec![None; total as usize];
        Flows {
            items,
            total,
            next: 0,
            active: 0,
            left: total,
            concurrency,
            children: Default::default(),
            results,
        }
    }
}

pub(super) type Timers = [Option<(Timestamp, TimerId)>; 2];

pub(super) fn phase_timers(visit: &Visit) -> Timers {
    match &visit.phase {
        Phase::Waiting { until } => [Some((*until, TimerId::Wait { entry: visit.entry })), None],
        Phase::Backoff { fire_at } => [
            Some((
                *fire_at,
                TimerId::Retry {
                    task: visit.next_attempt(),
                },
            )),
            None,
        ],
        Phase::Attempt(attempt) => attempt_timers(attempt),
        Phase::Entered
        | Phase::MapRunOpening { .. }
        | Phase::MapRunReopening { .. }
        | Phase::MapRun { .. }
        | Phase::MapRunStopped
        | Phase::MapRunDone { .. }
        | Phase::Flows
        | Phase::Worked { .. }
        | Phase::Failing { .. }
        | Phase::Aborted => [None, None],
    }
}

fn attempt_timers(attempt: &Attempt) -> Timers {
    let task = attempt.id;
    [
        attempt.deadline.map(|due| (due, TimerId::Timeout { task })),
        attempt
            .heartbeat_due
            .map(|due| (due, TimerId::Heartbeat { task })),
    ]
}

impl Visit {
    /// The map run that it starts next.
    pub(crate) fn next_map_run(&self) -> TaskId {
        TaskId {
            entry: self.entry,
            attempt: self.attempts + 1,
        }
    }

    /// The attempt that a backoff waits for.
    pub(crate) fn next_attempt(&self) -> TaskId {
        TaskId {
            entry: self.entry,
            attempt: self.retries + 1,
        }
    }
}
