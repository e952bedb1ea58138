//! What tools make beside a state machine at other services of AWS before they make the state machine: roles, policies, log
//! groups. Kept and given back; nothing here is granted or run by them. Hides their records.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    api::{Caller, Page, PageRequest},
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogKey, CatalogRecord},
    limits::{CHANGE_ATTEMPTS_MAX, COMPANIONS_MAX},
    record,
};

/// What a companion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompanionKind {
    /// A role of IAM, for all regions.
    Role,
    /// A managed policy of IAM, for all regions.
    Policy,
    /// A log group of CloudWatch Logs, for one region.
    LogGroup,
}

impl CompanionKind {
    /// Kind of the catalog's records.
    fn record(self) -> &'static str {
        match self {
            CompanionKind::Role => "role",
            CompanionKind::Policy => "policy",
            CompanionKind::LogGroup => "log-group",
        }
    }

    /// What stands before the names of a region's ones.
    fn prefix(self, caller: &Caller) -> String {
        match self {
            CompanionKind::Role | CompanionKind::Policy => String::new(),
            CompanionKind::LogGroup => format!("{}/", caller.region),
        }
    }
}

/// Stored form, codec v1: a companion, in the words of whoever shows it.
#[derive(Serialize, Deserialize)]
struct CompanionRecord<T> {
    companion: T,
}

/// Why a companion was not written.
#[derive(Debug)]
pub enum CompanionError {
    /// One of that name is there.
    Exists,
    /// There is none of that name.
    Missing,
    /// There are as many of the kind as there may be.
    Full(usize),
    Failed(Error),
}

impl From<Error> for CompanionError {
    fn from(error: Error) -> CompanionError {
        CompanionError::Failed(error)
    }
}

impl Engine {
    /// A companion by its name.
    pub async fn companion<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        kind: CompanionKind,
        name: &str,
    ) -> Result<Option<T>, Error> {
        let stored = self.record(&key(caller, kind, name)).await?;
        stored.as_ref().map(shown).transpose()
    }

    /// Companions whose names begin so, by name.
    pub async fn companions<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        kind: CompanionKind,
        prefix: &str,
        page: PageRequest,
    ) -> Result<Page<T>, Error> {
        let prefix = format!("{}{prefix}", kind.prefix(caller));
        let found = self
            .scan_page(caller, kind.record(), &prefix, &page)
            .await?;
        self.shown(found, shown)
    }

    /// Adds a companion under a name that no other of its kind has.
    pub async fn add_companion<T: Serialize>(
        &self,
        caller: &Caller,
        kind: CompanionKind,
        name: &str,
        companion: &T,
    ) -> Result<(), CompanionError> {
        let journal = &self.node().journal;
        let most = u32::try_from(COMPANIONS_MAX).unwrap_or(u32::MAX);
        let found = journal.scan(&caller.tenant, kind.record(), "", None, most);
        let found = found.await.map_err(crate::reader::broken)?;
        if found.len() >= COMPANIONS_MAX {
            return Err(CompanionError::Full(COMPANIONS_MAX));
        }
        let bytes = record::encode(&CompanionRecord { companion });
        let key = key(caller, kind, name);
        let written = self.put(&key, Some(0), Some(bytes)).await?;
        written.map(drop).map_err(|()| CompanionError::Exists)
    }

    /// Changes a companion; an error of `change` changes nothing.
    pub async fn change_companion<T: Serialize + DeserializeOwned, E: From<CompanionError>>(
        &self,
        caller: &Caller,
        kind: CompanionKind,
        name: &str,
        change: impl Fn(&mut T) -> Result<(), E>,
    ) -> Result<(), E> {
        let key = key(caller, kind, name);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let stored = self.record(&key).await.map_err(CompanionError::Failed)?;
            let stored = stored.ok_or(CompanionError::Missing)?;
            let mut companion: T = shown(&stored).map_err(CompanionError::Failed)?;
            change(&mut companion)?;
            let bytes = record::encode(&CompanionRecord { companion });
            let written = self.put(&key, Some(stored.revision), Some(bytes)).await;
            if written.map_err(CompanionError::Failed)?.is_ok() {
                return Ok(());
            }
        }
        let text = format!("`{name}` is being changed by another request: try again");
        let busy = Error::rejected(Code::ConflictException, text);
        Err(CompanionError::Failed(busy).into())
    }

    /// Removes a companion; what refers to it is not looked for.
    pub async fn remove_companion(
        &self,
        caller: &Caller,
        kind: CompanionKind,
        name: &str,
    ) -> Result<(), CompanionError> {
        let key = key(caller, kind, name);
        if self.record(&key).await?.is_none() {
            return Err(CompanionError::Missing);
        }
        // Without an expected revision the deletion cannot conflict.
        let deleted = self.put(&key, None, None).await?;
        deleted.map(drop).map_err(|()| CompanionError::Missing)
    }
}

fn key(caller: &Caller, kind: CompanionKind, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: caller.tenant.clone(),
        kind: Arc::from(kind.record()),
        name: format!("{}{name}", kind.prefix(caller)).into(),
    }
}

fn shown<T: DeserializeOwned>(stored: &CatalogRecord) -> Result<T, Error> {
    let record: CompanionRecord<T> = record::decode(&stored.bytes)?;
    Ok(record.companion)
}
