//! What state machines log, line by line: each level, with and without data, STANDARD and EXPRESS.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

mod support;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::{Value, json};
use stepwell_server::{ExecutionLog, ServerConfig, ServerState, router};
use tower::ServiceExt;

/// After this a line that is missing does not come.
const PATIENCE: Duration = Duration::from_secs(300);

const DEFINITION: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Result":{"secret":1},"Next":"F"},
    "F":{"Type":"Fail","Error":"E","Cause":"no luck"}}}"#;

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

/// Runs a machine of that type and setting to its end.
async fn run(router: &Router, name: &str, kind: &str, level: &str, with_data: bool) {
    let mut logging = json!({"level": level, "includeExecutionData": with_data});
    if level != "OFF" {
        let group = format!("arn:aws:logs:us-east-1:000000000000:log-group:{name}:*");
        logging["destinations"] = json!([{"cloudWatchLogsLogGroup": {"logGroupArn": group}}]);
    }
    let machine = json!({"name": name, "type": kind, "definition": DEFINITION,
        "roleArn": "arn:aws:iam::000000000000:role/r", "loggingConfiguration": logging});
    let created = call(router, "CreateStateMachine", machine).await;
    let arn = created["stateMachineArn"].as_str().unwrap();
    let start = json!({"stateMachineArn": arn, "name": "e", "input": r#"{"in":2}"#});
    if kind == "EXPRESS" {
        let ended = call(router, "StartSyncExecution", start).await;
        assert_eq!(ended["status"], "FAILED", "{ended}");
        return;
    }
    let started = call(router, "StartExecution", start).await;
    loop {
        let asked = json!({"executionArn": started["executionArn"]});
        let described = call(router, "DescribeExecution", asked).await;
        match described["status"].as_str() {
            Some("RUNNING") => tokio::task::yield_now().await,
            status => return assert_eq!(status, Some("FAILED"), "{described}"),
        }
    }
}

/// Waits until a machine's execution has told of its end, which may be after it is seen to have ended.
async fn ended(log: &ExecutionLog, path: &Path, name: &str) {
    let begun = Instant::now();
    let group = format!("log-group:{name}:");
    let tells = |line: &str| line.contains("\"ExecutionFailed\"") && line.contains(&group);
    loop {
        log.flush();
        let lines = fs::read_to_string(path).unwrap_or_default();
        if lines.lines().any(tells) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{name}: {lines}");
        tokio::task::yield_now().await;
    }
}

/// The lines with what differs from run to run made equal.
fn settled(lines: &str) -> String {
    let mut settled = String::new();
    for line in lines.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let at: u64 = line["event_timestamp"].as_str().unwrap().parse().unwrap();
        assert!(at > 1_700_000_000_000, "milliseconds: {at}");
        line["event_timestamp"] = json!("AT");
        let arn = line["execution_arn"].as_str().unwrap();
        if let Some((known, _)) = arn.split_once(":e:") {
            line["execution_arn"] = json!(format!("{known}:e:RUN"));
        }
        settled.push_str(&line.to_string());
        settled.push('\n');
    }
    settled
}

#[tokio::test]
async fn each_level_logs_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("executions.jsonl");
    let log = Arc::new(ExecutionLog::start(path.clone()).unwrap());
    let engine = support::engine(false, Some(log.clone()));
    let state = ServerState::new(ServerConfig::default(), engine, support::sandbox());
    let router = router(Arc::new(state));
    for (name, kind, level, with_data) in [
        ("off", "STANDARD", "OFF", true),
        ("all", "STANDARD", "ALL", true),
        ("error", "STANDARD", "ERROR", false),
        ("fatal", "STANDARD", "FATAL", false),
        ("express", "EXPRESS", "ALL", false),
    ] {
        run(&router, name, kind, level, with_data).await;
        if level != "OFF" {
            ended(&log, &path, name).await;
        }
    }
    let found = settled(&fs::read_to_string(path).unwrap());
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/execution_log/expected.jsonl");
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(expected.parent().unwrap()).unwrap();
        fs::write(&expected, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(expected).unwrap_or_default());
}
