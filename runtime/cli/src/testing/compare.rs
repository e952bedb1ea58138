//! What differs between an expected value and the one that came. Hides the walk.

use stepwell_query::Value;

use super::file::{pointer, shown};
use crate::given::count;

/// Differences that are told of one value.
const TOLD_MAX: usize = 8;

/// The differences, a line each, with their places below `at`.
pub(super) fn differences(at: &str, expected: &Value, came: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(at, expected, came, &mut found);
    let more = found.len().saturating_sub(TOLD_MAX);
    found.truncate(TOLD_MAX);
    if more > 0 {
        found.push(format!("{more} more differences"));
    }
    found
}

fn compare(at: &str, expected: &Value, came: &Value, found: &mut Vec<String>) {
    match (expected, came) {
        (Value::Object(expected), Value::Object(came)) => {
            for (name, value) in expected.iter() {
                let at = format!("{at}/{}", pointer(name));
                match came.get(name) {
                    Some(came) => compare(&at, value, came, found),
                    None => found.push(format!("{at}: missing, expected {}", shown(value))),
                }
            }
            for (name, value) in came.iter().filter(|(name, _)| !expected.contains_key(name)) {
                let at = format!("{at}/{}", pointer(name));
                found.push(format!("{at}: not expected, is {}", shown(value)));
            }
        }
        (Value::Array(expected), Value::Array(came)) => {
            for (index, (expected, came)) in expected.iter().zip(came.iter()).enumerate() {
                compare(&format!("{at}/{index}"), expected, came, found);
            }
            if expected.len() != came.len() {
                let (expected, came) = (count(expected.len(), "item"), came.len());
                found.push(format!("{at}: expected {expected}, has {came}"));
            }
        }
        (expected, came) if expected != came => {
            found.push(format!(
                "{at}: expected {}, is {}",
                shown(expected),
                shown(came)
            ));
        }
        (_, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_their_places() {
        let (expected, came) = (
            Value::parse(r#"{"a": [1, {"b": "x"}], "c": 1, "e/f": 1}"#).unwrap(),
            Value::parse(r#"{"a": [1, {"b": "y"}], "d": 2, "e/f": 2}"#).unwrap(),
        );
        assert_eq!(
            differences("output", &expected, &came),
            [
                "output/a/1/b: expected \"x\", is \"y\"",
                "output/c: missing, expected 1",
                "output/e~1f: expected 1, is 2",
                "output/d: not expected, is 2",
            ]
        );
        assert!(differences("output", &came, &came).is_empty());
    }
}
