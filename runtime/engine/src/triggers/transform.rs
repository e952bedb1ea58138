//! What of an event a target gets: all of it, a constant, a part, or a template that is filled in. Pure. Hides paths and
//! templates.
//!
//! Source: EventBridge, user guide, "Input transformation". A variable within quotes is put there as text; elsewhere as JSON. One
//! that the event has not is nothing within quotes and `null` elsewhere, where the guide leaves it out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwell_query::Value;

use crate::limits::{
    TARGET_INPUT_BYTES_MAX, TARGET_PATH_BYTES_MAX, TRANSFORM_TEMPLATE_BYTES_MAX,
    TRANSFORM_VARIABLES_MAX, TRANSFORMED_BYTES_MAX,
};

/// What a target gets. Stored form, codec v1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventInput {
    /// The event.
    #[default]
    Event,
    /// That JSON text.
    Constant(String),
    /// What is at that path.
    Path(String),
    Template {
        paths: BTreeMap<String, String>,
        template: String,
    },
}

/// What a template knows beside the event.
pub(super) struct Around<'a> {
    pub(super) rule_arn: &'a str,
    pub(super) rule_name: &'a str,
    /// When the event was accepted.
    pub(super) time: &'a str,
}

impl EventInput {
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            EventInput::Event => Ok(()),
            EventInput::Constant(text) if text.len() > TARGET_INPUT_BYTES_MAX => {
                Err(format!("Input has at most {TARGET_INPUT_BYTES_MAX} bytes"))
            }
            EventInput::Constant(text) => Value::parse(text).map(drop).map_err(|error| {
                format!("JSON syntax error in input for target: {}", error.message)
            }),
            EventInput::Path(path) => steps(path).map(drop),
            EventInput::Template { paths, template } => {
                if paths.len() > TRANSFORM_VARIABLES_MAX {
                    return Err(format!(
                        "InputPathsMap has more than {TRANSFORM_VARIABLES_MAX} variables"
                    ));
                }
                if template.is_empty() || template.len() > TRANSFORM_TEMPLATE_BYTES_MAX {
                    return Err(format!(
                        "InputTemplate has 1 to {TRANSFORM_TEMPLATE_BYTES_MAX} bytes"
                    ));
                }
                if let Some(own) = paths.keys().find(|name| name.starts_with("aws.events.")) {
                    return Err(format!("the variable `{own}` is EventBridge's own"));
                }
                paths.values().try_for_each(|path| steps(path).map(drop))?;
                let around = Around {
                    rule_arn: "",
                    rule_name: "",
                    time: "",
                };
                // What is no JSON with every variable null is none at all.
                self.of(&Value::empty_object(), &around).map(drop)
            }
        }
    }

    /// The JSON text that a target gets.
    ///
    /// # Errors
    /// Says why there is none.
    pub(super) fn of(&self, event: &Value, around: &Around<'_>) -> Result<String, String> {
        match self {
            EventInput::Event => Ok(event.to_json()),
            EventInput::Constant(text) => Ok(text.clone()),
            EventInput::Path(path) => match at(event, path)? {
                Some(value) => Ok(value.to_json()),
                None => Err(format!("the event has nothing at the InputPath {path}")),
            },
            EventInput::Template { paths, template } => {
                let text = filled(template, |name| variable(name, paths, event, around))?;
                match Value::parse(&text) {
                    Ok(_) => Ok(text),
                    Err(error) => Err(format!(
                        "what the InputTemplate comes to is no JSON, which the input of an execution has to be: {}",
                        error.message
                    )),
                }
            }
        }
    }
}

/// The value of a variable; `None` when there is no such variable.
fn variable(
    name: &str,
    paths: &BTreeMap<String, String>,
    event: &Value,
    around: &Around<'_>,
) -> Result<Option<Value>, String> {
    let value = match name {
        "aws.events.rule-arn" => Value::string(around.rule_arn),
        "aws.events.rule-name" => Value::string(around.rule_name),
        "aws.events.event.ingestion-time" => Value::string(around.time),
        "aws.events.event.json" => event.clone(),
        "aws.events.event" => match event.as_object() {
            Some(object) => {
                let rest = object.iter().filter(|(key, _)| &***key != "detail");
                Value::object(rest.map(|(key, value)| (key.clone(), value.clone())))
            }
            None => event.clone(),
        },
        name => match paths.get(name) {
            Some(path) => at(event, path)?.cloned().unwrap_or_default(),
            None => return Ok(None),
        },
    };
    Ok(Some(value))
}

/// A template with its variables put in.
fn filled(
    template: &str,
    variable: impl Fn(&str) -> Result<Option<Value>, String>,
) -> Result<String, String> {
    let mut text = String::with_capacity(template.len());
    let (mut quoted, mut rest) = (false, template);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' if quoted => {
                text.push(c);
                if let Some(next) = rest.chars().next() {
                    text.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
            '"' => {
                quoted = !quoted;
                text.push(c);
            }
            '<' => {
                let named = rest.split_once('>');
                let value = match named {
                    Some((name, _)) => variable(name)?,
                    None => None,
                };
                match (named, value) {
                    (Some((_, after)), Some(value)) => {
                        put(&mut text, &value, quoted);
                        // A template names a large part of the event as often as it likes.
                        if text.len() > TRANSFORMED_BYTES_MAX {
                            return Err(format!(
                                "what the InputTemplate comes to has more than {TRANSFORMED_BYTES_MAX} bytes"
                            ));
                        }
                        rest = after;
                    }
                    (Some((name, _)), None) if is_name(name) => {
                        return Err(format!(
                            "InputTemplate for target contains placeholder <{name}> that has no path"
                        ));
                    }
                    _ => text.push(c),
                }
            }
            other => text.push(other),
        }
    }
    Ok(text)
}

fn put(text: &mut String, value: &Value, quoted: bool) {
    if !quoted {
        return value.write_json(text);
    }
    let plain = match value {
        Value::Null => return,
        Value::String(plain) => plain.to_string(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_json(),
    };
    // As JSON writes it, without its quotes.
    let written = Value::string(plain).to_json();
    text.push_str(
        written
            .trim_start_matches('"')
            .strip_suffix('"')
            .unwrap_or_default(),
    );
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(allowed)
}

/// A step of a path.
enum Step<'a> {
    Member(&'a str),
    Element(usize),
}

/// `$.detail.items[0]['a b']`.
fn steps(path: &str) -> Result<Vec<Step<'_>>, String> {
    if path.len() > TARGET_PATH_BYTES_MAX {
        return Err(format!("a path has at most {TARGET_PATH_BYTES_MAX} bytes"));
    }
    let wrong = || format!("Invalid path {path}: it is one such as $.detail.items[0].name");
    let mut rest = path.strip_prefix('$').ok_or_else(wrong)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(named) = rest.strip_prefix('.') {
            let end = named.find(['.', '[']).unwrap_or(named.len());
            let (name, after) = named.split_at(end);
            if name.is_empty() || name.contains('*') {
                return Err(wrong());
            }
            steps.push(Step::Member(name));
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix('[').ok_or_else(wrong)?;
        let (inner, after) = inner.split_once(']').ok_or_else(wrong)?;
        let quoted = ['\'', '"']
            .iter()
            .find_map(|quote| inner.strip_prefix(*quote)?.strip_suffix(*quote));
        steps.push(match quoted {
            Some(name) => Step::Member(name),
            None => Step::Element(inner.parse().map_err(|_| wrong())?),
        });
        rest = after;
    }
    Ok(steps)
}

fn at<'a>(event: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let mut value = event;
    for step in steps(path)? {
        let next = match step {
            Step::Member(name) => value.get(name),
            Step::Element(index) => value.at(index),
        };
        match next {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"id":"1","source":"shop","detail":{"order":"A-7","sum":12.5,"lines":[{"of":"a \"b\""}],"none":null}}"#;

    fn template(text: &str) -> EventInput {
        let paths = [
            ("order", "$.detail.order"),
            ("sum", "$.detail.sum"),
            ("line", "$.detail.lines[0].of"),
            ("lines", "$.detail['lines']"),
            ("absent", "$.detail.x.y"),
            ("none", "$.detail.none"),
        ];
        EventInput::Template {
            paths: paths
                .map(|(name, path)| (name.to_owned(), path.to_owned()))
                .into(),
            template: text.to_owned(),
        }
    }

    fn of(input: &EventInput) -> Result<String, String> {
        let around = Around {
            rule_arn: "arn:r",
            rule_name: "r",
            time: "2026-01-01T00:00:00Z",
        };
        input.of(&Value::parse(EVENT).unwrap(), &around)
    }

    #[test]
    fn a_template_does_not_grow_without_bound() {
        let event = Value::object([("a", Value::from("y".repeat(100_000)))]);
        let large = EventInput::Template {
            paths: [("a".to_owned(), "$.a".to_owned())].into(),
            template: format!("\"{}\"", "<a>".repeat(1_000)),
        };
        let around = Around {
            rule_arn: "",
            rule_name: "",
            time: "",
        };
        let wrong = large.of(&event, &around).unwrap_err();
        assert!(wrong.contains("has more than"), "{wrong}");
    }

    #[test]
    fn templates_are_filled_in() {
        for (text, wanted) in [
            (r#"{"o":<order>,"s":<sum>}"#, r#"{"o":"A-7","s":12.5}"#),
            (
                r#"{"t":"order <order> of <sum>"}"#,
                r#"{"t":"order A-7 of 12.5"}"#,
            ),
            (r#""<line>!""#, r#""a \"b\"!""#),
            (r#"{"l":<lines>}"#, r#"{"l":[{"of":"a \"b\""}]}"#),
            (
                r#"{"l":"<lines>"}"#,
                r#"{"l":"[{\"of\":\"a \\\"b\\\"\"}]"}"#,
            ),
            (
                r#"{"a":<absent>,"n":<none>,"t":"<absent>."}"#,
                r#"{"a":null,"n":null,"t":"."}"#,
            ),
            (
                r#"{"r":"<aws.events.rule-name>","t":<aws.events.event.ingestion-time>}"#,
                r#"{"r":"r","t":"2026-01-01T00:00:00Z"}"#,
            ),
            (r#"<aws.events.event>"#, r#"{"id":"1","source":"shop"}"#),
            (
                r#"{"q":"\"<order>\"","lt":"1 < 2 > 0"}"#,
                r#"{"q":"\"A-7\"","lt":"1 < 2 > 0"}"#,
            ),
        ] {
            let input = template(text);
            assert_eq!(input.check(), Ok(()), "{text}");
            let found = Value::parse(&of(&input).unwrap()).unwrap();
            assert_eq!(found, Value::parse(wanted).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (input, told) in [
            (template("{\"a\":<unknown>}"), "<unknown>"),
            (template("plain text"), "no JSON"),
            (template("{\"a\":"), "no JSON"),
            (template(""), "InputTemplate"),
            (EventInput::Constant("{".into()), "JSON"),
            (
                EventInput::Constant("1".repeat(TARGET_INPUT_BYTES_MAX + 1)),
                "at most",
            ),
            (
                EventInput::Path(format!("$.{}", "a".repeat(TARGET_PATH_BYTES_MAX))),
                "at most",
            ),
            (EventInput::Path("detail".into()), "Invalid path"),
            (EventInput::Path("$.a[x]".into()), "Invalid path"),
            (EventInput::Path("$.a..b".into()), "Invalid path"),
        ] {
            let wrong = input.check().unwrap_err();
            assert!(wrong.contains(told), "{input:?}: {wrong}");
        }
    }

    #[test]
    fn what_a_template_comes_to_is_bounded() {
        let text = "[<aws.events.event.json>]";
        let event = Value::string("x".repeat(TRANSFORMED_BYTES_MAX));
        let around = Around {
            rule_arn: "",
            rule_name: "",
            time: "",
        };
        let wrong = template(text).of(&event, &around).unwrap_err();
        assert!(wrong.contains("more than"), "{wrong}");
    }

    #[test]
    fn an_event_is_given_whole_or_in_part() {
        assert_eq!(of(&EventInput::Constant("1".into())), Ok("1".into()));
        assert_eq!(
            of(&EventInput::Path("$.detail.order".into())),
            Ok("\"A-7\"".into())
        );
        assert_eq!(of(&EventInput::Path("$".into())), of(&EventInput::Event));
        assert!(of(&EventInput::Path("$.nothing".into())).is_err());
    }
}
