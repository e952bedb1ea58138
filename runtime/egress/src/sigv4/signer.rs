//! Signs what is sent. What it hides: the order in which a request's parts are put together.

use hyper::{
    HeaderMap, Method, Uri,
    header::{self, HeaderName, HeaderValue},
};

use super::{ALGORITHM, SigningKey, canonical, digest, scope, time, to_sign};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// An access key that requests of one region and service are signed with.
#[derive(Clone)]
pub struct Signer {
    pub key_id: String,
    pub secret: String,
    /// Of a key that holds for a time.
    pub session_token: Option<String>,
    pub region: String,
    /// As the credential's scope names it, such as `states`.
    pub service: String,
}

/// A key id, token, region or service that no header can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {0} has characters that no header of a request can hold")]
pub struct Unsignable(pub(super) &'static str);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.key_id)
    }
}

impl Signer {
    /// Signs a request for a moment, seconds of the Unix epoch: all headers that it has so far, and its body. Adds
    /// `x-amz-date`, `authorization`, `host` when the URI is absolute, and `x-amz-security-token` of a session.
    ///
    /// # Errors
    /// When the key is none that can be sent.
    pub fn sign(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: &[u8],
        now_s: i64,
    ) -> Result<(), Unsignable> {
        let at = time(now_s);
        let day = at.get(..8).unwrap_or_default();
        headers.remove(header::AUTHORIZATION);
        if let Some(host) = uri.authority() {
            // What stands before the host is for nobody's eyes.
            let host = host.as_str().rsplit('@').next().unwrap_or_default();
            headers.insert(header::HOST, value(host, "host")?);
        }
        headers.insert(DATE, value(&at, "time")?);
        if let Some(token) = &self.session_token {
            headers.insert(TOKEN, value(token, "session token")?);
        }
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let signed = names.join(";");
        let lines = canonical::headers(headers, uri, &names).ok_or(Unsignable("request"))?;
        let request = canonical::request(
            method.as_str(),
            &canonical::path(uri.path()),
            &canonical::query(uri.query().unwrap_or_default()),
            &lines,
            &signed,
            &digest(body),
        );
        let scope = scope(day, &self.region, &self.service);
        let key = SigningKey::derive(&self.secret, day, &self.region, &self.service);
        let signature = key.sign(&to_sign(&at, &scope, &request));
        let text = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.key_id
        );
        headers.insert(header::AUTHORIZATION, value(&text, "access key")?);
        Ok(())
    }
}

fn value(text: &str, what: &'static str) -> Result<HeaderValue, Unsignable> {
    HeaderValue::from_str(text).map_err(|_| Unsignable(what))
}
