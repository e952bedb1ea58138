//! The flags of `stepwell run`, the commands of `stepwell execution`, and those that answer their tasks.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    entries::entries,
    place::{PlaceArgs, RegionArgs, RuntimeArgs},
    serve::ServicesArgs,
};

/// What an execution is started with.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// Input: JSON, @FILE, or - for stdin
    #[arg(
        long,
        value_name = "JSON|@FILE|-",
        default_value = "{}",
        allow_hyphen_values = true
    )]
    pub(crate) input: String,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The definition; - reads it from stdin
    #[arg(value_name = "MACHINE.asl.json")]
    pub(crate) machine: PathBuf,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Keep the execution durably here; without it nothing outlives the process
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
    #[command(flatten)]
    pub(crate) services: ServicesArgs,
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
    /// Show nothing while it runs
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Name or ARN of the state machine
    pub(crate) machine: String,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Name of the execution; a UUID when absent
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Stay until it ends and show its progress; of an EXPRESS state machine, its result
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
}

/// Of executions.
pub(crate) const STATUSES: [&str; 5] = ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"];

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Name or ARN of a state machine, $lambda-NAME for the calls of a plugin that nobody waits for, or ARN of a map run, whose
    /// children are meant; all state machines when absent
    pub(crate) machine: Option<String>,
    /// Only those in this status
    #[arg(long, value_name = "STATUS", ignore_case = true, value_parser = STATUSES)]
    pub(crate) status: Option<String>,
    /// Most executions to list
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = entries)]
    pub(crate) limit: usize,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// ARN of the execution, MACHINE/NAME, or MACHINE for its last one
    #[arg(value_name = "EXECUTION")]
    pub(crate) execution: String,
    /// Only attempts of this state
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Only lines of this level and above; what was printed has none and is left out then
    #[arg(long, value_parser = ["trace", "debug", "info", "warn", "error"])]
    pub(crate) level: Option<String>,
    /// Only lines with this text in message, fields or what was printed
    #[arg(long, value_name = "TEXT")]
    pub(crate) contains: Option<String>,
    /// Print as JSON, a line a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ForkArgs {
    /// ARN of the execution to go on from, MACHINE/NAME, or MACHINE for its last one
    #[arg(value_name = "EXECUTION")]
    pub(crate) execution: String,
    /// Last event of it that the fork begins with; when absent, the last after which it was about to enter a state
    #[arg(long, value_name = "ID")]
    pub(crate) event: Option<u64>,
    /// Name of the fork; a UUID when absent
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Input of the state that is entered next: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(crate) input: Option<String>,
    /// Variables with new values, as one JSON object: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(crate) variables: Option<String>,
    /// Run this definition
    #[arg(long, value_name = "MACHINE.asl.json", conflicts_with = "machine")]
    pub(crate) definition: Option<PathBuf>,
    /// Run the definition that its state machine has by now: name or ARN, or the ARN of a version or an alias
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: Option<String>,
    /// Follow it until it ends
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExecutionCommand {
    /// Start an execution
    Start(StartArgs),
    /// List executions, newest first
    List(ListArgs),
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
    /// Print what the tasks of an execution logged and printed, an attempt after the other
    Logs(LogsArgs),
    /// Follow an execution until it ends
    Watch {
        /// ARN of the execution, MACHINE/NAME, or MACHINE for its last one
        #[arg(value_name = "EXECUTION")]
        execution: String,
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        runtime: RuntimeArgs,
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
        #[command(flatten)]
        runtime: RuntimeArgs,
    },
    /// Start an execution that goes on from any point of another one, without doing again what that one did
    Fork(ForkArgs),
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
        #[command(flatten)]
        runtime: RuntimeArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Let the task that waits for a token succeed
    Success {
        /// The task token
        token: String,
        /// Output of the task: JSON, @FILE, or - for stdin
        #[arg(
            long,
            value_name = "JSON|@FILE|-",
            default_value = "{}",
            allow_hyphen_values = true
        )]
        output: String,
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        runtime: RuntimeArgs,
    },
    /// Let the task that waits for a token fail
    Failure {
        /// The task token
        token: String,
        /// Name of the error, as Retry and Catch see it
        #[arg(long)]
        error: Option<String>,
        /// Cause of the error
        #[arg(long)]
        cause: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        runtime: RuntimeArgs,
    },
    /// Tell that the task is still worked on
    Heartbeat {
        /// The task token
        token: String,
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        runtime: RuntimeArgs,
    },
}
