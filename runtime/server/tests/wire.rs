//! Conversations with the AWS API, through the router without a socket. Each file of `tests/wire/` is one, on a
//! server of its own: requests in order with the answers they must get.
//!
//! A request is `{operation | target, body | raw, headers, status, answer, has, save}`. In an `answer` the string `*`
//! stands for anything; `has` are texts that the answer's text holds; `save` takes values out of the answer (name to
//! JSON Pointer), which later requests insert as `{{name}}`. `{{n × c}}` is the character so many times.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

mod support;

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response},
};
use serde::Deserialize;
use serde_json::Value;
use stepwell_server::{ServerConfig, ServerState, router};
use tower::ServiceExt;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversation {
    #[serde(default)]
    raised_limits: bool,
    #[serde(default)]
    hosts: Vec<String>,
    requests: Vec<Exchange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    /// Name of the operation.
    operation: Option<String>,
    /// The whole `X-Amz-Target`, where it is none of the service's.
    target: Option<String>,
    /// `GET /health`, where it is not `POST /`.
    path: Option<String>,
    body: Option<Value>,
    raw: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "ok")]
    status: u16,
    answer: Option<Value>,
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    save: BTreeMap<String, String>,
}

fn ok() -> u16 {
    200
}

#[tokio::test]
async fn conversations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 5, "the conversations are there");
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let talk: Conversation = serde_json::from_str(&fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{name} is not a conversation: {error}"));
        wrong.extend(converse(&name, talk).await);
    }
    assert!(
        wrong.is_empty(),
        "{} answers are wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

async fn converse(name: &str, talk: Conversation) -> Vec<String> {
    let config = ServerConfig {
        hosts: talk.hosts,
        ..ServerConfig::default()
    };
    let state = Arc::new(ServerState::new(
        config,
        support::engine(talk.raised_limits, None),
        support::sandbox(),
    ));
    let router = router(state);
    let mut saved = BTreeMap::new();
    let mut wrong = Vec::new();
    for (index, exchange) in talk.requests.into_iter().enumerate() {
        let place = format!("{name}[{index}]");
        wrong.extend(
            ask(&router, exchange, &mut saved)
                .await
                .into_iter()
                .map(|why| format!("{place}: {why}")),
        );
    }
    wrong
}

async fn ask(
    router: &Router,
    exchange: Exchange,
    saved: &mut BTreeMap<String, String>,
) -> Vec<String> {
    let response = router
        .clone()
        .oneshot(request(&exchange, saved))
        .await
        .unwrap();
    let status = response.status().as_u16();
    let mut wrong = envelope(&exchange, &response);
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status != exchange.status {
        wrong.push(format!(
            "status {status} instead of {}: {text}",
            exchange.status
        ));
    }
    if let Some(answer) = &exchange.answer {
        let wanted: Value = serde_json::from_str(&filled(&answer.to_string(), saved)).unwrap();
        let found: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.clone()));
        compare("", &wanted, &found, &mut wrong);
        for (name, pointer) in &exchange.save {
            let value = found
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default();
            saved.insert(name.clone(), value.to_owned());
        }
    }
    let missing = exchange
        .has
        .iter()
        .map(|part| filled(part, saved))
        .filter(|part| !text.contains(part.as_str()));
    wrong.extend(missing.map(|part| format!("{part:?} is not in {text}")));
    wrong
}

/// Every answer of the AWS API, good or bad, has its content type and a request id.
fn envelope(exchange: &Exchange, response: &Response<Body>) -> Vec<String> {
    if exchange.path.is_some() {
        return Vec::new();
    }
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let mut wrong = Vec::new();
    if header("x-amzn-requestid").len() != 36 {
        wrong.push("there is no request id".to_owned());
    }
    if !header("content-type").starts_with("application/x-amz-json-1.") {
        wrong.push(format!("content type {}", header("content-type")));
    }
    wrong
}

fn request(exchange: &Exchange, saved: &BTreeMap<String, String>) -> Request<Body> {
    let (method, path) = exchange
        .path
        .as_deref()
        .unwrap_or("POST /")
        .split_once(' ')
        .unwrap();
    let mut request = Request::builder().method(method).uri(filled(path, saved));
    let target = exchange.target.clone().or(exchange
        .operation
        .as_ref()
        .map(|name| format!("AWSStepFunctions.{name}")));
    if let Some(target) = target {
        request = request.header("X-Amz-Target", target);
    }
    if exchange.path.is_none() && !exchange.headers.contains_key("Content-Type") {
        request = request.header("Content-Type", "application/x-amz-json-1.0");
    }
    for (name, value) in &exchange.headers {
        request = request.header(name, value);
    }
    let text = exchange
        .raw
        .clone()
        .or(exchange.body.as_ref().map(Value::to_string))
        .unwrap_or_default();
    request.body(Body::from(filled(&text, saved))).unwrap()
}

/// The text with `{{name}}` and `{{n × c}}` filled in.
fn filled(text: &str, saved: &BTreeMap<String, String>) -> String {
    let mut parts = text.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap();
        match name.split_once(" × ") {
            Some((count, what)) => filled.push_str(&what.repeat(count.parse().unwrap())),
            None => filled.push_str(
                saved
                    .get(name)
                    .unwrap_or_else(|| panic!("{name} was not saved")),
            ),
        }
        filled.push_str(rest);
    }
    filled
}

fn compare(place: &str, wanted: &Value, found: &Value, wrong: &mut Vec<String>) {
    match (wanted, found) {
        (Value::String(any), _) if any == "*" => {}
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                match found.get(key) {
                    Some(found) => compare(&format!("{place}/{key}"), value, found, wrong),
                    None => wrong.push(format!("{place}/{key} is missing")),
                }
            }
            let more = found.iter().filter(|(key, _)| !wanted.contains_key(*key));
            wrong.extend(more.map(|(key, value)| format!("{place}/{key} is unexpected: {value}")));
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (index, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                compare(&format!("{place}/{index}"), wanted, found, wrong);
            }
        }
        (wanted, found) if wanted == found => {}
        (wanted, found) => wrong.push(format!("{place}: expected {wanted}, found {found}")),
    }
}
