//! Aliases of state machines: a name that stands for one version or two, by weights. Hides their records; the choice
//! at a start is `startable`'s.

use std::sync::Arc;

use crate::{
    api::{Alias, Caller, CreateAlias, Page, PageRequest, Route},
    arn::{self, MachineArn, Qualifier},
    engine::Engine,
    error::{Code, Error},
    journal::{CatalogKey, CatalogRecord, CatalogWrite},
    limits::{ALIAS_WEIGHTS, ALIASES_MAX, ALIASES_MAX_RAISED, CHANGE_ATTEMPTS_MAX},
    machines::{being_deleted, crossed},
    node, pages, reader,
    record::{self, AliasRecord},
    versions,
};

/// Kind of the records of aliases.
const KIND: &str = "alias";

impl Engine {
    /// Creates an alias of the machine whose versions it routes to. The same call again answers the same alias;
    /// another description or routing under a taken name is refused.
    pub async fn create_alias(
        &self,
        caller: &Caller,
        request: CreateAlias,
    ) -> Result<Alias, Error> {
        let (machine, routes) = routing(caller, &request.routes)?;
        let arn = machine.alias(&request.name);
        arn::check_alias_name(&request.name)?;
        let description: Option<Arc<str>> = request.description.map(Into::into);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let held = self.hold(caller, &machine).await.map_err(missing_machine)?;
            if let Some(stored) = self.alias_record(caller, &arn).await? {
                if stored.routes == routes && stored.description == description {
                    return Ok(shown(&arn, stored));
                }
                let text = "Failed to create alias because an alias with the same name and a different routing configuration already exists.";
                return Err(Error::rejected(Code::ConflictException, text));
            }
            self.require_versions(caller, &machine, &routes).await?;
            self.require_room(caller, &machine).await?;
            let at = node::now().0;
            let alias = AliasRecord {
                routes: routes.clone(),
                description: description.clone(),
                list: record::fresh_list(),
                created_ms: at,
                updated_ms: at,
            };
            let write = CatalogWrite {
                key: alias_key(caller, &arn),
                expected: Some(0),
                bytes: Some(record::encode(&alias)),
            };
            if self.settle(caller, &machine, held, vec![write]).await? {
                return Ok(shown(&arn, alias));
            }
        }
        Err(crossed(&machine))
    }

    /// Changes an alias; `None` leaves a part as it is. Running executions keep their version.
    pub async fn update_alias(
        &self,
        caller: &Caller,
        alias_arn: &str,
        description: Option<String>,
        routes: Option<Vec<Route>>,
    ) -> Result<Alias, Error> {
        let arn = alias_arn_of(caller, alias_arn)?;
        let machine = arn.unqualified();
        let routes = routes.map(|routes| routing(caller, &routes)).transpose()?;
        let description: Option<Arc<str>> = description.map(Into::into);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let held = self.hold(caller, &machine).await.map_err(missing_machine)?;
            let before = self.alias_record(caller, &arn).await?.ok_or_else(missing)?;
            let mut after = before.clone();
            if let Some((owner, routes)) = &routes {
                if *owner != machine {
                    return Err(foreign(alias_arn));
                }
                self.require_versions(caller, &machine, routes).await?;
                after.routes.clone_from(routes);
            }
            if description.is_some() {
                after.description.clone_from(&description);
            }
            if after == before {
                return Ok(shown(&arn, before));
            }
            after.updated_ms = node::now().0.max(before.updated_ms);
            let write = CatalogWrite {
                key: alias_key(caller, &arn),
                expected: None,
                bytes: Some(record::encode(&after)),
            };
            if self.settle(caller, &machine, held, vec![write]).await? {
                return Ok(shown(&arn, after));
            }
        }
        Err(crossed(&machine))
    }

    /// An alias by its ARN.
    pub async fn alias(&self, caller: &Caller, alias_arn: &str) -> Result<Alias, Error> {
        let arn = alias_arn_of(caller, alias_arn)?;
        let stored = self.alias_record(caller, &arn).await?;
        Ok(shown(&arn, stored.ok_or_else(missing)?))
    }

    /// Deletes an alias; deleting what is not there succeeds, as on AWS. Its executions run on.
    pub async fn delete_alias(&self, caller: &Caller, alias_arn: &str) -> Result<(), Error> {
        let arn = alias_arn_of(caller, alias_arn)?;
        let machine = arn.unqualified();
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            if self.alias_record(caller, &arn).await?.is_none() {
                return Ok(());
            }
            let held = match self.hold(caller, &machine).await {
                Err(Error::Rejected {
                    code: Code::StateMachineDoesNotExist | Code::StateMachineDeleting,
                    ..
                }) => return Ok(()),
                held => held?,
            };
            let gone = CatalogWrite {
                key: alias_key(caller, &arn),
                expected: None,
                bytes: None,
            };
            if self.settle(caller, &machine, held, vec![gone]).await? {
                return Ok(());
            }
        }
        Err(crossed(&machine))
    }

    /// The aliases of a machine, or those that route to one of its versions: the oldest first, as AWS lists them.
    pub async fn aliases(
        &self,
        caller: &Caller,
        machine_arn: &str,
        page: PageRequest,
    ) -> Result<Page<Alias>, Error> {
        let arn = arn::machine(caller, machine_arn)?;
        let machine = arn.unqualified();
        // A machine that does not exist has to be said, and one that is being deleted, as AWS's model has it.
        if self.machine_record(caller, &machine).await?.deleting {
            return Err(being_deleted(&machine));
        }
        let of_version = match arn.qualified() {
            Qualifier::Nothing => None,
            Qualifier::Version(number) => {
                let version = self.version_record(caller, &machine, number).await?;
                version.ok_or_else(missing)?;
                Some(number)
            }
            Qualifier::Alias(_) => return Err(missing()),
        };
        let list = self.list(caller, &[KIND, &arn.to_string()]);
        let after = list.position(&page).await?;
        let mut found = Vec::new();
        for stored in self.alias_records(caller, &machine).await? {
            let alias = record::decode::<AliasRecord>(&stored.bytes);
            if let Some(alias) = self.unless_damaged(&stored.key, alias)? {
                found.push((alias_name(&machine, &stored), alias));
            }
        }
        found.retain(|(_, alias)| {
            let routes = |number| alias.routes.iter().any(|(version, _)| *version == number);
            of_version.is_none_or(routes)
        });
        let place = |name: &str, alias: &AliasRecord| format!("{:020}/{name}", alias.created_ms);
        found.sort_by_cached_key(|(name, alias)| place(name, alias));
        if let Some(after) = after {
            found.retain(|(name, alias)| place(name, alias) > after);
        }
        let page = list.cut(found, pages::size(&page), |(name, alias)| {
            place(name, alias)
        });
        pages::try_map(page.await?, |(name, alias)| {
            Ok(shown(&machine.alias(&name), alias))
        })
    }

    /// All aliases of a machine with their names.
    pub(crate) async fn aliases_of(
        &self,
        caller: &Caller,
        machine: &MachineArn,
    ) -> Result<Vec<(String, AliasRecord)>, Error> {
        let found = self.alias_records(caller, machine).await?;
        let decoded = found.iter().map(|stored| {
            let alias = record::decode(&stored.bytes)?;
            Ok((alias_name(machine, stored), alias))
        });
        decoded.collect()
    }

    /// The records of all aliases of a machine.
    pub(crate) async fn alias_records(
        &self,
        caller: &Caller,
        machine: &MachineArn,
    ) -> Result<Vec<CatalogRecord>, Error> {
        let prefix = versions::prefix(machine);
        let journal = &self.node().journal;
        let found = journal.scan(&caller.tenant, KIND, &prefix, None, ALIASES_MAX_RAISED);
        found.await.map_err(reader::broken)
    }

    pub(crate) async fn alias_record(
        &self,
        caller: &Caller,
        arn: &MachineArn,
    ) -> Result<Option<AliasRecord>, Error> {
        let stored = self.record(&alias_key(caller, arn)).await?;
        stored
            .map(|stored| record::decode(&stored.bytes))
            .transpose()
    }

    async fn require_versions(
        &self,
        caller: &Caller,
        machine: &MachineArn,
        routes: &[(u64, u32)],
    ) -> Result<(), Error> {
        for (number, _) in routes {
            let version = self.version_record(caller, machine, *number).await?;
            version.ok_or_else(missing)?;
        }
        Ok(())
    }

    async fn require_room(&self, caller: &Caller, machine: &MachineArn) -> Result<(), Error> {
        let most = if self.raised_limits(&caller.tenant) {
            ALIASES_MAX_RAISED
        } else {
            ALIASES_MAX
        };
        if self.aliases_of(caller, machine).await?.len() < most as usize {
            return Ok(());
        }
        let text = format!(
            "The state machine has {most} aliases, which is the most it can have; delete one that is not needed: '{machine}'"
        );
        Err(Error::rejected(Code::ServiceQuotaExceededException, text))
    }
}

/// The machine and the versions with their weights of a routing configuration, or the refusal.
fn routing(caller: &Caller, routes: &[Route]) -> Result<(MachineArn, Vec<(u64, u32)>), Error> {
    let refuse = |text: String| Err(Error::rejected(Code::ValidationException, text));
    let given: Vec<&str> = routes.iter().map(|route| &*route.version_arn).collect();
    let received = given.join(", ");
    if given
        .iter()
        .enumerate()
        .any(|(index, arn)| given[..index].contains(arn))
    {
        return refuse(format!(
            "Routing configuration must contain distinct state machine version ARNs. Received: [{received}]"
        ));
    }
    let mut machines = Vec::new();
    let mut versions = Vec::new();
    for route in routes {
        let arn = arn::machine(caller, &route.version_arn)?;
        let Qualifier::Version(number) = arn.qualified() else {
            return refuse(format!(
                "Routing configuration must contain state machine version ARNs. Received: [{received}]"
            ));
        };
        machines.push(arn.unqualified());
        versions.push((number, route.weight));
    }
    let total: u32 = routes.iter().map(|route| route.weight).sum();
    if total != ALIAS_WEIGHTS {
        let weights: Vec<String> = routes
            .iter()
            .map(|route| route.weight.to_string())
            .collect();
        return refuse(format!(
            "Sum of routing configuration weights must equal 100. Received: [{}]",
            weights.join(", ")
        ));
    }
    let first = machines.first().cloned();
    match first.filter(|first| machines.iter().all(|machine| machine == first)) {
        Some(machine) => Ok((machine, versions)),
        None => Err(foreign(&received)),
    }
}

/// The ARN of an alias, or the refusal.
fn alias_arn_of(caller: &Caller, text: &str) -> Result<MachineArn, Error> {
    let arn = arn::machine(caller, text)?;
    if matches!(arn.qualified(), Qualifier::Alias(_)) {
        return Ok(arn);
    }
    let why = format!("Invalid Arn: 'Resource type not valid in this context: {text} is no alias'");
    Err(Error::rejected(Code::InvalidArn, why))
}

fn alias_key(caller: &Caller, arn: &MachineArn) -> CatalogKey {
    let name = arn.qualifier.as_deref().unwrap_or_default();
    CatalogKey {
        tenant: caller.tenant.clone(),
        kind: KIND.into(),
        name: format!("{}{name}", versions::prefix(arn)).into(),
    }
}

/// The name of a machine's alias by its record.
fn alias_name(machine: &MachineArn, stored: &CatalogRecord) -> String {
    let (prefix, name) = (versions::prefix(machine), &stored.key.name);
    name.strip_prefix(&*prefix).unwrap_or(name).to_owned()
}

fn shown(arn: &MachineArn, alias: AliasRecord) -> Alias {
    let route = |(version, weight): &(u64, u32)| Route {
        version_arn: arn.version(*version).to_string().into(),
        weight: *weight,
    };
    Alias {
        arn: arn.to_string().into(),
        name: arn.qualifier.as_deref().unwrap_or_default().into(),
        routes: alias.routes.iter().map(route).collect(),
        description: alias.description,
        created_at: record::time(alias.created_ms),
        updated_at: record::time(alias.updated_ms),
    }
}

fn missing() -> Error {
    let text = "Request references a resource that does not exist.";
    Error::rejected(Code::ResourceNotFound, text)
}

/// The calls about aliases know no error for a machine that is not there.
fn missing_machine(error: Error) -> Error {
    match error {
        Error::Rejected {
            code: Code::StateMachineDoesNotExist,
            ..
        } => missing(),
        error => error,
    }
}

fn foreign(received: &str) -> Error {
    let text = format!(
        "Routing configuration must contain versions of the alias's own state machine. Received: [{received}]"
    );
    Error::rejected(Code::ValidationException, text)
}
