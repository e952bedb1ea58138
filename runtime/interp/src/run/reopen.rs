//! What a redrive makes of an execution that ended without success: its states that were entered and not exited go on,
//! each as the service says of its type. What succeeded stays as it is, and retriers count anew.

use std::sync::Arc;

use super::{Frame, FrameId, Phase, Run, Stage, TimerId, Visit, evolve::IN_TURN};
use crate::{Timestamp, event::StateKind, fault::DATA_LIMIT_EXCEEDED, limits::REDRIVE_TOKENS_MAX};

impl Run {
    pub(super) fn redrive(
        &mut self,
        count: u32,
        timeout_at: Option<Timestamp>,
        token: Option<&Arc<str>>,
        at: Timestamp,
    ) {
        if self.ending.take().is_none() {
            return;
        }
        self.redrives = count;
        self.redriven_at = Some(at);
        if let Some(token) = token {
            self.redrive_tokens.push_back((token.clone(), at));
            if self.redrive_tokens.len() > REDRIVE_TOKENS_MAX {
                self.redrive_tokens.pop_front();
            }
        }
        self.timeout_at = timeout_at;
        if let Some(due) = timeout_at {
            self.timers.insert((due, TimerId::Execution));
        }
        self.blocked.clear();
        self.reopen(FrameId::ROOT, &mut 0);
    }

    /// Lets a flow and those within it go on. `turns` are the places that were taken in the order of turns.
    fn reopen(&mut self, id: FrameId, turns: &mut u32) {
        self.release(id);
        let starts_anew = self.frames.get(id).and_then(Frame::visit);
        if starts_anew.is_some_and(Visit::is_too_large) {
            self.drop_flows(id);
        }
        let Some(frame) = self.frames.get_mut(id) else {
            return;
        };
        frame.stopped = false;
        if let Some(again) = frame.visit_mut().and_then(Visit::reopen) {
            frame.stage = again;
        }
        let flows = self.flows_mut(id);
        let children: Vec<FrameId> = flows
            .iter()
            .flat_map(|flows| flows.children.values().copied())
            .collect();
        if let Some(flows) = flows {
            flows.active = u32::try_from(children.len()).unwrap_or(u32::MAX);
        }
        for child in children {
            self.reopen(child, turns);
        }
        let visit = self.frames.get(id).and_then(Frame::visit);
        let waits = visit.is_some_and(|visit| {
            let flows = visit.flows.as_deref();
            matches!(visit.phase, Phase::Flows) && flows.is_some_and(|flows| !flows.takes_turns())
        });
        if !waits {
            *turns += 1;
            self.make_ready(id, IN_TURN, *turns);
        }
    }
}

impl Visit {
    /// Whether it failed since something was too large: then all of it is done again, what succeeded too.
    fn is_too_large(&self) -> bool {
        match &self.phase {
            Phase::Failing { failure, .. } => failure.error.as_deref() == Some(DATA_LIMIT_EXCEEDED),
            Phase::Entered
            | Phase::Waiting { .. }
            | Phase::Attempt(_)
            | Phase::Backoff { .. }
            | Phase::Flows
            | Phase::MapRunOpening { .. }
            | Phase::MapRun { .. }
            | Phase::MapRunStopped
            | Phase::MapRunDone { .. }
            | Phase::Worked { .. }
            | Phase::Aborted => false,
        }
    }

    /// Goes on in the state, or gives the stage of a flow that enters it again.
    fn reopen(&mut self) -> Option<Stage> {
        if self.kind == StateKind::Fail {
            let (state, input) = (self.state.clone(), self.input.clone());
            return Some(Stage::Next { state, input });
        }
        self.retries = 0;
        self.retriers.clear();
        let result = self.result.take().filter(|_| !self.is_too_large());
        let again = match (result, &self.flows) {
            (Some(result), _) => Phase::Worked { result },
            (None, Some(_)) => Phase::Flows,
            (None, None) => Phase::Entered,
        };
        self.phase = match std::mem::replace(&mut self.phase, Phase::Entered) {
            // What it has got to is kept.
            kept @ (Phase::MapRunOpening { .. }
            | Phase::MapRunDone { .. }
            | Phase::Worked { .. }) => kept,
            Phase::Entered
            | Phase::Waiting { .. }
            | Phase::Attempt(_)
            | Phase::Backoff { .. }
            | Phase::Flows
            | Phase::MapRun { .. }
            | Phase::MapRunStopped
            | Phase::Failing { .. }
            | Phase::Aborted => again,
        };
        None
    }

    /// The work that fails now was the making of an output: what it was made of is kept.
    pub(super) fn keep_result(&mut self) {
        if let Phase::Worked { result } = &self.phase
            && matches!(self.kind, StateKind::Parallel | StateKind::Map)
        {
            self.result = Some(result.clone());
        }
    }
}
