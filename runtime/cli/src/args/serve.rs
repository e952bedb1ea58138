//! The flags of `stepwell serve`: where it listens, what it keeps where, and what tasks may reach.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stepwell_egress::Url;
use stepwell_engine::{Endpoint, Exceeding, Rate};
use stepwell_sandbox::{SIZE_UNITS, parse_bytes};

use super::{
    place::LimitsArg,
    plugin::{CompileArgs, PolicyArgs},
    telemetry::TelemetryArgs,
};

/// How many requests may be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RatesArg {
    /// Any number
    #[default]
    Off,
    /// AWS's, for each account
    Aws,
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
    pub(crate) services: ServicesArgs,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Host name under which web pages may reach the server, beside localhost; may be repeated
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub(crate) host: Vec<String>,
    /// Serve requests that prove an access key, and no others; also without it once there is an access key
    #[arg(long)]
    pub(crate) auth: bool,
    /// File with the keys that open what is sealed in the store: access keys, secrets, connections; DIR.key beside the data
    /// directory when absent
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) key_file: Option<PathBuf>,
    /// PEM file with the server's certificate and those up to its authority's; taken again when it changes and at SIGHUP
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key, without a password
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) tls_key: Option<PathBuf>,
    /// A proxy in front speaks TLS with clients, and adds their addresses to X-Forwarded-For
    #[arg(long)]
    pub(crate) behind_proxy: bool,
    /// Rates of requests of tenants whose quotas have none
    #[arg(long, value_enum, default_value_t)]
    pub(crate) rates: RatesArg,
    /// Requests of an operation by tenants whose quotas have no rates: so many at once and so many a second, such as
    /// StartExecution=100/20; may be repeated
    #[arg(long, value_name = "OPERATION=BUCKET/SECOND", value_parser = super::tenant::rate, conflicts_with = "rates")]
    pub(crate) rate: Vec<(String, Rate)>,
    #[command(flatten)]
    pub(crate) quotas: UsualQuotas,
    /// Days after which entries of tenants' audit logs are removed; they are kept for ever when absent
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) audit_days: Option<u32>,
    /// TOML file with what usage costs
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) prices: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
    /// TOML file with these flags as keys; a flag that is given wins
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The quotas of tenants that have none of their own, which `stepwell tenant set` gives.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct UsualQuotas {
    /// Executions that have not ended, of a tenant without a quota of its own
    #[arg(long, value_name = "COUNT")]
    pub(crate) tenant_open_executions: Option<u64>,
    /// Attempts of plugins that run at a time, of a tenant without a quota of its own
    #[arg(long, value_name = "COUNT")]
    pub(crate) tenant_running_tasks: Option<u64>,
    /// Bytes of events and large values, such as 10GiB, of a tenant without a quota of its own
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) tenant_stored_bytes: Option<u64>,
    /// State machines of a tenant without a quota of its own
    #[arg(long, value_name = "COUNT")]
    pub(crate) tenant_state_machines: Option<u64>,
    /// Activities of a tenant without a quota of its own
    #[arg(long, value_name = "COUNT")]
    pub(crate) tenant_activities: Option<u64>,
    /// Executions of one state machine that are at work at a time, where the tenant's quotas say nothing; its tags may say less
    #[arg(long, value_name = "COUNT", value_parser = super::tenant::concurrency)]
    pub(crate) machine_concurrency: Option<u64>,
    /// What becomes of those that exceed it, where neither the state machine nor the tenant's quotas say: wait or refuse
    #[arg(long, value_name = "wait|refuse", value_parser = super::tenant::exceeding)]
    pub(crate) machine_concurrency_mode: Option<Exceeding>,
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text)
        .ok_or_else(|| format!("it is a size below 2^64 bytes, such as 10GiB, in {SIZE_UNITS}"))
}

/// An address to listen on; `localhost` is the one that all clients try.
fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    numeric
        .parse()
        .map_err(|_| "it is an IP address and a port, such as 127.0.0.1:8083 or [::1]:8083")
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

/// Where calls of AWS services go.
#[derive(Debug, Args)]
pub(crate) struct ServicesArgs {
    /// Where calls of an AWS service go: URL, or `aws` for AWS itself; may be repeated
    #[arg(long, value_name = "SERVICE=URL", value_parser = endpoint)]
    pub(crate) endpoint: Vec<ServiceEndpoint>,
}

/// An AWS service and where its calls go.
#[derive(Clone, Debug)]
pub(crate) struct ServiceEndpoint {
    pub(crate) service: String,
    pub(crate) endpoint: Endpoint,
}

fn endpoint(text: &str) -> Result<ServiceEndpoint, String> {
    let form = "it is SERVICE=URL, such as dynamodb=http://127.0.0.1:8000, or SERVICE=aws";
    let (service, place) = text.split_once('=').ok_or(form)?;
    let endpoint = match place {
        "aws" => Endpoint::Aws,
        place => {
            let url = Url::parse(place).map_err(|error| format!("{error}; {form}"))?;
            let http = matches!(url.scheme(), "http" | "https");
            if !http || !url.username().is_empty() || url.password().is_some() {
                return Err(format!("{form}, and the URL http or https without a user"));
            }
            Endpoint::At(url)
        }
    };
    Ok(ServiceEndpoint {
        service: service.to_owned(),
        endpoint,
    })
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
