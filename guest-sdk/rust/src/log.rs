//! Structured log lines, kept with the attempt and shown in the console.
//!
//! ```
//! use stepwell_task::log;
//! log::info("charging", &[("order", &"o-1"), ("cents", &1250)]);
//! ```

use std::fmt::Display;

/// How much a line matters, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever hunts a defect.
    Debug,
    /// The normal course.
    Info,
    /// Unexpected, and dealt with.
    Warn,
    /// Failed.
    Error,
}

/// A field of a line: its name and anything that displays.
pub type Field<'a> = (&'a str, &'a dyn Display);

/// Adds one line with its fields.
pub fn emit(level: Level, message: &str, fields: &[Field<'_>]) {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_string()))
        .collect();
    crate::host::log(level, message, &fields);
}

/// A line at [`Level::Trace`].
pub fn trace(message: &str, fields: &[Field<'_>]) {
    emit(Level::Trace, message, fields);
}

/// A line at [`Level::Debug`].
pub fn debug(message: &str, fields: &[Field<'_>]) {
    emit(Level::Debug, message, fields);
}

/// A line at [`Level::Info`].
pub fn info(message: &str, fields: &[Field<'_>]) {
    emit(Level::Info, message, fields);
}

/// A line at [`Level::Warn`].
pub fn warn(message: &str, fields: &[Field<'_>]) {
    emit(Level::Warn, message, fields);
}

/// A line at [`Level::Error`].
pub fn error(message: &str, fields: &[Field<'_>]) {
    emit(Level::Error, message, fields);
}
