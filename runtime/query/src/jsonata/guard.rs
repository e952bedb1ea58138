//! Keeps evaluations within their memory and their time. The engine bounds time between nodes, depth and sequences but
//! no strings, and no value that shares its parts, so the tree is changed: calls of guards are put around what builds strings,
//! arrays and objects (`installer`, where the `survey` finds that it can do harm), and functions that are handed on are
//! replaced (`named`). Hides where, and how guards are named; what they look at is in `checks`.

mod checks;
mod installer;
mod named;
mod shapes;
mod survey;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use super::bounds::Meter;

pub(super) use named::{BOUNDED, call as call_named};
pub(super) use shapes::has_placeholder;

type Outcome = Result<JValue, EvaluatorError>;

type Guard = fn(&Meter, &[JValue]) -> Outcome;

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
const CALLABLE: &str = "\u{1}callable";
const HANDED: &str = "\u{1}handed";
/// Variables.
const GIVEN: &str = "\u{1}given";
const MATCH: &str = "\u{1}match";
/// Stands for `$toMillis` with a picture.
pub(super) const PARTIAL_TIME: &str = "\u{1}toMillis";

pub(super) const FUNCTIONS: [(&str, Guard); 16] = [
    (NARROW, checks::narrow),
    (WEIGHT, checks::weight),
    (BUILT, checks::built),
    (PARTIAL, checks::partial),
    (PAIRS, checks::pairs),
    (PICTURE, checks::picture),
    (WIDTH, checks::width),
    (TEXT, checks::text),
    (SIZE, checks::size),
    (ITEMS, checks::items),
    (NOTE, checks::note),
    (SEPARATOR, checks::separator),
    (REPLACEMENT, checks::replacement),
    (LAST, checks::last),
    (CALLABLE, checks::callable),
    (HANDED, named::handed),
];

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

/// Puts the guards in; gives the names of those that are.
pub(super) fn install(tree: &mut AstNode) -> Vec<&'static str> {
    let mut used = named::install(tree);
    used.extend(installer::install(tree));
    used
}
