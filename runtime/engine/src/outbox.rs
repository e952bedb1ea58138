//! Changes of executions' status that somebody must hear of, whatever crashes. Hides where they wait: a change is a message
//! in the append that makes it, to the outbox of its partition, an address that no execution has; it lies there until it is
//! settled. So it is durable with what it tells of, a node that takes a partition over finds it, and who wants none pays
//! nothing.
//!
//! A message says which change it is and no more: what is told of it is read from the log when its turn comes. The order,
//! and when something is sent again, is the [`Outbox`]'s affair.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stepwell_interp::{Event, Start, Timestamp};
use tokio::sync::Notify;

use crate::{
    api::Status,
    engine::Engine,
    error::Error,
    journal::{ExecutionId, Message, MessageId, Partition, Write},
    reader,
    record::{self, InboxItem, StatusItem},
};

/// Who is told of changes of status that are durable, and settles each when it is done with it.
pub trait Outbox: fmt::Debug + Send + Sync {
    /// The queues that such a change of a tenant's execution goes to; each gets an event of its own. Called where executions
    /// are worked on, before the change is durable: it must not wait.
    fn queues(&self, tenant: &str, status: Status) -> Vec<Arc<str>>;

    /// An event is durable. Those of one execution come in order but for what was in doubt; one may come more than once.
    fn put(&self, event: StatusEvent);

    /// Events of other partitions are another node's by now.
    fn keep(&self, partitions: &BTreeSet<u16>);

    /// Whether an event of this execution became durable is not known: none of its events is to be sent until it is.
    fn hold(&self, execution: u64);

    /// It is known: what became durable was put.
    fn release(&self, execution: u64);
}

/// Which change waits in which queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusEvent {
    /// Ascends with the changes of an execution.
    pub id: u64,
    pub queue: Arc<str>,
    pub tenant: Arc<str>,
    pub execution: u64,
    /// Who serves the execution.
    pub partition: u16,
    /// Id of the change in the history.
    pub event: u64,
    pub status: Status,
    pub at: Timestamp,
    pub redrives: u32,
    pub redriven_at: Option<Timestamp>,
}

/// What there is to say of a change.
#[derive(Clone, Debug)]
pub struct StatusChange {
    pub execution_arn: Arc<str>,
    pub start: Start,
    pub started_at: Timestamp,
    pub event: Event,
}

/// What a node has to do with its outboxes.
pub(crate) struct Outboxes {
    pub(crate) outbox: Option<Arc<dyn Outbox>>,
    /// Executions of which it is not known what became durable, each with how often it came to that.
    doubted: Mutex<BTreeMap<ExecutionId, u64>>,
    pub(crate) called: Notify,
}

impl Outboxes {
    pub(crate) fn new(outbox: Option<Arc<dyn Outbox>>) -> Outboxes {
        Outboxes {
            outbox,
            doubted: Mutex::default(),
            called: Notify::new(),
        }
    }

    /// Puts a message of an outbox; gives back the id of one that cannot be read.
    pub(crate) fn put(&self, message: &Message) -> Option<MessageId> {
        let outbox = self.outbox.as_ref()?;
        match event_of(message) {
            Some(event) => outbox.put(event),
            None => return Some(message.id),
        }
        None
    }

    /// The partitions that this node has held without a gap.
    pub(crate) fn keep(&self, partitions: impl Iterator<Item = Partition>) {
        if let Some(outbox) = &self.outbox {
            outbox.keep(&partitions.map(|partition| partition.0).collect());
        }
    }

    /// What became durable of an execution is looked up, and its events wait for that.
    pub(crate) fn doubt(&self, execution: ExecutionId) {
        if let Some(outbox) = &self.outbox {
            let mut doubted = self.doubted();
            outbox.hold(execution.0);
            *doubted.entry(execution).or_default() += 1;
            drop(doubted);
            self.called.notify_one();
        }
    }

    pub(crate) fn all_doubted(&self) -> BTreeMap<ExecutionId, u64> {
        self.doubted().clone()
    }

    /// What became durable of it was put, unless it came in doubt once more since it was `seen`.
    pub(crate) fn known(&self, execution: ExecutionId, seen: u64) {
        let mut doubted = self.doubted();
        if doubted.get(&execution) != Some(&seen) {
            return;
        }
        doubted.remove(&execution);
        // Under the lock: a doubt that comes now holds it after this.
        if let Some(outbox) = &self.outbox {
            outbox.release(execution.0);
        }
    }

    fn doubted(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, u64>> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event_of(message: &Message) -> Option<StatusEvent> {
    let item: InboxItem = record::decode(&message.payload).ok()?;
    let InboxItem::Status(item) = item else {
        return None;
    };
    let (execution, status) = (ExecutionId(item.execution), item.status()?);
    Some(StatusEvent {
        id: message.id.0,
        queue: item.queue,
        tenant: item.tenant,
        execution: execution.0,
        partition: execution.partition().0,
        event: item.event,
        status,
        at: Timestamp(item.at_ms),
        redrives: item.redrives,
        redriven_at: item.redriven_ms.map(Timestamp),
    })
}

impl StatusItem {
    fn status(&self) -> Option<Status> {
        let known = Status::ALL.iter().copied();
        let mut found = known.filter(|status| *status as u8 == self.status);
        found.next()
    }
}

impl Engine {
    /// What there is to say of a change; an error that is `Damaged` when that cannot be read, now or later.
    pub async fn status_change(&self, event: &StatusEvent) -> Result<StatusChange, Error> {
        let execution = ExecutionId(event.execution);
        let journal = self.node().journal.as_ref();
        reader::status_change(journal, execution, event.event).await
    }

    /// Forgets events that are done with.
    pub async fn settle_status_events(&self, ids: &[u64]) -> Result<(), Error> {
        let ids = ids.iter().copied().map(MessageId).collect();
        self.write(Write::Discard(ids)).await
    }
}
