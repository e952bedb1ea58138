//! The tables of the embedded journal and how a file is opened, recognised and brought to the newest format. Hides
//! pragmas and the file's identity.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, OptionalExtension};

use super::super::{
    OpenError, RESTORE,
    limits::{
        BUSY_MS, CHECK_MS_MAX, CHECK_STEPS, FULL_BYTES, OWN_NUMBER_MAX, PAGE_BYTES,
        STATEMENTS_CACHED,
    },
};
use super::{memory, row::is_of_a_value};

/// `STPW`: tells a journal from any other SQLite file.
pub(super) const APPLICATION_ID: i64 = 0x5354_5057;

/// All tables, those first that are small.
const TABLES: [&str; 8] = [
    "meta",
    "records",
    "usage",
    "messages",
    "tasks",
    "blobs",
    "executions",
    "segments",
];

/// The format this version writes.
const FORMAT: i64 = 5;

/// Steps to each format from the one before. The log is in order of arrival and only indexed by execution: clustering
/// it would touch a page for each active execution at every commit. Lists need no index on (scope, id): the five
/// statuses of (scope, status, id) are merged. Indexes of what is rare are partial, so that most appends leave them
/// alone.
const MIGRATIONS: [&str; FORMAT as usize] = ["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('epoch', 0), ('next_message', 1);

    CREATE TABLE executions (
        id INTEGER PRIMARY KEY, next INTEGER NOT NULL, next_public INTEGER NOT NULL, status INTEGER NOT NULL,
        hot INTEGER NOT NULL, wake_at INTEGER, stopped_at INTEGER, redrive_count INTEGER NOT NULL, redriven_at INTEGER,
        scope INTEGER NOT NULL, name TEXT NOT NULL, unique_name INTEGER NOT NULL, started_at INTEGER NOT NULL,
        meta BLOB NOT NULL);
    CREATE INDEX executions_listed ON executions (scope, status);
    CREATE UNIQUE INDEX executions_unique ON executions (scope, name) WHERE unique_name = 1;
    CREATE INDEX executions_named ON executions (scope, name) WHERE unique_name = 0;
    CREATE INDEX executions_hot ON executions (hot) WHERE hot = 1;
    CREATE INDEX executions_due ON executions (wake_at) WHERE wake_at IS NOT NULL;

    CREATE TABLE segments (
        seq INTEGER PRIMARY KEY, execution INTEGER NOT NULL, first INTEGER NOT NULL, events INTEGER NOT NULL,
        first_public INTEGER NOT NULL, public INTEGER NOT NULL, bytes BLOB NOT NULL);
    CREATE UNIQUE INDEX segments_placed ON segments (execution, first);

    CREATE TABLE tasks (
        token BLOB PRIMARY KEY, execution INTEGER NOT NULL, task BLOB NOT NULL, activity INTEGER,
        scheduled_at INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX tasks_queued ON tasks (activity, scheduled_at, token) WHERE activity IS NOT NULL;

    CREATE TABLE messages (id INTEGER PRIMARY KEY, recipient INTEGER NOT NULL, payload BLOB NOT NULL);
    CREATE INDEX messages_addressed ON messages (recipient);

    CREATE TABLE records (
        tenant TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, bytes BLOB NOT NULL,
        PRIMARY KEY (tenant, kind, name));

    CREATE TABLE blobs (hash BLOB PRIMARY KEY, bytes BLOB NOT NULL);
", "
    ALTER TABLE executions ADD COLUMN version INTEGER;
    ALTER TABLE executions ADD COLUMN alias INTEGER;
    CREATE INDEX executions_of_version ON executions (version, status) WHERE version IS NOT NULL;
    CREATE INDEX executions_of_alias ON executions (alias, status) WHERE alias IS NOT NULL;
", "
    CREATE TABLE usage (
        day INTEGER NOT NULL, tenant TEXT NOT NULL, machine TEXT NOT NULL, plugin TEXT NOT NULL,
        executions INTEGER NOT NULL, redrives INTEGER NOT NULL, ended INTEGER NOT NULL, transitions INTEGER NOT NULL,
        tasks INTEGER NOT NULL, cpu_micros INTEGER NOT NULL, memory_time INTEGER NOT NULL, bytes_in INTEGER NOT NULL,
        bytes_out INTEGER NOT NULL, bytes_stored INTEGER NOT NULL,
        PRIMARY KEY (day, tenant, machine, plugin)) WITHOUT ROWID;
", "
    ALTER TABLE usage ADD COLUMN fuel INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE usage ADD COLUMN host_calls INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE usage ADD COLUMN bytes_sent INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE usage ADD COLUMN bytes_received INTEGER NOT NULL DEFAULT 0;
", "
    -- Records are sealed for their key from here on, which programs of the formats before take for damage; those that are
    -- there stay as they are until they are written again.
"];

/// Opens the file for writing, creates or migrates its tables.
pub(super) fn open_writer(path: &Path, vfs: Option<&str>) -> Result<Connection, OpenError> {
    let opened = connect(path, vfs, OpenFlags::SQLITE_OPEN_CREATE).and_then(|conn| {
        conn.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
        let (id, tables) = identity(&conn)?;
        Ok((conn, id, tables))
    });
    let (mut conn, id, tables) = opened.map_err(|error| explain(path, &error))?;
    if id != APPLICATION_ID && tables > 0 {
        return Err(OpenError::Foreign(path.display().to_string()));
    }
    configure_writer(&conn).map_err(|error| explain(path, &error))?;
    migrate(&mut conn, path)?;
    Ok(conn)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    let conn = connect(path, vfs, OpenFlags::empty())?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cache_size", -i64::from(memory::of_reader()))?;
    Ok(conn)
}

/// Opens a connection for checkpoints.
pub(super) fn open_checkpointer(path: &Path, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    let conn = connect(path, vfs, OpenFlags::empty())?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    Ok(conn)
}

fn connect(path: &Path, vfs: Option<&str>, more: OpenFlags) -> rusqlite::Result<Connection> {
    // One thread uses a connection at a time, which the borrow checker sees to; SQLite need not lock.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let conn = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(conn)
}

fn configure_writer(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
    conn.pragma_update(None, "cache_size", -i64::from(memory::of_writer()))
}

fn identity(conn: &Connection) -> rusqlite::Result<(i64, i64)> {
    let id = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok((id, tables))
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let exists = conn
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE name = 'meta'",
            [],
            |_| Ok(()),
        )
        .optional();
    let found = match exists.map_err(|error| explain(path, &error))? {
        Some(()) => own_number(conn, path, "format", 1)?,
        None => 0,
    };
    let done = usize::try_from(found).unwrap_or(0);
    if done > MIGRATIONS.len() {
        return Err(OpenError::Newer {
            path: path.display().to_string(),
            found,
            known: FORMAT,
        });
    }
    if done == MIGRATIONS.len() {
        return Ok(());
    }
    let mut run = || -> rusqlite::Result<()> {
        let transaction =
            conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        for step in &MIGRATIONS[done..] {
            transaction.execute_batch(step)?;
        }
        transaction.execute(
            "INSERT OR REPLACE INTO meta VALUES ('format', ?1)",
            [FORMAT],
        )?;
        transaction.commit()
    };
    run().map_err(|error| match &error {
        // The statements are right: it is the tables that are not as they say.
        Error::SqlInputError { msg, .. } => other_tables(path, found, msg),
        Error::SqliteFailure(failure, Some(msg)) if failure.code == ErrorCode::Unknown => {
            other_tables(path, found, msg)
        }
        _ => explain(path, &error),
    })?;
    if found > 0 {
        let store = path.display();
        tracing::warn!(
            "{store} was brought from format {found} to {FORMAT}: older versions refuse it from now on"
        );
    }
    Ok(())
}

/// The tables are not those of the format that the store says it has.
fn other_tables(path: &Path, found: i64, said: &str) -> OpenError {
    OpenError::Damaged {
        path: path.display().to_string(),
        why: match found {
            0 => format!("it has tables, and not the one that says of what format ({said})"),
            _ => format!(
                "`format` in its table `meta` is {found}, and its tables are not of that format ({said})"
            ),
        },
    }
}

/// A number that the store keeps of itself. What is no number, or none that was counted to, is not taken for another one: the
/// store says that it is damaged.
pub(super) fn own_number(
    conn: &Connection,
    path: &Path,
    key: &str,
    least: i64,
) -> Result<i64, OpenError> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    let found = conn
        .query_row(sql, [key], |row| {
            let value = row.get_ref(0)?;
            Ok(value.as_i64().map_err(|_| value.data_type()))
        })
        .optional()
        .map_err(|error| explain(path, &error))?;
    let is = match found {
        Some(Ok(number)) if (least..=OWN_NUMBER_MAX).contains(&number) => return Ok(number),
        Some(Ok(number)) => format!("is {number}"),
        Some(Err(kind)) => format!("is a value of the type {kind}"),
        None => "is missing".to_owned(),
    };
    Err(OpenError::Damaged {
        path: path.display().to_string(),
        why: format!(
            "`{key}` in its table `meta` {is}, where a whole number from {least} to {OWN_NUMBER_MAX} was stored"
        ),
    })
}

/// The number that the next message gets: one that none of those that are there has.
pub(super) fn next_message(conn: &Connection, path: &Path) -> Result<u64, OpenError> {
    let next = own_number(conn, path, "next_message", 1)?;
    let last = conn
        .query_row("SELECT max(id) FROM messages", [], |row| {
            row.get::<_, Option<i64>>(0)
        })
        .map_err(|error| explain(path, &error))?;
    match last {
        Some(last) if last >= next => Err(OpenError::Damaged {
            path: path.display().to_string(),
            why: format!(
                "`next_message` in its table `meta` is {next}, and it has a message with the number {last}"
            ),
        }),
        Some(_) | None => Ok(next.cast_unsigned()),
    }
}

/// What a failure to open means to the user.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> OpenError {
    let shown = path.display().to_string();
    let directory = path.parent().unwrap_or(path);
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign(shown),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked(shown),
        Some(ErrorCode::DiskFull) => full(directory),
        // What cannot be mapped for want of room is told as any other failure of the disk.
        Some(ErrorCode::SystemIoFailure)
            if free_bytes(directory).is_some_and(|free| free < FULL_BYTES) =>
        {
            full(directory)
        }
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged {
            path: shown,
            why: error.to_string(),
        },
        // It opened, and says of itself what no journal does.
        None if is_of_a_value(error) || matches!(error, Error::QueryReturnedNoRows) => {
            OpenError::Damaged {
                path: shown,
                why: format!("a value in it is not what was stored ({error})"),
            }
        }
        Some(_) | None => OpenError::Unreadable {
            path: shown,
            why: error.to_string(),
        },
    }
}

/// The disk of a directory is full: how much is left says whether anything would fit.
pub(super) fn full(directory: &Path) -> OpenError {
    OpenError::Full {
        directory: directory.display().to_string(),
        free: free_bytes(directory)
            .map_or_else(String::new, |bytes| format!(" ({bytes} bytes are free)")),
    }
}

fn free_bytes(directory: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Looks whether the file's structure is whole, small tables first, for [`CHECK_MS_MAX`] at most. What is left out and
/// all content is checked as it is read: see the seals.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    let explained = |error: rusqlite::Error| explain(path, &error);
    let mut conn = open_reader(path, None).map_err(explained)?;
    let until = Instant::now() + Duration::from_millis(CHECK_MS_MAX);
    let late = move || Instant::now() > until;
    conn.progress_handler(CHECK_STEPS, Some(late))
        .map_err(explained)?;
    for table in TABLES {
        let sql = format!("PRAGMA quick_check({table})");
        let found = conn.query_row(&sql, [], |row| row.get::<_, String>(0));
        match found {
            Ok(text) if text == "ok" => {}
            Ok(text) => {
                return Err(OpenError::Damaged {
                    path: path.display().to_string(),
                    why: text.lines().collect::<Vec<_>>().join(" "),
                });
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                tracing::info!(
                    table,
                    "the journal is large; from here on it is checked as it is read"
                );
                return Ok(());
            }
            Err(error) => return Err(explain(path, &error)),
        }
    }
    Ok(())
}

/// Counts the records whose kind, tenant or name is no text, and tells that there are some. All keys are looked at: what is made
/// of a store that has such records is a matter of who may do what.
pub(super) fn unnamed_records(path: &Path) -> Result<usize, OpenError> {
    let count = || -> rusqlite::Result<usize> {
        let conn = open_reader(path, None)?;
        let mut read = conn.prepare("SELECT tenant, kind, name FROM records")?;
        let mut rows = read.query([])?;
        let mut unnamed = 0;
        while let Some(row) = rows.next()? {
            for column in 0..3 {
                if row.get_ref(column)?.as_str().is_err() {
                    unnamed += 1;
                    break;
                }
            }
        }
        Ok(unnamed)
    };
    let unnamed = count().map_err(|error| explain(path, &error))?;
    if unnamed > 0 {
        tracing::error!(
            records = unnamed,
            path = %path.display(),
            "records are damaged so far that nobody knows what they are, and they may be access keys, secrets or functions; {RESTORE}"
        );
    }
    Ok(unnamed)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{APPLICATION_ID, MIGRATIONS, explain, open_writer};

    /// Formats differ in tables and columns alone, which each step adds to the ones before.
    #[test]
    fn what_a_store_of_an_earlier_format_counted_is_there_in_the_newest() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = directory.path().join("journal.sqlite");
        let old = Connection::open(&path).expect("a new file");
        for step in &MIGRATIONS[..3] {
            old.execute_batch(step).expect("format 3");
        }
        let filled = old.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; INSERT INTO meta VALUES ('format', 3);
             INSERT INTO usage VALUES (1, 't', 'm', 'p', 0, 0, 0, 0, 4, 5, 6, 7, 8, 0)"
        ));
        filled.expect("a row of usage");
        drop(old);
        let new = open_writer(&path, None).expect("it is brought to the newest");
        let sql =
            "SELECT tasks, bytes_out, fuel, host_calls, bytes_sent, bytes_received FROM usage";
        let counts = new.query_row(sql, [], |row| {
            (0..6)
                .map(|column| row.get(column))
                .collect::<Result<Vec<i64>, _>>()
        });
        assert_eq!(counts.expect("one row"), [4, 8, 0, 0, 0, 0]);
    }

    #[test]
    fn a_full_disk_is_told_with_what_to_do() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let failed = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        let failed = rusqlite::Error::SqliteFailure(failed, None);
        let text = explain(&directory.path().join("journal.sqlite"), &failed).to_string();
        let shown = directory.path().display().to_string();
        for part in [
            &*shown,
            "the disk is full (",
            "bytes are free",
            "make room there",
        ] {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }
}
