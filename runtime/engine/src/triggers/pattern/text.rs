//! What a text has to be like: its beginning, its end, its case, wildcards. Hides how wildcards are matched.

use stepwell_query::Value;

use crate::limits::WILDCARDS_MAX;

/// What a text has to be like. Those without regard to case are in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Text {
    Prefix(String),
    PrefixAnyCase(String),
    Suffix(String),
    SuffixAnyCase(String),
    AnyCase(String),
    /// Parts between the stars.
    Wildcard(Vec<String>),
}

impl Text {
    pub(super) fn read(operator: &str, operand: &Value, at: &str) -> Result<Text, String> {
        let any_case = operand.get("equals-ignore-case").and_then(Value::as_str);
        match (operator, operand.as_str(), any_case) {
            ("prefix", Some(text), _) => Ok(Text::Prefix(text.to_owned())),
            ("prefix", None, Some(text)) => Ok(Text::PrefixAnyCase(text.to_lowercase())),
            ("suffix", Some(text), _) => Ok(Text::Suffix(text.to_owned())),
            ("suffix", None, Some(text)) => Ok(Text::SuffixAnyCase(text.to_lowercase())),
            ("equals-ignore-case", Some(text), _) => Ok(Text::AnyCase(text.to_lowercase())),
            ("wildcard", Some(text), _) => wildcard(text, at),
            ("prefix" | "suffix" | "equals-ignore-case" | "wildcard", None, _) => {
                Err(format!("{at}: {operator} takes a text"))
            }
            _ => Err(format!("{at}: Unrecognized match type {operator}")),
        }
    }

    /// Whether it looks at the whole of a text, however short it is itself.
    pub(super) fn reads_all(&self) -> bool {
        !matches!(self, Text::Prefix(_) | Text::Suffix(_))
    }

    pub(super) fn holds(&self, value: &str) -> bool {
        match self {
            Text::Prefix(prefix) => value.starts_with(prefix),
            Text::PrefixAnyCase(prefix) => value.to_lowercase().starts_with(prefix),
            Text::Suffix(suffix) => value.ends_with(suffix),
            Text::SuffixAnyCase(suffix) => value.to_lowercase().ends_with(suffix),
            Text::AnyCase(text) => value.to_lowercase() == *text,
            Text::Wildcard(parts) => is_wild(value, parts),
        }
    }
}

/// The parts between stars; `\*` and `\\` are a star and a backslash.
fn wildcard(text: &str, at: &str) -> Result<Text, String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    let mut starred = false;
    while let Some(c) = chars.next() {
        let plain = match c {
            '*' if starred => return Err(format!("{at}: a wildcard has two stars in a row")),
            '*' => {
                parts.push(String::new());
                starred = true;
                continue;
            }
            '\\' => match chars.next() {
                Some(next @ ('*' | '\\')) => next,
                Some(_) | None => {
                    return Err(format!("{at}: behind `\\` stands `*` or `\\`"));
                }
            },
            other => other,
        };
        starred = false;
        if let Some(last) = parts.last_mut() {
            last.push(plain);
        }
    }
    if parts.len() > WILDCARDS_MAX + 1 {
        return Err(format!(
            "{at}: a wildcard has at most {WILDCARDS_MAX} stars"
        ));
    }
    Ok(Text::Wildcard(parts))
}

/// Whether a text is the parts with anything between them.
fn is_wild(text: &str, parts: &[String]) -> bool {
    let (Some((first, rest)), Some(last)) = (parts.split_first(), parts.last()) else {
        return false;
    };
    if rest.is_empty() {
        return text == first;
    }
    let Some(mut left) = text.strip_prefix(first.as_str()) else {
        return false;
    };
    // The earliest place of each part leaves the most for the rest.
    for part in &rest[..rest.len() - 1] {
        match left.find(part.as_str()) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last.as_str())
}
