//! The journal in memory: everything a store promises but outliving the process. Hides its maps and their indexes.
//! Deterministic: ordered maps, the caller's clock, answers that are ready at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stepwell_interp::Timestamp;

use super::{
    Amounts, Answer, Append, Catalog, CatalogKey, CatalogRecord, Charges, Clock, Epoch,
    ExecutionId, ExecutionRow, Journal, Lease, List, ListQuery, Look, Message, MessageId, OpenTask,
    Partition, ReadError, ScopeId, SegmentRange, Status, StoredSegment, TokenHash, UsageKey,
    UsageOfTenants, UsageQuery, Verdict, Write,
    facts::{Changes, Facts},
    ready, segment_page, usage,
};

/// A journal in memory. Clones share one store, so that several engines can stand on it.
#[derive(Clone)]
pub(crate) struct MemoryJournal {
    store: Arc<Mutex<Store>>,
    clock: Clock,
}

#[derive(Default)]
struct Store {
    facts: Facts,
    indexes: Indexes,
    leases: BTreeMap<Partition, Held>,
}

struct Held {
    owner: Arc<str>,
    until: Timestamp,
}

/// What the read methods look at, kept in step with the facts.
#[derive(Default)]
struct Indexes {
    segments: BTreeMap<ExecutionId, Vec<StoredSegment>>,
    blobs: BTreeMap<[u8; 32], Arc<[u8]>>,
    by_list: BTreeSet<(List, ExecutionId)>,
    by_status: BTreeSet<(List, Status, ExecutionId)>,
    by_name: BTreeMap<(ScopeId, Arc<str>), ExecutionId>,
    hot: BTreeSet<ExecutionId>,
    due: BTreeSet<(Timestamp, ExecutionId)>,
    inbox: BTreeSet<(ExecutionId, MessageId)>,
    activities: BTreeSet<(ScopeId, Timestamp, TokenHash)>,
    usage: BTreeMap<UsageKey, Amounts>,
}

impl MemoryJournal {
    /// An empty store, whose leases run by `clock`.
    pub(crate) fn new(clock: Clock) -> MemoryJournal {
        MemoryJournal {
            store: Arc::default(),
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // A panic elsewhere leaves the maps whole: every change is made after all checks.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> T,
    ) -> Answer<Result<T, ReadError>> {
        ready(Ok(read(&self.lock())))
    }
}

impl Journal for MemoryJournal {
    fn commit(&self, batch: Vec<Write>) -> Answer<Vec<Verdict>> {
        let mut store = self.lock();
        let Store { facts, indexes, .. } = &mut *store;
        ready(
            batch
                .iter()
                .map(|write| facts.apply(write, indexes))
                .collect(),
        )
    }

    fn execution(&self, id: ExecutionId) -> Answer<Result<Option<ExecutionRow>, ReadError>> {
        self.read(|store| store.facts.rows.get(&id).cloned())
    }

    fn find(&self, scope: ScopeId, name: &str) -> Answer<Result<Option<ExecutionId>, ReadError>> {
        self.read(|store| {
            store
                .indexes
                .by_name
                .get(&(scope, Arc::from(name)))
                .copied()
        })
    }

    fn look(&self, scope: ScopeId, name: &str) -> Answer<Result<Option<Look>, ReadError>> {
        self.read(|store| {
            let id = store.indexes.by_name.get(&(scope, Arc::from(name)))?;
            let row = store.facts.rows.get(id)?.clone();
            let log = store.indexes.segments.get(id);
            let read = |range| log.and_then(|log| select(log, range, 0).pop());
            let first = read(SegmentRange::From { first: 1 });
            let last = Look::lacks_last(&row, first.as_ref()).then(|| read(SegmentRange::Last));
            Some(Look {
                row,
                first,
                last: last.flatten(),
            })
        })
    }

    fn list(&self, query: ListQuery) -> Answer<Result<Vec<ExecutionRow>, ReadError>> {
        self.read(|store| store.list(query))
    }

    fn segments(
        &self,
        id: ExecutionId,
        range: SegmentRange,
        bytes_max: usize,
    ) -> Answer<Result<Vec<StoredSegment>, ReadError>> {
        self.read(|store| match store.indexes.segments.get(&id) {
            Some(log) => select(log, range, bytes_max),
            None => Vec::new(),
        })
    }

    fn messages(
        &self,
        after: &[(Partition, MessageId)],
        limit: u32,
    ) -> Answer<Result<Vec<Message>, ReadError>> {
        let after: BTreeMap<Partition, MessageId> = after.iter().copied().collect();
        self.read(|store| {
            let Some(first) = after.values().min() else {
                return Vec::new();
            };
            let messages = store
                .facts
                .messages
                .range((Bound::Excluded(*first), Bound::Unbounded));
            let wanted = messages.filter(|(id, message)| {
                after
                    .get(&message.to.partition())
                    .is_some_and(|cursor| *id > cursor)
            });
            wanted
                .take(limit as usize)
                .map(|(_, message)| message.clone())
                .collect()
        })
    }

    fn inbox(&self, id: ExecutionId) -> Answer<Result<Vec<Message>, ReadError>> {
        self.read(|store| {
            let ids = store
                .indexes
                .inbox
                .range((id, MessageId(0))..=(id, MessageId(u64::MAX)));
            ids.filter_map(|(_, message)| store.facts.messages.get(message).cloned())
                .collect()
        })
    }

    fn hot(
        &self,
        partitions: &[Partition],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Answer<Result<Vec<ExecutionId>, ReadError>> {
        let wanted: BTreeSet<Partition> = partitions.iter().copied().collect();
        self.read(|store| {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let ids = store.indexes.hot.range((start, Bound::Unbounded)).copied();
            ids.filter(|id| wanted.contains(&id.partition()))
                .take(limit as usize)
                .collect()
        })
    }

    fn due(
        &self,
        partitions: &[Partition],
        until: Timestamp,
        limit: u32,
    ) -> Answer<Result<Vec<(ExecutionId, Timestamp)>, ReadError>> {
        let wanted: BTreeSet<Partition> = partitions.iter().copied().collect();
        self.read(|store| {
            let due = store.indexes.due.range(..=(until, ExecutionId(u64::MAX)));
            let wanted = due.filter(|(_, id)| wanted.contains(&id.partition()));
            wanted
                .take(limit as usize)
                .map(|(at, id)| (*id, *at))
                .collect()
        })
    }

    fn next_due(&self, partitions: &[Partition]) -> Answer<Result<Option<Timestamp>, ReadError>> {
        let wanted: BTreeSet<Partition> = partitions.iter().copied().collect();
        self.read(|store| {
            store
                .indexes
                .due
                .iter()
                .find(|(_, id)| wanted.contains(&id.partition()))
                .map(|(at, _)| *at)
        })
    }

    fn open_task(&self, token: TokenHash) -> Answer<Result<Option<OpenTask>, ReadError>> {
        self.read(|store| store.facts.tasks.get(&token).cloned())
    }

    fn activity_tasks(
        &self,
        activity: ScopeId,
        after: Option<(Timestamp, TokenHash)>,
        limit: u32,
    ) -> Answer<Result<Vec<OpenTask>, ReadError>> {
        self.read(|store| {
            let start = match after {
                Some((at, token)) => Bound::Excluded((activity, at, token)),
                None => Bound::Included((activity, Timestamp(0), TokenHash([0; 32]))),
            };
            let end = Bound::Included((activity, Timestamp(u64::MAX), TokenHash([0xff; 32])));
            let tokens = store
                .indexes
                .activities
                .range((start, end))
                .take(limit as usize);
            tokens
                .filter_map(|(_, _, token)| store.facts.tasks.get(token).cloned())
                .collect()
        })
    }

    fn blob(&self, hash: [u8; 32]) -> Answer<Result<Option<Arc<[u8]>>, ReadError>> {
        self.read(|store| store.indexes.blobs.get(&hash).cloned())
    }

    fn lease(
        &self,
        owner: &str,
        wanted: &[Partition],
        ttl_ms: u64,
    ) -> Answer<Result<Vec<Lease>, ReadError>> {
        let now = (self.clock)();
        ready(Ok(self.lock().lease(
            owner,
            wanted,
            now,
            now.plus_ms(ttl_ms),
        )))
    }

    fn release(&self, owner: &str) -> Answer<Result<(), ReadError>> {
        self.lock().leases.retain(|_, held| *held.owner != *owner);
        ready(Ok(()))
    }

    fn usage(&self, query: UsageQuery) -> Answer<Result<Vec<(UsageKey, Amounts)>, ReadError>> {
        self.read(|store| {
            let found = store.indexes.usage.range(query.start()..);
            let wanted = found.filter(|(key, _)| query.wants(key));
            wanted
                .take(query.limit as usize)
                .map(|(key, usage)| (key.clone(), *usage))
                .collect()
        })
    }

    fn usage_of_tenants(&self) -> Answer<Result<UsageOfTenants, ReadError>> {
        self.read(|store| {
            let mut sums: BTreeMap<Arc<str>, Amounts> = BTreeMap::new();
            for (key, usage) in &store.indexes.usage {
                *sums.entry(key.tenant.clone()).or_default() += *usage;
            }
            UsageOfTenants::whole(sums.into_iter())
        })
    }
}

impl Catalog for MemoryJournal {
    fn get(&self, key: &CatalogKey) -> Answer<Result<Option<CatalogRecord>, ReadError>> {
        self.read(|store| {
            let record = store.facts.catalog.get(key)?;
            Some(CatalogRecord {
                key: key.clone(),
                revision: record.revision,
                bytes: record.bytes.clone(),
            })
        })
    }

    fn scan(
        &self,
        tenant: &str,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Answer<Result<Vec<CatalogRecord>, ReadError>> {
        let start = match CatalogKey::scanned_first(tenant, kind, prefix, after) {
            (key, true) => Bound::Included(key),
            (key, false) => Bound::Excluded(key),
        };
        self.read(|store| {
            let records = store.facts.catalog.range((start, Bound::Unbounded));
            let wanted = records.take_while(|(key, _)| {
                *key.tenant == *tenant && *key.kind == *kind && key.name.starts_with(prefix)
            });
            let record = |(key, record): (&CatalogKey, &super::facts::Versioned)| CatalogRecord {
                key: key.clone(),
                revision: record.revision,
                bytes: record.bytes.clone(),
            };
            wanted.take(limit as usize).map(record).collect()
        })
    }
}

impl Store {
    fn list(&self, query: ListQuery) -> Vec<ExecutionRow> {
        let before = query.before.unwrap_or(ExecutionId(u64::MAX));
        let limit = query.limit as usize;
        let row = |id: &ExecutionId| self.facts.rows.get(id).cloned();
        match query.status {
            Some(status) => {
                let range = (query.list, status, ExecutionId(0))..(query.list, status, before);
                self.indexes
                    .by_status
                    .range(range)
                    .rev()
                    .take(limit)
                    .filter_map(|(_, _, id)| row(id))
                    .collect()
            }
            None => {
                let range = (query.list, ExecutionId(0))..(query.list, before);
                self.indexes
                    .by_list
                    .range(range)
                    .rev()
                    .take(limit)
                    .filter_map(|(_, id)| row(id))
                    .collect()
            }
        }
    }

    fn lease(
        &mut self,
        owner: &str,
        wanted: &[Partition],
        now: Timestamp,
        until: Timestamp,
    ) -> Vec<Lease> {
        for held in self
            .leases
            .values_mut()
            .filter(|held| *held.owner == *owner)
        {
            held.until = until;
        }
        for partition in wanted {
            if self
                .leases
                .get(partition)
                .is_some_and(|held| *held.owner == *owner || held.until > now)
            {
                continue;
            }
            self.leases.insert(
                *partition,
                Held {
                    owner: owner.into(),
                    until,
                },
            );
            self.facts.epochs.entry(*partition).or_insert(Epoch(0)).0 += 1;
        }
        let held = self.leases.iter().filter(|(_, held)| *held.owner == *owner);
        let lease = |(partition, held): (&Partition, &Held)| Lease {
            partition: *partition,
            epoch: self
                .facts
                .epochs
                .get(partition)
                .copied()
                .unwrap_or(Epoch(0)),
            until: held.until,
        };
        held.map(lease).collect()
    }
}

impl Changes for Indexes {
    fn row(&mut self, old: Option<&ExecutionRow>, new: &ExecutionRow) {
        match old {
            Some(old) => {
                for list in new.new.lists() {
                    self.by_status.remove(&(list, old.view.status, old.id));
                }
                if let Some(at) = old.view.wake_at {
                    self.due.remove(&(at, old.id));
                }
            }
            None => {
                let lists = new.new.lists().map(|list| (list, new.id));
                self.by_list.extend(lists);
                let newest = self
                    .by_name
                    .entry((new.new.scope, new.new.name.clone()))
                    .or_insert(new.id);
                *newest = new.id.max(*newest);
            }
        }
        for list in new.new.lists() {
            self.by_status.insert((list, new.view.status, new.id));
        }
        if let Some(at) = new.view.wake_at {
            self.due.insert((at, new.id));
        }
        if new.view.hot {
            self.hot.insert(new.id);
        } else {
            self.hot.remove(&new.id);
        }
    }

    fn segment(&mut self, append: &Append) {
        let stored = StoredSegment {
            first: append.expected_next,
            segment: append.segment.clone(),
        };
        self.segments
            .entry(append.execution)
            .or_default()
            .push(stored);
    }

    fn task_opened(&mut self, task: &OpenTask) {
        if let Some(activity) = task.activity {
            self.activities
                .insert((activity, task.scheduled_at, task.token));
        }
    }

    fn task_closed(&mut self, task: &OpenTask) {
        if let Some(activity) = task.activity {
            self.activities
                .remove(&(activity, task.scheduled_at, task.token));
        }
    }

    fn message_sent(&mut self, message: &Message) {
        self.inbox.insert((message.to, message.id));
    }

    fn message_consumed(&mut self, message: &Message) {
        self.inbox.remove(&(message.to, message.id));
    }

    fn record(&mut self, _key: &CatalogKey) {}

    fn blob(&mut self, hash: [u8; 32], bytes: &Arc<[u8]>) {
        self.blobs.entry(hash).or_insert_with(|| bytes.clone());
    }

    fn blob_removed(&mut self, hash: [u8; 32]) {
        self.blobs.remove(&hash);
    }

    fn charged(&mut self, charges: &Charges) {
        usage::add(&mut self.usage, charges);
    }
}

/// The part of a log that `range` asks for.
fn select(log: &[StoredSegment], range: SegmentRange, bytes_max: usize) -> Vec<StoredSegment> {
    let stored = |segment: &StoredSegment| Ok(segment.clone());
    let page = match range {
        SegmentRange::From { first } => {
            let start = log
                .partition_point(|stored| stored.first + u64::from(stored.segment.events) <= first);
            segment_page(log[start..].iter().map(stored), bytes_max)
        }
        SegmentRange::Forward { public } => {
            let ends = |stored: &StoredSegment| {
                stored.segment.first_public + u64::from(stored.segment.public)
            };
            let start = log.partition_point(|stored| ends(stored) <= public);
            segment_page(log[start..].iter().map(stored), bytes_max)
        }
        SegmentRange::Backward { public } => {
            let end = log.partition_point(|stored| stored.segment.first_public <= public);
            segment_page(log[..end].iter().rev().map(stored), bytes_max)
        }
        SegmentRange::Last => segment_page(log.last().into_iter().map(stored), bytes_max),
    };
    page.unwrap_or_else(|error: std::convert::Infallible| match error {})
}
