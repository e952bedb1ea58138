//! The command line: names, flags and their help. Hides nothing; what a flag does is in `commands`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stepwell_sandbox::{CompileBounds, parse_bytes, parse_duration};

/// Characters of a region's name (ours, as the server has it).
const REGION_CHARS_MAX: usize = 32;
/// Less memory does not hold the compiler itself (ours).
const COMPILE_MEMORY_BYTES_MIN: u64 = 64 << 20;

/// Stepwell runs Amazon States Language workflows durably and every task as a sandboxed WebAssembly plugin.
#[derive(Debug, Parser)]
#[command(name = "stepwell", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 succeeded, 1 the execution failed, 2 bad usage or input, 3 the runtime's own failure."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the Step Functions API over HTTP
    Serve(ServeArgs),
    /// Run a state machine once and print its output
    Run(RunArgs),
    /// Check state machine definitions
    Validate(ValidateArgs),
    /// Explain the code of a diagnostic
    Explain(ExplainArgs),
    /// Test a state machine with mocked tasks, in virtual time
    Test(TestArgs),
    /// Draw a state machine, or what an execution did with it
    Graph(GraphArgs),
    /// Start, list, show and stop executions
    #[command(subcommand)]
    Execution(ExecutionCommand),
    /// List, put and delete state machines
    #[command(subcommand)]
    Machine(MachineCommand),
    /// Write, build, check and call plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Compile one plugin for a process of this program that waits for it
    #[command(hide = true)]
    CompilePlugin {
        /// What to do
        order: String,
    },
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
    /// CPU time that compiling one plugin may take, such as 2m; four times as much may pass on the clock
    #[arg(
        long,
        value_name = "TIME",
        env = "STEPWELL_COMPILE_CPU",
        default_value = "2m",
        value_parser = compile_cpu
    )]
    pub(crate) compile_cpu: Duration,
}

impl Default for CompileArgs {
    fn default() -> Self {
        let bounds = CompileBounds::default();
        Self {
            compile_memory: bounds.memory_bytes,
            compile_cpu: bounds.cpu,
        }
    }
}

fn compile_memory(text: &str) -> Result<u64, String> {
    let least = COMPILE_MEMORY_BYTES_MIN;
    let size = parse_bytes(text).filter(|size| *size >= least);
    size.ok_or_else(|| format!("it is a size of at least {}MiB, such as 2GiB", least >> 20))
}

fn compile_cpu(text: &str) -> Result<Duration, &'static str> {
    let time = parse_duration(text).filter(|time| time.as_secs() >= 1);
    time.ok_or("it is a time of at least 1s, such as 90s or 2m")
}

/// Which values the limits have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LimitsArg {
    /// AWS's: what runs here runs there
    #[default]
    Strict,
    /// Beyond AWS's
    Raised,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8083", value_parser = listen_address)]
    pub(crate) listen: SocketAddr,
    /// Directory that keeps executions and state machines; created when missing
    #[arg(long, value_name = "DIR", default_value = "./stepwell-data")]
    pub(crate) data: PathBuf,
    /// Database that keeps them instead: postgres://USER@HOST/DATABASE; for one server at a time
    #[arg(
        long,
        value_name = "URL",
        env = "STEPWELL_STORE",
        hide_env_values = true
    )]
    pub(crate) store: Option<StoreUrl>,
    /// Directory with plugins; `plugins` inside the data directory when absent
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<PathBuf>,
    /// Values of the limits
    #[arg(long, value_enum, default_value_t)]
    pub(crate) limits: LimitsArg,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// TOML or JSON file with the connections of HTTP tasks: credentials, and where they may go
    #[arg(long, value_name = "FILE", env = "STEPWELL_CONNECTIONS")]
    pub(crate) connections: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    /// Host name under which web pages may reach the server, beside localhost; may be repeated
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub(crate) host: Vec<String>,
    /// TOML file with these flags as keys; a flag that is given wins
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// An address to listen on; `localhost` is the one that all clients try.
fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    numeric
        .parse()
        .map_err(|_| "it is an IP address and a port, such as 127.0.0.1:8083 or [::1]:8083")
}

/// Where distributed Maps read their items and write their results.
#[derive(Debug, Args)]
pub(crate) struct StorageArgs {
    /// Buckets of distributed Maps: a directory with one in it each, an S3 endpoint such as http://127.0.0.1:9000, or
    /// aws; `buckets` inside the data directory when absent
    #[arg(long, value_name = "DIR|URL|aws", env = "STEPWELL_STORAGE")]
    pub(crate) storage: Option<String>,
    /// Region of the S3 endpoint
    #[arg(
        long,
        value_name = "REGION",
        env = "STEPWELL_STORAGE_REGION",
        default_value = "us-east-1"
    )]
    pub(crate) storage_region: String,
    /// Access key of the S3 endpoint
    #[arg(
        long,
        value_name = "ID:SECRET[:TOKEN]",
        env = "STEPWELL_STORAGE_KEY",
        hide_env_values = true
    )]
    pub(crate) storage_key: Option<StorageKey>,
}

/// An access key; not shown.
#[derive(Clone)]
pub(crate) struct StorageKey {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl std::fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StorageKey")
    }
}

impl std::str::FromStr for StorageKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':').map(str::to_owned);
        let (id, secret) = (parts.next(), parts.next());
        match (id, secret) {
            (Some(id), Some(secret)) if !id.is_empty() && !secret.is_empty() => Ok(Self {
                id,
                secret,
                token: parts.next(),
            }),
            _ => Err("a key is ID:SECRET, or ID:SECRET:TOKEN"),
        }
    }
}

/// A host as requests name it, without its port.
fn host_name(text: &str) -> Result<String, &'static str> {
    let name = text.trim_start_matches('[').trim_end_matches(']');
    let address = name.parse::<std::net::IpAddr>().is_ok();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if address || (!name.is_empty() && name.chars().all(plain)) {
        Ok(name.to_owned())
    } else {
        Err("a host is a name without scheme, port and path, such as flows.example.com")
    }
}

/// Where a database is. Shown without its password.
#[derive(Clone)]
pub(crate) struct StoreUrl(pub(crate) String);

impl std::str::FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = ["postgres://", "postgresql://"];
        if known.iter().any(|scheme| text.starts_with(scheme)) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a store is a PostgreSQL database: postgres://USER@HOST/DATABASE")
        }
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Parameters may hold a password as well.
        let url = self.0.split('?').next().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        match rest.rsplit_once('@') {
            Some((user, host)) => {
                let name = user.split(':').next().unwrap_or_default();
                write!(f, "{scheme}://{name}@{host}")
            }
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl std::fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The definition
    #[arg(value_name = "MACHINE.asl.json")]
    pub(crate) machine: PathBuf,
    /// Input: JSON, @FILE, or - for stdin
    #[arg(
        long,
        value_name = "JSON|@FILE|-",
        default_value = "{}",
        allow_hyphen_values = true
    )]
    pub(crate) input: String,
    /// Directory with plugins; `plugins` inside the data directory, by default ./stepwell-data/plugins
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<PathBuf>,
    /// Keep the execution durably here; without it nothing outlives the process
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// TOML or JSON file with the connections of HTTP tasks: credentials, and where they may go
    #[arg(long, value_name = "FILE", env = "STEPWELL_CONNECTIONS")]
    pub(crate) connections: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    #[command(flatten)]
    pub(crate) region: RegionArgs,
    /// Name of the execution; with --data a name that is known is taken up again
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Run as a synchronous EXPRESS workflow
    #[arg(long, conflicts_with = "name")]
    pub(crate) express: bool,
    /// Print the whole result as JSON, a failed one too
    #[arg(long)]
    pub(crate) json: bool,
    /// Values of the limits
    #[arg(long, value_enum, default_value_t)]
    pub(crate) limits: LimitsArg,
    /// Show nothing while it runs
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Definitions
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Check as the definition of an EXPRESS state machine
    #[arg(long)]
    pub(crate) express: bool,
    /// Allow texts with `${…}`, which something else fills in when the definition is deployed: they are not checked
    #[arg(long)]
    pub(crate) substitutions: bool,
    /// Print the diagnostics as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Values of the limits
    #[arg(long, value_enum, default_value_t)]
    pub(crate) limits: LimitsArg,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A code such as ASL012; without one all codes are listed
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The definition
    #[arg(value_name = "MACHINE.asl.json")]
    pub(crate) machine: PathBuf,
    /// Test cases and mocked responses, in the form of Step Functions Local
    #[arg(long, value_name = "FILE")]
    pub(crate) mocks: PathBuf,
    /// Expectations and state tests, when they are not in the file with the mocks
    #[arg(long, value_name = "FILE")]
    pub(crate) expect: Option<PathBuf>,
    /// Name of the state machine in these files, when they have several
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only this case; may be repeated
    #[arg(long, value_name = "CASE")]
    pub(crate) case: Vec<String>,
    /// Run as an EXPRESS workflow
    #[arg(long)]
    pub(crate) express: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the report as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Values of the limits
    #[arg(long, value_enum, default_value_t)]
    pub(crate) limits: LimitsArg,
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// A picture of its own
    #[default]
    Svg,
    /// A stateDiagram-v2 for Markdown pages
    Mermaid,
}

#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// The definition
    #[arg(
        value_name = "MACHINE",
        required_unless_present = "execution",
        conflicts_with = "execution"
    )]
    pub(crate) machine: Option<PathBuf>,
    /// Draw the definition that this execution runs, with what it did: its ARN, MACHINE/NAME, or MACHINE for its last one
    #[arg(long, value_name = "EXECUTION")]
    pub(crate) execution: Option<String>,
    /// How the picture is written; by the name of the file, svg when it says nothing
    #[arg(long, value_enum)]
    pub(crate) format: Option<GraphFormat>,
    /// File to write; stdout when absent
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Whose resources are meant: a region has its own, as on AWS.
#[derive(Debug, Default, Args)]
pub(crate) struct RegionArgs {
    /// Region of the resources; AWS_DEFAULT_REGION, else us-east-1, when neither this nor its variable is given
    #[arg(long, value_name = "REGION", env = "AWS_REGION", value_parser = region_name)]
    pub(crate) region: Option<String>,
}

impl RegionArgs {
    /// The region that was asked for in any way.
    pub(crate) fn asked(&self) -> Option<String> {
        let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let mut told = variables
            .into_iter()
            .filter_map(|name| std::env::var(name).ok())
            .filter(|region| region_name(region).is_ok());
        self.region.clone().or_else(|| told.next())
    }
}

fn region_name(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=REGION_CHARS_MAX).contains(&text.len()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a region is a name such as us-east-1")
    }
}

/// Where the installation is that a command talks to.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    #[command(flatten)]
    pub(crate) region: RegionArgs,
    /// Address of a running server, such as http://127.0.0.1:8083
    #[arg(
        long,
        value_name = "URL",
        env = "STEPWELL_ENDPOINT",
        conflicts_with = "data"
    )]
    pub(crate) endpoint: Option<String>,
    /// Data directory that no server holds
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExecutionCommand {
    /// Start an execution
    Start {
        /// Name or ARN of the state machine
        machine: String,
        /// Input: JSON, @FILE, or - for stdin
        #[arg(
            long,
            value_name = "JSON|@FILE|-",
            default_value = "{}",
            allow_hyphen_values = true
        )]
        input: String,
        /// Name of the execution; a UUID when absent
        #[arg(long)]
        name: Option<String>,
        /// Stay until it ends and show its progress
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List executions, newest first
    List {
        /// Name or ARN of a state machine; all of them when absent
        machine: Option<String>,
        /// Only those in this status
        #[arg(long, value_name = "STATUS", ignore_case = true, value_parser = ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"])]
        status: Option<String>,
        /// Most executions to list
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show one execution
    Show {
        /// ARN of the execution, MACHINE/NAME, or MACHINE for its last one
        #[arg(value_name = "EXECUTION")]
        execution: String,
        /// Write a waterfall of states and attempts over time
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Print the events of an execution
    History {
        /// ARN of the execution, MACHINE/NAME, or MACHINE for its last one
        #[arg(value_name = "EXECUTION")]
        execution: String,
        /// Print AWS's events as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Follow an execution until it ends
    Watch {
        /// ARN of the execution, MACHINE/NAME, or MACHINE for its last one
        #[arg(value_name = "EXECUTION")]
        execution: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Stop a running execution
    Stop {
        /// ARN of the execution, MACHINE/NAME, or MACHINE for its last one
        #[arg(value_name = "EXECUTION")]
        execution: String,
        /// Error to record
        #[arg(long)]
        error: Option<String>,
        /// Cause to record
        #[arg(long)]
        cause: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let an execution that did not succeed go on with the states that failed
    Redrive {
        /// ARN of the execution, MACHINE/NAME, or MACHINE for its last one
        #[arg(value_name = "EXECUTION")]
        execution: String,
        /// Call this redrive so: the same token again is the same redrive
        #[arg(long, value_name = "TOKEN")]
        token: Option<String>,
        /// Follow it until it ends
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// List state machines
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Create a state machine, or replace the definition of one
    Put {
        /// The definition
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Its name; the file's name up to the first dot when absent, the folder's for machine.asl.json
        #[arg(long)]
        name: Option<String>,
        /// Create it as EXPRESS
        #[arg(long)]
        express: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Delete a state machine
    Delete {
        /// Name or ARN
        machine: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Write a new plugin in Rust, with tests
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
        /// A .wasm file, or a folder with plugin.toml
        path: PathBuf,
        #[command(flatten)]
        compile: CompileArgs,
    },
    /// Show the contract, imports, grants and limits of a plugin
    Inspect {
        /// A .wasm file, or a folder with plugin.toml
        path: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        compile: CompileArgs,
    },
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
    },
    /// Run one task on a plugin
    Invoke {
        /// Name of the plugin in the plugin directory
        name: String,
        /// Input, the same as --input
        #[arg(
            value_name = "JSON|@FILE|-",
            conflicts_with = "input",
            allow_hyphen_values = true
        )]
        given: Option<String>,
        /// Input: JSON, @FILE, or - for stdin
        #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
        input: Option<String>,
        /// The plugin directory
        #[arg(long, value_name = "DIR", default_value = "./stepwell-data/plugins")]
        plugins: PathBuf,
        /// Print outcome, usage and logs as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        compile: CompileArgs,
    },
}
