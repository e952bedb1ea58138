//! Python with the pinned AWS SDK, for clients that are not ours. Hides the virtual environment.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::server::root;

/// What is installed, by version.
const REQUIREMENTS: &str = "tests/clients/boto3/requirements.txt";
/// In an environment that is complete.
const MARK: &str = "complete";

/// An interpreter that has the SDK; makes the environment `target/venv-HASH` when the requirements are new.
///
/// # Errors
/// One line that names the missing package, or says why the SDK cannot be installed.
pub fn interpreter() -> Result<PathBuf> {
    let requirements = root().join(REQUIREMENTS);
    let text =
        std::fs::read(&requirements).with_context(|| format!("{REQUIREMENTS} is missing"))?;
    let folder = root().join(format!("target/venv-{:016x}", fnv(&text)));
    let python = folder.join("bin/python");
    if folder.join(MARK).is_file() {
        return Ok(python);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    make(&folder)?;
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ];
    let installed = Command::new(&python)
        .args(install)
        .arg(&requirements)
        .output()
        .context(
            "the environment has no Python; the package `python3-venv` is missing or broken",
        )?;
    if !installed.status.success() {
        bail!(
            "pip cannot install {REQUIREMENTS}: {}",
            last(&installed.stderr)
        );
    }
    std::fs::write(folder.join(MARK), "")?;
    Ok(python)
}

fn make(folder: &Path) -> Result<()> {
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(folder)
        .output();
    let made = made.context("Python is missing; install the package `python3`")?;
    if !made.status.success() {
        let said = format!("{}{}", last(&made.stdout), last(&made.stderr));
        bail!("python3 makes no environment; install the package `python3-venv` ({said})");
    }
    Ok(())
}

/// The last line that was printed.
fn last(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    text.trim().lines().last().unwrap_or_default().to_owned()
}

/// FNV-1a: names the environment, guards nothing.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
