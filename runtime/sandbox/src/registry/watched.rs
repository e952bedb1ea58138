//! The plugin folder as it is watched. Hides how changes are noticed.

use crate::error::Error;
use crate::limits;
use crate::scan::{Found, PluginFolder, Skipped, Whereabouts};
use notify::Watcher as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
pub(super) struct Watched {
    folder: PluginFolder,
    /// Something in the folder changed since the last look.
    dirty: Arc<AtomicBool>,
    watcher: Mutex<Option<notify::RecommendedWatcher>>,
    /// When it was last seen where the folder is: milliseconds since `opened`.
    looked_for_ms: AtomicU64,
    opened: Instant,
}

impl Watched {
    pub(super) fn open(
        path: &Path,
        default_tenant: &str,
        prefers_compiled: bool,
    ) -> Result<Self, Error> {
        let folder = PluginFolder::open(path, default_tenant, prefers_compiled)?;
        let dirty = Arc::new(AtomicBool::new(true));
        let watcher = watch(folder.path(), dirty.clone());
        Ok(Self {
            folder,
            dirty,
            watcher: Mutex::new(watcher),
            looked_for_ms: AtomicU64::new(0),
            opened: Instant::now(),
        })
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Why what is there under a plugin's name is none, if something is.
    pub(super) fn astray(&self, tenant: &str, name: &str) -> Option<String> {
        self.folder.astray(tenant, name)
    }

    /// See [`PluginFolder::found_at`].
    pub(super) fn found_at(&self, path: &Path) -> Result<Option<Found>, String> {
        self.folder.found_at(path)
    }

    /// See [`PluginFolder::skipped`].
    pub(super) fn skipped(&self) -> Result<Vec<Skipped>, String> {
        self.folder.skipped()
    }

    /// What is in the folder now, and whether it is the folder that was there before.
    ///
    /// # Errors
    /// The folder is not readable.
    pub(super) fn scan(&self) -> Result<(Vec<Found>, bool), Error> {
        self.dirty.store(false, Ordering::SeqCst);
        let whereabouts = self.folder.whereabouts();
        let found = match whereabouts {
            Whereabouts::Same => self.folder.scan(),
            Whereabouts::Another => {
                let watcher = watch(self.folder.path(), self.dirty.clone());
                *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = watcher;
                self.folder.scan()
            }
            Whereabouts::Gone => {
                // Nobody tells when it is back.
                self.dirty();
                Ok(Vec::new())
            }
        };
        let found = found.map_err(|why| Error::Folder {
            role: "plugin folder",
            path: self.folder.path().to_owned(),
            why,
            hint: "make the folder readable for this user",
        })?;
        Ok((found, whereabouts == Whereabouts::Same))
    }

    /// It is to be looked at again.
    pub(super) fn dirty(&self) {
        self.dirty.store(true, Ordering::SeqCst);
    }

    /// Whether something in it changed, or it is another by now.
    pub(super) fn is_dirty(&self, now: Instant) -> bool {
        self.dirty.load(Ordering::SeqCst) || (self.is_due(now) && self.folder.has_moved())
    }

    /// Whether it is time to look where the folder is: when one above it is moved, no watcher tells.
    fn is_due(&self, now: Instant) -> bool {
        let now = milliseconds(now.saturating_duration_since(self.opened));
        let last = self.looked_for_ms.load(Ordering::Relaxed);
        // Of those who see this at once one looks.
        now.saturating_sub(last) >= milliseconds(limits::FOLDER_LOOK_EVERY)
            && self
                .looked_for_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn watch(path: &Path, dirty: Arc<AtomicBool>) -> Option<notify::RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        // Reading a plugin is no change of it, but is reported too.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            dirty.store(true, Ordering::SeqCst);
        }
    };
    let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
        watcher.watch(path, notify::RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(|error| {
            tracing::warn!(error = %error, "the plugin folder cannot be watched; changes are seen after a restart");
        })
        .ok()
}
