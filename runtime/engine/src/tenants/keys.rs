//! Access keys of tenants, and the roles that they give. Hides how they are kept and that their secrets are sealed.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;

use super::{TENANT, TenantRecord, check_text, invalid, key};
use crate::{
    engine::Engine,
    error::{Code, Error},
    journal::CatalogRecord,
    node::{self, os_seed},
    record,
    reseal::Sealing,
    vault::{Closed, Sealed, Vault},
};

/// The kind of their records.
pub(crate) const ACCESS_KEY: &str = "access-key";
/// What ids of our access keys begin with, as AWS's long-lived ones do.
const ID_PREFIX: &str = "AKIA";
/// Characters of an access key's id, and bytes of its secret (40 characters of base64, as on AWS).
const ID_CHARS: usize = 20;
const SECRET_BYTES: usize = 30;
/// The digits that ids are made of: base32's.
const ID_DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// What is said of an access key that has no name any more.
const UNNAMED_KEY: &str = "an access key is damaged so far that its id is not known";

/// What the holder of an access key may do; each may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Describe and list.
    Read,
    /// Start and stop executions, and work on their tasks.
    Run,
    /// Create, change and delete.
    Admin,
    /// See the installation as a whole.
    Operator,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Role; 4] = [Role::Read, Role::Run, Role::Admin, Role::Operator];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Run => "run",
            Role::Admin => "admin",
            Role::Operator => "operator",
        }
    }
}

/// An access key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    pub id: Arc<str>,
    pub account: Arc<str>,
    pub role: Role,
    /// Who has it; shown in lists.
    pub description: Arc<str>,
    pub created_at: Timestamp,
    /// Is refused like one that is not known.
    pub disabled: bool,
}

/// An access key in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    pub id: Arc<str>,
    /// `None` when its record is damaged: nobody knows whose it was, and nobody is let in by it.
    pub key: Option<AccessKey>,
    /// Why nobody is let in by it, disabled or not; for the operator.
    pub closed: Option<ClosedKey>,
}

/// Why nobody is let in by an access key, and how that is mended; for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {mend}")]
pub struct ClosedKey {
    pub why: String,
    pub mend: String,
}

impl ClosedKey {
    /// The record is damaged.
    fn unread(stored: &CatalogRecord) -> ClosedKey {
        let id = &stored.key.name;
        match stored.is_unnamed() {
            true => ClosedKey {
                why: UNNAMED_KEY.to_owned(),
                mend: "restore the store from a backup: no command can name it".to_owned(),
            },
            false => ClosedKey {
                why: "its record is damaged".to_owned(),
                mend: format!("`stepwell tenant keys remove {id}` takes it away"),
            },
        }
    }

    /// The record of its tenant is.
    fn of_tenant(account: &str) -> ClosedKey {
        ClosedKey {
            why: format!("the record of its tenant {account} is damaged"),
            mend: format!("`stepwell tenant add {account}` mends it"),
        }
    }

    /// The keys of the key file do not open it.
    fn sealed(id: &str, why: &Closed) -> ClosedKey {
        ClosedKey {
            why: why.to_string(),
            mend: format!(
                "name the key file that opens it with --key-file, or take it away: `stepwell tenant keys remove {id}`"
            ),
        }
    }
}

/// An access key with its secret.
#[derive(Clone)]
pub struct Credentials {
    pub key: AccessKey,
    pub secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Stored form, codec v1: an access key; its id is the record's name.
#[derive(Clone, Serialize, Deserialize)]
struct KeyRecord {
    account: Arc<str>,
    role: Role,
    #[serde(default)]
    description: Arc<str>,
    secret: Sealed,
    #[serde(deserialize_with = "record::date_ms")]
    created_ms: u64,
    #[serde(default)]
    disabled: bool,
}

impl KeyRecord {
    fn key(&self, id: &str) -> AccessKey {
        AccessKey {
            id: id.into(),
            account: self.account.clone(),
            role: self.role,
            description: self.description.clone(),
            created_at: Timestamp(self.created_ms),
            disabled: self.disabled,
        }
    }

    /// What the secret is sealed for: a record that is changed to say another account or role does not open.
    fn place(&self, id: &str) -> String {
        format!("{ACCESS_KEY}/{id}/{}/{}", self.account, self.role.name())
    }
}

impl Engine {
    /// Access keys of a tenant, or of all, without those whose records are damaged.
    pub async fn access_keys(&self, account: Option<&str>) -> Result<Vec<AccessKey>, Error> {
        let listed = self.listed_access_keys(None, account).await?.into_iter();
        Ok(listed.filter_map(|listed| listed.key).collect())
    }

    /// Access keys of a tenant; or of all, the damaged ones too. It is told of each whether it lets anybody in; whether it opens,
    /// with the keys of a key file alone.
    pub async fn listed_access_keys(
        &self,
        vault: Option<&Vault>,
        account: Option<&str>,
    ) -> Result<Vec<ListedKey>, Error> {
        let tenants = self.listed_tenants().await?.into_iter();
        let damaged = tenants.filter(|listed| listed.tenant.is_none());
        let damaged: BTreeSet<Arc<str>> = damaged.map(|listed| listed.account).collect();
        let mut listed = Vec::new();
        for stored in self.all_records(ACCESS_KEY).await? {
            let id = &stored.key.name;
            let read = record::decode::<KeyRecord>(&stored.bytes);
            let record = self.unless_key_damaged(&stored.key, read)?;
            let is_theirs = |record: &KeyRecord| account.is_none_or(|own| *record.account == *own);
            if !record.as_ref().map_or(account.is_none(), is_theirs) {
                continue;
            }
            let closed = match (&record, vault) {
                (None, _) => Some(ClosedKey::unread(&stored)),
                (Some(record), _) if damaged.contains(&record.account) => {
                    Some(ClosedKey::of_tenant(&record.account))
                }
                (Some(record), Some(vault)) => {
                    let closed = open(vault, id, record).err();
                    closed.map(|why| ClosedKey::sealed(id, &why))
                }
                (Some(_), None) => None,
            };
            listed.push(ListedKey {
                key: record.map(|record| record.key(id)),
                closed,
                id: id.clone(),
            });
        }
        Ok(listed)
    }

    /// Makes an access key of a tenant. Its secret is told now and never again but to who verifies requests.
    pub async fn add_access_key(
        &self,
        vault: &Vault,
        account: &str,
        role: Role,
        description: &str,
    ) -> Result<Credentials, Error> {
        self.tenant(account).await?;
        check_text("description", description)?;
        let (id, secret) = (fresh_id(ID_PREFIX), fresh_secret());
        let mut record = KeyRecord {
            account: account.into(),
            role,
            description: description.into(),
            secret: vault.seal("", ""),
            created_ms: node::now().0,
            disabled: false,
        };
        record.secret = vault.seal(&record.place(&id), &secret);
        let added = self
            .put(
                &key(ACCESS_KEY, &id),
                Some(0),
                Some(record::encode(&record)),
            )
            .await?;
        added.map_err(|()| Error::Busy("the id that was drawn is taken; try again".to_owned()))?;
        Ok(Credentials {
            key: record.key(&id),
            secret,
        })
    }

    /// An access key with its secret; `None` when there is none of that id, or none that lets anybody in: its record or its
    /// tenant's is damaged, or the vault does not open it. The log says which.
    pub async fn credentials(&self, vault: &Vault, id: &str) -> Result<Option<Credentials>, Error> {
        let Some(found) = self.record(&key(ACCESS_KEY, id)).await? else {
            return Ok(None);
        };
        let record = record::decode::<KeyRecord>(&found.bytes);
        let Some(record) = self.unless_key_damaged(&found.key, record)? else {
            return Ok(None);
        };
        if let Some(tenant) = self.record(&key(TENANT, &record.account)).await? {
            let read = record::decode::<TenantRecord>(&tenant.bytes);
            if self.unless_damaged(&tenant.key, read)?.is_none() {
                return Ok(None);
            }
        }
        let secret = match open(vault, id, &record) {
            Ok(secret) => secret,
            Err(why) => {
                self.note_closed_key(&found.key, &why);
                return Ok(None);
            }
        };
        Ok(Some(Credentials {
            key: record.key(id),
            secret,
        }))
    }

    /// Disables an access key, or enables it again.
    pub async fn disable_access_key(&self, id: &str, disabled: bool) -> Result<AccessKey, Error> {
        let found = self.key_record(id).await?;
        let record = record::decode::<KeyRecord>(&found.bytes);
        let record = self.unless_key_damaged(&found.key, record)?.ok_or_else(|| {
            invalid(format!(
                "the record of access key {id} is damaged, so it is refused anyway: remove it, and make another one"
            ))
        })?;
        let record = KeyRecord { disabled, ..record };
        self.replace(&found, Some(&record)).await?;
        Ok(record.key(id))
    }

    /// Forgets an access key, damaged or not; answers what it was, if that can be read.
    pub async fn remove_access_key(&self, id: &str) -> Result<Option<AccessKey>, Error> {
        let found = self.key_record(id).await?;
        self.replace(&found, None).await?;
        let record = record::decode::<KeyRecord>(&found.bytes);
        Ok(record.ok().map(|record| record.key(id)))
    }

    /// The records of all access keys.
    pub(crate) async fn access_key_records(&self) -> Result<Vec<CatalogRecord>, Error> {
        self.all_records(ACCESS_KEY).await
    }

    /// Seals the secret of one anew by the vault's newest key, if it opens.
    pub(crate) async fn reseal_access_key(
        &self,
        vault: &Vault,
        stored: &CatalogRecord,
    ) -> Result<Sealing, Error> {
        let id = &stored.key.name;
        let mut record: KeyRecord = match record::decode(&stored.bytes) {
            Ok(record) => record,
            Err(Error::Damaged(why)) => {
                return Ok(Sealing::Left(match stored.is_unnamed() {
                    true => format!("{UNNAMED_KEY}: restore the store from a backup"),
                    false => format!("access key {id} cannot be read: {why}"),
                }));
            }
            Err(error) => return Err(error),
        };
        if vault.is_newest(&record.secret) {
            return Ok(Sealing::Already);
        }
        let secret = match open(vault, id, &record) {
            Ok(secret) => secret,
            Err(why) => {
                let text = format!("access key {id} cannot be opened: {why}");
                return Ok(Sealing::closed(&why, text));
            }
        };
        record.secret = vault.seal(&record.place(id), &secret);
        let bytes = record::encode(&record);
        let written = self.put(&stored.key, Some(stored.revision), Some(bytes));
        Ok(match written.await? {
            Ok(_) => Sealing::Anew,
            Err(()) => Sealing::Left(format!("access key {id} was changed meanwhile")),
        })
    }

    async fn key_record(&self, id: &str) -> Result<CatalogRecord, Error> {
        let found = self.record(&key(ACCESS_KEY, id)).await?;
        found.ok_or_else(|| {
            Error::rejected(
                Code::ResourceNotFound,
                format!("there is no access key {id}"),
            )
        })
    }

    /// Writes or deletes a record as it was seen.
    async fn replace(
        &self,
        found: &CatalogRecord,
        record: Option<&KeyRecord>,
    ) -> Result<(), Error> {
        let bytes = record.map(record::encode);
        let written = self.put(&found.key, Some(found.revision), bytes).await?;
        written.map(drop).map_err(|()| {
            Error::rejected(
                Code::ConflictException,
                format!("{} was changed meanwhile; try again", found.key.name),
            )
        })
    }
}

/// The secret of an access key, or why it does not open.
fn open(vault: &Vault, id: &str, record: &KeyRecord) -> Result<String, Closed> {
    vault.open(&record.place(id), &record.secret)
}

/// An id that nobody has: a prefix and random digits.
pub(crate) fn fresh_id(prefix: &str) -> String {
    let seed = os_seed();
    let digits = seed
        .iter()
        .map(|byte| char::from(ID_DIGITS[usize::from(byte % 32)]));
    prefix.chars().chain(digits).take(ID_CHARS).collect()
}

pub(crate) fn fresh_secret() -> String {
    STANDARD_NO_PAD.encode(&os_seed()[..SECRET_BYTES])
}
