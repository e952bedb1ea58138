//! The one parser of paths: general paths, reference paths and the paths within filters. Hides the grammar, which is
//! that of Jayway's JsonPath 2.10 with the roots and escapes of the Amazon States Language.

use std::sync::Arc;

use super::filter;
use super::steps::{Function, FunctionArgument, PathRoot, Step};
use crate::limits::{FILTER_DEPTH_MAX, PATH_BYTES_MAX};
use crate::value::Value;

/// A text that is no path, reference path or intrinsic call, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at offset {offset}")]
pub struct PathSyntaxError {
    /// What is wrong.
    pub message: String,
    /// Bytes before the fault.
    pub offset: usize,
}

pub(crate) fn fault<T>(message: impl Into<String>, offset: usize) -> Result<T, PathSyntaxError> {
    Err(PathSyntaxError {
        message: message.into(),
        offset,
    })
}

/// Parses `$...`, `$$...` or `$name...`.
pub(super) fn path(text: &str) -> Result<(PathRoot, Vec<Step>), PathSyntaxError> {
    if text.len() > PATH_BYTES_MAX {
        return fault(
            format!("A path has at most {PATH_BYTES_MAX} bytes"),
            PATH_BYTES_MAX,
        );
    }
    let end = text.trim_end().len();
    let Some(rest) = text[..end].strip_prefix('$') else {
        return fault("A path starts with '$'", 0);
    };
    let (root, start) = if rest.starts_with('$') {
        (PathRoot::Context, 2)
    } else {
        let name = variable_name(rest);
        match name.len() {
            0 => (PathRoot::Input, 1),
            length => (PathRoot::Variable(name.into()), 1 + length),
        }
    };
    let steps = PathParser {
        text: &text[..end],
        at: start,
        depth: 0,
    }
    .steps()?;
    Ok((root, steps))
}

/// The name of a variable at the start of a text: a Unicode identifier.
fn variable_name(text: &str) -> &str {
    let mut length = 0;
    for (index, character) in text.char_indices() {
        let fits = match index {
            0 => character.is_alphabetic() || character == '_',
            _ => character.is_alphanumeric() || character == '_',
        };
        if !fits {
            break;
        }
        length = index + character.len_utf8();
    }
    &text[..length]
}

/// Parses a path within a filter, from `$` or `@`; says whether it starts at the root. `offset` is its place.
pub(super) fn inner(
    text: &str,
    offset: usize,
    depth: u32,
) -> Result<(bool, Vec<Step>), PathSyntaxError> {
    let from_root = text.starts_with('$');
    if !from_root && !text.starts_with('@') {
        return fault("A path in a filter starts with '@' or '$'", offset);
    }
    let parsed = PathParser { text, at: 1, depth }.steps();
    let steps = parsed.map_err(|error| PathSyntaxError {
        offset: error.offset + offset,
        ..error
    })?;
    Ok((from_root, steps))
}

struct PathParser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl PathParser<'_> {
    fn steps(mut self) -> Result<Vec<Step>, PathSyntaxError> {
        let mut steps = Vec::new();
        while self.at < self.text.len() {
            if matches!(steps.last(), Some(Step::Function(_))) {
                return fault("A function ends its path", self.at);
            }
            match self.peek() {
                Some('.') => self.dot(&mut steps)?,
                Some('[') => {
                    let step = self.bracket()?;
                    steps.push(step);
                }
                _ => return fault("Expected '.' or '['", self.at),
            }
        }
        if matches!(steps.last(), Some(Step::Scan)) {
            return fault("A path must not end with '..'", self.at);
        }
        Ok(steps)
    }

    fn dot(&mut self, steps: &mut Vec<Step>) -> Result<(), PathSyntaxError> {
        self.at += 1;
        if self.peek() == Some('.') {
            self.at += 1;
            steps.push(Step::Scan);
        }
        match self.peek() {
            None => fault("A path must not end with '.'", self.at),
            Some('.') => fault("Expected a name after '.'", self.at),
            Some('[') => Ok(()),
            Some('*') => {
                self.at += 1;
                steps.push(Step::Wildcard);
                Ok(())
            }
            Some(_) => {
                let step = self.name_or_function()?;
                steps.push(step);
                Ok(())
            }
        }
    }

    fn name_or_function(&mut self) -> Result<Step, PathSyntaxError> {
        let start = self.at;
        let mut name = String::new();
        while let Some(character) = self.peek() {
            match character {
                '.' | '[' => break,
                '(' => return self.function(&name, start),
                // The escapes of the States Language: `\.` is a point within a name.
                '\\' => {
                    self.at += 1;
                    let Some(escaped) = self.peek() else {
                        return fault("Nothing follows the escape character", self.at);
                    };
                    name.push_str(&self.escaped(escaped));
                    continue;
                }
                character if character.is_whitespace() => {
                    return fault("A name with blanks needs brackets: ['my name']", self.at);
                }
                character => name.push(character),
            }
            self.at += character.len_utf8();
        }
        if name.is_empty() {
            return fault("Expected a name", self.at);
        }
        Ok(Step::Key(name.into()))
    }

    /// The character after a backslash, or the code points of `uXXXX` (surrogates paired).
    fn escaped(&mut self, escaped: char) -> String {
        let digits = |at: usize| {
            let digits = self.text.get(at..at + 4)?;
            u16::from_str_radix(digits, 16).ok()
        };
        if escaped == 'u'
            && let Some(first) = digits(self.at + 1)
        {
            let second = self.text[self.at + 5..]
                .strip_prefix("\\u")
                .and_then(|_| digits(self.at + 7));
            if let Some(second) = second
                && let Ok(pair) = String::from_utf16(&[first, second])
            {
                self.at += 11;
                return pair;
            }
            self.at += 5;
            return String::from_utf16_lossy(&[first]);
        }
        self.at += escaped.len_utf8();
        escaped.into()
    }

    fn function(&mut self, name: &str, start: usize) -> Result<Step, PathSyntaxError> {
        let open = self.at;
        let Some(close) = closing(self.text, open, '(', ')') else {
            return fault("This '(' is not closed", open);
        };
        let inside = &self.text[open + 1..close];
        let arguments = self.arguments(inside, open + 1)?;
        self.at = close + 1;
        let function = match (name, arguments.as_slice()) {
            ("min", []) => Function::Min,
            ("max", []) => Function::Max,
            ("avg", []) => Function::Avg,
            ("stddev", []) => Function::StdDev,
            ("sum", []) => Function::Sum,
            ("length" | "size", []) => Function::Length,
            ("keys", []) => Function::Keys,
            ("first", []) => Function::First,
            ("last", []) => Function::Last,
            ("index", [FunctionArgument::Literal(Value::Number(index))]) => {
                match index.as_i64().map(i32::try_from) {
                    Some(Ok(index)) => Function::Index(index),
                    _ => return fault("index() takes an integer", open + 1),
                }
            }
            ("concat", _) => Function::Concat(arguments.into()),
            ("append", [_, ..]) => Function::Append(arguments.into()),
            _ => {
                return fault(
                    format!(
                        "There is no function {name}() with {} arguments",
                        arguments.len()
                    ),
                    start,
                );
            }
        };
        Ok(Step::Function(function))
    }

    fn arguments(
        &self,
        text: &str,
        offset: usize,
    ) -> Result<Vec<FunctionArgument>, PathSyntaxError> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        if self.depth >= FILTER_DEPTH_MAX {
            return fault("Too deeply nested", offset);
        }
        let mut arguments = Vec::new();
        for (start, part) in split_top_level(text) {
            let trimmed = part.trim();
            let place = offset + start + (part.len() - part.trim_start().len());
            arguments.push(if trimmed.starts_with(['$', '@']) {
                let (from_root, steps) = inner(trimmed, place, self.depth + 1)?;
                FunctionArgument::Path {
                    from_root,
                    steps: steps.into(),
                }
            } else {
                FunctionArgument::Literal(filter::literal(trimmed, place)?)
            });
        }
        Ok(arguments)
    }

    fn bracket(&mut self) -> Result<Step, PathSyntaxError> {
        let open = self.at;
        let inside = self.text[open + 1..].trim_start_matches(' ');
        match inside.chars().next() {
            Some('\'' | '"') => self.keys(),
            Some('*') => {
                let rest = inside[1..].trim_start_matches(' ');
                if !rest.starts_with(']') {
                    return fault("Expected ']' after '*'", self.text.len() - rest.len());
                }
                self.at = self.text.len() - rest.len() + 1;
                Ok(Step::Wildcard)
            }
            Some('?') => self.filter(self.text.len() - inside.len() + 1),
            Some(_) => self.indexes(),
            None => fault("This '[' is not closed", open),
        }
    }

    fn keys(&mut self) -> Result<Step, PathSyntaxError> {
        self.at += 1;
        let mut keys: Vec<Arc<str>> = Vec::new();
        loop {
            self.skip_blanks();
            let quote = match self.peek() {
                Some(quote @ ('\'' | '"')) => quote,
                _ => return fault("Expected a quoted name", self.at),
            };
            keys.push(self.quoted(quote)?.into());
            self.skip_blanks();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(']') => break,
                _ => return fault("Expected ',' or ']' after a name", self.at),
            }
        }
        self.at += 1;
        match <[Arc<str>; 1]>::try_from(keys) {
            Ok([key]) => Ok(Step::Key(key)),
            Err(keys) => Ok(Step::Keys(keys.into())),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, PathSyntaxError> {
        let open = self.at;
        self.at += 1;
        let mut name = String::new();
        while let Some(character) = self.peek() {
            self.at += character.len_utf8();
            if character == quote {
                return Ok(name);
            }
            if character != '\\' {
                name.push(character);
                continue;
            }
            let Some(escaped) = self.peek() else { break };
            match escaped {
                'n' => name.push('\n'),
                't' => name.push('\t'),
                'r' => name.push('\r'),
                'b' => name.push('\u{8}'),
                'f' => name.push('\u{c}'),
                // The quote of the other kind needs no escape, so the service keeps the backslash before it.
                other @ ('\'' | '"') if other != quote => name.extend(['\\', other]),
                other => {
                    name.push_str(&self.escaped(other));
                    continue;
                }
            }
            self.at += 1;
        }
        fault("This quoted name is not closed", open)
    }

    fn filter(&mut self, after_mark: usize) -> Result<Step, PathSyntaxError> {
        if !self.text[after_mark..].starts_with('(') {
            return fault("Expected '(' after '[?'", after_mark);
        }
        if self.depth >= FILTER_DEPTH_MAX {
            return fault("Filters are too deeply nested", after_mark);
        }
        let Some(close) = closing(self.text, after_mark, '(', ')') else {
            return fault("This '(' is not closed", after_mark);
        };
        let rest = self.text[close + 1..].trim_start_matches(' ');
        if !rest.starts_with(']') {
            return fault("Expected ']' after a filter", close + 1);
        }
        let parsed = filter::parse(
            &self.text[after_mark + 1..close],
            after_mark + 1,
            self.depth + 1,
        )?;
        self.at = self.text.len() - rest.len() + 1;
        Ok(Step::Filter(Arc::new(parsed)))
    }

    fn indexes(&mut self) -> Result<Step, PathSyntaxError> {
        let open = self.at;
        let Some(length) = self.text[open..].find(']') else {
            return fault("This '[' is not closed", open);
        };
        let inside = self.text[open + 1..open + length].trim();
        let wrong = || {
            fault(
                "Expected a quoted name, an index, a slice, '*' or a filter",
                open + 1,
            )
        };
        let number = |part: &str| {
            part.trim()
                .parse::<i32>()
                .ok()
                .filter(|_| !part.trim().starts_with('+'))
        };
        self.at = open + length + 1;
        if !inside.contains(':') {
            let indexes: Option<Vec<i32>> = inside.split(',').map(number).collect();
            return match indexes.as_deref() {
                None => wrong(),
                Some([index]) => Ok(Step::Index(*index)),
                Some(indexes) => Ok(Step::Indexes(indexes.into())),
            };
        }
        let parts: Vec<&str> = inside.split(':').collect();
        if parts.len() > 3
            || parts
                .iter()
                .any(|part| !part.trim().is_empty() && number(part).is_none())
        {
            return wrong();
        }
        // Steps of slices are read and ignored, as in Jayway.
        match (number(parts[0]), number(parts[1])) {
            (None, None) => wrong(),
            (from, to) => Ok(Step::Slice { from, to }),
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_blanks(&mut self) {
        while self.peek() == Some(' ') {
            self.at += 1;
        }
    }
}

/// The place of the bracket that closes the one at `open`; brackets in quotes and regular expressions do not count.
pub(crate) fn closing(text: &str, open: usize, opener: char, closer: char) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    let mut before = ' ';
    for (index, character) in text[open..].char_indices() {
        if let Some(end) = quote {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if character == end => quote = None,
                _ => {}
            }
            continue;
        }
        match character {
            '\'' | '"' => quote = Some(character),
            '/' if before == '~' => quote = Some('/'),
            _ if character == opener => depth += 1,
            _ if character == closer => {
                depth -= 1;
                if depth == 0 {
                    return Some(open + index);
                }
            }
            _ => {}
        }
        if !character.is_whitespace() {
            before = character;
        }
    }
    None
}

/// The parts of a text between the commas outside of brackets and quotes, each with its place.
pub(crate) fn split_top_level(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut escaped) = (0, 0i32, false);
    let mut quote: Option<char> = None;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(end), _) if character == end => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[' | '(' | '{') => depth += 1,
            (None, ']' | ')' | '}') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push((start, &text[start..index]));
                start = index + 1;
            }
            (None, _) => {}
        }
    }
    parts.push((start, &text[start..]));
    parts
}
