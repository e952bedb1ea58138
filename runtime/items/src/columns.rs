//! Parquet: each row an object. Hides that the library reads where it likes and blocks while it does.

use std::{
    io::{Cursor as IoCursor, Read},
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use parquet::{
    errors::{ParquetError, Result as ParquetResult},
    file::reader::{ChunkReader, FileReader, Length, SerializedFileReader},
    record::{Field, Row, reader::RowIter},
};
use stepwell_query::{Number, ObjectBuilder, Value};
use tokio::{runtime::Handle, sync::mpsc};

use crate::{error::Error, object::Object};

/// Rows that are read ahead.
const ROWS_AHEAD: usize = 256;
/// Bytes fetched at a time within a column.
const FETCH_BYTES: u64 = 256 * 1024;

/// The rows of a file from a place on, read by a thread of its own.
pub(crate) struct ParquetRows {
    rows: mpsc::Receiver<Result<Value, Error>>,
    at: u64,
    /// Rows in all, once the file's foot was read.
    total: Arc<OnceLock<u64>>,
}

impl ParquetRows {
    pub(crate) fn open(object: Object, at: u64) -> ParquetRows {
        let (sender, rows) = mpsc::channel(ROWS_AHEAD);
        let file = File {
            object,
            runtime: Handle::current(),
        };
        let total = Arc::new(OnceLock::new());
        let known = total.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = send_rows(file, at, &sender, &known) {
                // No one receives when the reader was dropped.
                let _ = sender.blocking_send(Err(error));
            }
        });
        ParquetRows { rows, at, total }
    }

    pub(crate) fn share(&self) -> Option<f64> {
        let total = self.total.get()?;
        Some(self.at as f64 / (*total).max(1) as f64)
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Error> {
        let row = self.rows.recv().await.transpose()?;
        self.at += u64::from(row.is_some());
        Ok(row)
    }
}

fn send_rows(
    file: File,
    at: u64,
    sender: &mpsc::Sender<Result<Value, Error>>,
    total: &OnceLock<u64>,
) -> Result<(), Error> {
    let reader = SerializedFileReader::new(file).map_err(unreadable)?;
    let rows = reader.metadata().file_metadata().num_rows();
    let _ = total.set(u64::try_from(rows).unwrap_or(0));
    let mut skip = at;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(unreadable)?;
        let rows = u64::try_from(group.metadata().num_rows()).unwrap_or(0);
        if skip >= rows {
            skip -= rows;
            continue;
        }
        for row in RowIter::from_row_group(None, group.as_ref()).map_err(unreadable)? {
            let row = row.map_err(unreadable)?;
            if skip > 0 {
                skip -= 1;
            } else if sender.blocking_send(Ok(object(&row))).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn unreadable(error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(source) => Error::malformed(format!("The Parquet file cannot be read: {source}")),
        },
        other => Error::malformed(format!("The Parquet file cannot be read: {other}")),
    }
}

fn object(row: &Row) -> Value {
    let mut object = ObjectBuilder::default();
    for (name, field) in row.get_column_iter() {
        object.insert(name.as_str(), value(field));
    }
    object.into()
}

/// A field as JSON: times and dates as ISO 8601, bytes as base64, decimals as their digits.
fn value(field: &Field) -> Value {
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => Value::Bool(*flag),
        Field::Byte(number) => Value::from(i64::from(*number)),
        Field::Short(number) => Value::from(i64::from(*number)),
        Field::Int(number) => Value::from(*number),
        Field::Long(number) => Value::from(*number),
        Field::UByte(number) => Value::from(u64::from(*number)),
        Field::UShort(number) => Value::from(u64::from(*number)),
        Field::UInt(number) => Value::from(*number),
        Field::ULong(number) => Value::from(*number),
        Field::Float16(number) => float(f64::from(*number)),
        // By way of its text, so that 0.1 stays 0.1.
        Field::Float(number) => float(number.to_string().parse().unwrap_or(f64::from(*number))),
        Field::Double(number) => float(*number),
        Field::Str(text) => Value::from(text.as_str()),
        Field::Bytes(bytes) => Value::from(STANDARD.encode(bytes.data())),
        Field::Date(_) | Field::TimeMillis(_) | Field::TimeMicros(_) | Field::Decimal(_) => {
            Value::from(field.to_string())
        }
        Field::TimestampMillis(at) => timestamp(jiff::Timestamp::from_millisecond(*at)),
        Field::TimestampMicros(at) => timestamp(jiff::Timestamp::from_microsecond(*at)),
        Field::Group(row) => object(row),
        Field::ListInternal(list) => Value::array(list.elements().iter().map(value)),
        Field::MapInternal(map) => Value::object(map.entries().iter().map(|(key, field)| {
            let key = match value(key) {
                Value::String(text) => text,
                other => other.to_json().into(),
            };
            (key, value(field))
        })),
    }
}

fn timestamp(at: Result<jiff::Timestamp, jiff::Error>) -> Value {
    at.map_or(Value::Null, |at| Value::from(at.to_string()))
}

/// An object as the library reads one.
struct File {
    object: Object,
    runtime: Handle,
}

impl File {
    fn range(&self, start: u64, bytes: u64) -> Result<Bytes, Error> {
        let range = self.object.range(start..start.saturating_add(bytes));
        self.runtime.block_on(range)
    }
}

impl Length for File {
    fn len(&self) -> u64 {
        self.object.bytes
    }
}

impl ChunkReader for File {
    type T = Ahead;

    fn get_read(&self, start: u64) -> ParquetResult<Ahead> {
        Ok(Ahead {
            file: File {
                object: self.object.clone(),
                runtime: self.runtime.clone(),
            },
            next: start,
            chunk: IoCursor::new(Bytes::new()),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.range(start, length as u64);
        let bytes = bytes.map_err(|error| ParquetError::External(Box::new(error)))?;
        if bytes.len() < length {
            return Err(ParquetError::EOF("the file ends too early".to_owned()));
        }
        Ok(bytes)
    }
}

/// Reads on from a place, a chunk ahead.
struct Ahead {
    file: File,
    next: u64,
    chunk: IoCursor<Bytes>,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.chunk.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        let chunk = self.file.range(self.next, FETCH_BYTES);
        let chunk = chunk.map_err(std::io::Error::other)?;
        self.next += chunk.len() as u64;
        self.chunk = IoCursor::new(chunk);
        self.chunk.read(buffer)
    }
}
