//! The task `publish`: posts a report. However often it runs for one visit of its state, the server keeps one report.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepwell_task::http::{self, Response};
use stepwell_task::{Context, TaskError, log, task};

/// What the state passes in.
#[derive(Deserialize)]
pub struct Request {
    url: String,
    report: Value,
}

/// What the server says to a report.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub struct Published {
    id: String,
    bytes: u32,
}

/// Posts the report as JSON.
///
/// # Errors
/// `HttpError` when the server cannot be reached, refuses, or answers nonsense.
#[task]
pub fn publish(request: Request, ctx: &Context) -> Result<Published, TaskError> {
    let reply = http::post(request.url)
        .header("idempotency-key", &ctx.idempotency_key)
        .json(&request.report)
        .send()
        .and_then(Response::error_for_status)?;
    let published: Published = reply.json()?;
    log::info("published", &[("report", &published.id)]);
    Ok(published)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    #[test]
    fn the_report_and_its_key_are_sent() {
        testing::answer_http(Ok(Response {
            status: 201,
            headers: vec![],
            body: br#"{"id":"r-1","bytes":7}"#.to_vec(),
        }));
        let request = Request {
            url: "http://localhost/reports".into(),
            report: serde_json::json!({"a": 1}),
        };
        let published = publish(request, &testing::context()).unwrap();
        assert_eq!(
            published,
            Published {
                id: "r-1".into(),
                bytes: 7
            }
        );
        let sent = &testing::take_http()[0];
        assert_eq!(
            (sent.method.as_str(), sent.body.as_slice()),
            ("POST", br#"{"a":1}"#.as_slice())
        );
    }
}
