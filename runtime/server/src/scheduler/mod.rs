//! The API of EventBridge Scheduler: schedules and their groups, for the tools that it has. What it hides from the rest of the
//! server: its REST paths, wire types, and the texts of its errors.
//!
//! Source: EventBridge Scheduler, API reference (2021-06-30).

mod fault;
mod groups;
mod route;
mod schedules;

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, Request, Response, StatusCode, header, request::Parts},
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use stepwell_engine::{Caller, PageRequest};
use uuid::Uuid;

use crate::{
    auth::{Identity, Permit},
    aws, fair, guard, lambda,
    limits::SCHEDULES_PAGE_MAX,
    metrics::Outcome,
    serve::ServerState,
};
use fault::Fault;
use route::{Operation, Route};

pub(crate) use route::{RATED, is_own_path, names as operation_names};
pub(crate) use schedules::{WireSchedule, spec_of};

/// One request that may be carried out.
struct Call<'a> {
    state: &'a ServerState,
    caller: Caller,
    route: &'a Route,
    body: Bytes,
}

/// Answers one request. Every answer carries a request id.
pub(crate) async fn answer(
    State(state): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response<Body> {
    let started = Instant::now();
    let _open = state.metrics.open();
    let (parts, body) = request.into_parts();
    let request_id = Uuid::new_v4().hyphenated().to_string();
    let route = route::find(&parts.method, &parts.uri);
    let operation = route.as_ref().ok().map(|route| route.operation);
    let result = match route {
        Ok(route) => run(&state, &route, &parts, body, &request_id).await,
        Err(fault) => Err(fault),
    };
    let outcome = match &result {
        Ok(_) => Outcome::Ok,
        Err(fault) => {
            fault.log(operation.map_or("", Operation::name), &request_id);
            fault.outcome()
        }
    };
    if let Some(operation) = operation {
        let before = aws::operation_names().len() + lambda::operation_names().len();
        let index = before + operation.index();
        state.metrics.observe(index, outcome, started.elapsed());
    }
    match result {
        Ok(text) => respond(StatusCode::OK, None, text, &request_id),
        Err(fault) => {
            let code = fault.code();
            let mut response = respond(fault.status, Some(code), fault.body(), &request_id);
            fair::mark(&mut response, code);
            response
        }
    }
}

async fn run(
    state: &ServerState,
    route: &Route,
    parts: &Parts,
    body: Body,
    request_id: &str,
) -> Result<Vec<u8>, Fault> {
    let identity = parts.extensions.get::<Identity>();
    if identity.is_none() && guard::is_of_page(&parts.headers) {
        // Without authentication any page could schedule something here.
        return Err(Fault::of_page());
    }
    let caller = aws::caller(&state.config, &parts.headers, identity);
    state
        .engine
        .admit(&caller.tenant, route.operation.rated())?;
    let body_max = aws::body_bytes_max(state.engine.raised_limits(&caller.tenant));
    let mut place = state.body_place(parts);
    let body = aws::read_body(body, &parts.headers, body_max, &mut place).await?;
    let permit = match identity {
        Some(identity) => {
            let operation = route.operation;
            let action = format!("scheduler:{}", operation.name());
            let right = operation.right();
            let about = route.named.as_deref().unwrap_or_default();
            Some(Permit::ask_for(state, identity, &action, right, about, request_id).await?)
        }
        None => None,
    };
    let call = Call {
        state,
        caller,
        route,
        body,
    };
    let served = serve(call).await;
    if let (Some(permit), Err(fault)) = (permit, &served) {
        permit.failed(fault.code()).await?;
    }
    served
}

async fn serve(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    match call.route.operation {
        Operation::CreateSchedule => schedules::create(call).await,
        Operation::CreateScheduleGroup => groups::create(call).await,
        Operation::DeleteSchedule => schedules::delete(call).await,
        Operation::DeleteScheduleGroup => groups::delete(call).await,
        Operation::GetSchedule => schedules::get(call).await,
        Operation::GetScheduleGroup => groups::get(call).await,
        Operation::ListScheduleGroups => groups::list(call).await,
        Operation::ListSchedules => schedules::list(call).await,
        Operation::ListTagsForResource => groups::tags(call).await,
        Operation::TagResource => groups::tag(call).await,
        Operation::UntagResource => groups::untag(call).await,
        Operation::UpdateSchedule => schedules::update(call).await,
    }
}

impl Call<'_> {
    /// What the path names.
    fn named(&self) -> &str {
        self.route.named.as_deref().unwrap_or_default()
    }

    /// The body as the operation's wire type; no body is an empty one.
    fn input<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let body: &[u8] = match self.body.is_empty() {
            true => b"{}",
            false => &self.body,
        };
        serde_json::from_slice(body).map_err(|error| Fault::unreadable(&error))
    }

    /// The page that a list asks for.
    fn page(&self) -> Result<PageRequest, Fault> {
        let asked = self.route.query("MaxResults").map(|text| {
            let number = text.parse::<u32>().ok();
            number
                .filter(|number| (1..=SCHEDULES_PAGE_MAX).contains(number))
                .ok_or_else(|| {
                    Fault::validation(format!(
                        "MaxResults is a number from 1 to {SCHEDULES_PAGE_MAX}, and not `{text}`"
                    ))
                })
        });
        Ok(PageRequest {
            max_results: asked.transpose()?.unwrap_or(SCHEDULES_PAGE_MAX),
            next_token: self.route.query("NextToken").map(str::to_owned),
        })
    }
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, Fault> {
    Ok(serde_json::to_vec(answer).expect("answers have string keys"))
}

fn respond(
    status: StatusCode,
    code: Option<&str>,
    text: Vec<u8>,
    request_id: &str,
) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(code) = code.and_then(|code| HeaderValue::from_str(code).ok()) {
        headers.insert("x-amzn-errortype", code);
    }
    headers.insert(
        "x-amzn-requestid",
        HeaderValue::from_str(request_id).expect("a UUID is a header value"),
    );
    response
}
