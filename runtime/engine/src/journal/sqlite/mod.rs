//! The embedded journal: one SQLite file. Hides which thread does what; the statements are in `session` (writing) and
//! `read`, what their rows hold in `row`, what those tell that nobody can read in `told`, the file's format in `schema`.

mod head;
mod mark;
mod memory;
mod place;
mod queue;
mod read;
mod row;
mod schema;
mod session;
mod store;
mod threads;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, ErrorCode};
use stepwell_interp::Timestamp;

pub(crate) use store::SqliteOptions;
#[cfg(test)]
pub(super) use store::SqliteStore;

use super::{
    Amounts, Answer, Catalog, CatalogKey, CatalogRecord, Clock, Epoch, ExecutionId, ExecutionRow,
    Journal, Lease, ListQuery, Look, Message, MessageId, OpenError, OpenTask, Partition, ReadError,
    ScopeId, SegmentRange, StoredSegment, TokenHash, UsageKey, UsageOfTenants, UsageQuery, Verdict,
    Write, ready,
};
pub use head::foreign_store;
pub use mark::holds_store;
pub use place::make_data_directory;

use place::Place;
use threads::Threads;
use told::Told;

/// Name of the database inside the data directory.
const FILE: &str = "journal.sqlite";

/// The embedded journal with threads of its own: one writes what was queued meanwhile in one transaction, others read,
/// one moves the write-ahead log into the database. Dropping it finishes what is queued and closes the file.
pub(crate) struct SqliteJournal(Sqlite<Threads>);

/// The embedded journal on the caller's thread: answers are ready at once and everything happens in the caller's
/// order, which is what a simulation needs.
#[cfg(any(test, feature = "sim"))]
pub(crate) struct InlineJournal(Sqlite<Inline>);

impl SqliteJournal {
    /// Opens or creates the journal in a data directory, which is locked against other processes until the drop.
    pub(crate) fn open(
        directory: &Path,
        options: SqliteOptions,
    ) -> Result<SqliteJournal, OpenError> {
        head::check(directory)?;
        let mut place = Place::lock(directory)?;
        mark::check(directory)?;
        let path = directory.join(FILE);
        let (clock, vfs) = (options.clock.clone(), options.vfs.clone());
        if vfs.is_none() {
            place::make_file(&path).map_err(|error| place::unreadable(directory, &error))?;
        }
        let store = store::SqliteStore::open(&path, options)?;
        schema::check(&path)?;
        mark::set(directory)?;
        let epoch = store.epoch();
        let unnamed = schema::unnamed_records(&path)?;
        // Without the log of what is not yet in the database, what was acknowledged is gone as well.
        let log = PathBuf::from(format!("{}-wal", path.display()));
        place.watch([path.clone(), log]);
        let threads = Threads::start(store, &path, vfs, place)?;
        Ok(SqliteJournal(Sqlite {
            unnamed,
            ..Sqlite::new(threads, epoch, clock)
        }))
    }
}

#[cfg(any(test, feature = "sim"))]
impl InlineJournal {
    /// Opens or creates the journal at `path`, a name in the options' file system. Takes no lock.
    pub(crate) fn open(path: &Path, options: SqliteOptions) -> Result<InlineJournal, OpenError> {
        let clock = options.clock.clone();
        let store = store::SqliteStore::open(path, options)?;
        let epoch = store.epoch();
        Ok(InlineJournal(Sqlite::new(
            Inline(Mutex::new(store)),
            epoch,
            clock,
        )))
    }
}

/// How the store is reached.
trait Access: Send + Sync + 'static {
    fn write(&self, batch: Vec<Write>) -> Answer<Vec<Verdict>>;

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<Result<T, ReadError>>;
}

/// The store on the caller's thread.
#[cfg(any(test, feature = "sim"))]
struct Inline(Mutex<store::SqliteStore>);

#[cfg(any(test, feature = "sim"))]
impl Access for Inline {
    fn write(&self, batch: Vec<Write>) -> Answer<Vec<Verdict>> {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if store.broken().is_some()
            && let Err(why) = store.reopen()
        {
            tracing::error!(error = %why, "the journal stays broken");
        }
        let verdicts = store.apply(&batch);
        if store.wants_checkpoint()
            && let Err(error) = store.checkpoint(false)
        {
            tracing::warn!(%error, "a checkpoint of the journal failed; the next one tries again");
        }
        ready(verdicts)
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<Result<T, ReadError>> {
        let store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let conn = store.connection();
        ready(read(conn).map_err(|error| unreadable(conn.path(), &error)))
    }
}

fn unreadable(path: Option<&str>, error: &rusqlite::Error) -> ReadError {
    let why = format!("{}: {error}", path.unwrap_or(FILE));
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ReadError::Damaged(why),
        Some(_) => ReadError::Unreadable(why),
        // SQLite gave a value that is none of ours.
        None => ReadError::Damaged(why),
    }
}

/// The journal over either access. Leases are granted as asked: the data directory's lock has kept others out, and
/// each opening is a new epoch for all partitions.
struct Sqlite<A> {
    access: A,
    epoch: Epoch,
    clock: Clock,
    leases: Mutex<BTreeMap<Arc<str>, BTreeSet<Partition>>>,
    told: Arc<Told>,
    /// Records that no read finds, as they were counted when the store was opened.
    unnamed: usize,
}

impl<A: Access> Sqlite<A> {
    fn new(access: A, epoch: Epoch, clock: Clock) -> Sqlite<A> {
        Sqlite {
            access,
            epoch,
            clock,
            leases: Mutex::default(),
            told: Arc::default(),
            unnamed: 0,
        }
    }

    fn lease(&self, owner: &str, wanted: &[Partition], ttl_ms: u64) -> Vec<Lease> {
        let until: Timestamp = (self.clock)().plus_ms(ttl_ms);
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let held = leases.entry(owner.into()).or_default();
        held.extend(wanted);
        held.iter()
            .map(|partition| Lease {
                partition: *partition,
                epoch: self.epoch,
                until,
            })
            .collect()
    }

    fn release(&self, owner: &str) {
        self.leases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(owner);
    }
}

/// Both journals answer alike; only their access differs.
macro_rules! journal {
    ($journal:ty) => {
        impl Journal for $journal {
            fn commit(&self, batch: Vec<Write>) -> Answer<Vec<Verdict>> {
                self.0.access.write(batch)
            }

            fn execution(
                &self,
                id: ExecutionId,
            ) -> Answer<Result<Option<ExecutionRow>, ReadError>> {
                self.0.access.read(move |conn| read::execution(conn, id))
            }

            fn find(
                &self,
                scope: ScopeId,
                name: &str,
            ) -> Answer<Result<Option<ExecutionId>, ReadError>> {
                let name = name.to_owned();
                self.0
                    .access
                    .read(move |conn| read::find(conn, scope, &name))
            }

            fn look(&self, scope: ScopeId, name: &str) -> Answer<Result<Option<Look>, ReadError>> {
                let name = name.to_owned();
                self.0
                    .access
                    .read(move |conn| read::look(conn, scope, &name))
            }

            fn list(&self, query: ListQuery) -> Answer<Result<Vec<ExecutionRow>, ReadError>> {
                self.0.access.read(move |conn| read::list(conn, query))
            }

            fn segments(
                &self,
                id: ExecutionId,
                range: SegmentRange,
                bytes_max: usize,
            ) -> Answer<Result<Vec<StoredSegment>, ReadError>> {
                self.0
                    .access
                    .read(move |conn| read::segments(conn, id, range, bytes_max))
            }

            fn messages(
                &self,
                after: &[(Partition, MessageId)],
                limit: u32,
            ) -> Answer<Result<Vec<Message>, ReadError>> {
                let (after, told) = (after.to_vec(), self.0.told.clone());
                self.0
                    .access
                    .read(move |conn| read::messages(conn, &told, &after, limit))
            }

            fn inbox(&self, id: ExecutionId) -> Answer<Result<Vec<Message>, ReadError>> {
                self.0.access.read(move |conn| read::inbox(conn, id))
            }

            fn hot(
                &self,
                partitions: &[Partition],
                after: Option<ExecutionId>,
                limit: u32,
            ) -> Answer<Result<Vec<ExecutionId>, ReadError>> {
                let partitions = partitions.to_vec();
                self.0
                    .access
                    .read(move |conn| read::hot(conn, &partitions, after, limit))
            }

            fn due(
                &self,
                partitions: &[Partition],
                until: Timestamp,
                limit: u32,
            ) -> Answer<Result<Vec<(ExecutionId, Timestamp)>, ReadError>> {
                let partitions = partitions.to_vec();
                self.0
                    .access
                    .read(move |conn| read::due(conn, &partitions, until, limit))
            }

            fn next_due(
                &self,
                partitions: &[Partition],
            ) -> Answer<Result<Option<Timestamp>, ReadError>> {
                let partitions = partitions.to_vec();
                self.0.access.read(move |conn| {
                    let first = read::due(conn, &partitions, Timestamp(u64::MAX), 1)?;
                    Ok(first.first().map(|(_, at)| *at))
                })
            }

            fn open_task(&self, token: TokenHash) -> Answer<Result<Option<OpenTask>, ReadError>> {
                self.0.access.read(move |conn| read::open_task(conn, token))
            }

            fn activity_tasks(
                &self,
                activity: ScopeId,
                after: Option<(Timestamp, TokenHash)>,
                limit: u32,
            ) -> Answer<Result<Vec<OpenTask>, ReadError>> {
                let told = self.0.told.clone();
                self.0
                    .access
                    .read(move |conn| read::activity_tasks(conn, &told, activity, after, limit))
            }

            fn blob(&self, hash: [u8; 32]) -> Answer<Result<Option<Arc<[u8]>>, ReadError>> {
                self.0.access.read(move |conn| read::blob(conn, hash))
            }

            fn lease(
                &self,
                owner: &str,
                wanted: &[Partition],
                ttl_ms: u64,
            ) -> Answer<Result<Vec<Lease>, ReadError>> {
                ready(Ok(self.0.lease(owner, wanted, ttl_ms)))
            }

            fn release(&self, owner: &str) -> Answer<Result<(), ReadError>> {
                self.0.release(owner);
                ready(Ok(()))
            }

            fn usage(
                &self,
                query: UsageQuery,
            ) -> Answer<Result<Vec<(UsageKey, Amounts)>, ReadError>> {
                let told = self.0.told.clone();
                self.0
                    .access
                    .read(move |conn| read::usage(conn, &told, &query))
            }

            fn unnamed_records(&self) -> usize {
                self.0.unnamed
            }

            fn usage_of_tenants(&self) -> Answer<Result<UsageOfTenants, ReadError>> {
                let told = self.0.told.clone();
                self.0
                    .access
                    .read(move |conn| read::usage_of_tenants(conn, &told))
            }
        }

        impl Catalog for $journal {
            fn get(&self, key: &CatalogKey) -> Answer<Result<Option<CatalogRecord>, ReadError>> {
                let key = key.clone();
                self.0.access.read(move |conn| read::record(conn, &key))
            }

            fn scan(
                &self,
                tenant: &str,
                kind: &str,
                prefix: &str,
                after: Option<&str>,
                limit: u32,
            ) -> Answer<Result<Vec<CatalogRecord>, ReadError>> {
                let (start, included) = CatalogKey::scanned_first(tenant, kind, prefix, after);
                let prefix = prefix.to_owned();
                self.0
                    .access
                    .read(move |conn| read::scan(conn, &start, &prefix, included, limit))
            }
        }
    };
}

journal!(SqliteJournal);
#[cfg(any(test, feature = "sim"))]
journal!(InlineJournal);
