//! Live streams, through the router without a socket: what is told, where a stream goes on that broke off, and its end.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

mod support;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use stepwell_server::{ServerConfig, ServerState, router};
use tower::ServiceExt;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One message of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message {
    event: String,
    id: String,
    data: Value,
}

/// A stream that is read message by message.
struct Stream {
    body: axum::body::BodyDataStream,
    rest: String,
}

impl Stream {
    /// The next message that is no comment alone, or `None` at the end.
    async fn next(&mut self) -> Option<Message> {
        loop {
            let message = self.any().await?;
            if !message.event.is_empty() {
                return Some(message);
            }
        }
    }

    async fn any(&mut self) -> Option<Message> {
        while !self.rest.contains("\n\n") {
            let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await;
            let chunk = chunk.expect("something comes")?.unwrap();
            self.rest.push_str(&String::from_utf8_lossy(&chunk));
        }
        let (text, rest) = self.rest.split_once("\n\n").unwrap();
        let mut message = Message::default();
        for line in text.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", event) => message.event = event.to_owned(),
                ("id", id) => message.id = id.to_owned(),
                ("data", data) => message.data = serde_json::from_str(data).unwrap(),
                _ => {}
            }
        }
        self.rest = rest.to_owned();
        Some(message)
    }

    async fn all(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            all.push(message);
        }
        all
    }
}

struct Asked(Router);

impl Asked {
    fn new() -> (Asked, Arc<ServerState>) {
        let state = ServerState::new(
            ServerConfig::default(),
            support::engine(false, None),
            support::sandbox(),
        );
        let state = Arc::new(state);
        (Asked(router(state.clone())), state)
    }

    async fn call(&self, operation: &str, body: Value) -> Value {
        let request = Request::post("/")
            .header("Content-Type", "application/x-amz-json-1.0")
            .header("X-Amz-Target", format!("AWSStepFunctions.{operation}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    async fn get(&self, path: &str, place: Option<&str>) -> Response<Body> {
        let mut request = Request::get(path).header("Accept", "text/event-stream");
        if let Some(place) = place {
            request = request.header("Last-Event-ID", place);
        }
        let request = request.body(Body::empty()).unwrap();
        self.0.clone().oneshot(request).await.unwrap()
    }

    async fn listen(&self, path: &str, place: Option<&str>) -> Stream {
        let response = self.get(path, place).await;
        assert_eq!(response.status(), 200);
        Stream {
            body: response.into_body().into_data_stream(),
            rest: String::new(),
        }
    }

    async fn machine(&self, name: &str, states: Value) -> String {
        let start_at = states.as_object().unwrap().keys().next().unwrap().clone();
        let definition = json!({ "StartAt": start_at, "States": states });
        let body = json!({
            "name": name, "roleArn": "arn:aws:iam::000000000000:role/r",
            "definition": definition.to_string(),
        });
        let created = self.call("CreateStateMachine", body).await;
        created["stateMachineArn"].as_str().unwrap().to_owned()
    }

    async fn start(&self, machine: &str, name: &str) -> String {
        let body = json!({ "stateMachineArn": machine, "name": name });
        let started = self.call("StartExecution", body).await;
        started["executionArn"].as_str().unwrap().to_owned()
    }
}

fn events(arn: &str) -> String {
    format!("/api/executions/{arn}/events")
}

fn ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| &*message.id).collect()
}

fn waits() -> Value {
    json!({ "A": { "Type": "Wait", "Seconds": 100_000, "End": true } })
}

fn passes() -> Value {
    json!({ "A": { "Type": "Pass", "End": true } })
}

#[tokio::test]
async fn an_execution_is_told_from_any_place_to_its_end() {
    let (asked, _) = Asked::new();
    let machine = asked.machine("passes", passes()).await;
    let arn = asked.start(&machine, "e").await;
    let path = events(&arn);
    let all = asked.listen(&path, None).await.all().await;
    assert_eq!(ids(&all), ["1", "2", "3", "4", "4.end"]);
    assert_eq!(all[3].data["type"], "ExecutionSucceeded");
    assert_eq!(all[3].data["id"], 4);
    let end = &all[4];
    assert_eq!(
        (&*end.event, &end.data["status"]),
        ("end", &json!("SUCCEEDED"))
    );
    assert!(end.data["stopDate"].is_number());
    for (place, left) in [("0", 5), ("2", 3), ("4", 1), ("99", 1)] {
        let rest = asked.listen(&path, Some(place)).await.all().await;
        assert_eq!(rest.len(), left, "after {place}");
        let same = all.len() - left;
        assert_eq!(rest[..left - 1], all[same..all.len() - 1]);
    }
    let query = format!("{path}?lastEventId=3");
    assert_eq!(
        ids(&asked.listen(&query, None).await.all().await),
        ["4", "4.end"]
    );
    // Who has the end needs no more, and whose place is none is told so.
    assert_eq!(asked.get(&path, Some("4.end")).await.status(), 204);
    for place in ["x", "-1", "1.5", "4.end.end", "18446744073709551616"] {
        assert_eq!(asked.get(&path, Some(place)).await.status(), 400, "{place}");
    }
    let other = "arn:aws:states:us-east-1:111111111111:execution:passes:e";
    assert_eq!(asked.get(&events(other), None).await.status(), 400);
}

#[tokio::test]
async fn a_stream_that_breaks_off_after_each_message_loses_and_doubles_nothing() {
    let (asked, _) = Asked::new();
    let machine = asked.machine("waits", waits()).await;
    let arn = asked.start(&machine, "e").await;
    let path = events(&arn);
    let mut got = Vec::new();
    let mut place = None;
    for _ in 0..2 {
        let mut stream = asked.listen(&path, place.as_deref()).await;
        let message = stream.next().await.unwrap();
        place = Some(message.id.clone());
        got.push(message);
    }
    // This one is open while something happens.
    let mut open = asked.listen(&path, place.as_deref()).await;
    asked
        .call("StopExecution", json!({ "executionArn": arn }))
        .await;
    got.extend(open.all().await);
    assert_eq!(ids(&got), ["1", "2", "3", "3.end"]);
    assert_eq!(got[3].data["status"], "ABORTED");
    // It goes on, and with it whoever had heard of its end.
    asked
        .call("RedriveExecution", json!({ "executionArn": arn }))
        .await;
    let mut again = asked.listen(&path, Some("3.end")).await;
    let message = again.next().await.unwrap();
    assert_eq!(
        (&*message.id, &message.data["type"]),
        ("4", &json!("ExecutionRedriven"))
    );
}

#[tokio::test]
async fn a_machine_tells_of_all_its_executions() {
    let (asked, _) = Asked::new();
    let passes = asked.machine("passes", passes()).await;
    let waits = asked.machine("waits", waits()).await;
    let path = |arn: &str| format!("/api/machines/{arn}/events");
    let mut stream = asked.listen(&path(&passes), None).await;
    let begun = stream.any().await.unwrap();
    assert!(begun.event.is_empty() && !begun.id.is_empty());
    let mut other = asked.listen(&path(&waits), None).await;
    other.any().await.unwrap();
    let waiting = asked.start(&waits, "w").await;
    let mut told = Vec::new();
    for name in ["one", "two"] {
        asked.start(&passes, name).await;
        told.push(stream.next().await.unwrap());
        told.push(stream.next().await.unwrap());
    }
    let seen: Vec<_> = told
        .iter()
        .map(|message| {
            (
                message.data["name"].as_str().unwrap(),
                message.data["status"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("one", "RUNNING"),
        ("one", "SUCCEEDED"),
        ("two", "RUNNING"),
        ("two", "SUCCEEDED"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(told[0].data["stateMachineArn"], passes);
    assert!(told[0].data["stopDate"].is_null() && told[1].data["stopDate"].is_number());
    assert!(told.iter().all(|message| message.event == "execution"));
    // From each place the rest, once.
    for (at, message) in told.iter().enumerate().take(3) {
        let mut rest = asked.listen(&path(&passes), Some(&message.id)).await;
        for expected in &told[at + 1..] {
            assert_eq!(rest.next().await.as_ref(), Some(expected));
        }
    }
    let mut rest = asked.listen(&path(&passes), Some(&begun.id)).await;
    assert_eq!(rest.next().await.as_ref(), Some(&told[0]));
    // The other machine's listener hears of its own alone: a start, an end, a redrive.
    asked
        .call("StopExecution", json!({ "executionArn": waiting }))
        .await;
    asked
        .call("RedriveExecution", json!({ "executionArn": waiting }))
        .await;
    for (status, redrives) in [("RUNNING", 0), ("ABORTED", 0), ("RUNNING", 1)] {
        let message = other.next().await.unwrap();
        assert_eq!(
            (&message.data["executionArn"], &message.data["status"]),
            (&json!(waiting), &json!(status))
        );
        assert_eq!(message.data["redriveCount"], redrives);
    }
}

#[tokio::test]
async fn a_place_that_is_none_begins_with_a_reset() {
    let (asked, _) = Asked::new();
    let machine = asked.machine("passes", passes()).await;
    let path = format!("/api/machines/{machine}/events");
    for place in ["0123456789abcdef0123456789abcdef-7", "7", "x-y"] {
        let mut stream = asked.listen(&path, Some(place)).await;
        let reset = stream.next().await.unwrap();
        assert_eq!(reset.event, "reset");
        assert!(
            reset.data["reason"]
                .as_str()
                .unwrap()
                .contains("list the executions")
        );
        let name = format!("n{}", place.len());
        asked.start(&machine, &name).await;
        // It goes on from there.
        let message = stream.next().await.unwrap();
        assert_eq!(message.data["name"], name);
        let mut again = asked.listen(&path, Some(&reset.id)).await;
        assert_eq!(again.next().await.unwrap(), message);
    }
    let long = "x".repeat(1_000);
    assert_eq!(asked.get(&path, Some(&long)).await.status(), 400);
    for (arn, status) in [
        (
            "arn:aws:states:us-east-1:000000000000:stateMachine:none",
            400,
        ),
        (
            "arn:aws:states:us-east-1:111111111111:stateMachine:passes",
            400,
        ),
        (
            "arn:aws:states:us-east-1:000000000000:stateMachine:passes:1",
            400,
        ),
    ] {
        let path = format!("/api/machines/{arn}/events");
        assert_eq!(asked.get(&path, None).await.status(), status, "{arn}");
    }
    let plain = Request::get(&path).body(Body::empty()).unwrap();
    let plain = asked.0.clone().oneshot(plain).await.unwrap();
    assert_eq!(plain.status(), 406);
}

#[tokio::test]
async fn express_executions_are_told_and_a_shutdown_ends_the_streams() {
    let (asked, state) = Asked::new();
    let definition = json!({ "StartAt": "A", "States": passes() });
    let body = json!({
        "name": "fast", "type": "EXPRESS", "roleArn": "arn:aws:iam::000000000000:role/r",
        "definition": definition.to_string(),
    });
    let created = asked.call("CreateStateMachine", body).await;
    let machine = created["stateMachineArn"].as_str().unwrap().to_owned();
    let mut stream = asked
        .listen(&format!("/api/machines/{machine}/events"), None)
        .await;
    stream.any().await.unwrap();
    for operation in ["StartExecution", "StartSyncExecution"] {
        let body = json!({ "stateMachineArn": machine, "name": operation });
        asked.call(operation, body).await;
        for status in ["RUNNING", "SUCCEEDED"] {
            let message = stream.next().await.unwrap();
            assert_eq!(
                (&message.data["name"], &message.data["status"]),
                (&json!(operation), &json!(status))
            );
        }
    }
    state.drain();
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn an_account_has_a_thousand_streams_and_is_told_when_it_wants_more() {
    const MOST: usize = 1_000;
    let (asked, _) = Asked::new();
    let machine = asked.machine("waits", waits()).await;
    let path = format!("/api/machines/{machine}/events");
    let mut open = Vec::new();
    for _ in 0..MOST - 1 {
        open.push(asked.listen(&path, None).await);
    }
    let execution = events(&asked.start(&machine, "e").await);
    open.push(asked.listen(&execution, None).await);
    for path in [&path, &execution] {
        let refused = asked.get(path, None).await;
        assert_eq!(refused.status(), 429);
        let text = to_bytes(refused.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("1000 live streams"), "{text}");
    }
    // Whoever goes away makes room.
    open.pop();
    asked.listen(&path, None).await.any().await.unwrap();
}
