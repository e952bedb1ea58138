//! What a store keeps of one execution: its row, its segments, its open tasks, its messages. Hides what of them is opaque bytes to a
//! store; the stores give them their columns.

use std::sync::Arc;

use stepwell_interp::Timestamp;

use super::{ExecutionId, List, MessageId, ScopeId, TokenHash};
use crate::seal;

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
    /// When set, a second execution of this name in this scope is refused with [`super::Refused::NameTaken`]; executions
    /// that do not set it are not counted.
    pub unique_name: bool,
    pub started_at: Timestamp,
    /// Opaque to the store, returned with the row (ARN parts, version, alias, trace header).
    pub meta: Arc<[u8]>,
}

impl NewExecution {
    /// The lists that it is in.
    pub(super) fn lists(&self) -> impl Iterator<Item = List> {
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
    pub(super) fn from_number(number: i64) -> Option<Status> {
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

impl ExecutionRow {
    /// What stands in a list for an execution whose row cannot be read: nothing but its id is known.
    pub(super) fn unreadable(id: ExecutionId) -> ExecutionRow {
        ExecutionRow {
            id,
            new: NewExecution {
                scope: ScopeId(0),
                version: None,
                alias: None,
                name: Arc::from(""),
                unique_name: true,
                started_at: Timestamp(0),
                meta: seal::unreadable(),
            },
            view: View::default(),
            next: 1,
            next_public: 1,
        }
    }
}

/// A stored segment with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSegment {
    pub first: u64,
    pub segment: Segment,
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
    pub(super) fn lacks_last(row: &ExecutionRow, first: Option<&StoredSegment>) -> bool {
        let whole =
            first.is_some_and(|first| first.first + u64::from(first.segment.events) == row.next);
        row.view.status != Status::Running && !whole
    }
}
