//! The writing side of the embedded journal, on the caller's thread: one call, one transaction, one sync. Hides what
//! failures of the disk do to what may still be promised.
//!
//! After a commit that failed in the file system nothing is promised until the store has been closed and opened
//! again. Before it is closed, all that was acknowledged is moved from the write-ahead log into the database and the
//! log is emptied: a log whose last sync failed may hold frames that the system shows and the disk does not have,
//! and a commit behind such a hole would be lost with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rusqlite::{Connection, ErrorCode, hooks::Wal};

use super::{
    super::Clock,
    schema,
    session::{MessageIds, Session, Stop},
};
#[cfg(test)]
use crate::journal::ExecutionId;
use crate::journal::{
    Epoch, OpenError, Refused, Verdict, Write,
    limits::{CHECKPOINT_WAL_BYTES, PAGE_BYTES},
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
        store.begin_epoch()?;
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
        self.watch_wal().map_err(|error| said(&error))?;
        self.load_ids().map_err(|error| said(&error))?;
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

    fn begin_epoch(&mut self) -> Result<(), OpenError> {
        let path = self.path.clone();
        let explained = |error: rusqlite::Error| schema::explain(&path, &error);
        // What a killed process left in the log is made durable before anything is built on it.
        self.checkpoint(true).map_err(explained)?;
        self.watch_wal().map_err(explained)?;
        let epoch = schema::own_number(&self.conn, &self.path, "epoch", 0)? + 1;
        let sql = "UPDATE meta SET value = ?1 WHERE key = 'epoch'";
        self.conn.execute(sql, [epoch]).map_err(explained)?;
        self.epoch = Epoch(epoch.cast_unsigned());
        self.load_ids()
    }

    fn load_ids(&mut self) -> Result<(), OpenError> {
        let next = schema::next_message(&self.conn, &self.path)?;
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
            usage: BTreeMap::new(),
        };
        let mut verdicts = Vec::with_capacity(writes.len());
        for write in writes {
            match session.write(write) {
                Ok(landed) => verdicts.push(Ok(landed)),
                Err(Stop::Refused(refused)) => verdicts.push(Err(refused)),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        session.charge()?;
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
