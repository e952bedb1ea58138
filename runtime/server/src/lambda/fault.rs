//! Answers that are errors: status, the service's code and text. What it hides: how an error is written in REST JSON.

use axum::http::StatusCode;
use serde::Serialize;
use stepwell_engine::{Code, FunctionError};

use super::Functions;
use crate::rest;

/// An error as the wire shows it.
pub(crate) type Fault = rest::Fault<Functions>;

impl Fault {
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
}

/// Wire form of an error. The service writes its text as `Message` in some and as `message` in others; clients read both.
#[derive(Serialize)]
struct FaultBody<'a> {
    #[serde(rename = "Reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "Message")]
    message: &'a str,
    #[serde(rename = "message")]
    same: &'a str,
}

/// The body of an error.
pub(super) fn body(fault: &Fault) -> Vec<u8> {
    let kind = match fault.status.is_server_error() {
        true => "Service",
        false => "User",
    };
    let body = FaultBody {
        reason: fault.reason(),
        kind,
        message: fault.message(),
        same: fault.message(),
    };
    serde_json::to_vec(&body).expect("errors have string keys")
}

/// A refusal of the engine in the words of this API.
pub(super) fn rejected(code: Code, message: String) -> Fault {
    if matches!(
        code,
        Code::ThrottlingException | Code::ExecutionLimitExceeded
    ) {
        Fault::too_many(message)
    } else if matches!(code, Code::ServiceQuotaExceededException) {
        let code = "ServiceQuotaExceededException";
        Fault::new(StatusCode::BAD_REQUEST, code, message)
    } else {
        Fault::invalid(message)
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
            FunctionError::LongPolicy(text) => Fault::new(
                StatusCode::BAD_REQUEST,
                "PolicyLengthExceededException",
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
            FunctionError::ReservedTaken(text) => {
                Fault::too_many(text).because("ReservedFunctionConcurrentInvocationLimitExceeded")
            }
            FunctionError::Unusable(text) => {
                Fault::new(StatusCode::BAD_GATEWAY, "InvalidZipFileException", text)
            }
            FunctionError::Engine(error) => error.into(),
        }
    }
}
