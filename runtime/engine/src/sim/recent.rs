//! What a node shows of closed executions without the store is what the store holds.

use std::sync::Arc;

use super::{World, now};

impl World {
    /// An error that names the execution when they differ. A store that cannot be asked says nothing.
    pub(super) fn check_recent(&mut self, node: usize) -> Result<(), String> {
        let recent = self.nodes[node].recent(self.now());
        if recent.is_empty() || self.nodes[node].paused_until > self.now() {
            return Ok(());
        }
        let Ok(journal) = self.journal() else {
            return Ok(());
        };
        for look in recent {
            let new = &look.row.new;
            let Ok(stored) = now(journal.look(new.scope, &new.name)) else {
                continue;
            };
            if stored.as_ref() != Some(Arc::as_ref(&look)) {
                return Err(format!(
                    "node {node} shows of `{}` {look:?}, and the store holds {stored:?}",
                    new.name
                ));
            }
        }
        Ok(())
    }
}
