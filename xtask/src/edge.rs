//! The build for small machines: made, for this machine or static for others, and measured. Hides cargo's flags and how
//! the cross-compiler is fetched.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tools;

/// Static builds, by the names that Rust has for them.
const STATIC: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];
/// What links for other machines: cargo-zigbuild, and the compiler that it drives, as packages of Python.
const ZIG_PACKAGES: [&str; 2] = ["cargo-zigbuild==0.24.1", "ziglang==0.15.2"];
/// Starts that are timed; the median is told.
const STARTS: usize = 9;
/// How long an idle server settles before its memory is read.
const SETTLES: Duration = Duration::from_secs(2);
/// What is aimed at: bytes of the program, time until it listens, KiB of memory when idle.
const SIZE_AIM: u64 = 12_000_000;
const START_AIM: Duration = Duration::from_millis(20);
const MEMORY_KIB_AIM: u64 = 15_000;

/// Builds for the targets, `static` standing for all static ones, and for this machine when there are none. Measures what
/// runs here; with `program` that one alone, and builds nothing.
pub(crate) fn edge(targets: &[String], program: Option<PathBuf>) -> Result<()> {
    if let Some(program) = program {
        return measure(&program);
    }
    if targets.is_empty() {
        return measure(&build(None)?);
    }
    let all = targets.iter().any(|target| target == "static");
    let named = targets.iter().filter(|target| *target != "static");
    let known = STATIC
        .iter()
        .filter(|_| all)
        .map(|target| (*target).to_owned());
    for target in known.chain(named.cloned()) {
        let program = build(Some(&target))?;
        if runs_here(&target) {
            measure(&program)?;
        } else {
            eprintln!("{}", size(&program)?);
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
    match target {
        None => {
            cargo.arg("build");
        }
        Some(target) => {
            let bin = zig()?;
            added(target)?;
            let path = std::env::var_os("PATH").unwrap_or_default();
            let paths = std::iter::once(bin).chain(std::env::split_paths(&path));
            cargo
                .env("PATH", std::env::join_paths(paths)?)
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
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&folder)
        .status();
    let fetched = made.is_ok_and(|status| status.success())
        && Command::new(bin.join("python3"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(ZIG_PACKAGES)
            .status()
            .is_ok_and(|status| status.success());
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

/// One line on a program's size.
fn size(program: &Path) -> Result<String> {
    let bytes = std::fs::metadata(program)
        .with_context(|| format!("{} was not built", tools::shown(program)))?
        .len();
    Ok(format!(
        "{}: {:.2} MB (aim {:.0}){}",
        tools::shown(program),
        bytes as f64 / 1e6,
        SIZE_AIM as f64 / 1e6,
        missed(bytes > SIZE_AIM)
    ))
}

fn missed(is: bool) -> &'static str {
    if is { "  MISSED" } else { "" }
}

/// Prints size, time to listen and idle memory.
fn measure(program: &Path) -> Result<()> {
    eprintln!("{}", size(program)?);
    let scratch = std::env::temp_dir().join(format!("stepwell-edge-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let measured = starts(program, &scratch);
    // What is left in the temporary directory does no harm.
    let _ = std::fs::remove_dir_all(&scratch);
    let (median, memory_kib) = measured?;
    eprintln!(
        "listens after {:.1} ms (median of {STARTS}, aim {}){}",
        median.as_secs_f64() * 1e3,
        START_AIM.as_millis(),
        missed(median > START_AIM)
    );
    match memory_kib {
        Some(kib) => eprintln!(
            "idle: {:.1} MB resident (aim {:.0}){}",
            kib as f64 / 1e3,
            MEMORY_KIB_AIM as f64 / 1e3,
            missed(kib > MEMORY_KIB_AIM)
        ),
        None => eprintln!("idle: this system does not tell its memory"),
    }
    Ok(())
}

/// The median time until it listens, on a data directory that is there already, and the memory of the last one.
fn starts(program: &Path, scratch: &Path) -> Result<(Duration, Option<u64>)> {
    Served::start(program, scratch)?.stop()?;
    let mut times = Vec::new();
    let mut memory = None;
    for n in 1..=STARTS {
        let served = Served::start(program, scratch)?;
        times.push(served.took);
        if n == STARTS {
            std::thread::sleep(SETTLES);
            memory = served.memory_kib();
        }
        served.stop()?;
    }
    times.sort();
    Ok((times[STARTS / 2], memory))
}

/// A running server; ended when dropped.
struct Served {
    child: Child,
    took: Duration,
}

impl Served {
    fn start(program: &Path, scratch: &Path) -> Result<Served> {
        let begun = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(scratch.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", tools::shown(program)))?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        let mut served = Served {
            child,
            took: Duration::ZERO,
        };
        for line in BufReader::new(stdout).lines() {
            if line?.contains("AWS_ENDPOINT_URL_SFN=") {
                served.took = begun.elapsed();
                return Ok(served);
            }
        }
        bail!("the server ended before it listened; start it by hand to see why")
    }

    fn memory_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// In order, so that the next start has nothing to mend.
    fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended already, or ends now: both leave nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
}
