//! What each intrinsic function does (developer guide, "Intrinsic functions").

use std::collections::BTreeSet;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Given;
use crate::hash;
use crate::java::{self, JavaRandom};
use crate::limits::{
    ARRAY_PARTITION_BYTES_MAX, ARRAY_RANGE_MAX, INTRINSIC_TEXT_BYTES_MAX, INTRINSIC_TEXT_CHARS_MAX,
};
use crate::random::Random;
use crate::value::{ObjectBuilder, Value};

macro_rules! functions {
    ($($variant:ident $name:literal $least:literal ..= $most:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function { $($variant,)* }

        /// The names of all intrinsic functions.
        pub const INTRINSIC_FUNCTIONS: &[&str] = &[$($name),*];

        impl Function {
            pub(super) fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How many arguments it takes, in words.
            pub(super) fn taken(self) -> String {
                match self { $(Self::$variant => taken($least, $most),)* }
            }

            /// Whether it takes this number of arguments.
            pub(super) fn takes(self, arguments: usize) -> bool {
                match self { $(Self::$variant => ($least..=$most).contains(&arguments),)* }
            }
        }
    };
}

functions! {
    Format "States.Format" 1..=usize::MAX;
    StringToJson "States.StringToJson" 1..=1;
    JsonToString "States.JsonToString" 1..=1;
    Array "States.Array" 0..=usize::MAX;
    ArrayPartition "States.ArrayPartition" 2..=2;
    ArrayContains "States.ArrayContains" 2..=2;
    ArrayRange "States.ArrayRange" 3..=3;
    ArrayGetItem "States.ArrayGetItem" 2..=2;
    ArrayLength "States.ArrayLength" 1..=1;
    ArrayUnique "States.ArrayUnique" 1..=1;
    Base64Encode "States.Base64Encode" 1..=1;
    Base64Decode "States.Base64Decode" 1..=1;
    Hash "States.Hash" 2..=2;
    JsonMerge "States.JsonMerge" 3..=3;
    MathRandom "States.MathRandom" 2..=3;
    MathAdd "States.MathAdd" 2..=2;
    StringSplit "States.StringSplit" 2..=2;
    Uuid "States.UUID" 0..=0;
}

fn taken(least: usize, most: usize) -> String {
    match most {
        usize::MAX => format!("{least} or more"),
        _ if least == most => least.to_string(),
        _ => format!("{least} to {most}"),
    }
}

type Outcome = Result<Value, String>;

/// Applies a function to as many arguments as it takes.
pub(super) fn apply(function: Function, given: &[Given], random: &mut Random) -> Outcome {
    let value = |index: usize| &given[index].value;
    match function {
        Function::Format => format(given),
        Function::StringToJson => string_to_json(text(value(0), "first")?),
        Function::JsonToString => Ok(value(0).to_json().into()),
        Function::Array => Ok(Value::array(given.iter().map(|given| given.value.clone()))),
        Function::ArrayPartition => array_partition(array(value(0))?, integer(value(1), "second")?),
        Function::ArrayContains => Ok(array(value(0))?.contains(value(1)).into()),
        Function::ArrayRange => array_range(
            integer(value(0), "first")?,
            integer(value(1), "second")?,
            integer(value(2), "third")?,
        ),
        Function::ArrayGetItem => array_get_item(array(value(0))?, value(1)),
        Function::ArrayLength => Ok(array(value(0))?.len().into()),
        Function::ArrayUnique => array_unique(array(value(0))?),
        Function::Base64Encode => Ok(BASE64.encode(short_text(value(0))?).into()),
        Function::Base64Decode => base64_decode(short_text(value(0))?),
        Function::Hash => {
            let algorithm = text(value(1), "second")?;
            let data = short_text(value(0))?;
            let digest = hash::hex_digest(algorithm, data.as_bytes());
            digest.map(Value::from).ok_or_else(|| {
                format!(
                    "'{algorithm}' is not one of {}",
                    hash::ALGORITHMS.join(", ")
                )
            })
        }
        Function::JsonMerge => json_merge(value(0), value(1), value(2)),
        Function::MathRandom => {
            let seed = given
                .get(2)
                .map(|seed| integer(&seed.value, "third"))
                .transpose()?;
            math_random(
                integer(value(0), "first")?,
                integer(value(1), "second")?,
                seed,
                random,
            )
        }
        Function::MathAdd => math_add(integer(value(0), "first")?, integer(value(1), "second")?),
        Function::StringSplit => Ok(string_split(
            text(value(0), "first")?,
            text(value(1), "second")?,
        )),
        Function::Uuid => Ok(random.uuid().into()),
    }
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn text<'a>(value: &'a Value, place: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| {
        format!(
            "The {place} argument must be a string, but was {}",
            value.kind().name()
        )
    })
}

fn short_text(value: &Value) -> Result<&str, String> {
    let text = text(value, "first")?;
    let characters = text.encode_utf16().count();
    if characters > INTRINSIC_TEXT_CHARS_MAX {
        return Err(format!(
            "The first argument has {characters} characters; at most {INTRINSIC_TEXT_CHARS_MAX} are allowed"
        ));
    }
    Ok(text)
}

fn array(value: &Value) -> Result<&crate::value::Array, String> {
    value.as_array().ok_or_else(|| {
        format!(
            "The first argument must be an array, but was {}",
            value.kind().name()
        )
    })
}

/// A number rounded to the nearest 32-bit integer, halves up.
fn integer(value: &Value, place: &str) -> Result<i64, String> {
    let number = value
        .as_f64()
        .map(java::round)
        .filter(|number| i32::try_from(*number).is_ok());
    number.ok_or_else(|| {
        format!("The {place} argument must be an integer of 32 bits, but was {value}")
    })
}

fn format(given: &[Given]) -> Outcome {
    let template = match given[0].raw {
        Some(raw) => raw,
        None => text(&given[0].value, "first")?,
    };
    let mut result = String::with_capacity(template.len());
    let mut arguments = given[1..].iter();
    let mut places = 0;
    let mut characters = template.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\'' | '{' | '}' | '\\')) => result.push(escaped),
                Some(other) => result.extend(['\\', other]),
                None => {
                    return Err(
                        "Nothing follows the escape character '\\' at the end of the template"
                            .into(),
                    );
                }
            },
            '{' if characters.next_if_eq(&'}').is_some() => {
                places += 1;
                if let Some(argument) = arguments.next() {
                    java_text(&mut result, &argument.value);
                }
                // Each argument is bounded, their number is not.
                if result.len() > INTRINSIC_TEXT_BYTES_MAX {
                    return Err(format!(
                        "The result is longer than {INTRINSIC_TEXT_BYTES_MAX} bytes"
                    ));
                }
            }
            other => result.push(other),
        }
    }
    if places != given.len() - 1 {
        return Err(format!(
            "The template has {places} places '{{}}' for {} arguments",
            given.len() - 1
        ));
    }
    Ok(result.into())
}

/// Values as the service formats them: objects as `{key=value, ...}`, arrays as `[a, b]`, strings as they are.
fn java_text(result: &mut String, value: &Value) {
    match value {
        Value::String(text) => result.push_str(text),
        Value::Array(items) => {
            result.push('[');
            for (index, item) in items.iter().enumerate() {
                result.push_str(if index > 0 { ", " } else { "" });
                java_text(result, item);
            }
            result.push(']');
        }
        Value::Object(object) => {
            result.push('{');
            for (index, (key, member)) in object.iter().enumerate() {
                result.push_str(if index > 0 { ", " } else { "" });
                result.push_str(key);
                result.push('=');
                java_text(result, member);
            }
            result.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.write_json(result),
    }
}

/// A blank text is null, as the service has it.
fn string_to_json(text: &str) -> Outcome {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    Value::parse(text).map_err(|error| format!("The string is not JSON: {error}"))
}

fn array_partition(items: &[Value], size: i64) -> Outcome {
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    let size = size.ok_or("The second argument must be a positive integer")?;
    let parts = Value::array(
        items
            .chunks(size)
            .map(|part| Value::array(part.iter().cloned())),
    );
    if parts.json_bytes() > ARRAY_PARTITION_BYTES_MAX {
        return Err(format!(
            "The result has {} bytes; at most {ARRAY_PARTITION_BYTES_MAX} are allowed",
            parts.json_bytes()
        ));
    }
    Ok(parts)
}

fn array_range(first: i64, last: i64, step: i64) -> Outcome {
    if step == 0 {
        return Err("The third argument must not be zero".into());
    }
    let count = (last - first) / step + 1;
    let reachable = (last - first == 0) || ((last > first) == (step > 0));
    if !reachable {
        return Ok(Value::array([]));
    }
    if count as usize > ARRAY_RANGE_MAX {
        return Err(format!(
            "The range has {count} elements; at most {ARRAY_RANGE_MAX} are allowed"
        ));
    }
    Ok(Value::array(
        (0..count).map(|index| Value::from(first + index * step)),
    ))
}

fn array_get_item(items: &[Value], index: &Value) -> Outcome {
    let position = index
        .as_i64()
        .ok_or_else(|| format!("The second argument must be an integer, but was {index}"))?;
    let item = usize::try_from(position)
        .ok()
        .and_then(|position| items.get(position));
    item.cloned().ok_or_else(|| {
        format!(
            "Index {position} is out of bounds for an array of length {}",
            items.len()
        )
    })
}

fn array_unique(items: &[Value]) -> Outcome {
    let mut seen = BTreeSet::new();
    let mut unique = Vec::new();
    for item in items {
        let mut form = String::new();
        canonical(&mut form, item);
        if seen.insert(form) {
            unique.push(item.clone());
        }
    }
    Ok(unique.into())
}

/// Text that is the same for equal values: keys sorted, numbers in one form.
fn canonical(form: &mut String, value: &Value) {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_by(|left, right| left.0.cmp(right.0));
            form.push('{');
            for (key, member) in members {
                Value::String(key.clone()).write_json(form);
                form.push(':');
                canonical(form, member);
                form.push(',');
            }
            form.push('}');
        }
        Value::Array(items) => {
            form.push('[');
            for item in items {
                canonical(form, item);
                form.push(',');
            }
            form.push(']');
        }
        Value::Number(number) => match number.as_i64() {
            Some(int) => form.push_str(&int.to_string()),
            None => value.write_json(form),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => value.write_json(form),
    }
}

fn base64_decode(text: &str) -> Outcome {
    let bytes = BASE64
        .decode(text)
        .map_err(|error| format!("The string is not Base64: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned().into())
}

fn json_merge(left: &Value, right: &Value, deep: &Value) -> Outcome {
    match deep {
        Value::Bool(false) => {}
        Value::Bool(true) => {
            return Err("Deep merging is not supported; the third argument must be false".into());
        }
        other => return Err(format!("The third argument must be false, but was {other}")),
    }
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else {
        return Err("The first and the second argument must be objects".into());
    };
    let mut merged = ObjectBuilder::from(left.clone());
    for (key, member) in right.iter() {
        merged.insert(key.clone(), member.clone());
    }
    Ok(merged.into())
}

fn math_random(start: i64, end: i64, seed: Option<i64>, random: &mut Random) -> Outcome {
    if start >= end {
        return Err(format!(
            "The first argument, {start}, must be less than the second, {end}"
        ));
    }
    let offset = match seed {
        None => random.below((end - start) as u64) as i64,
        Some(seed) => {
            let mut seeded = JavaRandom::new(seed);
            match i32::try_from(end - start) {
                Ok(bound) => i64::from(seeded.next_int(bound)),
                Err(_) => (seeded.next_double() * (end - start) as f64) as i64,
            }
        }
    };
    Ok((start + offset).into())
}

fn math_add(left: i64, right: i64) -> Outcome {
    match i32::try_from(left + right) {
        Ok(sum) => Ok(sum.into()),
        Err(_) => Err(format!("The sum {} is beyond 32 bits", left + right)),
    }
}

fn string_split(text: &str, delimiters: &str) -> Value {
    if delimiters.is_empty() {
        return Value::array([Value::from(text)]);
    }
    // There may be as many delimiters as characters.
    let delimiters: BTreeSet<char> = delimiters.chars().collect();
    let parts = text
        .split(|character| delimiters.contains(&character))
        .filter(|part| !part.is_empty());
    Value::array(parts.map(Value::from))
}
