//! The benchmark's guest in C. Hides that packages of npm bring the compiler and what makes a component of a module, and where
//! these are installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context as _, Error, Result};

use crate::{npm, tools};

/// What it is made of, in `tests/guests/c`.
const FILES: [&str; 5] = [
    ".npmrc",
    "build.mjs",
    "noop.c",
    "package-lock.json",
    "package.json",
];

/// Builds it beside the other guests, unless it is newer than what it is made of.
pub(crate) fn build() -> Result<()> {
    let root = tools::root();
    let (sources, wit) = (root.join("tests/guests/c"), root.join("guest-sdk/wit"));
    let component = root.join("target/guests/noop-c.wasm");
    let files = FILES.map(|name| sources.join(name));
    let mut made_of = files.to_vec();
    made_of.push(wit.join("task.wit"));
    if is_newer(&component, &made_of) {
        return Ok(());
    }
    // npm installs into the folder that it is called in, which is not to be among the sources.
    let folder = root.join("target/guest-in-c");
    fs::create_dir_all(&folder)?;
    for file in &files {
        let name = file.file_name().context("each is a file")?;
        fs::copy(file, folder.join(name)).with_context(|| file.display().to_string())?;
    }
    let installed = npm::install(&folder).map_err(Error::msg)?;
    let mut node = Command::new("node");
    node.current_dir(&folder)
        .arg("build.mjs")
        .args([&component, &wit]);
    tools::run(&mut node, "the guest in C does not compile")?;
    drop(installed);
    Ok(())
}

fn is_newer(component: &Path, made_of: &[PathBuf]) -> bool {
    let changed = |path: &PathBuf| path.metadata()?.modified();
    let newest: io::Result<Vec<_>> = made_of.iter().map(changed).collect();
    let built = changed(&component.to_owned());
    matches!((built, newest), (Ok(built), Ok(newest)) if newest.iter().all(|time| *time < built))
}
