//! The log of an execution: its events out of segments that are what was stored, in order and without a gap. Hides the seals of
//! segments, and large values that several of them share.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Display,
    sync::Arc,
};

use sha2::{Digest, Sha256};
use stepwell_interp::{BlobHash, Event, Measures, Place, What};
use stepwell_query::Value;

use super::broken;
use crate::{
    api::HistoryEntry,
    error::Error,
    journal::{ExecutionId, ExecutionRow, Journal, RESTORE, Segment, SegmentRange, StoredSegment},
    limits::READ_BYTES_MAX,
    seal,
};

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
pub(super) fn damaged(id: &ExecutionId, why: &dyn Display) -> Error {
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use stepwell_interp::Timestamp;

    use super::*;
    use crate::journal::{Append, MemoryJournal, NewExecution, Partition, ScopeId, View, Write};

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
