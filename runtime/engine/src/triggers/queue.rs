//! What is due, in order of time: records of the installation whose names begin with the time. Hides the form of the names.

use std::sync::Arc;

use crate::journal::{CatalogKey, CatalogWrite};

/// Digits of the time that a name begins with, milliseconds: enough until the year 5138.
const TIME_DIGITS: usize = 14;

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Schedules by their next runs; the entries are empty, the schedules have records of their own.
    Schedules,
    /// Deliveries of events; each entry is the delivery.
    Deliveries,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at_ms: u64,
    pub(super) tenant: Arc<str>,
    /// Of what is due among the tenant's.
    pub(super) name: Arc<str>,
}

impl Queue {
    /// Kind of the records.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Queue::Schedules => "due-schedule",
            Queue::Deliveries => "due-delivery",
        }
    }

    pub(super) fn key(self, due: &Due) -> CatalogKey {
        let Due {
            at_ms,
            tenant,
            name,
        } = due;
        CatalogKey {
            tenant: "".into(),
            kind: self.kind().into(),
            name: format!("{at_ms:0TIME_DIGITS$}/{tenant}/{name}").into(),
        }
    }

    pub(super) fn put(self, due: &Due, bytes: Arc<[u8]>) -> CatalogWrite {
        CatalogWrite {
            key: self.key(due),
            expected: None,
            bytes: Some(bytes),
        }
    }

    pub(super) fn remove(self, due: &Due) -> CatalogWrite {
        CatalogWrite {
            key: self.key(due),
            expected: None,
            bytes: None,
        }
    }
}

impl Due {
    /// The entry of that record; `None` when its name is none.
    pub(super) fn of(name: &str) -> Option<Due> {
        let (time, rest) = name.split_once('/')?;
        let (tenant, name) = rest.split_once('/')?;
        Some(Due {
            at_ms: time.parse().ok()?,
            tenant: tenant.into(),
            name: name.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_of_time_and_read_back() {
        let due = |at_ms| Due {
            at_ms,
            tenant: "000000000000".into(),
            name: "us-east-1/default/a".into(),
        };
        let names: Vec<Arc<str>> = [1, 9, 10, 1_790_000_000_000]
            .map(|at_ms| Queue::Schedules.key(&due(at_ms)).name)
            .to_vec();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(Due::of(&names[2]), Some(due(10)));
        assert_eq!(Due::of("5"), None);
    }
}
