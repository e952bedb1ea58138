//! The durable log beneath the engine, as one narrow trait. What it hides: SQL, files, transactions, encodings of
//! rows. What lies above it (grouping of appends, recovery, timers, tokens) is the same for every store.
//!
//! A store keeps, for each execution, its *segments* (the events of one append, one row, opaque bytes here), one
//! *view* row (status, wake-up time, whether a task must be dispatched), its *open tasks* (one row for each task
//! token or activity task) and its inbox of *messages*. Every change of these is part of one [`Write`], which lands
//! whole or not at all.

mod catalog;
mod error;
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
mod rows;
#[cfg(any(test, feature = "sim"))]
mod sim_vfs;
mod sqlite;
#[cfg(feature = "postgres")]
#[cfg(test)]
mod tests;
mod usage;
mod write;

use std::{future::Future, pin::Pin, sync::Arc};

use stepwell_interp::Timestamp;

pub use catalog::UNNAMED;
pub(crate) use catalog::{Catalog, CatalogKey, CatalogRecord, CatalogWrite};
pub(crate) use error::{OpenError, RESTORE, ReadError};
#[cfg(any(test, feature = "sim"))]
#[allow(unreachable_pub, reason = "the simulation alone shows it")]
pub use fault::FaultPlan;
#[cfg(any(test, feature = "sim"))]
pub(crate) use fault::SimDisk;
#[allow(unreachable_pub, reason = "the simulation alone shows it")]
pub use id::ExecutionId;
pub(crate) use id::{Epoch, MessageId, Partition, ScopeId, TokenHash};
pub(crate) use memory::MemoryJournal;
#[cfg(feature = "postgres")]
pub(crate) use postgres::{PostgresJournal, PostgresOptions};
pub use rows::Status;
pub(crate) use rows::{
    ExecutionRow, Look, Message, NewExecution, OpenTask, Segment, StoredSegment, View,
};
#[cfg(any(test, feature = "sim"))]
pub(crate) use sqlite::InlineJournal;
pub(crate) use sqlite::{SqliteJournal, SqliteOptions};
pub use sqlite::{foreign_store, holds_store, make_data_directory};
pub use usage::{Amounts, Meter, UsageKey};
pub(crate) use usage::{Charges, UsageQuery};
use write::weight;
pub(crate) use write::{Append, CloseTask, CodeWrite, Landed, Outgoing, Refused, Verdict, Write};

/// A future that a store returns; boxed, so that the trait stays object-safe.
pub(crate) type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What each tenant used since the store was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UsageOfTenants {
    pub(crate) sums: Vec<(Arc<str>, Amounts)>,
    /// Whether there is more, of which nobody can tell whose it is.
    pub(crate) is_partial: bool,
}

impl UsageOfTenants {
    fn whole(sums: impl Iterator<Item = (Arc<str>, Amounts)>) -> UsageOfTenants {
        UsageOfTenants {
            sums: sums.collect(),
            is_partial: false,
        }
    }
}

/// Where a store takes the time of leases from.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

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

    /// A page of executions, newest first. One whose row is damaged is among them.
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

    /// How many records had a kind, tenant or name that is no text when the store was opened: no read finds them, and they may have
    /// been anything.
    fn unnamed_records(&self) -> usize {
        0
    }

    /// All usage of each tenant since the store was made.
    fn usage_of_tenants(&self) -> Answer<Result<UsageOfTenants, ReadError>>;
}

/// An answer that is there already.
pub(crate) fn ready<T: Send + 'static>(value: T) -> Answer<T> {
    Box::pin(std::future::ready(value))
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
