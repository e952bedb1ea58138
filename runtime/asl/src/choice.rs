//! The Choice state. Hides the 39 comparison operators and the form of rules in both languages.

use std::sync::Arc;

use crate::codes::Code;
use crate::expr::Slot;
use crate::hint::nearest;
use crate::limits::TEST_DEPTH_MAX;
use crate::node::{Fields, Node};
use crate::program::{
    Choice, Comparison, Condition, JsonataRule, Operand, Operator, Order, PathRule, QueryLanguage,
    Rules, Test, Wildcard,
};
use crate::reading::{Reading, Row};
use crate::simple::timestamp;

pub(crate) fn choice(state: &Reading) -> Option<Choice> {
    let io = state.io(&Row::CHOICE);
    let default = state.fields.get("Default").map(|node| state.target(&node));
    let choices = state.fields.required("Choices");
    if choices.is_none() {
        state.siblings.graph.borrow_mut().broken = true;
    }
    let rules = choices
        .and_then(|node| node.some_items())
        .and_then(|nodes| {
            Some(match state.language {
                QueryLanguage::JsonPath => Rules::Path(each(state, &nodes, path_rule)?),
                QueryLanguage::Jsonata => Rules::Jsonata(each(state, &nodes, jsonata_rule)?),
            })
        });
    Some(Choice {
        io,
        rules: rules?,
        default: default.flatten(),
    })
}

/// All rules, or none when one of them cannot be read.
fn each<'d, T>(
    state: &Reading<'_, 'd>,
    nodes: &[Node<'d>],
    read: fn(&Reading<'_, 'd>) -> Option<T>,
) -> Option<Vec<T>> {
    let rules: Vec<Option<T>> = nodes
        .iter()
        .map(|node| {
            let fields = node.fields()?;
            fields.get("Comment");
            let rule = read(&state.within(&fields));
            fields.finish(state.language);
            rule
        })
        .collect();
    rules.into_iter().collect()
}

fn jsonata_rule(rule: &Reading) -> Option<JsonataRule> {
    let condition = rule
        .fields
        .required("Condition")
        .and_then(|node| match node.is_jsonata() {
            true => node.expression(Slot::State).map(Condition::Jsonata),
            false => fixed_condition(&node).map(Condition::Fixed),
        });
    let assign = rule.assign_jsonata(Slot::State);
    let output = rule
        .fields
        .get("Output")
        .and_then(|node| node.jsonata_template(Slot::State));
    let next = rule.next();
    Some(JsonataRule {
        condition: condition?,
        assign,
        output,
        next: next?,
    })
}

/// A condition that is no expression. A text is taken for one that was forgotten to be marked.
fn fixed_condition(node: &Node) -> Option<bool> {
    let text = node.value.as_str().filter(|_| !node.is_unfinished());
    let Some(text) = text else {
        return node.boolean();
    };
    let hint = format!(
        "an expression is marked as one: \"{{% {} %}}\"",
        text.trim()
    );
    node.fault_with_hint(
        Code::WrongType,
        "Expected value of type Boolean",
        Some(hint),
    );
    None
}

fn path_rule(rule: &Reading) -> Option<PathRule> {
    let assign = rule.assign_path();
    let next = rule.next();
    let test = test(rule.fields, 0);
    Some(PathRule {
        test: test?,
        assign,
        next: next?,
    })
}

/// A rule's test: And, Or, Not, or a comparison.
fn test(fields: &Fields, depth: usize) -> Option<Test> {
    let combined = ["And", "Or", "Not", "Variable"];
    match *fields.exactly_one(&combined).first()? {
        "And" => nested_all(&fields.get("And")?, depth).map(Test::And),
        "Or" => nested_all(&fields.get("Or")?, depth).map(Test::Or),
        "Not" => nested(&fields.get("Not")?, depth).map(|test| Test::Not(Box::new(test))),
        _ => comparison(fields).map(Test::Compare),
    }
}

fn nested_all(node: &Node, depth: usize) -> Option<Vec<Test>> {
    let tests: Vec<Option<Test>> = node
        .some_items()?
        .iter()
        .map(|item| nested(item, depth))
        .collect();
    tests.into_iter().collect()
}

fn nested(node: &Node, depth: usize) -> Option<Test> {
    if depth >= TEST_DEPTH_MAX {
        let message = format!("Choice rules are nested more than {TEST_DEPTH_MAX} levels");
        node.fault(Code::TooDeep, message);
        return None;
    }
    let fields = node.fields()?;
    fields.get("Comment");
    let test = test(&fields, depth + 1);
    fields.finish(QueryLanguage::JsonPath);
    test
}

/// `Variable` with exactly one operator.
fn comparison(fields: &Fields) -> Option<Comparison> {
    let variable = fields.get("Variable").and_then(|node| node.path());
    let mut operators = OPERATORS.iter().filter(|(name, _)| fields.has(name));
    let Some((name, read)) = operators.next() else {
        let unknown = fields
            .all()
            .map(|(name, _)| &**name)
            .find(|name| !NOT_OPERATORS.contains(name));
        let hint = unknown.and_then(|name| nearest(name, OPERATORS.iter().map(|(name, _)| *name)));
        let message = "A Choice rule requires exactly one comparison operator";
        fields.node.fault_with_hint(Code::Missing, message, hint);
        return None;
    };
    let others: Vec<&'static str> = operators.map(|(name, _)| *name).collect();
    if !others.is_empty() {
        others.iter().for_each(|name| drop(fields.get(name)));
        let message = format!(
            "Only one of these fields is allowed: [{name}, {}]",
            others.join(", ")
        );
        fields.node.fault(Code::Exclusive, message);
    }
    let operator = fields.get(name).and_then(|node| read(&node));
    Some(Comparison {
        variable: variable?,
        operator: operator?,
    })
}

const NOT_OPERATORS: &[&str] = &["Variable", "Next", "Comment", "Assign"];

type Read = fn(&Node) -> Option<Operator>;

/// The comparison operators by name.
const OPERATORS: &[(&str, Read)] = &[
    ("StringEquals", |n| string(n, Order::Equals)),
    ("StringLessThan", |n| string(n, Order::LessThan)),
    ("StringGreaterThan", |n| string(n, Order::GreaterThan)),
    ("StringLessThanEquals", |n| string(n, Order::LessThanEquals)),
    ("StringGreaterThanEquals", |n| {
        string(n, Order::GreaterThanEquals)
    }),
    ("StringEqualsPath", |n| {
        Some(Operator::String(Order::Equals, path(n)?))
    }),
    ("StringLessThanPath", |n| {
        Some(Operator::String(Order::LessThan, path(n)?))
    }),
    ("StringGreaterThanPath", |n| {
        Some(Operator::String(Order::GreaterThan, path(n)?))
    }),
    ("StringLessThanEqualsPath", |n| {
        Some(Operator::String(Order::LessThanEquals, path(n)?))
    }),
    ("StringGreaterThanEqualsPath", |n| {
        Some(Operator::String(Order::GreaterThanEquals, path(n)?))
    }),
    ("NumericEquals", |n| numeric(n, Order::Equals)),
    ("NumericLessThan", |n| numeric(n, Order::LessThan)),
    ("NumericGreaterThan", |n| numeric(n, Order::GreaterThan)),
    ("NumericLessThanEquals", |n| {
        numeric(n, Order::LessThanEquals)
    }),
    ("NumericGreaterThanEquals", |n| {
        numeric(n, Order::GreaterThanEquals)
    }),
    ("NumericEqualsPath", |n| {
        Some(Operator::Numeric(Order::Equals, path(n)?))
    }),
    ("NumericLessThanPath", |n| {
        Some(Operator::Numeric(Order::LessThan, path(n)?))
    }),
    ("NumericGreaterThanPath", |n| {
        Some(Operator::Numeric(Order::GreaterThan, path(n)?))
    }),
    ("NumericLessThanEqualsPath", |n| {
        Some(Operator::Numeric(Order::LessThanEquals, path(n)?))
    }),
    ("NumericGreaterThanEqualsPath", |n| {
        Some(Operator::Numeric(Order::GreaterThanEquals, path(n)?))
    }),
    ("TimestampEquals", |n| instant(n, Order::Equals)),
    ("TimestampLessThan", |n| instant(n, Order::LessThan)),
    ("TimestampGreaterThan", |n| instant(n, Order::GreaterThan)),
    ("TimestampLessThanEquals", |n| {
        instant(n, Order::LessThanEquals)
    }),
    ("TimestampGreaterThanEquals", |n| {
        instant(n, Order::GreaterThanEquals)
    }),
    ("TimestampEqualsPath", |n| {
        Some(Operator::Timestamp(Order::Equals, path(n)?))
    }),
    ("TimestampLessThanPath", |n| {
        Some(Operator::Timestamp(Order::LessThan, path(n)?))
    }),
    ("TimestampGreaterThanPath", |n| {
        Some(Operator::Timestamp(Order::GreaterThan, path(n)?))
    }),
    ("TimestampLessThanEqualsPath", |n| {
        Some(Operator::Timestamp(Order::LessThanEquals, path(n)?))
    }),
    ("TimestampGreaterThanEqualsPath", |n| {
        Some(Operator::Timestamp(Order::GreaterThanEquals, path(n)?))
    }),
    ("BooleanEquals", |n| {
        Some(Operator::BooleanEquals(Operand::Fixed(n.boolean()?)))
    }),
    ("BooleanEqualsPath", |n| {
        Some(Operator::BooleanEquals(path(n)?))
    }),
    ("StringMatches", wildcard),
    ("IsNull", |n| n.boolean().map(Operator::IsNull)),
    ("IsPresent", |n| n.boolean().map(Operator::IsPresent)),
    ("IsNumeric", |n| n.boolean().map(Operator::IsNumeric)),
    ("IsString", |n| n.boolean().map(Operator::IsString)),
    ("IsBoolean", |n| n.boolean().map(Operator::IsBoolean)),
    ("IsTimestamp", |n| n.boolean().map(Operator::IsTimestamp)),
];

fn string(node: &Node, order: Order) -> Option<Operator> {
    let text = node.text()?;
    node.warn_of_path();
    Some(Operator::String(order, Operand::Fixed(Arc::from(text))))
}

fn numeric(node: &Node, order: Order) -> Option<Operator> {
    let number = node.value.as_number();
    if number.is_none() {
        node.number(f64::MIN..=f64::MAX)?;
    }
    Some(Operator::Numeric(order, Operand::Fixed(number?.clone())))
}

fn instant(node: &Node, order: Order) -> Option<Operator> {
    Some(Operator::Timestamp(order, Operand::Fixed(timestamp(node)?)))
}

fn wildcard(node: &Node) -> Option<Operator> {
    let (wildcard, stray) = Wildcard::parse(node.text()?);
    if stray {
        node.fault(
            Code::BadWildcard,
            "In a pattern a backslash must stand before '*' or another backslash",
        );
    }
    Some(Operator::StringMatches(wildcard))
}

fn path<T>(node: &Node) -> Option<Operand<T>> {
    node.path().map(Operand::Path)
}
