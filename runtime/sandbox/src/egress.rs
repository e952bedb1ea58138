//! Outgoing HTTP of guests. Hides the allow-list, the address check after resolution and the client.

use crate::grants::{Reach, Target};
use crate::guest::Refused;
use crate::limits;
use crate::registry::Loaded;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

type Closing = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(hyper::Response<WasiBody>, Closing), Error>;

/// The TLS client that all guests share: public roots, no client certificates.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    pub(crate) fn new() -> Result<Self, tokio_rustls::rustls::Error> {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

/// Decides on each request of one attempt.
pub(crate) struct Egress {
    pub(crate) plugin: Arc<Loaded>,
    pub(crate) refused: Refused,
    pub(crate) tls: Tls,
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: hyper::Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let Some(peer) = Peer::of(&request) else {
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
        let Some(reach) = self.plugin.granted.http.reach(&target) else {
            self.refused
                .note(format!("http `{} {}`", request.method(), request.uri()));
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        Box::new(send(
            request,
            options.unwrap_or_default(),
            peer,
            reach,
            self.refused.clone(),
            self.tls.clone(),
        ))
    }
}

struct Peer {
    https: bool,
    host: String,
    port: u16,
}

impl Peer {
    fn of<B>(request: &hyper::Request<B>) -> Option<Self> {
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
        Some(Self { https, host, port })
    }
}

async fn send(
    mut request: hyper::Request<WasiBody>,
    options: RequestOptions,
    peer: Peer,
    reach: Reach,
    refused: Refused,
    tls: Tls,
) -> Answer {
    let connect_within = options.connect_timeout.unwrap_or(limits::HTTP_TIMEOUT);
    let connect = async {
        let address = resolve(&peer, reach, &refused).await?;
        let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
        // Requests are written whole; waiting for more to send only adds delay.
        let _ = stream.set_nodelay(true);
        Ok::<_, Error>(stream)
    };
    let stream = timeout(connect_within, connect)
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    // The connection names the server; the request line carries the path alone.
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    if peer.https {
        let name =
            ServerName::try_from(peer.host.clone()).map_err(|_| Error::HttpRequestUriInvalid)?;
        let stream = timeout(connect_within, tls.0.connect(name, stream))
            .await
            .map_err(|_| Error::ConnectionTimeout)?
            .map_err(Error::Tls)?;
        exchange(request, options, stream).await
    } else {
        exchange(request, options, stream).await
    }
}

/// The first address that the grant reaches. The connection goes to that very address, so a name that resolves
/// differently a moment later gains nothing.
async fn resolve(peer: &Peer, reach: Reach, refused: &Refused) -> Result<SocketAddr, Error> {
    let found = tokio::net::lookup_host((peer.host.as_str(), peer.port))
        .await
        .map_err(|error| Error::DnsError {
            rcode: Some(error.to_string()),
            info_code: None,
        })?;
    let mut any = false;
    for address in found {
        any = true;
        if reach == Reach::Anywhere || is_public(address.ip()) {
            return Ok(address);
        }
    }
    if !any {
        return Err(Error::DestinationNotFound);
    }
    refused.note(format!(
        "http to `{}:{}`: a private address; a grant must name this host and port literally",
        peer.host, peer.port
    ));
    Err(Error::HttpRequestDenied)
}

async fn exchange<S>(
    request: hyper::Request<WasiBody>,
    options: RequestOptions,
    stream: S,
) -> Answer
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    let reply = sender.send_request(request);
    tokio::pin!(reply);
    let within = tokio::time::sleep(options.first_byte_timeout.unwrap_or(limits::HTTP_TIMEOUT));
    tokio::pin!(within);
    let mut open = true;
    let reply = loop {
        tokio::select! {
            biased;
            reply = &mut reply => break reply?,
            ended = &mut connection, if open => {
                // The reply may still be on its way to us; its own error says more than the connection's end.
                ended?;
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

/// Whether an address is in the public Internet: not loopback, private, link-local (which holds the clouds' metadata
/// services), shared, reserved or multicast, and no IPv6 form of such an IPv4 address.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => is_public_v4(v4),
            None => {
                let first = v6.segments()[0];
                let documentation = first == 0x2001 && v6.segments()[1] == 0x0db8;
                let teredo = first == 0x2001 && v6.segments()[1] == 0;
                (first & 0xE000) == 0x2000 && !documentation && !teredo
            }
        },
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = match (a, b, c) {
        (0 | 10 | 127 | 224..=255, _, _) => true,
        (100, 64..=127, _)
        | (169, 254, _)
        | (172, 16..=31, _)
        | (192, 168, _)
        | (198, 18 | 19, _) => true,
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) => true,
        (_, _, _) => false,
    };
    !special
}

/// The IPv4 address inside a mapped, NAT64 or 6to4 address.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0xFFFF, high, low] | [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => {
            Some(join(high, low))
        }
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn private_addresses_in_every_guise() {
        let private = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "fec0::1",
            "2001:db8::1",
            "fd00:ec2::254",
        ];
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "172.32.0.1",
            "93.184.216.34",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
