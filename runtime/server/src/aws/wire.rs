//! What the groups of operations share on the way out: times, embedded JSON texts, pages. Wire forms, AWS JSON 1.0:
//! an absent member is absent, never null.

use serde::{Serialize, Serializer};
use stepwell_engine::PageRequest;
use stepwell_query::Value;

use super::{fault::Fault, input::Fields};

/// A time as epoch seconds with a fraction, from milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(pub(crate) u64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The nearest double prints as the shortest decimal that reads back, which is the one with three digits.
        serializer.serialize_f64(self.0 as f64 / 1_000.0)
    }
}

/// A value as JSON text within a JSON string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a>(pub(crate) &'a Value);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_json())
    }
}

/// Whether data is in the answer; execution data in calls other than the history.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Included {
    pub(super) included: bool,
}

/// The empty answer.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// The JSON text of an answer.
pub(super) fn json(answer: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::with_capacity(512);
    serde_json::to_writer(&mut text, answer)
        .expect("answers have string keys and a Vec takes everything");
    Ok(text)
}

/// The page a list operation asks for.
pub(super) fn page(input: &mut Fields<'_>) -> PageRequest {
    let max_results = input
        .number("maxResults")
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0);
    PageRequest {
        max_results,
        next_token: input.text("nextToken"),
    }
}

/// Whether the answer holds data beside metadata; takes the member `includedData`.
pub(super) fn includes_data(input: &mut Fields<'_>) -> bool {
    !input.is("includedData", "METADATA_ONLY")
}
