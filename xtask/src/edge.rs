//! The build for small machines: made, for this machine or static for others, measured, and tried. Hides cargo's flags and
//! how the compiler of C for other machines is fetched.

mod measure;
mod tried;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::tools;
use measure::{measure, size};

/// Static builds, by the names that Rust has for them.
const STATIC: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// What compiles the C of SQLite and ring for other machines, as packages of Python.
const ZIG_PACKAGES: [&str; 2] = ["cargo-zigbuild==0.24.1", "ziglang==0.15.2"];

/// How static programs are linked: by the linker and the libraries that Rust brings along, since zig's knows no relocations
/// in a few bits each (without them the addresses of a program that is loaded anywhere take a tenth of it), and equal
/// functions as one.
const LINK: [&str; 6] = [
    "-Clinker-flavor=ld.lld",
    "-Clink-self-contained=yes",
    "-Clink-arg=--icf=all",
    "-Clink-arg=-O2",
    "-Clink-arg=-z",
    "-Clink-arg=pack-relative-relocs",
];

/// SQLite without what nothing here asks of it: searching text and regions, statistics of pages, extensions.
const SQLITE: &str = "-DHAVE_FDATASYNC=1 -USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 -USQLITE_ENABLE_RTREE \
     -USQLITE_ENABLE_STAT4 -USQLITE_ENABLE_DBSTAT_VTAB -USQLITE_SOUNDEX -USQLITE_ENABLE_LOAD_EXTENSION -DSQLITE_OMIT_LOAD_EXTENSION";

/// What is done.
pub(crate) struct Edge {
    /// What is built for, `static` standing for all static ones; this machine when there are none.
    pub(crate) targets: Vec<String>,
    /// Runs the gateway's example with each program, an emulator's where this machine runs it not.
    pub(crate) tried: bool,
    /// Measured instead.
    pub(crate) program: Option<PathBuf>,
}

/// Builds, measures what runs here, and tries what is to be tried.
pub(crate) fn edge(what: Edge) -> Result<()> {
    if let Some(program) = what.program {
        return measure(&program);
    }
    if what.targets.is_empty() {
        let program = build(None)?;
        measure(&program)?;
        return if what.tried {
            tried::here(&program)
        } else {
            Ok(())
        };
    }
    let all = what.targets.iter().any(|target| target == "static");
    let named = what.targets.iter().filter(|target| *target != "static");
    let known = STATIC
        .iter()
        .filter(|_| all)
        .map(|target| (*target).to_owned());
    for target in known.chain(named.cloned()) {
        let program = build(Some(&target))?;
        let here = runs_here(&target);
        if here {
            measure(&program)?;
        } else {
            eprintln!("{}", size(&program)?);
        }
        match (what.tried, here) {
            (false, _) => {}
            (true, true) => tried::here(&program)?,
            (true, false) => tried::emulated(&program, &target)?,
        }
    }
    Ok(())
}

/// Whether this machine runs what is built for a target.
fn runs_here(target: &str) -> bool {
    let mut parts = target.split('-');
    parts.next() == Some(std::env::consts::ARCH) && parts.any(|part| part == std::env::consts::OS)
}

/// Builds the program. Gives its path.
fn build(target: Option<&str>) -> Result<PathBuf> {
    let mut cargo = tools::cargo();
    cargo.env("LIBSQLITE3_FLAGS", SQLITE);
    match target {
        None => {
            cargo.arg("build");
        }
        Some(target) => {
            let bin = zig()?;
            added(target)?;
            let path = std::env::var_os("PATH").unwrap_or_default();
            let paths = std::iter::once(bin).chain(std::env::split_paths(&path));
            let of_target = |name| format!("CARGO_TARGET_{}_{name}", in_variables(target));
            cargo
                .env("PATH", std::env::join_paths(paths)?)
                .env(of_target("LINKER"), "rust-lld")
                .env(of_target("RUSTFLAGS"), LINK.join(" "))
                .args(["zigbuild", "--target", target]);
        }
    }
    cargo.args(["--profile", "edge", "--package", "stepwell"]);
    cargo.args(["--no-default-features", "--features", "edge"]);
    tools::run(&mut cargo, "the edge build does not compile")?;
    let folder = tools::root().join("target").join(target.unwrap_or(""));
    Ok(folder
        .join("edge")
        .join(format!("stepwell{}", std::env::consts::EXE_SUFFIX)))
}

/// A target as cargo has it in names of variables.
fn in_variables(target: &str) -> String {
    target.to_uppercase().replace(['-', '.'], "_")
}

/// The folder with cargo-zigbuild and zig, fetched from PyPI into `target/zig` when it is not there.
fn zig() -> Result<PathBuf> {
    let folder = tools::root().join("target/zig");
    let bin = folder.join("bin");
    if bin.join("cargo-zigbuild").is_file() {
        return Ok(bin);
    }
    eprintln!(
        "fetching {} from PyPI into target/zig",
        ZIG_PACKAGES.join(" and ")
    );
    let done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    let fetched = done(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && done(
            Command::new(bin.join("python3"))
                .args(["-m", "pip", "install", "--quiet"])
                .args(ZIG_PACKAGES),
        );
    if !fetched {
        bail!(
            "building for other machines takes {} (python3 with venv and pip, and PyPI within reach, fetch them)",
            ZIG_PACKAGES.join(" and ")
        );
    }
    Ok(bin)
}

/// Installs Rust's library for a target.
fn added(target: &str) -> Result<()> {
    let status = Command::new("rustup")
        .current_dir(tools::root())
        .args(["target", "add", target])
        .status();
    if !status.is_ok_and(|status| status.success()) {
        bail!("Rust's target {target} is missing; install it with: rustup target add {target}");
    }
    Ok(())
}

/// A program as a word of a command line.
fn word(program: &Path) -> String {
    format!("'{}'", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_for_this_machine_runs_here() {
        let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
        assert!(runs_here(&format!("{arch}-unknown-{os}-musl")));
        assert!(!runs_here("riscv64gc-unknown-linux-musl"));
        assert!(!runs_here(&format!("{arch}-unknown-plan9")));
    }

    #[test]
    fn targets_are_named_as_cargo_does() {
        assert_eq!(in_variables(STATIC[0]), "X86_64_UNKNOWN_LINUX_MUSL");
    }
}
