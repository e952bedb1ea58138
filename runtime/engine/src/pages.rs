//! Pages of lists: sizes, and tokens that say where the next page starts. Hides what a token is made of: a position,
//! the time it was given out, and a keyed hash over both and the list they belong to. The key is the store's.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::OnceCell;

use crate::{
    api::{Caller, Page, PageRequest},
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogKey, RESTORE},
    limits::{PAGE_DEFAULT, PAGE_MAX, PAGE_TOKEN_LIFE_MS},
    node,
};

/// Bytes of the hash in a token: half of SHA-256's, which nobody guesses.
const TAG_BYTES: usize = 16;
/// Bytes of the store's key: a seed of the system's.
const KEY_BYTES: usize = 32;

/// Items that a page shall hold.
pub(crate) fn size(request: &PageRequest) -> u32 {
    match request.max_results {
        0 => PAGE_DEFAULT,
        wanted => wanted.min(PAGE_MAX),
    }
}

/// The store's key for tokens, once it was needed: lists of one page need none.
#[derive(Default)]
pub(crate) struct PageKey(OnceCell<Hmac<Sha256>>);

/// One list as one caller asks for it: which call, of what, by which filter. A token works for it alone.
pub(crate) struct List<'a> {
    engine: &'a Engine,
    /// The parts, each after its length, so that no two lists read alike.
    parts: Vec<u8>,
}

impl Engine {
    /// The list that `parts` name, for the caller's account and region.
    pub(crate) fn list(&self, caller: &Caller, parts: &[&str]) -> List<'_> {
        let mut bytes = Vec::new();
        for part in [&*caller.tenant, &*caller.region].iter().chain(parts) {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        List {
            engine: self,
            parts: bytes,
        }
    }

    /// Read from the store, or made there by whoever needs it first.
    async fn page_hash(&self) -> Result<Hmac<Sha256>, Error> {
        let made = self.page_key().0.get_or_try_init(async || {
            let record = CatalogKey {
                tenant: Arc::from(""),
                kind: Arc::from("key"),
                name: Arc::from("page-tokens"),
            };
            if self.record(&record).await?.is_none() {
                let fresh: Arc<[u8]> = node::os_seed().into();
                // Another node may have been faster; its key is read below.
                let _ = self.put(&record, Some(0), Some(fresh)).await?;
            }
            let stored = self.record(&record).await?;
            let key =
                stored.ok_or_else(|| Error::Broken("the key of page tokens is gone".into()))?;
            // It has no seal of its own, and what stands for bytes that cannot be read is known to everybody.
            if key.bytes.len() != KEY_BYTES {
                let text = format!("the key of page tokens is damaged; {RESTORE}");
                return Err(Error::Damaged(text));
            }
            Hmac::new_from_slice(&key.bytes).map_err(|error| Error::Broken(error.to_string()))
        });
        made.await.cloned()
    }
}

impl List<'_> {
    /// The position of the request's token, if it has one. A token that this store did not give out for this list, or
    /// not within the last day, is refused.
    pub(crate) async fn position(&self, request: &PageRequest) -> Result<Option<String>, Error> {
        let Some(token) = &request.next_token else {
            return Ok(None);
        };
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let (tag, place) = bytes.split_at_checked(TAG_BYTES).ok_or_else(invalid)?;
        let hash = self.hash(place).await?;
        hash.verify_truncated_left(tag).map_err(|_| invalid())?;
        let place = std::str::from_utf8(place).map_err(|_| invalid())?;
        let (given_at, position) = place.split_once('.').ok_or_else(invalid)?;
        let given_at: u64 = given_at.parse().map_err(|_| invalid())?;
        if node::now().0.saturating_sub(given_at) > PAGE_TOKEN_LIFE_MS {
            return Err(invalid());
        }
        Ok(Some(position.to_owned()))
    }

    /// The position of the request's token as a number.
    pub(crate) async fn number(&self, request: &PageRequest) -> Result<Option<u64>, Error> {
        let position = self.position(request).await?;
        position
            .map(|position| position.parse().map_err(|_| invalid()))
            .transpose()
    }

    /// The token of a position.
    pub(crate) async fn token(&self, position: &str) -> Result<String, Error> {
        self.token_given_at(node::now().0, position).await
    }

    async fn token_given_at(&self, given_at_ms: u64, position: &str) -> Result<String, Error> {
        let place = format!("{given_at_ms}.{position}");
        let tag = self.hash(place.as_bytes()).await?.finalize().into_bytes();
        let bytes = [&tag[..TAG_BYTES], place.as_bytes()].concat();
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Cuts what was read with one item more than the page holds, and names the next page by its last item.
    pub(crate) async fn cut<T>(
        &self,
        mut items: Vec<T>,
        size: u32,
        position: impl Fn(&T) -> String,
    ) -> Result<Page<T>, Error> {
        let more = items.len() > size as usize;
        items.truncate(size as usize);
        let last = items.last().filter(|_| more).map(position);
        let next_token = match last {
            Some(position) => Some(self.token(&position).await?),
            None => None,
        };
        Ok(Page { items, next_token })
    }

    async fn hash(&self, place: &[u8]) -> Result<Hmac<Sha256>, Error> {
        let mut hash = self.engine.page_hash().await?;
        hash.update(&(self.parts.len() as u64).to_be_bytes());
        hash.update(&self.parts);
        hash.update(place);
        Ok(hash)
    }
}

/// The same page of other items.
pub(crate) fn try_map<A, B>(
    page: Page<A>,
    change: impl FnMut(A) -> Result<B, Error>,
) -> Result<Page<B>, Error> {
    let items = page
        .items
        .into_iter()
        .map(change)
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        next_token: page.next_token,
    })
}

fn invalid() -> Error {
    Error::rejected(Code::InvalidToken, "Invalid Token: 'Invalid token'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Options, Store},
        runner::Hangs,
    };

    fn engine(store: Store) -> Engine {
        let options = Options {
            shards: 1,
            ..Options::of(store)
        };
        Engine::open(options, Arc::new(Hangs)).expect("the store opens")
    }

    fn caller(tenant: &str, region: &str) -> Caller {
        Caller {
            tenant: tenant.into(),
            region: region.into(),
        }
    }

    fn with(token: &str) -> PageRequest {
        PageRequest {
            max_results: 0,
            next_token: Some(token.to_owned()),
        }
    }

    #[tokio::test]
    async fn a_token_works_for_its_own_list_alone() {
        let engine = engine(Store::Memory);
        let ours = caller("000000000000", "us-east-1");
        let list = engine.list(&ours, &["executions", "m", "FAILED"]);
        let token = list.token("17.a/ö").await.expect("a token");
        assert_eq!(
            list.position(&with(&token)).await,
            Ok(Some("17.a/ö".to_owned()))
        );
        assert_eq!(list.position(&PageRequest::default()).await, Ok(None));
        let others = [
            engine.list(&ours, &["executions", "m", ""]),
            engine.list(&ours, &["executions", "n", "FAILED"]),
            engine.list(&ours, &["executions", "mFAILED", ""]),
            engine.list(&ours, &["executions", "m"]),
            engine.list(&ours, &["history", "m", "FAILED"]),
            engine.list(
                &caller("000000000001", "us-east-1"),
                &["executions", "m", "FAILED"],
            ),
            engine.list(
                &caller("000000000000", "eu-west-1"),
                &["executions", "m", "FAILED"],
            ),
        ];
        for other in &others {
            assert_eq!(other.position(&with(&token)).await, Err(invalid()));
        }
        let other_store = self::engine(Store::Memory);
        let same = other_store.list(&ours, &["executions", "m", "FAILED"]);
        assert_eq!(same.position(&with(&token)).await, Err(invalid()));
    }

    #[tokio::test]
    async fn what_was_not_given_out_or_is_a_day_old_is_refused() {
        let engine = engine(Store::Memory);
        let list = engine.list(&caller("000000000000", "us-east-1"), &["machines"]);
        let token = list.token("5").await.expect("a token");
        let bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64");
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let changed = with(&URL_SAFE_NO_PAD.encode(changed));
            assert_eq!(list.position(&changed).await, Err(invalid()), "{index}");
        }
        let long = format!("{token}AAAA");
        for token in ["", "no-token", "MS41", &token[..8], &long, "%"] {
            assert_eq!(list.position(&with(token)).await, Err(invalid()), "{token}");
        }
        let now = node::now().0;
        let young = list.token_given_at(now - PAGE_TOKEN_LIFE_MS / 2, "5").await;
        assert_eq!(
            list.number(&with(&young.expect("a token"))).await,
            Ok(Some(5))
        );
        let old = list.token_given_at(now - PAGE_TOKEN_LIFE_MS - 1, "5").await;
        let old = with(&old.expect("a token"));
        assert_eq!(list.position(&old).await, Err(invalid()));
    }

    #[tokio::test]
    async fn the_key_outlives_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = caller("000000000000", "us-east-1");
        let first = engine(Store::Directory(folder.path().to_owned()));
        let token = first.list(&ours, &["machines"]).token("a").await;
        first.shutdown().await;
        drop(first);
        let second = engine(Store::Directory(folder.path().to_owned()));
        let list = second.list(&ours, &["machines"]);
        assert_eq!(
            list.position(&with(&token.expect("a token"))).await,
            Ok(Some("a".to_owned()))
        );
    }

    /// A key that was stored before records were sealed for their names is random bytes alone, which may begin as sealed ones do.
    #[tokio::test]
    async fn a_key_of_an_earlier_store_counts_whatever_it_begins_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = caller("000000000000", "us-east-1");
        let open = || engine(Store::Directory(folder.path().to_owned()));
        let first = open();
        first
            .list(&ours, &["machines"])
            .token("a")
            .await
            .expect("a token");
        first.shutdown().await;
        drop(first);
        for begin in [0x00_u8, 0xc5, 0xc6] {
            let mut key = [7; KEY_BYTES];
            key[0] = begin;
            let path = folder.path().join("journal.sqlite");
            let conn = rusqlite::Connection::open(path).expect("opens");
            let sql = "UPDATE records SET bytes = ?1 WHERE kind = 'key' AND name = 'page-tokens'";
            assert_eq!(conn.execute(sql, [key]), Ok(1));
            drop(conn);
            let engine = open();
            let list = engine.list(&ours, &["machines"]);
            let token = list.token("a").await.expect("a token");
            let position = list.position(&with(&token)).await;
            assert_eq!(position, Ok(Some("a".to_owned())), "{begin:x}");
            engine.shutdown().await;
        }
    }
}
