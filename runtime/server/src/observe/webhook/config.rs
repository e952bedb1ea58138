//! The webhooks of a configuration file. Hides its form, and what may be wrong with it.

use std::{collections::BTreeMap, fmt, io};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use stepwell_egress::{HttpRule, Url};
use stepwell_engine::Status;

use super::event::status_name;
use crate::limits::WEBHOOKS_MAX;

/// Bytes of a secret at least; ours. The form's own specification asks for 24 to 64.
const SECRET_BYTES_MIN: usize = 16;

/// What webhooks there are. Configuration file: an array of tables `webhook`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    #[serde(default, rename = "webhook")]
    webhooks: Vec<Webhook>,
}

/// One of them.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    url: String,
    /// `whsec_` and base64, or any text.
    secret: String,
    /// Whose executions; all when absent.
    account: Option<String>,
    /// Which statuses; all when absent.
    statuses: Option<Vec<String>>,
    /// It may be at a private address, and without TLS.
    #[serde(default)]
    private: bool,
}

/// It holds a secret, and its URL may.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook")
    }
}

/// What is wrong with a webhook of the file.
#[derive(Debug)]
pub enum WebhookError {
    /// Its number in the file, from 1, and what is wrong.
    Wrong(usize, String),
    Start(io::Error),
}

impl fmt::Display for WebhookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebhookError::Wrong(number, why) => write!(f, "webhook {number}: {why}"),
            WebhookError::Start(error) => write!(f, "webhooks cannot be served: {error}"),
        }
    }
}

impl std::error::Error for WebhookError {}

/// Where events go, and which.
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) secret: Vec<u8>,
    pub(super) rules: [HttpRule; 1],
    account: Option<String>,
    statuses: Vec<Status>,
    /// By which its events are found after a restart, whatever its place in the file is then.
    pub(super) queue: String,
}

impl Target {
    pub(super) fn wants(&self, account: &str, status: Status) -> bool {
        let own = self.account.as_deref();
        own.is_none_or(|own| own == account) && self.statuses.contains(&status)
    }

    /// What may be told of its URL, which may hold a token.
    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

impl WebhookConfig {
    /// The webhooks, checked.
    pub(super) fn targets(self) -> Result<Vec<Target>, WebhookError> {
        if self.webhooks.len() > WEBHOOKS_MAX {
            let why = format!("there are at most {WEBHOOKS_MAX} webhooks");
            return Err(WebhookError::Wrong(WEBHOOKS_MAX + 1, why));
        }
        let mut alike = BTreeMap::<(String, Option<String>), u32>::new();
        let numbered = self.webhooks.into_iter().zip(1..);
        let targets = numbered.map(|(webhook, number)| {
            let told = (webhook.url.clone(), webhook.account.clone());
            let before = alike.entry(told).or_default();
            *before += 1;
            let target = webhook.target(*before);
            target.map_err(|why| WebhookError::Wrong(number, why))
        });
        targets.collect()
    }
}

/// The name of the queue of a webhook, of which so many have this URL and account. Other secrets and statuses leave it as it
/// is.
fn queue(url: &str, account: Option<&str>, number: u32) -> String {
    let mut hash = Sha256::new();
    for part in [url, account.unwrap_or_default(), &number.to_string()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let bytes = hash.finalize();
    bytes[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Webhook {
    fn target(&self, number: u32) -> Result<Target, String> {
        // Not repeated: a URL may hold a token.
        let url = Url::parse(&self.url).map_err(|error| format!("`url` is no URL: {error}"))?;
        let host = url.host_str().ok_or("`url` has no host")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("`url` holds a user name; the events are signed instead".to_owned());
        }
        let port = url.port_or_known_default();
        let rule = match (url.scheme(), port, self.private) {
            ("https" | "http", Some(port), true) => format!("{}://{host}:{port}", url.scheme()),
            ("https", _, false) => format!("https://{host}:*"),
            ("http", _, false) => {
                return Err("`url` is no https; that takes `private = true`".to_owned());
            }
            _ => return Err("`url` is neither http nor https".to_owned()),
        };
        let rule = HttpRule::parse(&rule, &["POST".to_owned()], None)?;
        if let Some(account) = &self.account
            && !(account.len() == 12 && account.bytes().all(|digit| digit.is_ascii_digit()))
        {
            return Err(format!("`account` is 12 digits, not `{account}`"));
        }
        Ok(Target {
            queue: queue(&self.url, self.account.as_deref(), number),
            secret: self.secret()?,
            rules: [rule],
            account: self.account.clone(),
            statuses: self.statuses()?,
            url,
        })
    }

    fn secret(&self) -> Result<Vec<u8>, String> {
        let secret = match self.secret.strip_prefix("whsec_") {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| "`secret` begins with `whsec_` and goes on with no base64")?,
            None => self.secret.as_bytes().to_vec(),
        };
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "`secret` is short: it takes {SECRET_BYTES_MIN} bytes"
            ));
        }
        Ok(secret)
    }

    fn statuses(&self) -> Result<Vec<Status>, String> {
        let Some(named) = &self.statuses else {
            return Ok(Status::ALL.to_vec());
        };
        let known = |name: &String| {
            let mut all = Status::ALL.into_iter();
            all.find(|status| status_name(*status) == name)
                .ok_or_else(|| {
                    let known = Status::ALL.map(status_name).join(", ");
                    format!("`{name}` is no status of an execution; they are {known}")
                })
        };
        named.iter().map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn webhook(url: &str, secret: &str) -> Webhook {
        Webhook {
            url: url.to_owned(),
            secret: secret.to_owned(),
            account: None,
            statuses: None,
            private: false,
        }
    }

    #[test]
    fn what_is_wrong_with_a_webhook_is_told() {
        for (url, secret, why) in [
            ("https://hooks.example/x", SECRET, None),
            (
                "https://hooks.example/x",
                "whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
                None,
            ),
            ("https://hooks.example/x", "whsec_MDEy", Some("is short")),
            ("https://hooks.example/x", "whsec_?", Some("no base64")),
            ("https://hooks.example/x", "short", Some("is short")),
            ("hooks.example", SECRET, Some("is no URL")),
            ("http://hooks.example/x", SECRET, Some("private = true")),
            (
                "ftp://hooks.example/x",
                SECRET,
                Some("neither http nor https"),
            ),
            ("https://u:p@hooks.example/x", SECRET, Some("a user name")),
        ] {
            let told = webhook(url, secret).target(1).err();
            match (why, told) {
                (None, None) => {}
                (Some(why), Some(told)) => assert!(told.contains(why), "{url}: {told}"),
                (why, told) => panic!("{url}: {why:?} {told:?}"),
            }
        }
        let other = Webhook {
            statuses: Some(vec!["DONE".to_owned()]),
            ..webhook("https://hooks.example/x", SECRET)
        };
        assert!(other.target(1).is_err_and(|why| why.contains("`DONE`")));
        let other = Webhook {
            account: Some("1".to_owned()),
            ..webhook("https://hooks.example/x", SECRET)
        };
        assert!(other.target(1).is_err_and(|why| why.contains("12 digits")));
    }

    #[test]
    fn a_webhook_has_its_queue_wherever_it_stands_in_the_file() {
        let queues = |webhooks: &[&Webhook]| {
            let webhooks = webhooks.iter().copied().cloned().collect();
            let targets = WebhookConfig { webhooks }.targets().unwrap();
            let queues = targets.into_iter().map(|target| target.queue);
            queues.collect::<Vec<_>>()
        };
        let one = webhook("https://one.example/", SECRET);
        let two = webhook("https://two.example/", SECRET);
        let own = Webhook {
            account: Some("111111111111".to_owned()),
            ..one.clone()
        };
        let changed = Webhook {
            secret: "fedcba9876543210".to_owned(),
            statuses: Some(vec!["FAILED".to_owned()]),
            ..one.clone()
        };
        let before = queues(&[&one, &two, &own, &one]);
        let distinct: std::collections::BTreeSet<_> = before.iter().collect();
        assert_eq!(distinct.len(), 4, "{before:?}");
        let after = queues(&[&own, &changed, &two]);
        assert_eq!(
            after,
            [before[2].clone(), before[0].clone(), before[1].clone()]
        );
    }

    #[test]
    fn accounts_and_statuses_choose() {
        let chosen = Webhook {
            account: Some("111111111111".to_owned()),
            statuses: Some(vec!["FAILED".to_owned(), "TIMED_OUT".to_owned()]),
            ..webhook("https://one.example/", SECRET)
        };
        let target = chosen.target(1).unwrap();
        for (account, status, wanted) in [
            ("111111111111", Status::Failed, true),
            ("111111111111", Status::TimedOut, true),
            ("111111111111", Status::Running, false),
            ("222222222222", Status::Failed, false),
        ] {
            assert_eq!(
                target.wants(account, status),
                wanted,
                "{account} {status:?}"
            );
        }
        let all = webhook("https://one.example/", SECRET).target(1).unwrap();
        assert!(Status::ALL.iter().all(|status| all.wants("1", *status)));
    }
}
