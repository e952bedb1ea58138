//! Checksums of what is stored. Hides their place in the bytes.
//!
//! A disk that gives back other bytes than it took must be noticed before anything is made of them: SQLite checks its
//! pages' structure, not their content. The seal covers the bytes and the place they belong to, so that a row that
//! stands where another one should be is noticed too. What was stored without a seal is still read.

/// Begins sealed bytes. No codec version and no JSON text begins so.
const MARK: u8 = 0xc5;
/// The mark and the checksum.
const HEAD_BYTES: usize = 5;

/// The bytes are not those that were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its checksum is wrong")]
pub(crate) struct Broken;

/// The bytes with a checksum of them and of the place where they are stored.
pub(crate) fn seal(place: &[u64], bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEAD_BYTES + bytes.len());
    sealed.push(MARK);
    sealed.extend_from_slice(&checksum(place, bytes).to_le_bytes());
    sealed.extend_from_slice(bytes);
    sealed
}

/// The bytes that were sealed at that place.
pub(crate) fn open<'a>(place: &[u64], sealed: &'a [u8]) -> Result<&'a [u8], Broken> {
    if sealed.first() != Some(&MARK) {
        return Ok(sealed);
    }
    let (head, bytes) = sealed.split_at_checked(HEAD_BYTES).ok_or(Broken)?;
    if head[1..] == checksum(place, bytes).to_le_bytes() {
        Ok(bytes)
    } else {
        Err(Broken)
    }
}

/// Bytes that open nowhere: they stand for what is stored and is none.
pub(crate) fn unreadable() -> std::sync::Arc<[u8]> {
    [MARK].into()
}

fn checksum(place: &[u64], bytes: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    for number in place {
        hash.update(&number.to_le_bytes());
    }
    hash.update(bytes);
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use super::{Broken, open, seal, unreadable};

    #[test]
    fn whatever_changes_is_noticed() {
        let place = [7, 1];
        let sealed = seal(&place, b"what was stored");
        assert_eq!(open(&place, &sealed), Ok(&b"what was stored"[..]));
        assert_eq!(open(&[7, 2], &sealed), Err(Broken), "another place");
        for at in 1..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 0x10;
            assert_eq!(open(&place, &damaged), Err(Broken), "byte {at}");
            assert_eq!(open(&place, &sealed[..at]), Err(Broken), "cut at {at}");
        }
        assert_eq!(open(&place, b"{}"), Ok(&b"{}"[..]), "stored without a seal");
        assert_eq!(open(&place, &unreadable()), Err(Broken));
    }
}
