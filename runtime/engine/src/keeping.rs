//! What tenants store beside their executions: definitions, versions, triggers, what events are to start, what tasks log. It
//! counts to the same sum as events and values do, and is refused before it is written when that is full. Hides how it is
//! counted: as usage of the day, of the state machine that it is for.
//!
//! What is replaced counts as far as it grows, and nothing is taken off when something is deleted: the sum is of what was
//! ever stored, as with executions.

use std::sync::Arc;

use crate::{
    dispatch::hex,
    engine::Engine,
    error::Error,
    executions::refusal,
    journal::{Amounts, CatalogKey, CatalogWrite, Meter, UsageKey, Write},
    node::{self, Node},
    programs::{DefinitionHash, Programs},
    reader,
};

/// Parts of a state machine's ARN, without a version or alias.
const MACHINE_PARTS: usize = 7;

/// The charge for bytes that are stored for a state machine, or for what has that ARN.
pub(crate) fn charge(tenant: &Arc<str>, arn: &str, bytes: u64) -> Write {
    let parts: Vec<&str> = arn.split(':').take(MACHINE_PARTS).collect();
    let key = UsageKey {
        day: UsageKey::day_of(node::now()),
        tenant: tenant.clone(),
        machine: parts.join(":").into(),
        plugin: "".into(),
    };
    Write::Charge(vec![(key, Amounts::of(&[(Meter::BytesStored, bytes)]))])
}

/// Bytes of those of these records that are new.
pub(crate) fn bytes_of_new(writes: &[CatalogWrite]) -> u64 {
    let new = writes.iter().filter(|write| write.expected == Some(0));
    let records = new.filter_map(|write| write.bytes.as_ref());
    records.map(|bytes| bytes.len() as u64).sum()
}

/// Bytes by which a record may differ because a flag of it was turned, which takes no room: `false` is longer than `true`, and
/// who has stored enough may still switch a trigger off.
const FLAG_BYTES_MAX: u64 = 2;

impl Node {
    /// Commits a write that nothing can refuse but the store, with the charge for its bytes.
    pub(crate) async fn write_counted(
        &self,
        tenant: &Arc<str>,
        arn: &str,
        bytes: u64,
        write: Write,
    ) -> Result<(), Error> {
        let verdicts = self
            .journal
            .commit(vec![write, charge(tenant, arn, bytes)])
            .await;
        self.health.note(&verdicts);
        for verdict in verdicts {
            verdict.map_err(refusal)?;
        }
        self.allowances.stored(tenant, bytes);
        Ok(())
    }
}

impl Engine {
    /// Keeps the text of a definition, unless it is kept already.
    pub(crate) async fn keep_definition(
        &self,
        tenant: &Arc<str>,
        machine: &str,
        definition: &str,
    ) -> Result<DefinitionHash, Error> {
        let (hash, blob) = Programs::store(definition);
        let node = self.node();
        let kept = node.journal.blob(hash).await.map_err(reader::broken)?;
        if kept.is_some() {
            return Ok(hash);
        }
        let bytes = definition.len() as u64;
        node.allowances.has_room(tenant, bytes)?;
        node.write_counted(tenant, machine, bytes, blob).await?;
        tracing::debug!(definition = hex(&hash), bytes, "a definition is kept");
        Ok(hash)
    }

    /// Writes a tenant's record where it has the revision that it was read at, and counts what it grows by. What grows is refused
    /// where the tenant has stored its part. False when others changed it.
    pub(crate) async fn put_grown(
        &self,
        key: &CatalogKey,
        arn: &str,
        (before, revision): (u64, u64),
        bytes: Arc<[u8]>,
    ) -> Result<bool, Error> {
        let growth = self.growth(&key.tenant, before, bytes.len())?;
        if self.put(key, Some(revision), Some(bytes)).await?.is_err() {
            return Ok(false);
        }
        self.count_kept(&key.tenant, arn, growth).await?;
        Ok(true)
    }

    /// By how much a record grows, if it may.
    pub(crate) fn growth(
        &self,
        tenant: &Arc<str>,
        before: u64,
        bytes: usize,
    ) -> Result<u64, Error> {
        let growth = (bytes as u64).saturating_sub(before);
        if growth <= FLAG_BYTES_MAX {
            return Ok(0);
        }
        self.node().allowances.has_room(tenant, growth)?;
        Ok(growth)
    }

    /// Counts records that were written and are larger by so many bytes than what they replaced.
    pub(crate) async fn count_kept(
        &self,
        tenant: &Arc<str>,
        arn: &str,
        bytes: u64,
    ) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        self.write(charge(tenant, arn, bytes)).await?;
        self.node().allowances.stored(tenant, bytes);
        Ok(())
    }
}
