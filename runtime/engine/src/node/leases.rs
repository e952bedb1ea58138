//! The partitions that a node holds: taken, renewed, and recovered when they are new. Hides their clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use super::Node;
use crate::{
    error::Error,
    journal::{Answer, Epoch, Look, MessageId, Partition, ReadError, ScopeId, ready},
    limits::{LEASE_MS, LEASE_RENEW, PARTITIONS, ROWS_MAX},
    reader,
    shard::In,
};

/// How long after asking for its leases a node acts as if it had them: less than they last.
pub(super) const FRESH_MS: u64 = LEASE_MS * 2 / 3;

/// See the module.
pub(super) struct Leases {
    owner: String,
    held: Mutex<BTreeMap<Partition, Epoch>>,
    /// Those of them that are still to be recovered: the store could not be read.
    unrecovered: Mutex<BTreeSet<Partition>>,
    /// When they were asked for, by the node's monotonic time.
    asked_ms: AtomicU64,
    next_partition: AtomicU64,
}

impl Leases {
    pub(super) fn new() -> Leases {
        Leases {
            owner: uuid::Uuid::new_v4().to_string(),
            held: Mutex::default(),
            unrecovered: Mutex::default(),
            asked_ms: AtomicU64::new(0),
            next_partition: AtomicU64::new(0),
        }
    }

    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.held().keys().copied().collect()
    }

    /// One after the other, so that new executions spread over all.
    pub(super) fn next_partition(&self) -> Option<Partition> {
        let held = self.held();
        let turn = self.next_partition.fetch_add(1, Relaxed);
        let index = usize::try_from(turn % held.len().max(1) as u64).unwrap_or(0);
        held.keys().nth(index).copied()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Partition, Epoch>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unrecovered(&self) -> MutexGuard<'_, BTreeSet<Partition>> {
        self.unrecovered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    pub(super) async fn keep_leases(&self) {
        while !self.shutdown.is_closing() {
            tokio::time::sleep(LEASE_RENEW).await;
            if let Err(error) = self.renew_leases().await {
                tracing::error!(%error, "leases cannot be renewed");
            }
        }
    }

    /// Renews the leases; what is new is recovered.
    pub(super) async fn renew_leases(&self) -> Result<(), Error> {
        let wanted: Vec<Partition> = (0..PARTITIONS).map(Partition).collect();
        let asked = self.monotonic();
        let leases = self
            .journal
            .lease(self.leases.owner(), &wanted, LEASE_MS)
            .await
            .map_err(|error| Error::Broken(error.to_string()))?;
        let now_held: BTreeMap<Partition, Epoch> = leases
            .iter()
            .map(|lease| (lease.partition, lease.epoch))
            .collect();
        let before = std::mem::replace(&mut *self.leases.held(), now_held.clone());
        self.leases.asked_ms.store(asked.0, SeqCst);
        // Before what shards append from now on is put there.
        let unbroken = now_held
            .iter()
            .filter(|(partition, epoch)| before.get(partition) == Some(epoch));
        self.outboxes
            .keep(unbroken.map(|(partition, _)| *partition));
        for seat in &self.seats {
            let held = now_held.clone();
            seat.put_when_room(In::Leases { held, asked }).await;
        }
        if before != now_held {
            self.backlog.keep(&self.leases.partitions());
            // Those that the node before knew of were in its memory.
            self.activities.look_again();
        }
        let due: Vec<Partition> = {
            let mut unrecovered = self.leases.unrecovered();
            unrecovered.retain(|partition| now_held.contains_key(partition));
            let new = now_held
                .iter()
                .filter(|(partition, epoch)| before.get(partition) != Some(epoch));
            unrecovered.extend(new.map(|(partition, _)| *partition));
            unrecovered.iter().copied().collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        // What fails here is done again with the next renewal: nobody else would.
        self.recover(&due).await?;
        self.leases.unrecovered().clear();
        Ok(())
    }

    /// What the store holds of the execution of that name: from memory when it closed a moment ago.
    pub(crate) fn look(
        &self,
        scope: ScopeId,
        name: &str,
    ) -> Answer<Result<Option<Look>, ReadError>> {
        match self.recent(scope, name) {
            Some(look) => ready(Ok(Some(look))),
            None => self.journal.look(scope, name),
        }
    }

    /// Nobody else has written it as long as this node has the lease under which it closed.
    fn recent(&self, scope: ScopeId, name: &str) -> Option<Look> {
        let (epoch, look) = self.recent.get(scope, name)?;
        let asked_ms = self.leases.asked_ms.load(SeqCst);
        let fresh = self.monotonic().0.saturating_sub(asked_ms) < FRESH_MS;
        let partition = look.row.id.partition();
        let counts = fresh && self.leases.held().get(&partition) == Some(&epoch);
        (counts && !self.shutdown.is_closing()).then(|| Look::clone(&look))
    }

    /// Wakes what was in memory when these partitions were last served, and what has unread messages.
    async fn recover(&self, partitions: &[Partition]) -> Result<(), Error> {
        self.wake_hot(partitions).await.map_err(reader::broken)?;
        for partition in partitions {
            let woken = self.wake_messaged(*partition).await;
            woken.map_err(reader::broken)?;
        }
        Ok(())
    }

    async fn wake_hot(&self, partitions: &[Partition]) -> Result<(), ReadError> {
        let mut after = None;
        loop {
            let hot = self.journal.hot(partitions, after, ROWS_MAX).await?;
            for execution in &hot {
                self.wake(*execution).await;
            }
            after = hot.last().copied();
            if hot.len() < ROWS_MAX as usize {
                return Ok(());
            }
        }
    }

    async fn wake_messaged(&self, partition: Partition) -> Result<(), ReadError> {
        let mut after = MessageId(0);
        loop {
            let unread = self
                .journal
                .messages(&[(partition, after)], ROWS_MAX)
                .await?;
            let mut woken = None;
            for message in &unread {
                // A line may have thousands in a row.
                if message.to.is_outbox() {
                    self.put_in_outbox(message);
                } else if woken.replace(message.to) != Some(message.to) {
                    self.wake(message.to).await;
                }
                after = after.max(message.id);
            }
            if unread.len() < ROWS_MAX as usize {
                return Ok(());
            }
        }
    }
}
