//! Cargo, the compiler's targets, the browser of the tests and the workspace's folders. Hides how programs are started and what
//! their failure says.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What guests are compiled for.
const TARGETS: [&str; 2] = ["wasm32-wasip1", "wasm32-wasip2"];

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .to_owned()
}

/// A path as it is typed from the workspace's root.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Cargo in the workspace, building into its `target`.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root())
        .env("CARGO_TARGET_DIR", root().join("target"));
    // What cargo tells this program of its own package: build scripts that look at such variables would run anew, and
    // what depends on them be compiled anew, each time that cargo is called by hand and by a chore in turn.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The program of this project, once built.
pub(crate) fn stepwell() -> Command {
    let mut program = Command::new(stepwell_path());
    program.current_dir(root());
    program
}

pub(crate) fn stepwell_path() -> PathBuf {
    root()
        .join("target/debug")
        .join(format!("stepwell{}", std::env::consts::EXE_SUFFIX))
}

/// Builds the program.
pub(crate) fn build_stepwell() -> Result<()> {
    // Of the whole workspace: alone, its package would have other features of libraries than the tests build next.
    run(
        cargo().args(["build", "--workspace", "--bin", "stepwell"]),
        "stepwell does not compile",
    )
}

/// Runs a program to its end with its output on the terminal; `failure` says what a bad end means.
pub(crate) fn run(command: &mut Command, failure: &str) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("`{name}` cannot be started"))?;
    if !status.success() {
        bail!("{failure} ({status})");
    }
    Ok(())
}

/// Installs the compiler's targets that are missing.
pub(crate) fn targets() -> Result<()> {
    for target in TARGETS {
        if is_installed(target)? {
            continue;
        }
        eprintln!("installing Rust's target {target}");
        let added = Command::new("rustup")
            .current_dir(root())
            .args(["target", "add", target])
            .status();
        if !added.is_ok_and(|status| status.success()) {
            bail!("Rust's target {target} is missing; install it with: rustup target add {target}");
        }
    }
    Ok(())
}

/// The browser that opens the console in tests, and Debian's package of it.
const BROWSER: &str = "/usr/bin/chromium";
const BROWSER_PACKAGE: &str = "chromium";

/// Installs the browser, if it is not there.
pub(crate) fn browser() -> Result<()> {
    if went_well(Command::new(BROWSER).arg("--version").stdout(Stdio::null())) {
        return Ok(());
    }
    eprintln!("installing Debian's package {BROWSER_PACKAGE}");
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments)
            // Of what the chores print the table alone is data.
            .stdout(std::io::stderr());
        is_root() && went_well(&mut apt)
    };
    let installs = ["install", "--yes", "--quiet", "--no-install-recommends"];
    if !(apt(&["update", "--quiet"]) && apt(&[&installs[..], &[BROWSER_PACKAGE]].concat())) {
        bail!(
            "{BROWSER} is missing, in which the tests open the console; install it as root: apt-get install {BROWSER_PACKAGE}"
        );
    }
    Ok(())
}

fn is_root() -> bool {
    let told = Command::new("id").arg("-u").output();
    told.is_ok_and(|told| told.stdout.trim_ascii() == b"0")
}

fn went_well(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

fn is_installed(target: &str) -> Result<bool> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = rustc
        .current_dir(root())
        .args(["--print", "target-libdir", "--target", target])
        .output();
    let output = output.context("rustc cannot be started; install Rust with rustup")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(output.status.success() && folder.is_dir())
}
