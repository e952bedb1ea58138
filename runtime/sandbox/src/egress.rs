//! Outgoing HTTP of guests. Hides the allow-list and the client.

use crate::guest::Refused;
use crate::limits;
use crate::registry::Loaded;
use crate::secret::{self, Had, Used};
use crate::tally::{Count, Counted, Tally};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use stepwell_egress::{ConnectError, Connector, HEADS_BYTES_MAX, Peer, Reach, Tap, Target};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

type Closing = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(hyper::Response<WasiBody>, Closing), Error>;

/// Decides on each request of one attempt.
pub(crate) struct Egress {
    pub(crate) plugin: Arc<Loaded>,
    pub(crate) refused: Refused,
    pub(crate) connector: Connector,
    pub(crate) secrets: Had,
    /// Secrets that requests carried.
    pub(crate) used: Used,
    pub(crate) idempotency_key: String,
    pub(crate) tally: Tally,
}

/// The header of an idempotency key, as the draft of the IETF has it.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        mut request: hyper::Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        self.tally.one(Count::HttpRequests);
        let Some(peer) = peer_of(&request) else {
            return Box::new(async { Err(Error::HttpRequestUriInvalid) });
        };
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let target = Target {
            https: peer.https,
            host: &peer.host,
            port: peer.port,
            method: request.method().as_str(),
            path,
        };
        let Some(leave) = self.plugin.granted.http.leave(&target) else {
            self.refused
                .note(format!("http `{} {}`", request.method(), request.uri()));
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let look_up = |name: &str| self.secrets.get(name);
        let filled = secret::fill(request.headers_mut(), &leave.secrets, look_up, &self.used);
        if let Err(why) = filled {
            self.refused.note(why.to_string());
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        if leave.idempotency_key
            && let Ok(key) = HeaderValue::from_str(&self.idempotency_key)
        {
            // The host's word counts: another one of the guest's would be another key at each attempt.
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        Box::new(send(
            request,
            options.unwrap_or_default(),
            Way {
                peer,
                reach: leave.reach,
                refused: self.refused.clone(),
                connector: self.connector.clone(),
                tally: self.tally.clone(),
            },
        ))
    }
}

fn peer_of<B>(request: &hyper::Request<B>) -> Option<Peer> {
    let uri = request.uri();
    let authority = uri.authority()?;
    // `user:password@host` has no place in a request, and hides the host from a reader of the log.
    if authority.as_str().contains('@') {
        return None;
    }
    let https = uri.scheme_str() == Some("https");
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        None if https => 443,
        None => 80,
    };
    let host = authority
        .host()
        .trim_matches(['[', ']'])
        .trim_end_matches('.')
        .to_ascii_lowercase();
    Some(Peer { https, host, port })
}

/// How a request leaves.
struct Way {
    peer: Peer,
    reach: Reach,
    refused: Refused,
    connector: Connector,
    tally: Tally,
}

async fn send(mut request: hyper::Request<WasiBody>, options: RequestOptions, way: Way) -> Answer {
    let Way {
        peer,
        reach,
        refused,
        connector,
        tally,
    } = way;
    let within = options.connect_timeout.unwrap_or(limits::HTTP_TIMEOUT);
    let connected = connector.connect(&peer, reach, within).await;
    let stream = connected.map_err(|error| unconnected(error, &peer, &refused))?;
    // The connection names the server; the request line carries the path alone.
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    exchange(request, options, Counted { stream, tally }).await
}

/// The guest's word for a connection that was not made.
fn unconnected(error: ConnectError, peer: &Peer, refused: &Refused) -> Error {
    match error {
        ConnectError::Resolve(error) => Error::DnsError {
            rcode: Some(error.to_string()),
            info_code: None,
        },
        ConnectError::NoAddress => Error::DestinationNotFound,
        ConnectError::Private => {
            refused.note(format!(
                "http to `{}:{}`: a private address; a grant must name this host and port literally",
                peer.host, peer.port
            ));
            Error::HttpRequestDenied
        }
        ConnectError::Connect(error) => Error::Connect(error),
        ConnectError::Tls(error) => Error::Tls(error),
        ConnectError::Late => Error::ConnectionTimeout,
        ConnectError::Name(_) => Error::HttpRequestUriInvalid,
    }
}

async fn exchange<S>(
    request: hyper::Request<WasiBody>,
    options: RequestOptions,
    stream: S,
) -> Answer
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (stream, heads) = Tap::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let failed = |error: hyper::Error| {
        if let Some(length) = heads.impossible_length() {
            Error::HttpResponseBodySize(Some(length))
        } else if heads.too_long() || error.is_parse_too_large() {
            Error::HttpResponseHeaderSectionSize(u32::try_from(HEADS_BYTES_MAX).ok())
        } else {
            error.into()
        }
    };
    let mut connection = Box::pin(connection);
    let reply = sender.send_request(request);
    tokio::pin!(reply);
    let within = tokio::time::sleep(options.first_byte_timeout.unwrap_or(limits::HTTP_TIMEOUT));
    tokio::pin!(within);
    let mut open = true;
    let reply = loop {
        tokio::select! {
            biased;
            reply = &mut reply => break reply.map_err(failed)?,
            ended = &mut connection, if open => {
                // The reply may still be on its way to us; its own error says more than the connection's end.
                ended.map_err(failed)?;
                open = false;
            }
            () = &mut within => return Err(Error::ConnectionReadTimeout),
        }
    };
    let pause = options
        .between_bytes_timeout
        .unwrap_or(limits::HTTP_TIMEOUT);
    let reply = reply.map(|incoming| {
        Body {
            incoming,
            pause,
            due: Box::pin(tokio::time::sleep(pause)),
        }
        .boxed_unsync()
    });
    let closing: Closing = Box::new(async move {
        if open {
            connection.await?;
        }
        drop(sender);
        Ok(())
    });
    Ok((reply, closing))
}

/// A reply's body that gives up when the server pauses too long.
struct Body {
    incoming: Incoming,
    pause: Duration,
    due: Pin<Box<Sleep>>,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = Instant::now() + self.pause;
                self.due.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self
                .due
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(Error::ConnectionReadTimeout))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.incoming.size_hint()
    }
}
