//! Segments: the events of one append as bytes. Stored form, codec v1. Hides the layout.
//!
//! A segment is the version byte, then the events. Integers are varints. A value, a name or a resource is written
//! whole where it first occurs in the segment and is referred to by its number after that; large values are
//! compressed. Values above [`BLOB_BYTES_MIN`] can lie beside the segment, as blobs by the hash of their bytes: version 2
//! has their hashes before the events. The number of a variant or field never changes its meaning: new ones are only
//! added.

mod bytes;
mod events;
mod map_run;
mod parts;
mod resource;
mod values;

use std::collections::BTreeMap;

use stepwell_query::Value;

use crate::event::Event;

use bytes::{Reader, Writer};

/// The version of a segment that has no blobs, and of a blob.
const VERSION: u8 = 1;
/// The version of a segment that has blobs.
const WITH_BLOBS: u8 = 2;

/// Bytes of JSON text from which a value is a blob (ours: below, a blob costs more than what it saves).
pub const BLOB_BYTES_MIN: usize = 65_536;

/// The hash of a blob's bytes; which one it is, is the caller's.
pub type BlobHash = [u8; 32];

/// Who keeps the large values of segments.
pub trait Blobs {
    /// Keeps a value and gives its hash. `bytes` makes its stored form; a value that is known needs none.
    fn keep(&mut self, value: &Value, bytes: &dyn Fn() -> Vec<u8>) -> BlobHash;
}

/// A segment cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the segment ends too early")]
    Truncated,
    #[error(
        "the segment has the codec version {found}, this program reads versions up to {WITH_BLOBS}: use a newer one"
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
    #[error("a value beside the segment is missing")]
    BlobMissing,
}

/// The events of one append as one segment, all values within.
pub fn encode(events: &[Event]) -> Vec<u8> {
    write(Writer::new(None), events)
}

/// The events of one append as one segment, with large values as blobs.
pub fn encode_with(events: &[Event], blobs: &mut dyn Blobs) -> Vec<u8> {
    write(Writer::new(Some(blobs)), events)
}

fn write(mut writer: Writer<'_>, events: &[Event]) -> Vec<u8> {
    writer.count(events.len());
    for event in events {
        events::write(&mut writer, event);
    }
    writer.finish()
}

/// The blobs that a segment needs to be read, each once.
pub fn blobs_of(segment: &[u8]) -> Result<Vec<BlobHash>, CodecError> {
    Reader::new(segment).map(|(_, hashes)| hashes)
}

/// The value of a blob.
pub fn decode_blob(blob: &[u8]) -> Result<Value, CodecError> {
    let (mut reader, _) = Reader::new(blob)?;
    let value = values::read(&mut reader)?;
    reader.end().map(|()| value)
}

/// The events of a segment without blobs.
pub fn decode(segment: &[u8]) -> Result<Vec<Event>, CodecError> {
    decode_with(segment, &BTreeMap::new())
}

/// The events of a segment; `blobs` has those that [`blobs_of`] names.
pub fn decode_with(
    segment: &[u8],
    blobs: &BTreeMap<BlobHash, Value>,
) -> Result<Vec<Event>, CodecError> {
    let (mut reader, hashes) = Reader::new(segment)?;
    for hash in hashes {
        let value = blobs.get(&hash).ok_or(CodecError::BlobMissing)?;
        reader.blobs.push(value.clone());
    }
    let count = reader.count()?;
    let mut events = Vec::with_capacity(count.min(segment.len()));
    for _ in 0..count {
        events.push(events::read(&mut reader)?);
    }
    reader.end()?;
    Ok(events)
}
