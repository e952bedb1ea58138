//! The parsed form of a path.

use std::fmt::Write;
use std::sync::Arc;

use super::filter::Filter;
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

#[derive(Clone, Debug)]
pub(super) enum Step {
    Key(Arc<str>),
    /// `['a','b']`: a new object of these members at the end of a path, each in turn before it.
    Keys(Arc<[Arc<str>]>),
    Index(i32),
    Indexes(Arc<[i32]>),
    Slice {
        from: Option<i32>,
        to: Option<i32>,
    },
    Wildcard,
    /// `..`: the next step is tried at every level.
    Scan,
    Filter(Arc<Filter>),
    Function(Function),
}

/// A function at the end of a path: `$.a.length()`.
#[derive(Clone, Debug)]
pub(super) enum Function {
    Min,
    Max,
    Avg,
    StdDev,
    Sum,
    Length,
    Keys,
    First,
    Last,
    Index(i32),
    /// Further values to take in: paths or literals.
    Concat(Arc<[FunctionArgument]>),
    Append(Arc<[FunctionArgument]>),
}

#[derive(Clone, Debug)]
pub(super) enum FunctionArgument {
    /// `$...`, from the document's root, or `@...`, from the current value.
    Path {
        from_root: bool,
        steps: Arc<[Step]>,
    },
    Literal(Value),
}

/// Whether these steps name at most one value.
pub(super) fn is_definite(steps: &[Step]) -> bool {
    steps.iter().enumerate().all(|(index, step)| match step {
        Step::Key(_) | Step::Index(_) | Step::Function(_) => true,
        Step::Keys(_) => index + 1 == steps.len(),
        Step::Indexes(_) | Step::Slice { .. } | Step::Wildcard | Step::Scan | Step::Filter(_) => {
            false
        }
    })
}

/// The path of these steps in the one form that error texts have: `$['a'][0]`.
pub(super) fn normalized(steps: &[Step]) -> String {
    let mut text = "$".to_owned();
    for step in steps {
        write_step(&mut text, step).expect("a String takes everything");
    }
    text
}

fn write_step(text: &mut String, step: &Step) -> std::fmt::Result {
    match step {
        Step::Key(key) => write!(text, "['{key}']"),
        Step::Keys(keys) => {
            let keys: Vec<_> = keys.iter().map(|key| format!("'{key}'")).collect();
            write!(text, "[{}]", keys.join(","))
        }
        Step::Index(index) => write!(text, "[{index}]"),
        Step::Indexes(indexes) => {
            let indexes: Vec<_> = indexes.iter().map(i32::to_string).collect();
            write!(text, "[{}]", indexes.join(","))
        }
        Step::Slice { from, to } => {
            let show =
                |bound: &Option<i32>| bound.map(|bound| bound.to_string()).unwrap_or_default();
            write!(text, "[{}:{}]", show(from), show(to))
        }
        Step::Wildcard => text.write_str("[*]"),
        Step::Scan => text.write_str(".."),
        Step::Filter(_) => text.write_str("[?]"),
        Step::Function(function) => write!(text, ".{}()", function.name()),
    }
}

impl Function {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::StdDev => "stddev",
            Self::Sum => "sum",
            Self::Length => "length",
            Self::Keys => "keys",
            Self::First => "first",
            Self::Last => "last",
            Self::Index(_) => "index",
            Self::Concat(_) => "concat",
            Self::Append(_) => "append",
        }
    }
}
