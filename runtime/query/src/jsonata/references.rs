//! What an expression refers to.

use std::sync::Arc;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};

use super::functions;
use super::tree::each_child;
use crate::path::push_once;

/// What an expression refers to, for the checks of a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Workflow variables (free `$name`, neither a function nor bound in the expression), in order, each once.
    pub variables: Vec<Arc<str>>,
    /// Names written without a call that are functions, but variables if the workflow assigns such (`$count`), in
    /// order, each once.
    pub ambiguous: Vec<Arc<str>>,
    /// Functions called or named, in order, each once.
    pub functions: Vec<Arc<str>>,
    /// `$states.input`
    pub input: bool,
    /// `$states.result`
    pub result: bool,
    /// `$states.errorOutput`
    pub error_output: bool,
    /// `$states.context`
    pub context: bool,
    /// `$states` as a whole, or a member that is not known before the evaluation: any member may be read.
    pub whole_states: bool,
    /// Members of `$states` that it never has, in order, each once.
    pub unknown_states: Vec<Arc<str>>,
    /// `$$`
    pub root: bool,
    /// Field names, `$`, `*` and `**` at top level, which have nothing to be read from, in order, each once. A function's
    /// body is where the function is written; path steps after the first, predicates and the like have a context.
    pub unrooted: Vec<Arc<str>>,
}

pub(super) fn collect(node: &AstNode) -> References {
    let mut collector = Collector {
        found: References::default(),
        bound: Vec::new(),
        contextual: false,
    };
    collector.visit(node);
    collector.found
}

struct Collector {
    found: References,
    /// Names bound around the node at hand, innermost last.
    bound: Vec<String>,
    /// Whether the node stands where `$` and field names have a context.
    contextual: bool,
}

impl Collector {
    fn visit(&mut self, node: &AstNode) {
        match node {
            AstNode::Variable(name) if name.is_empty() => self.field("$"),
            AstNode::Wildcard => self.field("*"),
            AstNode::Descendant => self.field("**"),
            AstNode::Variable(name) => self.variable(name),
            AstNode::ParentVariable(_) => self.found.root = true,
            AstNode::Name(name) => self.field(name),
            AstNode::Path { steps } => self.path(steps),
            AstNode::Function {
                name,
                args,
                is_builtin,
            } => {
                if !is_builtin {
                    self.field(name);
                } else if !self.is_bound(name) {
                    push_once(&mut self.found.functions, Some(&name.as_str().into()));
                }
                args.iter().for_each(|argument| self.visit(argument));
            }
            AstNode::Lambda { params, body, .. } => {
                let contextual = self.contextual;
                self.scoped(contextual, |collector| {
                    collector.bound.extend(params.iter().cloned());
                    collector.visit(body);
                });
            }
            AstNode::Block(expressions) => {
                let contextual = self.contextual;
                self.scoped(contextual, |collector| {
                    expressions.iter().for_each(|node| collector.visit(node))
                });
            }
            AstNode::Binary {
                op: BinaryOp::ColonEqual,
                lhs,
                rhs,
            } => self.binding(lhs, rhs),
            AstNode::ObjectTransform { input, pattern } => {
                self.visit(input);
                self.scoped(true, |collector| {
                    for (key, value) in pattern {
                        collector.visit(key);
                        collector.visit(value);
                    }
                });
            }
            AstNode::Sort { input, terms } => {
                self.visit(input);
                self.scoped(true, |collector| {
                    terms.iter().for_each(|(term, _)| collector.visit(term))
                });
            }
            AstNode::FunctionApplication(_) | AstNode::Transform { .. } => {
                self.scoped(true, |collector| {
                    each_child(node, &mut |child| collector.visit(child))
                });
            }
            _ => each_child(node, &mut |child| self.visit(child)),
        }
    }

    /// `$name := value`; a function may call itself by the name it is bound to.
    fn binding(&mut self, target: &AstNode, value: &AstNode) {
        let name = if let AstNode::Variable(name) = target {
            name.clone()
        } else {
            String::new()
        };
        if matches!(value, AstNode::Lambda { .. }) {
            self.bound.push(name);
            self.visit(value);
        } else {
            self.visit(value);
            self.bound.push(name);
        }
    }

    fn path(&mut self, steps: &[PathStep]) {
        let Some((first, rest)) = steps.split_first() else {
            return;
        };
        let bound_before = self.bound.len();
        let contextual = self.contextual;
        match &first.node {
            AstNode::Variable(name) if name == "states" && !self.is_bound(name) => {
                self.states_member(first, rest.first());
            }
            node => self.visit(node),
        }
        self.contextual = true;
        self.stages(first);
        for step in rest {
            self.visit(&step.node);
            self.stages(step);
        }
        self.contextual = contextual;
        self.bound.truncate(bound_before);
    }

    fn stages(&mut self, step: &PathStep) {
        self.bound
            .extend(step.focus.iter().chain(&step.index_var).cloned());
        for stage in &step.stages {
            match stage {
                Stage::Filter(filter) => self.visit(filter),
                Stage::Index(name) => self.bound.push(name.clone()),
                Stage::KeepArray => {}
            }
        }
    }

    fn states_member(&mut self, states: &PathStep, member: Option<&PathStep>) {
        let name = match member.map(|step| &step.node) {
            Some(AstNode::Name(name)) if states.stages.is_empty() => name.as_str(),
            _ => "",
        };
        match name {
            "input" => self.found.input = true,
            "result" => self.found.result = true,
            "errorOutput" => self.found.error_output = true,
            "context" => self.found.context = true,
            "" => self.found.whole_states = true,
            unknown => {
                self.found.whole_states = true;
                push_once(&mut self.found.unknown_states, Some(&unknown.into()));
            }
        }
    }

    fn variable(&mut self, name: &str) {
        if self.is_bound(name) {
            return;
        }
        if name == "states" {
            self.found.whole_states = true;
        } else if functions::is_function(name) {
            push_once(&mut self.found.functions, Some(&name.into()));
            push_once(&mut self.found.ambiguous, Some(&name.into()));
        } else {
            push_once(&mut self.found.variables, Some(&name.into()));
        }
    }

    fn field(&mut self, name: &str) {
        if !self.contextual {
            push_once(&mut self.found.unrooted, Some(&name.into()));
        }
    }

    fn is_bound(&self, name: &str) -> bool {
        self.bound.iter().any(|bound| bound == name)
    }

    fn scoped(&mut self, contextual: bool, visit: impl FnOnce(&mut Self)) {
        let before = (
            self.bound.len(),
            std::mem::replace(&mut self.contextual, contextual),
        );
        visit(self);
        self.bound.truncate(before.0);
        self.contextual = before.1;
    }
}
