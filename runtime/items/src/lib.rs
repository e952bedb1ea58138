//! Items of a Map and its results in object storage: S3, or folders that stand in for buckets.
//!
//! A [`Reader`] gives the items that a [`Source`] holds, page by page, in memory bounded by a page and a chunk. After
//! each page stands a [`Cursor`]: where to go on, pinned to the version of what was read, so that another process reads
//! the very items that this one would have. A [`ResultFolder`] is the other way: part files and a manifest.
//!
//! The crate hides the storage, the formats and compression; it knows nothing of executions. It alone names
//! `object_store`, `csv` and `parquet`.

#![cfg_attr(
    not(feature = "s3"),
    allow(dead_code, reason = "bounds and errors of S3 have no use without it")
)]

mod chunks;
#[cfg(feature = "parquet")]
mod columns;
#[cfg(feature = "s3")]
mod connect;
mod csv;
mod cursor;
mod error;
mod json;
mod limits;
mod lines;
mod listing;
mod manifest;
mod object;
mod reader;
mod results;
#[cfg(feature = "s3")]
mod s3;
mod source;
mod storage;

pub use cursor::Cursor;
pub use error::Error;
pub use limits::{CHUNK_BYTES, ITEM_BYTES_MAX};
pub use reader::{Item, Page, PageSize, Reader};
pub use results::{Manifest, PartFile, ResultFolder, ResultKind};
#[cfg(feature = "s3")]
pub use s3::S3;
pub use source::{Content, CsvHeader, Format, Source};
pub use storage::{Fetched, Storage};
