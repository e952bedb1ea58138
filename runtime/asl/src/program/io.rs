//! Input and output processing, and values that can be given in several ways.

use std::sync::Arc;

use stepwell_query::{Expression, JsonataTemplate, Path, ReferencePath, Template};

/// A state's input and output processing, in the state's query language.
#[derive(Debug, Clone)]
pub enum Io {
    Path(Box<PathIo>),
    Jsonata(Box<JsonataIo>),
}

/// The JSONPath fields, applied in this order around the state's work. What a state type does not have, or the
/// definition leaves out, is the identity.
#[derive(Debug, Clone, Default)]
pub struct PathIo {
    /// `InputPath`.
    pub input_path: Selection,
    /// `Parameters` (on a Map its legacy form of `ItemSelector` is in [`Map::item_selector`](super::Map::item_selector), not here).
    pub parameters: Option<Template>,
    /// `ResultSelector`.
    pub result_selector: Option<Template>,
    /// `ResultPath`.
    pub result_path: ResultPath,
    /// `OutputPath`.
    pub output_path: Selection,
    /// `Assign`.
    pub assign: Option<Assign<Template>>,
}

/// The JSONata fields.
#[derive(Debug, Clone, Default)]
pub struct JsonataIo {
    /// `Arguments` (Task, Parallel).
    pub arguments: Option<JsonataTemplate>,
    /// `Output`; when absent the state's result, or its input where it has no result.
    pub output: Option<JsonataTemplate>,
    /// `Assign`.
    pub assign: Option<Assign<JsonataTemplate>>,
}

/// `InputPath` or `OutputPath`.
#[derive(Debug, Clone, Default)]
pub enum Selection {
    /// Absent or `$`: the whole.
    #[default]
    All,
    Path(Path),
    /// `null`: an empty object.
    Nothing,
}

/// `ResultPath`.
#[derive(Debug, Clone, Default)]
pub enum ResultPath {
    /// Absent or `$`: the result takes the input's place.
    #[default]
    Replace,
    /// The result is put into the input at that place.
    Insert(ReferencePath),
    /// `null`: the input goes on, the result is dropped.
    Discard,
}

/// `Assign`: workflow variables and what they become. All values are taken as of the state's entry.
#[derive(Debug, Clone)]
pub struct Assign<T> {
    /// The variables' names, without `.$`, in document order.
    pub names: Vec<Arc<str>>,
    /// An object with one member a name.
    pub values: T,
}

/// A value that can be given in three ways. `Jsonata` occurs in JSONata states, `Path` in JSONPath states.
#[derive(Debug, Clone)]
pub enum Given<T, P = ReferencePath> {
    /// The plain field, e.g. `TimeoutSeconds: 5`.
    Fixed(T),
    /// The `…Path` field, e.g. `TimeoutSecondsPath: "$.limit"`.
    Path(P),
    /// The plain field with `{% … %}`.
    Jsonata(Expression),
}

/// A payload in the state's language: `ItemSelector`, `BatchInput`, a reader's or writer's `Parameters`/`Arguments`.
#[derive(Debug, Clone)]
pub enum Payload {
    Path(Template),
    Jsonata(JsonataTemplate),
}
