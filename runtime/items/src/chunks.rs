//! The bytes of an object from a place on, decompressed. Hides ranges and gzip.

use std::io::Write;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use crate::{error::Error, limits::CHUNK_BYTES, object::Object};

/// The first bytes of a gzip member.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Compressed bytes taken at a time: what they can become at most (a thousand times as much) stays small.
const INFLATE_BYTES: usize = 16 * 1024;

/// Text of an object: what is read of it is taken from a buffer, which is filled when it runs out.
pub(crate) struct Text {
    object: Object,
    /// The next byte to fetch.
    next: u64,
    gzip: Option<Gzip>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were taken.
    taken: usize,
    /// Where in the decompressed text the buffer begins.
    base: u64,
    ended: bool,
}

struct Gzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    /// Compressed bytes that wait.
    waiting: Bytes,
    /// Decompressed bytes to drop: they were taken before.
    skip: u64,
}

impl Text {
    /// The text from byte `at` on, counted after decompression.
    pub(crate) async fn open(object: Object, at: u64) -> Result<Text, Error> {
        let is_gzip = object.range(0..2).await?[..] == GZIP;
        let gzip = is_gzip.then(|| Gzip {
            decoder: MultiGzDecoder::new(Vec::new()),
            waiting: Bytes::new(),
            skip: at,
        });
        Ok(Text {
            next: if is_gzip { 0 } else { at },
            object,
            gzip,
            buffer: Vec::new(),
            taken: 0,
            base: at,
            ended: false,
        })
    }

    /// Where the next byte is.
    pub(crate) fn at(&self) -> u64 {
        self.base + self.taken as u64
    }

    /// How much of the object has been taken, 0 to 1. Of compressed text it is how much was fetched.
    pub(crate) fn share(&self) -> f64 {
        let at = match self.gzip {
            Some(_) => self.next,
            None => self.at(),
        };
        (at as f64 / self.object.bytes.max(1) as f64).min(1.0)
    }

    /// What is at hand.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// Marks bytes as taken.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.taken = (self.taken + bytes).min(self.buffer.len());
    }

    /// Adds to what is at hand; false at the end of the text.
    pub(crate) async fn more(&mut self) -> Result<bool, Error> {
        self.buffer.drain(..self.taken);
        self.base += self.taken as u64;
        self.taken = 0;
        while !self.ended {
            if self.gzip.is_some() {
                if self.inflate().await? {
                    return Ok(true);
                }
                continue;
            }
            let chunk = self.fetch().await?;
            self.buffer.extend_from_slice(&chunk);
            if !chunk.is_empty() {
                return Ok(true);
            }
            self.ended = true;
        }
        Ok(false)
    }

    async fn fetch(&mut self) -> Result<Bytes, Error> {
        let chunk = self
            .object
            .range(self.next..self.next + CHUNK_BYTES)
            .await?;
        self.next += chunk.len() as u64;
        Ok(chunk)
    }

    /// Decompresses a little; true when it gave something.
    async fn inflate(&mut self) -> Result<bool, Error> {
        let waits = self
            .gzip
            .as_ref()
            .is_some_and(|gzip| !gzip.waiting.is_empty());
        // What waits may become a thousand times as much: others have their turn in between.
        tokio::task::yield_now().await;
        let fetched = if waits {
            None
        } else {
            Some(self.fetch().await?)
        };
        let Some(gzip) = &mut self.gzip else {
            return Ok(false);
        };
        if let Some(fetched) = fetched {
            gzip.waiting = fetched;
        }
        let broken =
            |error: std::io::Error| Error::malformed(format!("The gzip data is damaged: {error}"));
        if gzip.waiting.is_empty() {
            gzip.decoder.try_finish().map_err(broken)?;
            self.ended = true;
        } else {
            let slice = gzip.waiting.split_to(gzip.waiting.len().min(INFLATE_BYTES));
            gzip.decoder.write_all(&slice).map_err(broken)?;
        }
        let mut inflated = std::mem::take(gzip.decoder.get_mut());
        let skipped = usize::try_from(gzip.skip)
            .unwrap_or(usize::MAX)
            .min(inflated.len());
        gzip.skip -= skipped as u64;
        inflated.drain(..skipped);
        self.buffer.extend_from_slice(&inflated);
        Ok(!inflated.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io::Write};

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::storage::Storage;

    /// Text that does not become smaller.
    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_u32;
        let next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        };
        std::iter::repeat_with(next).take(bytes).collect()
    }

    #[tokio::test]
    async fn others_have_their_turn_between_two_pieces_of_gzip() {
        let text = noise(40 * INFLATE_BYTES);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&text).expect("memory has room");
        let packed = encoder.finish().expect("memory has room");
        let pieces = packed.len() / INFLATE_BYTES;
        assert!(pieces >= 40 && (packed.len() as u64) < CHUNK_BYTES);
        let storage = Storage::memory().for_account(&"000000000000".into());
        let put = storage.put("data", "f.gz", packed).await;
        put.expect("memory has room");
        let bucket = storage.bucket("data").expect("a bucket");
        let object = Object::open(&bucket, "f.gz", None, None).await;
        let opened = Text::open(object.expect("it is there"), 0).await;
        let mut opened = opened.expect("it is readable");

        let (ended, turns) = (Cell::new(false), Cell::new(0));
        let reading = async {
            let mut read = 0;
            while opened.more().await.expect("it is whole") {
                read += opened.rest().len();
                opened.take(opened.rest().len());
            }
            ended.set(true);
            read
        };
        let beside = async {
            while !ended.get() {
                turns.set(turns.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        let (read, ()) = tokio::join!(reading, beside);
        assert_eq!(read, text.len());
        assert!(turns.get() >= pieces, "{} turns of {pieces}", turns.get());
    }
}
