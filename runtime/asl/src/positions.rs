//! Lines and columns of values in the definition's text. Hides a second, cheap pass over text that is known to be
//! JSON, made only when there is something to report.

use std::collections::{BTreeMap, BTreeSet};

/// A place in a text, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// What one pass over the text finds.
#[derive(Default)]
pub(crate) struct Positions {
    /// JSON Pointers asked for, with where their values begin.
    pub(crate) found: BTreeMap<String, Position>,
    /// JSON Pointers of members whose name occurs twice in their object, with where the later one's value begins.
    pub(crate) doubled: Vec<(String, Position)>,
}

/// Finds where the values at those JSON Pointers begin, and every member name that occurs twice. The text must be JSON
/// no deeper than a reader has accepted; of other text the answer is empty or meaningless, never a panic.
pub(crate) fn scan<'p>(text: &str, wanted: impl IntoIterator<Item = &'p str>) -> Positions {
    let mut scanner = Scanner {
        rest: text.chars().peekable(),
        at: Position { line: 1, column: 1 },
        pointer: String::new(),
        positions: Positions::default(),
    };
    for pointer in wanted {
        scanner
            .positions
            .found
            .insert(pointer.to_owned(), Position::default());
    }
    scanner.value();
    scanner.positions
}

/// Levels of nested arrays and objects in a text, whether it is JSON or not.
pub(crate) fn depth(text: &str) -> usize {
    let (mut level, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            b'"' if !escaped => in_string = !in_string,
            b'{' | b'[' if !in_string => level += 1,
            b'}' | b']' if !in_string => level = level.saturating_sub(1),
            _ => {}
        }
        escaped = in_string && byte == b'\\' && !escaped;
        deepest = deepest.max(level);
    }
    deepest
}

struct Scanner<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    at: Position,
    pointer: String,
    positions: Positions,
}

impl Scanner<'_> {
    fn value(&mut self) -> Option<()> {
        self.skip(|c| c.is_ascii_whitespace());
        if let Some(position) = self.positions.found.get_mut(&self.pointer) {
            *position = self.at;
        }
        match *self.rest.peek()? {
            '{' => self.object(),
            '[' => self.array(),
            '"' => self.string().map(drop),
            _ => {
                self.skip(|c| !matches!(c, ',' | ']' | '}') && !c.is_ascii_whitespace());
                Some(())
            }
        }
    }

    fn object(&mut self) -> Option<()> {
        let mut names = BTreeSet::new();
        let length = self.pointer.len();
        self.next()?;
        loop {
            self.skip(|c| c.is_ascii_whitespace() || c == ',');
            if *self.rest.peek()? == '}' {
                self.next()?;
                break;
            }
            let name = self.string()?;
            self.skip(|c| c.is_ascii_whitespace() || c == ':');
            self.pointer.push('/');
            self.pointer
                .push_str(&name.replace('~', "~0").replace('/', "~1"));
            if !names.insert(name) {
                self.positions.doubled.push((self.pointer.clone(), self.at));
            }
            self.value()?;
            self.pointer.truncate(length);
        }
        Some(())
    }

    fn array(&mut self) -> Option<()> {
        let length = self.pointer.len();
        self.next()?;
        for index in 0.. {
            self.skip(|c| c.is_ascii_whitespace() || c == ',');
            if *self.rest.peek()? == ']' {
                self.next()?;
                break;
            }
            self.pointer.push_str(&format!("/{index}"));
            self.value()?;
            self.pointer.truncate(length);
        }
        Some(())
    }

    /// The text of a string, unescaped.
    fn string(&mut self) -> Option<String> {
        let mut quoted = String::from(self.next()?);
        let mut escaped = false;
        loop {
            let c = self.next()?;
            quoted.push(c);
            match c {
                '"' if !escaped => break,
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        match quoted.contains('\\') {
            true => serde_json::from_str(&quoted).ok(),
            false => Some(quoted[1..quoted.len() - 1].to_owned()),
        }
    }

    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        while self.rest.peek().copied().is_some_and(&unwanted) {
            self.next();
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.at = Position {
                line: self.at.line + 1,
                column: 1,
            };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }
}
