//! Amazon States Language: text in, a checked [`Program`] and all [`Diagnostic`]s out. Hides the reading and checking
//! of definitions; pure, so that a definition means the same whenever and wherever it is loaded.

mod advice;
mod choice;
mod codes;
mod diagnostic;
mod expr;
mod graph;
mod handlers;
mod hint;
mod http;
mod item_reader;
mod limits;
mod load;
mod machine;
mod map;
mod node;
mod positions;
mod program;
mod reading;
mod references;
mod resource;
mod simple;
mod task;
mod timestamp;
mod wildcard;

pub use codes::{Code, Severity, codes, codes_of_service, explain};
pub use diagnostic::{Diagnostic, refusal};
pub use http::http_refusals;
pub use load::{Limits, Loaded, Options, Unloadable, load, load_state, load_state_of, load_stored};
pub use program::{
    Assign, BatchBound, CatchIo, Catcher, Choice, Comparison, Condition, Credentials, CsvDelimiter,
    CsvHeader, Distributed, ErrorEquals, ExecutionType, Fail, Flow, Format, Given, Handlers, Io,
    ItemBatcher, ItemReader, Items, Jitter, JsonataIo, JsonataRule, Kind, ManifestType, Map, Mode,
    Operand, Operator, Order, OutputType, Parallel, Pass, PathIo, PathRule, Payload, Program,
    QueryLanguage, ResultPath, ResultWriter, Retrier, Rules, Selection, Source, State, StateId,
    Succeed, Task, Test, Then, Transformation, Until, Wait, Wildcard,
};
pub use reading::variable_name_fault;
pub use resource::{Pattern, Reply, Resource, Target};
pub use timestamp::parse_timestamp;
