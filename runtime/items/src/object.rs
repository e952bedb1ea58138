//! One object, pinned to the version that was opened.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use object_store::{GetOptions, GetRange, ObjectStore, path::Path};

use crate::{error::Error, storage::Bucket, storage::check_key};

/// See the module.
#[derive(Clone)]
pub(crate) struct Object {
    bucket: Arc<str>,
    key: Arc<str>,
    store: Arc<dyn ObjectStore>,
    path: Path,
    version: Option<String>,
    /// Entity tag of what was opened.
    pub(crate) tag: Option<String>,
    pub(crate) bytes: u64,
}

impl Object {
    /// Opens an object; with `tag`, only in that version.
    pub(crate) async fn open(
        bucket: &Bucket,
        key: &str,
        version: Option<&str>,
        tag: Option<&str>,
    ) -> Result<Object, Error> {
        let path = key_path(key)?;
        let options = GetOptions {
            head: true,
            version: version.map(str::to_owned),
            ..GetOptions::default()
        };
        let got = bucket.store.get_opts(&path, options).await;
        let meta = got
            .map_err(|error| Error::of_object(error, &bucket.name, key))?
            .meta;
        if tag.is_some() && meta.e_tag.as_deref() != tag {
            return Err(Error::Changed {
                bucket: bucket.name.to_string(),
                key: key.to_owned(),
            });
        }
        Ok(Object {
            bucket: bucket.name.clone(),
            key: key.into(),
            store: bucket.store.clone(),
            path,
            version: version.map(str::to_owned),
            tag: meta.e_tag,
            bytes: meta.size,
        })
    }

    /// Bytes of the opened version; fewer at its end.
    pub(crate) async fn range(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let range = range.start..range.end.min(self.bytes);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let options = GetOptions {
            if_match: self.tag.clone(),
            range: Some(GetRange::Bounded(range)),
            version: self.version.clone(),
            ..GetOptions::default()
        };
        let failed = |error| Error::of_object(error, &self.bucket, &self.key);
        let got = self.store.get_opts(&self.path, options).await;
        got.map_err(failed)?.bytes().await.map_err(failed)
    }

    /// `S3://bucket/key`, as the context object has it.
    pub(crate) fn address(&self) -> Arc<str> {
        format!("S3://{}/{}", self.bucket, self.key).into()
    }
}

/// A key as a path; keys with empty segments or `..` are none.
pub(crate) fn key_path(key: &str) -> Result<Path, Error> {
    check_key(key)?;
    Path::parse(key).map_err(|error| Error::InvalidKey {
        key: key.to_owned(),
        why: error.to_string(),
    })
}
