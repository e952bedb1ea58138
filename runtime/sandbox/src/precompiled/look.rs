//! Compiled code examined before it is served: what it says of itself, and whether this program would load it. Hides which file of
//! a folder is meant, and that the checks are the loader's own.

use super::load::{mapped, vouched};
use super::{CodeRecord, EXTENSION, record};
use crate::code::Program;
use crate::compiler::Compiler;
use crate::error::Error;
use crate::inspect::read;
use crate::limits;
use crate::manifest::Manifest;
use crate::origin::{Kept, Origins};
use crate::registry::Loader;
use crate::scan::{compiled_form, module};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Compiled code that was examined.
#[derive(Debug, Clone)]
pub struct CodeInspection {
    /// The file.
    pub file: PathBuf,
    /// What it says of itself.
    pub record: CodeRecord,
    /// Why this program does not load it, and how to mend that; none when it does.
    pub unfit: Option<String>,
}

/// Examines the compiled code that a path means; none where that is WebAssembly. Blocks.
pub(crate) fn look(
    path: &Path,
    tenant: &str,
    loader: &Loader,
) -> Result<Option<CodeInspection>, Error> {
    let only_compiled = matches!(loader.compiler, Compiler::Absent);
    let Some(file) = program_file(path, only_compiled) else {
        return Ok(None);
    };
    let broken = |why: String| Error::Plugin {
        name: file.display().to_string(),
        why,
    };
    let mut open =
        File::open(&file).map_err(|error| broken(format!("the file cannot be read: {error}")))?;
    let record = record(&mut open).map_err(broken)?;
    let unfit = loads(open, &file, &record, tenant, loader).err();
    Ok(Some(CodeInspection {
        file,
        record,
        unfit,
    }))
}

/// The file itself, or that of a folder with `plugin.toml` that would be served by compiled code: where there is no other, or
/// nothing else is of use. What is wrong with a folder its own inspection says.
fn program_file(path: &Path, only_compiled: bool) -> Option<PathBuf> {
    if !path.is_dir() {
        let is_code = path
            .extension()
            .is_some_and(|extension| extension == EXTENSION);
        return is_code.then(|| path.to_owned());
    }
    let manifest = manifest_in(path)?.unwrap_or_default();
    let named = manifest.module.as_deref();
    // Of `.` or `..` too, the folder has a name.
    let folder = path.canonicalize().ok()?;
    let name = folder.file_name()?.to_str()?;
    let entries = std::fs::read_dir(path).ok()?.flatten();
    let files: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let wasm = module(named, name, files.iter().copied(), name).ok();
    let there = wasm.is_some_and(|file| files.contains(&file.as_str()));
    let code = compiled_form(named, name, &files).filter(|_| only_compiled || !there);
    code.map(|file| path.join(file))
}

/// What the `plugin.toml` of a folder says, or what is wrong with it; none where there is none.
fn manifest_in(folder: &Path) -> Option<Result<Manifest, String>> {
    let file = folder.join("plugin.toml");
    if !file.exists() {
        return None;
    }
    let text = match read(&file, limits::MANIFEST_BYTES_MAX) {
        Ok(text) => String::from_utf8(text),
        Err(error) => return Some(Err(error.to_string())),
    };
    Some(match text {
        Ok(text) => Manifest::parse(&text),
        Err(_) => Err("plugin.toml is not UTF-8".to_owned()),
    })
}

/// All that a loader checks, as far as it does without the operator's word that such code is run: then it is not even mapped.
fn loads(
    open: File,
    file: &Path,
    record: &CodeRecord,
    tenant: &str,
    loader: &Loader,
) -> Result<(), String> {
    let manifest = file.parent().and_then(manifest_in).transpose()?;
    let kept = match &manifest {
        Some(_) => Kept::Manifest,
        None => Kept::Nowhere,
    };
    let manifest = manifest.unwrap_or_default();
    if let Some(pin) = &manifest.sha256
        && *pin != record.wasm_sha256
    {
        return Err(format!(
            "it was made of a file with the SHA-256 {}, plugin.toml pins {pin}; restore the file or the pin",
            record.wasm_sha256
        ));
    }
    let limits = manifest.limits.within(&loader.allowed(tenant).limits());
    let machine = loader.machine(Loader::kind(&limits))?;
    let code = vouched(open, file, record, machine.metering)?;
    if !loader.settings.precompiled {
        return Ok(());
    }
    let program = Program::precompiled(&machine, mapped(&machine, &code, record)?);
    let origins = Origins::uncalled(kept, &manifest.limits, &limits);
    program.known.least.fit(&origins)?;
    program.link(&machine).map(drop)
}
