//! Every bound of this crate, with unit and origin.

/// Bytes fetched at a time.
pub const CHUNK_BYTES: u64 = 1024 * 1024;

/// Bytes of one item in its file. Far above what an execution takes as input, so that a selector may choose from it.
pub const ITEM_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Columns of a CSV row.
pub(crate) const CSV_COLUMNS_MAX: usize = 65_536;

/// Bytes of a manifest that is read whole.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Keys listed at a time. A folder is walked once for each so many.
pub(crate) const LISTED_MAX: usize = 20_000;

/// Bytes of an object's key (S3).
pub(crate) const KEY_BYTES_MAX: usize = 1_024;

/// How long connecting to S3 may take, milliseconds.
pub(crate) const CONNECT_MS_MAX: u64 = 10_000;

/// How long one request to S3 may take until its answer begins, milliseconds.
pub(crate) const ANSWER_MS_MAX: u64 = 30_000;

/// Heads that only announce the answer to a request to S3 (`100 Continue`, `103 Early Hints`), as many as there may be before it
/// (ours): what stands between sends a handful, and the library skips them without end.
pub(crate) const ANNOUNCEMENTS_MAX: u32 = 100;

/// Retries of a request to S3.
pub(crate) const RETRIES_MAX: usize = 5;

/// How long a request to S3 is retried, milliseconds.
pub(crate) const RETRY_MS_MAX: u64 = 30_000;
