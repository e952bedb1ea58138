//! AWS's query protocol, a form in and XML out: STS and IAM, told apart by the version of their API. What it hides: the
//! protocol, and which service a call is of.

mod form;
mod iam;
mod sts;
mod xml;

use axum::{
    body::Body,
    http::{HeaderMap, Request, Response, StatusCode},
};
use stepwell_engine::Caller;
use uuid::Uuid;

#[cfg(not(feature = "services"))]
use super::left_out;
use super::{Fault, body_bytes_max, caller, read_body, respond, scope};
use crate::{auth::Identity, serve::ServerState};
use form::Form;
use xml::Element;

pub(crate) use xml::Api as QueryApi;

const FORM: &str = "application/x-www-form-urlencoded";
const XML: &str = "text/xml";

const STS: QueryApi = QueryApi {
    version: "2011-06-15",
    namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
};
const IAM: QueryApi = QueryApi {
    version: "2010-05-08",
    namespace: "https://iam.amazonaws.com/doc/2010-05-08/",
};

/// One call.
#[derive(Clone, Copy)]
struct Query<'a> {
    state: &'a ServerState,
    /// Nobody's where no access key is needed.
    identity: Option<&'a Identity>,
    caller: &'a Caller,
    headers: &'a HeaderMap,
    action: &'a str,
    form: &'a Form,
    request_id: &'a str,
}

/// The members of a result; `None` when there is no such call.
type Reply = Option<Vec<Element>>;

/// Whether a request speaks this protocol: no other one has a form for a body.
pub(crate) fn is_query(headers: &HeaderMap) -> bool {
    super::is_type(headers, FORM)
}

/// Answers one call.
pub(crate) async fn answer(state: &ServerState, request: Request<Body>) -> Response<Body> {
    let request_id = Uuid::new_v4().hyphenated().to_string();
    match call(state, request, &request_id).await {
        Ok(text) => respond(StatusCode::OK, XML, &request_id, text.into()),
        Err((api, fault)) => {
            fault.log("query", &request_id);
            error(api, &fault, &request_id)
        }
    }
}

/// The service that a request was signed for, as long as its form is not read.
pub(crate) fn api(headers: &HeaderMap) -> &'static QueryApi {
    let service = scope(headers).and_then(|scope| scope.rsplit('/').nth(1));
    match service {
        Some("iam") => &IAM,
        Some(_) | None => &STS,
    }
}

/// A refusal before the call was looked at.
pub(crate) fn refuse(api: &QueryApi, fault: &Fault) -> Response<Body> {
    error(api, fault, &Uuid::new_v4().hyphenated().to_string())
}

fn error(api: &QueryApi, fault: &Fault, request_id: &str) -> Response<Body> {
    let (status, text) = xml::error(api, fault, request_id);
    respond(status, XML, request_id, text.into())
}

async fn call(
    state: &ServerState,
    request: Request<Body>,
    request_id: &str,
) -> Result<Vec<u8>, (&'static QueryApi, Fault)> {
    let (parts, body) = request.into_parts();
    let mut place = state.body_place(&parts);
    let body_max = body_bytes_max(false);
    let body = read_body(body, &parts.headers, body_max, &mut place).await;
    let form = Form::read(&body.map_err(|fault| (&STS, fault))?);
    let action = form.text("Action").unwrap_or_default();
    let version = form.text("Version");
    let identity = parts.extensions.get::<Identity>();
    let query = Query {
        state,
        identity,
        caller: &caller(&state.config, &parts.headers, identity),
        headers: &parts.headers,
        action,
        form: &form,
        request_id,
    };
    let (api, found) = match version {
        #[cfg(feature = "services")]
        Some(version) if version == IAM.version => (&IAM, iam::call(query).await),
        #[cfg(not(feature = "services"))]
        Some(version) if version == IAM.version => {
            (&IAM, Err(Fault::refused("InvalidAction", left_out(action))))
        }
        Some(version) if version != STS.version => (&STS, Ok(None)),
        Some(_) | None => (&STS, sts::call(query).await),
    };
    let result = found.and_then(|found| {
        found.ok_or_else(|| {
            let version = version.unwrap_or_default();
            let text = format!("Could not find operation {action} for version {version}");
            Fault::refused("InvalidAction", text)
        })
    });
    match result {
        Ok(result) => Ok(xml::reply(api, action, &result, request_id)),
        Err(fault) => Err((api, fault)),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    #[test]
    fn a_form_is_told_by_its_type() {
        let mut headers = HeaderMap::new();
        assert!(!is_query(&headers));
        for (kind, query) in [
            ("application/x-amz-json-1.0", false),
            ("application/x-www-form-urlencoded", true),
            ("application/x-www-form-urlencoded; charset=utf-8", true),
        ] {
            headers.insert(header::CONTENT_TYPE, kind.parse().expect("a header value"));
            assert_eq!(is_query(&headers), query, "{kind}");
        }
    }
}
