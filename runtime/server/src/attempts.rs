//! What the attempts of an execution used, and what those that run say of their progress, as JSON. AWS's API has neither.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode},
};
use serde::{Deserialize, Serialize};
use stepwell_engine::{Error, MeasuredAttempt, PageRequest, ProgressNote};

use crate::{
    api::problem,
    auth::Identity,
    aws::{self, Seconds, WireMeasures},
    extract::{InPath, InQuery},
    in_flight,
    limits::PAGE_ITEMS_MAX,
    router,
    serve::ServerState,
};

/// Wire form of the query.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttemptsQuery {
    #[serde(default)]
    max_results: u32,
    next_token: Option<String>,
}

/// Wire form of a page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    attempts: Vec<Attempt<'a>>,
    progress: Vec<Progress<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

/// Wire form of an attempt that has ended.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt<'a> {
    state: &'a str,
    /// Id of the event that entered the state.
    entered_event_id: u64,
    attempt: u32,
    plugin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    ended: Seconds,
    usage: WireMeasures<'a>,
}

impl<'a> Attempt<'a> {
    fn of(attempt: &'a MeasuredAttempt) -> Attempt<'a> {
        Attempt {
            state: &attempt.state,
            entered_event_id: attempt.entered_id,
            attempt: attempt.attempt,
            plugin: &attempt.plugin,
            version: attempt.version.as_deref(),
            ended: Seconds(attempt.at.0),
            usage: WireMeasures(&attempt.measures),
        }
    }
}

/// Wire form of the latest note of an attempt that runs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Progress<'a> {
    state: &'a str,
    entered_event_id: u64,
    attempt: u32,
    plugin: &'a str,
    at: Seconds,
    note: &'a str,
}

impl<'a> Progress<'a> {
    pub(crate) fn of(note: &'a ProgressNote) -> Progress<'a> {
        Progress {
            state: &note.state,
            entered_event_id: note.entered_id,
            attempt: note.attempt,
            plugin: &note.plugin,
            at: Seconds(note.at.0),
            note: &note.note,
        }
    }
}

/// `GET /api/executions/{arn}/attempts`: a page of the attempts that plugins ended, in the order in which they did, with
/// what each used; and the latest notes of those that run.
pub(crate) async fn attempts(
    State(state): State<Arc<ServerState>>,
    InPath(arn): InPath<String>,
    InQuery(query): InQuery<AttemptsQuery>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    let page = PageRequest {
        max_results: query.max_results.min(PAGE_ITEMS_MAX),
        next_token: query.next_token,
    };
    let _turn = state.page_turn().await;
    let answer = async {
        let progress = state.engine.progress(&caller, &arn).await?;
        let found = state.engine.measured_attempts(&caller, &arn, &page).await?;
        let answer = Answer {
            attempts: found.items.iter().map(Attempt::of).collect(),
            progress: progress.iter().map(Progress::of).collect(),
            next_token: found.next_token.as_deref(),
        };
        let text = serde_json::to_vec(&answer).expect("answers have string keys");
        let place = state.answer_place(identity.as_deref(), text.len())?;
        Ok::<_, Error>(in_flight::body(text, place))
    };
    match answer.await {
        Ok(body) => router::json_body(StatusCode::OK, body),
        Err(error) => problem(error),
    }
}
