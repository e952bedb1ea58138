//! Where buckets are. What it hides: `object_store`, how a bucket's name becomes a place, and whose it is.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use object_store::{
    Attribute, GetOptions, ObjectStore, ObjectStoreExt, PutPayload, list::PaginatedListStore,
    local::LocalFileSystem, memory::InMemory,
};
use stepwell_query::Value;

#[cfg(feature = "s3")]
use crate::s3::{Endpoint, S3};
use crate::{error::Error, limits::KEY_BYTES_MAX, listing, object::key_path};

/// The object storage of an installation. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    kind: Arc<Kind>,
    /// The account whose buckets are seen.
    account: Arc<str>,
}

enum Kind {
    /// A folder a bucket: those of `own` lie in the root, those of another account in a folder of its id.
    Folder { root: PathBuf, own: Arc<str> },
    /// One endpoint with one set of credentials, for one account.
    #[cfg(feature = "s3")]
    S3(Box<Endpoint>),
    /// Nothing outlives the process; a bucket is made by the first object put into it.
    Memory(Mutex<BTreeMap<String, Arc<InMemory>>>),
}

/// An object that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub bytes: Vec<u8>,
    /// Seconds since the Unix epoch.
    pub modified_s: i64,
    /// As the storage has it; folders have none.
    pub tag: Option<String>,
    pub content_type: Option<String>,
}

/// A bucket of one account.
pub(crate) struct Bucket {
    pub(crate) name: Arc<str>,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Of S3: lists by any prefix, in order.
    pub(crate) pages: Option<Arc<dyn PaginatedListStore>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            Kind::Folder { root, .. } => write!(f, "folders below {}", root.display()),
            #[cfg(feature = "s3")]
            Kind::S3(endpoint) => write!(f, "S3 at {}", endpoint.place()),
            Kind::Memory(_) => write!(f, "memory"),
        }
    }
}

impl Storage {
    /// Buckets as folders below `root`: those of the account `own` directly, those of another in a folder of its id.
    pub fn folder(root: impl Into<PathBuf>, own: impl Into<Arc<str>>) -> Storage {
        let own = own.into();
        let (root, account) = (root.into(), own.clone());
        Storage::of(Kind::Folder { root, own }, account)
    }

    /// The buckets that an endpoint's credentials open. They are those of the account `own`; no other sees them.
    #[cfg(feature = "s3")]
    pub fn s3(settings: S3, own: impl Into<Arc<str>>) -> Storage {
        let own = own.into();
        let endpoint = Endpoint::new(settings, own.clone());
        Storage::of(Kind::S3(Box::new(endpoint)), own)
    }

    /// Buckets that nothing outlives.
    pub fn memory() -> Storage {
        Storage::of(Kind::Memory(Mutex::default()), "".into())
    }

    fn of(kind: Kind, account: Arc<str>) -> Storage {
        Storage {
            kind: Arc::new(kind),
            account,
        }
    }

    /// The storage as an account sees it.
    pub fn for_account(&self, account: &Arc<str>) -> Storage {
        Storage {
            kind: self.kind.clone(),
            account: account.clone(),
        }
    }

    /// Puts a whole object, in the place of what is there; its tag, where the storage itself gives it one. There must be
    /// such a bucket, but in memory.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: Vec<u8>,
    ) -> Result<Option<String>, Error> {
        let path = key_path(key)?;
        let store = match &*self.kind {
            Kind::Memory(buckets) => memory_bucket(buckets, &self.memory_name(bucket)),
            Kind::Folder { .. } => self.bucket(bucket)?.store,
            #[cfg(feature = "s3")]
            Kind::S3(_) => self.bucket(bucket)?.store,
        };
        let payload = PutPayload::from_bytes(Bytes::from(bytes));
        let put = store.put(&path, payload).await;
        put.map(|put| put.e_tag.filter(|_| self.has_tags()))
            .map_err(|error| Error::of_object(error, bucket, key))
    }

    /// A whole object with what is known of it; none when it has more than `bytes_max` bytes.
    pub async fn fetch(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        bytes_max: u64,
    ) -> Result<Option<Fetched>, Error> {
        let path = key_path(key)?;
        let store = self.bucket(bucket)?.store;
        let failed = |error| Error::of_object(error, bucket, key);
        let options = GetOptions {
            version: version.map(str::to_owned),
            ..GetOptions::default()
        };
        let got = store.get_opts(&path, options).await.map_err(failed)?;
        if got.meta.size > bytes_max {
            return Ok(None);
        }
        let (modified_s, tag) = (got.meta.last_modified.timestamp(), got.meta.e_tag.clone());
        let content_type = got.attributes.get(&Attribute::ContentType);
        let content_type = content_type.map(|value| value.as_ref().to_owned());
        Ok(Some(Fetched {
            modified_s,
            tag: tag.filter(|_| self.has_tags()),
            content_type,
            bytes: got.bytes().await.map_err(failed)?.into(),
        }))
    }

    /// The next objects of a bucket after a key, in the order of their keys; none when there are no more.
    pub async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Vec<Value>, Error> {
        let bucket = self.bucket(bucket)?;
        let listed = listing::after(&bucket, prefix, after).await?;
        Ok(listed.iter().map(listing::item).collect())
    }

    /// Whether the storage itself gives objects their tags.
    fn has_tags(&self) -> bool {
        match &*self.kind {
            #[cfg(feature = "s3")]
            Kind::S3(_) => true,
            Kind::Folder { .. } | Kind::Memory(_) => false,
        }
    }

    /// A whole object.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Vec<u8>, Error> {
        let path = key_path(key)?;
        let store = self.bucket(bucket)?.store;
        let failed = |error| Error::of_object(error, bucket, key);
        let got = store.get(&path).await.map_err(failed)?;
        Ok(got.bytes().await.map_err(failed)?.into())
    }

    /// The bucket of a name, if there is one; S3 is only asked when it is used.
    pub(crate) fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        check_name(name)?;
        let (store, pages): (Arc<dyn ObjectStore>, Option<Arc<dyn PaginatedListStore>>) =
            match &*self.kind {
                Kind::Folder { root, own } => {
                    let mut folder = root.clone();
                    if self.account != *own {
                        folder.push(&*self.account);
                    }
                    folder.push(name);
                    if !folder.is_dir() {
                        return Err(Error::NoSuchBucket);
                    }
                    let store = LocalFileSystem::new_with_prefix(folder);
                    (
                        Arc::new(store.map_err(|error| Error::of_storage(&error))?),
                        None,
                    )
                }
                #[cfg(feature = "s3")]
                Kind::S3(endpoint) => {
                    let store = endpoint.bucket(name, &self.account)?;
                    (store.clone(), Some(store))
                }
                Kind::Memory(buckets) => {
                    let buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
                    let store = buckets.get(&self.memory_name(name)).cloned();
                    (store.ok_or(Error::NoSuchBucket)?, None)
                }
            };
        Ok(Bucket {
            name: name.into(),
            store,
            pages,
        })
    }

    fn memory_name(&self, bucket: &str) -> String {
        format!("{}/{bucket}", self.account)
    }
}

fn memory_bucket(
    buckets: &Mutex<BTreeMap<String, Arc<InMemory>>>,
    name: &str,
) -> Arc<dyn ObjectStore> {
    let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
    buckets.entry(name.to_owned()).or_default().clone()
}

/// Names as S3 allows them, so that none is a path. One of twelve digits is an account's folder.
fn check_name(name: &str) -> Result<(), Error> {
    let long = (3..=63).contains(&name.len());
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    let edges = [name.chars().next(), name.chars().next_back()];
    let edged = edges
        .into_iter()
        .flatten()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let account = name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_digit());
    if long && edged && !account && name.chars().all(allowed) && !name.contains("..") {
        return Ok(());
    }
    // Buckets of S3's first years have such names. There is none here.
    let once_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !account && (3..=255).contains(&name.len()) && name.chars().all(once_allowed) {
        return Err(Error::NoSuchBucket);
    }
    Err(Error::InvalidBucket)
}

/// Refuses keys that S3 would.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Error::InvalidKey {
            key: key.to_owned(),
            why: format!("a key has 1 to {KEY_BYTES_MAX} bytes"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Storage, check_name};
    use crate::Error;

    #[test]
    fn names_are_no_paths_and_no_accounts() {
        for name in ["data", "a-b.c", "0abc"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "ab", "..", "a/b", "../a", "111111111111"] {
            assert_eq!(check_name(name), Err(Error::InvalidBucket), "{name}");
        }
        for name in ["A-b", "a_b", "a..b", "...", "-ab"] {
            assert_eq!(check_name(name), Err(Error::NoSuchBucket), "{name}");
        }
    }

    #[tokio::test]
    async fn accounts_do_not_see_each_others_buckets() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("data")).unwrap();
        let storage = Storage::folder(root.path(), "000000000000");
        storage.put("data", "a.txt", b"x".to_vec()).await.unwrap();
        assert_eq!(storage.get("data", "a.txt").await.unwrap(), b"x");
        let other = storage.for_account(&"111111111111".into());
        assert_eq!(other.get("data", "a.txt").await, Err(Error::NoSuchBucket));
        assert_eq!(storage.get("none", "a").await, Err(Error::NoSuchBucket));
        assert_eq!(storage.get("data", "b").await, Err(Error::NoSuchKey));
    }
}
