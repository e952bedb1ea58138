//! Versions of state machines: publish, list, delete, describe. A version is a copy of what a revision says, under a
//! number that is never given twice. Hides its record and the counters, which are the machine's.

use std::sync::Arc;

use crate::{
    api::{Caller, Machine, MachineSettings, Page, PageRequest, Version},
    arn::{self, MachineArn, Qualifier},
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogKey, CatalogRecord, CatalogWrite},
    limits::{CHANGE_ATTEMPTS_MAX, VERSIONS_MAX, VERSIONS_MAX_RAISED},
    machines::{absent, crossed},
    node,
    record::{self, MachineRecord, VersionRecord},
};

/// Kind of the records of versions.
pub(crate) const KIND: &str = "version";

/// What AWS calls the revision of a machine that was never updated.
const INITIAL: &str = "INITIAL";

impl Engine {
    /// Makes a version of a machine's current revision, or answers the one there is.
    pub async fn publish_version(
        &self,
        caller: &Caller,
        machine_arn: &str,
        revision_id: Option<&str>,
        description: Option<String>,
    ) -> Result<Version, Error> {
        let arn = arn::machine(caller, machine_arn)?;
        let description: Option<Arc<str>> = description.map(Into::into);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let mut held = self.hold(caller, &arn).await?;
            let current = held.record.revision_id.as_deref().unwrap_or(INITIAL);
            if let Some(wanted) = revision_id.filter(|wanted| *wanted != current) {
                let text = format!(
                    "Failed to publish the State Machine version for revision {wanted}. The current State Machine revision is {current}."
                );
                return Err(Error::rejected(Code::ConflictException, text));
            }
            let mut more = Vec::new();
            let published =
                self.publish(caller, &arn, &mut held.record, &description, &mut more)?;
            if !more.is_empty() && !self.settle(caller, &arn, held, more).await? {
                continue;
            }
            let version = self.version_record(caller, &arn, published).await?;
            // It may be deleted by now; then there is a next one to make.
            if let Some(version) = version {
                return Ok(shown(&arn, published, version));
            }
        }
        Err(crossed(&arn))
    }

    /// Adds to `more` what makes a version of the machine's current revision, unless there is one, and counts it in
    /// the machine's record. Answers its number.
    pub(crate) fn publish(
        &self,
        caller: &Caller,
        arn: &MachineArn,
        machine: &mut MachineRecord,
        description: &Option<Arc<str>>,
        more: &mut Vec<CatalogWrite>,
    ) -> Result<u64, Error> {
        if let Some(number) = machine.published {
            return Ok(number);
        }
        let most = if self.raised_limits(&caller.tenant) {
            VERSIONS_MAX_RAISED
        } else {
            VERSIONS_MAX
        };
        if machine.versions >= most {
            let text = format!(
                "The state machine has {most} versions, which is the most it can have; delete one that is not needed: '{arn}'"
            );
            return Err(Error::rejected(Code::ServiceQuotaExceededException, text));
        }
        self.node().allowances.has_room(&caller.tenant, 0)?;
        let number = machine.last_version + 1;
        machine.last_version = number;
        machine.versions += 1;
        machine.published = Some(number);
        let version = VersionRecord {
            definition: machine.definition.clone(),
            role_arn: machine.role_arn.clone(),
            logging: machine.logging.clone(),
            tracing: machine.tracing.clone(),
            encryption: machine.encryption.clone(),
            description: description.clone(),
            revision_id: machine.revision_id.clone(),
            revised_ms: machine.updated_ms,
            created_ms: node::now().0,
            list: record::fresh_list(),
        };
        more.push(CatalogWrite {
            key: version_key(caller, arn, number),
            expected: Some(0),
            bytes: Some(record::encode(&version)),
        });
        Ok(number)
    }

    /// A machine's versions, newest first. One that does not exist has none.
    pub async fn versions(
        &self,
        caller: &Caller,
        machine_arn: &str,
        page: PageRequest,
    ) -> Result<Page<Version>, Error> {
        let arn = arn::machine(caller, machine_arn)?;
        if arn.qualifier.is_some() {
            return Err(absent(machine_arn));
        }
        let found = self.scan_page(caller, KIND, &prefix(&arn), &page).await?;
        self.shown(found, |CatalogRecord { key, bytes, .. }| {
            let number = number_of(&key.name)?;
            let version = record::decode(bytes)?;
            Ok(shown(&arn, number, version))
        })
    }

    /// Deletes a version that no alias refers to; deleting what is not there succeeds, as on AWS. Its executions run on.
    pub async fn delete_version(&self, caller: &Caller, version_arn: &str) -> Result<(), Error> {
        let arn = arn::machine(caller, version_arn)?;
        let Qualifier::Version(number) = arn.qualified() else {
            let text = format!(
                "The ARN must be that of a version: it ends with a colon and the version's number: '{version_arn}'"
            );
            return Err(Error::rejected(Code::ValidationException, text));
        };
        let arn = arn.unqualified();
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let mut held = match self.hold(caller, &arn).await {
                Err(Error::Rejected {
                    code: Code::StateMachineDoesNotExist | Code::StateMachineDeleting,
                    ..
                }) => return Ok(()),
                held => held?,
            };
            if self.version_record(caller, &arn, number).await?.is_none() {
                return Ok(());
            }
            self.refuse_referenced(caller, &arn, number).await?;
            held.record.versions = held.record.versions.saturating_sub(1);
            held.record
                .published
                .take_if(|published| *published == number);
            let gone = CatalogWrite {
                key: version_key(caller, &arn, number),
                expected: None,
                bytes: None,
            };
            if self.settle(caller, &arn, held, vec![gone]).await? {
                return Ok(());
            }
        }
        Err(crossed(&arn))
    }

    async fn refuse_referenced(
        &self,
        caller: &Caller,
        arn: &MachineArn,
        number: u64,
    ) -> Result<(), Error> {
        let aliases = self.aliases_of(caller, arn).await?;
        let referring: Vec<&str> = aliases
            .iter()
            .filter(|(_, alias)| alias.routes.iter().any(|(version, _)| *version == number))
            .map(|(name, _)| &**name)
            .collect();
        if referring.is_empty() {
            return Ok(());
        }
        let text = format!(
            "Version to be deleted must not be referenced by an alias. Current list of aliases referencing this version: [{}]",
            referring.join(", ")
        );
        Err(Error::rejected(Code::ConflictException, text))
    }

    pub(crate) async fn version_record(
        &self,
        caller: &Caller,
        machine: &MachineArn,
        number: u64,
    ) -> Result<Option<VersionRecord>, Error> {
        let stored = self.record(&version_key(caller, machine, number)).await?;
        stored
            .map(|stored| record::decode(&stored.bytes))
            .transpose()
    }

    /// A version as DescribeStateMachine shows it under the ARN by which it was asked for.
    pub(crate) async fn described_version(
        &self,
        caller: &Caller,
        arn: &MachineArn,
        number: u64,
    ) -> Result<Machine, Error> {
        let machine = self.machine_record(caller, &arn.unqualified()).await;
        let version = self.version_record(caller, arn, number).await?;
        let (Ok(machine), Some(version)) = (machine, version) else {
            return Err(absent(&arn.to_string()));
        };
        let (definition, _) = self.definition(&version.definition).await?;
        Ok(Machine {
            arn: arn.to_string().into(),
            name: arn.name.as_str().into(),
            kind: machine.kind(),
            definition,
            role_arn: version.role_arn,
            settings: MachineSettings {
                logging: version.logging,
                tracing: version.tracing,
                encryption: version.encryption,
            },
            tags: machine.tags,
            description: version.description,
            created_at: record::time(version.created_ms),
            updated_at: record::time(version.revised_ms),
            revision_id: version.revision_id,
            deleting: machine.deleting,
            label: None,
            map_run_arn: None,
        })
    }
}

/// What the names of the records of a machine's versions and aliases begin with.
pub(crate) fn prefix(machine: &MachineArn) -> String {
    format!("{}/", machine.record_name())
}

/// Names ascend as numbers descend, so that lists begin with the newest.
pub(crate) fn version_key(caller: &Caller, machine: &MachineArn, number: u64) -> CatalogKey {
    CatalogKey {
        tenant: caller.tenant.clone(),
        kind: KIND.into(),
        name: format!("{}{:020}", prefix(machine), u64::MAX - number).into(),
    }
}

fn number_of(name: &str) -> Result<u64, Error> {
    let digits = name.rsplit('/').next().and_then(|text| text.parse().ok());
    let inverse: u64 =
        digits.ok_or_else(|| Error::Broken(format!("`{name}` names no stored version")))?;
    Ok(u64::MAX - inverse)
}

fn shown(machine: &MachineArn, number: u64, version: VersionRecord) -> Version {
    Version {
        arn: machine.version(number).to_string().into(),
        description: version.description,
        created_at: record::time(version.created_ms),
    }
}
