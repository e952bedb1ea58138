//! Payload templates with `.$` fields.

use std::sync::Arc;

use crate::path::PathExprError;
use crate::random::Random;
use crate::sources::Sources;
use crate::value::Value;

/// A JSONPath payload template.
#[derive(Clone, Debug)]
pub struct Template {}

impl Template {
    /// Builds it from the field's JSON, with all faults.
    pub fn build(_value: &Value) -> Result<Self, Vec<TemplateError>> {
        todo!()
    }

    /// The value; a template without `.$` fields costs a clone.
    pub fn evaluate(
        &self,
        _sources: &Sources,
        _random: &mut Random,
    ) -> Result<Value, TemplateFailure> {
        todo!()
    }

    /// Names of the workflow variables it reads, without `$`, in order of appearance, each once.
    pub fn variables(&self) -> Vec<Arc<str>> {
        todo!()
    }
}

/// A fault found when a template (in either language) is built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// JSON Pointer from the template's root to the faulty field; empty for the template itself.
    pub pointer: String,
    /// The field's name as written (`x.$`), or the last pointer token.
    pub field: String,
    /// The faulty text.
    pub text: String,
    /// What is wrong.
    pub message: String,
    /// Bytes of `text` before the fault.
    pub offset: usize,
}

/// A field of a template has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct TemplateFailure {
    /// The field's name as written: `x.$`.
    pub field: Arc<str>,
    /// Why.
    pub error: PathExprError,
}

impl TemplateFailure {
    /// The cause in the words of the service; `input` is what the template was evaluated against.
    pub fn text(&self, input: &Value) -> String {
        match &self.error {
            PathExprError::Path(error) => error.not_found_text(&self.field, input),
            PathExprError::Intrinsic(error) => error.to_string(),
        }
    }
}
