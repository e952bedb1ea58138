//! One request to a webhook. What it hides: the signature, and which answers are worth another try.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use stepwell_egress::{Client, ConnectError, Failure, Request};
use tokio::time::timeout;
use uuid::Uuid;

use super::config::Target;
use crate::limits::WEBHOOK_ANSWER_MAX;

/// What became of a try.
pub(super) enum Tried {
    Taken,
    /// Worth another try.
    Busy(String),
    Refused(String),
}

/// Sends an event once.
pub(super) async fn send(client: &Client, target: &Target, id: Uuid, body: &str) -> Tried {
    let request = request(target, &id.to_string(), body, now_s());
    // The status decides: a receiver may say more, and for as long as it likes.
    let answer = client.head(&request, &target.rules);
    let response = match timeout(WEBHOOK_ANSWER_MAX, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(Failure::Connect(ConnectError::Private))) => {
            return Tried::Busy(
                "it is at a private address; `private = true` lets events go there".to_owned(),
            );
        }
        Ok(Err(
            failure @ (Failure::Refused
            | Failure::Malformed(_)
            | Failure::Connect(_)
            | Failure::Broken(_)
            | Failure::HeadTooLarge
            | Failure::TooLarge(_)),
        )) => return Tried::Busy(failure.to_string()),
        Err(_) => return Tried::Busy("it did not answer in time".to_owned()),
    };
    let told = format!("it answered {} {}", response.status, response.reason);
    match response.status {
        200..=299 => Tried::Taken,
        // What stands before a receiver that is away, or is not yet set up, answers so too.
        401 | 403 | 404 | 408 | 409 | 425 | 429 | 500..=599 => Tried::Busy(told),
        _ => Tried::Refused(told),
    }
}

/// Signed as Standard Webhooks says: HMAC-SHA256 over id, time and body.
fn request(target: &Target, id: &str, body: &str, now_s: u64) -> Request {
    let signature = sign(&target.secret, id, now_s, body);
    let header = |name: &str, value: String| (name.to_owned(), value);
    Request {
        method: "POST".to_owned(),
        url: target.url.clone(),
        headers: vec![
            header(
                "Content-Type",
                "application/cloudevents+json; charset=UTF-8".to_owned(),
            ),
            header(
                "User-Agent",
                concat!("stepwell/", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
            header("webhook-id", id.to_owned()),
            header("webhook-timestamp", now_s.to_string()),
            header("webhook-signature", signature),
        ],
        body: Some(body.as_bytes().to_vec()),
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
