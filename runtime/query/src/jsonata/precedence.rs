//! How tightly operators bind. The engine's parser lets `??`, `?:` and `..` take more on their left than the reference
//! grammar does: there `a and b ?? c` is `a and (b ?? c)`. Chains with these operators are put together anew.

use jsonata_core::ast::{AstNode, BinaryOp};

use super::tree::each_child_mut;

/// Puts the chains of a tree together as the reference grammar has them. What stands in parentheses is a block and stays.
pub(super) fn mend(node: &mut AstNode) {
    let mut powers = Vec::new();
    collect_powers(node, &mut powers);
    if !is_misread(&powers) {
        each_child_mut(node, &mut mend);
        return;
    }
    let mut chain = Chain::default();
    chain.take_apart(std::mem::replace(node, AstNode::Null));
    chain.operands.iter_mut().for_each(mend);
    chain.operands.reverse();
    chain.links.reverse();
    *node = chain.together(0);
}

/// Binding power of `..`, which stands between whole expressions.
const RANGE: u8 = 1;
const CONDITION: u8 = 20;
const DEFAULT: u8 = 40;

/// The reference grammar's binding power of an infix operator; `None` for what is none.
fn power(op: BinaryOp) -> Option<u8> {
    Some(match op {
        BinaryOp::Range => RANGE,
        BinaryOp::Or => 25,
        BinaryOp::And => 30,
        BinaryOp::Default | BinaryOp::Coalesce => DEFAULT,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::LessThan
        | BinaryOp::LessThanOrEqual
        | BinaryOp::GreaterThan
        | BinaryOp::GreaterThanOrEqual
        | BinaryOp::In
        | BinaryOp::ChainPipe => 40,
        BinaryOp::Concatenate | BinaryOp::Add | BinaryOp::Subtract => 50,
        BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Modulo => 60,
        BinaryOp::ColonEqual | BinaryOp::FocusBind | BinaryOp::IndexBind => return None,
    })
}

/// The binding powers of a chain's links from left to right, with whether each is `??` or `?:`.
fn collect_powers(node: &AstNode, powers: &mut Vec<(u8, bool)>) {
    match node {
        AstNode::Binary { op, lhs, rhs } => {
            if let Some(power) = power(*op) {
                collect_powers(lhs, powers);
                powers.push((power, is_default(*op)));
                collect_powers(rhs, powers);
            }
        }
        AstNode::Conditional {
            condition,
            else_branch,
            ..
        } => {
            collect_powers(condition, powers);
            powers.push((CONDITION, false));
            if let Some(last) = else_branch {
                collect_powers(last, powers);
            }
        }
        _ => {}
    }
}

fn is_default(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::Default | BinaryOp::Coalesce)
}

/// Whether the engine's parser may have put the chain together otherwise than the reference grammar.
fn is_misread(powers: &[(u8, bool)]) -> bool {
    let looser_before = |at: usize| powers[..at].iter().any(|(power, _)| *power < DEFAULT);
    let default = (0..powers.len()).any(|at| powers[at].1 && looser_before(at));
    let range = powers.len() > 1 && powers.iter().any(|(power, _)| *power == RANGE);
    default || range
}

/// What stands between two operands.
enum Link {
    Infix(BinaryOp, u8),
    /// `? then :`, or `? then` alone, after which no operand comes.
    Condition {
        then: Box<AstNode>,
        has_else: bool,
    },
}

#[derive(Default)]
struct Chain {
    operands: Vec<AstNode>,
    links: Vec<Link>,
}

impl Chain {
    fn take_apart(&mut self, node: AstNode) {
        match node {
            AstNode::Binary { op, lhs, rhs } => match power(op) {
                Some(power) => {
                    self.take_apart(*lhs);
                    self.links.push(Link::Infix(op, power));
                    self.take_apart(*rhs);
                }
                None => self.operands.push(AstNode::Binary { op, lhs, rhs }),
            },
            AstNode::Conditional {
                condition,
                mut then_branch,
                else_branch,
            } => {
                self.take_apart(*condition);
                mend(&mut then_branch);
                self.links.push(Link::Condition {
                    then: then_branch,
                    has_else: else_branch.is_some(),
                });
                if let Some(last) = else_branch {
                    self.take_apart(*last);
                }
            }
            operand => self.operands.push(operand),
        }
    }

    /// The tree of what is left (in reverse order) up to a link that binds no tighter than `least`.
    fn together(&mut self, least: u8) -> AstNode {
        let mut left = self.operands.pop().unwrap_or(AstNode::Null);
        while let Some(link) = self.links.pop() {
            let power = match &link {
                Link::Infix(_, power) => *power,
                Link::Condition { .. } => CONDITION,
            };
            if power <= least {
                self.links.push(link);
                break;
            }
            left = match link {
                Link::Infix(op, power) => AstNode::Binary {
                    op,
                    lhs: Box::new(left),
                    // On the right of `??` and `?:` stands a whole expression.
                    rhs: Box::new(self.together(if is_default(op) { RANGE } else { power })),
                },
                Link::Condition { then, has_else } => AstNode::Conditional {
                    condition: Box::new(left),
                    then_branch: then,
                    else_branch: has_else.then(|| Box::new(self.together(RANGE))),
                },
            };
        }
        left
    }
}
