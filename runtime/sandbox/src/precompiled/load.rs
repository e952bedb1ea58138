//! Compiled code taken from a file: verified, mapped, never copied. Hides the checks.

use super::{CodeRecord, record};
use crate::code::{Format, chain};
use crate::machine::{Machine, Metering};
use crate::mapped::CodeFile;
use std::fs::File;
use std::path::Path;
use wasmtime::Module;
use wasmtime::component::Component;

/// A program in mapped memory.
pub(crate) enum Precompiled {
    Component(Component),
    Module(Module),
}

/// Maps the code of a file of the plugin directory. Blocks.
///
/// # Errors
/// Why it is not taken, and what to do about it.
pub(crate) fn load(machine: &Machine, path: &Path) -> Result<(CodeRecord, Precompiled), String> {
    let mut file =
        File::open(path).map_err(|error| format!("{} cannot be read: {error}", shown(path)))?;
    let at = |why: String| format!("{}: {why}", shown(path));
    let found = record(&mut file).map_err(at)?;
    let code = vouched(file, path, &found, machine.metering).map_err(at)?;
    let code = mapped(machine, &code, &found).map_err(at)?;
    Ok((found, code))
}

/// What is looked at before code is mapped: who can change it, whether it is for this program, whether it is whole.
pub(super) fn vouched(
    file: File,
    path: &Path,
    found: &CodeRecord,
    metering: Metering,
) -> Result<CodeFile, String> {
    ours_alone(&file, path)?;
    found.fits()?;
    counts_as(found, metering)?;
    // The file that was looked at is mapped, also when its name stands for another one by now.
    let code = CodeFile::new(file, path.to_owned());
    intact(&code, found)?;
    Ok(code)
}

/// Maps it.
pub(super) fn mapped(
    machine: &Machine,
    code: &CodeFile,
    found: &CodeRecord,
) -> Result<Precompiled, String> {
    let engine = &machine.engine;
    let mapped = match found.format {
        Format::Component => code.map::<Component>(engine).map(Precompiled::Component),
        Format::Module => code.map::<Module>(engine).map(Precompiled::Module),
    };
    mapped.map_err(|error| {
        format!(
            "its code does not fit this program: {}; {}",
            chain(&error),
            found.again()
        )
    })
}

fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// A file that others can change is not run.
fn ours_alone(file: &File, path: &Path) -> Result<(), String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        const EVERYONE_WRITES: u32 = 0o002;
        let folder = path
            .parent()
            .map(|folder| match folder.as_os_str().is_empty() {
                true => std::fs::metadata("."),
                false => std::fs::metadata(folder),
            });
        for meta in [Some(file.metadata()), folder].into_iter().flatten() {
            let meta = meta.map_err(|error| format!("it cannot be looked at: {error}"))?;
            if meta.mode() & EVERYONE_WRITES != 0 {
                return Err(
                    "everyone can write to it or to its folder, and it is run unchecked; chmod o-w both, and put the \
                     file there anew"
                        .to_owned(),
                );
            }
        }
    }
    #[cfg(not(unix))]
    let _ = (file, path);
    Ok(())
}

/// Code counts fuel or does not, whatever the manifest says later.
fn counts_as(found: &CodeRecord, wanted: Metering) -> Result<(), String> {
    let (has, why) = match wanted {
        Metering::Fuel => (
            found.metered,
            "a limit of fuel is in force, and the code was compiled without counting any",
        ),
        Metering::Off => (
            !found.metered,
            "the code counts fuel, and no limit of fuel is in force",
        ),
    };
    if has {
        return Ok(());
    }
    Err(format!(
        "{why}; compile the plugin's folder with the [limits] that it has now: `stepwell plugin compile FOLDER`"
    ))
}

fn intact(code: &CodeFile, found: &CodeRecord) -> Result<(), String> {
    let sha256 = code
        .sha256(found.code_bytes)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    if sha256 == found.code_sha256 {
        return Ok(());
    }
    Err(format!(
        "it is damaged: its code is not what was compiled; copy it here anew, or {}",
        found.again()
    ))
}
