//! What crosses the border of a shard: its inputs, its outputs, and the answers it gives.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use stepwell_asl::Program;
use stepwell_interp::{
    ChildId, Input, MapRunChange, MapRunInput, MapRunStart, MapRunView, Measures, NotRedrivable,
    OnCrash, Part, PartKind, RedrivenBy, TaskId, TaskRequest, Timestamp,
};
use stepwell_query::Value;
use tokio::sync::{mpsc, oneshot};

use super::subject::Subject;
use crate::{
    api::HistoryEntry,
    children,
    error::Error,
    feed::Feed,
    journal::{
        Amounts, Epoch, ExecutionId, Message, NewExecution, Partition, Refused, UsageKey, Verdict,
        Write,
    },
    lines::{Lines, StoredLine},
    logging::Logging,
    map_run,
    observer::Observer,
    outbox::Outbox,
    quotas::{Allowances, StartPlace},
    reader,
    recent::Recent,
    record::{self, Child, InLine, InboxItem, LineMachine, Parent},
};

/// What a shard is told once.
pub(crate) struct Environment {
    /// When the engine was opened: heartbeats of earlier processes count anew from here.
    pub(crate) opened_at: Timestamp,
    /// 32 fresh random bytes for the input that is stepped next, after so many events of that execution. Only the
    /// simulation looks at the arguments.
    pub(crate) seed: Box<dyn FnMut(ExecutionId, u64) -> [u8; 32] + Send>,
    /// A fresh id for a map run or an execution, on the partition of this one.
    pub(crate) new_id: Box<dyn FnMut(ExecutionId, Timestamp) -> ExecutionId + Send>,
    /// The time between two steps: how long a turn has taken by now. Its origin is nobody's concern.
    pub(crate) clock: Box<dyn FnMut() -> Monotonic + Send>,
    /// How long after asking for its leases a node may dispatch: less than they last.
    pub(crate) fresh_ms: u64,
    /// Whether an activity is known to be there. Another one is looked up when its task is durable, and the execution
    /// is loaded at the next start in case that was not done.
    pub(crate) knows_activity: Box<KnowsActivity>,
    /// What closed a moment ago.
    pub(crate) recent: Arc<Recent>,
    /// Told of starts and changes of status.
    pub(crate) feed: Arc<Feed>,
    /// Who is told of what happens.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Who must be told of changes of status.
    pub(crate) outbox: Option<Arc<dyn Outbox>>,
    /// Told of what is durable.
    pub(crate) allowances: Arc<Allowances>,
    /// Who waits for a place, for all to see.
    pub(crate) lines: Arc<Lines>,
}

/// Says whether an activity is known to be there.
pub(crate) type KnowsActivity = dyn Fn(&Info, &Arc<str>) -> bool + Send;

/// Something that happened.
pub(crate) enum In {
    /// A new execution.
    Start(Box<Begin>),
    /// News of a running attempt of this process.
    Input {
        execution: ExecutionId,
        input: Input,
    },
    /// The end of an attempt of this process, or of its request, with what a plugin used for it.
    Ended {
        execution: ExecutionId,
        task: TaskId,
        spent: Option<Box<Spending>>,
        input: Input,
    },
    /// What a call of a plugin used that belongs to no execution.
    Used { key: UsageKey, usage: Amounts },
    /// A sign of life from outside: the execution is loaded for it.
    Heartbeat {
        execution: ExecutionId,
        input: Input,
    },
    /// A message was committed to an execution's inbox.
    Message(Message),
    /// A worker wants this activity task.
    Take {
        execution: ExecutionId,
        task: TaskId,
        worker: Option<Arc<str>>,
        reply: TakeReply,
    },
    /// A caller wants a closed execution to go on.
    Redrive {
        execution: ExecutionId,
        token: Option<Arc<str>>,
        reply: RedriveReply,
    },
    /// An execution is hot, due, or has messages.
    Wake(ExecutionId),
    /// The answer to [`Out::Load`].
    Loaded {
        execution: ExecutionId,
        result: Result<Stored, LoadError>,
        on_crash: CrashRules,
    },
    /// The answer to [`Out::Commit`].
    Committed { ticket: Ticket, verdict: Verdict },
    /// Tell when the execution is closed. The caller looks into the store once this is taken, in case it was already.
    Wait {
        execution: ExecutionId,
        reply: oneshot::Sender<()>,
    },
    /// Tell of durable public events from now on; the stream ends with the execution.
    Watch {
        execution: ExecutionId,
        watcher: Watcher,
    },
    /// Public events in memory that need no commit of their own (a task's start).
    Live {
        execution: ExecutionId,
        reply: oneshot::Sender<Vec<HistoryEntry>>,
    },
    /// An attempt did its part without an outcome: a message brings that.
    Served {
        execution: ExecutionId,
        task: TaskId,
    },
    /// What a map run in memory tells of itself; none when it is not there.
    ViewMapRun {
        map_run: ExecutionId,
        reply: oneshot::Sender<Option<MapRunView>>,
    },
    /// Tell when this line is in memory; let go when it is another node's.
    OpenLine {
        line: ExecutionId,
        machine: LineMachine,
        reply: oneshot::Sender<()>,
    },
    /// The answer to [`Out::LoadLine`].
    LineLoaded {
        line: ExecutionId,
        result: Result<StoredLine, LoadError>,
    },
    /// The partitions this node now holds, and when it asked for them.
    Leases {
        held: BTreeMap<Partition, Epoch>,
        asked: Monotonic,
    },
}

/// What an attempt of a plugin used.
pub(crate) struct Spending {
    pub(crate) info: Arc<Info>,
    pub(crate) plugin: Arc<str>,
    pub(crate) measures: Arc<Measures>,
}

/// Something to do. Each is safe to do: what caused it is durable.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are commits; a box for each would cost more"
)]
pub(crate) enum Out {
    Commit {
        ticket: Ticket,
        write: Write,
    },
    /// Read the execution and answer with [`In::Loaded`]; one that is closed too, when it is to be redriven.
    Load {
        execution: ExecutionId,
        closed_too: bool,
    },
    /// Read a line and the limits of its state machine, and answer with [`In::LineLoaded`].
    LoadLine {
        line: ExecutionId,
        /// Whose it is, where that is known without reading.
        machine: Option<LineMachine>,
    },
    /// Dispatch an attempt and answer with [`In::Input`].
    Run {
        execution: ExecutionId,
        info: Arc<Info>,
        request: Box<TaskRequest>,
    },
    /// Let the guest of an attempt begin that was dispatched again.
    Begin {
        execution: ExecutionId,
        task: TaskId,
    },
    /// End a dispatched attempt.
    Cancel {
        execution: ExecutionId,
        task: TaskId,
    },
    /// An activity task waits for a worker.
    ActivityOpened {
        execution: ExecutionId,
        info: Arc<Info>,
        task: TaskId,
        activity: Arc<str>,
    },
    /// An execution sleeps on disk until this time.
    WakeAt(Timestamp),
    /// Read items or write results for a map run and answer with [`In::Input`].
    MapRun {
        map_run: ExecutionId,
        request: Box<MapRunRequest>,
    },
    /// A map run reads no more.
    MapRunOver(ExecutionId),
    /// This message is in its inbox: tell whoever serves its execution.
    Announce(Message),
    /// Whether an append of this execution landed is not known, nor therefore what its outbox has.
    Doubt(ExecutionId),
}

/// What a map run wants of the object storage.
pub(crate) enum MapRunRequest {
    /// Items from a place on.
    Read {
        start: Arc<MapRunStart>,
        program: Arc<Program>,
        tenant: Arc<str>,
        cursor: Arc<str>,
        skip: u64,
        first: u64,
    },
    WritePart {
        start: Arc<MapRunStart>,
        tenant: Arc<str>,
        kind: PartKind,
        number: u32,
        results: Vec<Value>,
        executions: u64,
        items: u64,
        /// After which redrive.
        redrive: u32,
    },
    WriteManifest {
        start: Arc<MapRunStart>,
        tenant: Arc<str>,
        parts: Vec<Part>,
        redrive: u32,
    },
}

/// Who watches an execution: takes a bounded number of small batches, and reads all else from the store. An empty batch
/// says that something is there.
pub(crate) struct Watcher {
    pub(crate) sender: mpsc::Sender<Vec<HistoryEntry>>,
    /// A batch found no room.
    pub(crate) behind: Arc<AtomicBool>,
}

/// Milliseconds by a clock that nobody sets, from any origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Monotonic(pub(crate) u64);

/// Connects a commit with its verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// What of an execution never changes and everyone needs.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) tenant: Arc<str>,
    pub(crate) execution_arn: Arc<str>,
    pub(crate) machine_arn: Arc<str>,
    pub(crate) trace_header: Option<Arc<str>>,
    /// Who started it, when that was no call from outside.
    pub(crate) parent: Option<Parent>,
    /// Lower-case hex SHA-256 of the definition that it runs.
    pub(crate) definition: Arc<str>,
    /// The machine's revision that it runs, and when that was made (0: not known).
    pub(crate) revision_id: Option<Arc<str>>,
    pub(crate) revised_ms: u64,
    /// What its state machine logs of it.
    pub(crate) logging: Option<Logging>,
    /// Where it waits for its place, when its state machine had a concurrency limit as it started.
    pub(crate) line: Option<InLine>,
    /// Whether its state machine traces it.
    pub(crate) traced: bool,
}

/// How an execution is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// STANDARD: every event is in the log.
    Durable,
    /// Asynchronous EXPRESS: a row at the start and one at the end; begun again after a crash.
    ExpressAsync,
    /// Synchronous EXPRESS: nothing is kept.
    ExpressSync,
}

/// A new execution.
pub(crate) struct Begin {
    pub(crate) id: ExecutionId,
    pub(crate) info: Arc<Info>,
    pub(crate) program: Arc<Program>,
    /// Its first input.
    pub(crate) first: Input,
    pub(crate) new: NewExecution,
    pub(crate) mode: Mode,
    pub(crate) reply: StartReply,
}

/// Who waits for the start.
pub(crate) enum StartReply {
    /// Answered when the start is durable, with the place that it has until then.
    Started(oneshot::Sender<Result<(), Refused>>, Option<StartPlace>),
    /// Answered when a synchronous execution ended, with the place that it has until then; nothing is durable.
    Ended(oneshot::Sender<SyncEnd>, Option<StartPlace>),
    /// Nobody: it began with a message, which is there until the start is durable.
    Nobody,
}

impl StartReply {
    pub(super) fn started(self) {
        self.tell(Ok(()));
    }

    pub(super) fn refuse(self, refused: Refused) {
        self.tell(Err(refused));
    }

    fn tell(self, answer: Result<(), Refused>) {
        match self {
            StartReply::Started(reply, place) => {
                // Whoever is told finds it free.
                drop(place);
                let _ = reply.send(answer);
            }
            StartReply::Ended(..) | StartReply::Nobody => {}
        }
    }

    /// The place of an execution that is durable by now.
    pub(super) fn take_place(&mut self) -> Option<StartPlace> {
        match self {
            StartReply::Started(_, place) => place.take(),
            StartReply::Ended(..) | StartReply::Nobody => None,
        }
    }
}

/// How a synchronous execution ended.
pub(crate) struct SyncEnd {
    pub(crate) ending: stepwell_interp::Ending,
    pub(crate) stopped_at: Timestamp,
    /// The most memory that an attempt of its tasks held.
    pub(crate) memory_bytes_max: u64,
}

/// The answer to a worker: the task, or `None` when it is no longer to be had here. Dropped without an answer when its start
/// did not become durable.
pub(crate) type TakeReply = oneshot::Sender<Option<ActivityGrant>>;

/// The answer to who redrives an execution: when that was or why it may not be. An error is no answer: nothing is
/// known to have happened.
pub(crate) type RedriveAnswer = Result<Result<Timestamp, NotRedrivable>, Refused>;

/// Who waits for it, with the place that the execution has from the call on until the redrive is durable or refused.
pub(crate) struct RedriveReply {
    reply: oneshot::Sender<RedriveAnswer>,
    place: Option<StartPlace>,
}

impl RedriveReply {
    pub(crate) fn new(reply: oneshot::Sender<RedriveAnswer>, place: Option<StartPlace>) -> Self {
        RedriveReply { reply, place }
    }

    /// Whoever went away needs no answer.
    pub(super) fn tell(self, answer: RedriveAnswer) {
        // Whoever is told finds it free.
        drop(self.place);
        let _ = self.reply.send(answer);
    }

    /// The place of an execution whose redrive is durable by now.
    pub(super) fn take_place(&mut self) -> Option<StartPlace> {
        self.place.take()
    }
}

/// An activity task given to a worker; ActivityStarted is durable.
pub(crate) struct ActivityGrant {
    pub(crate) token: Arc<str>,
    pub(crate) input: Value,
}

/// What the store holds of an execution.
pub(crate) enum Stored {
    /// It is closed (or was never started, and does not exist): its messages have no one to read them.
    Closed {
        messages: Vec<Message>,
        exists: bool,
    },
    Open(Box<StoredOpen>),
    /// It is not yet, and a message in its inbox begins it.
    New {
        open: Box<StoredOpen>,
        new: Box<NewExecution>,
        mode: Mode,
    },
}

/// What a crash means for attempts that a stored execution waits for; one that is not named is dispatched again.
pub(crate) type CrashRules = BTreeMap<TaskId, OnCrash>;

/// Why an execution cannot be taken up.
#[derive(Clone, Debug)]
pub(crate) enum LoadError {
    /// The store cannot be read at present.
    Unreadable(String),
    /// What is stored is not what was: reading it again gives the same.
    Damaged(String),
}

impl From<Error> for LoadError {
    fn from(error: Error) -> LoadError {
        match error {
            Error::Damaged(why) => LoadError::Damaged(why),
            error @ (Error::Rejected { .. }
            | Error::Busy(_)
            | Error::Held(_)
            | Error::Unopened(_)
            | Error::Unusable(_)
            | Error::Broken(_)) => LoadError::Unreadable(error.to_string()),
        }
    }
}

/// An execution to fold.
pub(crate) struct StoredOpen {
    pub(crate) info: Arc<Info>,
    pub(crate) program: Arc<Program>,
    /// As its log folds it.
    pub(crate) subject: Subject,
    pub(crate) messages: Vec<Message>,
}

/// A message as an input of the interpreter; `None` when it cannot be read.
pub(super) fn message_input(message: &Message) -> Option<Input> {
    match record::decode(&message.payload).ok()? {
        InboxItem::Answer {
            entry,
            attempt,
            answer,
        } => Some(Input::TaskEnded {
            task: TaskId { entry, attempt },
            outcome: answer.outcome(),
        }),
        InboxItem::Stop { error, cause } => Some(Input::StopAsked { error, cause }),
        // As a message, nothing else is one.
        InboxItem::Admitted => Some(Input::Continue),
        InboxItem::Line(_) | InboxItem::Status(_) => None,
        InboxItem::Redrive => Some(Input::RedriveAsked {
            token: None,
            by: RedrivenBy::MapRun,
        }),
        InboxItem::RedriveMapRun { count } => {
            Some(Input::MapRun(Box::new(MapRunInput::RedriveAsked { count })))
        }
        InboxItem::Begin(start) => {
            let arn = reader::execution_arn(&start.meta, &start.name);
            Some(Input::Started(Box::new(start.start(arn))))
        }
        InboxItem::ChildStarted {
            of,
            child,
            arn,
            started_ms,
        } => Some(Input::ChildStarted {
            task: children::task(of)?,
            child: ChildId(child),
            output: children::response(&arn, Timestamp(started_ms)),
        }),
        InboxItem::ChildEnded {
            of: Child::Item { index, .. },
            child,
            end,
        } => Some(Input::MapRun(Box::new(map_run::child_ended(
            index, child, &end,
        )))),
        InboxItem::ChildEnded { of, end, .. } => Some(Input::ChildEnded {
            task: children::task(of)?,
            outcome: children::outcome(of, &end),
        }),
        InboxItem::BeginMapRun(begin) => {
            let start = map_run::start_of(&begin)?;
            Some(Input::MapRun(Box::new(MapRunInput::Started(start))))
        }
        InboxItem::MapRunEnded {
            of,
            ending,
            redrive,
        } => Some(Input::MapRunEnded {
            run: children::task(of)?,
            redrive,
            ending: map_run::ending(ending),
        }),
        InboxItem::ChangeMapRun {
            concurrency,
            tolerated_count,
            tolerated_percentage,
        } => Some(changed(MapRunChange {
            concurrency,
            tolerated_count,
            tolerated_percentage,
        })),
    }
}

fn changed(change: MapRunChange) -> Input {
    Input::MapRun(Box::new(MapRunInput::Changed(change)))
}
