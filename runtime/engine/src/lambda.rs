//! A plugin in the clothes of a Lambda function: which error each end of it has, with AWS's names and texts, and the
//! envelope of `lambda:invoke`.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use stepwell_interp::{FailedAt, TaskOutcome};
use stepwell_query::{ObjectBuilder, Value};
use uuid::Uuid;

use crate::{
    dispatch::{TIMEOUT, failed, state_timeout, too_large},
    limits::LOG_RESULT_BYTES_MAX,
    runner::{PluginEnd, PluginLog},
};

/// The qualifier of a function's current version.
pub(crate) const LATEST: &str = "$LATEST";
/// Bytes of a payload that is waited for (Lambda: 6 MB).
pub(crate) const REQUEST_BYTES_MAX: usize = 6_291_456;
/// Bytes of an answer.
pub(crate) const RESPONSE_BYTES_MAX: usize = 6_291_556;
/// Bytes of a payload whose answer nobody waits for: that of an execution.
pub(crate) const EVENT_BYTES_MAX: usize = 262_144;

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
    wrap: impl FnOnce(Value, Option<PluginLog>) -> Value,
) -> TaskOutcome {
    let request_id = Uuid::new_v4();
    let ended = |error: &str, cause: String| failed(FailedAt::Run, error, cause);
    match end {
        PluginEnd::Succeeded { output, log } => match Value::parse(&output) {
            Ok(payload) => TaskOutcome::Succeeded {
                output: wrap(payload, log),
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
        PluginEnd::NotReady { cause } => failed(FailedAt::Timeout, TIMEOUT, cause),
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

/// The end of a call of another account's function.
pub(crate) fn not_own(account: &str, function: &str) -> TaskOutcome {
    let cause = format!(
        "User: {account} is not authorized to perform: lambda:InvokeFunction on resource: {function} because it is another account's; name a function of this account, or write its name without an ARN"
    );
    ACCESS_DENIED.outcome(&cause, Uuid::new_v4())
}

/// Whether a `LogType` asks for the end of the log.
pub(crate) fn wants_log(kind: &Value) -> Result<bool, TaskOutcome> {
    match kind.as_str() {
        Some("Tail") => Ok(true),
        Some("None") => Ok(false),
        Some(_) | None => {
            let kind = kind.as_str().map_or_else(|| kind.to_json(), str::to_owned);
            let cause = format!(
                "1 validation error detected: Value '{kind}' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: [None, Tail]"
            );
            Err(INVALID.outcome(&cause, Uuid::new_v4()))
        }
    }
}

/// An error of the service: the function was not run, or failed by no fault of its own.
struct ServiceError {
    error: &'static str,
    status: u32,
    code: &'static str,
}

const INVALID: ServiceError = ServiceError {
    error: "Lambda.AWSLambdaException",
    status: 400,
    code: "ValidationException",
};
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

/// What a function that failed answers, where the runtime says so for it.
pub(crate) fn report(error: &str, message: &str) -> String {
    Value::object([
        ("errorType", Value::string(error)),
        ("errorMessage", Value::string(message)),
    ])
    .to_json()
}

/// What a function that failed answers in its own words. One that gives a report itself keeps it.
pub(crate) fn own_report(error: &str, cause: &str) -> String {
    let report = Value::parse(cause).ok();
    let part = |name: &str| report.as_ref().and_then(|report| report.get(name)).cloned();
    let Some(message) = part("errorMessage") else {
        return report_with(error, Value::string(cause), Value::array([]));
    };
    report_with(
        error,
        message,
        part("stackTrace").unwrap_or_else(|| Value::array([])),
    )
}

fn report_with(error: &str, message: Value, stack: Value) -> String {
    Value::object([
        ("errorMessage", message),
        ("errorType", Value::string(error)),
        ("stackTrace", stack),
    ])
    .to_json()
}

/// `SdkHttpMetadata` of a call that succeeded.
pub(crate) fn http_metadata(headers: &[(&str, String)]) -> Value {
    let all = headers
        .iter()
        .map(|(name, text)| (*name, Value::array([Value::string(text.as_str())])));
    let single = headers
        .iter()
        .map(|(name, text)| (*name, Value::string(text.as_str())));
    Value::object([
        ("AllHttpHeaders", Value::object(all)),
        ("HttpHeaders", Value::object(single)),
        ("HttpStatusCode", Value::from(200)),
    ])
}

/// The output of `lambda:invoke`; with the end of the log where that was asked for.
pub(crate) fn envelope(version: Option<&str>, payload: Value, log: Option<&PluginLog>) -> Value {
    let request_id = Uuid::new_v4().to_string();
    let bytes = payload.json_bytes().to_string();
    let executed = version.unwrap_or(LATEST);
    let log = log.map(|log| log_result(log, executed, &request_id));
    let mut headers = vec![
        ("Connection", "keep-alive".to_owned()),
        ("Content-Length", bytes),
        ("Content-Type", "application/json".to_owned()),
        ("X-Amz-Executed-Version", executed.to_owned()),
        ("x-amzn-RequestId", request_id.clone()),
    ];
    headers.extend(log.iter().map(|log| ("X-Amz-Log-Result", log.clone())));
    let metadata = http_metadata(&headers);
    let mut envelope = ObjectBuilder::with_capacity(6);
    envelope.insert("ExecutedVersion", executed);
    if let Some(log) = log {
        envelope.insert("LogResult", log);
    }
    envelope
        .insert("Payload", payload)
        .insert("SdkHttpMetadata", metadata)
        .insert(
            "SdkResponseMetadata",
            Value::object([("RequestId", Value::string(request_id))]),
        )
        .insert("StatusCode", 200);
    envelope.into()
}

/// What the function service gives as `LogResult`: the last 4 KiB of the log in base64. Its own lines stand around
/// those of the function: which call it was, and what it used.
pub(crate) fn log_result(log: &PluginLog, version: &str, request_id: &str) -> String {
    let PluginLog {
        tail,
        wall,
        memory_bytes_max,
    } = log;
    let ms = wall.as_secs_f64() * 1_000.0;
    let billed = wall.as_nanos().div_ceil(1_000_000);
    let mebibytes = memory_bytes_max.div_ceil(1 << 20);
    let newline = if tail.is_empty() || tail.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let text = format!(
        "START RequestId: {request_id} Version: {version}\n{tail}{newline}END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: {ms:.2} ms\tBilled Duration: {billed} ms\tMax Memory Used: {mebibytes} MB\t\n"
    );
    let cut = text.ceil_char_boundary(text.len().saturating_sub(LOG_RESULT_BYTES_MAX));
    STANDARD.encode(&text[cut..])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use stepwell_query::Value;

    use super::{LOG_RESULT_BYTES_MAX, envelope, wants_log};
    use crate::runner::PluginLog;

    #[test]
    fn the_end_of_the_log_is_in_the_answer_and_its_headers_when_asked_for() {
        assert!(envelope(None, Value::Null, None).get("LogResult").is_none());
        let log = PluginLog {
            tail: "é".repeat(LOG_RESULT_BYTES_MAX),
            wall: Duration::from_micros(1_170),
            memory_bytes_max: 3 << 19,
        };
        let answer = envelope(Some("3"), Value::Null, Some(&log));
        let result = answer.get("LogResult").unwrap();
        let headers = answer.get("SdkHttpMetadata").unwrap();
        let header = headers.get("HttpHeaders").unwrap().get("X-Amz-Log-Result");
        assert_eq!(header, Some(result));
        let bytes = STANDARD.decode(result.as_str().unwrap()).unwrap();
        assert!(bytes.len() > LOG_RESULT_BYTES_MAX - 4 && bytes.len() <= LOG_RESULT_BYTES_MAX);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("é\nEND RequestId: "), "{text}");
        let report = "\tDuration: 1.17 ms\tBilled Duration: 2 ms\tMax Memory Used: 2 MB\t\n";
        assert!(text.ends_with(report), "{text}");
    }

    #[test]
    fn a_log_type_is_one_of_two() {
        assert_eq!(wants_log(&Value::from("Tail")), Ok(true));
        assert_eq!(wants_log(&Value::from("None")), Ok(false));
        assert!(wants_log(&Value::from("All")).is_err());
    }
}
