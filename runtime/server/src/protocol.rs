//! Refusals of requests that no API has looked at, each as the API that was asked writes its errors. What it hides: how that API
//! is told by a request: by its path, by what it says there, or, where nothing is, by what it was signed for.

use axum::{
    body::Body,
    http::{HeaderMap, Request, Response, Uri},
};
use serde::Serialize;

use crate::{
    aws::{self, Fault, query::QueryApi},
    console, router, triggers,
};
#[cfg(feature = "services")]
use crate::{
    lambda::{self, Functions},
    rest,
    scheduler::{self, Schedules},
};

/// What a request speaks.
#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    /// AWS JSON; answers have this content type.
    Json(&'static str),
    Query(&'static QueryApi),
    #[cfg(feature = "services")]
    Functions,
    #[cfg(feature = "services")]
    Schedules,
    /// What is not AWS's.
    Own,
}

impl Protocol {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Protocol {
        let path = uri.path();
        #[cfg(feature = "services")]
        if lambda::is_own_path(path) {
            return Protocol::Functions;
        } else if scheduler::is_own_path(path) {
            return Protocol::Schedules;
        }
        if path != "/" {
            return match is_of_ours(path) {
                true => Protocol::Own,
                false => Protocol::of_stray(uri, headers),
            };
        }
        if aws::query::is_query(uri, headers) {
            Protocol::Query(aws::query::api(uri, headers))
        } else {
            Protocol::Json(aws::json_type(headers))
        }
    }

    /// Of a path at which nothing is: the service that it was signed for was meant.
    fn of_stray(uri: &Uri, headers: &HeaderMap) -> Protocol {
        match aws::service(uri, headers).as_deref() {
            #[cfg(feature = "services")]
            Some("lambda") => Protocol::Functions,
            #[cfg(feature = "services")]
            Some("scheduler") => Protocol::Schedules,
            Some("iam" | "sts") => Protocol::Query(aws::query::api(uri, headers)),
            Some("events" | "logs" | "states") => Protocol::Json(aws::json_type(headers)),
            Some(_) | None => Protocol::Own,
        }
    }

    /// Whether nobody signed the request, and its form is short enough to be asked what it is for.
    pub(crate) fn is_told_by_form(self, request: &Request<Body>) -> bool {
        match self {
            Protocol::Query(_) => aws::query::is_told_by_form(request),
            #[cfg(feature = "services")]
            Protocol::Functions | Protocol::Schedules => false,
            Protocol::Json(_) | Protocol::Own => false,
        }
    }

    /// What such a request speaks, with the request.
    pub(crate) async fn of_unsigned(self, request: Request<Body>) -> (Protocol, Request<Body>) {
        match self {
            Protocol::Query(_) => {
                let (api, request) = aws::query::api_of_unsigned(request).await;
                (Protocol::Query(api), request)
            }
            #[cfg(feature = "services")]
            Protocol::Functions | Protocol::Schedules => (self, request),
            Protocol::Json(_) | Protocol::Own => (self, request),
        }
    }

    pub(crate) fn refuse(self, fault: Fault) -> Response<Body> {
        match self {
            Protocol::Json(content_type) => aws::refuse(&fault, content_type),
            Protocol::Query(api) => aws::query::refuse(api, &fault),
            #[cfg(feature = "services")]
            Protocol::Functions => rest::refuse::<Functions>(fault),
            #[cfg(feature = "services")]
            Protocol::Schedules => rest::refuse::<Schedules>(fault),
            Protocol::Own => own(&fault),
        }
    }
}

/// Whether a path is one of those that are not AWS's.
pub(crate) fn is_of_ours(path: &str) -> bool {
    path.starts_with("/api/")
        || ["/health", "/metrics", triggers::EVENTS_PATH].contains(&path)
        || triggers::is_endpoint(path)
        || console::is_own_path(path)
}

/// The error of a path that is not AWS's, with the code and the text under AWS's names too: who signs looks there.
fn own(fault: &Fault) -> Response<Body> {
    /// Wire form.
    #[derive(Serialize)]
    struct Refused<'a> {
        error: &'a str,
        #[serde(rename = "__type")]
        kind: &'a str,
        message: &'a str,
    }
    let refused = Refused {
        error: fault.message(),
        kind: fault.code(),
        message: fault.message(),
    };
    router::json(fault.status, &refused)
}
