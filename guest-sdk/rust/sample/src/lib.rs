//! A task that integrates an HTTP API: reports an order to a webhook and returns the API's answer.

use serde::{Deserialize, Serialize};
use stepwell_task::http::{self, Response};
use stepwell_task::{Context, TaskError, config, heartbeat, log, task};

/// What the state passes in.
#[derive(Debug, Deserialize, Serialize)]
pub struct Order {
    id: String,
    cents: u32,
}

/// What the state gets back.
#[derive(Debug, PartialEq, Serialize)]
pub struct Reported {
    status: u16,
    answer: serde_json::Value,
}

/// Posts the order to the URL in the configuration key `webhook`.
///
/// # Errors
/// `EmptyOrder` for an order of nothing, `NotConfigured` without the key, `HttpError` when the API cannot be reached or
/// refuses.
#[task]
pub fn report(order: Order, ctx: &Context) -> Result<Reported, TaskError> {
    if order.cents == 0 {
        return Err(TaskError::new(
            "EmptyOrder",
            format!("order {} is about nothing", order.id),
        ));
    }
    let url = config::get("webhook").ok_or_else(|| {
        TaskError::new(
            "NotConfigured",
            "set `webhook` under [grants].config in plugin.toml",
        )
    })?;
    log::info(
        "reporting",
        &[("order", &order.id), ("attempt", &ctx.attempt)],
    );
    heartbeat("sending")?;
    let reply = http::post(url)
        .header("idempotency-key", &ctx.idempotency_key)
        .json(&order)
        .send()
        .and_then(Response::error_for_status)?;
    Ok(Reported {
        status: reply.status,
        answer: reply.json()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    fn order(cents: u32) -> Order {
        Order {
            id: "o-1".into(),
            cents,
        }
    }

    #[test]
    fn reports_an_order_once_per_key() {
        testing::set_config("webhook", "https://api.example.com/orders");
        testing::answer_http(Ok(Response {
            status: 201,
            headers: vec![],
            body: br#"{"seen":true}"#.to_vec(),
        }));
        let reported = report(order(5), &testing::context()).unwrap();
        assert_eq!(
            reported,
            Reported {
                status: 201,
                answer: serde_json::json!({"seen": true})
            }
        );
        let sent = &testing::take_http()[0];
        assert_eq!(sent.url, "https://api.example.com/orders");
        assert!(
            sent.headers
                .contains(&("idempotency-key".into(), "test".into()))
        );
    }

    #[test]
    fn refuses_an_order_of_nothing() {
        assert_eq!(
            report(order(0), &testing::context()).unwrap_err().error(),
            "EmptyOrder"
        );
    }
}
