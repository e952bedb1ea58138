//! The API of EventBridge Scheduler: schedules and their groups, for the tools that it has. What it hides from the rest of the
//! server: its REST paths, wire types, and the texts of its errors.
//!
//! Source: EventBridge Scheduler, API reference (2021-06-30).

mod fault;
mod groups;
mod route;
mod schedules;

use axum::http::{Method, StatusCode, Uri};
use serde::Serialize;
use stepwell_engine::{Caller, Code, PageRequest};

use crate::{
    aws, lambda,
    limits::SCHEDULES_PAGE_MAX,
    rest::{self, Answer, Api},
    serve::ServerState,
};
use fault::Fault;
use route::{Operation, Route};

pub(crate) use route::{RATED, is_own_path, names as operation_names};
pub(crate) use schedules::{WireSchedule, spec_of};

/// The scheduler's API.
#[derive(Debug)]
pub(crate) struct Schedules;

/// One request that may be carried out.
type Call<'a> = rest::Call<'a, Schedules>;

impl Api for Schedules {
    const FAILED: &'static str = "InternalServerException";
    const NOT_FOR_PAGES: &'static str = "a web page sent this request, and without authentication none but the console may schedule anything; use an SDK or the command line";

    type Operation = Operation;
    type Route = Route;

    fn find(method: &Method, uri: &Uri) -> Result<Route, Fault> {
        route::find(method, uri)
    }

    fn operation(route: &Route) -> Operation {
        route.operation
    }

    fn about(route: &Route, _: &[u8]) -> String {
        route.named.clone().unwrap_or_default()
    }

    fn body_bytes_max(state: &ServerState, caller: &Caller, _: Operation) -> usize {
        aws::body_bytes_max(state.engine.raised_limits(&caller.tenant))
    }

    fn operations_before() -> usize {
        aws::operation_names().len() + lambda::operation_names().len()
    }

    fn rejected(code: Code, message: String) -> Fault {
        fault::rejected(code, message)
    }

    fn unreadable(error: &serde_json::Error) -> Fault {
        Fault::validation(format!("the request's body cannot be read: {error}"))
    }

    fn body(fault: &Fault) -> Vec<u8> {
        fault::body(fault)
    }

    async fn serve(call: Call<'_>) -> Result<Answer, Fault> {
        serve(call).await
    }
}

async fn serve(call: Call<'_>) -> Result<Answer, Fault> {
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

    /// The page that a list asks for.
    fn page(&self) -> Result<PageRequest, Fault> {
        let asked = self.route.query.get("MaxResults").map(|text| {
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
            next_token: self.route.query.get("NextToken").map(str::to_owned),
        })
    }
}

fn json(answer: &impl Serialize) -> Result<Answer, Fault> {
    Ok(Answer::json(StatusCode::OK, answer))
}
