//! Values across the border to the engine, whose values are not `Send` and know doubles only.

use indexmap::IndexMap;
use jsonata_core::value::JValue;

use super::failure::JsonataFailureKind;
use crate::limits::JSON_DEPTH_MAX;
use crate::value::{Number, ObjectBuilder, Value};

pub(super) fn to_engine(value: &Value) -> JValue {
    match value {
        Value::Null => JValue::Null,
        Value::Bool(value) => JValue::Bool(*value),
        Value::Number(number) => JValue::Number(number.as_f64()),
        Value::String(text) => JValue::string(&**text),
        Value::Array(items) => {
            let nested = items.iter().any(|item| matches!(item, Value::Array(_)));
            let items = items.iter().map(to_engine).collect();
            JValue::Array(jsonata_core::value::JArray::new_flat(items, !nested))
        }
        Value::Object(object) => {
            let mut members = IndexMap::with_capacity(object.len());
            for (key, member) in object.iter() {
                members.insert(key.to_string(), to_engine(member));
            }
            JValue::object(members)
        }
    }
}

/// The value of a result; `None` is undefined. Takes roughly `bytes_max` bytes of memory at most, since a small value of the
/// engine may share its parts so often that its text is endless.
pub(super) fn from_engine(
    value: &JValue,
    bytes_max: usize,
) -> Result<Option<Value>, JsonataFailureKind> {
    Reader {
        bytes_left: bytes_max,
        depth: 0,
    }
    .value(value)
}

/// What a string and a member of an object take beside their characters.
const TEXT_BYTES: usize = 16;
const MEMBER_BYTES: usize = 48;

struct Reader {
    bytes_left: usize,
    depth: u32,
}

impl Reader {
    fn value(&mut self, value: &JValue) -> Result<Option<Value>, JsonataFailureKind> {
        self.take(size_of::<Value>())?;
        Ok(Some(match value {
            JValue::Null => Value::Null,
            JValue::Bool(value) => Value::Bool(*value),
            JValue::Number(number) => match Number::from_computed(*number) {
                Some(number) => Value::Number(number),
                None if number.is_nan() => Value::from("NaN"),
                None => Value::from(if *number > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                }),
            },
            JValue::String(text) => {
                self.take(text.len() + TEXT_BYTES)?;
                Value::from(&**text)
            }
            JValue::Array(items) => {
                self.enter()?;
                let mut read = Vec::with_capacity(items.len().min(self.bytes_left));
                for item in items {
                    read.extend(self.value(item)?);
                }
                self.depth -= 1;
                read.into()
            }
            JValue::Object(object) => {
                self.enter()?;
                let mut members = ObjectBuilder::with_capacity(object.len());
                for (key, member) in object.iter() {
                    self.take(key.len() + MEMBER_BYTES)?;
                    if let Some(member) = self.value(member)? {
                        members.insert(&**key, member);
                    }
                }
                self.depth -= 1;
                members.into()
            }
            JValue::Undefined => return Ok(None),
            JValue::Lambda(_) | JValue::Builtin { .. } | JValue::Regex { .. } => {
                return Err(JsonataFailureKind::UnsupportedType);
            }
        }))
    }

    fn enter(&mut self) -> Result<(), JsonataFailureKind> {
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX {
            Err(JsonataFailureKind::memory_exceeded())
        } else {
            Ok(())
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), JsonataFailureKind> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or_else(JsonataFailureKind::memory_exceeded)?;
        Ok(())
    }
}

/// Bytes of the JSON of a value of the engine, counted no further than `bytes_max`.
pub(super) fn engine_bytes(value: &JValue, bytes_max: usize) -> usize {
    let mut bytes = 0;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        bytes += match value {
            JValue::String(text) => text.len() + 2,
            JValue::Array(items) => {
                open.extend(items.iter().take(bytes_max.saturating_add(1)));
                items.len() + 2
            }
            JValue::Object(object) => {
                open.extend(object.values());
                object.keys().map(|key| key.len() + 4).sum::<usize>() + 2
            }
            _ => 4,
        };
        if bytes > bytes_max {
            break;
        }
    }
    bytes
}
