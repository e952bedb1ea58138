//! The flags of `stepwell serve` that say who hears of executions. They have the names and forms of OpenTelemetry's
//! variables.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How requests to a collector are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionArg {
    #[default]
    None,
    Gzip,
}

/// How collectors are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolArg {
    #[default]
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

#[derive(Debug, Args)]
pub(crate) struct TelemetryArgs {
    /// Collector of traces and logs by OTLP over HTTP, such as http://127.0.0.1:4318
    #[arg(
        long,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) otlp_endpoint: String,
    /// The whole URL for traces; `none` sends none
    #[arg(
        long,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) otlp_traces_endpoint: String,
    /// The whole URL for logs; `none` sends none
    #[arg(
        long,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) otlp_logs_endpoint: String,
    /// Headers of requests to the collector
    #[arg(
        long,
        value_name = "KEY=VALUE,…",
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) otlp_headers: String,
    /// The same for traces, in place of them
    #[arg(
        long,
        value_name = "KEY=VALUE,…",
        env = "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) otlp_traces_headers: String,
    /// The same for logs, in place of them
    #[arg(
        long,
        value_name = "KEY=VALUE,…",
        env = "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) otlp_logs_headers: String,
    /// Milliseconds for a request to the collector
    #[arg(long, value_name = "MS", env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(crate) otlp_timeout: u64,
    /// How requests to the collector are packed
    #[arg(
        long,
        value_enum,
        env = "OTEL_EXPORTER_OTLP_COMPRESSION",
        default_value_t
    )]
    pub(crate) otlp_compression: CompressionArg,
    /// How the collector is spoken to
    #[arg(long, value_enum, env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value_t)]
    pub(crate) otlp_protocol: ProtocolArg,
    /// Name of this server in traces and logs; `stepwell` when absent
    #[arg(
        long,
        value_name = "NAME",
        env = "OTEL_SERVICE_NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) service_name: String,
    /// What else is told of it
    #[arg(
        long,
        value_name = "KEY=VALUE,…",
        env = "OTEL_RESOURCE_ATTRIBUTES",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) resource_attributes: String,
    /// Send no telemetry, whatever else says so
    #[arg(long, env = "OTEL_SDK_DISABLED")]
    pub(crate) no_otlp: bool,
    /// TOML file with the webhooks that get an event for each change of an execution's status
    #[arg(long, value_name = "FILE", env = "STEPWELL_WEBHOOKS", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) webhooks: Option<PathBuf>,
    /// Memory for the histories of EXPRESS executions, which are kept nowhere else; 0 keeps none
    #[arg(long, value_name = "SIZE", value_parser = super::serve::bytes, default_value = "16MiB")]
    pub(crate) express_history: u64,
}
