//! The function service's API: uploads plugins and calls them, for the tools that AWS Lambda has. What it hides from the rest
//! of the server: its REST paths, wire types, packages, and the texts of its errors.

mod configuration;
mod fault;
mod functions;
mod invoke;
mod package;
mod route;
mod tags;
mod versions;
mod zip;

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts,
    },
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use stepwell_engine::{Caller, PageRequest};
use uuid::Uuid;

use crate::{
    auth::{Identity, Permit},
    aws, guard,
    in_flight::{self, Place},
    limits::{FUNCTION_BODY_BYTES_MAX, INVOCATION_BODY_BYTES_MAX, PAGE_ITEMS_MAX},
    metrics::Outcome,
    serve::ServerState,
};
use fault::Fault;
pub use package::wasm_of_package;
use route::{Operation, Route};

pub(crate) use route::{RATED, is_own_path, names as operation_names};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// One request that may be carried out.
struct Call<'a> {
    state: &'a ServerState,
    caller: Caller,
    route: &'a Route,
    headers: &'a HeaderMap,
    body: Bytes,
    request_id: &'a str,
}

/// An answer that is no error.
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: Vec<u8>,
}

/// Answers one request to the function service's API. Every answer carries a request id.
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
        let index = aws::operation_names().len() + operation.index();
        state.metrics.observe(index, outcome, started.elapsed());
    }
    match result {
        Ok(answer) => {
            let identity = parts.extensions.get::<Identity>();
            let place = state.told_place(identity, answer.body.len());
            respond(answer, place, &request_id)
        }
        Err(fault) => respond(fault.into(), Place::nowhere(), &request_id),
    }
}

async fn run(
    state: &ServerState,
    route: &Route,
    parts: &Parts,
    body: Body,
    request_id: &str,
) -> Result<Answer, Fault> {
    let identity = parts.extensions.get::<Identity>();
    if identity.is_none() && guard::is_of_page(&parts.headers) {
        // Without authentication any page could send code here, or run it.
        return Err(Fault::of_page());
    }
    let caller = aws::caller(&state.config, &parts.headers, identity);
    // Before anything is read of what is refused.
    let engine = &state.engine;
    engine.admit(&caller.tenant, route.operation.rated())?;
    let body_max = body_bytes_max(route.operation);
    let mut place = state.body_place(parts);
    let body = aws::read_body(body, &parts.headers, body_max, &mut place).await?;
    let permit = match identity {
        Some(identity) => {
            let operation = route.operation;
            let action = format!("lambda:{}", operation.name());
            let about = route.about(&body);
            let right = operation.right();
            Some(Permit::ask_for(state, identity, &action, right, &about, request_id).await?)
        }
        None => None,
    };
    route.check_account(&caller)?;
    let call = Call {
        state,
        caller,
        route,
        headers: &parts.headers,
        body,
        request_id,
    };
    let served = serve(call).await;
    if let (Some(permit), Err(fault)) = (permit, &served) {
        permit.failed(fault.code()).await?;
    }
    served
}

/// Bytes of a request's body: code comes in few, payloads in many.
pub(crate) fn path_body_bytes_max(path: &str) -> usize {
    if path.trim_end_matches('/').ends_with("/invocations") {
        INVOCATION_BODY_BYTES_MAX
    } else {
        FUNCTION_BODY_BYTES_MAX
    }
}

fn body_bytes_max(operation: Operation) -> usize {
    match operation {
        Operation::CreateFunction | Operation::UpdateFunctionCode => FUNCTION_BODY_BYTES_MAX,
        Operation::Invoke
        | Operation::CreateAlias
        | Operation::DeleteAlias
        | Operation::DeleteFunction
        | Operation::GetAlias
        | Operation::GetFunction
        | Operation::GetFunctionCodeSigningConfig
        | Operation::GetFunctionConfiguration
        | Operation::GetPolicy
        | Operation::ListAliases
        | Operation::ListFunctions
        | Operation::ListTags
        | Operation::ListVersionsByFunction
        | Operation::PublishVersion
        | Operation::TagResource
        | Operation::UntagResource
        | Operation::UpdateAlias
        | Operation::UpdateFunctionConfiguration => INVOCATION_BODY_BYTES_MAX,
    }
}

async fn serve(call: Call<'_>) -> Result<Answer, Fault> {
    match call.route.operation {
        Operation::CreateAlias => versions::create_alias(call).await,
        Operation::CreateFunction => functions::create(call).await,
        Operation::DeleteAlias => versions::delete_alias(call).await,
        Operation::DeleteFunction => functions::delete(call).await,
        Operation::GetAlias => versions::get_alias(call).await,
        Operation::GetFunction => functions::get(call).await,
        Operation::GetFunctionCodeSigningConfig => functions::code_signing(call).await,
        Operation::GetFunctionConfiguration => functions::get_configuration(call).await,
        Operation::GetPolicy => functions::policy(call).await,
        Operation::Invoke => invoke::invoke(call).await,
        Operation::ListAliases => versions::list_aliases(call).await,
        Operation::ListFunctions => functions::list(call).await,
        Operation::ListTags => tags::list(call).await,
        Operation::ListVersionsByFunction => versions::list(call).await,
        Operation::PublishVersion => versions::publish(call).await,
        Operation::TagResource => tags::add(call).await,
        Operation::UntagResource => tags::remove(call).await,
        Operation::UpdateAlias => versions::update_alias(call).await,
        Operation::UpdateFunctionCode => functions::update_code(call).await,
        Operation::UpdateFunctionConfiguration => functions::update_configuration(call).await,
    }
}

impl Call<'_> {
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
        let items = self.route.query("MaxItems");
        let items = items.map(|text| {
            let number = text.parse::<u32>().ok().filter(|number| *number > 0);
            number.ok_or_else(|| {
                Fault::validation(&format!(
                    "Value '{text}' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"
                ))
            })
        });
        Ok(PageRequest {
            max_results: items.transpose()?.unwrap_or(0).min(PAGE_ITEMS_MAX),
            next_token: self.route.query("Marker").map(str::to_owned),
        })
    }
}

impl Answer {
    fn json(status: StatusCode, answer: &impl Serialize) -> Answer {
        Answer {
            status,
            headers: vec![(header::CONTENT_TYPE, "application/json".to_owned())],
            body: serde_json::to_vec(answer).expect("answers have string keys"),
        }
    }

    fn nothing() -> Answer {
        Answer {
            status: StatusCode::NO_CONTENT,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

fn respond(answer: Answer, place: Place, request_id: &str) -> Response<Body> {
    let mut response = Response::new(in_flight::body(answer.body, place));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    for (name, text) in answer.headers {
        // Texts of others may have what no header holds.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    headers.insert(
        REQUEST_ID,
        HeaderValue::from_str(request_id).expect("a UUID is a header value"),
    );
    response
}
