//! What is written, each all or nothing, and what became of it. Hides what a write weighs in the queue.

use std::sync::Arc;

use super::{
    CatalogWrite, Charges, Epoch, ExecutionId, MessageId, NewExecution, OpenTask, Segment,
    TokenHash, View, limits,
};

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

/// What a write weighs in the queue, bytes.
pub(super) fn weight(write: &Write) -> usize {
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
