//! The AWS Step Functions wire protocol: AWS JSON 1.0 over `POST /`, and the query protocol of STS and IAM beside it. What it hides from the rest of the server: every
//! wire type, the operations and the texts of their errors.

mod activities;
mod aliases;
mod connections;
mod constraint;
mod events;
mod executions;
mod fault;
mod history;
mod input;
mod log_groups;
mod machines;
mod map_runs;
mod operation;
pub(crate) mod query;
mod settings;
mod shapes;
mod tags;
mod tasks;
#[cfg(feature = "services")]
mod test_state;
#[cfg(not(feature = "services"))]
mod test_state_left_out;
mod validate;
mod versions;
mod wire;

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header,
        request::Parts,
    },
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use stepwell_engine::Caller;
use uuid::Uuid;

pub(crate) use events::PUT_EVENTS;
pub(crate) use executions::status_name;
pub(crate) use fault::{DAMAGED, Fault, left_out};
pub(crate) use history::{HistoryPage, WireEvent, WireFields, WireMeasures};
pub(crate) use map_runs::Counts as MapRunCounts;
pub(crate) use operation::names as operation_names;
pub(crate) use wire::Seconds;

use crate::{
    admin,
    auth::{Identity, Permit},
    config::ServerConfig,
    fair::{self, Turn},
    in_flight::{self, NoRoom, Place},
    limits::{
        BODY_BYTES_DISCARDED_MAX, BODY_BYTES_MAX, BODY_BYTES_MAX_RAISED, BODY_TIME_MAX,
        REGION_CHARS_MAX,
    },
    metrics::Outcome,
    serve::ServerState,
    triggers,
};
use operation::{Call, Operation};

/// Before the operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "AWSStepFunctions.";
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const JSON_1_0: &str = "application/x-amz-json-1.0";
const JSON_1_1: &str = "application/x-amz-json-1.1";

/// Operations that take as long as the definition in them is large: other tenants' requests wait for no more of them than for
/// short ones.
const COMPUTING: [&str; 4] = [
    "CreateStateMachine",
    "TestState",
    "UpdateStateMachine",
    "ValidateStateMachineDefinition",
];

/// Answers one request to the AWS API. Every answer carries a request id.
pub(crate) async fn answer(state: &ServerState, request: Request<Body>) -> Response<Body> {
    if query::is_query(request.uri(), request.headers()) {
        return query::answer(state, request).await;
    }
    let started = Instant::now();
    let _open = state.metrics.open();
    let (parts, body) = request.into_parts();
    let request_id = Uuid::new_v4().hyphenated().to_string();
    let target = target(&parts.headers);
    let found = target.strip_prefix(TARGET_PREFIX).and_then(operation::find);
    let result = match found {
        Some((_, operation)) => run(state, operation, &parts, body, &request_id).await,
        #[cfg(not(feature = "services"))]
        None if log_groups::is_its(target) || events::is_its(target) => {
            Err(Fault::left_out(target))
        }
        #[cfg(feature = "services")]
        None if log_groups::is_its(target) => {
            log_groups::answer(state, target, &parts, body, &request_id).await
        }
        #[cfg(feature = "services")]
        None if events::is_its(target) => {
            events::answer(state, target, &parts, body, &request_id).await
        }
        None if admin::is_ours(target) || triggers::is_ours(target) => {
            run_own(state, target, &parts, body, &request_id).await
        }
        None => Err(accepted_type(&parts.headers)
            .err()
            .unwrap_or_else(|| Fault::unknown_operation(target))),
    };
    let result = result.and_then(|text| {
        let identity = parts.extensions.get::<Identity>();
        let place = match found {
            Some((_, operation)) if only_looks(operation) => {
                state.answer_place(identity, text.len())?
            }
            Some(_) | None => state.told_place(identity, text.len()),
        };
        Ok((text, place))
    });
    let outcome = match &result {
        Ok(_) => Outcome::Ok,
        Err(fault) => {
            fault.log(target, &request_id);
            fault.outcome()
        }
    };
    if let Some((index, _)) = found {
        state.metrics.observe(index, outcome, started.elapsed());
    }
    let (status, text, place, code) = match result {
        Ok((text, place)) => (StatusCode::OK, text, place, ""),
        Err(fault) => (fault.status, fault.body(), Place::nowhere(), fault.code()),
    };
    let type_back = json_type(&parts.headers);
    let mut response = respond(status, type_back, &request_id, in_flight::body(text, place));
    fair::mark(&mut response, code);
    response
}

/// Whether nothing has changed when an operation has run, so that it may be asked for again.
fn only_looks(operation: &Operation) -> bool {
    let reads = ["Describe", "List", "GetExecutionHistory"];
    reads.iter().any(|name| operation.name.starts_with(name))
}

/// An error that concerns no operation, in the API's form.
pub(crate) fn refuse(fault: &Fault, content_type: &'static str) -> Response<Body> {
    let request_id = Uuid::new_v4().hyphenated().to_string();
    respond(fault.status, content_type, &request_id, fault.body().into())
}

/// The content type of the answer: the version that the request is in.
pub(crate) fn json_type(headers: &HeaderMap) -> &'static str {
    if is_type(headers, JSON_1_1) {
        JSON_1_1
    } else {
        JSON_1_0
    }
}

/// On whose behalf a request is made: the account is the access key's, or the server's where none is needed; the region
/// that of the credential scope.
pub(crate) fn caller(
    config: &ServerConfig,
    headers: &HeaderMap,
    identity: Option<&Identity>,
) -> Caller {
    let told = match identity {
        Some(identity) => Some(&*identity.region).filter(|region| is_region(region)),
        None => region(headers),
    };
    let region = match told {
        Some(region) if *region != *config.region => Arc::from(region),
        Some(_) | None => config.region.clone(),
    };
    Caller {
        tenant: identity
            .map_or(&config.account, |identity| &identity.key.account)
            .clone(),
        region,
    }
}

async fn run(
    state: &ServerState,
    operation: &Operation,
    parts: &Parts,
    body: Body,
    request_id: &str,
) -> Result<Vec<u8>, Fault> {
    accepted_type(&parts.headers)?;
    let identity = parts.extensions.get::<Identity>();
    let caller = caller(&state.config, &parts.headers, identity);
    // Before anything is read of what is refused; a start is counted where its state machine's type is known.
    if operation.name != "StartExecution" {
        state.engine.admit(&caller.tenant, operation.name)?;
    }
    let raised = state.engine.raised_limits(&caller.tenant);
    let mut place = state.body_place(parts);
    let body_max = body_bytes_max(raised);
    let body = read_body(body, &parts.headers, body_max, &mut place).await?;
    let input = input::read(&body, operation.input)?;
    constraint::check(&input, raised).map_err(Fault::validation)?;
    let permit = match identity {
        Some(identity) => {
            let alias = aliases::alias_move(state, &caller, operation.name, &body).await;
            Some(Permit::ask(state, identity, operation.name, &body, alias, request_id).await?)
        }
        None => None,
    };
    let call = Call {
        state,
        caller,
        input,
        headers: &parts.headers,
    };
    if COMPUTING.contains(&operation.name)
        && let Some(turn) = parts.extensions.get::<Arc<Turn>>()
    {
        turn.keep();
    }
    let served = (operation.run)(call).await;
    if let (Some(permit), Err(fault)) = (permit, &served) {
        permit.failed(fault.code()).await?;
    }
    served
}

/// A call of our own.
async fn run_own(
    state: &ServerState,
    target: &str,
    parts: &Parts,
    body: Body,
    request_id: &str,
) -> Result<Vec<u8>, Fault> {
    accepted_type(&parts.headers)?;
    let identity = parts.extensions.get::<Identity>();
    let caller = caller(&state.config, &parts.headers, identity);
    if admin::is_ours(target) {
        admin::admit(state, target, &caller)?;
    }
    let raised = state.engine.raised_limits(&caller.tenant);
    let mut place = state.body_place(parts);
    let body_max = body_bytes_max(raised);
    let body = read_body(body, &parts.headers, body_max, &mut place).await?;
    if triggers::is_ours(target) {
        return triggers::own(state, target, parts, &body, request_id).await;
    }
    admin::answer(state, target, parts, &body, request_id).await
}

/// Whether a request is one to CloudWatch Logs.
pub(crate) fn is_of_logs(headers: &HeaderMap) -> bool {
    log_groups::is_its(target(headers))
}

/// Whether a request is one to EventBridge.
pub(crate) fn is_of_events(headers: &HeaderMap) -> bool {
    events::is_its(target(headers))
}

fn target(headers: &HeaderMap) -> &str {
    headers
        .get(TARGET)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Only the protocol's own content types: a web page cannot send them to another site unasked.
fn accepted_type(headers: &HeaderMap) -> Result<(), Fault> {
    if is_type(headers, JSON_1_0) || is_type(headers, JSON_1_1) {
        return Ok(());
    }
    let found = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    Err(Fault::unsupported_type(found))
}

fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let found = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    found
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

/// Bytes of the body of a request to this API.
pub(crate) fn body_bytes_max(raised: bool) -> usize {
    if raised {
        BODY_BYTES_MAX_RAISED
    } else {
        BODY_BYTES_MAX
    }
}

/// The body whole, within its bounds of size and time, and counted in its place as it comes.
pub(crate) async fn read_body(
    mut body: Body,
    headers: &HeaderMap,
    bytes_max: usize,
    place: &mut Place,
) -> Result<Bytes, Fault> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_DISCARDED_MAX.max(bytes_max)) {
        return Err(Fault::body_too_large(bytes_max));
    }
    let reading = collect(&mut body, bytes_max, place);
    tokio::time::timeout(BODY_TIME_MAX, reading)
        .await
        .map_err(|_| Fault::body_too_slow())?
}

/// Reads on after the bound, up to another, so that the client reads the answer instead of a reset connection.
async fn collect(body: &mut Body, bytes_max: usize, place: &mut Place) -> Result<Bytes, Fault> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Fault::body_broken())?.into_data() else {
            continue;
        };
        total += data.len();
        place.hold(total).map_err(|NoRoom| Fault::no_room())?;
        if total > bytes_max {
            more = BytesMut::new();
            if total > BODY_BYTES_DISCARDED_MAX {
                break;
            }
        } else if first.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
    }
    match total {
        total if total > bytes_max => Err(Fault::body_too_large(bytes_max)),
        // Small bodies come in one piece, which is not copied.
        _ if more.is_empty() => Ok(first),
        _ => Ok(more.freeze()),
    }
}

/// The region of the credential scope.
fn region(headers: &HeaderMap) -> Option<&str> {
    let region = scope(headers)?.rsplit('/').nth(2)?;
    is_region(region).then_some(region)
}

/// The service that a request says it was signed for, in its header or behind the `?`. Nobody has proved it.
pub(crate) fn service(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let in_header = scope(headers).map(str::to_owned);
    let credential = in_header.or_else(|| query::parameter(uri, "X-Amz-Credential"))?;
    credential.rsplit('/').nth(1).map(str::to_owned)
}

/// The credential with its scope: `KEY/20260131/us-east-1/states/aws4_request`.
fn scope(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    Some(credential.split(',').next()?.trim())
}

fn is_region(region: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !region.is_empty() && region.len() <= REGION_CHARS_MAX && region.bytes().all(is_name)
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    request_id: &str,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        REQUEST_ID,
        HeaderValue::from_str(request_id).expect("a UUID is a header value"),
    );
    response
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use futures_util::stream;

    use super::*;
    use crate::in_flight::InFlight;

    const MB: usize = 1_048_576;

    fn body(pieces: usize) -> Body {
        let piece = Ok::<_, Infallible>(Bytes::from(vec![b'x'; MB]));
        Body::from_stream(stream::iter(vec![piece; pieces]))
    }

    #[tokio::test]
    async fn bodies_are_bounded_together_and_by_account() {
        let bodies = InFlight::new(8 * MB);
        let accounts: [Arc<str>; 2] = ["a".into(), "b".into()];
        let headers = HeaderMap::new();
        let mut place = bodies.place(&accounts[0]);
        let first = read_body(body(3), &headers, 4 * MB, &mut place).await;
        assert_eq!(first.map(|bytes| bytes.len()), Ok(3 * MB));
        let mut other = bodies.place(&accounts[0]);
        let refused = read_body(body(2), &headers, 4 * MB, &mut other).await;
        let fault = refused.expect_err("more than half for one account");
        assert_eq!(fault.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(fault.code(), "ServiceUnavailableException");
        let mut others = bodies.place(&accounts[1]);
        let served = read_body(body(2), &headers, 4 * MB, &mut others).await;
        assert!(served.is_ok(), "another account's");
        // The first one is served by now.
        drop((place, other));
        let mut again = bodies.place(&accounts[0]);
        let served = read_body(body(2), &headers, 4 * MB, &mut again).await;
        assert!(served.is_ok());
    }
}
