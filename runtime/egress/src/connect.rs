//! A connection to a peer. Hides resolution, the check of its addresses, and TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::{
    address::is_public,
    resolve::{Resolve, SystemResolver},
    rule::Reach,
};

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub https: bool,
    /// A name or an address: in lower case, without brackets and final dot.
    pub host: String,
    pub port: u16,
}

/// An open connection, encrypted or not.
pub type Stream = Box<dyn Socket>;

/// What HTTP is spoken over.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the name cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("the name has no address")]
    NoAddress,
    /// All its addresses are private, and the rule that lets the request go does not name this very host and port.
    #[error("the name leads to a private address, which a rule has to name with its port")]
    Private,
    #[error("the connection was not made: {0}")]
    Connect(io::Error),
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error("the connection was not made in time")]
    Late,
    #[error("`{0}` is no name of a TLS server")]
    Name(String),
}

/// Certificates that cannot be trusted in addition.
#[derive(Debug, thiserror::Error)]
#[error("no certificates of authorities in PEM form: {0}")]
pub struct BadRoots(String);

/// Makes connections: public roots, no client certificates. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    names: Arc<dyn Resolve>,
}

impl Connector {
    /// Trusts the public certificate authorities alone.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn new() -> Result<Connector, tokio_rustls::rustls::Error> {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        Connector::with(roots)
    }

    /// Trusts the authorities of a PEM text as well.
    ///
    /// # Errors
    /// When the text holds no certificate, or one that is none of an authority.
    pub fn trusting(pem: &[u8]) -> Result<Connector, BadRoots> {
        let bad = |why: &dyn std::fmt::Display| BadRoots(why.to_string());
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| bad(&error))?;
            roots.add(certificate).map_err(|error| bad(&error))?;
        }
        if roots.len() == before {
            return Err(bad(&"there is none"));
        }
        Connector::with(roots).map_err(|error| bad(&error))
    }

    fn with(roots: RootCertStore) -> Result<Connector, tokio_rustls::rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Connector {
            tls: TlsConnector::from(Arc::new(config)),
            names: Arc::new(SystemResolver),
        })
    }

    /// Looks names up there instead of asking the system.
    #[must_use]
    pub fn resolving(self, names: Arc<dyn Resolve>) -> Connector {
        Connector { names, ..self }
    }

    /// Where names are looked up.
    pub fn names(&self) -> Arc<dyn Resolve> {
        self.names.clone()
    }

    /// Connects to the first address that is within reach; `within` bounds the connection and the TLS handshake each.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        peer: &Peer,
        reach: Reach,
        within: Duration,
    ) -> Result<Stream, ConnectError> {
        let connecting = async {
            let address = resolve(&*self.names, peer, reach).await?;
            let stream = TcpStream::connect(address)
                .await
                .map_err(ConnectError::Connect)?;
            // Requests are written whole; waiting for more to send only adds delay.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        };
        let stream = timeout(within, connecting)
            .await
            .map_err(|_| ConnectError::Late)??;
        if !peer.https {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(peer.host.clone())
            .map_err(|_| ConnectError::Name(peer.host.clone()))?;
        let stream = timeout(within, self.tls.connect(name, stream))
            .await
            .map_err(|_| ConnectError::Late)?
            .map_err(ConnectError::Tls)?;
        Ok(Box::new(stream))
    }
}

/// Whether a name has an address; nothing is sent to it.
///
/// # Errors
/// Why it has none.
pub async fn resolves(host: &str, port: u16) -> io::Result<()> {
    let mut found = tokio::net::lookup_host((host, port)).await?;
    let none = || io::Error::other("the name has no address");
    found.next().map(drop).ok_or_else(none)
}

/// The first address within reach. The connection goes to that very address, so a name that resolves differently a
/// moment later gains nothing.
async fn resolve(
    names: &dyn Resolve,
    peer: &Peer,
    reach: Reach,
) -> Result<SocketAddr, ConnectError> {
    let found = names
        .resolve(&peer.host, peer.port)
        .await
        .map_err(ConnectError::Resolve)?;
    let mut none = ConnectError::NoAddress;
    for address in found {
        if reach == Reach::Anywhere || is_public(address.ip()) {
            return Ok(address);
        }
        none = ConnectError::Private;
    }
    Err(none)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::resolve::Addresses;

    /// Has these addresses for every name.
    struct Always(&'static [&'static str]);

    impl Resolve for Always {
        fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Addresses<'a> {
            let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), port);
            let found: Vec<SocketAddr> = self.0.iter().map(address).collect();
            Box::pin(async move { Ok(found) })
        }
    }

    #[tokio::test]
    async fn of_all_addresses_the_first_within_reach_is_taken() {
        let peer = Peer {
            https: false,
            host: "a.example".to_owned(),
            port: 80,
        };
        let taken = async |found: &'static [&'static str], reach: Reach| {
            let address = resolve(&Always(found), &peer, reach).await;
            address.map(|address| address.ip().to_string())
        };
        let mixed = &["10.0.0.1", "::ffff:127.0.0.1", "8.8.8.8", "1.1.1.1"];
        assert_eq!(taken(mixed, Reach::Public).await.unwrap(), "8.8.8.8");
        assert_eq!(taken(mixed, Reach::Anywhere).await.unwrap(), "10.0.0.1");
        let private = taken(&["169.254.169.254", "::1"], Reach::Public).await;
        assert!(matches!(private, Err(ConnectError::Private)));
        let none = taken(&[], Reach::Anywhere).await;
        assert!(matches!(none, Err(ConnectError::NoAddress)));
    }

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let found = SystemResolver.resolve("localhost", 7).await.unwrap();
        let home = |address: &SocketAddr| address.ip().is_loopback() && address.port() == 7;
        assert!(!found.is_empty() && found.iter().all(home), "{found:?}");
        let literal = SystemResolver.resolve("192.0.2.1", 7).await.unwrap();
        let wanted: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(literal, [SocketAddr::new(wanted, 7)]);
    }
}
