//! Takes up deletions of state machines that nobody goes on with, on the node that holds the first partition. Hides when it
//! looks.

use super::Node;
use crate::limits::{DELETIONS_REST, TRIGGERS_REST_MAX};

impl Node {
    /// Looks at once, for what a process that died had begun, and now and then for what another node had. The engine is held
    /// only for the look, so that its last handle can go.
    pub(super) async fn keep_deletions(&self) {
        while !self.shutdown.is_closing() {
            let rest = if self.keeps_installation() {
                let Some(engine) = self.engine().await else {
                    return;
                };
                if let Err(error) = engine.take_up_deletions().await {
                    tracing::error!(%error, "deletions of state machines that were begun cannot be read; trying again");
                }
                DELETIONS_REST
            } else {
                TRIGGERS_REST_MAX
            };
            tokio::time::sleep(rest).await;
        }
    }
}
