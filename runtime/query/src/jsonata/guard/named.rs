//! Functions of the engine that are handed on: named without a call, as in `$f := $pad` or `$reduce(list, $join)`, or given a
//! part of their arguments, as in `$pad(?, 9)`. No guard stands where they are called in the end, so in their place goes a
//! function of the host that looks at the arguments and calls the engine's. Hides its names. Such a function sees no context.

use jsonata_core::ast::{AstNode, BinaryOp};
use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use super::super::bounds::Meter;
use super::super::functions::{Host, call_engine, partial_time};
use super::super::tree::each_child_mut;
use super::checks::{self, foresee_replaced, text_bytes, thousands};
use super::shapes::has_placeholder;
use super::{HANDED, Outcome};

type Check = fn(&Meter, &[JValue]) -> Result<(), EvaluatorError>;

/// A function that can build much, or work long, out of little.
pub(in super::super) struct Bounded {
    name: &'static str,
    /// Its name in the host.
    pub(in super::super) handed: &'static str,
    /// How many arguments it has: what takes functions gives them more.
    takes: usize,
    check: Check,
}

macro_rules! bounded {
    ($($name:literal takes $takes:literal: $check:path,)*) => {
        /// All of them.
        pub(in super::super) const BOUNDED: &[Bounded] = &[
            $(Bounded {
                name: $name,
                handed: concat!("\u{1}", $name, " handed"),
                takes: $takes,
                check: $check,
            },)*
        ];
    };
}

bounded! {
    "append" takes 2: nothing,
    "base64decode" takes 1: nothing,
    "base64encode" takes 1: nothing,
    "distinct" takes 1: compared,
    "formatBase" takes 2: nothing,
    "formatInteger" takes 2: roman,
    "formatNumber" takes 3: pictures,
    "fromMillis" takes 3: pictures,
    "join" takes 2: joined,
    "lowercase" takes 1: nothing,
    "pad" takes 3: padded,
    "parseInteger" takes 2: pictures,
    "replace" takes 4: replaced,
    "reverse" takes 1: nothing,
    "split" takes 3: nothing,
    "substring" takes 3: nothing,
    "substringAfter" takes 2: nothing,
    "substringBefore" takes 2: nothing,
    "toMillis" takes 2: pictures,
    "trim" takes 1: nothing,
    "uppercase" takes 1: nothing,
}

/// Puts the host's functions in the place of those that are handed on; gives their names.
pub(super) fn install(tree: &mut AstNode) -> Vec<&'static str> {
    let mut used = Vec::new();
    visit(tree, &mut used);
    used
}

fn visit(node: &mut AstNode, used: &mut Vec<&'static str>) {
    match node {
        // The other side is a name that is bound.
        AstNode::Binary {
            op: BinaryOp::ColonEqual,
            rhs: inner,
            ..
        }
        | AstNode::Binary {
            op: BinaryOp::FocusBind | BinaryOp::IndexBind,
            lhs: inner,
            ..
        } => visit(inner, used),
        _ => each_child_mut(node, &mut |child| visit(child, used)),
    }
    if let AstNode::Variable(name) = node {
        if let Some(function) = find(name) {
            *node = hand(function, used);
        }
        return;
    }
    if let AstNode::Function {
        name,
        args,
        is_builtin: true,
    } = node
        && has_placeholder(args)
        && let Some(function) = find(name)
    {
        let args = std::mem::take(args);
        let procedure = Box::new(hand(function, used));
        *node = AstNode::Call { procedure, args };
    }
}

fn find(name: &str) -> Option<&'static Bounded> {
    BOUNDED.iter().find(|function| function.name == name)
}

/// What names a function, as it is handed on. Whether the name is the function's or a variable's is seen when it is evaluated.
fn hand(function: &'static Bounded, used: &mut Vec<&'static str>) -> AstNode {
    for name in [HANDED, function.handed] {
        if !used.contains(&name) {
            used.push(name);
        }
    }
    // In parentheses: to the right of `~>` a call gets the left side as an argument.
    AstNode::Block(vec![AstNode::Function {
        name: HANDED.into(),
        args: vec![AstNode::variable(function.name)],
        is_builtin: true,
    }])
}

/// The value of a name: of a bounded function it is the host's.
pub(super) fn handed(_: &Meter, arguments: &[JValue]) -> Outcome {
    let value = arguments.first().cloned().unwrap_or(JValue::Undefined);
    let JValue::Builtin { name } = &value else {
        return Ok(value);
    };
    Ok(match find(name) {
        Some(function) => JValue::builtin(function.handed),
        None => value,
    })
}

/// Calls the engine's function when its arguments may pass, and takes account of what it builds.
pub(in super::super) fn call(host: &Host, function: &Bounded, arguments: &[JValue]) -> Outcome {
    let arguments = &arguments[..arguments.len().min(function.takes)];
    let meter = &host.meter;
    (function.check)(meter, arguments)?;
    let built = match (function.name, arguments) {
        ("toMillis", [_, _]) => partial_time(host, arguments)?,
        (name, arguments) => call_engine(name, arguments)?,
    };
    let counted = std::slice::from_ref(&built);
    match &built {
        JValue::String(_) => checks::text(meter, counted)?,
        _ => checks::built(meter, counted)?,
    };
    Ok(built)
}

fn nothing(_: &Meter, _: &[JValue]) -> Result<(), EvaluatorError> {
    Ok(())
}

fn compared(meter: &Meter, arguments: &[JValue]) -> Result<(), EvaluatorError> {
    checks::pairs(meter, arguments).map(drop)
}

fn padded(meter: &Meter, arguments: &[JValue]) -> Result<(), EvaluatorError> {
    let width = arguments.get(1..).unwrap_or_default();
    checks::width(meter, width).map(drop)
}

fn pictures(meter: &Meter, arguments: &[JValue]) -> Result<(), EvaluatorError> {
    let mut pictures = arguments.iter().skip(1).map(std::slice::from_ref);
    pictures.try_for_each(|picture| checks::narrow(meter, picture).map(drop))
}

fn roman(meter: &Meter, arguments: &[JValue]) -> Result<(), EvaluatorError> {
    let number = arguments.first().map_or(0, thousands);
    meter.note(number);
    let picture = arguments.get(1..).unwrap_or_default();
    checks::picture(meter, picture).map(drop)
}

fn joined(meter: &Meter, arguments: &[JValue]) -> Result<(), EvaluatorError> {
    let Some(JValue::Array(items)) = arguments.first() else {
        return Ok(());
    };
    let texts: usize = items.iter().map(|item| text_bytes(Some(item))).sum();
    let between = items.len().saturating_mul(text_bytes(arguments.get(1)));
    meter.string(texts.saturating_add(between))
}

fn replaced(meter: &Meter, arguments: &[JValue]) -> Result<(), EvaluatorError> {
    let (text, with) = (text_bytes(arguments.first()), text_bytes(arguments.get(2)));
    foresee_replaced(meter, text, with)
}
