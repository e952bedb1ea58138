//! Where an installation is, and what the executions run with that a command runs itself.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{
    plugin::{CompileArgs, PolicyArgs},
    serve::StorageArgs,
};

/// Characters of a region's name (ours, as the server has it).
const REGION_CHARS_MAX: usize = 32;

/// Digits of an account, as on AWS.
const ACCOUNT_DIGITS: usize = 12;

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

/// The account of a tenant.
pub(super) fn account(text: &str) -> Result<String, &'static str> {
    if text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("an account has 12 digits, such as 111111111111")
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
    /// Address of a running server, such as http://127.0.0.1:8083; when neither this nor --data is given, that of
    /// AWS_ENDPOINT_URL_SFN, else AWS_ENDPOINT_URL, else STEPWELL_ENDPOINT
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    endpoint: Option<String>,
    /// Data directory that no server holds
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

impl PlaceArgs {
    /// The server that is meant. A data directory that was named wins over the variables.
    pub(crate) fn endpoint(&self) -> Option<String> {
        let asked = self.endpoint.clone();
        asked.or_else(|| self.data.is_none().then(usual_endpoint).flatten())
    }
}

/// The server that the environment names, in the order of AWS's tools, ours last.
pub(super) fn usual_endpoint() -> Option<String> {
    let told = |name: &str| std::env::var(name).ok().filter(|told| !told.is_empty());
    let ignored = told("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    let ignored = ignored.is_some_and(|ignored| ignored.eq_ignore_ascii_case("true"));
    let of_aws = ["AWS_ENDPOINT_URL_SFN", "AWS_ENDPOINT_URL"];
    let mut of_aws = of_aws.into_iter().filter(|_| !ignored);
    of_aws.find_map(told).or_else(|| told("STEPWELL_ENDPOINT"))
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

/// What executions run with that this process runs.
#[derive(Debug, Args)]
pub(crate) struct RuntimeArgs {
    /// Directory with plugins; `plugins` inside the data directory, by default ./stepwell-data/plugins
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// TOML or JSON file with the connections of HTTP tasks: credentials, and where they may go
    #[arg(long, value_name = "FILE", env = "STEPWELL_CONNECTIONS")]
    pub(crate) connections: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Values of the limits
    #[arg(long, value_enum, default_value_t)]
    pub(crate) limits: LimitsArg,
}
