//! Brings what lies in the outboxes of this node's partitions to whom it is for. Hides how it is found again when it is not
//! known what became durable.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Node;
use crate::{
    journal::{ExecutionId, Message, MessageId, Partition, ReadError, Write},
    limits::{DOUBT_AFTER, ROWS_MAX},
};

/// How long it waits to be called; the end of the node ends it.
const REST: Duration = Duration::from_secs(60);

impl Node {
    /// An event that somebody waits for is durable.
    pub(super) fn put_in_outbox(&self, message: &Message) {
        if let Some(unread) = self.outboxes.put(message) {
            tracing::error!(
                message = unread.0,
                "a message in an outbox cannot be read; it is dropped"
            );
            let discard = self.journal.commit(vec![Write::Discard(vec![unread])]);
            self.spawn_io(async move { drop(discard.await) });
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
            for execution in doubted {
                match self.look_up(execution).await {
                    Ok(()) => self.outboxes.known(execution),
                    Err(error) => tracing::error!(%error, "an outbox cannot be read; trying again"),
                }
            }
        }
    }

    /// Puts all that the outbox of an execution's partition has.
    async fn look_up(&self, execution: ExecutionId) -> Result<(), ReadError> {
        let (partition, outbox): (Partition, _) = (execution.partition(), execution.outbox());
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
