//! What an expression may read besides its text.

use crate::{effort::Effort, value::Value};

/// The surroundings of a state: the context object and the workflow's variables.
///
/// Both are asked for only when an expression refers to them, so an implementation may build them on demand.
pub trait Scope {
    /// The context object (`$$` in JSONPath, `$states.context` in JSONata).
    fn context(&self) -> Value;

    /// The value of a workflow variable as of the entry of the state, or `None` when none of that name is assigned.
    fn variable(&self, name: &str) -> Option<Value>;

    /// Where the work of evaluations is counted, if anywhere.
    fn effort(&self) -> Option<&Effort> {
        None
    }
}

/// Surroundings without variables and with an empty context object.
pub struct NoScope;

impl Scope for NoScope {
    fn context(&self) -> Value {
        Value::empty_object()
    }

    fn variable(&self, _name: &str) -> Option<Value> {
        None
    }
}

/// What a JSONPath, an intrinsic call or a JSONPath template is evaluated against.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// What `$` means: the effective input, the task's result, the item, as the field demands.
    pub input: &'a Value,
    /// What `$$` and `$name` mean.
    pub scope: &'a dyn Scope,
}

impl<'a> Sources<'a> {
    /// Sources with this input and these surroundings.
    pub fn new(input: &'a Value, scope: &'a dyn Scope) -> Self {
        Self { input, scope }
    }
}
