//! The JSON API of console and command line, beside the AWS one: what that cannot say, such as events as they come.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, Response, StatusCode, header},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use stepwell_engine::{Caller, Error, KeptLog, PageRequest, TaskLogLevel, TaskLogLine, Watch};
use stepwell_interp::Usage;

use crate::{
    auth::Identity,
    aws::{self, Seconds},
    limits::{PAGE_ITEMS_MAX, WATCH_KEEP_ALIVE},
    router,
    serve::ServerState,
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
}

/// Wire form of the last message of a watch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct End<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_date: Option<Seconds>,
}

/// `GET /api/executions/{arn}/events`: a page of the history as JSON; as `text/event-stream`, when asked for, the
/// events from the first one on, each when it is committed (`event: history`, its id, its JSON), then `event: end`.
pub(crate) async fn events(
    State(state): State<Arc<ServerState>>,
    arn: Result<Path<String>, PathRejection>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let (arn, query) = match (arn, query) {
        (Ok(Path(arn)), Ok(Query(query))) => (arn, query),
        (Err(wrong), _) => return router::error(wrong.status(), &wrong.body_text()),
        (_, Err(wrong)) => return router::error(wrong.status(), &wrong.body_text()),
    };
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accepts.contains("text/event-stream") {
        return match state.engine.watch(&caller, &arn).await {
            Ok(watch) => watched(state, caller, arn, watch),
            Err(error) => problem(error),
        };
    }
    let page = PageRequest {
        max_results: query.max_results.min(PAGE_ITEMS_MAX),
        next_token: query.next_token,
    };
    match state
        .engine
        .history(&caller, &arn, query.reverse, page)
        .await
    {
        Ok(found) => router::json(
            StatusCode::OK,
            &aws::HistoryPage::of(&found.items, found.next_token.as_deref(), true),
        ),
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
    Path(arn): Path<String>,
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
    attempt: u32,
    plugin: Arc<str>,
    ended: Seconds,
    lines: Vec<LineAnswer>,
    stdout: String,
    stderr: String,
    cut: bool,
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
    Path(arn): Path<String>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let query = match query {
        Ok(Query(query)) => query,
        Err(wrong) => return router::error(wrong.status(), &wrong.body_text()),
    };
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    let page = PageRequest {
        max_results: query.max_results.min(PAGE_ITEMS_MAX),
        next_token: query.next_token,
    };
    match state.engine.attempt_logs(&caller, &arn, &page).await {
        Ok(found) => {
            let answer = LogsAnswer {
                attempts: found.items.into_iter().map(attempt).collect(),
                next_token: found.next_token,
            };
            router::json(StatusCode::OK, &answer)
        }
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
        attempt: kept.attempt,
        plugin: kept.plugin,
        ended: Seconds(kept.at.0),
        lines: kept.log.lines.into_iter().map(line).collect(),
        stdout: kept.log.stdout,
        stderr: kept.log.stderr,
        cut: kept.log.cut,
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
    Path(arn): Path<String>,
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

fn watched(state: Arc<ServerState>, caller: Caller, arn: String, watch: Watch) -> Response<Body> {
    let events = history_stream(state.clone(), watch).chain(stream::once(end(state, caller, arn)));
    let keep_alive = KeepAlive::new().interval(WATCH_KEEP_ALIVE);
    Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(keep_alive)
        .into_response()
}

/// The committed events as they come, until the execution is closed or the server shuts down.
fn history_stream(state: Arc<ServerState>, watch: Watch) -> impl Stream<Item = Event> + Send {
    let batches = stream::unfold((state, watch), |(state, mut watch)| async {
        let entries = tokio::select! {
            entries = watch.next() => entries?,
            () = state.draining() => return None,
        };
        Some((entries, (state, watch)))
    });
    batches.flat_map(|entries| {
        let events = entries.into_iter().filter_map(|entry| {
            let event = aws::WireEvent::of(&entry, true)?;
            Some(message("history", &event).id(entry.id.to_string()))
        });
        stream::iter(events.collect::<Vec<_>>())
    })
}

async fn end(state: Arc<ServerState>, caller: Caller, arn: String) -> Event {
    match state.engine.execution(&caller, &arn).await {
        Ok(execution) => {
            let stop_date = execution.stopped_at.map(|at| Seconds(at.0));
            message(
                "end",
                &End {
                    status: aws::status_name(execution.status),
                    stop_date,
                },
            )
        }
        Err(error) => {
            tracing::warn!(%error, arn, "a watch could not tell how the execution ended");
            Event::default().event("end").data("{}")
        }
    }
}

fn message(name: &str, data: &impl Serialize) -> Event {
    Event::default()
        .event(name)
        .data(serde_json::to_string(data).expect("messages have string keys"))
}

fn problem(error: Error) -> Response<Body> {
    match error {
        Error::Rejected { message, .. } => router::error(StatusCode::BAD_REQUEST, &message),
        Error::Busy(message) => router::error(StatusCode::SERVICE_UNAVAILABLE, &message),
        Error::Broken(internal)
        | Error::Damaged(internal)
        | Error::Unopened(internal)
        | Error::Unusable(internal) => {
            tracing::error!(error = %internal, "a request failed");
            router::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the request failed inside the runtime; its log has the cause",
            )
        }
    }
}
