//! Folders of the host that guests see: where a grant leads, and where none may. Hides links and canonical paths.
//!
//! A guest that may write where plugins, their compiled code or the host's data lie could grant itself anything: the
//! next look at the folder would read what it wrote. So such a grant is refused when the plugin is loaded, and a folder
//! that was replaced by a link since then is not opened.

use crate::grants::{Ceiling, FsGrant, FsMode};
use std::path::{Path, PathBuf};

/// Why a folder is not granted.
#[derive(Debug)]
pub(crate) enum Denied {
    /// Whoever wrote the manifest has to mend it: the plugin is not served.
    Wrong(String),
    /// The operator does not allow it: the plugin is served without.
    NotAllowed,
}

/// What no guest may write to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guarded {
    /// The plugin directory, with everything in it but what lies below a plugin's own folder.
    pub(crate) plugins: Option<PathBuf>,
    /// The compiled plugins, with everything in there.
    pub(crate) cache: Option<PathBuf>,
    /// Further folders of the host, which may have folders in them that are for guests.
    pub(crate) others: Vec<PathBuf>,
}

/// The canonical folder of a grant that each ceiling allows. A relative one stays inside the plugin's own folder, `own`.
pub(crate) fn granted(
    grant: &FsGrant,
    ceilings: &[&Ceiling],
    own: Option<&Path>,
    guarded: &Guarded,
) -> Result<PathBuf, Denied> {
    let wrong = |why: &str| Denied::Wrong(why.to_owned());
    let named = |ceiling: &&Ceiling| may_be_named(&grant.host, ceiling);
    if grant.host.is_absolute() && !ceilings.iter().all(named) {
        // Not even whether it is there is told.
        return Err(Denied::NotAllowed);
    }
    let own = own.map(canonical).transpose()?;
    let host = match (&own, grant.host.is_absolute()) {
        (_, true) => canonical(&grant.host)?,
        (None, false) => {
            return Err(wrong(
                "a plugin without a folder of its own has no files of its own; name an absolute path",
            ));
        }
        (Some(own), false) => {
            let host = canonical(&own.join(&grant.host))?;
            if !host.starts_with(own) {
                return Err(wrong(
                    "a link in it leads out of the plugin's folder; name the absolute path",
                ));
            }
            host
        }
    };
    if !host.is_dir() {
        return Err(wrong("it is no folder; files are granted by their folder"));
    }
    if grant.mode == FsMode::ReadWrite
        && let Some(why) = guarded.refuses(&host, own.as_deref())
    {
        return Err(Denied::Wrong(format!(
            "with mode = \"rw\" it {why}, so the task could give itself what nobody granted; name a folder of its \
             own for what it writes, or take mode = \"ro\""
        )));
    }
    if ceilings
        .iter()
        .all(|ceiling| allows(ceiling, &host, grant.mode))
    {
        Ok(host)
    } else {
        Err(Denied::NotAllowed)
    }
}

fn canonical(path: &Path) -> Result<PathBuf, Denied> {
    path.canonicalize().map_err(|error| {
        let why = if error.kind() == std::io::ErrorKind::NotFound {
            "there is no such folder; create it first".to_owned()
        } else {
            error.to_string()
        };
        Denied::Wrong(why)
    })
}

/// Whether the operator allows anything in a place, as far as its name tells.
fn may_be_named(host: &Path, ceiling: &Ceiling) -> bool {
    match ceiling {
        Ceiling::AsAsked => true,
        Ceiling::Nothing => false,
        Ceiling::Only(only) => only.fs.iter().any(|allowed| {
            host.starts_with(&allowed.host)
                || allowed
                    .host
                    .canonicalize()
                    .is_ok_and(|root| host.starts_with(root))
        }),
    }
}

fn allows(ceiling: &Ceiling, host: &Path, mode: FsMode) -> bool {
    match ceiling {
        Ceiling::AsAsked => true,
        Ceiling::Nothing => false,
        Ceiling::Only(only) => only.fs.iter().any(|allowed| {
            allowed.mode >= mode
                && allowed
                    .host
                    .canonicalize()
                    .is_ok_and(|root| host.starts_with(root))
        }),
    }
}

impl Guarded {
    /// Why a guest may not write in a canonical folder: what the folder holds, as the end of a sentence.
    fn refuses(&self, host: &Path, own: Option<&Path>) -> Option<String> {
        if let Some(own) = own
            && own.starts_with(host)
        {
            return Some("holds the plugin's own plugin.toml and module".to_owned());
        }
        if let Some(own) = own
            && files(own).iter().any(|file| file.starts_with(host))
        {
            return Some(
                "holds what the plugin's own plugin.toml or module is a link to".to_owned(),
            );
        }
        if let Some(cache) = there(&self.cache)
            && (cache.starts_with(host) || host.starts_with(&cache))
        {
            return Some(format!("holds compiled plugins ({})", cache.display()));
        }
        if let Some(plugins) = there(&self.plugins) {
            let place = plugins.display();
            if plugins.starts_with(host) {
                return Some(format!("holds the plugin directory {place}"));
            }
            if host.starts_with(&plugins) && !own.is_some_and(|own| host.starts_with(own)) {
                return Some(format!("lies in the plugin directory {place}"));
            }
            if let Some(plugin) = linked(&plugins, host) {
                return Some(format!(
                    "holds the plugin that {} is a link to",
                    plugin.display()
                ));
            }
        }
        let mut others = self
            .others
            .iter()
            .filter_map(|other| other.canonicalize().ok());
        let other = others.find(|other| other.starts_with(host))?;
        Some(format!("holds the data directory {}", other.display()))
    }
}

fn there(folder: &Option<PathBuf>) -> Option<PathBuf> {
    folder
        .as_ref()
        .and_then(|folder| folder.canonicalize().ok())
}

/// Where the manifest and the modules of a plugin's folder really lie.
fn files(folder: &Path) -> Vec<PathBuf> {
    let named = named_files(folder).into_iter();
    named.filter_map(|path| path.canonicalize().ok()).collect()
}

/// The manifest and the modules of a plugin's folder.
fn named_files(folder: &Path) -> Vec<PathBuf> {
    let relevant = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name == "plugin.toml")
            || path
                .extension()
                .is_some_and(|extension| extension == "wasm")
    };
    entries(folder).into_iter().filter(relevant).collect()
}

/// What of the plugin directory really lies in `host`: a plugin, its manifest or module, an account's folder.
fn linked(plugins: &Path, host: &Path) -> Option<PathBuf> {
    let mut places = entries(plugins);
    let is_account = |path: &&PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(crate::scan::is_account)
    };
    // An account's plugins are one level deeper than those of the default one.
    let theirs = places.iter().filter(is_account);
    let theirs: Vec<PathBuf> = theirs.flat_map(|account| entries(account)).collect();
    places.extend(theirs);
    let files: Vec<PathBuf> = places.iter().flat_map(|place| named_files(place)).collect();
    let mut all = places.into_iter().chain(files);
    all.find(|path| {
        !path.starts_with(host) && path.canonicalize().is_ok_and(|real| real.starts_with(host))
    })
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    listed.unwrap_or_default()
}

/// A granted folder, held open for as long as it takes to hand it to a guest.
pub(crate) struct Opened {
    #[cfg(target_os = "linux")]
    held: Option<std::os::fd::OwnedFd>,
    host: PathBuf,
}

impl Opened {
    /// Opens a canonical folder. Guests that may write above it could have put a link in its place; none is followed.
    pub(crate) fn new(host: &Path) -> std::io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match openat2(CWD, host, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
                Ok(held) => {
                    return Ok(Self {
                        held: Some(held),
                        host: host.to_owned(),
                    });
                }
                // Older kernels and some containers do not have it.
                Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if host.canonicalize()? != host {
            return Err(std::io::Error::other("a link was put into its path"));
        }
        Ok(Self {
            #[cfg(target_os = "linux")]
            held: None,
            host: host.to_owned(),
        })
    }

    /// A path that leads to this very folder.
    pub(crate) fn path(&self) -> PathBuf {
        #[cfg(target_os = "linux")]
        if let Some(held) = &self.held {
            use std::os::fd::AsRawFd as _;
            return format!("/proc/self/fd/{}", held.as_raw_fd()).into();
        }
        self.host.clone()
    }
}
