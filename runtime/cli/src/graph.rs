//! Pictures of a state machine. Hides how a definition becomes boxes and lines: [`Chart`] says what is drawn,
//! `layout` where, `svg` and `mermaid` how.

mod chart;
mod condition;
mod layout;
mod mermaid;
mod svg;
mod text;

pub(crate) use chart::{Chart, Mark, MarkStatus, Way};
pub(crate) use mermaid::mermaid;
pub(crate) use svg::svg;
pub(crate) use text::{escape, fit, width};
