//! Stepwell over HTTP: the AWS Step Functions wire protocol, the web console and the JSON API that it shares with the command line,
//! metrics and health, all on one port. What it hides: HTTP, wire types and their validation. What is said over the wire is decided by the
//! engine; this crate only translates.

#![cfg_attr(
    not(all(feature = "http2", feature = "services")),
    allow(
        dead_code,
        reason = "what is left out is not called, and the linker drops it"
    )
)]

mod admin;
mod admission;
mod api;
mod attempts;
mod auth;
mod aws;
mod config;
mod connections;
mod console;
mod execution_log;
mod express;
mod extract;
mod fair;
mod guard;
mod in_flight;
mod lambda;
mod limits;
mod lines;
mod metrics;
mod objects;
mod observe;
mod plugins;
mod protocol;
mod rest;
mod router;
mod scheduler;
mod serve;
mod streams;
mod tls;
mod triggers;
mod warnings;

pub use admin::{Prices, WireQuotas, check_rated};
pub use auth::Authentication;
pub use config::{SandboxMetrics, ServerConfig};
pub use connections::TLS_ALONE;
pub use console::{Console, ConsoleFile};
pub use execution_log::ExecutionLog;
pub use lambda::{FUNCTION_BOUNDS_HEADER, PREVIOUS_VERSION_HEADER};
pub use metrics::{Sample, SampleKind};
pub use observe::{
    ExpressHistories, MachineMetrics, Observers, OtlpConfig, OtlpSettings, OtlpTarget, Telemetry,
    WebhookConfig, WebhookError, Webhooks,
};
pub use plugins::{DirectoryPlugin, DirectoryPlugins};
pub use router::router;
pub use serve::{ServerState, serve};
pub use tls::{Tls, TlsError};
pub use warnings::Warnings;

/// For the fuzzer alone: readers of bytes that come over the wire.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::lambda::wasm_of_package;
}
