//! Which plugins are in memory. Hides which one is unloaded when there are too many: the one that nobody runs and that has
//! not been called for longest. It is loaded again, from the compile cache, by the next call.

use super::entry::Entry;
use crate::limits;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// See the module.
#[derive(Default)]
pub(crate) struct Resident {
    loaded: Mutex<Vec<Weak<Entry>>>,
    /// Counts calls: the greater, the later.
    calls: AtomicU64,
}

impl Resident {
    /// The number of a call that is made now.
    pub(super) fn call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes note of a plugin that was loaded, and unloads others when there are too many.
    pub(super) fn loaded(&self, entry: &Arc<Entry>) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        // The others in there are of files that changed, or were forgotten.
        loaded.retain(|other| {
            other
                .upgrade()
                .is_some_and(|other| other.is_loaded() && !Arc::ptr_eq(&other, entry))
        });
        while loaded.len() >= limits::LOADED_MAX {
            let entries = loaded.iter().filter_map(Weak::upgrade);
            let idle = entries.filter(|entry| entry.is_idle());
            let Some(oldest) = idle.min_by_key(|entry| entry.last_call()) else {
                // All run: there are as many attempts then, which is bounded too.
                break;
            };
            oldest.unload();
            // Whoever began to call it at this very moment keeps it.
            loaded.retain(|other| other.upgrade().is_some_and(|other| other.is_loaded()));
        }
        loaded.push(Arc::downgrade(entry));
    }

    /// Plugins in memory.
    pub(crate) fn count(&self) -> usize {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = loaded.iter().filter_map(Weak::upgrade);
        entries.filter(|entry| entry.is_loaded()).count()
    }
}
