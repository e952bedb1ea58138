//! The commands of `stepwell tenant`: names, flags and their help.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stepwell_engine::{Exceeding, Rate};
use stepwell_sandbox::Weight;
use stepwell_server::check_rated;

use super::{
    PlaceArgs,
    entries::entries,
    moment::{moment, utc_day},
    place::{account, usual_endpoint},
    serve::{StoreUrl, bytes},
};
use crate::host::USUAL_DATA;

/// Where tenants are kept: a running server that asks for access keys, or a data directory that no server holds.
#[derive(Debug, Args)]
pub(crate) struct TenantPlace {
    /// Address of a running server, such as https://flows.example:8443, which is asked with the access key of the environment:
    /// an operator's, or an admin's for secrets and connections; when neither this nor --data or --key-file is given, that of
    /// AWS_ENDPOINT_URL_SFN, else AWS_ENDPOINT_URL, else STEPWELL_ENDPOINT
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "key_file", "store"])]
    endpoint: Option<String>,
    /// Data directory, created when missing by what adds something; ./stepwell-data when neither this nor a server is named
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Database that keeps the store instead, as `serve --store` has it: postgres://USER@HOST/DATABASE; that of STEPWELL_STORE
    /// when absent and no server is named
    #[arg(long, value_name = "URL")]
    store: Option<StoreUrl>,
    /// File with the keys that seal what is secret in the store; made when missing; DIR.key beside the data directory when
    /// absent
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

impl TenantPlace {
    /// The server that is meant. A data directory, database or key file that was named wins over the variables.
    pub(crate) fn endpoint(&self) -> Option<String> {
        let asked = self.endpoint.clone();
        let is_here = self.data.is_some() || self.key_file.is_some() || self.store.is_some();
        asked.or_else(|| (!is_here).then(usual_endpoint).flatten())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| USUAL_DATA.into())
    }

    /// The database that keeps the store instead of the data directory, when no server is meant.
    pub(crate) fn store(&self) -> Result<Option<StoreUrl>, String> {
        if self.store.is_some() {
            return Ok(self.store.clone());
        }
        let told = std::env::var("STEPWELL_STORE").ok();
        let told = told.filter(|url| !url.is_empty());
        let parsed = told.map(|url| url.parse::<StoreUrl>());
        parsed
            .transpose()
            .map_err(|why| format!("STEPWELL_STORE: {why}"))
    }
}

/// Quotas that change; the others stay. `none` takes a quota away.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct QuotaArgs {
    /// Values of the limits: strict, raised, or the server's
    #[arg(long, value_parser = ["strict", "raised", "server"])]
    pub(crate) limits: Option<String>,
    /// Rates of requests: off, AWS's, or the server's
    #[arg(long, value_parser = ["off", "aws", "server"], conflicts_with = "rate")]
    pub(crate) rates: Option<String>,
    /// Requests of an operation: so many at once and so many a second, such as StartExecution=100/20; may be repeated
    #[arg(long, value_name = "OPERATION=BUCKET/SECOND", value_parser = rate)]
    pub(crate) rate: Vec<(String, Rate)>,
    /// Executions that have not ended
    #[arg(long, value_name = "COUNT|none", value_parser = count)]
    pub(crate) open_executions: Option<Most>,
    /// Attempts of plugins that run at a time
    #[arg(long, value_name = "COUNT|none", value_parser = count)]
    pub(crate) running_tasks: Option<Most>,
    /// Bytes of events and large values, such as 10GiB
    #[arg(long, value_name = "SIZE|none", value_parser = size)]
    pub(crate) stored_bytes: Option<Most>,
    /// State machines
    #[arg(long, value_name = "COUNT|none", value_parser = count)]
    pub(crate) state_machines: Option<Most>,
    /// Activities
    #[arg(long, value_name = "COUNT|none", value_parser = count)]
    pub(crate) activities: Option<Most>,
    /// Executions of one state machine that are at work at a time; its tags may say less
    #[arg(long, value_name = "COUNT|none", value_parser = count)]
    pub(crate) machine_concurrency: Option<Most>,
    /// What becomes of those that exceed it, where the state machine does not say: wait, refuse, or as the server says
    #[arg(long, value_parser = ["wait", "refuse", "server"])]
    pub(crate) machine_concurrency_mode: Option<String>,
    /// Its part, in proportion to the other tenants', of what several want at a time: requests, threads of tasks, the
    /// compiler; 100 when none is set
    #[arg(long, value_name = "1..1000|none", value_parser = weight)]
    pub(crate) weight: Option<Most>,
}

/// What the plugins of a tenant may be granted and use.
#[derive(Debug, Args)]
pub(crate) struct CeilingArgs {
    /// TOML file with the ceiling of its plugins: `limits`, `grants` and `reuse`, as a section of the file of --ceilings
    #[arg(long, value_name = "FILE", conflicts_with = "no_ceiling", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) ceiling: Option<PathBuf>,
    /// Take its ceiling away: the file of --ceilings alone counts
    #[arg(long)]
    pub(crate) no_ceiling: bool,
}

/// A quota, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Most(pub(crate) Option<u64>);

const NONE: &str = "none";

fn count(text: &str) -> Result<Most, &'static str> {
    if text == NONE {
        return Ok(Most(None));
    }
    let count = text.parse().map_err(|_| "it is a number, or `none`")?;
    Ok(Most(Some(count)))
}

fn weight(text: &str) -> Result<Most, &'static str> {
    let told = "it is a number from 1 to 1000, or `none`";
    let weight = count(text).map_err(|_| told)?;
    match weight.0 {
        Some(number) if Weight::new(u32::try_from(number).unwrap_or(0)).is_none() => Err(told),
        Some(_) | None => Ok(weight),
    }
}

fn size(text: &str) -> Result<Most, String> {
    if text == NONE {
        return Ok(Most(None));
    }
    let size = bytes(text).map_err(|why| format!("{why}, or `none`"))?;
    Ok(Most(Some(size)))
}

/// How many executions of a state machine are at work at a time.
pub(super) fn concurrency(text: &str) -> Result<u64, &'static str> {
    let count = text.parse().ok();
    count
        .filter(|count| (1..=10_000).contains(count))
        .ok_or("it is a number from 1 to 10000")
}

/// What becomes of executions beyond a limit.
pub(super) fn exceeding(text: &str) -> Result<Exceeding, &'static str> {
    match text {
        "wait" => Ok(Exceeding::Wait),
        "refuse" => Ok(Exceeding::Refuse),
        _ => Err("it is `wait` or `refuse`"),
    }
}

pub(super) fn rate(text: &str) -> Result<(String, Rate), String> {
    let form = "it is OPERATION=BUCKET/SECOND, such as StartExecution=100/20";
    let (operation, rate) = text.split_once('=').ok_or(form)?;
    let (bucket, per_second) = rate.split_once('/').ok_or(form)?;
    let number = |text: &str| text.parse().map_err(|_| form);
    let rate = Rate {
        bucket: number(bucket)?,
        per_second: number(per_second)?,
    };
    check_rated(operation)?;
    Ok((operation.to_owned(), rate))
}

/// What was used, and what it costs.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Account of a tenant; when absent all of them, and with an access key that is no operator's its own
    #[arg(long, value_name = "ACCOUNT", value_parser = account)]
    pub(crate) tenant: Option<String>,
    /// What one execution used: its ARN, MACHINE/NAME, or MACHINE for its last one
    #[arg(long, conflicts_with_all = ["tenant", "from", "to"])]
    pub(crate) execution: Option<String>,
    /// From this day on (UTC): 2026-01-31, yesterday, that of a time, or of as long ago as 90m, 2h, 3d
    #[arg(long, value_name = "DAY", value_parser = utc_day)]
    pub(crate) from: Option<jiff::civil::Date>,
    /// Up to this day, included
    #[arg(long, value_name = "DAY", value_parser = utc_day)]
    pub(crate) to: Option<jiff::civil::Date>,
    /// Print as JSON, with every count
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Add a tenant
    Add {
        /// Account: 12 digits
        #[arg(value_parser = account)]
        account: String,
        /// Name to show in lists
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        place: TenantPlace,
    },
    /// List tenants
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: TenantPlace,
    },
    /// Remove a tenant that has no access keys, state machines, activities and functions
    Remove {
        /// Account: 12 digits
        #[arg(value_parser = account)]
        account: String,
        #[command(flatten)]
        place: TenantPlace,
    },
    /// Change quotas of a tenant, and what its plugins may be granted and use
    Set {
        /// Account: 12 digits
        #[arg(value_parser = account)]
        account: String,
        #[command(flatten)]
        quotas: QuotaArgs,
        #[command(flatten)]
        ceiling: CeilingArgs,
        #[command(flatten)]
        place: TenantPlace,
    },
    /// Show the quotas of a tenant, how much of them it has taken, and the ceiling of its plugins
    Show {
        /// Account: 12 digits
        #[arg(value_parser = account)]
        account: String,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: TenantPlace,
    },
    /// Add, list, disable and remove access keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Make the key file, if there is none: what is secret in the store is sealed by it
    KeyFile {
        #[command(flatten)]
        place: TenantPlace,
    },
    /// Make a new key in the key file, and seal all secrets anew by it
    Rotate {
        #[command(flatten)]
        place: TenantPlace,
    },
    /// Print the audit log of a tenant, oldest first
    Audit {
        /// Account: 12 digits; the default account's when absent, and at a server that of the access key
        #[arg(value_parser = account)]
        account: Option<String>,
        /// Only from this time on: 2026-01-31T12:00:00Z, 2026-01-31, yesterday, or as long ago as 90m, 2h, 3d
        #[arg(long, value_name = "TIME", value_parser = moment)]
        since: Option<jiff::Timestamp>,
        /// Most entries to print, the newest; all of them when absent
        #[arg(long, value_name = "COUNT", value_parser = entries)]
        limit: Option<usize>,
        /// Print as JSON, a line an entry
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: TenantPlace,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Add an access key and print its secret, which is not shown again
    Add {
        /// Account of the tenant: 12 digits
        #[arg(value_parser = account)]
        account: String,
        /// What it may do; each role may do all that those before it may
        #[arg(long, value_parser = ["read", "run", "admin", "operator"])]
        role: String,
        /// Who has it
        #[arg(long, default_value = "")]
        description: String,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: TenantPlace,
    },
    /// List access keys
    List {
        /// Account of a tenant; all of them when absent
        #[arg(value_parser = account)]
        account: Option<String>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: TenantPlace,
    },
    /// Refuse an access key until it is enabled
    Disable {
        /// Its id
        id: String,
        #[command(flatten)]
        place: TenantPlace,
    },
    /// Take an access key again
    Enable {
        /// Its id
        id: String,
        #[command(flatten)]
        place: TenantPlace,
    },
    /// Forget an access key
    Remove {
        /// Its id
        id: String,
        #[command(flatten)]
        place: TenantPlace,
    },
}
