//! What a plugin says of itself: what it is, what it may use, what it asks for. Hides the units.

use crate::grants::Grants;
use crate::limits;
use std::time::Duration;

/// What a plugin says of itself. Every field has a default, so a plugin without a manifest has one too.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// Its name; must agree with the folder.
    pub name: Option<String>,
    /// Its version, matched by `wasm:NAME@VERSION`.
    pub version: Option<String>,
    /// The contract that it claims; the file decides, a disagreement is a problem.
    pub contract: Option<Contract>,
    /// Its `.wasm`, beside the manifest.
    pub module: Option<String>,
    /// A pin: the file's SHA-256 in hex.
    pub sha256: Option<String>,
    /// What happens to an attempt that ran when the host crashed.
    pub on_crash: OnCrash,
    /// What one attempt may use.
    pub limits: Limits,
    /// Whether instances serve more than one attempt.
    pub instance: Instance,
    /// What it asks for.
    pub grants: Grants,
}

/// How a plugin is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// A component that exports `stepwell:task/handler`.
    Component,
    /// A WASI command: JSON from stdin to stdout.
    Command,
}

/// What happens to an attempt that was running when the host crashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnCrash {
    /// It runs again (at least once).
    #[default]
    Retry,
    /// It fails (at most once).
    Fail,
}

/// Whether an instance serves more than one attempt, and how many and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Who shares one.
    pub reuse: Reuse,
    /// Attempts that one instance serves at most.
    pub calls: u64,
    /// How long one waits for another attempt.
    pub idle: Duration,
    /// How long one lives.
    pub age: Duration,
    /// How many wait at most.
    pub kept: usize,
}

/// Which attempts may share an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reuse {
    /// None: each has a fresh one.
    #[default]
    Never,
    /// Those of one tenant on one version of the plugin, one after the other.
    Tenant,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            reuse: Reuse::Never,
            calls: limits::REUSE_CALLS_DEFAULT,
            idle: limits::REUSE_IDLE_DEFAULT,
            age: limits::REUSE_AGE_DEFAULT,
            kept: limits::REUSE_KEPT_DEFAULT,
        }
    }
}

/// What one attempt may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, all memories together.
    pub memory_bytes: u64,
    /// Elements, all tables together.
    pub table_elements: u64,
    /// Bytes of the guest's own stack: one of [`Limits::STACKS`].
    pub stack_bytes: u64,
    /// Wall time from the guest's start.
    pub wall: Duration,
    /// CPU time.
    pub cpu: Duration,
    /// Fuel; none is unmetered. Metered code is up to 20 % slower.
    pub fuel: Option<u64>,
    /// Bytes of input.
    pub input_bytes: u64,
    /// Bytes of output.
    pub output_bytes: u64,
    /// Bytes of log lines.
    pub log_bytes: u64,
    /// Bytes of a component's stdout; a command's is its output.
    pub stdout_bytes: u64,
    /// Bytes of stderr.
    pub stderr_bytes: u64,
    /// Attempts of this plugin at once; more are refused. None is unbounded.
    pub concurrency: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: limits::MEMORY_BYTES_DEFAULT,
            table_elements: limits::TABLE_ELEMENTS_DEFAULT,
            stack_bytes: limits::STACK_BYTES,
            wall: limits::WALL_DEFAULT,
            cpu: limits::CPU_DEFAULT,
            fuel: None,
            input_bytes: limits::PAYLOAD_BYTES_DEFAULT,
            output_bytes: limits::PAYLOAD_BYTES_DEFAULT,
            log_bytes: limits::LOG_BYTES_DEFAULT,
            stdout_bytes: limits::LOG_BYTES_DEFAULT,
            stderr_bytes: limits::LOG_BYTES_DEFAULT,
            concurrency: None,
        }
    }
}

impl Limits {
    /// The sizes that a stack may have. Each is an engine of its own, so there are few.
    pub const STACKS: [u64; 5] = [64 << 10, 128 << 10, 256 << 10, limits::STACK_BYTES, 1 << 20];

    /// The most that a manifest may ask for unless the operator says otherwise.
    pub fn ceiling() -> Self {
        Self {
            memory_bytes: limits::MEMORY_BYTES_MAX,
            table_elements: limits::TABLE_ELEMENTS_DEFAULT,
            stack_bytes: limits::STACK_BYTES_MAX,
            wall: limits::WALL_MAX,
            cpu: limits::WALL_MAX,
            fuel: None,
            input_bytes: limits::PAYLOAD_BYTES_MAX,
            output_bytes: limits::PAYLOAD_BYTES_MAX,
            log_bytes: limits::LOG_BYTES_MAX,
            stdout_bytes: limits::LOG_BYTES_MAX,
            stderr_bytes: limits::LOG_BYTES_MAX,
            concurrency: None,
        }
    }

    /// No limit at all, to be lowered.
    pub fn unlimited() -> Self {
        Self {
            memory_bytes: u64::MAX,
            table_elements: u64::MAX,
            stack_bytes: u64::MAX,
            wall: Duration::MAX,
            cpu: Duration::MAX,
            fuel: None,
            input_bytes: u64::MAX,
            output_bytes: u64::MAX,
            log_bytes: u64::MAX,
            stdout_bytes: u64::MAX,
            stderr_bytes: u64::MAX,
            concurrency: None,
        }
    }

    /// Each limit by its key in a manifest, in the form in which it is written there.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let count = |count: Option<u64>| count.map_or_else(|| "none".to_owned(), |n| n.to_string());
        vec![
            ("memory", size(self.memory_bytes)),
            ("table-elements", self.table_elements.to_string()),
            ("stack", size(self.stack_bytes)),
            ("wall", time(self.wall)),
            ("cpu", time(self.cpu)),
            ("fuel", count(self.fuel)),
            ("input", size(self.input_bytes)),
            ("output", size(self.output_bytes)),
            ("log", size(self.log_bytes)),
            ("stdout", size(self.stdout_bytes)),
            ("stderr", size(self.stderr_bytes)),
            ("concurrency", count(self.concurrency.map(u64::from))),
        ]
    }

    /// The smaller of both in every respect.
    pub(crate) fn within(&self, ceiling: &Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
            table_elements: self.table_elements.min(ceiling.table_elements),
            stack_bytes: self.stack_bytes.min(ceiling.stack_bytes),
            wall: self.wall.min(ceiling.wall),
            cpu: self.cpu.min(ceiling.cpu),
            fuel: smaller(self.fuel, ceiling.fuel),
            input_bytes: self.input_bytes.min(ceiling.input_bytes),
            output_bytes: self.output_bytes.min(ceiling.output_bytes),
            log_bytes: self.log_bytes.min(ceiling.log_bytes),
            stdout_bytes: self.stdout_bytes.min(ceiling.stdout_bytes),
            stderr_bytes: self.stderr_bytes.min(ceiling.stderr_bytes),
            concurrency: smaller(self.concurrency, ceiling.concurrency),
        }
    }
}

/// `64MiB`, `1KiB`, `100B`: the largest unit that is exact.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let exact = |(bits, _): &(u32, &str)| bytes > 0 && bytes.is_multiple_of(1 << *bits);
    match units.into_iter().find(exact) {
        Some((bits, unit)) => format!("{}{unit}", bytes >> bits),
        None => format!("{bytes}B"),
    }
}

/// `30s`, `500ms`.
fn time(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

fn smaller<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

impl Manifest {
    /// Reads a `plugin.toml`.
    ///
    /// # Errors
    /// All that is wrong with it, each on a line with its place and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        crate::manifest_text::read(text).map_err(|slips| slips.join("\n"))
    }
}

/// Whether a text can be a plugin's name: 1 to 64 of A-Z a-z 0-9 - _.
pub(crate) fn valid_name(name: &str) -> bool {
    (1..=limits::NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The units of [`parse_bytes`], for whoever is told what a size is.
pub const SIZE_UNITS: &str = "B, kB, KiB, MB, MiB, GB or GiB";
/// The units of [`parse_duration`].
pub const TIME_UNITS: &str = "ms, s, m or h";

/// Bytes, as a manifest writes them: `64MiB`, `256KiB`, `1GiB`, `1000`, `5MB`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" | "B" => 1,
        "KB" | "kB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A time, as a manifest writes it: `30s`, `500ms`, `2m`, `1h`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text);
    let number = number.parse::<u64>().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}
