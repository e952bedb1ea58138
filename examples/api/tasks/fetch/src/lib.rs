//! The task `fetch`: reads one JSON document over HTTP. Which hosts, methods and paths it reaches is `plugin.toml`'s
//! business, not this code's.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use stepwell_task::http::{self, HttpError, Response};
use stepwell_task::{Context, TaskError, log, task};

/// Bound of the connection and of the first byte of the reply, each.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the state passes in.
#[derive(Deserialize)]
pub struct Request {
    url: String,
}

/// The document and how it was got.
#[derive(Debug, PartialEq, Serialize)]
pub struct Fetched {
    body: Value,
    attempts: u32,
}

/// Reads the document.
///
/// # Errors
/// `ServiceBusy` (429 and 5xx) and `ServiceDown` (no reply) are worth another try; `NotGranted` is the sandbox's
/// refusal, `BadReply` any other reply that is of no use.
#[task]
pub fn fetch(request: Request, ctx: &Context) -> Result<Fetched, TaskError> {
    log::info(
        "fetching",
        &[("url", &request.url), ("attempt", &ctx.attempt)],
    );
    let body = http::get(request.url)
        .header("accept", "application/json")
        .header("idempotency-key", &ctx.idempotency_key)
        .timeout(TIMEOUT)
        .send()
        .and_then(Response::error_for_status)
        .and_then(|reply| reply.json())
        .map_err(|error| named(&error))?;
    Ok(Fetched {
        body,
        attempts: ctx.attempt,
    })
}

/// The error under a name that `Retry` and `Catch` can tell apart.
fn named(error: &HttpError) -> TaskError {
    let name = match error {
        HttpError::Status(429 | 500.., _) => "ServiceBusy",
        HttpError::Failed(_) => "ServiceDown",
        HttpError::Denied(_) => "NotGranted",
        HttpError::Invalid(_) | HttpError::Status(_, _) | HttpError::Body(_) => "BadReply",
    };
    TaskError::new(name, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    fn fetched(answer: Result<(u16, &str), HttpError>) -> Result<Fetched, TaskError> {
        testing::answer_http(answer.map(|(status, body)| Response {
            status,
            headers: vec![],
            body: body.as_bytes().to_vec(),
        }));
        fetch(
            Request {
                url: "http://localhost/users/1".into(),
            },
            &testing::context(),
        )
    }

    #[test]
    fn the_document_comes_through() {
        assert_eq!(fetched(Ok((200, r#"{"id":1}"#))).unwrap().body["id"], 1);
        let sent = &testing::take_http()[0];
        assert!(
            sent.headers
                .contains(&("idempotency-key".into(), "test".into()))
        );
    }

    #[test]
    fn errors_are_told_apart() {
        let name = |answer| fetched(answer).unwrap_err().error().to_owned();
        assert_eq!(name(Ok((503, "busy"))), "ServiceBusy");
        assert_eq!(name(Ok((429, "slow down"))), "ServiceBusy");
        assert_eq!(name(Ok((404, "none"))), "BadReply");
        assert_eq!(name(Ok((200, "<html>"))), "BadReply");
        assert_eq!(
            name(Err(HttpError::Failed("refused".into()))),
            "ServiceDown"
        );
        assert_eq!(
            name(Err(HttpError::Denied("GET /admin".into()))),
            "NotGranted"
        );
    }
}
