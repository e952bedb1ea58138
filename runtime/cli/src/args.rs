//! The command line: names, flags and their help, a file a noun. Hides nothing; what a flag does is in `commands`.

mod definition;
mod entries;
mod execution;
mod function;
mod moment;
mod oci;
mod place;
mod plugin;
mod sealed;
mod serve;
mod telemetry;
mod tenant;
mod trigger;

#[cfg(not(feature = "tools"))]
use std::ffi::OsString;

use clap::{Parser, Subcommand};

pub(crate) use definition::{
    ExplainArgs, GraphArgs, GraphFormat, MachineCommand, TestArgs, ValidateArgs,
};
pub(crate) use execution::{
    ExecutionCommand, ForkArgs, ListArgs, LogsArgs, RunArgs, STATUSES, StartArgs, TaskCommand,
};
pub(crate) use function::{EventsArgs, FunctionCommand, GcArgs, PushArgs, within_api};
pub(crate) use oci::PullArgs;
pub(crate) use place::{LimitsArg, PlaceArgs, RegionArgs, RuntimeArgs};
pub(crate) use plugin::{
    AheadArgs, CompileArgs, InspectArgs, InvokeArgs, KnownArgs, PluginCommand, PolicyArgs,
    PrecompiledArg,
};
pub(crate) use sealed::{AllKept, ConnectionCommand, OneKept, OwnerArgs, SecretCommand};
pub(crate) use serve::{RatesArg, ServeArgs, ServiceEndpoint, StorageArgs, StoreUrl, UsualQuotas};
pub(crate) use telemetry::{CompressionArg, ProtocolArg, TelemetryArgs};
pub(crate) use tenant::{
    CeilingArgs, KeysCommand, Most, QuotaArgs, TenantCommand, TenantPlace, UsageArgs,
};
pub(crate) use trigger::{HttpArgs, MissedArg, RuleArgs, ScheduleArgs, TriggerCommand};

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
    Serve(Box<ServeArgs>),
    /// Run a state machine once and print its output
    Run(RunArgs),
    /// Check state machine definitions
    Validate(ValidateArgs),
    /// Explain the code of a diagnostic, or the name of an error
    Explain(ExplainArgs),
    /// Test a state machine with mocked tasks, in virtual time
    #[cfg(feature = "tools")]
    Test(TestArgs),
    /// Draw a state machine, or what an execution did with it
    #[cfg(feature = "tools")]
    Graph(GraphArgs),
    /// Start, list, show, follow, stop, redrive and fork executions
    #[command(subcommand)]
    Execution(ExecutionCommand),
    /// Answer tasks that wait for their token
    #[command(subcommand)]
    Task(TaskCommand),
    /// List, put and delete state machines
    #[command(subcommand)]
    Machine(MachineCommand),
    /// Write, build, check, call and hand on plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Start executions by schedules, HTTP requests and events
    #[cfg(feature = "tools")]
    #[command(subcommand)]
    Trigger(TriggerCommand),
    /// Keep secrets of tasks sealed in the store
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Keep connections of HTTP tasks sealed in the store
    #[command(subcommand)]
    Connection(ConnectionCommand),
    /// Add, list and remove tenants and their access keys, set their quotas; read the audit log
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Tell what tenants used by day, state machine and plugin, and what it costs
    #[cfg(feature = "tools")]
    Usage(UsageArgs),
    /// Compile one plugin for a process of this program that waits for it
    #[cfg(feature = "compiler")]
    #[command(hide = true)]
    CompilePlugin {
        /// What to do
        order: String,
    },
    /// Any other word.
    #[cfg(not(feature = "tools"))]
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Commands of the feature `tools`.
#[cfg(any(test, not(feature = "tools")))]
pub(crate) const TOOLS: [&str; 14] = [
    "graph",
    "plugin alias",
    "plugin build",
    "plugin events",
    "plugin gc",
    "plugin new",
    "plugin pull",
    "plugin push",
    "plugin remove",
    "plugin rollback",
    "plugin versions",
    "test",
    "trigger",
    "usage",
];

#[cfg(all(test, feature = "tools"))]
mod tests {
    use clap::CommandFactory as _;

    use super::{Cli, TOOLS};

    #[test]
    fn what_may_be_left_out_is_there() {
        let whole = Cli::command();
        for tool in TOOLS {
            let mut words = tool.split(' ');
            let found = words.try_fold(&whole, |command, word| command.find_subcommand(word));
            assert!(found.is_some(), "{tool}");
        }
    }
}
