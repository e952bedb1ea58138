//! JSONPath, reference paths and the expressions of `.$` fields.

use std::sync::Arc;

use crate::intrinsic::{Intrinsic, IntrinsicError};
use crate::random::Random;
use crate::sources::Sources;
use crate::value::Value;

/// What a path starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRoot {
    /// `$`
    Input,
    /// `$$`
    Context,
    /// `$name`
    Variable(Arc<str>),
}

/// A text that is no path, reference path or intrinsic call, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at offset {offset}")]
pub struct PathSyntaxError {
    /// What is wrong.
    pub message: String,
    /// Bytes before the fault.
    pub offset: usize,
}

/// A parsed JSONPath: any root, any operator.
#[derive(Clone, Debug)]
pub struct Path {
    text: Arc<str>,
    root: PathRoot,
}

impl Path {
    /// Parses `$.a`, `$$.a`, `$name.a`, with everything Jayway's JsonPath has and the service allows.
    pub fn parse(_text: &str) -> Result<Self, PathSyntaxError> {
        todo!()
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// What it starts from.
    pub fn root(&self) -> &PathRoot {
        &self.root
    }

    /// Whether it is the root alone: `$`, `$$`, `$name`.
    pub fn is_root(&self) -> bool {
        todo!()
    }

    /// Whether it names at most one value; an indefinite path gives an array of all it finds.
    pub fn is_definite(&self) -> bool {
        todo!()
    }

    /// The value found.
    pub fn evaluate(&self, _sources: &Sources) -> Result<Value, PathError> {
        todo!()
    }

    /// As [`Path::evaluate`], from this value, whatever the path's root is.
    pub fn select(&self, _root: &Value) -> Result<Value, PathError> {
        todo!()
    }
}

/// A path did not lead to a value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("Invalid path '{path}' : {kind}")]
pub struct PathError {
    /// Text of the path.
    pub path: Arc<str>,
    /// What was missing.
    pub kind: PathErrorKind,
}

impl PathError {
    /// `The JSONPath '$.x' specified for the field 'v.$' could not be found in the input '<json>'`
    pub fn not_found_text(&self, field: &str, input: &Value) -> String {
        format!(
            "The JSONPath '{}' specified for the field '{field}' could not be found in the input '{input}'",
            self.path
        )
    }
}

/// Why a path did not lead to a value; displayed as Jayway words it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PathErrorKind {
    /// The last step names a member that is not there.
    #[error("No results for path: {path}")]
    NoResults {
        /// The path so far, normalized: `$['x']`.
        path: String,
    },
    /// A step before the last names a member that is not there.
    #[error("Missing property in path {path}")]
    MissingProperty {
        /// The path so far, normalized.
        path: String,
    },
    /// An array has no element at that index.
    #[error("Index out of bounds when evaluating path {path}")]
    IndexOutOfBounds {
        /// The path so far, normalized.
        path: String,
    },
    /// A member or index was asked of a value that has none.
    #[error("{message}")]
    WrongType {
        /// What was expected and found.
        message: String,
    },
    /// No variable of that name is assigned.
    #[error("The variable '{name}' is not defined")]
    UnknownVariable {
        /// Name without `$`.
        name: Arc<str>,
    },
    /// The path's operators or filters fail on this input.
    #[error("{message}")]
    Failed {
        /// What failed.
        message: String,
    },
}

/// A path of fields and literal indexes alone, as `ResultPath`, `ItemsPath`, `Variable` and the `...Path` fields have.
#[derive(Clone, Debug)]
pub struct ReferencePath {
    path: Path,
}

impl ReferencePath {
    /// Parses it; refuses the operators `@ , : ? * ..` of general paths.
    pub fn parse(_text: &str) -> Result<Self, PathSyntaxError> {
        todo!()
    }

    /// The same as a general path.
    pub fn as_path(&self) -> &Path {
        &self.path
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &Arc<str> {
        &self.path.text
    }

    /// What it starts from.
    pub fn root(&self) -> &PathRoot {
        &self.path.root
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

    /// A copy of `root` with `value` at this path; missing objects are created.
    pub fn set(&self, _root: &Value, _value: Value) -> Result<Value, ReferencePathError> {
        todo!()
    }
}

/// A value cannot be put where a reference path points.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("Unable to apply ReferencePath {path} to input {input}")]
pub struct ReferencePathError {
    /// Text of the path.
    pub path: Arc<str>,
    /// The value it was applied to, as JSON.
    pub input: String,
}

/// The value of a `.$` field: a path or an intrinsic call.
#[derive(Clone, Debug)]
pub enum PathExpr {
    /// `$.a`
    Path(Path),
    /// `States.Format('{}', $.a)`
    Intrinsic(Intrinsic),
}

impl PathExpr {
    /// Parses either.
    pub fn parse(_text: &str) -> Result<Self, PathSyntaxError> {
        todo!()
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &Arc<str> {
        match self {
            Self::Path(path) => path.text(),
            Self::Intrinsic(call) => call.text(),
        }
    }

    /// The value.
    pub fn evaluate(
        &self,
        _sources: &Sources,
        _random: &mut Random,
    ) -> Result<Value, PathExprError> {
        todo!()
    }

    /// Names of the workflow variables it reads, without `$`, in order of appearance, each once.
    pub fn variables(&self) -> Vec<Arc<str>> {
        todo!()
    }
}

/// Why a `.$` field has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PathExprError {
    /// A path found nothing: States.Runtime (States.ParameterPathFailure in a template).
    #[error(transparent)]
    Path(#[from] PathError),
    /// An intrinsic function failed: States.IntrinsicFailure.
    #[error(transparent)]
    Intrinsic(#[from] IntrinsicError),
}
