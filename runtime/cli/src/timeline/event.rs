//! One history event, read from the JSON of GetExecutionHistory. Hides the names of the details keys.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Used;

/// A public event of an execution.
#[derive(Clone, Debug)]
pub(crate) struct HistoryEvent {
    pub(crate) id: u64,
    pub(crate) previous: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    /// AWS's type: `TaskStateEntered`.
    pub(crate) kind: String,
    /// The one details object, or null.
    pub(crate) details: Value,
    /// Of an attempt's outcome: what it used, where that is told.
    pub(crate) used: Option<Used>,
}

/// The latest note of a running attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Id of the event that entered its state.
    pub(crate) entered_id: u64,
    pub(crate) text: String,
}

impl Note {
    /// Reads one as a stream or a list has it.
    pub(crate) fn read(note: &Value) -> Option<Note> {
        Some(Note {
            entered_id: note.get("enteredEventId")?.as_u64()?,
            text: note.get("note")?.as_str()?.to_owned(),
        })
    }
}

impl HistoryEvent {
    /// Reads one element of `events`.
    pub(crate) fn read(event: &Value) -> Result<HistoryEvent> {
        let number = |key: &str| event.get(key).and_then(Value::as_u64);
        let details = event.as_object().and_then(|members| {
            members
                .iter()
                .find(|(key, _)| key.ends_with("EventDetails"))
        });
        Ok(HistoryEvent {
            id: number("id").context("a history event has no `id`")?,
            previous: number("previousEventId").unwrap_or(0),
            at_ms: event
                .get("timestamp")
                .and_then(milliseconds)
                .context("a history event has no `timestamp`")?,
            kind: event
                .get("type")
                .and_then(Value::as_str)
                .context("a history event has no `type`")?
                .to_owned(),
            details: details.map_or(Value::Null, |(_, details)| details.clone()),
            used: event.get("usage").and_then(Used::read),
        })
    }

    /// A text of the details.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.details.get(key).and_then(Value::as_str)
    }

    /// A number of the details.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.details.get(key).and_then(Value::as_u64)
    }

    /// Whether it is the redrive of that number, or a later one.
    pub(crate) fn is_redrive(&self, number: u64) -> bool {
        self.kind == "ExecutionRedriven" && self.number("redriveCount").unwrap_or(1) >= number
    }

    /// What there is to say of the event beside its type, on one line.
    pub(crate) fn summary(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for key in [
            "name",
            "state",
            "resource",
            "workerName",
            "error",
            "location",
            "mapRunArn",
        ] {
            parts.extend(self.text(key).map(|text| {
                if key == "name" || key == "error" {
                    text.to_owned()
                } else {
                    format!("{key} {text}")
                }
            }));
        }
        for key in [
            "index",
            "length",
            "timeoutInSeconds",
            "heartbeatInSeconds",
            "redriveCount",
        ] {
            parts.extend(self.number(key).map(|number| format!("{key} {number}")));
        }
        for key in ["cause", "input", "parameters", "output"] {
            parts.extend(self.text(key).map(|text| {
                if key == "cause" {
                    text.to_owned()
                } else {
                    format!("{key} {text}")
                }
            }));
        }
        parts.extend(self.used.map(|used| format!("used {used}")));
        parts
            .join("  ")
            .split(['\n', '\r'])
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A timestamp of AWS's JSON protocol: seconds since the epoch, with a fraction.
pub(crate) fn milliseconds(value: &Value) -> Option<u64> {
    value
        .as_f64()
        .filter(|seconds| *seconds >= 0.0)
        .map(|seconds| (seconds * 1_000.0).round() as u64)
}
