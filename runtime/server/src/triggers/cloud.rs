//! `POST /events`: CloudEvents, structured, in batches and binary. What it hides: their forms.
//!
//! Source: CloudEvents 1.0.2, its JSON format and its HTTP binding. A CloudEvent becomes an event of the tenant: `id` and `source`
//! are its own, `type` is the detail type, `subject` the resource, `data` the detail; data that is no object is a detail with the
//! member `data`. Extension attributes are not kept.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Request, Response, StatusCode, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::json;
use stepwell_engine::{Accepted, Event, TriggerError};
use stepwell_query::Value;
use uuid::Uuid;

use crate::{
    auth::{Identity, Permit, STEER},
    aws::{self, Fault, PUT_EVENTS},
    guard,
    limits::CLOUD_EVENTS_MAX,
    router,
    serve::ServerState,
};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// Answers one request: 202 with the ids when all events are durable.
pub(crate) async fn answer(
    State(state): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match take(&state, &parts, body).await {
        Ok(accepted) => told(accepted),
        Err(fault) => {
            let status = match fault.code() {
                "AccessDeniedException" => StatusCode::FORBIDDEN,
                _ => fault.status,
            };
            router::error(status, fault.message())
        }
    }
}

async fn take(state: &ServerState, parts: &Parts, body: Body) -> Result<Vec<Accepted>, Fault> {
    let identity = parts.extensions.get::<Identity>();
    if identity.is_none() && guard::is_of_page(&parts.headers) {
        return Err(Fault::denied(
            "a web page sent this request, and without authentication none may send events"
                .to_owned(),
        ));
    }
    let caller = aws::caller(&state.config, &parts.headers, identity);
    state.engine.admit(&caller.tenant, PUT_EVENTS)?;
    let body_max = aws::body_bytes_max(state.engine.raised_limits(&caller.tenant));
    let mut place = state.body_place(parts);
    let body = aws::read_body(body, &parts.headers, body_max, &mut place).await?;
    let permit = match identity {
        Some(identity) => {
            let id = Uuid::new_v4().hyphenated().to_string();
            Some(Permit::ask_for(state, identity, PUT_EVENTS, STEER, "", &id).await?)
        }
        None => None,
    };
    let taken = match events(&parts.headers, &body) {
        Ok(events) => state.engine.put_events(&caller, events).await,
        Err(why) => Err(TriggerError::Invalid(why)),
    };
    let taken = taken.map_err(Fault::from);
    if let (Some(permit), Err(fault)) = (permit, &taken) {
        permit.failed(fault.code()).await?;
    }
    taken
}

/// Those that were refused make the request one; sent again, those that were taken start nothing anew.
fn told(accepted: Vec<Accepted>) -> Response<Body> {
    let mut refused = false;
    let events: Vec<_> = accepted
        .into_iter()
        .map(|accepted| match accepted {
            Accepted::Yes { id } => json!({"id": id}),
            Accepted::No { code, why } => {
                refused = true;
                json!({"error": format!("{code}: {why}")})
            }
        })
        .collect();
    let status = match refused {
        true => StatusCode::BAD_REQUEST,
        false => StatusCode::ACCEPTED,
    };
    router::json(status, &json!({"events": events}))
}

fn events(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Event>, String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE.as_str()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let read = || {
        let text = std::str::from_utf8(body).map_err(|_| "the body is no UTF-8".to_owned())?;
        Value::parse(text).map_err(|error| format!("the body is no JSON: {}", error.message))
    };
    if kind.eq_ignore_ascii_case(STRUCTURED) {
        return Ok(vec![structured(&read()?)?]);
    }
    if kind.eq_ignore_ascii_case(BATCH) {
        let value = read()?;
        let items = value.as_array().ok_or("a batch is an array of events")?;
        if items.len() > CLOUD_EVENTS_MAX {
            return Err(format!("a batch has at most {CLOUD_EVENTS_MAX} events"));
        }
        return items.iter().map(structured).collect();
    }
    if text("ce-specversion").is_none() {
        return Err(format!(
            "this is no CloudEvent: it comes as {STRUCTURED}, as {BATCH}, or with the headers ce-specversion, ce-id, ce-source and ce-type"
        ));
    }
    let header = |name: &str| {
        let value = text(&format!("ce-{name}"))?;
        Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
    };
    let data = binary(kind, body)?;
    event(header, data).map(|event| vec![event])
}

fn structured(value: &Value) -> Result<Event, String> {
    if value.as_object().is_none() {
        return Err("an event is an object".to_owned());
    }
    let data = match (value.get("data"), value.get("data_base64")) {
        (Some(data), _) => data.clone(),
        (None, Some(data)) => data.clone(),
        (None, None) => Value::empty_object(),
    };
    let attribute = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    event(attribute, data)
}

/// The data of an event in binary mode.
fn binary(kind: &str, body: &Bytes) -> Result<Value, String> {
    if body.is_empty() {
        return Ok(Value::empty_object());
    }
    let is_json = kind.is_empty() || kind.ends_with("/json") || kind.ends_with("+json");
    match std::str::from_utf8(body) {
        Ok(text) if is_json => Value::parse(text)
            .map_err(|error| format!("the event's data is no JSON: {}", error.message)),
        Ok(text) => Ok(Value::from(text)),
        Err(_) => Ok(Value::from(STANDARD.encode(body))),
    }
}

fn event(attribute: impl Fn(&str) -> Option<String>, data: Value) -> Result<Event, String> {
    let needed = |name: &str| {
        let value = attribute(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("the event has no attribute `{name}`"))
    };
    let version = needed("specversion")?;
    if version != "1.0" {
        return Err(format!(
            "CloudEvents of version 1.0 are taken, and not of `{version}`"
        ));
    }
    let time_s = match attribute("time") {
        Some(time) => {
            let read = time.parse::<jiff::Timestamp>();
            let read = read.map_err(|_| format!("`{time}` is no time as RFC 3339 has it"))?;
            Some(read.as_second())
        }
        None => None,
    };
    let detail = match data {
        object @ Value::Object(_) => object,
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => Value::object([("data", other)]),
    };
    Ok(Event {
        id: Some(needed("id")?),
        source: needed("source")?,
        detail_type: needed("type")?,
        detail: detail.to_json(),
        resources: attribute("subject").into_iter().collect(),
        time_s,
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn read(headers: &[(&str, &str)], body: &str) -> Result<Vec<Event>, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.insert(name, HeaderValue::from_str(value).unwrap());
        }
        events(&map, &Bytes::copy_from_slice(body.as_bytes()))
    }

    const BINARY: [(&str, &str); 4] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/shop"),
        ("ce-type", "order.made"),
    ];
    const EVENT: &str = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.made","time":"2026-01-01T00:00:00Z","subject":"A-7","data":{"n":1}}"#;

    #[test]
    fn all_forms_are_the_same_event() {
        let structured = read(&[("content-type", STRUCTURED)], EVENT).unwrap();
        let batch = read(&[("content-type", BATCH)], &format!("[{EVENT},{EVENT}]")).unwrap();
        assert_eq!(batch, [structured.clone(), structured.clone()].concat());
        let more = [
            ("content-type", "application/json; charset=utf-8"),
            ("ce-time", "2026-01-01T00:00:00Z"),
            ("ce-subject", "A%2D7"),
        ];
        let binary = read(&[&BINARY[..], &more].concat(), r#"{"n":1}"#).unwrap();
        assert_eq!(binary, structured);
        let event = &structured[0];
        assert_eq!(event.id.as_deref(), Some("7"));
        assert_eq!(
            (event.source.as_str(), event.detail_type.as_str()),
            ("/shop", "order.made")
        );
        assert_eq!(
            (event.detail.as_str(), &event.resources[..]),
            (r#"{"n":1}"#, &["A-7".to_owned()][..])
        );
        assert_eq!(event.time_s, Some(1_767_225_600));
    }

    #[test]
    fn data_that_is_no_object_is_put_into_one() {
        let text = read(
            &[&BINARY[..], &[("content-type", "text/plain")]].concat(),
            "hi",
        )
        .unwrap();
        assert_eq!(text[0].detail, r#"{"data":"hi"}"#);
        let none = read(&BINARY, "").unwrap();
        assert_eq!(none[0].detail, "{}");
    }

    #[test]
    fn what_is_no_event_is_refused() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
        let cases: [Case<'_>; 8] = [
            (&[], "{}", "no CloudEvent"),
            (&[("content-type", STRUCTURED)], "[]", "an object"),
            (&[("content-type", STRUCTURED)], "{", "no JSON"),
            (
                &[("content-type", STRUCTURED)],
                r#"{"specversion":"1.0"}"#,
                "`id`",
            ),
            (
                &[("content-type", STRUCTURED)],
                r#"{"specversion":"0.3"}"#,
                "version 1.0",
            ),
            (&[("content-type", BATCH)], "{}", "a batch"),
            (
                &[("ce-specversion", "1.0"), ("ce-id", "1")],
                "{}",
                "`source`",
            ),
            (&[("ce-specversion", "1.0")], "{", "no JSON"),
        ];
        for (headers, body, told) in cases {
            let wrong = read(headers, body).unwrap_err();
            assert!(wrong.contains(told), "{headers:?} {body}: {wrong}");
        }
    }
}
