//! How each state type works, as methods of a turn. Hides what a state does between its entry and its exit.

mod choice;
mod distributed;
mod flows;
mod handlers;
mod simple;
mod task;

use std::sync::Arc;

pub(crate) use flows::{items, max_concurrency, select_item};
use stepwell_asl::{Kind, StateId, Then};
use stepwell_query::Value;

use crate::{
    data::{self, Made, Yield},
    event::What,
    fault::{Fault, Outcome, RUNTIME},
    limits::Limits,
    run::FrameId,
    step::Turn,
};

impl Turn<'_> {
    /// Begins the work of the state that the frame is in, for the first time or again after a backoff.
    pub(crate) fn begin(&mut self, id: FrameId) {
        let Some(state) = self.state(id) else {
            return self.fail(
                id,
                Fault::Runtime("The state machine has no such state.".to_owned()),
            );
        };
        match &state.kind {
            Kind::Pass(pass) => self.pass(id, pass),
            Kind::Succeed(succeed) => self.succeed(id, succeed),
            Kind::Fail(fail) => self.fail_state(id, fail, state.language),
            Kind::Wait(wait) => self.wait(id, wait),
            Kind::Choice(choice) => self.choose(id, choice),
            Kind::Task(task) => self.schedule(id, task),
            Kind::Parallel(parallel) => self.start_branches(id, parallel),
            Kind::Map(map) => self.start_map(id, map),
        }
    }

    /// Makes the output of a state whose work has a result.
    pub(crate) fn conclude_work(&mut self, id: FrameId, result: &Value) {
        let Some(state) = self.state(id) else { return };
        let (Some(io), Some(then)) = (state.kind.io(), state.kind.then()) else {
            return;
        };
        let made = Made::Result(result.clone());
        let done = self.evaluate(id, |moment, random, limits| {
            data::conclude(io, &made, moment, random, limits)
        });
        self.leave(id, done, then);
    }

    /// Exits the state, or fails it when its output could not be made.
    pub(crate) fn leave(&mut self, id: FrameId, done: Option<Outcome<Yield>>, then: Then) {
        let next = match then {
            Then::Next(next) => Some(next),
            Then::End => None,
        };
        match done {
            Some(Ok(done)) => self.exit(id, done, next),
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }

    pub(crate) fn exit(&mut self, id: FrameId, done: Yield, next: Option<StateId>) {
        let Some(visit) = self.run.frame(id).and_then(|frame| frame.visit()) else {
            return;
        };
        let (kind, name) = (visit.kind, visit.state.clone());
        let next: Option<Arc<str>> = next.map(|next| self.program[next].name.clone());
        let Yield { output, assigned } = done;
        self.record(
            id,
            What::StateExited {
                kind,
                name,
                output,
                assigned,
                next,
            },
        );
    }
}

/// What takes the place of the event that the history has no room for.
pub(crate) fn history_full(limits: &Limits) -> What {
    let most = limits.history_events_max;
    let cause = format!("The execution reached the maximum number of history events ({most}).");
    What::ExecutionFailed {
        error: Some(RUNTIME.into()),
        cause: Some(cause.into()),
    }
}
