//! A lane of a webhook: one event after the other, each until the receiver takes it or it is given up. What it hides: the
//! signature, and which answers are worth another try.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stepwell_egress::{Client, ConnectError, Failure, Request};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{Change, Counts, Item, Target};
use crate::limits::{
    SENDING_ANSWER_BYTES_MAX, WEBHOOK_AGE_MAX, WEBHOOK_ANSWER_MAX, WEBHOOK_PAUSE, WEBHOOK_PAUSE_MAX,
};

/// See the module.
pub(super) struct Lane {
    pub(super) target: Arc<Target>,
    pub(super) client: Client,
    pub(super) counts: Arc<Counts>,
    /// Becomes true when the server ends.
    pub(super) closing: watch::Receiver<bool>,
    /// The last request failed, and the log says so.
    pub(super) failing: bool,
}

/// What became of a try.
enum Tried {
    Taken,
    /// Worth another try.
    Busy(String),
    Refused(String),
}

impl Lane {
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Item>) {
        while let Some(item) = queue.recv().await {
            match item {
                Item::Change(change) => {
                    let counter = match self.deliver(&change).await {
                        true => &self.counts.delivered,
                        false => &self.counts.dropped,
                    };
                    counter.fetch_add(1, Relaxed);
                    self.counts.left(change.bytes);
                }
                Item::Flush(flushed) => {
                    let _ = flushed.send(());
                }
            }
        }
    }

    /// Whether the receiver took it.
    async fn deliver(&mut self, change: &Change) -> bool {
        let body = change.body();
        let mut pause = WEBHOOK_PAUSE;
        loop {
            let why = match self.attempt(change, &body).await {
                Tried::Taken => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!(webhook = self.origin(), "a webhook takes events again");
                    }
                    return true;
                }
                Tried::Refused(why) => {
                    self.failed(&why);
                    return false;
                }
                Tried::Busy(why) => why,
            };
            self.failed(&why);
            if *self.closing.borrow() || change.since.elapsed() + pause > WEBHOOK_AGE_MAX {
                return false;
            }
            // The end of the server cuts the pause short for a last try.
            let _ = timeout(pause, self.closing.wait_for(|closing| *closing)).await;
            pause = (pause * 2).min(WEBHOOK_PAUSE_MAX);
        }
    }

    async fn attempt(&self, change: &Change, body: &str) -> Tried {
        let request = self.request(change, body, now_s());
        let exchange = self
            .client
            .exchange(&request, &self.target.rules, SENDING_ANSWER_BYTES_MAX);
        let response = match timeout(WEBHOOK_ANSWER_MAX, exchange).await {
            Ok(Ok(response)) => response,
            Ok(Err(Failure::Connect(ConnectError::Private))) => {
                return Tried::Refused(
                    "it is at a private address; `private = true` lets events go there".to_owned(),
                );
            }
            Ok(Err(failure @ (Failure::Refused | Failure::Malformed(_)))) => {
                return Tried::Refused(failure.to_string());
            }
            // It took the event, and said more than is read.
            Ok(Err(Failure::TooLarge(_))) => return Tried::Taken,
            Ok(Err(failure @ (Failure::Connect(_) | Failure::Broken(_)))) => {
                return Tried::Busy(failure.to_string());
            }
            Err(_) => return Tried::Busy("it did not answer in time".to_owned()),
        };
        let told = format!("it answered {} {}", response.status, response.reason);
        match response.status {
            200..=299 => Tried::Taken,
            408 | 425 | 429 | 500..=599 => Tried::Busy(told),
            _ => Tried::Refused(told),
        }
    }

    /// Signed as Standard Webhooks says: HMAC-SHA256 over id, time and body.
    fn request(&self, change: &Change, body: &str, now_s: u64) -> Request {
        let id = change.id.to_string();
        let signature = sign(&self.target.secret, &id, now_s, body);
        let header = |name: &str, value: String| (name.to_owned(), value);
        Request {
            method: "POST".to_owned(),
            url: self.target.url.clone(),
            headers: vec![
                header(
                    "Content-Type",
                    "application/cloudevents+json; charset=UTF-8".to_owned(),
                ),
                header(
                    "User-Agent",
                    concat!("stepwell/", env!("CARGO_PKG_VERSION")).to_owned(),
                ),
                header("webhook-id", id),
                header("webhook-timestamp", now_s.to_string()),
                header("webhook-signature", signature),
            ],
            body: Some(body.as_bytes().to_vec()),
        }
    }

    fn failed(&mut self, why: &str) {
        self.counts.failed_tries.fetch_add(1, Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            let webhook = self.origin();
            tracing::warn!(webhook, "a webhook takes no events: {why}");
        }
    }

    /// What may be told of its URL, which may hold a token.
    fn origin(&self) -> String {
        self.target.url.origin().ascii_serialization()
    }
}

fn sign(secret: &[u8], id: &str, now_s: u64, body: &str) -> String {
    let hmac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    let signed = hmac.chain_update(format!("{id}.{now_s}.{body}"));
    format!("v1,{}", STANDARD.encode(signed.finalize().into_bytes()))
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification of Standard Webhooks and of its libraries' tests.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = sign(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
