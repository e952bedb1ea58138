//! Connections that stay silent, ask for too much or take nothing: who makes room, who is refused, what each client reads.

use std::time::Duration;

use axum::{
    body::Body,
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use super::*;

const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(20);

fn bounds(connections: usize, of_one_peer: usize) -> Bounds {
    Bounds {
        connections,
        of_one_peer,
        head: LONG,
        stall: LONG,
        idle: LONG,
        handshakes: connections,
        handshake: LONG,
        patience: Patience {
            bytes: 4_096,
            silence: LONG,
            time: LONG,
        },
    }
}

/// A server of those bounds: `/` answers, `/body` reads a body first, `/never` begins to answer.
async fn serve(bounds: Bounds) -> std::net::SocketAddr {
    serve_with(bounds, None).await
}

async fn serve_with(bounds: Bounds, tls: Option<Tls>) -> std::net::SocketAddr {
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/body", post(|body: String| async move { body }))
        .route("/never", get(never));
    serve_router(router, bounds, tls).await
}

async fn serve_router(router: Router, bounds: Bounds, tls: Option<Tls>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let counts = ConnectionCounts::default();
    let connections = Connections::bounded(router, bounds, counts, tls);
    tokio::spawn(async move {
        let open = |stream, admitted| connections.open(stream, admitted);
        connections.accept(&listener, open).await;
    });
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

/// What a connection did wins over a deadline that is seen at the same moment.
#[tokio::test]
async fn what_has_come_is_looked_at_before_the_time() {
    let over = Bounds {
        head: Duration::ZERO,
        ..bounds(1_000, 1_000)
    };
    let table = Arc::new(Table::new(over, ConnectionCounts::default()));
    for _ in 0..100 {
        let admitted = Table::admit(&table, IpAddr::from([127, 0, 0, 1])).expect("room");
        let looked = std::cell::Cell::new(false);
        let connection = std::future::poll_fn(|_| {
            looked.set(true);
            std::task::Poll::Ready(())
        });
        until_dropped(connection, &table, admitted.line()).await;
        assert!(looked.get());
    }
}

/// Those that wait to be served are counted: there is an end to them.
#[tokio::test]
async fn connections_are_counted_when_they_are_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new();
    let counts = ConnectionCounts::default();
    let connections = Connections::bounded(router, bounds(2, 2), counts.clone(), None);
    let mut placed = Vec::new();
    let place = |stream, admitted| placed.push((stream, admitted));
    let accepting = connections.accept(&listener, place);
    let clients = async {
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(client(address, "").await);
        }
        // The first three made room for the others, though nobody serves any yet.
        while counts.dropped.get() < 3 {
            tokio::task::yield_now().await;
        }
        clients
    };
    tokio::select! {
        () = accepting => unreachable!("it accepts for ever"),
        _clients = clients => {}
    }
    assert_eq!(counts.open.get(), 2);
    placed.clear();
    assert_eq!(
        counts.open.get(),
        0,
        "a connection that nobody serves gives its place back"
    );
}

#[tokio::test]
async fn a_connection_may_rest_between_requests_but_not_within_a_head() {
    let patience = Bounds {
        // Its requests have to come within it, on a busy machine too.
        head: Duration::from_secs(2),
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

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_dropped() {
    let flood = || async {
        let piece = Bytes::from_static(&[b'x'; 65_536]);
        let pieces = stream::repeat_with(move || Ok::<_, std::convert::Infallible>(piece.clone()));
        Body::from_stream(pieces)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let impatient = Bounds {
        stall: SHORT,
        ..bounds(4, 4)
    };
    let counts = ConnectionCounts::default();
    let router = Router::new().route("/", get(flood));
    let connections = Connections::bounded(router, impatient, counts.clone(), None);
    let silent = client(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (stream, peer) = listener.accept().await.expect("a connection");
    let admitted = Table::admit(&connections.table, peer.ip()).expect("room");
    connections.open(stream, admitted);
    while counts.open.get() > 0 {
        tokio::task::yield_now().await;
    }
    drop(silent);
}

/// A server that refuses for the head alone, and tells of it.
async fn refuses(bounds: Bounds) -> (std::net::SocketAddr, Arc<Notify>) {
    let refused = Arc::new(Notify::new());
    let told = refused.clone();
    let refuse = move || {
        told.notify_one();
        async { (axum::http::StatusCode::FORBIDDEN, "refused") }
    };
    let router = Router::new().route("/", post(refuse));
    (serve_router(router, bounds, None).await, refused)
}

/// The connection goes on, too.
#[tokio::test]
async fn who_is_refused_for_the_head_reads_so_when_the_body_is_sent() {
    let (address, refused) = refuses(bounds(4, 4)).await;
    let large = "x".repeat(4_096);
    let framings = [
        ("Content-Length: 2", "{}"),
        ("Content-Length: 4096", large.as_str()),
        ("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
    ];
    let mut stream = client(address, "").await;
    for (framing, body) in framings {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        refused.notified().await;
        stream.write_all(body.as_bytes()).await.expect("it reads");
        let mut text = String::new();
        while !text.ends_with("refused") {
            let mut buffer = [0; 1_024];
            let count = stream.read(&mut buffer).await.expect("no reset");
            assert!(count > 0, "{framing}: it ended after {text:?}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        assert!(text.starts_with("HTTP/1.1 403"), "{framing}: {text}");
        assert!(!text.contains("connection: close"), "{framing}: {text}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_or_end_is_not_waited_for() {
    let mut impatient = bounds(4, 4);
    let patient = impatient.patience;
    let silence = Patience {
        silence: SHORT,
        ..patient
    };
    let time = Patience {
        time: SHORT,
        ..patient
    };
    let large = "x".repeat(4_097);
    let chunk = format!("1001\r\n{large}\r\n");
    for (patience, fields, body) in [
        (silence, "Content-Length: 9", "bo"),
        (time, "Content-Length: 9", ""),
        // It says that it is too large, and nothing is read.
        (patient, "Content-Length: 4097", ""),
        (patient, "Transfer-Encoding: chunked", chunk.as_str()),
        // Its client waits until it is asked for it.
        (patient, "Content-Length: 9\r\nExpect: 100-continue", ""),
    ] {
        impatient.patience = patience;
        let (address, _) = refuses(impatient).await;
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
        let text = rest(client(address, &request).await).await;
        assert!(text.starts_with("HTTP/1.1 403"), "{fields}: {text:?}");
        assert!(text.contains("connection: close"), "{fields}: {text:?}");
        assert!(text.ends_with("refused"), "{fields}: {text:?}");
    }
}

fn tls() -> Option<Tls> {
    let certificate = include_bytes!("../../../../tests/tls/certificate.pem");
    let key = include_bytes!("../../../../tests/tls/key.pem");
    Some(Tls::new(certificate, key).expect("a pair"))
}

#[tokio::test]
async fn handshakes_that_do_not_go_on_make_room_and_end() {
    // The record of a handshake of 512 bytes, of which nothing comes.
    for half in ["", "\u{16}\u{3}\u{1}\u{2}\u{0}"] {
        let few = Bounds {
            handshakes: 2,
            ..bounds(8, 8)
        };
        let address = serve_with(few, tls()).await;
        let oldest = client(address, half).await;
        let (_second, _third) = (client(address, half).await, client(address, half).await);
        rest(oldest).await;
        let impatient = Bounds {
            handshake: SHORT,
            ..bounds(8, 8)
        };
        let address = serve_with(impatient, tls()).await;
        rest(client(address, half).await).await;
    }
}

#[tokio::test]
async fn plain_requests_are_told_of_tls() {
    let address = serve_with(bounds(4, 4), tls()).await;
    let text = rest(client(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await).await;
    assert!(
        text.starts_with("HTTP/1.1 400 ") && text.contains("begins with https://"),
        "{text:?}"
    );
}
