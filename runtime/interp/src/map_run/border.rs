//! What crosses the border of a map run.

use std::sync::Arc;

use stepwell_asl::{OutputType, Transformation};
use stepwell_query::Value;

use crate::{
    Timestamp,
    border::{ChildId, Start, TaskId},
    event::{Assigned, Failure},
};

/// Everything that is fixed when a map run starts: the Map state as it was, and what its fields came to.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRunStart {
    pub arn: Arc<str>,
    /// The execution of the Map state.
    pub parent: Arc<Start>,
    pub parent_started_at: Timestamp,
    /// Which of the parent's map runs it is.
    pub run: TaskId,
    /// Name of the Map state, when it was entered and by which public event, and its raw input.
    pub state: Arc<str>,
    pub entered_at: Timestamp,
    pub entered_id: u64,
    pub input: Value,
    /// Retries of the state so far.
    pub retries: u32,
    /// The workflow variables that `ItemSelector` reads.
    pub variables: Assigned,
    pub source: Reading,
    /// Of a `ResultWriter` with a destination: its parameters.
    pub destination: Option<Value>,
    pub concurrency: u32,
    pub tolerated_count: Option<u32>,
    /// 0 to 100.
    pub tolerated_percentage: Option<f64>,
    /// `ItemBatcher`: either bound, or both; none without one.
    pub batch_items: Option<u32>,
    pub batch_bytes: Option<u32>,
    pub batch_input: Option<Value>,
    /// How results are written.
    pub form: Form,
}

/// `WriterConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub transformation: Transformation,
    pub output_type: OutputType,
}

impl Form {
    /// As without a `ResultWriter`: each child's output alone.
    pub const COMPACT: Form = Form {
        transformation: Transformation::Compact,
        output_type: OutputType::Json,
    };
}

/// Where the items come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// From the state's data: an array or an object.
    State(Value),
    /// From object storage: the reader's parameters, and `MaxItems` as it was given.
    Storage { parameters: Value, items_max: i64 },
}

impl Reading {
    /// Whether `MaxItems` is a number of items.
    pub(super) fn is_readable(&self) -> bool {
        match self {
            Reading::State(_) => true,
            Reading::Storage { items_max, .. } => *items_max >= 0,
        }
    }
}

impl MapRunStart {
    pub(super) fn is_batched(&self) -> bool {
        self.batch_items.is_some() || self.batch_bytes.is_some()
    }
}

/// An item that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub value: Value,
    /// The member's name, where the items are an object's members.
    pub key: Option<Arc<str>>,
    /// `STATE_DATA`, or the address of what it was read from.
    pub source: Arc<str>,
}

/// What happens to a map run.
#[derive(Clone, Debug)]
pub enum MapRunInput {
    /// The first input, and the only one that a fresh map run takes.
    Started(Box<MapRunStart>),
    /// The answer to [`MapRunEffect::Read`]: items from `first` on, what they are followed by, and fresh ids for the
    /// children that may be started with them.
    ItemsRead {
        first: u64,
        items: Vec<Item>,
        cursor: Arc<str>,
        ended: bool,
        ids: Vec<ChildId>,
        /// How many items there seem to be in all: told to who asks, and nothing hangs on it.
        expected: Option<u64>,
    },
    /// The items cannot be read.
    ReadFailed { cause: Arc<str> },
    /// A child is closed.
    ChildEnded(Box<ChildResult>),
    /// The answer to [`MapRunEffect::WritePart`].
    PartWritten { write: ResultWrite, part: Part },
    /// The answer to [`MapRunEffect::WriteManifest`].
    ManifestWritten {
        write: ResultWrite,
        bucket: Arc<str>,
        key: Arc<str>,
    },
    /// Results cannot be written.
    WriteFailed { write: ResultWrite, cause: Arc<str> },
    /// UpdateMapRun was called.
    Changed(MapRunChange),
    /// Its execution redrives it, for that time: the one input that it takes when it is closed.
    RedriveAsked { count: u32 },
}

/// How a child execution ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildResult {
    /// The child's number.
    pub index: u64,
    pub child: ChildId,
    pub status: ChildStatus,
    /// Public events of its log.
    pub events: u64,
    /// Of one that succeeded.
    pub output: Option<Value>,
    /// What DescribeExecution says of it; given where [`crate::MapRun::describes`] asks for it.
    pub description: Option<Value>,
}

/// Status of a closed child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildStatus {
    Succeeded,
    Failed,
    TimedOut,
    Aborted,
}

/// New values; what is none stays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MapRunChange {
    pub concurrency: Option<u32>,
    pub tolerated_count: Option<u64>,
    pub tolerated_percentage: Option<f64>,
}

/// What a map run wants done once its events are durable.
#[derive(Clone, Debug)]
pub enum MapRunEffect {
    /// Read items from a place on: the cursor, how many items to pass over after it, and the number of the first that
    /// is wanted.
    Read {
        cursor: Arc<str>,
        skip: u64,
        first: u64,
    },
    /// Start a child. It is a message of the same append.
    Start(NewChild),
    /// Stop a child. It is a message of the same append.
    Stop(ChildId),
    /// Redrive a child that ended without success; one of type EXPRESS starts anew. It is a message of the same append.
    Redrive(ChildId),
    /// Write a part of the results. Asked again after a crash, with the same number and more results perhaps.
    WritePart {
        kind: PartKind,
        number: u32,
        results: Vec<Value>,
        /// Child executions and items that they are of.
        executions: u64,
        items: u64,
    },
    /// Write the manifest that lists all parts.
    WriteManifest { parts: Vec<Part> },
    /// Tell the parent that it ended, for the first time or after that redrive. It is a message of the same append.
    Tell { ending: MapRunEnding, redrive: u32 },
    /// Tell the parent that it began. It is a message of the same append.
    TellBegun,
}

/// A write of results. What is asked for again, by a run that was folded anew, is the same write only if it writes the
/// same: the answer to another one says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultWrite {
    Part {
        /// After which redrive: each has a folder of its own.
        redrive: u32,
        kind: PartKind,
        number: u32,
        executions: u64,
        items: u64,
    },
    Manifest {
        redrive: u32,
    },
}

impl ResultWrite {
    /// The write that an effect asks for, if it asks for one.
    pub fn of(effect: &MapRunEffect, redrive: u32) -> Option<ResultWrite> {
        match effect {
            MapRunEffect::WritePart {
                kind,
                number,
                executions,
                items,
                results: _,
            } => Some(ResultWrite::Part {
                redrive,
                kind: *kind,
                number: *number,
                executions: *executions,
                items: *items,
            }),
            MapRunEffect::WriteManifest { .. } => Some(ResultWrite::Manifest { redrive }),
            MapRunEffect::Read { .. }
            | MapRunEffect::Start(_)
            | MapRunEffect::Stop(_)
            | MapRunEffect::Redrive(_)
            | MapRunEffect::Tell { .. }
            | MapRunEffect::TellBegun => None,
        }
    }
}

/// A child execution to start.
#[derive(Clone, Debug, PartialEq)]
pub struct NewChild {
    pub child: ChildId,
    /// Its number, from 0.
    pub index: u64,
    /// Items in it.
    pub items: u32,
    pub input: Value,
}

/// Which results a part file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartKind {
    Succeeded,
    Failed,
    /// What children that were never started would have got.
    Pending,
}

/// A part file.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub kind: PartKind,
    pub key: Arc<str>,
    pub bytes: u64,
    /// Results in it, in their order.
    pub results: u64,
    /// Child executions and items that they are of.
    pub executions: u64,
    pub items: u64,
}

/// How a map run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum MapRunEnding {
    /// With the Map state's result.
    Succeeded {
        result: Value,
    },
    Failed {
        failure: Failure,
    },
    Aborted,
}
