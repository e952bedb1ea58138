//! The API's operations by name, through the SDK's typed builders. Hides which builder takes what; a table a subject.

mod executions;
mod lists;
mod machines;
mod tasks;

use std::fmt::{self, Debug};

use aws_sdk_sfn::{
    Client,
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use serde_json::Value;

pub(crate) use lists::pages;

/// All that the API has.
pub(crate) const OPERATIONS: [&str; 37] = [
    "CreateActivity",
    "CreateStateMachine",
    "CreateStateMachineAlias",
    "DeleteActivity",
    "DeleteStateMachine",
    "DeleteStateMachineAlias",
    "DeleteStateMachineVersion",
    "DescribeActivity",
    "DescribeExecution",
    "DescribeMapRun",
    "DescribeStateMachine",
    "DescribeStateMachineAlias",
    "DescribeStateMachineForExecution",
    "GetActivityTask",
    "GetExecutionHistory",
    "ListActivities",
    "ListExecutions",
    "ListMapRuns",
    "ListStateMachineAliases",
    "ListStateMachineVersions",
    "ListStateMachines",
    "ListTagsForResource",
    "PublishStateMachineVersion",
    "RedriveExecution",
    "SendTaskFailure",
    "SendTaskHeartbeat",
    "SendTaskSuccess",
    "StartExecution",
    "StartSyncExecution",
    "StopExecution",
    "TagResource",
    "TestState",
    "UntagResource",
    "UpdateMapRun",
    "UpdateStateMachine",
    "UpdateStateMachineAlias",
    "ValidateStateMachineDefinition",
];

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    Service(Told),
    /// No answer, or one that the SDK does not understand.
    Lost(String),
}

/// An error of the service, as the SDK gives it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: String,
    pub(crate) message: String,
    /// Name of the variant of the operation's error type; `Unhandled` for what the model does not have.
    pub(crate) variant: String,
    pub(crate) status: u16,
    pub(crate) has_request_id: bool,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Service(told) => write!(f, "{told}"),
            Refusal::Lost(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    fn of<E>(error: SdkError<E, HttpResponse>) -> Refusal
    where
        E: ProvideErrorMetadata + Debug + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|answer| answer.status().as_u16());
        let has_request_id = error.request_id().is_some();
        let Some(service) = error.as_service_error() else {
            return Refusal::Lost(DisplayErrorContext(&error).to_string());
        };
        let variant = format!("{service:?}");
        Refusal::Service(Told {
            code: service.code().unwrap_or_default().to_owned(),
            message: service.message().unwrap_or_default().to_owned(),
            variant: variant.split('(').next().unwrap_or_default().to_owned(),
            status: status.unwrap_or_default(),
            has_request_id,
        })
    }
}

/// One call. What is absent from the answer is absent or null.
pub(crate) async fn call(client: &Client, operation: &str, with: &Value) -> Answer {
    if let Some(answer) = machines::call(client, operation, with).await {
        return answer;
    }
    if let Some(answer) = executions::call(client, operation, with).await {
        return answer;
    }
    if let Some(answer) = tasks::call(client, operation, with).await {
        return answer;
    }
    match lists::call(client, operation, with).await {
        Some(answer) => answer,
        None => Err(Refusal::Lost(format!("no call makes {operation}"))),
    }
}

type Answer = Result<Value, Refusal>;

/// An answer without a request id is none.
fn answered(out: &impl RequestId, answer: Value) -> Answer {
    match out.request_id() {
        Some(_) => Ok(answer),
        None => Err(Refusal::Lost("an answer without a request id".to_owned())),
    }
}

/// Sends what a builder holds, and gives the answer as JSON.
macro_rules! send {
    ($builder:expr, $out:ident => $answer:expr) => {
        match $builder.send().await {
            Ok($out) => crate::calls::answered(&$out, $answer),
            Err(error) => Err(crate::calls::Refusal::of(error)),
        }
    };
}
use send;
