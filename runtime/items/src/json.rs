//! JSON: the elements of an array, or the members of an object, somewhere in a file of any size.

use std::sync::Arc;

use stepwell_query::Value;

use crate::{
    chunks::Text, cursor::Position, error::Error, limits::ITEM_BYTES_MAX, lines::json_text,
    object::Object,
};

/// The items of a file from a place on.
pub(crate) struct JsonItems {
    text: Text,
    /// The items are members of an object.
    members: bool,
    /// No item was read since the bracket.
    first: bool,
    ended: bool,
    /// The list or object is all of the file.
    whole: bool,
}

impl JsonItems {
    /// Goes to the array or object at `pointer`, or on from a place.
    pub(crate) async fn open(
        object: Object,
        pointer: &str,
        from: &Position,
    ) -> Result<JsonItems, Error> {
        let mut items = JsonItems {
            text: Text::open(object, from.at).await?,
            members: from.members,
            first: from.at == 0,
            ended: false,
            whole: pointer.is_empty(),
        };
        if !items.first {
            return Ok(items);
        }
        if items.text.more().await? && items.text.rest().starts_with(b"\xef\xbb\xbf") {
            items.text.take(3);
        }
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            if !items.descend(&token).await? {
                let text =
                    format!("The ItemsPointer '{pointer}' points to nothing in the JSON file.");
                return Err(Error::Malformed(text));
            }
        }
        items.members = match items.peek().await? {
            Some(b'[') => false,
            Some(b'{') => true,
            Some(_) | None => {
                return Err(Error::malformed(
                    "Attempting to map over non-iterable node.",
                ));
            }
        };
        items.text.take(1);
        Ok(items)
    }

    pub(crate) fn share(&self) -> f64 {
        self.text.share()
    }

    pub(crate) fn position(&self) -> (u64, bool) {
        (self.text.at(), self.members)
    }

    /// The next item with its key, if it is a member.
    pub(crate) async fn next(&mut self) -> Result<Option<(Option<Arc<str>>, Value)>, Error> {
        if self.ended {
            return Ok(None);
        }
        let close = if self.members { b'}' } else { b']' };
        if !self.more_in(close).await? {
            self.ended = true;
            if self.whole && self.peek().await?.is_some() {
                return Err(self.wrong("the file goes on after its end"));
            }
            return Ok(None);
        }
        let key = if self.members {
            Some(self.key().await?)
        } else {
            None
        };
        Ok(Some((key, self.value().await?)))
    }

    /// Whether another element follows; takes the comma before it, or the bracket after the last.
    async fn more_in(&mut self, close: u8) -> Result<bool, Error> {
        let first = std::mem::replace(&mut self.first, false);
        match self.peek().await? {
            Some(byte) if byte == close => {
                self.text.take(1);
                Ok(false)
            }
            Some(b',') if !first => {
                self.text.take(1);
                Ok(true)
            }
            Some(_) if first => Ok(true),
            Some(_) | None => Err(self.wrong("',' or the end of the list is missing")),
        }
    }

    /// Goes into the member or element of that name; false when there is none.
    async fn descend(&mut self, token: &str) -> Result<bool, Error> {
        let close = match self.peek().await? {
            Some(b'{') => b'}',
            Some(b'[') => b']',
            Some(_) | None => return Ok(false),
        };
        self.text.take(1);
        self.first = true;
        let mut index = 0usize;
        while self.more_in(close).await? {
            let found = if close == b'}' {
                &*self.key().await? == token
            } else {
                index += 1;
                (index - 1).to_string() == token
            };
            if found {
                self.first = true;
                return Ok(true);
            }
            self.skip().await?;
        }
        Ok(false)
    }

    /// A member's key and the colon.
    async fn key(&mut self) -> Result<Arc<str>, Error> {
        let Value::String(key) = self.value().await? else {
            return Err(self.wrong("the key of a member is no string"));
        };
        if self.peek().await? != Some(b':') {
            return Err(self.wrong("':' is missing"));
        }
        self.text.take(1);
        Ok(key)
    }

    /// Reads a value.
    async fn value(&mut self) -> Result<Value, Error> {
        self.peek().await?;
        let (mut scan, mut seen) = (Scan::default(), 0);
        let end = loop {
            let rest = self.text.rest();
            if let Some(end) = scan.feed(&rest[seen..]) {
                break seen + end;
            }
            seen = rest.len();
            if seen > ITEM_BYTES_MAX {
                let text =
                    format!("An item of the JSON file has more than {ITEM_BYTES_MAX} bytes.");
                return Err(Error::Malformed(text));
            }
            if !self.text.more().await? {
                break seen;
            }
        };
        let at = self.text.at();
        let value = Value::parse(json_text(&self.text.rest()[..end], at)?);
        let value = value.map_err(|error| self.wrong(&error.message))?;
        self.text.take(end);
        Ok(value)
    }

    /// Passes over a value of any size.
    async fn skip(&mut self) -> Result<(), Error> {
        self.peek().await?;
        let mut scan = Scan::default();
        loop {
            let rest = self.text.rest();
            let (end, bytes) = (scan.feed(rest), rest.len());
            self.text.take(end.unwrap_or(bytes));
            if end.is_some() || !self.text.more().await? {
                return Ok(());
            }
        }
    }

    /// The next byte that is no space.
    async fn peek(&mut self) -> Result<Option<u8>, Error> {
        loop {
            let rest = self.text.rest();
            let spaces = rest
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let next = rest.get(spaces).copied();
            self.text.take(spaces);
            if next.is_some() || !self.text.more().await? {
                return Ok(next);
            }
        }
    }

    fn wrong(&self, why: &str) -> Error {
        let at = self.text.at();
        Error::malformed(format!("The JSON file is not valid at byte {at}: {why}"))
    }
}

/// Finds where a value ends, without understanding it.
#[derive(Default)]
struct Scan {
    depth: u64,
    string: bool,
    escaped: bool,
}

impl Scan {
    /// Takes the next bytes; where among them the value ends.
    fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        for (index, byte) in bytes.iter().enumerate() {
            if self.string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.string = false;
                        if self.depth == 0 {
                            return Some(index + 1);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => return Some(index),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(index + 1);
                    }
                }
                b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => {
                    return Some(index);
                }
                _ => {}
            }
        }
        None
    }
}
