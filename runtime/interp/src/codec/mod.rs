//! Segments: the events of one append as bytes. Stored form, codec v1. Hides the layout.
//!
//! A segment is the version byte, then the events. Integers are varints. A value, a name or a resource is written
//! whole where it first occurs in the segment and is referred to by its number after that; large values are
//! compressed. The number of a variant or field never changes its meaning: new ones are only added.

mod bytes;
mod events;
mod values;

use crate::event::Event;

use bytes::{Reader, Writer};

/// The version that this crate writes.
const VERSION: u8 = 1;

/// A segment cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the segment ends too early")]
    Truncated,
    #[error(
        "the segment has the codec version {found}, this program reads versions up to {VERSION}: use a newer one"
    )]
    Version { found: u8 },
    #[error(
        "the segment has the unknown {what} {found} at byte {at}: it is damaged or of a newer program"
    )]
    Unknown {
        what: &'static str,
        found: u64,
        at: usize,
    },
    #[error("the segment is damaged at byte {at}: {what}")]
    Damaged { what: &'static str, at: usize },
}

/// The events of one append as one segment.
pub fn encode(events: &[Event]) -> Vec<u8> {
    let mut writer = Writer::new(VERSION);
    writer.count(events.len());
    for event in events {
        events::write(&mut writer, event);
    }
    writer.finish()
}

/// The events of a segment.
pub fn decode(segment: &[u8]) -> Result<Vec<Event>, CodecError> {
    let mut reader = Reader::new(segment)?;
    let count = reader.count()?;
    let mut events = Vec::with_capacity(count.min(segment.len()));
    for _ in 0..count {
        events.push(events::read(&mut reader)?);
    }
    reader.end()?;
    Ok(events)
}
