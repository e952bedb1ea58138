//! Retry and Catch. Hides the rules about which errors may stand where.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::codes::Code;
use crate::expr::Slot;
use crate::hint::nearest;
use crate::limits::{ATTEMPTS_MAX, DELAY_SECONDS_MAX, SECONDS_MAX};
use crate::node::{Fields, Node};
use crate::program::{CatchIo, Catcher, ErrorEquals, Handlers, Jitter, QueryLanguage, Retrier};
use crate::reading::Reading;

/// Matches every error that can be matched.
const ALL: &str = "States.ALL";

/// The error names that the language reserves. `States.Http.StatusCode.<n>` comes besides.
const RESERVED: &[&str] = &[
    ALL,
    "States.BranchFailed",
    "States.DataLimitExceeded",
    "States.ExceedToleratedFailureThreshold",
    "States.HeartbeatTimeout",
    "States.Http.Socket",
    "States.IntrinsicFailure",
    "States.ItemReaderFailed",
    "States.NoChoiceMatched",
    "States.ParameterPathFailure",
    "States.Permissions",
    "States.QueryEvaluationError",
    "States.ResultPathMatchFailure",
    "States.ResultWriterFailed",
    "States.Runtime",
    "States.TaskFailed",
    "States.Timeout",
];

/// `Retry` and `Catch` of a state.
pub(crate) fn handlers(state: &Reading) -> Handlers {
    let retry = each(state, "Retry", retrier);
    let catch = each(state, "Catch", catcher);
    Handlers { retry, catch }
}

fn each<'d, T>(
    state: &Reading<'_, 'd>,
    name: &'static str,
    read: fn(&Reading<'_, 'd>) -> (Option<ErrorEquals>, Option<T>),
) -> Vec<T> {
    let nodes = state
        .fields
        .get(name)
        .and_then(|node| node.items())
        .unwrap_or_default();
    let last = nodes.len().saturating_sub(1);
    let mut handlers = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let Some(fields) = node.fields() else {
            continue;
        };
        let (errors, handler) = read(&state.within(&fields));
        fields.finish(state.language);
        if errors == Some(ErrorEquals::All)
            && index < last
            && let Some(node) = fields.member("ErrorEquals")
        {
            node.fault(
                Code::AllNotLast,
                format!("'{ALL}' must be in the last element of '{name}'"),
            );
        }
        handlers.extend(handler);
    }
    handlers
}

fn retrier(element: &Reading) -> (Option<ErrorEquals>, Option<Retrier>) {
    let fields = element.fields;
    let errors = error_equals(fields);
    fields.get("Comment");
    let positive = |name, most| {
        fields
            .get(name)
            .and_then(|node| node.integer(1..=most))
            .and_then(NonZeroU32::new)
    };
    let interval_s = positive("IntervalSeconds", SECONDS_MAX).unwrap_or(NonZeroU32::MIN);
    let delay_max_s = positive("MaxDelaySeconds", DELAY_SECONDS_MAX);
    if let Some(delay_max) = delay_max_s
        && delay_max <= interval_s
        && let Some(node) = fields.member("MaxDelaySeconds")
    {
        let message =
            format!("MaxDelaySeconds must be greater than IntervalSeconds, which is {interval_s}");
        node.fault(Code::MaxDelay, message);
    }
    let retrier = errors.clone().map(|errors| Retrier {
        errors,
        interval_s,
        attempts_max: fields
            .get("MaxAttempts")
            .and_then(|node| node.integer(0..=ATTEMPTS_MAX))
            .unwrap_or(3),
        backoff_rate: fields
            .get("BackoffRate")
            .and_then(|node| node.number(1.0..=f64::MAX))
            .unwrap_or(2.0),
        delay_max_s,
        jitter: fields
            .get("JitterStrategy")
            .and_then(|node| {
                node.word(
                    "JitterStrategy",
                    &[("FULL", Jitter::Full), ("NONE", Jitter::None)],
                )
            })
            .unwrap_or_default(),
    });
    (errors, retrier)
}

fn catcher(element: &Reading) -> (Option<ErrorEquals>, Option<Catcher>) {
    let fields = element.fields;
    let errors = error_equals(fields);
    fields.get("Comment");
    let io = match element.language {
        QueryLanguage::JsonPath => CatchIo::Path {
            result_path: element.result_path(),
            assign: element.assign_path(),
        },
        QueryLanguage::Jsonata => CatchIo::Jsonata {
            output: fields
                .get("Output")
                .and_then(|node| node.jsonata_template(Slot::Catcher)),
            assign: element.assign_jsonata(Slot::Catcher),
        },
    };
    let next = element.next();
    let catcher = errors
        .clone()
        .zip(next)
        .map(|(errors, next)| Catcher { errors, io, next });
    (errors, catcher)
}

/// `ErrorEquals`: names, or `States.ALL` alone.
fn error_equals(fields: &Fields) -> Option<ErrorEquals> {
    let node = fields.required("ErrorEquals")?;
    let mut names: Vec<Arc<str>> = Vec::new();
    for item in node.some_items()? {
        if let Some(name) = item.text() {
            warn_of_unknown(&item, name);
            names.push(name.into());
        }
    }
    if !names.iter().any(|name| **name == *ALL) {
        return (!names.is_empty()).then_some(ErrorEquals::Names(names));
    }
    if names.len() > 1 {
        node.fault(
            Code::AllNotAlone,
            format!("'{ALL}' must be the only element of 'ErrorEquals'"),
        );
    }
    Some(ErrorEquals::All)
}

fn warn_of_unknown(node: &Node, name: &str) {
    let known = RESERVED.contains(&name) || name.starts_with("States.Http.StatusCode.");
    if name.starts_with("States.") && !known {
        let message = format!(
            "'{name}' is none of the language's errors, whose names alone begin with 'States.'"
        );
        node.fault_with_hint(
            Code::ReservedError,
            message,
            nearest(name, RESERVED.iter().copied()),
        );
    }
}
