//! `plugin.toml`: what a plugin is, what it may use, what it asks for. Hides TOML and the units in it.

use crate::grants::{FsGrant, FsMode, Grants, HttpRule};
use crate::limits;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// A component that exports `stepwell:task/handler`.
    Component,
    /// A WASI command: JSON from stdin to stdout.
    Command,
}

/// What happens to an attempt that was running when the host crashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
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
        let file: File = toml::from_str(text)
            .map_err(|error| format!("plugin.toml: {}", error.to_string().trim()))?;
        let mut problems = Vec::new();
        let limits = file.limits.check(&mut problems);
        let grants = file.grants.check(&mut problems);
        if let Some(name) = &file.name
            && !valid_name(name)
        {
            problems.push(format!("name: `{name}` is not 1 to 64 of A-Z a-z 0-9 - _"));
        }
        if let Some(module) = &file.module
            && (module.contains(['/', '\\']) || !module.ends_with(".wasm"))
        {
            problems.push(format!(
                "module: `{module}` is not a .wasm file beside plugin.toml"
            ));
        }
        if let Some(pin) = &file.sha256
            && !(pin.len() == 64 && pin.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            problems.push(format!("sha256: `{pin}` is not 64 hexadecimal digits"));
        }
        if !problems.is_empty() {
            return Err(format!("plugin.toml: {}", problems.join("\nplugin.toml: ")));
        }
        Ok(Self {
            name: file.name,
            version: file.version,
            contract: file.contract.known(),
            module: file.module,
            sha256: file.sha256.map(|pin| pin.to_ascii_lowercase()),
            on_crash: file.on_crash,
            limits,
            grants,
        })
    }
}

/// Whether a text can be a plugin's name: 1 to 64 of A-Z a-z 0-9 - _.
pub(crate) fn valid_name(name: &str) -> bool {
    (1..=limits::NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Stored form: `plugin.toml` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    version: Option<String>,
    #[serde(default)]
    contract: ContractField,
    module: Option<String>,
    sha256: Option<String>,
    #[serde(default)]
    on_crash: OnCrash,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    grants: GrantsTable,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ContractField {
    #[default]
    Auto,
    Component,
    Command,
}

impl ContractField {
    fn known(self) -> Option<Contract> {
        match self {
            Self::Auto => None,
            Self::Component => Some(Contract::Component),
            Self::Command => Some(Contract::Command),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LimitsTable {
    memory: Option<String>,
    table_elements: Option<u64>,
    #[serde(alias = "timeout")]
    wall: Option<String>,
    #[serde(alias = "cpu-time")]
    cpu: Option<String>,
    fuel: Option<u64>,
    input: Option<String>,
    output: Option<String>,
    log: Option<String>,
    concurrency: Option<u32>,
}

impl LimitsTable {
    fn check(self, problems: &mut Vec<String>) -> Limits {
        let usual = Limits::default();
        let mut size = |name: &str, text: Option<String>, default: u64| {
            text.map_or(default, |text| {
                parse_bytes(&text).unwrap_or_else(|| {
                    problems.push(format!(
                        "limits.{name}: `{text}` is no size; write it like \"64MiB\" or \"256KiB\""
                    ));
                    default
                })
            })
        };
        let memory_bytes = size("memory", self.memory, usual.memory_bytes);
        let input_bytes = size("input", self.input, usual.input_bytes);
        let output_bytes = size("output", self.output, usual.output_bytes);
        let log_bytes = size("log", self.log, usual.log_bytes);
        let mut time = |name: &str, text: Option<String>, default: Duration| {
            text.map_or(default, |text| {
                parse_duration(&text).unwrap_or_else(|| {
                    problems.push(format!(
                        "limits.{name}: `{text}` is no duration; write it like \"30s\" or \"500ms\""
                    ));
                    default
                })
            })
        };
        Limits {
            wall: time("wall", self.wall, usual.wall),
            cpu: time("cpu", self.cpu, usual.cpu),
            memory_bytes,
            table_elements: self.table_elements.unwrap_or(usual.table_elements),
            fuel: self.fuel.filter(|fuel| *fuel > 0),
            input_bytes,
            output_bytes,
            log_bytes,
            concurrency: self.concurrency.filter(|bound| *bound > 0),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantsTable {
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default)]
    secrets: BTreeSet<String>,
    #[serde(default)]
    http: Vec<HttpField>,
    #[serde(default)]
    fs: Vec<FsField>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum HttpField {
    Host(String),
    Rule(HttpTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpTable {
    host: String,
    #[serde(default)]
    methods: Vec<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FsField {
    host: String,
    guest: String,
    #[serde(default)]
    mode: FsMode,
}

impl GrantsTable {
    fn check(self, problems: &mut Vec<String>) -> Grants {
        let mut http = Vec::new();
        for (index, field) in self.http.into_iter().enumerate() {
            let table = match field {
                HttpField::Host(host) => HttpTable {
                    host,
                    methods: Vec::new(),
                    path: None,
                },
                HttpField::Rule(table) => table,
            };
            match HttpRule::parse(&table.host, &table.methods, table.path.as_deref()) {
                Ok(rule) => http.push(rule),
                Err(why) => problems.push(format!("grants.http[{index}]: {why}")),
            }
        }
        let fs = self
            .fs
            .into_iter()
            .map(|f| FsGrant {
                host: f.host.into(),
                guest: f.guest,
                mode: f.mode,
            })
            .collect();
        Grants {
            env: self.env,
            config: self.config,
            secrets: self.secrets,
            http,
            fs,
        }
    }
}

/// `64MiB`, `256KiB`, `1GiB`, `1000` (bytes), `5MB`.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
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

/// `30s`, `500ms`, `2m`, `1h`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_manifest() {
        let manifest = Manifest::parse(
            r#"
            name = "resize"
            version = "1.2.0"
            module = "task.wasm"
            on_crash = "fail"
            [limits]
            memory = "128MiB"
            wall = "90s"
            cpu = "500ms"
            fuel = 0
            [grants]
            config = { region = "eu" }
            secrets = ["KEY"]
            http = ["https://a.example", { host = "https://*.example.com:8443", methods = ["post"], path = "/v1" }]
            fs = [{ host = "data", guest = "/data" }]
            "#,
        )
        .unwrap();
        assert_eq!(manifest.limits.memory_bytes, 128 << 20);
        assert_eq!(manifest.limits.wall, Duration::from_secs(90));
        assert_eq!(manifest.limits.cpu, Duration::from_millis(500));
        assert_eq!(manifest.limits.fuel, None);
        assert_eq!(manifest.on_crash, OnCrash::Fail);
        assert_eq!(manifest.grants.http.len(), 2);
    }

    #[test]
    fn all_problems_at_once() {
        let why = Manifest::parse(
            "name = \"a b\"\nmodule = \"../x.wasm\"\nsha256 = \"12\"\n[limits]\nmemory = \"lots\"\nwall = \"soon\"\n[grants]\nhttp = [\"ftp://x\"]",
        )
        .unwrap_err();
        for part in [
            "name:",
            "module:",
            "sha256:",
            "limits.memory",
            "limits.wall",
            "grants.http[0]",
        ] {
            assert!(why.contains(part), "{part} in {why}");
        }
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(
            Manifest::parse("nmae = \"x\"")
                .unwrap_err()
                .contains("nmae")
        );
    }
}
