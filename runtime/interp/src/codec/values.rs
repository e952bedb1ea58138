//! Values in a segment. Hides the tags, and that strings, arrays and objects are written once.

use std::sync::Arc;

use stepwell_query::{Array, Number, ObjectBuilder, Value};

use super::{
    BLOB_BYTES_MIN, CodecError,
    bytes::{Reader, Writer, entry},
};

/// Bytes of a written value from which it is compressed (ours, measured: smaller ones gain less than a page).
const COMPRESS_BYTES_MIN: usize = 4_096;
/// Bytes that a compressed value may stand for; no payload is larger (ours).
const PLAIN_BYTES_MAX: usize = 256 * 1_048_576;
/// Bytes of a string from which it is worth a number.
const NUMBERED_TEXT_BYTES_MIN: usize = 16;
/// Levels of a value that is read.
const DEPTH_MAX: u32 = 2_000;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INTEGER: u8 = 3;
const DOUBLE: u8 = 4;
/// An integer beyond 64 bits, by its digits.
const DIGITS: u8 = 5;
const TEXT: u8 = 6;
/// As TEXT, and takes the next number.
const NUMBERED_TEXT: u8 = 7;
const ARRAY: u8 = 8;
const OBJECT: u8 = 9;
/// What has that number.
const SAME: u8 = 10;
const COMPRESSED: u8 = 11;
/// The blob at that place among those of the segment.
const BLOB: u8 = 12;

pub(super) fn write(writer: &mut Writer, value: &Value) {
    if !is_blob(value) || !write_blob(writer, value) {
        write_here(writer, value);
    }
}

fn is_blob(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.len() > BLOB_BYTES_MIN,
        Value::Array(_) | Value::Object(_) => value.json_bytes() > BLOB_BYTES_MIN,
    }
}

/// Leaves a value beside the segment; false when nobody keeps it.
fn write_blob(writer: &mut Writer, value: &Value) -> bool {
    let known = value.ptr_id().and_then(|id| writer.values.find(id));
    if let Some(number) = known {
        writer.byte(SAME);
        writer.varint(number);
        return true;
    }
    // What is in a blob refers to nothing in the segment, and nothing in the segment to a part of it.
    let bytes = || {
        let mut own = Writer::new(None);
        write_here(&mut own, value);
        own.finish()
    };
    let Some(place) = writer.blob(value, &bytes) else {
        return false;
    };
    writer.byte(BLOB);
    writer.count(place);
    if let Some(identity) = value.ptr_id() {
        writer.values.add(identity);
    }
    true
}

fn write_here(writer: &mut Writer, value: &Value) {
    let start = writer.bytes.len();
    node(writer, value);
    let len = writer.bytes.len() - start;
    if len < COMPRESS_BYTES_MIN {
        return;
    }
    let packed = lz4_flex::block::compress(&writer.bytes[start..]);
    if packed.len() < len {
        writer.bytes.truncate(start);
        writer.byte(COMPRESSED);
        writer.count(len);
        writer.count(packed.len());
        writer.bytes.extend_from_slice(&packed);
    }
}

pub(super) fn optional(writer: &mut Writer, value: Option<&Value>) {
    writer.byte(u8::from(value.is_some()));
    if let Some(value) = value {
        write(writer, value);
    }
}

fn node(writer: &mut Writer, value: &Value) {
    match value {
        Value::Null => writer.byte(NULL),
        Value::Bool(false) => writer.byte(FALSE),
        Value::Bool(true) => writer.byte(TRUE),
        Value::Number(value) => number(writer, value),
        Value::String(text) if text.len() < NUMBERED_TEXT_BYTES_MIN => {
            writer.byte(TEXT);
            writer.str(text);
        }
        Value::String(text) => once(writer, value, |writer| {
            writer.byte(NUMBERED_TEXT);
            writer.str(text);
        }),
        Value::Array(array) => once(writer, value, |writer| {
            writer.byte(ARRAY);
            writer.count(array.len());
            array.iter().for_each(|item| node(writer, item));
        }),
        Value::Object(object) => once(writer, value, |writer| {
            writer.byte(OBJECT);
            writer.count(object.len());
            for (key, member) in object.iter() {
                writer.str(key);
                node(writer, member);
            }
        }),
    }
}

/// Writes a shared value, or its number when it was written before. Numbers go by the order of completion.
fn once(writer: &mut Writer, value: &Value, write: impl FnOnce(&mut Writer)) {
    let Some(identity) = value.ptr_id() else {
        return write(writer);
    };
    if let Some(number) = writer.values.find(identity) {
        writer.byte(SAME);
        return writer.varint(number);
    }
    write(writer);
    writer.values.add(identity);
}

fn number(writer: &mut Writer, number: &Number) {
    match (number.is_integer(), number.as_i64()) {
        (true, Some(int)) => {
            writer.byte(INTEGER);
            // Zigzag: small negative numbers are short as well.
            writer.varint(((int << 1) ^ (int >> 63)) as u64);
        }
        (true, None) => {
            writer.byte(DIGITS);
            writer.str(&number.to_string());
        }
        (false, _) => {
            writer.byte(DOUBLE);
            writer
                .bytes
                .extend_from_slice(&number.as_f64().to_le_bytes());
        }
    }
}

pub(super) fn read(reader: &mut Reader) -> Result<Value, CodecError> {
    read_node(reader, 0)
}

pub(super) fn read_optional(reader: &mut Reader) -> Result<Option<Value>, CodecError> {
    match reader.byte()? {
        0 => Ok(None),
        1 => read(reader).map(Some),
        found => Err(reader.unknown("mark of an optional value", found.into())),
    }
}

fn read_node(reader: &mut Reader, depth: u32) -> Result<Value, CodecError> {
    if depth > DEPTH_MAX {
        return Err(reader.damaged("a value is nested too deeply"));
    }
    match reader.byte()? {
        NULL => Ok(Value::Null),
        FALSE => Ok(Value::Bool(false)),
        TRUE => Ok(Value::Bool(true)),
        INTEGER => {
            let coded = reader.varint()?;
            let int = (coded >> 1) as i64 ^ -((coded & 1) as i64);
            Ok(Value::from(int))
        }
        DOUBLE => {
            let bytes: [u8; 8] = reader
                .slice(8)?
                .try_into()
                .map_err(|_| CodecError::Truncated)?;
            let number = Number::from_f64(f64::from_le_bytes(bytes));
            number
                .map(Value::Number)
                .ok_or_else(|| reader.damaged("a number is not finite"))
        }
        DIGITS => {
            let digits = reader.str()?;
            Value::parse(digits).map_err(|_| reader.damaged("a number has no digits"))
        }
        TEXT => Ok(Value::String(reader.str()?.into())),
        NUMBERED_TEXT => {
            let text: Arc<str> = reader.str()?.into();
            Ok(numbered(reader, Value::String(text)))
        }
        ARRAY => {
            let count = reader.count()?;
            let mut items = Vec::with_capacity(count);
            for _ in 0..count {
                items.push(read_node(reader, depth + 1)?);
            }
            Ok(numbered(reader, Value::Array(Array::from(items))))
        }
        OBJECT => {
            let count = reader.count()?;
            let mut object = ObjectBuilder::with_capacity(count);
            for _ in 0..count {
                let key = reader.str()?;
                object.insert(key, read_node(reader, depth + 1)?);
            }
            Ok(numbered(reader, object.into()))
        }
        SAME => {
            let number = reader.varint()?;
            entry(&reader.values, number).ok_or_else(|| reader.damaged("a value refers to none"))
        }
        COMPRESSED if depth == 0 => compressed(reader),
        BLOB if depth == 0 => {
            let place = reader.varint()?;
            let value = entry(&reader.blobs, place);
            let value = value.ok_or_else(|| reader.damaged("a blob is not among the segment's"))?;
            Ok(numbered(reader, value))
        }
        found => Err(reader.unknown("tag of a value", found.into())),
    }
}

fn compressed(reader: &mut Reader) -> Result<Value, CodecError> {
    let plain_len = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
    if plain_len > PLAIN_BYTES_MAX {
        return Err(reader.damaged("a value is too large"));
    }
    let len = reader.count()?;
    let packed = reader.slice(len)?;
    let plain = lz4_flex::block::decompress(packed, plain_len);
    let plain = plain.map_err(|_| reader.damaged("a compressed value cannot be read"))?;
    reader.within(&plain, |reader| read_node(reader, 1))
}

fn numbered(reader: &mut Reader, value: Value) -> Value {
    reader.values.push(value.clone());
    value
}
