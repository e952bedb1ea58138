//! Compact JSON text and its length.

use std::fmt::Write;

use super::{Array, Object, Value};

pub(super) fn value(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write!(text, "{number}").expect("a String takes everything"),
        Value::String(content) => string(text, content),
        Value::Array(array) => {
            text.push('[');
            for (index, item) in array.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                self::value(text, item);
            }
            text.push(']');
        }
        Value::Object(object) => {
            text.push('{');
            for (index, (key, member)) in object.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                string(text, key);
                text.push(':');
                self::value(text, member);
            }
            text.push('}');
        }
    }
}

pub(super) fn string(text: &mut String, content: &str) {
    text.push('"');
    let mut start = 0;
    for (index, byte) in content.bytes().enumerate() {
        if escape_bytes(byte) == 0 {
            continue;
        }
        text.push_str(&content[start..index]);
        start = index + 1;
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x08 => text.push_str("\\b"),
            0x0c => text.push_str("\\f"),
            control => write!(text, "\\u{control:04X}").expect("a String takes everything"),
        }
    }
    text.push_str(&content[start..]);
    text.push('"');
}

pub(super) fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(number) => {
            let mut counter = Counter(0);
            write!(counter, "{number}").expect("a counter takes everything");
            counter.0
        }
        Value::String(content) => string_bytes(content),
        Value::Array(array) => array.json_bytes(),
        Value::Object(object) => object.json_bytes(),
    }
}

pub(super) fn array_bytes(array: &Array) -> usize {
    2 + array.len().saturating_sub(1) + array.iter().map(value_bytes).sum::<usize>()
}

pub(super) fn object_bytes(object: &Object) -> usize {
    let members = object
        .iter()
        .map(|(key, member)| string_bytes(key) + 1 + value_bytes(member));
    2 + object.len().saturating_sub(1) + members.sum::<usize>()
}

fn string_bytes(content: &str) -> usize {
    2 + content.len() + content.bytes().map(escape_bytes).sum::<usize>()
}

/// Bytes by which a byte's escape is longer than the byte; 0 when it stands for itself.
fn escape_bytes(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0x00..=0x1f => 5,
        _ => 0,
    }
}

struct Counter(usize);

impl Write for Counter {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}
