//! Calls that race for one name: whatever the order, each answer is one that some order gives.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

mod support;

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::{Value, json};
use stepwell_server::{ServerConfig, ServerState, router};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Rounds of each racer.
const ROUNDS: usize = 200;

/// The code of the error, or an empty text.
async fn call(router: &Router, operation: &str, body: Value) -> String {
    let request = Request::post("/")
        .header("Content-Type", "application/x-amz-json-1.0")
        .header("X-Amz-Target", format!("AWSStepFunctions.{operation}"))
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    let code = answer["__type"].as_str().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default().to_owned()
}

async fn repeat(
    router: Router,
    operation: &'static str,
    body: Value,
    known: &'static [&'static str],
) {
    for _ in 0..ROUNDS {
        let code = call(&router, operation, body.clone()).await;
        assert!(
            code.is_empty() || known.contains(&&*code),
            "{operation}: {code}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creating_races_with_deleting() {
    let state = ServerState::new(
        ServerConfig::default(),
        support::engine(false, None),
        support::sandbox(),
    );
    let router = router(Arc::new(state));
    let arn = |kind: &str| format!("arn:aws:states:us-east-1:000000000000:{kind}:race");
    let machine = json!({"name": "race", "roleArn": "arn:aws:iam::000000000000:role/r",
        "definition": r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#});
    let activity = json!({"name": "race"});
    let started = json!({"stateMachineArn": arn("stateMachine")});
    // So many crossing changes at once may be asked to come again.
    let deleting = &["StateMachineDeleting", "ConflictException"];
    let gone = &["StateMachineDeleting", "StateMachineDoesNotExist"];
    let mut racers = JoinSet::new();
    for _ in 0..2 {
        racers.spawn(repeat(
            router.clone(),
            "CreateStateMachine",
            machine.clone(),
            deleting,
        ));
        racers.spawn(repeat(
            router.clone(),
            "CreateActivity",
            activity.clone(),
            &[],
        ));
    }
    let delete_activity = json!({"activityArn": arn("activity")});
    racers.spawn(repeat(
        router.clone(),
        "DeleteStateMachine",
        started.clone(),
        &[],
    ));
    racers.spawn(repeat(router.clone(), "StartExecution", started, gone));
    racers.spawn(repeat(router, "DeleteActivity", delete_activity, &[]));
    racers.join_all().await;
}
