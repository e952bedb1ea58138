//! Events as people and the API see them: the neutral form that the server prints as AWS's JSON and the console and
//! command line as a line. Hides AWS's names of the event types and of their details.

mod details;
mod label;
mod names;

use std::sync::Arc;

use stepwell_query::Value;

use crate::{
    Timestamp,
    event::{Assigned, Event},
};

pub use label::label;
pub use names::{event_type, resource_names};

/// One event of the public history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryView {
    pub id: u64,
    pub previous: u64,
    pub at: Timestamp,
    /// AWS's name of the type: `TaskStateEntered`.
    pub event_type: &'static str,
    /// Key and fields of its details; none for types that have none.
    pub details: Option<(&'static str, Vec<(&'static str, Field)>)>,
}

/// A field of an event's details.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Text(Arc<str>),
    /// A value whose JSON text is the field's string.
    Json(Value),
    Int(i64),
    Bool(bool),
    Object(Vec<(&'static str, Field)>),
    /// An object with a string of JSON text for each name.
    JsonMap(Assigned),
}

/// The public form of an event with its public id; `None` for internal events.
///
/// Without `include_execution_data` inputs, outputs, parameters and variables are left out.
pub fn history_view(id: u64, event: &Event, include_execution_data: bool) -> Option<HistoryView> {
    let event_type = event_type(&event.what)?;
    let details = details::details(&event.what, include_execution_data);
    Some(HistoryView {
        id,
        previous: event.previous,
        at: event.at,
        event_type,
        details,
    })
}

/// How many items a value has to go over.
fn items_len(items: &Value) -> usize {
    match items {
        Value::Array(items) => items.len(),
        Value::Object(items) => items.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
