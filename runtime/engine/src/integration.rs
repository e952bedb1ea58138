//! Tasks that the engine serves itself: calls of this service's own API from a state machine, `states:startExecution`
//! in all its patterns and `aws-sdk:sfn:…`, those of its object storage, HTTP tasks, and calls of other AWS services.
//! Hides how a call is read from parameters and how its refusal is worded.

use std::{sync::Arc, time::Duration};

use stepwell_asl::{Pattern, Target};
use stepwell_interp::{FailedAt, TaskOutcome, TaskRequest};
use stepwell_query::Value;

use crate::{
    api::{Caller, StartRequest, StartedExecution, SyncResult},
    children::{self, Dates, derived_uuid},
    dispatch::failed,
    engine::Engine,
    error::{Code, Error},
    http_task,
    journal::ExecutionId,
    limits::{ACTIVITY_POLL_TIME, RELOAD_AFTER_MS, START_TRIES_MAX},
    objects,
    record::{Child, ChildEnd, ChildEnding, Parent},
    services,
    shard::Info,
};

/// What an attempt came to.
pub(crate) enum Served {
    Ended(TaskOutcome),
    /// The request of a callback task was accepted.
    Submitted(Value),
    /// Its child tells the rest.
    Told,
}

/// Whose words a refusal is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// `arn:aws:states:::states:…`
    Optimized,
    /// `arn:aws:states:::aws-sdk:sfn:…`
    Sdk,
}

/// Whether tasks with this resource can be served at all: by the engine itself, by a plugin, by whoever polls an
/// activity, or by another service that has an endpoint. Others fail as `Stepwell.PluginMissing`.
pub fn serves(target: &Target) -> bool {
    match target {
        Target::LambdaFunction { .. }
        | Target::LambdaInvoke(_)
        | Target::Activity { .. }
        | Target::Wasm { .. } => true,
        Target::StartExecution(_)
        | Target::HttpInvoke
        | Target::Service { .. }
        | Target::AwsSdk { .. } => is_own(target),
    }
}

/// What of an AWS SDK service is served, for people; nothing where nothing is.
pub fn served_actions(service: &str) -> Vec<String> {
    let named = |actions: &[&str]| actions.iter().map(|action| (*action).to_owned()).collect();
    match service {
        "sfn" => named(&SDK_ACTIONS),
        "s3" => named(&objects::actions()),
        other => services::actions(other),
    }
}

/// Whether the engine serves this resource itself.
pub(crate) fn is_own(target: &Target) -> bool {
    match target {
        Target::StartExecution(_) | Target::HttpInvoke => true,
        Target::AwsSdk {
            service, action, ..
        } => match &**service {
            "sfn" => SDK_ACTIONS.contains(&&**action),
            "s3" => objects::is_offered(action),
            _ => services::is_offered(target),
        },
        Target::Service { .. } => services::is_offered(target),
        Target::LambdaFunction { .. }
        | Target::LambdaInvoke(_)
        | Target::Activity { .. }
        | Target::Wasm { .. } => false,
    }
}

/// Whether such a resource waits for the network: shards have none.
pub(crate) fn needs_network(target: &Target) -> bool {
    match target {
        Target::HttpInvoke | Target::Service { .. } => true,
        Target::AwsSdk { service, .. } => &**service != "sfn",
        Target::StartExecution(_)
        | Target::LambdaFunction { .. }
        | Target::LambdaInvoke(_)
        | Target::Activity { .. }
        | Target::Wasm { .. } => false,
    }
}

const SDK_ACTIONS: [&str; 8] = [
    "getActivityTask",
    "redriveExecution",
    "sendTaskFailure",
    "sendTaskHeartbeat",
    "sendTaskSuccess",
    "startExecution",
    "startSyncExecution",
    "stopExecution",
];

/// Serves one attempt.
pub(crate) async fn serve(
    engine: &Engine,
    execution: ExecutionId,
    info: &Info,
    request: &TaskRequest,
) -> Served {
    let call = Call {
        engine,
        caller: caller(info),
        execution,
        info,
        request,
    };
    match &request.resource.target {
        Target::StartExecution(pattern) => call.start_execution(*pattern).await,
        Target::AwsSdk {
            service, action, ..
        } if &**service == "s3" => {
            let storage = engine.node().storage(&info.tenant);
            responded(objects::serve(storage, action, request).await, request)
        }
        Target::AwsSdk {
            service, action, ..
        } if &**service == "sfn" => Served::Ended(call.sdk(action).await),
        Target::AwsSdk { .. } | Target::Service { .. } => {
            let services = &engine.node().services;
            responded(services::serve(services, info, request).await, request)
        }
        Target::HttpInvoke => {
            let settings = http_task::Settings {
                raised_limits: engine.raised_limits(&info.tenant),
                reveals_secrets: false,
            };
            let done = http_task::serve(engine.node(), info, request, settings).await;
            Served::Ended(done.outcome)
        }
        Target::LambdaFunction { .. }
        | Target::LambdaInvoke(_)
        | Target::Activity { .. }
        | Target::Wasm { .. } => Served::Ended(crate::dispatch::lost()),
    }
}

/// The answer of a service: the end of the task, or of its request where it waits for a token.
fn responded(outcome: TaskOutcome, request: &TaskRequest) -> Served {
    match (outcome, request.resource.target.pattern()) {
        (TaskOutcome::Succeeded { output }, Pattern::WaitForTaskToken) => Served::Submitted(output),
        (outcome, _) => Served::Ended(outcome),
    }
}

/// The caller on whose behalf an execution calls: its own account and region.
fn caller(info: &Info) -> Caller {
    let region = info.execution_arn.split(':').nth(3).unwrap_or_default();
    Caller {
        tenant: info.tenant.clone(),
        region: region.into(),
    }
}

/// One attempt and what it is served with.
struct Call<'a> {
    engine: &'a Engine,
    caller: Caller,
    execution: ExecutionId,
    info: &'a Info,
    request: &'a TaskRequest,
}

impl Call<'_> {
    async fn start_execution(&self, pattern: Pattern) -> Served {
        let of = child_of(self.request, pattern);
        match self.start(of).await {
            Err(refused) => Served::Ended(refused.outcome(Api::Optimized, pattern, self)),
            Ok(started) => {
                let response = children::response(&started.execution_arn, started.started_at);
                match pattern {
                    Pattern::RequestResponse => {
                        Served::Ended(TaskOutcome::Succeeded { output: response })
                    }
                    Pattern::WaitForTaskToken => Served::Submitted(response),
                    Pattern::Sync | Pattern::Sync2 => Served::Told,
                }
            }
        }
    }

    /// Starts the child, again while the engine is too busy to, or the account has started as many as its rate allows.
    async fn start(&self, of: Child) -> Result<StartedExecution, Refusal> {
        let parent = Parent {
            log: self.execution.0,
            of,
        };
        let request = self.start_request()?;
        let mut broken = 0;
        loop {
            let started = self
                .engine
                .start_child(&self.caller, request.clone(), parent)
                .await;
            match started {
                Ok(started) => return Ok(started),
                Err(
                    Error::Busy(_)
                    | Error::Rejected {
                        code: Code::ThrottlingException,
                        ..
                    },
                ) => {}
                Err(
                    error @ (Error::Broken(_)
                    | Error::Held(_)
                    | Error::Unopened(_)
                    | Error::Unusable(_)),
                ) => {
                    broken += 1;
                    if broken == START_TRIES_MAX {
                        return Err(Refusal::Error(error));
                    }
                }
                Err(error @ (Error::Rejected { .. } | Error::Damaged(_))) => {
                    return Err(Refusal::Error(error));
                }
            }
            tokio::time::sleep(Duration::from_millis(RELOAD_AFTER_MS)).await;
        }
    }

    fn start_request(&self) -> Result<StartRequest, Refusal> {
        let trace_header = self.info.trace_header_of(self.request);
        start_request(
            &self.info.execution_arn,
            trace_header.as_deref(),
            self.request,
        )
        .map_err(Refusal::Missing)
    }

    async fn sdk(&self, action: &str) -> TaskOutcome {
        let made = match action {
            "startExecution" => {
                let of = child_of(self.request, Pattern::RequestResponse);
                self.start(of).await.map(|started| {
                    Value::object([
                        ("ExecutionArn", Value::from(started.execution_arn)),
                        ("StartDate", Dates::Iso.value(started.started_at)),
                    ])
                })
            }
            "startSyncExecution" => self.start_sync().await,
            "stopExecution" => self.stop().await,
            "redriveExecution" => self.redrive().await,
            "getActivityTask" => self.activity_task().await,
            _ => self.answer(action).await,
        };
        match made {
            Ok(output) => TaskOutcome::Succeeded { output },
            Err(refused) => refused.outcome(Api::Sdk, Pattern::RequestResponse, self),
        }
    }

    async fn start_sync(&self) -> Result<Value, Refusal> {
        let request = self.start_request()?;
        let result = self.engine.start_sync_nested(&self.caller, request).await;
        Ok(sync_result(&result.map_err(Refusal::Error)?))
    }

    async fn stop(&self) -> Result<Value, Refusal> {
        let arn = self.required("ExecutionArn")?;
        let (error, cause) = (self.text("Error"), self.text("Cause"));
        let stopped = self.engine.stop(&self.caller, &arn, error, cause).await;
        let stopped = Dates::Iso.value(stopped.map_err(Refusal::Error)?);
        Ok(Value::object([("StopDate", stopped)]))
    }

    /// Without a token of the caller's, all dispatches of an attempt are one call.
    async fn redrive(&self) -> Result<Value, Refusal> {
        let arn = self.required("ExecutionArn")?;
        let token = self.text("ClientToken");
        let token = token.unwrap_or_else(|| attempt_uuid(&self.info.execution_arn, self.request));
        let redriven = self.engine.redrive(&self.caller, &arn, Some(&token)).await;
        let redriven = Dates::Iso.value(redriven.map_err(Refusal::Error)?);
        Ok(Value::object([("RedriveDate", redriven)]))
    }

    /// A task of an activity with its token, or an empty object when none came for as long as a poll takes.
    async fn activity_task(&self) -> Result<Value, Refusal> {
        let arn = self.required("ActivityArn")?;
        let worker = self.text("WorkerName");
        let (engine, caller) = (self.engine, &self.caller);
        let polled = engine.activity_task(caller, &arn, worker, ACTIVITY_POLL_TIME);
        let found = polled.await.map_err(Refusal::Error)?;
        Ok(found.map_or_else(Value::empty_object, |task| {
            Value::object([
                ("Input", Value::from(task.input.to_json())),
                ("TaskToken", Value::from(task.token)),
            ])
        }))
    }

    /// `sendTaskSuccess` and its siblings.
    async fn answer(&self, action: &str) -> Result<Value, Refusal> {
        let token = self.required("TaskToken")?;
        let (engine, caller) = (self.engine, &self.caller);
        let answered = match action {
            "sendTaskSuccess" => {
                let output = self.required("Output")?;
                engine.send_task_success(caller, &token, &output).await
            }
            "sendTaskFailure" => {
                let (error, cause) = (self.text("Error"), self.text("Cause"));
                engine.send_task_failure(caller, &token, error, cause).await
            }
            _ => engine.send_task_heartbeat(caller, &token).await,
        };
        answered
            .map(|()| Value::empty_object())
            .map_err(Refusal::Error)
    }

    fn text(&self, name: &'static str) -> Option<String> {
        text(&self.request.parameters, name)
    }

    fn required(&self, name: &'static str) -> Result<String, Refusal> {
        self.text(name).ok_or(Refusal::Missing(name))
    }
}

/// Which child of its execution a task's attempt starts.
pub(crate) fn child_of(request: &TaskRequest, pattern: Pattern) -> Child {
    let (entry, attempt) = (request.task.entry, request.task.attempt);
    match pattern {
        Pattern::RequestResponse | Pattern::WaitForTaskToken => Child::Free { entry, attempt },
        Pattern::Sync | Pattern::Sync2 => Child::Job {
            entry,
            attempt,
            parsed: pattern == Pattern::Sync2,
        },
    }
}

/// The start that the parameters ask for, or the name of the parameter that is missing. A child without a name gets
/// one that follows from the attempt.
pub(crate) fn start_request(
    execution_arn: &str,
    trace_header: Option<&str>,
    request: &TaskRequest,
) -> Result<StartRequest, &'static str> {
    let parameters = &request.parameters;
    let name = text(parameters, "Name").unwrap_or_else(|| attempt_uuid(execution_arn, request));
    Ok(StartRequest {
        machine_arn: text(parameters, "StateMachineArn").ok_or("StateMachineArn")?,
        name: Some(name),
        input: text(parameters, "Input"),
        trace_header: text(parameters, "TraceHeader").or_else(|| trace_header.map(str::to_owned)),
    })
}

/// A parameter as the API takes it, a text; other JSON than a text is the text of it.
fn text(parameters: &Value, name: &str) -> Option<String> {
    match parameters.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.to_string()),
        other => Some(other.to_json()),
    }
}

/// Why a call was not carried out.
enum Refusal {
    /// A parameter that must be there.
    Missing(&'static str),
    Error(Error),
}

impl Refusal {
    fn outcome(self, api: Api, pattern: Pattern, call: &Call<'_>) -> TaskOutcome {
        let (code, message) = match self {
            Refusal::Missing(name) => return missing(name),
            Refusal::Error(Error::Rejected { code, message }) => (format!("{code:?}"), message),
            Refusal::Error(error) => {
                tracing::error!(%error, execution = &*call.info.execution_arn, "a call of the service's own API failed");
                ("InternalFailure".to_owned(), "Internal failure".to_owned())
            }
        };
        refused(api, pattern, &code, &message, &call.info.execution_arn)
    }
}

/// The outcome of a call without a parameter that must be there.
pub(crate) fn missing(name: &str) -> TaskOutcome {
    let cause = format!("The field '{name}' is required but was missing");
    failed(FailedAt::Schedule, "States.Runtime", cause)
}

/// The outcome of a call that the API refuses with that code and message.
pub(crate) fn refused(
    api: Api,
    pattern: Pattern,
    code: &str,
    message: &str,
    execution_arn: &str,
) -> TaskOutcome {
    let at = match pattern {
        Pattern::RequestResponse => FailedAt::Run,
        Pattern::Sync | Pattern::Sync2 | Pattern::WaitForTaskToken => FailedAt::Submit,
    };
    let exception = code.strip_suffix("Exception").unwrap_or(code);
    let id = derived_uuid(&[b"refused", execution_arn.as_bytes(), message.as_bytes()]);
    let (error, cause) = match api {
        Api::Optimized => (
            format!("StepFunctions.{exception}Exception"),
            format!(
                "{message} (Service: AWSStepFunctions; Status Code: 400; Error Code: {code}; Request ID: {id}; Proxy: null)"
            ),
        ),
        Api::Sdk => (
            format!("Sfn.{exception}Exception"),
            format!(
                "{message} (Service: Sfn, Status Code: 400, Request ID: {id}) (SDK Attempt Count: 1)"
            ),
        ),
    };
    failed(at, &error, cause)
}

/// What `startSyncExecution` answers.
fn sync_result(result: &SyncResult) -> Value {
    use crate::api::Status;
    let execution = &result.execution;
    let (error, cause) = (execution.error.clone(), execution.cause.clone());
    let end = ChildEnd {
        arn: execution.arn.clone(),
        name: execution.name.clone(),
        machine_arn: execution.machine_arn.clone(),
        version_arn: execution.version_arn.clone(),
        alias_arn: execution.alias_arn.clone(),
        started_ms: execution.started_at.0,
        stopped_ms: execution.stopped_at.unwrap_or(execution.started_at).0,
        input: execution.input.clone(),
        ending: match execution.status {
            Status::Succeeded => ChildEnding::Succeeded {
                output: execution.output.clone().unwrap_or_default(),
            },
            Status::TimedOut => ChildEnding::TimedOut,
            Status::Aborted => ChildEnding::Aborted { error, cause },
            Status::Running | Status::Failed => ChildEnding::Failed { error, cause },
        },
        redrive_count: 0,
        events: 0,
    };
    let billing = Value::object([
        (
            "BilledDurationInMilliseconds",
            Value::from(result.billed_duration_ms),
        ),
        ("BilledMemoryUsedInMB", Value::from(result.billed_memory_mb)),
    ]);
    let described = children::description(&end, Dates::Iso, false);
    let members = described.as_object().into_iter().flat_map(|all| all.iter());
    let first = std::iter::once((Arc::from("BillingDetails"), billing));
    Value::object(first.chain(members.map(|(name, value)| (name.clone(), value.clone()))))
}

/// A UUID of an attempt: the same for all its dispatches.
fn attempt_uuid(execution_arn: &str, request: &TaskRequest) -> String {
    let (entry, attempt) = (request.task.entry, request.task.attempt);
    derived_uuid(&[
        execution_arn.as_bytes(),
        &entry.to_be_bytes(),
        &attempt.to_be_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use super::{Api, refused};
    use stepwell_asl::Pattern;
    use stepwell_interp::TaskOutcome;

    #[test]
    fn a_refusal_is_named_after_its_api() {
        let name = |api, code| match refused(api, Pattern::RequestResponse, code, "m", "arn") {
            TaskOutcome::Failed { error, .. } => error.unwrap_or_default().to_string(),
            TaskOutcome::Succeeded { .. } => String::new(),
        };
        assert_eq!(
            name(Api::Optimized, "StateMachineDoesNotExist"),
            "StepFunctions.StateMachineDoesNotExistException"
        );
        assert_eq!(
            name(Api::Sdk, "ValidationException"),
            "Sfn.ValidationException"
        );
    }
}
