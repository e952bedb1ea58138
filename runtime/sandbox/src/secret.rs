//! Secrets of an attempt: those that its plugin may use are gathered before the guest begins, from the operator's file or from where the
//! call says. The guest reads them by name; or it writes `{{secret:NAME}}` into a header of a request, and the host puts the
//! secret in its place when the request leaves. Hides the secrets that an attempt used, so that none of them comes out with
//! its end.

use crate::limits;
use crate::outcome::{Outcome, TaskEnd};
use crate::sandbox::SecretSource;
use futures_util::future::BoxFuture;
use hyper::header::{HeaderMap, HeaderValue};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

const OPEN: &[u8] = b"{{secret:";
const CLOSE: &[u8] = b"}}";

/// Where a call finds secrets that the operator's file does not have.
pub trait StoredSecrets: Send + Sync {
    /// Those of these names that there are, with their values. Asked once a call, before the guest begins, for what it may use.
    /// An error says why they cannot be had, and shows none.
    fn open(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'static, Result<BTreeMap<String, String>, String>>;
}

/// The same, as a call brings it along.
#[derive(Clone)]
pub struct CallSecrets(Arc<dyn StoredSecrets>);

impl CallSecrets {
    /// Asks this.
    pub fn new(stored: impl StoredSecrets + 'static) -> Self {
        Self(Arc::new(stored))
    }
}

impl std::fmt::Debug for CallSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallSecrets")
    }
}

/// What an attempt may use, with its values as they were when it began.
#[derive(Clone, Default)]
pub(crate) struct Had(Option<Arc<BTreeMap<String, String>>>);

impl Had {
    /// The operator's own come first, so that nobody else's word replaces them.
    pub(crate) async fn gather(
        names: BTreeSet<&str>,
        tenant: &str,
        operators: &dyn SecretSource,
        stored: Option<&CallSecrets>,
    ) -> Result<Self, String> {
        let (mut had, mut others) = (BTreeMap::new(), Vec::new());
        for name in names {
            match operators.secret(tenant, name) {
                Some(value) => drop(had.insert(name.to_owned(), value)),
                None => others.push(name.to_owned()),
            }
        }
        if let Some(CallSecrets(stored)) = stored
            && !others.is_empty()
        {
            had.extend(stored.open(others).await?);
        }
        Ok(Self(Some(Arc::new(had))))
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.as_ref()?.get(name).cloned()
    }
}

/// The secrets that requests of an attempt carried: name and value. Shared with the requests in flight.
#[derive(Clone, Default)]
pub(crate) struct Used(Arc<Mutex<Vec<(String, String)>>>);

/// Why a request with placeholders cannot leave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfilled {
    NotGranted(String),
    NotFound(String),
    /// What it holds cannot stand in a header.
    NoHeader(String),
}

impl std::fmt::Display for Unfilled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotGranted(name) => write!(
                f,
                "secret `{name}` in this request; name it in `secrets` of the rule in [grants].http that lets the request go"
            ),
            Self::NotFound(name) => {
                write!(
                    f,
                    "secret `{name}` in a request: it is not set; `stepwell secret put {name}` sets it, or the operator's file of --secrets"
                )
            }
            Self::NoHeader(name) => {
                write!(
                    f,
                    "secret `{name}` in a request: it holds what no header may, such as a line break"
                )
            }
        }
    }
}

/// Puts secrets in the place of their placeholders in all headers. `granted` are the names that this very request may carry.
pub(crate) fn fill(
    headers: &mut HeaderMap,
    granted: &BTreeSet<&str>,
    look_up: impl Fn(&str) -> Option<String>,
    used: &Used,
) -> Result<(), Unfilled> {
    for value in headers.values_mut() {
        let mut rest = value.as_bytes();
        if find(rest, OPEN).is_none() {
            continue;
        }
        let (mut filled, mut any) = (Vec::new(), false);
        while let Some(at) = find(rest, OPEN) {
            let (before, from) = rest.split_at(at);
            filled.extend_from_slice(before);
            let inner = &from[OPEN.len()..];
            let Some(end) = find(inner, CLOSE) else {
                rest = from;
                break;
            };
            let name = String::from_utf8_lossy(&inner[..end]).into_owned();
            if !granted.contains(name.as_str()) {
                return Err(Unfilled::NotGranted(name));
            }
            let secret = look_up(&name).ok_or_else(|| Unfilled::NotFound(name.clone()))?;
            filled.extend_from_slice(secret.as_bytes());
            if HeaderValue::from_str(&secret).is_err() {
                return Err(Unfilled::NoHeader(name));
            }
            used.add(name, secret);
            any = true;
            rest = &inner[end + CLOSE.len()..];
        }
        filled.extend_from_slice(rest);
        // What stood there was a header's value, and so are the secrets.
        if any && let Ok(mut secret) = HeaderValue::from_bytes(&filled) {
            secret.set_sensitive(true);
            *value = secret;
        }
    }
    Ok(())
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

impl Used {
    fn add(&self, name: String, secret: String) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = (name, secret);
        // A source may tell another secret under the same name later on: each that was sent is masked.
        if sent.1.len() >= limits::MASKED_BYTES_MIN && !used.contains(&sent) {
            // Longer ones come first: one may begin with another.
            let at = used.partition_point(|(_, other)| other.len() >= sent.1.len());
            used.insert(at, sent);
        }
    }

    /// A text that comes out before the attempt's end, with placeholders in the place of secrets.
    pub(crate) fn masked(&self, mut text: String) -> String {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        put_back(&mut text, &used);
        text
    }

    /// Puts placeholders in the place of secrets in all that an attempt gives back: a server may have echoed one.
    pub(crate) fn mask(&self, end: &mut TaskEnd) {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.is_empty() {
            return;
        }
        let mask = |text: &mut String| put_back(text, &used);
        match &mut end.outcome {
            Outcome::Ok(text) => mask(text),
            Outcome::Failed { error, cause } => [error, cause].into_iter().for_each(mask),
            Outcome::Exited { cause, .. }
            | Outcome::Trapped { cause }
            | Outcome::OutOfMemory { cause }
            | Outcome::InvalidOutput { cause }
            | Outcome::GrantRefused { cause }
            | Outcome::PluginMissing { cause }
            | Outcome::PluginBroken { cause }
            | Outcome::TooManyRunning { cause }
            | Outcome::NotReady { cause }
            | Outcome::HostFault { cause } => mask(cause),
            Outcome::TimedOut { .. }
            | Outcome::CpuTime { .. }
            | Outcome::OutOfFuel { .. }
            | Outcome::InputTooLarge { .. }
            | Outcome::OutputTooLarge { .. }
            | Outcome::Cancelled => {}
        }
        for line in &mut end.logs {
            mask(&mut line.message);
            for (name, value) in &mut line.fields {
                mask(name);
                mask(value);
            }
        }
        let tails = [&mut end.stdout, &mut end.stderr]
            .into_iter()
            .chain(&mut end.log_tail);
        tails.for_each(|tail| mask(&mut tail.text));
        end.refused.iter_mut().for_each(mask);
    }
}

/// Puts placeholders in the place of the secrets of a text.
fn put_back(text: &mut String, used: &[(String, String)]) {
    for (name, secret) in used {
        let placeholder = format!("{{{{secret:{name}}}}}");
        // In JSON some characters are written in another way.
        let quoted = serde_json::to_string(secret).unwrap_or_default();
        let quoted = quoted.trim_matches('"');
        for secret in [secret.as_str(), quoted] {
            if !secret.is_empty() && text.contains(secret) {
                *text = text.replace(secret, &placeholder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(value: &str) -> Result<String, Unfilled> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(value).unwrap());
        let look_up = |name: &str| match name {
            "KEY" => Some("s3cret".to_owned()),
            "BAD" => Some("a\nb".to_owned()),
            _ => None,
        };
        let granted = ["KEY", "BAD", "GONE"].into();
        fill(&mut headers, &granted, look_up, &Used::default())?;
        let value = &headers["authorization"];
        assert_eq!(value.is_sensitive(), value.as_bytes().ends_with(b"s3cret"));
        Ok(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn placeholders_are_filled_and_all_else_stays() {
        for (value, expected) in [
            ("Bearer {{secret:KEY}}", "Bearer s3cret"),
            ("{{secret:KEY}}:{{secret:KEY}}", "s3cret:s3cret"),
            ("Bearer {{secret:KEY", "Bearer {{secret:KEY"),
            ("{{name}}", "{{name}}"),
        ] {
            assert_eq!(filled(value).unwrap(), expected);
        }
        for (value, why) in [
            ("{{secret:OTHER}}", Unfilled::NotGranted("OTHER".into())),
            ("{{secret:GONE}}", Unfilled::NotFound("GONE".into())),
            ("{{secret:BAD}}", Unfilled::NoHeader("BAD".into())),
        ] {
            assert_eq!(filled(value).unwrap_err(), why);
        }
    }

    #[test]
    fn a_secret_that_begins_with_another_one_is_masked_whole() {
        let used = Used::default();
        for (name, secret) in [("SHORT", "12345678"), ("LONG", "12345678-abcd")] {
            used.add(name.to_owned(), secret.to_owned());
        }
        let text = "12345678-abcd 12345678".to_owned();
        assert_eq!(used.masked(text), "{{secret:LONG}} {{secret:SHORT}}");
    }
}
