//! Keeps evaluations within their memory and their time. The engine bounds time between nodes, depth and sequences but
//! no strings, and no value that shares its parts, so the tree is changed: calls of guards are put around what builds strings,
//! arrays and objects. Hides where, and how guards are named.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};
use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use super::bounds::{Meter, memory_exceeded};
use super::convert;
use super::tree::{each_child, each_child_mut};
use crate::limits::{
    JSONATA_CONCATENATIONS_FREE, JSONATA_COPIES_FREE, JSONATA_DISTINCT_MAX,
    JSONATA_PICTURE_BYTES_MAX,
};

/// Bytes of a member beside its key and value.
const MEMBER_BYTES: usize = 72;

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
const NARROW: &str = "\u{1}narrow";
const WEIGHT: &str = "\u{1}weight";
const BUILT: &str = "\u{1}built";
const PARTIAL: &str = "\u{1}partial";
/// Stands for `$toMillis` with a picture.
pub(super) const PARTIAL_TIME: &str = "\u{1}toMillis";

type Guard = fn(&Meter, &[JValue]) -> Outcome;

pub(super) const FUNCTIONS: [(&str, Guard); 14] = [
    (NARROW, narrow),
    (WEIGHT, weight),
    (BUILT, built),
    (PARTIAL, partial),
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
    let growth = survey.repeated
        || survey.joints > JSONATA_CONCATENATIONS_FREE
        || survey.copies > JSONATA_COPIES_FREE;
    let mut installer = Installer {
        growth,
        used: Vec::new(),
    };
    installer.visit(tree);
    installer.used
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

/// What the result of a function is to be counted as.
enum Built {
    Text,
    Parts,
    Little,
}

/// Functions that build a text as long as their argument, or longer.
const TEXTS: [&str; 13] = [
    "base64decode",
    "base64encode",
    "decodeUrl",
    "decodeUrlComponent",
    "encodeUrl",
    "encodeUrlComponent",
    "formatBase",
    "lowercase",
    "substring",
    "substringAfter",
    "substringBefore",
    "trim",
    "uppercase",
];

/// Functions of the engine that take a function, and keep it no longer than they run.
const TAKE_FUNCTIONS: [&str; 8] = [
    "each", "filter", "map", "reduce", "replace", "sift", "single", "sort",
];

/// Functions that build a list or an object.
const PARTS: [&str; 17] = [
    "append",
    "each",
    "filter",
    "keys",
    "map",
    "match",
    "merge",
    "partition",
    "range",
    "reduce",
    "reverse",
    "shuffle",
    "sift",
    "sort",
    "split",
    "spread",
    "zip",
];

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
            let result = self.call(name, &mut arguments);
            self.wrap_result(result, node);
            return;
        }
        if let AstNode::Binary {
            op: BinaryOp::ChainPipe,
            lhs,
            rhs,
        } = node
        {
            // What stands to the right gets the left side as an argument: it has to stay what it is.
            self.visit(lhs);
            match &mut **rhs {
                AstNode::Path { steps } => self.visit_steps(steps),
                rhs => each_child_mut(rhs, &mut |child| self.visit(child)),
            }
            return;
        }
        if let AstNode::Path { steps } = node {
            self.visit_steps(steps);
            return;
        }
        each_child_mut(node, &mut |child| self.visit(child));
        if self.growth {
            self.weigh_parts(node);
        }
        self.guard_node(node);
    }

    /// Guards a node whose children are guarded.
    fn guard_node(&mut self, node: &mut AstNode) {
        match node {
            AstNode::Function {
                name,
                args,
                is_builtin: true,
            } if !has_placeholder(args) => {
                let mut arguments: Vec<&mut AstNode> = args.iter_mut().collect();
                let result = self.call(name, &mut arguments);
                self.wrap_result(result, node);
            }
            AstNode::Function { args, .. } | AstNode::Call { args, .. }
                if has_placeholder(args) =>
            {
                self.wrap(PARTIAL, node);
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

    /// The steps of a path. The result of a function has to stay what it is there: a list of one item is one as long as `[]`
    /// may follow.
    fn visit_steps(&mut self, steps: &mut [PathStep]) {
        for PathStep { node, stages, .. } in steps {
            if let AstNode::Function {
                name,
                args,
                is_builtin: true,
            } = node
                && PARTS.contains(&name.as_str())
                && !has_placeholder(args)
            {
                args.iter_mut().for_each(|argument| self.visit(argument));
                let mut arguments: Vec<&mut AstNode> = args.iter_mut().collect();
                self.call(name, &mut arguments);
            } else {
                self.visit(node);
            }
            for stage in stages {
                if let Stage::Filter(filter) = stage {
                    self.visit(filter);
                }
            }
        }
    }

    /// Weighs what may be put into a new value many times over, or walked to its leaves.
    fn weigh_parts(&mut self, node: &mut AstNode) {
        let shares = compound_parts(node);
        match node {
            AstNode::Array(parts) | AstNode::ArrayGroup(parts) => {
                for part in parts.iter_mut().filter(|part| may_have_parts(part)) {
                    self.weigh_part(part, shares);
                }
            }
            AstNode::Object(pairs) | AstNode::ObjectTransform { pattern: pairs, .. } => {
                for (_, part) in pairs.iter_mut().filter(|(_, part)| may_have_parts(part)) {
                    self.weigh_part(part, shares);
                }
            }
            AstNode::Binary {
                op: BinaryOp::ColonEqual,
                rhs,
                ..
            } => {
                if matches!(**rhs, AstNode::Lambda { .. }) {
                    // The function gets the variable's name: it has to stay where it is.
                    self.weigh(node, 1);
                } else if may_have_parts(rhs) {
                    self.weigh(rhs, 1);
                }
            }
            AstNode::Binary {
                op: BinaryOp::Concatenate | BinaryOp::And | BinaryOp::Or,
                lhs,
                rhs,
            } => {
                for side in [lhs, rhs] {
                    self.weigh_path(side);
                }
            }
            AstNode::Conditional { condition, .. } => self.weigh_path(condition),
            AstNode::Function { name, args, .. } if TAKE_FUNCTIONS.contains(&name.as_str()) => {
                args.iter_mut()
                    .for_each(|argument| self.weigh_path(argument));
            }
            AstNode::Function { args, .. } | AstNode::Call { args, .. } => {
                for argument in args {
                    if matches!(argument, AstNode::Lambda { .. }) {
                        self.weigh(argument, 1);
                    } else {
                        self.weigh_path(argument);
                    }
                }
            }
            AstNode::Lambda { body, .. } => self.weigh_functions(body),
            _ => {}
        }
    }

    /// Weighs what is put into a list or an object. A list within it has to stay where it is, or its items would be spliced
    /// into the one around it: its own parts get smaller shares.
    fn weigh_part(&mut self, part: &mut AstNode, shares: usize) {
        match part {
            AstNode::Array(parts) | AstNode::ArrayGroup(parts) => {
                for part in parts {
                    self.weigh_part(part, shares);
                }
            }
            AstNode::Function { name, args, .. } if name == WEIGHT => {
                if let Some(AstNode::Number(own)) = args.get_mut(1) {
                    *own *= shares as f64;
                }
            }
            part if may_have_parts(part) => self.weigh(part, shares),
            _ => {}
        }
    }

    /// Weighs the functions that a function answers with: each may keep the one before it.
    fn weigh_functions(&mut self, body: &mut AstNode) {
        match body {
            AstNode::Lambda { .. } => self.weigh(body, 1),
            AstNode::Block(nodes) => {
                if let Some(last) = nodes.last_mut() {
                    self.weigh_functions(last);
                }
            }
            AstNode::Conditional {
                then_branch,
                else_branch,
                ..
            } => {
                self.weigh_functions(then_branch);
                if let Some(last) = else_branch {
                    self.weigh_functions(last);
                }
            }
            _ => {}
        }
    }

    /// A path's result holds one part as often as the path leads to it.
    fn weigh_path(&mut self, node: &mut AstNode) {
        if matches!(node, AstNode::Path { .. }) {
            self.weigh(node, 1);
        }
    }

    fn weigh(&mut self, node: &mut AstNode, shares: usize) {
        let inner = std::mem::replace(node, AstNode::Null);
        *node = self.guard(WEIGHT, vec![inner, AstNode::Number(shares as f64)]);
    }

    fn wrap_result(&mut self, result: Built, node: &mut AstNode) {
        match result {
            Built::Text => self.wrap(TEXT, node),
            Built::Parts if self.growth => self.wrap(BUILT, node),
            Built::Parts | Built::Little => {}
        }
    }

    /// Guards the arguments of a function that builds much or works long; says what its result is to be counted as.
    fn call(&mut self, name: &mut String, args: &mut [&mut AstNode]) -> Built {
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
                return Built::Parts;
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
                return Built::Little;
            }
            ("formatNumber" | "fromMillis" | "parseInteger", args) => {
                args.iter_mut()
                    .filter(|argument| !is_scalar(argument))
                    .for_each(|argument| self.wrap(NARROW, argument));
            }
            (name, _) if self.growth && TEXTS.contains(&name) => {}
            (name, _) if PARTS.contains(&name) => return Built::Parts,
            _ => return Built::Little,
        }
        Built::Text
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

/// How many parts a constructor has that may have parts themselves.
fn compound_parts(node: &AstNode) -> usize {
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
fn may_have_parts(node: &AstNode) -> bool {
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

/// The picture of a number or a time, which is read again for each digit.
fn narrow(_: &Meter, arguments: &[JValue]) -> Outcome {
    if text_bytes(arguments.first()) > JSONATA_PICTURE_BYTES_MAX {
        return Err(memory_exceeded());
    }
    Ok(first(arguments))
}

/// A value that is put into another one, kept or walked; the second argument is how many share what one may weigh.
fn weight(meter: &Meter, arguments: &[JValue]) -> Outcome {
    let shares = arguments.get(1).and_then(JValue::as_f64).unwrap_or(1.0);
    if let Some(value) = arguments.first() {
        meter.weigh(value, shares as usize)?;
    }
    Ok(first(arguments))
}

/// A list or an object that was built.
fn built(meter: &Meter, arguments: &[JValue]) -> Outcome {
    match arguments.first() {
        Some(JValue::Array(items)) => meter.memory(items.len() * size_of::<JValue>())?,
        Some(JValue::Object(members)) => meter.memory(members.len() * MEMBER_BYTES)?,
        _ => {}
    }
    weight(meter, &arguments[..arguments.len().min(1)])
}

/// A function that keeps some of its arguments.
fn partial(meter: &Meter, arguments: &[JValue]) -> Outcome {
    meter.partial()?;
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
