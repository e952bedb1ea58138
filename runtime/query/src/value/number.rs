//! Numbers as the service's JSON library keeps and prints them. Hides the three forms.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::java;

/// A JSON number: an exact integer of any size, or a double (written with a point or an exponent).
#[derive(Clone)]
pub struct Number(Form);

#[derive(Clone)]
enum Form {
    Int(i64),
    Double(f64),
    /// An integer beyond `i64`, in its canonical decimal digits.
    Big(Arc<str>),
}

impl Number {
    /// A double; `None` when it is infinite or no number, which JSON cannot say.
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(Form::Double(value)))
    }

    /// The number whose JSON text this is: an integer when it has neither point nor exponent. A double beyond the
    /// range of doubles gives `None`.
    ///
    /// The text must follow the JSON grammar.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        if text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            return text.parse().ok().and_then(Self::from_f64);
        }
        match text.parse() {
            Ok(int) => Some(Self(Form::Int(int))),
            Err(_) => Some(Self(Form::Big(text.into()))),
        }
    }

    /// The shortest exact form of a computed double: an integer when it has no fraction and an `i64` holds it.
    pub fn from_computed(value: f64) -> Option<Self> {
        if value.fract() == 0.0 && value.abs() < 9.2e18 {
            return Some(Self(Form::Int(value as i64)));
        }
        Self::from_f64(value)
    }

    /// The integer, if the number has no fraction and fits.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.0 {
            Form::Int(int) => Some(*int),
            Form::Double(double)
                if double.fract() == 0.0 && double.abs() < 9_223_372_036_854_775_808.0 =>
            {
                Some(*double as i64)
            }
            Form::Double(_) | Form::Big(_) => None,
        }
    }

    /// The nearest double.
    pub fn as_f64(&self) -> f64 {
        match &self.0 {
            Form::Int(int) => *int as f64,
            Form::Double(double) => *double,
            Form::Big(digits) => digits.parse().expect("decimal digits are a double"),
        }
    }

    /// Whether the number was written or computed as an integer (`1`, not `1.0`).
    pub fn is_integer(&self) -> bool {
        !matches!(self.0, Form::Double(_))
    }

    /// Compares by value.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Form::Int(left), Form::Int(right)) => left.cmp(right),
            (Form::Big(left), Form::Big(right)) => compare_digits(left, right),
            (Form::Int(int), Form::Double(double)) => compare_mixed(*int, *double),
            (Form::Double(double), Form::Int(int)) => compare_mixed(*int, *double).reverse(),
            _ => self.as_f64().total_cmp(&other.as_f64()),
        }
    }
}

fn compare_mixed(int: i64, double: f64) -> Ordering {
    let rounded = (int as f64).partial_cmp(&double).unwrap_or(Ordering::Equal);
    if rounded == Ordering::Equal && double.abs() < 9.0e18 {
        int.cmp(&(double as i64))
    } else {
        rounded
    }
}

fn compare_digits(left: &str, right: &str) -> Ordering {
    match (left.strip_prefix('-'), right.strip_prefix('-')) {
        (None, None) => (left.len(), left).cmp(&(right.len(), right)),
        (Some(left), Some(right)) => (right.len(), right).cmp(&(left.len(), left)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // 0.0 and -0.0 are one number.
            (Form::Double(left), Form::Double(right)) => left == right,
            _ => self.compare(other) == Ordering::Equal,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Int(int) => write!(formatter, "{int}"),
            Form::Double(double) => formatter.write_str(&java::double_to_string(*double)),
            Form::Big(digits) => formatter.write_str(digits),
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(Form::Int(value))
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Self(Form::Int(value.into()))
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self(Form::Int(value.into()))
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        match i64::try_from(value) {
            Ok(int) => Self(Form::Int(int)),
            Err(_) => Self(Form::Big(value.to_string().into())),
        }
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}
