//! What the command guests share: the command contract from the inside. Hides stdin, stdout and exit codes.

use serde_json::Value;
use std::io::{Read as _, Write as _};

/// Reads the whole input as JSON.
pub fn input() -> Value {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .expect("stdin is the input in UTF-8");
    serde_json::from_str(&text).expect("the host passes valid JSON")
}

/// Writes the output.
pub fn output(value: &Value) {
    write(value.to_string().as_bytes());
}

/// Writes raw bytes as the output.
pub fn write(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .expect("the host always takes output");
}

/// Fails the task with an error name and a cause.
pub fn fail(error: &str, cause: &str) -> ! {
    eprintln!("{}", serde_json::json!({ "Error": error, "Cause": cause }));
    std::process::exit(1)
}

/// Ends the task with a report as a runtime of Lambda makes it: message, type, stack trace.
pub fn raise(kind: &str, message: &str, frame: &str) -> ! {
    let report = serde_json::json!({
        "errorMessage": message,
        "errorType": kind,
        "stackTrace": [frame],
    });
    fail(kind, &report.to_string())
}

/// The value as Python's `repr` writes it.
pub fn python_repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => python_string(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(python_repr).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}: {}", python_string(key), python_repr(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

fn python_string(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::python_repr;
    use serde_json::json;

    #[test]
    fn repr_is_pythons() {
        let value = json!({"a": [1, 2.5, null, true], "b": "it's", "c": "say \"it's\""});
        assert_eq!(
            python_repr(&value),
            r#"{'a': [1, 2.5, None, True], 'b': "it's", 'c': 'say "it\'s"'}"#
        );
    }
}
