//! Tenants and their access keys: records of the installation. Hides how they are kept and that secrets are sealed.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stepwell_interp::Timestamp;

use crate::{
    engine::Engine,
    error::{Code, Error},
    functions,
    journal::{CatalogKey, CatalogRecord, Journal},
    limits::{NAME_CHARS_MAX, ROWS_MAX},
    node::{self, os_seed},
    quotas::{Quotas, Taken},
    reader, record,
    reseal::Sealing,
    vault::{Sealed, Vault},
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
    /// All tenants, by account.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        let mut tenants = Vec::new();
        for stored in self.all_records(TENANT).await? {
            let record = record::decode::<TenantRecord>(&stored.bytes);
            let Some(record) = self.unless_damaged(&stored.key, record)? else {
                continue;
            };
            tenants.push(Tenant {
                account: stored.key.name,
                name: record.name,
                created_at: Timestamp(record.created_ms),
            });
        }
        Ok(tenants)
    }

    /// Makes an account a tenant.
    pub async fn add_tenant(&self, account: &str, name: &str) -> Result<(), Error> {
        check_account_digits(account)?;
        check_text("name", name)?;
        let record = TenantRecord {
            name: name.into(),
            created_ms: node::now().0,
        };
        let added = self
            .put(
                &key(TENANT, account),
                Some(0),
                Some(record::encode(&record)),
            )
            .await?;
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

    /// A tenant's quotas, and how much of them it has taken.
    pub async fn quotas(&self, account: &str) -> Result<(Quotas, Taken), Error> {
        self.tenant(account).await?;
        let stored = self.record(&key(QUOTAS, account)).await?;
        let quotas = stored.map(|stored| record::decode(&stored.bytes));
        let taken = self.node().allowances.taken(&account.into());
        Ok((quotas.transpose()?.unwrap_or_default(), taken))
    }

    /// Gives a tenant other quotas; they count from now on.
    pub async fn set_quotas(&self, account: &str, quotas: Quotas) -> Result<(), Error> {
        self.tenant(account).await?;
        quotas.check()?;
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

    /// Access keys of a tenant, or of all.
    pub async fn access_keys(&self, account: Option<&str>) -> Result<Vec<AccessKey>, Error> {
        let found: Vec<(Arc<str>, KeyRecord)> = self.all(ACCESS_KEY).await?;
        let keys = found.iter().map(|(id, record)| record.key(id));
        Ok(keys
            .filter(|key| account.is_none_or(|account| *key.account == *account))
            .collect())
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

    /// An access key with its secret; `None` when there is none of that id.
    ///
    /// # Errors
    /// [`Error::Broken`] when the vault does not open its secret.
    pub async fn credentials(&self, vault: &Vault, id: &str) -> Result<Option<Credentials>, Error> {
        let Some(found) = self.record(&key(ACCESS_KEY, id)).await? else {
            return Ok(None);
        };
        let record: KeyRecord = record::decode(&found.bytes)?;
        let secret = open(vault, id, &record)?;
        Ok(Some(Credentials {
            key: record.key(id),
            secret,
        }))
    }

    /// Disables an access key, or enables it again.
    pub async fn disable_access_key(&self, id: &str, disabled: bool) -> Result<AccessKey, Error> {
        let (found, record) = self.key_record(id).await?;
        let record = KeyRecord { disabled, ..record };
        self.replace(&found, Some(&record)).await?;
        Ok(record.key(id))
    }

    /// Forgets an access key.
    pub async fn remove_access_key(&self, id: &str) -> Result<AccessKey, Error> {
        let (found, record) = self.key_record(id).await?;
        self.replace(&found, None).await?;
        Ok(record.key(id))
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
                return Ok(Sealing::Left(format!(
                    "access key {id} cannot be read: {why}"
                )));
            }
            Err(error) => return Err(error),
        };
        if vault.is_newest(&record.secret) {
            return Ok(Sealing::Already);
        }
        let secret = match open(vault, id, &record) {
            Ok(secret) => secret,
            Err(why) => return Ok(Sealing::Left(why.to_string())),
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

    async fn key_record(&self, id: &str) -> Result<(CatalogRecord, KeyRecord), Error> {
        let found = self.record(&key(ACCESS_KEY, id)).await?;
        let found = found.ok_or_else(|| {
            Error::rejected(
                Code::ResourceNotFound,
                format!("there is no access key {id}"),
            )
        })?;
        let record = record::decode(&found.bytes)?;
        Ok((found, record))
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

    /// All records of a kind of the installation; none of them may be damaged.
    async fn all<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<(Arc<str>, T)>, Error> {
        let found = self.all_records(kind).await?;
        let decoded = found
            .into_iter()
            .map(|stored| Ok((stored.key.name, record::decode(&stored.bytes)?)));
        decoded.collect()
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

/// The quotas of all tenants that have some.
pub(crate) async fn all_quotas(journal: &dyn Journal) -> Result<Vec<(Arc<str>, Quotas)>, Error> {
    let mut all = Vec::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = journal
            .scan("", QUOTAS, "", after.as_deref(), ROWS_MAX)
            .await;
        let page = page.map_err(reader::broken)?;
        for found in &page {
            let tenant = &found.key.name;
            match record::decode(&found.bytes) {
                Ok(quotas) => all.push((tenant.clone(), quotas)),
                // The others are served as before.
                Err(error) => tracing::error!(
                    %error,
                    tenant = &**tenant,
                    "the quotas of a tenant cannot be read; it has none until they are set again"
                ),
            }
        }
        after = page.last().map(|found| found.key.name.clone());
        if page.len() < ROWS_MAX as usize {
            return Ok(all);
        }
    }
}

fn open(vault: &Vault, id: &str, record: &KeyRecord) -> Result<String, Error> {
    let opened = vault.open(&record.place(id), &record.secret);
    opened.map_err(|why| Error::Broken(format!("the secret of access key {id}: {why}")))
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
