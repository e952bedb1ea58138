//! The key of an execution: what its state machine's expression makes of its input. Hides how results become texts.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use stepwell_query::{Bindings, Expression, NoScope, Random, Value};

use crate::{dispatch::hex, limits::KEY_CHARS_MAX, node};

/// The key: a string is its own, everything else its JSON text. One that is long is told by its hash. Err: why there is none,
/// for the caller. May compute for as long as one expression may.
pub(super) fn of(expression: &Expression, input: &Value) -> Result<Arc<str>, String> {
    let now = i64::try_from(node::now().0).unwrap_or(i64::MAX);
    let bindings = Bindings::new(input, &NoScope, now);
    let mut random = Random::from_seed(node::os_seed());
    let value = expression.require(&bindings, &mut random);
    let value = value.map_err(|failure| failure.text("stepwell:concurrency-key"))?;
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_json(),
    };
    if text.chars().count() > KEY_CHARS_MAX {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        return Ok(format!("sha256:{}", hex(&hash)).into());
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use stepwell_query::{Expression, Value};

    use super::of;

    fn key(expression: &str, input: &str) -> Result<String, String> {
        let expression = Expression::parse(expression).expect("an expression");
        let input = Value::parse(input).expect("JSON");
        of(&expression, &input).map(|key| key.to_string())
    }

    #[test]
    fn a_string_is_its_own_key_and_the_rest_is_json() {
        let input = r#"{"customer": "a b", "n": 7, "o": {"x": [1, null]}}"#;
        let told = |expression| key(expression, input).expect("there is one");
        assert_eq!(told("$states.input.customer"), "a b");
        assert_eq!(told("$states.input.n"), "7");
        assert_eq!(told("$states.input.o"), r#"{"x":[1,null]}"#);
        assert_eq!(
            told("$states.input.customer & '/' & $states.input.n"),
            "a b/7"
        );
    }

    #[test]
    fn long_keys_are_told_by_their_hash() {
        let long = |last: char| {
            let input = format!(r#"{{"k": "{}{last}"}}"#, "x".repeat(300));
            key("$states.input.k", &input).expect("there is one")
        };
        assert_eq!(long('a'), long('a'));
        assert_ne!(long('a'), long('b'));
        assert!(long('a').len() < 80);
    }

    #[test]
    fn what_is_missing_is_no_key() {
        let why = key("$states.input.customer", "{}").expect_err("there is none");
        assert!(why.contains("$states.input.customer"), "{why}");
    }
}
