//! The numbers under which executions of a name are found and listed. A number outlives its machine.

use crate::{
    api::{Caller, MachineKind},
    arn::MachineArn,
    engine::Engine,
    error::Error,
    journal::{CatalogKey, ScopeId},
    record::{self, ScopeRecord},
};

/// Kind of the records that number the executions of a name.
const SCOPE_KIND: &str = "scope";
/// Of EXPRESS executions: their names are not unique, and a machine's name may be one of the other type later.
const EXPRESS_SCOPE_KIND: &str = "scope-express";

impl Engine {
    /// The number under which executions of a machine's name and of that type are found and listed; made on demand. It
    /// outlives the machine.
    pub(crate) async fn scope(
        &self,
        caller: &Caller,
        arn: &MachineArn,
        kind: MachineKind,
        create: bool,
    ) -> Result<Option<ScopeId>, Error> {
        let name = arn.record_name();
        if let Some(scope) = self.machines_cache().scope(&caller.tenant, &name, kind) {
            return Ok(Some(scope));
        }
        let record_kind = match kind {
            MachineKind::Standard => SCOPE_KIND,
            MachineKind::Express => EXPRESS_SCOPE_KIND,
        };
        let key = CatalogKey {
            tenant: caller.tenant.clone(),
            kind: record_kind.into(),
            name: name.clone(),
        };
        let stored = match self.record(&key).await? {
            Some(stored) => Some(stored),
            None if create => {
                let scope = ScopeRecord {
                    scope: record::fresh_list(),
                };
                let _ = self
                    .put(&key, Some(0), Some(record::encode(&scope)))
                    .await?;
                self.record(&key).await?
            }
            None => None,
        };
        let Some(stored) = stored else {
            return Ok(None);
        };
        let read = record::decode::<ScopeRecord>(&stored.bytes).inspect_err(|why| {
            let told = &self.node().damaged_records;
            told.tell(&key, why, "the executions of a state machine are not found");
        });
        let scope = ScopeId(read?.scope);
        self.machines_cache()
            .put_scope(&caller.tenant, name, kind, scope);
        Ok(Some(scope))
    }
}
