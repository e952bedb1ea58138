//! The pure interpreter.

mod time;

pub use time::Timestamp;
