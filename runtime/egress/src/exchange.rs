//! One request and its reply, whole and bounded. Hides hyper and the connection, which ends with the exchange.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use url::Url;

use crate::{
    connect::{ConnectError, Connector, Peer},
    limits::{FIELDS_MAX, HEADS_BYTES_MAX},
    rule::{HttpRule, Reach, Target},
    tap::Tap,
};

/// A request as it is to be sent; `Host` and `Content-Length` are added.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

/// A reply of any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// The words after the status, as the server wrote them; often none.
    pub reason: String,
    /// In the order and case in which the server wrote them.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No rule lets it go.
    #[error("no rule lets the request go")]
    Refused,
    /// The text says why it is no request that can be sent.
    #[error("{0}")]
    Malformed(String),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Broken(String),
    /// Announcements without end (`100 Continue`) are such a head.
    #[error("the head of the reply is too large: there are more than {bytes} bytes before its end, those that only announce it (status 1xx) among them, or more than {fields} header fields; the server has to send less", bytes = HEADS_BYTES_MAX, fields = FIELDS_MAX)]
    HeadTooLarge,
    #[error("the reply has more than {0} bytes")]
    TooLarge(usize),
}

/// Makes exchanges; a connection each. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    connect_within: Duration,
}

impl Client {
    /// `connect_within` bounds the connection and the TLS handshake each; the whole is bounded by whoever awaits it.
    pub fn new(connector: Connector, connect_within: Duration) -> Client {
        Client {
            connector,
            connect_within,
        }
    }

    /// Sends a request if one of the rules lets it go, and reads the reply to its end. Redirects are not followed.
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn exchange(
        &self,
        request: &Request,
        rules: &[HttpRule],
        body_bytes_max: usize,
    ) -> Result<Response, Failure> {
        let (head, rest, _driven) = self.send(request, rules).await?;
        let body = body(rest, body_bytes_max).await?;
        Ok(Response { body, ..head })
    }

    /// The same for whom the status says all: the reply's body is not waited for, and is empty here.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::TooLarge`] is none of them.
    pub async fn head(&self, request: &Request, rules: &[HttpRule]) -> Result<Response, Failure> {
        let (head, _, _) = self.send(request, rules).await?;
        Ok(head)
    }

    /// The head of the reply, its body, and what that comes by.
    async fn send(
        &self,
        request: &Request,
        rules: &[HttpRule],
    ) -> Result<(Response, hyper::body::Incoming, Driven), Failure> {
        let (peer, reach) = admitted(request, rules)?;
        let message = message(request)?;
        let stream = self
            .connector
            .connect(&peer, reach, self.connect_within)
            .await?;
        let (tap, copied) = Tap::new(stream);
        let (mut sender, connection) = http1::handshake(TokioIo::new(tap)).await.map_err(broken)?;
        let driven = Driven(tokio::spawn(async move {
            // What goes wrong with the connection is the reply's error too.
            let _ = connection.await;
        }));
        let reply = sender.send_request(message).await;
        let reply = reply.map_err(|error| {
            if let Some(length) = copied.impossible_length() {
                Failure::Broken(format!(
                    "the reply's Content-Length is {length}, which is more bytes than a body can have; the server has to send the body's own length"
                ))
            } else if copied.too_long() || error.is_parse_too_large() {
                Failure::HeadTooLarge
            } else {
                broken(error)
            }
        })?;
        let status = reply.status().as_u16();
        let (reason, headers) = match copied.head() {
            Some(head) => (head.reason, head.fields),
            None => (String::new(), fields(reply.headers())),
        };
        let head = Response {
            status,
            reason,
            headers,
            body: Vec::new(),
        };
        Ok((head, reply.into_body(), driven))
    }
}

/// Where the request goes and how far it may, when a rule lets it.
fn admitted(request: &Request, rules: &[HttpRule]) -> Result<(Peer, Reach), Failure> {
    let url = &request.url;
    let malformed = |why: &str| Err(Failure::Malformed(why.to_owned()));
    let https = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return malformed("the URL's scheme is neither https nor http"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return malformed("the URL holds a user name");
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return malformed("the URL has no host");
    };
    let host = host
        .trim_matches(['[', ']'])
        .trim_end_matches('.')
        .to_ascii_lowercase();
    let target = Target {
        https,
        host: &host,
        port,
        method: &request.method,
        path: url.path(),
    };
    let reach = rules.iter().filter_map(|rule| rule.reach(&target)).max();
    let reach = reach.ok_or(Failure::Refused)?;
    Ok((Peer { https, host, port }, reach))
}

/// Headers that follow from the URL and the body.
const FRAMING: [&str; 3] = ["host", "content-length", "transfer-encoding"];

fn is_field(name: &str, value: &str) -> bool {
    hyper::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
        && hyper::header::HeaderValue::from_str(value).is_ok()
}

/// The request as it is written: the connection names the server, the request line carries the path alone.
fn message(request: &Request) -> Result<hyper::Request<Full<Bytes>>, Failure> {
    let url = &request.url;
    let mut path = url.path().to_owned();
    if let Some(query) = url.query() {
        path = format!("{path}?{query}");
    }
    let mut message = hyper::Request::builder()
        .method(request.method.as_str())
        .uri(path)
        .header(hyper::header::HOST, authority(url));
    for (name, value) in &request.headers {
        // How the message is framed and to whom it goes is not the caller's to say.
        if FRAMING
            .iter()
            .any(|framing| name.eq_ignore_ascii_case(framing))
        {
            continue;
        }
        if !is_field(name, value) {
            return Err(Failure::Malformed(format!(
                "`{name}` is no header: a name has letters, digits and `-`, a value no line breaks"
            )));
        }
        message = message.header(name.as_str(), value.as_str());
    }
    let body = request.body.clone().unwrap_or_default();
    message
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failure::Malformed(error.to_string()))
}

/// What the header `Host` says: the port only where it is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn fields(headers: &hyper::HeaderMap) -> Vec<(String, String)> {
    let text =
        |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}

async fn body(mut incoming: hyper::body::Incoming, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(broken)?;
        if let Ok(data) = frame.into_data() {
            if body.len() + data.len() > bytes_max {
                return Err(Failure::TooLarge(bytes_max));
            }
            body.extend_from_slice(&data);
        }
    }
    Ok(body)
}

/// What went wrong, with its causes: the first text alone says little.
fn broken(error: hyper::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    Failure::Broken(text)
}

/// The task that drives the connection; ends with whoever waits for the reply.
struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Who waits longer waits in vain.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A server that answers with this text, and then with the other one until nobody listens.
    fn answers(first: String, then: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let mut sent = stream.write_all(first.as_bytes());
            while sent.is_ok() && !then.is_empty() {
                sent = stream.write_all(then.as_bytes());
            }
        });
        format!("http://{address}")
    }

    async fn head(origin: &str) -> Result<Response, Failure> {
        let client = Client::new(Connector::new().unwrap(), PATIENCE);
        let request = Request {
            method: "GET".to_owned(),
            url: Url::parse(origin).unwrap(),
            headers: Vec::new(),
            body: None,
        };
        let rules = [HttpRule::parse(origin, &[], None).unwrap()];
        let answer = tokio::time::timeout(PATIENCE, client.head(&request, &rules));
        answer
            .await
            .expect("an answer that does not come is given up")
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_given_up() {
        let fields = "A: b\r\n".repeat(FIELDS_MAX + 1);
        for (first, then) in [
            (String::new(), "HTTP/1.1 100 Continue\r\n\r\n"),
            (
                String::new(),
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
            ),
            ("HTTP/1.1 200 OK\r\nA: ".to_owned(), "a"),
            (String::new(), "\r\n"),
            (format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), ""),
        ] {
            let failed = head(&answers(first.clone(), then)).await.unwrap_err();
            let told = failed.to_string();
            assert!(
                matches!(failed, Failure::HeadTooLarge) && told.contains("307200 bytes"),
                "{first}{then}: {told}"
            );
        }
    }

    #[tokio::test]
    async fn a_length_that_no_body_has_is_told_apart_from_a_large_head() {
        for length in ["18446744073709551614", "18446744073709551615"] {
            let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let failed = head(&answers(reply, "")).await.unwrap_err();
            let told = failed.to_string();
            assert!(
                matches!(failed, Failure::Broken(_))
                    && told.contains(&format!("Content-Length is {length}")),
                "{told}"
            );
        }
    }

    #[tokio::test]
    async fn announcements_before_a_reply_are_passed_over() {
        let announced = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1_000);
        let reply = format!("{announced}HTTP/1.1 204 Gone Well\r\nX-One: a\r\n\r\n");
        let reply = head(&answers(reply, "")).await.unwrap();
        assert_eq!((reply.status, &*reply.reason), (204, "Gone Well"));
        assert_eq!(reply.headers, [("X-One".to_owned(), "a".to_owned())]);
    }
}
