//! Plugins that were compiled ahead of time, for this machine or another one: files `NAME.cwasm`. Hides their layout and
//! how it is decided whether one fits.
//!
//! A file is the Wasm runtime's code as it is mapped, then a [`CodeRecord`] in JSON, the record's length (4 bytes, little
//! endian) and eight bytes that say what this is. The code is run as it is: nobody can check it, so it is taken only from
//! the plugin directory, where the operator has said so, and only when no one else can write there. The checksum in the
//! record finds damage, not malice.

mod load;
mod look;

#[cfg(feature = "compiler")]
mod ahead;

#[cfg(feature = "compiler")]
pub use ahead::{AheadOfTime, compile_ahead};
pub(crate) use load::{Precompiled, load};
pub use look::CodeInspection;
pub(crate) use look::look;

use crate::code::Format;
use crate::error::Error;
use crate::limits;
use crate::machine::RUNTIME;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// What the names of such files end in.
pub const EXTENSION: &str = "cwasm";

/// The last bytes of a file, with a version of what stands before them.
const MAGIC: &[u8; 8] = b"STEPWLP1";
/// After the record: its length, and [`MAGIC`].
const TAIL_BYTES: u64 = 4 + MAGIC.len() as u64;

/// What code is made for, apart from the machine. All profiles keep to what every processor of a target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The fastest code.
    Server,
    /// Small code, which does not know where in its functions it is.
    Edge,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Server, Self::Edge];

    /// Its name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Edge => "edge",
        }
    }

    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Another machine that code is made for.
#[cfg(feature = "compiler")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) profile: Profile,
    /// As `aarch64-unknown-linux-musl`.
    pub(crate) target: String,
}

/// Whom code is made for.
#[cfg(feature = "compiler")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// This process.
    Here,
    Ahead(Ahead),
}

/// What a file of compiled code says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeRecord {
    /// Version of the program that compiled it.
    pub stepwell: String,
    /// Version of the Wasm runtime: of another one the code is not understood.
    pub runtime: String,
    /// The profile that it was compiled with.
    pub profile: Profile,
    /// The machine that it is for, as `aarch64-unknown-linux-musl`.
    pub target: String,
    /// What engines have in common that understand each other's code, in hex.
    pub engine: String,
    /// The format that the plugin had.
    pub format: Format,
    /// Whether it counts fuel, which a plugin with a limit of fuel has to.
    pub metered: bool,
    /// SHA-256 of the `.wasm` that it was made of, in hex: it is still known, and pinned, by that.
    pub wasm_sha256: String,
    /// Size of that.
    pub wasm_bytes: u64,
    /// SHA-256 of the code, in hex.
    pub code_sha256: String,
    /// Size of the code.
    pub code_bytes: u64,
}

impl CodeRecord {
    /// Reads what a file says of itself; runs nothing.
    ///
    /// # Errors
    /// The file cannot be read, or was not made by [`compile_ahead`](crate::compile_ahead).
    pub fn read(path: &Path) -> Result<Self, Error> {
        let broken = |why: String| Error::Plugin {
            name: path.display().to_string(),
            why,
        };
        let mut file = File::open(path)
            .map_err(|error| broken(format!("the file cannot be read: {error}")))?;
        record(&mut file).map_err(broken)
    }

    /// Whether this program and machine can run the code.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub fn fits(&self) -> Result<(), String> {
        let (arch, own) = (architecture(&self.target), std::env::consts::ARCH);
        if arch != own {
            return Err(format!(
                "it is code for {arch} ({}), and this machine is {own}; {}",
                self.target,
                self.again()
            ));
        }
        if self.runtime != RUNTIME {
            return Err(format!(
                "it was compiled by Stepwell {} with version {} of the Wasm runtime, and this is Stepwell {} with {RUNTIME}; {}",
                self.stepwell,
                self.runtime,
                env!("CARGO_PKG_VERSION"),
                self.again()
            ));
        }
        Ok(())
    }

    /// How to have code that this machine can run.
    fn again(&self) -> String {
        format!(
            "compile it anew: `stepwell plugin compile FILE --profile {} --target {}`",
            self.profile,
            this_target()
        )
    }
}

/// The first part of a target's name, as this language's constants name it.
fn architecture(target: &str) -> &str {
    match target.split('-').next().unwrap_or_default() {
        "arm64" => "aarch64",
        arch => arch,
    }
}

/// The target that this machine is, as [`CodeRecord::target`] names it.
pub fn this_target() -> String {
    let arch = std::env::consts::ARCH;
    match std::env::consts::OS {
        "macos" => format!("{arch}-apple-darwin"),
        "windows" => format!("{arch}-pc-windows-msvc"),
        os if cfg!(target_env = "musl") => format!("{arch}-unknown-{os}-musl"),
        os => format!("{arch}-unknown-{os}-gnu"),
    }
}

/// The record at the end of a file.
fn record(file: &mut File) -> Result<CodeRecord, String> {
    const FOREIGN: &str = "the file was not made by `stepwell plugin compile`, or is cut off";
    let unreadable = |error: std::io::Error| format!("the file cannot be read: {error}");
    let foreign = || FOREIGN.to_owned();
    let length = file.metadata().map_err(unreadable)?.len();
    let before_tail = length.checked_sub(TAIL_BYTES).ok_or_else(foreign)?;
    let mut tail = [0; TAIL_BYTES as usize];
    file.seek(SeekFrom::Start(before_tail))
        .and_then(|_| file.read_exact(&mut tail))
        .map_err(unreadable)?;
    let (size, magic) = tail.split_at(4);
    if magic != MAGIC {
        return Err(foreign());
    }
    let size = size
        .iter()
        .rev()
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
    let start = before_tail
        .checked_sub(size)
        .filter(|_| size <= limits::RECORD_BYTES_MAX)
        .ok_or_else(foreign)?;
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.take(size).read_to_end(&mut text))
        .map_err(unreadable)?;
    let record: CodeRecord = serde_json::from_slice(&text).map_err(|error| {
        format!(
            "its record is not understood ({error}); it was made by another version of `stepwell plugin compile`"
        )
    })?;
    if record.code_bytes != start || start > limits::CODE_BYTES_MAX {
        return Err(foreign());
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    pub(super) fn sample() -> CodeRecord {
        CodeRecord {
            stepwell: "0.1.0".to_owned(),
            runtime: RUNTIME.to_owned(),
            profile: Profile::Edge,
            target: this_target(),
            engine: "0".repeat(16),
            format: Format::Module,
            metered: false,
            wasm_sha256: "1".repeat(64),
            wasm_bytes: 8,
            code_sha256: "2".repeat(64),
            code_bytes: 4,
        }
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn sealed(code: &[u8], record: &CodeRecord) -> Vec<u8> {
        let text = serde_json::to_vec(record).unwrap();
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        [code, &text, &length, MAGIC].concat()
    }

    #[test]
    fn a_record_is_read_from_the_end() {
        let bytes = sealed(b"code", &sample());
        assert_eq!(record(&mut file(&bytes)), Ok(sample()));
    }

    #[test]
    fn what_is_no_such_file_is_told() {
        let whole = sealed(b"code", &sample());
        let longer = sealed(b"codes", &sample());
        let mut length = whole.clone();
        let at = length.len() - 12;
        length[at] = 255;
        length[at + 3] = 255;
        for bytes in [
            &b""[..],
            b"\0asm\x01\0\0\0",
            &whole[..whole.len() - 1],
            &longer,
            &length,
        ] {
            let why = record(&mut file(bytes)).unwrap_err();
            assert!(why.contains("plugin compile"), "{why}");
        }
    }

    #[test]
    fn what_does_not_fit_says_why_and_what_to_do() {
        assert_eq!(sample().fits(), Ok(()));
        let other = CodeRecord {
            target: "riscv64gc-unknown-linux-gnu".to_owned(),
            ..sample()
        };
        let older = CodeRecord {
            runtime: "47.0.1".to_owned(),
            ..sample()
        };
        for (record, reason) in [
            (other, "code for riscv64gc"),
            (older, "with version 47.0.1"),
        ] {
            let why = record.fits().unwrap_err();
            assert!(why.contains(reason), "{why}");
            assert!(
                why.contains("`stepwell plugin compile FILE --profile edge"),
                "{why}"
            );
        }
    }

    #[test]
    fn profiles_are_known_by_their_names() {
        for profile in Profile::ALL {
            assert_eq!(Profile::named(profile.name()), Some(profile));
            let text = serde_json::to_string(&profile).unwrap();
            assert_eq!(text, format!("\"{profile}\""));
        }
        assert_eq!(Profile::named("Edge"), None);
    }
}
