//! The one file that is wanted out of a zip archive. What it hides: the archive's format, and all that is wrong with one that
//! is made to harm.
//!
//! It is a reader of our own since little is wanted: one entry, stored or deflated, with a bound on every number before anything
//! is inflated. Nothing is written anywhere, so names lead nowhere; those that try to are refused all the same.

use std::io::Read;

use flate2::read::DeflateDecoder;

use crate::limits::{ZIP_COMMENT_BYTES_MAX, ZIP_ENTRIES_MAX};

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// A number that stands in another record, of the format's form for large archives.
const ELSEWHERE: u32 = u32::MAX;

/// A file in an archive, as its directory tells it.
struct Entry {
    name: String,
    encrypted: bool,
    method: u16,
    crc: u32,
    packed: usize,
    bytes: usize,
    at: usize,
}

/// Whether bytes are an archive.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL) || bytes.starts_with(END)
}

/// The one file of an archive whose name ends so; an error says what is wrong and what would be right.
pub(super) fn only(archive: &[u8], ending: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
    let entries = directory(archive)?;
    let mut wanted = entries.iter().filter(|entry| {
        // What macOS adds to each file of an archive.
        entry.name.ends_with(ending) && !entry.name.starts_with("__MACOSX/")
    });
    let entry = match (wanted.next(), wanted.next()) {
        (Some(entry), None) => entry,
        (None, _) => {
            return Err(format!(
                "the archive holds no `{ending}` file; put one WebAssembly component or command into it, or upload the file itself"
            ));
        }
        (Some(one), Some(other)) => {
            return Err(format!(
                "the archive holds `{}` and `{}`; put one `{ending}` file into it",
                one.name, other.name
            ));
        }
    };
    content(archive, entry, bytes_max)
}

/// All files of an archive.
fn directory(archive: &[u8]) -> Result<Vec<Entry>, String> {
    let damaged = || "the archive's directory is damaged; zip the file anew".to_owned();
    let end =
        end_of(archive).ok_or("the file is cut off: the archive has no end; upload all of it")?;
    let field = |at| u16_at(archive, end + at).ok_or_else(damaged);
    let (disk, first_disk, here, count) = (field(4)?, field(6)?, field(8)?, field(10)?);
    let from = u32_at(archive, end + 16).ok_or_else(damaged)?;
    if from == ELSEWHERE || count == u16::MAX {
        return Err("the archive is a ZIP64 one; one file needs none, zip it without".to_owned());
    }
    if disk != 0 || first_disk != 0 || here != count {
        return Err("the archive has several parts; zip the file into one".to_owned());
    }
    let count = usize::from(count);
    if count > ZIP_ENTRIES_MAX {
        return Err(format!(
            "the archive holds {count} files, and {ZIP_ENTRIES_MAX} are the most that is looked at; put the `.wasm` alone into it"
        ));
    }
    let mut at = from as usize;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (entry, next) = entry_at(archive, at, end).ok_or_else(damaged)?;
        let leads_out = entry.name.starts_with(['/', '\\'])
            || entry.name.split(['/', '\\']).any(|part| part == "..");
        if leads_out {
            return Err(format!(
                "the archive's entry `{}` leads out of it; zip the file under its plain name",
                entry.name
            ));
        }
        entries.push(entry);
        at = next;
    }
    Ok(entries)
}

/// Where the archive's last record begins, behind which a comment may stand.
fn end_of(archive: &[u8]) -> Option<usize> {
    let last = archive.len().checked_sub(END_BYTES)?;
    let first = last.saturating_sub(ZIP_COMMENT_BYTES_MAX);
    (first..=last).rev().find(|at| {
        let comment = u16_at(archive, at + 20).map(usize::from);
        archive[*at..].starts_with(END) && comment == Some(last - at)
    })
}

/// An entry of the directory, and where the next one begins.
fn entry_at(archive: &[u8], at: usize, end: usize) -> Option<(Entry, usize)> {
    let head = archive.get(at..at.checked_add(ENTRY_BYTES)?)?;
    if !head.starts_with(ENTRY) {
        return None;
    }
    let length = |at| u16_at(head, at).map(usize::from);
    let name_from = at + ENTRY_BYTES;
    let name_to = name_from + length(28)?;
    let next = name_to + length(30)? + length(32)?;
    if next > end {
        return None;
    }
    let entry = Entry {
        name: String::from_utf8_lossy(archive.get(name_from..name_to)?).into_owned(),
        encrypted: u16_at(head, 8)? & 1 != 0,
        method: u16_at(head, 10)?,
        crc: u32_at(head, 16)?,
        packed: u32_at(head, 20)? as usize,
        bytes: u32_at(head, 24)? as usize,
        at: u32_at(head, 42)? as usize,
    };
    Some((entry, next))
}

/// What an entry holds.
fn content(archive: &[u8], entry: &Entry, bytes_max: usize) -> Result<Vec<u8>, String> {
    let name = &entry.name;
    if entry.encrypted {
        return Err(format!("`{name}` is encrypted; zip it without a password"));
    }
    let too_large =
        || format!("`{name}` has more than {bytes_max} bytes, which is the most that is taken");
    if entry.bytes > bytes_max {
        return Err(too_large());
    }
    let packed = packed(archive, entry).ok_or_else(|| {
        format!("the place of `{name}` in the archive is wrong; zip the file anew")
    })?;
    let content = match entry.method {
        STORED => packed.to_vec(),
        DEFLATED => {
            let mut content = Vec::with_capacity(entry.bytes);
            // One more than it may be tells that it is more.
            let read = DeflateDecoder::new(packed)
                .take(entry.bytes as u64 + 1)
                .read_to_end(&mut content);
            read.map_err(|error| format!("`{name}` cannot be inflated: {error}; zip it anew"))?;
            content
        }
        other => {
            return Err(format!(
                "`{name}` is packed by the method {other}; zip it with deflate, which every tool does by default"
            ));
        }
    };
    if content.len() != entry.bytes {
        return Err(format!(
            "`{name}` has another size than the archive says; zip it anew"
        ));
    }
    if crc32fast::hash(&content) != entry.crc {
        return Err(format!(
            "`{name}` is damaged: its checksum is wrong; zip it anew"
        ));
    }
    Ok(content)
}

fn packed<'a>(archive: &'a [u8], entry: &Entry) -> Option<&'a [u8]> {
    let head = archive.get(entry.at..entry.at.checked_add(LOCAL_BYTES)?)?;
    if !head.starts_with(LOCAL) {
        return None;
    }
    let skipped = usize::from(u16_at(head, 26)?) + usize::from(u16_at(head, 28)?);
    let from = entry.at + LOCAL_BYTES + skipped;
    archive.get(from..from.checked_add(entry.packed)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::DeflateEncoder};

    use super::*;

    const MAX: usize = 1 << 20;

    /// An entry to be written, with what it lies about.
    struct Made<'a> {
        name: &'a str,
        content: &'a [u8],
        deflated: bool,
        flags: u16,
        /// The size that it claims.
        claims: Option<u32>,
        crc: Option<u32>,
    }

    fn plain<'a>(name: &'a str, content: &'a [u8]) -> Made<'a> {
        Made {
            name,
            content,
            deflated: true,
            flags: 0,
            claims: None,
            crc: None,
        }
    }

    fn archive(entries: &[Made<'_>]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for made in entries {
            let packed = if made.deflated {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(made.content).unwrap();
                encoder.finish().unwrap()
            } else {
                made.content.to_vec()
            };
            let method = if made.deflated { DEFLATED } else { STORED };
            let size = made.claims.unwrap_or(made.content.len() as u32);
            let crc = made.crc.unwrap_or_else(|| crc32fast::hash(made.content));
            let at = bytes.len() as u32;
            let mut common = Vec::new();
            for field in [20, made.flags, method, 0, 0] {
                common.extend(field.to_le_bytes());
            }
            for field in [crc, packed.len() as u32, size] {
                common.extend(field.to_le_bytes());
            }
            common.extend((made.name.len() as u16).to_le_bytes());
            common.extend(0_u16.to_le_bytes());
            bytes.extend(LOCAL);
            bytes.extend(&common);
            bytes.extend(made.name.as_bytes());
            bytes.extend(&packed);
            directory.extend(ENTRY);
            directory.extend(20_u16.to_le_bytes());
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(at.to_le_bytes());
            directory.extend(made.name.as_bytes());
        }
        let from = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend(END);
        bytes.extend([0; 4]);
        bytes.extend((entries.len() as u16).to_le_bytes());
        bytes.extend((entries.len() as u16).to_le_bytes());
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(from.to_le_bytes());
        bytes.extend(0_u16.to_le_bytes());
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        only(bytes, ".wasm", MAX).unwrap_err()
    }

    #[test]
    fn the_one_file_is_found() {
        let content = b"\0asm and more and more and more";
        for deflated in [true, false] {
            let made = Made {
                deflated,
                ..plain("dir/task.wasm", content)
            };
            let bytes = archive(&[
                plain("README", b"r"),
                made,
                plain("__MACOSX/._task.wasm", b"x"),
            ]);
            assert!(is_zip(&bytes));
            assert_eq!(only(&bytes, ".wasm", MAX).unwrap(), content);
        }
        assert!(refusal(&archive(&[plain("a.py", b"")])).contains("holds no `.wasm`"));
        let two = archive(&[plain("a.wasm", b""), plain("b.wasm", b"")]);
        assert!(refusal(&two).contains("`a.wasm` and `b.wasm`"));
        assert!(refusal(&archive(&[])).contains("holds no"));
    }

    #[test]
    fn archives_made_to_harm_are_refused() {
        let zeros = vec![0; 2 * MAX];
        let honest = archive(&[plain("bomb.wasm", &zeros)]);
        assert!(honest.len() < MAX / 64 && refusal(&honest).contains("more than 1048576 bytes"));
        let lying = Made {
            claims: Some(10),
            ..plain("bomb.wasm", &zeros)
        };
        assert!(refusal(&archive(&[lying])).contains("another size"));
        for name in [
            "../task.wasm",
            "/etc/task.wasm",
            "a/../../task.wasm",
            "..\\task.wasm",
        ] {
            assert!(
                refusal(&archive(&[plain(name, b"x")])).contains("leads out"),
                "{name}"
            );
        }
        let locked = Made {
            flags: 1,
            ..plain("task.wasm", b"x")
        };
        assert!(refusal(&archive(&[locked])).contains("encrypted"));
        let wrong = Made {
            crc: Some(7),
            ..plain("task.wasm", b"x")
        };
        assert!(refusal(&archive(&[wrong])).contains("checksum"));
        let names: Vec<String> = (0..=ZIP_ENTRIES_MAX).map(|at| format!("{at}")).collect();
        let many: Vec<Made<'_>> = names.iter().map(|name| plain(name, b"")).collect();
        assert!(refusal(&archive(&many)).contains("files"));
    }

    #[test]
    fn no_damage_panics() {
        let whole = archive(&[plain("a", b"a"), plain("task.wasm", b"\0asm....")]);
        for length in 0..whole.len() {
            let _ = only(&whole[..length], ".wasm", MAX);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                if let Ok(content) = only(&damaged, ".wasm", MAX) {
                    assert!(content.len() <= MAX);
                }
            }
        }
    }
}
