//! Intrinsic functions.

use std::sync::Arc;

use crate::random::Random;
use crate::sources::Sources;
use crate::value::Value;

/// A call of an intrinsic function.
#[derive(Clone, Debug)]
pub struct Intrinsic {
    text: Arc<str>,
}

impl Intrinsic {
    /// The text it was parsed from.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Calls it; a path argument that finds nothing is a failure as well.
    pub fn evaluate(
        &self,
        _sources: &Sources,
        _random: &mut Random,
    ) -> Result<Value, IntrinsicError> {
        todo!()
    }
}

/// An intrinsic function failed: States.IntrinsicFailure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct IntrinsicError {
    /// Text of the whole call.
    pub text: Arc<str>,
    /// What failed, in the words of the service where known.
    pub message: String,
}
