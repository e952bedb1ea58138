//! Answers that are errors: status, the service's code and text, and what only the operator's log says. The services'
//! own codes are with them.

use std::{borrow::Cow, marker::PhantomData};

use axum::http::StatusCode;
use stepwell_engine::Error;

use super::Api;
use crate::{aws, metrics::Outcome};

/// Codes of keys that prove nothing or may too little: AWS's REST APIs have another status for them than those in AWS JSON.
const REFUSED_KEYS: [&str; 6] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
];

/// An error as the wire of an API shows it.
#[derive(Debug)]
pub(crate) struct Fault<A> {
    pub(crate) status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    /// Why, in a word of the service, where it has one.
    reason: Option<&'static str>,
    /// For the operator's log, never for the wire.
    internal: Option<String>,
    api: PhantomData<A>,
}

impl<A: Api> Fault<A> {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
    ) -> Fault<A> {
        Fault {
            status,
            code: code.into(),
            message: message.into(),
            reason: None,
            internal: None,
            api: PhantomData,
        }
    }

    /// What went wrong inside, which the caller is not told.
    fn inside(message: &'static str, internal: String) -> Fault<A> {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Fault {
            internal: Some(internal),
            ..Fault::new(status, A::FAILED, message)
        }
    }

    pub(crate) fn unknown(message: impl Into<String>) -> Fault<A> {
        Fault::new(StatusCode::NOT_FOUND, "UnknownOperationException", message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> Fault<A> {
        Fault::new(StatusCode::FORBIDDEN, "AccessDeniedException", message)
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The same with the service's word for why.
    pub(crate) fn because(self, reason: &'static str) -> Fault<A> {
        Fault {
            reason: Some(reason),
            ..self
        }
    }

    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self.internal {
            Some(_) => Outcome::Failed,
            None => Outcome::Refused,
        }
    }

    /// Writes to the operator's log what the wire does not show.
    pub(crate) fn log(&self, operation: &str, request_id: &str) {
        if let Some(internal) = &self.internal {
            tracing::error!(operation, request_id, error = %internal, "a request failed");
        }
    }
}

impl<A: Api> From<Error> for Fault<A> {
    fn from(error: Error) -> Fault<A> {
        match error {
            Error::Rejected { code, message } => A::rejected(code, message),
            Error::Busy(message) => Fault::new(StatusCode::SERVICE_UNAVAILABLE, A::FAILED, message),
            Error::Damaged(internal) => Fault::inside(aws::DAMAGED, internal),
            Error::Broken(internal)
            | Error::Held(internal)
            | Error::Unopened(internal)
            | Error::Unusable(internal) => {
                let message = "the request failed inside the runtime; its log has the cause under the request's id";
                Fault::inside(message, internal)
            }
        }
    }
}

/// Errors that come before the API: of the body's size, of a key's rights.
impl<A: Api> From<aws::Fault> for Fault<A> {
    fn from(fault: aws::Fault) -> Fault<A> {
        let status = match REFUSED_KEYS.contains(&fault.code()) {
            true => StatusCode::FORBIDDEN,
            false => fault.status,
        };
        Fault {
            status,
            code: fault.code().to_owned().into(),
            message: fault.message().to_owned(),
            reason: None,
            internal: None,
            api: PhantomData,
        }
    }
}
