//! What to read, as a state says it once its fields are evaluated.

use std::sync::Arc;

/// Where items come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub bucket: Arc<str>,
    pub content: Content,
    /// Items at most; 0 sets no limit.
    pub items_max: u64,
}

/// What in the bucket is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The items in one object.
    Object {
        key: Arc<str>,
        /// `VersionId`
        version: Option<Arc<str>>,
        format: Format,
    },
    /// The list of objects whose keys begin so.
    Listing { prefix: Arc<str> },
    /// The items in all objects whose keys begin so, in the order of their keys.
    Contents { prefix: Arc<str>, format: Format },
}

/// How items lie in an object. CSV, JSON and JSON Lines may be compressed by gzip.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Each row an object of strings.
    Csv { header: CsvHeader, delimiter: u8 },
    /// The elements of an array, or the members of an object, at a JSON Pointer (the empty one is the whole).
    Json { pointer: Arc<str> },
    /// Each line a JSON value.
    JsonLines,
    /// Each row an object.
    Parquet,
    /// A CSV list of `s3://` addresses of files in a format: what Athena's UNLOAD leaves.
    AthenaManifest(Box<Format>),
    /// The `manifest.json` of an S3 Inventory; the items are the inventory's rows.
    InventoryManifest,
}

/// Where the names of columns are.
#[derive(Clone, Debug, PartialEq)]
pub enum CsvHeader {
    FirstRow,
    Given(Arc<[Arc<str>]>),
}
