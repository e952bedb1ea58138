//! The event of a change of status: CloudEvents 1.0 in structured JSON, with EventBridge's detail. What it hides: where
//! its members come from.

use std::{sync::Arc, time::Instant};

use serde::Serialize;
use sha2::{Digest, Sha256};
use stepwell_engine::{HistoryEntry, Observed};
use stepwell_interp::{Start, Timestamp, What};
use stepwell_query::Value;
use uuid::Uuid;

use crate::limits::WEBHOOK_DATA_BYTES_MAX;

/// `source` and `detail-type` of EventBridge's event.
const SOURCE: &str = "aws.states";
const TYPE: &str = "Step Functions Execution Status Change";

/// A change of an execution's status.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) account: Arc<str>,
    /// As the API names it.
    pub(super) status: &'static str,
    pub(super) execution_arn: Arc<str>,
    /// The same for the same change, whoever tells of it.
    pub(super) id: Uuid,
    /// When it was heard of.
    pub(super) since: Instant,
    start: Arc<Start>,
    started_at: Timestamp,
    at: Timestamp,
    redrives: u32,
    redriven_at: Option<Timestamp>,
    output: Option<Value>,
    error: Option<Arc<str>>,
    cause: Option<Arc<str>>,
    /// What it holds in memory while it waits, as JSON.
    pub(super) bytes: u64,
}

impl Change {
    /// The change that an event of the history is, if it is one.
    pub(super) fn of(observed: &Observed, entry: &HistoryEntry) -> Option<Change> {
        let what = &entry.event.what;
        let (mut output, mut error, mut cause) = (None, None, None);
        let status = if let What::ExecutionSucceeded { output: value } = what {
            output = Some(value.clone());
            "SUCCEEDED"
        } else if let What::ExecutionFailed { error: e, cause: c } = what {
            (error, cause) = (e.clone(), c.clone());
            "FAILED"
        } else if let What::ExecutionTimedOut { error: e, cause: c } = what {
            (error, cause) = (e.clone(), c.clone());
            "TIMED_OUT"
        } else if let What::ExecutionAborted { error: e, cause: c } = what {
            (error, cause) = (e.clone(), c.clone());
            "ABORTED"
        } else if matches!(
            what,
            What::ExecutionStarted { .. } | What::ExecutionRedriven { .. }
        ) {
            "RUNNING"
        } else {
            return None;
        };
        let mut hash = Sha256::new();
        hash.update(observed.execution_arn.as_bytes());
        hash.update([0]);
        hash.update(entry.id.to_be_bytes());
        let mut id = [0; 16];
        for (byte, hashed) in id.iter_mut().zip(hash.finalize()) {
            *byte = hashed;
        }
        let data = [Some(&observed.start.input), output.as_ref()];
        let bytes: usize = data.into_iter().flatten().map(Value::json_bytes).sum();
        Some(Change {
            bytes: bytes as u64,
            account: observed.tenant.clone(),
            status,
            execution_arn: observed.execution_arn.clone(),
            id: Uuid::from_bytes(id),
            since: Instant::now(),
            start: observed.start.clone(),
            started_at: observed.started_at,
            at: entry.event.at,
            redrives: observed.redrives,
            redriven_at: observed.redriven_at,
            output,
            error,
            cause,
        })
    }

    /// A change that holds so many bytes.
    #[cfg(test)]
    pub(super) fn of_bytes(bytes: u64) -> Change {
        Change {
            account: "1".into(),
            status: "RUNNING",
            execution_arn: "arn:e".into(),
            id: Uuid::nil(),
            since: Instant::now(),
            start: Arc::default(),
            started_at: Timestamp(0),
            at: Timestamp(0),
            redrives: 0,
            redriven_at: None,
            output: None,
            error: None,
            cause: None,
            bytes,
        }
    }

    /// The event's JSON.
    pub(super) fn body(&self) -> String {
        let start = &self.start;
        let input = start.input.to_json();
        let output = self.output.as_ref().map(Value::to_json);
        let bytes = input.len() + output.as_ref().map_or(0, String::len);
        let included = bytes <= WEBHOOK_DATA_BYTES_MAX;
        let details = Included { included };
        let running = self.status == "RUNNING";
        let event = Event {
            specversion: "1.0",
            id: self.id.to_string(),
            source: SOURCE,
            kind: TYPE,
            subject: &self.execution_arn,
            time: self.at.to_string(),
            datacontenttype: "application/json",
            account: &self.account,
            region: self.execution_arn.split(':').nth(3).unwrap_or_default(),
            data: Detail {
                execution_arn: &self.execution_arn,
                state_machine_arn: &start.machine_arn,
                name: &start.execution_name,
                status: self.status,
                start_date: self.started_at.0,
                stop_date: (!running).then_some(self.at.0),
                input: Some(input).filter(|_| included),
                input_details: details,
                output_details: output.is_some().then_some(details),
                output: output.filter(|_| included),
                state_machine_version_arn: start.version_arn.as_deref(),
                state_machine_alias_arn: start.alias_arn.as_deref(),
                redrive_count: self.redrives,
                redrive_date: self.redriven_at.map(|at| at.0),
                error: self.error.as_deref(),
                cause: self.cause.as_deref(),
            },
        };
        serde_json::to_string(&event).expect("its keys are texts")
    }
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
