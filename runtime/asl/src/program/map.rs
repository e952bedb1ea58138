//! Map states: where items come from, how they run and where results go.

use std::num::NonZeroU32;
use std::sync::Arc;

use stepwell_query::{JsonataTemplate, Path};

use super::{
    Flow, Then,
    handlers::Handlers,
    io::{Given, Io, Payload},
};

/// Runs its processor once for each item.
#[derive(Debug, Clone)]
pub struct Map {
    pub io: Io,
    pub items: Items,
    /// `ItemSelector`, or the legacy `Parameters` of a Map.
    pub item_selector: Option<Payload>,
    /// `ItemProcessor`, or the legacy `Iterator`.
    pub processor: Flow,
    pub mode: Mode,
    /// `MaxConcurrency[Path]`; absent or 0 sets no limit of its own.
    pub max_concurrency: Option<Given<u32>>,
    /// `ToleratedFailureCount[Path]`; a distributed Map heeds it.
    pub tolerated_failure_count: Option<Given<u32>>,
    /// `ToleratedFailurePercentage[Path]`, 0 to 100; a distributed Map heeds it.
    pub tolerated_failure_percentage: Option<Given<f64>>,
    pub handlers: Handlers,
    pub then: Then,
}

/// Where a Map's items come from within the execution (a distributed Map may have an [`ItemReader`] besides).
#[derive(Debug, Clone)]
pub enum Items {
    /// The state's effective input.
    Input,
    /// `ItemsPath`.
    Path(Path),
    /// `Items`.
    Jsonata(JsonataTemplate),
}

/// `ProcessorConfig.Mode` with what only that mode has.
#[derive(Debug, Clone)]
pub enum Mode {
    Inline,
    Distributed(Box<Distributed>),
}

/// The fields of a distributed Map.
#[derive(Debug, Clone)]
pub struct Distributed {
    /// `ProcessorConfig.ExecutionType` of the child executions.
    pub execution_type: ExecutionType,
    /// `Label`, unique in the state machine; when absent the state's name stands in.
    pub label: Option<Arc<str>>,
    pub reader: Option<ItemReader>,
    pub batcher: Option<ItemBatcher>,
    pub writer: Option<ResultWriter>,
}

/// Standard or Express.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionType {
    Standard,
    Express,
}

/// `ItemReader`.
#[derive(Debug, Clone)]
pub struct ItemReader {
    pub source: Source,
    /// `Parameters` or `Arguments`.
    pub arguments: Option<Payload>,
    /// `ReaderConfig.MaxItems[Path]`, at most 100 million; 0 sets no limit.
    pub max_items: Option<Given<u32>>,
    /// `ReaderConfig.ItemsPointer`, a JSON Pointer to the array or object in a JSON file.
    pub items_pointer: Option<Arc<str>>,
}

/// What an [`ItemReader`] reads.
#[derive(Debug, Clone)]
pub enum Source {
    /// `s3:getObject`: one file.
    Object(Format),
    /// `s3:listObjectsV2`: the list of objects itself.
    Listing,
    /// `s3:listObjectsV2` with `Transformation: LOAD_AND_FLATTEN`: the contents of all listed files.
    Contents(Format),
}

/// `ReaderConfig.InputType` with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    Csv {
        header: CsvHeader,
        delimiter: CsvDelimiter,
    },
    Json,
    JsonLines,
    Parquet,
    Manifest(ManifestType),
}

/// `CSVHeaderLocation` with `CSVHeaders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CsvHeader {
    FirstRow,
    Given(Vec<Arc<str>>),
}

/// `CSVDelimiter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CsvDelimiter {
    #[default]
    Comma,
    Pipe,
    Semicolon,
    Space,
    Tab,
}

impl CsvDelimiter {
    /// The delimiter's one byte.
    pub fn byte(self) -> u8 {
        match self {
            CsvDelimiter::Comma => b',',
            CsvDelimiter::Pipe => b'|',
            CsvDelimiter::Semicolon => b';',
            CsvDelimiter::Space => b' ',
            CsvDelimiter::Tab => b'\t',
        }
    }
}

/// `ManifestType` with what the files are that the manifest lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestType {
    /// Files of the `InputType`; Parquet, when that is `MANIFEST` or left out.
    AthenaData(Box<Format>),
    /// CSV files whose columns the manifest names.
    S3Inventory,
}

/// `ItemBatcher`: at least one of the two maxima is set.
#[derive(Debug, Clone)]
pub struct ItemBatcher {
    pub bound: BatchBound,
    pub batch_input: Option<Payload>,
}

/// `MaxItemsPerBatch[Path]` and `MaxInputBytesPerBatch[Path]` (bytes, at most 262,144).
#[derive(Debug, Clone)]
pub enum BatchBound {
    Items(Given<NonZeroU32>),
    Bytes(Given<NonZeroU32>),
    Both {
        items: Given<NonZeroU32>,
        bytes: Given<NonZeroU32>,
    },
}

/// `ResultWriter`.
#[derive(Debug, Clone)]
pub struct ResultWriter {
    /// Where the results go (`s3:putObject`); `None` when only their form is set and they stay in the output.
    pub destination: Option<Payload>,
    pub transformation: Transformation,
    pub output_type: OutputType,
}

/// `WriterConfig.Transformation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transformation {
    /// Each child's output with its metadata.
    #[default]
    None,
    /// Each child's output alone.
    Compact,
    /// As compact, with a child's array spread into the whole.
    Flatten,
}

/// `WriterConfig.OutputType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputType {
    #[default]
    Json,
    JsonLines,
}
