//! Answers that are errors: status, the service's code and text. What it hides: how an error is written in REST JSON.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde_json::json;
use stepwell_engine::{Code, Error, TriggerError};

use crate::{aws, metrics::Outcome};

/// An error as the wire shows it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(super) status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    /// For the operator's log, never for the wire.
    internal: Option<String>,
}

impl Fault {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Fault {
        Fault {
            status,
            code: code.into(),
            message: message.into(),
            internal: None,
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    pub(super) fn unknown(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::NOT_FOUND, "UnknownOperationException", message)
    }

    pub(super) fn of_page() -> Fault {
        Fault::new(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            "a web page sent this request, and without authentication none may schedule anything; use an SDK or the command line",
        )
    }

    /// A body that is not JSON, or holds a value of another type than its member's.
    pub(super) fn unreadable(error: &serde_json::Error) -> Fault {
        Fault::validation(format!("the request's body cannot be read: {error}"))
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.internal {
            Some(_) => Outcome::Failed,
            None => Outcome::Refused,
        }
    }

    /// Writes to the operator's log what the wire does not show.
    pub(super) fn log(&self, operation: &str, request_id: &str) {
        if let Some(internal) = &self.internal {
            tracing::error!(operation, request_id, error = %internal, "a request failed");
        }
    }

    pub(super) fn body(&self) -> Vec<u8> {
        json!({"Message": self.message}).to_string().into_bytes()
    }
}

impl From<TriggerError> for Fault {
    fn from(error: TriggerError) -> Fault {
        match error {
            TriggerError::NotFound(text) => {
                Fault::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", text)
            }
            TriggerError::Conflict(text) => {
                Fault::new(StatusCode::CONFLICT, "ConflictException", text)
            }
            TriggerError::Invalid(text) => Fault::validation(text),
            TriggerError::Full(text) => Fault::new(
                StatusCode::PAYMENT_REQUIRED,
                "ServiceQuotaExceededException",
                text,
            ),
            TriggerError::Engine(error) => error.into(),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error {
            Error::Rejected {
                code: Code::ThrottlingException,
                message,
            } => Fault::new(
                StatusCode::TOO_MANY_REQUESTS,
                "ThrottlingException",
                message,
            ),
            Error::Rejected { message, .. } => Fault::validation(message),
            Error::Busy(message) => Fault::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "InternalServerException",
                message,
            ),
            Error::Damaged(internal) => internal_failure(aws::DAMAGED, internal),
            Error::Broken(internal) | Error::Unopened(internal) | Error::Unusable(internal) => {
                let message = "the request failed inside the runtime; its log has the cause under the request's id";
                internal_failure(message, internal)
            }
        }
    }
}

fn internal_failure(message: &'static str, internal: String) -> Fault {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Fault {
        internal: Some(internal),
        ..Fault::new(status, "InternalServerException", message)
    }
}

/// Errors that come before the API: of the body's size, of a key's rights.
impl From<aws::Fault> for Fault {
    fn from(fault: aws::Fault) -> Fault {
        let status = match fault.code() {
            "AccessDeniedException" => StatusCode::FORBIDDEN,
            _ => fault.status,
        };
        Fault {
            status,
            code: fault.code().to_owned().into(),
            message: fault.message().to_owned(),
            internal: None,
        }
    }
}
