//! Parquet: each row an object. Hides that the library reads where it likes and blocks while it does.

use std::{
    collections::VecDeque,
    io::{Cursor as IoCursor, Read},
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use parquet::{
    basic::Compression,
    errors::{ParquetError, Result as ParquetResult},
    file::reader::{ChunkReader, FileReader, Length, SerializedFileReader},
    record::{
        Field, Row,
        reader::{ReaderIter, TreeBuilder},
    },
};
use stepwell_query::{Number, ObjectBuilder, Value};
use tokio::{runtime::Handle, sync::Semaphore};

use crate::{error::Error, limits::ITEM_BYTES_MAX, object::Object};

/// Rows that are read at a time, and their bytes: one that is larger comes alone.
const ROWS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 1024 * 1024;
/// Files that are read at the same moment. Each takes a thread while it is, and reading from a folder takes others.
const READING_MAX: usize = 16;
/// Bytes fetched at a time within a column.
const FETCH_BYTES: u64 = 256 * 1024;

static READING: Semaphore = Semaphore::const_new(READING_MAX);

/// The rows of a file from a place on. A thread has it only while it reads.
pub(crate) struct ParquetRows {
    /// Absent while it reads, and after an error.
    groups: Mutex<Option<Groups>>,
    read: VecDeque<Value>,
    at: u64,
    /// Rows in all, once the file's foot was read.
    total: Option<u64>,
    ended: bool,
}

impl ParquetRows {
    pub(crate) fn open(object: Object, at: u64) -> ParquetRows {
        let file = File {
            object,
            runtime: Handle::current(),
        };
        ParquetRows {
            groups: Mutex::new(Some(Groups {
                file: Some(file),
                reader: None,
                next: 0,
                rows: None,
                skip: at,
            })),
            read: VecDeque::new(),
            at,
            total: None,
            ended: false,
        }
    }

    pub(crate) fn share(&self) -> Option<f64> {
        Some(self.at as f64 / self.total?.max(1) as f64)
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Error> {
        while self.read.is_empty() && !self.ended {
            self.more().await?;
        }
        let row = self.read.pop_front();
        self.at += u64::from(row.is_some());
        Ok(row)
    }

    /// The mutex is for the compiler: what the library holds may be sent to another thread and not be shared with it.
    fn groups(&mut self) -> &mut Option<Groups> {
        self.groups
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn more(&mut self) -> Result<(), Error> {
        let broken = || {
            // The library panics over some values that no type should hold.
            Error::malformed(
                "The Parquet file cannot be read: the reader broke down over a value of it",
            )
        };
        let mut groups = self.groups().take().ok_or_else(broken)?;
        // The semaphore is never closed.
        let _reading = READING.acquire().await.map_err(|_| broken())?;
        let read = tokio::task::spawn_blocking(move || {
            let rows = groups.read();
            (groups, rows)
        });
        let (groups, rows) = read.await.map_err(|_| broken())?;
        let rows = rows?;
        self.ended = rows.is_empty();
        self.total = groups.total();
        *self.groups() = Some(groups);
        self.read = rows.into();
        Ok(())
    }
}

/// A file's groups of rows, one after another.
struct Groups {
    /// Until its foot was read.
    file: Option<File>,
    reader: Option<SerializedFileReader<File>>,
    /// The group to open next.
    next: usize,
    rows: Option<ReaderIter>,
    /// Rows that were read before.
    skip: u64,
}

impl Groups {
    fn total(&self) -> Option<u64> {
        let rows = self.reader.as_ref()?.metadata().file_metadata().num_rows();
        u64::try_from(rows).ok()
    }

    /// The next rows; none at the end of the file.
    fn read(&mut self) -> Result<Vec<Value>, Error> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        while read.len() < ROWS_AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(rows) = &mut self.rows else {
                if !self.open()? {
                    break;
                }
                continue;
            };
            let Some(row) = rows.next() else {
                self.rows = None;
                continue;
            };
            let row = row.map_err(unreadable)?;
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let value = object(&row);
            let size = value.json_bytes();
            if size > ITEM_BYTES_MAX {
                let text =
                    format!("A row of the Parquet file has more than {ITEM_BYTES_MAX} bytes.");
                return Err(Error::Malformed(text));
            }
            bytes += size;
            read.push(value);
        }
        Ok(read)
    }

    /// Opens the next group that has rows to read; false after the last.
    fn open(&mut self) -> Result<bool, Error> {
        if let Some(file) = self.file.take() {
            let reader = SerializedFileReader::new(file).map_err(unreadable)?;
            check_codecs(&reader)?;
            self.reader = Some(reader);
        }
        let Some(reader) = &self.reader else {
            return Ok(false);
        };
        while self.next < reader.num_row_groups() {
            let group = reader.get_row_group(self.next).map_err(unreadable)?;
            self.next += 1;
            let rows = u64::try_from(group.metadata().num_rows()).unwrap_or(0);
            if self.skip >= rows {
                self.skip -= rows;
                continue;
            }
            let opened =
                TreeBuilder::new().as_iter(group.metadata().schema_descr_ptr(), group.as_ref());
            self.rows = Some(opened.map_err(unreadable)?);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Refuses a file of which a part cannot be decompressed, before a row of it was taken.
fn check_codecs(reader: &SerializedFileReader<File>) -> Result<(), Error> {
    let groups = reader.metadata().row_groups().iter();
    for column in groups.flat_map(|group| group.columns()) {
        let codec = match column.compression() {
            Compression::UNCOMPRESSED
            | Compression::SNAPPY
            | Compression::GZIP(_)
            | Compression::LZ4
            | Compression::LZ4_RAW => continue,
            // Its library is written in C.
            Compression::ZSTD(_) => "ZSTD",
            Compression::BROTLI(_) => "BROTLI",
            Compression::LZO => "LZO",
        };
        return Err(Error::malformed(format!(
            "The Parquet file cannot be read: its column '{}' is compressed by {codec}, and SNAPPY, GZIP, LZ4 or no compression is read; write the file anew, as in pyarrow: pq.write_table(pq.read_table('old.parquet'), 'new.parquet', compression='snappy')",
            column.column_path().string()
        )));
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

#[cfg(test)]
mod tests;
