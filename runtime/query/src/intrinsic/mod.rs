//! Intrinsic functions: `States.Format('Hello, {}', $.name)`. Hides the grammar of calls and each function's rules.

mod functions;
mod parse;

use std::sync::Arc;

use functions::Function;
pub use functions::INTRINSIC_FUNCTIONS;

use crate::path::{Path, PathSyntaxError, push_once};
use crate::random::Random;
use crate::sources::Sources;
use crate::value::Value;

/// A call of an intrinsic function. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Intrinsic {
    text: Arc<str>,
    call: Arc<Call>,
}

#[derive(Debug)]
struct Call {
    function: Function,
    arguments: Vec<Argument>,
}

#[derive(Debug)]
enum Argument {
    Path(Path),
    Call(Call),
    /// A number, boolean or null.
    Literal(Value),
    /// A string; `raw` is the text between the quotes, in which States.Format tells `\{` from `{`.
    Text {
        value: Value,
        raw: Arc<str>,
    },
}

/// An intrinsic function failed: States.IntrinsicFailure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("The function '{text}' had the following error: {message}")]
pub struct IntrinsicError {
    /// Text of the whole call.
    pub text: Arc<str>,
    /// What failed.
    pub message: String,
}

impl Intrinsic {
    /// Parses a call; the names, the numbers of arguments and the nesting are checked.
    pub fn parse(text: &str) -> Result<Self, PathSyntaxError> {
        Ok(Self {
            text: text.into(),
            call: Arc::new(parse::call(text)?),
        })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Calls it. A path argument that finds nothing is a failure as well.
    pub fn evaluate(
        &self,
        sources: &Sources,
        random: &mut Random,
    ) -> Result<Value, IntrinsicError> {
        self.call
            .evaluate(sources, random)
            .map_err(|message| IntrinsicError {
                text: self.text.clone(),
                message,
            })
    }

    pub(crate) fn collect_variables(&self, names: &mut Vec<Arc<str>>) {
        self.call.collect_variables(names);
    }
}

/// An argument's value as a function takes it.
struct Given<'a> {
    value: Value,
    /// Set for string literals.
    raw: Option<&'a str>,
}

impl Call {
    fn evaluate(&self, sources: &Sources, random: &mut Random) -> Result<Value, String> {
        let mut given = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            given.push(argument.evaluate(sources, random)?);
        }
        let Some(effort) = sources.scope.effort() else {
            return functions::apply(self.function, &given, random);
        };
        let bytes = given.iter().map(|given| given.value.json_bytes()).sum();
        effort.call(bytes, || functions::apply(self.function, &given, random))
    }

    fn collect_variables(&self, names: &mut Vec<Arc<str>>) {
        for argument in &self.arguments {
            match argument {
                Argument::Path(path) => push_once(names, path.variable()),
                Argument::Call(call) => call.collect_variables(names),
                Argument::Literal(_) | Argument::Text { .. } => {}
            }
        }
    }
}

impl Argument {
    fn evaluate(&self, sources: &Sources, random: &mut Random) -> Result<Given<'_>, String> {
        let value = match self {
            Self::Text { value, raw } => return Ok(Given { value: value.clone(), raw: Some(raw) }),
            Self::Literal(value) => value.clone(),
            Self::Call(call) => call.evaluate(sources, random)?,
            Self::Path(path) => path.evaluate(sources).map_err(|error| {
                let (path, input) = (&error.path, sources.input);
                format!("The JsonPath argument for the field '{path}' could not be found in the input '{input}'")
            })?,
        };
        Ok(Given { value, raw: None })
    }
}
