//! What a [`Write`] demands and what it changes, as plain maps. Hides the order of the checks: every store answers
//! as this module does, and the stores that can hold (or fetch) the facts in memory use it directly.
//!
//! Checks of an append, first failure wins: the lease, the position in the log, the name, the messages it consumes,
//! the tasks it closes. Tasks are opened before others are closed; messages are consumed before others are sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Append, CatalogKey, CatalogWrite, Charges, Epoch, ExecutionId, ExecutionRow, Landed, Message,
    MessageId, OpenTask, Outgoing, Partition, Refused, ScopeId, TokenHash, Verdict, Write,
};

/// Bits of a message's id that hold its partition; the counter lies above them.
const PARTITION_BITS: u32 = 10;

/// All that a verdict depends on; for a whole store, or for the part that one batch touches.
#[derive(Default)]
pub(super) struct Facts {
    /// The epoch of each partition; one never leased is at 0.
    pub(super) epochs: BTreeMap<Partition, Epoch>,
    pub(super) rows: BTreeMap<ExecutionId, ExecutionRow>,
    /// Names that must stay unique in their scope.
    pub(super) names: BTreeMap<(ScopeId, Arc<str>), ExecutionId>,
    pub(super) tasks: BTreeMap<TokenHash, OpenTask>,
    pub(super) messages: BTreeMap<MessageId, Message>,
    /// Counter of the last message given to each partition.
    pub(super) last_message: BTreeMap<Partition, u64>,
    pub(super) catalog: BTreeMap<CatalogKey, Versioned>,
}

/// A catalog record without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versioned {
    pub(super) revision: u64,
    pub(super) bytes: Arc<[u8]>,
}

/// Told of each change as it happens: a store keeps its indexes by it, or notes what to write.
pub(super) trait Changes {
    fn row(&mut self, old: Option<&ExecutionRow>, new: &ExecutionRow);
    fn segment(&mut self, append: &Append);
    fn task_opened(&mut self, task: &OpenTask);
    fn task_closed(&mut self, task: &OpenTask);
    fn message_sent(&mut self, message: &Message);
    fn message_consumed(&mut self, message: &Message);
    fn record(&mut self, key: &CatalogKey);
    fn blob(&mut self, hash: [u8; 32], bytes: &Arc<[u8]>);
    fn blob_removed(&mut self, hash: [u8; 32]);
    fn charged(&mut self, charges: &Charges);
}

impl Facts {
    /// Applies one write whole, or refuses it and changes nothing.
    pub(super) fn apply(&mut self, write: &Write, changes: &mut impl Changes) -> Verdict {
        match write {
            Write::Append(append) => self.append(append, changes),
            Write::Answer { token, message } => {
                let task = self.tasks.remove(token).ok_or(Refused::TokenGone)?;
                changes.task_closed(&task);
                Ok(self.send(std::slice::from_ref(message), changes))
            }
            Write::Post(message) => Ok(self.send(std::slice::from_ref(message), changes)),
            Write::Catalog(records) => self.records(records, changes),
            Write::Discard(ids) => {
                self.consume(ids, changes);
                Ok(Landed::default())
            }
            Write::Blob { hash, bytes } => {
                changes.blob(*hash, bytes);
                Ok(Landed::default())
            }
            Write::Charge(charges) => {
                changes.charged(charges);
                Ok(Landed::default())
            }
            Write::Code(code) => {
                let landed = self.records(&code.records, changes)?;
                if let Some(hash) = code.remove {
                    changes.blob_removed(hash);
                }
                if let Some((hash, bytes)) = &code.keep {
                    changes.blob(*hash, bytes);
                }
                changes.charged(&code.charges);
                Ok(landed)
            }
        }
    }

    fn append(&mut self, append: &Append, changes: &mut impl Changes) -> Verdict {
        self.check(append)?;
        let row = self.next_row(append);
        changes.row(self.rows.get(&append.execution), &row);
        if row.new.unique_name && append.create.is_some() {
            self.names
                .insert((row.new.scope, row.new.name.clone()), row.id);
        }
        self.rows.insert(row.id, row);
        for (hash, bytes) in &append.blobs {
            changes.blob(*hash, bytes);
        }
        changes.segment(append);
        changes.charged(&append.charges);
        for task in &append.open {
            if let Some(old) = self.tasks.insert(task.token, task.clone()) {
                changes.task_closed(&old);
            }
            changes.task_opened(task);
        }
        for close in &append.close {
            if let Some(task) = self.tasks.remove(&close.token) {
                changes.task_closed(&task);
            }
        }
        self.consume(&append.consume, changes);
        Ok(self.send(&append.send, changes))
    }

    fn consume(&mut self, ids: &[MessageId], changes: &mut impl Changes) {
        for id in ids {
            if let Some(message) = self.messages.remove(id) {
                changes.message_consumed(&message);
            }
        }
    }

    fn check(&self, append: &Append) -> Result<(), Refused> {
        let epoch = self
            .epochs
            .get(&append.execution.partition())
            .copied()
            .unwrap_or(Epoch(0));
        if append.epoch != epoch {
            return Err(Refused::LeaseLost);
        }
        let stored = self.rows.get(&append.execution);
        check_position(append, stored.map(|row| row.next))?;
        if let Some(new) = append.create.as_ref().filter(|new| new.unique_name)
            && let Some(execution) = self.names.get(&(new.scope, new.name.clone()))
        {
            return Err(Refused::NameTaken {
                execution: *execution,
            });
        }
        if !distinct(&append.consume)
            || !append
                .consume
                .iter()
                .all(|id| self.messages.contains_key(id))
        {
            return Err(Refused::MessageGone);
        }
        check_closes(append, |token| Ok(self.tasks.contains_key(token)))
    }

    fn next_row(&self, append: &Append) -> ExecutionRow {
        let new = match (&append.create, self.rows.get(&append.execution)) {
            (Some(new), _) => new.clone(),
            (None, Some(row)) => row.new.clone(),
            (None, None) => {
                unreachable!("`check_position` refuses an append to a log that was never begun")
            }
        };
        ExecutionRow {
            id: append.execution,
            new,
            view: append.view.clone(),
            next: append.expected_next + u64::from(append.segment.events),
            next_public: append.segment.first_public + u64::from(append.segment.public),
        }
    }

    fn send(&mut self, messages: &[Outgoing], changes: &mut impl Changes) -> Landed {
        let mut landed = Landed::default();
        for outgoing in messages {
            let partition = outgoing.to.partition();
            let last = self.last_message.entry(partition).or_default();
            *last += 1;
            let id = MessageId(*last << PARTITION_BITS | u64::from(partition.0));
            let message = Message {
                id,
                to: outgoing.to,
                payload: outgoing.payload.clone(),
            };
            changes.message_sent(&message);
            self.messages.insert(id, message);
            landed.messages.push(id);
        }
        landed
    }

    fn records(&mut self, records: &[CatalogWrite], changes: &mut impl Changes) -> Verdict {
        let revisions = plan_records::<Refused>(records, |key| {
            Ok(self.catalog.get(key).map(|record| record.revision))
        })?;
        for (write, revision) in records.iter().zip(&revisions) {
            match &write.bytes {
                Some(bytes) => {
                    let record = Versioned {
                        revision: *revision,
                        bytes: bytes.clone(),
                    };
                    self.catalog.insert(write.key.clone(), record);
                }
                None => {
                    self.catalog.remove(&write.key);
                }
            }
            changes.record(&write.key);
        }
        Ok(Landed {
            messages: Vec::new(),
            revisions,
        })
    }
}

/// Whether the append continues the log, whose next event is `stored` (`None`: no such execution).
pub(super) fn check_position(append: &Append, stored: Option<u64>) -> Result<(), Refused> {
    if append.segment.events == 0 {
        return Err(Refused::Broken(
            "an append without events was asked for".to_owned(),
        ));
    }
    let fits = match (&append.create, stored) {
        (Some(_), None) => append.expected_next == 1,
        (None, Some(next)) => append.expected_next == next,
        (Some(_), Some(_)) | (None, None) => false,
    };
    if fits {
        Ok(())
    } else {
        Err(Refused::WrongPosition {
            next: stored.unwrap_or(1),
        })
    }
}

/// Whether each task that must be open is open: in the store, or by this append itself, and closed only once.
pub(super) fn check_closes<E: From<Refused>>(
    append: &Append,
    exists: impl Fn(&TokenHash) -> Result<bool, E>,
) -> Result<(), E> {
    for (index, close) in append
        .close
        .iter()
        .enumerate()
        .filter(|(_, close)| close.must_exist)
    {
        let closed_before = append.close[..index]
            .iter()
            .any(|other| other.token == close.token);
        let opened_here = append.open.iter().any(|task| task.token == close.token);
        if closed_before || !(opened_here || exists(&close.token)?) {
            return Err(Refused::TokenGone.into());
        }
    }
    Ok(())
}

/// Whether no message is consumed twice.
pub(super) fn distinct(ids: &[MessageId]) -> bool {
    ids.len() < 2 || ids.iter().collect::<BTreeSet<_>>().len() == ids.len()
}

/// Checks the records of one catalog write in order, later ones seeing earlier ones, and answers their revisions
/// after it (0 for a deletion).
pub(super) fn plan_records<E: From<Refused>>(
    records: &[CatalogWrite],
    stored: impl Fn(&CatalogKey) -> Result<Option<u64>, E>,
) -> Result<Vec<u64>, E> {
    let mut overlay: BTreeMap<&CatalogKey, Option<u64>> = BTreeMap::new();
    let mut revisions = Vec::with_capacity(records.len());
    for (index, write) in records.iter().enumerate() {
        let current = match overlay.get(&write.key) {
            Some(current) => *current,
            None => stored(&write.key)?,
        };
        if write
            .expected
            .is_some_and(|expected| expected != current.unwrap_or(0))
        {
            return Err(Refused::Conflict {
                record: index,
                revision: current,
            }
            .into());
        }
        let after = write.bytes.as_ref().map(|_| current.unwrap_or(0) + 1);
        overlay.insert(&write.key, after);
        revisions.push(after.unwrap_or(0));
    }
    Ok(revisions)
}
