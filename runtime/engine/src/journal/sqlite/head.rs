//! The head of the journal's file, looked at before anything is made beside it. Hides SQLite's file format: where it has what the
//! first page says of the whole file.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use super::{FILE, OpenError, schema::APPLICATION_ID};

/// With what every database begins (SQLite's file format).
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes that tell all that is looked for: the head of the file, and of the page with its tables behind it.
const HEAD_BYTES: usize = 108;
/// Where the application's number is, big-endian.
const APPLICATION_AT: std::ops::Range<usize> = 68..72;
/// Where the page of the tables says what it is, and how many of them it has.
const PAGE_KIND_AT: usize = 100;
const TABLES_AT: std::ops::Range<usize> = 103..105;
/// A page that has the tables itself.
const LEAF: u8 = 0x0d;

/// Refuses a directory whose journal is another program's file. What the head does not tell, as that of a database whose log was
/// not moved yet, the opening finds out.
pub(super) fn check(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(FILE);
    let log = fs::metadata(directory.join(format!("{FILE}-wal")));
    // Opening a pipe could wait for ever.
    let is_file = fs::metadata(&path).is_ok_and(|found| found.is_file());
    if !is_file || log.is_ok_and(|log| log.len() > 0) {
        return Ok(());
    }
    let mut head = Vec::new();
    let read =
        File::open(&path).and_then(|file| file.take(HEAD_BYTES as u64).read_to_end(&mut head));
    match read.is_ok() && is_foreign(&head) {
        true => Err(OpenError::Foreign(path.display().to_string())),
        false => Ok(()),
    }
}

/// Why a directory is no place for a store: its journal is another program's file. Nothing is changed there.
pub fn foreign_store(directory: &Path) -> Option<String> {
    check(directory).err().map(|error| error.to_string())
}

/// An empty file is a new store's.
fn is_foreign(head: &[u8]) -> bool {
    let begun = head.len().min(MAGIC.len());
    if head[..begun] != MAGIC[..begun] {
        return true;
    }
    if head.len() < HEAD_BYTES {
        return false;
    }
    let has_tables = head[PAGE_KIND_AT] != LEAF || head[TABLES_AT] != [0, 0];
    let id = head[APPLICATION_AT]
        .iter()
        .fold(0, |id, byte| (id << 8) | i64::from(*byte));
    id != APPLICATION_ID && has_tables
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::schema;
    use super::{FILE, foreign_store};

    #[test]
    fn a_database_of_others_is_told_without_being_opened() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path();
        let path = directory.join(FILE);
        assert_eq!(foreign_store(directory), None);
        for (text, foreign) in [("", false), ("SQLite", false), ("root:x:0:0", true)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(foreign_store(directory).is_some(), foreign, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        let theirs = Connection::open(&path).unwrap();
        // A database without tables is nobody's yet.
        theirs.pragma_update(None, "user_version", 1).unwrap();
        assert_eq!(foreign_store(directory), None);
        theirs.execute_batch("CREATE TABLE theirs (id)").unwrap();
        drop(theirs);
        let why = foreign_store(directory).unwrap();
        assert!(why.contains("is no Stepwell journal"), "{why}");
        std::fs::remove_file(&path).unwrap();
        drop(schema::open_writer(&path, None).ok().unwrap());
        assert_eq!(foreign_store(directory), None);
    }
}
