//! What is wrong with a definition: what, where, how to mend. Hides how it is printed for people and for the wire.

use std::fmt;

use crate::codes::{Code, Severity};
use crate::node::Place;
use crate::positions;

/// Characters of an offending value that are shown.
const VALUE_CHARS_MAX: usize = 60;

/// One fault of a definition. Printed with [`Diagnostic::show`] for people; `message` and `location` are what the
/// service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub code: Code,
    /// In the service's words where they are known.
    pub message: String,
    /// In the service's form, `/States/A/Catch[0]/Next`; absent where it gives none.
    pub location: Option<String>,
    /// JSON Pointer to what `location` names: the offending value, or what it is a part of.
    pub(crate) anchor: Option<String>,
    /// JSON Pointer to the offending value, `/States/A/Catch/0/Next`; empty for the whole definition.
    pub pointer: String,
    /// Line of the definition's text, from 1; 0 when the pointer leads nowhere.
    pub line: u32,
    /// Column in characters, from 1; 0 when the pointer leads nowhere.
    pub column: u32,
    /// The offending value as JSON, shortened.
    pub value: Option<String>,
    /// More than the service says, for people.
    pub detail: Option<String>,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A diagnostic of that place, its position yet to be found.
    pub(crate) fn at(place: &Place, code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            message: message.into(),
            location: Some(place.location()),
            anchor: Some(place.pointer()),
            pointer: place.pointer(),
            line: 0,
            column: 0,
            value: None,
            detail: None,
            hint: None,
        }
    }

    /// The warning that nobody serves the resource of a task, for callers who know what is served. `pointer` is the JSON
    /// Pointer to it in `text`, the definition.
    pub fn unserved(text: &str, pointer: &str, resource: &str, hint: String) -> Diagnostic {
        let message = format!("{resource}; the task fails as Stepwell.PluginMissing");
        let mut diagnostic = Diagnostic::of_whole(Code::Unserved, message);
        let positions = positions::scan(text, [pointer]);
        if let Some(position) = positions.found.get(pointer) {
            (diagnostic.line, diagnostic.column) = (position.line, position.column);
        }
        diagnostic.pointer = pointer.to_owned();
        diagnostic.detail = Some(diagnostic.message.clone());
        diagnostic.value = Some(shortened(resource));
        diagnostic.hint = Some(hint);
        diagnostic
    }

    /// A diagnostic of the whole definition, for which the service gives no location.
    pub(crate) fn of_whole(code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            location: None,
            anchor: None,
            ..Diagnostic::at(&Place::root(), code, message)
        }
    }

    /// Lets the service's location be what the offending value is a part of.
    pub(crate) fn stands_for(&mut self, whole: &Place) {
        self.location = Some(whole.location());
        self.anchor = Some(whole.pointer());
    }

    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// The diagnostic for people, several lines without a trailing newline; `file` names the definition.
    pub fn show<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        Shown {
            diagnostic: self,
            file,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show("definition").fmt(f)
    }
}

struct Shown<'a> {
    diagnostic: &'a Diagnostic,
    file: &'a str,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic {
            code,
            message,
            pointer,
            line,
            column,
            value,
            detail,
            hint,
            ..
        } = self.diagnostic;
        let severity = match code.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}[{}]: {}", code.id(), code.title())?;
        let pointer = if pointer.is_empty() { "/" } else { pointer };
        match line {
            0 => writeln!(f, "  at {pointer}  ({})", self.file)?,
            _ => writeln!(f, "  at {pointer}  ({}:{line}:{column})", self.file)?,
        }
        write!(
            f,
            "  {}",
            detail.as_ref().unwrap_or(message).replace('\n', " ")
        )?;
        if let (Some(value), None) = (value, detail) {
            write!(f, "; it is {value}")?;
        }
        if let Some(hint) = hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// The message of the InvalidDefinition error that refuses a definition with these diagnostics; `None` when none of
/// them is an error.
pub fn refusal(diagnostics: &[Diagnostic]) -> Option<String> {
    let errors: Vec<String> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity() == Severity::Error)
        .map(|diagnostic| {
            let Diagnostic { code, message, .. } = diagnostic;
            let told = format!("{}: {message}", code.aws());
            match diagnostic.location.as_deref() {
                Some(location) => format!("{told} at {location}"),
                // It is an error of ours, and has no place.
                None if *code == Code::TooDeep => told,
                None => format!("{told} at null"),
            }
        })
        .collect();
    (!errors.is_empty())
        .then(|| format!("Invalid State Machine Definition: '{}'", errors.join(", ")))
}

/// The text, cut at a bound.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
