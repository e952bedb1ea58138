//! The grammar of intrinsic calls.

use super::functions::Function;
use super::{Argument, Call};
use crate::limits::{INTRINSIC_DEPTH_MAX, PATH_BYTES_MAX};
use crate::path::{Path, PathSyntaxError, closing, fault};
use crate::value::Value;

pub(super) fn call(text: &str) -> Result<Call, PathSyntaxError> {
    if text.len() > PATH_BYTES_MAX {
        return fault(
            format!("An intrinsic function call has at most {PATH_BYTES_MAX} bytes"),
            PATH_BYTES_MAX,
        );
    }
    let mut parser = CallParser { text, at: 0 };
    let call = parser.call(1)?;
    parser.skip_blanks();
    if parser.at < text.len() {
        return fault("Expected the end after ')'", parser.at);
    }
    Ok(call)
}

struct CallParser<'a> {
    text: &'a str,
    at: usize,
}

impl CallParser<'_> {
    fn call(&mut self, depth: u32) -> Result<Call, PathSyntaxError> {
        self.skip_blanks();
        let start = self.at;
        if depth > INTRINSIC_DEPTH_MAX {
            return fault(
                format!("Intrinsic functions nest at most {INTRINSIC_DEPTH_MAX} deep"),
                start,
            );
        }
        let rest = &self.text[start..];
        let part = |character: char| character.is_ascii_alphanumeric() || character == '.';
        let length = rest
            .find(|character| !part(character))
            .unwrap_or(rest.len());
        let name = &rest[..length];
        let Some(function) = Function::named(name) else {
            if name.starts_with("States.") {
                return fault(format!("There is no intrinsic function '{name}'"), start);
            }
            return fault(
                "Expected a path that starts with '$' or an intrinsic function",
                start,
            );
        };
        self.at += length;
        self.skip_blanks();
        if !self.take('(') {
            return fault("Expected '('", self.at);
        }
        let arguments = self.arguments(depth)?;
        if !function.takes(arguments.len()) {
            return fault(
                format!(
                    "{} does not take {} arguments; it takes {}",
                    function.name(),
                    arguments.len(),
                    function.taken()
                ),
                start,
            );
        }
        Ok(Call {
            function,
            arguments,
        })
    }

    fn arguments(&mut self, depth: u32) -> Result<Vec<Argument>, PathSyntaxError> {
        let mut arguments = Vec::new();
        self.skip_blanks();
        if self.take(')') {
            return Ok(arguments);
        }
        loop {
            self.skip_blanks();
            arguments.push(self.argument(depth)?);
            self.skip_blanks();
            if self.take(')') {
                return Ok(arguments);
            }
            if !self.take(',') {
                return fault("Expected ',' or ')'", self.at);
            }
        }
    }

    fn argument(&mut self, depth: u32) -> Result<Argument, PathSyntaxError> {
        match self.text[self.at..].chars().next() {
            Some('\'') => self.string(),
            Some('$') => self.path(),
            Some(first) if first == '-' || first.is_ascii_digit() => self.literal(),
            Some(_) if self.text[self.at..].starts_with("States.") => {
                self.call(depth + 1).map(Argument::Call)
            }
            Some(_) => self.literal(),
            None => fault("Expected an argument", self.at),
        }
    }

    fn string(&mut self) -> Result<Argument, PathSyntaxError> {
        let open = self.at;
        let mut value = String::new();
        let mut characters = self.text[open + 1..].char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '\'' => {
                    let raw = &self.text[open + 1..open + 1 + index];
                    self.at = open + index + 2;
                    return Ok(Argument::Text {
                        value: value.into(),
                        raw: raw.into(),
                    });
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('\'' | '{' | '}' | '\\'))) => value.push(escaped),
                    Some((_, other)) => value.extend(['\\', other]),
                    None => break,
                },
                other => value.push(other),
            }
        }
        fault("This string is not closed", open)
    }

    fn path(&mut self) -> Result<Argument, PathSyntaxError> {
        let start = self.at;
        let mut at = start;
        while let Some(character) = self.text[at..].chars().next() {
            let closer = match character {
                ',' | ')' => break,
                '[' => Some(']'),
                '(' => Some(')'),
                _ => None,
            };
            at = match closer.map(|closer| closing(self.text, at, character, closer)) {
                None => at + character.len_utf8(),
                Some(Some(close)) => close + 1,
                Some(None) => return fault(format!("This '{character}' is not closed"), at),
            };
        }
        let parsed = Path::parse(self.text[start..at].trim_end());
        let path = parsed.map_err(|error| PathSyntaxError {
            offset: error.offset + start,
            ..error
        })?;
        self.at = at;
        Ok(Argument::Path(path))
    }

    fn literal(&mut self) -> Result<Argument, PathSyntaxError> {
        let rest = &self.text[self.at..];
        let part = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '-' | '+' | '.')
        };
        let length = rest
            .find(|character| !part(character))
            .unwrap_or(rest.len());
        match Value::parse(&rest[..length]) {
            Ok(value) => {
                self.at += length;
                Ok(Argument::Literal(value))
            }
            Err(_) => fault(
                "Expected a path, a string in single quotes, a number, true, false, null or a call",
                self.at,
            ),
        }
    }

    fn take(&mut self, character: char) -> bool {
        let found = self.text[self.at..].starts_with(character);
        self.at += if found { character.len_utf8() } else { 0 };
        found
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }
}
