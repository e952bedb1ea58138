//! The checked state machine. Hides nothing: it is plain data whose shape rules out what the language forbids, so a
//! reader of it has nothing left to check. Only [`load`](crate::load) builds it.
//!
//! States live in one arena and name each other by [`StateId`]; a nested state machine (a Parallel's branch, a Map's
//! processor) is a [`Flow`] into the same arena. Where a field can be given in several ways the type is [`Given`].

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Index;
use std::sync::Arc;

use stepwell_query::{
    Expression, JsonataTemplate, Number, Path, PathExpr, ReferencePath, Template, Value,
};

use crate::resource::Resource;

/// A whole state machine, checked: every target exists, every field belongs to its state and its query language.
#[derive(Debug, Clone)]
pub struct Program {
    /// All states, nested ones included: those of a flow in document order, then those nested below. Indexed by [`StateId`].
    pub(crate) states: Vec<State>,
    /// State names are unique in the whole state machine, so history names states by name alone.
    pub(crate) by_name: BTreeMap<Arc<str>, StateId>,
    /// Where the execution starts.
    pub root: Flow,
    /// The state machine's `QueryLanguage`.
    pub query_language: QueryLanguage,
    /// The state machine's `TimeoutSeconds`: the execution's time bound in seconds.
    pub timeout_s: Option<NonZeroU32>,
    /// The state machine's `Comment`.
    pub comment: Option<Arc<str>>,
}

impl Program {
    /// The state of that name, wherever it is nested; `None` when the state machine has none.
    pub fn find(&self, name: &str) -> Option<StateId> {
        self.by_name.get(name).copied()
    }

    /// All states, nested ones included.
    pub fn states(&self) -> impl ExactSizeIterator<Item = (StateId, &State)> {
        self.states
            .iter()
            .enumerate()
            .map(|(index, state)| (StateId::at(index), state))
    }
}

impl Index<StateId> for Program {
    type Output = State;

    fn index(&self, id: StateId) -> &State {
        &self.states[id.index()]
    }
}

/// A state's place in its [`Program`]; of no meaning in another one and never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(u32);

impl StateId {
    /// The id of the state at `index` of the arena.
    pub(crate) fn at(index: usize) -> StateId {
        StateId(
            u32::try_from(index).expect("a definition of bounded size has fewer than 2^32 states"),
        )
    }

    /// Its place in the arena.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A state machine, top level or nested: where it starts and which states are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// `StartAt`.
    pub start: StateId,
    /// The states of this flow alone (those nested below them are not listed), in document order.
    pub states: Vec<StateId>,
}

/// `QueryLanguage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueryLanguage {
    #[default]
    JsonPath,
    Jsonata,
}

/// One state.
#[derive(Debug, Clone)]
pub struct State {
    /// At most 80 characters, unique in the whole state machine.
    pub name: Arc<str>,
    pub comment: Option<Arc<str>>,
    /// The language of this state's fields; every field of the state that depends on it agrees.
    pub language: QueryLanguage,
    /// The Parallel or Map state whose branch or processor this state belongs to.
    pub parent: Option<StateId>,
    /// What the state does. Boxed by kind where large.
    pub kind: Kind,
}

/// The state's `Type` with its fields.
#[derive(Debug, Clone)]
pub enum Kind {
    Pass(Pass),
    Task(Box<Task>),
    Choice(Choice),
    Wait(Wait),
    Succeed(Succeed),
    Fail(Fail),
    Parallel(Parallel),
    Map(Box<Map>),
}

impl Kind {
    /// The `Type` as the definition writes it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Kind::Pass(_) => "Pass",
            Kind::Task(_) => "Task",
            Kind::Choice(_) => "Choice",
            Kind::Wait(_) => "Wait",
            Kind::Succeed(_) => "Succeed",
            Kind::Fail(_) => "Fail",
            Kind::Parallel(_) => "Parallel",
            Kind::Map(_) => "Map",
        }
    }

    /// The state's input and output processing; a Fail state has none.
    pub fn io(&self) -> Option<&Io> {
        match self {
            Kind::Pass(s) => Some(&s.io),
            Kind::Task(s) => Some(&s.io),
            Kind::Choice(s) => Some(&s.io),
            Kind::Wait(s) => Some(&s.io),
            Kind::Succeed(s) => Some(&s.io),
            Kind::Fail(_) => None,
            Kind::Parallel(s) => Some(&s.io),
            Kind::Map(s) => Some(&s.io),
        }
    }

    /// Where the state goes when its work is done; `None` for Choice (its rules say), Succeed and Fail.
    pub fn then(&self) -> Option<Then> {
        match self {
            Kind::Pass(s) => Some(s.then),
            Kind::Task(s) => Some(s.then),
            Kind::Wait(s) => Some(s.then),
            Kind::Parallel(s) => Some(s.then),
            Kind::Map(s) => Some(s.then),
            Kind::Choice(_) | Kind::Succeed(_) | Kind::Fail(_) => None,
        }
    }

    /// The state's `Retry` and `Catch`; only Task, Parallel and Map have them.
    pub fn handlers(&self) -> Option<&Handlers> {
        match self {
            Kind::Task(s) => Some(&s.handlers),
            Kind::Parallel(s) => Some(&s.handlers),
            Kind::Map(s) => Some(&s.handlers),
            Kind::Pass(_) | Kind::Choice(_) | Kind::Wait(_) | Kind::Succeed(_) | Kind::Fail(_) => {
                None
            }
        }
    }
}

/// `Next` or `End`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Go on to a state of the same flow.
    Next(StateId),
    /// The flow ends with this state's output.
    End,
}

// ---------------------------------------------------------------------------------------------------------------
// Input and output processing

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
    /// `Parameters` (on a Map its legacy form of `ItemSelector` is in [`Map::item_selector`], not here).
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

// ---------------------------------------------------------------------------------------------------------------
// The state types

/// Passes its input on, or a fixed result.
#[derive(Debug, Clone)]
pub struct Pass {
    pub io: Io,
    /// `Result`; JSONPath states only.
    pub result: Option<Value>,
    pub then: Then,
}

/// Has work done by a resource.
#[derive(Debug, Clone)]
pub struct Task {
    pub resource: Resource,
    pub io: Io,
    pub credentials: Option<Credentials>,
    /// `TimeoutSeconds[Path]`, seconds, 1 to 99999999; the default is 99999999.
    pub timeout_s: Option<Given<NonZeroU32>>,
    /// `HeartbeatSeconds[Path]`, seconds, 1 to 99999999; where both are fixed, smaller than the timeout.
    pub heartbeat_s: Option<Given<NonZeroU32>>,
    pub handlers: Handlers,
    pub then: Then,
}

/// `Credentials`: the role that the task assumes.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// `RoleArn`, `RoleArn.$` or `{% … %}`.
    pub role_arn: Given<Arc<str>, PathExpr>,
}

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

/// Waits for a time.
#[derive(Debug, Clone)]
pub struct Wait {
    pub io: Io,
    pub until: Until,
    pub then: Then,
}

/// What a Wait state waits for.
#[derive(Debug, Clone)]
pub enum Until {
    /// `Seconds[Path]`, 0 to 99999999.
    Seconds(Given<u32>),
    /// `Timestamp[Path]`.
    Timestamp(Given<jiff::Timestamp>),
}

/// Ends its flow in success.
#[derive(Debug, Clone)]
pub struct Succeed {
    pub io: Io,
}

/// Ends its flow in failure.
#[derive(Debug, Clone)]
pub struct Fail {
    /// `Error` or `ErrorPath`.
    pub error: Option<Given<Arc<str>, PathExpr>>,
    /// `Cause` or `CausePath`.
    pub cause: Option<Given<Arc<str>, PathExpr>>,
}

/// Runs its branches side by side.
#[derive(Debug, Clone)]
pub struct Parallel {
    pub io: Io,
    /// Never empty.
    pub branches: Vec<Flow>,
    pub handlers: Handlers,
    pub then: Then,
}

/// Runs its processor once for each item.
#[derive(Debug, Clone)]
pub struct Map {
    pub io: Io,
    pub items: Items,
    /// `ItemSelector`, or the legacy `Parameters` of a Map.
    pub item_selector: Option<Payload>,
    /// `ItemProcessor`, or the legacy `Iterator`.
    pub processor: Flow,
    pub mode: Mode,
    /// `MaxConcurrency[Path]`; absent or 0 sets no limit of its own.
    pub max_concurrency: Option<Given<u32>>,
    /// `ToleratedFailureCount[Path]`; a distributed Map heeds it.
    pub tolerated_failure_count: Option<Given<u32>>,
    /// `ToleratedFailurePercentage[Path]`, 0 to 100; a distributed Map heeds it.
    pub tolerated_failure_percentage: Option<Given<f64>>,
    pub handlers: Handlers,
    pub then: Then,
}

/// Where a Map's items come from within the execution (a distributed Map may have an [`ItemReader`] besides).
#[derive(Debug, Clone)]
pub enum Items {
    /// The state's effective input.
    Input,
    /// `ItemsPath`.
    Path(Path),
    /// `Items`.
    Jsonata(JsonataTemplate),
}

/// `ProcessorConfig.Mode` with what only that mode has.
#[derive(Debug, Clone)]
pub enum Mode {
    Inline,
    Distributed(Box<Distributed>),
}

/// The fields of a distributed Map.
#[derive(Debug, Clone)]
pub struct Distributed {
    /// `ProcessorConfig.ExecutionType` of the child executions.
    pub execution_type: ExecutionType,
    /// `Label`, unique in the state machine; when absent the state's name stands in.
    pub label: Option<Arc<str>>,
    pub reader: Option<ItemReader>,
    pub batcher: Option<ItemBatcher>,
    pub writer: Option<ResultWriter>,
}

/// Standard or Express.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionType {
    Standard,
    Express,
}

/// `ItemReader`.
#[derive(Debug, Clone)]
pub struct ItemReader {
    pub source: Source,
    /// `Parameters` or `Arguments`.
    pub arguments: Option<Payload>,
    /// `ReaderConfig.MaxItems[Path]`, at most 100 million; 0 sets no limit.
    pub max_items: Option<Given<u32>>,
    /// `ReaderConfig.ItemsPointer`, a JSON Pointer to the array or object in a JSON file.
    pub items_pointer: Option<Arc<str>>,
}

/// What an [`ItemReader`] reads.
#[derive(Debug, Clone)]
pub enum Source {
    /// `s3:getObject`: one file.
    Object(Format),
    /// `s3:listObjectsV2`: the list of objects itself.
    Listing,
    /// `s3:listObjectsV2` with `Transformation: LOAD_AND_FLATTEN`: the contents of all listed files.
    Contents(Format),
}

/// `ReaderConfig.InputType` with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    Csv {
        header: CsvHeader,
        delimiter: CsvDelimiter,
    },
    Json,
    JsonLines,
    Parquet,
    Manifest(ManifestType),
}

/// `CSVHeaderLocation` with `CSVHeaders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CsvHeader {
    FirstRow,
    Given(Vec<Arc<str>>),
}

/// `CSVDelimiter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CsvDelimiter {
    #[default]
    Comma,
    Pipe,
    Semicolon,
    Space,
    Tab,
}

impl CsvDelimiter {
    /// The delimiter's one byte.
    pub fn byte(self) -> u8 {
        match self {
            CsvDelimiter::Comma => b',',
            CsvDelimiter::Pipe => b'|',
            CsvDelimiter::Semicolon => b';',
            CsvDelimiter::Space => b' ',
            CsvDelimiter::Tab => b'\t',
        }
    }
}

/// `ManifestType` with what the files are that the manifest lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestType {
    /// Files of the `InputType`; Parquet, when that is `MANIFEST` or left out.
    AthenaData(Box<Format>),
    /// CSV files whose columns the manifest names.
    S3Inventory,
}

/// `ItemBatcher`: at least one of the two maxima is set.
#[derive(Debug, Clone)]
pub struct ItemBatcher {
    pub bound: BatchBound,
    pub batch_input: Option<Payload>,
}

/// `MaxItemsPerBatch[Path]` and `MaxInputBytesPerBatch[Path]` (bytes, at most 262,144).
#[derive(Debug, Clone)]
pub enum BatchBound {
    Items(Given<NonZeroU32>),
    Bytes(Given<NonZeroU32>),
    Both {
        items: Given<NonZeroU32>,
        bytes: Given<NonZeroU32>,
    },
}

/// `ResultWriter`.
#[derive(Debug, Clone)]
pub struct ResultWriter {
    /// Where the results go (`s3:putObject`); `None` when only their form is set and they stay in the output.
    pub destination: Option<Payload>,
    pub transformation: Transformation,
    pub output_type: OutputType,
}

/// `WriterConfig.Transformation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transformation {
    /// Each child's output with its metadata.
    #[default]
    None,
    /// Each child's output alone.
    Compact,
    /// As compact, with a child's array spread into the whole.
    Flatten,
}

/// `WriterConfig.OutputType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputType {
    #[default]
    Json,
    JsonLines,
}

// ---------------------------------------------------------------------------------------------------------------
// Retry and Catch

/// `Retry` and `Catch`, scanned in order; both may be empty.
#[derive(Debug, Clone, Default)]
pub struct Handlers {
    pub retry: Vec<Retrier>,
    pub catch: Vec<Catcher>,
}

/// One retrier. Delay n is `min(interval_s * backoff_rate^(n-1), max_delay_s)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrier {
    pub errors: ErrorEquals,
    /// `IntervalSeconds`, default 1.
    pub interval_s: NonZeroU32,
    /// `MaxAttempts`, default 3; 0 never retries.
    pub attempts_max: u32,
    /// `BackoffRate`, at least 1.0, default 2.0.
    pub backoff_rate: f64,
    /// `MaxDelaySeconds`.
    pub delay_max_s: Option<NonZeroU32>,
    pub jitter: Jitter,
}

/// `JitterStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// The delay is uniform between zero and the planned one.
    Full,
    #[default]
    None,
}

/// `ErrorEquals`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorEquals {
    /// `States.ALL`, which stands alone.
    All,
    /// Never empty; does not hold `States.ALL`.
    Names(Vec<Arc<str>>),
}

/// One catcher.
#[derive(Debug, Clone)]
pub struct Catcher {
    pub errors: ErrorEquals,
    pub io: CatchIo,
    pub next: StateId,
}

/// What a catcher makes of the error output, in the state's query language.
#[derive(Debug, Clone)]
pub enum CatchIo {
    Path {
        result_path: ResultPath,
        assign: Option<Assign<Template>>,
    },
    Jsonata {
        output: Option<JsonataTemplate>,
        assign: Option<Assign<JsonataTemplate>>,
    },
}
