//! Compiled code in a file that is open: what was looked at is what is mapped, whatever its name stands for by then. Hides
//! how a file is mapped by its handle, and the unsafe calls of this crate: code that this host, or its operator, had compiled
//! is taken as such, and pages of it are given back.

use crate::cache::hex;
use crate::code::Format;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// A buffer for the checksum.
const CHUNK_BYTES: usize = 64 << 10;

/// What is compiled: the two binary formats have two compiled types.
pub(crate) trait Compiled: Sized {
    const FORMAT: Format;
    /// Maps a file that was verified.
    fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Self>;
    /// Takes code that a compiler just gave, or that was verified.
    fn take(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self>;
    /// Where it lies in memory.
    fn image(&self) -> Range<*const u8>;
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

    fn image(&self) -> Range<*const u8> {
        self.image_range()
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

    fn image(&self) -> Range<*const u8> {
        self.image_range()
    }
}

/// Lets go of the pages of a file that was just mapped: most of what loading reads is not looked at again, and a call
/// finds in the system's page cache what it needs.
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "the type system does not know that the pages are a file's and unchanged"
)]
fn give_back(image: Range<*const u8>) {
    let bytes = image.end.addr() - image.start.addr();
    // SAFETY: the range is the mapping of a file, nothing else; the runtime maps it privately, and makes it read-only
    // without having written to it (its code has no relocations; others are refused when it is loaded). So each page, when
    // it is looked at next, is the file's again, which is never changed in place (`Compiled::map`).
    let given = unsafe {
        rustix::mm::madvise(
            image.start.cast_mut().cast(),
            bytes,
            rustix::mm::Advice::LinuxDontNeed,
        )
    };
    if let Err(error) = given {
        tracing::debug!(%error, "pages of compiled code stay in memory until the system takes them");
    }
}

/// Elsewhere the advice has no such meaning: the system takes the pages when it needs them.
#[cfg(not(target_os = "linux"))]
fn give_back(_image: Range<*const u8>) {}

/// See the module.
pub(crate) struct CodeFile {
    file: File,
    /// What it was found by.
    path: PathBuf,
}

impl CodeFile {
    pub(crate) fn new(file: File, path: PathBuf) -> Self {
        Self { file, path }
    }

    /// SHA-256 of its first bytes, all of them when there are fewer, in lower-case hex.
    pub(crate) fn sha256(&self, bytes: u64) -> std::io::Result<String> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        let mut left = file.take(bytes);
        let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK_BYTES]);
        loop {
            let read = left.read(&mut chunk)?;
            if read == 0 {
                return Ok(hex(&hasher.finalize()));
            }
            hasher.update(&chunk[..read]);
        }
    }

    /// Maps the very file that is open.
    pub(crate) fn map<C: Compiled>(&self, engine: &Engine) -> wasmtime::Result<C> {
        let path = match self.by_handle() {
            Some(path) => path,
            // No system of ours is without names for open files, unless they are hidden: then it is read, and its pages are no
            // file's to be given back to.
            None if cfg!(unix) => return C::take(engine, &self.bytes()?),
            // Elsewhere a file that is open is not replaced.
            None => self.path.clone(),
        };
        let mapped = C::map(engine, &path)?;
        give_back(mapped.image());
        Ok(mapped)
    }

    /// Which of the two formats it was compiled of; runs nothing.
    pub(crate) fn format(&self) -> Option<Format> {
        let path = self.by_handle().unwrap_or_else(|| self.path.clone());
        match Engine::detect_precompiled_file(path).ok()?? {
            wasmtime::Precompiled::Component => Some(Format::Component),
            wasmtime::Precompiled::Module => Some(Format::Module),
        }
    }

    fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A path that leads to the open file, also when another one has its name.
    #[cfg(unix)]
    fn by_handle(&self) -> Option<PathBuf> {
        use std::os::fd::AsRawFd as _;
        let folder = match cfg!(target_os = "linux") {
            true => "/proc/self/fd",
            false => "/dev/fd",
        };
        let path = Path::new(folder).join(self.file.as_raw_fd().to_string());
        path.exists().then_some(path)
    }

    #[cfg(not(unix))]
    fn by_handle(&self) -> Option<PathBuf> {
        None
    }
}

#[cfg(test)]
#[cfg(feature = "compiler")]
mod tests {
    use super::*;
    use wasmtime::{Instance, Store};

    /// A compiled module that exports one function of that name, which answers with a number below 64.
    fn code(engine: &Engine, export: &str, answer: u8) -> Vec<u8> {
        // Type, function, export and code section, by hand: `(module (func (export NAME) (result i32) i32.const ANSWER))`.
        let mut wasm = b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0".to_vec();
        let name = u8::try_from(export.len()).unwrap();
        wasm.extend([7, name + 4, 1, name]);
        wasm.extend(export.as_bytes());
        wasm.extend([0, 0, 10, 6, 1, 4, 0, 0x41, answer, 11]);
        engine.precompile_module(&wasm).unwrap()
    }

    /// What the function of that name answers.
    fn called(engine: &Engine, module: &Module, export: &str) -> i32 {
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, module, &[]).unwrap();
        let function = instance.get_typed_func::<(), i32>(&mut store, export);
        function.unwrap().call(&mut store, ()).unwrap()
    }

    /// KiB of a mapping that are in memory now.
    #[cfg(target_os = "linux")]
    fn resident_kib(image: Range<*const u8>) -> u64 {
        let address = |hex: &str| usize::from_str_radix(hex, 16).unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut of_image, mut kib) = (false, 0);
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            if let Some((start, end)) = first.split_once('-') {
                of_image = address(start) < image.end.addr() && image.start.addr() < address(end);
            } else if of_image && first == "Rss:" {
                kib += words.next().unwrap().parse::<u64>().unwrap();
            }
        }
        kib
    }

    fn exports(module: &Module) -> Vec<String> {
        let exports = module.exports();
        exports.map(|export| export.name().to_owned()).collect()
    }

    #[test]
    fn what_was_looked_at_is_mapped() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("task.cwasm");
        let engine = Engine::default();
        let (one, other) = (code(&engine, "one", 1), code(&engine, "other", 2));
        std::fs::write(&path, &one).unwrap();
        let opened = CodeFile::new(File::open(&path).unwrap(), path.clone());
        let length = one.len() as u64;
        assert_eq!(
            opened.sha256(length).unwrap(),
            hex(&Sha256::digest(&one)),
            "looked at"
        );
        // Somebody puts another file in its place before it is mapped.
        let beside = scratch.path().join("beside");
        std::fs::write(&beside, &other).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        let mapped: Module = opened.map(&engine).unwrap();
        assert_eq!(exports(&mapped), ["one"]);
        assert_eq!(called(&engine, &mapped, "one"), 1);
        let renamed = CodeFile::new(File::open(&path).unwrap(), path);
        let mapped: Module = renamed.map(&engine).unwrap();
        assert_eq!(exports(&mapped), ["other"]);
        assert_eq!(called(&engine, &mapped, "other"), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pages_of_a_file_are_given_back_until_they_are_called() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("task.cwasm");
        let engine = Engine::default();
        std::fs::write(&path, code(&engine, "task", 7)).unwrap();
        let only_mapped = Module::map(&engine, &path).unwrap();
        assert_ne!(resident_kib(only_mapped.image()), 0, "what loading reads");
        let opened = CodeFile::new(File::open(&path).unwrap(), path);
        let mapped: Module = opened.map(&engine).unwrap();
        assert_eq!(resident_kib(mapped.image()), 0);
        assert_eq!(called(&engine, &mapped, "task"), 7);
        assert_ne!(resident_kib(mapped.image()), 0, "what a call reads");
    }
}
