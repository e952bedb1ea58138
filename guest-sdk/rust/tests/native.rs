//! A task's logic under ordinary unit tests, without Wasm.

use serde::{Deserialize, Serialize};
use stepwell_task::{
    Cancelled, Context, TaskError, config, heartbeat, log, secrets, task, testing,
};

#[derive(Deserialize)]
struct Order {
    id: String,
    amount: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Receipt {
    id: String,
    cents: u32,
    attempt: u32,
}

#[task]
fn charge(order: Order, ctx: &Context) -> Result<Receipt, TaskError> {
    log::info(
        "charging",
        &[("order", &order.id), ("attempt", &ctx.attempt)],
    );
    heartbeat("begun")?;
    let _key = secrets::get("STRIPE_KEY")?;
    let limit: u32 = config::get("limit")
        .unwrap_or_else(|| "1000".into())
        .parse()?;
    let cents = order.amount.parse()?;
    if cents > limit {
        return Err(TaskError::new(
            "CardDeclined",
            format!("{cents} is over {limit}"),
        ));
    }
    Ok(Receipt {
        id: order.id,
        cents,
        attempt: ctx.attempt,
    })
}

fn order(amount: &str) -> Order {
    Order {
        id: "o-1".into(),
        amount: amount.into(),
    }
}

#[test]
fn a_task_is_an_ordinary_function() {
    testing::set_secret("STRIPE_KEY", Some("sk"));
    let receipt = charge(order("250"), &testing::context()).unwrap();
    assert_eq!(
        receipt,
        Receipt {
            id: "o-1".into(),
            cents: 250,
            attempt: 1
        }
    );
    let log = testing::take_log();
    assert_eq!(log[0].message, "charging");
    assert_eq!(
        log[0].fields,
        [
            ("order".to_owned(), "o-1".to_owned()),
            ("attempt".to_owned(), "1".to_owned())
        ]
    );
    assert_eq!(testing::take_heartbeats(), ["begun"]);
}

#[test]
fn its_own_failure_keeps_name_and_cause() {
    testing::set_secret("STRIPE_KEY", Some("sk"));
    testing::set_config("limit", "100");
    let error = charge(order("250"), &testing::context()).unwrap_err();
    assert_eq!(
        (error.error(), error.cause()),
        ("CardDeclined", "250 is over 100")
    );
}

#[test]
fn any_error_converts_under_its_own_name() {
    testing::set_secret("STRIPE_KEY", Some("sk"));
    let error = charge(order("much"), &testing::context()).unwrap_err();
    assert_eq!(
        (error.error(), error.cause()),
        ("ParseIntError", "invalid digit found in string")
    );
}

#[test]
fn a_secret_that_is_not_granted_says_how_to_mend() {
    let error = charge(order("1"), &testing::context()).unwrap_err();
    assert_eq!(error.error(), "SecretError");
    assert!(
        error.cause().contains("[grants].secrets")
            // What was uploaded has no manifest to list it in.
            && error.cause().contains("one that was uploaded is granted nothing but its variables"),
        "{}",
        error.cause()
    );
}

#[test]
fn a_cancelled_task_hears_of_it() {
    testing::cancel(Cancelled::Stopped);
    let error = charge(order("1"), &testing::context()).unwrap_err();
    assert_eq!(
        (error.error(), error.cause()),
        ("Cancelled", "the task was stopped")
    );
}

#[cfg(feature = "http")]
#[test]
fn http_replies_are_scripted() {
    use stepwell_task::http::{self, HttpError, Response};
    testing::answer_http(Ok(Response {
        status: 503,
        headers: vec![],
        body: b"busy".to_vec(),
    }));
    let error = http::get("https://api.example.com/x")
        .send()
        .and_then(Response::error_for_status)
        .unwrap_err();
    assert_eq!(error, HttpError::Status(503, "busy".into()));
    assert_eq!(testing::take_http()[0].method, "GET");
}
