//! Items page by page. Hides which files hold them and how.

use std::{collections::VecDeque, sync::Arc};

use object_store::ObjectMeta;
use stepwell_query::Value;

#[cfg(feature = "parquet")]
use crate::columns::ParquetRows;
use crate::{
    csv::CsvRows,
    cursor::{Cursor, Position},
    error::Error,
    json::JsonItems,
    lines::Lines,
    listing, manifest,
    object::Object,
    source::{Content, Format, Source},
    storage::Storage,
};

/// One item.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub value: Value,
    /// The member's name, where the items are the members of a JSON object.
    pub key: Option<Arc<str>>,
    /// `S3://bucket/key` of the object it is in; of a list of objects `S3://bucket`.
    pub source: Arc<str>,
}

/// How much of a page is wanted: whichever bound is met first ends it, but not before its first item.
#[derive(Clone, Copy, Debug)]
pub struct PageSize {
    pub items: usize,
    /// Of the items' JSON.
    pub bytes: usize,
}

/// Items, and where reading goes on after them.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub items: Vec<Item>,
    pub cursor: Cursor,
    /// How many items there seem to be in all, by how much of the source they took so far; none where that cannot be
    /// told.
    pub expected: Option<u64>,
}

/// Reads a source from a place on.
pub struct Reader {
    storage: Storage,
    source: Source,
    cursor: Cursor,
    rows: Option<Rows>,
    /// Objects that were listed and not yet taken.
    listed: VecDeque<ObjectMeta>,
    files: Option<manifest::Files>,
}

/// An open file.
struct Rows {
    items: Items,
    address: Arc<str>,
    tag: Option<String>,
}

enum Items {
    Csv(Box<CsvRows>),
    Json(JsonItems),
    Lines(Lines),
    #[cfg(feature = "parquet")]
    Parquet(ParquetRows),
}

impl Reader {
    /// Nothing is read before the first page. A fresh cursor is the beginning.
    pub fn new(storage: Storage, source: Source, cursor: Cursor) -> Reader {
        Reader {
            storage,
            source,
            cursor,
            rows: None,
            listed: VecDeque::new(),
            files: None,
        }
    }

    /// The next items; the page of an ended cursor is empty. After an error the reader is of no more use.
    pub async fn page(&mut self, size: PageSize) -> Result<Page, Error> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while !self.cursor.ended {
            let most = self.source.items_max;
            if most > 0 && self.cursor.items >= most {
                self.cursor.ended = true;
                break;
            }
            if !items.is_empty() && (items.len() >= size.items || bytes >= size.bytes) {
                break;
            }
            match self.next().await? {
                Some(item) => {
                    self.cursor.items += 1;
                    bytes += item.value.json_bytes();
                    items.push(item);
                }
                None => self.cursor.ended = true,
            }
        }
        if self.cursor.ended {
            self.rows = None;
        }
        Ok(Page {
            items,
            expected: self.expected(),
            cursor: self.cursor.clone(),
        })
    }

    /// See [`Page::expected`].
    fn expected(&self) -> Option<u64> {
        let read = self.cursor.items;
        if self.cursor.ended {
            return Some(read);
        }
        let Content::Object { .. } = &self.source.content else {
            return None;
        };
        // Files that a manifest names are taken to be of one size.
        let files = self.files.as_ref().map_or(1, |files| files.files.len());
        let within = self.rows.as_ref().and_then(Rows::share)?;
        let share = (self.cursor.file as f64 + within) / files.max(1) as f64;
        let expected = (share > 0.0).then(|| (read as f64 / share).round() as u64)?;
        let most = match self.source.items_max {
            0 => u64::MAX,
            most => most,
        };
        Some(expected.clamp(read, most))
    }

    async fn next(&mut self) -> Result<Option<Item>, Error> {
        match self.source.content.clone() {
            Content::Listing { prefix } => self.next_listed(&prefix).await,
            Content::Object { .. } | Content::Contents { .. } => loop {
                if self.rows.is_none() {
                    let Some(rows) = self.open_file().await? else {
                        return Ok(None);
                    };
                    self.rows = Some(rows);
                }
                if let Some(rows) = &mut self.rows
                    && let Some(item) = rows.next().await?
                {
                    self.cursor.object = Some(rows.position());
                    return Ok(Some(item));
                }
                self.rows = None;
                self.cursor.object = None;
                self.cursor.file += 1;
            },
        }
    }

    async fn next_listed(&mut self, prefix: &str) -> Result<Option<Item>, Error> {
        let Some(meta) = self.next_key(prefix).await? else {
            return Ok(None);
        };
        Ok(Some(Item {
            value: listing::item(&meta),
            key: None,
            source: format!("S3://{}", self.source.bucket).into(),
        }))
    }

    async fn next_key(&mut self, prefix: &str) -> Result<Option<ObjectMeta>, Error> {
        if self.listed.is_empty() {
            let of = |error: Error| error.at(&self.source.bucket, "");
            let bucket = self.storage.bucket(&self.source.bucket).map_err(of)?;
            let after = self.cursor.key.as_deref();
            let listed = listing::after(&bucket, prefix, after).await;
            self.listed = listed.map_err(of)?.into();
        }
        let meta = self.listed.pop_front();
        if let Some(meta) = &meta {
            self.cursor.key = Some(meta.location.to_string());
        }
        Ok(meta)
    }

    /// The file to read now: the one amid which the cursor stands, else the next one.
    async fn open_file(&mut self) -> Result<Option<Rows>, Error> {
        let position = self.cursor.object.clone().unwrap_or_default();
        let tag = position.version.as_deref();
        match self.source.content.clone() {
            Content::Listing { .. } => Ok(None),
            Content::Contents { prefix, format } => {
                let key = match (&self.cursor.object, &self.cursor.key) {
                    (Some(_), Some(key)) => key.clone(),
                    (Some(_), None) | (None, _) => loop {
                        match self.next_key(&prefix).await? {
                            // What stands for a folder has no content.
                            Some(meta) if meta.size == 0 => {}
                            Some(meta) => break meta.location.to_string(),
                            None => return Ok(None),
                        }
                    },
                };
                let object = self.object(&key, None, tag).await?;
                Rows::open(object, &format, &position).await.map(Some)
            }
            Content::Object {
                key,
                version,
                format,
            } => {
                let (Format::AthenaManifest(_) | Format::InventoryManifest) = format else {
                    if self.cursor.file > 0 {
                        return Ok(None);
                    }
                    let object = self.object(&key, version.as_deref(), tag).await?;
                    return Rows::open(object, &format, &position).await.map(Some);
                };
                if self.files.is_none() {
                    let tag = self.cursor.manifest.as_deref();
                    let object = self.object(&key, version.as_deref(), tag).await?;
                    self.cursor.manifest = object.tag.clone();
                    self.files = Some(match &format {
                        Format::AthenaManifest(format) => manifest::athena(object, format).await?,
                        Format::InventoryManifest
                        | Format::Csv { .. }
                        | Format::Json { .. }
                        | Format::JsonLines
                        | Format::Parquet => manifest::inventory(object).await?,
                    });
                }
                self.open_named(&position).await
            }
        }
    }

    /// Opens an object of the source's bucket.
    async fn object(
        &self,
        key: &str,
        version: Option<&str>,
        tag: Option<&str>,
    ) -> Result<Object, Error> {
        let of = |error: Error| error.at(&self.source.bucket, key);
        let bucket = self.storage.bucket(&self.source.bucket).map_err(of)?;
        let opened = Object::open(&bucket, key, version, tag).await;
        opened.map_err(of)
    }

    async fn open_named(&self, position: &Position) -> Result<Option<Rows>, Error> {
        let Some(files) = &self.files else {
            return Ok(None);
        };
        let number = usize::try_from(self.cursor.file).unwrap_or(usize::MAX);
        let Some(file) = files.files.get(number) else {
            return Ok(None);
        };
        let object = manifest::open(&self.storage, file, position.version.as_deref()).await?;
        Rows::open(object, &files.format, position).await.map(Some)
    }
}

impl Rows {
    async fn open(object: Object, format: &Format, from: &Position) -> Result<Rows, Error> {
        let (address, tag) = (object.address(), object.tag.clone());
        let items = match format {
            Format::Csv { header, delimiter } => {
                let rows = CsvRows::open(object, header, *delimiter, from.at).await?;
                Items::Csv(Box::new(rows))
            }
            Format::Json { pointer } => Items::Json(JsonItems::open(object, pointer, from).await?),
            Format::JsonLines => Items::Lines(Lines::open(object, from.at).await?),
            #[cfg(feature = "parquet")]
            Format::Parquet => Items::Parquet(ParquetRows::open(object, from.at)),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => {
                return Err(Error::malformed(
                    "Parquet files cannot be read: this program was built without the feature `parquet`.",
                ));
            }
            Format::AthenaManifest(_) | Format::InventoryManifest => {
                return Err(Error::malformed("A manifest cannot list manifests."));
            }
        };
        Ok(Rows {
            items,
            address,
            tag,
        })
    }

    async fn next(&mut self) -> Result<Option<Item>, Error> {
        let (key, value) = match &mut self.items {
            Items::Csv(rows) => (None, rows.next().await?),
            Items::Lines(lines) => (None, lines.next().await?),
            #[cfg(feature = "parquet")]
            Items::Parquet(rows) => (None, rows.next().await?),
            Items::Json(items) => match items.next().await? {
                Some((key, value)) => (key, Some(value)),
                None => (None, None),
            },
        };
        Ok(value.map(|value| Item {
            value,
            key,
            source: self.address.clone(),
        }))
    }

    /// How much of the file was read, 0 to 1.
    fn share(&self) -> Option<f64> {
        match &self.items {
            Items::Csv(rows) => Some(rows.share()),
            Items::Lines(lines) => Some(lines.share()),
            Items::Json(items) => Some(items.share()),
            #[cfg(feature = "parquet")]
            Items::Parquet(rows) => rows.share(),
        }
    }

    fn position(&self) -> Position {
        let (at, members) = match &self.items {
            Items::Csv(rows) => (rows.at(), false),
            Items::Lines(lines) => (lines.at(), false),
            #[cfg(feature = "parquet")]
            Items::Parquet(rows) => (rows.at(), false),
            Items::Json(items) => items.position(),
        };
        Position {
            version: self.tag.clone(),
            at,
            members,
        }
    }
}
