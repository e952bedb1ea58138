//! From a task's resource to the plugin that serves it, and from the plugin's end to the task's outcome: the one
//! table of sandbox outcome × resource form. Hides Lambda's envelopes and error shapes.

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use stepwell_asl::{Reply, Target};
use stepwell_interp::{FailedAt, TaskOutcome, TaskRequest, Timestamp};
use stepwell_query::Value;
use uuid::Uuid;

use crate::{
    runner::{PluginCall, PluginEnd, Signals},
    shard::Info,
};

/// How a resource wants to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A Lambda ARN: the raw payload.
    Lambda { function: Arc<str> },
    /// `lambda:invoke`: the payload in an envelope.
    Invoke {
        function: Arc<str>,
        version: Option<Arc<str>>,
        waits_for_token: bool,
    },
    /// `wasm:NAME`: the raw output, our error names.
    Wasm,
}

/// A task that a plugin serves.
pub(crate) struct Plan {
    pub(crate) plugin: Arc<str>,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) input: Value,
    pub(crate) form: Form,
}

/// What the end of a plugin means for its task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    Ended(TaskOutcome),
    /// The request of a callback task was accepted.
    Submitted(Value),
}

/// The plugin a request names, or the outcome of a request that no plugin can serve.
pub(crate) fn plan(request: &TaskRequest) -> Result<Plan, TaskOutcome> {
    match &request.resource.target {
        Target::LambdaFunction { name, qualifier } => Ok(Plan {
            plugin: name.clone(),
            version: pinned(qualifier.as_ref()),
            input: request.parameters.clone(),
            form: Form::Lambda {
                function: request.resource.text.clone(),
            },
        }),
        Target::LambdaInvoke(reply) => invoke(request, *reply),
        Target::Wasm { name, version } => Ok(Plan {
            plugin: name.clone(),
            version: version.clone(),
            input: request.parameters.clone(),
            form: Form::Wasm,
        }),
        Target::Activity { .. }
        | Target::StartExecution(_)
        | Target::HttpInvoke
        | Target::Service { .. }
        | Target::AwsSdk { .. } => Err(failed(
            FailedAt::Schedule,
            "Stepwell.PluginMissing",
            format!(
                "no connector plugin is registered for the resource {}",
                request.resource.text
            ),
        )),
    }
}

/// `$LATEST` is the current version; anything else pins one.
fn pinned(qualifier: Option<&Arc<str>>) -> Option<Arc<str>> {
    qualifier
        .filter(|qualifier| &***qualifier != "$LATEST")
        .cloned()
}

fn invoke(request: &TaskRequest, reply: Reply) -> Result<Plan, TaskOutcome> {
    let parameters = &request.parameters;
    let Some(function) = parameters.get("FunctionName").and_then(Value::as_str) else {
        return Err(failed(
            FailedAt::Schedule,
            "States.Runtime",
            "The field 'FunctionName' is required but was missing".to_owned(),
        ));
    };
    if let Some(kind) = parameters.get("InvocationType").and_then(Value::as_str)
        && kind != "RequestResponse"
    {
        let cause =
            format!("InvocationType {kind} is not offered: use RequestResponse, or leave it out");
        return Err(failed(
            FailedAt::Schedule,
            "Lambda.InvalidParameterValueException",
            cause,
        ));
    }
    let (name, qualifier) = function_parts(function);
    let qualifier = parameters
        .get("Qualifier")
        .and_then(Value::as_str)
        .or(qualifier)
        .map(Arc::from);
    let version = pinned(qualifier.as_ref());
    Ok(Plan {
        plugin: name.into(),
        version: version.clone(),
        input: parameters
            .get("Payload")
            .cloned()
            .unwrap_or_else(Value::empty_object),
        form: Form::Invoke {
            function: function.into(),
            version,
            waits_for_token: matches!(reply, Reply::TaskToken),
        },
    })
}

/// A function's name and qualifier from its name, partial or full ARN.
fn function_parts(function: &str) -> (&str, Option<&str>) {
    let tail = function
        .rsplit_once("function:")
        .map_or(function, |(_, tail)| tail);
    match tail.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (tail, None),
    }
}

/// The call of a plan.
pub(crate) fn call(
    info: &Info,
    request: &TaskRequest,
    plan: &Plan,
    now: Timestamp,
    signals: Arc<dyn Signals>,
) -> PluginCall {
    PluginCall {
        tenant: info.tenant.clone(),
        plugin: plan.plugin.clone(),
        version: plan.version.clone(),
        input: plan.input.to_json(),
        execution_arn: info.execution_arn.clone(),
        machine_arn: info.machine_arn.clone(),
        state: request.state.clone(),
        attempt: request.retry_count.saturating_add(1),
        idempotency_key: idempotency_key(&info.execution_arn, request.task.entry),
        task_token: request.token.as_ref().map(|token| token.0.clone()),
        remaining: request
            .deadline
            .map(|deadline| Duration::from_millis(deadline.since_ms(now))),
        trace_parent: info.trace_header.clone(),
        signals,
    }
}

/// The same for all attempts and redispatches of one visit of a state, and for no other visit.
fn idempotency_key(execution_arn: &str, entry: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(execution_arn.as_bytes());
    hash.update([0]);
    hash.update(entry.to_be_bytes());
    hex(&hash.finalize())
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all that is written to it");
            text
        })
}

/// What a plugin's end means for the task: the one table.
pub(crate) fn meaning(form: &Form, end: PluginEnd) -> Meaning {
    match form {
        Form::Lambda { function } => {
            Meaning::Ended(lambda_outcome(function, end, |payload| payload))
        }
        Form::Invoke {
            function,
            version,
            waits_for_token,
        } => {
            let outcome = lambda_outcome(function, end, |payload| {
                envelope(version.as_deref(), payload)
            });
            match outcome {
                TaskOutcome::Succeeded { output } if *waits_for_token => Meaning::Submitted(output),
                outcome @ (TaskOutcome::Succeeded { .. } | TaskOutcome::Failed { .. }) => {
                    Meaning::Ended(outcome)
                }
            }
        }
        Form::Wasm => Meaning::Ended(wasm_outcome(end)),
    }
}

fn lambda_outcome(
    function: &str,
    end: PluginEnd,
    wrap: impl FnOnce(Value) -> Value,
) -> TaskOutcome {
    let request_id = Uuid::new_v4();
    let service = |error: &str, status: u32, code: &str, cause: String| {
        failed(
            FailedAt::Run,
            error,
            format!(
                "{cause} (Service: AWSLambda; Status Code: {status}; Error Code: {code}; Request ID: {request_id}; Proxy: null)"
            ),
        )
    };
    match end {
        PluginEnd::Succeeded { output } => match Value::parse(&output) {
            Ok(payload) => TaskOutcome::Succeeded {
                output: wrap(payload),
            },
            Err(error) => failed(
                FailedAt::Run,
                "Lambda.Unknown",
                unknown(&format!("the output is not JSON: {error}")),
            ),
        },
        PluginEnd::Failed { error, cause } => failed(
            FailedAt::Run,
            &error,
            function_error(&error, &cause, request_id),
        ),
        PluginEnd::InvalidOutput { cause } => {
            failed(FailedAt::Run, "Lambda.Unknown", unknown(&cause))
        }
        PluginEnd::Trapped { cause } | PluginEnd::OutOfMemory { cause } => {
            failed(FailedAt::Run, "Lambda.Unknown", unknown(&cause))
        }
        PluginEnd::OutOfFuel { cause }
        | PluginEnd::CpuTime { cause }
        | PluginEnd::WallTime { cause } => failed(
            FailedAt::Run,
            "Sandbox.Timedout",
            function_error("Sandbox.Timedout", &cause, request_id),
        ),
        PluginEnd::GrantRefused { cause } => service(
            "Lambda.AWSLambdaException",
            403,
            "AccessDeniedException",
            cause,
        ),
        PluginEnd::TooManyRunning { cause } => service(
            "Lambda.TooManyRequestsException",
            429,
            "TooManyRequestsException",
            format!("Rate Exceeded: {cause}"),
        ),
        PluginEnd::Missing { cause } => service(
            "Lambda.ResourceNotFoundException",
            404,
            "ResourceNotFoundException",
            format!("Function not found: {function}: {cause}"),
        ),
        PluginEnd::Broken { cause } => service(
            "Lambda.AWSLambdaException",
            502,
            "InvalidZipFileException",
            cause,
        ),
        PluginEnd::Cancelled => failed(
            FailedAt::Run,
            "Lambda.Unknown",
            unknown("the call was cancelled"),
        ),
        PluginEnd::Internal { cause } => {
            service("Lambda.ServiceException", 500, "ServiceException", cause)
        }
    }
}

fn wasm_outcome(end: PluginEnd) -> TaskOutcome {
    let ours =
        |name: &str, cause: String| failed(FailedAt::Run, &format!("Stepwell.{name}"), cause);
    match end {
        PluginEnd::Succeeded { output } => match Value::parse(&output) {
            Ok(output) => TaskOutcome::Succeeded { output },
            Err(error) => ours("InvalidOutput", format!("the output is not JSON: {error}")),
        },
        PluginEnd::Failed { error, cause } => failed(FailedAt::Run, &error, cause),
        PluginEnd::InvalidOutput { cause } => ours("InvalidOutput", cause),
        PluginEnd::Trapped { cause } => ours("Trapped", cause),
        PluginEnd::OutOfMemory { cause } => ours("OutOfMemory", cause),
        PluginEnd::OutOfFuel { cause } => ours("OutOfFuel", cause),
        PluginEnd::CpuTime { cause } => ours("CpuTime", cause),
        PluginEnd::WallTime { cause } => failed(FailedAt::Timeout, "States.Timeout", cause),
        PluginEnd::GrantRefused { cause } => ours("GrantRefused", cause),
        PluginEnd::TooManyRunning { cause } => ours("TooManyRunning", cause),
        PluginEnd::Missing { cause } => ours("PluginMissing", cause),
        PluginEnd::Broken { cause } => ours("PluginBroken", cause),
        PluginEnd::Cancelled => ours("Cancelled", "the call was cancelled".to_owned()),
        PluginEnd::Internal { cause } => ours("Internal", cause),
    }
}

/// The outcome of an attempt whose runner gave none.
pub(crate) fn lost() -> TaskOutcome {
    failed(
        FailedAt::Run,
        "Stepwell.Internal",
        "the attempt ended without an outcome".to_owned(),
    )
}

fn failed(at: FailedAt, error: &str, cause: String) -> TaskOutcome {
    TaskOutcome::Failed {
        error: Some(error.into()),
        cause: Some(cause.into()),
        at,
    }
}

/// Lambda's own words for an end without an error type.
fn unknown(cause: &str) -> String {
    let payload = Value::object([("errorMessage", Value::string(cause))]);
    format!(
        "The cause could not be determined because Lambda did not return an error type. Returned payload: {payload}"
    )
}

/// The JSON that a failed function's Cause is on AWS.
fn function_error(error: &str, cause: &str, request_id: Uuid) -> String {
    Value::object([
        ("errorMessage", Value::string(cause)),
        ("errorType", Value::string(error)),
        ("requestId", Value::string(request_id.to_string())),
        ("stackTrace", Value::array([])),
    ])
    .to_json()
}

/// The output of `lambda:invoke`.
fn envelope(version: Option<&str>, payload: Value) -> Value {
    let request_id = Uuid::new_v4().to_string();
    let bytes = payload.json_bytes().to_string();
    let executed = version.unwrap_or("$LATEST");
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

#[cfg(test)]
mod tests {
    use super::{Form, Meaning, function_parts, meaning};
    use crate::runner::PluginEnd;
    use stepwell_interp::TaskOutcome;

    #[test]
    fn functions_are_named_in_four_ways() {
        assert_eq!(function_parts("pay"), ("pay", None));
        assert_eq!(function_parts("pay:3"), ("pay", Some("3")));
        assert_eq!(
            function_parts("arn:aws:lambda:us-east-1:0:function:pay"),
            ("pay", None)
        );
        assert_eq!(function_parts("0:function:pay:live"), ("pay", Some("live")));
    }

    #[test]
    fn the_same_end_has_the_names_of_its_form() {
        let name = |form: &Form, end: PluginEnd| match meaning(form, end) {
            Meaning::Ended(TaskOutcome::Failed { error, .. }) => {
                error.map(|error| error.to_string()).unwrap_or_default()
            }
            Meaning::Ended(TaskOutcome::Succeeded { .. }) | Meaning::Submitted(_) => String::new(),
        };
        let lambda = Form::Lambda {
            function: "f".into(),
        };
        let cause = || "c".to_owned();
        assert_eq!(
            name(&lambda, PluginEnd::OutOfMemory { cause: cause() }),
            "Lambda.Unknown"
        );
        assert_eq!(
            name(&Form::Wasm, PluginEnd::OutOfMemory { cause: cause() }),
            "Stepwell.OutOfMemory"
        );
        assert_eq!(
            name(&lambda, PluginEnd::WallTime { cause: cause() }),
            "Sandbox.Timedout"
        );
        assert_eq!(
            name(&Form::Wasm, PluginEnd::WallTime { cause: cause() }),
            "States.Timeout"
        );
        let own = PluginEnd::Failed {
            error: "CardDeclined".to_owned(),
            cause: cause(),
        };
        assert_eq!(name(&lambda, own.clone()), "CardDeclined");
        assert_eq!(name(&Form::Wasm, own), "CardDeclined");
    }
}
