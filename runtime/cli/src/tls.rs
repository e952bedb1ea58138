//! Files of TLS: the server's certificate, watched, and the authorities that a command trusts. Hides how a change of a file
//! is noticed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use stepwell_server::Tls;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::exit::{Blame, Outcome, Stop};

/// Between two looks at the files (ours). They are looked at rather than subscribed to: a mounted secret changes by a link
/// several folders away.
pub(crate) const LOOK: Duration = Duration::from_secs(2);
/// The variable in which AWS's clients read a file of authorities.
const AUTHORITIES: &str = "AWS_CA_BUNDLE";

/// Where the certificate and its key are.
pub(crate) struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), String> {
        let file = |path: &Path| {
            std::fs::read(path).map_err(|error| format!("`{}`: {error}", path.display()))
        };
        Ok((file(&self.chain)?, file(&self.key)?))
    }

    /// What changes when a file does. Links are followed.
    fn stamps(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.chain, &self.key].map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
    }

    /// Takes what is in the files now, or says why not.
    fn offer(&self, tls: &Tls) {
        let (chain, key) = (self.chain.display(), self.key.display());
        let taken = match self.read() {
            Ok((chain, key)) => tls.replace(&chain, &key).map_err(|error| error.to_string()),
            Err(why) => {
                tls.refuse(&why);
                Err(why)
            }
        };
        match taken {
            Ok(()) => tracing::info!(%chain, %key, "the TLS certificate was replaced"),
            Err(why) => tracing::warn!(
                %chain, %key, why,
                "the TLS certificate was not replaced: the old one is served on"
            ),
        }
    }
}

/// The certificate and the key that the flags name; both or none.
pub(crate) fn read(chain: Option<&Path>, key: Option<&Path>) -> Outcome<Option<(Tls, Files)>> {
    let (chain, key) = match (chain, key) {
        (None, None) => return Ok(None),
        (Some(chain), Some(key)) => (chain.to_owned(), key.to_owned()),
        (Some(_), None) => return Err(lacks("--tls-cert", "--tls-key", "private key")),
        (None, Some(_)) => return Err(lacks("--tls-key", "--tls-cert", "certificate")),
    };
    let files = Files { chain, key };
    let (chain, key) = files
        .read()
        .map_err(|why| Stop::Usage(anyhow!("a file of TLS cannot be read: {why}")))?;
    let tls = Tls::new(&chain, &key).map_err(|error| {
        Stop::Usage(anyhow!(
            "TLS cannot be served with `{}` and `{}`: {error}",
            files.chain.display(),
            files.key.display()
        ))
    })?;
    Ok(Some((tls, files)))
}

fn lacks(given: &str, lacks: &str, what: &str) -> Stop {
    Stop::Usage(anyhow!(
        "{given} needs {lacks} beside it\nhint: {lacks} names the PEM file with the {what}"
    ))
}

/// Takes the files again whenever they change, and at SIGHUP; for ever.
pub(crate) async fn keep_current(tls: Tls, files: Files) {
    let mut hangup = Hangup::new();
    let mut seen = files.stamps();
    loop {
        let asked = tokio::select! {
            () = hangup.heard() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let stamps = files.stamps();
        if asked || stamps != seen {
            seen = stamps;
            files.offer(&tls);
        }
    }
}

/// SIGHUP, where there is such a thing.
pub(crate) struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    #[cfg(unix)]
    pub(crate) fn new() -> Hangup {
        use tokio::signal::unix::{SignalKind, signal};
        let signal = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be listened to"));
        Hangup {
            signal: signal.ok(),
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> Hangup {
        Hangup {}
    }

    pub(crate) async fn heard(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// How a command speaks TLS with a server: it trusts the public authorities, or those of the file in `AWS_CA_BUNDLE`.
pub(crate) fn client() -> Outcome<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match std::env::var_os(AUTHORITIES).filter(|path| !path.is_empty()) {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = || format!("`{}` of {AUTHORITIES}", Path::new(&path).display());
            let text = std::fs::read(&path).with_context(wrong).usage()?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate
                    .map_err(|error| anyhow!("it is not PEM: {error:?}"))
                    .with_context(wrong)
                    .usage()?;
                roots.add(certificate).with_context(wrong).usage()?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .context("TLS cannot be spoken")
        .runtime()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
