//! Locks and shared memory of the simulated files, as SQLite asks for them. Hides which of them exclude each other.

use std::{
    collections::BTreeMap,
    ffi::c_int,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use rusqlite::ffi;

/// Locks and shared memory of one generation of handles.
#[derive(Default)]
pub(super) struct Locks {
    generation: u64,
    next_handle: u64,
    files: BTreeMap<String, FileLocks>,
}

/// Locks and shared memory of one file.
#[derive(Default)]
pub(super) struct FileLocks {
    /// SQLite's lock level of each handle that holds one.
    levels: BTreeMap<u64, c_int>,
    shm: Option<Arc<Mutex<Shm>>>,
}

/// Shared memory of a database's handles. Regions never move and live as long as a handle that mapped them.
#[derive(Default)]
pub(super) struct Shm {
    regions: Vec<Box<[AtomicU64]>>,
    /// Slots each handle holds: shared and exclusive.
    held: BTreeMap<u64, (u8, u8)>,
}

impl Locks {
    /// Forgets what handles of another generation hold: they have ended.
    pub(super) fn renew(&mut self, generation: u64) {
        if self.generation != generation {
            self.generation = generation;
            self.files.clear();
        }
    }

    pub(super) fn are_of(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// The number of a handle; no other has it.
    pub(super) fn next_handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }

    pub(super) fn of(&mut self, file: &str) -> &mut FileLocks {
        self.files.entry(file.to_owned()).or_default()
    }
}

impl FileLocks {
    /// Raises a handle's lock; false when others are in the way.
    pub(super) fn raise(&mut self, handle: u64, level: c_int) -> bool {
        let others = self.levels.iter().filter(|(id, _)| **id != handle);
        let highest = others.map(|(_, level)| *level).max().unwrap_or(0);
        let mine = self.levels.get(&handle).copied();
        if mine.unwrap_or(ffi::SQLITE_LOCK_NONE) >= level {
            return true;
        }
        let free = match level {
            ffi::SQLITE_LOCK_SHARED => highest < ffi::SQLITE_LOCK_PENDING,
            ffi::SQLITE_LOCK_RESERVED => highest < ffi::SQLITE_LOCK_RESERVED,
            _ => highest < ffi::SQLITE_LOCK_SHARED,
        };
        if free {
            self.levels.insert(handle, level);
        } else if level == ffi::SQLITE_LOCK_EXCLUSIVE && highest < ffi::SQLITE_LOCK_RESERVED {
            self.levels.insert(handle, ffi::SQLITE_LOCK_PENDING);
        }
        free
    }

    pub(super) fn lower(&mut self, handle: u64, level: c_int) {
        if level == ffi::SQLITE_LOCK_NONE {
            self.levels.remove(&handle);
        } else if self.levels.get(&handle).is_some_and(|mine| *mine > level) {
            self.levels.insert(handle, level);
        }
    }

    pub(super) fn is_reserved(&self) -> bool {
        let mut levels = self.levels.values();
        levels.any(|level| *level >= ffi::SQLITE_LOCK_RESERVED)
    }

    pub(super) fn shm(&mut self) -> Arc<Mutex<Shm>> {
        self.shm.get_or_insert_default().clone()
    }

    /// The last handle has left the shared memory: it goes, as it does on Unix.
    pub(super) fn drop_shm(&mut self) {
        self.shm = None;
    }
}

impl Shm {
    /// A region of so many bytes, and that the handle is there; `None` when the region is not and is not to be.
    pub(super) fn region(
        &mut self,
        handle: u64,
        region: usize,
        bytes: usize,
        extend: bool,
    ) -> Option<&[AtomicU64]> {
        self.held.entry(handle).or_default();
        while self.regions.len() <= region {
            if !extend {
                return None;
            }
            let words = (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0));
            self.regions.push(words.collect());
        }
        Some(&self.regions[region])
    }

    /// Takes slots for a handle; false when others are in the way.
    pub(super) fn take(&mut self, handle: u64, slots: u8, shared: bool) -> bool {
        let others = self.held.iter().filter(|(id, _)| **id != handle);
        let (all_shared, exclusive) =
            others.fold((0, 0), |sum, (_, held)| (sum.0 | held.0, sum.1 | held.1));
        let blocking = if shared {
            exclusive
        } else {
            all_shared | exclusive
        };
        if blocking & slots != 0 {
            return false;
        }
        let mine = self.held.entry(handle).or_default();
        if shared {
            mine.0 |= slots;
        } else {
            mine.1 |= slots;
        }
        true
    }

    pub(super) fn give_back(&mut self, handle: u64, slots: u8) {
        let mine = self.held.entry(handle).or_default();
        *mine = (mine.0 & !slots, mine.1 & !slots);
    }

    /// A handle leaves; true when it was the last.
    pub(super) fn leave(&mut self, handle: u64) -> bool {
        self.held.remove(&handle);
        self.held.is_empty()
    }
}
