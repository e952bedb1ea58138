//! What an evaluation was at when it failed. The engine's errors name neither the function nor the values; so the
//! evaluation is made once more, of a tree in which operands and arguments pass by a witness. Hides the tree's changes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jsonata_core::ast::{AstNode, BinaryOp, UnaryOp};
use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use super::guard::has_placeholder;
use super::tree::each_child_mut;
use super::{convert, functions};
use crate::limits::JSONATA_TOLD_BYTES_MAX;

/// Name of the witness's function, which no expression can write.
pub(super) const SEEN: &str = "\u{1}seen";

/// Errors that a witness can tell more of.
const TOLD: [&str; 6] = ["T0410", "T0411", "T0412", "T2009", "T2010", "D1002"];

/// Functions that call others.
const CALLERS: [&str; 8] = [
    "each", "filter", "map", "reduce", "replace", "sift", "single", "sort",
];

/// What was seen last.
#[derive(Default)]
pub(super) struct Seen {
    what: Option<Watched>,
    values: Vec<JValue>,
    /// The one function that the expression names without calling it.
    handed: Option<String>,
    hands: bool,
}

#[derive(Clone)]
enum Watched {
    Function(String),
    Operator(&'static str),
}

impl Seen {
    /// Name of the function whose arguments were seen last.
    pub(super) fn function(&self) -> Option<&str> {
        match &self.what {
            // What it called may have been a function that was handed to it.
            Some(Watched::Function(name)) if self.hands && CALLERS.contains(&name.as_str()) => {
                self.handed.as_deref()
            }
            Some(Watched::Function(name)) => Some(name),
            Some(Watched::Operator(_)) | None => None,
        }
    }

    /// Symbol and operands, as JSON, of the operation whose operands were seen last.
    pub(super) fn operation(&self) -> Option<(&'static str, String, String)> {
        match (&self.what, self.values.as_slice()) {
            (Some(Watched::Operator(symbol)), [left, right]) => {
                Some((symbol, shown(left)?, shown(right)?))
            }
            _ => None,
        }
    }

    /// The operand, as JSON, of the negation whose operand was seen last.
    pub(super) fn operand(&self) -> Option<String> {
        match (&self.what, self.values.as_slice()) {
            (Some(Watched::Operator(_)), [operand]) => shown(operand),
            _ => None,
        }
    }
}

fn shown(value: &JValue) -> Option<String> {
    let value = convert::from_engine(value, JSONATA_TOLD_BYTES_MAX).ok()??;
    Some(value.to_json())
}

/// Whether another evaluation can tell more of an error.
pub(super) fn can_tell(code: Option<&str>) -> bool {
    code.is_some_and(|code| TOLD.contains(&code))
}

pub(super) struct Witness {
    watched: Vec<Watched>,
    /// Functions that are called without arguments: nothing of them passes by.
    bare: Vec<String>,
    seen: RefCell<Sight>,
}

#[derive(Default)]
struct Sight {
    last: Option<usize>,
    values: BTreeMap<usize, Vec<JValue>>,
}

impl Witness {
    /// Changes the tree.
    pub(super) fn install(tree: &mut AstNode) -> Witness {
        let mut witness = Witness {
            watched: Vec::new(),
            bare: Vec::new(),
            seen: RefCell::default(),
        };
        witness.visit(tree);
        witness
    }

    /// The function [`SEEN`]: number of what is watched, number of the operand, value.
    pub(super) fn see(&self, arguments: &[JValue]) -> Result<JValue, EvaluatorError> {
        let number =
            |index: usize| arguments.get(index).and_then(JValue::as_f64).unwrap_or(0.0) as usize;
        let value = arguments.get(2).cloned().unwrap_or(JValue::Undefined);
        let mut sight = self.seen.borrow_mut();
        sight.last = Some(number(0));
        let values = sight.values.entry(number(0)).or_default();
        values.truncate(number(1));
        values.push(value.clone());
        Ok(value)
    }

    /// `handed` are the functions that the expression names without calling them.
    pub(super) fn seen(&self, handed: &[std::sync::Arc<str>]) -> Seen {
        let sight = self.seen.borrow();
        let last = sight.last.unwrap_or(usize::MAX);
        let bare = match self.bare.as_slice() {
            [only] if sight.last.is_none() => Some(Watched::Function(only.clone())),
            _ => None,
        };
        Seen {
            what: self.watched.get(last).cloned().or(bare),
            values: sight.values.get(&last).cloned().unwrap_or_default(),
            hands: !handed.is_empty(),
            handed: match handed {
                [name] => Some(name.to_string()),
                _ => None,
            },
        }
    }

    fn visit(&mut self, node: &mut AstNode) {
        each_child_mut(node, &mut |child| self.visit(child));
        match node {
            AstNode::Function {
                name,
                args,
                is_builtin: true,
            } if !has_placeholder(args) => self.function(name, args),
            AstNode::Binary { op, lhs, rhs } => {
                if let Some(symbol) = symbol(*op) {
                    watch(lhs, self.watched.len(), 0);
                    watch(rhs, self.watched.len(), 1);
                    self.watched.push(Watched::Operator(symbol));
                }
            }
            AstNode::Unary {
                op: UnaryOp::Negate,
                operand,
            } => {
                watch(operand, self.watched.len(), 0);
                self.watched.push(Watched::Operator("-"));
            }
            _ => {}
        }
    }

    fn function(&mut self, name: &str, args: &mut [AstNode]) {
        // Some functions have stand-ins under names that no expression can write.
        let name = name.trim_start_matches('\u{1}');
        if !functions::is_function(name) {
            return;
        }
        if args.is_empty() {
            self.bare.push(name.to_owned());
        }
        let last = args
            .iter_mut()
            .rev()
            .find(|argument| is_watchable(argument));
        if let Some(argument) = last {
            watch(argument, self.watched.len(), 0);
            self.watched.push(Watched::Function(name.to_owned()));
        }
    }
}

fn symbol(op: BinaryOp) -> Option<&'static str> {
    match op {
        BinaryOp::LessThan => Some("<"),
        BinaryOp::LessThanOrEqual => Some("<="),
        BinaryOp::GreaterThan => Some(">"),
        BinaryOp::GreaterThanOrEqual => Some(">="),
        _ => None,
    }
}

fn is_watchable(node: &AstNode) -> bool {
    !matches!(node, AstNode::Lambda { .. } | AstNode::Regex { .. })
}

fn watch(node: &mut AstNode, number: usize, operand: usize) {
    let inner = std::mem::replace(node, AstNode::Null);
    *node = AstNode::Function {
        name: SEEN.into(),
        args: vec![
            AstNode::Number(number as f64),
            AstNode::Number(operand as f64),
            inner,
        ],
        is_builtin: true,
    };
}
