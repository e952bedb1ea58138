//! JSONPath, reference paths and the expressions of `.$` fields. Hides the parser and the evaluator.

mod eval;
mod filter;
mod parse;
mod reference;
mod steps;

use std::sync::Arc;

pub use parse::PathSyntaxError;
pub(crate) use parse::{closing, fault};
pub use reference::{ReferencePath, ReferencePathError};
pub use steps::PathRoot;

use crate::effort::Effort;
use crate::intrinsic::{Intrinsic, IntrinsicError};
use crate::random::Random;
use crate::sources::Sources;
use crate::value::Value;
use eval::{Mode, Search};
use steps::Step;

/// A parsed JSONPath: any root, any operator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Path {
    text: Arc<str>,
    root: PathRoot,
    steps: Arc<[Step]>,
}

impl Path {
    /// Parses `$.a`, `$$.a`, `$name.a`, with everything Jayway's JsonPath has and the service allows.
    pub fn parse(text: &str) -> Result<Self, PathSyntaxError> {
        let (root, steps) = parse::path(text)?;
        Ok(Self {
            text: text.into(),
            root,
            steps: steps.into(),
        })
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
        self.steps.is_empty()
    }

    /// Whether it names at most one value; an indefinite path gives an array of all it finds.
    pub fn is_definite(&self) -> bool {
        steps::is_definite(&self.steps)
    }

    /// The name of the workflow variable it starts from, if it does.
    pub fn variable(&self) -> Option<&Arc<str>> {
        if let PathRoot::Variable(name) = &self.root {
            Some(name)
        } else {
            None
        }
    }

    /// The value found.
    pub fn evaluate(&self, sources: &Sources) -> Result<Value, PathError> {
        match &self.root {
            PathRoot::Input => self.search(sources.input, sources.scope.effort()),
            PathRoot::Context => self.search(&sources.scope.context(), sources.scope.effort()),
            PathRoot::Variable(name) => match sources.scope.variable(name) {
                Some(value) => self.search(&value, sources.scope.effort()),
                None => Err(self.error(PathErrorKind::UnknownVariable { name: name.clone() })),
            },
        }
    }

    /// As [`Path::evaluate`], from this value, whatever the path's root is.
    pub fn select(&self, root: &Value) -> Result<Value, PathError> {
        self.search(root, None)
    }

    fn search(&self, root: &Value, effort: Option<&Effort>) -> Result<Value, PathError> {
        // Most of all paths; they are as cheap as to remember what they found.
        if let Some(Ok(found)) = eval::walk_plain(&self.steps, root) {
            return Ok(found.clone());
        }
        let evaluate = || {
            let search = Search::new(root);
            let found = search.find(&self.steps, root, Mode::Lenient);
            (search.within_bounds().and(found), search.visits())
        };
        let found = match effort {
            Some(effort) => effort.path(evaluate),
            None => evaluate().0,
        };
        found.map_err(|kind| self.error(kind))
    }

    fn error(&self, kind: PathErrorKind) -> PathError {
        PathError {
            path: self.text.clone(),
            kind,
        }
    }
}

/// A path did not lead to a value; displayed as the service words it for `InputPath` and `OutputPath`.
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
        let path = &self.path;
        format!(
            "The JSONPath '{path}' specified for the field '{field}' could not be found in the input '{input}'"
        )
    }
}

/// Why a path did not lead to a value; displayed as Jayway words it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PathErrorKind {
    /// The last step names a member that is not there, or an index on the way has no element.
    #[error("No results for path: {path}")]
    NoResults {
        /// The whole path, normalized: `$['x']`.
        path: String,
    },
    /// A step before the last names a member that is not there.
    #[error("Missing property in path {path}")]
    MissingProperty {
        /// The path up to that member, normalized.
        path: String,
    },
    /// The last step is an index at which the array has no element. A template takes it as null.
    #[error("No results for path: {path}")]
    IndexOutOfBounds {
        /// The whole path, normalized.
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
    /// A function of the path fails on this value, or the search is out of bounds.
    #[error("{message}")]
    Failed {
        /// What failed.
        message: String,
    },
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
    pub fn parse(text: &str) -> Result<Self, PathSyntaxError> {
        if text.starts_with('$') {
            return Path::parse(text).map(Self::Path);
        }
        Intrinsic::parse(text).map(Self::Intrinsic)
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &Arc<str> {
        match self {
            Self::Path(path) => path.text(),
            Self::Intrinsic(call) => call.text(),
        }
    }

    /// The value.
    pub fn evaluate(&self, sources: &Sources, random: &mut Random) -> Result<Value, PathExprError> {
        match self {
            Self::Path(path) => Ok(path.evaluate(sources)?),
            Self::Intrinsic(call) => Ok(call.evaluate(sources, random)?),
        }
    }

    /// Names of the workflow variables it reads, without `$`, in order of appearance, each once.
    pub fn variables(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        self.collect_variables(&mut names);
        names
    }

    pub(crate) fn collect_variables(&self, names: &mut Vec<Arc<str>>) {
        match self {
            Self::Path(path) => push_once(names, path.variable()),
            Self::Intrinsic(call) => call.collect_variables(names),
        }
    }
}

pub(crate) fn push_once(names: &mut Vec<Arc<str>>, name: Option<&Arc<str>>) {
    if let Some(name) = name
        && !names.contains(name)
    {
        names.push(name.clone());
    }
}

/// Why a `.$` field has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PathExprError {
    /// A path found nothing: States.ParameterPathFailure or States.Runtime, as the field demands.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An intrinsic function failed: States.IntrinsicFailure.
    #[error(transparent)]
    Intrinsic(#[from] IntrinsicError),
}
