//! The plugin folder on disk. Hides paths: everything is opened through a directory handle that no name leads out of.

mod found;

use crate::error::Error;
use crate::limits;
use crate::manifest::valid_name;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};
pub(crate) use found::{Found, ProgramFile, Stamp, compiled_form, module};
use found::{compiled, stamp};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

const MANIFEST: &str = "plugin.toml";

/// The folder with plugins: `NAME.wasm`, `NAME/plugin.toml`, and `<account>/` with the same inside.
pub(crate) struct PluginFolder {
    /// Another one when the folder was removed and put back.
    root: RwLock<Arc<Dir>>,
    /// Whether its being gone was told.
    gone: AtomicBool,
    path: PathBuf,
    default_tenant: String,
    /// Whether what was compiled ahead of time goes before WebAssembly.
    prefers_compiled: bool,
    /// What was wrong at the last look.
    told: Mutex<BTreeSet<Complaint>>,
}

/// Something in the folder that is no plugin and looks as if it should be one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Complaint {
    place: String,
    why: String,
    /// A file that changed is told of again.
    stamp: Option<Stamp>,
}

/// What is in a plugin's place of the plugin directory and is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Whose plugin it would be.
    pub tenant: String,
    /// What it is called without the ending of a program; it need not be a name that a plugin may have.
    pub name: String,
    /// Relative to the plugin directory.
    pub place: String,
    /// Why it is skipped, and how to mend it.
    pub why: String,
}

/// Whether the plugin folder is still the one that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    Same,
    /// Another folder is in its place, which is open now.
    Another,
    /// It is not there; no plugin of it is served.
    Gone,
}

impl PluginFolder {
    pub(crate) fn open(
        path: &Path,
        default_tenant: &str,
        prefers_compiled: bool,
    ) -> Result<Self, Error> {
        let root =
            Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| Error::Folder {
                role: "plugin folder",
                path: path.to_owned(),
                why: error.to_string(),
                hint: "create it, or name another with --plugins",
            })?;
        Ok(Self {
            root: RwLock::new(Arc::new(root)),
            gone: AtomicBool::new(false),
            path: path.to_owned(),
            default_tenant: default_tenant.to_owned(),
            prefers_compiled,
            told: Mutex::default(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn root(&self) -> Arc<Dir> {
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
        root.clone()
    }

    /// Whether something else, or nothing, is where the folder was.
    pub(crate) fn has_moved(&self) -> bool {
        let now = Dir::open_ambient_dir(&self.path, ambient_authority());
        let now = now.and_then(|now| now.dir_metadata());
        let then = self.root().dir_metadata();
        match (now, then) {
            (Ok(now), Ok(then)) => !same_folder(&now, &then),
            (Err(_), _) | (_, Err(_)) => true,
        }
    }

    /// Looks whether the folder is where it was, and opens the one that is there now.
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        let place = self.path.display();
        let now = Dir::open_ambient_dir(&self.path, ambient_authority());
        let (Ok(now), Ok(then)) = (now, self.root().dir_metadata()) else {
            if !self.gone.swap(true, Ordering::SeqCst) {
                tracing::warn!(
                    "the plugin directory {place} is gone; its plugins are not served until it is back"
                );
            }
            return Whereabouts::Gone;
        };
        let same = now.dir_metadata().is_ok_and(|now| same_folder(&now, &then));
        let was_gone = self.gone.swap(false, Ordering::SeqCst);
        if same && !was_gone {
            return Whereabouts::Same;
        }
        tracing::info!(
            "the plugin directory {place} was put back or replaced; it is read and watched anew"
        );
        *self.root.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(now);
        Whereabouts::Another
    }

    /// Why what is there under a tenant's plugin's name is none: a link that leads out of the folder, or nowhere.
    pub(crate) fn astray(&self, tenant: &str, name: &str) -> Option<String> {
        let root = self.root();
        let below = match tenant == self.default_tenant {
            true => String::new(),
            false => format!("{tenant}/"),
        };
        let files = [
            format!("{below}{name}.wasm"),
            format!("{below}{name}"),
            format!("{below}{name}/{MANIFEST}"),
        ];
        files.into_iter().find_map(|file| {
            let leads = leads_away(&root, &file)?;
            let place = self.path.join(&file);
            Some(format!(
                "{} is a link that leads {leads}; put the file itself there",
                place.display()
            ))
        })
    }

    /// All plugins in the folder. Files that come and go meanwhile are left to the next look. What is wrong is logged
    /// when it is new, since the folder is looked at again at each call of a plugin that is not there.
    pub(crate) fn scan(&self) -> Result<Vec<Found>, String> {
        let mut wrong = BTreeSet::new();
        let found = self.look(&mut wrong)?;
        for Complaint { place, why, .. } in self.news(wrong) {
            tracing::warn!(place, "in the plugin folder and no plugin: {why}");
        }
        Ok(found)
    }

    /// What is in the place of a plugin and is skipped; logs nothing.
    ///
    /// # Errors
    /// The folder is not readable.
    pub(crate) fn skipped(&self) -> Result<Vec<Skipped>, String> {
        let mut wrong = BTreeSet::new();
        self.look(&mut wrong)?;
        let skipped = wrong
            .into_iter()
            .filter_map(|Complaint { place, why, .. }| {
                let (tenant, file) = self.spot(&place)?;
                let name = file.strip_suffix(".wasm").or_else(|| compiled(file));
                Some(Skipped {
                    tenant: tenant.to_owned(),
                    name: name.unwrap_or(file).to_owned(),
                    place: place.clone(),
                    why,
                })
            });
        Ok(skipped.collect())
    }

    /// The plugin at a path of the folder, as a look finds it; none where that is no place of a plugin, or not in this folder.
    ///
    /// # Errors
    /// Why a look skips it: a link that leads out is not followed, whoever names it.
    pub(crate) fn found_at(&self, path: &Path) -> Result<Option<Found>, String> {
        let Some(place) = self.place_of(path) else {
            return Ok(None);
        };
        let root = self.root();
        if let Some(leads) = leads_away(&root, &place) {
            return Err(format!(
                "it is a link that leads {leads}; put the file itself there"
            ));
        }
        let meta = match root.metadata(&place) {
            Ok(meta) => meta,
            // Who reads it says that nothing is there.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(skipped_for(&error)),
        };
        let Some((tenant, file)) = self.spot(&place) else {
            return Ok(None);
        };
        let below = (file != place).then_some(tenant);
        if below.is_none() && meta.is_dir() && is_account(file) {
            return Ok(None);
        }
        let mut wrong = BTreeSet::new();
        let found = self.plugin(&root, tenant, below, file, &meta, &mut wrong);
        let Some(found) = found else {
            return wrong.pop_first().map_or(Ok(None), |wrong| Err(wrong.why));
        };
        // What else is in its folder is no matter of the plugin's.
        wrong.retain(|wrong| wrong.place.ends_with(".wasm") || compiled(&wrong.place).is_some());
        match wrong.pop_first() {
            Some(program) if found.read().is_err() => {
                Err(format!("{}: {}", program.place, program.why))
            }
            Some(_) | None => Ok(Some(found)),
        }
    }

    /// Where a path is in the folder, as it is written or as the system finds it; a link at its end is not followed.
    fn place_of(&self, path: &Path) -> Option<String> {
        let inside = |path: &Path, folder: &Path| {
            let parts = path.strip_prefix(folder).ok()?.components();
            let parts = parts.map(|part| match part {
                Component::Normal(part) => part.to_str(),
                Component::Prefix(_)
                | Component::RootDir
                | Component::CurDir
                | Component::ParentDir => None,
            });
            let parts: Vec<&str> = parts.collect::<Option<Vec<&str>>>()?;
            (!parts.is_empty()).then(|| parts.join("/"))
        };
        if let Some(place) = inside(path, &self.path) {
            return Some(place);
        }
        let real = match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) if folder == Path::new("") => {
                Path::new(".").canonicalize().ok()?.join(name)
            }
            (Some(folder), Some(name)) => folder.canonicalize().ok()?.join(name),
            (_, None) | (None, _) => path.canonicalize().ok()?,
        };
        inside(&real, &self.path.canonicalize().ok()?)
    }

    /// Whose plugin a place of the folder is, and its file or folder; none where plugins are not looked for.
    fn spot<'a>(&'a self, place: &'a str) -> Option<(&'a str, &'a str)> {
        match place.split_once('/') {
            None => Some((self.default_tenant.as_str(), place)),
            Some((account, file)) if is_account(account) && !file.contains('/') => {
                Some((account, file))
            }
            Some(_) => None,
        }
    }

    fn look(&self, wrong: &mut BTreeSet<Complaint>) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        let root = &self.root();
        for (name, meta) in list(root, ".", wrong)? {
            if meta.is_dir() && is_account(&name) {
                // One tenant's unreadable folder is that tenant's trouble.
                let entries = list(root, &name, wrong).unwrap_or_else(|why| {
                    let why = format!("the account's folder is not readable: {why}");
                    wrong.insert(Complaint {
                        place: name.clone(),
                        why,
                        stamp: None,
                    });
                    Vec::new()
                });
                for (file, meta) in entries {
                    found.extend(self.plugin(root, &name, Some(&name), &file, &meta, wrong));
                }
            } else {
                found.extend(self.plugin(root, &self.default_tenant, None, &name, &meta, wrong));
            }
        }
        // The last one of a name wins. `NAME/` does over `NAME.wasm`: it says more.
        found.sort_by_key(|plugin| {
            let preferred = plugin.is_compiled == self.prefers_compiled;
            (plugin.is_folder, preferred)
        });
        Ok(found)
    }

    /// What was not wrong at the look before.
    fn news(&self, wrong: BTreeSet<Complaint>) -> Vec<Complaint> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = wrong.difference(&told).cloned().collect();
        *told = wrong;
        news
    }

    fn plugin(
        &self,
        root: &Arc<Dir>,
        tenant: &str,
        below: Option<&str>,
        file: &str,
        meta: &Metadata,
        wrong: &mut BTreeSet<Complaint>,
    ) -> Option<Found> {
        let place = below.map_or_else(|| file.to_owned(), |below| format!("{below}/{file}"));
        let (name, stamp) = if meta.is_dir() {
            let manifest = format!("{place}/{MANIFEST}");
            if let Some(leads) = leads_away(root, &manifest) {
                wrong.insert(Complaint {
                    place,
                    why: format!(
                        "its {MANIFEST} is a link that leads {leads}; put the file itself there"
                    ),
                    stamp: None,
                });
                return None;
            }
            root.metadata(manifest).ok()?;
            let files = list(root, &place, wrong).ok()?;
            let relevant = |name: &str| {
                name == MANIFEST || name.ends_with(".wasm") || compiled(name).is_some()
            };
            let stamps = files
                .iter()
                .filter(|(name, _)| relevant(name))
                .map(|(name, meta)| stamp(name, meta))
                .collect();
            (file, Stamp(stamps))
        } else {
            let name = file.strip_suffix(".wasm").or_else(|| compiled(file))?;
            (name, Stamp(vec![stamp(file, meta)]))
        };
        if !valid_name(name) {
            wrong.insert(Complaint {
                place,
                why: "a name is 1 to 64 of A-Z a-z 0-9 - _; rename it".to_owned(),
                stamp: Some(stamp),
            });
            return None;
        }
        Some(Found {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            stamp,
            is_folder: meta.is_dir(),
            is_compiled: meta.is_file() && compiled(file).is_some(),
            prefers_compiled: self.prefers_compiled,
            root: root.clone(),
            root_path: self.path.clone(),
            place,
        })
    }
}

/// The entries of a folder by name, links followed as far as they stay inside; sorted.
fn list(
    root: &Dir,
    place: &str,
    wrong: &mut BTreeSet<Complaint>,
) -> Result<Vec<(String, Metadata)>, String> {
    let mut entries = Vec::new();
    for entry in root.read_dir(place).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = format!("{place}/{name}");
        match root.metadata(&path) {
            Ok(meta) => entries.push((name, meta)),
            Err(error) => {
                let leads = leads_away(root, &path);
                let is_program = name.ends_with(".wasm") || compiled(&name).is_some();
                // What has just gone is left to the next look; a link that leads nowhere stays, and may be a plugin's.
                let is_told = leads.is_some() && is_program;
                if error.kind() == std::io::ErrorKind::NotFound && !is_told {
                    continue;
                }
                let why = match leads {
                    Some(leads) => {
                        format!("it is a link that leads {leads}; put the file itself there")
                    }
                    None => skipped_for(&error),
                };
                wrong.insert(Complaint {
                    place: path.trim_start_matches("./").to_owned(),
                    why,
                    stamp: None,
                });
            }
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// Where a link leads that is not followed; none of what is no link, or leads to something in the folder.
fn leads_away(root: &Dir, place: &str) -> Option<&'static str> {
    let link = root.symlink_metadata(place).ok()?.is_symlink();
    let error = root.metadata(place).err().filter(|_| link)?;
    Some(match error.kind() {
        std::io::ErrorKind::NotFound => "nowhere",
        _ => "out of the plugin directory, which is not followed",
    })
}

fn skipped_for(error: &std::io::Error) -> String {
    format!("it is skipped: {error}; does it lead outside?")
}

/// Whether both are the same folder of the file system.
#[cfg(unix)]
fn same_folder(one: &Metadata, other: &Metadata) -> bool {
    use cap_std::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Here the system tells no identity: its time of creation has to do.
#[cfg(not(unix))]
fn same_folder(one: &Metadata, other: &Metadata) -> bool {
    one.created().ok() == other.created().ok()
}

/// Whether a folder of that name holds an account's plugins.
pub(crate) fn is_account(name: &str) -> bool {
    name.len() == limits::ACCOUNT_DIGITS && name.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A look at the folder and the places that it complains of anew.
    fn complaints(folder: &PluginFolder) -> Vec<String> {
        let mut wrong = BTreeSet::new();
        folder.look(&mut wrong).unwrap();
        let news = folder.news(wrong).into_iter();
        news.map(|complaint| complaint.place).collect()
    }

    #[test]
    fn what_is_no_plugin_is_told_once_a_change() {
        let place = TempDir::new().unwrap();
        let put = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
        std::fs::create_dir(place.path().join("111111111111")).unwrap();
        put("not a name.wasm", "1");
        put("111111111111/nor this.wasm", "1");
        put("README.md", "no plugin, and does not look like one");
        put("good.wasm", "1");
        let folder = PluginFolder::open(place.path(), "000000000000", false).unwrap();
        assert_eq!(
            complaints(&folder),
            ["111111111111/nor this.wasm", "not a name.wasm"]
        );
        assert!(complaints(&folder).is_empty());
        put("not a name.wasm", "22");
        assert_eq!(complaints(&folder), ["not a name.wasm"]);
        assert!(complaints(&folder).is_empty());
        std::fs::remove_file(place.path().join("not a name.wasm")).unwrap();
        assert!(complaints(&folder).is_empty());
        put("not a name.wasm", "22");
        assert_eq!(complaints(&folder), ["not a name.wasm"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_out_is_told_once() {
        let (place, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        std::fs::write(outside.path().join("task.wasm"), "1").unwrap();
        let link = place.path().join("task.wasm");
        std::os::unix::fs::symlink(outside.path().join("task.wasm"), link).unwrap();
        let folder = PluginFolder::open(place.path(), "000000000000", false).unwrap();
        assert_eq!(complaints(&folder), ["task.wasm"]);
        assert!(complaints(&folder).is_empty());
    }

    #[test]
    fn of_a_folder_the_form_is_taken_that_can_be_run() {
        let place = TempDir::new().unwrap();
        let put = |name: &str| std::fs::write(place.path().join(name), "1").unwrap();
        for folder in ["both", "ahead", "named"] {
            std::fs::create_dir(place.path().join(folder)).unwrap();
            put(&format!("{folder}/plugin.toml"));
        }
        std::fs::write(
            place.path().join("named/plugin.toml"),
            "module = \"it.wasm\"",
        )
        .unwrap();
        for file in [
            "both/both.wasm",
            "both/both.cwasm",
            "ahead/some.cwasm",
            "named/it.cwasm",
        ] {
            put(file);
        }
        for file in ["lone.wasm", "lone.cwasm"] {
            put(file);
        }
        for folder in ["both", "ahead"] {
            std::fs::write(place.path().join(folder).join("plugin.toml"), "").unwrap();
        }
        let is_compiled = |prefers: bool, name: &str| {
            let folder = PluginFolder::open(place.path(), "000000000000", prefers).unwrap();
            let mut found = folder.scan().unwrap();
            found.retain(|found| found.name == name);
            let files = found.last().unwrap().read().unwrap();
            matches!(files.program, ProgramFile::Compiled(_))
        };
        for (name, prefers, compiled) in [
            ("both", false, false),
            ("both", true, true),
            ("ahead", false, true),
            ("ahead", true, true),
            ("named", false, true),
            ("named", true, true),
            ("lone", false, false),
            ("lone", true, true),
        ] {
            assert_eq!(is_compiled(prefers, name), compiled, "{name}, {prefers}");
        }
    }
}
