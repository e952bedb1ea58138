//! Events of executions' status to webhooks: CloudEvents with what EventBridge's events of Step Functions say, signed.
//! What it hides: the lanes in which they are sent, one event of an execution after the other.
//!
//! They are sent as long as the process lives, and tried again while a receiver is away; what a crash or a full queue takes
//! with it is not sent, and the full queue's part is counted. Executions never wait for a receiver.

mod event;
mod lane;

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use stepwell_egress::{Client, Connector, HttpRule, Url};
use stepwell_engine::{Observed, Observer};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{labelled, runtime};
use crate::{
    limits::{
        SENDING_CONNECT_MAX, SENDING_TIME_MAX, WEBHOOK_LANES, WEBHOOK_QUEUE_BYTES_MAX,
        WEBHOOK_QUEUE_MAX, WEBHOOKS_MAX,
    },
    metrics::{Sample, SampleKind},
};

use event::Change;
use lane::Lane;

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

/// Where events go.
struct Target {
    url: Url,
    secret: Vec<u8>,
    rules: [HttpRule; 1],
}

/// What is counted of a webhook.
#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    dropped: AtomicU64,
    failed_tries: AtomicU64,
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub struct Webhooks {
    webhooks: Vec<Open>,
    closing: watch::Sender<bool>,
    hasher: RandomState,
}

/// A webhook that is served.
#[derive(Debug)]
struct Open {
    /// Scheme, host and port.
    origin: String,
    account: Option<String>,
    statuses: Option<Vec<String>>,
    lanes: Vec<mpsc::Sender<Item>>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Item {
    Change(Box<Change>),
    /// Answered when all before it is sent or given up.
    Flush(oneshot::Sender<()>),
}

impl Webhooks {
    /// Begins to serve them; the receivers need not be there.
    ///
    /// # Errors
    /// When one of them is wrong, and when no thread can be started.
    pub fn start(config: WebhookConfig) -> Result<Webhooks, WebhookError> {
        if config.webhooks.len() > WEBHOOKS_MAX {
            let why = format!("there are at most {WEBHOOKS_MAX} webhooks");
            return Err(WebhookError::Wrong(WEBHOOKS_MAX + 1, why));
        }
        let connector =
            Connector::new().map_err(|error| WebhookError::Start(io::Error::other(error)))?;
        let client = Client::new(connector, SENDING_CONNECT_MAX);
        let closing = watch::Sender::new(false);
        let (mut webhooks, mut lanes) = (Vec::new(), Vec::new());
        for (webhook, number) in config.webhooks.into_iter().zip(1..) {
            let target = webhook
                .target()
                .map_err(|why| WebhookError::Wrong(number, why))?;
            let (target, counts) = (Arc::new(target), Arc::<Counts>::default());
            let mut senders = Vec::new();
            for _ in 0..WEBHOOK_LANES {
                let (sender, queue) = mpsc::channel(WEBHOOK_QUEUE_MAX);
                let lane = Lane {
                    target: target.clone(),
                    client: client.clone(),
                    counts: counts.clone(),
                    closing: closing.subscribe(),
                    failing: false,
                };
                senders.push(sender);
                lanes.push((lane, queue));
            }
            webhooks.push(Open {
                origin: target.url.origin().ascii_serialization(),
                account: webhook.account,
                statuses: webhook.statuses,
                lanes: senders,
                counts,
            });
        }
        runtime::start("stepwell-webhook", move || async move {
            let running = lanes
                .into_iter()
                .map(|(lane, queue)| tokio::spawn(lane.run(queue)));
            futures_util::future::join_all(running).await;
        })
        .map_err(WebhookError::Start)?;
        Ok(Webhooks {
            webhooks,
            closing,
            hasher: RandomState::new(),
        })
    }

    /// Sends what waits, each event once more, but not for long.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        let flushing = async {
            let lanes = self.webhooks.iter().flat_map(|webhook| &webhook.lanes);
            for lane in lanes {
                let (sent, is_sent) = oneshot::channel();
                if lane.send(Item::Flush(sent)).await.is_ok() {
                    let _ = is_sent.await;
                }
            }
        };
        if timeout(SENDING_TIME_MAX, flushing).await.is_err() {
            let waiting = self
                .webhooks
                .iter()
                .map(|webhook| webhook.counts.waiting.load(Relaxed));
            let events: u64 = waiting.sum();
            tracing::warn!(events, "events that waited for a webhook are not sent");
        }
    }

    /// Their counts, by origin.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (kind, name, help, value) in NUMBERS {
            samples.extend(self.webhooks.iter().zip(1_u32..).map(|(webhook, number)| {
                let number = number.to_string();
                let labels = [("webhook", &*number), ("origin", &*webhook.origin)];
                labelled(
                    kind,
                    name,
                    help,
                    &labels,
                    value(&webhook.counts).load(Relaxed),
                )
            }));
        }
        samples
    }
}

type Number = (
    SampleKind,
    &'static str,
    &'static str,
    fn(&Counts) -> &AtomicU64,
);

const NUMBERS: [Number; 4] = [
    (
        SampleKind::Counter,
        "webhook_delivered",
        "Events that a webhook took",
        |counts| &counts.delivered,
    ),
    (
        SampleKind::Counter,
        "webhook_dropped",
        "Events that were given up: no room, refused, or too old",
        |counts| &counts.dropped,
    ),
    (
        SampleKind::Counter,
        "webhook_requests_failed",
        "Requests to a webhook that failed, each try",
        |counts| &counts.failed_tries,
    ),
    (
        SampleKind::Gauge,
        "webhook_queue_depth",
        "Events that wait for a webhook",
        |counts| &counts.waiting,
    ),
];

impl Observer for Webhooks {
    fn observe(&self, observed: &Arc<Observed>) {
        // As on AWS, EXPRESS executions have no events.
        if observed.start.express {
            return;
        }
        for entry in observed.own() {
            let Some(change) = Change::of(observed, entry) else {
                continue;
            };
            let lane = self.hasher.hash_one(&*observed.execution_arn) as usize % WEBHOOK_LANES;
            for webhook in self
                .webhooks
                .iter()
                .filter(|webhook| webhook.wants(&change))
            {
                webhook.queue(lane, change.clone());
            }
        }
    }
}

impl Open {
    fn wants(&self, change: &Change) -> bool {
        let account = self.account.as_deref();
        let statuses = self.statuses.as_ref();
        account.is_none_or(|account| *account == *change.account)
            && statuses.is_none_or(|statuses| statuses.iter().any(|status| status == change.status))
    }

    fn queue(&self, lane: usize, change: Change) {
        let counts = &self.counts;
        let bytes = change.bytes;
        counts.waiting.fetch_add(1, Relaxed);
        let before = counts.waiting_bytes.fetch_add(bytes, Relaxed);
        let lane = self.lanes.get(lane);
        let lane = lane.filter(|_| before == 0 || before + bytes <= WEBHOOK_QUEUE_BYTES_MAX);
        let sent = lane.map(|lane| lane.try_send(Item::Change(Box::new(change))));
        if !matches!(sent, Some(Ok(()))) {
            counts.left(bytes);
            if counts.dropped.fetch_add(1, Relaxed) == 0 {
                let webhook = &*self.origin;
                tracing::warn!(
                    webhook,
                    "events for a webhook are missing: stepwell_webhook_dropped_total counts them"
                );
            }
        }
    }
}

impl Counts {
    /// An event of so many bytes waits no more.
    fn left(&self, bytes: u64) {
        self.waiting.fetch_sub(1, Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Relaxed);
    }
}

/// Statuses that an event tells.
const STATUSES: [&str; 5] = ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"];

impl Webhook {
    fn target(&self) -> Result<Target, String> {
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
        if let Some(account) = &self.account
            && !(account.len() == 12 && account.bytes().all(|digit| digit.is_ascii_digit()))
        {
            return Err(format!("`account` is 12 digits, not `{account}`"));
        }
        let mut named = self.statuses.iter().flatten();
        if let Some(other) = named.find(|status| !STATUSES.contains(&status.as_str())) {
            let known = STATUSES.join(", ");
            return Err(format!(
                "`{other}` is no status of an execution; they are {known}"
            ));
        }
        Ok(Target {
            url,
            secret,
            rules: [rule],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let (sender, mut queue) = mpsc::channel(WEBHOOK_QUEUE_MAX);
        let open = Open {
            origin: String::new(),
            account: None,
            statuses: None,
            lanes: vec![sender],
            counts: Arc::default(),
        };
        let half = WEBHOOK_QUEUE_BYTES_MAX / 2;
        for (bytes, dropped) in [(WEBHOOK_QUEUE_BYTES_MAX + 1, 0), (1, 1)] {
            open.queue(0, Change::of_bytes(bytes));
            assert_eq!(open.counts.dropped.load(Relaxed), dropped, "{bytes}");
        }
        assert!(queue.try_recv().is_ok());
        open.counts.left(WEBHOOK_QUEUE_BYTES_MAX + 1);
        for (bytes, dropped) in [(half, 1), (half, 1), (1, 2)] {
            open.queue(0, Change::of_bytes(bytes));
            assert_eq!(open.counts.dropped.load(Relaxed), dropped, "{bytes}");
        }
        assert_eq!(open.counts.waiting.load(Relaxed), 2);
    }

    #[test]
    fn what_is_wrong_with_a_webhook_is_told() {
        let webhook = |url: &str, secret: &str| Webhook {
            url: url.to_owned(),
            secret: secret.to_owned(),
            account: None,
            statuses: None,
            private: false,
        };
        let secret = "0123456789abcdef";
        for (url, secret, why) in [
            ("https://hooks.example/x", secret, None),
            (
                "https://hooks.example/x",
                "whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
                None,
            ),
            ("https://hooks.example/x", "whsec_MDEy", Some("is short")),
            ("https://hooks.example/x", "whsec_?", Some("no base64")),
            ("https://hooks.example/x", "short", Some("is short")),
            ("hooks.example", secret, Some("is no URL")),
            ("http://hooks.example/x", secret, Some("private = true")),
            (
                "ftp://hooks.example/x",
                secret,
                Some("neither http nor https"),
            ),
            ("https://u:p@hooks.example/x", secret, Some("a user name")),
        ] {
            let told = webhook(url, secret).target().err();
            match (why, told) {
                (None, None) => {}
                (Some(why), Some(told)) => assert!(told.contains(why), "{url}: {told}"),
                (why, told) => panic!("{url}: {why:?} {told:?}"),
            }
        }
        let other = Webhook {
            statuses: Some(vec!["DONE".to_owned()]),
            ..webhook("https://hooks.example/x", secret)
        };
        assert!(other.target().is_err_and(|why| why.contains("`DONE`")));
        let other = Webhook {
            account: Some("1".to_owned()),
            ..webhook("https://hooks.example/x", secret)
        };
        assert!(other.target().is_err_and(|why| why.contains("12 digits")));
    }
}
