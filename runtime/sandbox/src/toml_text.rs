//! A file of TOML that a person wrote: its fields, their types and units, and every slip in it, with its line and column. Hides
//! TOML's spans, and that reading goes on after a slip.

use crate::manifest::{SIZE_UNITS, TIME_UNITS, parse_bytes, parse_duration};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a file of a name by what reads its table.
pub(crate) fn read_as<T>(
    file: &str,
    text: &str,
    of: impl for<'t> FnOnce(&mut Reader<'_>, &'t DeTable<'t>) -> T,
) -> Result<T, Vec<String>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        allows: false,
        text,
        slips: Vec::new(),
    };
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.slips.push((at, error.message().to_owned()));
    }
    let line = |at: usize| place(text, at).0;
    let broken: BTreeSet<usize> = reader.slips.iter().map(|(at, _)| line(*at)).collect();
    let syntax = reader.slips.len();
    let told = of(&mut reader, table.get_ref());
    if reader.slips.is_empty() {
        return Ok(told);
    }
    // What stands on a line that is no TOML is a guess, and what is wrong with it too.
    let meant = reader.slips.split_off(syntax);
    let meant = meant
        .into_iter()
        .filter(|(at, _)| !broken.contains(&line(*at)));
    reader.slips.extend(meant);
    reader.slips.sort_by_key(|(at, _)| *at);
    let placed = reader.slips.iter().map(|(at, what)| {
        let (line, column) = place(text, *at);
        format!("{file}:{line}:{column}: {what}")
    });
    Err(placed.collect())
}

/// Line and column of a byte, from 1 on; columns are characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    (number, line.chars().count() + 1)
}

/// A value and the dotted key that leads to it.
pub(crate) struct Field<'t> {
    pub(crate) key: String,
    at: usize,
    pub(crate) value: &'t DeValue<'t>,
}

pub(crate) struct Reader<'r> {
    /// Whether what is read allows rather than asks: where a folder is then called for the guest says nothing.
    pub(crate) allows: bool,
    text: &'r str,
    /// Where in the text, and what is wrong there.
    slips: Vec<(usize, String)>,
}

impl<'t> Field<'t> {
    pub(crate) fn new(key: String, value: &'t Spanned<DeValue<'t>>) -> Self {
        Self {
            key,
            at: value.span().start,
            value: value.get_ref(),
        }
    }
}

pub(crate) fn at_key<'t>(table: &'t DeTable<'t>, prefix: &str, key: &str) -> Option<Field<'t>> {
    table
        .get(key)
        .map(|value| Field::new(format!("{prefix}{key}"), value))
}

impl<'t> Reader<'_> {
    /// Line and column at which a field's value begins.
    pub(crate) fn place(&self, field: &Field<'_>) -> (usize, usize) {
        place(self.text, field.at)
    }

    pub(crate) fn slip(&mut self, field: &Field<'_>, what: impl Display) {
        self.slips
            .push((field.at, format!("{}: {what}", field.key)));
    }

    /// Refuses the keys that nobody reads.
    pub(crate) fn only(&mut self, table: &DeTable<'_>, prefix: &str, place: &str, known: &[&str]) {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let known = known.join(", ");
                let what =
                    format!("{prefix}{name}: there is no such key; those of {place} are {known}");
                self.slips.push((key.span().start, what));
            }
        }
    }

    pub(crate) fn text(&mut self, field: &Field<'t>) -> Option<&'t str> {
        if let DeValue::String(text) = field.value {
            return Some(text);
        }
        self.slip(field, "it is a text in quotes");
        None
    }

    /// One of several words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        table: &'t DeTable<'t>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let field = at_key(table, "", key)?;
        self.word_of(&field, words)
    }

    pub(crate) fn word_of<T: Copy>(&mut self, field: &Field<'t>, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(field)?;
        let known = words.iter().find(|(word, _)| *word == text);
        if known.is_none() {
            let all: Vec<String> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            self.slip(field, format!("`{text}` is none of {}", all.join(", ")));
        }
        known.map(|(_, value)| *value)
    }

    pub(crate) fn table(&mut self, field: &Field<'t>) -> Option<&'t DeTable<'t>> {
        if let DeValue::Table(table) = field.value {
            return Some(table);
        }
        self.slip(field, "it is a table");
        None
    }

    pub(crate) fn array(&mut self, field: &Field<'t>) -> Vec<Field<'t>> {
        let DeValue::Array(items) = field.value else {
            self.slip(field, "it is an array, in brackets");
            return Vec::new();
        };
        let indexed = items.iter().enumerate();
        indexed
            .map(|(index, item)| Field::new(format!("{}[{index}]", field.key), item))
            .collect()
    }

    pub(crate) fn size(&mut self, field: Option<Field<'t>>, min: u64, bytes: &mut u64) {
        let Some(field) = field else { return };
        let Some(text) = self.text(&field) else {
            return;
        };
        match parse_bytes(text) {
            Some(size) if size >= min => *bytes = size,
            Some(_) => self.slip(
                &field,
                format!("`{text}` lets nothing run; leave the key out for the usual bound"),
            ),
            None => self.slip(
                &field,
                format!(
                    "`{text}` is no size; write it like \"64MiB\" or \"256KiB\", in {SIZE_UNITS}"
                ),
            ),
        }
    }

    pub(crate) fn time(&mut self, field: Option<Field<'t>>, time: &mut Duration) {
        let Some(field) = field else { return };
        let Some(text) = self.text(&field) else {
            return;
        };
        match parse_duration(text) {
            Some(duration) if !duration.is_zero() => *time = duration,
            Some(_) => self.slip(
                &field,
                format!("`{text}` lets nothing run; leave the key out for the usual bound"),
            ),
            None => self.slip(
                &field,
                format!(
                    "`{text}` is no duration; write it like \"30s\" or \"500ms\", in {TIME_UNITS}"
                ),
            ),
        }
    }

    pub(crate) fn count(&mut self, field: &Field<'t>, min: u64) -> Option<u64> {
        let DeValue::Integer(number) = field.value else {
            self.slip(field, "it is an integer, without quotes");
            return None;
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix());
        match parsed {
            Ok(0) if min > 0 => {
                self.slip(field, "0 lets nothing run; leave the key out for no bound");
                None
            }
            Ok(count) => Some(count),
            Err(_) => {
                self.slip(field, format!("{number} is not {min} to {}", u64::MAX));
                None
            }
        }
    }
}
