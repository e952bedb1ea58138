//! Python with pinned clients of AWS, which are not ours. Hides the virtual environments.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::server::root;

/// What is installed, by version.
const SDK: &str = "tests/clients/boto3/requirements.txt";
const CLI: &str = "tests/clients/awscli/requirements.txt";
/// In an environment that is complete.
const MARK: &str = "complete";

/// An interpreter that has the SDK.
///
/// # Errors
/// One line that names the missing package, or says why the SDK cannot be installed.
pub fn interpreter() -> Result<PathBuf> {
    with(SDK)
}

/// An interpreter that has what a file asks for, its path from the root.
///
/// # Errors
/// As [`interpreter`].
pub fn with(requirements: &str) -> Result<PathBuf> {
    Ok(environment(requirements)?.join("bin/python"))
}

/// The AWS CLI, `aws`, made as the interpreter is.
///
/// # Errors
/// As [`interpreter`].
pub fn aws_cli() -> Result<PathBuf> {
    Ok(environment(CLI)?.join("bin/aws"))
}

/// The folder `target/venv-HASH` of what a file asks for; made when that is new.
fn environment(named: &str) -> Result<PathBuf> {
    let requirements = root().join(named);
    let text = std::fs::read(&requirements).with_context(|| format!("{named} is missing"))?;
    let folder = root().join(format!("target/venv-{:016x}", fnv(&text)));
    if folder.join(MARK).is_file() {
        return Ok(folder);
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
    let installed = Command::new(folder.join("bin/python"))
        .args(install)
        .arg(&requirements)
        .output()
        .context(
            "the environment has no Python; the package `python3-venv` is missing or broken",
        )?;
    if !installed.status.success() {
        bail!("pip cannot install {named}: {}", last(&installed.stderr));
    }
    std::fs::write(folder.join(MARK), "")?;
    Ok(folder)
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
pub(crate) fn last(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    text.trim().lines().last().unwrap_or_default().to_owned()
}

/// FNV-1a: names the environment, guards nothing.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
