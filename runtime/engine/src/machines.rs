//! State machines: their records, and what a start needs of them. Hides the catalog.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use stepwell_asl::{ExecutionType, Limits, Program};

use crate::{
    api::{Caller, CreateMachine, Machine, MachineKind, Page, PageRequest, Status, UpdateMachine},
    arn::{self, MachineArn},
    dispatch::hex,
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogKey, CatalogWrite, ListQuery, ScopeId, Write},
    limits::ROWS_MAX,
    node, pages,
    programs::{Programs, from_hex},
    reader,
    record::{self, MachineRecord, ScopeRecord},
};

/// Kind of the records of state machines.
const KIND: &str = "state-machine";
/// Kind of the records that number the executions of a name.
const SCOPE_KIND: &str = "scope";

/// What StartExecution needs of a state machine, kept in memory until it changes.
#[derive(Clone)]
pub(crate) struct Startable {
    pub(crate) arn: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) role_arn: Arc<str>,
    pub(crate) express: bool,
    pub(crate) definition: String,
    pub(crate) program: Arc<Program>,
    pub(crate) scope: ScopeId,
}

/// A tenant and the record name of one of its machines.
type Named = (Arc<str>, Arc<str>);

/// State machines in memory, by tenant and record name.
#[derive(Default)]
pub(crate) struct MachineCache {
    startable: Mutex<HashMap<Named, Arc<Startable>>>,
    scopes: Mutex<HashMap<Named, ScopeId>>,
}

impl MachineCache {
    fn get(&self, tenant: &Arc<str>, name: &Arc<str>) -> Option<Arc<Startable>> {
        self.startable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(tenant.clone(), name.clone()))
            .cloned()
    }

    fn put(&self, tenant: &Arc<str>, name: &Arc<str>, machine: Arc<Startable>) {
        self.startable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((tenant.clone(), name.clone()), machine);
    }

    fn forget(&self, tenant: &Arc<str>, name: &Arc<str>) {
        self.startable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(tenant.clone(), name.clone()));
    }
}

impl Engine {
    /// Creates a state machine. The same call again answers the same machine; another definition or type under a
    /// taken name is refused.
    pub async fn create_machine(
        &self,
        caller: &Caller,
        request: CreateMachine,
    ) -> Result<Machine, Error> {
        arn::check_name(&request.name)?;
        let program = self.check(&request.definition, request.kind)?;
        let arn = MachineArn::new(caller, &request.name);
        let (hash, blob) = Programs::store(&request.definition);
        let at = node::now().0;
        let machine = MachineRecord {
            arn: arn.to_string().into(),
            express: request.kind == MachineKind::Express,
            definition: hex(&hash),
            role_arn: request.role_arn.into(),
            logging: request.settings.logging,
            tracing: request.settings.tracing,
            encryption: request.settings.encryption,
            tags: request.tags,
            created_ms: at,
            updated_ms: at,
            revision_id: None,
            deleting: false,
        };
        let text: Arc<str> = request.definition.into();
        self.node()
            .programs
            .remember(hash, text.clone(), Arc::new(program));
        self.scope(caller, &arn, true).await?;
        self.write(blob).await?;
        let key = machine_key(caller, &arn);
        if self
            .put(&key, Some(0), Some(record::encode(&machine)))
            .await?
            .is_ok()
        {
            return Ok(shown(machine, &arn, text));
        }
        let stored = self.machine_record(caller, &arn).await?;
        if stored.deleting {
            return Err(Error::rejected(
                Code::StateMachineDeleting,
                format!("State Machine is being deleted: '{arn}'"),
            ));
        }
        let same = stored.definition == machine.definition
            && stored.express == machine.express
            && stored.logging == machine.logging
            && stored.tracing == machine.tracing
            && stored.encryption == machine.encryption;
        if !same {
            return Err(Error::rejected(
                Code::StateMachineAlreadyExists,
                format!("State Machine Already Exists: '{arn}'"),
            ));
        }
        Ok(shown(stored, &arn, text))
    }

    /// Changes a state machine. Running executions keep their definition; a change of nothing makes no revision.
    pub async fn update_machine(
        &self,
        caller: &Caller,
        arn_text: &str,
        request: UpdateMachine,
    ) -> Result<Machine, Error> {
        let arn = arn::machine(caller, arn_text)?;
        let key = machine_key(caller, &arn);
        loop {
            let stored = self.record(&key).await?.ok_or_else(|| absent(arn_text))?;
            let before: MachineRecord = record::decode(&stored.bytes).map_err(Error::Broken)?;
            if before.deleting {
                return Err(Error::rejected(
                    Code::StateMachineDeleting,
                    format!("State Machine is being deleted: '{arn}'"),
                ));
            }
            let after = self.changed(&before, &request).await?;
            let Some(after) = after else {
                return self.machine(caller, arn_text).await;
            };
            let written = self
                .put(&key, Some(stored.revision), Some(record::encode(&after)))
                .await?;
            self.machines_cache()
                .forget(&caller.tenant, &arn.record_name());
            if written.is_ok() {
                let (text, _) = self.definition(&after.definition).await?;
                return Ok(shown(after, &arn, text));
            }
        }
    }

    /// The record after an update; `None` when nothing changes.
    async fn changed(
        &self,
        before: &MachineRecord,
        request: &UpdateMachine,
    ) -> Result<Option<MachineRecord>, Error> {
        let mut after = before.clone();
        if let Some(definition) = &request.definition {
            let program = self.check(definition, before.kind())?;
            let (hash, blob) = Programs::store(definition);
            after.definition = hex(&hash);
            self.node()
                .programs
                .remember(hash, definition.as_str().into(), Arc::new(program));
            self.write(blob).await?;
        }
        if let Some(role_arn) = &request.role_arn {
            after.role_arn = role_arn.as_str().into();
        }
        let settings = &request.settings;
        let replace = |old: &mut Option<_>, new: &Option<_>| {
            if new.is_some() {
                old.clone_from(new);
            }
        };
        replace(&mut after.logging, &settings.logging);
        replace(&mut after.tracing, &settings.tracing);
        replace(&mut after.encryption, &settings.encryption);
        let same = after.definition == before.definition
            && after.role_arn == before.role_arn
            && after.logging == before.logging
            && after.tracing == before.tracing
            && after.encryption == before.encryption;
        if same {
            return Ok(None);
        }
        after.updated_ms = node::now().0.max(before.updated_ms);
        after.revision_id = Some(uuid::Uuid::new_v4().to_string().into());
        Ok(Some(after))
    }

    /// A state machine by its ARN.
    pub async fn machine(&self, caller: &Caller, arn_text: &str) -> Result<Machine, Error> {
        let arn = arn::machine(caller, arn_text)?;
        if arn.qualifier.is_some() {
            return Err(absent(arn_text));
        }
        let stored = self.machine_record(caller, &arn).await?;
        let (text, _) = self.definition(&stored.definition).await?;
        Ok(shown(stored, &arn, text))
    }

    /// The definition an execution really runs.
    pub async fn machine_of_execution(
        &self,
        caller: &Caller,
        arn_text: &str,
    ) -> Result<Machine, Error> {
        let (row, machine) = self.execution_row(caller, arn_text).await?;
        let meta: record::Meta = record::decode(&row.new.meta).map_err(Error::Broken)?;
        let stored = self.machine_record(caller, &machine).await?;
        let (text, _) = self.definition(&meta.definition).await?;
        Ok(shown(stored, &machine, text))
    }

    /// The caller's state machines in its region, by name.
    pub async fn machines(
        &self,
        caller: &Caller,
        page: PageRequest,
    ) -> Result<Page<Machine>, Error> {
        let prefix = format!("{}/", caller.region);
        let found = self.scan_page(caller, KIND, &prefix, &page).await?;
        let mut machines = Vec::with_capacity(found.items.len());
        for item in found.items {
            let stored: MachineRecord = record::decode(&item.bytes).map_err(Error::Broken)?;
            let arn = MachineArn::new(
                caller,
                item.key
                    .name
                    .strip_prefix(&*prefix)
                    .unwrap_or(&item.key.name),
            );
            let (text, _) = self.definition(&stored.definition).await?;
            machines.push(shown(stored, &arn, text));
        }
        Ok(Page {
            items: machines,
            next_token: found.next_token,
        })
    }

    /// Deletes a state machine and stops its running executions. Deleting what is not there succeeds, as on AWS.
    pub async fn delete_machine(&self, caller: &Caller, arn_text: &str) -> Result<(), Error> {
        let arn = arn::machine(caller, arn_text)?;
        let key = machine_key(caller, &arn);
        let Some(stored) = self.record(&key).await? else {
            return Ok(());
        };
        let mut machine: MachineRecord = record::decode(&stored.bytes).map_err(Error::Broken)?;
        machine.deleting = true;
        // Losing the race to another change is no reason to keep the machine: any revision will do.
        let _ = self.put(&key, None, Some(record::encode(&machine))).await?;
        self.machines_cache()
            .forget(&caller.tenant, &arn.record_name());
        self.stop_all(caller, &arn).await?;
        let _ = self.put(&key, None, None).await?;
        self.machines_cache()
            .forget(&caller.tenant, &arn.record_name());
        Ok(())
    }

    async fn stop_all(&self, caller: &Caller, arn: &MachineArn) -> Result<(), Error> {
        let Some(scope) = self.scope(caller, arn, false).await? else {
            return Ok(());
        };
        let mut before = None;
        loop {
            let query = ListQuery {
                scope,
                status: Some(Status::Running),
                before,
                limit: ROWS_MAX,
            };
            let rows = self
                .node()
                .journal
                .list(query)
                .await
                .map_err(reader::broken)?;
            for row in &rows {
                self.post_stop(row.id, None, None).await?;
            }
            before = rows.last().map(|row| row.id);
            if rows.len() < ROWS_MAX as usize {
                return Ok(());
            }
        }
    }

    /// What a start needs, from memory when nothing changed.
    pub(crate) async fn startable(
        &self,
        caller: &Caller,
        arn_text: &str,
    ) -> Result<(MachineArn, Arc<Startable>), Error> {
        let arn = arn::machine(caller, arn_text)?;
        if arn.qualifier.is_some() {
            return Err(absent(arn_text));
        }
        let name = arn.record_name();
        if let Some(machine) = self.machines_cache().get(&caller.tenant, &name) {
            return Ok((arn, machine));
        }
        let stored = self.machine_record(caller, &arn).await?;
        if stored.deleting {
            return Err(Error::rejected(
                Code::StateMachineDeleting,
                format!("State Machine is being deleted: '{arn}'"),
            ));
        }
        let (_, program) = self.definition(&stored.definition).await?;
        let scope = self
            .scope(caller, &arn, true)
            .await?
            .ok_or_else(|| absent(arn_text))?;
        let machine = Arc::new(Startable {
            name: arn.name.as_str().into(),
            arn: stored.arn.clone(),
            role_arn: stored.role_arn.clone(),
            express: stored.express,
            definition: stored.definition,
            program,
            scope,
        });
        self.machines_cache()
            .put(&caller.tenant, &name, machine.clone());
        Ok((arn, machine))
    }

    /// The number under which executions of a machine's name are listed; made on demand.
    pub(crate) async fn scope(
        &self,
        caller: &Caller,
        arn: &MachineArn,
        create: bool,
    ) -> Result<Option<ScopeId>, Error> {
        let name = arn.record_name();
        let cached = |cache: &MachineCache| {
            let scopes = cache.scopes.lock().unwrap_or_else(PoisonError::into_inner);
            scopes.get(&(caller.tenant.clone(), name.clone())).copied()
        };
        if let Some(scope) = cached(self.machines_cache()) {
            return Ok(Some(scope));
        }
        let key = CatalogKey {
            tenant: caller.tenant.clone(),
            kind: SCOPE_KIND.into(),
            name: name.clone(),
        };
        let stored = match self.record(&key).await? {
            Some(stored) => Some(stored),
            None if create => {
                // 63 random bits: two machines never share a list.
                let scope = ScopeRecord {
                    scope: (uuid::Uuid::new_v4().as_u128() >> 65) as u64,
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
        let scope = ScopeId(
            record::decode::<ScopeRecord>(&stored.bytes)
                .map_err(Error::Broken)?
                .scope,
        );
        let mut scopes = self
            .machines_cache()
            .scopes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        scopes.insert((caller.tenant.clone(), name), scope);
        Ok(Some(scope))
    }

    fn check(&self, definition: &str, kind: MachineKind) -> Result<Program, Error> {
        let options = stepwell_asl::Options {
            limits: if self.node().raised_limits {
                Limits::Raised
            } else {
                Limits::Strict
            },
            kind: match kind {
                MachineKind::Standard => ExecutionType::Standard,
                MachineKind::Express => ExecutionType::Express,
            },
            allow_substitutions: false,
        };
        let loaded = stepwell_asl::load(definition, &options);
        let refusal = stepwell_asl::refusal(&loaded.diagnostics);
        match (refusal, loaded.program) {
            (None, Some(program)) => Ok(program),
            (refusal, _) => {
                let text = refusal.unwrap_or_else(|| "Invalid State Machine Definition".to_owned());
                Err(Error::rejected(Code::InvalidDefinition, text))
            }
        }
    }

    async fn machine_record(
        &self,
        caller: &Caller,
        arn: &MachineArn,
    ) -> Result<MachineRecord, Error> {
        let stored = self
            .record(&machine_key(caller, arn))
            .await?
            .ok_or_else(|| absent(&arn.to_string()))?;
        record::decode(&stored.bytes).map_err(Error::Broken)
    }

    async fn definition(&self, hash: &str) -> Result<(Arc<str>, Arc<Program>), Error> {
        let hash = from_hex(hash)
            .ok_or_else(|| Error::Broken("a stored machine names no definition".to_owned()))?;
        self.node().programs.get(hash).await
    }

    /// Compare-and-set of one record: `Ok(Err(()))` when the revision differs.
    pub(crate) async fn put(
        &self,
        key: &CatalogKey,
        expected: Option<u64>,
        bytes: Option<Arc<[u8]>>,
    ) -> Result<Result<u64, ()>, Error> {
        let write = Write::Catalog(vec![CatalogWrite {
            key: key.clone(),
            expected,
            bytes,
        }]);
        match self.verdict(write).await? {
            Ok(landed) => Ok(Ok(landed.revisions.first().copied().unwrap_or(0))),
            Err(_) => Ok(Err(())),
        }
    }

    /// A page of records of a kind, by name.
    pub(crate) async fn scan_page(
        &self,
        caller: &Caller,
        kind: &str,
        prefix: &str,
        page: &PageRequest,
    ) -> Result<Page<crate::journal::CatalogRecord>, Error> {
        let list = self.list(caller, &[kind, prefix]);
        let after = list.position(page).await?;
        let size = pages::size(page);
        let found =
            self.node()
                .journal
                .scan(&caller.tenant, kind, prefix, after.as_deref(), size + 1);
        let found = found.await.map_err(reader::broken)?;
        list.cut(found, size, |record| record.key.name.to_string())
            .await
    }
}

fn machine_key(caller: &Caller, arn: &MachineArn) -> CatalogKey {
    CatalogKey {
        tenant: caller.tenant.clone(),
        kind: KIND.into(),
        name: arn.record_name(),
    }
}

fn shown(record: MachineRecord, arn: &MachineArn, definition: Arc<str>) -> Machine {
    Machine {
        kind: record.kind(),
        arn: record.arn,
        name: arn.name.as_str().into(),
        definition,
        role_arn: record.role_arn,
        settings: crate::api::MachineSettings {
            logging: record.logging,
            tracing: record.tracing,
            encryption: record.encryption,
        },
        tags: record.tags,
        created_at: record::time(record.created_ms),
        updated_at: record::time(record.updated_ms),
        revision_id: record.revision_id,
        deleting: record.deleting,
    }
}

fn absent(arn: &str) -> Error {
    Error::rejected(
        Code::StateMachineDoesNotExist,
        format!("State Machine Does Not Exist: '{arn}'"),
    )
}
