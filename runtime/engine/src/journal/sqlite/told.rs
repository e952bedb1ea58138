//! What reads leave out since nobody can tell what it is. Hides that each is told once, however often it is met.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::{
    journal::{MessageId, ScopeId},
    limits::DAMAGED_RECORDS_MAX,
};

/// Something that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stray {
    /// A message of which nobody knows whose it is.
    Message(MessageId),
    /// Open tasks of an activity.
    Task(ScopeId),
    /// Rows of the usage.
    Usage,
    /// Sums of the usage that are no tenant's.
    Sum,
    /// Counts of the usage that are none.
    Count,
}

/// Those that were told since the store was opened.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeSet<Stray>>);

impl Told {
    /// Takes note of one; false when it was known, or too many are.
    pub(super) fn note(&self, stray: Stray) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < DAMAGED_RECORDS_MAX && known.insert(stray)
    }

    /// Tells of counts that are read as 0.
    pub(super) fn tell_of_counts(&self) {
        if self.note(Stray::Count) {
            tracing::error!("counts of the usage in the store are none, and are taken for 0");
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{super::read, *};
    use crate::journal::Partition;

    #[test]
    fn a_message_to_nobody_is_told_once() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, recipient INTEGER NOT NULL, payload BLOB NOT NULL);
            INSERT INTO messages VALUES (7, 'nobody', x'00');",
        )
        .unwrap();
        let told = Told::default();
        let after = [(Partition(0), MessageId(0))];
        for _ in 0..2 {
            let page = read::messages(&conn, &told, &after, 9).unwrap();
            assert_eq!(page.len(), 0);
        }
        assert!(!told.note(Stray::Message(MessageId(7))), "it was noted");
        assert!(told.note(Stray::Message(MessageId(8))));
        assert!(!told.note(Stray::Message(MessageId(8))));
    }
}
