//! Reference paths: reading and, for `ResultPath`, writing.

use std::sync::Arc;

use super::parse::{PathSyntaxError, fault};
use super::steps::{PathRoot, Step};
use super::{Path, PathError};
use crate::sources::Sources;
use crate::value::{ObjectBuilder, Value};

/// A path of names and literal indexes alone, as `ResultPath`, `Variable` and the `...Path` fields have.
#[derive(Clone, Debug)]
pub struct ReferencePath {
    path: Path,
}

/// A value cannot be put where a reference path points: States.ResultPathMatchFailure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("Unable to apply ReferencePath {path} to input {input}")]
pub struct ReferencePathError {
    /// Text of the path.
    pub path: Arc<str>,
    /// The value it was applied to, as JSON.
    pub input: String,
}

impl ReferencePath {
    /// Parses it; refuses the operators `@ , : ? *` and `..`, and functions.
    pub fn parse(text: &str) -> Result<Self, PathSyntaxError> {
        let path = Path::parse(text)?;
        let plain = |step: &Step| matches!(step, Step::Key(_) | Step::Index(_));
        if path.steps.iter().all(plain) {
            return Ok(Self { path });
        }
        fault(
            "A reference path names one place: it has no '@', ',', ':', '?', '*', '..' and no functions",
            0,
        )
    }

    /// The same as a general path.
    pub fn as_path(&self) -> &Path {
        &self.path
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &Arc<str> {
        self.path.text()
    }

    /// What it starts from.
    pub fn root(&self) -> &PathRoot {
        self.path.root()
    }

    /// Whether it is the root alone.
    pub fn is_root(&self) -> bool {
        self.path.is_root()
    }

    /// The value found.
    pub fn evaluate(&self, sources: &Sources) -> Result<Value, PathError> {
        self.path.evaluate(sources)
    }

    /// The value found from this root, whatever the path's root is.
    pub fn get(&self, root: &Value) -> Result<Value, PathError> {
        self.path.select(root)
    }

    /// A copy of `root` with `value` at this path. Missing objects are created; arrays are not extended, and a scalar
    /// on the way is an error.
    pub fn set(&self, root: &Value, value: Value) -> Result<Value, ReferencePathError> {
        set(&self.path.steps, Some(root), value).ok_or_else(|| ReferencePathError {
            path: self.path.text().clone(),
            input: root.to_json(),
        })
    }
}

fn set(steps: &[Step], place: Option<&Value>, value: Value) -> Option<Value> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(value);
    };
    match (step, place) {
        (Step::Key(key), None) => {
            let mut members = ObjectBuilder::default();
            members.insert(key.clone(), set(rest, None, value)?);
            Some(members.into())
        }
        (Step::Key(key), Some(Value::Object(object))) => {
            let member = set(rest, object.get(key), value)?;
            Some(object.with(key.clone(), member).into())
        }
        (Step::Index(index), Some(Value::Array(items))) => {
            let position = if *index < 0 {
                items.len() as i64 + i64::from(*index)
            } else {
                (*index).into()
            };
            let position = usize::try_from(position)
                .ok()
                .filter(|position| *position < items.len())?;
            let mut items = items.to_vec();
            items[position] = set(rest, Some(&items[position]), value)?;
            Some(items.into())
        }
        _ => None,
    }
}
