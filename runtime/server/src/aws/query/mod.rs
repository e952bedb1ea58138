//! AWS's query protocol, a form in and XML out: STS and IAM, told apart by the version of their API. The form is the body of a
//! POST, or stands behind the `?`, as in links that are signed once and followed later. What it hides: the protocol, and which
//! service a call is of.

mod form;
mod iam;
mod sts;
mod xml;

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, Method, Request, Response, StatusCode, Uri, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use stepwell_engine::Caller;
use uuid::Uuid;

#[cfg(not(feature = "services"))]
use super::left_out;
use super::{Fault, body_bytes_max, caller, read_body, respond, service};
use crate::{
    auth::{Identity, wrong_scope},
    limits::{UNSIGNED_FORM_BYTES_MAX, UNSIGNED_FORM_TIME_MAX},
    serve::ServerState,
};
use form::Form;
use xml::Element;

pub(crate) use xml::Api as QueryApi;

const FORM: &str = "application/x-www-form-urlencoded";
const XML: &str = "text/xml";

const STS: QueryApi = QueryApi {
    service: "sts",
    version: "2011-06-15",
    namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
};
const IAM: QueryApi = QueryApi {
    service: "iam",
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
    method: &'a Method,
    headers: &'a HeaderMap,
    action: &'a str,
    form: &'a Form,
    request_id: &'a str,
}

/// The members of a result; `None` when there is no such call.
type Reply = Option<Vec<Element>>;

/// Whether a request speaks this protocol: no other one has a form for a body, or names its operation behind the `?`.
pub(crate) fn is_query(uri: &Uri, headers: &HeaderMap) -> bool {
    super::is_type(headers, FORM)
        || (!headers.contains_key(super::TARGET) && parameter(uri, "Action").is_some())
}

/// A parameter behind the `?`.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let form = Form::read(uri.query()?.as_bytes());
    form.text(name).map(str::to_owned)
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

/// The service that a request is meant for, as its head tells it: by what it was signed for, or by the version behind the `?`.
pub(crate) fn api(uri: &Uri, headers: &HeaderMap) -> &'static QueryApi {
    match service(uri, headers).as_deref() {
        Some("iam") => &IAM,
        Some("sts") => &STS,
        Some(_) | None => api_of(parameter(uri, "Version").as_deref()),
    }
}

/// Whether the form of a request that nobody signed is to tell the service: its head does not, and says that the form is short.
/// All others are refused from their heads.
pub(crate) fn is_told_by_form(request: &Request<Body>) -> bool {
    let (uri, headers) = (request.uri(), request.headers());
    let bytes = request.body().size_hint().upper();
    bytes.is_some_and(|bytes| (1..=UNSIGNED_FORM_BYTES_MAX as u64).contains(&bytes))
        && parameter(uri, "Version").is_none()
        && service(uri, headers).is_none()
}

/// The service that such a request is meant for. It is refused, so its body is not kept beyond that.
pub(crate) async fn api_of_unsigned(request: Request<Body>) -> (&'static QueryApi, Request<Body>) {
    let (parts, body) = request.into_parts();
    let reading = Limited::new(body, UNSIGNED_FORM_BYTES_MAX).collect();
    let read = match tokio::time::timeout(UNSIGNED_FORM_TIME_MAX, reading).await {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    let told = api_of(Form::read(&read).text("Version"));
    (told, Request::from_parts(parts, Body::from(read)))
}

fn api_of(version: Option<&str>) -> &'static QueryApi {
    match version == Some(IAM.version) {
        true => &IAM,
        false => &STS,
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
    let told = api(&parts.uri, &parts.headers);
    let mut place = state.body_place(&parts);
    let body_max = body_bytes_max(false);
    let body = read_body(body, &parts.headers, body_max, &mut place).await;
    let body = body.map_err(|fault| (told, fault))?;
    let form = Form::read(parts.uri.query().unwrap_or_default().as_bytes()).and(&body);
    form.check().map_err(|fault| (told, fault))?;
    let action = form.text("Action").unwrap_or_default();
    let version = form.text("Version");
    let identity = parts.extensions.get::<Identity>();
    if identity.is_some() {
        scoped(&parts, version)?;
    }
    let query = Query {
        state,
        identity,
        caller: &caller(&state.config, &parts.headers, identity),
        method: &parts.method,
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

/// Refuses a call that was signed for the other one of the two services. Of a version that neither has nothing is known.
fn scoped(parts: &Parts, version: Option<&str>) -> Result<(), (&'static QueryApi, Fault)> {
    let api = api_of(version);
    let signed = service(&parts.uri, &parts.headers);
    if version.is_none_or(|version| version == api.version)
        && signed.as_deref() != Some(api.service)
    {
        return Err((api, wrong_scope(api.service)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::header;
    use futures_util::stream;

    use super::*;

    #[test]
    fn a_form_is_told_by_its_type_or_by_its_action() {
        let mut headers = HeaderMap::new();
        let root = Uri::from_static("/");
        assert!(!is_query(&root, &headers));
        for (uri, query) in [
            ("/?Action=GetCallerIdentity&Version=2011-06-15", true),
            ("/?Version=2011-06-15&Action=x", true),
            ("/?Action=", false),
            ("/?Reaction=x", false),
        ] {
            assert_eq!(is_query(&Uri::from_static(uri), &headers), query, "{uri}");
        }
        let action = Uri::from_static("/?Action=x");
        headers.insert(
            super::super::TARGET,
            "AWSStepFunctions.ListActivities"
                .parse()
                .expect("a header value"),
        );
        assert!(!is_query(&action, &headers), "it names its operation");
        headers.clear();
        for (kind, query) in [
            ("application/x-amz-json-1.0", false),
            ("application/x-www-form-urlencoded", true),
            ("application/x-www-form-urlencoded; charset=utf-8", true),
        ] {
            headers.insert(header::CONTENT_TYPE, kind.parse().expect("a header value"));
            assert_eq!(is_query(&root, &headers), query, "{kind}");
        }
    }

    #[test]
    fn the_service_is_told_by_the_head_where_it_can_be() {
        let claim = |service: &str| {
            let mut headers = HeaderMap::new();
            let text =
                format!("AWS4-HMAC-SHA256 Credential=K/20260131/r/{service}/aws4_request, x");
            headers.insert(header::AUTHORIZATION, text.parse().expect("a header value"));
            headers
        };
        let presigned = "/?Action=x&X-Amz-Credential=K%2F20260131%2Fr%2Fiam%2Faws4_request";
        for (uri, headers, iam) in [
            ("/", HeaderMap::new(), false),
            ("/", claim("sts"), false),
            ("/", claim("iam"), true),
            ("/?Version=2010-05-08", HeaderMap::new(), true),
            ("/?Version=2010-05-08", claim("sts"), false),
            (presigned, HeaderMap::new(), true),
        ] {
            let told = api(&Uri::from_static(uri), &headers);
            assert_eq!(told.version == IAM.version, iam, "{uri} {headers:?}");
        }
    }

    #[tokio::test]
    async fn the_form_of_who_signs_nothing_tells_the_service() {
        let request = |body: Body| Request::post("/").body(body).expect("a request");
        let long = format!(
            "{}&Version={}",
            "x".repeat(UNSIGNED_FORM_BYTES_MAX),
            IAM.version
        );
        let form = format!("Action=ListRoles&Version={}", IAM.version);
        for (body, iam) in [(form, true), ("Action=ListRoles".to_owned(), false)] {
            let request = request(Body::from(body));
            assert!(is_told_by_form(&request));
            let (told, _) = api_of_unsigned(request).await;
            assert_eq!(told.version == IAM.version, iam);
        }
        // Nothing waits for what is long, may be long, or is not there.
        let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        for body in [Body::from(long), never, Body::empty()] {
            assert!(!is_told_by_form(&request(body)));
        }
        let told = Request::post("/?Version=2010-05-08").body(Body::from("Action=x"));
        assert!(!is_told_by_form(&told.expect("a request")));
    }
}
