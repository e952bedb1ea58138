//! What an account's plugins may be granted and use, as the operator set it for the tenant. Hides the record; what the text says is
//! the runner's to read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    damaged::ToldRecords,
    engine::Engine,
    error::Error,
    journal::{CatalogKey, Journal},
    limits::{CEILING_BYTES_MAX, ROWS_MAX},
    node, reader, record,
    sealed::invalid,
};

/// Kind of the records, which belong to the installation; an account is a record's name.
const KIND: &str = "ceiling";

/// Stored form, codec v1: a tenant's ceiling.
#[derive(Serialize, Deserialize)]
struct CeilingRecord {
    /// As the operator wrote it.
    text: String,
    changed_ms: u64,
}

impl Engine {
    /// The text of a tenant's ceiling, where it has one of its own.
    pub async fn ceiling(&self, account: &str) -> Result<Option<String>, Error> {
        self.tenant(account).await?;
        let stored = self.record(&key(account)).await?;
        let read = stored.map(|stored| record::decode::<CeilingRecord>(&stored.bytes));
        Ok(read.transpose()?.map(|record| record.text))
    }

    /// Sets what a tenant's plugins may be granted and use, or leaves it to the operator's file. It counts for attempts that
    /// begin from now on; other nodes learn of it within half a minute.
    pub async fn set_ceiling(&self, account: &str, text: Option<&str>) -> Result<(), Error> {
        self.tenant(account).await?;
        let runner = &self.node().runner;
        if let Some(text) = text {
            if text.len() > CEILING_BYTES_MAX {
                return Err(invalid(format!(
                    "a ceiling has at most {CEILING_BYTES_MAX} bytes, and not {}",
                    text.len()
                )));
            }
            runner.check_ceiling(account, text).map_err(invalid)?;
        }
        let bytes = text.map(|text| {
            record::encode(&CeilingRecord {
                text: text.to_owned(),
                changed_ms: node::now().0,
            })
        });
        // Without an expected revision the write cannot conflict.
        let _ = self.put(&key(account), None, bytes).await?;
        runner.set_ceiling(account, text);
        Ok(())
    }

    /// Forgets the ceiling of a tenant that is removed.
    pub(crate) async fn forget_ceiling(&self, account: &str) -> Result<(), Error> {
        let _ = self.put(&key(account), None, None).await?;
        self.node().runner.set_ceiling(account, None);
        Ok(())
    }
}

/// The texts of all ceilings, by account.
pub(crate) async fn all(
    journal: &dyn Journal,
    told: &ToldRecords,
) -> Result<Vec<(Arc<str>, String)>, Error> {
    let mut all = Vec::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = journal.scan("", KIND, "", after.as_deref(), ROWS_MAX).await;
        let page = page.map_err(reader::broken)?;
        for found in page.iter().filter(|found| !found.is_unnamed()) {
            let account = found.key.name.clone();
            match record::decode::<CeilingRecord>(&found.bytes) {
                Ok(record) => all.push((account, record.text)),
                // No runner can read the empty key: it grants nothing then.
                Err(error) => {
                    told.tell(
                        &found.key,
                        &error,
                        "the ceiling of a tenant cannot be read; its plugins are granted nothing until it is set again",
                    );
                    all.push((account, "= unreadable".to_owned()));
                }
            }
        }
        after = page.last().map(|found| found.key.name.clone());
        if page.len() < ROWS_MAX as usize {
            return Ok(all);
        }
    }
}

fn key(account: &str) -> CatalogKey {
    CatalogKey {
        tenant: "".into(),
        kind: KIND.into(),
        name: account.into(),
    }
}
