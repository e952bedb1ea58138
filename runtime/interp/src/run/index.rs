//! Frames, and the indexes that are kept in step with them: what is ready, what is blocked, and timers.

use stepwell_query::Value;

use super::{Attempt, Frame, FrameId, Phase, Run, Stage, Visit};
use crate::{
    Timestamp,
    border::TimerId,
    event::{Chain, Place, What},
};

/// Turn of a state that failed: before all others, so that its siblings stop at once.
const URGENT: u8 = 0;
pub(super) const IN_TURN: u8 = 1;

impl Run {
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

    pub(super) fn close_frame(&mut self, id: FrameId) -> Option<Box<Frame>> {
        self.release(id);
        let frame = self.frames.remove(id)?;
        let bytes: usize = frame.variables.values().map(Value::json_bytes).sum();
        self.variables_bytes = self.variables_bytes.saturating_sub(bytes);
        Some(frame)
    }

    /// The frame at a place that still runs or is kept.
    pub(super) fn at(&self, place: &Place) -> Option<FrameId> {
        place.0.iter().try_fold(FrameId::ROOT, |id, index| {
            let flows = self.frames.get(id)?.visit()?.flows.as_deref()?;
            flows.children.get(index).copied()
        })
    }

    pub(super) fn advance_chain(&mut self, id: FrameId, what: &What) {
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

    pub(super) fn unready(&mut self, id: FrameId) {
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

pub(super) fn attempt_timers(attempt: &Attempt) -> Timers {
    let task = attempt.id;
    [
        attempt.deadline.map(|due| (due, TimerId::Timeout { task })),
        attempt
            .heartbeat_due
            .map(|due| (due, TimerId::Heartbeat { task })),
    ]
}
