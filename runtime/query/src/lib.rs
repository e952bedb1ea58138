//! Values and the two query languages of the Amazon States Language.
//!
//! [`Value`] is the one JSON value of the project. [`Path`], [`ReferencePath`] and [`PathExpr`] are JSONPath and the
//! intrinsic functions, [`Expression`] is JSONata; [`Template`] and [`JsonataTemplate`] are payload templates in either
//! language. Everything is parsed once and evaluated often.
//!
//! The crate hides both parsers, the JSONata engine and every rule about how results become JSON. It is pure: the
//! time, the randomness ([`Random`]) and the context object ([`Scope`]) are arguments.

mod effort;
mod hash;
mod intrinsic;
mod java;
mod jsonata;
mod limits;
mod path;
mod random;
mod sources;
mod template;
mod value;

pub use effort::{Allowance, Effort, Ledger, Room};
pub use intrinsic::{INTRINSIC_FUNCTIONS, Intrinsic, IntrinsicError};
pub use jsonata::{
    Bindings, Bound, Bounds, Expression, JsonataFailure, JsonataFailureKind, JsonataSyntaxError,
    JsonataTemplate, References,
};
pub use limits::{
    JSON_DEPTH_MAX, JSONATA_DEPTH_MAX, JSONATA_MEMORY_BYTES_MAX, JSONATA_RESULT_BYTES_MAX,
    JSONATA_SEQUENCE_MAX, JSONATA_STATE_TIME_MS_MAX, JSONATA_STRING_BYTES_MAX, JSONATA_TIME_MS_MAX,
    STATE_BYTES_MAX,
};
pub use path::{
    Path, PathError, PathErrorKind, PathExpr, PathExprError, PathRoot, PathSyntaxError,
    ReferencePath, ReferencePathError,
};
pub use random::Random;
pub use sources::{NoScope, Scope, Sources};
pub use template::{Template, TemplateError, TemplateFailure};
pub use value::{Array, JsonError, Number, Object, ObjectBuilder, Value, ValueKind};
