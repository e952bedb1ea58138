//! Whose code is in the store: a record for each code, and one for each account that holds it. Hides how both, the bytes
//! themselves and what the account has stored change in one write.
//!
//! An account holds code from its upload on, until the collection finds that none of its functions has it. It pays for it
//! once, however many of its functions have it. The bytes go with the last hold.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    dispatch::hex,
    error::{Code, Error},
    executions::refusal,
    journal::{
        CatalogKey, CatalogRecord, CatalogWrite, Charges, CodeWrite, Journal, Refused, Write,
    },
    limits::{CHANGE_ATTEMPTS_MAX, ROWS_MAX},
    node::{Node, now},
    programs::from_hex,
    reader, record as stored,
};

/// Kinds of the records, which belong to the installation: a code by its hash, a hold by `ACCOUNT/HASH`, what an account
/// no longer pays for by the account, and that all code has its holds.
const CODE: &str = "code";
const HOLD: &str = "code-hold";
const FREED: &str = "code-freed";
const ADOPTED: &str = "code-adopted";

/// Where this version looks for code that is in use: the records of functions. One that keeps code elsewhere too has a higher
/// number, so that this one, beside it on the same store, does not take that for unused.
const PLACES: u32 = 1;

/// SHA-256 of a `.wasm`.
pub(super) type CodeHash = [u8; 32];

/// Stored form, codec v1: bytes that are kept for those who hold them.
#[derive(Serialize, Deserialize)]
struct CodeRecord {
    holders: u64,
}

/// Stored form, codec v1: an account's hold on code.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct HoldRecord {
    /// What the account pays for.
    pub(super) bytes: u64,
    /// Since when none of its functions is known to have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) idle_ms: Option<u64>,
}

/// Stored form, codec v1: bytes that an account had stored and has not any more.
#[derive(Default, Serialize, Deserialize)]
struct FreedRecord {
    bytes: u64,
}

/// Stored form, codec v1: that all code has its holds, as it was looked for.
#[derive(Serialize, Deserialize)]
struct AdoptedRecord {
    at_ms: u64,
    /// [`PLACES`] of who looked; of the first ones it was not noted.
    #[serde(default)]
    places: u32,
}

/// A hold as it was read.
pub(super) struct Hold {
    pub(super) tenant: Arc<str>,
    pub(super) hash: CodeHash,
    pub(super) record: HoldRecord,
    revision: u64,
}

/// Whether the bytes of a hold that ended went too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was the last one.
    WithBytes,
    /// Others hold the code.
    Alone,
}

impl Node {
    /// Keeps code and the account's hold on it. `charges` are those of whoever holds it for the first time; answers whether
    /// they were made.
    pub(super) async fn hold_code(
        &self,
        tenant: &str,
        hash: CodeHash,
        wasm: &Arc<[u8]>,
        charges: Charges,
    ) -> Result<bool, Error> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let held = self.hold(tenant, hash).await?;
            let is_new = held.is_none();
            let mut records = vec![write(
                hold_key(tenant, hash),
                held.map_or(0, |hold| hold.revision),
                Some(&HoldRecord {
                    bytes: wasm.len() as u64,
                    idle_ms: None,
                }),
            )];
            if is_new {
                records.push(self.counted(hash, 1).await?);
            }
            let code = CodeWrite {
                records,
                keep: Some((hash, wasm.clone())),
                remove: None,
                charges: if is_new { charges.clone() } else { Vec::new() },
            };
            match self.write(Write::Code(code)).await? {
                Ok(_) => return Ok(is_new),
                Err(Refused::Conflict { .. }) => {}
                Err(refused) => return Err(refusal(refused)),
            }
        }
        Err(busy())
    }

    /// Lets an account hold code that is in the store from before there were holds. It pays nothing anew.
    pub(super) async fn adopt_code(&self, tenant: &str, hash: CodeHash) -> Result<(), Error> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            if self.hold(tenant, hash).await?.is_some() {
                return Ok(());
            }
            let wasm = self.journal.blob(hash).await.map_err(reader::broken)?;
            // A function whose code is gone says so when it is called.
            let Some(wasm) = wasm else { return Ok(()) };
            let hold = HoldRecord {
                bytes: wasm.len() as u64,
                idle_ms: None,
            };
            let records = vec![
                write(hold_key(tenant, hash), 0, Some(&hold)),
                self.counted(hash, 1).await?,
            ];
            match self.write(Write::Catalog(records)).await? {
                Ok(_) => return Ok(()),
                Err(Refused::Conflict { .. }) => {}
                Err(refused) => return Err(refusal(refused)),
            }
        }
        Err(busy())
    }

    /// Notes since when a hold is idle, or that it is not; false when it changed since it was read.
    pub(super) async fn note_idle(&self, hold: &Hold, idle_ms: Option<u64>) -> Result<bool, Error> {
        let record = HoldRecord {
            idle_ms,
            ..hold.record.clone()
        };
        let key = hold_key(&hold.tenant, hold.hash);
        let records = vec![write(key, hold.revision, Some(&record))];
        Ok(self.write(Write::Catalog(records)).await?.is_ok())
    }

    /// Ends a hold as it was read, and with the last one the bytes; `None` when it changed since.
    pub(super) async fn end_hold(&self, hold: &Hold) -> Result<Option<Ended>, Error> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let key = hold_key(&hold.tenant, hold.hash);
            let counted = self.counted(hold.hash, -1).await?;
            let ended = match counted.bytes {
                Some(_) => Ended::Alone,
                None => Ended::WithBytes,
            };
            let freed = self.freed(&hold.tenant, hold.record.bytes).await?;
            let code = CodeWrite {
                records: vec![
                    write::<HoldRecord>(key, hold.revision, None),
                    counted,
                    freed,
                ],
                keep: None,
                remove: (ended == Ended::WithBytes).then_some(hold.hash),
                charges: Vec::new(),
            };
            match self.write(Write::Code(code)).await? {
                Ok(_) => {
                    self.allowances.freed(&hold.tenant, hold.record.bytes);
                    return Ok(Some(ended));
                }
                Err(Refused::Conflict { record: 0, .. }) => return Ok(None),
                Err(Refused::Conflict { .. }) => {}
                Err(refused) => return Err(refusal(refused)),
            }
        }
        Err(busy())
    }

    /// A page of all holds, by account and hash.
    pub(super) async fn holds(
        &self,
        tenant: &str,
        after: Option<CodeHash>,
        limit: u32,
    ) -> Result<Vec<Hold>, Error> {
        let after = after.map(|hash| hold_name(tenant, hash));
        let prefix = format!("{tenant}/");
        let page = self
            .journal
            .scan("", HOLD, &prefix, after.as_deref(), limit)
            .await;
        let page = page.map_err(reader::broken)?;
        page.iter().map(Hold::read).collect()
    }

    /// The first account behind another one that holds any code.
    pub(super) async fn next_holder(&self, after: Option<&str>) -> Result<Option<Arc<str>>, Error> {
        // What follows on all that begins with `ACCOUNT/`.
        let after = after.map(|tenant| format!("{tenant}0"));
        let page = self.journal.scan("", HOLD, "", after.as_deref(), 1).await;
        let page = page.map_err(reader::broken)?;
        // By its name alone: a damaged one is that account's concern.
        let first = page.first().map(|found| &found.key.name);
        Ok(first.map(|name| name.split('/').next().unwrap_or(name).into()))
    }

    /// Whether all code of functions is known to be held.
    ///
    /// # Errors
    /// A version that keeps code where this one does not look has used the store: whatever is unused is for that to say.
    pub(super) async fn is_adopted(&self) -> Result<bool, Error> {
        Ok(self.adopted().await?.0)
    }

    /// The same, and the revision of the record that says so, 0 where there is none.
    async fn adopted(&self) -> Result<(bool, u64), Error> {
        let found = self.journal.get(&key(ADOPTED, "all")).await;
        let Some(found) = found.map_err(reader::broken)? else {
            return Ok((false, 0));
        };
        let noted: AdoptedRecord = stored::decode(&found.bytes)?;
        if noted.places > PLACES {
            let text = "a newer version of the server uses this store and keeps code where this one does not look, so this one removes none: have that one collect it";
            return Err(Error::rejected(Code::ConflictException, text));
        }
        Ok((noted.places == PLACES, found.revision))
    }

    /// Notes it, and nothing over what a newer version noted meanwhile.
    ///
    /// # Errors
    /// As [`Node::is_adopted`].
    pub(super) async fn note_adopted(&self) -> Result<(), Error> {
        let (_, revision) = self.adopted().await?;
        let noted = AdoptedRecord {
            at_ms: now().0,
            places: PLACES,
        };
        let noted = CatalogWrite {
            key: key(ADOPTED, "all"),
            expected: Some(revision),
            bytes: Some(stored::encode(&noted)),
        };
        match self.write(Write::Catalog(vec![noted])).await? {
            Ok(_) => Ok(()),
            // Another server was first.
            Err(Refused::Conflict { .. }) => self.adopted().await.map(drop),
            Err(refused) => Err(refusal(refused)),
        }
    }

    async fn hold(&self, tenant: &str, hash: CodeHash) -> Result<Option<Hold>, Error> {
        let found = self.journal.get(&hold_key(tenant, hash)).await;
        let found = found.map_err(reader::broken)?;
        found.as_ref().map(Hold::read).transpose()
    }

    /// The write that counts one holder more or less; that of the last one deletes the record.
    async fn counted(&self, hash: CodeHash, change: i64) -> Result<CatalogWrite, Error> {
        let key = key(CODE, &hex(&hash));
        let found = self.journal.get(&key).await.map_err(reader::broken)?;
        let now = found
            .as_ref()
            .map(|found| stored::decode::<CodeRecord>(&found.bytes))
            .transpose()?;
        let holders = now
            .map_or(0, |now| now.holders)
            .saturating_add_signed(change);
        let record = (holders > 0).then_some(CodeRecord { holders });
        let revision = found.map_or(0, |found| found.revision);
        Ok(write(key, revision, record.as_ref()))
    }

    /// The write that adds to what an account has stored no more.
    async fn freed(&self, tenant: &str, bytes: u64) -> Result<CatalogWrite, Error> {
        let key = key(FREED, tenant);
        let found = self.journal.get(&key).await.map_err(reader::broken)?;
        let mut record = found
            .as_ref()
            .map(|found| stored::decode::<FreedRecord>(&found.bytes))
            .transpose()?
            .unwrap_or_default();
        record.bytes = record.bytes.saturating_add(bytes);
        let revision = found.map_or(0, |found| found.revision);
        Ok(write(key, revision, Some(&record)))
    }
}

impl Hold {
    fn read(found: &CatalogRecord) -> Result<Hold, Error> {
        let named = found.key.name.split_once('/');
        let named = named.and_then(|(tenant, hash)| Some((tenant, from_hex(hash)?)));
        let (tenant, hash) = named.ok_or_else(|| {
            Error::Damaged(format!(
                "a stored hold on code names none: `{}`",
                found.key.name
            ))
        })?;
        Ok(Hold {
            tenant: tenant.into(),
            hash,
            record: stored::decode(&found.bytes)?,
            revision: found.revision,
        })
    }
}

/// What each account has stored no more, over all its time.
pub(crate) async fn all_freed(journal: &dyn Journal) -> Result<Vec<(Arc<str>, u64)>, Error> {
    let (mut all, mut after) = (Vec::new(), None::<Arc<str>>);
    loop {
        let page = journal
            .scan("", FREED, "", after.as_deref(), ROWS_MAX)
            .await;
        let page = page.map_err(reader::broken)?;
        for found in &page {
            let tenant = &found.key.name;
            match stored::decode::<FreedRecord>(&found.bytes) {
                Ok(record) => all.push((tenant.clone(), record.bytes)),
                // It counts as if nothing had gone, and the others are served as before.
                Err(error) => tracing::error!(
                    %error,
                    tenant = &**tenant,
                    "how much code of a tenant was removed cannot be read; it counts as stored"
                ),
            }
        }
        after = page.last().map(|found| found.key.name.clone());
        if page.len() < ROWS_MAX as usize {
            return Ok(all);
        }
    }
}

/// A record as it shall be, from the revision that was read; `None` deletes it.
fn write<T: Serialize>(key: CatalogKey, revision: u64, record: Option<&T>) -> CatalogWrite {
    CatalogWrite {
        key,
        expected: Some(revision),
        bytes: record.map(stored::encode),
    }
}

fn hold_name(tenant: &str, hash: CodeHash) -> String {
    format!("{tenant}/{}", hex(&hash))
}

fn hold_key(tenant: &str, hash: CodeHash) -> CatalogKey {
    key(HOLD, &hold_name(tenant, hash))
}

fn key(kind: &str, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: "".into(),
        kind: kind.into(),
        name: name.into(),
    }
}

fn busy() -> Error {
    Error::Busy("others are uploading or removing the same code; try again".to_owned())
}
