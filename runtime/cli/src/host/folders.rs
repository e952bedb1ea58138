//! Folders of an installation: of plugins, of what is compiled. Hides which are made when they are missing.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use stepwell_engine::make_data_directory;

use super::USUAL_DATA;
use crate::exit::{Blame, Outcome, Stop};

/// The user's own directory for what can be made again.
pub(crate) fn user_cache() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let caches =
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    caches.map(|caches| caches.join("stepwell"))
}

/// Makes the data directory when it is missing.
pub(super) fn make_data(data: &Path) -> Outcome {
    made(make_data_directory(data), data, "data directory")
}

/// The given plugin folder, which must exist, or the data directory's own, which is created; without a data directory
/// the usual one's, if it is there.
pub(super) fn plugin_folder(data: Option<&Path>, given: Option<&Path>) -> Outcome<Option<PathBuf>> {
    if let Some(given) = given {
        let meta = std::fs::metadata(given);
        let meta = meta
            .with_context(|| {
                format!(
                    "the plugin directory `{}` cannot be read; `stepwell plugin build` makes one",
                    given.display()
                )
            })
            .usage()?;
        if !meta.is_dir() {
            return Err(Stop::Usage(anyhow!(
                "`{}` is no directory; --plugins takes one",
                given.display()
            )));
        }
        return Ok(Some(given.to_owned()));
    }
    let Some(data) = data else {
        // What `plugin build` installs is found where nothing else is named.
        let usual = Path::new(USUAL_DATA).join("plugins");
        return Ok(usual.is_dir().then_some(usual));
    };
    let plugins = data.join("plugins");
    make_folder(&plugins, "plugin directory")?;
    Ok(Some(plugins))
}

/// Creates a folder with plugins. Where that is in the usual data directory, this is made as one.
pub(crate) fn make_plugin_folder(folder: &Path) -> std::io::Result<()> {
    let usual = Path::new(USUAL_DATA);
    let plain = |path: &Path| path.strip_prefix(".").unwrap_or(path).to_owned();
    if plain(folder).starts_with(plain(usual)) {
        make_data_directory(usual)?;
    }
    std::fs::create_dir_all(folder)
}

pub(super) fn make_folder(path: &Path, role: &str) -> Outcome {
    made(std::fs::create_dir_all(path), path, role)
}

fn made(made: std::io::Result<()>, path: &Path, role: &str) -> Outcome {
    made.with_context(|| format!("the {role} `{}` cannot be created", path.display()))
        .usage()
}
