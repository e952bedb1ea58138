//! Log records of the events that a state machine logs. The body is the line that the log of executions has.

use stepwell_engine::{HistoryEntry, Observed, SpanId, TraceId};
use stepwell_interp::history_view;

use super::{
    proto::{Any, LogRecord, Severity},
    spans::nanoseconds,
};
use crate::execution_log;

/// The record of an event, if its state machine logs it.
pub(super) fn record(
    observed: &Observed,
    entry: &HistoryEntry,
    trace: Option<(TraceId, SpanId)>,
) -> Option<LogRecord> {
    let logging = observed.logging.as_ref()?;
    let view = history_view(entry.id, &entry.event, logging.with_data)?;
    if !logging.level.has(view.event_type) {
        return None;
    }
    let failed = ["Failed", "TimedOut", "Aborted"];
    let severity = if failed.iter().any(|end| view.event_type.ends_with(end)) {
        Severity::Error
    } else {
        Severity::Info
    };
    let text = |text: &str| Any::Text(text.to_owned());
    let start = &observed.start;
    Some(LogRecord {
        time_ns: nanoseconds(view.at),
        severity,
        name: view.event_type,
        attributes: vec![
            ("aws.log.group.arns", text(&logging.group)),
            (
                "aws.step_functions.state_machine.arn",
                text(&start.machine_arn),
            ),
            ("cloud.account.id", text(&observed.tenant)),
            ("stepwell.execution.arn", text(&observed.execution_arn)),
            (
                "stepwell.event.id",
                Any::Int(i64::try_from(view.id).unwrap_or(i64::MAX)),
            ),
        ],
        body: execution_log::line(observed, &view)?,
        trace,
    })
}
