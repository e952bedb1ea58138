//! Intents to delete state machines. A deletion takes several writes; what names it stands from the first of them to
//! the last, and the next start finishes what it finds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    api::Caller,
    arn::MachineArn,
    engine::Engine,
    error::Error,
    journal::{CatalogKey, CatalogRecord, CatalogWrite},
    limits::ROWS_MAX,
    reader, record,
};

/// Kind of the records of intents, which belong to the installation.
const KIND: &str = "deleting";

/// Stored form, codec v1: a machine that is to be deleted.
#[derive(Serialize, Deserialize)]
struct Intent {
    tenant: Arc<str>,
    region: Arc<str>,
    name: String,
}

/// The write that says that a machine is to be deleted.
pub(crate) fn intent(caller: &Caller, arn: &MachineArn) -> CatalogWrite {
    let intent = Intent {
        tenant: caller.tenant.clone(),
        region: caller.region.clone(),
        name: arn.name.clone(),
    };
    CatalogWrite {
        key: intent_key(caller, arn),
        expected: None,
        bytes: Some(record::encode(&intent)),
    }
}

pub(crate) fn intent_key(caller: &Caller, arn: &MachineArn) -> CatalogKey {
    CatalogKey {
        tenant: "".into(),
        kind: KIND.into(),
        name: format!("{}/{}", caller.tenant, arn.record_name()).into(),
    }
}

/// The deletion of a record as it was seen.
pub(crate) fn of(record: CatalogRecord) -> CatalogWrite {
    CatalogWrite {
        key: record.key,
        expected: Some(record.revision),
        bytes: None,
    }
}

/// Finishes all deletions that were begun.
pub(crate) async fn finish_all(engine: &Engine) -> Result<(), Error> {
    let mut after: Option<Arc<str>> = None;
    loop {
        let journal = &engine.node().journal;
        let page = journal.scan("", KIND, "", after.as_deref(), ROWS_MAX).await;
        let page = page.map_err(reader::broken)?;
        for found in &page {
            let Intent {
                tenant,
                region,
                name,
            } = record::decode(&found.bytes)?;
            let caller = Caller { tenant, region };
            let arn = MachineArn::new(&caller, &name);
            engine.delete_marked(&caller, &arn).await?;
        }
        after = page.last().map(|record| record.key.name.clone());
        if page.len() < ROWS_MAX as usize {
            return Ok(());
        }
    }
}
