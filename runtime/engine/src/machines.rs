//! State machines: create, change, describe, list. Hides their records, and how two changes of one machine, of
//! its versions or of its aliases are kept from crossing.

use std::sync::Arc;

use stepwell_asl::{ExecutionType, Limits, Program};

use crate::{
    api::{
        Caller, Changed, CreateMachine, Machine, MachineKind, MachineSettings, MachineSummary,
        Page, PageRequest, UpdateMachine,
    },
    arn::{self, MachineArn, Qualifier},
    dispatch::hex,
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogKey, CatalogRecord, CatalogWrite, RESTORE, Write},
    keeping,
    limits::{CHANGE_ATTEMPTS_MAX, ROWS_MAX},
    lines, node, pages,
    programs::{Programs, from_hex},
    reader,
    record::{self, FirstVersion, MachineRecord},
    tags,
};

/// Kind of the records of state machines.
const KIND: &str = "state-machine";

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
        self.node().allowances.has_room(&caller.tenant, 0)?;
        let program = self.check(caller, &request.definition, request.kind)?;
        let arn = MachineArn::new(caller, &request.name);
        let (hash, _) = Programs::store(&request.definition);
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
        tags::check_limits(&machine.tags)?;
        self.require_machine(caller, &arn).await?;
        let mut more = Vec::new();
        if let Some(version) = first_version {
            self.publish(caller, &arn, &mut machine, &version.description, &mut more)?;
        }
        let text: Arc<str> = request.definition.into();
        self.node()
            .programs
            .remember(hash, text.clone(), Arc::new(program));
        self.scope(caller, &arn, request.kind, true).await?;
        self.keep_definition(&caller.tenant, &arn.to_string(), &text)
            .await?;
        let stored = self.create(caller, &arn, machine, more).await?;
        self.node().tagged_limits.forget(&machine_key(caller, &arn));
        // A machine that had the name before may have left its line.
        if lines::changes(&[], &stored.tags) {
            self.limits_changed(caller, &arn, request.kind).await?;
        } else if let Some(_usual) = self.node().allowances.machine_concurrency(&caller.tenant) {
            self.reconsider_lines(caller, &arn).await?;
        }
        Ok(Changed {
            version_arn: stored
                .first_version
                .as_ref()
                .map(|_| arn.version(1).to_string().into()),
            machine: shown(stored, &arn, text),
        })
    }

    /// Refuses one machine more than the tenant may have; one that is there already is not another one.
    async fn require_machine(&self, caller: &Caller, arn: &MachineArn) -> Result<(), Error> {
        let Some(most) = self.node().allowances.state_machines(&caller.tenant) else {
            return Ok(());
        };
        if self.record(&machine_key(caller, arn)).await?.is_some()
            || self.count(&caller.tenant, KIND, most).await? < most
        {
            return Ok(());
        }
        let text = format!(
            "The maximum number of state machines has been reached. Check for running state machines and state machine limits. (the tenant's quota is {most})"
        );
        Err(Error::rejected(Code::StateMachineLimitExceeded, text))
    }

    /// Records of a kind that a tenant has, counted up to `most`.
    pub(crate) async fn count(
        &self,
        tenant: &Arc<str>,
        kind: &str,
        most: u64,
    ) -> Result<u64, Error> {
        let (mut count, mut after) = (0, None::<Arc<str>>);
        while count < most {
            let journal = &self.node().journal;
            let page = journal
                .scan(tenant, kind, "", after.as_deref(), ROWS_MAX)
                .await
                .map_err(reader::broken)?;
            count += page.len() as u64;
            after = page.last().map(|found| found.key.name.clone());
            if page.len() < ROWS_MAX as usize {
                break;
            }
        }
        Ok(count)
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
                let bytes = keeping::bytes_of_new(&writes);
                self.count_kept(&caller.tenant, &machine.arn, bytes).await?;
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
            let revised = self.changed(caller, &held.record, &request).await?;
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
        let bytes = keeping::bytes_of_new(&writes);
        let written = self.verdict(Write::Catalog(writes)).await?.is_ok();
        self.machines_cache()
            .forget(&caller.tenant, &arn.record_name());
        if written {
            let machine = arn.to_string();
            self.count_kept(&caller.tenant, &machine, bytes).await?;
        }
        Ok(written)
    }

    /// The record after an update; `None` when nothing changes.
    async fn changed(
        &self,
        caller: &Caller,
        before: &MachineRecord,
        request: &UpdateMachine,
    ) -> Result<Option<MachineRecord>, Error> {
        let mut after = before.clone();
        if let Some(definition) = &request.definition {
            let program = self.check(caller, definition, before.kind())?;
            let hash = self
                .keep_definition(&caller.tenant, &before.arn, definition)
                .await?;
            after.definition = hex(&hash);
            self.node()
                .programs
                .remember(hash, definition.as_str().into(), Arc::new(program));
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
                let text = self.definition(&stored.definition).await;
                let (text, _) = text.map_err(|error| reader::named(arn_text, error))?;
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

    /// The caller's state machines in its region, by name. Their definitions are not looked at.
    pub async fn machines(
        &self,
        caller: &Caller,
        page: PageRequest,
    ) -> Result<Page<MachineSummary>, Error> {
        let prefix = format!("{}/", caller.region);
        let found = self.scan_page(caller, KIND, &prefix, &page).await?;
        self.shown(found, |CatalogRecord { key, bytes, .. }| {
            let stored: MachineRecord = record::decode(bytes)?;
            let name = key.name.strip_prefix(&*prefix).unwrap_or(&key.name);
            Ok(MachineSummary {
                kind: stored.kind(),
                arn: stored.arn,
                name: name.into(),
                created_at: record::time(stored.created_ms),
                deleting: stored.deleting,
            })
        })
    }

    fn check(
        &self,
        caller: &Caller,
        definition: &str,
        kind: MachineKind,
    ) -> Result<Program, Error> {
        let options = stepwell_asl::Options {
            limits: if self.raised_limits(&caller.tenant) {
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

    /// A definition that a STANDARD execution is to run, or the refusal.
    pub(crate) fn check_standard(
        &self,
        caller: &Caller,
        definition: &str,
    ) -> Result<Program, Error> {
        self.check(caller, definition, MachineKind::Standard)
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
        record::decode(&stored.bytes).map_err(|error| reader::named(&arn.to_string(), error))
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
    ) -> Result<Page<CatalogRecord>, Error> {
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

/// The key of a state machine's record by its ARN, for who acts on nobody's behalf.
pub(crate) fn key_by_arn(tenant: &Arc<str>, arn: &str) -> Option<CatalogKey> {
    let caller = Caller {
        tenant: tenant.clone(),
        region: "".into(),
    };
    let machine = arn::machine(&caller, arn).ok()?;
    Some(machine_key(&caller, &machine))
}

pub(crate) fn machine_key(caller: &Caller, arn: &MachineArn) -> CatalogKey {
    key(&caller.tenant, &arn.record_name())
}

/// By the name of its record.
pub(crate) fn key(tenant: &Arc<str>, record_name: &Arc<str>) -> CatalogKey {
    CatalogKey {
        tenant: tenant.clone(),
        kind: KIND.into(),
        name: record_name.clone(),
    }
}

pub(crate) fn shown(record: MachineRecord, arn: &MachineArn, definition: Arc<str>) -> Machine {
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
