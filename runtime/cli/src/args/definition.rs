//! The commands that take a definition: checks, tests, pictures, state machines.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::place::{LimitsArg, PlaceArgs};

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Definitions; - is one from stdin
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
    /// A code such as ASL012, AWS's such as MISSING_TRANSITION_TARGET, or an error's name such as States.Runtime; without
    /// one all are listed
    #[arg(value_name = "CODE|NAME")]
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

/// How a picture is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// A picture of its own
    #[default]
    Svg,
    /// A stateDiagram-v2 for Markdown pages
    Mermaid,
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
        /// The definition; - reads it from stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Its name; the file's name up to the first dot when absent, the folder's for machine.asl.json
        #[arg(long)]
        name: Option<String>,
        /// Create it as EXPRESS
        #[arg(long)]
        express: bool,
        /// Give it this tag, such as stepwell:concurrency=5; may be repeated
        #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
        tag: Vec<(String, String)>,
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

fn tag(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
