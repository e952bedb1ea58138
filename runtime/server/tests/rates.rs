//! Rates of requests: our own operations are counted like AWS's, before anything of them is done.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

mod support;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::{Value, json};
use stepwell_engine::{Rate, Rates};
use stepwell_server::{ServerConfig, ServerState, router};
use tower::ServiceExt;

/// The code of the error, or an empty text.
async fn call(router: &Router, operation: &str) -> String {
    let body = json!({"executionArn": "arn:aws:states:us-east-1:000000000000:execution:m:e"});
    let request = Request::post("/")
        .header("Content-Type", "application/x-amz-json-1.0")
        .header("X-Amz-Target", format!("Stepwell.{operation}"))
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    let code = answer["__type"].as_str().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn our_own_operations_have_rates() {
    let throttled = "ThrottlingException";
    for (rated, operation) in [
        ("stepwell:GetExecutionUsage", "GetExecutionUsage"),
        ("GetExecutionHistory", "GetExecutionUsage"),
        ("stepwell:ListTenants", "ListTenants"),
        ("stepwell:ForkExecution", "ForkExecution"),
    ] {
        let engine = support::engine(false, None);
        let one = Rate {
            bucket: 1,
            per_second: 0,
        };
        engine.usual_rates(Rates::Set(BTreeMap::from([(rated.to_owned(), one)])));
        let state = ServerState::new(ServerConfig::default(), engine, support::sandbox());
        let router = router(Arc::new(state));
        assert_ne!(call(&router, operation).await, throttled, "{rated}");
        assert_eq!(call(&router, operation).await, throttled, "{rated}");
    }
}
