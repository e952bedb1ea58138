//! The JSON API of console and command line, beside the AWS one: what that cannot say, such as events as they come.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode},
};
use serde::{Deserialize, Serialize};
use stepwell_engine::{Error, KeptLog, PageRequest, TaskLogLevel, TaskLogLine};
use stepwell_interp::Usage;

use crate::{
    auth::Identity,
    aws::{self, Seconds},
    express,
    extract::{InPath, InQuery},
    in_flight,
    limits::PAGE_ITEMS_MAX,
    router,
    serve::ServerState,
    streams,
};

/// Wire form of the query of a history page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryQuery {
    #[serde(default)]
    reverse: bool,
    #[serde(default)]
    max_results: u32,
    next_token: Option<String>,
    /// For who cannot send the header of that name.
    last_event_id: Option<String>,
}

/// `GET /api/executions/{arn}/events`: a page of the history as JSON; as `text/event-stream`, when asked for, the
/// events as they are committed ([`streams::execution`]).
pub(crate) async fn events(
    State(state): State<Arc<ServerState>>,
    InPath(arn): InPath<String>,
    InQuery(query): InQuery<HistoryQuery>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    if streams::is_asked(&headers) {
        let after = query.last_event_id.as_deref();
        let place = streams::place(&headers, after);
        return streams::execution(state, caller, arn, place).await;
    }
    let page = PageRequest {
        max_results: query.max_results.min(PAGE_ITEMS_MAX),
        next_token: query.next_token,
    };
    let asked = (query.reverse, &page);
    if let Some(kept) = express::page(&state, identity.as_deref(), &caller, &arn, asked) {
        return kept.unwrap_or_else(problem);
    }
    let _turn = state.page_turn().await;
    let found = state
        .engine
        .history(&caller, &arn, query.reverse, page)
        .await;
    let answer = found.and_then(|found| {
        let page = aws::HistoryPage::told(&found.items, found.next_token.as_deref());
        let text = serde_json::to_vec(&page).expect("answers have string keys");
        let place = state.answer_place(identity.as_deref(), text.len())?;
        Ok(in_flight::body(text, place))
    });
    match answer {
        Ok(body) => router::json_body(StatusCode::OK, body),
        Err(error @ Error::Rejected { .. }) => {
            express::unkept(&state, &arn).unwrap_or_else(|| problem(error))
        }
        Err(error) => problem(error),
    }
}

/// Wire form of how much of a limit is used.
#[derive(Serialize)]
struct Used {
    limit: &'static str,
    unit: &'static str,
    used: u64,
    most: u64,
    left: u64,
    near: bool,
}

impl Used {
    fn of(usage: &Usage) -> Used {
        Used {
            limit: usage.limit.name(),
            unit: usage.limit.unit(),
            used: usage.used,
            most: usage.most,
            left: usage.left(),
            near: usage.is_near(),
        }
    }
}

/// Wire form of an event that came near a limit.
#[derive(Serialize)]
struct NearEvent {
    event: u64,
    #[serde(flatten)]
    used: Used,
}

/// Wire form of how near an execution is to its limits.
#[derive(Serialize)]
struct LimitsAnswer {
    limits: &'static str,
    usage: Vec<Used>,
    near: Vec<NearEvent>,
}

/// `GET /api/executions/{arn}/limits`: the most that was used of each limit, and the events that came near one.
pub(crate) async fn limits(
    State(state): State<Arc<ServerState>>,
    InPath(arn): InPath<String>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    match state.engine.limits(&caller, &arn).await {
        Ok(found) => router::json(
            StatusCode::OK,
            &LimitsAnswer {
                limits: if found.raised { "raised" } else { "strict" },
                usage: found.usage.iter().map(Used::of).collect(),
                near: found
                    .near
                    .iter()
                    .map(|(event, usage)| NearEvent {
                        event: *event,
                        used: Used::of(usage),
                    })
                    .collect(),
            },
        ),
        Err(error) => problem(error),
    }
}

/// Wire form of a page of attempts' logs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogsAnswer {
    attempts: Vec<AttemptAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Wire form of what one attempt said.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptAnswer {
    state: Arc<str>,
    /// Id of the event that entered the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    entered_event_id: Option<u64>,
    attempt: u32,
    plugin: Arc<str>,
    ended: Seconds,
    lines: Vec<LineAnswer>,
    stdout: String,
    stderr: String,
    cut: bool,
    /// The last note that the attempt gave of its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Arc<str>>,
}

/// Wire form of a line that a task logged.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LineAnswer {
    level: &'static str,
    message: String,
    fields: Vec<(String, String)>,
    after_ms: u64,
}

/// `GET /api/executions/{arn}/logs`: what the attempts of its tasks logged and printed, in the order in which they ended.
pub(crate) async fn logs(
    State(state): State<Arc<ServerState>>,
    InPath(arn): InPath<String>,
    InQuery(query): InQuery<HistoryQuery>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    let page = PageRequest {
        max_results: query.max_results.min(PAGE_ITEMS_MAX),
        next_token: query.next_token,
    };
    let _turn = state.page_turn().await;
    let found = state.engine.attempt_logs(&caller, &arn, &page).await;
    let answer = found.and_then(|found| {
        let page = LogsAnswer {
            attempts: found.items.into_iter().map(attempt).collect(),
            next_token: found.next_token,
        };
        let text = serde_json::to_vec(&page).expect("answers have string keys");
        let place = state.answer_place(identity.as_deref(), text.len())?;
        Ok(in_flight::body(text, place))
    });
    match answer {
        Ok(body) => router::json_body(StatusCode::OK, body),
        Err(error) => problem(error),
    }
}

fn attempt(kept: KeptLog) -> AttemptAnswer {
    let line = |line: TaskLogLine| LineAnswer {
        level: match line.level {
            TaskLogLevel::Trace => "trace",
            TaskLogLevel::Debug => "debug",
            TaskLogLevel::Info => "info",
            TaskLogLevel::Warn => "warn",
            TaskLogLevel::Error => "error",
        },
        message: line.message,
        fields: line.fields,
        after_ms: line.after_ms,
    };
    AttemptAnswer {
        state: kept.state,
        entered_event_id: kept.entered_id,
        attempt: kept.attempt,
        plugin: kept.plugin,
        ended: Seconds(kept.at.0),
        lines: kept.log.lines.into_iter().map(line).collect(),
        stdout: kept.log.stdout,
        stderr: kept.log.stderr,
        cut: kept.log.cut,
        progress: kept.progress,
    }
}

/// Wire form of how far a map run is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MapRunAnswer {
    status: &'static str,
    items: aws::MapRunCounts,
    executions: aws::MapRunCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_items: Option<u64>,
}

/// `GET /api/map-runs/{arn}`: its counts as DescribeMapRun tells them, and how many items there are in all or, while they
/// are read, seem to be.
pub(crate) async fn map_run(
    State(state): State<Arc<ServerState>>,
    InPath(arn): InPath<String>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    match state.engine.map_run(&caller, &arn).await {
        Ok(map_run) => router::json(
            StatusCode::OK,
            &MapRunAnswer {
                status: aws::status_name(map_run.status),
                items: map_run.items.into(),
                executions: map_run.executions.into(),
                expected_items: map_run.expected_items,
            },
        ),
        Err(error) => problem(error),
    }
}

/// An error of a call of this API.
pub(crate) fn problem(error: Error) -> Response<Body> {
    match error {
        Error::Rejected { message, .. } => router::error(StatusCode::BAD_REQUEST, &message),
        Error::Busy(message) => router::error(StatusCode::SERVICE_UNAVAILABLE, &message),
        Error::Damaged(internal) => failed(aws::DAMAGED, &internal),
        Error::Broken(internal)
        | Error::Held(internal)
        | Error::Unopened(internal)
        | Error::Unusable(internal) => failed(
            "the request failed inside the runtime; its log has the cause",
            &internal,
        ),
    }
}

fn failed(message: &str, internal: &str) -> Response<Body> {
    tracing::error!(error = %internal, "a request failed");
    router::error(StatusCode::INTERNAL_SERVER_ERROR, message)
}
