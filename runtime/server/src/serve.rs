//! The server's life: accept, serve, drain. What it hides: connections, HTTP/1 and HTTP/2, and the order of a shutdown.

use std::{future::Future, io, sync::Arc};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use stepwell_engine::Engine;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::{
    aws,
    config::{SandboxMetrics, ServerConfig},
    limits::{ACCEPT_PAUSE, CONNECTIONS_MAX, DRAIN_TIME_MAX, HEADER_TIME_MAX},
    metrics::Metrics,
    router::router,
};

/// What all requests share.
pub struct ServerState {
    pub(crate) config: ServerConfig,
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
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
        let metrics = Metrics::new(&aws::operation_names(), engine.clone(), sandbox_metrics);
        ServerState {
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
/// When the listener cannot tell its address: it is no open socket.
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
    let connections = Connections::new(router(state.clone()));
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, permit) = connections.accept(&listener) => connections.open(stream, permit),
        }
    }
    drop(listener);
    state.drain();
    connections.close().await;
    Ok(())
}

/// The open connections and how they are served.
struct Connections {
    router: Router,
    builder: Builder<TokioExecutor>,
    graceful: GracefulShutdown,
    permits: Arc<Semaphore>,
}

impl Connections {
    fn new(router: Router) -> Connections {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME_MAX);
        builder.http2().timer(TokioTimer::new());
        Connections {
            router,
            builder,
            graceful: GracefulShutdown::new(),
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }

    /// The next connection, as soon as there is room for one.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, OwnedSemaphorePermit) {
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) => {
                    // A connection that was reset before it was accepted, or no file descriptors: both pass.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn open(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Answers are small and awaited; a failure to say so costs latency only.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }

    async fn close(self) {
        if tokio::time::timeout(DRAIN_TIME_MAX, self.graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                "requests still in progress were cut off at the end of the shutdown's time"
            );
        }
    }
}
