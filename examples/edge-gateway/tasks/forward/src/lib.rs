//! The task `forward`: hands a record on to the collector. Whether there is a network is the workflow's business: it tries
//! again for as long as it takes.

use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use stepwell_task::http::{self, HttpError, Response};
use stepwell_task::{Context, TaskError, task};

/// Bound of the connection and of the first byte of the reply, each.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What goes where.
#[derive(Deserialize)]
pub struct Delivery {
    collector: String,
    record: Value,
}

/// Hands the record on. All attempts carry the same key, so that the collector keeps one of them.
///
/// # Errors
/// `Offline`: no answer, or one that says "later"; `Rejected`: the collector does not want it.
#[task]
pub fn forward(delivery: Delivery, ctx: &Context) -> Result<Value, TaskError> {
    let sent = http::post(format!("{}/records", delivery.collector))
        .header("idempotency-key", &ctx.idempotency_key)
        .timeout(TIMEOUT)
        .json(&delivery.record)
        .send()
        .and_then(Response::error_for_status);
    match sent {
        Ok(_) => Ok(json!({ "delivered": delivery.record })),
        Err(error) => {
            let name = match &error {
                HttpError::Failed(_) | HttpError::Status(429 | 500.., _) => "Offline",
                HttpError::Denied(_)
                | HttpError::Invalid(_)
                | HttpError::Status(_, _)
                | HttpError::Body(_) => "Rejected",
            };
            Err(TaskError::new(name, error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    fn sent(answer: Result<u16, HttpError>) -> Result<Value, TaskError> {
        testing::answer_http(answer.map(|status| Response {
            status,
            headers: vec![],
            body: vec![],
        }));
        let delivery = Delivery {
            collector: "http://localhost:1".into(),
            record: json!({"mean": 1}),
        };
        forward(delivery, &testing::context())
    }

    #[test]
    fn a_record_is_delivered_under_its_key() {
        assert_eq!(sent(Ok(201)).unwrap()["delivered"]["mean"], 1);
        let request = &testing::take_http()[0];
        assert_eq!(request.url, "http://localhost:1/records");
        assert!(
            request
                .headers
                .contains(&("idempotency-key".into(), "test".into()))
        );
    }

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        let name = |answer| sent(answer).unwrap_err().error().to_owned();
        assert_eq!(name(Err(HttpError::Failed("refused".into()))), "Offline");
        assert_eq!(name(Ok(503)), "Offline");
        assert_eq!(name(Ok(422)), "Rejected");
    }
}
