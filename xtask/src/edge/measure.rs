//! What a program for small machines takes: bytes, time until it listens, memory. Hides how a server is started and asked.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tools;

/// Starts that are timed; the median is told.
const STARTS: usize = 9;
/// How long an idle server settles before its memory is read.
const SETTLES: Duration = Duration::from_secs(2);
/// What is aimed at: bytes of the program, time until it listens, KiB of memory when idle.
const SIZE_AIM: u64 = 12_000_000;
const START_AIM: Duration = Duration::from_millis(20);
const MEMORY_KIB_AIM: u64 = 15_000_000 / 1024;

/// One line on a program's size.
pub(super) fn size(program: &Path) -> Result<String> {
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
pub(super) fn measure(program: &Path) -> Result<()> {
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
        Some(kib) => {
            let megabytes = |kib: u64| kib as f64 * 1024.0 / 1e6;
            eprintln!(
                "idle: {:.1} MB resident (aim {:.0}){}",
                megabytes(kib),
                megabytes(MEMORY_KIB_AIM),
                missed(kib > MEMORY_KIB_AIM)
            );
        }
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
