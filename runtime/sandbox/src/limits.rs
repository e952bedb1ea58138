//! Every bound of this crate, with its unit and where it comes from.
#![cfg_attr(
    not(all(feature = "compiler", feature = "pool")),
    allow(
        dead_code,
        reason = "what a build leaves out has its bounds here all the same"
    )
)]

use std::time::Duration;

/// Memory of one attempt, all its memories together, when the manifest says nothing (the contract's default).
pub(crate) const MEMORY_BYTES_DEFAULT: u64 = 64 << 20;
/// Largest memory that an operator's ceiling may allow by default; also the size of a pooled memory.
pub(crate) const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Table elements of one attempt, all tables together; also the size of a pooled table. CPython needs about 10,000.
pub(crate) const TABLE_ELEMENTS_DEFAULT: u64 = 50_000;
/// Wall time of one attempt when the manifest says nothing (the contract's default).
pub(crate) const WALL_DEFAULT: Duration = Duration::from_secs(30);
/// Longest wall time of an attempt by default: Lambda's 15 minutes.
pub(crate) const WALL_MAX: Duration = Duration::from_secs(900);
/// CPU time of one attempt when the manifest says nothing (the contract's default).
pub(crate) const CPU_DEFAULT: Duration = Duration::from_secs(5);
/// Input and output of one attempt: the size of a state's payload in ASL.
pub(crate) const PAYLOAD_BYTES_DEFAULT: u64 = 256 << 10;
/// Largest payload that a manifest may ask for by default: Lambda's 6 MB.
pub(crate) const PAYLOAD_BYTES_MAX: u64 = 6 << 20;
/// Log lines, stdout and stderr of one attempt, each (the contract's default).
pub(crate) const LOG_BYTES_DEFAULT: u64 = 64 << 10;
/// The end of an attempt's log that a call may ask for: what Lambda's `LogType: "Tail"` gives.
pub(crate) const LOG_TAIL_BYTES: u64 = 4 << 10;
/// Most log that a manifest may ask for by default.
pub(crate) const LOG_BYTES_MAX: u64 = 1 << 20;

/// Instances alive at once by default. Each takes 6 memory mappings of Linux's 65,530.
pub(crate) const INSTANCES_DEFAULT: u32 = 1000;
/// Instances alive at once at most. Each reserves 4 GiB of addresses for each of its memories, in one piece for all: with those
/// that are kept 80 TiB, of 85 that Linux leaves below a program (x86-64).
pub(crate) const INSTANCES_MAX: u32 = 5000;
/// Core instances of one plugin. Python has 14, and one more for each native module (NumPy 20, pandas 45) and each interface
/// of WASI that is stubbed (24). The pool counts them and reserves nothing for them.
pub(crate) const CORE_INSTANCES_PER_CALL: u32 = 128;
/// Memories of one plugin: QuickJS has 2, and 3 where WASI is stubbed. The pool has as many for every attempt, and tables
/// too, so that none takes them from another.
pub(crate) const MEMORIES_PER_CALL: u32 = 4;
/// Tables of one plugin: most components have two for each memory, their own and one of the functions that they import.
pub(crate) const TABLES_PER_CALL: u32 = 8;
/// Memory of the host that the instances of one attempt take beside their memories and tables: a function that something refers
/// to has 32 bytes, a function or global that is imported 24. Python has 0.4 MiB, with NumPy and pandas some 1.1.
pub(crate) const STATE_BYTES_PER_CALL: usize = 2 << 20;
/// Attempts waiting for an instance; more are refused as `TooManyRunning`.
pub(crate) const QUEUE_MAX: usize = 100_000;

/// Instances that wait for another attempt, over all plugins; beside those that run.
pub(crate) const KEPT_INSTANCES_MAX: u32 = 100;
/// Memory that they hold, all together. Who would go beyond it is not kept.
pub(crate) const KEPT_BYTES_MAX: u64 = 1 << 30;
/// Attempts that one instance serves when the manifest allows reuse and says no more.
pub(crate) const REUSE_CALLS_DEFAULT: u64 = 1000;
/// How long an instance waits for another attempt by default.
pub(crate) const REUSE_IDLE_DEFAULT: Duration = Duration::from_secs(60);
/// How long an instance that is reused lives by default.
pub(crate) const REUSE_AGE_DEFAULT: Duration = Duration::from_secs(600);
/// Instances of one plugin that wait by default.
pub(crate) const REUSE_KEPT_DEFAULT: usize = 4;
/// Those that have waited too long are looked for this often.
pub(crate) const KEPT_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Memory that a pooled slot keeps mapped between calls: saves 44 % of a call (measured).
pub(crate) const KEEP_RESIDENT_BYTES: usize = 1 << 20;
/// The same for tables and stacks.
pub(crate) const KEEP_RESIDENT_SMALL_BYTES: usize = 64 << 10;
/// Idle slots that keep their memory: bounds what an idle host holds to about 100 MiB.
pub(crate) const WARM_SLOTS_MAX: u32 = 100;
/// Stack of a guest when the manifest says nothing; beside it lies the one that compilers keep in memory.
pub(crate) const STACK_BYTES: u64 = 512 << 10;
/// Largest stack that a manifest may ask for: the host's part of a guest's call has as much again.
pub(crate) const STACK_BYTES_MAX: u64 = 1 << 20;

/// A computing guest yields this often; the clock that CPU limits are checked by.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);
/// An attempt that has computed for this long is a long one: it leaves the threads of the short ones.
pub(crate) const YOUNG_CPU: Duration = EPOCH_TICK;
/// An attempt that has computed no longer than this was a quick one: to hand it to another thread and to be handed its end
/// costs about as much.
pub(crate) const QUICK_CPU: Duration = Duration::from_micros(100);
/// A plugin is taken for a quick one after so many quick attempts, as long as they outweigh those that were not.
pub(crate) const QUICK_AFTER: u8 = 64;
/// So many quick attempts at most speak for a plugin: two that were not, one after the other, are borne then.
pub(crate) const QUICK_MAX: u8 = 128;
/// One that was not quick weighs as much as so many that were. A virtual machine whose host takes its core away for a moment
/// counts that as the attempt's CPU time: fifty times a second for 0.1 to 1 ms, and five times for longer, on a busy one (measured).
pub(crate) const NOT_QUICK_WEIGHS: u8 = 32;
/// One that computed for longer weighs as much as all that were quick.
pub(crate) const HERE_CPU: Duration = Duration::from_millis(1);
/// What is lost of the time of callers' threads to who keeps one for longer than a quick attempt would, which may be until the
/// next tick: one part in so many.
pub(crate) const HERE_LOST_PART: u32 = 20;
/// Callers' threads stay open as long as no more than this is to be made up for: two turns that go to the tick.
pub(crate) const HERE_LOST_AT_ONCE: Duration = EPOCH_TICK.saturating_mul(2);
/// What of a turn is beyond that, as one instruction that fills a memory may be, is one part in so many: nobody has that by bad
/// luck.
pub(crate) const HERE_LONG_PART: u32 = 100;
/// Ends of calls that a thread tells of at once, while there are others to run.
pub(crate) const TOLD_AT_ONCE_MAX: usize = 32;
/// An end is told no later than after the turn at whose end it is this old: less than what those who come last in the queue
/// wait for their turns by then.
pub(crate) const TOLD_WITHIN: Duration = Duration::from_micros(250);
/// What takes no longer than this counts as computed through: a thread that loses its core is away for longer (Linux lets a
/// thread run for some hundreds of microseconds at least).
pub(crate) const CPU_UNREAD: Duration = Duration::from_micros(50);
/// The clock of a thread's CPU time is read after so much time all the same.
pub(crate) const CPU_UNREAD_SUM: Duration = Duration::from_millis(1);
/// What is added to the niceness of the threads that long attempts compute on (Linux): such a thread gets about a ninth of
/// a core that another thread wants as well.
#[cfg(target_os = "linux")]
pub(crate) const LONG_NICE: i32 = 10;
/// The epoch clock stops after this many idle ticks.
pub(crate) const EPOCH_IDLE_TICKS: u32 = 100;
/// Time a cancelled guest gets to tidy up (the contract's half second).
pub(crate) const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// Host memory that one host call may take on behalf of a guest.
pub(crate) const HOSTCALL_BYTES: usize = 8 << 20;
/// Handles (streams, requests, files) that a guest may hold.
pub(crate) const RESOURCES_MAX: usize = 1000;
/// Random bytes in one call.
pub(crate) const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// HTTP headers of one message.
pub(crate) const HTTP_FIELDS_BYTES_MAX: usize = 128 << 10;
/// HTTP connection and reply when the guest sets no timeout.
pub(crate) const HTTP_TIMEOUT: Duration = Duration::from_secs(600);
/// A heartbeat's note (the contract's 1 KiB).
pub(crate) const PROGRESS_BYTES_MAX: usize = 1 << 10;
/// A clock that stands still shows this: seconds from 1970 to 2000, so that no program takes it for no time at all.
pub(crate) const FIXED_CLOCK: Duration = Duration::from_secs(946_684_800);
/// A secret that is shorter than this is not looked for in what a task gives back: it would be found everywhere.
pub(crate) const MASKED_BYTES_MIN: usize = 6;
/// Refused requests remembered with an attempt.
pub(crate) const REFUSED_MAX: usize = 20;
/// ASL's bounds for the texts of a failure, in characters.
pub(crate) const ERROR_CHARS_MAX: usize = 256;
pub(crate) const CAUSE_CHARS_MAX: usize = 32_768;
/// Wasm frames kept of a trap.
pub(crate) const FRAMES_MAX: usize = 20;
/// A name that a plugin's file chose, of a function in a frame or of an import, where people read it.
pub(crate) const SHOWN_NAME_CHARS_MAX: usize = 200;
/// Of a name as it was compiled what is read: that of a generic Rust function has some hundred.
pub(crate) const MANGLED_BYTES_MAX: usize = 4 << 10;

/// A page of a guest's memory (WebAssembly's).
pub(crate) const WASM_PAGE_BYTES: u64 = 64 << 10;
/// Components that lie in each other in a file, as deep as is looked for what they declare (ours; a toolchain's has one or two).
pub(crate) const NESTED_PARTS_MAX: usize = 100;
/// Modules, and components, of one component whose needs are told apart: as many as the Wasm runtime takes.
pub(crate) const PARTS_KNOWN_MAX: usize = 1_000;
/// Imports that a refusal names, of those that this host does not have.
pub(crate) const IMPORTS_TOLD_MAX: usize = 8;
/// Why a plugin cannot be called, as it is kept and told: names in it are the file's own.
pub(crate) const WHY_BYTES_MAX: usize = 4 << 10;
/// A plugin's file: the largest Python components have 40 MiB.
pub(crate) const WASM_BYTES_MAX: u64 = 100 << 20;
/// Code that was compiled ahead of time: several times the largest plugin's file.
pub(crate) const CODE_BYTES_MAX: u64 = 1 << 30;
/// What is told at the end of such a file.
pub(crate) const RECORD_BYTES_MAX: u64 = 64 << 10;
/// A manifest.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// Cores that compilations of the short lane leave to tasks. Each takes half of the cores at most, and as much memory as it
/// may; as many others may go on in the long lane.
pub(crate) const COMPILE_CORES_LEFT: usize = 1;
/// How long a compilation holds others up, by the clock. A small plugin takes a second.
pub(crate) const COMPILE_SHARE: Duration = Duration::from_secs(10);
/// Uploaded plugins that are kept ready, over all tenants; others are taken from the compile cache again.
pub(crate) const UPLOADS_KEPT_MAX: usize = 1_000;
/// Plugins in memory, over all tenants and the plugin folder; the one that has not been called for longest is unloaded.
/// Small ones take some hundred KiB each.
pub(crate) const LOADED_MAX: usize = 1_000;
/// Compiled plugins on disk by default: a thousand of the largest, or some ten thousand small ones.
pub(crate) const CACHE_BYTES_DEFAULT: u64 = 10 << 30;
/// What is left of the bound when the cache makes room, in percent: it does not make room for each plugin anew.
pub(crate) const CACHE_KEPT_PERCENT: u64 = 90;
/// A file of the cache that was begun so long ago is never finished.
pub(crate) const CACHE_LEFTOVER_AGE: Duration = Duration::from_secs(3_600);
/// Entries of the cache that are remembered as whole.
pub(crate) const CACHE_VERIFIED_MAX: usize = 10_000;
/// A call that waits for the compiler is told of its place no more often than this.
pub(crate) const WAITS_TOLD_EVERY: Duration = Duration::from_secs(1);
/// Plugin files that are read and looked for in the cache at once.
pub(crate) const LOADS_MAX: usize = 4;
/// Address space of one compilation by default. The largest Python components (40 MiB) take a fifth of it.
pub(crate) const COMPILE_MEMORY_BYTES_DEFAULT: u64 = 2 << 30;
/// CPU time of one compilation by default.
pub(crate) const COMPILE_CPU_DEFAULT: Duration = Duration::from_secs(120);
/// A compilation that takes so many times its CPU time on the clock is given up …
pub(crate) const COMPILE_WALL_FACTOR: u32 = 4;
/// … though not before this: who may compute for a second only is not late because others have the cores.
pub(crate) const COMPILE_WALL_MIN: Duration = Duration::from_secs(300);
/// How often a process that compiles is looked at.
pub(crate) const COMPILE_LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many looks in a row at which it has used no CPU time say that it hangs.
pub(crate) const COMPILE_IDLE_LOOKS_MAX: u32 = 20;
/// What is added to the niceness of a process that compiles.
#[cfg(unix)]
pub(crate) const COMPILE_NICE: i32 = 10;
/// What is kept of a compiler's complaints.
pub(crate) const COMPILE_STDERR_BYTES_MAX: u64 = 64 << 10;
/// Characters of a plugin's name.
pub(crate) const NAME_CHARS_MAX: usize = 64;
/// Digits of a plugin's hash in its label (ours; enough to tell its builds apart).
pub(crate) const LABEL_HASH_DIGITS: usize = 12;
/// Digits of an account.
pub(crate) const ACCOUNT_DIGITS: usize = 12;
/// A broken file changed less than this ago may still be being written.
pub(crate) const HALF_WRITTEN_AGE: Duration = Duration::from_secs(2);
/// The least time between two looks whether the plugin folder is where it was: opening it costs a call some microseconds.
pub(crate) const FOLDER_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause before a file that may be half-written is looked at again.
pub(crate) const HALF_WRITTEN_PAUSE: Duration = Duration::from_millis(50);
