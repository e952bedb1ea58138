//! Builds the test guests into `target/guests/`. Hides cargo's targets, profiles and output folders.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Folders that a guest is made of, beside the workspace's own manifest.
const SOURCES: [&str; 3] = ["tests/guests", "guest-sdk/rust", "guest-sdk/wit"];

/// Commands that are also built as preview 2 components, under `NAME.p2.wasm`.
const PREVIEW_2_TOO: [&str; 2] = ["command", "identity"];

/// Builds every guest once and returns the folder with the `.wasm` files. Does nothing when all are fresh.
pub(crate) fn build() -> Result<PathBuf> {
    let root = workspace();
    let out = root.join("target/guests");
    let newest = SOURCES
        .iter()
        .map(|folder| newest_below(&root.join(folder)))
        .collect::<Result<Vec<_>>>()?;
    let newest = newest
        .into_iter()
        .max()
        .context("the guests have sources")?;
    let stamp = out.join(".built");
    if stamp
        .metadata()
        .and_then(|meta| meta.modified())
        .is_ok_and(|built| built > newest)
    {
        return Ok(out);
    }
    let crate_folder = root.join("tests/guests");
    let commands = programs(&crate_folder.join("src/bin"))?;
    let components = programs(&crate_folder.join("examples"))?;
    std::fs::create_dir_all(&out)?;
    cargo(&root, "wasm32-wasip1", &["--bins"])?;
    let mut p2 = vec!["--examples"];
    for name in &PREVIEW_2_TOO {
        p2.extend(["--bin", name]);
    }
    cargo(&root, "wasm32-wasip2", &p2)?;
    for name in &commands {
        install(
            &root,
            "wasm32-wasip1",
            &format!("{name}.wasm"),
            &out.join(format!("{name}.wasm")),
        )?;
    }
    for name in &PREVIEW_2_TOO {
        install(
            &root,
            "wasm32-wasip2",
            &format!("{name}.wasm"),
            &out.join(format!("{name}.p2.wasm")),
        )?;
    }
    for name in &components {
        let built = format!("examples/{}.wasm", name.replace('-', "_"));
        install(
            &root,
            "wasm32-wasip2",
            &built,
            &out.join(format!("{name}.wasm")),
        )?;
    }
    std::fs::write(&stamp, "")?;
    Ok(out)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .to_owned()
}

fn cargo(root: &Path, target: &str, what: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--package",
            "stepwell-test-guests",
            "--profile",
            "guest",
            "--target",
            target,
        ])
        .arg("--target-dir")
        .arg(root.join("target"))
        .args(what)
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!(
            "building the guests for {target} failed; is the target installed? `rustup target add {target}`"
        );
    }
    Ok(())
}

fn install(root: &Path, target: &str, built: &str, to: &Path) -> Result<()> {
    let from = root.join("target").join(target).join("guest").join(built);
    std::fs::copy(&from, to).with_context(|| format!("{} was not built", from.display()))?;
    Ok(())
}

/// The names of the `.rs` files in a folder, sorted.
fn programs(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)
        .with_context(|| format!("{} is not readable", folder.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn newest_below(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(folder)
        .with_context(|| format!("{} is not readable", folder.display()))?
    {
        let entry = entry?;
        let modified = if entry.file_type()?.is_dir() {
            newest_below(&entry.path())?
        } else {
            entry.metadata()?.modified()?
        };
        newest = newest.max(modified);
    }
    Ok(newest)
}
