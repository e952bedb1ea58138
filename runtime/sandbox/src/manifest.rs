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

/// What one attempt may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, all memories together.
    pub memory_bytes: u64,
    /// Elements, all tables together.
    pub table_elements: u64,
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
    /// Bytes of log lines, of stdout and of stderr, each.
    pub log_bytes: u64,
    /// Attempts of this plugin at once; more are refused. None is unbounded.
    pub concurrency: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: limits::MEMORY_BYTES_DEFAULT,
            table_elements: limits::TABLE_ELEMENTS_DEFAULT,
            wall: limits::WALL_DEFAULT,
            cpu: limits::CPU_DEFAULT,
            fuel: None,
            input_bytes: limits::PAYLOAD_BYTES_DEFAULT,
            output_bytes: limits::PAYLOAD_BYTES_DEFAULT,
            log_bytes: limits::LOG_BYTES_DEFAULT,
            concurrency: None,
        }
    }
}

impl Limits {
    /// The most that a manifest may ask for unless the operator says otherwise.
    pub fn ceiling() -> Self {
        Self {
            memory_bytes: limits::MEMORY_BYTES_MAX,
            table_elements: limits::TABLE_ELEMENTS_DEFAULT,
            wall: limits::WALL_MAX,
            cpu: limits::WALL_MAX,
            fuel: None,
            input_bytes: limits::PAYLOAD_BYTES_MAX,
            output_bytes: limits::PAYLOAD_BYTES_MAX,
            log_bytes: limits::LOG_BYTES_MAX,
            concurrency: None,
        }
    }

    /// The smaller of both in every respect.
    pub(crate) fn within(&self, ceiling: &Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
            table_elements: self.table_elements.min(ceiling.table_elements),
            wall: self.wall.min(ceiling.wall),
            cpu: self.cpu.min(ceiling.cpu),
            fuel: smaller(self.fuel, ceiling.fuel),
            input_bytes: self.input_bytes.min(ceiling.input_bytes),
            output_bytes: self.output_bytes.min(ceiling.output_bytes),
            log_bytes: self.log_bytes.min(ceiling.log_bytes),
            concurrency: smaller(self.concurrency, ceiling.concurrency),
        }
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
