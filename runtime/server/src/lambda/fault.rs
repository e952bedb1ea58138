//! Answers that are errors: status, the service's code and text. What it hides: how an error is written in REST JSON.

use std::borrow::Cow;

use axum::http::{HeaderName, StatusCode};
use serde::Serialize;
use stepwell_engine::{Code, Error, FunctionError};

use super::Answer;
use crate::{aws, metrics::Outcome};

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An error as the wire shows it.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
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

    pub(super) fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(
            StatusCode::BAD_REQUEST,
            "InvalidParameterValueException",
            message,
        )
    }

    /// A member that is outside of what the API's model lets it be.
    pub(super) fn validation(why: &str) -> Fault {
        let message = format!("1 validation error detected: {why}");
        Fault::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    /// A package that is larger than it may be.
    pub(super) fn too_large(message: impl Into<String>) -> Fault {
        Fault::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestTooLargeException",
            message,
        )
    }

    /// A payload that no function gets.
    pub(super) fn not_json(why: &str) -> Fault {
        let message = format!("Could not parse request body into json: {why}");
        Fault::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequestContentException",
            message,
        )
    }

    /// What can be done later.
    fn too_many(message: impl Into<String>) -> Fault {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Fault::new(status, "TooManyRequestsException", message)
    }

    pub(super) fn denied(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::FORBIDDEN, "AccessDeniedException", message)
    }

    pub(super) fn unknown(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::NOT_FOUND, "UnknownOperationException", message)
    }

    pub(super) fn of_page() -> Fault {
        Fault::denied(
            "a web page sent this request, and without authentication none may upload or call functions; use an SDK or the command line",
        )
    }

    /// A body that is not JSON, or holds a value of another type than its member's.
    pub(super) fn unreadable(error: &serde_json::Error) -> Fault {
        Fault::not_json(&error.to_string())
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
}

/// Wire form of an error. The service writes its text as `Message` in some and as `message` in others; clients read both.
#[derive(Serialize)]
struct FaultBody<'a> {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "Message")]
    message: &'a str,
    #[serde(rename = "message")]
    same: &'a str,
}

impl From<Fault> for Answer {
    fn from(fault: Fault) -> Answer {
        let kind = match fault.status.is_server_error() {
            true => "Service",
            false => "User",
        };
        let body = FaultBody {
            kind,
            message: &fault.message,
            same: &fault.message,
        };
        let mut answer = Answer::json(fault.status, &body);
        answer.headers.push((ERROR_TYPE, fault.code.into_owned()));
        answer
    }
}

impl From<FunctionError> for Fault {
    fn from(error: FunctionError) -> Fault {
        match error {
            FunctionError::NotFound(text) => Fault::not_found(text),
            FunctionError::Conflict(text) => {
                Fault::new(StatusCode::CONFLICT, "ResourceConflictException", text)
            }
            FunctionError::Invalid(text) => Fault::invalid(text),
            FunctionError::Stale(text) => Fault::new(
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailedException",
                text,
            ),
            FunctionError::Full(text) => Fault::new(
                StatusCode::BAD_REQUEST,
                "CodeStorageExceededException",
                text,
            ),
            FunctionError::TooLarge(text) => Fault::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestTooLargeException",
                text,
            ),
            FunctionError::NotJson(text) => Fault::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequestContentException",
                text,
            ),
            FunctionError::TooMany(text) => Fault::too_many(text),
            FunctionError::Unusable(text) => {
                Fault::new(StatusCode::BAD_GATEWAY, "InvalidZipFileException", text)
            }
            FunctionError::Engine(error) => error.into(),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error {
            Error::Rejected {
                code: Code::ThrottlingException | Code::ExecutionLimitExceeded,
                message,
            } => Fault::too_many(message),
            Error::Rejected {
                code: Code::ServiceQuotaExceededException,
                message,
            } => Fault::new(
                StatusCode::BAD_REQUEST,
                "ServiceQuotaExceededException",
                message,
            ),
            Error::Rejected { message, .. } => Fault::invalid(message),
            Error::Busy(message) => {
                Fault::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceException", message)
            }
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
        ..Fault::new(status, "ServiceException", message)
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
            code: fault.code().into(),
            message: fault.message().to_owned(),
            internal: None,
        }
    }
}
