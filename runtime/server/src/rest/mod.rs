//! What the REST APIs of AWS have in common: a path to an operation, permits, bodies, answers, errors. Hides how a request
//! is admitted, audited and measured; an API adds its paths, wire types and texts.

mod fault;
mod operation;
mod query;

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
        request::Parts,
    },
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use stepwell_engine::{AliasMove, Caller, Code};
use uuid::Uuid;

use crate::{
    auth::{Identity, Permit},
    aws, fair, guard,
    in_flight::{self, Place},
    metrics::Outcome,
    objects,
    serve::ServerState,
};

pub(crate) use fault::Fault;
pub(crate) use operation::{Operation, operations};
pub(crate) use query::{Query, segments};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// One REST API.
pub(crate) trait Api: Sized + Send + Sync + 'static {
    /// The code of what fails inside.
    const FAILED: &'static str;
    /// What no web page but the console may do here without authentication.
    const NOT_FOR_PAGES: &'static str;

    type Operation: Operation;
    /// What a request asks for, and of what.
    type Route: Send + Sync;

    /// The operation of a method and path.
    fn find(method: &Method, uri: &Uri) -> Result<Self::Route, Fault<Self>>;
    fn operation(route: &Self::Route) -> Self::Operation;
    /// What the audit log says that a request is about.
    fn about(route: &Self::Route, body: &[u8]) -> String;
    /// Bytes of a request's body.
    fn body_bytes_max(state: &ServerState, caller: &Caller, operation: Self::Operation) -> usize;
    /// Operations of other APIs that metrics have before these.
    fn operations_before() -> usize;
    /// A refusal of the engine in the words of this API.
    fn rejected(code: Code, message: String) -> Fault<Self>;
    /// A body that is not JSON, or holds a value of another type than its member's.
    fn unreadable(error: &serde_json::Error) -> Fault<Self>;
    /// The body of an error.
    fn body(fault: &Fault<Self>) -> Vec<u8>;
    /// What an alias stands for and is to stand for, of a request that makes, changes or deletes one.
    fn alias_move(
        _: &ServerState,
        _: &Caller,
        _: &Self::Route,
        _: &[u8],
    ) -> impl Future<Output = Option<AliasMove>> + Send {
        std::future::ready(None)
    }
    /// Carries out one request.
    fn serve(call: Call<'_, Self>) -> impl Future<Output = Result<Answer, Fault<Self>>> + Send;
}

/// One request that may be carried out.
pub(crate) struct Call<'a, A: Api> {
    pub(crate) state: &'a ServerState,
    pub(crate) caller: Caller,
    pub(crate) route: &'a A::Route,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) request_id: &'a str,
}

impl<A: Api> Call<'_, A> {
    /// The body as the operation's wire type; no body is an empty one.
    pub(crate) fn input<T: DeserializeOwned>(&self) -> Result<T, Fault<A>> {
        let body: &[u8] = match self.body.is_empty() {
            true => b"{}",
            false => &self.body,
        };
        objects::read(body).map_err(|error| A::unreadable(&error))
    }
}

/// An answer of any kind.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, answer: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(answer).expect("answers have string keys");
        Answer::of_json(status, body)
    }

    pub(crate) fn nothing() -> Answer {
        Answer {
            status: StatusCode::NO_CONTENT,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    fn of_json(status: StatusCode, body: Vec<u8>) -> Answer {
        Answer {
            status,
            headers: vec![(header::CONTENT_TYPE, "application/json".to_owned())],
            body,
        }
    }
}

impl<A: Api> From<Fault<A>> for Answer {
    fn from(fault: Fault<A>) -> Answer {
        let mut answer = Answer::of_json(fault.status, A::body(&fault));
        answer.headers.push((ERROR_TYPE, fault.code().to_owned()));
        answer
    }
}

/// Answers one request to an API. Every answer carries a request id.
pub(crate) async fn answer<A: Api>(
    State(state): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response<Body> {
    let started = Instant::now();
    let _open = state.metrics.open();
    let (parts, body) = request.into_parts();
    let request_id = Uuid::new_v4().hyphenated().to_string();
    let route = readable(&parts.uri).and_then(|()| A::find(&parts.method, &parts.uri));
    let operation = route.as_ref().ok().map(A::operation);
    let result = match route {
        Ok(route) => run::<A>(&state, &route, &parts, body, &request_id).await,
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
        let index = A::operations_before() + operation.index();
        state.metrics.observe(index, outcome, started.elapsed());
    }
    match result {
        Ok(answer) => {
            let identity = parts.extensions.get::<Identity>();
            let place = state.told_place(identity, answer.body.len());
            respond(answer, place, &request_id)
        }
        Err(fault) => {
            let code = fault.code().to_owned();
            let mut response = respond(fault.into(), Place::nowhere(), &request_id);
            fair::mark(&mut response, &code);
            response
        }
    }
}

/// Refuses a URI that is no text.
fn readable<A: Api>(uri: &Uri) -> Result<(), Fault<A>> {
    if query::is_text(uri) {
        return Ok(());
    }
    let message = format!(
        "what stands in the path and behind the `?` is percent-encoded UTF-8, and this is not: {uri}"
    );
    let code = "ValidationException";
    Err(Fault::new(StatusCode::BAD_REQUEST, code, message))
}

/// A refusal before the API looked at the request.
pub(crate) fn refuse<A: Api>(fault: aws::Fault) -> Response<Body> {
    let request_id = Uuid::new_v4().hyphenated().to_string();
    let fault = Fault::<A>::from(fault);
    respond(fault.into(), Place::nowhere(), &request_id)
}

async fn run<A: Api>(
    state: &ServerState,
    route: &A::Route,
    parts: &Parts,
    body: Body,
    request_id: &str,
) -> Result<Answer, Fault<A>> {
    let identity = parts.extensions.get::<Identity>();
    if identity.is_none() && guard::is_of_other_page(&parts.headers, &parts.uri) {
        // Without authentication any page could send something here. The console is a client like another.
        return Err(Fault::denied(A::NOT_FOR_PAGES));
    }
    let caller = aws::caller(&state.config, &parts.headers, identity);
    let operation = A::operation(route);
    // Before anything is read of what is refused.
    state.engine.admit(&caller.tenant, operation.action())?;
    let body_max = A::body_bytes_max(state, &caller, operation);
    let mut place = state.body_place(parts);
    let body = aws::read_body(body, &parts.headers, body_max, &mut place).await?;
    let permit = match identity {
        Some(identity) => {
            let (action, right) = (operation.action(), operation.right());
            let alias = A::alias_move(state, &caller, route, &body).await;
            let resource = A::about(route, &body);
            let about = (resource.as_str(), alias);
            Some(Permit::ask_about(state, identity, action, right, about, request_id).await?)
        }
        None => None,
    };
    let call = Call {
        state,
        caller,
        route,
        headers: &parts.headers,
        body,
        request_id,
    };
    let served = A::serve(call).await;
    if let (Some(permit), Err(fault)) = (permit, &served) {
        permit.failed(fault.code()).await?;
    }
    served
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
