//! JSONata: expressions, what they read, and why they fail. Hides the engine (the `jsonata-core` crate), whose values
//! never leave this module.

mod bindings;
mod bounds;
mod convert;
mod expression;
mod failure;
mod functions;
mod grammar;
mod guard;
mod length;
mod mend;
mod plain;
mod precedence;
mod references;
mod template;
mod tree;
mod url;
mod weight;
mod witness;
mod words;

pub use bindings::Bindings;
pub use bounds::Bounds;
pub use expression::{Expression, JsonataSyntaxError};
pub use failure::{Bound, JsonataFailure, JsonataFailureKind};
pub use references::References;
pub use template::JsonataTemplate;
