//! What the server is told at its start. What it hides: nothing.

use std::sync::Arc;

use crate::{limits::CONNECTIONS_MAX, metrics::Sample};

/// Reads the sandbox's counters; called once a scrape of `/metrics`.
pub type SandboxMetrics = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// How the server answers.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Host names, without port, under which web pages may reach the server beside `localhost` and loopback
    /// addresses; compared without regard to case.
    pub hosts: Vec<String>,
    /// The `raised` value of every limit instead of AWS's.
    pub raised_limits: bool,
    /// Account whose resources every request sees, 12 digits.
    pub account: Arc<str>,
    /// Region of ARNs when a request's credential scope names none.
    pub region: Arc<str>,
    /// Open connections at most. Each is a file descriptor, of which the process has other uses.
    pub connections_max: usize,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            hosts: Vec::new(),
            raised_limits: false,
            account: Arc::from("000000000000"),
            region: Arc::from("us-east-1"),
            connections_max: CONNECTIONS_MAX,
        }
    }
}
