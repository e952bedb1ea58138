//! A program for small machines at work: the gateway's example with it, on this machine or in an emulator. Hides what has to
//! be built for that, and how an emulator is called.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::word;
use crate::{examples, tools};

/// With a program that runs here. The whole program compiles for the gateway.
pub(super) fn here(program: &Path) -> Result<()> {
    tools::build_stepwell()?;
    example(&word(program), None)
}

/// With a program for another processor. The whole program compiles for that one, with the feature `cross`.
pub(super) fn emulated(program: &Path, target: &str) -> Result<()> {
    let processor = target.split('-').next().unwrap_or_default();
    let emulator = format!("qemu-{processor}");
    let found = Command::new(&emulator)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        bail!("{emulator} is missing, which runs {target} here; Debian's package is qemu-user");
    }
    let mut cargo = tools::cargo();
    cargo.args(["build", "--workspace", "--bin", "stepwell"]);
    cargo.args(["--features", "stepwell/cross"]);
    tools::run(&mut cargo, "stepwell does not compile")?;
    example(&format!("{emulator} {}", word(program)), Some(target))
}

fn example(gateway: &str, target: Option<&str>) -> Result<()> {
    examples::plugins()?;
    let mut python = Command::new("python3");
    python
        .arg("examples/edge-gateway/run.py")
        .current_dir(tools::root())
        .env("STEPWELL", tools::stepwell_path())
        .env("STEPWELL_EDGE", gateway)
        .env("STEPWELL_TARGET", target.unwrap_or_default());
    tools::run(&mut python, "the gateway's example failed")
}
