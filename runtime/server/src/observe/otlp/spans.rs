//! Spans out of the events of a history: one an execution, a visit of a state, an attempt at a task. What it hides: what
//! is open, by place, and what its end ends with it.

mod span;

use std::{collections::BTreeMap, sync::Arc};

use stepwell_engine::{
    HistoryEntry, Observed, SpanId, TraceContext, TraceId, attempt_span, execution_span,
};
use stepwell_interp::{Place, Start, StateKind, Timestamp, What};

use super::proto::Span;

pub(super) use span::nanoseconds;

/// An execution whose spans are not all told.
#[derive(Debug)]
pub(super) struct Traced {
    arn: Arc<str>,
    account: Arc<str>,
    start: Arc<Start>,
    context: TraceContext,
    /// Since its start or its last redrive.
    since: Timestamp,
    redrives: u32,
    /// Id of the next event.
    pub(super) next: u64,
    /// By the flow that is in the state.
    states: BTreeMap<Place, State>,
}

/// A visit of a state.
#[derive(Debug)]
struct State {
    entered_id: u64,
    /// The span's: that of the entry, or that of the redrive which it went on with.
    redrives: u32,
    name: Arc<str>,
    kind: StateKind,
    since: Timestamp,
    attempts: u32,
    attempt: Option<Attempt>,
    /// Name of the error that its work failed with last.
    error: Option<Arc<str>>,
    /// Its execution ended before it did; a redrive goes on with it.
    ended: bool,
}

#[derive(Debug)]
struct Attempt {
    resource: Arc<str>,
    since: Timestamp,
    started: Option<(Timestamp, Option<Arc<str>>)>,
}

/// How a span ended: well, or with an error's name and text.
type End<'a> = Result<(), (&'a str, Option<&'a str>)>;

impl Traced {
    /// An execution of which nothing was folded.
    pub(super) fn new(observed: &Observed, context: TraceContext) -> Traced {
        Traced {
            arn: observed.execution_arn.clone(),
            account: observed.tenant.clone(),
            start: observed.start.clone(),
            context,
            since: observed.started_at,
            redrives: 0,
            next: 1,
            states: BTreeMap::new(),
        }
    }

    /// Takes an event up, and gives the spans that it ended.
    pub(super) fn fold(&mut self, entry: &HistoryEntry, ended: &mut Vec<Span>) {
        self.next = entry.id + 1;
        self.fold_attempt(entry, ended);
        self.fold_state(entry, ended);
        self.fold_execution(entry, ended);
    }

    fn fold_execution(&mut self, entry: &HistoryEntry, ended: &mut Vec<Span>) {
        let at = entry.event.at;
        let what = &entry.event.what;
        if matches!(what, What::ExecutionStarted { .. }) {
            self.since = at;
        } else if let What::ExecutionRedriven { count, .. } = what {
            self.redriven(*count, at);
        } else if matches!(what, What::ExecutionSucceeded { .. }) {
            self.end("SUCCEEDED", at, Ok(()), ended);
        } else if let What::ExecutionFailed { error, cause } = what {
            let error = error.as_deref().unwrap_or_default();
            self.end("FAILED", at, Err((error, cause.as_deref())), ended);
        } else if let What::ExecutionTimedOut { error, cause } = what {
            let error = error.as_deref().unwrap_or("States.Timeout");
            self.end("TIMED_OUT", at, Err((error, cause.as_deref())), ended);
        } else if let What::ExecutionAborted { error, cause } = what {
            let error = error.as_deref().unwrap_or("aborted");
            self.end("ABORTED", at, Err((error, cause.as_deref())), ended);
        }
    }

    fn fold_state(&mut self, entry: &HistoryEntry, ended: &mut Vec<Span>) {
        let (at, place) = (entry.event.at, &entry.event.place);
        match &entry.event.what {
            What::StateEntered { kind, name, .. } => self.entered(entry.id, place, *kind, name, at),
            What::StateExited { .. } => {
                self.close_below(place, at, ("aborted", None), ended);
                self.close(place, at, Ok(()), ended);
            }
            What::StateAborted { .. } => {
                self.close_below(place, at, ("aborted", None), ended);
                self.close(place, at, Err(("aborted", None)), ended);
            }
            What::EvaluationFailed { error, .. } => self.failed(place, Some(error)),
            What::FlowsFailed { .. } => {
                let error = self.below(place).find_map(|(_, state)| state.error.clone());
                self.failed(place, error.as_ref());
            }
            What::MapRunFailed { failure } => self.failed(place, failure.error.as_ref()),
            What::IterationFailed { index, failure, .. } => {
                let error = failure.error.as_deref().unwrap_or_default();
                let why = (error, failure.cause.as_deref());
                self.close_flow(place, *index, at, why, ended);
            }
            What::IterationAborted { index, .. } => {
                self.close_flow(place, *index, at, ("aborted", None), ended);
            }
            What::ExecutionStarted { .. }
            | What::ExecutionSucceeded { .. }
            | What::ExecutionFailed { .. }
            | What::ExecutionTimedOut { .. }
            | What::ExecutionAborted { .. }
            | What::ExecutionRedriven { .. }
            | What::Scheduled(_)
            | What::Started { .. }
            | What::Submitted { .. }
            | What::Succeeded { .. }
            | What::Failed { .. }
            | What::TimedOut { .. }
            | What::ParallelStarted { .. }
            | What::MapStarted { .. }
            | What::FlowsSucceeded { .. }
            | What::IterationStarted { .. }
            | What::IterationSucceeded { .. }
            | What::WaitPlanned { .. }
            | What::RetryPlanned { .. }
            | What::Redispatched { .. }
            | What::Begins
            | What::Used { .. }
            | What::Forked { .. }
            | What::StateFailed { .. }
            | What::BranchFailed { .. }
            | What::BranchAborted { .. }
            | What::ChildStarted { .. }
            | What::DistributedMapStarted { .. }
            | What::MapRunStarted { .. }
            | What::MapRunRedriven { .. }
            | What::MapRunSucceeded { .. }
            | What::MapRunAborted
            | What::MapRun(_) => {}
        }
    }

    /// The span that an event belongs to: the execution's, or that of what is open where it happens.
    pub(super) fn span_of(&self, entry: &HistoryEntry) -> (TraceId, SpanId) {
        let (what, place) = (&entry.event.what, &entry.event.place);
        let begins = matches!(
            what,
            What::ExecutionStarted { .. } | What::ExecutionRedriven { .. }
        );
        if begins || what.is_ending() {
            return (self.context.trace, execution_span(&self.arn, self.redrives));
        }
        let state = self.states.get(place).filter(|state| !state.ended);
        let span = match state {
            Some(state) if state.attempt.is_some() => {
                attempt_span(&self.arn, state.entered_id, state.attempts)
            }
            Some(state) => self.state_span(state),
            None => self.above(place),
        };
        (self.context.trace, span)
    }

    fn fold_attempt(&mut self, entry: &HistoryEntry, ended: &mut Vec<Span>) {
        let (at, place) = (entry.event.at, &entry.event.place);
        let what = &entry.event.what;
        if let What::Scheduled(scheduled) = what {
            if let Some(state) = self.states.get_mut(place) {
                state.attempts += 1;
                state.attempt = Some(Attempt {
                    resource: scheduled.resource.text.clone(),
                    since: at,
                    started: None,
                });
            }
        } else if let What::Started { by, .. } = what {
            let state = self.states.get_mut(place);
            if let Some(attempt) = state.and_then(|state| state.attempt.as_mut()) {
                attempt.started = Some((at, by.clone()));
            }
        } else if matches!(what, What::Succeeded { .. }) {
            self.close_attempt(place, at, Ok(()), ended);
        } else if let What::Failed { error, cause, .. } | What::TimedOut { error, cause, .. } = what
        {
            let name = error.as_deref().unwrap_or_default();
            self.close_attempt(place, at, Err((name, cause.as_deref())), ended);
            self.failed(place, error.as_ref());
        }
    }

    fn entered(&mut self, id: u64, place: &Place, kind: StateKind, name: &Arc<str>, at: Timestamp) {
        let state = State {
            entered_id: id,
            redrives: self.redrives,
            name: name.clone(),
            kind,
            since: at,
            attempts: 0,
            attempt: None,
            error: None,
            ended: false,
        };
        self.states.insert(place.clone(), state);
    }

    /// What was open when it ended is open again.
    fn redriven(&mut self, count: u32, at: Timestamp) {
        self.redrives = count;
        self.since = at;
        for state in self.states.values_mut().filter(|state| state.ended) {
            state.ended = false;
            state.redrives = count;
            state.since = at;
            state.error = None;
        }
    }

    /// The work of the state at that place failed.
    fn failed(&mut self, place: &Place, error: Option<&Arc<str>>) {
        if let Some(state) = self.states.get_mut(place) {
            state.error = error.cloned().or(state.error.take());
        }
    }
}

/// Endings.
impl Traced {
    fn end(&mut self, status: &'static str, at: Timestamp, end: End<'_>, ended: &mut Vec<Span>) {
        let open: Vec<Place> = self.states.keys().rev().cloned().collect();
        for place in open {
            self.close_attempt(&place, at, end, ended);
            if let Some(state) = self.states.get(&place).filter(|state| !state.ended) {
                ended.push(self.span_of_state(&place, state, at, end));
            }
            if let Some(state) = self.states.get_mut(&place) {
                state.ended = true;
            }
        }
        ended.push(self.span_of_execution(status, at, end));
    }

    /// Closes the states of all flows below that place, with their own errors where they have any.
    fn close_below(
        &mut self,
        place: &Place,
        at: Timestamp,
        why: (&str, Option<&str>),
        ended: &mut Vec<Span>,
    ) {
        let below: Vec<(Place, Option<Arc<str>>)> = self
            .below(place)
            .map(|(other, state)| (other.clone(), state.error.clone()))
            .collect();
        for (other, error) in below.iter().rev() {
            let own = error.as_deref().map_or(why, |error| (error, None));
            self.close(other, at, Err(own), ended);
        }
    }

    /// The states of all flows below that place, outer ones first.
    fn below(&self, place: &Place) -> impl Iterator<Item = (&Place, &State)> {
        let path = place.0.clone();
        let from = self.states.range(place.clone()..);
        let depth = path.len();
        let within = from.take_while(move |(other, _)| other.0.starts_with(&path));
        within.filter(move |(other, _)| other.0.len() > depth)
    }

    /// Closes the states of the branch or iteration of that number.
    fn close_flow(
        &mut self,
        place: &Place,
        index: u32,
        at: Timestamp,
        why: (&str, Option<&str>),
        ended: &mut Vec<Span>,
    ) {
        let flow = place.child(index);
        self.close_below(&flow, at, why, ended);
        self.close(&flow, at, Err(why), ended);
    }

    fn close(&mut self, place: &Place, at: Timestamp, end: End<'_>, ended: &mut Vec<Span>) {
        self.close_attempt(place, at, end, ended);
        if let Some(state) = self.states.remove(place).filter(|state| !state.ended) {
            ended.push(self.span_of_state(place, &state, at, end));
        }
    }

    fn close_attempt(&mut self, place: &Place, at: Timestamp, end: End<'_>, ended: &mut Vec<Span>) {
        let state = self.states.get_mut(place);
        let Some(attempt) = state.and_then(|state| state.attempt.take()) else {
            return;
        };
        if let Some(state) = self.states.get(place) {
            ended.push(self.span_of_attempt(state, &attempt, at, end));
        }
    }
}

/// Whether an event begins a span, to which it then belongs.
pub(super) fn begins(what: &What) -> bool {
    matches!(
        what,
        What::ExecutionStarted { .. }
            | What::ExecutionRedriven { .. }
            | What::StateEntered { .. }
            | What::Scheduled(_)
    )
}

#[cfg(test)]
mod tests {
    use stepwell_interp::{Event, Failure, FailureClass};
    use stepwell_query::Value;

    use super::{super::proto::SpanStatus, span::text, *};

    /// Events at these places, a millisecond apart, folded into spans.
    fn folded(events: Vec<(&[u32], What)>) -> Vec<Span> {
        let entries = events
            .into_iter()
            .zip(1..)
            .map(|((place, what), id)| HistoryEntry {
                id,
                event: Event {
                    at: Timestamp(1_000 + id),
                    previous: 0,
                    place: Place(place.into()),
                    what,
                },
                used: None,
            });
        let observed = Observed {
            tenant: "1".into(),
            execution_arn: "arn:e".into(),
            start: Arc::default(),
            started_at: Timestamp(1_000),
            redrives: 0,
            redriven_at: None,
            logging: None,
            trace: None,
            entries: entries.collect(),
        };
        let context = TraceContext {
            trace: [7; 16],
            parent: Some([8; 8]),
        };
        let mut traced = Traced::new(&observed, context);
        let mut spans = Vec::new();
        for entry in &observed.entries {
            traced.fold(entry, &mut spans);
        }
        spans
    }

    fn entered(kind: StateKind, name: &str) -> What {
        What::StateEntered {
            kind,
            name: name.into(),
            input: Value::Null,
        }
    }

    fn exited(kind: StateKind, name: &str) -> What {
        What::StateExited {
            kind,
            name: name.into(),
            output: Value::Null,
            assigned: Arc::default(),
            next: None,
        }
    }

    fn failed() -> What {
        What::ExecutionFailed {
            error: Some("E".into()),
            cause: None,
        }
    }

    #[test]
    fn flows_are_below_the_state_that_they_are_of() {
        let evaluation = What::EvaluationFailed {
            state: "Inner".into(),
            error: "Own".into(),
            cause: "c".into(),
            location: "l".into(),
            terminal: false,
        };
        let lost = Failure {
            error: Some("Lost".into()),
            cause: None,
            class: FailureClass::Named,
        };
        let iteration = What::IterationFailed {
            name: "Map".into(),
            index: 1,
            failure: lost,
        };
        let map = StateKind::Map;
        let spans = folded(vec![
            (&[], entered(map, "Map")),
            (&[0], entered(StateKind::Wait, "Inner")),
            (&[1], entered(StateKind::Wait, "Second")),
            (&[0], evaluation),
            (&[], iteration),
            (&[], What::FlowsFailed { kind: map }),
            (&[], exited(map, "Map")),
            (&[], failed()),
        ]);
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["Second", "Inner", "Map", ""]);
        let [second, inner, map, root] = spans.as_slice() else {
            panic!("{spans:#?}")
        };
        assert_eq!((inner.parent, second.parent), (Some(map.id), Some(map.id)));
        assert_eq!((map.parent, root.parent), (Some(root.id), Some([8; 8])));
        assert_eq!(second.status, SpanStatus::Error("Lost".to_owned()));
        assert_eq!(inner.status, SpanStatus::Error("Own".to_owned()));
        assert_eq!(map.status, SpanStatus::Ok, "it caught");
        let handled = ("stepwell.state.handled_error", text("Own"));
        assert!(map.attributes.contains(&handled), "{map:#?}");
        assert_eq!(root.status, SpanStatus::Error("E".to_owned()));
    }

    #[test]
    fn a_redrive_goes_on_with_what_its_end_left_open() {
        let redriven = What::ExecutionRedriven {
            count: 1,
            timeout_at: None,
            token: None,
        };
        let spans = folded(vec![
            (&[], entered(StateKind::Wait, "Wait")),
            (&[], failed()),
            (&[], redriven),
            (&[], exited(StateKind::Wait, "Wait")),
            (
                &[],
                What::ExecutionSucceeded {
                    output: Value::Null,
                },
            ),
        ]);
        let [first, root, again, redriven] = spans.as_slice() else {
            panic!("{spans:#?}")
        };
        assert_eq!(
            (first.parent, again.parent),
            (Some(root.id), Some(redriven.id))
        );
        assert_ne!(first.id, again.id);
        assert_eq!(redriven.link, Some(root.id));
        assert_eq!(again.start_ns, redriven.start_ns, "from the redrive on");
        assert_eq!(redriven.status, SpanStatus::Ok);
    }
}
