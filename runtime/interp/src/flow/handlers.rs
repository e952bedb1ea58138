//! What becomes of a state whose work failed: siblings end, then Retry, then Catch, then the flow fails.

use std::sync::Arc;

use stepwell_asl::{CatchIo, Catcher, ErrorEquals, Handlers, Jitter, Retrier};
use stepwell_query::{Random, Value};

use crate::{
    data::{self, Yield},
    event::{Assigned, Failure, FailureClass, StateKind, What},
    fault::{Outcome, RUNTIME, TIMEOUT},
    limits::{Limits, SECONDS_MAX},
    probe::ErrorDetails,
    run::{FrameId, Phase, Visit},
    scope::Moment,
    step::Turn,
};

/// Matches all failures but timeouts.
const TASK_FAILED: &str = "States.TaskFailed";
/// How the names of the language's own errors begin.
const RESERVED: &str = "States.";
const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
/// Matches a Parallel state whose branch failed.
const BRANCH_FAILED: &str = "States.BranchFailed";

impl Turn<'_> {
    /// One turn of a state whose work failed.
    pub(crate) fn handle_failure(&mut self, id: FrameId) {
        if self.abort_one(id) {
            return;
        }
        let Some(visit) = self.run.frame(id).and_then(|frame| frame.visit()) else {
            return;
        };
        let Phase::Failing { failure, announced } = &visit.phase else {
            return;
        };
        let (failure, announced) = (failure.clone(), *announced);
        if let Some(watch) = self.watch {
            watch.note_failure(&failure);
        }
        let handlers = self.state(id).and_then(|state| state.kind.handlers());
        if let Some(handlers) = handlers.filter(|_| !announced)
            && let Some(retrier) = retrier(handlers, &failure, visit)
        {
            let before = visit.retriers.get(retrier).copied().unwrap_or(0);
            self.note(|details| details.retry_index = Some(retrier));
            if before < handlers.retry[retrier].attempts_max {
                return self.plan_retry(id, handlers, retrier, before);
            }
        }
        let catcher = handlers.and_then(|handlers| {
            let fits = |catcher: &(usize, &Catcher)| matches(&catcher.1.errors, &failure, visit);
            handlers.catch.iter().enumerate().find(fits)
        });
        // The interpreter's own failure of a Parallel or Map state ends the execution without a word of that state.
        let silent = failure.class == FailureClass::Terminal && !has_flows(visit);
        let kind = visit.kind;
        if !announced && !silent && matches!(kind, StateKind::Parallel | StateKind::Map) {
            return self.record(id, What::FlowsFailed { kind });
        }
        match catcher {
            Some((index, catcher)) => self.catch(id, index, catcher, &failure),
            None => self.fail_flow(id, failure),
        }
    }

    /// `before` are the retries by that retrier so far.
    fn plan_retry(&mut self, id: FrameId, handlers: &Handlers, slot: usize, before: u32) {
        let backoff_s = backoff_s(&handlers.retry[slot], before);
        self.note(|details| details.retry_backoff_s = Some(backoff_s as u64));
        let delay_ms = delay_ms(&handlers.retry[slot], backoff_s, &mut self.random);
        let retrier = u32::try_from(slot).unwrap_or(u32::MAX);
        self.record(
            id,
            What::RetryPlanned {
                retrier,
                fire_at: self.at.plus_ms(delay_ms),
            },
        );
    }

    fn note(&self, note: impl FnOnce(&mut ErrorDetails)) {
        if let Some(watch) = self.watch {
            watch.note(|data| note(&mut data.error_details));
        }
    }

    fn catch(&mut self, id: FrameId, index: usize, catcher: &Catcher, failure: &Failure) {
        let caught = self.evaluate(id, |moment, random, limits| {
            caught((index, catcher), failure, moment, random, limits)
        });
        match caught {
            Some(Ok(done)) => {
                self.note(|details| details.catch_index = Some(index));
                self.exit(id, done, Some(catcher.next));
            }
            Some(Err(fault)) => self.fail_with(id, fault, true),
            None => {}
        }
    }

    /// Nothing handles it: the flow fails, and what it is a part of.
    fn fail_flow(&mut self, id: FrameId, failure: Failure) {
        let Some(frame) = self.run.frame(id) else {
            return;
        };
        let Some((parent, index)) = frame.parent else {
            let Failure { error, cause, .. } = failure;
            return self.record(id, What::ExecutionFailed { error, cause });
        };
        let Some(visit) = self.run.frame(parent).and_then(|frame| frame.visit()) else {
            return;
        };
        let (kind, name) = (visit.kind, visit.state.clone());
        self.record(
            parent,
            if kind == StateKind::Map {
                What::IterationFailed {
                    name,
                    index,
                    failure,
                }
            } else {
                What::BranchFailed { index, failure }
            },
        );
    }
}

/// Number of the retrier that decides: the first one that matches, spent or not.
fn retrier(handlers: &Handlers, failure: &Failure, visit: &Visit) -> Option<usize> {
    handlers
        .retry
        .iter()
        .position(|retrier| matches(&retrier.errors, failure, visit))
}

/// Seconds until the next attempt before jitter, after so many by the same retrier.
fn backoff_s(retrier: &Retrier, before: u32) -> f64 {
    let most = f64::from(
        retrier
            .delay_max_s
            .map_or(SECONDS_MAX, |seconds| seconds.get()),
    );
    let exponent = f64::from(before);
    (f64::from(retrier.interval_s.get()) * retrier.backoff_rate.powf(exponent)).min(most)
}

/// Milliseconds until the next attempt.
fn delay_ms(retrier: &Retrier, backoff_s: f64, random: &mut Random) -> u64 {
    let seconds = match retrier.jitter {
        Jitter::None => backoff_s,
        Jitter::Full => backoff_s * random.next_f64(),
    };
    // Finite and within 0..=SECONDS_MAX by the bound above; a float that is neither becomes 0.
    (seconds * 1_000.0) as u64
}

fn matches(errors: &ErrorEquals, failure: &Failure, visit: &Visit) -> bool {
    let error = failure.error.as_deref();
    if error == Some(RUNTIME) {
        // Whoever says so: it is neither retried nor caught (developer guide, "Error names").
        return false;
    }
    let wild = match failure.class {
        FailureClass::Terminal => return false,
        FailureClass::NamedOnly => false,
        FailureClass::Named | FailureClass::Heartbeat => true,
    };
    match errors {
        ErrorEquals::All => wild,
        ErrorEquals::Names(names) => names.iter().any(|name| match &**name {
            TASK_FAILED if wild && error != Some(TIMEOUT) => true,
            HEARTBEAT_TIMEOUT if failure.class == FailureClass::Heartbeat => true,
            BRANCH_FAILED if wild && visit.kind == StateKind::Parallel && has_flows(visit) => true,
            name => error == Some(name),
        }),
    }
}

/// Whether the failure is one of its branches' or iterations', and not of the state's own evaluation.
fn has_flows(visit: &Visit) -> bool {
    // Of a distributed Map, whether it is its map run's.
    visit.kind == StateKind::Map && visit.attempts > 0
        || visit
            .flows
            .as_deref()
            .is_some_and(|flows| !flows.children.is_empty())
}

fn caught(
    (index, catcher): (usize, &Catcher),
    failure: &Failure,
    moment: &Moment,
    random: &mut Random,
    limits: &Limits,
) -> Outcome<Yield> {
    let error_output = error_output(failure);
    let done = match &catcher.io {
        CatchIo::Path {
            result_path,
            assign,
        } => {
            let assigned = match assign {
                Some(assign) => data::variables(
                    assign,
                    data::template(&assign.values, &error_output, moment, random)?,
                ),
                None => Assigned::default(),
            };
            Yield {
                output: data::place(result_path, &moment.visit.input, &error_output)?,
                assigned,
            }
        }
        CatchIo::Jsonata { output, assign } => {
            let bindings = moment.bindings().with_error_output(&error_output);
            let place = format!("Catch[{index}]");
            let output = data::placed(output.as_ref(), &place);
            let assign = data::placed(assign.as_ref(), &place);
            data::conclude_bound(output, assign, &error_output, &bindings, random)?
        }
    };
    data::check(done, moment, limits)
}

/// `{"Error", "Cause"}`. What whoever failed did not tell is null; a failure of the service's own without a cause (it has a
/// name then: `States.Timeout`) has an empty one. Recorded.
fn error_output(failure: &Failure) -> Value {
    let text = |text: &Arc<str>| Value::from(text.clone());
    let own = failure
        .error
        .as_deref()
        .is_some_and(|error| error.starts_with(RESERVED));
    let untold = if own { Value::from("") } else { Value::Null };
    Value::object([
        ("Error", failure.error.as_ref().map_or(Value::Null, text)),
        ("Cause", failure.cause.as_ref().map_or(untold, text)),
    ])
}
