//! Connections: accepted, served, ended. What it hides: HTTP/1 and HTTP/2, and how those who only hold a connection
//! open are kept from shutting others out.

mod table;
mod watched;

use std::{io, net::IpAddr, pin::pin, sync::Arc};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};

use crate::limits::{
    ACCEPT_PAUSE, ACCEPT_SHED, DRAIN_TIME_MAX, HEAD_TIME_MAX, IDLE_TIME_MAX, PEER_SHARE_MAX,
};
use crate::metrics::ConnectionCounts;
use table::{Bounds, Line, Table};
use watched::{WatchedService, WatchedStream};

/// The answer to a connection that finds no room: all others wait for answers.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\nretry-after: 1\r\n\r\n";

/// Errors of accept that say that the process, or the system, has no file descriptors left: EMFILE and ENFILE.
const NO_DESCRIPTORS: [i32; 2] = [24, 23];

/// The open connections and how they are served.
pub(crate) struct Connections {
    router: Router,
    builder: Builder<TokioExecutor>,
    graceful: GracefulShutdown,
    table: Arc<Table>,
}

impl Connections {
    /// For at most `most` connections at a time.
    pub(crate) fn new(router: Router, most: usize, counts: ConnectionCounts) -> Connections {
        let bounds = Bounds {
            connections: most,
            of_one_peer: most.div_ceil(PEER_SHARE_MAX),
            head: HEAD_TIME_MAX,
            idle: IDLE_TIME_MAX,
        };
        Connections::bounded(router, bounds, counts)
    }

    fn bounded(router: Router, bounds: Bounds, counts: ConnectionCounts) -> Connections {
        let mut builder = Builder::new(TokioExecutor::new());
        // The table's bounds hold from the first byte on, hyper's from the first line on.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None);
        builder.http2().timer(TokioTimer::new());
        Connections {
            router,
            builder,
            graceful: GracefulShutdown::new(),
            table: Arc::new(Table::new(bounds, counts)),
        }
    }

    /// Accepts and serves for ever.
    pub(crate) async fn accept(&self, listener: &TcpListener) {
        let mut failing = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    failing = false;
                    self.open(stream, peer.ip());
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

    fn open(&self, stream: TcpStream, peer: IpAddr) {
        let Some(line) = self.table.admit(peer) else {
            tracing::warn!(%peer, "a connection found no room: all others wait for answers");
            // It fits into the empty buffer of a new socket, or is lost with it.
            let _ = stream.try_write(NO_ROOM);
            return;
        };
        // Answers are small and awaited; a failure to say so costs latency only.
        let _ = stream.set_nodelay(true);
        let service = WatchedService {
            service: TowerToHyperService::new(self.router.clone()),
            line: line.clone(),
        };
        let stream = WatchedStream {
            stream,
            line: line.clone(),
        };
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = self.graceful.watch(connection);
        let table = self.table.clone();
        tokio::spawn(async move {
            let end = async {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
            };
            until_dropped(end, &table, &line).await;
            table.remove(&line);
        });
    }

    /// Lets requests in progress end, for at most `DRAIN_TIME_MAX`.
    pub(crate) async fn close(self) {
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

/// Serves until the connection ends, its client has been silent for too long, or it has to make room.
async fn until_dropped(connection: impl Future<Output = ()>, table: &Table, line: &Line) {
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
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
mod tests {
    use std::time::Duration;

    use axum::{
        body::Body,
        routing::{get, post},
    };
    use futures_util::stream::{self, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(20);

    fn bounds(connections: usize, of_one_peer: usize) -> Bounds {
        Bounds {
            connections,
            of_one_peer,
            head: LONG,
            idle: LONG,
        }
    }

    /// A server of those bounds: `/` answers, `/body` reads a body first, `/never` begins to answer.
    async fn serve(bounds: Bounds) -> std::net::SocketAddr {
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/body", post(|body: String| async move { body }))
            .route("/never", get(never));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Connections::bounded(router, bounds, ConnectionCounts::default());
        tokio::spawn(async move { connections.accept(&listener).await });
        address
    }

    async fn never() -> Body {
        let begun = stream::iter([Ok::<_, std::convert::Infallible>("begun")]);
        Body::from_stream(begun.chain(stream::pending()))
    }

    async fn client(address: std::net::SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(text.as_bytes()).await.expect("it reads");
        stream
    }

    /// All that comes until the server closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        // A connection that was reset has ended as well.
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    async fn answer(stream: &mut TcpStream, has: &str) {
        let mut text = String::new();
        let mut buffer = [0; 1024];
        while !text.contains(has) {
            let count = stream.read(&mut buffer).await.expect("readable");
            assert!(count > 0, "the connection ended after {text:?}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    #[tokio::test]
    async fn half_open_connections_make_room_oldest_first() {
        for (half, most, of_one_peer) in [
            ("", 4, 4),
            ("GET / HTTP/1.1\r\nHost: a", 4, 4),
            ("GET / HTTP/1.1\r\nHost: a", 16, 4),
            (
                "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbo",
                4,
                4,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 4, 4),
        ] {
            let address = serve(bounds(most, of_one_peer)).await;
            let mut kept = client(address, "GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
            answer(&mut kept, "begun\r\n").await;
            let mut silent = Vec::new();
            for _ in 0..7 {
                silent.push(client(address, half).await);
            }
            let mut fresh = client(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            answer(&mut fresh, "here").await;
            for dropped in silent.drain(..5) {
                rest(dropped).await;
            }
            // Who waits for an answer is not dropped.
            let still = kept.try_read(&mut [0; 64]).expect_err("it is open");
            assert_eq!(still.kind(), io::ErrorKind::WouldBlock, "{half:?}");
        }
    }

    #[tokio::test]
    async fn when_all_wait_for_answers_a_new_connection_is_told_so() {
        let address = serve(bounds(2, 2)).await;
        let request = "GET /never HTTP/1.1\r\nHost: a\r\n\r\n";
        let (first, second) = (
            client(address, request).await,
            client(address, request).await,
        );
        loop {
            // Refused as soon as both requests have come whole; before that a silent one makes room.
            let text = rest(client(address, "").await).await;
            if text.starts_with("HTTP/1.1 503") {
                break;
            }
        }
        drop((first, second));
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_ends_the_connection() {
        for half in ["", "G", "GET / HTTP/1.1\r\nHost: a"] {
            let patience = Bounds {
                head: SHORT,
                ..bounds(4, 4)
            };
            let address = serve(patience).await;
            assert_eq!(rest(client(address, half).await).await, "", "{half:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_may_rest_between_requests_but_not_within_a_head() {
        let patience = Bounds {
            head: SHORT,
            ..bounds(4, 4)
        };
        let address = serve(patience).await;
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut stream = client(address, request).await;
        answer(&mut stream, "here").await;
        // Another connection that starts later and dies of its head tells that this one has outlived that time.
        rest(client(address, "").await).await;
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        answer(&mut stream, "here").await;
        stream.write_all(b"GET").await.expect("it reads");
        assert_eq!(rest(stream).await, "");
    }
}
