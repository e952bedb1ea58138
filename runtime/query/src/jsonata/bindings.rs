//! What expressions read. Hides what was already converted for the engine.

use std::cell::RefCell;
use std::sync::Arc;

use indexmap::IndexMap;
use jsonata_core::evaluator::Context;
use jsonata_core::value::JValue;

use super::bounds::Bounds;
use super::convert::to_engine;
use super::references::References;
use crate::effort::Effort;
use crate::sources::Scope;
use crate::value::Value;

/// What the expressions of one state at one moment read. Make one for all of them: what is converted for the first
/// expression is kept for the next.
pub struct Bindings<'a> {
    input: &'a Value,
    result: Option<&'a Value>,
    error_output: Option<&'a Value>,
    root: Option<&'a Value>,
    scope: &'a dyn Scope,
    now_ms: i64,
    bounds: Bounds,
    converted: RefCell<Converted>,
}

#[derive(Default)]
struct Converted {
    members: [Option<JValue>; MEMBERS.len()],
    variables: Vec<(Arc<str>, JValue)>,
}

/// The members of `$states`.
const MEMBERS: [&str; 4] = ["input", "result", "errorOutput", "context"];

impl<'a> Bindings<'a> {
    /// Bindings with `$states.input`, `$states.context`, the variables, and the time of `$now` and `$millis` in
    /// milliseconds since 1970.
    pub fn new(input: &'a Value, scope: &'a dyn Scope, now_ms: i64) -> Self {
        Self {
            input,
            result: None,
            error_output: None,
            root: None,
            scope,
            now_ms,
            bounds: Bounds::default(),
            converted: RefCell::default(),
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

    /// Gives `$` and field names at top level a meaning. Workflows have none.
    pub fn with_root(mut self, root: &'a Value) -> Self {
        self.root = Some(root);
        self
    }

    /// Replaces the default bounds.
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub(super) fn effort(&self) -> Option<&Effort> {
        self.scope.effort()
    }

    pub(super) fn variable(&self, name: &str) -> Option<Value> {
        self.scope.variable(name)
    }

    pub(super) fn states_member(&self, name: &str) -> Option<Value> {
        match name {
            "input" => Some(self.input.clone()),
            "result" => self.result.cloned(),
            "errorOutput" => self.error_output.cloned(),
            "context" => Some(self.scope.context()),
            _ => None,
        }
    }

    pub(super) fn engine_root(&self) -> JValue {
        self.root.map_or(JValue::Undefined, to_engine)
    }

    /// A context of the engine in which what the expression refers to is bound.
    pub(super) fn engine_context(&self, references: &References) -> Context {
        let mut context = Context::new();
        let wanted = [
            references.input,
            references.result,
            references.error_output,
            references.context,
        ];
        if references.whole_states || wanted.contains(&true) {
            let mut members = IndexMap::with_capacity(MEMBERS.len());
            for (index, name) in MEMBERS.iter().enumerate() {
                if (references.whole_states || wanted[index])
                    && let Some(member) = self.engine_member(index)
                {
                    members.insert((*name).to_owned(), member);
                }
            }
            context.bind("states".into(), JValue::object(members));
        }
        // A variable hides a function of the same name.
        for name in references.variables.iter().chain(&references.ambiguous) {
            if let Some(value) = self.engine_variable(name) {
                context.bind(name.to_string(), value);
            }
        }
        context
    }

    fn engine_member(&self, index: usize) -> Option<JValue> {
        if let Some(member) = &self.converted.borrow().members[index] {
            return Some(member.clone());
        }
        let member = self.convert(&self.states_member(MEMBERS[index])?);
        self.converted.borrow_mut().members[index] = Some(member.clone());
        Some(member)
    }

    fn engine_variable(&self, name: &Arc<str>) -> Option<JValue> {
        if let Some((_, value)) = self
            .converted
            .borrow()
            .variables
            .iter()
            .find(|(known, _)| known == name)
        {
            return Some(value.clone());
        }
        let value = self.convert(&self.scope.variable(name)?);
        self.converted
            .borrow_mut()
            .variables
            .push((name.clone(), value.clone()));
        Some(value)
    }

    fn convert(&self, value: &Value) -> JValue {
        if let Some(effort) = self.effort() {
            effort.converted(value.json_bytes());
        }
        to_engine(value)
    }
}
