//! Paths such as `$states.input.order.id`, followed without the engine: they are most of all expressions, and the
//! value found keeps its identity and its exact numbers.

use std::sync::Arc;

use jsonata_core::ast::{AstNode, PathStep};

use super::bindings::Bindings;
use crate::value::Value;

#[derive(Debug)]
pub(super) struct PlainPath {
    /// `states`, or the name of a workflow variable.
    variable: Arc<str>,
    keys: Vec<Arc<str>>,
}

impl PlainPath {
    /// The path that a tree is, if it has names alone.
    pub(super) fn of(tree: &AstNode) -> Option<Self> {
        match tree {
            AstNode::Variable(name) if is_workflow_name(name) && name != "states" => Some(Self {
                variable: name.as_str().into(),
                keys: Vec::new(),
            }),
            AstNode::Path { steps } => {
                let (first, rest) = steps.split_first()?;
                let AstNode::Variable(name) = &first.node else {
                    return None;
                };
                if !is_workflow_name(name) || !is_bare(first) || !rest.iter().all(is_bare) {
                    return None;
                }
                let keys = rest.iter().map(|step| match &step.node {
                    AstNode::Name(key) => Some(Arc::from(key.as_str())),
                    _ => None,
                });
                let keys = keys.collect::<Option<Vec<Arc<str>>>>()?;
                if name == "states" && keys.is_empty() {
                    return None;
                }
                Some(Self {
                    variable: name.as_str().into(),
                    keys,
                })
            }
            _ => None,
        }
    }

    /// The value, where `Some(None)` is undefined; `None` when the engine must decide, as with arrays on the way.
    pub(super) fn follow(&self, bindings: &Bindings) -> Option<Option<Value>> {
        let (start, keys) = match &*self.variable {
            "states" => (bindings.states_member(&self.keys[0]), &self.keys[1..]),
            name => (bindings.variable(name), &self.keys[..]),
        };
        let start = match start {
            Some(start) => start,
            // Without a variable of that name it is the function.
            None if super::functions::is_function(&self.variable) => return None,
            None => return Some(None),
        };
        let mut value = &start;
        for key in keys {
            match value {
                Value::Object(object) => match object.get(key) {
                    Some(member) => value = member,
                    None => return Some(None),
                },
                Value::Array(_) => return None,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Some(None);
                }
            }
        }
        Some(Some(value.clone()))
    }
}

fn is_workflow_name(name: &str) -> bool {
    !name.is_empty()
}

fn is_bare(step: &PathStep) -> bool {
    step.stages.is_empty()
        && step.focus.is_none()
        && step.index_var.is_none()
        && step.ancestor_label.is_none()
        && !step.is_tuple
}
