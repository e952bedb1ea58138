//! Choice states: their rules and what these test.

use std::sync::Arc;

use stepwell_query::{Expression, JsonataTemplate, Number, Path, Template};

use super::{
    StateId,
    io::{Assign, Io},
};

/// Goes on by the first rule that holds.
#[derive(Debug, Clone)]
pub struct Choice {
    pub io: Io,
    /// Never empty.
    pub rules: Rules,
    /// `Default`.
    pub default: Option<StateId>,
}

/// `Choices`, in the state's query language.
#[derive(Debug, Clone)]
pub enum Rules {
    Path(Vec<PathRule>),
    Jsonata(Vec<JsonataRule>),
}

/// A rule of a JSONPath Choice state.
#[derive(Debug, Clone)]
pub struct PathRule {
    pub test: Test,
    /// Takes the place of the state's own `Assign` when this rule is chosen.
    pub assign: Option<Assign<Template>>,
    pub next: StateId,
}

/// A rule of a JSONata Choice state.
#[derive(Debug, Clone)]
pub struct JsonataRule {
    pub condition: Condition,
    /// Takes the place of the state's own `Assign` when this rule is chosen.
    pub assign: Option<Assign<JsonataTemplate>>,
    /// Takes the place of the state's own `Output` when this rule is chosen.
    pub output: Option<JsonataTemplate>,
    pub next: StateId,
}

/// `Condition`.
#[derive(Debug, Clone)]
pub enum Condition {
    Fixed(bool),
    /// Must evaluate to a boolean.
    Jsonata(Expression),
}

/// A Choice rule's test in JSONPath.
#[derive(Debug, Clone)]
pub enum Test {
    /// Never empty.
    And(Vec<Test>),
    /// Never empty.
    Or(Vec<Test>),
    Not(Box<Test>),
    Compare(Comparison),
}

/// `Variable` with one comparison operator.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub variable: Path,
    pub operator: Operator,
}

/// The 39 comparison operators. A variable of another type than the operator's makes the rule false.
#[derive(Debug, Clone)]
pub enum Operator {
    String(Order, Operand<Arc<str>>),
    Numeric(Order, Operand<Number>),
    Timestamp(Order, Operand<jiff::Timestamp>),
    BooleanEquals(Operand<bool>),
    StringMatches(Wildcard),
    IsNull(bool),
    IsPresent(bool),
    IsNumeric(bool),
    IsString(bool),
    IsBoolean(bool),
    IsTimestamp(bool),
}

/// How the variable must stand to the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Equals,
    LessThan,
    GreaterThan,
    LessThanEquals,
    GreaterThanEquals,
}

impl Order {
    /// Whether a variable that compares so to the operand satisfies the operator.
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Order::Equals => ordering.is_eq(),
            Order::LessThan => ordering.is_lt(),
            Order::GreaterThan => ordering.is_gt(),
            Order::LessThanEquals => ordering.is_le(),
            Order::GreaterThanEquals => ordering.is_ge(),
        }
    }
}

/// What the variable is compared with: the plain operator's value, or the `…Path` operator's path.
#[derive(Debug, Clone)]
pub enum Operand<T> {
    Fixed(T),
    Path(Path),
}

/// The pattern of `StringMatches`: `*` stands for any characters, `\*` and `\\` for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    /// The literal pieces between the stars, unescaped; one more than there are stars.
    pub(crate) pieces: Vec<Box<str>>,
}
