//! Tenants and their access keys: records of the installation. Hides how they are kept and that secrets are sealed.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;

use crate::{
    damaged::ToldRecords,
    engine::Engine,
    error::{Code, Error},
    functions,
    journal::{CatalogKey, CatalogRecord, Journal},
    limits::{NAME_CHARS_MAX, ROWS_MAX},
    node::{self, os_seed},
    quotas::{Quotas, Taken},
    reader, record,
    reseal::Sealing,
    vault::{Closed, Sealed, Vault},
};

/// Kinds of records, which belong to the installation.
const TENANT: &str = "tenant";
pub(crate) const ACCESS_KEY: &str = "access-key";
const QUOTAS: &str = "quotas";
/// What a tenant may have that its removal would leave behind.
const BELONGINGS: [&str; 3] = ["state-machine", "activity", functions::KIND];
/// What ids of our access keys begin with, as AWS's long-lived ones do.
const ID_PREFIX: &str = "AKIA";
/// Characters of an access key's id, and bytes of its secret (40 characters of base64, as on AWS).
const ID_CHARS: usize = 20;
const SECRET_BYTES: usize = 30;
/// The digits that ids are made of: base32's.
const ID_DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ACCOUNT_DIGITS: usize = 12;
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

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// 12 digits.
    pub account: Arc<str>,
    pub name: Arc<str>,
    pub created_at: Timestamp,
}

/// A tenant in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTenant {
    /// 12 digits.
    pub account: Arc<str>,
    /// `None` when its record is damaged: its access keys are refused until it is added again.
    pub tenant: Option<Tenant>,
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

/// Stored form, codec v1: an account; its number is the record's name.
#[derive(Serialize, Deserialize)]
struct TenantRecord {
    name: Arc<str>,
    #[serde(deserialize_with = "record::date_ms")]
    created_ms: u64,
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
    /// All tenants, by account, without those whose records are damaged.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        let listed = self.listed_tenants().await?.into_iter();
        Ok(listed.filter_map(|listed| listed.tenant).collect())
    }

    /// All tenants, by account, the damaged ones too.
    pub async fn listed_tenants(&self) -> Result<Vec<ListedTenant>, Error> {
        let mut listed = Vec::new();
        for stored in self.all_records(TENANT).await? {
            let record = record::decode::<TenantRecord>(&stored.bytes);
            let record = self.unless_damaged(&stored.key, record)?;
            let account = stored.key.name;
            listed.push(ListedTenant {
                tenant: record.map(|record| Tenant {
                    account: account.clone(),
                    name: record.name,
                    created_at: Timestamp(record.created_ms),
                }),
                account,
            });
        }
        Ok(listed)
    }

    /// Makes an account a tenant, and takes the place of a record that is damaged.
    pub async fn add_tenant(&self, account: &str, name: &str) -> Result<(), Error> {
        check_account_digits(account)?;
        check_text("name", name)?;
        let record = TenantRecord {
            name: name.into(),
            created_ms: node::now().0,
        };
        let key = key(TENANT, account);
        let before = self.record(&key).await?;
        let damaged = before.filter(|before| {
            let read = record::decode::<TenantRecord>(&before.bytes);
            matches!(read, Err(Error::Damaged(_)))
        });
        let expected = damaged.map_or(0, |damaged| damaged.revision);
        let bytes = record::encode(&record);
        let added = self.put(&key, Some(expected), Some(bytes)).await?;
        added.map(drop).map_err(|()| {
            Error::rejected(
                Code::ConflictException,
                format!("there is a tenant {account} already"),
            )
        })
    }

    /// Forgets a tenant that has neither keys nor state machines, activities or functions.
    pub async fn remove_tenant(&self, account: &str) -> Result<(), Error> {
        self.tenant(account).await?;
        if !self.access_keys(Some(account)).await?.is_empty() {
            return Err(invalid(format!(
                "tenant {account} has access keys; remove them first"
            )));
        }
        for kind in BELONGINGS {
            let found = self.node().journal.scan(account, kind, "", None, 1).await;
            if !found.map_err(reader::broken)?.is_empty() {
                return Err(invalid(format!(
                    "tenant {account} has state machines, activities or functions; delete them first"
                )));
            }
        }
        self.remove_triggers(account).await?;
        self.remove_sealed(account).await?;
        self.forget_ceiling(account).await?;
        let _ = self.put(&key(QUOTAS, account), None, None).await?;
        let _ = self.put(&key(TENANT, account), None, None).await?;
        // Whoever looked whether there is such a tenant before that may have put some since.
        self.remove_sealed(account).await?;
        self.node().set_quotas(&account.into(), Quotas::default());
        Ok(())
    }

    /// A tenant's quotas as they count, and how much of them it has taken.
    pub async fn quotas(&self, account: &str) -> Result<(Quotas, Taken), Error> {
        self.tenant(account).await?;
        let stored = self.record(&key(QUOTAS, account)).await?;
        let told = &self.node().damaged_records;
        let quotas = stored.as_ref().map(|stored| quotas_of(stored, told));
        let quotas = quotas.unwrap_or_default();
        let taken = self.node().allowances.taken(&account.into());
        Ok((quotas, taken))
    }

    /// Gives a tenant other quotas; they count from now on.
    pub async fn set_quotas(&self, account: &str, quotas: Quotas) -> Result<(), Error> {
        self.tenant(account).await?;
        quotas.check()?;
        let quotas = Quotas {
            damaged: false,
            ..quotas
        };
        let bytes = record::encode(&quotas);
        let _ = self.put(&key(QUOTAS, account), None, Some(bytes)).await?;
        let (account, node): (Arc<str>, _) = (account.into(), self.node());
        let before = node.allowances.machine_concurrency(&account);
        node.set_quotas(&account, quotas);
        match before == node.allowances.machine_concurrency(&account) {
            true => Ok(()),
            false => self.usual_limits_changed(&account).await,
        }
    }

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

    /// Whether an account was added.
    pub(crate) async fn is_tenant(&self, account: &str) -> Result<bool, Error> {
        Ok(self.record(&key(TENANT, account)).await?.is_some())
    }

    pub(crate) async fn tenant(&self, account: &str) -> Result<CatalogRecord, Error> {
        let found = self.record(&key(TENANT, account)).await?;
        found.ok_or_else(|| missing(account))
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

    async fn all_records(&self, kind: &str) -> Result<Vec<CatalogRecord>, Error> {
        records(self.node().journal.as_ref(), kind).await
    }
}

/// That nobody added an account, or that none can have this name.
pub(crate) fn missing(account: &str) -> Error {
    let text = format!("there is no tenant {account}; `stepwell tenant add {account}` makes one");
    match check_account_digits(account) {
        Ok(()) => Error::rejected(Code::ResourceNotFound, text),
        Err(no_account) => no_account,
    }
}

fn check_account_digits(account: &str) -> Result<(), Error> {
    if account.len() == ACCOUNT_DIGITS && account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(invalid(format!(
        "`{account}` is no account: an account has {ACCOUNT_DIGITS} digits"
    )))
}

/// The numbers of all tenants.
pub(crate) async fn accounts(journal: &dyn Journal) -> Result<Vec<Arc<str>>, Error> {
    let found = records(journal, TENANT).await?;
    Ok(found.into_iter().map(|stored| stored.key.name).collect())
}

/// All records of a kind of the installation.
async fn records(journal: &dyn Journal, kind: &str) -> Result<Vec<CatalogRecord>, Error> {
    let mut all = Vec::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = journal.scan("", kind, "", after.as_deref(), ROWS_MAX).await;
        let page = page.map_err(reader::broken)?;
        let last = page.len() < ROWS_MAX as usize;
        after = page.last().map(|found| found.key.name.clone());
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// The quotas of all tenants that have some. Whose those are that have no name is not known, which is told as the store is opened.
pub(crate) async fn all_quotas(
    journal: &dyn Journal,
    told: &ToldRecords,
) -> Result<Vec<(Arc<str>, Quotas)>, Error> {
    let mut all = Vec::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = journal
            .scan("", QUOTAS, "", after.as_deref(), ROWS_MAX)
            .await;
        let page = page.map_err(reader::broken)?;
        let named = page.iter().filter(|found| !found.is_unnamed());
        all.extend(named.map(|found| (found.key.name.clone(), quotas_of(found, told))));
        after = page.last().map(|found| found.key.name.clone());
        if page.len() < ROWS_MAX as usize {
            return Ok(all);
        }
    }
}

/// The quotas of a record. With a damaged one nothing more is begun or kept: others are served as before.
fn quotas_of(stored: &CatalogRecord, told: &ToldRecords) -> Quotas {
    record::decode(&stored.bytes).unwrap_or_else(|error| {
        told.tell(
            &stored.key,
            &error,
            "the quotas of a tenant cannot be read; it starts and keeps nothing more until they are set again: `stepwell tenant set`",
        );
        Quotas::closed()
    })
}

/// The secret of an access key, or why it does not open.
fn open(vault: &Vault, id: &str, record: &KeyRecord) -> Result<String, Closed> {
    vault.open(&record.place(id), &record.secret)
}

fn key(kind: &str, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: "".into(),
        kind: kind.into(),
        name: name.into(),
    }
}

fn invalid(text: String) -> Error {
    Error::rejected(Code::ValidationException, text)
}

fn check_text(what: &str, text: &str) -> Result<(), Error> {
    if text.chars().count() <= NAME_CHARS_MAX && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(invalid(format!(
        "a {what} has at most {NAME_CHARS_MAX} characters and no control characters"
    )))
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
