//! Shapes of requests and the check of a request against them, with the service's texts: all violations at once, each
//! naming member, value and constraint. What it hides: how the texts are put together.

use std::fmt::{Display, Write as _};

use super::input::{Fields, Wire};

/// A member of a structure.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) shape: &'static Shape,
    pub(super) required: bool,
}

/// What a member may hold; the API model's shapes with their constraints.
#[derive(Debug)]
pub(super) enum Shape {
    Text(Text),
    /// A whole number within bounds, both included.
    Number {
        min: i64,
        max: i64,
    },
    /// A number within bounds, both included.
    Fraction {
        min: f64,
        max: f64,
    },
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// So many elements of one shape.
    List {
        of: &'static Shape,
        min: usize,
        max: usize,
    },
    /// `name` is the model's, as texts print it.
    Structure {
        name: &'static str,
        members: &'static [Member],
    },
}

/// A string.
#[derive(Debug)]
pub(super) struct Text {
    /// 0 or 1.
    pub(super) min: usize,
    pub(super) max: usize,
    /// With raised limits, where another bound holds further in; else `max`.
    pub(super) raised: usize,
    pub(super) unit: Unit,
    pub(super) pattern: Option<Pattern>,
    /// The value is left out of texts.
    pub(super) sensitive: bool,
}

impl Text {
    /// Whether the string is longer than that. Characters are never more than bytes, so most strings need no count.
    fn exceeds(&self, text: &str, max: usize) -> bool {
        text.len() > max
            && match self.unit {
                Unit::Bytes => true,
                Unit::Chars => text.encode_utf16().count() > max,
            }
    }
}

/// What a string's length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Chars,
    /// Payloads are measured in UTF-8.
    Bytes,
}

/// A regular expression of the model: as texts print it, and as we test it.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) text: &'static str,
    pub(super) holds: fn(&str) -> bool,
}

/// Checks a request against its members. `Err` is the text of the ValidationException.
pub(super) fn check(fields: &Fields<'_>, raised: bool) -> Result<(), String> {
    let mut violations = Violations {
        raised,
        found: Vec::new(),
    };
    violations.structure(fields, "");
    violations.verdict()
}

struct Violations {
    /// Whether the raised limits hold.
    raised: bool,
    found: Vec<String>,
}

impl Violations {
    fn verdict(self) -> Result<(), String> {
        let count = self.found.len();
        match count {
            0 => Ok(()),
            1 => Err(format!("1 validation error detected: {}", self.found[0])),
            _ => Err(format!(
                "{count} validation errors detected: {}",
                self.found.join("; ")
            )),
        }
    }

    fn structure(&mut self, fields: &Fields<'_>, prefix: &str) {
        for (member, value) in fields.iter() {
            match value {
                Some(value) => self.member(value, member.shape, prefix, member.name),
                None if member.required => {
                    self.found.push(format!(
                        "Value null at '{prefix}{}' failed to satisfy constraint: Member must not be null",
                        member.name
                    ));
                }
                None => {}
            }
        }
    }

    fn member(&mut self, value: &Wire<'_>, shape: &Shape, prefix: &str, name: &str) {
        match (value, shape) {
            (Wire::Text(text), Shape::Text(bounds)) => self.text(text, bounds, prefix, name),
            (Wire::Text(text), Shape::Choice(words)) if !words.contains(&&**text) => {
                let set = words.join(", ");
                self.add(
                    Some(text),
                    prefix,
                    name,
                    &format!("Member must satisfy enum value set: [{set}]"),
                );
            }
            (Wire::Number(number), Shape::Number { min, max }) => {
                self.range(number, (min, max), prefix, name)
            }
            (Wire::Fraction(number), Shape::Fraction { min, max }) => {
                self.range(number, (min, max), prefix, name)
            }
            (Wire::List(items), Shape::List { of, min, max }) => {
                self.list(items, of, (*min, *max), prefix, name)
            }
            (Wire::Structure(fields), Shape::Structure { .. }) => {
                self.structure(fields, &format!("{prefix}{name}."))
            }
            // The reader gives no other pairs, and the rest has no constraints.
            (
                Wire::Text(_)
                | Wire::Number(_)
                | Wire::Fraction(_)
                | Wire::Boolean(_)
                | Wire::List(_)
                | Wire::Structure(_),
                _,
            ) => {}
        }
    }

    fn text(&mut self, text: &str, bounds: &Text, prefix: &str, name: &str) {
        let shown = (!bounds.sensitive).then_some(text);
        let max = if self.raised {
            bounds.raised
        } else {
            bounds.max
        };
        if bounds.exceeds(text, max) {
            let rule = format!("Member must have length less than or equal to {max}");
            self.add(shown, prefix, name, &rule);
        } else if text.len() < bounds.min {
            let rule = format!(
                "Member must have length greater than or equal to {}",
                bounds.min
            );
            self.add(shown, prefix, name, &rule);
        }
        if let Some(pattern) = &bounds.pattern
            && !(pattern.holds)(text)
        {
            let rule = format!(
                "Member must satisfy regular expression pattern: {}",
                pattern.text
            );
            self.add(shown, prefix, name, &rule);
        }
    }

    fn list(
        &mut self,
        items: &[Wire<'_>],
        of: &Shape,
        (min, max): (usize, usize),
        prefix: &str,
        name: &str,
    ) {
        if items.len() > max {
            let rule = format!("Member must have length less than or equal to {max}");
            self.add(Some(&shown_list(items)), prefix, name, &rule);
        } else if items.len() < min {
            let rule = format!("Member must have length greater than or equal to {min}");
            self.add(Some(&shown_list(items)), prefix, name, &rule);
        }
        for (index, item) in items.iter().enumerate() {
            self.member(
                item,
                of,
                &format!("{prefix}{name}.{}.", index + 1),
                "member",
            );
        }
    }

    fn range<T: PartialOrd + Display>(
        &mut self,
        number: &T,
        (min, max): (&T, &T),
        prefix: &str,
        name: &str,
    ) {
        let rule = if number > max {
            format!("Member must have value less than or equal to {max}")
        } else if number < min {
            format!("Member must have value greater than or equal to {min}")
        } else {
            return;
        };
        self.add(Some(&number.to_string()), prefix, name, &rule);
    }

    fn add(&mut self, shown: Option<&str>, prefix: &str, name: &str, rule: &str) {
        let value = match shown {
            Some(shown) => format!("Value '{shown}'"),
            None => "Value".to_owned(),
        };
        self.found.push(format!(
            "{value} at '{prefix}{name}' failed to satisfy constraint: {rule}"
        ));
    }
}

/// A list as texts print it: `[Tag(key=a, value=b), …]`.
fn shown_list(items: &[Wire<'_>]) -> String {
    let mut text = String::from("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        show(&mut text, item);
    }
    text.push(']');
    text
}

fn show(text: &mut String, value: &Wire<'_>) {
    match value {
        Wire::Text(value) => text.push_str(value),
        Wire::Number(value) => write!(text, "{value}").expect("a String takes everything"),
        Wire::Fraction(value) => write!(text, "{value}").expect("a String takes everything"),
        Wire::Boolean(value) => write!(text, "{value}").expect("a String takes everything"),
        Wire::List(items) => text.push_str(&shown_list(items)),
        Wire::Structure(fields) => {
            text.push_str(fields.shape_name());
            text.push('(');
            let mut separator = "";
            for (member, value) in fields.iter() {
                if let Some(value) = value {
                    write!(text, "{separator}{}=", member.name).expect("a String takes everything");
                    show(text, value);
                    separator = ", ";
                }
            }
            text.push(')');
        }
    }
}
