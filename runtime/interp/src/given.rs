//! Fields that are given as a number, a path to one or an expression for one. Hides the service's texts for what is no
//! such number.

use std::num::NonZeroU32;

use stepwell_asl::Given;
use stepwell_query::{Expression, Random, ReferencePath, Value};

use crate::{
    fault::{Fault, Outcome},
    scope::Moment,
};

/// A whole number of seconds in `least..=most` of a field such as `TimeoutSeconds`; `input` is what its path reads.
pub(crate) fn seconds<T: Copy + Into<u32>>(
    field: &str,
    given: &Given<T>,
    least: u32,
    most: u32,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<u32> {
    match given {
        Given::Fixed(seconds) => Ok((*seconds).into()),
        Given::Path(path) => seconds_at(field, path, least, most, input, moment),
        Given::Jsonata(expression) => {
            let value = evaluate(field, expression, moment, random)?;
            let Some(seconds) = value.as_i64() else {
                let expected = expected_number(&value);
                return Err(Fault::unexpected(expression.text(), field, expected, value));
            };
            in_range(seconds, least, most).ok_or_else(|| Fault::Query {
                text: format!(
                    "The {field} field must be between {least} and {most}, but was: {seconds}"
                ),
                location: field.to_owned(),
            })
        }
    }
}

fn seconds_at(
    field: &str,
    path: &ReferencePath,
    least: u32,
    most: u32,
    input: &Value,
    moment: &Moment,
) -> Outcome<u32> {
    let text = path.text();
    let value = path.evaluate(&moment.sources(input)).map_err(|error| {
        Fault::Runtime(match field {
            "Seconds" => {
                format!("The {field}Path parameter does not reference an input value: {text}")
            }
            _ => error.not_found_text(&format!("{field}Path"), input),
        })
    })?;
    let said = match &value {
        Value::String(text) => text.to_string(),
        other => other.to_json(),
    };
    let Some(seconds) = whole(&value) else {
        return Err(Fault::Runtime(format!(
            "The {field}Path parameter cannot be parsed as a long value: {text} == {said}"
        )));
    };
    if seconds < 0 {
        return Err(Fault::Runtime(format!(
            "The {field}Path parameter references a negative value: {text} == {said}"
        )));
    }
    in_range(seconds, least, most).ok_or_else(|| {
        if field == "Seconds" {
            return Fault::Runtime("Wait state delay is too long.".to_owned());
        }
        Fault::Runtime(format!(
            "The {field}Path parameter must be between {least} and {most}: {text} == {said}"
        ))
    })
}

/// A whole number of a field such as `MaxItems`, negative ones included.
pub(crate) fn whole_number(
    field: &str,
    given: &Given<u32>,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<i64> {
    match given {
        Given::Fixed(number) => Ok((*number).into()),
        Given::Path(path) => whole_at(field, path, input, moment),
        Given::Jsonata(expression) => whole_of(field, expression, moment, random),
    }
}

/// A number from 1 on, of a field such as `MaxItemsPerBatch`.
pub(crate) fn positive(
    field: &str,
    given: &Given<NonZeroU32>,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<u32> {
    let text = format!("{field} must be positive.");
    let within = |number: i64| u32::try_from(number).ok().filter(|number| *number > 0);
    match given {
        Given::Fixed(number) => Ok(number.get()),
        Given::Path(path) => {
            within(whole_at(field, path, input, moment)?).ok_or(Fault::Runtime(text))
        }
        Given::Jsonata(expression) => {
            let number = whole_of(field, expression, moment, random)?;
            within(number).ok_or_else(|| Fault::Query {
                text,
                location: field.to_owned(),
            })
        }
    }
}

fn whole_at(field: &str, path: &ReferencePath, input: &Value, moment: &Moment) -> Outcome<i64> {
    let value = path
        .evaluate(&moment.sources(input))
        .map_err(|error| Fault::path(&error))?;
    whole(&value).ok_or_else(|| {
        let (text, said) = (path.text(), quoted(&value));
        Fault::Runtime(format!(
            "The {field}Path field refers to value {said} which is not a valid integer: {text}"
        ))
    })
}

fn whole_of(
    field: &str,
    expression: &Expression,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<i64> {
    let value = evaluate(field, expression, moment, random)?;
    value.as_i64().ok_or_else(|| {
        let expected = expected_number(&value);
        Fault::unexpected(expression.text(), field, expected, value)
    })
}

/// A count that may be 0, of a field such as `MaxConcurrency`.
pub(crate) fn count(
    field: &str,
    given: &Given<u32>,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<u32> {
    let count = whole_number(field, given, input, moment, random)?;
    u32::try_from(count).map_err(|_| {
        let text = format!("{field} cannot be negative.");
        match given {
            Given::Fixed(_) | Given::Path(_) => Fault::Runtime(text),
            Given::Jsonata(_) => Fault::Query {
                text,
                location: field.to_owned(),
            },
        }
    })
}

/// A percentage, 0 to 100, of a field such as `ToleratedFailurePercentage`.
pub(crate) fn percentage(
    field: &str,
    given: &Given<f64>,
    input: &Value,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<f64> {
    let within = |number: f64| (0.0..=100.0).contains(&number).then_some(number);
    let text = || format!("{field} must be between 0 and 100.");
    match given {
        Given::Fixed(number) => Ok(*number),
        Given::Path(path) => {
            let value = path
                .evaluate(&moment.sources(input))
                .map_err(|error| Fault::path(&error))?;
            let number = match &value {
                Value::String(text) => text.parse().ok(),
                other => other.as_f64(),
            };
            let Some(number) = number else {
                let (text, said) = (path.text(), quoted(&value));
                return Err(Fault::Runtime(format!(
                    "The {field}Path field refers to value {said} which is not a valid float: {text}"
                )));
            };
            within(number).ok_or_else(|| Fault::Runtime(text()))
        }
        Given::Jsonata(expression) => {
            let value = evaluate(field, expression, moment, random)?;
            let Some(number) = value.as_f64() else {
                return Err(Fault::unexpected(expression.text(), field, "number", value));
            };
            within(number).ok_or_else(|| Fault::Query {
                text: text(),
                location: field.to_owned(),
            })
        }
    }
}

/// The value of a JSONata field that must have one.
pub(crate) fn evaluate(
    field: &str,
    expression: &Expression,
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Value> {
    expression
        .require(&moment.bindings(), random)
        .map_err(|failure| Fault::jsonata(failure, field))
}

/// What to expect instead of this value.
fn expected_number(found: &Value) -> &'static str {
    if found.as_number().is_some() {
        "integer"
    } else {
        "number"
    }
}

/// A whole number, or a string of its digits.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) if number.is_integer() => number.as_i64(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

fn in_range(seconds: i64, least: u32, most: u32) -> Option<u32> {
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| (least..=most).contains(seconds))
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{text}\""),
        other => format!("\"{}\"", other.to_json()),
    }
}
