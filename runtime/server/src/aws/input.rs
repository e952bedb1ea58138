//! Reads a request's body once, straight into the members of its operation; strings are borrowed from the body.
//! Unknown members are skipped, `null` is an absent member. What it hides: JSON.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected,
        Visitor,
    },
};
use stepwell_query::{Number, Value};

use super::{
    constraint::{Member, Shape},
    fault::Fault,
};

/// The first number that is too large for [`Wire::Number`]: 2 to the power of 63.
const NUMBER_END: f64 = -(i64::MIN as f64);

/// A member's value as it came.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wire<'a> {
    Text(Cow<'a, str>),
    Number(i64),
    Fraction(f64),
    Boolean(bool),
    List(Vec<Wire<'a>>),
    Structure(Fields<'a>),
}

/// The members of a structure that were given.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    name: &'static str,
    members: &'static [Member],
    /// One for each member, in the table's order.
    values: Vec<Option<Wire<'a>>>,
}

impl PartialEq for Fields<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.values == other.values
    }
}

/// Reads the body of a request whose operation takes `members`. An empty body is an empty request.
pub(super) fn read<'a>(body: &'a [u8], members: &'static [Member]) -> Result<Fields<'a>, Fault> {
    let seed = Structure { name: "", members };
    if body.is_empty() {
        return Ok(seed.empty());
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let fields = seed
        .deserialize(&mut reader)
        .and_then(|fields| reader.end().map(|()| fields));
    fields.map_err(|error| Fault::unreadable(&error))
}

impl<'a> Fields<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static Member, Option<&Wire<'a>>)> {
        self.members
            .iter()
            .zip(self.values.iter().map(Option::as_ref))
    }

    /// The model's name of the structure.
    pub(super) fn shape_name(&self) -> &'static str {
        self.name
    }

    /// The member of that name, taken out.
    pub(super) fn take(&mut self, name: &str) -> Option<Wire<'a>> {
        let index = self.members.iter().position(|member| member.name == name);
        debug_assert!(index.is_some(), "{name} is not in the operation's table");
        self.values[index?].take()
    }

    /// The string member of that name.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Wire::Text(text) => Some(text.into_owned()),
            Wire::Number(_)
            | Wire::Fraction(_)
            | Wire::Boolean(_)
            | Wire::List(_)
            | Wire::Structure(_) => None,
        }
    }

    /// The string member of that name, which the table requires.
    pub(super) fn required(&mut self, name: &str) -> String {
        self.text(name)
            .expect("the check refused the request without this member")
    }

    /// Whether the member of that name, one of a set of words, is this word.
    pub(super) fn is(&mut self, name: &str, word: &str) -> bool {
        self.text(name).is_some_and(|text| text == word)
    }

    pub(super) fn number(&mut self, name: &str) -> Option<i64> {
        match self.take(name)? {
            Wire::Number(number) => Some(number),
            Wire::Text(_)
            | Wire::Fraction(_)
            | Wire::Boolean(_)
            | Wire::List(_)
            | Wire::Structure(_) => None,
        }
    }

    /// A number with a fraction that was given.
    pub(super) fn fraction(&mut self, name: &str) -> Option<f64> {
        match self.take(name)? {
            Wire::Fraction(number) => Some(number),
            Wire::Text(_)
            | Wire::Number(_)
            | Wire::Boolean(_)
            | Wire::List(_)
            | Wire::Structure(_) => None,
        }
    }

    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Wire::Boolean(value) => Some(value),
            Wire::Text(_)
            | Wire::Number(_)
            | Wire::Fraction(_)
            | Wire::List(_)
            | Wire::Structure(_) => None,
        }
    }

    pub(super) fn structure(&mut self, name: &str) -> Option<Fields<'a>> {
        match self.take(name)? {
            Wire::Structure(fields) => Some(fields),
            Wire::Text(_)
            | Wire::Number(_)
            | Wire::Fraction(_)
            | Wire::Boolean(_)
            | Wire::List(_) => None,
        }
    }

    pub(super) fn list(&mut self, name: &str) -> Option<Vec<Wire<'a>>> {
        match self.take(name)? {
            Wire::List(items) => Some(items),
            Wire::Text(_)
            | Wire::Number(_)
            | Wire::Fraction(_)
            | Wire::Boolean(_)
            | Wire::Structure(_) => None,
        }
    }

    /// The structure as JSON, members in the table's order, absent ones absent.
    pub(super) fn to_value(&self) -> Value {
        Value::object(
            self.iter()
                .filter_map(|(member, value)| Some((member.name, value?.to_value()))),
        )
    }
}

impl Wire<'_> {
    /// The value as JSON.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Wire::Text(text) => Value::from(&**text),
            Wire::Number(number) => Value::from(*number),
            Wire::Fraction(number) => Number::from_f64(*number).map_or(Value::Null, Value::from),
            Wire::Boolean(value) => Value::from(*value),
            Wire::List(items) => Value::array(items.iter().map(Wire::to_value)),
            Wire::Structure(fields) => fields.to_value(),
        }
    }
}

/// Reads an object into the members of a structure.
struct Structure {
    name: &'static str,
    members: &'static [Member],
}

impl Structure {
    fn empty<'a>(&self) -> Fields<'a> {
        Fields {
            name: self.name,
            members: self.members,
            values: vec![None; self.members.len()],
        }
    }
}

impl<'de> DeserializeSeed<'de> for Structure {
    type Value = Fields<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Structure {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = self.empty();
        while let Some(Name(name)) = access.next_key::<Name<'de>>()? {
            match self.members.iter().position(|member| member.name == name) {
                Some(index) => {
                    fields.values[index] = access.next_value_seed(Of(self.members[index].shape))?
                }
                None => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a value of a shape; `null` is none.
#[derive(Clone, Copy)]
struct Of(&'static Shape);

impl Of {
    /// What the shape is called when something else was found.
    fn wanted(self) -> &'static str {
        match self.0 {
            Shape::Text(_) | Shape::Choice(_) => "a String",
            Shape::Number { .. } => "an Integer",
            Shape::Fraction { .. } => "a Float",
            Shape::Boolean => "a Boolean",
            Shape::List { .. } => "a List",
            Shape::Structure { .. } => "a Structure",
        }
    }

    fn mismatch<E: serde::de::Error>(self, found: &str) -> E {
        E::custom(format_args!(
            "{found} can not be converted to {}",
            self.wanted()
        ))
    }

    fn number<'a, E: serde::de::Error>(self, number: i64) -> Result<Option<Wire<'a>>, E> {
        match self.0 {
            Shape::Number { .. } => Ok(Some(Wire::Number(number))),
            Shape::Fraction { .. } => Ok(Some(Wire::Fraction(number as f64))),
            Shape::Text(_)
            | Shape::Choice(_)
            | Shape::Boolean
            | Shape::List { .. }
            | Shape::Structure { .. } => Err(self.mismatch("NUMBER_VALUE")),
        }
    }

    fn text<'a, E: serde::de::Error>(self, text: Cow<'a, str>) -> Result<Option<Wire<'a>>, E> {
        match self.0 {
            Shape::Text(_) | Shape::Choice(_) => Ok(Some(Wire::Text(text))),
            Shape::Number { .. }
            | Shape::Fraction { .. }
            | Shape::Boolean
            | Shape::List { .. }
            | Shape::Structure { .. } => Err(self.mismatch("STRING_VALUE")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Of {
    type Value = Option<Wire<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Of {
    type Value = Option<Wire<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        match self.0 {
            Shape::Boolean => Ok(Some(Wire::Boolean(value))),
            Shape::Text(_)
            | Shape::Choice(_)
            | Shape::Number { .. }
            | Shape::Fraction { .. }
            | Shape::List { .. }
            | Shape::Structure { .. } => {
                Err(self.mismatch(if value { "TRUE_VALUE" } else { "FALSE_VALUE" }))
            }
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.number(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.number(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    /// Fractions of what is a whole number are cut off, as the service does.
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        if let Shape::Fraction { .. } = self.0 {
            return Ok(Some(Wire::Fraction(value)));
        }
        // No number of those that there are: the nearest of them would be told as if it had been given.
        if value.abs() >= NUMBER_END {
            return Err(self.mismatch("NUMBER_VALUE"));
        }
        self.number(value as i64)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.text(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Self::Value, E> {
        self.text(Cow::Owned(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let Shape::List { of, .. } = self.0 else {
            return Err(A::Error::custom("Start of list found where not expected"));
        };
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Of(of))? {
            // The service's lists hold no nulls.
            items.push(item.ok_or_else(|| A::Error::invalid_type(Unexpected::Unit, &Of(of)))?);
        }
        Ok(Some(Wire::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
        let Shape::Structure { name, members } = self.0 else {
            return Err(A::Error::custom(
                "Start of structure or map found where not expected.",
            ));
        };
        Ok(Some(Wire::Structure(
            Structure { name, members }.visit_map(access)?,
        )))
    }
}
