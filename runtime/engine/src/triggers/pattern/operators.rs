//! What one value has to be like: the operators of a pattern, and plain values. Hides how they are read and compared.

use std::net::IpAddr;

use stepwell_query::Value;

use super::{Budget, text::Text};
use crate::limits::COMPARED_BYTES;

/// What a value has to be like.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Equals(Value),
    Text(Text),
    /// None of them.
    But(Vec<Test>),
    Numeric(Vec<(Relation, f64)>),
    Exists(bool),
    Cidr(IpAddr, u32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Relation {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

impl Test {
    pub(super) fn read(value: &Value, at: &str) -> Result<Test, String> {
        let object = match value {
            Value::Object(object) => object,
            Value::Array(_) => return Err(format!("{at} has an array in its array")),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Ok(Test::Equals(value.clone()));
            }
        };
        let mut members = object.iter();
        let (Some((operator, operand)), None) = (members.next(), members.next()) else {
            return Err(format!("{at}: an operator is an object of one member"));
        };
        match &**operator {
            "exists" => match operand.as_bool() {
                Some(there) => Ok(Test::Exists(there)),
                None => Err(format!("{at}: exists is true or false")),
            },
            "anything-but" => Test::but(operand, at),
            "numeric" => Test::numeric(operand, at),
            "cidr" => Test::cidr(operand, at),
            other => Text::read(other, operand, at).map(Test::Text),
        }
    }

    fn but(operand: &Value, at: &str) -> Result<Test, String> {
        let plain = |value: &Value| match value {
            Value::String(_) | Value::Number(_) => Ok(Test::Equals(value.clone())),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(format!("{at}: anything-but takes texts and numbers"))
            }
        };
        let tests = match operand {
            Value::Array(items) if items.is_empty() => {
                return Err(format!("{at}: anything-but has an empty array"));
            }
            Value::Array(items) => items.iter().map(plain).collect::<Result<_, _>>()?,
            Value::Object(object) => {
                let mut members = object.iter();
                let (Some((operator, operand)), None) = (members.next(), members.next()) else {
                    return Err(format!("{at}: anything-but takes one operator"));
                };
                let operands: Vec<&Value> = match operand {
                    Value::Array(several) => several.iter().collect(),
                    one => vec![one],
                };
                let text = |operand: &&Value| Text::read(operator, operand, at).map(Test::Text);
                operands.iter().map(text).collect::<Result<_, _>>()?
            }
            one => vec![plain(one)?],
        };
        Ok(Test::But(tests))
    }

    fn numeric(operand: &Value, at: &str) -> Result<Test, String> {
        let wrong = || format!("{at}: numeric is an array such as [\">\", 0, \"<=\", 5]");
        let items = operand.as_array().ok_or_else(wrong)?;
        if items.is_empty() || items.len() > 4 || items.len() % 2 == 1 {
            return Err(wrong());
        }
        let relation = |pair: &[Value]| {
            let relation = match pair[0].as_str()? {
                "<" => Relation::Less,
                "<=" => Relation::AtMost,
                "=" => Relation::Equal,
                ">=" => Relation::AtLeast,
                ">" => Relation::More,
                _ => return None,
            };
            Some((relation, pair[1].as_number()?.as_f64()))
        };
        let relations: Option<Vec<_>> = items.chunks(2).map(relation).collect();
        relations.map(Test::Numeric).ok_or_else(wrong)
    }

    fn cidr(operand: &Value, at: &str) -> Result<Test, String> {
        let read = || {
            let (address, bits) = operand.as_str()?.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let bits: u32 = bits.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            (bits <= most).then_some(Test::Cidr(address, bits))
        };
        read().ok_or_else(|| format!("{at}: cidr is a range such as 10.0.0.0/24"))
    }

    pub(super) fn matches(&self, value: Option<&Value>, budget: &Budget) -> bool {
        if let Test::Exists(wanted) = self {
            // It speaks of leaves.
            let there = value.is_some_and(|value| !matches!(value, Value::Object(_)));
            return there == *wanted;
        }
        match value {
            None => false,
            Some(Value::Array(elements)) => match self {
                Test::But(tests) => !elements.is_empty() && !none_of(elements, tests, budget),
                Test::Equals(_)
                | Test::Text(_)
                | Test::Numeric(_)
                | Test::Exists(_)
                | Test::Cidr(..) => elements
                    .iter()
                    .any(|element| budget.is_spent() || self.holds(element, budget)),
            },
            Some(value) => self.holds(value, budget),
        }
    }

    /// Bytes of a value that it reads, where these may be many more than its own.
    fn reads(&self, value: &Value) -> usize {
        match self {
            Test::Text(text) if text.reads_all() => value.as_str().map_or(0, str::len),
            // It may have to be written.
            Test::Equals(Value::Number(_)) => COMPARED_BYTES,
            Test::Equals(_)
            | Test::Text(_)
            | Test::But(_)
            | Test::Numeric(_)
            | Test::Exists(_)
            | Test::Cidr(..) => 0,
        }
    }

    /// Of one value.
    fn holds(&self, value: &Value, budget: &Budget) -> bool {
        if !budget.take(self.reads(value)) {
            return false;
        }
        match self {
            // Numbers are what they are written as; those that differ are not written for it.
            Test::Equals(Value::Number(wanted)) => value.as_number().is_some_and(|number| {
                number == wanted && Value::from(wanted.clone()).to_json() == value.to_json()
            }),
            Test::Equals(wanted) => wanted == value,
            Test::Text(text) => value.as_str().is_some_and(|value| text.holds(value)),
            Test::But(tests) => {
                let leaf = !matches!(value, Value::Object(_) | Value::Array(_));
                leaf && !tests.iter().any(|test| test.holds(value, budget))
            }
            Test::Numeric(relations) => value.as_f64().is_some_and(|value| {
                relations
                    .iter()
                    .all(|(relation, wanted)| relation.holds(value, *wanted))
            }),
            Test::Exists(wanted) => *wanted,
            Test::Cidr(address, bits) => value
                .as_str()
                .and_then(|text| text.parse().ok())
                .is_some_and(|found| is_within(found, *address, *bits)),
        }
    }
}

/// Whether each element is one of those that are excluded.
fn none_of(elements: &[Value], tests: &[Test], budget: &Budget) -> bool {
    elements
        .iter()
        .all(|element| tests.iter().any(|test| test.holds(element, budget)))
}

fn is_within(found: IpAddr, range: IpAddr, bits: u32) -> bool {
    match (found, range) {
        (IpAddr::V4(found), IpAddr::V4(range)) => {
            let differ = found.to_bits() ^ range.to_bits();
            differ.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(found), IpAddr::V6(range)) => {
            let differ = found.to_bits() ^ range.to_bits();
            differ.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

impl Relation {
    fn holds(self, value: f64, wanted: f64) -> bool {
        match self {
            Relation::Less => value < wanted,
            Relation::AtMost => value <= wanted,
            Relation::Equal => value == wanted,
            Relation::AtLeast => value >= wanted,
            Relation::More => value > wanted,
        }
    }
}
