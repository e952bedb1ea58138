//! The server's life: accept, serve, drain. What it hides: the order of a shutdown.

use std::{future::Future, io, sync::Arc};

use axum::http::request::Parts;
use stepwell_engine::{Code, Engine, Error};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, SemaphorePermit, watch},
};

use crate::{
    auth::{Gate, Identity},
    aws,
    config::{SandboxMetrics, ServerConfig},
    connections::{Connections, Workers},
    fair::{Refusals, Turns},
    in_flight::{InFlight, NoRoom, Place},
    lambda,
    limits::{
        ANSWERS_BYTES_MAX, BODIES_BYTES_MAX, HISTORY_PAGES_MAX, IN_FLIGHT_SHARE_MAX,
        REQUESTS_A_CORE,
    },
    metrics::Metrics,
    router::router,
    scheduler,
    streams::Streams,
};

/// What all requests share.
pub struct ServerState {
    pub(crate) config: ServerConfig,
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    /// Through it every request goes, but those for the health, when requests are authenticated.
    pub(crate) gate: Option<Gate>,
    /// Whose requests are handled when, where several tenants ask.
    pub(crate) turns: Turns,
    pub(crate) refusals: Refusals,
    bodies: InFlight,
    answers: InFlight,
    pub(crate) streams: Streams,
    /// Taken by whoever puts together a page of a history.
    pages: Semaphore,
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
        let bodies = InFlight::new(BODIES_BYTES_MAX);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let places = u32::try_from(cores * REQUESTS_A_CORE).unwrap_or(u32::MAX);
        let gate = authentication.map(|how| Gate::new(how, engine.clone(), bodies.clone()));
        ServerState {
            gate,
            turns: Turns::new(places, metrics.turns.clone()),
            refusals: Refusals::new(metrics.turns.clone()),
            bodies,
            answers: InFlight::new(ANSWERS_BYTES_MAX),
            streams: Streams::default(),
            pages: Semaphore::new(HISTORY_PAGES_MAX),
            config,
            engine,
            metrics,
            draining: watch::Sender::new(false),
        }
    }

    /// The place of a request's body. One that was read with its signature has its own.
    pub(crate) fn body_place(&self, parts: &Parts) -> Place {
        match parts.extensions.get::<Identity>() {
            Some(_) => Place::nowhere(),
            None => self.bodies.place(&self.config.account),
        }
    }

    /// The place of the body of a request that proves no key: an account's, which its path names.
    pub(crate) fn body_place_of(&self, account: &Arc<str>) -> Place {
        self.bodies.place(account)
    }

    /// The place of an answer until its client has taken it, if there is room; it may be asked for again.
    pub(crate) fn answer_place(
        &self,
        identity: Option<&Identity>,
        bytes: usize,
    ) -> Result<Place, Error> {
        let mut place = self.place(identity);
        let held = place.hold(bytes);
        held.map(|()| place).map_err(|NoRoom| {
            let (most, part) = (ANSWERS_BYTES_MAX >> 20, IN_FLIGHT_SHARE_MAX);
            let message = format!(
                "Rate exceeded: {most} MiB of answers wait for their clients, or 1/{part} of that for those of this account; take the answers that were asked for, then ask again"
            );
            let code = Code::ThrottlingException;
            Error::Rejected { code, message }
        })
    }

    /// The same of an answer that tells what was done, whether there is room or not: it must not be done again.
    pub(crate) fn told_place(&self, identity: Option<&Identity>, bytes: usize) -> Place {
        let mut place = self.place(identity);
        place.hold_anyway(bytes);
        place
    }

    fn place(&self, identity: Option<&Identity>) -> Place {
        let account = identity.map_or(&self.config.account, |identity| &identity.key.account);
        self.answers.place(account)
    }

    /// The place of what a stream of the account tells, until its client has taken it.
    pub(crate) fn stream_place(&self, account: &Arc<str>) -> Place {
        self.answers.place(account)
    }

    /// Waits for the turn to put together a page of a history, which may be large.
    pub(crate) async fn page_turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.pages.acquire().await.ok()
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
