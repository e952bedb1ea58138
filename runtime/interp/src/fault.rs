//! Why a state's work fails within the interpreter, and how that is worded. Hides the service's texts.

use std::sync::Arc;

use stepwell_query::{
    IntrinsicError, JsonataFailure, JsonataFailureKind, PathError, PathExprError,
    ReferencePathError, TemplateFailure, Value,
};

use crate::{
    event::{Failure, FailureClass, What},
    limits::{CAUSE_CHARS_MAX, ERROR_CHARS_MAX},
    run::Visit,
};

pub(crate) const RUNTIME: &str = "States.Runtime";
pub(crate) const TIMEOUT: &str = "States.Timeout";
pub(crate) const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";
const QUERY_EVALUATION_ERROR: &str = "States.QueryEvaluationError";
const INTRINSIC_FAILURE: &str = "States.IntrinsicFailure";
const RESULT_PATH_MATCH_FAILURE: &str = "States.ResultPathMatchFailure";

/// Told of a state whose JSONPath is too much.
const TOO_MUCH_WORK: &str = "The JSONPath expressions and intrinsic functions of the state are more work than a state may be: together they visit or make too many values. Make their paths more specific, have them read less, or divide them among several states.";

/// A failure of the interpreter's own work on a state.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nothing catches it.
    Runtime(String),
    Intrinsic(IntrinsicError),
    ResultPath(ReferencePathError),
    /// `text` is the cause without its prefix, `location` the field.
    Query {
        text: String,
        location: String,
    },
    /// A payload is too large; what made it.
    DataLimit {
        of: Arc<str>,
    },
    /// Variables are too large.
    Variables(String),
    /// The paths and intrinsic functions of the state are beyond what a state may be. Nothing catches it.
    TooMuchWork,
}

pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// A JSONata field failed; `field` is the state's field (`Output`).
    pub(crate) fn jsonata(failure: JsonataFailure, field: &str) -> Fault {
        Fault::Query {
            text: failure.text(field),
            location: failure.full_location(field),
        }
    }

    /// A JSONata field gave a value of another type than it takes.
    pub(crate) fn unexpected(
        expression: &Arc<str>,
        field: &str,
        expected: &'static str,
        found: Value,
    ) -> Fault {
        let kind = JsonataFailureKind::UnexpectedType { expected, found };
        Fault::jsonata(
            JsonataFailure {
                expression: expression.clone(),
                location: String::new(),
                kind,
            },
            field,
        )
    }

    /// A `…Path` field or InputPath, OutputPath found nothing.
    pub(crate) fn path(error: &PathError) -> Fault {
        Fault::Runtime(error.to_string())
    }

    /// A path or intrinsic call in that field failed.
    pub(crate) fn path_expr(error: PathExprError, field: &str, input: &Value) -> Fault {
        match error {
            PathExprError::Path(error) => Fault::Runtime(error.not_found_text(field, input)),
            PathExprError::Intrinsic(error) => Fault::Intrinsic(error),
        }
    }

    /// A template's field failed.
    pub(crate) fn template(failure: TemplateFailure, input: &Value) -> Fault {
        let field = failure.field.clone();
        Fault::path_expr(failure.error, &field, input)
    }

    /// The event that says so. A failure while another one is being handled must be `terminal`: handling it would
    /// fail again.
    pub(crate) fn into_event(self, visit: &Visit, terminal: bool) -> What {
        let (error, class, text) = match self {
            Fault::Query { text, location } => {
                return What::EvaluationFailed {
                    state: visit.state.clone(),
                    error: QUERY_EVALUATION_ERROR.into(),
                    cause: clip(&in_state(visit, &text), CAUSE_CHARS_MAX).into(),
                    location: clip(&location, ERROR_CHARS_MAX).into(),
                    terminal,
                };
            }
            Fault::Runtime(text) => (RUNTIME, FailureClass::Terminal, in_state(visit, &text)),
            Fault::TooMuchWork => (
                RUNTIME,
                FailureClass::Terminal,
                in_state(visit, TOO_MUCH_WORK),
            ),
            Fault::Intrinsic(error) => (
                INTRINSIC_FAILURE,
                FailureClass::Named,
                in_state(visit, &error.to_string()),
            ),
            Fault::ResultPath(error) => (
                RESULT_PATH_MATCH_FAILURE,
                FailureClass::Named,
                in_state(visit, &error.to_string()),
            ),
            Fault::DataLimit { of } => (
                DATA_LIMIT_EXCEEDED,
                FailureClass::NamedOnly,
                data_limit_text(&of),
            ),
            Fault::Variables(text) => (
                DATA_LIMIT_EXCEEDED,
                FailureClass::NamedOnly,
                in_state(visit, &text),
            ),
        };
        let class = if terminal {
            FailureClass::Terminal
        } else {
            class
        };
        let cause = Some(clip(&text, CAUSE_CHARS_MAX).into());
        What::StateFailed {
            failure: Failure {
                error: Some(error.into()),
                cause,
                class,
            },
        }
    }

    /// The failure of a map run whose Map state cannot make a child's input.
    pub(crate) fn into_failure(self, visit: Option<&Visit>) -> Failure {
        let unknown = |text: String| Failure {
            error: Some(RUNTIME.into()),
            cause: Some(text.into()),
            class: FailureClass::Terminal,
        };
        let Some(visit) = visit else {
            return unknown(format!("{self:?}"));
        };
        let what = self.into_event(visit, false);
        if let What::EvaluationFailed { error, cause, .. } = what {
            return Failure {
                error: Some(error),
                cause: Some(cause),
                class: FailureClass::Named,
            };
        }
        if let What::StateFailed { failure } = what {
            return failure;
        }
        unknown(format!("{what:?}"))
    }
}

/// The service's prefix of what fails within a state.
pub(crate) fn in_state(visit: &Visit, text: &str) -> String {
    let (state, id) = (&visit.state, visit.entered_id);
    format!(
        "An error occurred while executing the state '{state}' (entered at the event id #{id}). {text}"
    )
}

/// The cause of States.DataLimitExceeded; `of` is the state or the task's resource.
pub(crate) fn data_limit_text(of: &str) -> String {
    format!(
        "The state/task '{of}' returned a result with a size exceeding the maximum number of bytes service limit."
    )
}

/// The first so many characters.
pub(crate) fn clip(text: &str, chars_max: usize) -> &str {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
