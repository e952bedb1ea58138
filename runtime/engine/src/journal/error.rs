//! Why a store cannot be opened or read, and what to do about it. Hides the errors of databases and files: they are text here.
//! What a write was refused for is its verdict.

/// A failed read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// The same read may succeed later.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    /// It will not.
    #[error("the store is damaged: {0}; {RESTORE}")]
    Damaged(String),
}

/// What to do about a store whose content is damaged.
pub(crate) const RESTORE: &str = "stop the server and restore its store from a backup";

/// A store that cannot be opened: what is wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(
        "the data directory {0} is in use by another process; stop that process or choose another directory"
    )]
    Locked(String),
    #[error(
        "{path} cannot be opened: {why}; check that it exists and that this user may write there"
    )]
    Unreadable { path: String, why: String },
    #[error(
        "the data directory {directory} cannot be written: the disk is full{free}; make room there, or choose another \
         directory"
    )]
    Full { directory: String, free: String },
    #[error("{0} is no Stepwell journal; choose another data directory or move the file away")]
    Foreign(String),
    #[error(
        "{path} is {what}, but {directory} has held a store: what was stored is gone, and a start would begin with \
         nothing; restore the file from a backup, or, to begin anew, empty {directory} or name another directory"
    )]
    Gone {
        path: String,
        /// `empty` or `missing`.
        what: &'static str,
        directory: String,
    },
    #[error("{path} is damaged: {why}; restore it from a backup")]
    Damaged { path: String, why: String },
    #[error(
        "the journal at {path} has format {found}, and this version of Stepwell reads up to format {known}; run the \
         version that wrote it or a newer one"
    )]
    Newer {
        path: String,
        found: i64,
        known: i64,
    },
    #[cfg(feature = "postgres")]
    #[error(
        "the database ({at}) cannot be opened: {why}; check its URL, that it runs, and that it lets this user in"
    )]
    Unreachable { at: String, why: String },
}
