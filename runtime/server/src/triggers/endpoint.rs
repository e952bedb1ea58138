//! `POST /trigger/ACCOUNT/NAME`: starts the execution of an HTTP trigger. What it hides: how a request becomes an input, and an
//! execution an answer.
//!
//! These requests are not signed: whoever sends one proves the trigger's own secret, if it has one.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::json;
use stepwell_engine::{
    AuditEntry, Code, Error, Execution, HttpAnswer, HttpTrigger, StartedExecution, Status,
    TriggerError,
};
use stepwell_query::Value;
use uuid::Uuid;

use super::iso_ms;
use crate::{aws, extract::InPath, fair, guard, router, serve::ServerState};

const SECRET: &str = "x-stepwell-secret";
const KEY: &str = "idempotency-key";
const EXECUTION: &str = "x-stepwell-execution";
const REPLAYED: &str = "idempotency-replayed";
/// Headers that say nothing to a workflow, or too much.
const KEPT_BACK: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    KEY,
    "proxy-authorization",
    "te",
    "transfer-encoding",
    SECRET,
    "x-amz-security-token",
    "x-api-key",
];

/// Whether a path is an HTTP trigger's.
pub(crate) fn is_own_path(path: &str) -> bool {
    path.starts_with("/trigger/")
}

/// An answer that is an error.
type Refusal = (StatusCode, String);

/// Answers one request.
pub(crate) async fn answer(
    State(state): State<Arc<ServerState>>,
    InPath((account, name)): InPath<(String, String)>,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        let text = "an HTTP trigger takes POST alone";
        return router::error(StatusCode::METHOD_NOT_ALLOWED, text);
    }
    let account: Arc<str> = account.into();
    let admitted = admitted(&state, &account, &name, &parts.headers).await;
    let trigger = match admitted {
        Ok(trigger) => trigger,
        Err((status, text)) => {
            let mut response = router::error(status, &text);
            if status == StatusCode::UNAUTHORIZED {
                // Who guesses secrets is told late.
                response.extensions_mut().insert(fair::Refusal);
            }
            return response;
        }
    };
    // Before anything is read of it or written about it: who has no secret to prove must not fill the store.
    let admission = match state.engine.admit_http(&account, &trigger).await {
        Ok(admission) => admission,
        Err(error) => return refused(&error),
    };
    let body_max = aws::body_bytes_max(state.engine.raised_limits(&account));
    let mut place = state.body_place_of(&account);
    let body = match aws::read_body(body, &parts.headers, body_max, &mut place).await {
        Ok(body) => body,
        Err(fault) => return router::error(fault.status, fault.message()),
    };
    if let Some(gate) = &state.gate {
        let entry = AuditEntry {
            key: format!("trigger/{name}"),
            address: gate.address(&parts),
            operation: "triggers:Fire".to_owned(),
            resource: trigger.machine_arn.clone(),
            alias: None,
            request_id: Uuid::new_v4().hyphenated().to_string(),
            refused: None,
        };
        if let Err(error) = state.engine.audit(&account, &entry).await {
            return refused(&error.into());
        }
    }
    let key = parts.headers.get(KEY);
    let key = match key.map(HeaderValue::to_str).transpose() {
        Ok(key) => key,
        Err(_) => {
            let text = "the Idempotency-Key is no text";
            return router::error(StatusCode::BAD_REQUEST, text);
        }
    };
    let input = input(&trigger, &parts.uri, &parts.headers, &body);
    let fired = state
        .engine
        .fire_http(&account, &trigger, admission, input, key);
    match fired.await {
        Ok(answer) => answered(answer),
        Err(error) => refused(&error),
    }
}

/// The trigger, if the request may fire it.
async fn admitted(
    state: &ServerState,
    account: &Arc<str>,
    name: &str,
    headers: &HeaderMap,
) -> Result<HttpTrigger, Refusal> {
    let found = state.engine.http_trigger(account, name).await;
    let trigger = found.map_err(|error| match error {
        TriggerError::NotFound(_) => {
            let text = format!("there is no HTTP trigger `{name}` of the account {account}");
            (StatusCode::NOT_FOUND, text)
        }
        other => told(&other),
    })?;
    if !trigger.admits(secret(headers)) {
        state.engine.denied_http(account, &trigger);
        return Err((
            StatusCode::UNAUTHORIZED,
            format!(
                "this trigger asks for its secret: send it as `Authorization: Bearer SECRET` or `{SECRET}: SECRET`"
            ),
        ));
    }
    if !trigger.enabled {
        let text = format!("the HTTP trigger `{name}` is disabled");
        return Err((StatusCode::FORBIDDEN, text));
    }
    // On a server that asks for no keys a page of another site would reach what its reader can.
    if !trigger.has_secret && state.gate.is_none() && guard::is_of_page(headers) {
        return Err((
            StatusCode::FORBIDDEN,
            "a web page sent this request, and without a secret none may fire a trigger of this server".to_owned(),
        ));
    }
    Ok(trigger)
}

fn secret(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bearer =
        text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    bearer.or_else(|| text(SECRET)).map(str::trim)
}

/// What the execution gets of the request.
fn input(trigger: &HttpTrigger, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Value {
    let (body, encoded) = content(body);
    let shown: BTreeMap<Arc<str>, Value> = headers
        .keys()
        .filter(|name| !KEPT_BACK.contains(&name.as_str()))
        .map(|name| {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            (name.as_str().into(), Value::from(values.join(", ")))
        })
        .collect();
    Value::object([
        ("trigger", Value::from(trigger.name.as_str())),
        ("method", Value::from("POST")),
        ("path", Value::from(uri.path())),
        (
            "query",
            Value::object(query(uri.query().unwrap_or_default())),
        ),
        ("headers", Value::object(shown)),
        ("body", body),
        ("isBase64Encoded", Value::from(encoded)),
    ])
}

/// A body that is JSON as its value, another text as text, anything else in base64.
fn content(body: &Bytes) -> (Value, bool) {
    match std::str::from_utf8(body) {
        Ok("") => (Value::Null, false),
        Ok(text) => match Value::parse(text) {
            Ok(value) => (value, false),
            Err(_) => (Value::from(text), false),
        },
        Err(_) => (Value::from(STANDARD.encode(body)), true),
    }
}

/// Parameters by name; of those that are there several times the last.
fn query(text: &str) -> BTreeMap<Arc<str>, Value> {
    let plain = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (Arc::from(plain(name)), Value::from(plain(value)))
    });
    pairs.collect()
}

fn answered(answer: HttpAnswer) -> Response<Body> {
    match answer {
        HttpAnswer::Started { started, before } => {
            let mut response = started_as(&started, None);
            if before {
                let headers = response.headers_mut();
                headers.insert(REPLAYED, HeaderValue::from_static("true"));
            }
            response
        }
        HttpAnswer::Running(started) => started_as(&started, Some("RUNNING")),
        HttpAnswer::Ended(execution) => ended(&execution),
        HttpAnswer::OtherRequest { execution_arn } => router::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!(
                "the Idempotency-Key was used for a request with another body, which started {execution_arn}"
            ),
        ),
    }
}

fn started_as(started: &StartedExecution, status: Option<&str>) -> Response<Body> {
    let mut body = json!({
        "executionArn": &*started.execution_arn,
        "startDate": iso_ms(started.started_at.0),
    });
    if let Some(status) = status {
        body["status"] = status.into();
    }
    of_execution(
        router::json(StatusCode::ACCEPTED, &body),
        &started.execution_arn,
    )
}

/// The output of an execution that succeeded is the answer; of another what became of it.
fn ended(execution: &Execution) -> Response<Body> {
    let status = match execution.status {
        Status::Succeeded => {
            let output = execution.output.clone().unwrap_or_default();
            return of_execution(router::json(StatusCode::OK, &output), &execution.arn);
        }
        Status::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Status::Running | Status::Failed | Status::Aborted => StatusCode::BAD_GATEWAY,
    };
    let mut body = json!({
        "executionArn": &*execution.arn,
        "status": aws::status_name(execution.status),
    });
    for (name, text) in [("error", &execution.error), ("cause", &execution.cause)] {
        if let Some(text) = text {
            body[name] = text.to_string().into();
        }
    }
    of_execution(router::json(status, &body), &execution.arn)
}

fn of_execution(mut response: Response<Body>, arn: &str) -> Response<Body> {
    // Names of executions may have what no header holds.
    if let Ok(arn) = HeaderValue::from_str(arn) {
        response.headers_mut().insert(EXECUTION, arn);
    }
    response
}

fn refused(error: &TriggerError) -> Response<Body> {
    let (status, text) = told(error);
    let mut response = router::error(status, &text);
    if status == StatusCode::TOO_MANY_REQUESTS {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn told(error: &TriggerError) -> Refusal {
    match error {
        TriggerError::NotFound(text) => (StatusCode::NOT_FOUND, text.clone()),
        TriggerError::Conflict(text) => (StatusCode::CONFLICT, text.clone()),
        TriggerError::Invalid(text) => (StatusCode::BAD_REQUEST, text.clone()),
        TriggerError::Full(text) => (StatusCode::INSUFFICIENT_STORAGE, text.clone()),
        TriggerError::Engine(Error::Rejected {
            code: Code::ThrottlingException | Code::ExecutionLimitExceeded,
            message,
        }) => (StatusCode::TOO_MANY_REQUESTS, message.clone()),
        TriggerError::Engine(Error::Rejected {
            code: Code::InvalidExecutionInput,
            message,
        }) => (StatusCode::PAYLOAD_TOO_LARGE, message.clone()),
        // The trigger names what there is not, or what cannot be started so.
        TriggerError::Engine(Error::Rejected { message, .. }) => {
            (StatusCode::CONFLICT, message.clone())
        }
        TriggerError::Engine(Error::Busy(text)) => (StatusCode::SERVICE_UNAVAILABLE, text.clone()),
        TriggerError::Engine(
            error @ (Error::Broken(_)
            | Error::Damaged(_)
            | Error::Held(_)
            | Error::Unopened(_)
            | Error::Unusable(_)),
        ) => {
            tracing::error!(%error, "a request to an HTTP trigger failed");
            let text = "the request failed inside the runtime; its log has the cause".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_values_texts_or_base64() {
        for (body, value, encoded) in [
            (&b""[..], "null", false),
            (b"{\"a\":1}", "{\"a\":1}", false),
            (b"a=1&b=2", "\"a=1&b=2\"", false),
            (b"\xff\x00", "\"/wA=\"", true),
        ] {
            let found = content(&Bytes::copy_from_slice(body));
            assert_eq!((found.0.to_json().as_str(), found.1), (value, encoded));
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let found = Value::object(query("a=1&b=x+y%26&c&a=2"));
        assert_eq!(found.to_json(), r#"{"a":"2","b":"x y&","c":""}"#);
    }

    #[test]
    fn a_secret_comes_as_bearer_or_in_its_own_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(secret(&headers), None);
        headers.insert(SECRET, HeaderValue::from_static("own"));
        assert_eq!(secret(&headers), Some("own"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert_eq!(secret(&headers), Some("b"));
    }
}
