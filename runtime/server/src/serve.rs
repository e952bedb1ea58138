//! The server's life: accept, serve, drain. What it hides: the order of a shutdown.

use std::{future::Future, io, sync::Arc};

use stepwell_engine::Engine;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    auth::Gate,
    aws,
    config::{SandboxMetrics, ServerConfig},
    connections::{Connections, Workers},
    lambda,
    metrics::Metrics,
    router::router,
    scheduler,
};

/// What all requests share.
pub struct ServerState {
    pub(crate) config: ServerConfig,
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    /// Through it every request goes, but those for the health, when requests are authenticated.
    pub(crate) gate: Option<Gate>,
    /// Becomes true when the server shuts down.
    draining: watch::Sender<bool>,
}

impl ServerState {
    /// `sandbox_metrics` is called once a scrape.
    pub fn new(
        config: ServerConfig,
        engine: Engine,
        sandbox_metrics: SandboxMetrics,
    ) -> ServerState {
        let operations = [
            aws::operation_names(),
            lambda::operation_names(),
            scheduler::operation_names(),
        ]
        .concat();
        let mut metrics = Metrics::new(&operations, engine.clone(), sandbox_metrics);
        if let Some(tls) = &config.tls {
            metrics.tell_tls(tls.counts());
        }
        let authentication = config.authentication.clone();
        let gate = authentication.map(|how| Gate::new(how, engine.clone()));
        ServerState {
            gate,
            config,
            engine,
            metrics,
            draining: watch::Sender::new(false),
        }
    }

    /// Ends long polls and live watches, which would outlast a shutdown, and says so in `/health`.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Completes when the server shuts down.
    pub(crate) async fn draining(&self) {
        // The sender lives as long as `self`, so there is no error to meet.
        let _ = self
            .draining
            .subscribe()
            .wait_for(|draining| *draining)
            .await;
    }
}

/// Serves until `shutdown` completes, then takes no more connections, answers long polls, lets requests in progress
/// end (for at most `DRAIN_TIME_MAX`) and returns. Shutting down the engine afterwards is the caller's.
///
/// # Errors
/// When the listener cannot tell its address: it is no open socket. When no thread can be started.
pub async fn serve(
    config: ServerConfig,
    engine: Engine,
    sandbox_metrics: SandboxMetrics,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving");
    let state = Arc::new(ServerState::new(config, engine, sandbox_metrics));
    let counts = state.metrics.connections.clone();
    let most = state.config.connections_max;
    let tls = state.config.tls.clone();
    let connections = Connections::new(router(state.clone()), most, counts, tls);
    let workers = Workers::start(connections)?;
    tokio::select! {
        () = shutdown => {}
        () = workers.accept(&listener) => {}
    }
    drop(listener);
    state.drain();
    workers.close().await;
    Ok(())
}
