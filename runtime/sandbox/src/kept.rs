//! Instances that wait for another attempt of the same plugin, and so of the same tenant and version. Hides how they are
//! bounded: in number and memory over all plugins, in age and calls by each manifest.

use crate::call::Instance;
use crate::limits;
use crate::registry::Loaded;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::runtime::Handle;

/// See the module.
pub(crate) struct Shelf {
    waiting: Mutex<Waiting>,
    io: Handle,
}

#[derive(Default)]
struct Waiting {
    /// By the address of the plugin, which the instances themselves keep where it is.
    by_plugin: BTreeMap<usize, Vec<Kept>>,
    count: usize,
    bytes: u64,
    /// Whether somebody looks for those that have waited too long.
    looked_after: bool,
}

struct Kept {
    instance: Instance,
    bytes: u64,
    since: Instant,
    /// When it is thrown away.
    until: Instant,
}

impl Shelf {
    pub(crate) fn new(io: Handle) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            io,
        })
    }

    /// An instance of a plugin that has served before.
    pub(crate) fn take(&self, plugin: &Arc<Loaded>) -> Option<Instance> {
        let now = Instant::now();
        // Declared before the lock, so that instances go after it.
        let mut over = Vec::new();
        let mut waiting = self.waiting();
        loop {
            let kept = waiting.pop(key(plugin))?;
            if kept.until > now {
                return Some(kept.instance);
            }
            over.push(kept);
        }
    }

    /// Keeps an instance that has served, as far as its manifest and the bounds of all allow; throws it away otherwise.
    pub(crate) fn put(self: &Arc<Self>, plugin: &Arc<Loaded>, instance: Instance) {
        let (now, of) = (Instant::now(), &plugin.instance);
        let until = (now + of.idle).min(instance.made + of.age);
        let bytes = instance.memory_bytes();
        let room = bytes <= limits::KEPT_BYTES_MAX;
        if instance.calls >= of.calls || until <= now || !room {
            return;
        }
        let mut over = Vec::new();
        let mut waiting = self.waiting();
        let own = waiting.by_plugin.get(&key(plugin)).map_or(0, Vec::len);
        if own >= of.kept {
            return;
        }
        while waiting.count >= limits::KEPT_INSTANCES_MAX as usize
            || waiting.bytes + bytes > limits::KEPT_BYTES_MAX
        {
            let Some(oldest) = waiting.oldest() else {
                break;
            };
            over.push(oldest);
        }
        waiting.add(
            key(plugin),
            Kept {
                instance,
                bytes,
                since: now,
                until,
            },
        );
        if !waiting.looked_after {
            waiting.looked_after = true;
            let shelf = Arc::downgrade(self);
            self.io.spawn(async move {
                loop {
                    tokio::time::sleep(limits::KEPT_LOOK_EVERY).await;
                    match shelf.upgrade() {
                        Some(shelf) if shelf.look(Instant::now()) => {}
                        Some(_) | None => return,
                    }
                }
            });
        }
    }

    /// Throws away what has waited too long; false when nothing is left to look after.
    fn look(&self, now: Instant) -> bool {
        let mut over = Vec::new();
        let mut waiting = self.waiting();
        let plugins: Vec<usize> = waiting.by_plugin.keys().copied().collect();
        for plugin in plugins {
            let late = |kept: &Kept| kept.until <= now;
            while let Some(at) = waiting
                .by_plugin
                .get(&plugin)
                .and_then(|all| all.iter().position(late))
            {
                over.extend(waiting.remove(plugin, at));
            }
        }
        waiting.looked_after = waiting.count > 0;
        waiting.looked_after
    }

    /// How many wait, and the memory that they hold.
    pub(crate) fn sizes(&self) -> (usize, u64) {
        let waiting = self.waiting();
        (waiting.count, waiting.bytes)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(plugin: &Arc<Loaded>) -> usize {
    Arc::as_ptr(plugin).addr()
}

impl Waiting {
    fn add(&mut self, plugin: usize, kept: Kept) {
        self.count += 1;
        self.bytes += kept.bytes;
        self.by_plugin.entry(plugin).or_default().push(kept);
    }

    /// The one that was used last: its memory is the warmest.
    fn pop(&mut self, plugin: usize) -> Option<Kept> {
        let last = self.by_plugin.get(&plugin)?.len().checked_sub(1)?;
        self.remove(plugin, last)
    }

    fn oldest(&mut self) -> Option<Kept> {
        // Each plugin's first has waited for longest.
        let firsts = self
            .by_plugin
            .iter()
            .filter_map(|(plugin, all)| Some((*plugin, all.first()?.since)));
        let (plugin, _) = firsts.min_by_key(|(_, since)| *since)?;
        self.remove(plugin, 0)
    }

    fn remove(&mut self, plugin: usize, at: usize) -> Option<Kept> {
        let all = self.by_plugin.get_mut(&plugin)?;
        let kept = (at < all.len()).then(|| all.remove(at))?;
        if all.is_empty() {
            self.by_plugin.remove(&plugin);
        }
        self.count -= 1;
        self.bytes -= kept.bytes;
        Some(kept)
    }
}
