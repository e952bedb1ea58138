//! The state of an execution: what its events add up to, and what the engine asks of it. Hides the frames, and that
//! ready frames, blocked ones and timers are indexed.

mod at_map;
mod attempts;
mod evolve;
mod flows;
mod frame;
mod index;
mod probed;
mod reopen;
mod unfinished;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use stepwell_asl::{Pattern, Resource, Target};
use stepwell_query::Value;

use crate::{
    Timestamp,
    border::{Cancelled, ChildId, Effect, Ending, Start, TaskId, TaskRequest, TaskToken, TimerId},
    event::{Chain, Place, StateKind, What},
    limits::EXPRESS_DURATION_MS_MAX,
};

pub(crate) use frame::{
    Attempt, Flows, Frame, FrameId, Items, MapRunOf, Phase, Stage, Visit, map_run_cancelled,
};
use frame::{Frames, ReadyKey};
pub(crate) use unfinished::Unfinished;

/// An execution as far as its events tell: [`Run::evolve`] folds them one by one, [`crate::step`] decides the next.
#[derive(Clone, Debug, Default)]
pub struct Run {
    start: Option<Arc<Start>>,
    started_at: Timestamp,
    last_at: Timestamp,
    /// Events so far, internal ones included.
    position: u64,
    /// Public events so far.
    public: u64,
    timeout_at: Option<Timestamp>,
    frames: Frames,
    /// Frames whose next events follow from the state alone, in the order in which they take turns.
    ready: BTreeMap<ReadyKey, FrameId>,
    /// Frames that wait for an input, by the position of their state's entry.
    blocked: BTreeMap<u64, FrameId>,
    timers: BTreeSet<(Timestamp, TimerId)>,
    /// Bytes of JSON text of all variables.
    variables_bytes: usize,
    /// Evaluations that go on in the next step, by the frame whose state they are for. Of memory alone: after a crash
    /// they begin anew.
    pub(crate) unfinished: BTreeMap<FrameId, Box<Unfinished>>,
    ending: Option<Ending>,
    /// Redrives so far, and when the last one was.
    redrives: u32,
    redriven_at: Option<Timestamp>,
    /// Tokens of the last redrives that had one, oldest first.
    redrive_tokens: VecDeque<(Arc<str>, Timestamp)>,
}

/// A task attempt that waits for its outcome.
#[derive(Clone, Copy, Debug)]
pub struct OpenTask<'a> {
    pub task: TaskId,
    /// Name of the state.
    pub state: &'a Arc<str>,
    pub resource: &'a Arc<Resource>,
    /// Input of the task: the effective parameters.
    pub parameters: &'a Value,
    pub token: Option<&'a TaskToken>,
    pub scheduled_at: Timestamp,
    /// Whether an event says that it began.
    pub started: bool,
    /// What an attempt that has not begun waits for, where that was told.
    pub awaits: Option<&'a Arc<str>>,
    /// Whether the request of a `.sync` or callback task was accepted.
    pub submitted: bool,
    /// The child execution that it waits for.
    pub child: Option<ChildId>,
    /// End of TimeoutSeconds.
    pub deadline: Option<Timestamp>,
    /// End of HeartbeatSeconds, moved by every sign of life.
    pub heartbeat_due: Option<Timestamp>,
}

impl<'a> OpenTask<'a> {
    /// ARN of the activity whose workers serve it, if it is an activity task.
    pub fn activity(&self) -> Option<&'a Arc<str>> {
        activity_of(self.resource)
    }
}

/// A state that is entered and not exited.
#[derive(Clone, Copy, Debug)]
pub struct OpenState<'a> {
    pub name: &'a Arc<str>,
    pub kind: StateKind,
    pub place: &'a Place,
    pub entered_at: Timestamp,
    /// Retries so far.
    pub retry_count: u32,
}

impl Run {
    /// What was fixed at the start; `None` before the first input.
    pub fn start(&self) -> Option<&Start> {
        self.start.as_deref()
    }

    /// Time of the first event.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Time of the last event.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// How the execution ended; `None` while it runs.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// How often it was redriven.
    pub fn redrives(&self) -> u32 {
        self.redrives
    }

    /// When it was redriven last.
    pub fn redriven_at(&self) -> Option<Timestamp> {
        self.redriven_at
    }

    /// When a redrive with that token was, if it is remembered.
    pub(crate) fn redriven_with(&self, token: &str) -> Option<Timestamp> {
        let tokens = self.redrive_tokens.iter().rev();
        tokens
            .filter(|(known, _)| **known == *token)
            .map(|(_, at)| *at)
            .next()
    }

    /// Position that the next event takes in the log, from 1.
    pub fn next_position(&self) -> u64 {
        self.position + 1
    }

    /// Id that the next public event takes, from 1.
    pub fn next_public_id(&self) -> u64 {
        self.public + 1
    }

    /// The earliest deadline and what it is for.
    pub fn next_timer(&self) -> Option<(Timestamp, TimerId)> {
        self.timers.first().copied()
    }

    /// The effects that are still owed, derived from the state alone: the dispatches and tokens of all open tasks.
    pub fn pending(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (visit, attempt) in self.attempts() {
            attempt_effects(visit, attempt, &mut effects);
        }
        effects
    }

    /// Whether a task attempt has to be dispatched.
    pub fn is_hot(&self) -> bool {
        self.attempts().any(|(_, attempt)| must_run(attempt))
    }

    /// Whether its next events follow from the state alone: true only after [`Effect::Again`].
    pub fn is_unfinished(&self) -> bool {
        self.ending.is_none() && !self.ready.is_empty()
    }

    /// All task attempts that wait for their outcome, in the order in which their states were entered.
    pub fn open_tasks(&self) -> impl Iterator<Item = OpenTask<'_>> {
        self.attempts()
            .map(|(visit, attempt)| open_task(visit, attempt))
    }

    /// That task attempt, if it is open.
    pub fn open_task(&self, task: TaskId) -> Option<OpenTask<'_>> {
        let (visit, attempt) = self.attempt(task)?;
        Some(open_task(visit, attempt))
    }

    /// All states that are entered and not exited, outer ones first.
    pub fn open_states(&self) -> Vec<OpenState<'_>> {
        let mut states: Vec<_> = self.frames.iter().filter_map(open_state).collect();
        states.sort_by(|left, right| left.place.cmp(right.place));
        states
    }

    /// Workflow variables of the outermost scope, by name.
    pub fn variables(&self) -> impl Iterator<Item = (&Arc<str>, &Value)> {
        self.frames
            .get(FrameId::ROOT)
            .into_iter()
            .flat_map(|frame| frame.variables.iter())
    }

    /// Starts the heartbeat deadlines of tasks that were scheduled before this time anew from it, as after a crash:
    /// heartbeats are not history.
    pub fn renew_heartbeats(&mut self, at: Timestamp) {
        let earlier = |open: &OpenTask<'_>| open.heartbeat_due.is_some() && open.scheduled_at < at;
        let tasks: Vec<TaskId> = self
            .open_tasks()
            .filter(earlier)
            .map(|open| open.task)
            .collect();
        for task in tasks {
            self.beat(task, at);
        }
    }

    /// An EXPRESS execution begins again after a crash: its time counts anew. Not history, as its end alone is.
    pub fn restart_clock(&mut self, at: Timestamp) {
        if let Some(due) = self.timeout_at.filter(|_| self.ending.is_none()) {
            self.timers.remove(&(due, TimerId::Execution));
            let due = at.plus_ms(EXPRESS_DURATION_MS_MAX);
            self.timeout_at = Some(due);
            self.timers.insert((due, TimerId::Execution));
        }
    }

    fn attempts(&self) -> impl Iterator<Item = (&Visit, &Attempt)> {
        let open = if self.ending.is_none() {
            Some(&self.blocked)
        } else {
            None
        };
        open.into_iter()
            .flat_map(|blocked| blocked.values())
            .filter_map(|id| attempt_in(self.frames.get(*id)?))
    }

    fn attempt(&self, task: TaskId) -> Option<(&Visit, &Attempt)> {
        if self.ending.is_some() {
            return None;
        }
        let found = attempt_in(self.frames.get(*self.blocked.get(&task.entry)?)?)?;
        (found.1.id == task).then_some(found)
    }
}

/// What the deciding half of the crate reads.
impl Run {
    pub(crate) fn is_fresh(&self) -> bool {
        self.start.is_none()
    }

    pub(crate) fn variables_bytes(&self) -> usize {
        self.variables_bytes
    }

    /// All states that are entered and not exited, in no order.
    pub(crate) fn visits(&self) -> impl Iterator<Item = &Visit> {
        self.frames.iter().filter_map(Frame::visit)
    }

    /// The frame whose turn it is.
    pub(crate) fn next_ready(&self) -> Option<FrameId> {
        self.ready.first_key_value().map(|(_, id)| *id)
    }

    pub(crate) fn frame(&self, id: FrameId) -> Option<&Frame> {
        self.frames.get(id)
    }

    /// The frame that waits in the state entered at that position.
    pub(crate) fn blocked_frame(&self, entry: u64) -> Option<FrameId> {
        self.blocked.get(&entry).copied()
    }

    /// The frame of an open task attempt.
    pub(crate) fn task_frame(&self, task: TaskId) -> Option<FrameId> {
        self.attempt(task)?;
        self.blocked_frame(task.entry)
    }

    pub(crate) fn timeout_at(&self) -> Option<Timestamp> {
        self.timeout_at
    }

    /// The frame that a timer is for and when it is due, if there is such a timer.
    pub(crate) fn due(&self, timer: TimerId) -> Option<(FrameId, Timestamp)> {
        let entry = match timer {
            TimerId::Execution => return None,
            TimerId::Wait { entry } => entry,
            TimerId::Retry { task } | TimerId::Timeout { task } | TimerId::Heartbeat { task } => {
                task.entry
            }
        };
        let id = *self.blocked.get(&entry)?;
        let visit = self.frames.get(id)?.visit()?;
        let due = index::phase_timers(visit)
            .into_iter()
            .flatten()
            .find(|(_, id)| *id == timer)?
            .0;
        Some((id, due))
    }

    /// Name of the state that a frame is in.
    pub(crate) fn state_of(&self, id: FrameId) -> Option<Arc<str>> {
        Some(self.frames.get(id)?.visit()?.state.clone())
    }

    /// `previousEventId` of an event that would be recorded now in that frame.
    pub(crate) fn previous(&self, id: FrameId, what: &What) -> u64 {
        let Some(frame) = self.frames.get(id) else {
            return 0;
        };
        match what.chain() {
            Chain::None | Chain::First => 0,
            Chain::Next | Chain::Aside => frame.last,
            Chain::Evaluation => match frame.visit() {
                Some(visit) if visit.entered_id == frame.last => visit.entered_previous,
                Some(_) | None => frame.last,
            },
            Chain::OfFlow { index, .. } if what.is_public() => {
                self.child(id, index).map_or(frame.last, |child| child.last)
            }
            Chain::OfFlow { .. } => 0,
        }
    }

    pub(crate) fn child(&self, id: FrameId, index: u32) -> Option<&Frame> {
        let flows = self.frames.get(id)?.visit()?.flows.as_deref()?;
        self.frames.get(*flows.children.get(&index)?)
    }

    /// The value of a variable as seen from a frame: its own scope first, then the scopes around it.
    pub(crate) fn variable(&self, id: FrameId, name: &str) -> Option<&Value> {
        let mut frame = self.frames.get(id)?;
        loop {
            if let Some(value) = frame.variables.get(name) {
                return Some(value);
            }
            frame = self.frames.get(frame.parent?.0)?;
        }
    }

    /// The cancellation of one open attempt.
    pub(crate) fn cancel(&self, task: TaskId, why: Cancelled) -> Option<Effect> {
        Some(self.attempt(task)?.1.cancel(why))
    }

    /// The frame of the Map state that waits for that map run.
    pub(crate) fn map_run_frame(&self, run: TaskId) -> Option<FrameId> {
        let id = self.blocked_frame(run.entry)?;
        let (of, _) = map_run_in(self.frames.get(id)?)?;
        (of == run).then_some(id)
    }

    /// The last map run of the Map state that the frame is in.
    pub(crate) fn map_run_of(&self, id: FrameId) -> Option<&MapRunOf> {
        self.frames.get(id)?.visit()?.map_run.as_ref()
    }

    /// Whether that task or map run waits for that child.
    pub fn waits_for(&self, task: TaskId, child: ChildId) -> bool {
        let map_run = self.map_runs().find(|(run, _)| *run == task);
        let task = self.open_task(task).map(|open| open.child);
        task.or(map_run.map(|(_, child)| child)) == Some(Some(child))
    }

    /// What was fixed at the start, to be kept by others.
    pub fn shared_start(&self) -> Arc<Start> {
        self.start.clone().unwrap_or_default()
    }

    /// The cancellation of every open attempt and map run.
    pub(crate) fn cancel_all(&self) -> Vec<Effect> {
        let attempts = self.attempts();
        let attempts = attempts.map(|(_, attempt)| attempt.cancel(Cancelled::Abandoned));
        let map_runs = self.map_runs();
        let map_runs = map_runs.map(|(run, child)| map_run_cancelled(run, child));
        attempts.chain(map_runs).collect()
    }

    /// The map runs that Map states wait for.
    fn map_runs(&self) -> impl Iterator<Item = (TaskId, Option<ChildId>)> {
        let open = self.ending.is_none().then_some(&self.blocked);
        open.into_iter()
            .flat_map(|blocked| blocked.values())
            .filter_map(|id| map_run_in(self.frames.get(*id)?))
    }

    /// Whether what is indexed agrees with the frames, and the execution waits for something unless it is over.
    pub(crate) fn is_consistent(&self) -> bool {
        if self.public > self.position {
            return false;
        }
        if self.ending.is_some() || self.is_fresh() {
            return self.ready.is_empty() && self.timers.is_empty();
        }
        let ready = self
            .ready
            .iter()
            .all(|(key, id)| self.frames.get(*id).is_some_and(|f| f.ready == Some(*key)));
        let blocked = self.blocked.iter().all(|(entry, id)| {
            self.frames
                .get(*id)
                .and_then(Frame::visit)
                .is_some_and(|visit| visit.entry == *entry)
        });
        ready && blocked && !(self.ready.is_empty() && self.blocked.is_empty())
    }
}

/// ARN of the activity, if the resource is one.
pub(crate) fn activity_of(resource: &Resource) -> Option<&Arc<str>> {
    matches!(resource.target, Target::Activity { .. }).then_some(&resource.text)
}

/// Whether whoever holds the task's token may answer it. (A `.sync` task has one beside its job.)
pub(crate) fn needs_token(resource: &Resource) -> bool {
    activity_of(resource).is_some() || resource.target.pattern() != Pattern::RequestResponse
}

impl Attempt {
    /// The effect that ends it in place of an outcome.
    pub(crate) fn cancel(&self, why: Cancelled) -> Effect {
        Effect::CancelTask {
            task: self.id,
            token: self.token.clone(),
            child: self.child,
            why,
        }
    }
}

/// The effects that an open attempt owes.
pub(crate) fn attempt_effects(visit: &Visit, attempt: &Attempt, effects: &mut Vec<Effect>) {
    if let Some(token) = &attempt.token {
        let activity = activity_of(&attempt.resource).cloned();
        effects.push(Effect::OpenToken {
            task: attempt.id,
            token: token.clone(),
            activity,
        });
    }
    if must_run(attempt) {
        effects.push(Effect::RunTask(TaskRequest {
            task: attempt.id,
            state: visit.state.clone(),
            entered_id: visit.entered_id,
            resource: attempt.resource.clone(),
            parameters: attempt.parameters.clone(),
            retry_count: visit.retries,
            token: attempt.token.clone(),
            role_arn: attempt.role_arn.clone(),
            deadline: attempt.deadline,
            again: attempt.redispatches > 0,
        }));
    }
}

/// Whether we have to dispatch it: workers fetch activity tasks, and a submitted request is not made twice.
fn must_run(attempt: &Attempt) -> bool {
    !attempt.submitted && activity_of(&attempt.resource).is_none()
}

fn map_run_in(frame: &Frame) -> Option<(TaskId, Option<ChildId>)> {
    if let Phase::MapRun { run, child } = frame.visit()?.phase {
        Some((run, child))
    } else {
        None
    }
}

fn attempt_in(frame: &Frame) -> Option<(&Visit, &Attempt)> {
    let visit = frame.visit()?;
    match &visit.phase {
        Phase::Attempt(attempt) => Some((visit, attempt)),
        Phase::Entered
        | Phase::Waiting { .. }
        | Phase::Backoff { .. }
        | Phase::MapRunOpening { .. }
        | Phase::MapRunReopening { .. }
        | Phase::MapRun { .. }
        | Phase::MapRunStopped
        | Phase::MapRunDone { .. }
        | Phase::Flows
        | Phase::Worked { .. }
        | Phase::Failing { .. }
        | Phase::Aborted => None,
    }
}

fn open_task<'a>(visit: &'a Visit, attempt: &'a Attempt) -> OpenTask<'a> {
    OpenTask {
        task: attempt.id,
        state: &visit.state,
        resource: &attempt.resource,
        parameters: &attempt.parameters,
        token: attempt.token.as_ref(),
        scheduled_at: attempt.scheduled_at,
        started: attempt.started,
        awaits: attempt.awaits.as_ref(),
        submitted: attempt.submitted,
        child: attempt.child,
        deadline: attempt.deadline,
        heartbeat_due: attempt.heartbeat_due,
    }
}

fn open_state(frame: &Frame) -> Option<OpenState<'_>> {
    let visit = frame.visit()?;
    Some(OpenState {
        name: &visit.state,
        kind: visit.kind,
        place: &frame.place,
        entered_at: visit.entered_at,
        retry_count: visit.retries,
    })
}
