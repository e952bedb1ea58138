//! Who makes a request: Signature Version 4 against the access keys of the store and the sessions made with them, for every path but `/health`. What it
//! hides: how a request proves its key. What a key may do stands in `rights`.

mod chunked;
mod identity;
mod keys;
mod permit;
mod rights;
mod sigv4;
#[cfg(test)]
mod tests;
mod wrong;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    http::{Extensions, HeaderMap, Request, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stepwell_egress::sigv4::SigningKey;
use stepwell_engine::{AccessKey, Engine, Vault};

pub(crate) use identity::{Identity, role_session_id};
pub(crate) use permit::Permit;
pub(crate) use rights::{CHANGE, LOOK, Right, STEER, resource};

use crate::{
    aws::{self, Fault},
    in_flight::{InFlight, Place},
    lambda, protocol, scheduler,
    triggers::EVENTS_PATH,
};
use keys::Keys;
use sigv4::Signed;
use wrong::Wrong;

/// What the credentials of requests are scoped to.
const STATES: &str = "states";
const STS: &str = "sts";
const IAM: &str = "iam";
const LOGS: &str = "logs";
const FUNCTIONS: &str = "lambda";
const SCHEDULER: &str = "scheduler";
const EVENTS: &str = "events";
const METRICS: &str = "/metrics";

/// How requests are authenticated.
#[derive(Clone, Debug)]
pub struct Authentication {
    /// Opens the secrets of access keys.
    pub vault: Vault,
    /// A proxy stands between the clients and this server: the last address of `X-Forwarded-For` is the client's.
    pub behind_proxy: bool,
}

/// The client's end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Who signs, and what with.
struct Holder {
    /// With the rights that it has in this request.
    key: AccessKey,
    secret: String,
    session: Option<Arc<identity::InSession>>,
}

/// See the module.
pub(crate) struct Gate {
    authentication: Authentication,
    keys: Keys,
    engine: Engine,
    /// Counts the bodies that are read.
    bodies: InFlight,
}

impl Gate {
    pub(crate) fn new(authentication: Authentication, engine: Engine, bodies: InFlight) -> Gate {
        let keys = Keys::new(engine.clone(), authentication.vault.clone());
        Gate {
            authentication,
            keys,
            engine,
            bodies,
        }
    }

    /// The request with its body whole and its [`Identity`] among the extensions, or why it is refused.
    pub(crate) async fn admit(&self, request: Request<Body>) -> Result<Request<Body>, Fault> {
        let (mut parts, body) = request.into_parts();
        let address = self.address(&parts);
        let admitted = self.identify(&parts, body, address.clone()).await;
        let (identity, body, place) = admitted.inspect_err(|fault| {
            tracing::warn!(%address, code = fault.code(), "a request was not authenticated");
        })?;
        permit::path(&self.engine, &identity, &parts).await?;
        // The payload is out of its chunks.
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.extensions.insert(identity);
        // As long as the request is served.
        parts.extensions.insert(Arc::new(place));
        Ok(Request::from_parts(parts, Body::from(body)))
    }

    async fn identify(
        &self,
        parts: &Parts,
        body: Body,
        address: String,
    ) -> Result<(Identity, bytes::Bytes, Place), Fault> {
        // Who sends events, or scrapes, may know no signatures.
        if [METRICS, EVENTS_PATH].contains(&parts.uri.path())
            && let Some(given) = basic(&parts.headers)
        {
            let key = self.by_password(&given).await?;
            let identity = Identity {
                key,
                session: None,
                region: Arc::from(""),
                address,
            };
            let body_max = aws::body_bytes_max(self.engine.raised_limits(&identity.key.account));
            let mut place = self.bodies.place(&identity.key.account);
            let body = aws::read_body(body, &parts.headers, body_max, &mut place).await?;
            return Ok((identity, body, place));
        }
        let signed = Signed::read(&parts.headers, &parts.uri)?;
        let services = services(parts);
        if !services.contains(&&*signed.service) {
            return Err(wrong_scope(&services.join("' or '")));
        }
        signed.timely(now_s())?;
        signed.covers(&parts.headers)?;
        let holder = match &signed.token {
            None => self.holder(&signed.key_id).await?,
            Some(token) => self.session(&signed.key_id, token).await?,
        };
        let body_max = if lambda::is_own_path(parts.uri.path()) {
            lambda::path_body_bytes_max(parts.uri.path())
        } else {
            aws::body_bytes_max(self.engine.raised_limits(&holder.key.account))
        };
        // All that the header alone can show to be wrong was refused by now.
        let mut place = self.bodies.place(&holder.key.account);
        let body = aws::read_body(body, &parts.headers, body_max, &mut place).await?;
        let key = SigningKey::derive(&holder.secret, &signed.day, &signed.region, &signed.service);
        let body = signed.verify(&key, &parts.method, &parts.uri, &parts.headers, body)?;
        let identity = Identity {
            key: Arc::new(holder.key),
            session: holder.session,
            region: signed.region.into(),
            address,
        };
        Ok((identity, body, place))
    }

    /// The holder of an access key that counts.
    async fn holder(&self, id: &str) -> Result<Holder, Fault> {
        let found = self.keys.find(id).await?;
        let found = found.filter(|found| !found.key.disabled);
        let found = found.ok_or_else(Wrong::unknown)?;
        Ok(Holder {
            key: found.key.clone(),
            secret: found.secret.clone(),
            session: None,
        })
    }

    /// The holder of a session. It may do no more than the access key that it was made with, and nothing without that.
    async fn session(&self, id: &str, token: &str) -> Result<Holder, Fault> {
        let opened = self.authentication.vault.open_session(id, token);
        let opened = opened.ok_or_else(Wrong::unknown)?;
        let session = opened.session;
        if session.expires_s <= now_s() {
            return Err(Wrong::expired().into());
        }
        let parent = self.holder(&session.parent).await?.key;
        if parent.account != session.account {
            return Err(Wrong::unknown().into());
        }
        Ok(Holder {
            key: AccessKey {
                role: parent.role.min(session.role),
                ..parent
            },
            secret: opened.secret,
            session: Some(Arc::new(identity::InSession {
                id: opened.id,
                session,
            })),
        })
    }

    /// The key of a scraper, which cannot sign: its id and secret as HTTP's Basic credentials.
    async fn by_password(&self, given: &str) -> Result<Arc<AccessKey>, Fault> {
        let (id, secret) = given.split_once(':').ok_or_else(Wrong::unknown)?;
        let known = self.keys.find(id).await?;
        let known = known
            .filter(|known| !known.key.disabled)
            .ok_or_else(Wrong::unknown)?;
        // Hashes under one key are compared in constant time, so the secrets are.
        let hash = |text: &str| {
            let keyed = Hmac::<Sha256>::new_from_slice(id.as_bytes())
                .expect("HMAC takes keys of any length");
            keyed.chain_update(text)
        };
        let wanted = hash(&known.secret).finalize().into_bytes();
        hash(secret).verify(&wanted).map_err(|_| Wrong::unknown())?;
        Ok(Arc::new(known.key.clone()))
    }

    /// An access key was changed: what is remembered of it counts no more.
    pub(crate) fn forget(&self, id: &str) {
        self.keys.forget(id);
    }

    /// Where a request comes from.
    pub(crate) fn address(&self, parts: &Parts) -> String {
        self.origin(&parts.headers, &parts.extensions)
            .map_or_else(|| "-".to_owned(), |address| address.to_string())
    }

    /// The same as a number; `None` of a call within the process.
    pub(crate) fn origin(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
        let forwarded = forwarded
            .filter(|_| self.authentication.behind_proxy)
            .and_then(|value| value.to_str().ok()?.rsplit(',').next())
            .and_then(|address| address.trim().parse::<IpAddr>().ok());
        forwarded.or_else(|| extensions.get::<Peer>().map(|peer| peer.0))
    }
}

/// The refusal of a request whose credential is scoped to another service than this one.
pub(crate) fn wrong_scope(service: &str) -> Fault {
    let text = format!("Credential should be scoped to correct service: '{service}'. ");
    Wrong::scope(&text).into()
}

/// What the credentials of a request have to be scoped to, as its head tells it: which of STS and IAM is asked may stand in its
/// body.
fn services(parts: &Parts) -> &'static [&'static str] {
    let (path, headers) = (parts.uri.path(), &parts.headers);
    if lambda::is_own_path(path) {
        &[FUNCTIONS]
    } else if scheduler::is_own_path(path) {
        &[SCHEDULER]
    } else if path == EVENTS_PATH {
        &[EVENTS]
    } else if path != "/" && !protocol::is_of_ours(path) {
        // Nothing is there, which any of them says in its own form.
        &[STATES, STS, IAM, LOGS, FUNCTIONS, SCHEDULER, EVENTS]
    } else if path == "/" && aws::query::is_query(&parts.uri, headers) {
        &[STS, IAM]
    } else if aws::is_of_logs(headers) {
        &[LOGS]
    } else if aws::is_of_events(headers) {
        &[EVENTS]
    } else {
        &[STATES]
    }
}

/// The credentials of HTTP's Basic scheme, `ID:SECRET`.
fn basic(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let text = value.strip_prefix("Basic ")?;
    String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()
}

/// Seconds since the Unix epoch.
pub(crate) fn now_s() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
