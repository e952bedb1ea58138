//! Reads of one execution from the store: what recovery folds and what the describing calls show. Hides segments.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Display,
    sync::Arc,
};

use sha2::{Digest, Sha256};
use stepwell_asl::Program;
use stepwell_interp::{BlobHash, Event, Measures, NotRedrivable, Place, Start, Timestamp, What};
use stepwell_query::Value;

use crate::{
    api::{Execution, ExecutionSummary, HistoryEntry, Redrivable, Status},
    error::Error,
    journal::{
        ExecutionId, ExecutionRow, Journal, Look, Message, NewExecution, RESTORE, ReadError,
        ScopeId, Segment, SegmentRange, StoredSegment,
    },
    limits::READ_BYTES_MAX,
    map_run,
    outbox::StatusChange,
    programs::{Programs, from_hex},
    record::{self, Child, ChildStart, InboxItem, MapRunBegin, Meta},
    seal,
    shard::{Info, LoadError, Mode, Stored, StoredOpen, Subject},
};

/// What a shard needs to take up an execution; one that is closed only when it is to be redriven.
pub(crate) async fn stored(
    journal: &dyn Journal,
    programs: &Programs,
    id: ExecutionId,
    closed_too: bool,
) -> Result<Stored, LoadError> {
    let row = journal.execution(id).await.map_err(broken)?;
    let messages = journal.inbox(id).await.map_err(broken)?;
    let begins = || messages.iter().find_map(beginning);
    let reopens = closed_too || messages.iter().any(is_redrive);
    match (row, begins()) {
        (Some(row), _) if reopens || row.view.status == Status::Running => {
            let meta = meta(&row)?;
            let info = info(&meta, &row.new.name);
            let named = |error| named(&info.execution_arn, error);
            let program = program(programs, id, &meta).await.map_err(named)?;
            let subject = folded(journal, &row, &meta).await.map_err(named)?;
            Ok(Stored::Open(Box::new(StoredOpen {
                info: Arc::new(info),
                program,
                subject,
                messages,
            })))
        }
        (None, Some(Beginning::MapRun(begin))) => {
            let open = StoredOpen {
                info: Arc::new(info(&begin.meta, &begin.name)),
                program: program(programs, id, &begin.meta).await?,
                subject: Subject::MapRun(Box::default()),
                messages,
            };
            Ok(Stored::New {
                open: Box::new(open),
                new: Box::new(map_run::new_map_run(&begin)),
                mode: Mode::Durable,
            })
        }
        (None, Some(Beginning::Execution(start))) => {
            let program = program(programs, id, &start.meta).await?;
            let open = StoredOpen {
                info: Arc::new(info(&start.meta, &start.name)),
                program,
                subject: Subject::default(),
                messages,
            };
            Ok(Stored::New {
                open: Box::new(open),
                new: Box::new(new_execution(&start)),
                mode: if start.express {
                    Mode::ExpressAsync
                } else {
                    Mode::Durable
                },
            })
        }
        (Some(_), _) => Ok(Stored::Closed {
            messages,
            exists: true,
        }),
        (None, None) => Ok(Stored::Closed {
            messages,
            exists: false,
        }),
    }
}

/// Whether a message lets a closed execution or map run go on.
fn is_redrive(message: &Message) -> bool {
    let item = record::decode(&message.payload);
    item.is_ok_and(|item| matches!(item, InboxItem::Redrive | InboxItem::RedriveMapRun { .. }))
}

/// What a message begins, when it is one that begins its execution.
fn beginning(message: &Message) -> Option<Beginning> {
    match record::decode(&message.payload).ok()? {
        InboxItem::Begin(start) => Some(Beginning::Execution(start)),
        InboxItem::BeginMapRun(begin) => Some(Beginning::MapRun(begin)),
        InboxItem::Admitted
        | InboxItem::Line(_)
        | InboxItem::Status(_)
        | InboxItem::Answer { .. }
        | InboxItem::Stop { .. }
        | InboxItem::Redrive
        | InboxItem::RedriveMapRun { .. }
        | InboxItem::ChildStarted { .. }
        | InboxItem::ChildEnded { .. }
        | InboxItem::MapRunEnded { .. }
        | InboxItem::ChangeMapRun { .. } => None,
    }
}

enum Beginning {
    Execution(Box<ChildStart>),
    MapRun(Box<MapRunBegin>),
}

fn new_execution(start: &ChildStart) -> NewExecution {
    NewExecution {
        scope: ScopeId(start.scope),
        version: None,
        alias: None,
        name: start.name.clone(),
        unique_name: start.unique_name,
        started_at: Timestamp(start.started_ms),
        meta: record::encode(&start.meta),
    }
}

fn info(meta: &Meta, name: &str) -> Info {
    Info {
        tenant: meta.tenant.clone(),
        execution_arn: execution_arn(meta, name),
        machine_arn: meta.machine_arn.clone(),
        trace_header: meta.trace_header.clone(),
        parent: meta.parent,
        definition: meta.definition.as_str().into(),
        revision_id: meta.revision_id.clone(),
        revised_ms: meta.revised_ms,
        logging: meta.logging.clone(),
        line: meta.line.clone(),
        traced: meta.traced,
    }
}

async fn program(programs: &Programs, id: ExecutionId, meta: &Meta) -> Result<Arc<Program>, Error> {
    let hash = from_hex(&meta.definition).ok_or_else(|| damaged(&id, &"it names no definition"))?;
    programs.get(hash).await.map(|(_, program)| program)
}

/// What the log of an execution or map run folds to.
pub(crate) async fn folded(
    journal: &dyn Journal,
    row: &ExecutionRow,
    meta: &Meta,
) -> Result<Subject, Error> {
    let mut subject = match meta.parent.map(|parent| parent.of) {
        Some(Child::MapRun { .. }) => Subject::MapRun(Box::default()),
        Some(Child::Job { .. } | Child::Free { .. } | Child::Item { .. }) | None => {
            Subject::default()
        }
    };
    each_event(journal, row, |event| subject.evolve(event)).await?;
    Ok(subject)
}

/// Shows all events that an execution or map run had when its row was read, in order and without a gap. What was appended
/// since is left out: a describing call reads beside the shard that appends.
pub(crate) async fn each_event(
    journal: &dyn Journal,
    row: &ExecutionRow,
    mut show: impl FnMut(&Event),
) -> Result<(), Error> {
    let mut decoder = Decoder::new(journal);
    let mut first = 1;
    while first < row.next {
        let page = journal
            .segments(row.id, SegmentRange::From { first }, READ_BYTES_MAX)
            .await
            .map_err(broken)?;
        // A segment that was appended since is no part of it.
        if page.first().is_none_or(|segment| segment.first >= row.next) {
            let why = format!(
                "its log ends before event {first} and should have {}",
                row.next - 1
            );
            return Err(damaged(&row.id, &why));
        }
        for segment in page.iter().take_while(|segment| segment.first < row.next) {
            if segment.first != first {
                let why = format!("the segment that begins with event {first} is missing");
                return Err(damaged(&row.id, &why));
            }
            first += u64::from(segment.segment.events);
            let events = decoder.events(row.id, segment).await?;
            events.iter().for_each(&mut show);
        }
    }
    if first == row.next {
        return Ok(());
    }
    let why = format!("its log has event {}, its row not", first - 1);
    Err(damaged(&row.id, &why))
}

/// The bytes of a segment as they are stored at its place.
pub(crate) fn seal_segment(id: ExecutionId, first: u64, segment: &mut Segment) {
    segment.bytes = seal::seal(&place(id, first, segment), &segment.bytes).into();
}

/// Reads the events of segments. A large value that several of them have is read once and shared.
pub(crate) struct Decoder<'j> {
    journal: &'j dyn Journal,
    blobs: BTreeMap<BlobHash, Value>,
}

impl<'j> Decoder<'j> {
    pub(crate) fn new(journal: &'j dyn Journal) -> Decoder<'j> {
        Decoder {
            journal,
            blobs: BTreeMap::new(),
        }
    }

    /// The events of one segment; an error when it is not what was stored there.
    pub(crate) async fn events(
        &mut self,
        id: ExecutionId,
        stored: &StoredSegment,
    ) -> Result<Vec<Event>, Error> {
        let StoredSegment { first, segment } = stored;
        let wrong = |why: &(dyn Display + Sync)| {
            damaged(
                &id,
                &format!("the segment that begins with event {first}: {why}"),
            )
        };
        let place = place(id, *first, segment);
        let bytes = seal::open(&place, &segment.bytes).map_err(|error| wrong(&error))?;
        for hash in stepwell_interp::blobs_of(bytes).map_err(|error| wrong(&error))? {
            if let Entry::Vacant(vacant) = self.blobs.entry(hash) {
                let blob = self.journal.blob(hash).await.map_err(broken)?;
                let value = blob_value(hash, blob.as_deref());
                vacant.insert(value.map_err(|error| wrong(&error))?);
            }
        }
        let events = stepwell_interp::decode_with(bytes, &self.blobs);
        let events = events.map_err(|error| wrong(&error))?;
        if events.len() == segment.events as usize {
            return Ok(events);
        }
        let (found, stored) = (events.len(), segment.events);
        Err(wrong(&format!(
            "it holds {found} events and should hold {stored}"
        )))
    }
}

/// The value of a blob, whose hash is its seal.
fn blob_value(hash: BlobHash, blob: Option<&[u8]>) -> Result<Value, String> {
    let blob = blob.ok_or("a large value of it is missing")?;
    if Sha256::digest(blob)[..] != hash {
        return Err("the checksum of a large value of it is wrong".to_owned());
    }
    stepwell_interp::decode_blob(blob).map_err(|error| error.to_string())
}

/// What a segment's seal covers beside its bytes.
fn place(id: ExecutionId, first: u64, segment: &Segment) -> [u64; 5] {
    let (events, public) = (segment.events.into(), segment.public.into());
    [id.0, first, events, segment.first_public, public]
}

/// What is stored of an execution is not what was.
fn damaged(id: &ExecutionId, why: &dyn Display) -> Error {
    Error::Damaged(format!(
        "what is stored of execution {} is damaged: {why}; {RESTORE}",
        id.0
    ))
}

/// The public ones of these events with their ids, outcomes with what their attempts used: that is recorded before them.
pub(crate) fn public_entries(events: &[Event], first_public: u64) -> Vec<HistoryEntry> {
    let mut entries = Vec::new();
    let mut measured: Vec<(&Place, &Arc<Measures>)> = Vec::new();
    for event in events {
        if let What::Used { measures, .. } = &event.what {
            measured.retain(|(place, _)| **place != event.place);
            measured.push((&event.place, measures));
        }
        if !event.what.is_public() {
            continue;
        }
        let of_it = |(place, _): &(&Place, _)| is_outcome(&event.what) && **place == event.place;
        let used = measured.iter().position(of_it);
        entries.push(HistoryEntry {
            id: first_public + entries.len() as u64,
            event: event.clone(),
            used: used.map(|at| measured.swap_remove(at).1.clone()),
        });
    }
    entries
}

/// Whether it says how an attempt ended, or its request.
fn is_outcome(what: &What) -> bool {
    matches!(
        what,
        What::Submitted { .. }
            | What::Succeeded { .. }
            | What::Failed { .. }
            | What::TimedOut { .. }
    )
}

/// An error unless the entry is the one expected.
pub(crate) fn follows(id: ExecutionId, entry: &HistoryEntry, expected: u64) -> Result<(), Error> {
    if entry.id == expected {
        Ok(())
    } else {
        Err(lacks(id, expected))
    }
}

/// A log without this public event.
pub(crate) fn lacks(id: ExecutionId, event: u64) -> Error {
    damaged(&id, &format!("the event with the id {event} is missing"))
}

/// An error with the name by which users know the execution.
pub(crate) fn named(arn: &str, error: Error) -> Error {
    match error {
        Error::Damaged(why) => Error::Damaged(format!("{arn}: {why}")),
        error @ (Error::Rejected { .. }
        | Error::Busy(_)
        | Error::Held(_)
        | Error::Unopened(_)
        | Error::Unusable(_)
        | Error::Broken(_)) => error,
    }
}

fn meta(row: &ExecutionRow) -> Result<Meta, Error> {
    let name = || format!("execution {}", row.id.0);
    record::decode(&row.new.meta).map_err(|error| named(&name(), error))
}

/// The ARN of a stored execution, or of a map run.
pub(crate) fn execution_arn(meta: &Meta, name: &str) -> Arc<str> {
    if let (Some(arn), Some(Child::MapRun { .. })) =
        (&meta.map_run, meta.parent.map(|parent| parent.of))
    {
        return arn.clone();
    }
    let (stem, machine) = meta
        .machine_arn
        .split_once(":stateMachine:")
        .unwrap_or((&meta.machine_arn, ""));
    match &meta.express_run {
        Some(run) => format!("{stem}:express:{machine}:{name}:{run}").into(),
        None => format!("{stem}:execution:{machine}:{name}").into(),
    }
}

/// An execution in a list, from its row alone.
pub(crate) fn summary(row: &ExecutionRow) -> Result<ExecutionSummary, Error> {
    let meta = meta(row)?;
    Ok(ExecutionSummary {
        arn: execution_arn(&meta, &row.new.name),
        name: row.new.name.clone(),
        machine_arn: meta.machine_arn,
        version_arn: meta.version_arn,
        alias_arn: meta.alias_arn,
        status: row.view.status,
        started_at: row.new.started_at,
        stopped_at: row.view.stopped_at,
        map_run_arn: meta.map_run,
        items: meta.items,
        redrive_count: row.view.redrive_count,
        redriven_at: row.view.redriven_at,
        // Its map run knows.
        pending_redrive: false,
        // Its line knows.
        waiting: None,
    })
}

/// An execution as DescribeExecution shows it.
pub(crate) async fn describe(journal: &dyn Journal, look: &Look) -> Result<Execution, Error> {
    let row = &look.row;
    let meta = meta(row)?;
    let first = look
        .first
        .as_ref()
        .ok_or_else(|| damaged(&row.id, &"it has no events"))?;
    let mut decoder = Decoder::new(journal);
    let first = decoder.events(row.id, first).await?;
    let start = start_of(&first).ok_or_else(|| damaged(&row.id, &"it has no start"))?;
    let (input, forked_from) = (start.input.clone(), start.forked_from.clone());
    let mut execution = Execution {
        arn: execution_arn(&meta, &row.new.name),
        name: row.new.name.clone(),
        machine_arn: meta.machine_arn,
        version_arn: meta.version_arn,
        alias_arn: meta.alias_arn,
        status: row.view.status,
        started_at: row.new.started_at,
        stopped_at: row.view.stopped_at,
        input,
        output: None,
        error: None,
        cause: None,
        trace_header: meta.trace_header,
        map_run_arn: meta.map_run,
        forked_from,
        redrive_count: row.view.redrive_count,
        redriven_at: row.view.redriven_at,
        // The catalog has a say in it too.
        redrivable: Redrivable::No(NotRedrivable::Running),
        pending_redrive: false,
        waiting: None,
    };
    if row.view.status != Status::Running {
        let stored = look.last.as_ref().or(look.first.as_ref());
        if stored.is_none_or(|last| last.first + u64::from(last.segment.events) != row.next) {
            return Err(damaged(&row.id, &"its last events are missing"));
        }
        let last = match &look.last {
            Some(last) => decoder.events(row.id, last).await?,
            None => first,
        };
        if !close(&mut execution, last.last()) {
            return Err(damaged(&row.id, &"its last event is not how it ended"));
        }
    }
    Ok(execution)
}

/// Fills in how an execution ended, from its last event; false when its status says otherwise.
fn close(execution: &mut Execution, last: Option<&Event>) -> bool {
    match (execution.status, last.map(|event| &event.what)) {
        (Status::Succeeded, Some(What::ExecutionSucceeded { output })) => {
            execution.output = Some(output.clone());
            true
        }
        (Status::Failed, Some(What::ExecutionFailed { error, cause }))
        | (Status::Aborted, Some(What::ExecutionAborted { error, cause })) => {
            execution.error.clone_from(error);
            execution.cause.clone_from(cause);
            true
        }
        // DescribeExecution has neither error nor cause for TIMED_OUT.
        (Status::TimedOut, Some(What::ExecutionTimedOut { .. })) => true,
        (
            Status::Running
            | Status::Succeeded
            | Status::Failed
            | Status::TimedOut
            | Status::Aborted,
            _,
        ) => false,
    }
}

/// What was fixed when a stored execution started.
pub(crate) async fn start_of_execution(
    journal: &dyn Journal,
    id: ExecutionId,
) -> Result<Option<Start>, Error> {
    let first = edge(journal, id, SegmentRange::From { first: 1 }).await?;
    Ok(start_of(&first).cloned())
}

/// The role with which a stored execution was started.
pub(crate) async fn role_of(
    journal: &dyn Journal,
    id: ExecutionId,
) -> Result<Option<Arc<str>>, Error> {
    let first = edge(journal, id, SegmentRange::From { first: 1 }).await?;
    Ok(start_of(&first).map(|start| start.role_arn.clone()))
}

async fn edge(
    journal: &dyn Journal,
    id: ExecutionId,
    range: SegmentRange,
) -> Result<Vec<Event>, Error> {
    let segments = journal.segments(id, range, 1).await.map_err(broken)?;
    match segments.first() {
        Some(segment) => Decoder::new(journal).events(id, segment).await,
        None => Ok(Vec::new()),
    }
}

fn start_of(events: &[Event]) -> Option<&Start> {
    match &events.first()?.what {
        What::ExecutionStarted { start, .. } => Some(start),
        _ => None,
    }
}

/// What there is to say of the change of status that an execution's event of that id is.
pub(crate) async fn status_change(
    journal: &dyn Journal,
    id: ExecutionId,
    public: u64,
) -> Result<StatusChange, Error> {
    let row = journal.execution(id).await.map_err(broken)?;
    let row = row.ok_or_else(|| damaged(&id, &"it is not there"))?;
    let meta = meta(&row)?;
    let mut decoder = Decoder::new(journal);
    let range = SegmentRange::From { first: 1 };
    let first = journal.segments(id, range, 1).await.map_err(broken)?;
    let first = first
        .first()
        .ok_or_else(|| damaged(&id, &"it has no events"))?;
    let begun = decoder.events(id, first).await?;
    let start = start_of(&begun).ok_or_else(|| damaged(&id, &"it has no start"))?;
    let of_segment = |events: &[Event], stored: &StoredSegment| {
        let mut entries = public_entries(events, stored.segment.first_public).into_iter();
        entries.find(|entry| entry.id == public)
    };
    let found = match of_segment(&begun, first) {
        Some(found) => Some(found),
        None => {
            let range = SegmentRange::Forward { public };
            let segments = journal.segments(id, range, 1).await.map_err(broken)?;
            match segments.first() {
                Some(stored) => of_segment(&decoder.events(id, stored).await?, stored),
                None => None,
            }
        }
    };
    Ok(StatusChange {
        execution_arn: execution_arn(&meta, &row.new.name),
        start: start.clone(),
        started_at: row.new.started_at,
        event: found.ok_or_else(|| lacks(id, public))?.event,
    })
}

/// A failed read is the runtime's failure.
pub(crate) fn broken(error: ReadError) -> Error {
    match &error {
        ReadError::Unreadable(_) => Error::Broken(error.to_string()),
        ReadError::Damaged(_) => Error::Damaged(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Append, MemoryJournal, NewExecution, Partition, View, Write};
    use futures_util::FutureExt;
    use stepwell_interp::Place;

    fn now<T>(answer: impl Future<Output = T>) -> T {
        answer.now_or_never().expect("memory answers at once")
    }

    /// Appends one event at this place.
    fn append(journal: &MemoryJournal, execution: ExecutionId, first: u64) {
        let wanted = [execution.partition()];
        let leases = now(journal.lease("node", &wanted, 60_000)).expect("a lease");
        let event = Event {
            at: Timestamp(first),
            previous: 0,
            place: Place::default(),
            what: What::ExecutionTimedOut {
                error: None,
                cause: None,
            },
        };
        let mut segment = Segment {
            events: 1,
            first_public: first,
            public: 1,
            bytes: stepwell_interp::encode(&[event]).into(),
        };
        seal_segment(execution, first, &mut segment);
        let new = NewExecution {
            scope: ScopeId(1),
            version: None,
            alias: None,
            name: "e".into(),
            unique_name: true,
            started_at: Timestamp(0),
            meta: Arc::new([]),
        };
        let append = Append {
            execution,
            epoch: leases[0].epoch,
            expected_next: first,
            create: (first == 1).then_some(new),
            segment,
            blobs: Vec::new(),
            view: View::default(),
            open: Vec::new(),
            close: Vec::new(),
            send: Vec::new(),
            consume: Vec::new(),
            charges: Vec::new(),
        };
        let mut verdicts = now(journal.commit(vec![Write::Append(append)]));
        verdicts.remove(0).expect("the append lands");
    }

    #[test]
    fn what_was_appended_since_the_row_was_read_is_left_out() {
        let journal = MemoryJournal::new(Arc::new(|| Timestamp(0)));
        let execution = ExecutionId::new(1, 0, Partition(0));
        append(&journal, execution, 1);
        append(&journal, execution, 2);
        let row = now(journal.execution(execution)).expect("readable");
        let mut row = row.expect("it is there");
        append(&journal, execution, 3);
        let mut shown = 0;
        now(each_event(&journal, &row, |_| shown += 1)).expect("the log is whole");
        assert_eq!(shown, 2);
        row.next += 2;
        let error = now(each_event(&journal, &row, |_| {})).expect_err("one event is missing");
        assert!(error.to_string().contains("ends before event 4"), "{error}");
    }
}
