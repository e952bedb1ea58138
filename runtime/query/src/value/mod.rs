//! The one JSON value of the project. Hides the shared allocations and their cached sizes.

mod compare;
mod number;
mod object;
mod read;
mod serial;
mod write;

use std::sync::Arc;

pub use number::Number;
pub use object::{Array, Object, ObjectBuilder};
pub use read::JsonError;

/// A JSON value: immutable, cheap to clone (strings, arrays and objects are shared), objects in the order of their
/// keys' first appearance, numbers as the service prints them.
///
/// Equality is JSON equality: `1 == 1.0`, and the order of members does not matter.
#[derive(Clone, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(Arc<str>),
    /// An array.
    Array(Array),
    /// An object.
    Object(Object),
}

/// The six types of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl ValueKind {
    /// The lower-case name of the type, as error texts have it: `null`, `boolean`, `number`, ...
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl Value {
    /// Reads one JSON text. The last of several members with one name wins, in the place of the first.
    ///
    /// Errors say where (line and column, from 1) in the words of the service.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        read::parse(text)
    }

    /// A string value.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// An array of these elements.
    pub fn array(items: impl IntoIterator<Item = Value>) -> Self {
        Self::Array(items.into_iter().collect())
    }

    /// An object of these members; a later one of the same name replaces the former.
    pub fn object<K: Into<Arc<str>>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        let mut builder = ObjectBuilder::default();
        for (key, value) in members {
            builder.insert(key, value);
        }
        builder.into()
    }

    /// `{}`
    pub fn empty_object() -> Self {
        Self::Object(Object::default())
    }

    /// The type of the value.
    pub fn kind(&self) -> ValueKind {
        match self {
            Self::Null => ValueKind::Null,
            Self::Bool(_) => ValueKind::Boolean,
            Self::Number(_) => ValueKind::Number,
            Self::String(_) => ValueKind::String,
            Self::Array(_) => ValueKind::Array,
            Self::Object(_) => ValueKind::Object,
        }
    }

    /// Whether the value is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<&Number> {
        if let Self::Number(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// The number as an integer, if it is one without a fraction (`1.0` is 1) that fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number().and_then(Number::as_i64)
    }

    /// The number as a double, rounded to the nearest when it has more digits.
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number().map(Number::as_f64)
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// The member of that name; `None` when there is none or the value is no object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object().and_then(|object| object.get(key))
    }

    /// The element at that index; `None` when there is none or the value is no array.
    pub fn at(&self, index: usize) -> Option<&Value> {
        self.as_array().and_then(|array| array.get(index))
    }

    /// The value at a JSON Pointer (RFC 6901), e.g. `/States/A/Next`.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer
            .strip_prefix('/')?
            .split('/')
            .try_fold(self, |value, token| {
                let token = token.replace("~1", "/").replace("~0", "~");
                match value {
                    Self::Object(object) => object.get(&token),
                    Self::Array(array) => array.get(token.parse::<usize>().ok()?),
                    Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => None,
                }
            })
    }

    /// Levels of nesting: 0 for scalars, 1 for `[]`. Known without a walk.
    ///
    /// [`Value::parse`] refuses more than [`crate::JSON_DEPTH_MAX`]; who builds values from values in a loop must check
    /// it, since writing, comparing and dropping a value recurse.
    pub fn depth(&self) -> u32 {
        match self {
            Self::Array(array) => array.depth(),
            Self::Object(object) => object.depth(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => 0,
        }
    }

    /// Identity of the shared allocation: two values with one id are the same string, array or object. `None` for
    /// values that share nothing. An id is good as long as one of its values lives.
    pub fn ptr_id(&self) -> Option<usize> {
        match self {
            Self::String(text) => Some(Arc::as_ptr(text).cast::<u8>() as usize),
            Self::Array(array) => Some(array.ptr_id()),
            Self::Object(object) => Some(object.ptr_id()),
            Self::Null | Self::Bool(_) | Self::Number(_) => None,
        }
    }

    /// The compact JSON text.
    pub fn to_json(&self) -> String {
        let mut text = String::with_capacity(self.json_bytes());
        self.write_json(&mut text);
        text
    }

    /// Appends the compact JSON text.
    pub fn write_json(&self, text: &mut String) {
        write::value(text, self);
    }

    /// Bytes of the compact JSON text in UTF-8. Arrays and objects remember it, so asking again costs nothing.
    pub fn json_bytes(&self) -> usize {
        write::value_bytes(self)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(value: Arc<str>) -> Self {
        Self::String(value)
    }
}

impl From<Number> for Value {
    fn from(value: Number) -> Self {
        Self::Number(value)
    }
}

impl From<Array> for Value {
    fn from(value: Array) -> Self {
        Self::Array(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Self {
        Self::Array(value.into())
    }
}

impl From<Object> for Value {
    fn from(value: Object) -> Self {
        Self::Object(value)
    }
}

impl From<ObjectBuilder> for Value {
    fn from(value: ObjectBuilder) -> Self {
        Self::Object(value.build())
    }
}

macro_rules! from_integer {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::Number(Number::from(value))
            }
        }
    )*};
}
from_integer!(i32, u32, i64, u64, usize);
