//! Paths, payload templates and JSONata expressions as the definition has them. Hides the query languages' own errors
//! behind the definition's codes, and the warnings about texts that look like paths and are not read as such.

use std::sync::Arc;

use stepwell_query::{
    Expression, INTRINSIC_FUNCTIONS, JsonataTemplate, Path, PathExpr, PathRoot, ReferencePath,
    Template, TemplateError, Value,
};

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, shortened};
use crate::hint::nearest;
use crate::node::Node;

/// What `$states` has, at some place or other.
const STATES_MEMBERS: [&str; 4] = ["input", "result", "errorOutput", "context"];

/// What `$states.errorOutput` is in a JSONata field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A catcher's own `Output` or `Assign`.
    Catcher,
    /// Anywhere else: not there.
    State,
}

impl<'d> Node<'d> {
    /// A JSONPath with any operator.
    pub(crate) fn path(&self) -> Option<Path> {
        let text = self.text()?;
        if self.is_substitution() {
            return None;
        }
        Path::parse(text)
            .map_err(|error| {
                self.syntax(
                    Code::BadPath,
                    "Value is not a valid JSONPath",
                    &error.message,
                )
            })
            .ok()
    }

    /// A path of names and indexes.
    pub(crate) fn reference_path(&self) -> Option<ReferencePath> {
        let text = self.text()?;
        if self.is_substitution() {
            return None;
        }
        ReferencePath::parse(text)
            .map_err(|error| {
                self.syntax(
                    Code::BadReference,
                    "Value is not a Reference Path",
                    &error.message,
                )
            })
            .ok()
    }

    /// A reference path into the state's input alone, as `ResultPath` must be.
    pub(crate) fn input_reference_path(&self) -> Option<ReferencePath> {
        let path = self.reference_path()?;
        if *path.root() != PathRoot::Input {
            let detail = "a result can be put into the state's input ($) alone";
            self.syntax(Code::BadReference, "Value is not a Reference Path", detail);
            return None;
        }
        Some(path)
    }

    /// A path, or a call of an intrinsic function that gives a string.
    pub(crate) fn string_expr(&self) -> Option<PathExpr> {
        let text = self.text()?;
        match PathExpr::parse(text) {
            Ok(expr) => {
                if let PathExpr::Intrinsic(call) = &expr
                    && !gives_string(call.text())
                {
                    let message = format!(
                        "Value must be a Reference Path or an intrinsic function that returns a string, one of [{}]",
                        STRING_FUNCTIONS.join(", ")
                    );
                    self.fault(Code::NotString, message);
                }
                Some(expr)
            }
            Err(error) => {
                let message = "Value must be a valid JSONPath or a valid intrinsic function call";
                self.syntax(Code::BadPath, message, &error.message);
                None
            }
        }
    }

    /// A JSONPath payload template.
    pub(crate) fn template(&self) -> Option<Template> {
        self.warn_of_paths_without_dollar();
        self.check_twins();
        Template::build(self.value)
            .map_err(|errors| errors.iter().for_each(|error| self.template_fault(error)))
            .ok()
    }

    /// Any JSON with JSONata strings in it.
    pub(crate) fn jsonata_template(&self, slot: Slot) -> Option<JsonataTemplate> {
        self.check_braces();
        match JsonataTemplate::build(self.value) {
            Ok(template) => {
                for (pointer, expression) in template.expressions() {
                    self.check_references(pointer, expression, slot);
                }
                Some(template)
            }
            Err(errors) => {
                for error in &errors {
                    self.expression_fault(&error.pointer, &error.message, &error.detail);
                }
                None
            }
        }
    }

    /// The JSONata expression that this string is; `None` when the value is no JSONata string or does not parse.
    pub(crate) fn expression(&self, slot: Slot) -> Option<Expression> {
        let inner = Expression::unwrap(self.value.as_str()?)?;
        match Expression::parse(inner) {
            Ok(expression) => {
                self.check_references("", &expression, slot);
                Some(expression)
            }
            Err(error) => {
                let detail = error.told(inner);
                self.expression_fault("", &error.message, &detail);
                None
            }
        }
    }

    /// Whether the value is a JSONata string.
    pub(crate) fn is_jsonata(&self) -> bool {
        self.value
            .as_str()
            .is_some_and(|text| Expression::unwrap(text).is_some())
    }

    /// Warns of a plain string that looks like a path, in a field that has a `…Path` form.
    pub(crate) fn warn_of_path(&self) {
        if self.value.as_str().is_some_and(looks_like_path) {
            let field = self.place.name().unwrap_or_default();
            let hint = Some(format!(
                "write \"{field}Path\" if the value at that path is meant"
            ));
            self.fault_with_hint(
                Code::NoPath,
                "Field value looks like a path, but field name does not end with 'Path'",
                hint,
            );
        }
    }

    /// Warns of paths in a payload whose field names do not end in `.$`.
    fn warn_of_paths_without_dollar(&self) {
        each_string(self, None, &mut |name, node, text| {
            let bare = name.is_none_or(|name| !name.ends_with(".$"));
            if bare && looks_like_path(text) {
                let hint = name
                    .map(|name| format!("write \"{name}.$\" if the value at that path is meant"));
                let message =
                    "No '.$' on a field that appears to be a JSONPath or Intrinsic Function";
                node.fault_with_hint(Code::NoDollar, message, hint);
            }
        });
    }

    /// Reports members that would give one field two values: `x` beside `x.$`.
    fn check_twins(&self) {
        match self.value {
            Value::Object(members) => {
                for (name, value) in members.iter() {
                    let child = Node {
                        value,
                        place: self.place.member(name),
                        report: self.report,
                    };
                    if let Some(plain) = name.strip_suffix(".$")
                        && members.contains_key(plain)
                    {
                        let message =
                            format!("The fields '{plain}' and '{name}' exclude each other");
                        let mut diagnostic = child.diagnostic(Code::BadTemplate, message);
                        diagnostic.stands_for(&self.place);
                        self.report.add(diagnostic);
                    }
                    child.check_twins();
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    Node {
                        value,
                        place: self.place.item(index),
                        report: self.report,
                    }
                    .check_twins();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Warns of paths in a `Result`, which are passed on as they stand.
    pub(crate) fn warn_of_static_result(&self) {
        each_string(self, None, &mut |name, node, text| {
            if name.is_some_and(|name| name.ends_with(".$")) || looks_like_path(text) {
                let hint = Some(
                    "use \"Parameters\" instead of \"Result\" if the path is to be followed"
                        .to_owned(),
                );
                node.fault_with_hint(
                    Code::StaticResult,
                    "Attempt to use a path in the result of a pass state",
                    hint,
                );
            }
        });
    }

    /// Reports strings that begin as JSONata strings and do not end so.
    fn check_braces(&self) {
        each_string(self, None, &mut |_, node, text| {
            if text.starts_with("{%") && Expression::unwrap(text).is_none() {
                let hint = Some("end the string with \"%}\"".to_owned());
                node.fault_with_hint(
                    Code::BadExpression,
                    "JSONata expression must end with '%}'",
                    hint,
                );
            }
        });
    }

    fn check_references(&self, pointer: &str, expression: &Expression, slot: Slot) {
        let references = expression.references();
        let at = |code, message: String, hint: String| {
            let mut diagnostic =
                Diagnostic::at(&self.place.below(pointer, self.value), code, message);
            diagnostic.hint = Some(hint);
            diagnostic.detail = Some(format!(
                "{} In '{}'",
                diagnostic.message,
                shortened(expression.text())
            ));
            self.report.add(diagnostic);
        };
        if references.error_output && slot == Slot::State {
            let hint = "a catcher's own Output and Assign have it".to_owned();
            let message = "Field '$states.errorOutput' does not exist.".to_owned();
            at(Code::Misused, message, hint);
        }
        for name in &references.unknown_states {
            let message = format!("Field '$states.{name}' does not exist.");
            let hint = nearest(name, STATES_MEMBERS).unwrap_or_else(|| {
                format!("a member of the state's input is $states.input.{name}")
            });
            at(Code::UnknownMember, message, hint);
        }
        if references.root {
            let hint = "the state's input is $states.input".to_owned();
            let message = "Reference to '$$' is not supported.".to_owned();
            at(Code::Misused, message, hint);
        }
        for name in &references.unrooted {
            let message = format!("Reference to '{name}' at the top level is not supported.");
            let hint = match &**name {
                "$" | "*" | "**" => "the state's input is $states.input".to_owned(),
                name => format!("write $states.input.{name}, or ${name} for a variable"),
            };
            at(Code::Unrooted, message, hint);
        }
    }

    fn template_fault(&self, error: &TemplateError) {
        let place = self.place.below(&error.pointer, self.value);
        let parent = error
            .pointer
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent);
        let message = if error.field.ends_with(".$") {
            format!(
                "The value for the field '{}' must be a valid JSONPath or a valid intrinsic function call",
                error.field
            )
        } else {
            error.message.clone()
        };
        let mut diagnostic = Diagnostic::at(&place, Code::BadTemplate, message);
        diagnostic.stands_for(&self.place.below(parent, self.value));
        if !error.detail.is_empty() {
            diagnostic.detail = Some(format!(
                "{} is refused: {}",
                shortened(&error.text),
                error.detail
            ));
        }
        diagnostic.value = Some(shortened(&error.text));
        diagnostic.hint = function_hint(&error.text);
        self.report.add(diagnostic);
    }

    /// The service says what is wrong alone; people are told in which expression.
    fn expression_fault(&self, pointer: &str, message: &str, detail: &str) {
        let place = self.place.below(pointer, self.value);
        let mut diagnostic = Diagnostic::at(&place, Code::BadExpression, message);
        diagnostic.detail = Some(detail.to_owned());
        self.report.add(diagnostic);
    }

    fn syntax(&self, code: Code, message: &str, detail: &str) {
        let mut diagnostic = self.diagnostic(code, message);
        diagnostic.detail = Some(format!(
            "{} is refused: {detail}",
            shortened(&self.value.to_json())
        ));
        self.report.add(diagnostic);
    }
}

/// The intrinsic functions that give a string.
const STRING_FUNCTIONS: &[&str] = &[
    "States.Format",
    "States.JsonToString",
    "States.ArrayGetItem",
    "States.Base64Encode",
    "States.Base64Decode",
    "States.Hash",
    "States.UUID",
];

fn gives_string(call: &str) -> bool {
    call.split_once('(')
        .is_some_and(|(name, _)| STRING_FUNCTIONS.contains(&name.trim()))
}

/// The intrinsic function that was probably meant, where a text calls one that there is not.
fn function_hint(text: &str) -> Option<String> {
    let calls = text.match_indices("States.").map(|(at, _)| {
        let call = &text[at..];
        let end = call.find(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        &call[..end.unwrap_or(call.len())]
    });
    calls
        .filter(|name| !INTRINSIC_FUNCTIONS.contains(name))
        .find_map(|name| nearest(name, INTRINSIC_FUNCTIONS.iter().copied()))
}

/// Whether a text is written like a path into the input or context, or like an intrinsic call.
pub(crate) fn looks_like_path(text: &str) -> bool {
    let begun = text.starts_with("$.")
        || text.starts_with("$$.")
        || text.starts_with("$[")
        || text.starts_with("States.");
    begun && text.len() > 2 && PathExpr::parse(text).is_ok()
}

/// What is called with a string: the name of the member it is, where it stands, and its text.
pub(crate) type Visit<'v, 'd> = dyn FnMut(Option<&Arc<str>>, &Node<'d>, &'d str) + 'v;

/// Calls `visit` with each string below the node, and the name of the member it is.
pub(crate) fn each_string<'d>(node: &Node<'d>, name: Option<&Arc<str>>, visit: &mut Visit<'_, 'd>) {
    match node.value {
        Value::String(text) => visit(name, node, text),
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                each_string(
                    &Node {
                        value,
                        place: node.place.item(index),
                        report: node.report,
                    },
                    None,
                    visit,
                );
            }
        }
        Value::Object(members) => {
            for (name, value) in members.iter() {
                each_string(
                    &Node {
                        value,
                        place: node.place.member(name),
                        report: node.report,
                    },
                    Some(name),
                    visit,
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
