//! Stepwell over HTTP: the AWS Step Functions wire protocol, the JSON API of console and CLI, metrics and health, all
//! on one port. What it hides: HTTP, wire types and their validation. What is said over the wire is decided by the
//! engine; this crate only translates.

mod api;
mod aws;
mod config;
mod connections;
mod guard;
mod limits;
mod metrics;
mod router;
mod serve;

pub use config::{SandboxMetrics, ServerConfig};
pub use metrics::{Sample, SampleKind};
pub use router::router;
pub use serve::{ServerState, serve};
