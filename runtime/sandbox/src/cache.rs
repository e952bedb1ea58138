//! Compiled code, on disk where there is a folder for it. Hides file names, integrity, and which entries go when there are
//! too many bytes.
//!
//! An entry is `<sha256 of the wasm>-<hash of the engine>.cwasm` and beside it the SHA-256 of the entry itself: code is
//! mapped and run only when it is byte for byte what a host wrote. The folder must not be writable by tenants. When an entry
//! was last of use is the time at which its checksum's file was changed; the folder may be several processes'.

use crate::code::Format;
use crate::compiler::{Compiler, Fault, Job, key};
use crate::error::Error;
use crate::limits;
use crate::machine::Machine;
use crate::mapped::{CodeFile, Compiled};
use crate::precompiled::Precompiled;
use crate::queue::Leave;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use wasmtime::Engine;

const CODE: &str = "cwasm";
const CHECKSUM: &str = "sha256";
/// Before the names of files that are being written.
const TEMPORARY: &str = "tmp-";

/// The compiled forms of plugins.
pub(crate) struct Cache {
    folder: Option<Folder>,
    pub(crate) hits: AtomicU64,
    pub(crate) compiled: AtomicU64,
}

struct Folder {
    dir: Dir,
    path: PathBuf,
    bytes_max: u64,
    next: AtomicU64,
    /// Files that this process found whole, or wrote: their checksums need not be counted again.
    verified: Mutex<HashMap<String, Identity>>,
}

/// What tells a file from another one that has its name later.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    bytes: u64,
    changed: Option<SystemTime>,
}

impl Cache {
    /// Without a folder everything is compiled in each process.
    pub(crate) fn new(folder: Option<&Path>, bytes_max: u64) -> Result<Self, Error> {
        let folder = folder
            .map(|path| Folder::open(path, bytes_max))
            .transpose()?;
        Ok(Self {
            folder,
            hits: AtomicU64::new(0),
            compiled: AtomicU64::new(0),
        })
    }

    /// The compiled form of a plugin's file, from the cache where it has one. Blocks.
    pub(crate) fn get<C: Compiled>(
        &self,
        machine: &Machine,
        compiler: &Compiler,
        sha256: &str,
        wasm: &[u8],
        leave: &mut Leave<'_>,
    ) -> Result<C, Fault> {
        let engine = &machine.engine;
        if let Some(stored) = self.stored(engine, sha256) {
            return Ok(stored);
        }
        let job = Job {
            metering: machine.metering,
            format: C::FORMAT,
            wasm,
        };
        let code = compiler.compile(engine, &job, leave)?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let place = self.folder.as_ref().zip(key(engine, sha256));
        let mapped = place.and_then(|(folder, key)| {
            let stored = folder.store(&key, &code);
            // A full disk costs the cache, not the task.
            let stored = stored
                .inspect_err(|error| tracing::warn!(key, error = %error, "a compiled plugin cannot be stored"))
                .ok()?;
            folder.make_room(&key);
            Some(stored.map(engine))
        });
        let taken = mapped.unwrap_or_else(|| C::take(engine, &code));
        taken.map_err(|error| Fault::invalid(&error))
    }

    /// What the cache has of a plugin's file, by the file's SHA-256. Blocks.
    pub(crate) fn stored<C: Compiled>(&self, engine: &Engine, sha256: &str) -> Option<C> {
        let (folder, key) = self.folder.as_ref().zip(key(engine, sha256))?;
        let mapped = folder.whole(&key)?.map(engine);
        mapped
            .inspect(|_| {
                self.hits.fetch_add(1, Ordering::Relaxed);
                folder.used(&key);
            })
            .inspect_err(|error| {
                tracing::warn!(key, error = %error, "a cached plugin is unusable; compiling it again");
            })
            .ok()
    }

    /// The same of a file whose format nobody has looked at.
    pub(crate) fn stored_code(&self, engine: &Engine, sha256: &str) -> Option<Precompiled> {
        let (folder, key) = self.folder.as_ref().zip(key(engine, sha256))?;
        match folder.whole(&key)?.format()? {
            Format::Component => self.stored(engine, sha256).map(Precompiled::Component),
            Format::Module => self.stored(engine, sha256).map(Precompiled::Module),
        }
    }

    /// Whether a plugin's file needs no compiler any more.
    pub(crate) fn has(&self, engine: &Engine, sha256: &str) -> bool {
        let entry = self.folder.as_ref().zip(key(engine, sha256));
        entry.is_some_and(|(folder, key)| folder.whole(&key).is_some())
    }

    /// Removes all that was compiled of a plugin's file. What is mapped stays mapped.
    pub(crate) fn forget(&self, sha256: &str) {
        let Some(folder) = &self.folder else { return };
        let of_it = format!("{sha256}-");
        for entry in folder.entries() {
            if entry.key.starts_with(&of_it) {
                folder.remove(&entry.key);
            }
        }
    }
}

/// An entry, or what is left of one.
struct Entry {
    key: String,
    bytes: u64,
    used: SystemTime,
}

impl Folder {
    fn open(path: &Path, bytes_max: u64) -> Result<Self, Error> {
        let broken = |why: String, hint| Error::Folder {
            role: "compile cache",
            path: path.to_owned(),
            why,
            hint,
        };
        std::fs::create_dir_all(path).map_err(|error| {
            broken(
                error.to_string(),
                "name a folder that this user can create and write, or run without a cache",
            )
        })?;
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| {
            broken(
                error.to_string(),
                "name a folder that this user can read and write",
            )
        })?;
        #[cfg(unix)]
        {
            use cap_std::fs::MetadataExt as _;
            let mode = dir
                .dir_metadata()
                .map_err(|error| broken(error.to_string(), "check the folder"))?
                .mode();
            if mode & 0o002 != 0 {
                return Err(broken(
                    "everyone can write to it, and compiled code in it is run unchecked".into(),
                    "chmod o-w the folder, after emptying it",
                ));
            }
        }
        Ok(Self {
            dir,
            path: path.to_owned(),
            bytes_max,
            next: AtomicU64::new(0),
            verified: Mutex::default(),
        })
    }

    /// An entry that is what was once stored, open to be mapped.
    fn whole(&self, key: &str) -> Option<CodeFile> {
        let expected = self.dir.read_to_string(format!("{key}.{CHECKSUM}")).ok()?;
        let name = format!("{key}.{CODE}");
        let file = self.dir.open(&name).ok()?.into_std();
        let identity = Identity::of(&file).ok()?;
        let code = CodeFile::new(file, self.path.join(name));
        if self.verified().get(key) == Some(&identity) {
            return Some(code);
        }
        if code.sha256(u64::MAX).ok()? != expected {
            tracing::warn!(key, "a cached plugin is damaged; compiling it again");
            return None;
        }
        self.note(key, identity);
        Some(code)
    }

    fn store(&self, key: &str, code: &[u8]) -> std::io::Result<CodeFile> {
        let name = format!("{key}.{CODE}");
        let file = self.replace(&name, code)?;
        let checksum = hex(&Sha256::digest(code));
        self.replace(&format!("{key}.{CHECKSUM}"), checksum.as_bytes())?;
        if let Ok(identity) = Identity::of(&file) {
            self.note(key, identity);
        }
        Ok(CodeFile::new(file, self.path.join(name)))
    }

    /// Writes beside and renames, so that a reader sees the old or the new file whole. Gives the file, open.
    fn replace(&self, name: &str, bytes: &[u8]) -> std::io::Result<std::fs::File> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{TEMPORARY}{}-{number}", std::process::id());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let written = self.dir.open_with(&temporary, &options);
        let written = written.and_then(|mut file| file.write_all(bytes).map(|()| file));
        let renamed = written.and_then(|file| {
            self.dir.rename(&temporary, &self.dir, name)?;
            Ok(file.into_std())
        });
        if renamed.is_err() {
            let _ = self.dir.remove_file(&temporary);
        }
        renamed
    }

    /// Notes that an entry was of use now.
    fn used(&self, key: &str) {
        let mut options = OpenOptions::new();
        options.write(true);
        let checksum = self.dir.open_with(format!("{key}.{CHECKSUM}"), &options);
        // Where that cannot be noted, it counts as used when it was written.
        let _ = checksum.and_then(|file| file.into_std().set_modified(SystemTime::now()));
    }

    /// Removes entries that were not of use for longest, until there is room; never the one that was just written.
    fn make_room(&self, kept: &str) {
        let mut entries = self.entries();
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        if bytes <= self.bytes_max {
            return;
        }
        let goal = self.bytes_max / 100 * limits::CACHE_KEPT_PERCENT;
        entries.sort_by_key(|entry| entry.used);
        let mut removed = 0_u64;
        for entry in entries.iter().filter(|entry| entry.key != kept) {
            if bytes <= goal {
                break;
            }
            self.remove(&entry.key);
            bytes = bytes.saturating_sub(entry.bytes);
            removed += 1;
        }
        tracing::info!(removed, bytes, "the compile cache made room");
    }

    /// All entries. What was begun long ago and never finished is removed on the way.
    fn entries(&self) -> Vec<Entry> {
        let mut found: HashMap<String, Entry> = HashMap::new();
        let now = SystemTime::now();
        for file in self.dir.entries().into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let Ok(meta) = file.metadata() else { continue };
            let changed = meta
                .modified()
                .map_or(SystemTime::UNIX_EPOCH, cap_std::time::SystemTime::into_std);
            if name.starts_with(TEMPORARY) {
                let age = now.duration_since(changed).unwrap_or_default();
                if age > limits::CACHE_LEFTOVER_AGE {
                    let _ = self.dir.remove_file(&name);
                }
                continue;
            }
            let Some((key, kind)) = name.rsplit_once('.') else {
                continue;
            };
            if kind != CODE && kind != CHECKSUM {
                continue;
            }
            let entry = found.entry(key.to_owned()).or_insert_with(|| Entry {
                key: key.to_owned(),
                bytes: 0,
                used: changed,
            });
            entry.bytes += meta.len();
            entry.used = entry.used.max(changed);
        }
        found.into_values().collect()
    }

    /// The checksum first: what is left of an entry then is none.
    fn remove(&self, key: &str) {
        for kind in [CHECKSUM, CODE] {
            let _ = self.dir.remove_file(format!("{key}.{kind}"));
        }
        self.verified().remove(key);
    }

    fn note(&self, key: &str, identity: Identity) {
        let mut verified = self.verified();
        if verified.len() >= limits::CACHE_VERIFIED_MAX {
            verified.clear();
        }
        verified.insert(key.to_owned(), identity);
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashMap<String, Identity>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Identity {
    fn of(file: &std::fs::File) -> std::io::Result<Self> {
        let meta = file.metadata()?;
        #[cfg(unix)]
        let number = {
            use std::os::unix::fs::MetadataExt as _;
            (meta.dev(), meta.ino())
        };
        #[cfg(not(unix))]
        let number = (0, 0);
        Ok(Self {
            file: number,
            bytes: meta.len(),
            changed: meta.modified().ok(),
        })
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A folder of entries of 1,000 bytes each, used in the order of their names.
    fn folder(scratch: &Path, bytes_max: u64, keys: &[&str]) -> Folder {
        let folder = Folder::open(scratch, bytes_max).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(10_000);
        for (number, key) in keys.iter().enumerate() {
            folder.store(key, &[7; 936]).unwrap();
            set_used(scratch, key, long_ago + Duration::from_secs(number as u64));
        }
        folder
    }

    fn set_used(scratch: &Path, key: &str, at: SystemTime) {
        for kind in [CODE, CHECKSUM] {
            let path = scratch.join(format!("{key}.{kind}"));
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(at).unwrap();
        }
    }

    fn keys(folder: &Folder) -> Vec<String> {
        let mut keys: Vec<String> = folder.entries().into_iter().map(|e| e.key).collect();
        keys.sort();
        keys
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = folder(scratch.path(), 4_000, &["a", "b", "c", "d", "e"]);
        folder.used("a");
        // 5,000 bytes are there: 3,600 may stay.
        folder.make_room("e");
        assert_eq!(keys(&folder), ["a", "d", "e"]);
        assert!(folder.whole("a").is_some() && folder.whole("b").is_none());
    }

    #[test]
    fn nothing_goes_while_there_is_room_and_never_the_newest() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = folder(scratch.path(), 3_000, &["a", "b", "c"]);
        folder.make_room("c");
        assert_eq!(keys(&folder), ["a", "b", "c"]);
        let tiny = Folder::open(scratch.path(), 1).unwrap();
        tiny.make_room("b");
        assert_eq!(keys(&tiny), ["b"]);
    }

    #[test]
    fn halves_of_entries_and_what_was_never_finished_go_too() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = folder(scratch.path(), 2_000, &["a", "b"]);
        std::fs::remove_file(scratch.path().join("a.sha256")).unwrap();
        let left = scratch.path().join("tmp-1-1");
        std::fs::write(&left, "half").unwrap();
        assert!(left.exists() && folder.entries().len() == 2);
        let file = std::fs::File::options().write(true).open(&left).unwrap();
        file.set_modified(SystemTime::now() - 2 * limits::CACHE_LEFTOVER_AGE)
            .unwrap();
        folder.store("c", &[7; 936]).unwrap();
        folder.make_room("c");
        assert!(!left.exists());
        assert_eq!(keys(&folder), ["c"]);
    }

    #[test]
    fn all_of_a_plugin_is_forgotten_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = folder(scratch.path(), 9_000, &["aa-1", "aa-2", "aab-1"]);
        let cache = Cache {
            folder: Some(folder),
            hits: AtomicU64::new(0),
            compiled: AtomicU64::new(0),
        };
        cache.forget("aa");
        assert_eq!(keys(cache.folder.as_ref().unwrap()), ["aab-1"]);
    }

    /// A tenant has no folder that he may write, and a folder that everyone may write is none for code.
    #[cfg(unix)]
    #[test]
    fn a_folder_that_everyone_can_write_holds_no_code() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = tempfile::tempdir().unwrap();
        let mode = |mode: u32| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(scratch.path(), mode).unwrap();
            Folder::open(scratch.path(), 9_000).map(drop)
        };
        mode(0o755).unwrap();
        for open in [0o777, 0o1777, 0o702] {
            let why = mode(open).unwrap_err().to_string();
            assert!(
                why.contains("everyone can write to it") && why.contains("chmod o-w"),
                "{open:o}: {why}"
            );
        }
    }

    #[test]
    fn a_file_is_verified_again_when_it_is_another_one() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = folder(scratch.path(), 9_000, &["a"]);
        assert!(folder.whole("a").is_some());
        // In place of what this process wrote itself, of the same length and time.
        let path = scratch.path().join("a.cwasm");
        let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
        let beside = scratch.path().join("beside");
        std::fs::write(&beside, [8; 936]).unwrap();
        let file = std::fs::File::options().write(true).open(&beside).unwrap();
        file.set_modified(changed).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        assert!(folder.whole("a").is_none());
    }
}
