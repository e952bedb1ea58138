//! Messages of live streams as they go to the client. Hides the form of server-sent events, and what holds a message's bytes:
//! one that many clients are sent is the same bytes for all of them.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::in_flight::Place;

/// A message, and the place that it has among the answers that wait for their clients, until its client takes it.
pub(super) struct Message {
    pub(super) text: Bytes,
    _place: Option<Arc<Place>>,
}

impl Message {
    /// One that counts among the answers that wait.
    pub(super) fn held(text: Bytes, place: Arc<Place>) -> Message {
        Message {
            text,
            _place: Some(place),
        }
    }
}

impl From<Bytes> for Message {
    /// One that is small, or that others wait for as well.
    fn from(text: Bytes) -> Message {
        Message { text, _place: None }
    }
}

/// A message with a place to go on from.
pub(super) fn named(name: &str, data: &impl Serialize, place: &str) -> Bytes {
    format!("event: {name}\ndata: {}\nid: {place}\n\n", json(data)).into()
}

/// A message that leaves the client's place as it is.
pub(super) fn last(name: &str, data: &impl Serialize) -> Bytes {
    format!("event: {name}\ndata: {}\n\n", json(data)).into()
}

/// What clients pass over, but for the place.
pub(super) fn comment(text: &str, place: Option<&str>) -> Bytes {
    match place {
        Some(place) => format!("id: {place}\n: {text}\n\n").into(),
        None => format!(": {text}\n\n").into(),
    }
}

/// One line: JSON has no line ends within.
fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("messages have string keys")
}
