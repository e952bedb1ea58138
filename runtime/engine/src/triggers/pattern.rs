//! Event patterns: what of an event has to be how. Pure. Hides the operators, and what a comparison costs.
//!
//! Source: EventBridge, user guide, "Event patterns" and "Comparison operators". A value of the event that is an array matches
//! when one of its elements does; elements that are objects match as wholes. Ours is the bound on depth.

mod operators;
mod text;

use std::cell::Cell;

use stepwell_query::{Object, Value};

use super::TriggerError;
use crate::limits::{COMPARED_BYTES, EVENT_COMPARISONS_MAX, PATTERN_BYTES_MAX, PATTERN_DEPTH_MAX};
use operators::Test;

const OR: &str = "$or";
/// Why an event is refused whose budget is spent.
pub(super) const TOO_COSTLY: &str = "the event takes too many comparisons with the pattern; send one with shorter arrays, or ask for fewer values";

/// Comparisons that one event may cost, over all the patterns that it is compared with: a pattern of thousands of values and an
/// event of as many elements would keep a thread for minutes. Once it is spent the comparison is cut short, and its result says
/// nothing.
pub(super) struct Budget(Cell<u64>);

impl Default for Budget {
    fn default() -> Budget {
        Budget(Cell::new(EVENT_COMPARISONS_MAX))
    }
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    /// Takes of it what one comparison costs; false once it is spent.
    fn take(&self, bytes: usize) -> bool {
        let cost = u64::try_from(bytes / COMPARED_BYTES).unwrap_or(u64::MAX);
        let left = self.0.get().saturating_sub(cost.saturating_add(1));
        self.0.set(left);
        left > 0
    }
}

/// A pattern that was checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(Node);

/// What an object has to be like: all of its members, and of each `$or` one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    members: Vec<(String, Member)>,
    any_of: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
enum Member {
    Node(Node),
    /// One of them.
    Leaf(Vec<Test>),
}

impl Pattern {
    /// # Errors
    /// Says what is wrong with it, and where.
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let invalid = |why: String| format!("Event pattern is not valid. Reason: {why}");
        if text.len() > PATTERN_BYTES_MAX {
            return Err(invalid(format!(
                "it has more than {PATTERN_BYTES_MAX} bytes"
            )));
        }
        let value = Value::parse(text).map_err(|error| invalid(error.message.to_string()))?;
        let Value::Object(object) = &value else {
            return Err(invalid("it is not an object".to_owned()));
        };
        let node = Node::read(object, "$", 0).map_err(invalid)?;
        if node == Node::default() {
            return Err(invalid("it is empty".to_owned()));
        }
        Ok(Pattern(node))
    }

    /// Not to be believed when the budget is spent afterwards.
    pub(super) fn matches(&self, event: &Value, budget: &Budget) -> bool {
        self.0.matches(Some(event), budget)
    }
}

/// Whether an event matches a pattern, both JSON texts.
///
/// # Errors
/// Says which of them is none, or that the two take too long.
pub fn event_matches(pattern: &str, event: &str) -> Result<bool, TriggerError> {
    let pattern = Pattern::parse(pattern).map_err(TriggerError::Invalid)?;
    let event = Value::parse(event).map_err(|error| {
        TriggerError::Invalid(format!(
            "Parameter Event is not valid. Reason: {}",
            error.message
        ))
    })?;
    let budget = Budget::default();
    let matched = pattern.matches(&event, &budget);
    if budget.is_spent() {
        return Err(TriggerError::Invalid(TOO_COSTLY.to_owned()));
    }
    Ok(matched)
}

impl Node {
    fn read(object: &Object, at: &str, depth: usize) -> Result<Node, String> {
        if depth > PATTERN_DEPTH_MAX {
            return Err(format!("{at} is deeper than {PATTERN_DEPTH_MAX}"));
        }
        let mut node = Node::default();
        for (key, value) in object.iter() {
            let at = format!("{at}.{key}");
            let member = match value {
                Value::Object(object) if object.is_empty() => {
                    return Err(format!("{at} is an empty object"));
                }
                Value::Object(object) => Member::Node(Node::read(object, &at, depth + 1)?),
                Value::Array(tests) if tests.is_empty() => {
                    return Err(format!("{at} is an empty array"));
                }
                Value::Array(nodes) if &**key == OR => {
                    for (index, one) in nodes.iter().enumerate() {
                        let at = format!("{at}[{index}]");
                        let Value::Object(object) = one else {
                            return Err(format!("{at} is not an object"));
                        };
                        node.any_of.push(Node::read(object, &at, depth + 1)?);
                    }
                    continue;
                }
                Value::Array(tests) => {
                    let tests = tests.iter().map(|test| Test::read(test, &at));
                    Member::Leaf(tests.collect::<Result<_, _>>()?)
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(format!("{at} must be an object or an array"));
                }
            };
            node.members.push((key.to_string(), member));
        }
        Ok(node)
    }

    /// Whether a value, or the absence of one, is like it.
    fn matches(&self, value: Option<&Value>, budget: &Budget) -> bool {
        if !budget.take(0) {
            return false;
        }
        if let Some(Value::Array(elements)) = value {
            return elements
                .iter()
                .any(|element| self.matches(Some(element), budget));
        }
        let member = |key: &str| value.and_then(|value| value.get(key));
        let all = self.members.iter().all(|(key, wanted)| match wanted {
            Member::Node(node) => node.matches(member(key), budget),
            Member::Leaf(tests) => tests.iter().any(|test| test.matches(member(key), budget)),
        });
        let mut any_of = self.any_of.iter();
        all && (self.any_of.is_empty() || any_of.any(|node| node.matches(value, budget)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pattern, event, whether they match.
    const CASES: &[(&str, &str, bool)] = &[
        (r#"{"source":["a"]}"#, r#"{"source":"a"}"#, true),
        (r#"{"source":["a"]}"#, r#"{"source":"A"}"#, false),
        (r#"{"source":["a"]}"#, r#"{}"#, false),
        (r#"{"source":["a","b"]}"#, r#"{"source":"b"}"#, true),
        (
            r#"{"source":["a"],"type":["t"]}"#,
            r#"{"source":"a","type":"u"}"#,
            false,
        ),
        (r#"{"source":["a"]}"#, r#"{"source":["x","a"]}"#, true),
        (r#"{"detail":{"n":[1]}}"#, r#"{"detail":{"n":1}}"#, true),
        (r#"{"detail":{"n":[1]}}"#, r#"{"detail":{"n":1.0}}"#, false),
        (r#"{"detail":{"n":[1]}}"#, r#"{"detail":{"n":"1"}}"#, false),
        (
            r#"{"detail":{"n":[null]}}"#,
            r#"{"detail":{"n":null}}"#,
            true,
        ),
        (r#"{"detail":{"n":[null]}}"#, r#"{"detail":{}}"#, false),
        (r#"{"detail":{"n":[""]}}"#, r#"{"detail":{"n":""}}"#, true),
        (
            r#"{"detail":{"n":[true]}}"#,
            r#"{"detail":{"n":true}}"#,
            true,
        ),
        (r#"{"detail":{"n":[1]}}"#, r#"{"detail":"n"}"#, false),
        (r#"{"s":[{"prefix":"ab"}]}"#, r#"{"s":"abc"}"#, true),
        (r#"{"s":[{"prefix":"ab"}]}"#, r#"{"s":"xab"}"#, false),
        (
            r#"{"s":[{"prefix":{"equals-ignore-case":"AB"}}]}"#,
            r#"{"s":"aBc"}"#,
            true,
        ),
        (r#"{"s":[{"suffix":".png"}]}"#, r#"{"s":"a.png"}"#, true),
        (
            r#"{"s":[{"suffix":{"equals-ignore-case":".png"}}]}"#,
            r#"{"s":"a.PNG"}"#,
            true,
        ),
        (
            r#"{"s":[{"equals-ignore-case":"Alice"}]}"#,
            r#"{"s":"aLICE"}"#,
            true,
        ),
        (r#"{"s":[{"anything-but":"a"}]}"#, r#"{"s":"b"}"#, true),
        (r#"{"s":[{"anything-but":"a"}]}"#, r#"{"s":"a"}"#, false),
        (r#"{"s":[{"anything-but":"a"}]}"#, r#"{}"#, false),
        (r#"{"s":[{"anything-but":["a",1]}]}"#, r#"{"s":1}"#, false),
        (r#"{"s":[{"anything-but":["a",1]}]}"#, r#"{"s":2}"#, true),
        (
            r#"{"s":[{"anything-but":{"prefix":"us-"}}]}"#,
            r#"{"s":"eu-1"}"#,
            true,
        ),
        (
            r#"{"s":[{"anything-but":{"prefix":"us-"}}]}"#,
            r#"{"s":"us-1"}"#,
            false,
        ),
        (
            r#"{"s":[{"anything-but":{"suffix":[".png",".jpg"]}}]}"#,
            r#"{"s":"a.jpg"}"#,
            false,
        ),
        (
            r#"{"s":[{"anything-but":{"wildcard":"*/lib/*"}}]}"#,
            r#"{"s":"/usr/lib/x"}"#,
            false,
        ),
        (
            r#"{"s":[{"anything-but":"a"}]}"#,
            r#"{"s":["a","b"]}"#,
            true,
        ),
        (r#"{"s":[{"anything-but":"a"}]}"#, r#"{"s":["a"]}"#, false),
        (r#"{"n":[{"numeric":[">",0,"<=",5]}]}"#, r#"{"n":5}"#, true),
        (r#"{"n":[{"numeric":[">",0,"<=",5]}]}"#, r#"{"n":0}"#, false),
        (r#"{"n":[{"numeric":["=",3.0]}]}"#, r#"{"n":3}"#, true),
        (r#"{"n":[{"numeric":["<",3]}]}"#, r#"{"n":"2"}"#, false),
        (r#"{"n":[{"exists":true}]}"#, r#"{"n":null}"#, true),
        (r#"{"n":[{"exists":true}]}"#, r#"{"n":{"m":1}}"#, false),
        (r#"{"n":[{"exists":false}]}"#, r#"{}"#, true),
        (r#"{"n":[{"exists":false}]}"#, r#"{"n":1}"#, false),
        (r#"{"d":{"n":[{"exists":false}]}}"#, r#"{}"#, true),
        (r#"{"s":[{"wildcard":"a*c"}]}"#, r#"{"s":"abbc"}"#, true),
        (r#"{"s":[{"wildcard":"a*c"}]}"#, r#"{"s":"ac"}"#, true),
        (r#"{"s":[{"wildcard":"a*c"}]}"#, r#"{"s":"acb"}"#, false),
        (r#"{"s":[{"wildcard":"a*bc*bc"}]}"#, r#"{"s":"abc"}"#, false),
        (
            r#"{"s":[{"wildcard":"*bc*bc"}]}"#,
            r#"{"s":"bcbcbc"}"#,
            true,
        ),
        (r#"{"s":[{"wildcard":"a\\*c"}]}"#, r#"{"s":"a*c"}"#, true),
        (r#"{"s":[{"wildcard":"a\\*c"}]}"#, r#"{"s":"abc"}"#, false),
        (
            r#"{"ip":[{"cidr":"10.0.0.0/24"}]}"#,
            r#"{"ip":"10.0.0.77"}"#,
            true,
        ),
        (
            r#"{"ip":[{"cidr":"10.0.0.0/24"}]}"#,
            r#"{"ip":"10.0.1.1"}"#,
            false,
        ),
        (
            r#"{"ip":[{"cidr":"0.0.0.0/0"}]}"#,
            r#"{"ip":"9.9.9.9"}"#,
            true,
        ),
        (
            r#"{"ip":[{"cidr":"2001:db8::/32"}]}"#,
            r#"{"ip":"2001:db8:1::1"}"#,
            true,
        ),
        (
            r#"{"ip":[{"cidr":"2001:db8::/32"}]}"#,
            r#"{"ip":"10.0.0.1"}"#,
            false,
        ),
        (r#"{"$or":[{"a":[1]},{"b":[2]}]}"#, r#"{"b":2}"#, true),
        (r#"{"$or":[{"a":[1]},{"b":[2]}]}"#, r#"{"b":3}"#, false),
        (
            r#"{"c":[3],"$or":[{"a":[1]},{"b":[2]}]}"#,
            r#"{"a":1}"#,
            false,
        ),
        (
            r#"{"d":{"$or":[{"a":[1]},{"b":[{"prefix":"x"}]}]}}"#,
            r#"{"d":{"b":"xy"}}"#,
            true,
        ),
        // One element has both, or none does.
        (
            r#"{"e":{"a":[1],"b":[2]}}"#,
            r#"{"e":[{"a":1,"b":2},{"a":3}]}"#,
            true,
        ),
        (
            r#"{"e":{"a":[1],"b":[2]}}"#,
            r#"{"e":[{"a":1},{"b":2}]}"#,
            false,
        ),
    ];

    #[test]
    fn events_match_as_the_guide_says() {
        for (pattern, event, wanted) in CASES {
            let parsed = Pattern::parse(pattern).unwrap();
            let budget = Budget::default();
            let matched = parsed.matches(&Value::parse(event).unwrap(), &budget);
            assert!(!budget.is_spent());
            assert_eq!(matched, *wanted, "{pattern} {event}");
        }
    }

    #[test]
    fn what_takes_too_many_comparisons_is_refused() {
        let values = |value: &str, count: usize| vec![value; count].join(",");
        let event = format!(r#"{{"a":[{}]}}"#, values("2", 100_000));
        for test in ["1", r#"{"anything-but":[3,4,5]}"#] {
            let few = format!(r#"{{"a":[{test}]}}"#);
            assert!(event_matches(&few, &event).is_ok(), "{few}");
        }
        let many = format!(r#"{{"a":[{}]}}"#, values("1", 1_000));
        let wrong = event_matches(&many, &event).unwrap_err();
        assert!(wrong.to_string().contains("too many comparisons"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_place() {
        let deep = format!("{}[1]{}", r#"{"a":"#.repeat(40), "}".repeat(40));
        for (pattern, told) in [
            ("", "not valid"),
            ("[]", "not an object"),
            ("{}", "empty"),
            (r#"{"a":1}"#, "$.a must be"),
            (r#"{"a":{}}"#, "$.a is an empty object"),
            (r#"{"a":[]}"#, "$.a is an empty array"),
            (r#"{"a":[[1]]}"#, "array in its array"),
            (
                r#"{"a":{"b":[{"prefix":1}]}}"#,
                "$.a.b: prefix takes a text",
            ),
            (r#"{"a":[{"like":"x"}]}"#, "Unrecognized match type like"),
            (r#"{"a":[{"prefix":"a","suffix":"b"}]}"#, "one member"),
            (r#"{"a":[{"numeric":[">"]}]}"#, "numeric"),
            (r#"{"a":[{"numeric":["~",1]}]}"#, "numeric"),
            (r#"{"a":[{"exists":"yes"}]}"#, "exists"),
            (r#"{"a":[{"cidr":"10.0.0.0/33"}]}"#, "cidr"),
            (r#"{"a":[{"wildcard":"a**b"}]}"#, "two stars"),
            (r#"{"a":[{"wildcard":"a\\b"}]}"#, "behind"),
            (r#"{"a":[{"anything-but":[]}]}"#, "empty array"),
            (r#"{"a":[{"anything-but":[null]}]}"#, "texts and numbers"),
            (r#"{"$or":[1]}"#, "$.$or[0] is not an object"),
            (&deep, "deeper"),
        ] {
            let wrong = Pattern::parse(pattern).unwrap_err();
            assert!(wrong.contains(told), "{pattern}: {wrong}");
        }
    }
}
