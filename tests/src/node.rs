//! Node with pinned clients of AWS, which are not ours. Hides where their modules are installed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    python::{fnv, last},
    server::root,
};

/// What the pinned SDK runs on at least.
const NODE_MAJOR_MIN: u32 = 20;
/// What decides which modules there are.
const PINNED: [&str; 2] = ["package.json", "package-lock.json"];
/// In a folder that is complete.
const MARK: &str = "complete";
/// How to mend.
const MEND: &str = "install Node 20 or later with npm (on Debian: `apt-get install nodejs npm`)";

/// The folder `target/clients/node-HASH` with the modules that a package of ours asks for, given as a path from the
/// root, and with its sources as they are now; installed when the package asks for something new.
///
/// # Errors
/// One line that says what is missing and how to mend it.
pub fn package(named: &str) -> Result<PathBuf> {
    let sources = root().join(named);
    let mut pinned = Vec::new();
    for file in PINNED {
        let bytes = std::fs::read(sources.join(file));
        pinned.extend(bytes.with_context(|| format!("{named}/{file} is missing"))?);
    }
    let folder = root().join(format!("target/clients/node-{:016x}", fnv(&pinned)));
    if !folder.join(MARK).is_file() {
        install(&sources, &folder)?;
    }
    for entry in std::fs::read_dir(&sources)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            std::fs::copy(&path, folder.join(name))?;
        }
    }
    Ok(folder)
}

fn install(sources: &Path, folder: &Path) -> Result<()> {
    check_version()?;
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    for file in PINNED {
        std::fs::copy(sources.join(file), folder.join(file))?;
    }
    let installed = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .output()
        .with_context(|| format!("npm is missing; {MEND}"))?;
    if !installed.status.success() {
        bail!(
            "npm cannot install what {} pins: {}; the registry that npm is configured for has to be reached, see `npm config get registry`",
            sources.display(),
            last(&installed.stderr)
        );
    }
    std::fs::write(folder.join(MARK), "")?;
    Ok(())
}

fn check_version() -> Result<()> {
    let told = Command::new("node").arg("--version").output();
    let told = told.with_context(|| format!("Node is missing; {MEND}"))?;
    let text = String::from_utf8_lossy(&told.stdout);
    let major = text
        .trim()
        .strip_prefix('v')
        .and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= NODE_MAJOR_MIN),
        "Node is {}, which is too old; {MEND}",
        text.trim()
    );
    Ok(())
}
