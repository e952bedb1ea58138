//! What can be told of a node's value from the node alone.

use jsonata_core::ast::{AstNode, BinaryOp};

use super::{TEXT, TEXTS};

pub(in super::super) fn has_placeholder(args: &[AstNode]) -> bool {
    args.iter()
        .any(|argument| matches!(argument, AstNode::Placeholder))
}

pub(super) fn is_scalar(node: &AstNode) -> bool {
    matches!(
        node,
        AstNode::String(_) | AstNode::Number(_) | AstNode::Boolean(_) | AstNode::Null
    )
}

/// How many parts a constructor has that may have parts themselves.
pub(super) fn compound_parts(node: &AstNode) -> usize {
    match node {
        AstNode::Array(parts) | AstNode::ArrayGroup(parts) => {
            parts.iter().filter(|part| may_have_parts(part)).count()
        }
        AstNode::Object(pairs) | AstNode::ObjectTransform { pattern: pairs, .. } => pairs
            .iter()
            .filter(|(_, part)| may_have_parts(part))
            .count(),
        _ => 0,
    }
}

/// Whether a node's value may be a list, an object or a function.
pub(super) fn may_have_parts(node: &AstNode) -> bool {
    match node {
        AstNode::String(_)
        | AstNode::Number(_)
        | AstNode::Boolean(_)
        | AstNode::Null
        | AstNode::Undefined
        | AstNode::Regex { .. }
        | AstNode::Placeholder
        | AstNode::Unary { .. } => false,
        // A range has numbers alone.
        AstNode::Binary { op, .. } => matches!(
            op,
            BinaryOp::ColonEqual | BinaryOp::ChainPipe | BinaryOp::Coalesce | BinaryOp::Default
        ),
        AstNode::Function { name, .. } => name != TEXT && !TEXTS.contains(&name.as_str()),
        _ => true,
    }
}

/// Elements whose items are spliced into the array around them.
pub(super) fn may_be_array(node: &AstNode) -> bool {
    matches!(
        node,
        AstNode::Variable(_)
            | AstNode::ParentVariable(_)
            | AstNode::Path { .. }
            | AstNode::Function { .. }
            | AstNode::Call { .. }
            | AstNode::Block(_)
            | AstNode::Conditional { .. }
    )
}
