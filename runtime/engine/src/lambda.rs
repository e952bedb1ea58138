//! A plugin in the clothes of a Lambda function: which error each end of it has, with AWS's names and texts, and the
//! envelope of `lambda:invoke`.

use std::sync::Arc;

use stepwell_interp::{FailedAt, TaskOutcome};
use stepwell_query::Value;
use uuid::Uuid;

use crate::{
    dispatch::{failed, state_timeout, too_large},
    runner::PluginEnd,
};

/// The qualifier of a function's current version.
pub(crate) const LATEST: &str = "$LATEST";

/// A function as texts name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its ARN.
    pub(crate) arn: Arc<str>,
    /// The task's resource: the function's ARN, or the integration that calls it.
    pub(crate) resource: Arc<str>,
}

/// What the end of a function's call means for its task.
pub(crate) fn outcome(
    function: &Function,
    end: PluginEnd,
    wrap: impl FnOnce(Value) -> Value,
) -> TaskOutcome {
    let request_id = Uuid::new_v4();
    let ended = |error: &str, cause: String| failed(FailedAt::Run, error, cause);
    match end {
        PluginEnd::Succeeded { output } => match Value::parse(&output) {
            Ok(payload) => TaskOutcome::Succeeded {
                output: wrap(payload),
            },
            Err(error) => ended(
                "Lambda.Unknown",
                unknown(&format!("the output is not JSON: {error}")),
            ),
        },
        PluginEnd::Failed { error, cause } => {
            ended(&error, function_error(&error, &cause, request_id))
        }
        PluginEnd::Exited { cause } => ended(
            "Runtime.ExitError",
            function_error("Runtime.ExitError", &cause, request_id),
        ),
        PluginEnd::OutputTooLarge { .. } => {
            ended("States.DataLimitExceeded", too_large(&function.resource))
        }
        PluginEnd::InvalidOutput { cause }
        | PluginEnd::Trapped { cause }
        | PluginEnd::OutOfMemory { cause } => ended("Lambda.Unknown", unknown(&cause)),
        PluginEnd::OutOfFuel { cause }
        | PluginEnd::CpuTime { cause }
        | PluginEnd::WallTime { cause } => ended(
            "Sandbox.Timedout",
            function_error("Sandbox.Timedout", &cause, request_id),
        ),
        PluginEnd::Deadline => state_timeout(),
        PluginEnd::Cancelled => ended("Lambda.Unknown", unknown("the call was cancelled")),
        PluginEnd::GrantRefused { cause } => ACCESS_DENIED.outcome(&cause, request_id),
        PluginEnd::InputTooLarge { cause } => TOO_LARGE.outcome(&cause, request_id),
        PluginEnd::TooManyRunning { cause } => {
            TOO_MANY.outcome(&format!("Rate Exceeded: {cause}"), request_id)
        }
        PluginEnd::Missing { cause } => {
            // AWS's text names the function alone; what to do about it stands in the log.
            tracing::warn!(function = &*function.arn, "{cause}");
            let text = format!("Function not found: {}", function.arn);
            NOT_FOUND.outcome(&text, request_id)
        }
        PluginEnd::Broken { cause } => BROKEN.outcome(&cause, request_id),
        PluginEnd::Internal { cause } => INTERNAL.outcome(&cause, request_id),
    }
}

/// An error of the service: the function was not run, or failed by no fault of its own.
struct ServiceError {
    error: &'static str,
    status: u32,
    code: &'static str,
}

const ACCESS_DENIED: ServiceError = ServiceError {
    error: "Lambda.AWSLambdaException",
    status: 403,
    code: "AccessDeniedException",
};
const TOO_LARGE: ServiceError = ServiceError {
    error: "Lambda.RequestTooLargeException",
    status: 413,
    code: "RequestTooLargeException",
};
const TOO_MANY: ServiceError = ServiceError {
    error: "Lambda.TooManyRequestsException",
    status: 429,
    code: "TooManyRequestsException",
};
const NOT_FOUND: ServiceError = ServiceError {
    error: "Lambda.ResourceNotFoundException",
    status: 404,
    code: "ResourceNotFoundException",
};
const BROKEN: ServiceError = ServiceError {
    error: "Lambda.AWSLambdaException",
    status: 502,
    code: "InvalidZipFileException",
};
const INTERNAL: ServiceError = ServiceError {
    error: "Lambda.ServiceException",
    status: 500,
    code: "ServiceException",
};

impl ServiceError {
    fn outcome(&self, cause: &str, request_id: Uuid) -> TaskOutcome {
        let ServiceError {
            error,
            status,
            code,
        } = self;
        let cause = format!(
            "{cause} (Service: AWSLambda; Status Code: {status}; Error Code: {code}; Request ID: {request_id}; Proxy: null)"
        );
        failed(FailedAt::Run, error, cause)
    }
}

/// Lambda's own words for an end without an error type.
fn unknown(cause: &str) -> String {
    let payload = Value::object([("errorMessage", Value::string(cause))]);
    format!(
        "The cause could not be determined because Lambda did not return an error type. Returned payload: {payload}"
    )
}

/// The JSON that a failed function's Cause is on AWS. A guest that gives such a report itself (an object with an
/// `errorMessage`, as Lambda's runtimes make it) keeps its message and stack trace.
fn function_error(error: &str, cause: &str, request_id: Uuid) -> String {
    let report = Value::parse(cause)
        .ok()
        .filter(|report| report.get("errorMessage").is_some());
    let part = |name: &str| report.as_ref().and_then(|report| report.get(name)).cloned();
    Value::object([
        (
            "errorMessage",
            part("errorMessage").unwrap_or_else(|| Value::string(cause)),
        ),
        ("errorType", Value::string(error)),
        ("requestId", Value::string(request_id.to_string())),
        (
            "stackTrace",
            part("stackTrace").unwrap_or_else(|| Value::array([])),
        ),
    ])
    .to_json()
}

/// The output of `lambda:invoke`.
pub(crate) fn envelope(version: Option<&str>, payload: Value) -> Value {
    let request_id = Uuid::new_v4().to_string();
    let bytes = payload.json_bytes().to_string();
    let executed = version.unwrap_or(LATEST);
    let headers = [
        ("Connection", "keep-alive".to_owned()),
        ("Content-Length", bytes),
        ("Content-Type", "application/json".to_owned()),
        ("X-Amz-Executed-Version", executed.to_owned()),
        ("x-amzn-RequestId", request_id.clone()),
    ];
    let all = headers
        .iter()
        .map(|(name, text)| (*name, Value::array([Value::string(text.as_str())])));
    let single = headers
        .iter()
        .map(|(name, text)| (*name, Value::string(text.as_str())));
    let metadata = Value::object([
        ("AllHttpHeaders", Value::object(all)),
        ("HttpHeaders", Value::object(single)),
        ("HttpStatusCode", Value::from(200)),
    ]);
    Value::object([
        ("ExecutedVersion", Value::string(executed)),
        ("Payload", payload),
        ("SdkHttpMetadata", metadata),
        (
            "SdkResponseMetadata",
            Value::object([("RequestId", Value::string(request_id))]),
        ),
        ("StatusCode", Value::from(200)),
    ])
}
