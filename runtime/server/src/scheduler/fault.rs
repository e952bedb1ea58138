//! Answers that are errors: status, the service's code and text. What it hides: how an error is written in REST JSON.

use axum::http::StatusCode;
use serde_json::json;
use stepwell_engine::{Code, TriggerError};

use super::Schedules;
use crate::rest;

/// An error as the wire shows it.
pub(crate) type Fault = rest::Fault<Schedules>;

impl Fault {
    pub(super) fn validation(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }
}

/// The body of an error.
pub(super) fn body(fault: &Fault) -> Vec<u8> {
    json!({"Message": fault.message()}).to_string().into_bytes()
}

/// A refusal of the engine in the words of this API.
pub(super) fn rejected(code: Code, message: String) -> Fault {
    if matches!(code, Code::ThrottlingException) {
        let code = "ThrottlingException";
        Fault::new(StatusCode::TOO_MANY_REQUESTS, code, message)
    } else {
        Fault::validation(message)
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
