//! What a redrive makes of an execution that ended without success: its states that were entered and not exited go on,
//! each as the service says of its type. What succeeded stays as it is, and retriers count anew.

use std::sync::Arc;

use super::{Frame, FrameId, Phase, Run, Stage, TimerId, Visit, index::IN_TURN};
use crate::{
    Timestamp,
    event::StateKind,
    fault::{DATA_LIMIT_EXCEEDED, RUNTIME},
    limits::REDRIVE_TOKENS_MAX,
};

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

    /// Those so far were of the execution that this one is a fork of.
    pub(super) fn forget_redrives(&mut self) {
        self.redrives = 0;
        self.redriven_at = None;
        self.redrive_tokens.clear();
    }

    /// Of the run that a map run remembers of its execution: that was redriven.
    pub(crate) fn note_redrive(&mut self, count: u32, at: Timestamp) {
        self.redrives = count;
        self.redriven_at = Some(at);
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
        self.error() == Some(DATA_LIMIT_EXCEEDED)
    }

    /// Whether it failed by its definition: a Map state starts another map run then.
    fn is_terminal(&self) -> bool {
        self.error() == Some(RUNTIME)
    }

    fn error(&self) -> Option<&str> {
        match &self.phase {
            Phase::Failing { failure, .. } => failure.error.as_deref(),
            Phase::Entered
            | Phase::Waiting { .. }
            | Phase::Attempt(_)
            | Phase::Backoff { .. }
            | Phase::Flows
            | Phase::MapRunOpening { .. }
            | Phase::MapRunReopening { .. }
            | Phase::MapRun { .. }
            | Phase::MapRunStopped
            | Phase::MapRunDone { .. }
            | Phase::Worked { .. }
            | Phase::Aborted => None,
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
        let anew = self.is_too_large() || self.map_run.is_some() && self.is_terminal();
        let result = self.result.take().filter(|_| !anew);
        let map_run = self.map_run.as_ref().filter(|_| !anew);
        let again = match (result, &self.flows, map_run.and_then(|of| of.child)) {
            (Some(result), ..) => Phase::Worked { result },
            (None, Some(_), _) => Phase::Flows,
            (None, None, Some(child)) => Phase::MapRunReopening { child },
            (None, None, None) => Phase::Entered,
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
            | Phase::MapRunReopening { .. }
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
