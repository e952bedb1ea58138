//! The data directory as the process that uses it holds it. Hides how others are kept out of it, and how it is noticed
//! that it is no longer where it was.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use super::{OpenError, schema};
use crate::journal::limits::{LOCK_LOOK, LOCK_PATIENCE};

/// Name of the file whose lock says that a process uses the data directory.
const LOCK: &str = "LOCK";

/// A data directory that is locked against other processes until the drop.
pub(super) struct Place {
    directory: PathBuf,
    /// Files that must stay what they were, once they are known.
    files: Vec<(PathBuf, Identity)>,
    lock: File,
    /// The lock's file may be removed by somebody who takes it for a leftover; the directory's own lock stays. Not all
    /// systems lock directories.
    directory_lock: Option<File>,
}

impl Drop for Place {
    /// Closing the files is not enough: a lock is held until the last descriptor of it is closed, and a process that
    /// another thread is just starting has one, between fork and exec.
    fn drop(&mut self) {
        for file in self.directory_lock.iter().chain([&self.lock]) {
            if let Err(error) = file.unlock() {
                tracing::warn!(%error, directory = %self.directory.display(), "the data directory's lock is left to the close of its file");
            }
        }
    }
}

impl Place {
    /// Creates the directory where it is missing, and locks it.
    pub(super) fn lock(directory: &Path) -> Result<Place, OpenError> {
        let shown = || directory.display().to_string();
        let unreadable = |error: std::io::Error| unreadable(directory, &error);
        make_data_directory(directory).map_err(unreadable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK))
            .map_err(unreadable)?;
        let until = Instant::now() + LOCK_PATIENCE;
        match lock_until(&lock, until) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(shown())),
            Err(TryLockError::Error(error)) => return Err(unreadable(error)),
        }
        let opened = File::open(directory).ok();
        let directory_lock = match opened.as_ref().map(|opened| lock_until(opened, until)) {
            Some(Err(TryLockError::WouldBlock)) => return Err(OpenError::Locked(shown())),
            Some(Ok(())) => opened,
            Some(Err(TryLockError::Error(_))) | None => None,
        };
        Ok(Place {
            directory: directory.to_owned(),
            files: Vec::new(),
            lock,
            directory_lock,
        })
    }

    /// Takes note of the files as they are now.
    pub(super) fn watch(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let known = files.into_iter().filter_map(|file| {
            let identity = Identity::of(&fs::metadata(&file).ok()?)?;
            Some((file, identity))
        });
        self.files = known.collect();
    }

    /// Whether what is written still comes to where the next process would look for it; if not, why.
    pub(super) fn check(&self) -> Result<(), String> {
        for (file, identity) in &self.files {
            let what = match fs::metadata(file) {
                Ok(found) if Identity::of(&found).as_ref() == Some(identity) => continue,
                Ok(_) => "replaced",
                Err(error) if error.kind() == ErrorKind::NotFound => "removed",
                // It says nothing of the file.
                Err(_) => continue,
            };
            let directory = self.directory.display();
            let file = file.display();
            return Err(format!(
                "the data directory {directory} was changed under the running server: {file} was {what}, so nothing is written any more; stop the server, put the directory back, and start it again"
            ));
        }
        Ok(())
    }
}

/// Creates a data directory that its owner alone may enter, and the directories above it as usual. One that is there stays as it
/// is.
pub fn make_data_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => made,
    }
}

/// Creates a file of the store that its owner alone may read, empty, unless it is there: SQLite gives the files beside it the same
/// permissions.
pub(super) fn make_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// What it means that the directory cannot be read or written.
pub(super) fn unreadable(directory: &Path, error: &std::io::Error) -> OpenError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => schema::full(directory),
        _ => OpenError::Unreadable {
            path: directory.display().to_string(),
            why: error.to_string(),
        },
    }
}

/// Takes a lock that may be free in a moment: a server that was killed while it started a process holds it until that
/// process has become another program.
fn lock_until(file: &File, until: Instant) -> Result<(), TryLockError> {
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(LOCK_LOOK),
            locked => return locked,
        }
    }
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    number: u64,
}

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;
        Some(Identity {
            device: metadata.dev(),
            number: metadata.ino(),
        })
    }

    /// Elsewhere a file that is open cannot be removed.
    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Option<Identity> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{LOCK, OpenError, Place};

    /// Also in a directory that others may enter, and the parents stay usual ones.
    #[cfg(unix)]
    #[test]
    fn what_is_made_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let mode =
            |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("above/data");
        let usual = parent.path().join("usual");
        fs::create_dir(&usual).unwrap();
        let beside = mode(&usual);
        drop(Place::lock(&directory).ok().unwrap());
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&parent.path().join("above")), beside);
        fs::set_permissions(&usual, fs::Permissions::from_mode(0o750)).unwrap();
        drop(Place::lock(&usual).ok().unwrap());
        assert_eq!(mode(&usual), 0o750, "one that is there stays as it is");
        super::make_file(&usual.join("file")).unwrap();
        super::make_file(&usual.join("file")).unwrap();
        assert_eq!(mode(&usual.join("file")), 0o600);
    }

    #[test]
    fn a_directory_has_one_owner_even_without_its_lock_file() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("data");
        let place = Place::lock(&directory).ok().unwrap();
        assert!(matches!(Place::lock(&directory), Err(OpenError::Locked(_))));
        fs::remove_file(directory.join(LOCK)).unwrap();
        assert!(matches!(Place::lock(&directory), Err(OpenError::Locked(_))));
        drop(place);
        assert!(Place::lock(&directory).is_ok());
    }

    #[test]
    fn a_directory_is_free_once_its_owner_is_gone_whoever_has_its_descriptors() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("data");
        let place = Place::lock(&directory).ok().unwrap();
        // As a process has them that was forked meanwhile.
        let forked = place.lock.try_clone().unwrap();
        let forked_directory = place.directory_lock.as_ref().map(fs::File::try_clone);
        drop(place);
        assert!(Place::lock(&directory).is_ok());
        drop((forked, forked_directory));
    }

    #[test]
    fn files_that_are_removed_or_replaced_are_noticed() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("data");
        let mut place = Place::lock(&directory).ok().unwrap();
        let file = directory.join("store");
        fs::write(&file, "what was there").unwrap();
        place.watch([file.clone()]);
        fs::write(&file, "what is written now").unwrap();
        assert_eq!(place.check(), Ok(()));

        fs::rename(&directory, parent.path().join("away")).unwrap();
        let removed = place.check().unwrap_err();
        assert!(removed.contains("was removed"), "{removed}");
        fs::create_dir(&directory).unwrap();
        fs::write(&file, "another store").unwrap();
        let replaced = place.check().unwrap_err();
        assert!(replaced.contains("was replaced"), "{replaced}");

        fs::remove_dir_all(&directory).unwrap();
        fs::rename(parent.path().join("away"), &directory).unwrap();
        assert_eq!(place.check(), Ok(()), "it was put back");
    }
}
