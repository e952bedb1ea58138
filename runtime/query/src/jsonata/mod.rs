//! JSONata.

use std::sync::Arc;

use crate::limits;
use crate::random::Random;
use crate::sources::Scope;
use crate::template::TemplateError;
use crate::value::Value;

/// A parsed JSONata expression, without the `{% %}` around it. Cheap to clone and to share between threads.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Arc<str>,
    references: Arc<References>,
}

impl Expression {
    /// Parses the text between `{%` and `%}`.
    pub fn parse(_text: &str) -> Result<Self, JsonataSyntaxError> {
        todo!()
    }

    /// Whether a string is a JSONata string, `{% ... %}`; gives the text between.
    pub fn unwrap(text: &str) -> Option<&str> {
        text.strip_prefix("{%")?.strip_suffix("%}")
    }

    /// The text it was parsed from, trimmed.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// What it refers to.
    pub fn references(&self) -> &References {
        &self.references
    }

    /// The result; `None` is undefined.
    pub fn evaluate(
        &self,
        _bindings: &Bindings,
        _random: &mut Random,
    ) -> Result<Option<Value>, JsonataFailure> {
        todo!()
    }

    /// The result, where undefined is a failure too.
    pub fn require(
        &self,
        _bindings: &Bindings,
        _random: &mut Random,
    ) -> Result<Value, JsonataFailure> {
        todo!()
    }
}

/// What an expression refers to, for the checks of a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Workflow variables (free `$name`, neither a function nor bound in the expression), in order, each once.
    pub variables: Vec<Arc<str>>,
    /// `$states.input`
    pub input: bool,
    /// `$states.result`
    pub result: bool,
    /// `$states.errorOutput`
    pub error_output: bool,
    /// `$states.context`
    pub context: bool,
    /// `$states` itself, or a member of it computed at run time: any member may be read.
    pub whole_states: bool,
    /// `$` outside of a path step, predicate or function body.
    pub bare_dollar: bool,
    /// `$$`
    pub root: bool,
    /// Field names at top level, which have nothing to be read from.
    pub unqualified: Vec<Arc<str>>,
}

/// A text that is no JSONata expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct JsonataSyntaxError {
    /// The code of the reference engine: `S0201`.
    pub code: String,
    /// What is wrong, without the code.
    pub message: String,
    /// Bytes of the expression before the fault, when known.
    pub offset: Option<usize>,
}

/// The bounds of one evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Milliseconds of wall clock.
    pub time_ms: u64,
    /// Levels of evaluation.
    pub depth: usize,
    /// Elements of one sequence.
    pub sequence: usize,
    /// Bytes of one string.
    pub string_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            time_ms: limits::JSONATA_TIME_MS_MAX,
            depth: limits::JSONATA_DEPTH_MAX,
            sequence: limits::JSONATA_SEQUENCE_MAX,
            string_bytes: limits::JSONATA_STRING_BYTES_MAX,
        }
    }
}

/// What expressions of one state at one moment read. Make one for all of them: what is converted for the first
/// expression is kept for the next.
pub struct Bindings<'a> {
    input: &'a Value,
    result: Option<&'a Value>,
    error_output: Option<&'a Value>,
    scope: &'a dyn Scope,
    now_ms: i64,
    bounds: Bounds,
}

impl<'a> Bindings<'a> {
    /// Bindings with `$states.input`, `$states.context`, the variables, and the time of `$now` and `$millis` in
    /// milliseconds since 1970.
    pub fn new(input: &'a Value, scope: &'a dyn Scope, now_ms: i64) -> Self {
        Self {
            input,
            result: None,
            error_output: None,
            scope,
            now_ms,
            bounds: Bounds::default(),
        }
    }

    /// Adds `$states.result`.
    pub fn with_result(mut self, result: &'a Value) -> Self {
        self.result = Some(result);
        self
    }

    /// Adds `$states.errorOutput`.
    pub fn with_error_output(mut self, error_output: &'a Value) -> Self {
        self.error_output = Some(error_output);
        self
    }

    /// Replaces the default bounds.
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }
}

/// Why an expression has no value: States.QueryEvaluationError.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("The JSONata expression '{expression}' {kind}")]
pub struct JsonataFailure {
    /// Text of the expression.
    pub expression: Arc<str>,
    /// Where in a template the expression stands: `result`, `a/b`; empty for a field that is one expression.
    pub location: String,
    /// Why.
    pub kind: JsonataFailureKind,
}

impl JsonataFailure {
    /// The cause in the words of the service: `The JSONata expression '...' specified for the field 'Output/x' ...`.
    ///
    /// `field` is the state's field (`Output`, `Choices[0]/Condition`).
    pub fn text(&self, field: &str) -> String {
        format!(
            "The JSONata expression '{}' specified for the field '{}' {}",
            self.expression,
            self.full_location(field),
            self.kind
        )
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
    /// The result is a function or a regular expression.
    #[error("returned an unsupported result type.")]
    UnsupportedType,
    /// The result is not of the type the field takes; the caller makes this one.
    #[error("returned an unexpected result type. Expected '{expected}', but was '{}' for value: {found}", .found.kind().name())]
    UnexpectedType {
        /// Name of the type: `array`.
        expected: &'static str,
        /// The result.
        found: Value,
    },
    /// The evaluation raised an error.
    #[error("threw an error during evaluation{}{message}", if .code.is_some() { ". " } else { ": " })]
    Threw {
        /// The code of the reference engine, absent for a bound.
        code: Option<String>,
        /// Text with its code.
        message: String,
    },
}

/// JSON in which any string may be a JSONata string.
#[derive(Clone, Debug)]
pub struct JsonataTemplate {}

impl JsonataTemplate {
    /// Builds it from the field's JSON, with all faults.
    pub fn build(_value: &Value) -> Result<Self, Vec<TemplateError>> {
        todo!()
    }

    /// The value; a template without expressions costs a clone.
    pub fn evaluate(
        &self,
        _bindings: &Bindings,
        _random: &mut Random,
    ) -> Result<Value, JsonataFailure> {
        todo!()
    }

    /// Names of the workflow variables it reads, without `$`, in order of appearance, each once.
    pub fn variables(&self) -> Vec<Arc<str>> {
        todo!()
    }

    /// The expressions with the JSON Pointers of their strings.
    pub fn expressions(&self) -> impl Iterator<Item = (&str, &Expression)> {
        std::iter::empty()
    }
}
