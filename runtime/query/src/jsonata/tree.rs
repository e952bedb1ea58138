//! Walking the engine's syntax trees.

use jsonata_core::ast::{AstNode, PathStep, Stage};

/// The walk itself: the same text for shared and for mutable trees.
macro_rules! visit_children {
    ($node:ident, $visit:ident) => {
        match $node {
            AstNode::String(_) | AstNode::Name(_) | AstNode::Number(_) | AstNode::Boolean(_) => {}
            AstNode::Null | AstNode::Undefined | AstNode::Placeholder | AstNode::Regex { .. } => {}
            AstNode::Variable(_) | AstNode::ParentVariable(_) | AstNode::Parent(_) => {}
            AstNode::Wildcard | AstNode::Descendant => {}
            AstNode::Path { steps } => {
                for PathStep { node, stages, .. } in steps {
                    $visit(node);
                    for stage in stages {
                        if let Stage::Filter(filter) = stage {
                            $visit(filter);
                        }
                    }
                }
            }
            AstNode::Binary { lhs, rhs, .. } => {
                $visit(lhs);
                $visit(rhs);
            }
            AstNode::Lambda { body: inner, .. }
            | AstNode::FunctionApplication(inner)
            | AstNode::Unary { operand: inner, .. } => $visit(inner),
            AstNode::Array(nodes)
            | AstNode::ArrayGroup(nodes)
            | AstNode::Block(nodes)
            | AstNode::Function { args: nodes, .. } => {
                for node in nodes {
                    $visit(node);
                }
            }
            AstNode::Call { procedure, args } => {
                $visit(procedure);
                for argument in args {
                    $visit(argument);
                }
            }
            AstNode::Object(pairs) => {
                for (key, value) in pairs {
                    $visit(key);
                    $visit(value);
                }
            }
            AstNode::ObjectTransform { input, pattern } => {
                $visit(input);
                for (key, value) in pattern {
                    $visit(key);
                    $visit(value);
                }
            }
            AstNode::Conditional {
                condition,
                then_branch,
                else_branch: last,
            } => {
                $visit(condition);
                $visit(then_branch);
                if let Some(last) = last {
                    $visit(last);
                }
            }
            AstNode::Transform {
                location,
                update,
                delete: last,
            } => {
                $visit(location);
                $visit(update);
                if let Some(last) = last {
                    $visit(last);
                }
            }
            AstNode::Sort { input, terms } => {
                $visit(input);
                for (term, _) in terms {
                    $visit(term);
                }
            }
        }
    };
}

/// Calls `visit` for each node directly below this one.
pub(super) fn each_child<'a>(node: &'a AstNode, visit: &mut dyn FnMut(&'a AstNode)) {
    visit_children!(node, visit);
}

/// As [`each_child`], to change the nodes.
pub(super) fn each_child_mut(node: &mut AstNode, visit: &mut dyn FnMut(&mut AstNode)) {
    visit_children!(node, visit);
}

/// Levels of a tree.
pub(super) fn depth(node: &AstNode) -> usize {
    let mut deepest = 0;
    each_child(node, &mut |child| deepest = deepest.max(depth(child)));
    deepest + 1
}
