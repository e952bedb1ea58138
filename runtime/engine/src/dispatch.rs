//! From a task's resource to the plugin that serves it, and from the plugin's end to the task's outcome. Hides the
//! forms that resources have; Lambda's half of the table of outcomes is `lambda`, our own is here.

use std::{sync::Arc, time::Duration};

use crate::{
    functions::{Callable, Resolved},
    integration,
    lambda::{self, Function, LATEST},
    node::Node,
    runner::{PluginCall, PluginEnd, Signals},
    sealed::DEFAULT_ACCOUNT,
    services,
    shard::Info,
};
use sha2::{Digest, Sha256};
use stepwell_asl::{Reply, Target};
use stepwell_interp::{FailedAt, TaskOutcome, TaskRequest, Timestamp};
use stepwell_query::Value;

/// ASL's error of a task that took too long.
pub(crate) const TIMEOUT: &str = "States.Timeout";

/// How a resource wants to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A Lambda ARN: the raw payload.
    Lambda(Function),
    /// `lambda:invoke`: the payload in an envelope.
    Invoke {
        function: Function,
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
    /// Whether the answer has the end of the log.
    pub(crate) log_wanted: bool,
}

/// What the end of a plugin means for its task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    Ended(TaskOutcome),
    /// The request of a callback task was accepted.
    Submitted(Value),
}

/// The plugin a request names, or the outcome of a request that no plugin can serve.
pub(crate) fn plan(info: &Info, request: &TaskRequest) -> Result<Plan, TaskOutcome> {
    match &request.resource.target {
        Target::LambdaFunction { name, qualifier } => {
            require_own(info, &request.resource.text)?;
            Ok(Plan {
                plugin: name.clone(),
                version: pinned(qualifier.as_ref()),
                input: request.parameters.clone(),
                form: Form::Lambda(Function {
                    arn: request.resource.text.clone(),
                    resource: request.resource.text.clone(),
                }),
                log_wanted: false,
            })
        }
        Target::LambdaInvoke(reply) => invoke(info, request, *reply),
        Target::Wasm { name, version } => Ok(Plan {
            plugin: name.clone(),
            version: version.clone(),
            input: request.parameters.clone(),
            form: Form::Wasm,
            log_wanted: false,
        }),
        Target::Activity { .. }
        | Target::StartExecution(_)
        | Target::HttpInvoke
        | Target::Service { .. }
        | Target::AwsSdk { .. } => Err(failed(
            FailedAt::Schedule,
            "Stepwell.PluginMissing",
            unserved(&request.resource.target, &request.resource.text),
        )),
    }
}

/// Why a resource that nobody serves fails, and what is served in its place.
fn unserved(target: &Target, resource: &str) -> String {
    let of_service = match target {
        Target::AwsSdk { service, .. } => {
            let actions = integration::served_actions(service).join(", ");
            (!actions.is_empty()).then(|| format!("of aws-sdk:{service} {actions}"))
        }
        Target::Service { .. }
        | Target::StartExecution(_)
        | Target::HttpInvoke
        | Target::Activity { .. }
        | Target::LambdaFunction { .. }
        | Target::LambdaInvoke(_)
        | Target::Wasm { .. } => None,
    };
    let served = of_service.unwrap_or_else(services::served);
    format!(
        "nobody serves the resource {resource}: what is served of AWS's is {served} (docs/services.md); call a plugin that does the same, wasm:NAME"
    )
}

/// `$LATEST` is the current version; anything else pins one.
fn pinned(qualifier: Option<&Arc<str>>) -> Option<Arc<str>> {
    qualifier
        .filter(|qualifier| &***qualifier != LATEST)
        .cloned()
}

fn invoke(info: &Info, request: &TaskRequest, reply: Reply) -> Result<Plan, TaskOutcome> {
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
    let log_wanted = match parameters.get("LogType") {
        None | Some(Value::Null) => false,
        Some(kind) => lambda::wants_log(kind)?,
    };
    require_own(info, function)?;
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
        input: payload(parameters),
        form: Form::Invoke {
            function: Function {
                arn: function_arn(info, name, qualifier.as_deref()),
                resource: request.resource.text.clone(),
            },
            version,
            waits_for_token: matches!(reply, Reply::TaskToken),
        },
        log_wanted,
    })
}

/// What the function gets: nothing is the empty object, and a string is the body of the request, JSON itself.
fn payload(parameters: &Value) -> Value {
    match parameters.get("Payload") {
        None | Some(Value::Null) => Value::empty_object(),
        Some(Value::String(body)) => {
            Value::parse(body).unwrap_or_else(|_| Value::String(body.clone()))
        }
        Some(payload) => payload.clone(),
    }
}

/// The ARN of a function as Lambda's errors name it.
fn function_arn(info: &Info, name: &str, qualifier: Option<&str>) -> Arc<str> {
    let region = info.execution_arn.split(':').nth(3).unwrap_or_default();
    let tenant = &info.tenant;
    let qualifier = qualifier.unwrap_or(LATEST);
    format!("arn:aws:lambda:{region}:{tenant}:function:{name}:{qualifier}").into()
}

/// Refuses a function of another account, as the function service does where its owner allows nobody. The account that is there
/// without tenants takes definitions as they are, whatever account they were written for.
fn require_own(info: &Info, function: &str) -> Result<(), TaskOutcome> {
    let is_own = function_account(function).is_none_or(|account| account == &*info.tenant);
    if is_own || &*info.tenant == DEFAULT_ACCOUNT {
        return Ok(());
    }
    Err(lambda::not_own(&info.tenant, function))
}

/// The account in a function's partial or full ARN.
fn function_account(function: &str) -> Option<&str> {
    let (before, _) = function.rsplit_once("function:")?;
    let account = before.trim_end_matches(':').rsplit(':').next()?;
    Some(account).filter(|account| !account.is_empty())
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
        function: None,
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
        trace_parent: info.traceparent_of(request).map(Into::into),
        log_wanted: plan.log_wanted,
        limits: None,
        secrets: None,
        signals,
        permit: None,
        alone: false,
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

/// Runs the call of a plan: on what was uploaded under the plugin's name, or on the folder's plugin.
pub(crate) async fn run(node: &Node, plan: &mut Plan, mut call: PluginCall) -> PluginEnd {
    let (tenant, version) = (&call.tenant, plan.version.as_deref());
    let mut _held = None;
    match node.resolve_function(tenant, &plan.plugin, version).await {
        Ok(Resolved::Folder) => {}
        Ok(Resolved::Function(Callable {
            version: function,
            in_use,
            entrance,
        })) => {
            match entrance.enter() {
                Ok(place) => _held = Some((in_use, place)),
                Err(cause) => return PluginEnd::TooManyRunning { cause },
            }
            if let Form::Invoke { version, .. } = &mut plan.form {
                // An alias does not tell which version it chose.
                *version = function.version.map(|number| number.to_string().into());
            }
            call.function = Some(Arc::new(function));
        }
        Ok(Resolved::Missing(cause)) => return PluginEnd::Missing { cause },
        Ok(Resolved::Off(cause)) => return PluginEnd::TooManyRunning { cause },
        Err(cause) => return PluginEnd::Internal { cause },
    }
    match node.task_limits(&call.tenant, &call.machine_arn).await {
        Ok(limits) => call.limits = limits,
        Err(cause) => return PluginEnd::Internal { cause },
    }
    call.secrets = Some(node.secrets_of(&call.tenant));
    node.runner.run(call).await
}

/// What a plugin's end means for the task: the one table.
pub(crate) fn meaning(form: &Form, end: PluginEnd) -> Meaning {
    match form {
        Form::Lambda(function) => {
            Meaning::Ended(lambda::outcome(function, end, |payload, _| payload))
        }
        Form::Invoke {
            function,
            version,
            waits_for_token,
        } => {
            let outcome = lambda::outcome(function, end, |payload, log| {
                lambda::envelope(version.as_deref(), payload, log.as_ref())
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

fn wasm_outcome(end: PluginEnd) -> TaskOutcome {
    let ours =
        |name: &str, cause: String| failed(FailedAt::Run, &format!("Stepwell.{name}"), cause);
    match end {
        PluginEnd::Succeeded { output, .. } => match Value::parse(&output) {
            Ok(output) => TaskOutcome::Succeeded { output },
            Err(error) => ours("InvalidOutput", format!("the output is not JSON: {error}")),
        },
        PluginEnd::Failed { error, cause } => failed(FailedAt::Run, &error, cause),
        PluginEnd::Exited { cause } => ours("Exited", cause),
        PluginEnd::InputTooLarge { cause } => ours("InputTooLarge", cause),
        PluginEnd::InvalidOutput { cause } | PluginEnd::OutputTooLarge { cause } => {
            ours("InvalidOutput", cause)
        }
        PluginEnd::Trapped { cause } => ours("Trapped", cause),
        PluginEnd::OutOfMemory { cause } => ours("OutOfMemory", cause),
        PluginEnd::OutOfFuel { cause } => ours("OutOfFuel", cause),
        PluginEnd::CpuTime { cause } => ours("CpuTime", cause),
        PluginEnd::WallTime { cause } => failed(FailedAt::Timeout, TIMEOUT, cause),
        PluginEnd::Deadline => state_timeout(),
        PluginEnd::NotReady { cause } => failed(FailedAt::Timeout, TIMEOUT, cause),
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

/// The state's own timeout, as its timer has it: without a cause.
pub(crate) fn state_timeout() -> TaskOutcome {
    TaskOutcome::Failed {
        error: Some(TIMEOUT.into()),
        cause: None,
        at: FailedAt::Timeout,
    }
}

/// The cause of States.DataLimitExceeded.
pub(crate) fn too_large(resource: &str) -> String {
    format!(
        "The state/task '{resource}' returned a result with a size exceeding the maximum number of bytes service limit."
    )
}

pub(crate) fn failed(at: FailedAt, error: &str, cause: String) -> TaskOutcome {
    TaskOutcome::Failed {
        error: Some(error.into()),
        cause: Some(cause.into()),
        at,
    }
}

#[cfg(test)]
mod tests;
