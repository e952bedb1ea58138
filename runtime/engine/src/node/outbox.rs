//! Brings what lies in the outboxes of this node's partitions to whom it is for. Hides how it is found again when it is not
//! known what became durable.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{sleep, timeout};

use super::Node;
use crate::{
    journal::{ExecutionId, Message, MessageId, Partition, ReadError},
    limits::{DOUBT_AFTER, ROWS_MAX},
};

/// How long it waits to be called; the end of the node ends it.
const REST: Duration = Duration::from_secs(60);

impl Node {
    /// An event that somebody waits for is durable.
    pub(super) fn put_in_outbox(&self, message: &Message) {
        if let Some(unread) = self.outboxes.put(message) {
            // A newer program may have written it, and reads it when it comes to the partition.
            tracing::error!(
                message = unread.0,
                "a message in an outbox cannot be read; it stays there"
            );
        }
    }

    /// Looks up what became durable where that is not known.
    pub(super) async fn keep_outbox(&self) {
        while !self.shutdown.is_closing() {
            let doubted = self.outboxes.all_doubted();
            if doubted.is_empty() {
                let _ = timeout(REST, self.outboxes.called.notified()).await;
                continue;
            }
            // What is on its way gets the time to land.
            sleep(DOUBT_AFTER).await;
            // Once for all of a partition: a store that was away leaves many in doubt.
            let mut by_outbox: BTreeMap<ExecutionId, Vec<(ExecutionId, u64)>> = BTreeMap::new();
            for (execution, seen) in doubted {
                let of_partition = by_outbox.entry(execution.outbox()).or_default();
                of_partition.push((execution, seen));
            }
            for (outbox, doubted) in by_outbox {
                match self.look_up(outbox).await {
                    Ok(()) => {
                        for (execution, seen) in doubted {
                            self.outboxes.known(execution, seen);
                        }
                    }
                    Err(error) => tracing::error!(%error, "an outbox cannot be read; trying again"),
                }
            }
        }
    }

    /// Puts all that an outbox has.
    async fn look_up(&self, outbox: ExecutionId) -> Result<(), ReadError> {
        let partition: Partition = outbox.partition();
        let mut after = MessageId(0);
        loop {
            let page = self
                .journal
                .messages(&[(partition, after)], ROWS_MAX)
                .await?;
            for message in &page {
                if message.to == outbox {
                    self.put_in_outbox(message);
                }
                after = after.max(message.id);
            }
            if page.len() < ROWS_MAX as usize {
                return Ok(());
            }
        }
    }
}
