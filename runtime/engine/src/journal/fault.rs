//! A disk in memory that fails as disks fail: power is lost, writes are torn, syncs lie or refuse, space ends. Hides
//! what of the unsynced writes survives; everything follows from the seed and the order of the calls.
//!
//! A file has what its readers see and what the platter holds. Between them lie the changes since the last sync, in
//! order. At a power loss each of them is kept, dropped or torn by sectors, independently of the others. Changes that
//! a failed sync covered may look written for ever and yet never reach the platter, as on real systems.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::sim_vfs::Registration;

/// What a device writes whole or not at all, bytes.
const SECTOR_BYTES: usize = 512;

/// Failures to come. Counts run from the moment the plan is set: 1 is the next operation of that kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Power is lost during this changing operation (write, truncation, deletion, sync); from then on every operation
    /// fails until [`SimDisk::crash`].
    pub power_loss_at: Option<u64>,
    /// This write fails, having written a part.
    pub write_fails_at: Option<u64>,
    /// This sync fails; what it should have made durable may be lost although it can still be read.
    pub sync_fails_at: Option<u64>,
    /// This read fails.
    pub read_fails_at: Option<u64>,
    /// Of a thousand writes and syncs, so many fail.
    pub failures_per_mille: u16,
    /// No file grows once all files together have so many bytes.
    pub capacity_bytes: Option<u64>,
}

/// A sync that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub file: String,
    /// Bytes written to the file since its last sync.
    pub bytes: u64,
}

/// A simulated disk, reachable as a SQLite file system under [`SimDisk::vfs_name`]. Clones are the same disk; with the
/// last one its files are gone.
#[derive(Clone)]
pub struct SimDisk {
    disk: Shared,
    registration: Arc<Registration>,
}

/// The disk as the file system's functions share it.
pub(super) type Shared = Arc<Mutex<Disk>>;

impl SimDisk {
    /// An empty disk without faults.
    pub fn new(seed: u64) -> SimDisk {
        let disk = Arc::new(Mutex::new(Disk::new(seed)));
        SimDisk {
            registration: Arc::new(Registration::new(disk.clone())),
            disk,
        }
    }

    /// The name to open SQLite files by, unique in the process.
    pub fn vfs_name(&self) -> &str {
        self.registration.name()
    }

    /// Replaces the failures to come.
    pub fn faults(&self, plan: FaultPlan) {
        let mut disk = lock(&self.disk);
        disk.plan = plan;
        disk.seen = Seen::default();
    }

    /// Power is lost now (or was, by the plan) and comes back: handles opened before fail for ever, files hold what
    /// survived, and no faults are planned.
    pub fn crash(&self) {
        lock(&self.disk).crash();
    }

    /// The process dies, the machine does not: handles opened before fail for ever, but all writes are there.
    #[cfg(test)]
    pub fn kill(&self) {
        lock(&self.disk).end_handles();
    }

    /// Whether a planned power loss has happened and [`SimDisk::crash`] is due.
    pub fn is_dead(&self) -> bool {
        lock(&self.disk).dead
    }

    /// Changing operations since the disk was made: where a power loss can be planned.
    #[cfg(test)]
    pub fn operations(&self) -> u64 {
        lock(&self.disk).operations
    }

    /// The syncs since the last call, in order.
    #[cfg(test)]
    pub fn take_synced(&self) -> Vec<Synced> {
        std::mem::take(&mut lock(&self.disk).synced)
    }
}

pub(super) fn lock(disk: &Shared) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An operation that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Io,
    Full,
}

pub(super) struct Disk {
    files: BTreeMap<String, SimFile>,
    random: Random,
    plan: FaultPlan,
    seen: Seen,
    operations: u64,
    dead: bool,
    /// Grows whenever all handles end.
    generation: u64,
    synced: Vec<Synced>,
}

/// Operations since the plan was set.
#[derive(Default)]
struct Seen {
    changes: u64,
    writes: u64,
    syncs: u64,
    reads: u64,
}

/// `None` where the file does not exist.
#[derive(Default)]
struct SimFile {
    visible: Option<Vec<u8>>,
    durable: Option<Vec<u8>>,
    pending: Vec<Pending>,
}

struct Pending {
    change: Change,
    /// Covered by a sync that failed, and forgotten by the system.
    lost: bool,
}

enum Change {
    Create,
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { size: usize },
    Delete,
}

impl Disk {
    fn new(seed: u64) -> Disk {
        Disk {
            files: BTreeMap::new(),
            random: Random(seed),
            plan: FaultPlan::default(),
            seen: Seen::default(),
            operations: 0,
            dead: false,
            generation: 0,
            synced: Vec::new(),
        }
    }

    /// Of the handles that are open; those of earlier generations are dead.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn alive(&self, generation: u64) -> Result<(), Failed> {
        if self.dead || generation != self.generation {
            Err(Failed::Io)
        } else {
            Ok(())
        }
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.files
            .get(name)
            .is_some_and(|file| file.visible.is_some())
    }

    pub(super) fn create(&mut self, name: &str) {
        let file = self.files.entry(name.to_owned()).or_default();
        if file.visible.is_none() {
            file.change(Change::Create);
        }
    }

    pub(super) fn size(&self, name: &str) -> usize {
        self.files
            .get(name)
            .and_then(|file| file.visible.as_ref())
            .map_or(0, Vec::len)
    }

    /// Fills the buffer as far as the file goes and answers how far.
    pub(super) fn read(
        &mut self,
        name: &str,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<usize, Failed> {
        self.seen.reads += 1;
        if self.plan.read_fails_at == Some(self.seen.reads) {
            return Err(Failed::Io);
        }
        let content = self
            .files
            .get(name)
            .and_then(|file| file.visible.as_deref())
            .unwrap_or_default();
        let rest = content.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    pub(super) fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> Result<(), Failed> {
        let power = self.change();
        self.seen.writes += 1;
        let failing = self.plan.write_fails_at == Some(self.seen.writes) || self.fails_by_chance();
        if power.is_ok() && !failing && self.is_full(name, offset + bytes.len()) {
            return Err(Failed::Full);
        }
        let count = if power.is_ok() && failing {
            self.random.below(bytes.len() + 1)
        } else {
            bytes.len()
        };
        if let Some(file) = self.files.get_mut(name) {
            file.change(Change::Write {
                offset,
                bytes: bytes[..count].to_vec(),
            });
        }
        power?;
        if failing { Err(Failed::Io) } else { Ok(()) }
    }

    pub(super) fn truncate(&mut self, name: &str, size: usize) -> Result<(), Failed> {
        let power = self.change();
        if let Some(file) = self.files.get_mut(name) {
            file.change(Change::Truncate { size });
        }
        power
    }

    pub(super) fn delete(&mut self, name: &str, sync_directory: bool) -> Result<(), Failed> {
        let power = self.change();
        if let Some(file) = self.files.get_mut(name) {
            file.change(Change::Delete);
            if sync_directory && power.is_ok() {
                file.durable = None;
                file.pending.clear();
            }
        }
        power
    }

    pub(super) fn sync(&mut self, name: &str) -> Result<(), Failed> {
        self.change()?;
        self.seen.syncs += 1;
        let failing = self.plan.sync_fails_at == Some(self.seen.syncs) || self.fails_by_chance();
        let Some(file) = self.files.get_mut(name) else {
            return Err(Failed::Io);
        };
        if failing {
            for pending in &mut file.pending {
                pending.lost |= self.random.below(2) == 0;
            }
            return Err(Failed::Io);
        }
        let mut bytes = 0;
        let is_new = file
            .pending
            .iter()
            .any(|pending| matches!(pending.change, Change::Create));
        for pending in file.pending.drain(..).filter(|pending| !pending.lost) {
            if let Change::Write { bytes: written, .. } = &pending.change {
                bytes += written.len() as u64;
            }
            apply(&mut file.durable, &pending.change);
        }
        file.durable.get_or_insert_default();
        self.synced.push(Synced {
            file: name.to_owned(),
            bytes,
        });
        if is_new {
            self.sync_directory();
        }
        Ok(())
    }

    /// With a new file's entry, which SQLite syncs after the file, the other entries of the directory become durable.
    fn sync_directory(&mut self) {
        for file in self.files.values_mut() {
            if let Some(last) = file
                .pending
                .iter()
                .rposition(|pending| matches!(pending.change, Change::Delete))
            {
                file.pending.drain(..=last);
                file.durable = None;
            }
        }
    }

    /// Frees the files of a disk that nobody can reach any more.
    pub(super) fn clear(&mut self) {
        self.files.clear();
        self.end_handles();
    }

    /// Counts a changing operation, and ends the power at the planned one.
    fn change(&mut self) -> Result<(), Failed> {
        self.operations += 1;
        self.seen.changes += 1;
        if self.plan.power_loss_at == Some(self.seen.changes) {
            self.dead = true;
            return Err(Failed::Io);
        }
        Ok(())
    }

    fn fails_by_chance(&mut self) -> bool {
        self.plan.failures_per_mille > 0
            && self.random.below(1_000) < usize::from(self.plan.failures_per_mille)
    }

    fn is_full(&self, name: &str, end: usize) -> bool {
        let Some(capacity) = self.plan.capacity_bytes else {
            return false;
        };
        let all: usize = self
            .files
            .values()
            .filter_map(|file| file.visible.as_ref())
            .map(Vec::len)
            .sum();
        let growth = end.saturating_sub(self.size(name));
        growth > 0 && (all + growth) as u64 > capacity
    }

    fn crash(&mut self) {
        // Some power losses keep all, some nothing: both ends are as likely as a mixture is rich.
        let mood = self.random.below(4);
        for file in self.files.values_mut() {
            for pending in file.pending.drain(..).filter(|pending| !pending.lost) {
                let fate = match mood {
                    0 => Fate::Kept,
                    1 => Fate::Dropped,
                    _ => [Fate::Kept, Fate::Dropped, Fate::Torn][self.random.below(3)],
                };
                match (fate, &pending.change) {
                    (Fate::Kept, change) => apply(&mut file.durable, change),
                    (Fate::Torn, Change::Write { offset, bytes }) => {
                        tear(&mut file.durable, *offset, bytes, &mut self.random);
                    }
                    (Fate::Torn, Change::Create | Change::Truncate { .. } | Change::Delete)
                    | (Fate::Dropped, _) => {}
                }
            }
            file.visible = file.durable.clone();
        }
        self.files.retain(|_, file| file.durable.is_some());
        self.plan = FaultPlan::default();
        self.seen = Seen::default();
        self.dead = false;
        self.end_handles();
    }

    fn end_handles(&mut self) {
        self.generation += 1;
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Kept,
    Dropped,
    Torn,
}

impl SimFile {
    fn change(&mut self, change: Change) {
        apply(&mut self.visible, &change);
        self.pending.push(Pending {
            change,
            lost: false,
        });
    }
}

fn apply(content: &mut Option<Vec<u8>>, change: &Change) {
    match change {
        Change::Create => *content = Some(Vec::new()),
        Change::Write { offset, bytes } => put(content, *offset, bytes),
        Change::Truncate { size } => content.get_or_insert_default().resize(*size, 0),
        Change::Delete => *content = None,
    }
}

fn put(content: &mut Option<Vec<u8>>, offset: usize, bytes: &[u8]) {
    let content = content.get_or_insert_default();
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// Writes some of the sectors that the bytes touch.
fn tear(content: &mut Option<Vec<u8>>, offset: usize, bytes: &[u8], random: &mut Random) {
    let mut from = 0;
    while from < bytes.len() {
        let to = bytes
            .len()
            .min(from + SECTOR_BYTES - (offset + from) % SECTOR_BYTES);
        if random.below(2) == 0 {
            put(content, offset + from, &bytes[from..to]);
        }
        from = to;
    }
}

/// SplitMix64: a short generator that is the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}
