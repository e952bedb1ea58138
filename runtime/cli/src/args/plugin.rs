//! The commands of `stepwell plugin`, and what compiling a plugin may take.

#[cfg(not(feature = "tools"))]
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use stepwell_sandbox::{
    CompileBounds, Profile, SIZE_UNITS, SandboxConfig, TIME_UNITS, parse_bytes, parse_duration,
};

use super::place::{account, usual_endpoint};
#[cfg(feature = "tools")]
use super::{FunctionCommand, PullArgs};

/// Less memory does not hold the compiler itself (ours).
const COMPILE_MEMORY_BYTES_MIN: u64 = 64 << 20;

/// Less does not hold one large plugin (ours).
const CACHE_BYTES_MIN: u64 = 64 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Write a new plugin in Rust, with tests
    #[cfg(feature = "tools")]
    New {
        /// Name of the plugin; also of its folder
        name: String,
        /// Folder to write instead of NAME
        #[arg(long, value_name = "DIR")]
        path: Option<PathBuf>,
        /// Folder of the Rust SDK; by default guest-sdk/rust of the sources that this program was built from
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
    /// Build the plugin in this folder and install it in a plugin directory
    #[cfg(feature = "tools")]
    Build {
        /// Folder of the plugin
        #[arg(default_value = ".")]
        path: PathBuf,
        /// Plugin directory to install into
        #[arg(long, value_name = "DIR", default_value = "./stepwell-data/plugins")]
        plugins: PathBuf,
        /// Cargo profile
        #[arg(long, default_value = "release")]
        profile: String,
        /// Folder for what cargo builds, shared by all plugins so that the SDK is built once; by default in the user's
        /// cache directory. A workspace's own is kept
        #[arg(long, value_name = "DIR", env = "STEPWELL_PLUGIN_TARGET")]
        target_dir: Option<PathBuf>,
        #[command(flatten)]
        compile: CompileArgs,
    },
    /// Check that a file or plugin folder can be served
    Check {
        /// The name of a plugin in the plugin directory, a .wasm or .cwasm file, or a folder with plugin.toml
        #[arg(value_name = "FILE|FOLDER|NAME")]
        path: PathBuf,
        /// The plugin directory; ./stepwell-data/plugins when absent
        #[arg(long, value_name = "DIR")]
        plugins: Option<PathBuf>,
        #[command(flatten)]
        compile: CompileArgs,
    },
    /// Show the contract, imports, grants and limits of a plugin, and what of them the operator allows
    Inspect(Box<InspectArgs>),
    /// List the plugins of a directory
    List {
        /// The plugin directory
        #[arg(long, value_name = "DIR", default_value = "./stepwell-data/plugins")]
        plugins: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        compile: CompileArgs,
        #[command(flatten)]
        policy: PolicyArgs,
    },
    /// Run one task on a plugin
    Invoke(Box<InvokeArgs>),
    /// Compile plugins ahead of time: for a program that has no compiler, on this machine or another one
    Compile(AheadArgs),
    /// Fetch a plugin from an OCI registry into a plugin directory, pinned to what was fetched
    #[cfg(feature = "tools")]
    Pull(PullArgs),
    #[cfg(feature = "tools")]
    #[command(flatten)]
    Uploaded(FunctionCommand),
    /// Any other word.
    #[cfg(not(feature = "tools"))]
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// What is called, where, and with what. No variable names a server here: without one, it is a plugin of the plugin directory.
#[derive(Debug, Args)]
pub(crate) struct InvokeArgs {
    /// Name of the plugin; with --endpoint or --data also NAME:VERSION and NAME:ALIAS of one that was uploaded
    pub(crate) name: String,
    /// Input, the same as --input
    #[arg(
        value_name = "JSON|@FILE|-",
        conflicts_with = "input",
        allow_hyphen_values = true
    )]
    pub(crate) given: Option<String>,
    /// Input: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(crate) input: Option<String>,
    /// The plugin directory; that of --data, or ./stepwell-data/plugins, when absent
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<PathBuf>,
    /// Address of a running server that calls it: what was uploaded there, else a plugin of its directory
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "plugins"])]
    pub(crate) endpoint: Option<String>,
    /// Data directory that no server holds and whose plugin it is: what was uploaded into it, else one of its directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print outcome, usage and logs as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

/// What is inspected, and by whose rules.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The name of a plugin in the plugin directory, a .wasm or .cwasm file, or a folder with plugin.toml
    #[arg(value_name = "FILE|FOLDER|NAME")]
    pub(crate) path: PathBuf,
    /// The plugin directory; that of --data, or ./stepwell-data/plugins, when absent
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<PathBuf>,
    /// Account whose plugin it is or would be: 12 digits; that of the access key with --endpoint, else the default one, when absent
    #[arg(long, value_name = "ACCOUNT", value_parser = account)]
    pub(crate) tenant: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

/// Where the account's ceiling and secrets are asked for. A variable names the server only for an account that was named: other
/// plugins can be inspected without one.
#[derive(Debug, Args)]
pub(crate) struct KnownArgs {
    /// Address of a running server, which is asked for the account's ceiling and secrets; with --tenant that of AWS_ENDPOINT_URL_SFN,
    /// else AWS_ENDPOINT_URL, else STEPWELL_ENDPOINT, when neither this nor --data is given
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    endpoint: Option<String>,
    /// Data directory that no server holds, which is asked for them
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

impl KnownArgs {
    /// The server that is asked of an account, if one was named. A data directory that was named wins over the variables.
    pub(crate) fn endpoint(&self, account: Option<&str>) -> Option<String> {
        let by_variable = account.is_some() && self.data.is_none();
        let asked = self.endpoint.clone();
        asked.or_else(|| by_variable.then(usual_endpoint).flatten())
    }
}

/// What the operator allows to plugins, and the secrets that are for them.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PolicyArgs {
    /// TOML file with what the plugins of each account may be granted and use
    #[arg(long, value_name = "FILE", env = "STEPWELL_CEILINGS", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) ceilings: Option<PathBuf>,
    /// TOML or JSON file with the secrets of tasks, by name
    #[arg(long, value_name = "FILE", env = "STEPWELL_SECRETS", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) secrets: Option<PathBuf>,
}

/// What is compiled ahead of time, and for whom.
#[derive(Debug, Args)]
pub(crate) struct AheadArgs {
    /// .wasm files, folders with plugin.toml, or names of plugins of the plugin directory
    #[arg(required = true, value_name = "FILE|FOLDER|NAME")]
    pub(crate) paths: Vec<PathBuf>,
    /// What the code is for: server (the fastest), edge (small)
    #[arg(long, value_name = "NAME", default_value = "server", value_parser = profile)]
    pub(crate) profile: Profile,
    /// The machine that it is for, as Rust names it: aarch64-unknown-linux-musl; this one when absent
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<String>,
    /// Plugin directory to write into
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
}

fn profile(text: &str) -> Result<Profile, String> {
    Profile::named(text).ok_or_else(|| {
        let names = Profile::ALL.map(Profile::name);
        format!("a profile is one of {}", names.join(", "))
    })
}

/// Whether code is run that was compiled ahead of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecompiledArg {
    /// No: plugins are compiled here
    No,
    /// Where a plugin has no .wasm
    Also,
    /// It alone: nothing is compiled here
    Only,
}

impl PrecompiledArg {
    /// A program without a compiler has no choice.
    const USUAL: PrecompiledArg = match cfg!(feature = "compiler") {
        true => PrecompiledArg::No,
        false => PrecompiledArg::Only,
    };
}

/// What compiling a plugin may take.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct CompileArgs {
    /// Memory that compiling one plugin may take, such as 2GiB
    #[arg(
        long,
        value_name = "SIZE",
        env = "STEPWELL_COMPILE_MEMORY",
        default_value = "2GiB",
        value_parser = compile_memory
    )]
    pub(crate) compile_memory: u64,
    /// CPU time that compiling one plugin may take, such as 2m; four times as much may pass on the clock, and 5m at least
    #[arg(
        long,
        value_name = "TIME",
        env = "STEPWELL_COMPILE_CPU",
        default_value = "2m",
        value_parser = compile_cpu
    )]
    pub(crate) compile_cpu: Duration,
    /// Bytes that compiled plugins may have on disk, such as 2GiB; past it those go that were not used for longest
    #[arg(
        long,
        value_name = "SIZE",
        env = "STEPWELL_CACHE_BYTES",
        default_value = "10GiB",
        value_parser = cache_bytes
    )]
    pub(crate) cache_bytes: u64,
    /// Whether plugins are run that `plugin compile` made: unchecked code, that whoever writes to the plugin directory chooses
    #[arg(
        long,
        value_name = "WHETHER",
        env = "STEPWELL_PRECOMPILED",
        value_enum,
        default_value_t = PrecompiledArg::USUAL
    )]
    pub(crate) precompiled: PrecompiledArg,
}

impl Default for CompileArgs {
    fn default() -> Self {
        let bounds = CompileBounds::default();
        Self {
            compile_memory: bounds.memory_bytes,
            compile_cpu: bounds.cpu,
            cache_bytes: SandboxConfig::default().cache_bytes,
            precompiled: PrecompiledArg::USUAL,
        }
    }
}

fn compile_memory(text: &str) -> Result<u64, String> {
    size_from(text, COMPILE_MEMORY_BYTES_MIN)
}

fn cache_bytes(text: &str) -> Result<u64, String> {
    size_from(text, CACHE_BYTES_MIN)
}

fn size_from(text: &str, least: u64) -> Result<u64, String> {
    let size = parse_bytes(text).filter(|size| *size >= least);
    let mib = least >> 20;
    size.ok_or_else(|| format!("it is a size of at least {mib}MiB, such as 2GiB, in {SIZE_UNITS}"))
}

fn compile_cpu(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).filter(|time| time.as_secs() >= 1);
    time.ok_or_else(|| format!("it is a time of at least 1s, such as 90s or 2m, in {TIME_UNITS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As security.md has it, and the sandbox.
    #[test]
    fn the_clock_of_the_compiler_is_told_as_it_is() {
        let command = CompileArgs::augment_args(clap::Command::new("check"));
        let argument = command
            .get_arguments()
            .find(|one| one.get_id() == "compile_cpu");
        let help = argument.and_then(|one| one.get_help()).unwrap().to_string();
        let told = "four times as much may pass on the clock, and 5m at least";
        assert!(help.ends_with(told), "{help}");
        let bounds = |cpu_s| CompileBounds {
            cpu: Duration::from_secs(cpu_s),
            ..CompileBounds::default()
        };
        assert_eq!(bounds(120).patience(), Duration::from_secs(4 * 120));
        assert_eq!(bounds(1).patience(), Duration::from_secs(5 * 60));
    }
}
