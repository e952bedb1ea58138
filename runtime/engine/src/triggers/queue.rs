//! What is due, in order of time: records whose names begin with the time. Hides the form of the names, and whose the records
//! are: those of schedules are in one queue of the installation, those of deliveries in one for each tenant.

use std::sync::Arc;

use stepwell_interp::Timestamp;

use crate::journal::{CatalogKey, CatalogRecord, CatalogWrite};

/// Digits of the time that a name begins with, milliseconds: enough until the year 5138.
const TIME_DIGITS: usize = 14;
/// Kind of the records that name the tenants that ever had deliveries: each is written anew with new ones.
pub(super) const DELIVERING: &str = "delivering";

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
        let (owner, name) = match self {
            Queue::Schedules => ("".into(), format!("{at_ms:0TIME_DIGITS$}/{tenant}/{name}")),
            Queue::Deliveries => (tenant.clone(), format!("{at_ms:0TIME_DIGITS$}/{name}")),
        };
        CatalogKey {
            tenant: owner,
            kind: self.kind().into(),
            name: name.into(),
        }
    }

    /// The entry of that record; `None` when its name is none.
    fn entry(self, key: &CatalogKey) -> Option<Due> {
        let (time, rest) = key.name.split_once('/')?;
        let (tenant, name) = match self {
            Queue::Schedules => {
                let (tenant, name) = rest.split_once('/')?;
                (tenant.into(), name)
            }
            Queue::Deliveries => (key.tenant.clone(), rest),
        };
        Some(Due {
            at_ms: time.parse().ok()?,
            tenant,
            name: name.into(),
        })
    }

    /// The entries at the front of the queue that are due, and when there is something to do beside them. `page` is what a
    /// scan gave that asked for `asked`.
    pub(super) fn due(
        self,
        page: Vec<CatalogRecord>,
        asked: u32,
        now: Timestamp,
    ) -> (Vec<(Due, CatalogRecord)>, Option<u64>) {
        // There may be more behind a whole page.
        let mut next = (page.len() == asked as usize).then_some(now.0);
        let mut due = Vec::new();
        for stored in page {
            let Some(entry) = self.entry(&stored.key) else {
                tracing::error!(
                    name = &*stored.key.name,
                    "an entry of what is due has no time"
                );
                continue;
            };
            if entry.at_ms > now.0 {
                next = Some(entry.at_ms);
                break;
            }
            due.push((entry, stored));
        }
        (due, next)
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

/// The record that says that a tenant has deliveries.
pub(super) fn delivering(tenant: &Arc<str>) -> CatalogKey {
    CatalogKey {
        tenant: "".into(),
        kind: DELIVERING.into(),
        name: tenant.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(at_ms: u64) -> Due {
        Due {
            at_ms,
            tenant: "000000000000".into(),
            name: "us-east-1/default/a".into(),
        }
    }

    fn record(key: CatalogKey) -> CatalogRecord {
        CatalogRecord {
            key,
            revision: 1,
            bytes: Arc::from(&b""[..]),
        }
    }

    #[test]
    fn names_are_in_order_of_time_and_read_back() {
        for queue in [Queue::Schedules, Queue::Deliveries] {
            let keys = [1, 9, 10, 1_790_000_000_000].map(|at_ms| queue.key(&due(at_ms)));
            assert!(keys.is_sorted(), "{keys:?}");
            assert_eq!(queue.entry(&keys[2]), Some(due(10)));
        }
    }

    #[test]
    fn the_front_of_a_queue_is_what_is_due() {
        for queue in [Queue::Schedules, Queue::Deliveries] {
            let page = |times: &[u64]| {
                let records = times.iter().map(|at_ms| record(queue.key(&due(*at_ms))));
                records.collect::<Vec<_>>()
            };
            let told = |times: &[u64], asked| {
                let (found, next) = queue.due(page(times), asked, Timestamp(10));
                let found: Vec<u64> = found.iter().map(|(entry, _)| entry.at_ms).collect();
                (found, next)
            };
            assert_eq!(told(&[], 4), (vec![], None));
            assert_eq!(told(&[9, 10], 4), (vec![9, 10], None));
            assert_eq!(told(&[9, 10, 11], 4), (vec![9, 10], Some(11)));
            assert_eq!(told(&[9, 10, 10, 10], 4), (vec![9, 10, 10, 10], Some(10)));
            assert_eq!(told(&[9, 10, 11, 12], 4), (vec![9, 10], Some(11)));
            assert_eq!(told(&[12], 4), (vec![], Some(12)));
        }
    }
}
