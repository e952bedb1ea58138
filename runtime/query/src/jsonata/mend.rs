//! Where the engine's answers are not those of the reference engine: calls of helpers are put into the tree, under names
//! that no expression can write. What is left is listed in `tests/differential/differences.txt`.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};
use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use super::bounds::Meter;
use super::functions::call_engine;
use super::guard::has_placeholder;
use super::tree::each_child_mut;

type Outcome = Result<JValue, EvaluatorError>;

type Helper = fn(&Meter, &[JValue]) -> Outcome;

const EMPTY: &str = "\u{1}empty";
const REDUCED: &str = "\u{1}reduced";
const BEGINNING: &str = "\u{1}beginning";
const REST: &str = "\u{1}rest";
const KEPT: &str = "\u{1}kept";
const NESTED: &str = "\u{1}nested";
const NUMBER: &str = "\u{1}number";
const WHOLE: &str = "\u{1}whole";
/// Variables.
const LIST: &str = "\u{1}list";
const INITIAL: &str = "\u{1}initial";

pub(super) const FUNCTIONS: [(&str, Helper); 8] = [
    (EMPTY, empty),
    (REDUCED, reduced),
    (BEGINNING, beginning),
    (REST, rest),
    (KEPT, kept),
    (NESTED, nested),
    (WHOLE, whole),
    (NUMBER, number),
];

/// Functions of the host that stand in for the engine's and take the context where their argument is left out. Functions
/// of the host see no context, so it is given to them.
const OF_CONTEXT: [&str; 5] = [
    "decodeUrl",
    "decodeUrlComponent",
    "encodeUrl",
    "encodeUrlComponent",
    "spread",
];

/// Puts the helpers in; gives the names of those that are.
pub(super) fn install(tree: &mut AstNode) -> Vec<&'static str> {
    let mut used = Vec::new();
    visit(tree, &mut used);
    used
}

fn visit(node: &mut AstNode, used: &mut Vec<&'static str>) {
    each_child_mut(node, &mut |child| visit(child, used));
    match node {
        AstNode::Function {
            name,
            args,
            is_builtin: true,
        } if !has_placeholder(args) => match (name.as_str(), args.as_mut_slice()) {
            ("reduce", [list, _]) => {
                wrap(used, EMPTY, list);
                wrap(used, REDUCED, node);
            }
            ("reduce", [_, function, initial])
                if !is_literal(initial) && parameters(function) <= 2 =>
            {
                begin(used, node);
            }
            ("number", [_]) => {
                *name = NUMBER.into();
                note(used, NUMBER);
            }
            ("fromMillis", [millis, ..]) => wrap(used, WHOLE, millis),
            (name, []) if OF_CONTEXT.contains(&name) => {
                args.push(AstNode::Variable(String::new()));
            }
            _ => {}
        },
        AstNode::Path { steps } => {
            if let [step] = steps.as_slice()
                && matches!(&step.node, AstNode::Function { name, is_builtin: true, .. } if name == "filter")
                && matches!(step.stages.as_slice(), [Stage::KeepArray])
            {
                wrap(used, KEPT, node);
            }
        }
        AstNode::Array(elements) => {
            let chosen = elements.iter_mut().filter(|element| is_chosen(element));
            chosen.for_each(|element| wrap(used, NESTED, element));
        }
        _ => {}
    }
}

/// `$reduce(list, function, initial)` becomes
/// `($l := list; $i := initial; $reduce(rest($l, $i), function, beginning($l, $i)))`.
fn begin(used: &mut Vec<&'static str>, node: &mut AstNode) {
    let AstNode::Function { args, .. } = node else {
        return;
    };
    let take = |node: &mut AstNode| std::mem::replace(node, AstNode::Null);
    let variable = |name: &str| AstNode::Variable(name.into());
    let bind = |name: &str, value: AstNode| AstNode::Binary {
        op: BinaryOp::ColonEqual,
        lhs: Box::new(variable(name)),
        rhs: Box::new(value),
    };
    let list = bind(LIST, take(&mut args[0]));
    let initial = bind(INITIAL, take(&mut args[2]));
    let both = || vec![variable(LIST), variable(INITIAL)];
    args[0] = helper(used, REST, both());
    args[2] = helper(used, BEGINNING, both());
    *node = AstNode::Block(vec![list, initial, take(node)]);
}

fn wrap(used: &mut Vec<&'static str>, name: &'static str, node: &mut AstNode) {
    let inner = std::mem::replace(node, AstNode::Null);
    *node = helper(used, name, vec![inner]);
}

fn note(used: &mut Vec<&'static str>, name: &'static str) {
    if !used.contains(&name) {
        used.push(name);
    }
}

fn helper(used: &mut Vec<&'static str>, name: &'static str, args: Vec<AstNode>) -> AstNode {
    note(used, name);
    AstNode::Function {
        name: name.into(),
        args,
        is_builtin: true,
    }
}

/// Whether the value of a node is there for certain.
fn is_literal(node: &AstNode) -> bool {
    matches!(
        node,
        AstNode::String(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Array(_)
            | AstNode::Object(_)
    )
}

/// How many parameters a function literal has; 0 for what is none.
fn parameters(node: &AstNode) -> usize {
    match node {
        AstNode::Lambda { params, .. } => params.len(),
        _ => 0,
    }
}

/// An array constructor with predicates, `[…][…]`: within another one it is an element, not spliced.
fn is_chosen(node: &AstNode) -> bool {
    let AstNode::Path { steps } = node else {
        return false;
    };
    matches!(steps.as_slice(), [PathStep { node: AstNode::Array(_), stages, .. }] if !stages.is_empty())
}

fn first(arguments: &[JValue]) -> JValue {
    arguments.first().cloned().unwrap_or(JValue::Undefined)
}

/// Notes whether the list of a `$reduce` is empty.
fn empty(meter: &Meter, arguments: &[JValue]) -> Outcome {
    let is_empty = matches!(arguments.first(), Some(JValue::Array(items)) if items.is_empty());
    meter.note(usize::from(is_empty));
    Ok(first(arguments))
}

/// The result of a `$reduce` without an initial value: that of an empty list is undefined.
fn reduced(meter: &Meter, arguments: &[JValue]) -> Outcome {
    Ok(match meter.noted() {
        0 => first(arguments),
        _ => JValue::Undefined,
    })
}

/// The value a `$reduce` begins with: the first of the list when the initial one is undefined.
fn beginning(_: &Meter, arguments: &[JValue]) -> Outcome {
    Ok(match arguments {
        [JValue::Array(items), JValue::Undefined] => first(items),
        [list, JValue::Undefined] => list.clone(),
        _ => arguments.get(1).cloned().unwrap_or(JValue::Undefined),
    })
}

/// What a `$reduce` goes through after its beginning.
fn rest(_: &Meter, arguments: &[JValue]) -> Outcome {
    Ok(match arguments {
        [JValue::Array(items), JValue::Undefined] => {
            JValue::array(items.iter().skip(1).cloned().collect())
        }
        [JValue::Undefined, _] => JValue::Undefined,
        [_, JValue::Undefined] => JValue::array(Vec::new()),
        _ => first(arguments),
    })
}

/// The result of a `$filter` that is to be an array.
fn kept(_: &Meter, arguments: &[JValue]) -> Outcome {
    Ok(match first(arguments) {
        kept @ (JValue::Array(_) | JValue::Undefined) => kept,
        single => JValue::array(vec![single]),
    })
}

/// An element of an array constructor that is not to be spliced.
fn nested(_: &Meter, arguments: &[JValue]) -> Outcome {
    Ok(match first(arguments) {
        array @ JValue::Array(_) => JValue::array(vec![array]),
        other => other,
    })
}

/// Milliseconds for `$fromMillis`: a fraction of one is dropped, as in ECMAScript.
fn whole(_: &Meter, arguments: &[JValue]) -> Outcome {
    Ok(match first(arguments) {
        JValue::Number(millis) => JValue::Number(millis.trunc()),
        other => other,
    })
}

/// `$number(value)`, which takes infinite numbers as well.
fn number(_: &Meter, arguments: &[JValue]) -> Outcome {
    match arguments {
        [infinite @ JValue::Number(number)] if number.is_infinite() => Ok(infinite.clone()),
        _ => call_engine("number", arguments),
    }
}
