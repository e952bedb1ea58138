//! What will happen in a simulated world, in order of virtual time; ties in the order they were planned.

use std::collections::BTreeMap;

use stepwell_interp::Timestamp;

/// See the module.
pub(super) struct Agenda<T> {
    items: BTreeMap<(Timestamp, u64), T>,
    planned: u64,
}

impl<T> Agenda<T> {
    pub(super) fn new() -> Agenda<T> {
        Agenda {
            items: BTreeMap::new(),
            planned: 0,
        }
    }

    pub(super) fn plan(&mut self, at: Timestamp, item: T) {
        self.planned += 1;
        self.items.insert((at, self.planned), item);
    }

    /// The next item when it is due at or before `until`.
    pub(super) fn next(&mut self, until: Timestamp) -> Option<(Timestamp, T)> {
        let (&(at, order), _) = self.items.first_key_value()?;
        if at > until {
            return None;
        }
        let item = self.items.remove(&(at, order))?;
        Some((at, item))
    }

    /// Drops items that a crash makes void.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.items.retain(|_, item| keep(item));
    }
}
