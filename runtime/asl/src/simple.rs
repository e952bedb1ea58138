//! The small state types: Pass, Wait, Succeed, Fail. Hides the several ways to say how long to wait and why to fail.

use std::sync::Arc;

use jiff::Timestamp;
use stepwell_query::PathExpr;

use crate::codes::Code;
use crate::expr::Slot;
use crate::limits::SECONDS_MAX;
use crate::node::Node;
use crate::program::{Fail, Given, Pass, QueryLanguage, Succeed, Until, Wait};
use crate::reading::{Reading, Row};
use crate::timestamp::parse_timestamp;

pub(crate) fn pass(state: &Reading) -> Option<Pass> {
    let result = match state.language {
        QueryLanguage::JsonPath => state.fields.get("Result"),
        QueryLanguage::Jsonata => None,
    };
    if let Some(result) = &result {
        result.warn_of_static_result();
    }
    let io = state.io(&Row::PASS);
    Some(Pass {
        io,
        result: result.map(|node| node.value.clone()),
        then: state.then()?,
    })
}

pub(crate) fn succeed(state: &Reading) -> Option<Succeed> {
    state.end();
    Some(Succeed {
        io: state.io(&Row::SUCCEED),
    })
}

pub(crate) fn wait(state: &Reading) -> Option<Wait> {
    let io = state.io(&Row::WAIT);
    let then = state.then();
    let until = until(state);
    Some(Wait {
        io,
        until: until?,
        then: then?,
    })
}

fn until(state: &Reading) -> Option<Until> {
    let present = match state.language {
        QueryLanguage::JsonPath => {
            state
                .fields
                .exactly_one(&["Seconds", "SecondsPath", "Timestamp", "TimestampPath"])
        }
        QueryLanguage::Jsonata => state.fields.exactly_one(&["Seconds", "Timestamp"]),
    };
    match *present.first()? {
        "Seconds" | "SecondsPath" => {
            let seconds = |node: &Node| node.integer(0..=SECONDS_MAX);
            state
                .first_given("Seconds", "SecondsPath", seconds)
                .map(Until::Seconds)
        }
        _ => state
            .first_given("Timestamp", "TimestampPath", timestamp)
            .map(Until::Timestamp),
    }
}

/// A fixed timestamp.
pub(crate) fn timestamp(node: &Node) -> Option<Timestamp> {
    let text = node.text()?;
    let parsed = parse_timestamp(text);
    if parsed.is_none() && !node.is_substitution() {
        let hint = Some("write it as 2016-03-14T01:59:00Z".to_owned());
        node.fault_with_hint(
            Code::BadTimestamp,
            "String does not match RFC3339 timestamp",
            hint,
        );
    }
    parsed
}

pub(crate) fn fail(state: &Reading) -> Option<Fail> {
    state.end();
    Some(Fail {
        error: reason(state, "Error", "ErrorPath"),
        cause: reason(state, "Cause", "CausePath"),
    })
}

fn reason(
    state: &Reading,
    plain: &'static str,
    path: &'static str,
) -> Option<Given<Arc<str>, PathExpr>> {
    let fixed = |node: &Node| node.text().map(|text| Given::Fixed(Arc::from(text)));
    match state.language {
        QueryLanguage::JsonPath => {
            state.fields.at_most_one(&[plain, path]);
            match (state.fields.get(plain), state.fields.get(path)) {
                (Some(node), _) => {
                    node.warn_of_path();
                    fixed(&node)
                }
                (None, Some(node)) => node.string_expr().map(Given::Path),
                (None, None) => None,
            }
        }
        QueryLanguage::Jsonata => {
            let node = state.fields.get(plain)?;
            match node.is_jsonata() {
                true => node.expression(Slot::State).map(Given::Jsonata),
                false => fixed(&node),
            }
        }
    }
}
