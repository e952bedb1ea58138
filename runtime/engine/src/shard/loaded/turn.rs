//! A turn: the inputs and timers that are taken together, and what they made of the run.

use stepwell_interp::{
    ChildId, Effect, Env, Event, Input, Redrive, STEP_EVENTS_MAX, TaskId, TaskToken, Timestamp,
    Usage, What,
};

use super::{
    super::{
        border::{ActivityGrant, Mode, TakeReply},
        waiting::{Given, Redriving, Waiting},
    },
    Loaded,
};
use crate::journal::Charges;

/// What a turn made of the inputs.
#[derive(Default)]
pub(in crate::shard) struct Turn {
    pub(in crate::shard) refused: Vec<TakeReply>,
    /// What attempts used that are not open any more.
    pub(in crate::shard) unrecorded: Charges,
    pub(in crate::shard) taken: Taken,
}

/// The recorded part of a turn.
#[derive(Default)]
pub(in crate::shard) struct Taken {
    pub(in crate::shard) events: Vec<Event>,
    pub(super) effects: Vec<Effect>,
    pub(super) inputs: Vec<Given>,
    pub(super) takes: Vec<(TakeReply, ActivityGrant)>,
    pub(super) redrives: Vec<Redriving>,
    /// Tokens of tasks that ended without their answer.
    pub(super) unanswered: Vec<TaskToken>,
    /// Children that no task waits for.
    pub(super) orphans: Vec<ChildId>,
    /// Limits that it came near.
    pub(in crate::shard) near: Vec<Usage>,
    /// It was redriven.
    pub(in crate::shard) redriven: bool,
    /// Only what needs no commit of its own was recorded.
    pub(super) lazy: bool,
}

impl Loaded {
    /// Steps waiting inputs and timers that are due, and goes on with what is left to do once there is neither, until
    /// there were enough steps or events, or the time is over. A new execution's start is not held up by what may take long after it.
    pub(in crate::shard) fn step_inputs(
        &mut self,
        now: Timestamp,
        inputs_max: usize,
        seed: &mut dyn FnMut(u64) -> [u8; 32],
        time_is_over: &mut dyn FnMut() -> bool,
    ) -> Turn {
        let mut turn = Turn::default();
        turn.taken.lazy = true;
        if self.awaits_start() || self.awaits_end() {
            return turn;
        }
        let mut inputs = 0;
        while inputs < inputs_max {
            let Some(mut waiting) = self.next_input(now) else {
                break;
            };
            inputs += 1;
            let grant = waiting
                .take
                .as_ref()
                .and_then(|(task, _)| self.grant(*task));
            let env = Env {
                at: now,
                seed: seed(self.run.next_position()),
            };
            let redriving = self.redriving(&mut waiting, now);
            turn.taken.redrives.extend(redriving);
            let before = turn.taken.events.len();
            let again = self.step_one(&waiting, env, &mut turn.taken);
            let recorded = turn.taken.events.len() > before;
            let spent = waiting.spent.take();
            match turn.taken.inputs.last_mut() {
                // It is the last input that was taken: nobody waits for what an attempt used.
                Some(given) if recorded && spent.is_some() => given.spent = spent,
                Some(_) | None => turn.unrecorded.extend(spent.map(|spent| *spent)),
            }
            match (waiting.take, grant) {
                (Some((_, reply)), Some(grant)) if recorded => {
                    turn.taken.takes.push((reply, grant))
                }
                (Some((_, reply)), _) => turn.refused.push(reply),
                (None, _) => {}
            }
            self.goes_on = again;
            if matches!(waiting.input, Input::TaskUsed { .. }) {
                // The end of the attempt follows, and goes in the same append.
                inputs -= 1;
                continue;
            }
            let enough = turn.taken.events.len() >= STEP_EVENTS_MAX as usize;
            if enough
                || (recorded && self.run.is_closed())
                || (again && self.create.is_some())
                || time_is_over()
            {
                break;
            }
        }
        turn
    }

    /// Who waits for the answer to this input, when it is a call for a redrive.
    fn redriving(&self, waiting: &mut Waiting, now: Timestamp) -> Option<Redriving> {
        let reply = waiting.redrive.take()?;
        let Input::RedriveAsked { token, .. } = &waiting.input else {
            return None;
        };
        let at = now.max(self.run.last_at());
        let answer = match self.run.may_redrive(token.as_deref(), at) {
            Ok(Redrive::Now) => Ok(at),
            Ok(Redrive::Before(before)) => Ok(before),
            Err(why) => Err(why),
        };
        Some(Redriving {
            reply,
            token: token.clone(),
            answer,
        })
    }

    /// The next input: messages and news; a timer that is due after those that came before it; and last what is left
    /// to do. So neither work without an end nor an inbox that is never empty holds up a stop or a deadline.
    fn next_input(&mut self, now: Timestamp) -> Option<Waiting> {
        let due = self.run.next_timer().filter(|(due, _)| *due <= now);
        let Some((_, timer)) = due else {
            self.before_timers = None;
            return self.inbox.pop_front().or_else(|| {
                std::mem::take(&mut self.goes_on).then(|| Waiting::plain(Input::Continue))
            });
        };
        let before = self.before_timers.unwrap_or(self.inbox.len());
        if before > 0
            && let Some(waiting) = self.inbox.pop_front()
        {
            self.before_timers = Some(before - 1);
            return Some(waiting);
        }
        self.before_timers = None;
        Some(Waiting::plain(Input::TimerDue { timer }))
    }

    /// Steps one input; true when the interpreter wants to go on in another turn.
    fn step_one(&mut self, waiting: &Waiting, env: Env, taken: &mut Taken) -> bool {
        let is_news = matches!(
            waiting.input,
            Input::TaskStarted { .. } | Input::TaskUsed { .. }
        ) && waiting.take.is_none();
        self.heartbeat_seen |= matches!(waiting.input, Input::Heartbeat { .. });
        let (mut again, before) = (false, taken.events.len());
        // The redrives that a fork begins with are those of another execution.
        let redrives = matches!(waiting.input, Input::RedriveAsked { .. });
        let token = self.token_without_answer(waiting);
        let input = waiting.input.clone();
        self.note_admission(waiting);
        let effects = match self.held {
            true => self.run.step_held(&self.program, input, env),
            false => self.run.step(&self.program, input, env),
        };
        taken.lazy &= effects.is_empty() || (is_news && effects.iter().all(needs_no_commit));
        for effect in effects {
            match effect {
                Effect::Record(event) => {
                    taken.redriven |=
                        redrives && matches!(event.what, What::ExecutionRedriven { .. });
                    taken.events.push(event);
                }
                Effect::Again => again = true,
                effect @ (Effect::RunTask(_)
                | Effect::Begin { .. }
                | Effect::OpenToken { .. }
                | Effect::CancelTask { .. }
                | Effect::StartMapRun(_)
                | Effect::RedriveMapRun { .. }
                | Effect::MapRun(_)
                | Effect::Finish) => {
                    taken.effects.push(effect);
                }
            }
        }
        if let Some(run) = self.run.execution() {
            let recorded = taken.events[before..].iter();
            taken.near.extend(self.noticed.news(recorded, run));
        }
        if let Input::ChildStarted { task, child, .. } = waiting.input
            && !self.run.waits_for(task, child)
        {
            taken.orphans.push(child);
        }
        if let Some((task, token)) = token
            && self.run.open_task(task).is_none()
        {
            taken.unanswered.push(token);
        }
        // A worker that was never answered must not count as one that began, and a caller calls again.
        if waiting.take.is_none() && !(waiting.is_redrive() && waiting.message.is_none()) {
            taken.inputs.push(Given {
                input: waiting.input.clone(),
                message: waiting.message,
                spent: None,
            });
        }
        again
    }

    /// It has a place, and goes on.
    fn note_admission(&mut self, waiting: &Waiting) {
        if let (Input::Continue, Some(_)) = (&waiting.input, waiting.message)
            && std::mem::take(&mut self.held)
            && matches!(self.mode, Mode::ExpressAsync)
        {
            self.admission = waiting.message;
        }
    }

    /// The token of the task that an input other than its answer may end: its request failed, or its job is done.
    fn token_without_answer(&self, waiting: &Waiting) -> Option<(TaskId, TaskToken)> {
        let task = match (&waiting.input, waiting.message) {
            (Input::TaskEnded { task, .. } | Input::TaskLost { task, .. }, None)
            | (Input::ChildEnded { task, .. }, _) => *task,
            _ => return None,
        };
        Some((task, self.run.open_task(task)?.token?.clone()))
    }

    fn grant(&self, task: TaskId) -> Option<ActivityGrant> {
        let open = self
            .run
            .open_task(task)
            .filter(|open| !open.started && open.activity().is_some())?;
        Some(ActivityGrant {
            token: open.token?.0.clone(),
            input: open.parameters.clone(),
        })
    }
}

/// The start of an attempt and what it used are recorded with its outcome: nobody waits for them.
fn needs_no_commit(effect: &Effect) -> bool {
    let Effect::Record(event) = effect else {
        return false;
    };
    matches!(event.what, What::Started { .. } | What::Used { .. })
}
