//! What a state waits for from outside, as events tell of it: task attempts and map runs.

use std::sync::Arc;

use super::{
    Attempt, Frame, FrameId, MapRunOf, Phase, Run, Visit, activity_of, index::attempt_timers,
};
use crate::{
    Timestamp,
    border::{ChildId, TaskId},
    event::Scheduled,
};

impl Run {
    pub(super) fn schedule(&mut self, id: FrameId, scheduled: &Scheduled, at: Timestamp) {
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
            awaits: None,
            submitted: false,
            child: None,
            redispatches: 0,
            begun: false,
            measured: false,
        };
        self.set_phase(id, Phase::Attempt(Box::new(attempt)));
    }

    pub(super) fn started(&mut self, id: FrameId, at: Timestamp) {
        self.change_attempt(id, |attempt| {
            attempt.started = true;
            attempt.awaits = None;
            if activity_of(&attempt.resource).is_some() {
                attempt.heartbeat_due = attempt.heartbeat_s.map(|s| at.plus_secs(s.into()));
            }
        });
    }

    pub(super) fn redispatched(&mut self, id: FrameId, count: u32, at: Timestamp) {
        self.change_attempt(id, |attempt| {
            attempt.redispatches = count;
            attempt.begun = false;
            attempt.measured = false;
            attempt.awaits = None;
            attempt.deadline = attempt.timeout_s.map(|s| at.plus_secs(s.into()));
            attempt.heartbeat_due = attempt.heartbeat_s.map(|s| at.plus_secs(s.into()));
        });
    }

    pub(super) fn begins(&mut self, id: FrameId) {
        self.change_attempt(id, |attempt| attempt.begun = true);
    }

    pub(super) fn measured(&mut self, id: FrameId, task: TaskId) {
        self.change_attempt(id, |attempt| attempt.measured |= attempt.id == task);
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

    /// What an attempt waits for that has not begun. Not an event.
    pub(crate) fn awaits(&mut self, task: TaskId, why: Arc<str>) {
        if let Some(id) = self.task_frame(task) {
            self.change_attempt(id, |attempt| {
                if !attempt.started {
                    attempt.awaits = Some(why);
                }
            });
        }
    }

    pub(super) fn change_attempt(&mut self, id: FrameId, change: impl FnOnce(&mut Attempt)) {
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

    pub(super) fn map_run_started(&mut self, id: FrameId, arn: &Arc<str>) {
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

    pub(super) fn map_run_redriven(&mut self, id: FrameId, count: u32) {
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

    pub(super) fn child_started(&mut self, id: FrameId, started: ChildId) {
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
