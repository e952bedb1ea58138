//! From text to [`Program`]: size, JSON, reading, positions. Hides the order of the checks and what makes a definition
//! refused.

use stepwell_query::{JsonError, ObjectBuilder, Value};

use crate::codes::{Code, Severity};
use crate::diagnostic::{Diagnostic, refusal};
use crate::limits::{
    DEFINITION_BYTES_MAX, DEFINITION_RAISED_BYTES_MAX, JSON_DEPTH_MAX, SOURCE_CHARS_MAX,
};
use crate::machine::{Extent, machine};
use crate::node::{Node, Place, Report, holds_substitution};
use crate::positions;
use crate::program::{ExecutionType, Program, QueryLanguage};

/// How a definition is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub limits: Limits,
    /// Type of the state machine: Express workflows cannot wait for callbacks and jobs.
    pub kind: ExecutionType,
    /// Whether `${Name}` stands for a value, or a part of one, that is filled in when the definition is deployed. What
    /// such a text says is not checked. A definition with such values can be checked and drawn, not run.
    pub allow_substitutions: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            limits: Limits::Strict,
            kind: ExecutionType::Standard,
            allow_substitutions: false,
        }
    }
}

/// Which bound the size of a definition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limits {
    /// The service's.
    #[default]
    Strict,
    /// Ours.
    Raised,
}

/// What came of a definition.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The state machine; `None` when a diagnostic is an error.
    pub program: Option<Program>,
    /// All that is wrong or doubtful, errors and warnings, in the order of the places in the text that the service names.
    pub diagnostics: Vec<Diagnostic>,
}

/// A stored definition that cannot be represented: it was never accepted, or the store is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored definition cannot be loaded: {refusal}")]
pub struct Unloadable {
    /// What is wrong, in one line.
    pub refusal: String,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads and checks a definition. All faults are reported at once.
pub fn load(text: &str, options: &Options) -> Loaded {
    let most = match options.limits {
        Limits::Strict => DEFINITION_BYTES_MAX,
        Limits::Raised => DEFINITION_RAISED_BYTES_MAX,
    };
    if text.len() > most {
        let message = format!("Definition is {} bytes, the maximum is {most}", text.len());
        return Loaded {
            program: None,
            diagnostics: vec![Diagnostic::of_whole(Code::TooLarge, message)],
        };
    }
    let Read {
        program,
        diagnostics,
    } = read(text, options, Extent::Whole);
    verdict(program, diagnostics)
}

/// Reads a definition that was accepted before, whatever would be said about it today.
pub fn load_stored(text: &str) -> Result<Program, Unloadable> {
    let Read {
        program,
        diagnostics,
    } = read(
        text,
        &Options {
            limits: Limits::Raised,
            ..Options::default()
        },
        Extent::Stored,
    );
    program.ok_or_else(|| Unloadable {
        refusal: refusal(&diagnostics)
            .unwrap_or_else(|| "it has values that are to be substituted".to_owned()),
        diagnostics,
    })
}

/// Reads and checks a single state, as TestState takes it, under that name. The states it leads to need not exist: in
/// the program each of them is a Succeed state.
pub fn load_state(text: &str, name: &str, options: &Options) -> Loaded {
    let state = match parse(text) {
        Ok(state) => state,
        Err(diagnostic) => {
            return Loaded {
                program: None,
                diagnostics: vec![*diagnostic],
            };
        }
    };
    let (program, mut diagnostics) = single(state, name, QueryLanguage::JsonPath, options);
    let within = Place::root().member("States").member(name).pointer();
    locate(text, &mut diagnostics, &within);
    verdict(program, diagnostics)
}

/// Reads and checks a whole state machine and takes the state `of` out of it, wherever it is nested, under another name:
/// as [`load_state`]. `None` when the state machine has no such state.
pub fn load_state_of(text: &str, of: &str, name: &str, options: &Options) -> Option<Loaded> {
    let whole = load(text, options);
    let Some(program) = &whole.program else {
        return Some(whole);
    };
    let definition = Value::parse(text).ok()?;
    let state = named(&definition, of)?.clone();
    let (program, diagnostics) = single(state, name, program.query_language, options);
    Some(verdict(program, diagnostics))
}

/// A state machine of one state and those it leads to.
fn single(
    state: Value,
    name: &str,
    language: QueryLanguage,
    options: &Options,
) -> (Option<Program>, Vec<Diagnostic>) {
    let succeed = || Value::object([("Type", Value::from("Succeed"))]);
    let mut states = ObjectBuilder::with_capacity(4);
    targets(&state, &mut |target| {
        states.insert(target, succeed());
    });
    states.insert(name, state);
    let language = match language {
        QueryLanguage::JsonPath => "JSONPath",
        QueryLanguage::Jsonata => "JSONata",
    };
    let whole = Value::object([
        ("QueryLanguage", Value::from(language)),
        ("StartAt", Value::from(name)),
        ("States", Value::from(states)),
    ]);
    let report = Report::new(options.allow_substitutions);
    let node = Node {
        value: &whole,
        place: Place::root(),
        report: &report,
    };
    let program = machine(&node, options.kind, Extent::SingleState);
    (program, report.into_diagnostics())
}

/// Without the program when a diagnostic is an error.
fn verdict(program: Option<Program>, diagnostics: Vec<Diagnostic>) -> Loaded {
    let refused = diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity() == Severity::Error);
    Loaded {
        program: program.filter(|_| !refused),
        diagnostics,
    }
}

/// The state of that name in a state machine or in those nested in it.
fn named<'a>(machine: &'a Value, name: &str) -> Option<&'a Value> {
    let states = machine.get("States")?.as_object()?;
    states.get(name).or_else(|| {
        states.values().find_map(|state| {
            let branches = state.get("Branches").and_then(Value::as_array);
            branches
                .into_iter()
                .flatten()
                .chain(state.get("ItemProcessor"))
                .chain(state.get("Iterator"))
                .find_map(|nested| named(nested, name))
        })
    })
}

struct Read {
    program: Option<Program>,
    diagnostics: Vec<Diagnostic>,
}

/// Reads what can be represented and reports everything else.
fn read(text: &str, options: &Options, extent: Extent) -> Read {
    let value = match parse(text) {
        Ok(value) => value,
        Err(diagnostic) => {
            return Read {
                program: None,
                diagnostics: vec![*diagnostic],
            };
        }
    };
    let report = Report::new(options.allow_substitutions);
    let program = machine(
        &Node {
            value: &value,
            place: Place::root(),
            report: &report,
        },
        options.kind,
        extent,
    );
    let mut diagnostics = finished(report, &value);
    locate(text, &mut diagnostics, "");
    Read {
        program,
        diagnostics,
    }
}

/// What was reported, but for what would be said of texts that are to be filled in.
fn finished(report: Report, whole: &Value) -> Vec<Diagnostic> {
    let allow_substitutions = report.allow_substitutions;
    let mut diagnostics = report.into_diagnostics();
    if allow_substitutions {
        diagnostics.retain(|diagnostic| {
            let value = at(whole, &diagnostic.pointer);
            !value.is_some_and(holds_substitution)
        });
    }
    diagnostics
}

/// The value at a JSON Pointer.
fn at<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    let mut value = value;
    for token in pointer.split('/').skip(1) {
        value = match value {
            Value::Array(items) => items.get(token.parse::<usize>().ok()?)?,
            _ => value.get(&token.replace("~1", "/").replace("~0", "~"))?,
        };
    }
    Some(value)
}

/// The definition as JSON, which must be an object of bounded depth.
fn parse(text: &str) -> Result<Value, Box<Diagnostic>> {
    let refuse = |code, message: String| Err(Box::new(Diagnostic::of_whole(code, message)));
    if text.trim().is_empty() {
        return refuse(Code::EmptyText, "Definition cannot be empty".to_owned());
    }
    let depth = positions::depth(text);
    if depth > JSON_DEPTH_MAX {
        let message =
            format!("Definition is nested {depth} levels deep, the maximum is {JSON_DEPTH_MAX}");
        return refuse(Code::TooDeep, message);
    }
    let value = Value::parse(text).map_err(|error| Box::new(not_json(text, &error)))?;
    if value.as_object().is_none() {
        return refuse(
            Code::NotObject,
            "Definition must be a valid JSON object".to_owned(),
        );
    }
    Ok(value)
}

/// The service adds the text itself, cut at a bound, and the position.
fn not_json(text: &str, error: &JsonError) -> Diagnostic {
    let shown = text
        .char_indices()
        .nth(SOURCE_CHARS_MAX)
        .map_or(text, |(end, _)| &text[..end]);
    let truncated = match text[shown.len()..].chars().count() {
        0 => String::new(),
        count => format!("[truncated {count} chars]"),
    };
    let JsonError {
        message,
        line,
        column,
        ..
    } = error;
    let wire = format!(
        "{message}\n at [Source: (String)\"{shown}\"{truncated}; line: {line}, column: {column}]"
    );
    let mut diagnostic = Diagnostic::of_whole(Code::NotJson, wire);
    diagnostic.detail = Some(message.clone());
    diagnostic.hint = error.hint(text);
    diagnostic.line = u32::try_from(*line).unwrap_or(0);
    diagnostic.column = u32::try_from(*column).unwrap_or(0);
    diagnostic
}

/// Gives the diagnostics their positions in the text, of which the value at `within` is the whole, and adds those for
/// members that occur twice; then sorts them as the service does: by the places that they name, the whole last.
fn locate(text: &str, diagnostics: &mut Vec<Diagnostic>, within: &str) {
    let own = |pointer: &str| pointer.strip_prefix(within).unwrap_or("").to_owned();
    let pointers: Vec<String> = diagnostics
        .iter()
        .flat_map(|diagnostic| [Some(&diagnostic.pointer), diagnostic.anchor.as_ref()])
        .flatten()
        .map(|pointer| own(pointer))
        .collect();
    let found = positions::scan(text, pointers.iter().map(String::as_str));
    let position = |pointer: &str| found.found.get(&own(pointer));
    for diagnostic in diagnostics.iter_mut() {
        if let Some(position) = position(&diagnostic.pointer) {
            (diagnostic.line, diagnostic.column) = (position.line, position.column);
        }
    }
    let mut placed: Vec<((u32, u32), Diagnostic)> = diagnostics
        .drain(..)
        .map(|diagnostic| {
            let anchor = diagnostic.anchor.as_deref().and_then(position);
            let place = anchor.map_or((u32::MAX, 0), |at| (at.line, at.column));
            (place, diagnostic)
        })
        .collect();
    for (pointer, position) in &found.doubled {
        let name = pointer.rsplit('/').next().unwrap_or_default();
        let message = format!("Field '{name}' occurs twice; the last one counts");
        let mut diagnostic = Diagnostic::of_whole(Code::DoubledMember, message);
        diagnostic.location = Some(format!("{within}{pointer}"));
        diagnostic.pointer = format!("{within}{pointer}");
        (diagnostic.line, diagnostic.column) = (position.line, position.column);
        placed.push(((position.line, position.column), diagnostic));
    }
    placed.sort_by_key(|(place, diagnostic)| (*place, diagnostic.line, diagnostic.column));
    diagnostics.extend(placed.into_iter().map(|(_, diagnostic)| diagnostic));
}

/// Calls `visit` with each state that a state leads to.
fn targets(state: &Value, visit: &mut dyn FnMut(&str)) {
    for name in ["Next", "Default"] {
        if let Some(target) = state.get(name).and_then(Value::as_str) {
            visit(target);
        }
    }
    for name in ["Choices", "Catch"] {
        for element in state
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Some(target) = element.get("Next").and_then(Value::as_str) {
                visit(target);
            }
        }
    }
}
