//! An open file of the simulated disk: what SQLite calls with a handle.

use std::{
    ffi::{c_int, c_void},
    ptr, slice,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use rusqlite::ffi;

use super::{
    super::fault::lock,
    App, code, count,
    locks::{Locks, Shm},
};

/// An open file: what SQLite allocates for us, `szOsFile` bytes.
#[repr(C)]
pub(super) struct Handle {
    pub(super) base: ffi::sqlite3_file,
    pub(super) open: *mut Open,
}

pub(super) struct Open {
    pub(super) app: &'static App,
    pub(super) name: String,
    pub(super) id: u64,
    pub(super) generation: u64,
    pub(super) temporary: bool,
    pub(super) shm: Option<Arc<Mutex<Shm>>>,
}

pub(super) static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
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

impl Open {
    fn alive(&self) -> bool {
        lock(&self.app.disk).alive(self.generation).is_ok()
    }
}

fn at(offset: ffi::sqlite3_int64) -> usize {
    usize::try_from(offset).expect("SQLite's offsets are not negative")
}

/// # Safety
/// `file` was opened by `open` and not closed; SQLite uses a handle from one thread at a time.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Open {
    // SAFETY: `open` put a live box there, and `close` is the last call.
    unsafe { &mut *(*file.cast::<Handle>()).open }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the last call on a handle that `open` made, whose box is taken back here.
    let open = unsafe { Box::from_raw((*file.cast::<Handle>()).open) };
    let mut locks = open.app.locks();
    if locks.are_of(open.generation) {
        locks.of(&open.name).lower(open.id, ffi::SQLITE_LOCK_NONE);
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
    free_or_busy(locks.of(&open.name).raise(open.id, level))
}

unsafe extern "C" fn unlock_file(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open handle.
    let open = unsafe { opened(file) };
    let mut locks = open.app.locks();
    if locks.are_of(open.generation) {
        locks.of(&open.name).lower(open.id, level);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes an open handle and room for the answer.
    let open = unsafe { opened(file) };
    let reserved = open.app.locks().of(&open.name).is_reserved();
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
    let shared = locks.of(&open.name).shm();
    let shm = open.shm.get_or_insert(shared);
    let mut shm = shm.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(words) = shm.region(open.id, count(region), count(bytes), extend != 0) {
        // SAFETY: as above. The words are atomics, so SQLite's writing through a shared box is allowed; the box outlives
        // the handle, which keeps the `Arc`.
        unsafe { *out = words.as_ptr().cast_mut().cast() };
    }
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
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        shm.give_back(open.id, slots);
        return ffi::SQLITE_OK;
    }
    if !open.alive() {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    free_or_busy(shm.take(open.id, slots, flags & ffi::SQLITE_SHM_SHARED != 0))
}

/// The model's mutexes order memory already.
unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: SQLite passes an open handle.
    let open = unsafe { opened(file) };
    let mut locks = open.app.locks();
    if locks.are_of(open.generation) {
        unmap(&mut locks, open);
    }
    drop(locks);
    open.shm = None;
    ffi::SQLITE_OK
}

/// Takes a handle out of the shared memory, which goes with its last handle.
fn unmap(locks: &mut Locks, open: &Open) {
    let Some(shm) = &open.shm else { return };
    let mut shm = shm.lock().unwrap_or_else(PoisonError::into_inner);
    if shm.leave(open.id) {
        locks.of(&open.name).drop_shm();
    }
}

fn free_or_busy(free: bool) -> c_int {
    match free {
        true => ffi::SQLITE_OK,
        false => ffi::SQLITE_BUSY,
    }
}
