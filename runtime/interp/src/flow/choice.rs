//! Choice: the rules, in order, the first that holds.

use std::cmp::Ordering;

use stepwell_asl::{
    Choice, Comparison, Condition, Io, JsonataRule, Operand, Operator, Order, PathRule, Rules,
    StateId, Test, parse_timestamp,
};
use stepwell_query::{Path, Random, Value};

use crate::{
    data::{self, Made, Yield},
    fault::{Fault, Outcome},
    given,
    limits::Limits,
    run::FrameId,
    scope::Moment,
    step::Turn,
};

impl Turn<'_> {
    pub(super) fn choose(&mut self, id: FrameId, choice: &Choice) {
        let chosen = self.evaluate(id, |moment, random, limits| {
            choose(choice, moment, random, limits)
        });
        match chosen {
            Some(Ok((done, next))) => self.exit(id, done, Some(next)),
            Some(Err(fault)) => self.fail(id, fault),
            None => {}
        }
    }
}

fn choose(
    choice: &Choice,
    moment: &Moment,
    random: &mut Random,
    limits: &Limits,
) -> Outcome<(Yield, StateId)> {
    match (&choice.io, &choice.rules) {
        (Io::Path(io), Rules::Path(rules)) => {
            let input = data::effective_input(&choice.io, moment)?;
            if let Some(rule) = path_rule(rules, &input, moment)? {
                let done =
                    data::conclude_path_rule(io, rule.assign.as_ref(), moment, random, limits)?;
                return Ok((done, rule.next));
            }
        }
        (Io::Jsonata(io), Rules::Jsonata(rules)) => {
            if let Some((index, rule)) = jsonata_rule(rules, moment, random)? {
                let place = format!("Choices[{index}]");
                let done = data::conclude_jsonata_rule(io, rule, &place, moment, random, limits)?;
                return Ok((done, rule.next));
            }
        }
        // A state's fields agree in their language, so these do not occur.
        (Io::Path(_), Rules::Jsonata(_)) | (Io::Jsonata(_), Rules::Path(_)) => {}
    }
    let Some(default) = choice.default else {
        let text =
            "Failed to transition out of the state. The state does not point to a next state.";
        return Err(Fault::Runtime(text.to_owned()));
    };
    let done = data::conclude(&choice.io, &Made::Nothing, moment, random, limits)?;
    Ok((done, default))
}

fn jsonata_rule<'a>(
    rules: &'a [JsonataRule],
    moment: &Moment,
    random: &mut Random,
) -> Outcome<Option<(usize, &'a JsonataRule)>> {
    for (index, rule) in rules.iter().enumerate() {
        let holds = match &rule.condition {
            Condition::Fixed(holds) => *holds,
            Condition::Jsonata(expression) => {
                let field = format!("Choices[{index}]/Condition");
                match given::evaluate(&field, expression, moment, random)? {
                    Value::Bool(holds) => holds,
                    other => {
                        return Err(Fault::unexpected(
                            expression.text(),
                            &field,
                            "boolean",
                            other,
                        ));
                    }
                }
            }
        };
        if holds {
            return Ok(Some((index, rule)));
        }
    }
    Ok(None)
}

fn path_rule<'a>(
    rules: &'a [PathRule],
    input: &Value,
    moment: &Moment,
) -> Outcome<Option<&'a PathRule>> {
    for rule in rules {
        if holds(&rule.test, input, moment)? {
            return Ok(Some(rule));
        }
    }
    Ok(None)
}

fn holds(test: &Test, input: &Value, moment: &Moment) -> Outcome<bool> {
    match test {
        Test::And(tests) => {
            for test in tests {
                if !holds(test, input, moment)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Test::Or(tests) => {
            for test in tests {
                if holds(test, input, moment)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Test::Not(test) => Ok(!holds(test, input, moment)?),
        Test::Compare(comparison) => compare(comparison, input, moment),
    }
}

fn compare(comparison: &Comparison, input: &Value, moment: &Moment) -> Outcome<bool> {
    let variable = comparison.variable.evaluate(&moment.sources(input));
    if let Operator::IsPresent(expected) = &comparison.operator {
        return Ok(variable.is_ok() == *expected);
    }
    let variable = variable.map_err(|_| missing(&comparison.variable))?;
    match &comparison.operator {
        Operator::IsPresent(_) => Ok(true),
        Operator::IsNull(expected) => Ok(variable.is_null() == *expected),
        Operator::IsNumeric(expected) => Ok(variable.as_number().is_some() == *expected),
        Operator::IsString(expected) => Ok(variable.as_str().is_some() == *expected),
        Operator::IsBoolean(expected) => Ok(variable.as_bool().is_some() == *expected),
        Operator::IsTimestamp(expected) => Ok(timestamp(&variable).is_some() == *expected),
        Operator::StringMatches(pattern) => {
            Ok(variable.as_str().is_some_and(|text| pattern.matches(text)))
        }
        Operator::BooleanEquals(operand) => {
            let operand = operand_of(operand, |fixed| Value::from(*fixed), input, moment)?;
            Ok(variable.as_bool().is_some() && variable.as_bool() == operand.as_bool())
        }
        Operator::String(order, operand) => {
            let operand = operand_of(operand, |fixed| Value::String(fixed.clone()), input, moment)?;
            Ok(ordered(
                *order,
                variable.as_str(),
                operand.as_str(),
                |left, right| left.cmp(right),
            ))
        }
        Operator::Numeric(order, operand) => {
            let operand = operand_of(operand, |fixed| Value::Number(fixed.clone()), input, moment)?;
            Ok(ordered(
                *order,
                variable.as_number(),
                operand.as_number(),
                |left, right| left.compare(right),
            ))
        }
        Operator::Timestamp(order, operand) => {
            let operand = match operand {
                Operand::Fixed(instant) => Some(*instant),
                Operand::Path(path) => timestamp(&at(path, input, moment)?),
            };
            Ok(ordered(
                *order,
                timestamp(&variable),
                operand,
                |left, right| left.cmp(&right),
            ))
        }
    }
}

fn operand_of<T>(
    operand: &Operand<T>,
    value: impl FnOnce(&T) -> Value,
    input: &Value,
    moment: &Moment,
) -> Outcome<Value> {
    match operand {
        Operand::Fixed(fixed) => Ok(value(fixed)),
        Operand::Path(path) => at(path, input, moment),
    }
}

fn at(path: &Path, input: &Value, moment: &Moment) -> Outcome<Value> {
    path.evaluate(&moment.sources(input))
        .map_err(|_| missing(path))
}

fn missing(path: &Path) -> Fault {
    let text = path.text();
    Fault::Runtime(format!(
        "Invalid path '{text}': The choice state's condition path references an invalid value."
    ))
}

fn timestamp(value: &Value) -> Option<jiff::Timestamp> {
    value.as_str().and_then(parse_timestamp)
}

/// Values of another type than the operator's make a rule false.
fn ordered<T>(
    order: Order,
    left: Option<T>,
    right: Option<T>,
    compare: impl FnOnce(T, T) -> Ordering,
) -> bool {
    left.zip(right)
        .is_some_and(|(left, right)| order.holds(compare(left, right)))
}
