//! Compiled code, on disk where there is a folder for it. Hides file names, integrity and the unsafe calls of this crate,
//! all of one kind: code that this host, or its operator, had compiled is taken as such.
//!
//! An entry is `<sha256 of the wasm>-<hash of the engine>.cwasm` and beside it the SHA-256 of the entry itself: code is
//! mapped and run only when it is byte for byte what a host wrote. The folder must not be writable by tenants.

use crate::code::Format;
use crate::compiler::{Compiler, Fault, Job, key};
use crate::error::Error;
use crate::machine::Machine;
use crate::queue::Leave;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// The compiled forms of plugins.
pub(crate) struct Cache {
    folder: Option<(Dir, PathBuf)>,
    next: AtomicU64,
    pub(crate) hits: AtomicU64,
    pub(crate) compiled: AtomicU64,
}

/// What is compiled: the two binary formats have two compiled types.
pub(crate) trait Compiled: Sized {
    const FORMAT: Format;
    /// Maps a file that [`Cache`], or whoever reads what was compiled ahead of time, has verified.
    fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self>;
    /// Takes code that a [`Compiler`] just gave.
    fn take(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self>;
}

impl Compiled for Component {
    const FORMAT: Format = Format::Component;

    #[allow(
        unsafe_code,
        reason = "mapping compiled code is one of the two things here that the type system cannot check"
    )]
    fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self> {
        // SAFETY: the file's bytes were just compared with the checksum that was stored when they were compiled, in a
        // folder that only the operator can write; entries are replaced by rename and never changed in place. The
        // operator vouches for files that another program of ours compiled ahead of time (`precompiled`).
        unsafe { Self::deserialize_file(engine, path) }
    }

    #[allow(
        unsafe_code,
        reason = "taking compiled code is the other thing here that the type system cannot check"
    )]
    fn take(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self> {
        // SAFETY: the bytes come from this process or from one that runs this program, whole by their checksum.
        unsafe { Self::deserialize(engine, code) }
    }
}

impl Compiled for Module {
    const FORMAT: Format = Format::Module;

    #[allow(
        unsafe_code,
        reason = "mapping compiled code is one of the two things here that the type system cannot check"
    )]
    fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self> {
        // SAFETY: as for components, above.
        unsafe { Self::deserialize_file(engine, path) }
    }

    #[allow(
        unsafe_code,
        reason = "taking compiled code is the other thing here that the type system cannot check"
    )]
    fn take(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self> {
        // SAFETY: as for components, above.
        unsafe { Self::deserialize(engine, code) }
    }
}

impl Cache {
    /// Without a folder everything is compiled in each process.
    pub(crate) fn new(folder: Option<&Path>) -> Result<Self, Error> {
        let folder = folder.map(open).transpose()?;
        Ok(Self {
            folder,
            next: AtomicU64::new(0),
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
        let key = key(engine, sha256);
        if let Some(compiled) = key.as_deref().and_then(|key| self.stored(engine, key)) {
            return Ok(compiled);
        }
        let job = Job {
            metering: machine.metering,
            format: C::FORMAT,
            wasm,
        };
        let code = compiler.compile(engine, &job, leave)?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let mapped = self.folder.as_ref().zip(key).and_then(|((dir, path), key)| {
            let stored = self.store(dir, &key, &code);
            // A full disk costs the cache, not the task.
            stored
                .inspect_err(|error| tracing::warn!(key, error = %error, "a compiled plugin cannot be stored"))
                .ok()?;
            Some(C::map(engine, &code_file(path, &key)))
        });
        let taken = mapped.unwrap_or_else(|| C::take(engine, &code));
        taken.map_err(|error| Fault::invalid(&error))
    }

    /// Whether a plugin's file needs no compiler any more.
    pub(crate) fn has(&self, engine: &Engine, sha256: &str) -> bool {
        let entry = self.folder.as_ref().zip(key(engine, sha256));
        entry.is_some_and(|((dir, _), key)| verified(dir, &key))
    }

    fn stored<C: Compiled>(&self, engine: &Engine, key: &str) -> Option<C> {
        let (dir, path) = self.folder.as_ref()?;
        if !verified(dir, key) {
            return None;
        }
        let mapped = C::map(engine, &code_file(path, key));
        mapped
            .inspect(|_| {
                self.hits.fetch_add(1, Ordering::Relaxed);
            })
            .inspect_err(|error| {
                tracing::warn!(key, error = %error, "a cached plugin is unusable; compiling it again");
            })
            .ok()
    }

    fn store(&self, dir: &Dir, key: &str, code: &[u8]) -> std::io::Result<()> {
        self.replace(dir, &format!("{key}.cwasm"), code)?;
        self.replace(
            dir,
            &format!("{key}.sha256"),
            hex(&Sha256::digest(code)).as_bytes(),
        )
    }

    /// Writes beside and renames, so that a reader sees the old or the new file whole.
    fn replace(&self, dir: &Dir, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("tmp-{}-{number}", std::process::id());
        let written = dir
            .create(&temporary)
            .and_then(|mut file| file.write_all(bytes));
        let renamed = written.and_then(|()| dir.rename(&temporary, dir, name));
        if renamed.is_err() {
            let _ = dir.remove_file(&temporary);
        }
        renamed
    }
}

fn open(path: &Path) -> Result<(Dir, PathBuf), Error> {
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
    Ok((dir, path.to_owned()))
}

fn code_file(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.cwasm"))
}

/// Whether the entry is what was once stored.
fn verified(dir: &Dir, key: &str) -> bool {
    let Ok(expected) = dir.read_to_string(format!("{key}.sha256")) else {
        return false;
    };
    let Ok(code) = dir.read(format!("{key}.cwasm")) else {
        return false;
    };
    let intact = hex(&Sha256::digest(&code)) == expected;
    if !intact {
        tracing::warn!(key, "a cached plugin is damaged; compiling it again");
    }
    intact
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
