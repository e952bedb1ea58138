//! Why an expression has no value, in the words of the service.

use std::sync::Arc;

use jsonata_core::evaluator::EvaluatorError;

use super::bounds::MEMORY_EXCEEDED;
use super::witness::Seen;
use super::words;
use crate::value::Value;

/// Why an expression has no value: States.QueryEvaluationError.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("The JSONata expression '{expression}' {kind}")]
pub struct JsonataFailure {
    /// Text of the expression.
    pub expression: Arc<str>,
    /// Where in a template the expression stands: `result`, `a/b`, `list[0]`; empty for a field that is one
    /// expression.
    pub location: String,
    /// Why.
    pub kind: JsonataFailureKind,
}

impl JsonataFailure {
    /// The cause in the words of the service: `The JSONata expression '...' specified for the field 'Output/x' ...`.
    ///
    /// `field` is the state's field (`Output`, `Choices[0]/Condition`).
    pub fn text(&self, field: &str) -> String {
        let (expression, location, kind) =
            (&self.expression, self.full_location(field), &self.kind);
        format!("The JSONata expression '{expression}' specified for the field '{location}' {kind}")
    }

    /// The place as history events have it: `Output/x`.
    pub fn full_location(&self, field: &str) -> String {
        if self.location.is_empty() {
            field.to_owned()
        } else {
            format!("{field}/{}", self.location)
        }
    }
}

/// Why an expression has no value; displayed as the end of the sentence of [`JsonataFailure::text`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JsonataFailureKind {
    /// The result is undefined.
    #[error("returned nothing (undefined).")]
    Undefined,
    /// The result is or holds a function or a regular expression.
    #[error("returned an unsupported result type.")]
    UnsupportedType,
    /// The result is not of the type the field takes. Callers make this one.
    #[error("returned an unexpected result type. Expected '{expected}', but was '{}' for value: {found}", .found.kind().name())]
    UnexpectedType {
        /// Name of the type: `array`.
        expected: &'static str,
        /// The result.
        found: Value,
    },
    /// The evaluation raised an error or left its bounds.
    #[error("threw an error during evaluation{}{message}", if .code.is_some() { ". " } else { ": " })]
    Threw {
        /// The code of the reference engine (`T1006`), when there is one.
        code: Option<String>,
        /// Text, with its code in front.
        message: String,
    },
    /// The evaluation left its bounds.
    #[error("threw an error during evaluation: {bound}")]
    Exceeded {
        /// Which.
        bound: Bound,
        /// The code of the reference engine, which the service does not show (`D2014`).
        code: Option<&'static str>,
    },
}

/// A bound of evaluations, displayed in the words of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bound {
    /// Levels of evaluation.
    #[error(
        "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive"
    )]
    Depth,
    /// Wall clock.
    #[error("Expression evaluation timeout: Check for infinite loop")]
    Time,
    /// Strings, sequences and all that was built.
    #[error("{MEMORY_EXCEEDED}")]
    Memory,
}

/// The codes by which the engine tells that a bound was exceeded; the reference engine has all but the last.
const BOUNDS: [(&str, Bound); 5] = [
    ("D1011", Bound::Depth),
    ("U1001", Bound::Depth),
    ("D1012", Bound::Time),
    ("D2014", Bound::Memory),
    ("D2015", Bound::Memory),
];

impl JsonataFailureKind {
    /// An error of the engine, in the words of the reference engine.
    pub(super) fn told(error: &EvaluatorError, seen: &Seen) -> Self {
        let message = error.message();
        if message == MEMORY_EXCEEDED {
            return Self::memory_exceeded();
        }
        let bound = BOUNDS
            .iter()
            .find(|(known, _)| Some(*known) == error.code());
        if let Some((code, bound)) = bound {
            return Self::Exceeded {
                bound: *bound,
                code: Some(code),
            };
        }
        let (code, rest) = split_code(message);
        let told = |code: &str| format!("{code}: {}", words::evaluation(code, rest, seen));
        Self::Threw {
            code: code.map(str::to_owned),
            message: code.map_or_else(|| rest.to_owned(), told),
        }
    }

    /// Stands for a result that nobody looks at: see [`crate::Effort::is_put_off`].
    pub(crate) fn put_off() -> Self {
        Self::Threw {
            code: None,
            message: "The evaluation was put off".to_owned(),
        }
    }

    /// The code of the reference engine, when the engine raised an error that has one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Threw { code, .. } => code.as_deref(),
            Self::Exceeded { code, .. } => *code,
            Self::Undefined | Self::UnsupportedType | Self::UnexpectedType { .. } => None,
        }
    }

    pub(super) fn stack_exceeded() -> Self {
        Self::Exceeded {
            bound: Bound::Depth,
            code: None,
        }
    }

    pub(crate) fn memory_exceeded() -> Self {
        Self::Exceeded {
            bound: Bound::Memory,
            code: None,
        }
    }
}

/// The code of the reference engine (`S0201`) that a text of the engine has in front or after some prefixes, and what
/// follows it.
pub(super) fn split_code(text: &str) -> (Option<&str>, &str) {
    let place = text.match_indices(':').find_map(|(colon, _)| {
        let start = colon.checked_sub(5)?;
        let code = text.get(start..colon)?.as_bytes();
        (code[0].is_ascii_uppercase() && code[1..].iter().all(u8::is_ascii_digit)).then_some(start)
    });
    match place {
        Some(start) => (
            Some(&text[start..start + 5]),
            text[start + 6..].trim_start(),
        ),
        None => (None, text),
    }
}
