//! How a task fails: a name for `Retry` and `Catch`, and a cause for people.

use std::fmt::Write as _;

/// Said behind what a plugin's manifest has to ask for: what was uploaded has none.
pub(crate) const UPLOADED: &str = "; one that was uploaded is granted nothing but its variables, and has to be in the plugin directory for it";

/// The failure of a task. Both texts appear unchanged in the execution's history.
///
/// Any standard error becomes one by `?`; its name is then the error type's own name (`ParseIntError`), its cause the
/// message with the messages of its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    error: String,
    cause: String,
}

impl TaskError {
    /// A failure called `error` (matched by `ErrorEquals`) with an explanation.
    pub fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            cause: cause.into(),
        }
    }

    /// The name that `ErrorEquals` matches.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// The explanation.
    pub fn cause(&self) -> &str {
        &self.cause
    }
}

// `TaskError` is no `std::error::Error` itself, which is what lets every other error convert with `?`.
impl<E: std::error::Error> From<E> for TaskError {
    fn from(error: E) -> Self {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let _ = write!(cause, ": {inner}");
            source = inner.source();
        }
        Self::new(short_name(std::any::type_name::<E>()), cause)
    }
}

/// `core::num::error::ParseIntError` becomes `ParseIntError`; generic arguments are dropped.
fn short_name(path: &str) -> &str {
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}
