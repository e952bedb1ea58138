//! Fires what triggers have due, on the node that holds the first partition. Hides when it looks.

use std::sync::Arc;

use super::Node;
use crate::{journal::Partition, limits::TRIGGERS_REST_MAX};

/// Who holds it keeps the triggers of the installation.
const KEEPERS: Partition = Partition(0);

impl Node {
    /// Whether this node does what is done once for all nodes.
    pub(crate) fn keeps_installation(&self) -> bool {
        self.leases.partitions().contains(&KEEPERS)
    }

    /// Fires what is due until the node closes. The engine is held only while something is done, so that its last handle
    /// can go.
    pub(super) async fn keep_triggers(self: Arc<Node>) {
        while !self.shutdown.is_closing() {
            let rest = if self.keeps_installation() {
                match self.engine().await {
                    Some(engine) => engine.fire_due().await,
                    None => return,
                }
            } else {
                TRIGGERS_REST_MAX
            };
            self.triggers.rest(rest).await;
        }
    }
}
