//! Connections: accepted, served, ended. What it hides: HTTP/1 and HTTP/2, TLS, and how those who only hold a connection
//! open are kept from shutting others out.

mod secure;
mod table;
mod unread;
mod watched;
mod workers;

use std::{io, net::IpAddr, pin::pin, sync::Arc};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

use crate::auth::Peer;
use crate::fair::Known;
use crate::limits::{
    ACCEPT_PAUSE, ACCEPT_SHED, ANSWER_STALL_MAX, DRAIN_TIME_MAX, HANDSHAKE_TIME_MAX,
    HANDSHAKES_MAX, HEAD_TIME_MAX, IDLE_TIME_MAX, PEER_SHARE_MAX,
};
use crate::metrics::ConnectionCounts;
use crate::tls::Tls;
pub use secure::TLS_ALONE;
use table::{Admitted, Bounds, Line, Table};
use unread::Patience;
use watched::{WatchedService, WatchedStream};
pub(crate) use workers::Workers;

/// The answer to a connection that finds no room: all others wait for answers.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\nretry-after: 1\r\n\r\n";

/// Errors of accept that say that the process, or the system, has no file descriptors left: EMFILE and ENFILE.
const NO_DESCRIPTORS: [i32; 2] = [24, 23];

/// What speaks HTTP/1.1 and HTTP/2, whichever the client begins with.
#[cfg(feature = "http2")]
type Builder = hyper_util::server::conn::auto::Builder<hyper_util::rt::TokioExecutor>;
/// What speaks HTTP/1.1.
#[cfg(not(feature = "http2"))]
type Builder = hyper::server::conn::http1::Builder;

/// The open connections and how they are served.
pub(crate) struct Connections {
    router: Router,
    builder: Builder,
    graceful: GracefulShutdown,
    table: Arc<Table>,
    tls: Option<Tls>,
}

impl Connections {
    /// For at most `most` connections at a time.
    pub(crate) fn new(
        router: Router,
        most: usize,
        counts: ConnectionCounts,
        tls: Option<Tls>,
    ) -> Connections {
        let bounds = Bounds {
            connections: most,
            of_one_peer: most.div_ceil(PEER_SHARE_MAX),
            head: HEAD_TIME_MAX,
            stall: ANSWER_STALL_MAX,
            idle: IDLE_TIME_MAX,
            // Who is in a handshake holds a connection, of which there may be fewer.
            handshakes: HANDSHAKES_MAX.min(most.div_ceil(PEER_SHARE_MAX)),
            handshake: HANDSHAKE_TIME_MAX,
            patience: Patience::default(),
        };
        Connections::bounded(router, bounds, counts, tls)
    }

    fn bounded(
        router: Router,
        bounds: Bounds,
        counts: ConnectionCounts,
        tls: Option<Tls>,
    ) -> Connections {
        Connections {
            router,
            builder: builder(),
            graceful: GracefulShutdown::new(),
            table: Arc::new(Table::new(bounds, counts)),
            tls,
        }
    }

    /// The same connections served on another thread, which ends its own.
    fn beside(&self) -> Connections {
        Connections {
            router: self.router.clone(),
            builder: self.builder.clone(),
            graceful: GracefulShutdown::new(),
            table: self.table.clone(),
            tls: self.tls.clone(),
        }
    }

    /// Accepts for ever, as many as there may be; who serves a connection is what `place` decides.
    async fn accept(&self, listener: &TcpListener, mut place: impl FnMut(TcpStream, Admitted)) {
        let mut failing = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    failing = false;
                    match Table::admit(&self.table, peer.ip()) {
                        Some(admitted) => place(stream, admitted),
                        None => refuse(&stream, peer.ip()),
                    }
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "a connection could not be accepted");
                    }
                    failing = true;
                    self.recover(&error).await;
                }
            }
        }
    }

    /// A connection that was reset before it was accepted is nothing; without file descriptors silent ones make room.
    async fn recover(&self, error: &io::Error) {
        if error
            .raw_os_error()
            .is_some_and(|number| NO_DESCRIPTORS.contains(&number))
        {
            self.table.shed(ACCEPT_SHED);
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Serves a connection on this thread's runtime.
    fn open(&self, stream: TcpStream, admitted: Admitted) {
        let line = admitted.line().clone();
        // Answers are small and awaited; a failure to say so costs latency only.
        let _ = stream.set_nodelay(true);
        let http = Http {
            builder: self.builder.clone(),
            watcher: self.graceful.watcher(),
            service: WatchedService {
                service: TowerToHyperService::new(self.router.clone()),
                peer: Peer(line.peer()),
                known: Known::default(),
                line: line.clone(),
                patience: self.table.bounds().patience,
            },
        };
        let tls = self.tls.clone();
        let table = self.table.clone();
        tokio::spawn(async move {
            let end = async {
                match tls {
                    None => http.serve(stream).await,
                    Some(tls) => {
                        if let Some(stream) = secure::shake(&tls, stream, &table, &line).await {
                            http.serve(stream).await;
                        }
                    }
                }
            };
            until_dropped(end, &table, &line).await;
            drop(admitted);
        });
    }

    /// Lets requests in progress end, for at most `DRAIN_TIME_MAX`.
    async fn close(self) {
        self.table.shed_silent();
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

// The table's bounds hold from the first byte on, hyper's from the first line on.
#[cfg(feature = "http2")]
fn builder() -> Builder {
    let mut builder = Builder::new(hyper_util::rt::TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None);
    builder.http2().timer(TokioTimer::new());
    builder
}

#[cfg(not(feature = "http2"))]
fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    builder
}

/// Tells a connection that there is no room for it.
fn refuse(stream: &TcpStream, peer: IpAddr) {
    tracing::warn!(%peer, "a connection found no room: all others wait for answers");
    // It fits into the empty buffer of a new socket, or is lost with it.
    let _ = stream.try_write(NO_ROOM);
}

/// HTTP over one connection.
struct Http {
    builder: Builder,
    watcher: Watcher,
    service: WatchedService,
}

impl Http {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let stream = WatchedStream {
            stream,
            line: self.service.line.clone(),
        };
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), self.service);
        #[cfg(feature = "http2")]
        let connection = connection.into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Serves until the connection ends, its client has been silent for too long, or it has to make room.
async fn until_dropped(connection: impl Future<Output = ()>, table: &Table, line: &Line) {
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            // What has come counts before the time that it came at.
            biased;
            () = &mut connection => return,
            () = line.dropped() => return,
            () = tokio::time::sleep_until(table.next_look(line)) => {}
        }
        if table.deadline(line) <= tokio::time::Instant::now() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
