//! The plugin folder on disk. Hides paths: everything is opened through a directory handle that no name leads out of.

use crate::error::Error;
use crate::limits;
use crate::manifest::{Manifest, valid_name};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const MANIFEST: &str = "plugin.toml";

/// The folder with plugins: `NAME.wasm`, `NAME/plugin.toml`, and `<account>/` with the same inside.
pub(crate) struct PluginFolder {
    root: Arc<Dir>,
    path: PathBuf,
    default_tenant: String,
}

/// A plugin in the folder, not opened yet.
pub(crate) struct Found {
    pub(crate) tenant: String,
    pub(crate) name: String,
    /// Relative to the plugin folder.
    pub(crate) place: String,
    pub(crate) stamp: Stamp,
    is_folder: bool,
    root: Arc<Dir>,
    root_path: PathBuf,
}

/// Size and time of a plugin's files: another stamp, another plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<(String, u64, SystemTime)>);

/// A plugin's files, read.
pub(crate) struct Files {
    pub(crate) manifest: Option<String>,
    pub(crate) wasm: Vec<u8>,
    /// The plugin's own folder, if it has one.
    pub(crate) folder: Option<PathBuf>,
}

impl PluginFolder {
    pub(crate) fn open(path: &Path, default_tenant: &str) -> Result<Self, Error> {
        let root =
            Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| Error::Folder {
                role: "plugin folder",
                path: path.to_owned(),
                why: error.to_string(),
                hint: "create it, or name another with --plugins",
            })?;
        Ok(Self {
            root: Arc::new(root),
            path: path.to_owned(),
            default_tenant: default_tenant.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a tenant's plugins lie, for people.
    pub(crate) fn place_of(&self, tenant: &str) -> String {
        if tenant == self.default_tenant {
            return self.path.display().to_string();
        }
        self.path.join(tenant).display().to_string()
    }

    /// All plugins in the folder. Files that come and go meanwhile are left to the next look.
    pub(crate) fn scan(&self) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        for (name, meta) in list(&self.root, ".")? {
            if meta.is_dir() && is_account(&name) {
                // One tenant's unreadable folder is that tenant's trouble.
                match list(&self.root, &name) {
                    Ok(entries) => {
                        found.extend(entries.into_iter().filter_map(|(file, meta)| {
                            self.plugin(&name, Some(&name), &file, &meta)
                        }))
                    }
                    Err(why) => {
                        tracing::error!(account = name, "its plugin folder is not readable: {why}")
                    }
                }
            } else if let Some(plugin) = self.plugin(&self.default_tenant, None, &name, &meta) {
                found.push(plugin);
            }
        }
        // `NAME/` wins over `NAME.wasm`: it says more.
        found.sort_by_key(|plugin| plugin.is_folder);
        Ok(found)
    }

    fn plugin(
        &self,
        tenant: &str,
        below: Option<&str>,
        file: &str,
        meta: &Metadata,
    ) -> Option<Found> {
        let place = below.map_or_else(|| file.to_owned(), |below| format!("{below}/{file}"));
        let (name, stamp) = if meta.is_dir() {
            self.root.metadata(format!("{place}/{MANIFEST}")).ok()?;
            let files = list(&self.root, &place).ok()?;
            let relevant = |name: &str| name == MANIFEST || name.ends_with(".wasm");
            let stamps = files
                .iter()
                .filter(|(name, _)| relevant(name))
                .map(|(name, meta)| stamp(name, meta))
                .collect();
            (file, Stamp(stamps))
        } else {
            (file.strip_suffix(".wasm")?, Stamp(vec![stamp(file, meta)]))
        };
        if !valid_name(name) {
            tracing::warn!(place, "not a plugin: a name is 1 to 64 of A-Z a-z 0-9 - _");
            return None;
        }
        Some(Found {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            stamp,
            is_folder: meta.is_dir(),
            root: self.root.clone(),
            root_path: self.path.clone(),
            place,
        })
    }
}

impl Found {
    /// Reads the plugin's files.
    ///
    /// # Errors
    /// What is missing, unreadable or too large.
    pub(crate) fn read(&self) -> Result<Files, String> {
        let Some(manifest) = self.manifest()? else {
            let wasm = self.bytes(&self.place, limits::WASM_BYTES_MAX)?;
            return Ok(Files {
                manifest: None,
                wasm,
                folder: None,
            });
        };
        let module = self.module(&Manifest::parse(&manifest)?)?;
        let wasm = self.bytes(&format!("{}/{module}", self.place), limits::WASM_BYTES_MAX)?;
        Ok(Files {
            manifest: Some(manifest),
            wasm,
            folder: Some(self.root_path.join(&self.place)),
        })
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

    /// The file that the manifest names, else `NAME.wasm`, else the only one.
    fn module(&self, manifest: &Manifest) -> Result<String, String> {
        if let Some(module) = &manifest.module {
            return Ok(module.clone());
        }
        let files: Vec<&str> = self
            .stamp
            .0
            .iter()
            .map(|(name, ..)| name.as_str())
            .filter(|n| *n != MANIFEST)
            .collect();
        let own = format!("{}.wasm", self.name);
        match files.as_slice() {
            _ if files.contains(&own.as_str()) => Ok(own),
            [only] => Ok((*only).to_owned()),
            [] => Err(format!(
                "{}/ has no .wasm file; build it, or name it with `module` in plugin.toml",
                self.place
            )),
            _ => Err(format!(
                "{}/ has several .wasm files; name one with `module` in plugin.toml",
                self.place
            )),
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

impl Stamp {
    /// Time since the last change; zero when the clock says that it lies ahead.
    pub(crate) fn age(&self) -> Duration {
        let newest = self.0.iter().map(|(_, _, modified)| *modified).max();
        newest
            .and_then(|newest| newest.elapsed().ok())
            .unwrap_or(Duration::ZERO)
    }
}

fn stamp(name: &str, meta: &Metadata) -> (String, u64, SystemTime) {
    let modified = meta
        .modified()
        .map_or(SystemTime::UNIX_EPOCH, cap_std::time::SystemTime::into_std);
    (name.to_owned(), meta.len(), modified)
}

/// The entries of a folder by name, links followed as far as they stay inside; sorted.
fn list(root: &Dir, place: &str) -> Result<Vec<(String, Metadata)>, String> {
    let mut entries = Vec::new();
    for entry in root.read_dir(place).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        match root.metadata(format!("{place}/{name}")) {
            Ok(meta) => entries.push((name, meta)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(name, error = %error, "skipped in the plugin folder; does it lead outside?")
            }
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

fn is_account(name: &str) -> bool {
    name.len() == limits::ACCOUNT_DIGITS && name.bytes().all(|b| b.is_ascii_digit())
}
