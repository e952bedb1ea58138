//! The fold: what each event does to a [`Run`]. Total: an event that fits nothing changes nothing, and no expression
//! is evaluated. Hides what it means for frames.

use std::sync::Arc;

use stepwell_query::Value;

use super::{Frame, FrameId, Phase, Run, Stage, Visit, index::IN_TURN};
use crate::{
    Timestamp,
    border::{Ending, Start, TimerId},
    event::{Assigned, Event, Failure, FailureClass, Place, StateKind, What},
};

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
            What::Begins => self.begins(id),
            What::Used { task, .. } => self.measured(id, *task),
            What::StateFailed { failure } => self.fail(id, failure.clone()),
            What::Forked { input, assigned } => {
                self.forget_redrives();
                self.go_on_with(id, input.as_ref(), assigned);
            }
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

    /// The changes with which a fork goes on.
    fn go_on_with(&mut self, id: FrameId, input: Option<&Value>, assigned: &Assigned) {
        if let Some(new) = input
            && let Some(frame) = self.frames.get_mut(id)
            && let Stage::Next { input, .. } = &mut frame.stage
        {
            *input = new.clone();
        }
        self.assign(id, assigned);
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
}
