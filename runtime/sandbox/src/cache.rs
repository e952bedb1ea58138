//! Compiled code on disk. Hides file names, integrity and the one unsafe call of this crate.
//!
//! An entry is `<sha256 of the wasm>-<hash of the engine>.cwasm` and beside it the SHA-256 of the entry itself: code is
//! mapped and run only when it is byte for byte what a host wrote. The folder must not be writable by tenants.

use crate::error::Error;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
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
    fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self>;
    fn precompile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>>;
    /// Maps a file that [`Cache`] has verified.
    fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self>;
}

impl Compiled for Component {
    fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self> {
        Self::from_binary(engine, wasm)
    }

    fn precompile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        engine.precompile_component(wasm)
    }

    #[allow(
        unsafe_code,
        reason = "mapping compiled code is the one thing here that the type system cannot check"
    )]
    fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self> {
        // SAFETY: the file's bytes were just compared with the checksum that this host stored when it compiled them, in
        // a folder that only the operator can write; entries are replaced by rename and never changed in place.
        unsafe { Self::deserialize_file(engine, path) }
    }
}

impl Compiled for Module {
    fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self> {
        Self::from_binary(engine, wasm)
    }

    fn precompile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        engine.precompile_module(wasm)
    }

    #[allow(
        unsafe_code,
        reason = "mapping compiled code is the one thing here that the type system cannot check"
    )]
    fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self> {
        // SAFETY: as for components, above.
        unsafe { Self::deserialize_file(engine, path) }
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

    /// The compiled form of a plugin's file, from the cache where it has one.
    pub(crate) fn get<C: Compiled>(
        &self,
        engine: &Engine,
        sha256: &str,
        wasm: &[u8],
    ) -> wasmtime::Result<C> {
        let Some((dir, path)) = &self.folder else {
            self.compiled.fetch_add(1, Ordering::Relaxed);
            return C::compile(engine, wasm);
        };
        let key = key(engine, sha256);
        let code = path.join(format!("{key}.cwasm"));
        if verified(dir, &key) {
            match C::map(engine, &code) {
                Ok(compiled) => {
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    return Ok(compiled);
                }
                Err(error) => {
                    tracing::warn!(key, error = %error, "a cached plugin is unusable; compiling it again")
                }
            }
        }
        let bytes = C::precompile(engine, wasm)?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        match self.store(dir, &key, &bytes) {
            Ok(()) => C::map(engine, &code),
            Err(error) => {
                // A full disk costs the cache, not the task.
                tracing::warn!(key, error = %error, "a compiled plugin cannot be stored");
                C::compile(engine, wasm)
            }
        }
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

fn key(engine: &Engine, sha256: &str) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{sha256}-{:016x}", hasher.finish())
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
