//! One span: of an execution, a visit of a state, an attempt. What it hides: names, attributes and ids, and which span it is
//! below.

use stepwell_engine::{SpanId, attempt_span, execution_span, state_span};
use stepwell_interp::{Place, StateKind, Timestamp};

use super::{
    super::proto::{Any, Attribute, Span, SpanKind, SpanStatus},
    Attempt, End, State, Traced,
};
use crate::limits::SPAN_MESSAGE_CHARS_MAX;

impl Traced {
    pub(super) fn span_of_execution(
        &self,
        status: &'static str,
        at: Timestamp,
        end: End<'_>,
    ) -> Span {
        let start = &self.start;
        let kind = if start.express { "EXPRESS" } else { "STANDARD" };
        let mut attributes = vec![
            (
                "aws.step_functions.state_machine.arn",
                text(&start.machine_arn),
            ),
            ("cloud.account.id", text(&self.account)),
            ("stepwell.execution.arn", text(&self.arn)),
            ("stepwell.execution.name", text(&start.execution_name)),
            ("stepwell.execution.status", text(status)),
            ("stepwell.state_machine.type", text(kind)),
        ];
        if self.redrives > 0 {
            attributes.push((
                "stepwell.execution.redrives",
                Any::Int(self.redrives.into()),
            ));
        }
        let before = self.redrives.checked_sub(1);
        Span {
            link: before.map(|before| execution_span(&self.arn, before)),
            ..self.span(
                (
                    execution_span(&self.arn, self.redrives),
                    self.context.parent,
                ),
                (&start.machine_name, SpanKind::Server),
                (self.since, at),
                attributes,
                end,
            )
        }
    }

    pub(super) fn span_of_state(
        &self,
        place: &Place,
        state: &State,
        at: Timestamp,
        end: End<'_>,
    ) -> Span {
        let mut attributes = vec![
            ("stepwell.state.name", text(&state.name)),
            ("stepwell.state.type", text(kind_name(state.kind))),
            ("stepwell.execution.arn", text(&self.arn)),
        ];
        if !place.0.is_empty() {
            let numbers: Vec<String> = place.0.iter().map(u32::to_string).collect();
            attributes.push(("stepwell.state.flow", Any::Text(numbers.join("/"))));
        }
        if state.attempts > 0 {
            attributes.push(("stepwell.task.attempts", Any::Int(state.attempts.into())));
        }
        // It caught that, or another attempt went well.
        if let (Ok(()), Some(error)) = (end, &state.error) {
            attributes.push(("stepwell.state.handled_error", text(error)));
        }
        self.span(
            (self.state_span(state), Some(self.above(place))),
            (&state.name, SpanKind::Internal),
            (state.since, at),
            attributes,
            end,
        )
    }

    pub(super) fn span_of_attempt(
        &self,
        state: &State,
        attempt: &Attempt,
        at: Timestamp,
        end: End<'_>,
    ) -> Span {
        let number = state.attempts;
        let id = attempt_span(&self.arn, state.entered_id, number);
        let mut attributes = vec![
            ("stepwell.task.resource", text(&attempt.resource)),
            ("stepwell.task.attempt", Any::Int(number.into())),
            ("stepwell.state.name", text(&state.name)),
        ];
        if let Some((_, Some(by))) = &attempt.started {
            attributes.push(("stepwell.task.served_by", text(by)));
        }
        let started = attempt.started.as_ref();
        Span {
            events: started
                .map(|(at, _)| (nanoseconds(*at), "started"))
                .into_iter()
                .collect(),
            ..self.span(
                (id, Some(self.state_span(state))),
                (&attempt.resource, SpanKind::Client),
                (attempt.since, at),
                attributes,
                end,
            )
        }
    }

    fn span(
        &self,
        (id, parent): (SpanId, Option<SpanId>),
        (name, kind): (&str, SpanKind),
        (since, at): (Timestamp, Timestamp),
        mut attributes: Vec<Attribute>,
        end: End<'_>,
    ) -> Span {
        let status = match end {
            Ok(()) => SpanStatus::Ok,
            Err((error, cause)) => {
                attributes.push(("error.type", text(error)));
                let told =
                    cause.map_or_else(|| error.to_owned(), |cause| format!("{error}: {cause}"));
                SpanStatus::Error(told.chars().take(SPAN_MESSAGE_CHARS_MAX).collect())
            }
        };
        Span {
            trace: self.context.trace,
            id,
            parent,
            name: name.to_owned(),
            kind,
            start_ns: nanoseconds(since),
            end_ns: nanoseconds(at),
            attributes,
            events: Vec::new(),
            link: None,
            status,
        }
    }

    pub(super) fn state_span(&self, state: &State) -> SpanId {
        state_span(&self.arn, state.entered_id, state.redrives)
    }

    /// The span that a state's there is below: that of the Parallel or Map state whose flow it is in, or the execution's.
    pub(super) fn above(&self, place: &Place) -> SpanId {
        let mut path = &*place.0;
        while let Some((_, above)) = path.split_last() {
            path = above;
            if let Some(state) = self.states.get(&Place(above.into())) {
                return self.state_span(state);
            }
        }
        execution_span(&self.arn, self.redrives)
    }
}

pub(super) fn text(text: &str) -> Any {
    Any::Text(text.to_owned())
}

pub(in super::super) fn nanoseconds(at: Timestamp) -> u64 {
    at.0.saturating_mul(1_000_000)
}

fn kind_name(kind: StateKind) -> &'static str {
    match kind {
        StateKind::Pass => "Pass",
        StateKind::Task => "Task",
        StateKind::Choice => "Choice",
        StateKind::Wait => "Wait",
        StateKind::Succeed => "Succeed",
        StateKind::Fail => "Fail",
        StateKind::Parallel => "Parallel",
        StateKind::Map => "Map",
    }
}
