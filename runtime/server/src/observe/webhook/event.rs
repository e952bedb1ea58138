//! The event of a change of status: CloudEvents 1.0 in structured JSON, with EventBridge's detail. What it hides: where
//! its members come from.

use serde::Serialize;
use sha2::{Digest, Sha256};
use stepwell_engine::{Status, StatusChange, StatusEvent};
use stepwell_interp::What;
use stepwell_query::Value;
use uuid::Uuid;

use crate::limits::WEBHOOK_DATA_BYTES_MAX;

/// `source` and `detail-type` of EventBridge's event.
const SOURCE: &str = "aws.states";
const TYPE: &str = "Step Functions Execution Status Change";

/// A status as the API names it.
pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Running => "RUNNING",
        Status::Succeeded => "SUCCEEDED",
        Status::Failed => "FAILED",
        Status::TimedOut => "TIMED_OUT",
        Status::Aborted => "ABORTED",
    }
}

/// The id of a change: the same for the same change, whoever tells of it.
pub(super) fn id(execution_arn: &str, event: u64) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(execution_arn.as_bytes());
    hash.update([0]);
    hash.update(event.to_be_bytes());
    let mut id = [0; 16];
    for (byte, hashed) in id.iter_mut().zip(hash.finalize()) {
        *byte = hashed;
    }
    Uuid::from_bytes(id)
}

/// The event's JSON.
pub(super) fn body(waiting: &StatusEvent, change: &StatusChange) -> String {
    let StatusChange {
        execution_arn,
        start,
        ..
    } = change;
    let (output, error, cause) = ending(&change.event.what);
    let (input, output) = (start.input.to_json(), output.map(Value::to_json));
    let bytes = input.len() + output.as_ref().map_or(0, String::len);
    let included = bytes <= WEBHOOK_DATA_BYTES_MAX;
    let details = Included { included };
    let at = change.event.at;
    let event = Event {
        specversion: "1.0",
        id: id(execution_arn, waiting.event).to_string(),
        source: SOURCE,
        kind: TYPE,
        subject: execution_arn,
        time: at.to_string(),
        datacontenttype: "application/json",
        account: &waiting.tenant,
        region: execution_arn.split(':').nth(3).unwrap_or_default(),
        data: Detail {
            execution_arn,
            state_machine_arn: &start.machine_arn,
            name: &start.execution_name,
            status: status_name(waiting.status),
            start_date: change.started_at.0,
            stop_date: (waiting.status != Status::Running).then_some(at.0),
            input: Some(input).filter(|_| included),
            input_details: details,
            output_details: output.is_some().then_some(details),
            output: output.filter(|_| included),
            state_machine_version_arn: start.version_arn.as_deref(),
            state_machine_alias_arn: start.alias_arn.as_deref(),
            redrive_count: waiting.redrives,
            redrive_date: waiting.redriven_at.map(|at| at.0),
            error,
            cause,
        },
    };
    serde_json::to_string(&event).expect("its keys are texts")
}

/// Output, error and cause of an event that ends an execution.
fn ending(what: &What) -> (Option<&Value>, Option<&str>, Option<&str>) {
    if let What::ExecutionSucceeded { output } = what {
        return (Some(output), None, None);
    }
    if let What::ExecutionFailed { error, cause }
    | What::ExecutionTimedOut { error, cause }
    | What::ExecutionAborted { error, cause } = what
    {
        return (None, error.as_deref(), cause.as_deref());
    }
    (None, None, None)
}

/// Wire form of the event; `account` and `region` are extensions, with the names of EventBridge's members.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    account: &'a str,
    region: &'a str,
    data: Detail<'a>,
}

/// Wire form of EventBridge's detail (developer guide, "Step Functions execution status change"). Times are milliseconds;
/// what does not apply is null.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    execution_arn: &'a str,
    state_machine_arn: &'a str,
    name: &'a str,
    status: &'static str,
    start_date: u64,
    stop_date: Option<u64>,
    input: Option<String>,
    input_details: Included,
    output: Option<String>,
    output_details: Option<Included>,
    state_machine_version_arn: Option<&'a str>,
    state_machine_alias_arn: Option<&'a str>,
    redrive_count: u32,
    redrive_date: Option<u64>,
    error: Option<&'a str>,
    cause: Option<&'a str>,
}

#[derive(Clone, Copy, Serialize)]
struct Included {
    included: bool,
}
