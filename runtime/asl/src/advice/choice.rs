//! Choice states that may match nothing, and rules that cannot choose. Hides which rules leave no case out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stepwell_query::Value;

use super::Advised;
use crate::codes::Code;
use crate::node::Node;
use crate::program::{Choice, Kind, QueryLanguage};

/// Members of a rule that say nothing of when it holds.
const NOT_TESTED: &[&str] = &["Next", "Assign", "Output", "Comment"];

/// Operators of which one holds where the other does not, if the variable is of their type.
const OPPOSITES: &[(&str, &str)] = &[
    ("LessThan", "GreaterThanEquals"),
    ("GreaterThan", "LessThanEquals"),
];

/// Operators whose value says whether they are to hold.
const YES_OR_NO: &[&str] = &[
    "BooleanEquals",
    "IsBoolean",
    "IsNull",
    "IsNumeric",
    "IsPresent",
    "IsString",
    "IsTimestamp",
];

pub(super) fn check(advised: &Advised<'_, '_>) {
    let Kind::Choice(choice) = &advised.state.kind else {
        return;
    };
    let rules: Vec<Node<'_>> = advised
        .node
        .below("Choices")
        .map(|choices| choices.elements())
        .unwrap_or_default();
    let tests: Vec<Value> = rules.iter().map(|rule| test(rule.value)).collect();
    check_constants(choice, advised.state.language, &rules);
    check_repeated(&rules, &tests);
    if choice.default.is_none() && !is_exhaustive(advised.state.language, &tests) {
        let hint = "add \"Default\" with the state that follows then";
        advised.node.fault_with_hint(
            Code::NoDefault,
            "Choice state has no 'Default': where no rule matches, the execution fails with \
             States.Runtime",
            Some(hint.to_owned()),
        );
    }
}

/// What a rule tests, without what follows from it.
fn test(rule: &Value) -> Value {
    let members = rule.as_object().into_iter().flat_map(|rule| rule.iter());
    sorted(
        members
            .filter(|(name, _)| !NOT_TESTED.contains(&&***name))
            .map(|(name, value)| (name.clone(), value.clone())),
    )
}

/// An object of these members in an order of their own, so that two with the same members have the same text.
fn sorted(members: impl Iterator<Item = (Arc<str>, Value)>) -> Value {
    Value::object(members.collect::<BTreeMap<_, _>>())
}

/// Rules whose condition is no question.
fn check_constants(choice: &Choice, language: QueryLanguage, rules: &[Node<'_>]) {
    if language != QueryLanguage::Jsonata {
        return;
    }
    let last = rules.len().saturating_sub(1);
    for (index, rule) in rules.iter().enumerate() {
        let Some(condition) = rule.below("Condition") else {
            continue;
        };
        match constant(condition.value) {
            Some(false) => {
                let hint = "remove the rule, or let its condition read something".to_owned();
                condition.fault_with_hint(
                    Code::ConstantRule,
                    "Condition never holds: the rule is never chosen",
                    Some(hint),
                );
            }
            Some(true) if index < last || choice.default.is_some() => {
                let hint = "put it last and leave out \"Default\"".to_owned();
                condition.fault_with_hint(
                    Code::ConstantRule,
                    "Condition always holds: what follows it is never chosen",
                    Some(hint),
                );
            }
            Some(true) | None => {}
        }
    }
}

/// The value of a condition that reads nothing.
fn constant(condition: &Value) -> Option<bool> {
    match condition {
        Value::Bool(fixed) => Some(*fixed),
        Value::String(text) => match inner(text) {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The expression within a JSONata string.
fn inner(text: &str) -> &str {
    let text = text.strip_prefix("{%").unwrap_or(text);
    text.strip_suffix("%}").unwrap_or(text).trim()
}

fn check_repeated(rules: &[Node<'_>], tests: &[Value]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, (rule, test)) in rules.iter().zip(tests).enumerate() {
        if let Some(first) = seen.get(&test.to_json()) {
            rule.fault_with_hint(
                Code::ConstantRule,
                format!("Rule tests what Choices[{first}] tests: it is never chosen"),
                Some("remove one of them, or let it test something else".to_owned()),
            );
        } else {
            seen.insert(test.to_json(), index);
        }
    }
}

/// Whether the rules can be seen to leave no case out: one holds always, or one holds where another does not.
fn is_exhaustive(language: QueryLanguage, tests: &[Value]) -> bool {
    let conditions = || tests.iter().filter_map(|test| test.get("Condition"));
    match language {
        QueryLanguage::Jsonata => {
            let texts: BTreeSet<&str> = conditions().filter_map(Value::as_str).map(inner).collect();
            let negated = |text: &&str| texts.contains(&*format!("$not({text})"));
            conditions().any(|condition| constant(condition) == Some(true))
                || texts.iter().any(negated)
        }
        QueryLanguage::JsonPath => {
            let known: BTreeSet<String> = tests.iter().map(Value::to_json).collect();
            let mut opposites = tests.iter().flat_map(opposites);
            opposites.any(|test| known.contains(&test.to_json()))
        }
    }
}

/// Tests that hold where this one does not.
fn opposites(test: &Value) -> Vec<Value> {
    let mut opposites = vec![Value::object([("Not", test.clone())])];
    let Some(members) = test.as_object() else {
        return opposites;
    };
    for (name, value) in members.iter() {
        let changed = match (YES_OR_NO.contains(&&**name), value.as_bool()) {
            (true, Some(yes)) => Some((name.clone(), Value::from(!yes))),
            _ => opposite_operator(name).map(|opposite| (opposite.into(), value.clone())),
        };
        let others = members.iter().filter(|(member, _)| *member != name);
        let others = others.map(|(member, value)| (member.clone(), value.clone()));
        opposites.extend(changed.map(|changed| sorted(others.chain([changed]))));
    }
    opposites
}

/// `NumericGreaterThanEquals` of `NumericLessThan`, and the like.
fn opposite_operator(name: &str) -> Option<String> {
    let (stem, path) = match name.strip_suffix("Path") {
        Some(stem) => (stem, "Path"),
        None => (name, ""),
    };
    OPPOSITES.iter().find_map(|(one, other)| {
        stem.strip_suffix(one)
            .map(|kind| format!("{kind}{other}{path}"))
    })
}
