//! Returns `input-event-` and the event as Python prints it.

use serde_json::Value;
use stepwell_test_guests::{input, output, python_repr};

fn main() {
    let event = match input() {
        // Python's `str` of a string has no quotes.
        Value::String(text) => text,
        other => python_repr(&other),
    };
    output(&Value::String(format!("input-event-{event}")));
}
