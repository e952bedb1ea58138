//! The mark of a data directory that has held a store: a file beside the journal. Hides how it is told from a new directory
//! that the journal is gone.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
};

use super::{FILE, OpenError, place};

/// Name of the file. That it is there is what counts.
const MARK: &str = "STORE";
const TEXT: &str = "This directory holds a Stepwell store; its data is in journal.sqlite and the files beside it.\n";

/// Refuses a directory whose journal is missing or empty though there was one: opened, it would be a new store, and what was
/// acknowledged would silently be gone.
pub(super) fn check(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(FILE);
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    if bytes(&path) > 0 {
        return Ok(());
    }
    // A log that was not yet moved tells the same of stores that have no mark.
    let log = directory.join(format!("{FILE}-wal"));
    if !directory.join(MARK).exists() && bytes(&log) == 0 {
        return Ok(());
    }
    Err(OpenError::Gone {
        path: path.display().to_string(),
        what: if path.exists() { "empty" } else { "missing" },
        directory: directory.display().to_string(),
    })
}

/// Whether a directory holds a store, or has held one. Where that cannot be seen it counts as if: opened, it says what is wrong.
pub fn holds_store(directory: &Path) -> bool {
    let log = format!("{FILE}-wal");
    [FILE, log.as_str(), MARK].into_iter().any(|name| {
        let found = fs::symlink_metadata(directory.join(name));
        !found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    })
}

/// Marks a directory whose journal was opened. Durable when this returns.
pub(super) fn set(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(MARK);
    if path.exists() {
        return Ok(());
    }
    let made = File::create(&path).and_then(|mut file| {
        file.write_all(TEXT.as_bytes())?;
        file.sync_all()?;
        // Not all systems open directories.
        File::open(directory).map_or(Ok(()), |directory| directory.sync_all())
    });
    made.map_err(|error| place::unreadable(directory, &error))
}
