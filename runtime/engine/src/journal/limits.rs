//! Bounds of the journals, each with its unit and origin.

use std::time::Duration;

/// Bytes of writes that one transaction takes at most: a group of large appends must not hold up the ones behind it
/// for more than some tens of milliseconds.
pub(super) const GROUP_BYTES_MAX: usize = 8 << 20;

/// Writes that one transaction takes at most, for the same reason.
pub(super) const GROUP_WRITES_MAX: usize = 4_096;

/// Bytes that may wait for the writer; more is refused as full, so that a slow disk cannot take all memory.
pub(super) const QUEUE_BYTES_MAX: usize = 256 << 20;

/// What a write weighs beside its bytes: rows, index entries, its place in the queue.
pub(super) const WRITE_OVERHEAD_BYTES: usize = 256;

/// Size of the write-ahead log at which a checkpoint begins: large enough that its syncs vanish among the commits',
/// small enough that recovery after a crash takes well under a second.
pub(super) const CHECKPOINT_WAL_BYTES: u64 = 16 << 20;

/// A write-ahead log larger than this is moved to the database when the store is idle.
pub(super) const IDLE_WAL_BYTES: u64 = 1 << 20;

/// How long without a commit counts as idle, milliseconds.
pub(super) const IDLE_MS: u64 = 2_000;

/// Frames that may be left for the checkpoint's second pass, during which the writer waits.
pub(super) const CHECKPOINT_REST_FRAMES: i32 = 256;

/// First passes of one checkpoint before the writer has to wait however much is left.
pub(super) const CHECKPOINT_PASSES_MAX: u32 = 4;

/// A count of one row of the usage that is none of ours is beyond it (ours): a thousand cores spend less fuel in a day.
pub(super) const USAGE_COUNT_MAX: i64 = 1 << 60;

/// A number that the embedded store keeps of itself (its format, its epoch, the next message) and that is beyond it was never
/// counted to (ours). What is added to it is still a number of SQLite.
pub(super) const OWN_NUMBER_MAX: i64 = 1 << 62;

/// Page size of a new database file, bytes; SQLite's default, and the block size of common file systems.
pub(super) const PAGE_BYTES: u64 = 4_096;

/// Memory for pages of one writing connection, KiB, where there is enough.
pub(super) const WRITER_CACHE_KIB: u32 = 65_536;

/// Memory for pages of one reading connection, KiB, where there is enough.
pub(super) const READER_CACHE_KIB: u32 = 8_192;

/// One part in so many of a smaller machine's memory for the pages of a writing and of a reading connection (ours): those are
/// what a machine of 2 GiB has enough for.
pub(super) const WRITER_CACHE_SHARE: u64 = 32;
pub(super) const READER_CACHE_SHARE: u64 = 256;

/// Less memory for pages saves none that counts, KiB (ours).
pub(super) const CACHE_KIB_MIN: u32 = 512;

/// Threads that serve reads of an embedded journal.
pub(super) const READERS: usize = 2;

/// Reads that may wait for a thread; more wait in their callers.
pub(super) const READS_QUEUED_MAX: usize = 1_024;

/// Statements kept prepared on one connection; above the number there are, so that none is ever compiled twice.
pub(super) const STATEMENTS_CACHED: usize = 64;

/// How long a connection waits for another one's lock, milliseconds. Only a foreign process ever holds one for long.
pub(super) const BUSY_MS: u64 = 5_000;

/// How long an opening waits for a data directory that another process holds (ours): far longer than from fork to exec,
/// too short to be taken for a start.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// How soon it looks again.
pub(super) const LOCK_LOOK: Duration = Duration::from_millis(10);

/// How long an opening looks for damage, milliseconds: measured, a store of 100 MB takes 400.
pub(super) const CHECK_MS_MAX: u64 = 500;

/// Steps of SQLite between two looks at the clock meanwhile.
pub(super) const CHECK_STEPS: i32 = 10_000;

/// A disk with less room than this is full: bytes, below what one commit and its shared memory may take.
pub(super) const FULL_BYTES: u64 = 64 << 10;

/// Message ids reserved by one write of the counter.
pub(super) const MESSAGE_IDS_RESERVED: u64 = 4_096;

/// Attempts of a group of writes that met a concurrent one of another node.
#[cfg(feature = "postgres")]
pub(super) const CONFLICT_ATTEMPTS_MAX: u32 = 8;
