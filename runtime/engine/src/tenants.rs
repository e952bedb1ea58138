//! Tenants and their quotas: records of the installation. Hides how they are kept; their access keys are `keys`.

mod keys;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;

use crate::{
    damaged::ToldRecords,
    engine::Engine,
    error::{Code, Error},
    functions,
    journal::{CatalogKey, CatalogRecord, Journal},
    limits::{NAME_CHARS_MAX, ROWS_MAX},
    node,
    quotas::{Quotas, Taken},
    reader, record,
};
pub(crate) use keys::{ACCESS_KEY, fresh_id, fresh_secret};
pub use keys::{AccessKey, ClosedKey, Credentials, ListedKey, Role};

/// Kinds of records, which belong to the installation.
const TENANT: &str = "tenant";
const QUOTAS: &str = "quotas";
/// What a tenant may have that its removal would leave behind.
const BELONGINGS: [&str; 3] = ["state-machine", "activity", functions::KIND];
const ACCOUNT_DIGITS: usize = 12;

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

/// Stored form, codec v1: an account; its number is the record's name.
#[derive(Serialize, Deserialize)]
struct TenantRecord {
    name: Arc<str>,
    #[serde(deserialize_with = "record::date_ms")]
    created_ms: u64,
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

    /// Whether an account was added.
    pub(crate) async fn is_tenant(&self, account: &str) -> Result<bool, Error> {
        Ok(self.record(&key(TENANT, account)).await?.is_some())
    }

    pub(crate) async fn tenant(&self, account: &str) -> Result<CatalogRecord, Error> {
        let found = self.record(&key(TENANT, account)).await?;
        found.ok_or_else(|| missing(account))
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
