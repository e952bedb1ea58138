//! The checked state machine. Hides nothing: it is plain data whose shape rules out what the language forbids, so a
//! reader of it has nothing left to check. Only [`load`](crate::load) builds it.
//!
//! States live in one arena and name each other by [`StateId`]; a nested state machine (a Parallel's branch, a Map's
//! processor) is a [`Flow`] into the same arena. Where a field can be given in several ways the type is [`Given`].

mod choice;
mod handlers;
mod io;
mod map;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Index;
use std::sync::Arc;

use stepwell_query::{PathExpr, Value};

use crate::resource::Resource;

pub use choice::{
    Choice, Comparison, Condition, JsonataRule, Operand, Operator, Order, PathRule, Rules, Test,
    Wildcard,
};
pub use handlers::{CatchIo, Catcher, ErrorEquals, Handlers, Jitter, Retrier};
pub use io::{Assign, Given, Io, JsonataIo, PathIo, Payload, ResultPath, Selection};
pub use map::{
    BatchBound, CsvDelimiter, CsvHeader, Distributed, ExecutionType, Format, ItemBatcher,
    ItemReader, Items, ManifestType, Map, Mode, OutputType, ResultWriter, Source, Transformation,
};

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
