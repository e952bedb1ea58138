//! Whether an answer is what the real service recorded. Hides the recordings' placeholders: `<…>`, `timestamp`,
//! `*_arn` and the like match any text, JSON within strings is compared as JSON, keys must agree.

use stepwell_query::{Value, ValueKind};

/// Members that describe a connection, not a behaviour.
const SOFT: [&str; 10] = [
    "SdkHttpMetadata",
    "SdkResponseMetadata",
    "HTTPHeaders",
    "RetryAttempts",
    "RequestId",
    "tracingConfiguration",
    "ResponseMetadata",
    "billedDurationInMilliseconds",
    "billedMemoryUsedInMB",
    "stackTrace",
];

/// Texts that stand for any other.
const FREE: [&str; 17] = [
    "timestamp",
    "date",
    "snf_role_arn",
    "sfn_role_arn",
    "json-input",
    "start-date",
    "stop-date",
    "time",
    "requestId",
    "RequestId",
    "json-stack-trace",
    "datetime",
    "start-time",
    "entered-time",
    "execution-name",
    "state-entered-time",
    "uuid",
];

/// All differences between a recording and an answer, each with its place.
pub fn differences(expected: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(expected, actual, "$", &mut found);
    found
}

fn compare(expected: &Value, actual: &Value, path: &str, found: &mut Vec<String>) {
    match (expected, actual) {
        (Value::String(text), _) => compare_text(text, actual, path, found),
        (Value::Object(_) | Value::Array(_), Value::String(text)) => match Value::parse(text) {
            Ok(parsed) => compare(expected, &parsed, path, found),
            Err(_) => found.push(format!("{path}: expected JSON, got {actual}")),
        },
        (Value::Object(wanted), Value::Object(got)) => {
            let mut keys: Vec<_> = wanted
                .keys()
                .chain(got.keys().filter(|key| !wanted.contains_key(key)))
                .collect();
            keys.retain(|key| !SOFT.contains(&&***key));
            for key in keys {
                match (wanted.get(key), got.get(key)) {
                    (Some(wanted), Some(got)) => {
                        compare(wanted, got, &format!("{path}.{key}"), found)
                    }
                    (Some(wanted), None) => {
                        found.push(format!("{path}.{key}: missing (AWS: {})", short(wanted)))
                    }
                    (None, got) => found.push(format!(
                        "{path}.{key}: unexpected {}",
                        short(got.unwrap_or(&Value::Null))
                    )),
                }
            }
        }
        (Value::Array(wanted), Value::Array(got)) => {
            if wanted.len() != got.len() {
                return found.push(format!("{path}: {} items != {}", wanted.len(), got.len()));
            }
            for (index, (wanted, got)) in wanted.iter().zip(got.iter()).enumerate() {
                compare(wanted, got, &format!("{path}[{index}]"), found);
            }
        }
        (_, Value::String(text)) if Value::parse(text).is_ok_and(|parsed| parsed == *expected) => {}
        _ if expected == actual => {}
        _ => found.push(format!("{path}: {} != {}", short(expected), short(actual))),
    }
}

fn compare_text(expected: &str, actual: &Value, path: &str, found: &mut Vec<String>) {
    let expected = &braced(expected);
    let whole =
        expected.starts_with('<') && expected.ends_with('>') && expected.matches('<').count() == 1;
    if FREE.contains(&&**expected) || expected.ends_with("_arn") || whole {
        return;
    }
    let said = match actual.kind() {
        ValueKind::String => actual.as_str().unwrap_or_default().to_owned(),
        ValueKind::Object | ValueKind::Array | ValueKind::Null => {
            return found.push(format!("{path}: {expected:?} != {}", short(actual)));
        }
        ValueKind::Boolean | ValueKind::Number => actual.to_json(),
    };
    let neutral = neutral(&said);
    if neutral == **expected {
        return;
    }
    let json = |text: &str| {
        text.starts_with(['[', '{', '"'])
            .then(|| Value::parse(text).ok())
            .flatten()
    };
    if let (Some(wanted), Some(got)) = (json(expected), json(&neutral)) {
        return compare(&wanted, &got, path, found);
    }
    if !(wild(expected, &neutral) || wild(expected, &said)) {
        found.push(format!(
            "{path}: {:?} != {:?}",
            short_text(expected),
            short_text(&neutral)
        ));
    }
}

/// The placeholders that the recordings have without brackets.
fn braced(text: &str) -> String {
    let mut text = text.to_owned();
    for name in ["lambda_function_name", "lambda_arn"] {
        if !text.contains(&format!("<{name}>")) && !text.contains(&format!("_{name}")) {
            text = text.replace(name, &format!("<{name}>"));
        }
    }
    text
}

/// The recordings' names for account, region and partition.
fn neutral(text: &str) -> String {
    text.replace("000000000000", "111111111111")
        .replace("us-east-1", "<region>")
        .replace("arn:aws:", "arn:<partition>:")
}

/// Whether a text is what a pattern says, its placeholders standing for anything.
fn wild(pattern: &str, text: &str) -> bool {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((name, after)) = after.split_once('>') else {
            break;
        };
        if name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || " _:-./".contains(c))
        {
            break;
        }
        pieces.push(before);
        rest = after;
    }
    if pieces.is_empty() {
        return false;
    }
    pieces.push(rest);
    let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    let Some(mut text) = text.strip_suffix(last) else {
        return false;
    };
    for piece in &pieces[1..pieces.len() - 1] {
        match text.split_once(piece) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    true
}

fn short(value: &Value) -> String {
    short_text(&value.to_json())
}

fn short_text(text: &str) -> String {
    text.chars().take(300).collect()
}
