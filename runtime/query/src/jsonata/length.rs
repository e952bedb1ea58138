//! How long an expression may take, told from its text. Hides which constructs repeat others.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};

use super::tree::each_child;
use crate::effort::LONG;

/// Functions that call another one for each item, compare items with one another, or make many out of little.
const LONG_FUNCTIONS: [&str; 15] = [
    "distinct",
    "each",
    "filter",
    "map",
    "match",
    "pad",
    "partition",
    "range",
    "reduce",
    "replace",
    "shuffle",
    "sift",
    "single",
    "sort",
    "split",
];

/// The work of a tree (see [`crate::Effort`]): about its size, unless something in it repeats something else.
pub(super) fn work(tree: &AstNode) -> u64 {
    if repeats(tree) {
        return LONG;
    }
    let mut work: u64 = 1;
    each_child(tree, &mut |child| {
        work = work.saturating_add(self::work(child))
    });
    work
}

fn repeats(node: &AstNode) -> bool {
    match node {
        AstNode::Lambda { .. }
        | AstNode::Call { .. }
        | AstNode::Regex { .. }
        | AstNode::Descendant
        | AstNode::ObjectTransform { .. }
        | AstNode::Transform { .. }
        | AstNode::Sort { .. }
        | AstNode::Binary {
            op: BinaryOp::Range,
            ..
        } => true,
        AstNode::Function { name, .. } => LONG_FUNCTIONS.contains(&name.as_str()),
        // A path applies each step to every item that the one before it gave.
        AstNode::Path { steps } => {
            steps.iter().skip(1).any(|step| !is_member(&step.node)) || steps.iter().any(filters)
        }
        _ => false,
    }
}

fn is_member(step: &AstNode) -> bool {
    matches!(
        step,
        AstNode::Name(_) | AstNode::String(_) | AstNode::Wildcard
    )
}

fn filters(step: &PathStep) -> bool {
    step.stages.iter().any(|stage| match stage {
        Stage::Filter(filter) => !matches!(**filter, AstNode::Number(_)),
        Stage::KeepArray | Stage::Index(_) => false,
    })
}
