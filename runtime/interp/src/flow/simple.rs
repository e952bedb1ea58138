//! Pass, Succeed, Fail and Wait.

use std::sync::Arc;

use stepwell_asl::{
    Fail, Given, Io, Kind, Pass, QueryLanguage, Succeed, Then, Until, Wait, parse_timestamp,
};
use stepwell_query::{PathExpr, PathExprError, Random, Value};

use crate::{
    Timestamp,
    data::{self, Made},
    event::{Failure, FailureClass, What},
    fault::{Fault, Outcome, clip},
    given,
    limits::{CAUSE_CHARS_MAX, ERROR_CHARS_MAX, SECONDS_MAX},
    run::FrameId,
    scope::Moment,
    step::Turn,
};

impl Turn<'_> {
    pub(super) fn pass(&mut self, id: FrameId, pass: &Pass) {
        let done = self.evaluate(id, |moment, random, limits| {
            let made = match (&pass.io, &pass.result) {
                (Io::Path(_), Some(result)) => {
                    moment.note(|data| data.result = Some(result.clone()));
                    Made::Result(result.clone())
                }
                (Io::Path(_), None) => {
                    let effective = data::effective_input(&pass.io, moment)?;
                    Made::Result(data::work_input(&pass.io, &effective, moment, random)?)
                }
                (Io::Jsonata(_), _) => Made::Nothing,
            };
            data::conclude(&pass.io, &made, moment, random, limits)
        });
        self.leave(id, done, pass.then);
    }

    pub(super) fn succeed(&mut self, id: FrameId, succeed: &Succeed) {
        let io = &succeed.io;
        let done = self.evaluate(id, |moment, random, limits| {
            data::conclude(io, &Made::Nothing, moment, random, limits)
        });
        self.leave(id, done, Then::End);
    }

    pub(super) fn fail_state(&mut self, id: FrameId, fail: &Fail, language: QueryLanguage) {
        let told = self.evaluate(id, |moment, random, _| {
            if language == QueryLanguage::JsonPath {
                moment.note(|data| data.after_input_path = Some(moment.visit.input.clone()));
            }
            let error = said("Error", fail.error.as_ref(), moment, random)?;
            let cause = said("Cause", fail.cause.as_ref(), moment, random)?;
            Ok((error, cause))
        });
        match told {
            Some(Ok((error, cause))) => {
                let error = error.map(|text| clip(&text, ERROR_CHARS_MAX).into());
                let cause = cause.map(|text| clip(&text, CAUSE_CHARS_MAX).into());
                let failure = Failure {
                    error,
                    cause,
                    class: FailureClass::Named,
                };
                self.record(id, What::StateFailed { failure });
            }
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }

    pub(super) fn wait(&mut self, id: FrameId, wait: &Wait) {
        let at = self.at;
        let until = self.evaluate(id, |moment, random, _| {
            let input = data::effective_input(&wait.io, moment)?;
            until(&wait.until, &input, at, moment, random)
        });
        match until {
            Some(Ok(until)) if until <= at => self.conclude_wait(id),
            Some(Ok(until)) => self.record(id, What::WaitPlanned { until }),
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }

    /// The time has come: makes the output.
    pub(crate) fn conclude_wait(&mut self, id: FrameId) {
        let Some(Kind::Wait(wait)) = self.state(id).map(|state| &state.kind) else {
            return;
        };
        let io = &wait.io;
        let done = self.evaluate(id, |moment, random, limits| {
            data::conclude(io, &Made::Nothing, moment, random, limits)
        });
        self.leave(id, done, wait.then);
    }
}

/// The text of a Fail state's Error or Cause.
fn said(
    field: &str,
    given: Option<&Given<Arc<str>, PathExpr>>,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Option<Arc<str>>> {
    match given {
        None => Ok(None),
        Some(Given::Fixed(text)) => Ok(Some(text.clone())),
        Some(Given::Path(path)) => {
            let input = &moment.visit.input;
            let field = format!("{field}Path");
            let value = path.evaluate(&moment.sources(input), random);
            let value =
                value.map_err(|error: PathExprError| Fault::path_expr(error, &field, input))?;
            match value {
                Value::String(text) => Ok(Some(text)),
                other => Err(Fault::Runtime(format!(
                    "The {field} field must reference a string, but {} is: {other}",
                    path.text()
                ))),
            }
        }
        Some(Given::Jsonata(expression)) => {
            match given::evaluate(field, expression, moment, random)? {
                Value::String(text) => Ok(Some(text)),
                other => Err(Fault::unexpected(expression.text(), field, "string", other)),
            }
        }
    }
}

fn until(
    until: &Until,
    input: &Value,
    at: Timestamp,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Timestamp> {
    match until {
        Until::Seconds(given) => {
            let seconds = given::seconds("Seconds", given, 0, SECONDS_MAX, input, moment, random)?;
            Ok(at.plus_secs(seconds.into()))
        }
        Until::Timestamp(Given::Fixed(instant)) => Ok(Timestamp::from(*instant)),
        Until::Timestamp(Given::Path(path)) => {
            let (text, sources) = (path.text(), moment.sources(input));
            let value = path.evaluate(&sources).map_err(|_| {
                Fault::Runtime(format!(
                    "The TimestampPath parameter does not reference an input value: {text}"
                ))
            })?;
            value.as_str().and_then(parse_timestamp).map(Timestamp::from).ok_or_else(|| {
                let said = value.as_str().map_or_else(|| value.to_json(), str::to_owned);
                Fault::Runtime(format!(
                    "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time \
                     format string: {text} == {said}"
                ))
            })
        }
        Until::Timestamp(Given::Jsonata(expression)) => {
            let value = given::evaluate("Timestamp", expression, moment, random)?;
            let Some(text) = value.as_str() else {
                return Err(Fault::unexpected(
                    expression.text(),
                    "Timestamp",
                    "string",
                    value,
                ));
            };
            parse_timestamp(text).map(Timestamp::from).ok_or_else(|| Fault::Query {
                text: format!(
                    "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format string: {text}"
                ),
                location: "Timestamp".to_owned(),
            })
        }
    }
}
