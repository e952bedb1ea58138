//! What tenants keep sealed: secrets of tasks and connections, records whose content opens under the operator's key file
//! alone. Hides where they lie, what they are sealed for, and how many there may be.
//!
//! They are records of the installation, named `ACCOUNT/NAME`, so that all of them are found when they are sealed anew.
//! Nothing of them is kept in memory once it is opened: each use reads the store, so a change counts from then on, and on
//! every node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;

use crate::{
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogKey, CatalogRecord, CatalogWrite, Journal, Write},
    limits::{
        CHANGE_ATTEMPTS_MAX, SEALED_BYTES_MAX, SEALED_MAX, SEALED_MAX_RAISED,
        SEALED_NAME_CHARS_MAX, SEALED_READ_MAX,
    },
    node, reader, record,
    reseal::Sealing,
    tenants::{self, ACCESS_KEY},
    vault::{Closed, Sealed, Vault},
};

/// The account that is there without having been added.
pub(crate) const DEFAULT_ACCOUNT: &str = "000000000000";

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealedKind {
    Secret,
    Connection,
}

impl SealedKind {
    pub(crate) const ALL: [SealedKind; 2] = [SealedKind::Secret, SealedKind::Connection];

    /// Kind of the records, and what one is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            SealedKind::Secret => "secret",
            SealedKind::Connection => "connection",
        }
    }
}

/// Stored form, codec v1: a sealed content; account and name are the record's name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedRecord {
    content: Sealed,
    /// Tells it from others that had its name.
    pub(crate) uid: String,
    #[serde(deserialize_with = "record::date_ms")]
    pub(crate) created_ms: u64,
    #[serde(deserialize_with = "record::date_ms")]
    pub(crate) changed_ms: u64,
}

/// What is told of one without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub name: Arc<str>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    /// The operator's own file has one of that name, which counts before this one.
    pub hidden: bool,
    /// Why it does not open, if so: it can be used no other way.
    pub closed: Option<WhyClosed>,
}

/// Why something that is kept does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyClosed {
    /// The key that sealed it is not there.
    NoKey,
    /// There is the key, and it is not as that sealed it.
    Changed,
    /// This version does not know its form.
    Form,
}

impl WhyClosed {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            WhyClosed::NoKey => "no-key",
            WhyClosed::Changed => "changed",
            WhyClosed::Form => "form",
        }
    }
}

/// What did not open: why, for programs and for people. The text shows nothing of it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct NotOpened {
    pub(crate) why: WhyClosed,
    text: String,
}

impl From<NotOpened> for Error {
    fn from(not_opened: NotOpened) -> Error {
        Error::Broken(not_opened.text)
    }
}

/// A page of what is kept, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPage<T> {
    pub items: Vec<T>,
    /// The name after which the next page begins, if there may be one.
    pub after: Option<Arc<str>>,
}

/// One of an account's, as it was read.
pub(crate) struct Found {
    pub(crate) name: Arc<str>,
    pub(crate) record: SealedRecord,
}

impl Found {
    fn of(stored: &CatalogRecord) -> Result<Found, Error> {
        let name = stored.key.name.split_once('/').map(|(_, name)| name);
        Ok(Found {
            name: name.unwrap_or(&stored.key.name).into(),
            record: record::decode(&stored.bytes)?,
        })
    }
}

/// What opens them: the store and the operator's keys.
pub(crate) struct SealedStore {
    journal: Arc<dyn Journal>,
    /// Without it nothing is sealed and nothing opens.
    vault: Option<Vault>,
    /// Why a store with something sealed is not served without it.
    no_vault: Option<String>,
}

impl SealedStore {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        vault: Option<Vault>,
        no_vault: Option<String>,
    ) -> Arc<SealedStore> {
        Arc::new(SealedStore {
            journal,
            vault,
            no_vault,
        })
    }

    /// Refuses a store with something sealed where the keys are missing and must not be.
    pub(crate) async fn check_keys(&self) -> Result<(), Error> {
        match &self.no_vault {
            Some(why) if self.vault.is_none() && self.has_any().await? => {
                Err(Error::Unusable(why.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether anything is sealed: something that is kept, or the secret of an access key.
    async fn has_any(&self) -> Result<bool, Error> {
        for kind in SealedKind::ALL
            .map(SealedKind::name)
            .into_iter()
            .chain([ACCESS_KEY])
        {
            let found = self.journal.scan("", kind, "", None, 1).await;
            if !found.map_err(reader::broken)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One as it is stored; `None` when there is none of that name.
    pub(crate) async fn find(
        &self,
        kind: SealedKind,
        account: &str,
        name: &str,
    ) -> Result<Option<SealedRecord>, Error> {
        let stored = self.journal.get(&key(kind, account, name)).await;
        let stored = stored.map_err(reader::broken)?;
        stored
            .map(|stored| record::decode(&stored.bytes))
            .transpose()
    }

    /// The content of a record.
    pub(crate) fn open(
        &self,
        kind: SealedKind,
        account: &str,
        name: &str,
        record: &SealedRecord,
    ) -> Result<String, NotOpened> {
        let noun = kind.name();
        let vault = self.vault.as_ref().ok_or_else(|| NotOpened {
            why: WhyClosed::NoKey,
            text: format!(
                "the {noun} `{name}` cannot be opened: the server was started without the key file that seals it; start it with --key-file"
            ),
        })?;
        let opened = open(vault, kind, account, name, record);
        opened.map_err(|why| NotOpened {
            text: not_opened(kind, account, name, &why),
            why: match why {
                Closed::NoKey(_) => WhyClosed::NoKey,
                Closed::Changed(_) => WhyClosed::Changed,
            },
        })
    }
}

impl Engine {
    /// Keeps a content under a name; `change` makes it of the one that was there, if that opens. Tells whether the name is
    /// new.
    pub(crate) async fn put_sealed(
        &self,
        kind: SealedKind,
        account: &str,
        name: &str,
        change: impl Fn(Option<Result<String, Error>>) -> Result<String, Error>,
    ) -> Result<bool, Error> {
        check_name(kind, name)?;
        self.check_account(account).await?;
        let vault = self.vault(kind)?;
        let key = key(kind, account, name);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let stored = self.record(&key).await?;
            let found = match stored.as_ref().map(Found::of) {
                Some(Ok(found)) => Some(found),
                // Whoever puts another one in its place mends it.
                Some(Err(Error::Damaged(_))) => None,
                Some(Err(error)) => return Err(error),
                None => {
                    self.check_room(kind, account).await?;
                    None
                }
            };
            let old = found.as_ref();
            let closed = |why| Error::Broken(not_opened(kind, account, name, &why));
            let old =
                old.map(|found| open(vault, kind, account, name, &found.record).map_err(closed));
            let content = change(old)?;
            if content.len() > SEALED_BYTES_MAX {
                return Err(invalid(format!(
                    "a {} has at most {SEALED_BYTES_MAX} bytes, and not {}",
                    kind.name(),
                    content.len()
                )));
            }
            let now = node::now().0;
            let record = SealedRecord {
                content: vault.seal(&place(kind, account, name), &content),
                uid: found.as_ref().map_or_else(
                    || uuid::Uuid::new_v4().hyphenated().to_string(),
                    |found| found.record.uid.clone(),
                ),
                created_ms: found.as_ref().map_or(now, |found| found.record.created_ms),
                changed_ms: now,
            };
            let revision = stored.as_ref().map_or(0, |stored| stored.revision);
            let bytes = record::encode(&record);
            if self.put(&key, Some(revision), Some(bytes)).await?.is_ok() {
                return Ok(found.is_none());
            }
        }
        Err(crossed(name))
    }

    /// What an account keeps, by name, from after a name on, without what is damaged.
    pub(crate) async fn list_sealed(
        &self,
        kind: SealedKind,
        account: &str,
        after: Option<&str>,
    ) -> Result<KeptPage<Found>, Error> {
        let after = after.map(|name| format!("{account}/{name}"));
        let page = self.scan_sealed(kind, account, after.as_deref()).await?;
        let last = page
            .last()
            .filter(|_| page.len() == SEALED_READ_MAX as usize);
        let after = last.and_then(|last| last.key.name.split_once('/'));
        let after = after.map(|(_, name)| name.into());
        let mut items = Vec::with_capacity(page.len());
        for stored in &page {
            items.extend(self.unless_damaged(&stored.key, Found::of(stored))?);
        }
        Ok(KeptPage { items, after })
    }

    /// Forgets one, damaged or not.
    pub(crate) async fn delete_sealed(
        &self,
        kind: SealedKind,
        account: &str,
        name: &str,
    ) -> Result<(), Error> {
        let key = key(kind, account, name);
        if self.record(&key).await?.is_none() {
            let text = format!("there is no {} `{name}` of account {account}", kind.name());
            return Err(Error::rejected(Code::ResourceNotFound, text));
        }
        let _ = self.put(&key, None, None).await?;
        Ok(())
    }

    /// Forgets all that an account keeps.
    pub(crate) async fn remove_sealed(&self, account: &str) -> Result<(), Error> {
        for kind in SealedKind::ALL {
            loop {
                let page = self.scan_sealed(kind, account, None).await?;
                if page.is_empty() {
                    break;
                }
                let removal = |record: CatalogRecord| CatalogWrite {
                    key: record.key,
                    expected: None,
                    bytes: None,
                };
                let writes = page.into_iter().map(removal).collect();
                self.write(Write::Catalog(writes)).await?;
            }
        }
        Ok(())
    }

    /// Whether anything is sealed that a lost key file would leave closed for ever.
    pub async fn has_sealed(&self) -> Result<bool, Error> {
        Ok(self.unnamed_records() > 0 || self.node().sealed.has_any().await?)
    }

    /// Seals one anew by the vault's newest key, if it opens.
    pub(crate) async fn reseal_kept(
        &self,
        vault: &Vault,
        kind: SealedKind,
        stored: &CatalogRecord,
    ) -> Result<Sealing, Error> {
        let account = stored.key.name.split('/').next().unwrap_or_default();
        let mut found = match Found::of(stored) {
            Ok(found) => found,
            Err(Error::Damaged(_)) if stored.is_unnamed() => {
                return Ok(Sealing::Left(format!(
                    "a {} is damaged so far that its name is not known: restore the store from a backup",
                    kind.name()
                )));
            }
            Err(Error::Damaged(why)) => {
                let name = stored.key.name.trim_start_matches(account);
                let (noun, name) = (kind.name(), name.trim_start_matches('/'));
                return Ok(Sealing::Left(format!(
                    "the {noun} `{name}` of account {account} cannot be read: {why}"
                )));
            }
            Err(error) => return Err(error),
        };
        if vault.is_newest(&found.record.content) {
            return Ok(Sealing::Already);
        }
        let content = match open(vault, kind, account, &found.name, &found.record) {
            Ok(content) => content,
            Err(why) => {
                let text = not_opened(kind, account, &found.name, &why);
                return Ok(Sealing::closed(&why, text));
            }
        };
        found.record.content = vault.seal(&place(kind, account, &found.name), &content);
        let bytes = record::encode(&found.record);
        let written = self.put(&stored.key, Some(stored.revision), Some(bytes));
        Ok(match written.await? {
            Ok(_) => Sealing::Anew,
            Err(()) => Sealing::Left(crossed(&found.name).to_string()),
        })
    }

    async fn scan_sealed(
        &self,
        kind: SealedKind,
        account: &str,
        after: Option<&str>,
    ) -> Result<Vec<CatalogRecord>, Error> {
        let prefix = format!("{account}/");
        let journal = &self.node().journal;
        let page = journal.scan("", kind.name(), &prefix, after, SEALED_READ_MAX);
        page.await.map_err(reader::broken)
    }

    async fn check_room(&self, kind: SealedKind, account: &str) -> Result<(), Error> {
        let most = match self.raised_limits(&account.into()) {
            true => SEALED_MAX_RAISED,
            false => SEALED_MAX,
        };
        let mut count = 0;
        let mut after: Option<Arc<str>> = None;
        loop {
            let page = self.list_sealed(kind, account, after.as_deref()).await?;
            count += page.items.len();
            if count >= most {
                let noun = kind.name();
                return Err(Error::rejected(
                    Code::ServiceQuotaExceededException,
                    format!(
                        "account {account} has {count} {noun}s, which is as many as there may be; delete some, or have the operator raise its limits"
                    ),
                ));
            }
            after = page.after;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The keys that seal, or how to come by them.
    fn vault(&self, kind: SealedKind) -> Result<&Vault, Error> {
        self.node().sealed.vault.as_ref().ok_or_else(|| {
            invalid(format!(
                "there is no key file that a {} could be sealed by, so none is kept: `stepwell tenant key-file` makes one (DIR.key beside the data directory, or where --key-file says); then start the server anew, which finds it there, or by --key-file",
                kind.name()
            ))
        })
    }
}

fn open(
    vault: &Vault,
    kind: SealedKind,
    account: &str,
    name: &str,
    record: &SealedRecord,
) -> Result<String, Closed> {
    vault.open(&place(kind, account, name), &record.content)
}

/// What is said of one that does not open.
fn not_opened(kind: SealedKind, account: &str, name: &str, why: &Closed) -> String {
    let noun = kind.name();
    format!("the {noun} `{name}` of account {account} cannot be opened: {why}")
}

/// What a content is sealed for: it opens for no other account, under no other name and as nothing else.
fn place(kind: SealedKind, account: &str, name: &str) -> String {
    format!("{}/{account}/{name}", kind.name())
}

fn key(kind: SealedKind, account: &str, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: "".into(),
        kind: kind.name().into(),
        name: format!("{account}/{name}").into(),
    }
}

/// Names as placeholders and ARNs can have them.
fn check_name(kind: SealedKind, name: &str) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if (1..=SEALED_NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(invalid(format!(
        "`{name}` is no name of a {}: it has 1 to {SEALED_NAME_CHARS_MAX} letters, digits, `.`, `-` and `_`",
        kind.name()
    )))
}

pub(crate) fn crossed(name: &str) -> Error {
    let text = format!("`{name}` is being changed by another request: try again");
    Error::rejected(Code::ConflictException, text)
}

pub(crate) fn invalid(text: String) -> Error {
    Error::rejected(Code::ValidationException, text)
}

impl Engine {
    /// Refuses an account that nobody added; the default one is there anyway.
    pub async fn check_account(&self, account: &str) -> Result<(), Error> {
        if account == DEFAULT_ACCOUNT || self.is_tenant(account).await? {
            return Ok(());
        }
        Err(tenants::missing(account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connections::{AllowForm, ConnectionForm, KeptConnection},
        engine::{Extras, Options, Store},
        runner::Hangs,
    };

    const NAMES: [&str; 2] = ["changed", "whole"];

    fn connection() -> KeptConnection {
        KeptConnection {
            form: ConnectionForm {
                allow: vec![AllowForm::Origin("https://api.example".to_owned())],
                api_key: None,
                basic: None,
                oauth: None,
                headers: Default::default(),
                query: Default::default(),
                body: Default::default(),
            },
            description: String::new(),
            private: false,
            shown: Default::default(),
        }
    }

    /// Changes a character of what is sealed, behind its nonce, so that it can be read and does not open.
    async fn change(engine: &Engine, kind: SealedKind) {
        let key = key(kind, DEFAULT_ACCOUNT, NAMES[0]);
        let stored = engine.record(&key).await.unwrap().unwrap();
        let mut record: SealedRecord = record::decode(&stored.bytes).unwrap();
        let other = match &record.content.text[20..21] {
            "A" => "B",
            _ => "A",
        };
        record.content.text.replace_range(20..21, other);
        let bytes = record::encode(&record);
        let put = engine.put(&key, Some(stored.revision), Some(bytes));
        assert!(put.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn what_was_changed_in_the_store_is_listed_as_closed_beside_the_others() {
        let options = Options {
            shards: 1,
            ..Options::of(Store::Memory)
        };
        let extras = Extras {
            vault: Some(Vault::fresh()),
            ..Extras::default()
        };
        let engine = Engine::open_with(options, extras, Arc::new(Hangs)).unwrap();
        for name in NAMES {
            let put = engine.put_secret(DEFAULT_ACCOUNT, name, "a value");
            put.await.unwrap();
            let put = engine.put_connection(DEFAULT_ACCOUNT, name, |_| Ok(connection()));
            put.await.unwrap();
        }
        for kind in SealedKind::ALL {
            change(&engine, kind).await;
        }
        // There is the key that sealed it: that it has another one would be wrong to say.
        let expected = [(NAMES[0], Some(WhyClosed::Changed)), (NAMES[1], None)];
        let secrets = engine.secrets(DEFAULT_ACCOUNT, None).await.unwrap().items;
        let listed = secrets.iter().map(|kept| (&*kept.name, kept.closed));
        assert_eq!(listed.collect::<Vec<_>>(), expected);
        let connections = engine.connections(DEFAULT_ACCOUNT, None).await.unwrap();
        let listed = connections.items.iter();
        let listed = listed.map(|one| (&*one.kept.name, one.kept.closed));
        assert_eq!(listed.collect::<Vec<_>>(), expected);
        let one = engine.connection(DEFAULT_ACCOUNT, NAMES[0]).await.unwrap();
        assert!(one.is_some_and(|one| one.connection.is_none()));
        engine.shutdown().await;
    }
}
