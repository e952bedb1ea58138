//! What the server is told at its start. What it hides: nothing.

use std::sync::Arc;

use crate::{
    admin::Prices,
    auth::Authentication,
    console::Console,
    limits::CONNECTIONS_MAX,
    metrics::Sample,
    observe::{ExpressHistories, MachineMetrics},
    plugins::DirectoryPlugins,
    tls::Tls,
    warnings::Warnings,
};

/// Reads the sandbox's counters; called once a scrape of `/metrics`.
pub type SandboxMetrics = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// How the server answers.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Host names, without port, under which web pages may reach the server beside `localhost` and loopback
    /// addresses; compared without regard to case.
    pub hosts: Vec<String>,
    /// Without it no signature is looked at.
    pub authentication: Option<Authentication>,
    /// Without it connections are not encrypted.
    pub tls: Option<Tls>,
    /// What usage costs; without it no cost is told.
    pub prices: Option<Prices>,
    /// What is counted by state machine; without it `/metrics` has none of it.
    pub machine_metrics: Option<Arc<MachineMetrics>>,
    /// What is kept of EXPRESS executions; without it nothing is.
    pub express_histories: Option<Arc<ExpressHistories>>,
    /// What `/health` tells an operator to look after.
    pub warnings: Warnings,
    /// What is served at `/console/`.
    pub console: Console,
    /// What `GET /api/plugins` lists.
    pub plugins: DirectoryPlugins,
    /// Account whose resources every request sees that is not authenticated, 12 digits.
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
            authentication: None,
            tls: None,
            prices: None,
            machine_metrics: None,
            express_histories: None,
            warnings: Warnings::default(),
            console: Console::default(),
            plugins: DirectoryPlugins::default(),
            account: Arc::from("000000000000"),
            region: Arc::from("us-east-1"),
            connections_max: CONNECTIONS_MAX,
        }
    }
}
