//! Evaluates paths with the semantics of Jayway's JsonPath 2.10. Hides the walk.

use std::cell::Cell;

use super::PathErrorKind;
use super::filter::Filter;
use super::steps::{Function, FunctionArgument, Step, is_definite, normalized};
use crate::limits::PATH_VISITS_MAX;
use crate::value::{Number, Object, ObjectBuilder, Value};

/// What a missing member at the end of an indefinite path means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is left out.
    Lenient,
    /// The search fails; the test `[?(@.a)]` asks so.
    RequireMembers,
}

/// One search through a document: bounds its work, and knows the root for filters.
pub(super) struct Search<'a> {
    root: &'a Value,
    visits: Cell<u64>,
}

impl<'a> Search<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self {
            root,
            visits: Cell::new(0),
        }
    }

    pub(super) fn root(&self) -> &'a Value {
        self.root
    }

    /// Values looked at so far; what could not be afforded was not done.
    pub(super) fn visits(&self) -> u64 {
        self.visits.get().min(PATH_VISITS_MAX)
    }

    /// The value of a definite path, or the array of all values of an indefinite one.
    pub(super) fn find(
        &self,
        steps: &[Step],
        from: &Value,
        mode: Mode,
    ) -> Result<Value, PathErrorKind> {
        self.spend(steps.len());
        if let Some((Step::Function(function), base)) = steps.split_last() {
            let value = self.find(base, from, mode)?;
            return self.call(function, value, from);
        }
        if let Some(found) = walk_plain(steps, from) {
            return found.cloned().map_err(|at| {
                self.spend(work_to_tell(steps, at.value));
                missing(steps, at)
            });
        }
        let mut walk = Walk {
            search: self,
            steps,
            mode,
            definite: true,
            found: Vec::new(),
        };
        walk.step(0, from)?;
        let mut found = walk.found;
        if !is_definite(steps) {
            return Ok(found.into());
        }
        found.pop().ok_or_else(|| PathErrorKind::NoResults {
            path: normalized(steps),
        })
    }

    fn visit(&self) -> Result<(), PathErrorKind> {
        self.spend(1);
        self.within_bounds()
    }

    /// Takes account of what is as much work as to visit so many values.
    pub(super) fn spend(&self, visits: usize) {
        self.visits
            .set(self.visits.get().saturating_add(visits as u64));
    }

    /// The same, and whether it may be done: a search that is out of bounds fails in the end.
    pub(super) fn affords(&self, visits: usize) -> bool {
        self.spend(visits);
        self.within_bounds().is_ok()
    }

    /// Whether it was not too much work so far.
    pub(super) fn within_bounds(&self) -> Result<(), PathErrorKind> {
        if self.visits.get() > PATH_VISITS_MAX {
            let message = format!(
                "The path visits more than {PATH_VISITS_MAX} values; make it more specific"
            );
            return Err(PathErrorKind::Failed { message });
        }
        Ok(())
    }

    fn call(
        &self,
        function: &Function,
        value: Value,
        from: &Value,
    ) -> Result<Value, PathErrorKind> {
        self.spend(work_to_read(&value));
        match function {
            Function::Min | Function::Max | Function::Avg | Function::StdDev | Function::Sum => {
                aggregate(function, &value)
            }
            Function::Length => Ok(match &value {
                Value::Array(array) => array.len().into(),
                Value::Object(object) => object.len().into(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Null,
            }),
            Function::Keys => Ok(match &value {
                Value::Object(object) => object
                    .keys()
                    .cloned()
                    .map(Value::String)
                    .collect::<Vec<_>>()
                    .into(),
                _ => Value::Null,
            }),
            Function::First => element(&value, 0, function),
            Function::Last => element(&value, -1, function),
            Function::Index(index) => element(&value, *index, function),
            Function::Concat(arguments) => {
                let mut text = String::new();
                let all = value
                    .as_array()
                    .map(|items| items.to_vec())
                    .unwrap_or_default();
                let arguments = self.arguments(arguments, from)?;
                for part in all.iter().chain(&arguments) {
                    match part {
                        Value::String(part) => text.push_str(part),
                        Value::Number(_) => part.write_json(&mut text),
                        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
                    }
                }
                Ok(text.into())
            }
            Function::Append(arguments) => {
                let Some(items) = value.as_array() else {
                    return Ok(value);
                };
                let mut items = items.to_vec();
                items.extend(self.arguments(arguments, from)?);
                Ok(items.into())
            }
        }
    }

    fn arguments(
        &self,
        arguments: &[FunctionArgument],
        from: &Value,
    ) -> Result<Vec<Value>, PathErrorKind> {
        let value = |argument: &FunctionArgument| match argument {
            FunctionArgument::Literal(value) => Ok(value.clone()),
            FunctionArgument::Path { from_root, steps } => self.find(
                steps,
                if *from_root { self.root } else { from },
                Mode::Lenient,
            ),
        };
        arguments.iter().map(value).collect()
    }
}

/// Follows a path of keys and indexes alone; `None` when it has other steps, `Err` with the step that failed.
pub(super) fn walk_plain<'v>(
    steps: &[Step],
    from: &'v Value,
) -> Option<Result<&'v Value, Missing<'v>>> {
    let plain = |step: &Step| matches!(step, Step::Key(_) | Step::Index(_));
    if !steps.iter().all(plain) {
        return None;
    }
    let mut value = from;
    for (at, step) in steps.iter().enumerate() {
        let next = match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => array_item(value, *index),
            _ => return None,
        };
        match next {
            Some(next) => value = next,
            None => return Some(Err(Missing { at, value })),
        }
    }
    Some(Ok(value))
}

pub(super) struct Missing<'v> {
    /// Number of the step that found nothing.
    at: usize,
    /// The value it was applied to.
    value: &'v Value,
}

/// Values that a search could visit while the text is made that says what was missing.
fn work_to_tell(steps: &[Step], value: &Value) -> usize {
    steps.len() + value.json_bytes() / BYTES_A_VISIT
}

/// Values that a search could visit while one is read to its leaves.
pub(super) fn work_to_read(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len() / BYTES_A_VISIT,
        Value::Array(_) | Value::Object(_) => 1 + value.json_bytes() / BYTES_A_VISIT,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// Bytes of JSON that are read or written while one value is visited.
const BYTES_A_VISIT: usize = 16;

fn missing(steps: &[Step], missing: Missing) -> PathErrorKind {
    let last = missing.at + 1 == steps.len();
    match (&steps[missing.at], missing.value) {
        (Step::Key(_), Value::Object(_)) if last => PathErrorKind::NoResults {
            path: normalized(steps),
        },
        (Step::Key(_), Value::Object(_)) => PathErrorKind::MissingProperty {
            path: normalized(&steps[..=missing.at]),
        },
        (Step::Index(_), Value::Array(_)) if last => PathErrorKind::IndexOutOfBounds {
            path: normalized(steps),
        },
        (Step::Index(_), Value::Array(_)) => PathErrorKind::NoResults {
            path: normalized(steps),
        },
        (step, value) => wrong_type(steps, missing.at, step, value),
    }
}

fn wrong_type(steps: &[Step], at: usize, step: &Step, value: &Value) -> PathErrorKind {
    let fragment = normalized(std::slice::from_ref(step)).split_off(1);
    let path = normalized(&steps[..at]);
    let message = match (step, value) {
        (Step::Key(_) | Step::Keys(_), _) => format!(
            "Expected to find an object with property {fragment} in path {path} but found '{}'. This is not a json object according to the JsonProvider: '{JSON_PROVIDER}'.",
            java_class(value)
        ),
        (_, Value::Null) => format!("The path {path} is null"),
        _ => {
            format!("Filter: {fragment} can only be applied to arrays. Current context is: {value}")
        }
    };
    PathErrorKind::WrongType { message }
}

/// Class names that the error texts of the service show.
const JSON_PROVIDER: &str = "com.jayway.jsonpath.spi.json.JacksonJsonProvider";

fn java_class(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "java.lang.Boolean",
        Value::Number(number) if !number.is_integer() => "java.lang.Double",
        Value::Number(number) => match number.as_i64() {
            Some(int) if i32::try_from(int).is_ok() => "java.lang.Integer",
            Some(_) => "java.lang.Long",
            None => "java.math.BigInteger",
        },
        Value::String(_) => "java.lang.String",
        Value::Array(_) => "java.util.ArrayList",
        Value::Object(_) => "java.util.LinkedHashMap",
    }
}

fn array_item(value: &Value, index: i32) -> Option<&Value> {
    let items = value.as_array()?;
    let position = if index < 0 {
        items.len() as i64 + i64::from(index)
    } else {
        index.into()
    };
    items.get(usize::try_from(position).ok()?)
}

struct Walk<'s, 'a> {
    search: &'s Search<'a>,
    steps: &'s [Step],
    mode: Mode,
    /// Whether all steps so far name one value: only then is something missing an error.
    definite: bool,
    found: Vec<Value>,
}

impl Walk<'_, '_> {
    fn step(&mut self, at: usize, value: &Value) -> Result<(), PathErrorKind> {
        self.search.visit()?;
        let steps = self.steps;
        let Some(step) = steps.get(at) else {
            self.found.push(value.clone());
            return Ok(());
        };
        match step {
            Step::Key(key) => match value {
                Value::Object(object) => self.member(at, object, key),
                _ => self.not_applicable(at, value),
            },
            Step::Keys(keys) if !self.search.affords(keys.len()) => self.search.within_bounds(),
            Step::Keys(keys) => match value {
                Value::Object(object) if at + 1 == steps.len() => self.merge(at, object, keys),
                Value::Object(object) => self.indefinitely(|walk| {
                    keys.iter().try_for_each(|key| walk.member(at, object, key))
                }),
                _ => self.not_applicable(at, value),
            },
            Step::Index(index) => match value {
                Value::Array(_) => {
                    array_item(value, *index).map_or(Ok(()), |item| self.step(at + 1, item))
                }
                _ => self.not_applicable(at, value),
            },
            Step::Indexes(indexes) if !self.search.affords(indexes.len()) => {
                self.search.within_bounds()
            }
            Step::Indexes(indexes) => match value {
                Value::Array(_) => self.indefinitely(|walk| {
                    let items = indexes.iter().filter_map(|index| array_item(value, *index));
                    items
                        .into_iter()
                        .try_for_each(|item| walk.step(at + 1, item))
                }),
                _ => self.not_applicable(at, value),
            },
            Step::Slice { from, to } => match value {
                Value::Array(items) => {
                    let (first, end) = slice_bounds(*from, *to, items.len());
                    self.indefinitely(|walk| {
                        let items = (first..end).filter_map(|index| array_item(value, index));
                        items
                            .into_iter()
                            .try_for_each(|item| walk.step(at + 1, item))
                    })
                }
                _ => self.not_applicable(at, value),
            },
            Step::Wildcard => self.indefinitely(|walk| {
                walk.each_child(value, |walk, child| walk.step(at + 1, child))
            }),
            Step::Filter(filter) => self.filter(at, filter, value),
            Step::Scan => self.indefinitely(|walk| walk.scan(at + 1, value)),
            Step::Function(_) => Err(PathErrorKind::Failed {
                message: "A function ends its path".into(),
            }),
        }
    }

    fn member(&mut self, at: usize, object: &Object, key: &str) -> Result<(), PathErrorKind> {
        if let Some(member) = object.get(key) {
            return self.step(at + 1, member);
        }
        let last = at + 1 == self.steps.len();
        if self.mode == Mode::Lenient && (last || !self.definite) {
            return Ok(());
        }
        let path = normalized(&self.steps[..=at]);
        Err(if last {
            PathErrorKind::NoResults { path }
        } else {
            PathErrorKind::MissingProperty { path }
        })
    }

    fn filter(&mut self, at: usize, filter: &Filter, value: &Value) -> Result<(), PathErrorKind> {
        match value {
            Value::Array(items) => self.indefinitely(|walk| {
                for item in items {
                    walk.search.visit()?;
                    if filter.accepts(walk.search, item) {
                        walk.step(at + 1, item)?;
                    }
                }
                Ok(())
            }),
            Value::Object(_) if filter.accepts(self.search, value) => {
                self.indefinitely(|walk| walk.step(at + 1, value))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) if self.definite => {
                let message = format!(
                    "Filter: [?] can not be applied to primitives. Current context is: {value}"
                );
                Err(PathErrorKind::WrongType { message })
            }
            _ => Ok(()),
        }
    }

    fn merge(
        &mut self,
        at: usize,
        object: &Object,
        keys: &[std::sync::Arc<str>],
    ) -> Result<(), PathErrorKind> {
        let mut merged = ObjectBuilder::default();
        for key in keys {
            match object.get(key) {
                Some(member) => {
                    merged.insert(key.clone(), member.clone());
                }
                None if self.mode == Mode::RequireMembers => {
                    return Err(PathErrorKind::MissingProperty {
                        path: normalized(&self.steps[..=at]),
                    });
                }
                None => {}
            }
        }
        self.found.push(merged.into());
        Ok(())
    }

    /// Tries the step after `..` at this value and at everything below it.
    fn scan(&mut self, at: usize, value: &Value) -> Result<(), PathErrorKind> {
        self.search.visit()?;
        if self.scan_applies(at, value) {
            self.step(at, value)?;
        }
        self.each_child(value, |walk, child| match child {
            Value::Array(_) | Value::Object(_) => walk.scan(at, child),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        })
    }

    fn scan_applies(&self, at: usize, value: &Value) -> bool {
        // A function may stand right after `..`: it scans for nothing.
        let Some(step) = self.steps.get(at) else {
            return false;
        };
        match (step, value) {
            (Step::Key(key), Value::Object(object)) => object.contains_key(key),
            (Step::Keys(keys), Value::Object(object)) => {
                self.search.spend(keys.len());
                at + 1 < self.steps.len() || keys.iter().all(|key| object.contains_key(key))
            }
            (Step::Index(_) | Step::Indexes(_) | Step::Slice { .. }, Value::Array(_)) => true,
            (Step::Filter(filter), Value::Array(_) | Value::Object(_)) => {
                filter.accepts(self.search, value)
            }
            (Step::Wildcard | Step::Scan, Value::Array(_) | Value::Object(_)) => true,
            _ => false,
        }
    }

    fn each_child(
        &mut self,
        value: &Value,
        mut visit: impl FnMut(&mut Self, &Value) -> Result<(), PathErrorKind>,
    ) -> Result<(), PathErrorKind> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| visit(self, item)),
            Value::Object(object) => object.values().try_for_each(|member| visit(self, member)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn indefinitely(
        &mut self,
        walk: impl FnOnce(&mut Self) -> Result<(), PathErrorKind>,
    ) -> Result<(), PathErrorKind> {
        let before = std::mem::replace(&mut self.definite, false);
        let result = walk(self);
        self.definite = before;
        result
    }

    fn not_applicable(&self, at: usize, value: &Value) -> Result<(), PathErrorKind> {
        if self.definite {
            self.search.spend(work_to_tell(self.steps, value));
            Err(wrong_type(self.steps, at, &self.steps[at], value))
        } else {
            Ok(())
        }
    }
}

/// Jayway's bounds, in which a negative start with an end counts from the end and may run on past the start.
fn slice_bounds(from: Option<i32>, to: Option<i32>, length: usize) -> (i32, i32) {
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    match (from, to) {
        (Some(from), None) if from < 0 => ((length + from).max(0), length),
        (Some(from), None) => (from, length),
        (Some(from), Some(to)) => (from.max(-length), to.min(length)),
        (None, Some(to)) if to < 0 => (0, length.saturating_add(to)),
        (None, Some(to)) => (0, to.min(length)),
        (None, None) => (0, length),
    }
}

fn element(value: &Value, index: i32, function: &Function) -> Result<Value, PathErrorKind> {
    array_item(value, index)
        .cloned()
        .ok_or_else(|| PathErrorKind::Failed {
            message: format!("{}() finds no such element in {value}", function.name()),
        })
}

fn aggregate(function: &Function, value: &Value) -> Result<Value, PathErrorKind> {
    let numbers: Vec<f64> = match value {
        Value::Array(items) => items.iter().filter_map(Value::as_f64).collect(),
        _ => Vec::new(),
    };
    if numbers.is_empty() {
        let message = "Aggregation function attempted to calculate value using empty array".into();
        return Err(PathErrorKind::Failed { message });
    }
    let count = numbers.len() as f64;
    let sum: f64 = numbers.iter().sum();
    let result = match function {
        Function::Min => numbers.into_iter().fold(f64::INFINITY, f64::min),
        Function::Max => numbers.into_iter().fold(f64::NEG_INFINITY, f64::max),
        Function::Avg => sum / count,
        Function::StdDev => {
            let squares: f64 = numbers.iter().map(|number| number * number).sum();
            (squares / count - sum * sum / count / count)
                .max(0.0)
                .sqrt()
        }
        _ => sum,
    };
    Ok(Number::from_f64(result).map_or(Value::Null, Value::Number))
}
