//! Refusals of requests that no API has looked at, each as the API that was asked writes its errors. What it hides: how that API
//! is told by the head of a request.

use axum::{
    body::Body,
    http::{HeaderMap, Response, Uri},
};
use serde::Serialize;

use crate::{
    aws::{self, Fault, query::QueryApi},
    router,
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
            Protocol::Own
        } else if aws::query::is_query(headers) {
            Protocol::Query(aws::query::api(headers))
        } else {
            Protocol::Json(aws::json_type(headers))
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
