//! Histories of EXPRESS executions over the JSON API: kept in memory, paged both ways, listed by state machine.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::{Value, json};
use stepwell_engine::{Engine, Observer, Options, PluginCall, PluginEnd, Store, TaskRunner};
use stepwell_interp::OnCrash;
use stepwell_server::{ExpressHistories, ServerConfig, ServerState, router};
use tower::ServiceExt;

/// After this what has not happened is a defect.
const PATIENCE: Duration = Duration::from_secs(120);

const DEFINITION: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Result":{"a":1},"Next":"B"},
    "B":{"Type":"Succeed"}}}"#;

struct NoPlugins;

impl TaskRunner for NoPlugins {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        let cause = format!("there is no plugin {}", call.plugin);
        Box::pin(async { PluginEnd::Missing { cause } })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

/// A server that keeps so many bytes of EXPRESS executions, or none of them.
fn serving(bytes_max: Option<u64>) -> Router {
    let histories = bytes_max.map(|bytes_max| Arc::new(ExpressHistories::new(bytes_max)));
    let options = Options {
        store: Store::Memory,
        raised_limits: false,
        take_up: true,
        shards: 1,
        storage: None,
        connections: Default::default(),
        services: Default::default(),
        observer: histories.clone().map(|all| all as Arc<dyn Observer>),
    };
    let engine = Engine::open(options, Arc::new(NoPlugins)).unwrap();
    let config = ServerConfig {
        express_histories: histories,
        ..ServerConfig::default()
    };
    let state = ServerState::new(config, engine, Arc::new(Vec::new));
    router(Arc::new(state))
}

async fn call(router: &Router, operation: &str, body: Value) -> Value {
    let request = Request::post("/")
        .header("Content-Type", "application/x-amz-json-1.0")
        .header("X-Amz-Target", format!("AWSStepFunctions.{operation}"))
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn get(router: &Router, path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

/// A machine's ARN.
async fn create(router: &Router) -> String {
    let machine = json!({"name": "m", "type": "EXPRESS", "definition": DEFINITION,
        "roleArn": "arn:aws:iam::000000000000:role/r"});
    let created = call(router, "CreateStateMachine", machine).await;
    created["stateMachineArn"].as_str().unwrap().to_owned()
}

async fn run(router: &Router, machine: &str, name: &str) -> String {
    let start = json!({"stateMachineArn": machine, "name": name, "input": r#"{"in":2}"#});
    let ended = call(router, "StartSyncExecution", start).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{ended}");
    ended["executionArn"].as_str().unwrap().to_owned()
}

fn ids(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap();
    let ids = events.iter().map(|event| event["id"].as_u64().unwrap());
    ids.collect()
}

#[tokio::test]
async fn the_history_of_a_synchronous_execution_is_told_afterwards() {
    let router = serving(Some(1 << 20));
    let machine = create(&router).await;
    let arn = run(&router, &machine, "e").await;
    let events = format!("/api/executions/{arn}/events");
    let (status, page) = get(&router, &events).await;
    assert_eq!(status, 200, "{page}");
    let all = page["events"].as_array().unwrap();
    let types: Vec<&str> = all
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "ExecutionStarted",
            "PassStateEntered",
            "PassStateExited",
            "SucceedStateEntered",
            "SucceedStateExited",
            "ExecutionSucceeded"
        ]
    );
    assert_eq!(
        all[0]["executionStartedEventDetails"]["input"],
        r#"{"in":2}"#
    );
    assert_eq!(
        (&page["droppedEvents"], page.get("nextToken")),
        (&json!(0), None)
    );

    let (_, first) = get(&router, &format!("{events}?maxResults=4")).await;
    assert_eq!(ids(&first), [1, 2, 3, 4]);
    let token = first["nextToken"].as_str().unwrap();
    let (_, second) = get(&router, &format!("{events}?maxResults=4&nextToken={token}")).await;
    assert_eq!(ids(&second), [5, 6]);
    let (_, backward) = get(&router, &format!("{events}?maxResults=2&reverse=true")).await;
    assert_eq!(ids(&backward), [6, 5]);
    let (status, wrong) = get(&router, &format!("{events}?nextToken=none")).await;
    assert_eq!(status, 400, "{wrong}");
    // AWS's own call has none of it, as at AWS.
    let refused = call(&router, "GetExecutionHistory", json!({"executionArn": arn})).await;
    assert!(
        refused["__type"].as_str().unwrap().ends_with("InvalidArn"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_newest_executions_of_a_state_machine_are_listed() {
    let router = serving(Some(1 << 20));
    let machine = create(&router).await;
    run(&router, &machine, "first").await;
    let start = json!({"stateMachineArn": machine, "name": "second"});
    let started = call(&router, "StartExecution", start).await;
    let begun = Instant::now();
    let list = format!("/api/machines/{machine}/express");
    let found = loop {
        let (status, found) = get(&router, &list).await;
        assert_eq!(status, 200, "{found}");
        if found["executions"][0]["status"] == "SUCCEEDED" && found["executions"][1].is_object() {
            break found;
        }
        assert!(begun.elapsed() < PATIENCE, "{found}");
        tokio::task::yield_now().await;
    };
    let newest = &found["executions"][0];
    assert_eq!(newest["executionArn"], started["executionArn"]);
    assert_eq!(
        (&newest["name"], &newest["events"]),
        (&json!("second"), &json!(6))
    );
    assert!(newest["stopDate"].as_f64() >= newest["startDate"].as_f64());
    assert_eq!(found["executions"][1]["name"], "first");
    let (_, one) = get(&router, &format!("{list}?maxResults=1")).await;
    assert_eq!(one["executions"].as_array().unwrap().len(), 1);
    let (_, other) = get(&router, &list.replace(":m/", ":other/")).await;
    assert_eq!(other["executions"], json!([]));
}

#[tokio::test]
async fn what_is_not_kept_is_answered_with_what_is() {
    // Room for one execution, and not for two.
    for (bytes_max, told) in [(Some(5_000), "--express-history"), (None, "not kept here")] {
        let router = serving(bytes_max);
        let machine = create(&router).await;
        let first = run(&router, &machine, "first").await;
        run(&router, &machine, "second").await;
        let (status, gone) = get(&router, &format!("/api/executions/{first}/events")).await;
        assert_eq!(status, 404, "{gone}");
        assert!(gone["error"].as_str().unwrap().contains(told), "{gone}");
    }
}
