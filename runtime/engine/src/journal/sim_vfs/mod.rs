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

mod file;
mod locks;

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::ffi;

use super::fault::{Failed, Shared, lock};
use file::{Handle, METHODS, Open};
use locks::Locks;

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
        locks.renew(generation);
        locks
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
    let id = app.locks().next_handle();
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
