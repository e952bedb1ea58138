//! The simulated disk as a SQLite file system. Hides the C interface: tables of functions, handles, locks and the
//! shared memory of the write-ahead log, so that the real configuration is what a simulation runs.
//!
//! SQLite calls in with pointers that it got from here (or promises to be valid for the call); everything behind them
//! is the safe model in `fault`. Tables and locks of a disk stay allocated for ever, some hundred bytes, since a
//! forgotten connection may outlive the disk.

#![allow(
    unsafe_code,
    reason = "SQLite's file-system interface is C function tables over raw pointers"
)]

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr, slice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::ffi;

use super::fault::{Failed, Shared, lock};

/// A disk's entry in SQLite's list of file systems; taken out with the drop.
pub(super) struct Registration {
    vfs: *mut ffi::sqlite3_vfs,
    name: String,
    disk: Shared,
}

// SAFETY: the pointer is only handed to SQLite's own locked list, and what it points to is never changed or freed.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

/// What the file system's functions find behind `pAppData`.
struct App {
    disk: Shared,
    locks: Mutex<Locks>,
}

/// Locks and shared memory of one generation of handles.
#[derive(Default)]
struct Locks {
    generation: u64,
    next_handle: u64,
    files: BTreeMap<String, FileLocks>,
}

#[derive(Default)]
struct FileLocks {
    /// SQLite's lock level of each handle that holds one.
    levels: BTreeMap<u64, c_int>,
    shm: Option<Arc<Mutex<Shm>>>,
}

/// Shared memory of a database's handles. Regions never move and live as long as a handle that mapped them.
#[derive(Default)]
struct Shm {
    regions: Vec<Box<[AtomicU64]>>,
    /// Slots each handle holds: shared and exclusive.
    held: BTreeMap<u64, (u8, u8)>,
}

/// An open file: what SQLite allocates for us, `szOsFile` bytes.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

struct Open {
    app: &'static App,
    name: String,
    id: u64,
    generation: u64,
    temporary: bool,
    shm: Option<Arc<Mutex<Shm>>>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock_file),
    xUnlock: Some(unlock_file),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

impl Registration {
    pub(super) fn new(disk: Shared) -> Registration {
        // The one count of the process; names must differ, nothing else depends on it.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("stepwell-sim-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let c_name = CString::new(name.as_str()).expect("letters and digits hold no zero byte");
        let app: &'static App = Box::leak(Box::new(App {
            disk: disk.clone(),
            locks: Mutex::default(),
        }));
        let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: c_int::try_from(size_of::<Handle>()).expect("two pointers"),
            mxPathname: 512,
            pNext: ptr::null_mut(),
            zName: c_name.into_raw(),
            pAppData: ptr::from_ref(app).cast_mut().cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_ms),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the table and its name stay allocated for ever.
        let registered = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(
            registered,
            ffi::SQLITE_OK,
            "registering fails only without memory"
        );
        Registration { vfs, name, disk }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: the table was registered in `new` and is still allocated.
        unsafe { ffi::sqlite3_vfs_unregister(self.vfs) };
        lock(&self.disk).clear();
    }
}

impl App {
    /// The locks, emptied when the handles that held them have ended.
    fn locks(&self) -> MutexGuard<'_, Locks> {
        let generation = lock(&self.disk).generation();
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.generation != generation {
            let next_handle = locks.next_handle;
            *locks = Locks {
                generation,
                next_handle,
                files: BTreeMap::new(),
            };
        }
        locks
    }
}

impl Open {
    fn alive(&self) -> bool {
        lock(&self.app.disk).alive(self.generation).is_ok()
    }
}

/// The code of an outcome, with the one for failed input and output.
fn code(outcome: Result<(), Failed>, io: c_int) -> c_int {
    match outcome {
        Ok(()) => ffi::SQLITE_OK,
        Err(Failed::Io) => io,
        Err(Failed::Full) => ffi::SQLITE_FULL,
    }
}

fn at(offset: ffi::sqlite3_int64) -> usize {
    usize::try_from(offset).expect("SQLite's offsets are not negative")
}

fn count(amount: c_int) -> usize {
    usize::try_from(amount).expect("SQLite's amounts are not negative")
}

/// # Safety
/// `vfs` is a table made by [`Registration::new`].
unsafe fn app(vfs: *mut ffi::sqlite3_vfs) -> &'static App {
    // SAFETY: `pAppData` was set to a leaked `App`.
    unsafe { &*(*vfs).pAppData.cast::<App>() }
}

/// # Safety
/// `file` was opened by [`open`] and not closed; SQLite uses a handle from one thread at a time.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Open {
    // SAFETY: `open` put a live box there, and `close` is the last call.
    unsafe { &mut *(*file.cast::<Handle>()).open }
}

/// # Safety
/// `name` is null or a C string.
unsafe fn text(name: *const c_char) -> Option<String> {
    // SAFETY: by the caller's promise.
    (!name.is_null()).then(|| {
        unsafe { CStr::from_ptr(name) }
            .to_string_lossy()
            .into_owned()
    })
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes our table, a name or null, and room for a `Handle`.
    let (app, name, handle) = unsafe { (app(vfs), text(name), &mut *file.cast::<Handle>()) };
    handle.base.pMethods = ptr::null();
    let mut locks = app.locks();
    locks.next_handle += 1;
    let id = locks.next_handle;
    let mut disk = lock(&app.disk);
    let generation = disk.generation();
    let temporary = name.is_none() || flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
    let name = name.unwrap_or_else(|| format!("temporary-{id}"));
    if disk.alive(generation).is_err() {
        return ffi::SQLITE_CANTOPEN;
    }
    if !disk.exists(&name) {
        if flags & ffi::SQLITE_OPEN_CREATE == 0 && !temporary {
            return ffi::SQLITE_CANTOPEN;
        }
        disk.create(&name);
    }
    let open = Open {
        app,
        name,
        id,
        generation,
        temporary,
        shm: None,
    };
    handle.open = Box::into_raw(Box::new(open));
    handle.base.pMethods = &raw const METHODS;
    if !out_flags.is_null() {
        // SAFETY: not null, so SQLite's.
        unsafe { *out_flags = flags };
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_directory: c_int,
) -> c_int {
    // SAFETY: SQLite passes our table and a name.
    let (app, name) = unsafe { (app(vfs), text(name).unwrap_or_default()) };
    let mut disk = lock(&app.disk);
    let generation = disk.generation();
    if disk.alive(generation).is_err() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    if !disk.exists(&name) {
        return ffi::SQLITE_IOERR_DELETE_NOENT;
    }
    code(
        disk.delete(&name, sync_directory != 0),
        ffi::SQLITE_IOERR_DELETE,
    )
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes our table, a name and room for the answer.
    unsafe {
        let exists = text(name).is_some_and(|name| lock(&app(vfs).disk).exists(&name));
        *out = c_int::from(exists);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a name and `room` bytes for the answer.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > count(room) {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(
    _vfs: *mut ffi::sqlite3_vfs,
    amount: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes `amount` bytes of room.
    unsafe { ptr::write_bytes(out, 0x5a, count(amount)) };
    amount
}

/// Time is virtual: the wait is over at once.
unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::yield_now();
    microseconds
}

/// The Julian day of 2020-01-01, in milliseconds; nothing of ours asks SQLite for the time.
const NOW_MS: i64 = 212_444_596_800_000;

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite passes room for the answer.
    unsafe { *out = NOW_MS as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_ms(
    _vfs: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes room for the answer.
    unsafe { *out = NOW_MS };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(
    _vfs: *mut ffi::sqlite3_vfs,
    _room: c_int,
    _out: *mut c_char,
) -> c_int {
    0
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the last call on a handle that `open` made, whose box is taken back here.
    let open = unsafe { Box::from_raw((*file.cast::<Handle>()).open) };
    let mut locks = open.app.locks();
    if locks.generation == open.generation {
        if let Some(held) = locks.files.get_mut(&open.name) {
            held.levels.remove(&open.id);
        }
        unmap(&mut locks, &open);
        if open.temporary {
            // A temporary file that stays is no loss.
            let _ = lock(&open.app.disk).delete(&open.name, false);
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes an open handle and `amount` bytes of room.
    let (open, out) = unsafe {
        (
            opened(file),
            slice::from_raw_parts_mut(out.cast::<u8>(), count(amount)),
        )
    };
    let mut disk = lock(&open.app.disk);
    let outcome = disk
        .alive(open.generation)
        .and_then(|()| disk.read(&open.name, at(offset), out));
    match outcome {
        Ok(filled) if filled == out.len() => ffi::SQLITE_OK,
        Ok(filled) => {
            out[filled..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(failed) => code(Err(failed), ffi::SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes an open handle and `amount` bytes.
    let (open, bytes) = unsafe {
        (
            opened(file),
            slice::from_raw_parts(bytes.cast::<u8>(), count(amount)),
        )
    };
    let mut disk = lock(&open.app.disk);
    let outcome = disk
        .alive(open.generation)
        .and_then(|()| disk.write(&open.name, at(offset), bytes));
    code(outcome, ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite passes an open handle.
    let open = unsafe { opened(file) };
    let mut disk = lock(&open.app.disk);
    let outcome = disk
        .alive(open.generation)
        .and_then(|()| disk.truncate(&open.name, at(size)));
    code(outcome, ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite passes an open handle.
    let open = unsafe { opened(file) };
    let mut disk = lock(&open.app.disk);
    let outcome = disk
        .alive(open.generation)
        .and_then(|()| disk.sync(&open.name));
    code(outcome, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes an open handle and room for the answer.
    let open = unsafe { opened(file) };
    let disk = lock(&open.app.disk);
    if disk.alive(open.generation).is_err() {
        return ffi::SQLITE_IOERR_FSTAT;
    }
    // SAFETY: as above.
    unsafe { *out = i64::try_from(disk.size(&open.name)).expect("a Vec's length") };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock_file(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open handle.
    let open = unsafe { opened(file) };
    if !open.alive() {
        return ffi::SQLITE_IOERR_LOCK;
    }
    let mut locks = open.app.locks();
    let levels = &mut locks.files.entry(open.name.clone()).or_default().levels;
    let highest = levels
        .iter()
        .filter(|(id, _)| **id != open.id)
        .map(|(_, level)| *level)
        .max()
        .unwrap_or(0);
    let mine = levels
        .get(&open.id)
        .copied()
        .unwrap_or(ffi::SQLITE_LOCK_NONE);
    if mine >= level {
        return ffi::SQLITE_OK;
    }
    let free = match level {
        ffi::SQLITE_LOCK_SHARED => highest < ffi::SQLITE_LOCK_PENDING,
        ffi::SQLITE_LOCK_RESERVED => highest < ffi::SQLITE_LOCK_RESERVED,
        _ => highest < ffi::SQLITE_LOCK_SHARED,
    };
    if free {
        levels.insert(open.id, level);
        return ffi::SQLITE_OK;
    }
    if level == ffi::SQLITE_LOCK_EXCLUSIVE && highest < ffi::SQLITE_LOCK_RESERVED {
        levels.insert(open.id, ffi::SQLITE_LOCK_PENDING);
    }
    ffi::SQLITE_BUSY
}

unsafe extern "C" fn unlock_file(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open handle.
    let open = unsafe { opened(file) };
    let mut locks = open.app.locks();
    if locks.generation != open.generation {
        return ffi::SQLITE_OK;
    }
    let levels = &mut locks.files.entry(open.name.clone()).or_default().levels;
    if level == ffi::SQLITE_LOCK_NONE {
        levels.remove(&open.id);
    } else if levels.get(&open.id).is_some_and(|mine| *mine > level) {
        levels.insert(open.id, level);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes an open handle and room for the answer.
    let open = unsafe { opened(file) };
    let locks = open.app.locks();
    let held = locks.files.get(&open.name);
    let reserved = held.is_some_and(|held| {
        held.levels
            .values()
            .any(|level| *level >= ffi::SQLITE_LOCK_RESERVED)
    });
    // SAFETY: as above.
    unsafe { *out = c_int::from(reserved) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(
    _file: *mut ffi::sqlite3_file,
    _op: c_int,
    _argument: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    4_096
}

/// As SQLite assumes of every Unix disk: writing some bytes of a sector does not harm its others.
unsafe extern "C" fn characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite passes an open handle and room for the answer.
    let open = unsafe { opened(file) };
    // SAFETY: as above.
    unsafe { *out = ptr::null_mut() };
    if !open.alive() {
        return ffi::SQLITE_IOERR_SHMMAP;
    }
    let mut locks = open.app.locks();
    let shared = locks
        .files
        .entry(open.name.clone())
        .or_default()
        .shm
        .get_or_insert_default()
        .clone();
    let shm = open.shm.get_or_insert(shared);
    let mut shm = shm.lock().unwrap_or_else(PoisonError::into_inner);
    shm.held.entry(open.id).or_default();
    while shm.regions.len() <= count(region) {
        if extend == 0 {
            return ffi::SQLITE_OK;
        }
        let words = (0..count(bytes).div_ceil(8)).map(|_| AtomicU64::new(0));
        shm.regions.push(words.collect());
    }
    // SAFETY: as above. The words are atomics, so SQLite's writing through a shared box is allowed; the box outlives
    // the handle, which keeps the `Arc`.
    unsafe { *out = shm.regions[count(region)].as_ptr().cast_mut().cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    n: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite passes an open handle.
    let open = unsafe { opened(file) };
    let Some(shm) = &open.shm else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    let mut shm = shm.lock().unwrap_or_else(PoisonError::into_inner);
    let slots = u8::try_from(((1u32 << n) - 1) << offset).expect("SQLite has eight slots");
    let mine = shm.held.get(&open.id).copied().unwrap_or_default();
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        shm.held.insert(open.id, (mine.0 & !slots, mine.1 & !slots));
        return ffi::SQLITE_OK;
    }
    if !open.alive() {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    let others = shm.held.iter().filter(|(id, _)| **id != open.id);
    let (shared, exclusive) =
        others.fold((0, 0), |sum, (_, held)| (sum.0 | held.0, sum.1 | held.1));
    let wants_shared = flags & ffi::SQLITE_SHM_SHARED != 0;
    let blocking = if wants_shared {
        exclusive
    } else {
        shared | exclusive
    };
    if blocking & slots != 0 {
        return ffi::SQLITE_BUSY;
    }
    let held = if wants_shared {
        (mine.0 | slots, mine.1)
    } else {
        (mine.0, mine.1 | slots)
    };
    shm.held.insert(open.id, held);
    ffi::SQLITE_OK
}

/// The model's mutexes order memory already.
unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: SQLite passes an open handle.
    let open = unsafe { opened(file) };
    let mut locks = open.app.locks();
    if locks.generation == open.generation {
        unmap(&mut locks, open);
    }
    drop(locks);
    open.shm = None;
    ffi::SQLITE_OK
}

/// Takes a handle out of the shared memory, which goes with its last handle, as it does on Unix.
fn unmap(locks: &mut Locks, open: &Open) {
    let Some(shm) = &open.shm else { return };
    let mut shm = shm.lock().unwrap_or_else(PoisonError::into_inner);
    shm.held.remove(&open.id);
    if shm.held.is_empty()
        && let Some(held) = locks.files.get_mut(&open.name)
    {
        held.shm = None;
    }
}
