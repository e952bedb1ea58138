//! What goes with a tenant: all its triggers, and what they have due. Hides the kinds of the records.

use std::sync::Arc;

use super::{
    groups, http,
    queue::{Queue, delivering},
    rules,
};
use crate::{
    api::Caller,
    engine::Engine,
    error::Error,
    journal::{CatalogRecord, CatalogWrite, Write},
    limits::TRIGGER_RECORDS_READ_MAX,
    reader,
};

/// Kinds of records that stand alone.
const KINDS: [&str; 4] = [groups::KIND, rules::KIND, rules::LAST, http::KIND];

impl Engine {
    /// Deletes all triggers of a tenant, in all regions.
    pub(crate) async fn remove_triggers(&self, account: &str) -> Result<(), Error> {
        let tenant: Arc<str> = account.into();
        // Prefixes are whole names here, so the region does not matter.
        let caller = Caller {
            tenant: tenant.clone(),
            region: "".into(),
        };
        self.delete_schedules(&caller, "").await?;
        for kind in KINDS.into_iter().chain([Queue::Deliveries.kind()]) {
            self.remove_records(account, kind).await?;
        }
        let _ = self.put(&delivering(&tenant), None, None).await?;
        self.node().triggers.requests.forget_all(&tenant);
        Ok(())
    }

    async fn remove_records(&self, tenant: &str, kind: &str) -> Result<(), Error> {
        loop {
            let journal = &self.node().journal;
            let page = journal.scan(tenant, kind, "", None, TRIGGER_RECORDS_READ_MAX);
            let page: Vec<CatalogRecord> = page.await.map_err(reader::broken)?;
            let whole = page.len() == TRIGGER_RECORDS_READ_MAX as usize;
            let removal = |record: CatalogRecord| CatalogWrite {
                key: record.key,
                expected: None,
                bytes: None,
            };
            let writes: Vec<CatalogWrite> = page.into_iter().map(removal).collect();
            if !writes.is_empty() {
                self.write(Write::Catalog(writes)).await?;
            }
            if !whole {
                return Ok(());
            }
        }
    }
}
