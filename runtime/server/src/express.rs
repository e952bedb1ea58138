//! What is kept of EXPRESS executions, over the JSON API: their histories, and the newest of a state machine. Hides that they are in
//! the memory of this server and nowhere else.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode},
};
use serde::{Deserialize, Serialize};
use stepwell_engine::{Caller, Code, Error, PageRequest};
use stepwell_interp::Timestamp;

use crate::{
    auth::Identity,
    aws::{self, Seconds},
    extract::{InPath, InQuery},
    in_flight,
    limits::{EXPRESS_AGE_MS_MAX, PAGE_ITEMS_MAX, PAGE_ITEMS_USUAL},
    observe::{ExpressExecution, ExpressPage},
    router,
    serve::ServerState,
};

/// Wire form of a page of a history.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageAnswer<'a> {
    #[serde(flatten)]
    page: aws::HistoryPage<'a>,
    /// Events at its beginning that are not kept any more.
    dropped_events: u64,
}

/// The page of an EXPRESS execution's history that is asked for; nothing when none of it is kept.
pub(crate) fn page(
    state: &ServerState,
    identity: Option<&Identity>,
    caller: &Caller,
    arn: &str,
    (reverse, asked): (bool, &PageRequest),
) -> Option<Result<Response<Body>, Error>> {
    let histories = state.config.express_histories.as_ref()?;
    let place = (&*caller.tenant, arn);
    let from = asked.next_token.as_deref().map(str::parse::<u64>);
    let Ok(from) = from.transpose() else {
        // The store has children of map runs, whose tokens are its own.
        let kept = histories.page(place, now(), false, None, 0);
        return kept.map(|_| Err(wrong_token()));
    };
    let most = match asked.max_results {
        0 => PAGE_ITEMS_USUAL,
        most => most,
    };
    let found = histories.page(place, now(), reverse, from, most as usize)?;
    let ExpressPage {
        entries,
        next,
        dropped,
    } = found;
    let next = next.map(|next| next.to_string());
    let answer = PageAnswer {
        page: aws::HistoryPage::told(&entries, next.as_deref()),
        dropped_events: dropped,
    };
    let text = serde_json::to_vec(&answer).expect("answers have string keys");
    let place = state.answer_place(identity, text.len());
    Some(place.map(|place| router::json_body(StatusCode::OK, in_flight::body(text, place))))
}

/// What is answered of an EXPRESS execution of which nothing is kept.
pub(crate) fn unkept(state: &ServerState, arn: &str) -> Option<Response<Body>> {
    if !is_express(arn) {
        return None;
    }
    let hours = EXPRESS_AGE_MS_MAX / 3_600_000;
    let text = match state.config.express_histories {
        None => "histories of EXPRESS executions are not kept here: --express-history says how many bytes of them are".to_owned(),
        Some(_) => format!(
            "nothing is kept of this EXPRESS execution: a server keeps those that it ran itself since its start, {hours} hours at most and as many as --express-history has room for; a loggingConfiguration logs all of them"
        ),
    };
    Some(router::error(StatusCode::NOT_FOUND, &text))
}

/// Wire form of the query of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListQuery {
    #[serde(default)]
    max_results: u32,
}

/// Wire form of a list.
#[derive(Serialize)]
struct ListAnswer {
    executions: Vec<ExecutionAnswer>,
}

/// Wire form of an execution, with the names of ListExecutions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionAnswer {
    execution_arn: Arc<str>,
    name: Arc<str>,
    status: &'static str,
    start_date: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_date: Option<Seconds>,
    events: u64,
}

impl ExecutionAnswer {
    fn of(execution: ExpressExecution) -> ExecutionAnswer {
        ExecutionAnswer {
            execution_arn: execution.execution_arn,
            name: execution.name,
            status: execution.status,
            start_date: Seconds(execution.started_at.0),
            stop_date: execution.stopped_at.map(|at| Seconds(at.0)),
            events: execution.events,
        }
    }
}

/// `GET /api/machines/{arn}/express`: the executions of an EXPRESS state machine whose histories are kept, the newest first.
pub(crate) async fn list(
    State(state): State<Arc<ServerState>>,
    InPath(arn): InPath<String>,
    InQuery(query): InQuery<ListQuery>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let caller = aws::caller(&state.config, &headers, identity.as_deref());
    let most = match query.max_results {
        0 => PAGE_ITEMS_USUAL,
        most => most.min(PAGE_ITEMS_MAX),
    };
    let histories = state.config.express_histories.as_ref();
    let found = histories.map(|histories| {
        let place = (&*caller.tenant, &*arn);
        histories.of_machine(place, now(), most as usize)
    });
    let executions = found.unwrap_or_default().into_iter();
    let executions = executions.map(ExecutionAnswer::of).collect();
    router::json(StatusCode::OK, &ListAnswer { executions })
}

/// Whether an ARN is that of an EXPRESS execution.
fn is_express(arn: &str) -> bool {
    arn.split(':').nth(5) == Some("express")
}

fn wrong_token() -> Error {
    Error::Rejected {
        code: Code::InvalidToken,
        message: "the nextToken is none of this history's".to_owned(),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default().as_millis();
    Timestamp(u64::try_from(since).unwrap_or(u64::MAX))
}
