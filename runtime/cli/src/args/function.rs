//! The commands of `stepwell plugin` that work on plugins that were uploaded: functions, by AWS's name for them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use stepwell_engine::check_alias_name;
use stepwell_sandbox::{SIZE_UNITS, TIME_UNITS, parse_bytes, parse_duration};

use super::entries::entries;
use super::oci::RegistryArgs;
use super::{PlaceArgs, STATUSES};
use crate::oci::Reference;

/// What the API has for memory, MiB, and for time, seconds.
const MEMORY_MIB: std::ops::RangeInclusive<u64> = 128..=10_240;
const TIMEOUT_S: std::ops::RangeInclusive<u64> = 1..=900;

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionCommand {
    /// Upload a plugin: new, or the next code of the one of that name
    Push(PushArgs),
    /// List what was uploaded, or the versions and aliases of one plugin
    Versions {
        /// Name of the plugin
        name: Option<String>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let an alias stand for a version, or for the newest code
    Alias {
        /// Name of the plugin
        name: String,
        /// Name of the alias, such as `live`
        alias: String,
        /// Number of the version, or $LATEST
        version: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let an alias stand again for what it stood for before its last change
    Rollback {
        /// Name of the plugin
        name: String,
        /// Name of the alias
        alias: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List the calls of a plugin that nobody waits for (Invoke as `Event`), newest first
    Events(EventsArgs),
    /// Remove code that was uploaded and that nothing has any more: no plugin, no version
    Gc(GcArgs),
    /// Remove what was uploaded: all of a plugin, or one version
    Remove {
        /// Name of the plugin
        name: String,
        /// Only this version
        #[arg(long, value_name = "NUMBER")]
        version: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Name of the plugin
    pub(crate) name: String,
    /// Only those in this status; one that waits to be tried again is RUNNING
    #[arg(long, value_name = "STATUS", ignore_case = true, value_parser = STATUSES)]
    pub(crate) status: Option<String>,
    /// Most calls to list
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = entries)]
    pub(crate) limit: usize,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Tell what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long nothing must have had the code, such as 1h; on a running server a minute at least
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = grace_s)]
    pub(crate) grace: u64,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Seconds.
fn grace_s(text: &str) -> Result<u64, String> {
    let time = parse_duration(text).map(|time| time.as_millis().div_ceil(1_000) as u64);
    time.ok_or_else(|| format!("it is a time, such as 1h or 0s, in {TIME_UNITS}"))
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// A .wasm file, a folder with plugin.toml, or the name of a plugin of the plugin directory
    #[arg(value_name = "FILE|FOLDER|NAME")]
    pub(crate) path: PathBuf,
    /// Push to an OCI registry instead of a server: oci://HOST/REPOSITORY:TAG
    #[arg(
        value_name = "oci://REF",
        value_parser = registry,
        conflicts_with_all = ["name", "publish", "alias", "memory", "timeout", "env", "endpoint", "data"]
    )]
    pub(crate) to: Option<Reference>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Name of the plugin; that of the file or folder when absent
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Make a version of it that never changes
    #[arg(long)]
    pub(crate) publish: bool,
    /// Let this alias stand for the version; made when it is not there
    #[arg(long, value_name = "NAME", requires = "publish", value_parser = alias_name)]
    pub(crate) alias: Option<String>,
    /// Memory of an attempt, from 128MiB on; that of plugin.toml, else 128MiB for a new plugin
    #[arg(long, value_name = "SIZE", value_parser = memory_mib)]
    pub(crate) memory: Option<u64>,
    /// Wall and CPU time of an attempt, up to 15m; that of plugin.toml, else 3s for a new plugin
    #[arg(long, value_name = "TIME", value_parser = timeout_s)]
    pub(crate) timeout: Option<u64>,
    /// Environment variable of the plugin; may be repeated; replaces all that it had
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// What this code is
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Print the configuration as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Looked at before anything is sent: the alias comes last.
fn alias_name(text: &str) -> Result<String, String> {
    check_alias_name(text)?;
    Ok(text.to_owned())
}

/// MiB, at least what the API takes.
fn memory_mib(text: &str) -> Result<u64, String> {
    let mib = parse_bytes(text).map(|bytes| bytes.div_ceil(1 << 20));
    mib.filter(|mib| MEMORY_MIB.contains(mib)).ok_or_else(|| {
        format!(
            "it is a size from {}MiB to {}MiB, in {SIZE_UNITS}",
            MEMORY_MIB.start(),
            MEMORY_MIB.end()
        )
    })
}

/// Seconds, what the API takes: no parts of them.
fn timeout_s(text: &str) -> Result<u64, String> {
    let whole = parse_duration(text).filter(|time| time.subsec_nanos() == 0);
    whole
        .map(|time| time.as_secs())
        .filter(|seconds| TIMEOUT_S.contains(seconds))
        .ok_or_else(|| format!("it is a time of whole seconds from 1s to 15m, in {TIME_UNITS}"))
}

/// With its scheme: a file of that name could be meant.
fn registry(text: &str) -> Result<Reference, String> {
    if !text.starts_with("oci://") {
        return Err("it begins with oci://, such as oci://ghcr.io/acme/resize:1.2; a server is named by --endpoint".to_owned());
    }
    text.parse()
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What the API has for a plugin's own memory and time.
pub(crate) fn within_api(memory_bytes: u64, wall: Duration) -> (u64, u64) {
    let mib = memory_bytes.div_ceil(1 << 20);
    let seconds = wall.as_millis().div_ceil(1_000) as u64;
    (
        mib.clamp(*MEMORY_MIB.start(), *MEMORY_MIB.end()),
        seconds.clamp(*TIMEOUT_S.start(), *TIMEOUT_S.end()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_that_is_none_is_told_its_bounds_and_units() {
        assert_eq!(memory_mib("1GiB"), Ok(1_024));
        for refused in ["1TiB", "64MiB", "11GiB", "lots", "MiB"] {
            let why = memory_mib(refused).unwrap_err();
            let told = "from 128MiB to 10240MiB, in B, kB, KiB, MB, MiB, GB or GiB";
            assert!(why.ends_with(told), "{refused}: {why}");
        }
    }

    #[test]
    fn a_timeout_is_taken_as_it_is_or_not_at_all() {
        assert_eq!(timeout_s("2000ms"), Ok(2));
        assert_eq!(timeout_s("15m"), Ok(900));
        for refused in ["1500ms", "0s", "16m", "soon"] {
            let why = timeout_s(refused).unwrap_err();
            let told = "whole seconds from 1s to 15m, in ms, s, m or h";
            assert!(why.ends_with(told), "{refused}: {why}");
        }
    }
}
