//! Checksums of what is stored. Hides their place in the bytes.
//!
//! A disk that gives back other bytes than it took must be noticed before anything is made of them: SQLite checks its
//! pages' structure, not their content. The seal covers the bytes and the place they belong to, numbers or names, so that a
//! row that stands where another one should be is noticed too. What was stored without a seal is still read.

/// Begins sealed bytes. No codec version and no JSON text begins so.
const MARK: u8 = 0xc5;
/// Begins bytes that are sealed for names, which may be sealed bytes themselves. Neither of those texts begins so either.
const NAMED_MARK: u8 = 0xc6;
/// The mark and the checksum.
const HEAD_BYTES: usize = 5;

/// The bytes are not those that were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its checksum is wrong")]
pub(crate) struct Broken;

/// The bytes with a checksum of them and of the place where they are stored.
pub(crate) fn seal(place: &[u64], bytes: &[u8]) -> Vec<u8> {
    behind(MARK, checksum(place, bytes), bytes)
}

/// The bytes that were sealed at that place. What is still sealed for names is what their own names did not open.
pub(crate) fn open<'a>(place: &[u64], sealed: &'a [u8]) -> Result<&'a [u8], Broken> {
    if sealed.first() == Some(&NAMED_MARK) {
        return Err(Broken);
    }
    opened(MARK, sealed, |bytes| checksum(place, bytes))
}

/// The bytes with a checksum of them and of the names under which they are stored.
pub(crate) fn seal_named(names: &[&str], bytes: &[u8]) -> Vec<u8> {
    behind(NAMED_MARK, checksum_named(names, bytes), bytes)
}

/// The bytes that were sealed for those names. Bytes of no form that were stored without a seal may be taken for broken ones: one in
/// 256 begins with the mark.
pub(crate) fn open_named<'a>(names: &[&str], sealed: &'a [u8]) -> Result<&'a [u8], Broken> {
    opened(NAMED_MARK, sealed, |bytes| checksum_named(names, bytes))
}

/// Bytes that open nowhere: they stand for what is stored and is none.
pub(crate) fn unreadable() -> std::sync::Arc<[u8]> {
    [MARK].into()
}

fn behind(mark: u8, checksum: u32, bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEAD_BYTES + bytes.len());
    sealed.push(mark);
    sealed.extend_from_slice(&checksum.to_le_bytes());
    sealed.extend_from_slice(bytes);
    sealed
}

fn opened(mark: u8, sealed: &[u8], checksum: impl FnOnce(&[u8]) -> u32) -> Result<&[u8], Broken> {
    if sealed.first() != Some(&mark) {
        return Ok(sealed);
    }
    let (head, bytes) = sealed.split_at_checked(HEAD_BYTES).ok_or(Broken)?;
    if head[1..] == checksum(bytes).to_le_bytes() {
        Ok(bytes)
    } else {
        Err(Broken)
    }
}

fn checksum(place: &[u64], bytes: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    for number in place {
        hash.update(&number.to_le_bytes());
    }
    hash.update(bytes);
    hash.finalize()
}

/// Lengths tell where one name ends and the next begins.
fn checksum_named(names: &[&str], bytes: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    for name in names {
        hash.update(&(name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
    }
    hash.update(bytes);
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use super::{Broken, open, open_named, seal, seal_named, unreadable};

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

    #[test]
    fn what_is_sealed_for_names_opens_for_no_others() {
        let names = ["111111111111", "state-machine", "us-east-1/a"];
        let inner = seal(&[], b"{}");
        let sealed = seal_named(&names, &inner);
        assert_eq!(open_named(&names, &sealed), Ok(&*inner));
        let others = [
            ["222222222222", names[1], names[2]],
            [names[0], "activity", names[2]],
            [names[0], names[1], "us-east-1/b"],
            // The same letters, parted elsewhere.
            ["11111111111", "1state-machine", names[2]],
        ];
        for other in others {
            assert_eq!(open_named(&other, &sealed), Err(Broken), "{other:?}");
        }
        for at in 1..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 0x10;
            assert_eq!(open_named(&names, &damaged), Err(Broken), "byte {at}");
            assert_eq!(
                open_named(&names, &sealed[..at]),
                Err(Broken),
                "cut at {at}"
            );
        }
        assert_eq!(
            open_named(&names, &inner),
            Ok(&*inner),
            "stored before there were names in it"
        );
        assert_eq!(open(&[], &sealed), Err(Broken), "its names did not open it");
        // A program that knows no names takes it for no record.
        assert!(serde_json::from_slice::<serde_json::Value>(&sealed).is_err());
    }
}
