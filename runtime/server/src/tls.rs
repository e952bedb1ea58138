//! TLS of the server: its certificate, replaced while it serves. What it hides: rustls, and that a pair that cannot be
//! used never takes the place of one that can.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio_rustls::rustls::{
    Error, InconsistentKeys, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

/// The protocols within TLS, the liked one first.
#[cfg(feature = "http2")]
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
#[cfg(not(feature = "http2"))]
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];
/// What a private key that asks for a password begins with.
const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// The certificate that is served, and why the last one offered is not. Clones share them.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    served: RwLock<Served>,
    counts: TlsCounts,
}

struct Served {
    config: Arc<ServerConfig>,
    /// Why what was offered since was refused.
    problem: Option<String>,
}

/// Counts of certificates that were offered.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsCounts {
    pub(crate) replaced: Counter,
    pub(crate) refused: Counter,
    /// 1 while something else is served than what was offered last.
    pub(crate) stale: Gauge,
}

/// Why a certificate and its key cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The chain is not PEM, or has no certificate.
    Certificate(String),
    /// The key is not PEM, asks for a password, or is of a kind that TLS does not know.
    Key(String),
    /// Certificate and key are each right, and not of each other.
    Mismatch,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Certificate(why) => write!(f, "the certificate: {why}"),
            TlsError::Key(why) => write!(f, "the private key: {why}"),
            TlsError::Mismatch => f.write_str("the private key is not the certificate's"),
        }
    }
}

impl std::error::Error for TlsError {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Serves a chain of certificates, the server's own first, with its private key, both as PEM text.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Tls, TlsError> {
        let served = Served {
            config: Arc::new(config(chain, key)?),
            problem: None,
        };
        Ok(Tls(Arc::new(Inner {
            served: RwLock::new(served),
            counts: TlsCounts::default(),
        })))
    }

    /// Serves another pair to connections that come from now on. After an error the old one is served on, and
    /// [`Tls::problem`] tells why.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        match config(chain, key) {
            Ok(config) => {
                let mut served = self
                    .0
                    .served
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                served.config = Arc::new(config);
                served.problem = None;
                self.0.counts.replaced.inc();
                self.0.counts.stale.set(0);
                Ok(())
            }
            Err(error) => {
                self.refuse(&error.to_string());
                Err(error)
            }
        }
    }

    /// Notes that another pair was offered and cannot be had: its files cannot be read.
    pub fn refuse(&self, why: &str) {
        let mut served = self
            .0
            .served
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        served.problem = Some(why.to_owned());
        self.0.counts.refused.inc();
        self.0.counts.stale.set(1);
    }

    /// Why what was offered last is not what is served; `None` when it is.
    pub fn problem(&self) -> Option<String> {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        served.problem.clone()
    }

    pub(crate) fn counts(&self) -> &TlsCounts {
        &self.0.counts
    }

    /// What the next handshake is made with.
    pub(crate) fn served(&self) -> Arc<ServerConfig> {
        let served = self.0.served.read().unwrap_or_else(PoisonError::into_inner);
        served.config.clone()
    }
}

fn config(chain: &[u8], key: &[u8]) -> Result<ServerConfig, TlsError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificate(format!("it is not PEM: {error:?}")))?;
    if chain.is_empty() {
        let why = "there is none in PEM form (`-----BEGIN CERTIFICATE-----`)";
        return Err(TlsError::Certificate(why.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| key_error(key, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Key(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch,
        Error::InvalidCertificate(why) => TlsError::Certificate(format!("{why}")),
        other => TlsError::Key(other.to_string()),
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn key_error(text: &[u8], error: &pem::Error) -> TlsError {
    let encrypted = text.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED);
    let why = match error {
        pem::Error::NoItemsFound if encrypted => {
            "it asks for a password; `openssl pkey -in FILE -out PLAIN` takes that away".to_owned()
        }
        pem::Error::NoItemsFound => {
            "there is none in PEM form (`-----BEGIN PRIVATE KEY-----`)".to_owned()
        }
        other => format!("it is not PEM: {other:?}"),
    };
    TlsError::Key(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("../../../tests/http/tls/certificate.pem");
    const KEY: &[u8] = include_bytes!("../../../tests/http/tls/key.pem");
    const OTHER_CERTIFICATE: &[u8] = include_bytes!("../../../tests/tls/certificate.pem");
    const OTHER_KEY: &[u8] = include_bytes!("../../../tests/tls/key.pem");

    #[test]
    fn a_pair_that_cannot_be_used_replaces_none() {
        let tls = Tls::new(CERTIFICATE, KEY).expect("a pair");
        let first = tls.served();
        for (chain, key, why) in [
            (CERTIFICATE, OTHER_KEY, "the private key is not the certificate's"),
            (OTHER_CERTIFICATE, KEY, "the private key is not the certificate's"),
            (&b""[..], KEY, "the certificate: there is none"),
            (KEY, KEY, "the certificate: there is none"),
            (&b"-----BEGIN CERTIFICATE-----\nAAAA"[..], KEY, "the certificate: it is not PEM"),
            (
                &b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"[..],
                KEY,
                "the certificate: ",
            ),
            (CERTIFICATE, CERTIFICATE, "the private key: there is none"),
            (
                CERTIFICATE,
                &b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"[..],
                "the private key: it asks for a password",
            ),
        ] {
            let error = tls.replace(chain, key).expect_err(why).to_string();
            assert!(error.starts_with(why), "{error}");
            assert_eq!(tls.problem(), Some(error));
            assert!(Arc::ptr_eq(&first, &tls.served()), "{why}");
        }
        assert_eq!(tls.counts().stale.get(), 1);
        assert_eq!(tls.counts().refused.get(), 8);
        tls.replace(OTHER_CERTIFICATE, OTHER_KEY).expect("a pair");
        assert!(!Arc::ptr_eq(&first, &tls.served()));
        assert_eq!((tls.problem(), tls.counts().stale.get()), (None, 0));
        assert_eq!(tls.counts().replaced.get(), 1);
    }
}
