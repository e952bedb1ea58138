//! Rows of the embedded journal as what was stored in them. Hides the columns' order and types.
//!
//! SQLite keeps in a column whatever it is given. What is of another type than was stored is an error where one thing is read,
//! and concerns that thing alone where several are: it is among them as a damaged one, or left out where nobody could
//! tell it from others.

use std::sync::Arc;

use rusqlite::{Error, Row, types::ValueRef};
use stepwell_interp::Timestamp;

use crate::{
    journal::{
        Amounts, CatalogKey, ExecutionId, ExecutionRow, Meter, NewExecution, OpenTask, ScopeId,
        Segment, Status, StoredSegment, TokenHash, UsageKey, View, limits::USAGE_COUNT_MAX,
    },
    limits::DATE_MS_MAX,
    seal,
};

pub(super) type Read<T> = rusqlite::Result<T>;

pub(super) fn execution_row(row: &Row<'_>) -> Read<ExecutionRow> {
    Ok(ExecutionRow {
        id: ExecutionId(unsigned(row, 0)?),
        next: unsigned(row, 1)?,
        next_public: unsigned(row, 2)?,
        view: View {
            status: status(row.get(3)?)?,
            hot: row.get(4)?,
            wake_at: time(row, 5)?,
            stopped_at: date_if_any(row, 6)?,
            redrive_count: row.get(7)?,
            redriven_at: date_if_any(row, 8)?,
        },
        new: NewExecution {
            scope: ScopeId(unsigned(row, 9)?),
            version: scope(row, 14)?,
            alias: scope(row, 15)?,
            name: row.get_ref(10)?.as_str()?.into(),
            unique_name: row.get(11)?,
            started_at: date(12, row.get(12)?)?,
            meta: bytes(row, 13)?,
        },
    })
}

pub(super) fn stored_segment(row: &Row<'_>) -> Read<StoredSegment> {
    let segment = Segment {
        events: row.get(1)?,
        first_public: unsigned(row, 2)?,
        public: row.get(3)?,
        bytes: bytes(row, 4)?,
    };
    Ok(StoredSegment {
        first: unsigned(row, 0)?,
        segment,
    })
}

pub(super) fn task(row: &Row<'_>) -> Read<OpenTask> {
    Ok(OpenTask {
        token: TokenHash(row.get(0)?),
        execution: ExecutionId(unsigned(row, 1)?),
        task: content(row, 2)?,
        activity: scope(row, 3)?,
        scheduled_at: Timestamp(unsigned(row, 4)?),
    })
}

/// Columns of the usage that are counts, in the order of [`Meter::ALL`].
pub(super) const COUNTS: [&str; Meter::ALL.len()] = [
    "executions",
    "redrives",
    "ended",
    "transitions",
    "tasks",
    "cpu_micros",
    "memory_time",
    "bytes_in",
    "bytes_out",
    "bytes_stored",
    "fuel",
    "host_calls",
    "bytes_sent",
    "bytes_received",
];

pub(super) fn usage_key(row: &Row<'_>) -> Read<UsageKey> {
    let text = |column| Ok::<Arc<str>, Error>(row.get_ref(column)?.as_str()?.into());
    Ok(UsageKey {
        day: row.get(0)?,
        tenant: text(1)?,
        machine: text(2)?,
        plugin: text(3)?,
    })
}

/// A count as it is read: one that cannot be is 0.
pub(super) fn counted(column: &str) -> String {
    format!("CASE WHEN {column} BETWEEN 0 AND {USAGE_COUNT_MAX} THEN {column} ELSE 0 END")
}

/// Whether all counts of a row are as they are read.
pub(super) fn counts_are_whole() -> String {
    let whole = COUNTS.map(|column| format!("{column} BETWEEN 0 AND {USAGE_COUNT_MAX}"));
    format!("coalesce({}, 0)", whole.join(" AND "))
}

/// What [`counted`] or a sum of it gives for each column.
pub(super) fn counts(row: &Row<'_>, first: usize) -> Read<Amounts> {
    let mut usage = Amounts::default();
    for (index, meter) in Meter::ALL.into_iter().enumerate() {
        usage.add(meter, number(row, first + index)?);
    }
    Ok(usage)
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Read<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

/// A number, of which there may be a sum with what is none: SQLite makes a fraction of that.
pub(super) fn number(row: &Row<'_>, column: usize) -> Read<u64> {
    match row.get_ref(column)? {
        ValueRef::Real(real) => Ok(real as u64),
        _ => unsigned(row, column),
    }
}

/// The revision of a record; of one that has none it is always the same, so that it can be replaced and deleted.
pub(super) fn revision(row: &Row<'_>, column: usize) -> Read<u64> {
    Ok(readable(unsigned(row, column))?.unwrap_or(1))
}

/// What was read, or `None` when the store has something else in its place.
pub(super) fn readable<T>(read: Read<T>) -> Read<Option<T>> {
    match read {
        Err(error) if is_of_a_value(&error) => Ok(None),
        read => read.map(Some),
    }
}

/// Whether an error is one of a value, and not of the store: another one is there than was stored.
pub(super) fn is_of_a_value(error: &Error) -> bool {
    matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..)
    )
}

fn scope(row: &Row<'_>, column: usize) -> Read<Option<ScopeId>> {
    let stored: Option<i64> = row.get(column)?;
    Ok(stored.map(|id| ScopeId(id.cast_unsigned())))
}

fn time(row: &Row<'_>, column: usize) -> Read<Option<Timestamp>> {
    Ok(row
        .get::<_, Option<i64>>(column)?
        .map(|ms| Timestamp(ms.cast_unsigned())))
}

/// A time that clients are told. One that no client can read is another value than was stored.
fn date(column: usize, ms: i64) -> Read<Timestamp> {
    match u64::try_from(ms) {
        Ok(ms) if ms <= DATE_MS_MAX => Ok(Timestamp(ms)),
        Ok(_) | Err(_) => Err(Error::IntegralValueOutOfRange(column, ms)),
    }
}

fn date_if_any(row: &Row<'_>, column: usize) -> Read<Option<Timestamp>> {
    let stored: Option<i64> = row.get(column)?;
    stored.map(|ms| date(column, ms)).transpose()
}

pub(super) fn bytes(row: &Row<'_>, column: usize) -> Read<Arc<[u8]>> {
    Ok(row.get_ref(column)?.as_blob()?.into())
}

/// The same of what is read among others.
pub(super) fn content(row: &Row<'_>, column: usize) -> Read<Arc<[u8]>> {
    Ok(readable(bytes(row, column))?.unwrap_or_else(seal::unreadable))
}

/// The bytes of a record; those of another key, or none at all, open nowhere.
pub(super) fn record_bytes(row: &Row<'_>, column: usize, key: &CatalogKey) -> Read<Arc<[u8]>> {
    Ok(match row.get_ref(column)?.as_blob() {
        Ok(stored) => key.opened(stored),
        Err(_) => seal::unreadable(),
    })
}

/// The status of a stored number.
fn status(number: i64) -> rusqlite::Result<Status> {
    Status::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, number))
}
