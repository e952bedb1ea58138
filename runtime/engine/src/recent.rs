//! Executions that closed a moment ago, as the store would show them. Most calls that describe an execution come right
//! after its end, and then need neither the store nor one of its threads. Hides how many there are.
//!
//! What is here is what the store holds: it comes with the append that closed the execution, when that is durable, and
//! goes before the next one is written. Another node may write it once this one has lost the partition, so an entry
//! counts under the epoch it came with alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    journal::{Epoch, ExecutionId, Look, ScopeId},
    limits::{RECENT_BYTES_MAX, RECENT_ENTRY_BYTES_MAX},
};

/// Bytes of an entry beside its segments and texts: the maps' slots and the row itself.
const ENTRY_BYTES: usize = 512;

/// See the module.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_id: HashMap<ExecutionId, Entry>,
    by_name: HashMap<(ScopeId, Arc<str>), ExecutionId>,
    /// Oldest first; ids of entries that were forgotten stay until it is their turn.
    order: VecDeque<(ExecutionId, u64)>,
    bytes: usize,
    /// How many were put: tells an entry from an earlier one of its execution.
    puts: u64,
}

struct Entry {
    put: u64,
    epoch: Epoch,
    bytes: usize,
    look: Arc<Look>,
}

impl Recent {
    /// An execution that is closed and durable, under the epoch of its last append. One that is large is left out.
    pub(crate) fn put(&self, epoch: Epoch, look: Look) {
        let bytes = weight(&look);
        let mut entries = self.entries();
        entries.forget(look.row.id);
        if bytes > RECENT_ENTRY_BYTES_MAX {
            return;
        }
        entries.puts += 1;
        let (id, put) = (look.row.id, entries.puts);
        let name = (look.row.new.scope, look.row.new.name.clone());
        let look = Arc::new(look);
        let entry = Entry {
            put,
            epoch,
            bytes,
            look,
        };
        entries.by_name.insert(name, id);
        entries.by_id.insert(id, entry);
        entries.order.push_back((id, put));
        entries.bytes += bytes;
        entries.make_room();
    }

    /// What is stored of it is about to change.
    pub(crate) fn forget(&self, id: ExecutionId) {
        self.entries().forget(id);
    }

    /// The one of that name, and the epoch in which this is what the store holds.
    pub(crate) fn get(&self, scope: ScopeId, name: &str) -> Option<(Epoch, Arc<Look>)> {
        let entries = self.entries();
        let id = entries.by_name.get(&(scope, name.into()))?;
        let entry = entries.by_id.get(id)?;
        Some((entry.epoch, entry.look.clone()))
    }

    /// All of them.
    #[cfg(feature = "sim")]
    pub(crate) fn all(&self) -> Vec<(Epoch, Arc<Look>)> {
        let entries = self.entries();
        let all = entries.by_id.values();
        let mut all: Vec<_> = all.map(|entry| (entry.epoch, entry.look.clone())).collect();
        all.sort_by_key(|(_, look)| look.row.id);
        all
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn forget(&mut self, id: ExecutionId) {
        let Some(entry) = self.by_id.remove(&id) else {
            return;
        };
        self.bytes -= entry.bytes;
        let new = &entry.look.row.new;
        let name = (new.scope, new.name.clone());
        // A later execution may have the name by now.
        if self.by_name.get(&name) == Some(&id) {
            self.by_name.remove(&name);
        }
    }

    fn make_room(&mut self) {
        while self.bytes > RECENT_BYTES_MAX
            && let Some((id, put)) = self.order.pop_front()
        {
            if self.by_id.get(&id).is_some_and(|entry| entry.put == put) {
                self.forget(id);
            }
        }
    }
}

/// Bytes of memory that an entry takes.
fn weight(look: &Look) -> usize {
    let segments = [&look.first, &look.last];
    let segments = segments.into_iter().flatten();
    let segments: usize = segments.map(|stored| stored.segment.bytes.len()).sum();
    let new = &look.row.new;
    ENTRY_BYTES + 2 * new.name.len() + new.meta.len() + segments
}

#[cfg(test)]
mod tests {
    use stepwell_interp::Timestamp;

    use super::*;
    use crate::journal::{ExecutionRow, NewExecution, Segment, Status, StoredSegment, View};

    fn look(id: u64, name: &str, bytes: usize) -> Look {
        let segment = Segment {
            events: 1,
            first_public: 1,
            public: 1,
            bytes: vec![0; bytes].into(),
        };
        Look {
            row: ExecutionRow {
                id: ExecutionId(id),
                new: NewExecution {
                    scope: ScopeId(1),
                    version: None,
                    alias: None,
                    name: name.into(),
                    unique_name: true,
                    started_at: Timestamp(1),
                    meta: Arc::from([]),
                },
                view: View {
                    status: Status::Succeeded,
                    ..View::default()
                },
                next: 2,
                next_public: 2,
            },
            first: Some(StoredSegment { first: 1, segment }),
            last: None,
        }
    }

    #[test]
    fn what_was_put_is_found_by_scope_and_name_until_it_is_forgotten() {
        let recent = Recent::default();
        recent.put(Epoch(3), look(1, "a", 10));
        recent.put(Epoch(4), look(2, "b", 10));
        let (epoch, found) = recent.get(ScopeId(1), "a").unwrap();
        assert_eq!((epoch, found.row.id), (Epoch(3), ExecutionId(1)));
        assert!(recent.get(ScopeId(2), "a").is_none());
        recent.forget(ExecutionId(1));
        assert!(recent.get(ScopeId(1), "a").is_none());
        assert_eq!(recent.get(ScopeId(1), "b").unwrap().0, Epoch(4));
    }

    #[test]
    fn forgetting_an_execution_leaves_a_later_one_of_its_name() {
        let recent = Recent::default();
        recent.put(Epoch(1), look(1, "a", 10));
        recent.put(Epoch(1), look(2, "a", 10));
        recent.forget(ExecutionId(1));
        assert_eq!(
            recent.get(ScopeId(1), "a").unwrap().1.row.id,
            ExecutionId(2)
        );
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let recent = Recent::default();
        recent.put(Epoch(1), look(0, "large", RECENT_ENTRY_BYTES_MAX));
        assert!(recent.get(ScopeId(1), "large").is_none());
        let count = RECENT_BYTES_MAX as u64 / 10_000;
        for id in 1..=2 * count {
            recent.put(Epoch(1), look(id, &id.to_string(), 10_000));
            // Put again, as after a redrive: it is as young as its last entry.
            recent.put(Epoch(1), look(1, "1", 10_000));
        }
        assert!(recent.entries().bytes <= RECENT_BYTES_MAX);
        assert!(recent.get(ScopeId(1), "1").is_some());
        assert!(recent.get(ScopeId(1), "2").is_none());
        assert!(recent.get(ScopeId(1), &(2 * count).to_string()).is_some());
        for id in 1..=2 * count {
            recent.forget(ExecutionId(id));
        }
        let entries = recent.entries();
        assert_eq!((entries.bytes, entries.by_name.len()), (0, 0));
    }
}
