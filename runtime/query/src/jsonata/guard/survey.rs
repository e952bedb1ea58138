//! Whether what an expression builds can grow beyond its text. Hides what counts as growth.

use jsonata_core::ast::{AstNode, BinaryOp};

use super::super::tree::each_child;
use super::shapes::compound_parts;
use crate::limits::{JSONATA_CONCATENATIONS_FREE, JSONATA_COPIES_FREE};

/// Whether concatenations, array constructors and comparisons have to be guarded.
pub(super) fn grows(tree: &AstNode) -> bool {
    let mut survey = Survey::default();
    survey.visit(tree, false);
    survey.repeated
        || survey.joints > JSONATA_CONCATENATIONS_FREE
        || survey.copies > JSONATA_COPIES_FREE
}

/// A few concatenations that run once cannot do harm; only repeated or many ones are guarded.
struct Survey {
    joints: usize,
    /// How often a part may be in what constructors make of each other, at most.
    copies: usize,
    repeated: bool,
}

impl Default for Survey {
    fn default() -> Survey {
        Survey {
            joints: 0,
            copies: 1,
            repeated: false,
        }
    }
}

impl Survey {
    fn visit(&mut self, node: &AstNode, within_step: bool) {
        let mut within_step = within_step;
        self.copies = self.copies.saturating_mul(compound_parts(node).max(1));
        match node {
            AstNode::Binary {
                op: BinaryOp::Concatenate,
                ..
            }
            | AstNode::Array(_) => {
                self.joints += 1;
                self.repeated |= within_step;
            }
            AstNode::Binary {
                op: BinaryOp::Range,
                ..
            }
            | AstNode::Lambda { .. } => self.repeated = true,
            AstNode::Function { name, .. } => {
                self.repeated |= matches!(
                    name.as_str(),
                    "map" | "filter" | "reduce" | "each" | "sift" | "range"
                );
            }
            AstNode::Path { .. } | AstNode::ObjectTransform { .. } | AstNode::Transform { .. } => {
                within_step = true
            }
            _ => {}
        }
        each_child(node, &mut |child| self.visit(child, within_step));
    }
}
