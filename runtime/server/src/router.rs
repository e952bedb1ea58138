//! Which path leads where. What it hides: axum's routing and the guard in front of it.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, Response, StatusCode, header},
    middleware::{self, Next},
    response::IntoResponse,
    routing::{any, get, post},
};
use serde::Serialize;
use stepwell_engine::Role;

#[cfg(feature = "services")]
use crate::rest;
use crate::{
    admission, api, attempts,
    auth::Identity,
    aws::{self, Fault},
    console, express, guard, lambda,
    metrics::{self, METRICS_TYPE},
    plugins,
    protocol::Protocol,
    scheduler,
    serve::ServerState,
    streams,
    tls::Tls,
    triggers,
};

/// All paths of the server: `POST /` (Step Functions, EventBridge), the function service's, the scheduler's, `/trigger/`,
/// `/events`, `/api/`, `/console/`, `/health`, `/metrics`.
pub fn router(state: Arc<ServerState>) -> Router {
    let router = Router::new()
        .route("/", post(aws_api).get(aws_link))
        .route("/trigger/{account}/{name}", any(triggers::endpoint))
        .route(triggers::EVENTS_PATH, post(triggers::cloud_events))
        .route(console::PATH, get(console::redirect))
        .route("/console/", get(console::answer))
        .route("/console/{*path}", get(console::answer))
        .route("/metrics", get(metrics))
        .route("/api/executions/{arn}/attempts", get(attempts::attempts))
        .route("/api/executions/{arn}/events", get(api::events))
        .route("/api/executions/{arn}/limits", get(api::limits))
        .route("/api/executions/{arn}/logs", get(api::logs))
        .route("/api/machines/{arn}/events", get(streams::machine))
        .route("/api/machines/{arn}/express", get(express::list))
        .route("/api/plugins", get(plugins::list))
        // Its ARN has a slash.
        .route("/api/map-runs/{*arn}", get(api::map_run));
    #[cfg(feature = "services")]
    let router = router.merge(services());
    let router = router
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state(state.clone(), guarded))
        // Outside of the guard: it tells nothing, and whoever watches the server may send any Host.
        .route("/health", get(health));
    router.with_state(state)
}

/// The paths of services that have paths of their own.
#[cfg(feature = "services")]
fn services() -> Router<Arc<ServerState>> {
    let functions = || any(rest::answer::<lambda::Functions>);
    let schedules = || any(rest::answer::<scheduler::Schedules>);
    Router::new()
        .route("/2015-03-31/{*path}", functions())
        .route("/2017-03-31/{*path}", functions())
        .route("/2017-10-31/{*path}", functions())
        .route("/2019-09-30/{*path}", functions())
        .route("/2020-06-30/{*path}", functions())
        .route("/schedules", schedules())
        .route("/schedules/{name}", schedules())
        .route("/schedule-groups", schedules())
        .route("/schedule-groups/{name}", schedules())
        .route("/tags/{*arn}", schedules())
}

async fn aws_api(State(state): State<Arc<ServerState>>, request: Request) -> Response<Body> {
    aws::answer(&state, request).await
}

/// What AWS's query protocol asks for by an address alone, such as the links by which a holder of a key proves to another who
/// it is.
async fn aws_link(State(state): State<Arc<ServerState>>, request: Request) -> Response<Body> {
    if aws::query::is_query(request.uri(), request.headers()) {
        return aws::answer(&state, request).await;
    }
    let (parts, _) = request.into_parts();
    let mut response = other_method(parts.method, parts.uri).await;
    let allowed = HeaderValue::from_static("POST");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// Refuses who does not prove an access key; where none is needed, web pages that reached the server under a foreign
/// name.
async fn guarded(
    State(state): State<Arc<ServerState>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    if let Some(gate) = &state.gate {
        return admission::serve(&state, gate, request, next).await;
    }
    let (method, headers) = (request.method(), request.headers());
    match guard::check(method, headers, request.uri(), &state.config.hosts) {
        Ok(()) => next.run(request).await,
        Err(guard::ForeignHost(host)) => {
            Protocol::of(request.uri(), request.headers()).refuse(Fault::foreign_host(&host))
        }
    }
}

/// An operator sees all numbers, another key those of its account's state machines.
async fn metrics(State(state): State<Arc<ServerState>>, request: Request) -> Response<Body> {
    let machines = state.config.machine_metrics.as_deref();
    let text = match request.extensions().get::<Identity>() {
        Some(identity) if identity.key.role < Role::Operator => {
            metrics::text_of(&identity.key.account, machines)
        }
        Some(_) | None => state.metrics.text(machines),
    };
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

/// 200 while the server takes work; 503 once it shuts down, and as long as its store refuses writes.
async fn health(State(state): State<Arc<ServerState>>) -> Response<Body> {
    /// Wire form of the state of health.
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What an operator has to look after while it serves.
        #[serde(skip_serializing_if = "Option::is_none")]
        warning: Option<String>,
        version: &'static str,
    }
    let (code, status, reason) = if state.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining", None)
    } else {
        match state.engine.health().await {
            Ok(()) => (StatusCode::OK, "ok", None),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", Some(why)),
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let problem = state.config.tls.as_ref().and_then(Tls::problem);
    let certificate = problem.map(|why| format!("the TLS certificate was not replaced: {why}"));
    let warnings: Vec<String> = certificate
        .into_iter()
        .chain(state.engine.warning())
        .chain(state.config.warnings.all())
        .collect();
    let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
    let health = Health {
        status,
        reason,
        warning,
        version,
    };
    json(code, &health)
}

/// What is at none of the paths. The APIs with paths of their own say themselves which they do not serve.
#[cfg_attr(
    not(feature = "services"),
    allow(unused_variables, reason = "they alone need it")
)]
async fn unknown(State(state): State<Arc<ServerState>>, request: Request) -> Response<Body> {
    let protocol = Protocol::of(request.uri(), request.headers());
    let (method, path) = (request.method(), request.uri().path());
    if cfg!(not(feature = "services"))
        && (lambda::is_own_path(path) || scheduler::is_own_path(path))
    {
        let what = format!("{method} {path}");
        return error(StatusCode::NOT_FOUND, &aws::left_out(&what));
    }
    let message = format!(
        "there is nothing at {method} {path}; the AWS API is POST /, and there are /console/, /health and /metrics"
    );
    match protocol {
        #[cfg(feature = "services")]
        Protocol::Functions => rest::answer::<lambda::Functions>(State(state), request).await,
        #[cfg(feature = "services")]
        Protocol::Schedules => rest::answer::<scheduler::Schedules>(State(state), request).await,
        Protocol::Json(_) | Protocol::Query(_) => protocol.refuse(Fault::nowhere(message)),
        Protocol::Own => error(StatusCode::NOT_FOUND, &message),
    }
}

async fn other_method(method: Method, uri: axum::http::Uri) -> Response<Body> {
    let message = format!(
        "{method} is not served at {}; the AWS API is POST /, all else is read by GET",
        uri.path()
    );
    error(StatusCode::METHOD_NOT_ALLOWED, &message)
}

/// An error of the paths other than the AWS API.
pub(crate) fn error(status: StatusCode, message: &str) -> Response<Body> {
    /// Wire form of an error of the JSON API.
    #[derive(Serialize)]
    struct Problem<'a> {
        error: &'a str,
    }
    json(status, &Problem { error: message })
}

/// A JSON answer of the paths other than the AWS API.
pub(crate) fn json(status: StatusCode, answer: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(answer).expect("answers have string keys");
    json_body(status, Body::from(text))
}

/// The same of a text that is written by now.
pub(crate) fn json_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
