//! Events that are done with. Hides which of them the store still has: they are forgotten there many at a time.

use std::collections::{HashSet, VecDeque};

use crate::limits::{WEBHOOK_SETTLED_AT_A_TIME, WEBHOOK_SETTLED_KEPT};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// To be forgotten by the store.
    due: VecDeque<u64>,
    /// The last ones: a read of the store that was under way may bring one again.
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Settled {
    pub(super) fn add(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.due.push_back(id);
            if self.known.insert(id) {
                self.order.push_back(id);
            }
        }
        while self.order.len() > WEBHOOK_SETTLED_KEPT.max(self.due.len()) {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Whether it is done with, as far as that is remembered.
    pub(super) fn has(&self, id: u64) -> bool {
        self.known.contains(&id)
    }

    /// Some that are to be forgotten.
    pub(super) fn take(&mut self) -> Vec<u64> {
        let some = self.due.len().min(WEBHOOK_SETTLED_AT_A_TIME);
        self.due.drain(..some).collect()
    }

    /// They could not be.
    pub(super) fn give_back(&mut self, ids: Vec<u64>) {
        self.due.extend(ids);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_forgotten_is_remembered_and_the_rest_is_bounded() {
        let mut settled = Settled::default();
        settled.add([7]);
        let taken = settled.take();
        assert_eq!(taken, [7]);
        assert!(settled.is_empty() && settled.has(7));
        settled.give_back(taken);
        assert!(!settled.is_empty());
        assert_eq!(settled.take(), [7]);
        let most = WEBHOOK_SETTLED_KEPT as u64;
        for id in 100..100 + most {
            settled.add([id]);
            settled.take();
        }
        assert!(!settled.has(7) && settled.has(100));
        assert_eq!(settled.order.len(), WEBHOOK_SETTLED_KEPT);
    }
}
