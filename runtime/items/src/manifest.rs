//! Manifests: lists of the files that hold the items. Hides their formats.

use std::sync::Arc;

use stepwell_query::Value;

use crate::{
    csv::CsvRows,
    error::Error,
    limits::MANIFEST_BYTES_MAX,
    object::Object,
    source::{CsvHeader, Format},
    storage::Storage,
};

/// What a manifest says.
pub(crate) struct Files {
    /// Bucket and key, in order.
    pub(crate) files: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) format: Format,
}

/// The files of an Athena manifest: a CSV without a header, an `s3://` address a row.
pub(crate) async fn athena(object: Object, format: &Format) -> Result<Files, Error> {
    check_size(&object)?;
    let header = CsvHeader::Given(["file".into()].into());
    let mut rows = CsvRows::open(object, &header, b',', 0).await?;
    let mut files = Vec::new();
    while let Some(row) = rows.next().await? {
        let address = row.get("file").and_then(Value::as_str).unwrap_or_default();
        let parts = address
            .trim()
            .strip_prefix("s3://")
            .and_then(|path| path.split_once('/'));
        let (bucket, key) = parts.ok_or_else(|| {
            Error::malformed(format!(
                "The manifest names '{address}', which is no address of an S3 object."
            ))
        })?;
        files.push((bucket.into(), key.into()));
    }
    Ok(Files {
        files,
        format: format.clone(),
    })
}

/// The files of an S3 Inventory. Their columns are named in the manifest.
pub(crate) async fn inventory(object: Object) -> Result<Files, Error> {
    check_size(&object)?;
    let bytes = object.range(0..object.bytes).await?;
    let wrong =
        |why: &str| Error::malformed(format!("The S3 Inventory manifest cannot be read: {why}"));
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not encoded in UTF-8"))?;
    let manifest = Value::parse(text).map_err(|error| wrong(&error.message))?;
    let member = |name: &str| manifest.get(name).and_then(Value::as_str);
    let format = member("fileFormat").ok_or_else(|| wrong("it has no fileFormat"))?;
    if format != "CSV" {
        return Err(wrong(&format!(
            "its files are {format}, and only CSV can be read"
        )));
    }
    let schema = member("fileSchema").ok_or_else(|| wrong("it has no fileSchema"))?;
    let bucket = member("destinationBucket").ok_or_else(|| wrong("it has no destinationBucket"))?;
    let bucket: Arc<str> = bucket.rsplit(':').next().unwrap_or(bucket).into();
    let files = manifest.get("files").and_then(Value::as_array);
    let files = files.ok_or_else(|| wrong("it has no files"))?;
    let files = files.iter().map(|file| {
        let key = file.get("key").and_then(Value::as_str);
        Ok((
            bucket.clone(),
            key.ok_or_else(|| wrong("a file has no key"))?.into(),
        ))
    });
    let names: Vec<Arc<str>> = schema.split(',').map(|name| name.trim().into()).collect();
    Ok(Files {
        files: files.collect::<Result<_, Error>>()?,
        format: Format::Csv {
            header: CsvHeader::Given(names.into()),
            delimiter: b',',
        },
    })
}

fn check_size(object: &Object) -> Result<(), Error> {
    if object.bytes > MANIFEST_BYTES_MAX {
        return Err(Error::malformed(format!(
            "The manifest has more than {MANIFEST_BYTES_MAX} bytes."
        )));
    }
    Ok(())
}

/// Opens a file that a manifest names.
pub(crate) async fn open(
    storage: &Storage,
    (bucket, key): &(Arc<str>, Arc<str>),
    tag: Option<&str>,
) -> Result<Object, Error> {
    let of = |error: Error| error.at(bucket, key);
    let opened = Object::open(&storage.bucket(bucket).map_err(of)?, key, None, tag).await;
    opened.map_err(of)
}
