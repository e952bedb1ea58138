//! Reads JSON text. Hides the reader; its errors are worded as those of the service's reader.
//!
//! An own reader, because serde_json turns integers beyond 64 bits into doubles unless a feature is set for the whole
//! build, and because a definition's author meets these errors.

use std::sync::Arc;

use super::{Number, ObjectBuilder, Value};
use crate::limits::JSON_DEPTH_MAX;

/// Why a text is not JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line}, column {column}")]
pub struct JsonError {
    /// The fault in the words of the service, without the place.
    pub message: String,
    /// Line of the fault, from 1.
    pub line: usize,
    /// Column of the fault in that line in characters, from 1: the character after the one that settled it, as the
    /// service counts.
    pub column: usize,
    /// So far it is JSON, and goes beyond what is kept: a number beyond the range of doubles, or too deep a nesting.
    pub beyond: bool,
}

impl JsonError {
    /// How to mend it, where the fault is a common one. `text` is what was read.
    pub fn hint(&self, text: &str) -> Option<String> {
        let lines = text.split('\n').take(self.line.saturating_sub(1));
        let start: usize = lines.map(|line| line.len() + 1).sum();
        // The column is that of the character after the one that settled it.
        let (at, settled) = text
            .get(start..)?
            .char_indices()
            .nth(self.column.checked_sub(2)?)?;
        let before = text.get(..start + at)?.trim_end();
        match settled {
            '}' | ']' if before.ends_with(',') => {
                Some(format!("leave out the comma before `{settled}`"))
            }
            '\'' => Some("texts and names are in double quotes".to_owned()),
            '/' | '#' => Some("JSON has no comments; a state has the field \"Comment\"".to_owned()),
            _ => None,
        }
    }
}

const VALUES: &str = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";

pub(super) fn parse(text: &str) -> Result<Value, JsonError> {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        depth: 0,
        keys: Vec::new(),
    };
    reader.skip_space();
    if reader.at == text.len() {
        return Err(reader.error("No content to map due to end-of-input", reader.at));
    }
    let value = reader.value()?;
    reader.skip_space();
    if reader.at < text.len() {
        let fault = reader.unexpected("Expected end of the text after its one value");
        return Err(fault);
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    /// Keys met last: texts repeat a few keys over and over, so they are shared.
    keys: Vec<Arc<str>>,
}

/// Keys remembered for sharing.
const KEYS_SHARED_MAX: usize = 16;

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value, JsonError> {
        match self.bytes.get(self.at) {
            Some(b'"') => Ok(Value::String(self.string()?.into())),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(byte)
                if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || *byte >= 0x80 =>
            {
                self.token()
            }
            Some(_) => Err(self.unexpected(&format!("expected a valid value {VALUES}"))),
            None => Err(self.end_of_input("value")),
        }
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Value, JsonError>,
    ) -> Result<Value, JsonError> {
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX {
            let message = format!(
                "Document nesting depth ({}) exceeds the maximum allowed ({JSON_DEPTH_MAX})",
                self.depth
            );
            return Err(self.beyond(message, self.at + 1));
        }
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let mut members = ObjectBuilder::default();
        self.skip_space();
        if self.take(b'}') {
            return Ok(members.into());
        }
        loop {
            self.skip_space();
            match self.bytes.get(self.at) {
                Some(b'"') => {}
                Some(_) => {
                    return Err(self.unexpected("was expecting double-quote to start field name"));
                }
                None => return Err(self.end_of_input("Object entries")),
            }
            let key = self.key()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(match self.bytes.get(self.at) {
                    Some(_) => {
                        self.unexpected("was expecting a colon to separate field name and value")
                    }
                    None => self.end_of_input("Object entries"),
                });
            }
            self.skip_space();
            let member = self.value()?;
            members.insert(key, member);
            self.skip_space();
            if self.take(b'}') {
                return Ok(members.into());
            }
            self.comma("Object entries", "Object")?;
        }
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(items.into());
        }
        loop {
            self.skip_space();
            items.push(self.value()?);
            self.skip_space();
            if self.take(b']') {
                return Ok(items.into());
            }
            self.comma("Array entries", "Array")?;
        }
    }

    fn comma(&mut self, within: &str, kind: &str) -> Result<(), JsonError> {
        if self.take(b',') {
            return Ok(());
        }
        Err(match self.bytes.get(self.at) {
            Some(_) => self.unexpected(&format!("was expecting comma to separate {kind} entries")),
            None => self.end_of_input(within),
        })
    }

    fn key(&mut self) -> Result<Arc<str>, JsonError> {
        let start = self.at + 1;
        let rest = &self.bytes[start..];
        let plain = rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\') || *byte < 0x20);
        let text = match plain {
            Some(length) if rest[length] == b'"' => {
                self.at = start + length + 1;
                let text = &self.text[start..start + length];
                if let Some(key) = self.keys.iter().find(|key| &***key == text) {
                    return Ok(key.clone());
                }
                text.into()
            }
            _ => return Ok(self.string()?.into()),
        };
        let text: Arc<str> = text;
        if self.keys.len() < KEYS_SHARED_MAX {
            self.keys.push(text.clone());
        } else {
            let place = self.at % KEYS_SHARED_MAX;
            self.keys[place] = text.clone();
        }
        Ok(text)
    }

    fn string(&mut self) -> Result<std::borrow::Cow<'a, str>, JsonError> {
        let opened = self.at;
        self.at += 1;
        let mut content = String::new();
        let mut start = self.at;
        loop {
            match self.bytes.get(self.at) {
                None => {
                    self.at = opened.max(self.bytes.len());
                    return Err(self.error(
                        "Unexpected end-of-input: was expecting closing quote for a string value",
                        self.at,
                    ));
                }
                Some(b'"') => {
                    let last = &self.text[start..self.at];
                    self.at += 1;
                    if content.is_empty() {
                        return Ok(last.into());
                    }
                    content.push_str(last);
                    return Ok(content.into());
                }
                Some(b'\\') => {
                    content.push_str(&self.text[start..self.at]);
                    content.push(self.escape()?);
                    start = self.at;
                }
                Some(byte) if *byte < 0x20 => {
                    let message = format!(
                        "Illegal unquoted character ((CTRL-CHAR, code {byte})): has to be escaped using backslash to be included in string value"
                    );
                    return Err(self.error(message, self.at + 1));
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let Some(character) = self.text[self.at..].chars().next() else {
            return Err(self.error(
                "Unexpected end-of-input in character escape sequence",
                self.at,
            ));
        };
        self.at += character.len_utf8();
        Ok(match character {
            '"' | '\\' | '/' => character,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode_escape(),
            other => {
                let message = format!(
                    "Unrecognized character escape '{other}' (code {})",
                    other as u32
                );
                return Err(self.error(message, self.at));
            }
        })
    }

    /// A lone surrogate, which UTF-8 cannot say, becomes U+FFFD.
    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.four_digits()?;
        if !(0xD800..0xDC00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if !self.bytes[self.at..].starts_with(b"\\u") {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let before = self.at;
        self.at += 2;
        let second = self.four_digits()?;
        if !(0xDC00..0xE000).contains(&second) {
            self.at = before;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self
                .bytes
                .get(self.at)
                .and_then(|byte| (*byte as char).to_digit(16));
            let Some(digit) = digit else {
                return Err(match self.bytes.get(self.at) {
                    Some(_) => {
                        self.unexpected("expected a hex-digit for character escape sequence")
                    }
                    None => self.error(
                        "Unexpected end-of-input in character escape sequence",
                        self.at,
                    ),
                });
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.take(b'-');
        match self.bytes.get(self.at) {
            Some(b'0') => {
                self.at += 1;
                if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                    return Err(
                        self.error("Invalid numeric value: Leading zeroes not allowed", self.at)
                    );
                }
            }
            Some(b'1'..=b'9') => self.digits(),
            _ => {
                return Err(self.no_digit(
                    "expected digit (0-9) to follow minus sign, for valid numeric value",
                ));
            }
        }
        if self.take(b'.') {
            self.fraction("Decimal point not followed by a digit")?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.fraction("Exponent indicator not followed by a digit")?;
        }
        if self
            .bytes
            .get(self.at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')
        {
            return Err(self.unexpected("Expected space separating root-level values"));
        }
        let text = &self.text[start..self.at];
        match Number::from_json(text) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(self.beyond(
                format!("Number {text} is beyond the range of a double"),
                self.at,
            )),
        }
    }

    fn fraction(&mut self, fault: &str) -> Result<(), JsonError> {
        if !self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            return Err(self.no_digit(fault));
        }
        self.digits();
        Ok(())
    }

    fn no_digit(&self, fault: &str) -> JsonError {
        match self.text[self.at..].chars().next() {
            Some(character) => {
                let shown = shown(character);
                let message = format!("Unexpected character ({shown}) in numeric value: {fault}");
                self.error(message, self.at + character.len_utf8())
            }
            None => self.error(
                format!("Unexpected end-of-input in numeric value: {fault}"),
                self.at,
            ),
        }
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn token(&mut self) -> Result<Value, JsonError> {
        let rest = &self.text[self.at..];
        let part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
        let length = rest
            .find(|character| !part(character))
            .unwrap_or(rest.len());
        let token = &rest[..length];
        self.at += length;
        match token {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ if length == 0 => Err(self.unexpected(&format!("expected a valid value {VALUES}"))),
            _ => Err(self.error(
                format!("Unrecognized token '{token}': was expecting {VALUES}"),
                self.at,
            )),
        }
    }

    fn unexpected(&self, expected: &str) -> JsonError {
        let character = self.text[self.at..]
            .chars()
            .next()
            .expect("the caller saw a character");
        let shown = shown(character);
        self.error(
            format!("Unexpected character ({shown}): {expected}"),
            self.at + character.len_utf8(),
        )
    }

    fn end_of_input(&self, within: &str) -> JsonError {
        self.error(
            format!("Unexpected end-of-input within/between {within}"),
            self.at,
        )
    }

    fn error(&self, message: impl Into<String>, at: usize) -> JsonError {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        JsonError {
            message: message.into(),
            line,
            column,
            beyond: false,
        }
    }

    fn beyond(&self, message: String, at: usize) -> JsonError {
        JsonError {
            beyond: true,
            ..self.error(message, at)
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// A character as error texts show it.
fn shown(character: char) -> String {
    match character {
        control if control.is_control() => format!("(CTRL-CHAR, code {})", control as u32),
        other => format!("'{other}' (code {})", other as u32),
    }
}
