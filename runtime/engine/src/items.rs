//! Reading items and writing results for map runs: what the fields of a Map state mean to the object storage. Hides the
//! readers, which stay open from page to page.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use stepwell_asl::{
    CsvHeader as AslHeader, Format as AslFormat, ManifestType, OutputType, Program,
    Source as AslSource,
};
use stepwell_interp::{
    ChildId, Item, MapRunInput, MapRunStart, Part, PartKind, Reading, ResultWrite,
};
use stepwell_items::{
    Content, CsvHeader, Cursor, Error, Format, Manifest, Page, PageSize, PartFile, Reader,
    ResultFolder, ResultKind, Source, Storage,
};
use stepwell_query::Value;
use tokio::sync::oneshot;

use crate::{
    journal::ExecutionId,
    limits::{ITEMS_A_PAGE_BYTES_MAX, ITEMS_A_PAGE_MAX},
    map_run::distributed,
    shard::MapRunRequest,
};

/// The object storage of an engine, with the readers that are open.
#[derive(Default)]
pub(crate) struct Items {
    storage: Option<Storage>,
    /// By map run: the number of the item that each stands before.
    readers: Mutex<HashMap<ExecutionId, (u64, Reader)>>,
    /// By map run: the end of the write that was asked for last.
    writes: Mutex<HashMap<ExecutionId, oneshot::Receiver<()>>>,
}

/// The turn of a write; over when it is dropped.
pub(crate) struct WriteTurn {
    before: Option<oneshot::Receiver<()>>,
    _over: oneshot::Sender<()>,
}

impl WriteTurn {
    /// Answers when the write before it has ended, however it did.
    pub(crate) async fn comes(&mut self) {
        if let Some(before) = self.before.take() {
            let _ = before.await;
        }
    }
}

impl Items {
    pub(crate) fn new(storage: Option<Storage>) -> Items {
        Items {
            storage,
            readers: Mutex::default(),
            writes: Mutex::default(),
        }
    }

    /// The turn of a map run's next write. A run that was folded anew asks again for a part that may be on its way still, with
    /// more in it perhaps: the later one has to be the one that stays.
    pub(crate) fn write_turn(&self, id: ExecutionId, request: &MapRunRequest) -> Option<WriteTurn> {
        match request {
            MapRunRequest::Read { .. } => None,
            MapRunRequest::WritePart { .. } | MapRunRequest::WriteManifest { .. } => {
                Some(self.next_turn(id))
            }
        }
    }

    fn next_turn(&self, id: ExecutionId) -> WriteTurn {
        let (over, ends) = oneshot::channel();
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        WriteTurn {
            before: writes.insert(id, ends),
            _over: over,
        }
    }

    /// Does what a map run asks for; `ids` draws fresh ids for its children.
    pub(crate) async fn serve(
        &self,
        id: ExecutionId,
        request: &MapRunRequest,
        ids: impl Fn(usize) -> Vec<ChildId>,
    ) -> MapRunInput {
        match request {
            MapRunRequest::Read {
                start,
                program,
                tenant,
                cursor,
                skip,
                first,
            } => match &start.source {
                Reading::State(items) => state_page(items, *first, ids),
                Reading::Storage { .. } => {
                    let page = self.page(id, tenant, (start, program), (cursor, *skip), *first);
                    read_page(page.await, *first, ids)
                }
            },
            MapRunRequest::WritePart {
                start,
                tenant,
                kind,
                number,
                results,
                executions,
                items,
                redrive,
            } => {
                let part = Unwritten {
                    kind: *kind,
                    number: *number,
                    results,
                    executions: *executions,
                    items: *items,
                };
                self.write_part(tenant, start, part, *redrive).await
            }
            MapRunRequest::WriteManifest {
                start,
                tenant,
                parts,
                redrive,
            } => {
                let write = ResultWrite::Manifest { redrive: *redrive };
                match self.write_manifest(tenant, start, parts, *redrive).await {
                    Ok((bucket, key)) => MapRunInput::ManifestWritten { write, bucket, key },
                    Err(error) => failed(write, &error),
                }
            }
        }
    }

    /// The map run needs its reader no more.
    pub(crate) fn close(&self, id: ExecutionId) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.remove(&id);
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.remove(&id);
    }

    async fn page(
        &self,
        id: ExecutionId,
        tenant: &Arc<str>,
        (start, program): (&MapRunStart, &Program),
        (cursor, skip): (&Arc<str>, u64),
        first: u64,
    ) -> Result<Page, Error> {
        let open = {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.remove(&id)
        };
        let mut reader = match open {
            Some((at, reader)) if at == first => reader,
            Some(_) | None => {
                let storage = self.needed(tenant)?;
                let from = if cursor.is_empty() {
                    Cursor::default()
                } else {
                    Cursor::decode(cursor)?
                };
                let mut reader = Reader::new(storage, source(start, program)?, from);
                pass_over(&mut reader, skip).await?;
                reader
            }
        };
        let size = PageSize {
            items: ITEMS_A_PAGE_MAX,
            bytes: ITEMS_A_PAGE_BYTES_MAX,
        };
        let page = reader.page(size).await?;
        if !page.cursor.ended {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.insert(id, (first + page.items.len() as u64, reader));
        }
        Ok(page)
    }

    /// Where a map run's results go after that redrive.
    fn folder(
        &self,
        tenant: &Arc<str>,
        start: &MapRunStart,
        redrive: u32,
    ) -> Result<ResultFolder, Error> {
        folder(self.needed(tenant)?, start, redrive)
    }

    async fn write_part(
        &self,
        tenant: &Arc<str>,
        start: &MapRunStart,
        part: Unwritten<'_>,
        redrive: u32,
    ) -> MapRunInput {
        let Unwritten {
            kind,
            number,
            results,
            executions,
            items,
        } = part;
        let write = ResultWrite::Part {
            redrive,
            kind,
            number,
            executions,
            items,
        };
        let file = async {
            let folder = self.folder(tenant, start, redrive)?;
            folder.write_part(result_kind(kind), number, results).await
        };
        match file.await {
            Ok(PartFile { key, bytes }) => {
                let part = Part {
                    kind,
                    key,
                    bytes,
                    results: results.len() as u64,
                    executions,
                    items,
                };
                MapRunInput::PartWritten { write, part }
            }
            Err(error) => failed(write, &error),
        }
    }

    async fn write_manifest(
        &self,
        tenant: &Arc<str>,
        start: &MapRunStart,
        parts: &[Part],
        redrive: u32,
    ) -> Result<(Arc<str>, Arc<str>), Error> {
        let folder = self.folder(tenant, start, redrive)?;
        let file = |part: &Part| {
            let file = PartFile {
                key: part.key.clone(),
                bytes: part.bytes,
            };
            (result_kind(part.kind), file)
        };
        let manifest = Manifest {
            map_run_arn: start.arn.clone(),
            files: parts.iter().map(file).collect(),
        };
        folder.write_manifest(&manifest).await?;
        Ok((folder.bucket.clone(), folder.manifest_key().into()))
    }

    /// The storage as an account sees it, where there is one.
    pub(crate) fn storage(&self, tenant: &Arc<str>) -> Option<Storage> {
        let storage = self.storage.as_ref();
        storage.map(|storage| storage.for_account(tenant))
    }

    fn needed(&self, tenant: &Arc<str>) -> Result<Storage, Error> {
        self.storage(tenant).ok_or_else(|| {
            let text = "there is none; --storage DIR names a directory with buckets in it, or an S3 endpoint, and a data \
                 directory (--data DIR) has them in its folder `buckets`";
            Error::Storage(text.to_owned())
        })
    }
}

/// Results that are to be a file.
struct Unwritten<'a> {
    kind: PartKind,
    number: u32,
    results: &'a [Value],
    executions: u64,
    items: u64,
}

fn failed(write: ResultWrite, error: &Error) -> MapRunInput {
    MapRunInput::WriteFailed {
        write,
        cause: error.to_string().into(),
    }
}

fn item_of(item: stepwell_items::Item) -> Item {
    Item {
        value: item.value,
        key: item.key,
        source: item.source,
    }
}

/// What was read of the object storage from `first` on.
fn read_page(
    page: Result<Page, Error>,
    first: u64,
    ids: impl Fn(usize) -> Vec<ChildId>,
) -> MapRunInput {
    match page {
        Ok(page) => MapRunInput::ItemsRead {
            first,
            ids: ids(page.items.len()),
            cursor: page.cursor.encode().into(),
            ended: page.cursor.ended,
            expected: page.expected,
            items: page.items.into_iter().map(item_of).collect(),
        },
        Err(error) => MapRunInput::ReadFailed {
            cause: error.to_string().into(),
        },
    }
}

/// Items of the state's data from `first` on.
pub(crate) fn state_page(
    items: &Value,
    first: u64,
    ids: impl Fn(usize) -> Vec<ChildId>,
) -> MapRunInput {
    let at = usize::try_from(first).unwrap_or(usize::MAX);
    let item = |key: Option<&Arc<str>>, value: &Value| Item {
        value: value.clone(),
        key: key.cloned(),
        source: "STATE_DATA".into(),
    };
    let (page, total): (Vec<Item>, usize) = match items {
        Value::Array(items) => {
            let page = items.iter().skip(at).take(ITEMS_A_PAGE_MAX);
            (page.map(|value| item(None, value)).collect(), items.len())
        }
        Value::Object(items) => {
            let page = items.iter().skip(at).take(ITEMS_A_PAGE_MAX);
            (
                page.map(|(key, value)| item(Some(key), value)).collect(),
                items.len(),
            )
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (Vec::new(), 0),
    };
    MapRunInput::ItemsRead {
        first,
        ids: ids(page.len()),
        ended: at.saturating_add(page.len()) >= total,
        expected: Some(total as u64),
        items: page,
        cursor: "".into(),
    }
}

async fn pass_over(reader: &mut Reader, skip: u64) -> Result<(), Error> {
    let mut left = usize::try_from(skip).unwrap_or(usize::MAX);
    while left > 0 {
        let page = reader
            .page(PageSize {
                items: left.min(ITEMS_A_PAGE_MAX),
                bytes: usize::MAX,
            })
            .await?;
        if page.items.is_empty() {
            return Ok(());
        }
        left -= page.items.len();
    }
    Ok(())
}

/// What a Map state's `ItemReader` reads.
fn source(start: &MapRunStart, program: &Program) -> Result<Source, Error> {
    let reader =
        distributed(program, &start.state).and_then(|(_, distributed)| distributed.reader.as_ref());
    let (
        Some(reader),
        Reading::Storage {
            parameters,
            items_max,
        },
    ) = (reader, &start.source)
    else {
        return Err(Error::Malformed(
            "The Map state has no ItemReader".to_owned(),
        ));
    };
    let pointer = reader.items_pointer.clone().unwrap_or_else(|| "".into());
    let prefix = || text(parameters, "Prefix").unwrap_or_else(|| "".into());
    let content = match &reader.source {
        AslSource::Object(format) => Content::Object {
            key: required(parameters, "Key")?,
            version: text(parameters, "VersionId"),
            format: format_of(format, &pointer),
        },
        AslSource::Listing => Content::Listing { prefix: prefix() },
        AslSource::Contents(format) => Content::Contents {
            prefix: prefix(),
            format: format_of(format, &pointer),
        },
    };
    Ok(Source {
        bucket: required(parameters, "Bucket")?,
        content,
        items_max: u64::try_from(*items_max).unwrap_or(0),
    })
}

fn format_of(format: &AslFormat, pointer: &Arc<str>) -> Format {
    match format {
        AslFormat::Csv { header, delimiter } => Format::Csv {
            header: match header {
                AslHeader::FirstRow => CsvHeader::FirstRow,
                AslHeader::Given(names) => CsvHeader::Given(names.clone().into()),
            },
            delimiter: delimiter.byte(),
        },
        AslFormat::Json => Format::Json {
            pointer: pointer.clone(),
        },
        AslFormat::JsonLines => Format::JsonLines,
        AslFormat::Parquet => Format::Parquet,
        AslFormat::Manifest(ManifestType::AthenaData(format)) => {
            Format::AthenaManifest(Box::new(format_of(format, pointer)))
        }
        AslFormat::Manifest(ManifestType::S3Inventory) => Format::InventoryManifest,
    }
}

/// Where a map run's results go: each redrive has a folder of its own, so that no file of an attempt before is written
/// over.
fn folder(storage: Storage, start: &MapRunStart, redrive: u32) -> Result<ResultFolder, Error> {
    let destination = start.destination.as_ref();
    let parameters = destination
        .ok_or_else(|| Error::Malformed("The Map state has no ResultWriter".to_owned()))?;
    let run = start.arn.rsplit(':').next().unwrap_or_default();
    let prefix = text(parameters, "Prefix");
    let prefix = prefix.as_deref().map(|prefix| prefix.trim_matches('/'));
    let mut folder = match prefix {
        None | Some("") => run.to_owned(),
        Some(prefix) => format!("{prefix}/{run}"),
    };
    if redrive > 0 {
        folder.push_str(&format!("/Redrive-{redrive}"));
    }
    Ok(ResultFolder {
        storage,
        bucket: required(parameters, "Bucket")?,
        folder: folder.into(),
        lines: start.form.output_type == OutputType::JsonLines,
    })
}

fn result_kind(kind: PartKind) -> ResultKind {
    match kind {
        PartKind::Succeeded => ResultKind::Succeeded,
        PartKind::Failed => ResultKind::Failed,
        PartKind::Pending => ResultKind::Pending,
    }
}

fn text(parameters: &Value, name: &str) -> Option<Arc<str>> {
    match parameters.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

fn required(parameters: &Value, name: &str) -> Result<Arc<str>, Error> {
    text(parameters, name)
        .ok_or_else(|| Error::Malformed(format!("The field '{name}' is required but was missing")))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Items;
    use crate::journal::ExecutionId;

    #[test]
    fn writes_of_a_map_run_end_in_the_order_in_which_they_were_asked_for() {
        let items = Items::new(None);
        let (map_run, other) = (ExecutionId(1), ExecutionId(2));
        let mut first = items.next_turn(map_run);
        let mut again = items.next_turn(map_run);
        let mut beside = items.next_turn(other);
        assert!(first.comes().now_or_never().is_some());
        assert!(beside.comes().now_or_never().is_some());
        let mut waits = Box::pin(again.comes());
        assert!(waits.as_mut().now_or_never().is_none());
        drop(first);
        assert!(waits.now_or_never().is_some());
    }
}
