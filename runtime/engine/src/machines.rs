//! State machines: create, change, describe, list, delete. Hides their records, and how two changes of one machine, of
//! its versions or of its aliases are kept from crossing.

use std::sync::Arc;

use stepwell_asl::{ExecutionType, Limits, Program};
use stepwell_query::Value;

use crate::{
    aliases,
    api::{
        Caller, Changed, CreateMachine, Machine, MachineKind, MachineSettings, Page, PageRequest,
        Status, UpdateMachine,
    },
    arn::{self, MachineArn, Qualifier},
    deletion,
    dispatch::hex,
    engine::Engine,
    error::{Code, Error},
    journal::{
        CatalogKey, CatalogRecord, CatalogWrite, ExecutionRow, List, ListQuery, RESTORE, ScopeId,
        Write,
    },
    limits::{CHANGE_ATTEMPTS_MAX, ROWS_MAX, VERSIONS_MAX_RAISED},
    node, pages,
    programs::{Programs, from_hex},
    reader,
    record::{self, FirstVersion, MachineRecord, ScopeRecord},
    tags, versions,
};

/// Kind of the records of state machines.
const KIND: &str = "state-machine";
/// Kind of the records that number the executions of a name.
const SCOPE_KIND: &str = "scope";
/// Of EXPRESS executions: their names are not unique, and a machine's name may be one of the other type later.
const EXPRESS_SCOPE_KIND: &str = "scope-express";

/// A state machine's record with the revision it was read at. Whoever changes a machine, one of its versions or one of
/// its aliases writes the record at that revision too: so no two changes cross.
pub(crate) struct Held {
    key: CatalogKey,
    revision: u64,
    pub(crate) record: MachineRecord,
}

impl Engine {
    /// Creates a state machine. The same call again answers the same machine; another definition or type under a
    /// taken name is refused.
    pub async fn create_machine(
        &self,
        caller: &Caller,
        request: CreateMachine,
    ) -> Result<Changed, Error> {
        arn::check_name(&request.name)?;
        let program = self.check(&request.definition, request.kind)?;
        let arn = MachineArn::new(caller, &request.name);
        let (hash, blob) = Programs::store(&request.definition);
        let at = node::now().0;
        let first_version = request.publish.map(|publish| FirstVersion {
            description: publish.description.map(Into::into),
        });
        let mut machine = MachineRecord {
            arn: arn.to_string().into(),
            express: request.kind == MachineKind::Express,
            definition: hex(&hash),
            role_arn: request.role_arn.into(),
            logging: request.settings.logging,
            tracing: request.settings.tracing,
            encryption: request.settings.encryption,
            tags: tags::with(Vec::new(), &request.tags)?,
            created_ms: at,
            updated_ms: at,
            revision_id: None,
            deleting: false,
            last_version: 0,
            versions: 0,
            published: None,
            first_version: first_version.clone(),
        };
        let mut more = Vec::new();
        if let Some(version) = first_version {
            self.publish(caller, &arn, &mut machine, &version.description, &mut more)?;
        }
        let text: Arc<str> = request.definition.into();
        self.node()
            .programs
            .remember(hash, text.clone(), Arc::new(program));
        self.scope(caller, &arn, request.kind, true).await?;
        self.write(blob).await?;
        let stored = self.create(caller, &arn, machine, more).await?;
        Ok(Changed {
            version_arn: stored
                .first_version
                .as_ref()
                .map(|_| arn.version(1).to_string().into()),
            machine: shown(stored, &arn, text),
        })
    }

    /// Writes the first record of a machine and what hangs on it, or answers the record of the same machine.
    async fn create(
        &self,
        caller: &Caller,
        arn: &MachineArn,
        machine: MachineRecord,
        more: Vec<CatalogWrite>,
    ) -> Result<MachineRecord, Error> {
        let mut writes = vec![CatalogWrite {
            key: machine_key(caller, arn),
            expected: Some(0),
            bytes: Some(record::encode(&machine)),
        }];
        writes.extend(more);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            if self.verdict(Write::Catalog(writes.clone())).await?.is_ok() {
                return Ok(machine);
            }
            let Some(stored) = self.record(&machine_key(caller, arn)).await? else {
                // Deleted between the two.
                continue;
            };
            let stored: MachineRecord = record::decode(&stored.bytes)?;
            if stored.deleting {
                return Err(being_deleted(arn));
            }
            let same = stored.definition == machine.definition
                && stored.express == machine.express
                && stored.logging == machine.logging
                && stored.tracing == machine.tracing
                && stored.encryption == machine.encryption
                && stored.first_version == machine.first_version;
            if same {
                return Ok(stored);
            }
            return Err(Error::rejected(
                Code::StateMachineAlreadyExists,
                format!("State Machine Already Exists: '{arn}'"),
            ));
        }
        Err(crossed(arn))
    }

    /// Changes a state machine. Running executions and versions keep what they have; a change of nothing makes no
    /// revision.
    pub async fn update_machine(
        &self,
        caller: &Caller,
        arn_text: &str,
        request: UpdateMachine,
    ) -> Result<Changed, Error> {
        let arn = arn::machine(caller, arn_text)?;
        let description = request
            .publish
            .as_ref()
            .and_then(|publish| publish.description.as_deref().map(Arc::from));
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let mut held = self.hold(caller, &arn).await?;
            let revised = self.changed(&held.record, &request).await?;
            let changes = revised.is_some();
            held.record = revised.unwrap_or(held.record);
            let mut more = Vec::new();
            let mut version_arn = None;
            if request.publish.is_some() {
                let number =
                    self.publish(caller, &arn, &mut held.record, &description, &mut more)?;
                version_arn = Some(arn.version(number).to_string().into());
            }
            let after = held.record.clone();
            let nothing = !changes && more.is_empty();
            if nothing || self.settle(caller, &arn, held, more).await? {
                let (text, _) = self.definition(&after.definition).await?;
                return Ok(Changed {
                    machine: shown(after, &arn, text),
                    version_arn,
                });
            }
        }
        Err(crossed(&arn))
    }

    /// The record of a machine that is to be changed with what hangs on it, to be given to [`Engine::settle`].
    pub(crate) async fn hold(&self, caller: &Caller, arn: &MachineArn) -> Result<Held, Error> {
        if arn.qualifier.is_some() {
            return Err(absent(&arn.to_string()));
        }
        let key = machine_key(caller, arn);
        let stored = self.record(&key).await?;
        let stored = stored.ok_or_else(|| absent(&arn.to_string()))?;
        let record: MachineRecord = record::decode(&stored.bytes)?;
        if record.deleting {
            return Err(being_deleted(arn));
        }
        Ok(Held {
            key,
            revision: stored.revision,
            record,
        })
    }

    /// Writes a machine's record and more in one transaction. False, and nothing is written, when another request
    /// changed the machine since it was read.
    pub(crate) async fn settle(
        &self,
        caller: &Caller,
        arn: &MachineArn,
        held: Held,
        more: Vec<CatalogWrite>,
    ) -> Result<bool, Error> {
        let mut writes = vec![CatalogWrite {
            key: held.key,
            expected: Some(held.revision),
            bytes: Some(record::encode(&held.record)),
        }];
        writes.extend(more);
        let written = self.verdict(Write::Catalog(writes)).await?.is_ok();
        self.machines_cache()
            .forget(&caller.tenant, &arn.record_name());
        Ok(written)
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
        after.published = None;
        Ok(Some(after))
    }

    /// A state machine by its ARN, or that of a version or an alias: of two versions the one with more weight.
    pub async fn machine(&self, caller: &Caller, arn_text: &str) -> Result<Machine, Error> {
        let arn = arn::machine(caller, arn_text)?;
        let number = match arn.qualified() {
            Qualifier::Nothing => {
                let stored = self.machine_record(caller, &arn).await?;
                let (text, _) = self.definition(&stored.definition).await?;
                return Ok(shown(stored, &arn, text));
            }
            Qualifier::Version(number) => number,
            Qualifier::Alias(_) => {
                let alias = self.alias_record(caller, &arn).await?;
                let alias = alias.ok_or_else(|| absent(arn_text))?;
                let heaviest = alias.routes.iter().rev().max_by_key(|(_, weight)| weight);
                heaviest.map_or(0, |(number, _)| *number)
            }
        };
        self.described_version(caller, &arn, number).await
    }

    /// The state machine as the execution runs it: the definition, role and revision of its start.
    pub async fn machine_of_execution(
        &self,
        caller: &Caller,
        arn_text: &str,
    ) -> Result<Machine, Error> {
        let (row, machine) = self.execution_row(caller, arn_text).await?;
        let meta: record::Meta = record::decode(&row.new.meta)?;
        let own = machine.unlabelled();
        let stored = self.record(&machine_key(caller, &own)).await?;
        let stored = stored.map(|stored| record::decode::<MachineRecord>(&stored.bytes));
        // Executions outlive their machine, and another one may have its name by now.
        let stored = stored
            .transpose()?
            .filter(|stored| {
                let same_type = machine.label().is_some() || stored.express != row.new.unique_name;
                same_type && stored.created_ms <= row.new.started_at.0
            })
            .unwrap_or_else(|| MachineRecord::deleted(&meta, !row.new.unique_name));
        let (text, _) = self.definition(&meta.definition).await?;
        let mut shown = shown(stored, &own, text);
        if let Some(settings) = self.settings_of(caller, &own, &row).await? {
            shown.settings = settings;
        }
        if meta.revised_ms > 0 {
            shown.revision_id = meta.revision_id;
            shown.updated_at = record::time(meta.revised_ms);
        }
        if let Some(label) = machine.label() {
            let start = reader::start_of_execution(self.node().journal.as_ref(), row.id).await?;
            let state = start.and_then(|start| start.processor_of);
            shown.arn = meta.machine_arn;
            shown.name = machine.name.as_str().into();
            shown.label = Some(label.into());
            shown.map_run_arn = meta.map_run;
            if let Some(processor) = state.and_then(|state| processor(&shown.definition, &state)) {
                shown.definition = processor.into();
            }
        }
        if let Some(role_arn) = reader::role_of(self.node().journal.as_ref(), row.id).await? {
            shown.role_arn = role_arn;
        }
        Ok(shown)
    }

    /// The settings of the version by which an execution was started, if there was one and it still exists.
    async fn settings_of(
        &self,
        caller: &Caller,
        machine: &MachineArn,
        row: &ExecutionRow,
    ) -> Result<Option<MachineSettings>, Error> {
        let meta: record::Meta = record::decode(&row.new.meta)?;
        let Some(version_arn) = meta.version_arn else {
            return Ok(None);
        };
        let Qualifier::Version(number) = arn::machine(caller, &version_arn)?.qualified() else {
            return Ok(None);
        };
        let version = self.version_record(caller, machine, number).await?;
        // The number may be that of another machine, which has the name now.
        let version = version.filter(|version| row.new.version == Some(ScopeId(version.list)));
        Ok(version.map(|version| MachineSettings {
            logging: version.logging,
            tracing: version.tracing,
            encryption: version.encryption,
        }))
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
            let stored: MachineRecord = record::decode(&item.bytes)?;
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

    /// Deletes a state machine with its versions and aliases, and stops its running executions. Deleting what is not
    /// there succeeds, as on AWS.
    pub async fn delete_machine(&self, caller: &Caller, arn_text: &str) -> Result<(), Error> {
        let arn = arn::machine(caller, arn_text)?;
        if arn.qualifier.is_some() {
            let text = format!(
                "A version or an alias is deleted by DeleteStateMachineVersion or DeleteStateMachineAlias: '{arn}'"
            );
            return Err(Error::rejected(Code::ValidationException, text));
        }
        if self.mark_deleting(caller, &arn).await? {
            self.delete_marked(caller, &arn).await?;
        }
        Ok(())
    }

    /// Makes a machine take no more executions and changes, with a record of the intent to delete it; false when there
    /// is no such machine.
    async fn mark_deleting(&self, caller: &Caller, arn: &MachineArn) -> Result<bool, Error> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let mut held = match self.hold(caller, arn).await {
                Ok(held) => held,
                Err(Error::Rejected {
                    code: Code::StateMachineDoesNotExist,
                    ..
                }) => return Ok(false),
                // Another deletion is under way.
                Err(Error::Rejected {
                    code: Code::StateMachineDeleting,
                    ..
                }) => return Ok(true),
                Err(error) => return Err(error),
            };
            held.record.deleting = true;
            let intent = deletion::intent(caller, arn);
            if self.settle(caller, arn, held, vec![intent]).await? {
                return Ok(true);
            }
        }
        Err(crossed(arn))
    }

    /// Deletes a machine that takes no more changes.
    pub(crate) async fn delete_marked(
        &self,
        caller: &Caller,
        arn: &MachineArn,
    ) -> Result<(), Error> {
        let key = machine_key(caller, arn);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            // Read first: only what was seen is deleted, since another deletion may be faster and the name in use again.
            let intent = self.record(&deletion::intent_key(caller, arn)).await?;
            let stored = self.record(&key).await?;
            let mut gone: Vec<CatalogRecord> = intent.into_iter().collect();
            let mut more = Vec::new();
            if let Some(stored) = stored
                && record::decode::<MachineRecord>(&stored.bytes)?.deleting
            {
                self.stop_all(caller, arn).await?;
                more = self.dependents(caller, arn).await?;
                gone.push(stored);
            }
            let mut writes: Vec<CatalogWrite> = gone.into_iter().map(deletion::of).collect();
            writes.extend(more);
            let settled = self.verdict(Write::Catalog(writes)).await?.is_ok();
            self.machines_cache()
                .forget(&caller.tenant, &arn.record_name());
            if settled {
                return Ok(());
            }
        }
        Err(crossed(arn))
    }

    /// The deletions of a machine's versions and aliases.
    async fn dependents(
        &self,
        caller: &Caller,
        arn: &MachineArn,
    ) -> Result<Vec<CatalogWrite>, Error> {
        let prefix = versions::prefix(arn);
        let journal = &self.node().journal;
        let found = journal.scan(
            &caller.tenant,
            versions::KIND,
            &prefix,
            None,
            VERSIONS_MAX_RAISED,
        );
        let found = found.await.map_err(reader::broken)?;
        let gone = |key| CatalogWrite {
            key,
            expected: None,
            bytes: None,
        };
        let mut writes: Vec<CatalogWrite> = found.into_iter().map(|item| gone(item.key)).collect();
        for (name, _) in self.aliases_of(caller, arn).await? {
            writes.push(aliases::deletion(caller, arn, &name));
        }
        Ok(writes)
    }

    async fn stop_all(&self, caller: &Caller, arn: &MachineArn) -> Result<(), Error> {
        for kind in [MachineKind::Standard, MachineKind::Express] {
            if let Some(scope) = self.scope(caller, arn, kind, false).await? {
                self.stop_all_of(scope).await?;
            }
        }
        Ok(())
    }

    async fn stop_all_of(&self, scope: ScopeId) -> Result<(), Error> {
        let mut before = None;
        loop {
            let query = ListQuery {
                list: List::Scope(scope),
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
        let scope = ScopeId(record::decode::<ScopeRecord>(&stored.bytes)?.scope);
        self.machines_cache()
            .put_scope(&caller.tenant, name, kind, scope);
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

    pub(crate) async fn machine_record(
        &self,
        caller: &Caller,
        arn: &MachineArn,
    ) -> Result<MachineRecord, Error> {
        let stored = self
            .record(&machine_key(caller, arn))
            .await?
            .ok_or_else(|| absent(&arn.to_string()))?;
        record::decode(&stored.bytes)
    }

    pub(crate) async fn definition(&self, hash: &str) -> Result<(Arc<str>, Arc<Program>), Error> {
        let hash = from_hex(hash).ok_or_else(|| {
            Error::Damaged(format!("a stored machine names no definition; {RESTORE}"))
        })?;
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

pub(crate) fn machine_key(caller: &Caller, arn: &MachineArn) -> CatalogKey {
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
        settings: MachineSettings {
            logging: record.logging,
            tracing: record.tracing,
            encryption: record.encryption,
        },
        tags: record.tags,
        description: None,
        created_at: record::time(record.created_ms),
        updated_at: record::time(record.updated_ms),
        revision_id: record.revision_id,
        deleting: record.deleting,
        label: None,
        map_run_arn: None,
    }
}

pub(crate) fn absent(arn: &str) -> Error {
    Error::rejected(
        Code::StateMachineDoesNotExist,
        format!("State Machine Does Not Exist: '{arn}'"),
    )
}

pub(crate) fn being_deleted(arn: &MachineArn) -> Error {
    Error::rejected(
        Code::StateMachineDeleting,
        format!("State Machine is being deleted: '{arn}'"),
    )
}

/// Every attempt at a change met another one.
pub(crate) fn crossed(arn: &MachineArn) -> Error {
    let text = format!(
        "Other requests are changing the state machine, its versions or its aliases; try again: '{arn}'"
    );
    Error::rejected(Code::ConflictException, text)
}

/// The text of the state machine that a Map state runs for each item.
fn processor(definition: &str, state: &str) -> Option<String> {
    let definition = Value::parse(definition).ok()?;
    processor_in(&definition, state).map(Value::to_json)
}

fn processor_in<'a>(machine: &'a Value, state: &str) -> Option<&'a Value> {
    let states = machine.get("States")?.as_object()?;
    let own = |of: &'a Value| of.get("ItemProcessor").or_else(|| of.get("Iterator"));
    if let Some(found) = states.get(state) {
        return own(found);
    }
    states.values().find_map(|of| {
        let branches = of.get("Branches").and_then(Value::as_array);
        let branches = branches.into_iter().flat_map(|branches| branches.iter());
        own(of)
            .into_iter()
            .chain(branches)
            .find_map(|inner| processor_in(inner, state))
    })
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin, sync::Arc};

    use stepwell_interp::OnCrash;

    use super::Engine;
    use crate::{
        Caller, Code, CreateMachine, Error, MachineKind, MachineSettings, Options, PluginCall,
        PluginEnd, StartRequest, Status, Store, TaskRunner, arn, deletion,
    };

    const HANGS: &str =
        r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:hang","End":true}}}"#;

    struct Hangs;

    impl TaskRunner for Hangs {
        fn run(&self, _: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
            Box::pin(std::future::pending())
        }

        fn on_crash(&self, _: &str, _: &str) -> OnCrash {
            OnCrash::Redispatch
        }
    }

    fn caller() -> Caller {
        Caller {
            tenant: "000000000000".into(),
            region: "us-east-1".into(),
        }
    }

    fn open(directory: &std::path::Path) -> Engine {
        let options = Options {
            store: Store::Directory(directory.to_owned()),
            raised_limits: false,
            take_up: true,
            shards: 1,
            storage: None,
            connections: Default::default(),
        };
        Engine::open(options, Arc::new(Hangs)).unwrap()
    }

    fn machine() -> CreateMachine {
        CreateMachine {
            name: "m".into(),
            definition: HANGS.into(),
            role_arn: "arn:aws:iam::000000000000:role/none".into(),
            kind: MachineKind::Standard,
            settings: MachineSettings::default(),
            tags: Vec::new(),
            publish: None,
        }
    }

    #[test]
    fn the_next_start_finishes_a_deletion() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (machine_arn, execution_arn) = runtime.block_on(async {
            let engine = open(directory.path());
            let created = engine.create_machine(&caller(), machine()).await.unwrap();
            let created = created.machine;
            let request = StartRequest {
                machine_arn: created.arn.to_string(),
                name: None,
                input: None,
                trace_header: None,
            };
            let started = engine.start(&caller(), request).await.unwrap();
            // As far as a process comes that is killed then.
            let arn = arn::machine(&caller(), &created.arn).unwrap();
            assert!(engine.mark_deleting(&caller(), &arn).await.unwrap());
            engine.shutdown().await;
            (created.arn, started.execution_arn)
        });
        runtime.block_on(async {
            let engine = open(directory.path());
            let stopped = engine.wait(&caller(), &execution_arn).await.unwrap();
            assert_eq!(stopped.status, Status::Aborted);
            // What the start began in the background may be a write away from its end.
            deletion::finish_all(&engine).await.unwrap();
            let gone = engine.machine(&caller(), &machine_arn).await;
            let code = Code::StateMachineDoesNotExist;
            assert!(
                matches!(&gone, Err(Error::Rejected { code: found, .. }) if *found == code),
                "{gone:?}"
            );
            engine.create_machine(&caller(), machine()).await.unwrap();
            deletion::finish_all(&engine).await.unwrap();
            engine.machine(&caller(), &machine_arn).await.unwrap();
            engine
                .delete_machine(&caller(), &machine_arn)
                .await
                .unwrap();
            engine.machine(&caller(), &machine_arn).await.unwrap_err();
            engine.shutdown().await;
        });
    }
}
