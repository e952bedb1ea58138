//! The server's life over real sockets: it serves, and it ends without cutting off who waits.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

mod support;

use std::time::Duration;

use stepwell_server::{ServerConfig, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

struct Running {
    address: String,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

async fn run() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let server = serve(
        ServerConfig::default(),
        support::engine(false, None),
        support::sandbox(),
        listener,
        shutdown,
    );
    Running {
        address,
        stop,
        server: tokio::spawn(server),
    }
}

async fn send(stream: &mut TcpStream, operation: &str, body: &str) {
    let request = format!(
        "POST / HTTP/1.1\r\nHost: sync-anything.example\r\nX-Amz-Target: AWSStepFunctions.{operation}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// One answer: its head and its body.
async fn receive(stream: &mut TcpStream) -> (String, String) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = timeout(PATIENCE, stream.read(&mut buffer))
            .await
            .expect("an answer comes")
            .unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return (head.to_owned(), body.to_owned());
            }
        }
        assert!(count > 0, "the connection ended after {text:?}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_and_a_shutdown_answers_long_polls() {
    let running = run().await;
    let mut stream = TcpStream::connect(&running.address).await.unwrap();
    send(&mut stream, "CreateActivity", r#"{"name":"idle"}"#).await;
    let (head, body) = receive(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
    send(
        &mut stream,
        "GetActivityTask",
        r#"{"activityArn":"arn:aws:states:us-east-1:000000000000:activity:idle"}"#,
    )
    .await;
    // The poll is being served once the server counts it: it shows in the metrics.
    let mut other = TcpStream::connect(&running.address).await.unwrap();
    let counted = async {
        loop {
            other
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await
                .unwrap();
            if receive(&mut other)
                .await
                .1
                .contains("stepwell_api_requests_open 1")
            {
                break;
            }
        }
    };
    timeout(PATIENCE, counted)
        .await
        .expect("the poll is counted as open");
    running.stop.send(()).unwrap();
    let (head, body) = receive(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
    assert_eq!(body, r#"{"taskToken":null}"#);
    drop((stream, other));
    timeout(PATIENCE, running.server)
        .await
        .expect("the server ends")
        .unwrap()
        .unwrap();
    assert!(
        TcpStream::connect(&running.address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn bodies_over_the_bound_are_refused_with_an_answer() {
    let running = run().await;
    let mut stream = TcpStream::connect(&running.address).await.unwrap();
    send(
        &mut stream,
        "StartExecution",
        &format!(r#"{{"input":"{}"}}"#, "x".repeat(1_100_000)),
    )
    .await;
    let (head, body) = receive(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head} {body}");
    assert!(
        body.contains("HTTP content length exceeded 1049600 bytes."),
        "{body}"
    );
    drop(stream);
    running.stop.send(()).unwrap();
    timeout(PATIENCE, running.server)
        .await
        .expect("the server ends")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_body_that_breaks_is_a_bad_request() {
    let running = run().await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: AWSStepFunctions.ListActivities\r\nContent-Type: application/x-amz-json-1.0\r\n";
    for body in [
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx",
    ] {
        let mut stream = TcpStream::connect(&running.address).await.unwrap();
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .unwrap();
        let (head, answer) = receive(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 400"), "{body:?}: {head}");
        assert!(answer.contains("SerializationException"), "{answer}");
    }
    // A client that ends its side in the middle of the body still reads why.
    let mut stream = TcpStream::connect(&running.address).await.unwrap();
    stream
        .write_all(format!("{head}Content-Length: 9\r\n\r\n{{}}").as_bytes())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let (head, answer) = receive(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(answer.contains("breaks off"), "{answer}");
    running.stop.send(()).unwrap();
    timeout(PATIENCE, running.server)
        .await
        .expect("the server ends")
        .unwrap()
        .unwrap();
}
