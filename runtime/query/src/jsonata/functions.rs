//! The functions the host adds to JSONata or puts in place of the engine's: those of the Amazon States Language, and
//! all that would read a clock or draw randomness.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorError};
use jsonata_core::value::JValue;

use super::bounds::Meter;
use super::{convert, guard, mend, url};
use crate::hash;
use crate::java::JavaRandom;
use crate::random::Random;
use crate::value::Value;

/// What the host's functions share during one evaluation.
pub(super) struct Host {
    pub(super) random: RefCell<Random>,
    pub(super) now_ms: i64,
    pub(super) meter: Meter,
}

type Outcome = Result<JValue, EvaluatorError>;

type Function = fn(&Host, &[JValue]) -> Outcome;

/// The host's functions by name.
const FUNCTIONS: [(&str, Function); 15] = [
    ("now", now),
    ("millis", millis),
    ("random", random),
    ("shuffle", shuffle),
    ("eval", eval),
    ("uuid", uuid),
    ("partition", partition),
    ("range", range),
    ("hash", hash),
    ("parse", parse),
    ("spread", spread),
    ("encodeUrl", encode_url),
    ("encodeUrlComponent", encode_url_component),
    ("decodeUrl", decode_url),
    ("decodeUrlComponent", decode_url_component),
];

/// The engine's own functions.
const ENGINE_FUNCTIONS: [&str; 62] = [
    "abs",
    "append",
    "assert",
    "average",
    "base64decode",
    "base64encode",
    "boolean",
    "ceil",
    "contains",
    "count",
    "decodeUrl",
    "decodeUrlComponent",
    "distinct",
    "each",
    "encodeUrl",
    "encodeUrlComponent",
    "error",
    "exists",
    "filter",
    "floor",
    "formatBase",
    "formatInteger",
    "formatNumber",
    "fromMillis",
    "join",
    "keys",
    "length",
    "lookup",
    "lowercase",
    "map",
    "match",
    "max",
    "merge",
    "min",
    "not",
    "number",
    "pad",
    "parseInteger",
    "power",
    "reduce",
    "replace",
    "reverse",
    "round",
    "sift",
    "single",
    "sort",
    "split",
    "spread",
    "sqrt",
    "string",
    "substring",
    "substringAfter",
    "substringBefore",
    "sum",
    "toMillis",
    "trim",
    "type",
    "uppercase",
    "zip",
    "millis",
    "now",
    "random",
];

/// Whether an expression may call a function of this name.
pub(super) fn is_function(name: &str) -> bool {
    ENGINE_FUNCTIONS.contains(&name) || FUNCTIONS.iter().any(|(known, _)| *known == name)
}

/// Registers those of the host's functions that the expression names, and the guards.
pub(super) fn register(
    evaluator: &mut Evaluator,
    host: &Rc<Host>,
    named: &[Arc<str>],
    guards: &[&str],
) -> Result<(), EvaluatorError> {
    for (name, function) in FUNCTIONS {
        if named.iter().any(|named| &**named == name) {
            let host = Rc::clone(host);
            evaluator.register_fn_override(name, move |arguments: &[JValue]| {
                function(&host, arguments)
            })?;
        }
    }
    for (name, function) in guard::FUNCTIONS.into_iter().chain(mend::FUNCTIONS) {
        if guards.contains(&name) {
            let host = Rc::clone(host);
            evaluator.register_fn_override(name, move |arguments: &[JValue]| {
                function(&host.meter, arguments)
            })?;
        }
    }
    for function in guard::BOUNDED {
        if guards.contains(&function.handed) {
            let host = Rc::clone(host);
            evaluator.register_fn_override(function.handed, move |arguments: &[JValue]| {
                guard::call_named(&host, function, arguments)
            })?;
        }
    }
    if guards.contains(&guard::PARTIAL_TIME) {
        let host = Rc::clone(host);
        let function = move |arguments: &[JValue]| partial_time(&host, arguments);
        evaluator.register_fn_override(guard::PARTIAL_TIME, function)?;
    }
    Ok(())
}

pub(super) fn error(code: &str, message: &str) -> EvaluatorError {
    EvaluatorError::EvaluationError(format!("{code}: {message}"))
}

fn wrong_argument(place: usize, function: &str) -> EvaluatorError {
    error(
        "T0410",
        &format!("Argument {place} of function \"{function}\" does not match function signature"),
    )
}

fn is_undefined(arguments: &[JValue]) -> bool {
    matches!(arguments.first(), Some(JValue::Undefined))
}

fn number(arguments: &[JValue], index: usize, function: &str) -> Result<f64, EvaluatorError> {
    let number = arguments
        .get(index)
        .and_then(JValue::as_f64)
        .filter(|number| number.is_finite());
    number.ok_or_else(|| wrong_argument(index + 1, function))
}

fn string<'a>(
    arguments: &'a [JValue],
    index: usize,
    function: &str,
) -> Result<&'a str, EvaluatorError> {
    arguments
        .get(index)
        .and_then(JValue::as_str)
        .ok_or_else(|| wrong_argument(index + 1, function))
}

fn at_most(arguments: &[JValue], count: usize, function: &str) -> Result<(), EvaluatorError> {
    if arguments.len() > count {
        Err(wrong_argument(count + 1, function))
    } else {
        Ok(())
    }
}

/// `$now([picture [, timezone]])`
fn now(host: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 2, "now")?;
    let mut given = vec![JValue::Number(host.now_ms as f64)];
    given.extend_from_slice(arguments);
    call_engine("fromMillis", &given)
}

/// Calls a function of the engine.
pub(super) fn call_engine(name: &str, arguments: &[JValue]) -> Outcome {
    let names = ["a", "b", "c", "d"];
    let mut context = Context::new();
    for (name, argument) in names.iter().zip(arguments) {
        context.bind((*name).into(), argument.clone());
    }
    let args = names
        .iter()
        .take(arguments.len())
        .map(|name| AstNode::variable(*name))
        .collect();
    let call = AstNode::Function {
        name: name.into(),
        args,
        is_builtin: true,
    };
    Evaluator::with_context(context).evaluate(&call, &JValue::Undefined)
}

/// `$toMillis(text, picture)`. The engine takes the year, or the whole date, that a picture leaves out from its clock;
/// so it is put in front of both.
pub(super) fn partial_time(host: &Host, arguments: &[JValue]) -> Outcome {
    let [JValue::String(text), JValue::String(picture)] = arguments else {
        return call_engine("toMillis", arguments);
    };
    let has = |parts: &[char]| {
        let mut marks = picture
            .match_indices('[')
            .filter_map(|(at, _)| picture[at + 1..].trim_start().chars().next());
        marks.any(|mark| parts.contains(&mark))
    };
    if !picture.contains('[') {
        return call_engine("toMillis", arguments);
    }
    let missing = match (
        has(&['Y', 'X', 'C', 'E']),
        has(&['M', 'D', 'd', 'F', 'W', 'w', 'x']),
    ) {
        (true, _) => return call_engine("toMillis", arguments),
        (false, true) => "[Y0001]",
        (false, false) => "[Y0001]-[M01]-[D01]",
    };
    let date = call_engine(
        "fromMillis",
        &[JValue::Number(host.now_ms as f64), JValue::string(missing)],
    )?;
    let date = date.as_str().unwrap_or_default();
    call_engine(
        "toMillis",
        &[
            JValue::string(format!("{date} {text}")),
            JValue::string(format!("{missing} {picture}")),
        ],
    )
}

fn millis(host: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 0, "millis")?;
    Ok(JValue::Number(host.now_ms as f64))
}

/// `$random([seed])`: uniform in [0, 1); with a seed the first double of Java's generator.
fn random(host: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 1, "random")?;
    Ok(JValue::Number(match arguments.first() {
        None | Some(JValue::Undefined) => host.random.borrow_mut().next_f64(),
        Some(_) => JavaRandom::new(number(arguments, 0, "random")? as i64).next_double(),
    }))
}

fn shuffle(host: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 1, "shuffle")?;
    if is_undefined(arguments) {
        return Ok(JValue::Undefined);
    }
    let mut items = match arguments.first() {
        Some(JValue::Array(items)) => items.to_vec(),
        Some(single) => vec![single.clone()],
        None => return Err(wrong_argument(1, "shuffle")),
    };
    let mut random = host.random.borrow_mut();
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u64 + 1) as usize);
    }
    Ok(JValue::array(items))
}

/// `$spread(value)`: an object for each member of the objects, at every level of nested arrays.
fn spread(_: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 1, "spread")?;
    let Some(JValue::Array(items)) = arguments.first() else {
        return call_engine("spread", arguments);
    };
    let mut spread = Vec::new();
    // What is still to be spread, the next one last.
    let mut open: Vec<JValue> = items.iter().rev().cloned().collect();
    while let Some(item) = open.pop() {
        match item {
            JValue::Array(inner) => open.extend(inner.iter().rev().cloned()),
            item => match call_engine("spread", &[item])? {
                JValue::Array(parts) => spread.extend(parts.iter().cloned()),
                JValue::Undefined => {}
                part => spread.push(part),
            },
        }
    }
    Ok(if spread.is_empty() {
        JValue::array(spread)
    } else {
        JValue::sequence(spread)
    })
}

/// `$eval` is not there.
fn eval(_: &Host, _: &[JValue]) -> Outcome {
    Err(error("T1006", "Attempted to invoke a non-function"))
}

fn uuid(host: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 0, "uuid")?;
    Ok(JValue::string(host.random.borrow_mut().uuid()))
}

/// `$partition(array, size)`: arrays of `size` elements, the last one shorter.
fn partition(_: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 2, "partition")?;
    if is_undefined(arguments) {
        return Ok(JValue::Undefined);
    }
    let size = number(arguments, 1, "partition")?.trunc();
    if size < 1.0 {
        return Err(wrong_argument(2, "partition"));
    }
    let single;
    let items: &[JValue] = match arguments.first() {
        Some(JValue::Array(items)) => items,
        Some(other) => {
            single = [other.clone()];
            &single
        }
        None => return Err(wrong_argument(1, "partition")),
    };
    Ok(JValue::array(
        items
            .chunks(size as usize)
            .map(|part| JValue::array(part.to_vec()))
            .collect(),
    ))
}

/// `$range(first, last, step)`: inclusive; the arguments are truncated toward zero.
fn range(host: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 3, "range")?;
    if arguments.iter().any(JValue::is_undefined) {
        return Ok(JValue::Undefined);
    }
    let first = number(arguments, 0, "range")?.trunc();
    let last = number(arguments, 1, "range")?.trunc();
    let step = number(arguments, 2, "range")?.trunc();
    if step == 0.0 {
        return Err(wrong_argument(3, "range"));
    }
    let count = ((last - first) / step).floor() + 1.0;
    if count < 1.0 {
        return Ok(JValue::sequence(Vec::new()));
    }
    host.meter.sequence(count as usize)?;
    Ok(JValue::sequence(
        (0..count as u64)
            .map(|index| JValue::Number(first + index as f64 * step))
            .collect(),
    ))
}

fn hash(_: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 2, "hash")?;
    if is_undefined(arguments) {
        return Ok(JValue::Undefined);
    }
    let data = string(arguments, 0, "hash")?;
    let digest = hash::hex_digest(string(arguments, 1, "hash")?, data.as_bytes());
    digest
        .map(JValue::string)
        .ok_or_else(|| wrong_argument(2, "hash"))
}

fn parse(_: &Host, arguments: &[JValue]) -> Outcome {
    at_most(arguments, 1, "parse")?;
    if is_undefined(arguments) {
        return Ok(JValue::Undefined);
    }
    match Value::parse(string(arguments, 0, "parse")?) {
        Ok(value) => Ok(convert::to_engine(&value)),
        Err(fault) => Err(error(
            "D3137",
            &format!("Argument 1 of function \"parse\" is not JSON: {fault}"),
        )),
    }
}

fn encode_url(host: &Host, arguments: &[JValue]) -> Outcome {
    encoded(host, arguments, "encodeUrl", url::KEPT_IN_URL)
}

fn encode_url_component(host: &Host, arguments: &[JValue]) -> Outcome {
    encoded(
        host,
        arguments,
        "encodeUrlComponent",
        url::KEPT_IN_COMPONENT,
    )
}

fn encoded(host: &Host, arguments: &[JValue], name: &str, kept: &str) -> Outcome {
    at_most(arguments, 1, name)?;
    if is_undefined(arguments) {
        return Ok(JValue::Undefined);
    }
    let encoded = url::encode(string(arguments, 0, name)?, kept);
    host.meter.string(encoded.len())?;
    Ok(JValue::string(encoded))
}

fn decode_url(_: &Host, arguments: &[JValue]) -> Outcome {
    decoded(arguments, "decodeUrl", url::RESERVED)
}

fn decode_url_component(_: &Host, arguments: &[JValue]) -> Outcome {
    decoded(arguments, "decodeUrlComponent", "")
}

fn decoded(arguments: &[JValue], name: &str, kept: &str) -> Outcome {
    at_most(arguments, 1, name)?;
    if is_undefined(arguments) {
        return Ok(JValue::Undefined);
    }
    let text = string(arguments, 0, name)?;
    match url::decode(text, kept) {
        Some(decoded) => Ok(JValue::string(decoded)),
        None => Err(error(
            "D3140",
            &format!("Malformed URL passed to {name}(): {text:?}"),
        )),
    }
}
