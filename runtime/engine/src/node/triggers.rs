//! Fires what triggers have due, on the node that holds the first partition. Hides when it looks, and that a look which breaks
//! down is not the last one.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;

use super::Node;
use crate::{
    journal::Partition,
    limits::{TRIGGERS_REST_BROKEN, TRIGGERS_REST_MAX},
    triggers::LookPulse,
};

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
                let Some(engine) = self.engine().await else {
                    return;
                };
                looked(&self.triggers.pulse, engine.fire_due()).await
            } else {
                self.triggers.pulse.rests();
                TRIGGERS_REST_MAX
            };
            self.triggers.rest(rest).await;
        }
    }

    /// What is wrong with the triggers, if something is.
    pub(crate) fn wrong_triggers(&self) -> Option<String> {
        let kept = self.take_up && !self.shutdown.is_closing();
        kept.then(|| self.triggers.pulse.wrong()).flatten()
    }
}

/// Has a look taken; tells how long there is nothing to do. One that panics is told, and another one is taken after a pause.
async fn looked(pulse: &LookPulse, look: impl Future<Output = Duration>) -> Duration {
    pulse.looks();
    match AssertUnwindSafe(look).catch_unwind().await {
        Ok(rest) => {
            pulse.rests();
            rest
        }
        Err(_) => {
            tracing::error!(
                "a look at what triggers have due broke down: a line before this one says where; it is tried again"
            );
            pulse.broke();
            TRIGGERS_REST_BROKEN
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_panics_is_told_and_not_the_last_one() {
        let pulse = LookPulse::default();
        let now = |look: &mut dyn FnMut() -> Duration| {
            let looking = looked(&pulse, async { look() });
            looking.now_or_never().expect("it waits for nothing")
        };
        assert_eq!(now(&mut || Duration::ZERO), Duration::ZERO);
        assert_eq!(pulse.wrong(), None);
        let rest = now(&mut || panic!("a trigger that nobody thought of"));
        assert_eq!(rest, TRIGGERS_REST_BROKEN);
        let wrong = pulse.wrong().expect("it is told");
        assert!(wrong.contains("broke down"), "{wrong}");
        assert_eq!(now(&mut || Duration::ZERO), Duration::ZERO);
        assert_eq!(pulse.wrong(), None);
    }
}
