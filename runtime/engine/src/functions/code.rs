//! Code of functions: looked at before it is kept, and kept within what an account may have. Hides how that is counted.

use std::sync::Arc;

use super::{
    FunctionError, KIND, Package, events,
    record::{Build, FunctionRecord},
    resolve,
};
use crate::{
    api::Caller,
    dispatch::hex,
    engine::Engine,
    error::Error,
    journal::{Amounts, Meter, UsageKey},
    limits::{CODE_BYTES_MAX, CODE_BYTES_MAX_RAISED, FUNCTION_RECORDS_READ_MAX},
    node,
    programs::sha256,
    quotas::sized,
    reader, record as stored,
    runner::FunctionVersion,
};

impl Engine {
    /// Looks whether code could be kept, and be called with these settings. Keeps nothing.
    pub(super) async fn check_code(
        &self,
        caller: &Caller,
        name: &str,
        build: &Build,
        package: &Package,
    ) -> Result<(), FunctionError> {
        // Before the compiler is asked for what would not be kept.
        self.require_code_room(caller, package.bytes).await?;
        let kept = resolve::Kept::new(self.node(), build)?;
        let code = Arc::new(resolve::Given::new(package.wasm.clone(), kept));
        // Also when nobody waits for the answer any more.
        let _at_hand = resolve::AtHand(code.clone());
        let version = build.version(None, code);
        self.check_version(caller, name, version).await
    }

    /// Keeps code that was looked at, also while it is collected, and counts its bytes where the account did not have it;
    /// `known` is the function as it was.
    pub(super) async fn keep_code(
        &self,
        caller: &Caller,
        name: &str,
        package: &Package,
        known: Option<&FunctionRecord>,
    ) -> Result<(), FunctionError> {
        let hash = sha256(&package.wasm);
        let bytes = package.wasm.len() as u64;
        // Paid for before there were holds.
        let paid = known.is_some_and(|known| known.has_code(&hex(&hash)));
        let charges = match paid {
            true => Vec::new(),
            false => {
                let key = UsageKey {
                    day: UsageKey::day_of(node::now()),
                    tenant: caller.tenant.clone(),
                    machine: events::machine(caller, name).to_string().into(),
                    plugin: name.into(),
                };
                vec![(key, Amounts::of(&[(Meter::BytesStored, bytes)]))]
            }
        };
        let (node, tenant) = (self.node(), &caller.tenant);
        let is_new = node.hold_code(tenant, hash, &package.wasm, charges).await?;
        if is_new && !paid {
            node.allowances.stored(tenant, bytes);
        }
        Ok(())
    }

    pub(super) async fn check_build(
        &self,
        caller: &Caller,
        name: &str,
        build: &Build,
    ) -> Result<(), FunctionError> {
        let code = resolve::Kept::new(self.node(), build)?;
        let version = build.version(None, Arc::new(code));
        self.check_version(caller, name, version).await
    }

    async fn check_version(
        &self,
        caller: &Caller,
        name: &str,
        version: FunctionVersion,
    ) -> Result<(), FunctionError> {
        let (node, version) = (self.node(), Arc::new(version));
        let _checked = node.checking.begin(&caller.tenant, name, &version);
        let checked = node.runner.check(&caller.tenant, name, version).await;
        checked.map_err(FunctionError::Invalid)
    }

    /// Refuses a package of that size where the tenant has stored its part, or has as much code as an account may.
    async fn require_code_room(&self, caller: &Caller, bytes: u64) -> Result<(), FunctionError> {
        if let Err(full) = self.node().allowances.has_room(&caller.tenant, bytes) {
            return Err(match full {
                Error::Rejected { message, .. } => FunctionError::Full(message),
                other => other.into(),
            });
        }
        let most = match self.raised_limits(&caller.tenant) {
            true => CODE_BYTES_MAX_RAISED,
            false => CODE_BYTES_MAX,
        };
        let kept = self.code_bytes(&caller.tenant).await?;
        if kept.saturating_add(bytes) <= most {
            return Ok(());
        }
        let [kept, bytes, most] = [kept, bytes, most].map(sized);
        Err(FunctionError::Full(format!(
            "Code storage limit exceeded. The account's functions have {kept} of code, this package has {bytes}, and the most is {most}; delete functions or versions that are not called any more"
        )))
    }

    /// Bytes of the packages of an account's functions and their versions.
    async fn code_bytes(&self, tenant: &Arc<str>) -> Result<u64, FunctionError> {
        let (mut bytes, mut after) = (0_u64, None::<Arc<str>>);
        loop {
            let limit = FUNCTION_RECORDS_READ_MAX;
            let journal = &self.node().journal;
            let page = journal
                .scan(tenant, KIND, "", after.as_deref(), limit)
                .await
                .map_err(reader::broken)?;
            for found in &page {
                let record = stored::decode::<FunctionRecord>(&found.bytes);
                if let Some(record) = self.unless_damaged(&found.key, record)? {
                    bytes = bytes.saturating_add(record.package_bytes());
                }
            }
            after = page.last().map(|found| found.key.name.clone());
            if page.len() < limit as usize {
                return Ok(bytes);
            }
        }
    }
}
