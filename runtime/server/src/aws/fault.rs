//! Answers that are errors: status, AWS's code and text. What it hides: the namespaces of the codes, and what of an
//! internal failure is shown.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde::Serialize;
use stepwell_engine::{Code, Error};

use crate::{
    limits::{BODIES_BYTES_MAX, IN_FLIGHT_SHARE_MAX, REQUESTS_WAITING_MAX},
    metrics::Outcome,
};

/// Namespaces before the `#` of `__type`; SDKs cut them off.
const SERVICE: &str = "com.amazonaws.states";
const FRAMEWORK: &str = "com.amazon.coral.service";
const VALIDATION: &str = "com.amazon.coral.validate";

/// An error as the wire shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    namespace: &'static str,
    code: &'static str,
    pub(super) message: Cow<'static, str>,
    reason: Option<&'static str>,
    /// For the operator's log, never for the wire.
    internal: Option<String>,
}

/// Wire form of an error, AWS JSON 1.0.
#[derive(Serialize)]
struct FaultBody<'a> {
    #[serde(rename = "__type")]
    kind: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// What is said of an operation, or a path, of the services that this program was built without.
pub(crate) fn left_out(what: &str) -> String {
    format!("{what} is not served: this program was built without the feature `services`")
}

impl Fault {
    /// A refusal that the service's API model names.
    pub(super) fn refused(code: &'static str, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, SERVICE, code, message)
    }

    /// The same under another status.
    pub(super) fn with(self, status: StatusCode) -> Fault {
        Fault { status, ..self }
    }

    pub(crate) fn validation(message: impl Into<Cow<'static, str>>) -> Fault {
        Fault::new(
            StatusCode::BAD_REQUEST,
            VALIDATION,
            "ValidationException",
            message,
        )
    }

    pub(crate) fn unknown_operation(target: &str) -> Fault {
        let message = if target.is_empty() {
            "the header X-Amz-Target is missing; it names the operation, as in `AWSStepFunctions.StartExecution`".into()
        } else {
            format!(
                "`{target}` is not an operation of this service; operations are named as in `AWSStepFunctions.StartExecution`"
            )
        };
        Fault::new(
            StatusCode::BAD_REQUEST,
            FRAMEWORK,
            "UnknownOperationException",
            message,
        )
    }

    /// A path at which no API is.
    pub(crate) fn nowhere(message: String) -> Fault {
        Fault::new(
            StatusCode::NOT_FOUND,
            FRAMEWORK,
            "UnknownOperationException",
            message,
        )
    }

    /// An operation of what this program was built without.
    #[cfg(not(feature = "services"))]
    pub(super) fn left_out(operation: &str) -> Fault {
        Fault::new(
            StatusCode::BAD_REQUEST,
            FRAMEWORK,
            "UnknownOperationException",
            left_out(operation),
        )
    }

    pub(super) fn unsupported_type(found: &str) -> Fault {
        let message = format!(
            "the content type `{found}` is not accepted; send `application/x-amz-json-1.0`"
        );
        Fault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            FRAMEWORK,
            "UnsupportedMediaTypeException",
            message,
        )
    }

    pub(super) fn body_too_large(bytes_max: usize) -> Fault {
        let message = format!("HTTP content length exceeded {bytes_max} bytes.");
        Fault::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            FRAMEWORK,
            "RequestEntityTooLargeException",
            message,
        )
    }

    pub(super) fn body_too_slow() -> Fault {
        let message = "the request's body did not arrive in time";
        Fault::new(
            StatusCode::REQUEST_TIMEOUT,
            FRAMEWORK,
            "RequestTimeoutException",
            message,
        )
    }

    /// A body that finds no room beside those of others.
    pub(super) fn no_room() -> Fault {
        let (most, part) = (BODIES_BYTES_MAX >> 20, IN_FLIGHT_SHARE_MAX);
        let message = format!(
            "the server reads as many bytes of requests as it may at a time: {most} MiB, 1/{part} of them for one account; try again later"
        );
        Fault::from(Error::Busy(message))
    }

    /// A request that finds no room among those of its account that wait.
    pub(crate) fn crowded() -> Fault {
        let message = format!(
            "{REQUESTS_WAITING_MAX} requests of this account, or of this address, wait for their turn while other tenants ask too; try again later"
        );
        Fault::from(Error::Busy(message))
    }

    /// A body whose chunks are wrong or that ends before its announced length.
    pub(super) fn body_broken() -> Fault {
        let message = "the request's body breaks off or is wrongly chunked; send it whole, with its Content-Length";
        Fault::new(
            StatusCode::BAD_REQUEST,
            FRAMEWORK,
            "SerializationException",
            message,
        )
    }

    /// A body that is not JSON, or holds a value of another type than its member's.
    pub(crate) fn unreadable(error: &serde_json::Error) -> Fault {
        let text = error.to_string();
        let message = match error.classify() {
            // Ours, in the service's words; serde appends the place.
            serde_json::error::Category::Data => text
                .rsplit_once(" at line ")
                .map_or(text.as_str(), |(text, _)| text)
                .to_owned(),
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => {
                format!("the request's body is not JSON: {text}")
            }
        };
        Fault::new(
            StatusCode::BAD_REQUEST,
            FRAMEWORK,
            "SerializationException",
            message,
        )
    }

    pub(crate) fn foreign_host(host: &str) -> Fault {
        let message = format!(
            "this server was reached under the host name `{host}`, which it does not know, as web pages on a rebound name do; ask it as `localhost`, or, if the name is yours, start the server with `--host {host}`"
        );
        Fault::new(
            StatusCode::FORBIDDEN,
            FRAMEWORK,
            "AccessDeniedException",
            message,
        )
    }

    /// A request that did not prove an access key.
    pub(crate) fn unauthenticated(
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, FRAMEWORK, code, message)
    }

    /// A request of an access key that may not make it.
    pub(crate) fn denied(message: String) -> Fault {
        Fault::unauthenticated("AccessDeniedException", message)
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// With the `reason` of a ValidationException.
    pub(super) fn because(mut self, reason: &'static str) -> Fault {
        self.reason = Some(reason);
        self
    }

    fn new(
        status: StatusCode,
        namespace: &'static str,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Fault {
        Fault {
            status,
            namespace,
            code,
            message: message.into(),
            reason: None,
            internal: None,
        }
    }

    /// The JSON text of the body.
    pub(crate) fn body(&self) -> Vec<u8> {
        let kind = format!("{}#{}", self.namespace, self.code);
        let body = FaultBody {
            kind: &kind,
            message: &self.message,
            reason: self.reason,
        };
        serde_json::to_vec(&body).expect("strings are always JSON")
    }

    pub(crate) fn outcome(&self) -> Outcome {
        if self.status.is_server_error() {
            Outcome::Failed
        } else {
            Outcome::Refused
        }
    }

    /// Writes to the operator's log what the wire does not show.
    pub(crate) fn log(&self, operation: &str, request_id: &str) {
        if let Some(internal) = &self.internal {
            tracing::error!(operation, request_id, error = %internal, "a request failed");
        } else if self.status.is_server_error() {
            tracing::warn!(operation, request_id, code = self.code, message = %self.message, "a request was not served");
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error {
            Error::Rejected {
                code: Code::ValidationException,
                message,
            } => Fault::validation(message),
            Error::Rejected { code, message } => Fault::refused(code_name(code), message),
            Error::Busy(message) => Fault::new(
                StatusCode::SERVICE_UNAVAILABLE,
                FRAMEWORK,
                "ServiceUnavailableException",
                message,
            ),
            Error::Damaged(internal) => internal_failure(DAMAGED, internal),
            Error::Broken(internal)
            | Error::Held(internal)
            | Error::Unopened(internal)
            | Error::Unusable(internal) => {
                let message = "the request failed inside the runtime; its log has the cause under the request's id";
                internal_failure(message, internal)
            }
        }
    }
}

/// What callers are told of what is damaged in the store.
pub(crate) const DAMAGED: &str = "what is stored of it is damaged, and was not used: the server's log says what and where, and who runs the server restores the store from a backup";

fn internal_failure(message: &'static str, internal: String) -> Fault {
    let fault = Fault::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        FRAMEWORK,
        "InternalFailure",
        message,
    );
    Fault {
        internal: Some(internal),
        ..fault
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::ActivityAlreadyExists => "ActivityAlreadyExists",
        Code::ActivityDoesNotExist => "ActivityDoesNotExist",
        Code::ActivityLimitExceeded => "ActivityLimitExceeded",
        Code::ActivityWorkerLimitExceeded => "ActivityWorkerLimitExceeded",
        Code::ConflictException => "ConflictException",
        Code::ExecutionAlreadyExists => "ExecutionAlreadyExists",
        Code::ExecutionDoesNotExist => "ExecutionDoesNotExist",
        Code::ExecutionLimitExceeded => "ExecutionLimitExceeded",
        Code::ExecutionNotForkable => "ExecutionNotForkable",
        Code::ExecutionNotRedrivable => "ExecutionNotRedrivable",
        Code::InvalidArn => "InvalidArn",
        Code::InvalidDefinition => "InvalidDefinition",
        Code::InvalidExecutionInput => "InvalidExecutionInput",
        Code::InvalidName => "InvalidName",
        Code::InvalidOutput => "InvalidOutput",
        Code::InvalidToken => "InvalidToken",
        Code::MissingRequiredParameter => "MissingRequiredParameter",
        Code::ResourceAlreadyExists => "ResourceAlreadyExistsException",
        Code::ResourceNotFound => "ResourceNotFound",
        Code::ServiceQuotaExceededException => "ServiceQuotaExceededException",
        Code::StateMachineAlreadyExists => "StateMachineAlreadyExists",
        Code::StateMachineDeleting => "StateMachineDeleting",
        Code::StateMachineDoesNotExist => "StateMachineDoesNotExist",
        Code::StateMachineLimitExceeded => "StateMachineLimitExceeded",
        Code::StateMachineTypeNotSupported => "StateMachineTypeNotSupported",
        Code::TaskDoesNotExist => "TaskDoesNotExist",
        Code::TaskTimedOut => "TaskTimedOut",
        Code::ThrottlingException => "ThrottlingException",
        Code::TooManyTags => "TooManyTags",
        Code::ValidationException => "ValidationException",
    }
}
