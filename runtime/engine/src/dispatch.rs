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
mod tests {
    use super::{Form, Function, Meaning, function_account, function_parts, meaning, unserved};
    use crate::runner::PluginEnd;
    use stepwell_asl::{Pattern, Reply, Target};
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
    fn the_account_of_a_function_is_in_its_arn() {
        for (function, account) in [
            ("pay", None),
            ("pay:3", None),
            ("function:pay", None),
            ("0:function:pay:live", Some("0")),
            ("arn:aws:lambda:us-east-1:1:function:pay", Some("1")),
            ("arn:aws-cn:lambda:us-east-1:1:function:pay:3", Some("1")),
        ] {
            assert_eq!(function_account(function), account, "{function}");
        }
    }

    const SERVICES: &str = include_str!("../../../docs/services.md");

    #[test]
    fn what_nobody_serves_is_told_with_what_can_be_called() {
        let target = Target::Service {
            service: "sns".into(),
            action: "publish".into(),
            pattern: Pattern::RequestResponse,
        };
        let told = unserved(&target, "arn:aws:states:::sns:publish");
        let (_, sdk) = SERVICES.split_once("every action of ").unwrap();
        let (sdk, _) = sdk.split_once(';').unwrap();
        for part in ["arn:aws:states:::sns:publish", "sqs:sendMessage", sdk] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let target = Target::AwsSdk {
            service: "s3".into(),
            action: "deleteObject".into(),
            reply: Reply::Response,
        };
        let told = unserved(&target, "arn:aws:states:::aws-sdk:s3:deleteObject");
        assert!(told.contains("of aws-sdk:s3 getObject, "), "{told}");
    }

    const TABLE: &str = include_str!("../../../docs/errors.md");

    /// What the table for people says of an end: the names in a Lambda form and in `wasm:`.
    fn told(row: &str) -> [String; 2] {
        let line = TABLE
            .lines()
            .find(|line| line.starts_with(&format!("| {row} |")))
            .unwrap_or_else(|| panic!("docs/errors.md has no row `{row}`"));
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        [cells[1], cells[2]].map(|cell| cell.trim().trim_matches('`').to_owned())
    }

    /// The row of an end; those of a state's own time have none.
    fn row(end: &PluginEnd) -> Option<&'static str> {
        Some(match end {
            PluginEnd::Succeeded { .. } | PluginEnd::Deadline | PluginEnd::NotReady { .. } => {
                return None;
            }
            PluginEnd::Failed { .. } => "fails with an error of its own",
            PluginEnd::Exited { .. } => {
                "leaves with an exit code other than 0 and no error of its own"
            }
            PluginEnd::InputTooLarge { .. } => "is given more input than `[limits].input`",
            PluginEnd::OutputTooLarge { .. } => "returns more than `[limits].output`",
            PluginEnd::InvalidOutput { .. } => "returns no JSON",
            PluginEnd::Trapped { .. } => "traps (panic, `unreachable`, stack)",
            PluginEnd::OutOfMemory { .. } => "needs more memory than it may use",
            PluginEnd::OutOfFuel { .. } => "runs out of fuel",
            PluginEnd::CpuTime { .. } => "computes for longer than `[limits].cpu`",
            PluginEnd::WallTime { .. } => "takes longer than `[limits].wall`",
            PluginEnd::GrantRefused { .. } => "breaks down over a refused grant",
            PluginEnd::TooManyRunning { .. } => {
                "finds no place (`[limits].concurrency`, the host's queue)"
            }
            PluginEnd::Missing { .. } => "has no plugin",
            PluginEnd::Broken { .. } => "has a plugin that cannot be used",
            PluginEnd::Cancelled => "is cancelled",
            PluginEnd::Internal { .. } => "meets a failure of the host",
        })
    }

    /// One of each kind that fails a task.
    fn ends() -> Vec<PluginEnd> {
        let cause = || "c".to_owned();
        vec![
            PluginEnd::Failed {
                error: "CardDeclined".to_owned(),
                cause: cause(),
            },
            PluginEnd::Exited { cause: cause() },
            PluginEnd::InputTooLarge { cause: cause() },
            PluginEnd::OutputTooLarge { cause: cause() },
            PluginEnd::InvalidOutput { cause: cause() },
            PluginEnd::Trapped { cause: cause() },
            PluginEnd::OutOfMemory { cause: cause() },
            PluginEnd::OutOfFuel { cause: cause() },
            PluginEnd::CpuTime { cause: cause() },
            PluginEnd::WallTime { cause: cause() },
            PluginEnd::GrantRefused { cause: cause() },
            PluginEnd::TooManyRunning { cause: cause() },
            PluginEnd::Missing { cause: cause() },
            PluginEnd::Broken { cause: cause() },
            PluginEnd::Cancelled,
            PluginEnd::Internal { cause: cause() },
        ]
    }

    #[test]
    fn an_end_has_the_names_that_people_are_told() {
        let lambda = Form::Lambda(Function {
            arn: "f".into(),
            resource: "f".into(),
        });
        let invoke = Form::Invoke {
            function: Function {
                arn: "f".into(),
                resource: "f".into(),
            },
            version: None,
            waits_for_token: false,
        };
        let mut rows = std::collections::BTreeSet::new();
        for end in ends() {
            let row = row(&end).unwrap();
            rows.insert(row);
            let own = matches!(end, PluginEnd::Failed { .. });
            let [of_lambda, of_wasm] = match own {
                true => ["CardDeclined", "CardDeclined"].map(str::to_owned),
                false => told(row),
            };
            for (form, wanted) in [
                (&lambda, &of_lambda),
                (&invoke, &of_lambda),
                (&Form::Wasm, &of_wasm),
            ] {
                let Meaning::Ended(TaskOutcome::Failed { error, cause, .. }) =
                    meaning(form, end.clone())
                else {
                    panic!("{row} is no failure")
                };
                assert_eq!(error.as_deref(), Some(wanted.as_str()), "{row}");
                assert!(cause.is_some_and(|cause| !cause.is_empty()), "{row}");
            }
        }
        // Each row is lived through but that of a process that is lost, which no runner tells of.
        let table = TABLE.split_once("| the attempt |").unwrap().1;
        let told = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        assert_eq!(told.count(), rows.len() + 1);
    }

    #[test]
    fn the_same_end_has_the_names_of_its_form() {
        let name = |form: &Form, end: PluginEnd| match meaning(form, end) {
            Meaning::Ended(TaskOutcome::Failed { error, .. }) => {
                error.map(|error| error.to_string()).unwrap_or_default()
            }
            Meaning::Ended(TaskOutcome::Succeeded { .. }) | Meaning::Submitted(_) => String::new(),
        };
        let lambda = Form::Lambda(Function {
            arn: "f".into(),
            resource: "f".into(),
        });
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
        assert_eq!(name(&lambda, PluginEnd::Deadline), "States.Timeout");
        for form in [&lambda, &Form::Wasm] {
            assert_eq!(
                name(form, PluginEnd::NotReady { cause: cause() }),
                "States.Timeout"
            );
        }
        assert_eq!(name(&Form::Wasm, PluginEnd::Deadline), "States.Timeout");
        let own = PluginEnd::Failed {
            error: "CardDeclined".to_owned(),
            cause: cause(),
        };
        assert_eq!(name(&lambda, own.clone()), "CardDeclined");
        assert_eq!(name(&Form::Wasm, own), "CardDeclined");
    }
}
