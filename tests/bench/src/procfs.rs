//! What Linux tells of processes and of the machine. Hides /proc.

use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks of the clock that /proc counts in; the same on every Linux that user space can see.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process so far, all threads, user and system.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("a stat line")?;
    let ticks: f64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}

/// CPU time so far of this process's threads of that name.
pub(crate) fn threads_cpu(name: &str) -> Duration {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let spent = threads.filter_map(|thread| {
        let comm = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let schedule = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        (comm.trim() == name).then(|| schedule.split(' ').next()?.parse::<u64>().ok())?
    });
    Duration::from_nanos(spent.sum())
}

/// Resident memory of a process, bytes.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    status(pid, "VmRSS:")
}

/// The most resident memory that a process ever had, bytes.
pub(crate) fn peak_resident(pid: u32) -> Result<f64> {
    status(pid, "VmHWM:")
}

/// A size that the kernel tells of a process, bytes.
fn status(pid: u32, field: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kilobytes.with_context(|| field.to_owned())? * 1024.0)
}

/// CPU time that all processes of the machine have used.
pub(crate) fn machine_busy() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let first = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = first
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal: all but idle and iowait.
    let busy: f64 = fields
        .iter()
        .take(8)
        .enumerate()
        .filter(|(index, _)| !matches!(index, 3 | 4))
        .map(|(_, ticks)| ticks)
        .sum();
    Ok(Duration::from_secs_f64(busy / TICKS_PER_SECOND))
}

/// Processes that wanted a core over the last minute, on average.
pub(crate) fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

/// The machine in one line: processor, cores, memory, system.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kilobytes: f64 = memory
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0);
    format!(
        "{}, {cores} cores, {:.0} GB, Linux {}",
        field(&read("/proc/cpuinfo"), "model name"),
        kilobytes / 1e6,
        read("/proc/sys/kernel/osrelease").trim()
    )
}
