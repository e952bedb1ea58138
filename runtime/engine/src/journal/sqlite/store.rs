//! The writing side of the embedded journal, on the caller's thread: one call, one transaction, one sync. Hides the
//! statements and what failures of the disk do to what may still be promised.
//!
//! After a commit that failed in the file system nothing is promised until the store has been closed and opened
//! again. Before it is closed, all that was acknowledged is moved from the write-ahead log into the database and the
//! log is emptied: a log whose last sync failed may hold frames that the system shows and the disk does not have,
//! and a commit behind such a hole would be lost with it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rusqlite::{
    CachedStatement, Connection, ErrorCode, OptionalExtension, ToSql, hooks::Wal, params,
};
use stepwell_interp::Timestamp;

use super::{super::Clock, schema};
use crate::journal::{
    Append, CatalogKey, CatalogWrite, Epoch, ExecutionId, Landed, MessageId, NewExecution,
    OpenError, OpenTask, Outgoing, Refused, Status, TokenHash, Verdict, View, Write,
    facts::{check_closes, check_position, distinct, plan_records},
    limits::{CHECKPOINT_WAL_BYTES, MESSAGE_IDS_RESERVED, PAGE_BYTES},
};

/// How to open an embedded journal.
#[derive(Clone)]
pub(crate) struct SqliteOptions {
    /// The name of the SQLite file system to use; `None` for the operating system's.
    pub vfs: Option<String>,
    /// The time of leases, which nobody disputes in an embedded store.
    pub clock: Clock,
}

/// The embedded journal's file, held by one thread.
pub(in crate::journal) struct SqliteStore {
    path: PathBuf,
    options: SqliteOptions,
    conn: Connection,
    epoch: Epoch,
    ids: MessageIds,
    /// Pages in the write-ahead log after the last commit.
    wal_pages: Arc<AtomicU32>,
    broken: Option<String>,
}

/// Ids for messages: `next` is free, and all below `reserved` may be given out without a write.
#[derive(Clone, Copy)]
struct MessageIds {
    next: u64,
    reserved: u64,
}

/// What ends a write: a refusal, which is its own affair, or a failure, which ends the transaction.
enum Stop {
    Refused(Refused),
    Failed(rusqlite::Error),
}

impl SqliteStore {
    /// Opens or creates the journal at `path` under a new epoch. The caller sees to it that no other process does.
    pub(in crate::journal) fn open(
        path: &Path,
        options: SqliteOptions,
    ) -> Result<SqliteStore, OpenError> {
        let conn = schema::open_writer(path, options.vfs.as_deref())?;
        let ids = MessageIds {
            next: 0,
            reserved: 0,
        };
        let wal_pages = Arc::new(AtomicU32::new(0));
        let path = path.to_owned();
        let mut store = SqliteStore {
            path,
            options,
            conn,
            epoch: Epoch(0),
            ids,
            wal_pages,
            broken: None,
        };
        store
            .begin_epoch()
            .map_err(|error| schema::explain(&store.path, &error))?;
        Ok(store)
    }

    /// The epoch of all partitions: one more at each opening.
    pub(in crate::journal) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Why nothing is promised at present; `None` in good health.
    pub(in crate::journal) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Writes a batch in one transaction; what is acknowledged is durable. See [`Refused::Full`] and
    /// [`Refused::Broken`] for what a failed transaction means; after the latter [`SqliteStore::reopen`] may help.
    pub(in crate::journal) fn apply(&mut self, writes: &[Write]) -> Vec<Verdict> {
        if let Some(why) = &self.broken {
            let refused = Refused::Broken(why.clone());
            return writes.iter().map(|_| Err(refused.clone())).collect();
        }
        match self.transact(writes) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                let refused = self.failed(&error);
                writes.iter().map(|_| Err(refused.clone())).collect()
            }
        }
    }

    /// Closes and opens the file after a failure. `Err` says why the store is still broken; trying again is safe.
    pub(in crate::journal) fn reopen(&mut self) -> Result<(), String> {
        let said =
            |error: &dyn std::fmt::Display| format!("the journal cannot be reopened: {error}");
        self.checkpoint(true).map_err(|error| said(&error))?;
        let conn = schema::open_writer(&self.path, self.options.vfs.as_deref())
            .map_err(|error| said(&error))?;
        self.conn = conn;
        self.watch_wal()
            .and_then(|()| self.load_ids())
            .map_err(|error| said(&error))?;
        self.broken = None;
        Ok(())
    }

    /// Moves the write-ahead log into the database: as much as can be moved without waiting, or all, emptying it.
    pub(in crate::journal) fn checkpoint(&self, all: bool) -> rusqlite::Result<()> {
        checkpoint(&self.conn, all)?;
        if all {
            self.wal_pages.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether the write-ahead log is large enough for a checkpoint.
    pub(in crate::journal) fn wants_checkpoint(&self) -> bool {
        wal_bytes(&self.wal_pages) >= CHECKPOINT_WAL_BYTES
    }

    /// The position at which an execution's log goes on, read by the writing connection.
    #[cfg(test)]
    pub(in crate::journal) fn execution_next(&self, id: ExecutionId) -> Option<u64> {
        let row =
            super::read::execution(&self.conn, id).expect("a store in good health is readable");
        row.map(|row| row.next)
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn connection(&self) -> &Connection {
        &self.conn
    }

    pub(super) fn wal_pages(&self) -> Arc<AtomicU32> {
        self.wal_pages.clone()
    }

    fn begin_epoch(&mut self) -> rusqlite::Result<()> {
        // What a killed process left in the log is made durable before anything is built on it.
        self.checkpoint(true)?;
        self.watch_wal()?;
        let sql = "UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value";
        self.epoch = Epoch(
            self.conn
                .query_row(sql, [], |row| row.get::<_, i64>(0))?
                .cast_unsigned(),
        );
        self.load_ids()
    }

    fn load_ids(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT value FROM meta WHERE key = 'next_message'";
        let next = self
            .conn
            .query_row(sql, [], |row| row.get::<_, i64>(0))?
            .cast_unsigned();
        self.ids = MessageIds {
            next,
            reserved: next,
        };
        Ok(())
    }

    fn watch_wal(&mut self) -> rusqlite::Result<()> {
        let pages = self.wal_pages.clone();
        self.conn.wal_hook(Some(move |_: &mut Wal, count: i32| {
            pages.store(count.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))
    }

    fn transact(&mut self, writes: &[Write]) -> rusqlite::Result<Vec<Verdict>> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut session = Session {
            conn: &self.conn,
            epoch: self.epoch,
            ids: self.ids,
        };
        let mut verdicts = Vec::with_capacity(writes.len());
        for write in writes {
            match session.write(write) {
                Ok(landed) => verdicts.push(Ok(landed)),
                Err(Stop::Refused(refused)) => verdicts.push(Err(refused)),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        let ids = session.ids;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        self.ids = ids;
        Ok(verdicts)
    }

    /// Ends a failed transaction and says what it means for its writes.
    fn failed(&mut self, error: &rusqlite::Error) -> Refused {
        let rolled_back = self.conn.is_autocommit() || self.conn.execute_batch("ROLLBACK").is_ok();
        let why = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) if rolled_back => return Refused::Full(why),
            Some(ErrorCode::DatabaseBusy | ErrorCode::TooBig) if rolled_back => {}
            _ => {
                tracing::error!(path = %self.path.display(), error = %why, "a commit failed; nothing is acknowledged until the journal is reopened");
                self.broken = Some(why.clone());
            }
        }
        Refused::Broken(why)
    }
}

/// Moves the write-ahead log into the database and answers how many frames it has and how many were moved. With `all`,
/// an error unless everything was moved and the log emptied.
pub(super) fn checkpoint(conn: &Connection, all: bool) -> rusqlite::Result<(i32, i32)> {
    let sql = if all {
        "PRAGMA wal_checkpoint(TRUNCATE)"
    } else {
        "PRAGMA wal_checkpoint(PASSIVE)"
    };
    let (busy, frames, moved) =
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    match all && busy {
        true => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        )),
        false => Ok((frames, moved)),
    }
}

pub(super) fn wal_bytes(pages: &AtomicU32) -> u64 {
    u64::from(pages.load(Ordering::Relaxed)) * PAGE_BYTES
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Stop {
        Stop::Refused(refused)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Stop {
        Stop::Failed(error)
    }
}

/// One transaction. Every write checks all it demands before its first change, so that a refusal needs no undoing.
struct Session<'a> {
    conn: &'a Connection,
    epoch: Epoch,
    ids: MessageIds,
}

/// What an append needs to know of the row it changes.
struct Stored {
    next: u64,
    status: i64,
    hot: bool,
    wake_at: Option<i64>,
}

impl Session<'_> {
    fn write(&mut self, write: &Write) -> Result<Landed, Stop> {
        match write {
            Write::Append(append) => self.append(append),
            Write::Answer { token, message } => {
                if self.run("DELETE FROM tasks WHERE token = ?1", params![token.0])? == 0 {
                    return Err(Refused::TokenGone.into());
                }
                self.send(std::slice::from_ref(message))
            }
            Write::Post(message) => self.send(std::slice::from_ref(message)),
            Write::Catalog(records) => self.records(records),
            Write::Discard(ids) => {
                self.consume(ids)?;
                Ok(Landed::default())
            }
            Write::Blob { hash, bytes } => {
                self.insert_blob(hash, bytes)?;
                Ok(Landed::default())
            }
        }
    }

    fn append(&mut self, append: &Append) -> Result<Landed, Stop> {
        if append.epoch != self.epoch {
            return Err(Refused::LeaseLost.into());
        }
        let stored = self.stored(append.execution)?;
        check_position(append, stored.as_ref().map(|stored| stored.next))?;
        if let Some(new) = append.create.as_ref().filter(|new| new.unique_name) {
            self.check_name(new)?;
        }
        self.check_messages(&append.consume)?;
        check_closes(append, |token| self.is_open(token))?;

        match (&append.create, stored) {
            (Some(new), _) => self.insert_row(append, new)?,
            (None, Some(stored)) => self.update_row(append, &stored)?,
            (None, None) => {
                unreachable!("`check_position` refuses an append to a log that was never begun")
            }
        }
        for (hash, bytes) in &append.blobs {
            self.insert_blob(hash, bytes)?;
        }
        self.insert_segment(append)?;
        for task in &append.open {
            self.insert_task(task)?;
        }
        for close in &append.close {
            self.run("DELETE FROM tasks WHERE token = ?1", params![close.token.0])?;
        }
        self.consume(&append.consume)?;
        self.send(&append.send)
    }

    fn insert_blob(&self, hash: &[u8; 32], bytes: &[u8]) -> Result<(), Stop> {
        let sql = "INSERT OR IGNORE INTO blobs (hash, bytes) VALUES (?1, ?2)";
        self.run(sql, params![hash, bytes])?;
        Ok(())
    }

    fn consume(&self, ids: &[MessageId]) -> Result<(), Stop> {
        for id in ids {
            self.run("DELETE FROM messages WHERE id = ?1", params![int(id.0)])?;
        }
        Ok(())
    }

    fn stored(&self, id: ExecutionId) -> Result<Option<Stored>, Stop> {
        let mut read =
            self.statement("SELECT next, status, hot, wake_at FROM executions WHERE id = ?1")?;
        let stored = read.query_row([int(id.0)], |row| {
            Ok(Stored {
                next: row.get::<_, i64>(0)?.cast_unsigned(),
                status: row.get(1)?,
                hot: row.get(2)?,
                wake_at: row.get(3)?,
            })
        });
        Ok(stored.optional()?)
    }

    fn check_name(&self, new: &NewExecution) -> Result<(), Stop> {
        let sql = "SELECT id FROM executions WHERE scope = ?1 AND name = ?2 AND unique_name = 1";
        let taken = self
            .statement(sql)?
            .query_row(params![int(new.scope.0), &*new.name], |row| {
                row.get::<_, i64>(0)
            });
        match taken.optional()? {
            Some(id) => Err(Refused::NameTaken {
                execution: ExecutionId(id.cast_unsigned()),
            }
            .into()),
            None => Ok(()),
        }
    }

    fn check_messages(&self, ids: &[MessageId]) -> Result<(), Stop> {
        if !distinct(ids) {
            return Err(Refused::MessageGone.into());
        }
        for id in ids {
            if !self
                .statement("SELECT 1 FROM messages WHERE id = ?1")?
                .exists([int(id.0)])?
            {
                return Err(Refused::MessageGone.into());
            }
        }
        Ok(())
    }

    fn is_open(&self, token: &TokenHash) -> Result<bool, Stop> {
        Ok(self
            .statement("SELECT 1 FROM tasks WHERE token = ?1")?
            .exists([token.0])?)
    }

    fn insert_row(&self, append: &Append, new: &NewExecution) -> Result<(), Stop> {
        let View {
            status,
            stopped_at,
            wake_at,
            hot,
            redrive_count,
            redriven_at,
        } = &append.view;
        let (next, next_public) = ends(append);
        let sql = "INSERT INTO executions (id, next, next_public, status, hot, wake_at, stopped_at, redrive_count,
            redriven_at, scope, name, unique_name, started_at, meta, version, alias)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
        let values = params![
            int(append.execution.0),
            next,
            next_public,
            *status as i64,
            hot,
            wake_at.map(ms),
            stopped_at.map(ms),
            redrive_count,
            redriven_at.map(ms),
            int(new.scope.0),
            &*new.name,
            new.unique_name,
            ms(new.started_at),
            &*new.meta,
            new.version.map(|list| int(list.0)),
            new.alias.map(|list| int(list.0)),
        ];
        self.run(sql, values)?;
        Ok(())
    }

    /// SQLite rewrites the entries of every index that a changed column is part of, even to the same value; so columns
    /// with an index are named only when they change.
    fn update_row(&self, append: &Append, stored: &Stored) -> Result<(), Stop> {
        let View {
            status,
            stopped_at,
            wake_at,
            hot,
            redrive_count,
            redriven_at,
        } = &append.view;
        let (next, next_public) = ends(append);
        let (id, wake_at) = (int(append.execution.0), wake_at.map(ms));
        let (stopped_at, redriven_at) = (stopped_at.map(ms), redriven_at.map(ms));
        let quiet = params![
            id,
            next,
            next_public,
            stopped_at,
            redrive_count,
            redriven_at
        ];
        if stored.status != *status as i64 {
            let sql = "UPDATE executions SET next = ?2, next_public = ?3, stopped_at = ?4, redrive_count = ?5,
                redriven_at = ?6, hot = ?7, wake_at = ?8, status = ?9 WHERE id = ?1";
            let status = *status as i64;
            self.run(
                sql,
                params![
                    id,
                    next,
                    next_public,
                    stopped_at,
                    redrive_count,
                    redriven_at,
                    hot,
                    wake_at,
                    status
                ],
            )?;
        } else if stored.hot != *hot || stored.wake_at != wake_at {
            let sql = "UPDATE executions SET next = ?2, next_public = ?3, stopped_at = ?4, redrive_count = ?5,
                redriven_at = ?6, hot = ?7, wake_at = ?8 WHERE id = ?1";
            self.run(
                sql,
                params![
                    id,
                    next,
                    next_public,
                    stopped_at,
                    redrive_count,
                    redriven_at,
                    hot,
                    wake_at
                ],
            )?;
        } else {
            let sql = "UPDATE executions SET next = ?2, next_public = ?3, stopped_at = ?4, redrive_count = ?5,
                redriven_at = ?6 WHERE id = ?1";
            self.run(sql, quiet)?;
        }
        Ok(())
    }

    fn insert_segment(&self, append: &Append) -> Result<(), Stop> {
        let segment = &append.segment;
        let sql = "INSERT INTO segments (execution, first, events, first_public, public, bytes)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.run(
            sql,
            params![
                int(append.execution.0),
                int(append.expected_next),
                segment.events,
                int(segment.first_public),
                segment.public,
                &*segment.bytes,
            ],
        )?;
        Ok(())
    }

    fn insert_task(&self, task: &OpenTask) -> Result<(), Stop> {
        let sql = "INSERT OR REPLACE INTO tasks (token, execution, task, activity, scheduled_at)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let activity = task.activity.map(|activity| int(activity.0));
        self.run(
            sql,
            params![
                task.token.0,
                int(task.execution.0),
                &*task.task,
                activity,
                ms(task.scheduled_at)
            ],
        )?;
        Ok(())
    }

    fn send(&mut self, messages: &[Outgoing]) -> Result<Landed, Stop> {
        let mut landed = Landed::default();
        for message in messages {
            let id = self.message_id()?;
            let sql = "INSERT INTO messages (id, recipient, payload) VALUES (?1, ?2, ?3)";
            self.run(sql, params![int(id), int(message.to.0), &*message.payload])?;
            landed.messages.push(MessageId(id));
        }
        Ok(landed)
    }

    /// The next id. Ids are never given twice, also when all rows were consumed before a restart: the counter is
    /// stored ahead of its use.
    fn message_id(&mut self) -> Result<u64, Stop> {
        let id = self.ids.next;
        if id >= self.ids.reserved {
            self.ids.reserved = id + MESSAGE_IDS_RESERVED;
            self.run(
                "UPDATE meta SET value = ?1 WHERE key = 'next_message'",
                params![int(self.ids.reserved)],
            )?;
        }
        self.ids.next = id + 1;
        Ok(id)
    }

    fn records(&self, records: &[CatalogWrite]) -> Result<Landed, Stop> {
        let revisions = plan_records(records, |key| self.revision(key))?;
        for (write, revision) in records.iter().zip(&revisions) {
            let CatalogKey { tenant, kind, name } = &write.key;
            match &write.bytes {
                Some(bytes) => self.run(
                    "INSERT INTO records (tenant, kind, name, revision, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (tenant, kind, name) DO UPDATE SET revision = ?4, bytes = ?5",
                    params![&**tenant, &**kind, &**name, int(*revision), &**bytes],
                )?,
                None => self.run(
                    "DELETE FROM records WHERE tenant = ?1 AND kind = ?2 AND name = ?3",
                    params![&**tenant, &**kind, &**name],
                )?,
            };
        }
        Ok(Landed {
            messages: Vec::new(),
            revisions,
        })
    }

    fn revision(&self, key: &CatalogKey) -> Result<Option<u64>, Stop> {
        let sql = "SELECT revision FROM records WHERE tenant = ?1 AND kind = ?2 AND name = ?3";
        let mut read = self.statement(sql)?;
        let revision = read.query_row(params![&*key.tenant, &*key.kind, &*key.name], |row| {
            row.get::<_, i64>(0)
        });
        Ok(revision.optional()?.map(i64::cast_unsigned))
    }

    fn statement(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'_>> {
        self.conn.prepare_cached(sql)
    }

    fn run(&self, sql: &'static str, values: &[&dyn ToSql]) -> rusqlite::Result<usize> {
        self.statement(sql)?.execute(values)
    }
}

/// Positions after the append: of the next event and of the next public event.
fn ends(append: &Append) -> (i64, i64) {
    let segment = &append.segment;
    let next = append.expected_next + u64::from(segment.events);
    (
        int(next),
        int(segment.first_public + u64::from(segment.public)),
    )
}

/// A number as SQLite keeps it: the same 64 bits.
pub(super) fn int(number: u64) -> i64 {
    number.cast_signed()
}

/// A time as SQLite keeps it: ordered, so that what lies beyond its range becomes its end.
pub(super) fn ms(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// The status of a stored number.
pub(super) fn status(number: i64) -> rusqlite::Result<Status> {
    Status::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, number))
}
