//! Keeps evaluations within their memory. The engine bounds time, depth and sequences but no strings, so the tree is
//! changed: calls of guards are put around what builds strings and arrays. Hides where, and how guards are named.

use jsonata_core::ast::{AstNode, BinaryOp};
use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use super::bounds::Meter;
use super::convert;
use super::tree::{each_child, each_child_mut};
use crate::limits::JSONATA_CONCATENATIONS_FREE;

type Outcome = Result<JValue, EvaluatorError>;

/// Names that no expression can write.
const WIDTH: &str = "\u{1}width";
const TEXT: &str = "\u{1}text";
const SIZE: &str = "\u{1}size";
const ITEMS: &str = "\u{1}items";
const NOTE: &str = "\u{1}note";
const SEPARATOR: &str = "\u{1}separator";
const REPLACEMENT: &str = "\u{1}replacement";
const LAST: &str = "\u{1}last";
/// Stands for `$toMillis` with a picture.
pub(super) const PARTIAL_TIME: &str = "\u{1}toMillis";

pub(super) const FUNCTIONS: [(&str, fn(&Meter, &[JValue]) -> Outcome); 8] = [
    (WIDTH, width),
    (TEXT, text),
    (SIZE, size),
    (ITEMS, items),
    (NOTE, note),
    (SEPARATOR, separator),
    (REPLACEMENT, replacement),
    (LAST, last),
];

/// Puts the guards in; says whether there are any.
pub(super) fn install(tree: &mut AstNode) -> bool {
    let mut survey = Survey::default();
    survey.visit(tree, false);
    let mut installer = Installer {
        growth: survey.repeated || survey.joints > JSONATA_CONCATENATIONS_FREE,
        used: false,
    };
    installer.visit(tree);
    installer.used
}

/// A few concatenations that run once cannot do harm; only repeated or many ones are guarded.
#[derive(Default)]
struct Survey {
    joints: usize,
    repeated: bool,
}

impl Survey {
    fn visit(&mut self, node: &AstNode, within_step: bool) {
        let joint = matches!(
            node,
            AstNode::Binary {
                op: BinaryOp::Concatenate,
                ..
            } | AstNode::Array(_)
        );
        self.joints += usize::from(joint);
        self.repeated |= matches!(node, AstNode::Lambda { .. }) || (joint && within_step);
        let within_step = within_step
            || matches!(
                node,
                AstNode::Path { .. } | AstNode::ObjectTransform { .. } | AstNode::Transform { .. }
            );
        each_child(node, &mut |child| self.visit(child, within_step));
    }
}

struct Installer {
    /// Whether concatenations and array constructors are guarded.
    growth: bool,
    used: bool,
}

impl Installer {
    fn visit(&mut self, node: &mut AstNode) {
        // `a ~> $f(b)` is `$f(a, b)`.
        if let AstNode::Binary {
            op: BinaryOp::ChainPipe,
            lhs,
            rhs,
        } = node
            && let AstNode::Function {
                name,
                args,
                is_builtin: true,
            } = &mut **rhs
            && !has_placeholder(args)
        {
            self.visit(lhs);
            args.iter_mut().for_each(|argument| self.visit(argument));
            let mut arguments: Vec<&mut AstNode> =
                std::iter::once(&mut **lhs).chain(args.iter_mut()).collect();
            if self.call(name, &mut arguments) {
                wrap(TEXT, node);
            }
            return;
        }
        each_child_mut(node, &mut |child| self.visit(child));
        match node {
            AstNode::Function {
                name,
                args,
                is_builtin: true,
            } if !has_placeholder(args) => {
                let mut arguments: Vec<&mut AstNode> = args.iter_mut().collect();
                if self.call(name, &mut arguments) {
                    wrap(TEXT, node);
                }
            }
            AstNode::Binary {
                op: BinaryOp::Concatenate,
                ..
            } if self.growth => {
                self.used = true;
                wrap(TEXT, node);
            }
            AstNode::Array(elements) if self.growth => {
                for element in elements {
                    if may_be_array(element) {
                        self.used = true;
                        wrap(ITEMS, element);
                    }
                }
            }
            _ => {}
        }
    }

    /// Guards the arguments of a function that builds strings; says whether its result is to be counted.
    fn call(&mut self, name: &mut String, args: &mut [&mut AstNode]) -> bool {
        match (name.as_str(), args) {
            ("pad", args) => args.iter_mut().for_each(|argument| wrap(WIDTH, argument)),
            ("string", [value] | [value, _]) | ("join", [value]) => wrap(SIZE, value),
            ("join", [list, between]) => {
                wrap(NOTE, list);
                wrap(SEPARATOR, between);
            }
            ("replace", [_, with]) => {
                lambda_results(with);
                // The text is the context.
                wrap_with_context(REPLACEMENT, with);
            }
            ("replace", [text, pattern, last] | [text, pattern, last, _]) => {
                lambda_results(last);
                wrap(NOTE, text);
                wrap(NOTE, pattern);
                // The context is the text when the third argument is the limit.
                wrap_with_context(LAST, last);
            }
            ("toMillis", [_, _]) => {
                // What the picture leaves out comes from the given time, not from a clock.
                *name = PARTIAL_TIME.to_owned();
                self.used = true;
                return false;
            }
            _ => return false,
        }
        self.used = true;
        true
    }
}

fn has_placeholder(args: &[AstNode]) -> bool {
    args.iter()
        .any(|argument| matches!(argument, AstNode::Placeholder))
}

fn wrap(guard: &str, node: &mut AstNode) {
    let inner = std::mem::replace(node, AstNode::Null);
    *node = AstNode::Function {
        name: guard.into(),
        args: vec![inner],
        is_builtin: true,
    };
}

fn wrap_with_context(guard: &str, node: &mut AstNode) {
    let inner = std::mem::replace(node, AstNode::Null);
    let context = AstNode::Variable(String::new());
    *node = AstNode::Function {
        name: guard.into(),
        args: vec![inner, context],
        is_builtin: true,
    };
}

/// Counts the strings that a function literal gives to `$replace`.
fn lambda_results(node: &mut AstNode) {
    if let AstNode::Lambda { body, thunk, .. } = node {
        wrap(TEXT, body);
        *thunk = false;
    }
}

/// Elements whose items are spliced into the array around them.
fn may_be_array(node: &AstNode) -> bool {
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

fn first(arguments: &[JValue]) -> JValue {
    arguments.first().cloned().unwrap_or(JValue::Undefined)
}

fn text_bytes(value: Option<&JValue>) -> usize {
    value.and_then(JValue::as_str).map_or(0, str::len)
}

/// A width for `$pad`: as many characters will be built.
fn width(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(width) = arguments.first().and_then(JValue::as_f64) {
        meter.string(width.abs().min(usize::MAX as f64) as usize)?;
    }
    Ok(first(arguments))
}

/// A string that was built.
fn text(meter: &Meter, arguments: &[JValue]) -> Outcome {
    meter.string(text_bytes(arguments.first()))?;
    Ok(first(arguments))
}

/// A value of which a text will be made.
fn size(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(value @ (JValue::Array(_) | JValue::Object(_))) = arguments.first() {
        meter.string(convert::engine_bytes(value, meter.string_bytes_max()))?;
    }
    Ok(first(arguments))
}

/// Items that will be spliced into an array.
fn items(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(JValue::Array(items)) = arguments.first() {
        meter.sequence(items.len())?;
        meter.memory(items.len() * size_of::<JValue>())?;
    }
    Ok(first(arguments))
}

/// Notes a length for the guard of a later argument.
fn note(meter: &Meter, arguments: &[JValue]) -> Outcome {
    match arguments.first() {
        Some(JValue::Array(items)) => {
            meter.string(items.iter().map(|item| text_bytes(Some(item))).sum())?;
            meter.note(items.len());
        }
        other => meter.note(text_bytes(other)),
    }
    Ok(first(arguments))
}

/// The text between the items of `$join`.
fn separator(meter: &Meter, arguments: &[JValue]) -> Outcome {
    let items = meter.noted();
    meter.string(items.saturating_mul(text_bytes(arguments.first())))?;
    Ok(first(arguments))
}

/// The replacement of `$replace(pattern, replacement)`; the second argument is the text.
fn replacement(meter: &Meter, arguments: &[JValue]) -> Outcome {
    foresee_replaced(
        meter,
        text_bytes(arguments.get(1)),
        text_bytes(arguments.first()),
    )?;
    Ok(first(arguments))
}

/// The third argument of `$replace`: the replacement, or the limit, with which the text is the context.
fn last(meter: &Meter, arguments: &[JValue]) -> Outcome {
    let (second, text) = (meter.noted(), meter.noted());
    match arguments.first() {
        Some(JValue::Number(_)) => foresee_replaced(meter, text_bytes(arguments.get(1)), second)?,
        other => foresee_replaced(meter, text, text_bytes(other))?,
    }
    Ok(first(arguments))
}

/// A replacement at every place of the text at worst.
fn foresee_replaced(meter: &Meter, text: usize, replacement: usize) -> Result<(), EvaluatorError> {
    meter.foresee(text.saturating_add(1).saturating_mul(replacement))
}
