//! A Choice rule as a short text for the line that leaves the state. Hides the 39 comparison operators.

use stepwell_asl::{Comparison, Condition, Operand, Operator, Order, Test};

/// `$.total > 100 and not $.vip = true`.
pub(super) fn of_test(test: &Test) -> String {
    match test {
        Test::And(tests) => joined(tests, " and "),
        Test::Or(tests) => joined(tests, " or "),
        Test::Not(test) => format!("not {}", nested(test)),
        Test::Compare(comparison) => of_comparison(comparison),
    }
}

/// The expression between `{%` and `%}`, or the fixed boolean.
pub(super) fn of_condition(condition: &Condition) -> String {
    match condition {
        Condition::Fixed(value) => value.to_string(),
        Condition::Jsonata(expression) => expression.text().trim().to_owned(),
    }
}

fn joined(tests: &[Test], word: &str) -> String {
    tests.iter().map(nested).collect::<Vec<_>>().join(word)
}

fn nested(test: &Test) -> String {
    match test {
        Test::And(tests) | Test::Or(tests) if tests.len() > 1 => format!("({})", of_test(test)),
        Test::And(_) | Test::Or(_) | Test::Not(_) | Test::Compare(_) => of_test(test),
    }
}

fn of_comparison(comparison: &Comparison) -> String {
    let variable = comparison.variable.text();
    match &comparison.operator {
        Operator::String(order, operand) => {
            format!(
                "{variable} {} {}",
                sign(*order),
                operand_text(operand, |text| format!("\"{text}\""))
            )
        }
        Operator::Numeric(order, operand) => {
            format!(
                "{variable} {} {}",
                sign(*order),
                operand_text(operand, ToString::to_string)
            )
        }
        Operator::Timestamp(order, operand) => {
            format!(
                "{variable} {} {}",
                sign(*order),
                operand_text(operand, ToString::to_string)
            )
        }
        Operator::BooleanEquals(operand) => format!(
            "{variable} = {}",
            operand_text(operand, ToString::to_string)
        ),
        Operator::StringMatches(pattern) => format!("{variable} matches \"{pattern}\""),
        Operator::IsNull(yes) => is(variable, *yes, "null"),
        Operator::IsPresent(yes) => is(variable, *yes, "present"),
        Operator::IsNumeric(yes) => is(variable, *yes, "a number"),
        Operator::IsString(yes) => is(variable, *yes, "a string"),
        Operator::IsBoolean(yes) => is(variable, *yes, "a boolean"),
        Operator::IsTimestamp(yes) => is(variable, *yes, "a timestamp"),
    }
}

fn is(variable: &str, yes: bool, what: &str) -> String {
    format!("{variable} is {}{what}", if yes { "" } else { "not " })
}

fn operand_text<T>(operand: &Operand<T>, fixed: impl Fn(&T) -> String) -> String {
    match operand {
        Operand::Fixed(value) => fixed(value),
        Operand::Path(path) => path.text().to_string(),
    }
}

fn sign(order: Order) -> &'static str {
    match order {
        Order::Equals => "=",
        Order::LessThan => "<",
        Order::GreaterThan => ">",
        Order::LessThanEquals => "≤",
        Order::GreaterThanEquals => "≥",
    }
}
