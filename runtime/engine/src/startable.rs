//! What a start needs of a state machine, a version or an alias, kept in memory until one of them changes. Hides the
//! memory, and how an alias chooses.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use stepwell_asl::Program;
use stepwell_query::Value;

use crate::{
    api::{Caller, MachineKind},
    arn::{self, MachineArn, Qualifier},
    engine::Engine,
    error::Error,
    journal::{List, ScopeId},
    limits::STARTABLES_MAX,
    lines::{self, Concurrency},
    logging::Logging,
    machines::{absent, being_deleted},
    node,
    record::{AliasRecord, MachineRecord},
};

/// What StartExecution needs of a state machine or a version of one.
#[derive(Clone)]
pub(crate) struct Startable {
    /// The state machine's ARN, without a version.
    pub(crate) arn: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) role_arn: Arc<str>,
    pub(crate) express: bool,
    pub(crate) definition: String,
    pub(crate) program: Arc<Program>,
    pub(crate) scope: ScopeId,
    pub(crate) version: Option<Qualified>,
    /// The revision that runs, and when it was made.
    pub(crate) revision_id: Option<Arc<str>>,
    pub(crate) revised_ms: u64,
    pub(crate) logging: Option<Logging>,
    /// The limit of the state machine, whatever of it is started.
    pub(crate) concurrency: Option<Concurrency>,
    /// Whether its executions are traced.
    pub(crate) traced: bool,
}

/// A version or an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Qualified {
    pub(crate) arn: Arc<str>,
    /// The list of what it starts.
    pub(crate) list: ScopeId,
}

/// What one start runs.
#[derive(Clone)]
pub(crate) struct Chosen {
    /// The state machine, without version or alias.
    pub(crate) machine: MachineArn,
    pub(crate) startable: Arc<Startable>,
    /// The alias through which it was chosen.
    pub(crate) alias: Option<Qualified>,
}

impl Chosen {
    /// The list of what the ARN starts.
    pub(crate) fn list(&self) -> List {
        match (&self.alias, &self.startable.version) {
            (Some(alias), _) => List::Alias(alias.list),
            (None, Some(version)) => List::Version(version.list),
            (None, None) => List::Scope(self.startable.scope),
        }
    }
}

#[derive(Clone)]
enum Known {
    Startable(Arc<Startable>),
    Alias(Arc<AliasRecord>),
}

/// A tenant and the record name of one of its machines, with the qualifier where there is one.
type Named = (Arc<str>, Arc<str>);

/// State machines, versions and aliases in memory.
#[derive(Default)]
pub(crate) struct MachineCache {
    known: Mutex<Entries>,
    scopes: Mutex<HashMap<(Named, MachineKind), ScopeId>>,
}

#[derive(Default)]
struct Entries {
    by_name: HashMap<Named, Known>,
    /// Oldest first.
    order: VecDeque<Named>,
    /// How often something was forgotten: what was read from the store before is not kept after.
    forgotten: u64,
}

impl MachineCache {
    /// What is known under a name, or else the stamp with which it may be put.
    fn get(&self, name: &Named) -> Result<Known, u64> {
        let entries = self.entries();
        let known = entries.by_name.get(name).cloned();
        known.ok_or(entries.forgotten)
    }

    /// Keeps what was read after `stamp` was given, unless something was forgotten since: it may be that.
    fn put(&self, name: Named, stamp: u64, known: Known) {
        let mut entries = self.entries();
        if entries.forgotten != stamp {
            return;
        }
        if entries.by_name.insert(name.clone(), known).is_none() {
            entries.order.push_back(name);
        }
        while entries.order.len() > STARTABLES_MAX {
            if let Some(oldest) = entries.order.pop_front() {
                entries.by_name.remove(&oldest);
            }
        }
    }

    /// Forgets a machine with its versions and aliases.
    pub(crate) fn forget(&self, tenant: &Arc<str>, machine: &str) {
        let mut entries = self.entries();
        entries.forgotten += 1;
        let other = |name: &Named| {
            let rest = name.1.strip_prefix(machine);
            name.0 != *tenant || rest.is_none_or(|rest| !rest.is_empty() && !rest.starts_with(':'))
        };
        entries.by_name.retain(|name, _| other(name));
        entries.order.retain(other);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn scope(
        &self,
        tenant: &Arc<str>,
        machine: &Arc<str>,
        kind: MachineKind,
    ) -> Option<ScopeId> {
        let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes
            .get(&((tenant.clone(), machine.clone()), kind))
            .copied()
    }

    pub(crate) fn put_scope(
        &self,
        tenant: &Arc<str>,
        machine: Arc<str>,
        kind: MachineKind,
        scope: ScopeId,
    ) {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.insert(((tenant.clone(), machine), kind), scope);
    }
}

impl Engine {
    /// What a start by that ARN runs, from memory when nothing changed. An alias chooses anew at each call.
    pub(crate) async fn startable(&self, caller: &Caller, arn_text: &str) -> Result<Chosen, Error> {
        let arn = arn::machine(caller, arn_text)?;
        let Qualifier::Alias(_) = arn.qualified() else {
            let startable = self.known_startable(caller, &arn).await?;
            let qualifier = None;
            return Ok(Chosen {
                machine: MachineArn { qualifier, ..arn },
                startable,
                alias: None,
            });
        };
        let machine = arn.unqualified();
        let alias = self.known_alias(caller, &arn).await?;
        let version = machine.version(choose(&alias.routes, draw()));
        let startable = self.known_startable(caller, &version).await?;
        Ok(Chosen {
            machine,
            startable,
            alias: Some(Qualified {
                arn: arn.to_string().into(),
                list: ScopeId(alias.list),
            }),
        })
    }

    /// Of a state machine or a version.
    async fn known_startable(
        &self,
        caller: &Caller,
        arn: &MachineArn,
    ) -> Result<Arc<Startable>, Error> {
        let name = named(caller, arn);
        let stamp = match self.machines_cache().get(&name) {
            Ok(Known::Startable(startable)) => return Ok(startable),
            Ok(Known::Alias(_)) => return Err(absent(&arn.to_string())),
            Err(stamp) => stamp,
        };
        let startable = Arc::new(self.read_startable(caller, arn).await?);
        let known = Known::Startable(startable.clone());
        self.machines_cache().put(name, stamp, known);
        Ok(startable)
    }

    async fn read_startable(&self, caller: &Caller, arn: &MachineArn) -> Result<Startable, Error> {
        let machine = arn.unqualified();
        let missing = |_| absent(&arn.to_string());
        let record = self.machine_record(caller, &machine).await;
        let record = record.map_err(|error| match error {
            Error::Rejected { .. } => missing(()),
            other => other,
        })?;
        if record.deleting {
            return Err(being_deleted(&machine));
        }
        let scope = self.scope(caller, &machine, record.kind(), true).await?;
        let scope = scope.ok_or_else(|| missing(()))?;
        let name: Arc<str> = machine.name.as_str().into();
        let concurrency = concurrency(&record);
        let Qualifier::Version(number) = arn.qualified() else {
            let (_, program) = self.definition(&record.definition).await?;
            return Ok(Startable {
                name,
                arn: record.arn,
                role_arn: record.role_arn,
                express: record.express,
                definition: record.definition,
                program,
                scope,
                version: None,
                revision_id: record.revision_id,
                revised_ms: record.updated_ms,
                logging: record.logging.as_ref().and_then(Logging::of),
                concurrency,
                traced: traces(record.tracing.as_ref()),
            });
        };
        let version = self.version_record(caller, &machine, number).await?;
        let version = version.ok_or_else(|| missing(()))?;
        let (_, program) = self.definition(&version.definition).await?;
        Ok(Startable {
            name,
            arn: record.arn,
            role_arn: version.role_arn,
            express: record.express,
            definition: version.definition,
            program,
            scope,
            version: Some(Qualified {
                arn: arn.to_string().into(),
                list: ScopeId(version.list),
            }),
            revision_id: version.revision_id,
            revised_ms: version.revised_ms,
            logging: version.logging.as_ref().and_then(Logging::of),
            concurrency,
            traced: traces(version.tracing.as_ref()),
        })
    }

    async fn known_alias(
        &self,
        caller: &Caller,
        arn: &MachineArn,
    ) -> Result<Arc<AliasRecord>, Error> {
        let name = named(caller, arn);
        let stamp = match self.machines_cache().get(&name) {
            Ok(Known::Alias(alias)) => return Ok(alias),
            Ok(Known::Startable(_)) => return Err(absent(&arn.to_string())),
            Err(stamp) => stamp,
        };
        let alias = self.alias_record(caller, arn).await?;
        let alias = Arc::new(alias.ok_or_else(|| absent(&arn.to_string()))?);
        let known = Known::Alias(alias.clone());
        self.machines_cache().put(name, stamp, known);
        Ok(alias)
    }
}

/// The limit that a machine's tags set. Earlier builds took tags for it that are wrong.
fn concurrency(record: &MachineRecord) -> Option<Concurrency> {
    lines::of_tags(&record.tags).unwrap_or_else(|why| {
        tracing::error!(
            machine = &*record.arn,
            why,
            "tags set no limit: they are wrong"
        );
        None
    })
}

fn named(caller: &Caller, arn: &MachineArn) -> Named {
    let machine = arn.record_name();
    let name = match &arn.qualifier {
        Some(qualifier) => format!("{machine}:{qualifier}").into(),
        None => machine,
    };
    (caller.tenant.clone(), name)
}

/// A number below 100, from fresh randomness.
fn draw() -> u32 {
    let [a, b, c, d, ..] = node::os_seed();
    // 2^32 is no multiple of 100; what that shifts is less than one start in forty million.
    u32::from_le_bytes([a, b, c, d]) % 100
}

/// The version that a number below 100 falls to: each has as many of them as its weight.
fn choose(routes: &[(u64, u32)], drawn: u32) -> u64 {
    let mut left = drawn;
    for (version, weight) in routes {
        if left < *weight {
            return *version;
        }
        left -= weight;
    }
    // Weights add up to 100, so this is the last route at most.
    routes.last().map_or(0, |(version, _)| *version)
}

/// What a `tracingConfiguration` asks for.
fn traces(block: Option<&Value>) -> bool {
    let enabled = block.and_then(|block| block.get("enabled"));
    enabled.and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias() -> Known {
        Known::Alias(Arc::new(AliasRecord {
            routes: vec![(1, 100)],
            description: None,
            list: 7,
            created_ms: 1,
            updated_ms: 1,
        }))
    }

    fn name(text: &str) -> Named {
        ("000000000000".into(), text.into())
    }

    #[test]
    fn each_version_gets_its_weight() {
        for first in 0..=100 {
            let routes = [(3, first), (8, 100 - first)];
            let hits = (0..100).filter(|drawn| choose(&routes, *drawn) == 3);
            assert_eq!(hits.count(), first as usize);
        }
    }

    #[test]
    fn draws_differ() {
        let drawn: std::collections::BTreeSet<u32> = (0..1_000).map(|_| draw()).collect();
        assert!(drawn.len() > 50 && drawn.iter().all(|drawn| *drawn < 100));
    }

    #[test]
    fn a_change_forgets_the_machine_with_all_that_hangs_on_it_and_nothing_else() {
        let cache = MachineCache::default();
        let names = ["r/a", "r/a:1", "r/a:live", "r/ab", "r/ab:1", "q/a"];
        for text in names {
            cache.put(name(text), 0, alias());
        }
        cache.forget(&"000000000000".into(), "r/a");
        let kept = names.map(|text| cache.get(&name(text)).is_ok());
        assert_eq!(kept, [false, false, false, true, true, true]);
        cache.forget(&"000000000001".into(), "r/ab");
        assert!(cache.get(&name("r/ab")).is_ok(), "another tenant's");
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let cache = MachineCache::default();
        let Err(stamp) = cache.get(&name("r/a")) else {
            panic!("nothing is known yet")
        };
        cache.forget(&"000000000000".into(), "r/a");
        cache.put(name("r/a"), stamp, alias());
        let Err(stamp) = cache.get(&name("r/a")) else {
            panic!("it was read before the change")
        };
        cache.put(name("r/a"), stamp, alias());
        assert!(cache.get(&name("r/a")).is_ok());
    }

    #[test]
    fn the_oldest_goes_first() {
        let cache = MachineCache::default();
        for number in 0..=STARTABLES_MAX {
            cache.put(name(&format!("r/{number}")), 0, alias());
        }
        assert!(cache.get(&name("r/0")).is_err());
        assert!(cache.get(&name("r/1")).is_ok());
    }
}
