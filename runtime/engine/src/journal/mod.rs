//! The durable log beneath the engine, as one narrow trait. What it hides: SQL, files, transactions, encodings of
//! rows. What lies above it (grouping of appends, recovery, timers, tokens) is the same for every store.
//!
//! A store keeps, for each execution, its *segments* (the events of one append, one row, opaque bytes here), one
//! *view* row (status, wake-up time, whether a task must be dispatched), its *open tasks* (one row for each task
//! token or activity task) and its inbox of *messages*. Every change of these is part of one [`Write`], which lands
//! whole or not at all.

mod facts;
#[cfg(any(test, feature = "sim"))]
#[allow(unreachable_pub, reason = "the simulation alone shows it")]
mod fault;
mod id;
mod limits;
mod memory;
mod number;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(test, feature = "sim"))]
mod sim_vfs;
mod sqlite;
#[cfg(feature = "postgres")]
#[cfg(test)]
mod tests;
mod usage;

#[cfg(any(test, feature = "sim"))]
#[allow(unreachable_pub, reason = "the simulation alone shows it")]
pub use fault::FaultPlan;
#[cfg(any(test, feature = "sim"))]
pub(crate) use fault::SimDisk;
pub(crate) use memory::MemoryJournal;
#[cfg(feature = "postgres")]
pub(crate) use postgres::{PostgresJournal, PostgresOptions};
#[cfg(any(test, feature = "sim"))]
pub(crate) use sqlite::InlineJournal;
pub use sqlite::make_data_directory;
pub(crate) use sqlite::{SqliteJournal, SqliteOptions};

#[allow(unreachable_pub, reason = "the simulation alone shows it")]
pub use id::ExecutionId;
pub(crate) use id::{Epoch, MessageId, Partition, ScopeId, TokenHash};
pub use usage::{Amounts, Meter, UsageKey};
pub(crate) use usage::{Charges, UsageQuery};

use std::{future::Future, pin::Pin, sync::Arc};

use stepwell_interp::Timestamp;

/// A future that a store returns; boxed, so that the trait stays object-safe.
pub(crate) type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What each tenant used since the store was made.
pub(crate) type UsageOfTenants = Vec<(Arc<str>, Amounts)>;

/// Where a store takes the time of leases from.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One atomic change. Writes of one batch share a transaction, yet each has its own [`Verdict`]: a refused write
/// leaves no trace and never takes its neighbours with it.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all writes are appends; a box for each would cost more"
)]
pub(crate) enum Write {
    /// Events of one execution with everything they bring about.
    Append(Append),
    /// The answer to an open task from outside: deletes the token's row and leaves `message` in the inbox of the
    /// task's execution, or is refused with [`Refused::TokenGone`].
    Answer { token: TokenHash, message: Outgoing },
    /// A message from outside (stop, heartbeat of an evicted execution).
    Post(Outgoing),
    /// Records of the catalog, all or none, in order.
    Catalog(Vec<CatalogWrite>),
    /// Inbox rows that turned out to change nothing (a late answer, a stop of a closed execution). Idempotent.
    Discard(Vec<MessageId>),
    /// Bytes by their SHA-256 (definitions, large values). Idempotent.
    Blob { hash: [u8; 32], bytes: Arc<[u8]> },
    /// Amounts of what appends nothing.
    Charge(Charges),
    /// Code of functions, kept or removed together with the records that say whose it is: all of it, or nothing.
    Code(CodeWrite),
}

/// See [`Write::Code`].
#[derive(Clone, Debug)]
pub(crate) struct CodeWrite {
    /// As in [`Write::Catalog`]; one that conflicts refuses the whole.
    pub records: Vec<CatalogWrite>,
    /// Bytes by their SHA-256; what is there already stays.
    pub keep: Option<([u8; 32], Arc<[u8]>)>,
    /// Bytes that go; that they are gone already is no error.
    pub remove: Option<[u8; 32]>,
    pub charges: Charges,
}

/// Events appended to one execution's log, with all that must be true from the same moment on.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub execution: ExecutionId,
    /// The epoch under which the writer holds the execution's partition; any other than the store's is refused. A
    /// partition that was never leased is at epoch 0.
    pub epoch: Epoch,
    /// Position of the segment's first event, counted from 1; the store refuses a gap or an overlap.
    pub expected_next: u64,
    /// Set in an execution's first append, and only there.
    pub create: Option<NewExecution>,
    pub segment: Segment,
    /// Large values that the segment refers to, by their SHA-256; those that are there already may be left out.
    pub blobs: Vec<([u8; 32], Arc<[u8]>)>,
    /// The view row after this append, whole.
    pub view: View,
    /// Tasks whose rows are inserted (replaced, where the token is open already).
    pub open: Vec<OpenTask>,
    /// Tasks whose rows are deleted, after those of `open` are in. With `must_exist`, a missing row refuses the append
    /// (an answer came first).
    pub close: Vec<CloseTask>,
    pub send: Vec<Outgoing>,
    /// Inbox rows that the events of this append account for; a missing one refuses the append.
    pub consume: Vec<MessageId>,
    /// What is added to the usage of those who pay for it.
    pub charges: Charges,
}

/// The events of one append: opaque bytes with the two counts that pages and checks need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Number of events, internal ones included; at least 1.
    pub events: u32,
    /// Public id of the first public event (of the next one, when the segment holds internal events alone).
    pub first_public: u64,
    /// Number of public events.
    pub public: u32,
    pub bytes: Arc<[u8]>,
}

/// What the first append of an execution declares; never changed afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewExecution {
    /// The list this execution belongs to: a state machine of a tenant, or a map run.
    pub scope: ScopeId,
    /// The list of the version that it was started by; of a map run, that of its execution's map runs.
    pub version: Option<ScopeId>,
    /// The list of the alias that it was started by.
    pub alias: Option<ScopeId>,
    pub name: Arc<str>,
    /// When set, a second execution of this name in this scope is refused with [`Refused::NameTaken`]; executions
    /// that do not set it are not counted.
    pub unique_name: bool,
    pub started_at: Timestamp,
    /// Opaque to the store, returned with the row (ARN parts, version, alias, trace header).
    pub meta: Arc<[u8]>,
}

impl NewExecution {
    /// The lists that it is in.
    fn lists(&self) -> impl Iterator<Item = List> {
        let version = self.version.map(List::Version);
        let alias = self.alias.map(List::Alias);
        [Some(List::Scope(self.scope)), version, alias]
            .into_iter()
            .flatten()
    }
}

/// The mutable part of an execution's row: what lists, recovery and the waker look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub status: Status,
    pub stopped_at: Option<Timestamp>,
    /// Earliest timer of an evicted execution, indexed.
    pub wake_at: Option<Timestamp>,
    /// A task has to be dispatched when the execution is loaded; indexed, read at start-up.
    pub hot: bool,
    pub redrive_count: u32,
    pub redriven_at: Option<Timestamp>,
}

/// Status of an execution in the store; the numbers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    #[default]
    Running = 0,
    Succeeded = 1,
    Failed = 2,
    TimedOut = 3,
    Aborted = 4,
}

impl Status {
    /// All statuses, in the order of their numbers.
    pub const ALL: [Status; 5] = [
        Status::Running,
        Status::Succeeded,
        Status::Failed,
        Status::TimedOut,
        Status::Aborted,
    ];

    /// The status of a stored number.
    fn from_number(number: i64) -> Option<Status> {
        usize::try_from(number)
            .ok()
            .and_then(|index| Status::ALL.get(index))
            .copied()
    }
}

/// One open token or activity task: token index and activity queue in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenTask {
    pub token: TokenHash,
    pub execution: ExecutionId,
    /// The task within its execution, as the engine encodes it.
    pub task: Arc<[u8]>,
    /// The activity whose workers may take it; `None` for a callback token.
    pub activity: Option<ScopeId>,
    pub scheduled_at: Timestamp,
}

/// See [`Append::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseTask {
    pub token: TokenHash,
    pub must_exist: bool,
}

/// A message to an execution's inbox. The partition is a part of the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub to: ExecutionId,
    pub payload: Arc<[u8]>,
}

/// A message as it lies in the store. Ids ascend in order of commit within a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub id: MessageId,
    pub to: ExecutionId,
    pub payload: Arc<[u8]>,
}

/// An execution's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecutionRow {
    pub id: ExecutionId,
    pub new: NewExecution,
    pub view: View,
    /// Position of the next event: one more than the number of stored events.
    pub next: u64,
    /// Public id of the next public event.
    pub next_public: u64,
}

/// A stored segment with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSegment {
    pub first: u64,
    pub segment: Segment,
}

/// Which segments of an execution to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentRange {
    /// From the segment that holds event `first` (a position) to the end; nothing when the log ends before it.
    From { first: u64 },
    /// Ascending, from the segment that holds public event `public`; nothing when there is no such event yet.
    Forward { public: u64 },
    /// Descending, from the segment that holds public event `public`, or from the end when there is none yet.
    Backward { public: u64 },
    /// The last segment alone.
    Last,
}

/// A list of executions: all of a scope, or those started by one version or alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum List {
    Scope(ScopeId),
    Version(ScopeId),
    Alias(ScopeId),
}

/// Which executions of a list to give: newest first, a keyset page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListQuery {
    pub list: List,
    pub status: Option<Status>,
    /// Only executions with a smaller id.
    pub before: Option<ExecutionId>,
    pub limit: u32,
}

/// What became of one [`Write`].
pub(crate) type Verdict = Result<Landed, Refused>;

/// A durable write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Landed {
    /// Ids given to the messages of the write, in their order.
    pub messages: Vec<MessageId>,
    /// New revisions of a catalog write's records, in their order (0 for a deletion).
    pub revisions: Vec<u64>,
}

/// Why a write left no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// An execution of that name exists in the scope.
    #[error("an execution of this name exists already")]
    NameTaken { execution: ExecutionId },
    /// `expected_next` is not the position the log ends at: another writer was here, or an append landed twice.
    #[error("the log continues at event {next}, not where the writer expected")]
    WrongPosition { next: u64 },
    /// The partition is held under a newer epoch by someone else.
    #[error("the lease on the partition was lost")]
    LeaseLost,
    /// The token's row is gone: the task was answered or timed out before.
    #[error("the task token is no longer open")]
    TokenGone,
    /// A consumed message is gone.
    #[error("the message was consumed before")]
    MessageGone,
    /// A catalog record is not at the expected revision.
    #[error("the record was changed meanwhile")]
    Conflict {
        record: usize,
        revision: Option<u64>,
    },
    /// The disk is full or a quota of the store is reached; nothing is lost, later writes may land.
    #[error("the store is full: {0}")]
    Full(String),
    /// Whether the write landed is unknown or the store is broken: the caller folds the execution anew.
    #[error("the store failed: {0}")]
    Broken(String),
}

/// A failed read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// The same read may succeed later.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    /// It will not.
    #[error("the store is damaged: {0}; {RESTORE}")]
    Damaged(String),
}

/// What to do about a store whose content is damaged.
pub(crate) const RESTORE: &str = "stop the server and restore its store from a backup";

/// A partition held by a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub partition: Partition,
    pub epoch: Epoch,
    /// By the store's clock.
    pub until: Timestamp,
}

/// A durable store. All methods may be called from many threads; order is promised only for the writes of one
/// `commit` batch and between batches whose commits do not overlap.
pub(crate) trait Journal: Catalog + Send + Sync + 'static {
    /// Writes a batch in one transaction; durable when the answer arrives. One verdict a write, in order. A failed
    /// commit answers [`Refused::Broken`] (or [`Refused::Full`]) for every write of the batch.
    fn commit(&self, batch: Vec<Write>) -> Answer<Vec<Verdict>>;

    /// The row of an execution.
    fn execution(&self, id: ExecutionId) -> Answer<Result<Option<ExecutionRow>, ReadError>>;

    /// The execution of a name in a scope (the newest, where names are not unique).
    fn find(&self, scope: ScopeId, name: &str) -> Answer<Result<Option<ExecutionId>, ReadError>>;

    /// What describing an execution of that name takes, in one read: a closed loop of polls meets it most.
    fn look(&self, scope: ScopeId, name: &str) -> Answer<Result<Option<Look>, ReadError>>;

    /// A page of executions, newest first.
    fn list(&self, query: ListQuery) -> Answer<Result<Vec<ExecutionRow>, ReadError>>;

    /// Segments of an execution, at most `bytes_max` bytes of them but at least one when there is any.
    fn segments(
        &self,
        id: ExecutionId,
        range: SegmentRange,
        bytes_max: usize,
    ) -> Answer<Result<Vec<StoredSegment>, ReadError>>;

    /// Messages above a cursor of each partition, ascending by id. A cursor a partition, since ids ascend in order of
    /// commit within a partition only: one cursor for all would pass over a message that another node commits late.
    fn messages(
        &self,
        after: &[(Partition, MessageId)],
        limit: u32,
    ) -> Answer<Result<Vec<Message>, ReadError>>;

    /// All messages in one execution's inbox, ascending by id.
    fn inbox(&self, id: ExecutionId) -> Answer<Result<Vec<Message>, ReadError>>;

    /// Hot executions of the given partitions with ids above `after`, ascending.
    fn hot(
        &self,
        partitions: &[Partition],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Answer<Result<Vec<ExecutionId>, ReadError>>;

    /// Executions whose `wake_at` is at or before `until`, in order of `wake_at`.
    fn due(
        &self,
        partitions: &[Partition],
        until: Timestamp,
        limit: u32,
    ) -> Answer<Result<Vec<(ExecutionId, Timestamp)>, ReadError>>;

    /// The earliest `wake_at` of the given partitions.
    fn next_due(&self, partitions: &[Partition]) -> Answer<Result<Option<Timestamp>, ReadError>>;

    /// The open task behind a token.
    fn open_task(&self, token: TokenHash) -> Answer<Result<Option<OpenTask>, ReadError>>;

    /// Open tasks of an activity, oldest first. The engine remembers which ones it has handed out.
    fn activity_tasks(
        &self,
        activity: ScopeId,
        after: Option<(Timestamp, TokenHash)>,
        limit: u32,
    ) -> Answer<Result<Vec<OpenTask>, ReadError>>;

    /// Bytes by hash.
    fn blob(&self, hash: [u8; 32]) -> Answer<Result<Option<Arc<[u8]>>, ReadError>>;

    /// Takes and renews leases for `owner`: renews those it holds, and takes free or expired ones of `wanted`
    /// (under a new epoch). Answers all it now holds, by partition. `owner` names one run of one process: a name that
    /// outlives a restart would share its epoch with what the dead process may still have in flight.
    fn lease(
        &self,
        owner: &str,
        wanted: &[Partition],
        ttl_ms: u64,
    ) -> Answer<Result<Vec<Lease>, ReadError>>;

    /// Gives leases back, so that another node need not wait for them to expire.
    fn release(&self, owner: &str) -> Answer<Result<(), ReadError>>;

    /// A page of the usage, in order of the keys.
    fn usage(&self, query: UsageQuery) -> Answer<Result<Vec<(UsageKey, Amounts)>, ReadError>>;

    /// All usage of each tenant since the store was made.
    fn usage_of_tenants(&self) -> Answer<Result<UsageOfTenants, ReadError>>;
}

/// An execution with the two ends of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub row: ExecutionRow,
    pub first: Option<StoredSegment>,
    /// Of a closed execution, when it is another than the first.
    pub last: Option<StoredSegment>,
}

impl Look {
    /// Whether the last segment has to be read too.
    fn lacks_last(row: &ExecutionRow, first: Option<&StoredSegment>) -> bool {
        let whole =
            first.is_some_and(|first| first.first + u64::from(first.segment.events) == row.next);
        row.view.status != Status::Running && !whole
    }
}

/// Small records by (tenant, kind, name), each with a revision: state machines, versions, aliases, activities, tags,
/// plugins, keys, roles, usage. Written through [`Write::Catalog`].
pub(crate) trait Catalog {
    /// One record.
    fn get(&self, key: &CatalogKey) -> Answer<Result<Option<CatalogRecord>, ReadError>>;

    /// Records of a tenant and kind whose name starts with `prefix`, in order of name, after `after`.
    fn scan(
        &self,
        tenant: &str,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Answer<Result<Vec<CatalogRecord>, ReadError>>;
}

/// Name of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CatalogKey {
    pub tenant: Arc<str>,
    /// `state-machine`, `activity`, …; the empty tenant holds what belongs to the installation.
    pub kind: Arc<str>,
    pub name: Arc<str>,
}

impl CatalogKey {
    /// Where a scan begins, and whether a record of that name is part of it.
    fn scanned_first(
        tenant: &str,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> (CatalogKey, bool) {
        let (name, included) = match after {
            Some(after) if after >= prefix => (after, false),
            Some(_) | None => (prefix, true),
        };
        let key = CatalogKey {
            tenant: tenant.into(),
            kind: kind.into(),
            name: name.into(),
        };
        (key, included)
    }
}

/// A record as stored. Revisions start at 1 and grow by 1 with each write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CatalogRecord {
    pub key: CatalogKey,
    pub revision: u64,
    pub bytes: Arc<[u8]>,
}

/// One compare-and-set of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CatalogWrite {
    pub key: CatalogKey,
    /// The revision it must have: `Some(0)` that it must not exist, `None` any.
    pub expected: Option<u64>,
    /// `None` deletes.
    pub bytes: Option<Arc<[u8]>>,
}

/// A store that cannot be opened: what is wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(
        "the data directory {0} is in use by another process; stop that process or choose another directory"
    )]
    Locked(String),
    #[error(
        "{path} cannot be opened: {why}; check that it exists and that this user may write there"
    )]
    Unreadable { path: String, why: String },
    #[error(
        "the data directory {directory} cannot be written: the disk is full{free}; make room there, or choose another \
         directory"
    )]
    Full { directory: String, free: String },
    #[error("{0} is no Stepwell journal; choose another data directory or move the file away")]
    Foreign(String),
    #[error(
        "{path} is {what}, but {directory} has held a store: what was stored is gone, and a start would begin with \
         nothing; restore the file from a backup, or, to begin anew, empty {directory} or name another directory"
    )]
    Gone {
        path: String,
        /// `empty` or `missing`.
        what: &'static str,
        directory: String,
    },
    #[error("{path} is damaged: {why}; restore it from a backup")]
    Damaged { path: String, why: String },
    #[error(
        "the journal at {path} has format {found}, and this version of Stepwell reads up to format {known}; run the \
         version that wrote it or a newer one"
    )]
    Newer {
        path: String,
        found: i64,
        known: i64,
    },
    #[cfg(feature = "postgres")]
    #[error(
        "the database ({at}) cannot be opened: {why}; check its URL, that it runs, and that it lets this user in"
    )]
    Unreachable { at: String, why: String },
}

/// An answer that is there already.
pub(crate) fn ready<T: Send + 'static>(value: T) -> Answer<T> {
    Box::pin(std::future::ready(value))
}

/// What a write weighs in the queue, bytes.
fn weight(write: &Write) -> usize {
    let payload = match write {
        Write::Append(append) => {
            let sent: usize = append
                .send
                .iter()
                .map(|message| message.payload.len())
                .sum();
            let opened: usize = append.open.iter().map(|task| task.task.len()).sum();
            let created = append
                .create
                .as_ref()
                .map_or(0, |new| new.meta.len() + new.name.len());
            let blobs: usize = append.blobs.iter().map(|(_, bytes)| bytes.len()).sum();
            append.segment.bytes.len() + blobs + sent + opened + created
        }
        Write::Answer { message, .. } | Write::Post(message) => message.payload.len(),
        Write::Catalog(records) => records_bytes(records),
        Write::Discard(_) => 0,
        Write::Charge(charges) => charges.len() * limits::WRITE_OVERHEAD_BYTES,
        Write::Blob { bytes, .. } => bytes.len(),
        Write::Code(code) => {
            let kept = code.keep.as_ref().map_or(0, |(_, bytes)| bytes.len());
            let charged = code.charges.len() * limits::WRITE_OVERHEAD_BYTES;
            records_bytes(&code.records) + kept + charged
        }
    };
    payload + limits::WRITE_OVERHEAD_BYTES
}

fn records_bytes(records: &[CatalogWrite]) -> usize {
    let bytes = records.iter().filter_map(|record| record.bytes.as_ref());
    bytes.map(|bytes| bytes.len()).sum()
}

/// Takes segments until `bytes_max` is reached, but at least one.
fn segment_page<E>(
    segments: impl Iterator<Item = Result<StoredSegment, E>>,
    bytes_max: usize,
) -> Result<Vec<StoredSegment>, E> {
    let mut page = Vec::new();
    let mut bytes = 0usize;
    for segment in segments {
        let segment = segment?;
        bytes = bytes.saturating_add(segment.segment.bytes.len());
        if bytes > bytes_max && !page.is_empty() {
            break;
        }
        page.push(segment);
    }
    Ok(page)
}
