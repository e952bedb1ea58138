//! The end of old entries of audit logs, where the operator says how long they are kept. Hides that they are removed a few at a
//! time, by the node that does what is done once for all.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use stepwell_interp::Timestamp;
use tokio::time::sleep;

use crate::{
    audit,
    engine::{Engine, WeakEngine},
    error::Error,
    journal::{CatalogWrite, Write},
    limits::{AUDIT_REMOVAL_PAUSE, AUDIT_REMOVED_AT_A_TIME, AUDIT_REST},
    node, reader, tenants,
};

impl Engine {
    /// Removes entries of audit logs that are older, from now on and until the engine is closed.
    pub fn keep_audit_for(&self, age: Duration) {
        // When the node is closing there is nothing to keep.
        let _ = self.node().spawn_io(keep(self.weak(), age));
    }

    /// The accounts that may have an audit log: tenants, and who was one and ran something.
    async fn audited_accounts(&self) -> Result<BTreeSet<Arc<str>>, Error> {
        let journal = &self.node().journal;
        let used = journal.usage_of_tenants().await.map_err(reader::broken)?;
        let mut accounts: BTreeSet<Arc<str>> =
            used.sums.into_iter().map(|(account, _)| account).collect();
        accounts.extend(tenants::accounts(journal.as_ref()).await?);
        Ok(accounts)
    }

    /// Removes a few entries of an account from before a time, the oldest first; how many.
    async fn remove_audit(&self, account: &str, before: Timestamp) -> Result<usize, Error> {
        let end = audit::names_from(before);
        let most = AUDIT_REMOVED_AT_A_TIME;
        let journal = &self.node().journal;
        let found = journal.scan(account, audit::KIND, "", None, most).await;
        let found = found.map_err(reader::broken)?;
        let old = found.into_iter().filter(|entry| *entry.key.name < *end);
        let writes: Vec<CatalogWrite> = old
            .map(|entry| CatalogWrite {
                key: entry.key,
                expected: None,
                bytes: None,
            })
            .collect();
        let removed = writes.len();
        if removed > 0 {
            self.write(Write::Catalog(writes)).await?;
        }
        Ok(removed)
    }
}

/// The engine is held only while something is done, so that its last handle can go.
async fn keep(engine: WeakEngine, age: Duration) {
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    loop {
        let before = Timestamp(node::now().0.saturating_sub(age_ms));
        match remove(&engine, before, AUDIT_REMOVAL_PAUSE).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, "old entries of audit logs cannot be removed; trying again");
            }
        }
        sleep(AUDIT_REST).await;
    }
}

/// Removes what is from before a time; false when the engine is gone.
async fn remove(engine: &WeakEngine, before: Timestamp, pause: Duration) -> Result<bool, Error> {
    let accounts = match engine.upgrade() {
        None => return Ok(false),
        Some(engine) if engine.node().keeps_installation() => engine.audited_accounts().await?,
        // Another node does.
        Some(_) => return Ok(true),
    };
    for account in accounts {
        let mut removed = 0;
        loop {
            let Some(engine) = engine.upgrade() else {
                return Ok(false);
            };
            let step = engine.remove_audit(&account, before).await?;
            drop(engine);
            removed += step;
            if step < AUDIT_REMOVED_AT_A_TIME as usize {
                break;
            }
            // Others write as well.
            sleep(pause).await;
        }
        if removed > 0 {
            tracing::info!(
                tenant = &*account,
                removed,
                "old entries of the audit log were removed"
            );
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AuditEntry, Options, Store, runner::Hangs};

    fn entry(resource: u64) -> AuditEntry {
        AuditEntry {
            key: "-".to_owned(),
            address: "-".to_owned(),
            operation: "StartExecution".to_owned(),
            resource: resource.to_string(),
            alias: None,
            request_id: String::new(),
            refused: None,
        }
    }

    #[tokio::test]
    async fn old_entries_go_a_few_at_a_time_and_the_others_stay() {
        let options = Options {
            shards: 1,
            ..Options::of(Store::Memory)
        };
        let engine = Engine::open(options, Arc::new(Hangs)).expect("memory is there");
        let (account, other) = ("111111111111", "222222222222");
        for account in [account, other] {
            engine.add_tenant(account, "").await.expect("it is new");
        }
        let count = 2 * u64::from(AUDIT_REMOVED_AT_A_TIME) + 10;
        for at in 1..=count {
            let added = engine.audit_at(Timestamp(at), account, &entry(at)).await;
            added.expect("it is added");
        }
        let added = engine.audit_at(Timestamp(count), other, &entry(0)).await;
        added.expect("it is added");
        let before = Timestamp(count - 4);
        let step = engine.remove_audit(account, before).await;
        assert_eq!(step, Ok(AUDIT_REMOVED_AT_A_TIME as usize));
        assert_eq!(
            remove(&engine.weak(), before, Duration::ZERO).await,
            Ok(true)
        );
        let left = async |account| {
            let left = engine.audited(account, Timestamp(0), None).await;
            let left = left.expect("it is read").into_iter();
            left.map(|audited| audited.at.0).collect::<Vec<_>>()
        };
        assert_eq!(left(account).await, (count - 4..=count).collect::<Vec<_>>());
        assert_eq!(left(other).await, [count]);
        // Nothing is that old.
        assert_eq!(
            remove(&engine.weak(), Timestamp(0), Duration::ZERO).await,
            Ok(true)
        );
        assert_eq!(left(account).await.len(), 5);
    }
}
