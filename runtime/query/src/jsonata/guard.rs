//! Keeps evaluations within their memory. The engine bounds time, depth and sequences but no strings, so the tree is
//! changed: calls of guards are put around what builds strings and arrays. Hides where, and how guards are named.

use jsonata_core::ast::{AstNode, BinaryOp};
use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use super::bounds::{Meter, memory_exceeded};
use super::convert;
use super::tree::{each_child, each_child_mut};
use crate::limits::{JSONATA_CONCATENATIONS_FREE, JSONATA_DISTINCT_MAX};

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
const PAIRS: &str = "\u{1}pairs";
const PICTURE: &str = "\u{1}picture";
/// Stands for `$toMillis` with a picture.
pub(super) const PARTIAL_TIME: &str = "\u{1}toMillis";

type Guard = fn(&Meter, &[JValue]) -> Outcome;

pub(super) const FUNCTIONS: [(&str, Guard); 10] = [
    (PAIRS, pairs),
    (PICTURE, picture),
    (WIDTH, width),
    (TEXT, text),
    (SIZE, size),
    (ITEMS, items),
    (NOTE, note),
    (SEPARATOR, separator),
    (REPLACEMENT, replacement),
    (LAST, last),
];

/// Puts the guards in; gives the names of those that are.
pub(super) fn install(tree: &mut AstNode) -> Vec<&'static str> {
    let mut survey = Survey::default();
    survey.visit(tree, false);
    let growth = survey.repeated || survey.joints > JSONATA_CONCATENATIONS_FREE;
    let mut installer = Installer {
        growth,
        used: Vec::new(),
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
        let mut within_step = within_step;
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

struct Installer {
    /// Whether concatenations, array constructors and comparisons are guarded.
    growth: bool,
    used: Vec<&'static str>,
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
                self.wrap(TEXT, node);
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
                    self.wrap(TEXT, node);
                }
            }
            AstNode::Binary {
                op: BinaryOp::Concatenate,
                ..
            } if self.growth => self.wrap(TEXT, node),
            AstNode::Binary {
                op: BinaryOp::Equal | BinaryOp::NotEqual | BinaryOp::In,
                lhs,
                rhs,
            } if self.growth && !is_scalar(lhs) && !is_scalar(rhs) => {
                self.wrap(SIZE, lhs);
                self.wrap(SIZE, rhs);
            }
            AstNode::Array(elements) if self.growth => {
                elements
                    .iter_mut()
                    .filter(|element| may_be_array(element))
                    .for_each(|item| self.wrap(ITEMS, item));
            }
            _ => {}
        }
    }

    /// Guards the arguments of a function that builds much or works long; says whether its result is a text to count.
    fn call(&mut self, name: &mut String, args: &mut [&mut AstNode]) -> bool {
        match (name.as_str(), args) {
            ("pad", args) => args
                .iter_mut()
                .for_each(|argument| self.wrap(WIDTH, argument)),
            ("string", [value] | [value, _]) if self.growth => self.wrap(SIZE, value),
            ("join", [value]) => self.wrap(SIZE, value),
            ("join", [list, between]) => {
                self.wrap(NOTE, list);
                self.wrap(SEPARATOR, between);
            }
            ("replace", [_, with]) => {
                self.lambda_results(with);
                // The text is the context.
                self.wrap_with_context(REPLACEMENT, with);
            }
            ("replace", [text, pattern, last] | [text, pattern, last, _]) => {
                self.lambda_results(last);
                self.wrap(NOTE, text);
                self.wrap(NOTE, pattern);
                // The context is the text when the third argument is the limit.
                self.wrap_with_context(LAST, last);
            }
            ("distinct", [list]) => {
                self.wrap(PAIRS, list);
                return false;
            }
            ("formatInteger", [picture]) => self.wrap_with_context(PICTURE, picture),
            ("formatInteger", [number, picture]) => {
                self.wrap(NOTE, number);
                self.wrap(PICTURE, picture);
            }
            ("toMillis", [_, _]) => {
                // What the picture leaves out comes from the given time, not from a clock.
                *name = PARTIAL_TIME.to_owned();
                self.used.push(PARTIAL_TIME);
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Counts the strings that a function literal gives to `$replace`.
    fn lambda_results(&mut self, node: &mut AstNode) {
        if let AstNode::Lambda { body, thunk, .. } = node {
            self.wrap(TEXT, body);
            *thunk = false;
        }
    }

    fn wrap(&mut self, guard: &'static str, node: &mut AstNode) {
        let inner = std::mem::replace(node, AstNode::Null);
        *node = self.guard(guard, vec![inner]);
    }

    /// As [`Self::wrap`], with `$` as a second argument.
    fn wrap_with_context(&mut self, guard: &'static str, node: &mut AstNode) {
        let inner = std::mem::replace(node, AstNode::Null);
        *node = self.guard(guard, vec![inner, AstNode::Variable(String::new())]);
    }

    fn guard(&mut self, guard: &'static str, args: Vec<AstNode>) -> AstNode {
        if !self.used.contains(&guard) {
            self.used.push(guard);
        }
        AstNode::Function {
            name: guard.into(),
            args,
            is_builtin: true,
        }
    }
}

pub(super) fn has_placeholder(args: &[AstNode]) -> bool {
    args.iter()
        .any(|argument| matches!(argument, AstNode::Placeholder))
}

fn is_scalar(node: &AstNode) -> bool {
    matches!(
        node,
        AstNode::String(_) | AstNode::Number(_) | AstNode::Boolean(_) | AstNode::Null
    )
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

/// A value of which a text will be made, or which is walked to its leaves.
fn size(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(value @ (JValue::Array(_) | JValue::Object(_))) = arguments.first() {
        let most = meter.bounds().string_bytes;
        if convert::engine_bytes(value, most) > most {
            return Err(memory_exceeded());
        }
    }
    Ok(first(arguments))
}

/// A list of which each pair of items may be compared.
fn pairs(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(JValue::Array(items)) = arguments.first()
        && items.len() > JSONATA_DISTINCT_MAX
    {
        return Err(memory_exceeded());
    }
    size(meter, arguments)
}

/// The picture of `$formatInteger`: a Roman number has as many letters M as it has thousands. The number was noted, or
/// is the context.
fn picture(meter: &Meter, arguments: &[JValue]) -> Outcome {
    let letters = match arguments.get(1) {
        Some(context) => thousands(context),
        None => meter.noted(),
    };
    if arguments
        .first()
        .and_then(JValue::as_str)
        .is_some_and(|picture| picture.starts_with(['I', 'i']))
    {
        meter.string(letters)?;
    }
    Ok(first(arguments))
}

fn thousands(value: &JValue) -> usize {
    value
        .as_f64()
        .map_or(0, |number| (number.abs() / 1000.0) as usize)
}

/// Items that will be spliced into an array.
fn items(meter: &Meter, arguments: &[JValue]) -> Outcome {
    if let Some(JValue::Array(items)) = arguments.first() {
        meter.sequence(items.len())?;
        meter.memory(items.len() * size_of::<JValue>())?;
    }
    Ok(first(arguments))
}

/// Notes a length (thousands, for a number) for the guard of a later argument.
fn note(meter: &Meter, arguments: &[JValue]) -> Outcome {
    match arguments.first() {
        Some(JValue::Array(items)) => {
            meter.string(items.iter().map(|item| text_bytes(Some(item))).sum())?;
            meter.note(items.len());
        }
        Some(number @ JValue::Number(_)) => meter.note(thousands(number)),
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
