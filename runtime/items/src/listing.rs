//! The objects of a bucket whose keys begin so, in the order of their keys. Hides that a folder has no order and S3
//! pages of its own.

use std::collections::BinaryHeap;

use futures_util::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, list::PaginatedListOptions, path::Path};
use stepwell_query::{ObjectBuilder, Value};

use crate::{error::Error, limits::LISTED_MAX, storage::Bucket};

/// The next objects after a key, at most [`LISTED_MAX`] of them; none when there are no more.
pub(crate) async fn after(
    bucket: &Bucket,
    prefix: &str,
    after: Option<&str>,
) -> Result<Vec<ObjectMeta>, Error> {
    match &bucket.pages {
        Some(pages) => {
            let options = PaginatedListOptions {
                offset: after.map(str::to_owned),
                ..PaginatedListOptions::default()
            };
            let prefix = (!prefix.is_empty()).then_some(prefix);
            let page = pages.list_paginated(prefix, options).await;
            Ok(page
                .map_err(|error| Error::of_storage(&error))?
                .result
                .objects)
        }
        None => in_order(&*bucket.store, prefix, after).await,
    }
}

/// Walks all keys below the folder of the prefix and keeps the first few that come after.
async fn in_order(
    store: &dyn ObjectStore,
    prefix: &str,
    after: Option<&str>,
) -> Result<Vec<ObjectMeta>, Error> {
    let folder = prefix
        .rsplit_once('/')
        .map(|(folder, _)| Path::from(folder));
    let mut listed = store.list(folder.as_ref());
    let mut first: BinaryHeap<ByKey> = BinaryHeap::new();
    while let Some(meta) = listed
        .try_next()
        .await
        .map_err(|error| Error::of_storage(&error))?
    {
        let key = meta.location.as_ref();
        if !key.starts_with(prefix) || after.is_some_and(|after| key <= after) {
            continue;
        }
        first.push(ByKey(meta));
        if first.len() > LISTED_MAX {
            first.pop();
        }
    }
    Ok(first
        .into_sorted_vec()
        .into_iter()
        .map(|meta| meta.0)
        .collect())
}

struct ByKey(ObjectMeta);

impl PartialEq for ByKey {
    fn eq(&self, other: &ByKey) -> bool {
        self.0.location == other.0.location
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &ByKey) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &ByKey) -> std::cmp::Ordering {
        self.0.location.as_ref().cmp(other.0.location.as_ref())
    }
}

/// An object of a list as an item. The library does not tell the storage class.
pub(crate) fn item(meta: &ObjectMeta) -> Value {
    let tag = meta.e_tag.as_deref().unwrap_or_default();
    let tag = if tag.starts_with('"') {
        tag.to_owned()
    } else {
        format!("\"{tag}\"")
    };
    let mut item = ObjectBuilder::with_capacity(5);
    item.insert("Etag", tag);
    item.insert("Key", meta.location.as_ref());
    item.insert("LastModified", meta.last_modified.timestamp());
    item.insert("Size", meta.size);
    item.insert("StorageClass", "STANDARD");
    item.into()
}
