//! The guards: each looks at a value that is about to be used or was built, and gives it back or fails. Hides the arithmetic.

use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use super::super::bounds::{Meter, memory_exceeded};
use super::super::convert;
use super::Outcome;
use crate::limits::{JSONATA_DISTINCT_MAX, JSONATA_PICTURE_BYTES_MAX};

/// Bytes of a member beside its key and value.
const MEMBER_BYTES: usize = 72;

fn first(arguments: &[JValue]) -> JValue {
    arguments.first().cloned().unwrap_or(JValue::Undefined)
}

pub(super) fn text_bytes(value: Option<&JValue>) -> usize {
    value.and_then(JValue::as_str).map_or(0, str::len)
}

/// A width for `$pad`: as many characters will be built.
pub(super) fn width(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(width) = arguments.first().and_then(JValue::as_f64) {
        meter.string(width.abs().min(usize::MAX as f64) as usize)?;
    }
    Ok(first(arguments))
}

/// A string that was built.
pub(super) fn text(meter: &Meter, arguments: &[JValue]) -> Outcome {
    meter.string(text_bytes(arguments.first()))?;
    Ok(first(arguments))
}

/// A value of which a text will be made, or which is walked to its leaves.
pub(super) fn size(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(value @ (JValue::Array(_) | JValue::Object(_))) = arguments.first() {
        let most = meter.bounds().string_bytes;
        if convert::engine_bytes(value, most) > most {
            return Err(memory_exceeded());
        }
    }
    Ok(first(arguments))
}

/// A list of which each pair of items may be compared.
pub(super) fn pairs(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(JValue::Array(items)) = arguments.first()
        && items.len() > JSONATA_DISTINCT_MAX
    {
        return Err(memory_exceeded());
    }
    size(meter, arguments)
}

/// The picture of `$formatInteger`: a Roman number has as many letters M as it has thousands. The number was noted, or
/// is the context.
pub(super) fn picture(meter: &Meter, arguments: &[JValue]) -> Outcome {
    let letters = match arguments.get(1) {
        Some(context) => thousands(context),
        None => meter.noted(),
    };
    if arguments
        .first()
        .and_then(JValue::as_str)
        .is_some_and(|picture| picture.starts_with(['I', 'i']))
    {
        meter.string(letters)?;
    }
    Ok(first(arguments))
}

pub(super) fn thousands(value: &JValue) -> usize {
    value
        .as_f64()
        .map_or(0, |number| (number.abs() / 1000.0) as usize)
}

/// The picture of a number or a time, which is read again for each digit.
pub(super) fn narrow(_: &Meter, arguments: &[JValue]) -> Outcome {
    if text_bytes(arguments.first()) > JSONATA_PICTURE_BYTES_MAX {
        return Err(memory_exceeded());
    }
    Ok(first(arguments))
}

/// A value that is put into another one, kept or walked; the second argument is how many share what one may weigh.
pub(super) fn weight(meter: &Meter, arguments: &[JValue]) -> Outcome {
    let shares = arguments.get(1).and_then(JValue::as_f64).unwrap_or(1.0);
    if let Some(value) = arguments.first() {
        meter.weigh(value, shares as usize)?;
    }
    Ok(first(arguments))
}

/// A list or an object that was built.
pub(super) fn built(meter: &Meter, arguments: &[JValue]) -> Outcome {
    match arguments.first() {
        Some(JValue::Array(items)) => meter.memory(items.len() * size_of::<JValue>())?,
        Some(JValue::Object(members)) => meter.memory(members.len() * MEMBER_BYTES)?,
        _ => {}
    }
    weight(meter, &arguments[..arguments.len().min(1)])
}

/// A function that keeps some of its arguments.
pub(super) fn partial(meter: &Meter, arguments: &[JValue]) -> Outcome {
    meter.partial()?;
    Ok(first(arguments))
}

/// Items that will be spliced into an array.
pub(super) fn items(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(JValue::Array(items)) = arguments.first() {
        meter.sequence(items.len())?;
        meter.memory(items.len() * size_of::<JValue>())?;
    }
    Ok(first(arguments))
}

/// Notes a length (thousands, for a number) for the guard of a later argument.
pub(super) fn note(meter: &Meter, arguments: &[JValue]) -> Outcome {
    match arguments.first() {
        Some(JValue::Array(items)) => {
            meter.string(items.iter().map(|item| text_bytes(Some(item))).sum())?;
            meter.note(items.len());
        }
        Some(number @ JValue::Number(_)) => meter.note(thousands(number)),
        other => meter.note(text_bytes(other)),
    }
    Ok(first(arguments))
}

/// The text between the items of `$join`.
pub(super) fn separator(meter: &Meter, arguments: &[JValue]) -> Outcome {
    let items = meter.noted();
    meter.string(items.saturating_mul(text_bytes(arguments.first())))?;
    Ok(first(arguments))
}

/// The replacement of `$replace(pattern, replacement)`; the second argument is the text.
pub(super) fn replacement(meter: &Meter, arguments: &[JValue]) -> Outcome {
    foresee_replaced(
        meter,
        text_bytes(arguments.get(1)),
        text_bytes(arguments.first()),
    )?;
    Ok(first(arguments))
}

/// The third argument of `$replace`: the replacement, or the limit, with which the text is the context.
pub(super) fn last(meter: &Meter, arguments: &[JValue]) -> Outcome {
    let (second, text) = (meter.noted(), meter.noted());
    match arguments.first() {
        Some(JValue::Number(_)) => foresee_replaced(meter, text_bytes(arguments.get(1)), second)?,
        other => foresee_replaced(meter, text, text_bytes(other))?,
    }
    Ok(first(arguments))
}

/// Whether a value is a function that gives what matches are replaced by.
pub(super) fn callable(_: &Meter, arguments: &[JValue]) -> Outcome {
    let is = |value: &JValue| value.is_function() && !value.is_regex();
    Ok(JValue::Bool(arguments.first().is_some_and(is)))
}

/// A replacement at every place of the text at worst.
pub(super) fn foresee_replaced(
    meter: &Meter,
    text: usize,
    replacement: usize,
) -> Result<(), EvaluatorError> {
    meter.foresee(text.saturating_add(1).saturating_mul(replacement))
}
