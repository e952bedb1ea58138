//! What a state machine logs of its executions (`loggingConfiguration`). Hides how the setting is stored, and which events
//! a level has.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepwell_query::Value;

/// A state machine's setting at the start of an execution. Stored form, codec v1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    #[serde(rename = "l")]
    pub level: LogLevel,
    /// Whether inputs and outputs are logged too.
    #[serde(rename = "d", default)]
    pub with_data: bool,
    /// ARN of the log group, as the state machine names it.
    #[serde(rename = "g")]
    pub group: Arc<str>,
}

/// Which events are logged; one that is off is no setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    #[serde(rename = "a")]
    All,
    #[serde(rename = "e")]
    Error,
    #[serde(rename = "f")]
    Fatal,
}

impl Logging {
    /// The setting that a `loggingConfiguration` asks for; `None` when it is off.
    pub(crate) fn of(block: &Value) -> Option<Logging> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(Arc::from);
        let level: Arc<str> = text(block, "level")?;
        let level = match &*level {
            "ALL" => LogLevel::All,
            "ERROR" => LogLevel::Error,
            "FATAL" => LogLevel::Fatal,
            // The API takes no other but OFF.
            _ => return None,
        };
        let Value::Array(destinations) = block.get("destinations")? else {
            return None;
        };
        let group = destinations.first()?.get("cloudWatchLogsLogGroup")?;
        let with_data = block.get("includeExecutionData").and_then(Value::as_bool);
        Some(Logging {
            level,
            with_data: with_data.unwrap_or(false),
            group: text(group, "logGroupArn")?,
        })
    }
}

impl LogLevel {
    /// Whether events of that type (`TaskStateEntered`) are logged (developer guide, "Log levels for Step Functions
    /// execution events").
    pub fn has(self, event_type: &str) -> bool {
        let fatal = ["ExecutionAborted", "ExecutionFailed", "ExecutionTimedOut"];
        match self {
            LogLevel::All => true,
            LogLevel::Error => {
                event_type == "FailStateEntered"
                    || ["Failed", "TimedOut", "Aborted"]
                        .iter()
                        .any(|end| event_type.ends_with(end))
            }
            LogLevel::Fatal => fatal.contains(&event_type),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_events_of_the_guide() {
        let levels = |event| {
            [LogLevel::All, LogLevel::Error, LogLevel::Fatal]
                .map(|level: LogLevel| level.has(event))
        };
        for fatal in ["ExecutionAborted", "ExecutionFailed", "ExecutionTimedOut"] {
            assert_eq!(levels(fatal), [true, true, true], "{fatal}");
        }
        for error in [
            "FailStateEntered",
            "LambdaFunctionScheduleFailed",
            "LambdaFunctionStartFailed",
            "LambdaFunctionTimedOut",
            "MapIterationAborted",
            "MapRunFailed",
            "ParallelStateFailed",
            "TaskStateAborted",
            "TaskSubmitFailed",
        ] {
            assert_eq!(levels(error), [true, true, false], "{error}");
        }
        for other in ["ExecutionStarted", "TaskStateExited", "ExecutionRedriven"] {
            assert_eq!(levels(other), [true, false, false], "{other}");
        }
    }

    #[test]
    fn a_setting_is_read_off_its_block() {
        let block = |text: &str| Logging::of(&serde_json::from_str(text).unwrap());
        let group = r#""destinations":[{"cloudWatchLogsLogGroup":{"logGroupArn":"arn:g:*"}}]"#;
        assert_eq!(
            block(r#"{"level":"OFF","includeExecutionData":false}"#),
            None
        );
        let fatal = block(&format!(r#"{{"level":"FATAL",{group}}}"#)).unwrap();
        assert_eq!(
            (fatal.level, fatal.with_data, &*fatal.group),
            (LogLevel::Fatal, false, "arn:g:*")
        );
        let all = block(&format!(
            r#"{{"level":"ALL","includeExecutionData":true,{group}}}"#
        ))
        .unwrap();
        assert_eq!((all.level, all.with_data), (LogLevel::All, true));
    }
}
