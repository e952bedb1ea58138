//! Functions in memory: which names are uploads, looked at with every task. Hides how long what was read counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::record::FunctionRecord;
use crate::limits::{FUNCTIONS_KNOWN_AGE_MAX, FUNCTIONS_KNOWN_MAX};

/// A tenant and a name.
type Named = (Arc<str>, Arc<str>);

/// What a name stands for: an upload, or none.
pub(super) type Known = Option<Arc<FunctionRecord>>;

/// See the module.
pub(crate) struct Functions {
    entries: Mutex<Entries>,
    /// Other nodes change functions too: what was read counts for so long.
    age_max: Option<Duration>,
}

#[derive(Default)]
struct Entries {
    by_name: HashMap<Named, (Known, Instant)>,
    /// How often something was forgotten: what was read from the store before is not kept after.
    forgotten: u64,
}

impl Functions {
    pub(crate) fn new(shared: bool) -> Functions {
        Functions {
            entries: Mutex::default(),
            age_max: shared.then_some(FUNCTIONS_KNOWN_AGE_MAX),
        }
    }

    /// What is known of a name, or else the stamp with which it may be put.
    pub(super) fn get(&self, tenant: &Arc<str>, name: &Arc<str>) -> Result<Known, u64> {
        let entries = self.entries();
        let found = entries.by_name.get(&(tenant.clone(), name.clone()));
        let found = found.filter(|(_, read)| self.age_max.is_none_or(|age| read.elapsed() < age));
        found
            .map(|(known, _)| known.clone())
            .ok_or(entries.forgotten)
    }

    /// Keeps what was read after `stamp` was given, unless something was forgotten since: it may be that.
    pub(super) fn put(&self, tenant: &Arc<str>, name: &Arc<str>, stamp: u64, known: Known) {
        let mut entries = self.entries();
        if entries.forgotten != stamp {
            return;
        }
        if entries.by_name.len() >= FUNCTIONS_KNOWN_MAX {
            entries.by_name.clear();
        }
        let named = (tenant.clone(), name.clone());
        entries.by_name.insert(named, (known, Instant::now()));
    }

    pub(super) fn forget(&self, tenant: &Arc<str>, name: &str) {
        let mut entries = self.entries();
        entries.forgotten += 1;
        entries.by_name.remove(&(tenant.clone(), name.into()));
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
