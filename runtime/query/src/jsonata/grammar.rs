//! What the engine's parser takes although the reference grammar has none of it.

use jsonata_core::ast::{AstNode, BinaryOp};

use super::expression::JsonataSyntaxError;
use super::tree::each_child;
use crate::limits::JSONATA_SIGNATURE_DEPTH_MAX;

/// Refuses ranges outside of array constructors, empty regular expressions, and regular expressions at the start of something in brackets, where
/// the reference engine reads `/` as the sign of division.
pub(super) fn check(tree: &AstNode) -> Result<(), JsonataSyntaxError> {
    let mut fault = None;
    if is_range(tree) {
        fault = Some(refusal("S0201", "Syntax error: \"..\""));
    }
    visit(tree, &mut fault);
    fault.map_or(Ok(()), Err)
}

/// Refuses signatures of functions (`function($f)<f<n:n>>{…}`) that nest without end: the engine's parser descends into
/// each level. Read off the text, since the parser reads them first; what is no signature has no such run of types.
pub(super) fn signatures(text: &str) -> Result<(), JsonataSyntaxError> {
    let (mut depth, mut before) = (0_usize, ' ');
    for c in text.chars() {
        match c {
            '<' if before.is_ascii_alphabetic() || matches!(before, ')' | '(') => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            c if c.is_ascii_alphabetic() || "()-:?+".contains(c) => {}
            _ => depth = 0,
        }
        if depth > JSONATA_SIGNATURE_DEPTH_MAX {
            return Err(JsonataSyntaxError {
                code: None,
                message: format!(
                    "the signature of a function nests more than {JSONATA_SIGNATURE_DEPTH_MAX} levels"
                ),
            });
        }
        before = c;
    }
    Ok(())
}

fn visit(node: &AstNode, fault: &mut Option<JsonataSyntaxError>) {
    if fault.is_some() {
        return;
    }
    if matches!(node, AstNode::Regex { pattern, .. } if pattern.is_empty()) {
        *fault = Some(refusal(
            "S0301",
            "Empty regular expressions are not allowed",
        ));
        return;
    }
    let inner = match node {
        AstNode::Block(nodes) | AstNode::Array(nodes) | AstNode::ArrayGroup(nodes) => nodes.first(),
        AstNode::FunctionApplication(inner)
        | AstNode::Unary { operand: inner, .. }
        | AstNode::Transform {
            location: inner, ..
        } => Some(&**inner),
        AstNode::Object(pairs) => pairs.first().map(|(key, _)| key),
        _ => None,
    };
    if inner.is_some_and(begins_with_regex) {
        *fault = Some(refusal(
            "S0211",
            "The symbol \"/\" cannot be used as a unary operator",
        ));
        return;
    }
    let in_array = matches!(node, AstNode::Array(_) | AstNode::ArrayGroup(_));
    each_child(node, &mut |child| {
        if is_range(child) && !in_array && fault.is_none() {
            let closing = match node {
                AstNode::Block(_) | AstNode::Function { .. } | AstNode::Call { .. } => ')',
                AstNode::Object(_) => '}',
                _ => ']',
            };
            let message = format!("Expected \"{closing}\", got \"..\"");
            *fault = Some(refusal("S0202", &message));
        }
        visit(child, fault);
    });
}

fn is_range(node: &AstNode) -> bool {
    matches!(
        node,
        AstNode::Binary {
            op: BinaryOp::Range,
            ..
        }
    )
}

/// Whether the text of a node begins with a regular expression.
fn begins_with_regex(node: &AstNode) -> bool {
    match node {
        AstNode::Regex { .. } => true,
        AstNode::Path { steps } => steps
            .first()
            .is_some_and(|step| begins_with_regex(&step.node)),
        AstNode::Binary { lhs: first, .. }
        | AstNode::Call {
            procedure: first, ..
        }
        | AstNode::Conditional {
            condition: first, ..
        }
        | AstNode::ObjectTransform { input: first, .. }
        | AstNode::Sort { input: first, .. } => begins_with_regex(first),
        _ => false,
    }
}

fn refusal(code: &str, message: &str) -> JsonataSyntaxError {
    JsonataSyntaxError {
        code: Some(code.into()),
        message: message.into(),
    }
}
