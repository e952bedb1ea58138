//! Amazon States Language: text in, a checked [`Program`] and all [`Diagnostic`]s out. Hides the reading and checking
//! of definitions; pure, so that a definition means the same whenever and wherever it is loaded.

mod limits;
mod program;
mod resource;

pub use program::{
    Assign, BatchBound, CatchIo, Catcher, Choice, Comparison, Condition, Credentials, CsvDelimiter, CsvHeader,
    Distributed, ErrorEquals, ExecutionType, Fail, Flow, Format, Given, Handlers, Io, ItemBatcher, ItemReader, Items,
    Jitter, JsonataIo, JsonataRule, Kind, ManifestType, Map, Mode, Operand, Operator, Order, OutputType, Parallel,
    Pass, PathIo, PathRule, Payload, Program, QueryLanguage, ResultPath, ResultWriter, Retrier, Rules,
    Selection, Source, State, StateId, Succeed, Task, Test, Then, Transformation, Until, Wait, Wildcard,
};
pub use resource::{Callback, Pattern, Resource, Target};
