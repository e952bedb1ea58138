//! The primitives of a segment: varints, texts and the tables of what occurs more than once. Hides how tables number
//! their entries: by the identity of the shared allocation when writing, in the order of first occurrence.

use std::collections::BTreeMap;
use std::sync::Arc;

use stepwell_asl::Resource;
use stepwell_query::Value;

use super::{BlobHash, Blobs, CodecError, VERSION, WITH_BLOBS};
use crate::{Timestamp, event::Place};

/// What a table's number stands for by its place in the bytes: 0 is a new entry that follows, n the (n-1)th.
#[derive(Default)]
pub(super) struct Numbers(BTreeMap<usize, u64>);

impl Numbers {
    /// The number of what has been written before.
    pub(super) fn find(&self, identity: usize) -> Option<u64> {
        self.0.get(&identity).copied()
    }

    /// Gives the next number.
    pub(super) fn add(&mut self, identity: usize) {
        let number = self.0.len() as u64;
        self.0.insert(identity, number);
    }
}

/// Writes a segment. What it was given must live until it is finished, since identities are addresses.
pub(super) struct Writer<'a> {
    pub(super) bytes: Vec<u8>,
    blobs: Option<&'a mut dyn Blobs>,
    /// Hashes of the blobs so far.
    hashes: Vec<BlobHash>,
    pub(super) values: Numbers,
    texts: Numbers,
    pub(super) resources: Numbers,
    places: Numbers,
    /// Time of the event before.
    at: Timestamp,
}

impl<'a> Writer<'a> {
    pub(super) fn new(blobs: Option<&'a mut dyn Blobs>) -> Writer<'a> {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(VERSION);
        Writer {
            bytes,
            blobs,
            hashes: Vec::new(),
            values: Numbers::default(),
            texts: Numbers::default(),
            resources: Numbers::default(),
            places: Numbers::default(),
            at: Timestamp(0),
        }
    }

    /// Makes a value a blob, where there is who keeps it; gives the blob's place among those of the segment.
    pub(super) fn blob(&mut self, value: &Value, bytes: &dyn Fn() -> Vec<u8>) -> Option<usize> {
        let hash = self.blobs.as_mut()?.keep(value, bytes);
        let known = self.hashes.iter().position(|known| *known == hash);
        Some(known.unwrap_or_else(|| {
            self.hashes.push(hash);
            self.hashes.len() - 1
        }))
    }

    pub(super) fn finish(self) -> Vec<u8> {
        if self.hashes.is_empty() {
            return self.bytes;
        }
        let mut whole = Writer::new(None);
        whole.bytes[0] = WITH_BLOBS;
        whole.count(self.hashes.len());
        for hash in &self.hashes {
            whole.bytes.extend_from_slice(hash);
        }
        whole.bytes.extend_from_slice(&self.bytes[1..]);
        whole.bytes
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// LEB128.
    pub(super) fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.varint(count as u64);
    }

    /// Counted from the event before, which is never later.
    pub(super) fn at(&mut self, at: Timestamp) {
        self.varint(at.since_ms(self.at));
        self.at = at;
    }

    pub(super) fn time(&mut self, time: Timestamp) {
        self.varint(time.0);
    }

    pub(super) fn str(&mut self, text: &str) {
        self.count(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(super) fn text(&mut self, text: &Arc<str>) {
        self.optional_text(Some(text));
    }

    /// 0 for none, 1 for a new text that follows, n + 2 for the nth.
    pub(super) fn optional_text(&mut self, text: Option<&Arc<str>>) {
        let Some(text) = text else {
            return self.byte(0);
        };
        let identity = Arc::as_ptr(text).cast::<u8>() as usize;
        if let Some(number) = self.texts.find(identity) {
            return self.varint(number + 2);
        }
        self.texts.add(identity);
        self.byte(1);
        self.str(text);
    }

    pub(super) fn optional_u32(&mut self, number: Option<u32>) {
        self.varint(number.map_or(0, |number| u64::from(number) + 1));
    }

    pub(super) fn optional_time(&mut self, time: Option<Timestamp>) {
        self.varint(time.map_or(0, |time| time.0.saturating_add(1)));
    }

    /// 0 for the execution's own flow, 1 for a new place that follows, n + 2 for the nth.
    pub(super) fn place(&mut self, place: &Place) {
        if place.0.is_empty() {
            return self.byte(0);
        }
        let identity = Arc::as_ptr(&place.0).cast::<u8>() as usize;
        if let Some(number) = self.places.find(identity) {
            return self.varint(number + 2);
        }
        self.places.add(identity);
        self.byte(1);
        self.count(place.0.len());
        place
            .0
            .iter()
            .for_each(|index| self.varint(u64::from(*index)));
    }
}

/// Reads a segment.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    next: usize,
    pub(super) values: Vec<Value>,
    /// The segment's blobs by their places.
    pub(super) blobs: Vec<Value>,
    texts: Vec<Arc<str>>,
    pub(super) resources: Vec<Arc<Resource>>,
    places: Vec<Place>,
    root: Place,
    at: Timestamp,
}

impl<'a> Reader<'a> {
    /// Reads the head; the hashes are those of the blobs that the reader has to be given.
    pub(super) fn new(segment: &'a [u8]) -> Result<(Reader<'a>, Vec<BlobHash>), CodecError> {
        let mut reader = Reader {
            bytes: segment,
            next: 0,
            values: Vec::new(),
            blobs: Vec::new(),
            texts: Vec::new(),
            resources: Vec::new(),
            places: Vec::new(),
            root: Place::default(),
            at: Timestamp(0),
        };
        let mut hashes = Vec::new();
        match reader.byte()? {
            VERSION => {}
            WITH_BLOBS => {
                for _ in 0..reader.count()? {
                    let hash = reader.slice(size_of::<BlobHash>())?;
                    hashes.push(hash.try_into().map_err(|_| CodecError::Truncated)?);
                }
            }
            found => return Err(CodecError::Version { found }),
        }
        Ok((reader, hashes))
    }

    pub(super) fn end(&self) -> Result<(), CodecError> {
        if self.next == self.bytes.len() {
            Ok(())
        } else {
            Err(self.damaged("something follows the last event"))
        }
    }

    pub(super) fn damaged(&self, what: &'static str) -> CodecError {
        CodecError::Damaged {
            what,
            at: self.next,
        }
    }

    pub(super) fn unknown(&self, what: &'static str, found: u64) -> CodecError {
        CodecError::Unknown {
            what,
            found,
            at: self.next,
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        let byte = *self.bytes.get(self.next).ok_or(CodecError::Truncated)?;
        self.next += 1;
        Ok(byte)
    }

    pub(super) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number is too long"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        let number = self.varint()?;
        u32::try_from(number).map_err(|_| self.damaged("a number is too large"))
    }

    /// A number of things that each take a byte at least, so that no damage makes us reserve more than there is.
    pub(super) fn count(&mut self) -> Result<usize, CodecError> {
        let count = usize::try_from(self.varint()?).map_err(|_| CodecError::Truncated)?;
        if count > self.bytes.len() - self.next {
            Err(CodecError::Truncated)
        } else {
            Ok(count)
        }
    }

    pub(super) fn at(&mut self) -> Result<Timestamp, CodecError> {
        self.at = self.at.plus_ms(self.varint()?);
        Ok(self.at)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, CodecError> {
        self.varint().map(Timestamp)
    }

    pub(super) fn slice(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let end = self.next.checked_add(len).ok_or(CodecError::Truncated)?;
        let slice = self
            .bytes
            .get(self.next..end)
            .ok_or(CodecError::Truncated)?;
        self.next = end;
        Ok(slice)
    }

    pub(super) fn str(&mut self) -> Result<&'a str, CodecError> {
        let len = self.count()?;
        let bytes = self.slice(len)?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("a text is not UTF-8"))
    }

    pub(super) fn text(&mut self) -> Result<Arc<str>, CodecError> {
        self.optional_text()?
            .ok_or_else(|| self.damaged("a text is missing"))
    }

    pub(super) fn optional_text(&mut self) -> Result<Option<Arc<str>>, CodecError> {
        match self.varint()? {
            0 => Ok(None),
            1 => {
                let text: Arc<str> = self.str()?.into();
                self.texts.push(text.clone());
                Ok(Some(text))
            }
            number => match entry(&self.texts, number - 2) {
                Some(text) => Ok(Some(text)),
                None => Err(self.damaged("a text refers to none")),
            },
        }
    }

    pub(super) fn optional_u32(&mut self) -> Result<Option<u32>, CodecError> {
        let Some(number) = self.varint()?.checked_sub(1) else {
            return Ok(None);
        };
        u32::try_from(number)
            .map(Some)
            .map_err(|_| self.damaged("a number is too large"))
    }

    pub(super) fn optional_time(&mut self) -> Result<Option<Timestamp>, CodecError> {
        Ok(self.varint()?.checked_sub(1).map(Timestamp))
    }

    pub(super) fn place(&mut self) -> Result<Place, CodecError> {
        match self.varint()? {
            0 => Ok(self.root.clone()),
            1 => {
                let count = self.count()?;
                let path = (0..count)
                    .map(|_| self.u32())
                    .collect::<Result<Arc<[u32]>, _>>()?;
                self.places.push(Place(path.clone()));
                Ok(Place(path))
            }
            number => entry(&self.places, number - 2)
                .ok_or_else(|| self.damaged("a place refers to none")),
        }
    }

    /// Reads within other bytes, as far as the closure does.
    pub(super) fn within<T>(
        &mut self,
        bytes: &[u8],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, CodecError>,
    ) -> Result<T, CodecError> {
        let mut inner = Reader {
            bytes,
            next: 0,
            values: std::mem::take(&mut self.values),
            blobs: Vec::new(),
            texts: Vec::new(),
            resources: Vec::new(),
            places: Vec::new(),
            root: Place::default(),
            at: self.at,
        };
        let value = read(&mut inner).and_then(|value| inner.end().map(|()| value));
        self.values = inner.values;
        value
    }
}

pub(super) fn entry<T: Clone>(table: &[T], number: u64) -> Option<T> {
    table.get(usize::try_from(number).ok()?).cloned()
}
