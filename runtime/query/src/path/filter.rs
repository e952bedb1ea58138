//! Filters `[?( ... )]`: their grammar and how their operands compare, after Jayway's JsonPath.

use std::cmp::Ordering;
use std::sync::Arc;

use regex::Regex;

use super::eval::{Mode, Search, walk_plain, work_to_read};
use super::parse::{self, PathSyntaxError, fault};
use super::steps::Step;
use crate::limits::FILTER_DEPTH_MAX;
use crate::value::Value;

#[derive(Clone, Debug)]
pub(super) enum Filter {
    Or(Vec<Filter>),
    And(Vec<Filter>),
    Not(Box<Filter>),
    Exists(Operand),
    Compare {
        left: Operand,
        operator: Operator,
        right: Operand,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Path { from_root: bool, steps: Arc<[Step]> },
    Literal(Value),
    Pattern(Arc<Regex>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    SameTypeEqual,
    NotEqual,
    SameTypeNotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    In,
    NotIn,
    Contains,
    All,
    Size,
    Empty,
    SubsetOf,
    AnyOf,
    NoneOf,
}

/// Operators by their text, longer ones first.
const SYMBOLS: [(&str, Operator); 9] = [
    ("===", Operator::SameTypeEqual),
    ("!==", Operator::SameTypeNotEqual),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=~", Operator::Matches),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

const WORDS: [(&str, Operator); 9] = [
    ("in", Operator::In),
    ("nin", Operator::NotIn),
    ("contains", Operator::Contains),
    ("all", Operator::All),
    ("size", Operator::Size),
    ("empty", Operator::Empty),
    ("subsetof", Operator::SubsetOf),
    ("anyof", Operator::AnyOf),
    ("noneof", Operator::NoneOf),
];

/// Parses the text between the parentheses of a filter; `offset` is its place in the path.
pub(super) fn parse(text: &str, offset: usize, depth: u32) -> Result<Filter, PathSyntaxError> {
    let mut parser = FilterParser {
        text,
        at: 0,
        offset,
        depth,
    };
    let filter = parser.or()?;
    parser.skip_blanks();
    if parser.at < text.len() {
        return parser.fault("Expected an operator or the end of the filter");
    }
    Ok(filter)
}

/// A literal of a filter or a function: a JSON value whose strings may be in single quotes.
pub(super) fn literal(text: &str, offset: usize) -> Result<Value, PathSyntaxError> {
    let digits = text.trim_start_matches(['-', '0']);
    let number = if text.starts_with('-') { "-" } else { "" };
    let strict = match digits.chars().next() {
        // Leading zeros do not matter.
        Some('1'..='9') => format!("{number}{digits}"),
        _ => strict_json(text),
    };
    Value::parse(&strict).map_err(|_| PathSyntaxError {
        message: "Expected a path or a literal".into(),
        offset,
    })
}

fn strict_json(text: &str) -> String {
    let mut strict = String::with_capacity(text.len());
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '\'' | '"') => {
                quote = Some(character);
                strict.push('"');
            }
            (Some(end), _) if character == end => {
                quote = None;
                strict.push('"');
            }
            (Some(_), '"') => strict.push_str("\\\""),
            (Some(_), '\\') => match characters.next() {
                Some('\'') => strict.push('\''),
                Some(escaped) => strict.extend(['\\', escaped]),
                None => strict.push('\\'),
            },
            _ => strict.push(character),
        }
    }
    strict
}

struct FilterParser<'a> {
    text: &'a str,
    at: usize,
    offset: usize,
    depth: u32,
}

impl FilterParser<'_> {
    fn or(&mut self) -> Result<Filter, PathSyntaxError> {
        let mut operands = vec![self.and()?];
        while self.take("||") {
            operands.push(self.and()?);
        }
        Ok(if operands.len() == 1 {
            operands.remove(0)
        } else {
            Filter::Or(operands)
        })
    }

    fn and(&mut self) -> Result<Filter, PathSyntaxError> {
        let mut operands = vec![self.operand()?];
        while self.take("&&") {
            operands.push(self.operand()?);
        }
        Ok(if operands.len() == 1 {
            operands.remove(0)
        } else {
            Filter::And(operands)
        })
    }

    fn operand(&mut self) -> Result<Filter, PathSyntaxError> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return self.fault("Filters are too deeply nested");
        }
        let filter = if self.take("!") {
            Filter::Not(Box::new(self.operand()?))
        } else if self.take("(") {
            let filter = self.or()?;
            if !self.take(")") {
                return self.fault("Expected ')'");
            }
            filter
        } else {
            self.expression()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn expression(&mut self) -> Result<Filter, PathSyntaxError> {
        let left = self.value()?;
        if let Some(operator) = self.operator() {
            let right = self.value()?;
            return Ok(Filter::Compare {
                left,
                operator,
                right,
            });
        }
        match left {
            Operand::Path { .. } => Ok(Filter::Exists(left)),
            Operand::Literal(_) | Operand::Pattern(_) => {
                self.fault("A literal alone is no condition")
            }
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        if let Some((symbol, operator)) =
            SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol))
        {
            self.at += symbol.len();
            return Some(*operator);
        }
        let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
        let (_, operator) = WORDS
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))?;
        self.at += word.len();
        Some(*operator)
    }

    fn value(&mut self) -> Result<Operand, PathSyntaxError> {
        self.skip_blanks();
        match self.text[self.at..].chars().next() {
            Some('@' | '$') => self.path(),
            Some('/') => self.pattern(),
            Some(quote @ ('\'' | '"')) => {
                let mut escaped = false;
                let end = self.text[self.at + 1..].find(|character| {
                    let found = character == quote && !escaped;
                    escaped = character == '\\' && !escaped;
                    found
                });
                match end {
                    Some(end) => self.literal(end + 2),
                    None => self.fault("This string is not closed"),
                }
            }
            Some(open @ ('[' | '{')) => {
                let closer = if open == '[' { ']' } else { '}' };
                match parse::closing(self.text, self.at, open, closer) {
                    Some(close) => self.literal(close + 1 - self.at),
                    None => self.fault("This literal is not closed"),
                }
            }
            Some(character) if character.is_ascii_alphanumeric() || character == '-' => {
                let part = |character: char| {
                    character.is_ascii_alphanumeric() || matches!(character, '-' | '+' | '.' | '_')
                };
                let rest = &self.text[self.at..];
                let length = rest
                    .find(|character| !part(character))
                    .unwrap_or(rest.len());
                let word = &rest[..length];
                // Published workflows compare with bare words (`@.Name==Receipt`), so the service reads them as strings.
                if word.starts_with(|first: char| first.is_ascii_alphabetic())
                    && !matches!(word, "true" | "false" | "null")
                {
                    self.at += length;
                    return Ok(Operand::Literal(Value::from(word)));
                }
                self.literal(length)
            }
            _ => self.fault("Expected a path or a literal"),
        }
    }

    fn literal(&mut self, length: usize) -> Result<Operand, PathSyntaxError> {
        let value = literal(&self.text[self.at..self.at + length], self.offset + self.at)?;
        self.at += length;
        Ok(Operand::Literal(value))
    }

    /// Characters that end a name outside a filter may stand in one here (`@.key*2`), as in Jayway.
    fn path(&mut self) -> Result<Operand, PathSyntaxError> {
        let start = self.at;
        let mut at = start + 1;
        while let Some(character) = self.text[at..].chars().next() {
            let rest = &self.text[at..];
            if character == '[' || character == '(' {
                let closer = if character == '[' { ']' } else { ')' };
                match parse::closing(self.text, at, character, closer) {
                    Some(close) => at = close + 1,
                    None => {
                        return fault(
                            format!("This '{character}' is not closed"),
                            self.offset + at,
                        );
                    }
                }
                continue;
            }
            let ends =
                matches!(character, '<' | '>' | '=' | '~' | '!' | ')') || character.is_whitespace();
            if ends || rest.starts_with("&&") || rest.starts_with("||") {
                break;
            }
            at += character.len_utf8();
        }
        let (from_root, steps) =
            parse::inner(&self.text[start..at], self.offset + start, self.depth)?;
        self.at = at;
        Ok(Operand::Path {
            from_root,
            steps: steps.into(),
        })
    }

    fn pattern(&mut self) -> Result<Operand, PathSyntaxError> {
        let start = self.at + 1;
        let mut escaped = false;
        let end = self.text[start..].find(|character| {
            let found = character == '/' && !escaped;
            escaped = character == '\\' && !escaped;
            found
        });
        let Some(length) = end else {
            return self.fault("This regular expression is not closed");
        };
        let pattern = self.text[start..start + length].replace("\\/", "/");
        let rest = &self.text[start + length + 1..];
        let flags: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
        let flags_known: String = flags
            .chars()
            .filter(|flag| "imsxu".contains(*flag))
            .collect();
        let group = if flags_known.is_empty() {
            String::new()
        } else {
            format!("(?{flags_known})")
        };
        match Regex::new(&format!("{group}^(?:{pattern})$")) {
            Ok(regex) => {
                self.at = start + length + 1 + flags.len();
                Ok(Operand::Pattern(Arc::new(regex)))
            }
            Err(_) => self.fault("This regular expression is not valid"),
        }
    }

    fn take(&mut self, symbol: &str) -> bool {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let found = rest.starts_with(symbol) && !(symbol == "!" && rest.starts_with("!="));
        if found {
            self.at += symbol.len();
        }
        found
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn fault<T>(&self, message: &str) -> Result<T, PathSyntaxError> {
        fault(message, self.offset + self.at)
    }
}

/// An operand's value in one evaluation; a path that finds nothing is `None`.
enum Operated<'a> {
    Value(Option<Value>),
    Pattern(&'a Regex),
}

impl Filter {
    pub(super) fn accepts(&self, search: &Search, item: &Value) -> bool {
        match self {
            Self::Or(filters) => filters.iter().any(|filter| filter.accepts(search, item)),
            Self::And(filters) => filters.iter().all(|filter| filter.accepts(search, item)),
            Self::Not(filter) => !filter.accepts(search, item),
            Self::Exists(operand) => operand
                .evaluate(search, item, Mode::RequireMembers)
                .is_some(),
            Self::Compare {
                left,
                operator,
                right,
            } => {
                let (left, right) = (left.operate(search, item), right.operate(search, item));
                // Out of bounds the search fails, whatever the filter says.
                search.affords(work(&left, *operator, &right)) && compare(left, *operator, right)
            }
        }
    }
}

impl Operand {
    fn operate(&self, search: &Search, item: &Value) -> Operated<'_> {
        match self {
            Self::Pattern(regex) => Operated::Pattern(regex),
            Self::Path { .. } | Self::Literal(_) => {
                Operated::Value(self.evaluate(search, item, Mode::Lenient))
            }
        }
    }

    fn evaluate(&self, search: &Search, item: &Value, mode: Mode) -> Option<Value> {
        match self {
            Self::Path { from_root, steps } => {
                let from = if *from_root { search.root() } else { item };
                // What is missing needs no words here.
                match walk_plain(steps, from) {
                    Some(found) => {
                        search.spend(steps.len());
                        found.ok().cloned()
                    }
                    None => search.find(steps, from, mode).ok(),
                }
            }
            Self::Literal(value) => Some(value.clone()),
            Self::Pattern(_) => None,
        }
    }
}

/// How much work a comparison is, in values that a search could visit.
fn work(left: &Operated, operator: Operator, right: &Operated) -> usize {
    let of = |operated: &Operated| match operated {
        Operated::Value(Some(value)) => work_to_read(value),
        Operated::Value(None) | Operated::Pattern(_) => 1,
    };
    let (left_work, right_work) = (of(left), of(right));
    let items = |operated: &Operated| match operated {
        Operated::Value(Some(Value::Array(items))) => items.len().max(1),
        Operated::Value(_) | Operated::Pattern(_) => 1,
    };
    match operator {
        Operator::Equal
        | Operator::SameTypeEqual
        | Operator::NotEqual
        | Operator::SameTypeNotEqual
        | Operator::Less
        | Operator::LessOrEqual
        | Operator::Greater
        | Operator::GreaterOrEqual => left_work.min(right_work),
        // Each byte of the text, by a machine made of the pattern.
        Operator::Matches => left_work.max(right_work).saturating_mul(16),
        Operator::Size | Operator::Empty => left_work,
        Operator::In | Operator::NotIn | Operator::Contains => left_work.saturating_add(right_work),
        // Each item of one list is looked for in the other.
        Operator::All | Operator::SubsetOf | Operator::AnyOf | Operator::NoneOf => {
            let pairs = items(left).saturating_mul(items(right));
            pairs.saturating_add(left_work).saturating_add(right_work)
        }
    }
}

fn compare(left: Operated, operator: Operator, right: Operated) -> bool {
    let (left, right) = match (left, right) {
        (Operated::Value(left), Operated::Value(right)) => (left, right),
        (Operated::Pattern(regex), Operated::Value(Some(value)))
        | (Operated::Value(Some(value)), Operated::Pattern(regex)) => {
            return operator == Operator::Matches && matches(regex, &value);
        }
        _ => {
            return matches!(
                operator,
                Operator::NotEqual | Operator::SameTypeNotEqual | Operator::NotIn
            );
        }
    };
    let equal = |coerce| match (&left, &right) {
        (Some(left), Some(right)) => equal(left, right, coerce),
        _ => false,
    };
    match operator {
        Operator::Equal => equal(true),
        Operator::NotEqual => !equal(true),
        Operator::SameTypeEqual => equal(false),
        Operator::SameTypeNotEqual => !equal(false),
        Operator::NotIn => !both(&left, &right, |left, right| holds(right, left)),
        Operator::Less => ordered(&left, &right, Ordering::is_lt),
        Operator::LessOrEqual => ordered(&left, &right, Ordering::is_le),
        Operator::Greater => ordered(&left, &right, Ordering::is_gt),
        Operator::GreaterOrEqual => ordered(&left, &right, Ordering::is_ge),
        Operator::Matches => false,
        Operator::In => both(&left, &right, |left, right| holds(right, left)),
        Operator::Contains => both(&left, &right, |left, right| match (left, right) {
            (Value::String(left), Value::String(right)) => left.contains(&**right),
            _ => holds(left, right),
        }),
        Operator::All | Operator::AnyOf | Operator::NoneOf | Operator::SubsetOf => {
            both(&left, &right, |left, right| sets(left, operator, right))
        }
        Operator::Size => both(&left, &right, |left, right| {
            size(left).is_some_and(|size| right.as_i64() == Some(size))
        }),
        Operator::Empty => both(&left, &right, |left, right| {
            size(left).is_some_and(|size| right.as_bool() == Some(size == 0))
        }),
    }
}

fn both(
    left: &Option<Value>,
    right: &Option<Value>,
    test: impl FnOnce(&Value, &Value) -> bool,
) -> bool {
    left.as_ref()
        .zip(right.as_ref())
        .is_some_and(|(left, right)| test(left, right))
}

/// Numbers and strings of numbers are equal by number, or by text when the string is on the left.
fn equal(left: &Value, right: &Value, coerce: bool) -> bool {
    match (left, right) {
        (Value::Number(left), Value::String(right)) if coerce => right
            .parse::<f64>()
            .is_ok_and(|right| right == left.as_f64()),
        (Value::String(left), Value::Number(right)) if coerce => **left == right.to_string(),
        _ => left == right,
    }
}

fn ordered(left: &Option<Value>, right: &Option<Value>, test: fn(Ordering) -> bool) -> bool {
    both(left, right, |left, right| match (left, right) {
        (Value::Number(left), Value::Number(right)) => test(left.compare(right)),
        (Value::String(left), Value::String(right)) => {
            test(left.encode_utf16().cmp(right.encode_utf16()))
        }
        _ => false,
    })
}

fn holds(list: &Value, value: &Value) -> bool {
    list.as_array()
        .is_some_and(|list| list.iter().any(|item| equal(value, item, true)))
}

fn sets(left: &Value, operator: Operator, right: &Value) -> bool {
    let (Some(left_items), Some(right_items)) = (left.as_array(), right.as_array()) else {
        return false;
    };
    match operator {
        Operator::All => right_items.iter().all(|item| holds(left, item)),
        Operator::SubsetOf => left_items.iter().all(|item| holds(right, item)),
        Operator::AnyOf => left_items.iter().any(|item| holds(right, item)),
        _ => !left_items.iter().any(|item| holds(right, item)),
    }
}

fn size(value: &Value) -> Option<i64> {
    let size = match value {
        Value::String(text) => text.encode_utf16().count(),
        Value::Array(array) => array.len(),
        Value::Object(object) => object.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
    };
    Some(size as i64)
}

fn matches(regex: &Regex, value: &Value) -> bool {
    match value {
        Value::String(text) => regex.is_match(text),
        Value::Number(number) => regex.is_match(&number.to_string()),
        Value::Bool(bool) => regex.is_match(if *bool { "true" } else { "false" }),
        Value::Array(items) => items
            .iter()
            .any(|item| item.as_str().is_some_and(|text| regex.is_match(text))),
        Value::Null | Value::Object(_) => false,
    }
}
