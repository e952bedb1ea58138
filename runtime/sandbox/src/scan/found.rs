//! A plugin that a look at the folder found: its files, which of them is its program, and what tells that they changed. Hides
//! that a plugin is a lone file or a folder, in WebAssembly or compiled ahead of time.

use super::MANIFEST;
use crate::limits;
use crate::manifest::Manifest;
use crate::precompiled::EXTENSION;
use cap_std::fs::{Dir, Metadata};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A plugin in the folder, not opened yet.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) tenant: String,
    pub(crate) name: String,
    /// Relative to the plugin folder.
    pub(crate) place: String,
    pub(crate) stamp: Stamp,
    pub(super) is_folder: bool,
    /// Of a lone file.
    pub(super) is_compiled: bool,
    pub(super) prefers_compiled: bool,
    pub(super) root: Arc<Dir>,
    pub(super) root_path: PathBuf,
}

/// Size and time of a plugin's files: another stamp, another plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(super) Vec<(String, u64, SystemTime)>);

/// A plugin's files, read.
pub(crate) struct Files {
    pub(crate) manifest: Option<String>,
    pub(crate) program: ProgramFile,
    /// The plugin's own folder, if it has one.
    pub(crate) folder: Option<PathBuf>,
}

/// A plugin's program.
pub(crate) enum ProgramFile {
    /// WebAssembly.
    Wasm(Vec<u8>),
    /// Where the code is that was compiled of it ahead of time; not read yet.
    Compiled(PathBuf),
}

impl Found {
    /// Reads the plugin's files.
    ///
    /// # Errors
    /// What is missing, unreadable or too large.
    pub(crate) fn read(&self) -> Result<Files, String> {
        let Some(manifest) = self.manifest()? else {
            return Ok(Files {
                manifest: None,
                program: self.program(&self.place)?,
                folder: None,
            });
        };
        let module = self.module(&Manifest::parse(&manifest)?)?;
        Ok(Files {
            manifest: Some(manifest),
            program: self.program(&format!("{}/{module}", self.place))?,
            folder: Some(self.root_path.join(&self.place)),
        })
    }

    fn program(&self, place: &str) -> Result<ProgramFile, String> {
        if compiled(place).is_none() {
            return self
                .bytes(place, limits::WASM_BYTES_MAX)
                .map(ProgramFile::Wasm);
        }
        // What is no file of this folder is refused as for WebAssembly.
        let meta = self.root.metadata(place);
        if !meta.is_ok_and(|meta| meta.is_file()) {
            return Err(format!("{place} is not a regular file"));
        }
        Ok(ProgramFile::Compiled(self.root_path.join(place)))
    }

    /// The text of its `plugin.toml`; a lone file has none.
    ///
    /// # Errors
    /// What is unreadable or too large.
    pub(crate) fn manifest(&self) -> Result<Option<String>, String> {
        if !self.is_folder {
            return Ok(None);
        }
        let place = format!("{}/{MANIFEST}", self.place);
        let manifest = self.bytes(&place, limits::MANIFEST_BYTES_MAX)?;
        let manifest = String::from_utf8(manifest);
        manifest
            .map(Some)
            .map_err(|_| "plugin.toml is not UTF-8".to_owned())
    }

    fn module(&self, manifest: &Manifest) -> Result<String, String> {
        let files: Vec<&str> = self
            .stamp
            .0
            .iter()
            .map(|(name, ..)| name.as_str())
            .collect();
        let named = manifest.module.as_deref();
        let folder = format!("{}/", self.place);
        let wasm = module(named, &self.name, files.iter().copied(), &folder);
        let there = wasm
            .as_ref()
            .is_ok_and(|file| files.contains(&file.as_str()));
        match compiled_form(named, &self.name, &files) {
            Some(compiled) if self.prefers_compiled || !there => Ok(compiled),
            Some(_) | None => wasm,
        }
    }

    fn bytes(&self, place: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        let unreadable = |error: std::io::Error| format!("{place} cannot be read: {error}");
        // Opening a pipe or a device could wait for ever.
        if !self.root.metadata(place).map_err(unreadable)?.is_file() {
            return Err(format!("{place} is not a regular file"));
        }
        let file = self.root.open(place).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(bytes_max + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > bytes_max {
            return Err(format!("{place} is larger than {bytes_max} bytes"));
        }
        Ok(bytes)
    }
}

/// The file of a plugin's folder that is its program: the one that the manifest names, else `NAME.wasm`, else the only
/// one. `folder` names the folder for people.
///
/// # Errors
/// There is none, or more than one.
pub(crate) fn module<'a>(
    named: Option<&str>,
    name: &str,
    files: impl Iterator<Item = &'a str>,
    folder: &str,
) -> Result<String, String> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let files: Vec<&str> = files.filter(|file| file.ends_with(".wasm")).collect();
    let own = format!("{name}.wasm");
    match files.as_slice() {
        _ if files.contains(&own.as_str()) => Ok(own),
        [only] => Ok((*only).to_owned()),
        [] => Err(format!(
            "{folder} has no .wasm file; build it, or name it with `module` in plugin.toml"
        )),
        _ => Err(format!(
            "{folder} has several .wasm files; name one with `module` in plugin.toml"
        )),
    }
}

/// The file of a plugin's folder that was compiled ahead of time: that of the module that the manifest names, else
/// `NAME.cwasm`, else the only one.
pub(crate) fn compiled_form(named: Option<&str>, name: &str, files: &[&str]) -> Option<String> {
    let stem = match named {
        Some(named) => named.strip_suffix(".wasm").or_else(|| compiled(named))?,
        None => name,
    };
    let own = format!("{stem}.{EXTENSION}");
    if named.is_some() || files.contains(&own.as_str()) {
        return files.contains(&own.as_str()).then_some(own);
    }
    let mut others = files.iter().filter(|file| compiled(file).is_some());
    match (others.next(), others.next()) {
        (Some(only), None) => Some((*only).to_owned()),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// What stands before the ending of compiled code in a file's name.
pub(super) fn compiled(file: &str) -> Option<&str> {
    file.strip_suffix(EXTENSION)?.strip_suffix('.')
}

impl Stamp {
    /// Time since the last change; zero when the clock says that it lies ahead.
    pub(crate) fn age(&self) -> Duration {
        let newest = self.0.iter().map(|(_, _, modified)| *modified).max();
        newest
            .and_then(|newest| newest.elapsed().ok())
            .unwrap_or(Duration::ZERO)
    }
}

pub(super) fn stamp(name: &str, meta: &Metadata) -> (String, u64, SystemTime) {
    let modified = meta
        .modified()
        .map_or(SystemTime::UNIX_EPOCH, cap_std::time::SystemTime::into_std);
    (name.to_owned(), meta.len(), modified)
}
