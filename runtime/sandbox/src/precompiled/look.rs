//! Compiled code examined before it is served: what it says of itself, and whether this program would load it. Hides which file of
//! a folder is meant, and that the checks are the loader's own.

use super::load::{mapped, vouched};
use super::{CodeRecord, EXTENSION, record};
use crate::claims;
use crate::code::Program;
use crate::compiler::Compiler;
use crate::error::Error;
use crate::inspect::{Problem, cut_down, read};
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
    /// What may disappoint although it is loaded: what its folder asks for and the operator does not allow.
    pub problems: Vec<Problem>,
}

/// Examines the compiled code that a path means; none where that is WebAssembly. `found` is the name by which the plugin folder
/// has it; a folder elsewhere may have any name. Blocks.
pub(crate) fn look(
    path: &Path,
    tenant: &str,
    found: Option<&str>,
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
    let mut problems = Vec::new();
    let code = Code {
        file: &file,
        record: &record,
        found,
    };
    let unfit = loads(open, &code, tenant, loader, &mut problems).err();
    Ok(Some(CodeInspection {
        file,
        record,
        unfit,
        problems,
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
    let name = &name_of(path)?;
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

/// The folder that a file is in.
fn folder_of(file: &Path) -> &Path {
    let named = file.parent().filter(|folder| *folder != Path::new(""));
    named.unwrap_or(Path::new("."))
}

/// The name that a plugin in this folder is found by; of `.` or `..` too, the folder has one.
fn name_of(folder: &Path) -> Option<String> {
    let last = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    last(folder).or_else(|| last(&folder.canonicalize().ok()?))
}

/// Compiled code that is examined.
struct Code<'a> {
    file: &'a Path,
    record: &'a CodeRecord,
    /// As which plugin of the plugin folder it was found, if it was.
    found: Option<&'a str>,
}

/// All that a loader checks, as far as it does without the operator's word that such code is run: then it is not even mapped,
/// and nobody knows its contract.
fn loads(
    open: File,
    code: &Code<'_>,
    tenant: &str,
    loader: &Loader,
    problems: &mut Vec<Problem>,
) -> Result<(), String> {
    let Code {
        file,
        record,
        found,
    } = *code;
    let folder = folder_of(file);
    let manifest = manifest_in(folder).transpose()?;
    let (kept, own) = match &manifest {
        Some(_) => (Kept::Manifest, Some(folder)),
        None => (Kept::Nowhere, None),
    };
    let manifest = manifest.unwrap_or_default();
    let name = found.or(manifest.name.as_deref()).unwrap_or_default();
    claims::check_file(&manifest, name, &record.wasm_sha256)?;
    let allowed = loader.allowed(tenant);
    let limits = manifest.limits.within(&allowed.limits());
    let instance = allowed.instance(manifest.instance.clone());
    let guarded = &loader.settings.guarded;
    let granted = claims::granted(&manifest, &allowed.grants(), own, guarded)?;
    cut_down(problems, &manifest, &limits, &instance, &granted.asked);
    let machine = loader.machine(Loader::kind(&limits))?;
    let code = vouched(open, file, record, machine.metering)?;
    if !loader.settings.precompiled {
        return Ok(());
    }
    let program = Program::precompiled(&machine, mapped(&machine, &code, record)?);
    let origins = Origins::uncalled(kept, &manifest.limits, &limits);
    program.known.least.fit(&origins)?;
    let (_, contract) = program.link(&machine)?;
    claims::check_contract(&manifest, contract)
}
