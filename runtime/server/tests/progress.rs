//! What running attempts say of their progress, and what they used: told to who looks on, and to nobody else.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream, to_bytes},
    http::Request,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use stepwell_engine::{Engine, Options, PluginCall, PluginEnd, Store, TaskRunner};
use stepwell_interp::{Measure, Measures, OnCrash};
use stepwell_server::{ServerConfig, ServerState, router};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says how far it is whenever there is a permit, and ends after the third time.
struct Steps(Arc<Semaphore>);

impl TaskRunner for Steps {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        let steps = self.0.clone();
        Box::pin(async move {
            call.signals.started("steps@1");
            for step in 1..=3 {
                steps.acquire().await.unwrap().forget();
                call.signals.heartbeat(None);
                call.signals.heartbeat(Some(&format!("{step} of 3")));
            }
            steps.acquire().await.unwrap().forget();
            let used = [
                (Measure::Cpu, 1_250),
                (Measure::Memory, 1 << 20),
                (Measure::Heartbeats, 6),
            ];
            call.signals.used(Measures::of(&used));
            PluginEnd::Succeeded {
                output: "1".to_owned(),
                log: None,
            }
        })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

struct Asked(Router);

impl Asked {
    fn new(steps: &Arc<Semaphore>) -> Asked {
        let options = Options {
            store: Store::Memory,
            raised_limits: false,
            take_up: true,
            shards: 1,
            storage: None,
            connections: Default::default(),
            services: Default::default(),
            observer: None,
        };
        let engine = Engine::open(options, Arc::new(Steps(steps.clone()))).unwrap();
        let state = ServerState::new(ServerConfig::default(), engine, Arc::new(Vec::new));
        Asked(router(Arc::new(state)))
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

    async fn get(&self, path: &str) -> (u16, Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn stream(&self, arn: &str) -> Stream {
        let request = Request::get(format!("/api/executions/{arn}/events"))
            .header("Accept", "text/event-stream")
            .body(Body::empty())
            .unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        Stream {
            body: response.into_body().into_data_stream(),
            rest: String::new(),
        }
    }
}

struct Stream {
    body: BodyDataStream,
    rest: String,
}

impl Stream {
    /// The next message of that name, its lines and its data.
    async fn next(&mut self, event: &str) -> (String, Value) {
        loop {
            while !self.rest.contains("\n\n") {
                let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await;
                let chunk = chunk.expect("something comes").expect("it goes on");
                self.rest
                    .push_str(&String::from_utf8_lossy(&chunk.unwrap()));
            }
            let (message, rest) = self.rest.split_once("\n\n").unwrap();
            let message = message.to_owned();
            self.rest = rest.to_owned();
            let data = message.lines().find_map(|line| line.strip_prefix("data: "));
            if message
                .lines()
                .any(|line| line == format!("event: {event}"))
            {
                return (
                    message.clone(),
                    serde_json::from_str(data.unwrap()).unwrap(),
                );
            }
        }
    }
}

#[tokio::test]
async fn a_running_attempt_tells_how_far_it_is_and_then_what_it_used() {
    let steps = Arc::new(Semaphore::new(0));
    let asked = Asked::new(&steps);
    let definition = json!({"StartAt": "Work", "States": {
        "Work": {"Type": "Task", "Resource": "wasm:steps", "End": true}}});
    let created = json!({"name": "m", "roleArn": "arn:aws:iam::000000000000:role/r",
        "definition": definition.to_string()});
    let machine = asked.call("CreateStateMachine", created).await["stateMachineArn"].clone();
    let started = asked
        .call(
            "StartExecution",
            json!({"stateMachineArn": machine, "name": "e"}),
        )
        .await;
    let arn = started["executionArn"].as_str().unwrap().to_owned();
    let attempts = format!("/api/executions/{arn}/attempts");
    let (status, told) = asked.get(&attempts).await;
    assert_eq!(
        (status, &told),
        (200, &json!({"attempts": [], "progress": []}))
    );
    let mut stream = asked.stream(&arn).await;
    steps.add_permits(1);
    let (message, first) = stream.next("progress").await;
    let known = json!({"state": "Work", "enteredEventId": 2, "attempt": 1, "plugin": "steps", "note": "1 of 3"});
    let without_time = |mut note: Value| {
        assert!(note["at"].is_number(), "{note}");
        note.as_object_mut().unwrap().remove("at");
        note
    };
    assert_eq!(without_time(first), known);
    // Whoever goes on behind the last message he received asks for it by the id of an event.
    assert!(!message.contains("\nid:"), "{message}");
    steps.add_permits(2);
    // Two in quick succession are one, or two.
    let last = loop {
        let (_, note) = stream.next("progress").await;
        if note["note"] == "3 of 3" {
            break note;
        }
        assert_eq!(note["note"], "2 of 3");
    };
    let (_, told) = asked.get(&attempts).await;
    assert_eq!(told, json!({"attempts": [], "progress": [last]}));
    // Who comes late is told the latest.
    let (_, again) = asked.stream(&arn).await.next("progress").await;
    assert_eq!(again, last);

    steps.add_permits(1);
    let succeeded = loop {
        let (_, event) = stream.next("history").await;
        if event["type"] == "TaskSucceeded" {
            break event;
        }
        assert!(event.get("usage").is_none(), "{event}");
    };
    let used = json!({"cpuMicros": 1_250, "memoryBytesMax": 1 << 20, "heartbeatCalls": 6});
    assert_eq!(succeeded["usage"], used);
    stream.next("end").await;
    let (_, told) = asked.get(&attempts).await;
    assert_eq!(told["progress"], json!([]), "it has ended");
    let attempt = without_end(told["attempts"][0].clone());
    let known = json!({"state": "Work", "enteredEventId": 2, "attempt": 1, "plugin": "steps",
        "version": "steps@1", "usage": used});
    assert_eq!(
        (attempt, told["attempts"].as_array().unwrap().len()),
        (known, 1)
    );
    // AWS's API has neither.
    let history = asked
        .call("GetExecutionHistory", json!({"executionArn": arn}))
        .await;
    let events = history["events"].as_array().unwrap();
    assert!(
        events.len() == 7 && !history.to_string().contains("usage"),
        "{history}"
    );
    let other = "arn:aws:states:us-east-1:111111111111:execution:m:e";
    let (status, _) = asked
        .get(&format!("/api/executions/{other}/attempts"))
        .await;
    assert_eq!(status, 400, "another account's");
    let (status, _) = asked.get(&format!("{attempts}?nextToken=x")).await;
    assert_eq!(status, 400, "no token of this list");
}

fn without_end(mut attempt: Value) -> Value {
    assert!(attempt["ended"].is_number(), "{attempt}");
    attempt.as_object_mut().unwrap().remove("ended");
    attempt
}
