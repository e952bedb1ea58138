//! What holds for the plugins of each account: the operator's file of ceilings, and the ceilings that accounts have of their own. Both
//! may change while plugins run. Hides how the two are put together.

use crate::ceiling::{Allowance, Ceilings};
use crate::grants::Ceiling;
use crate::manifest::{Instance, Limits};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What is allowed to an account: everything that each of these allows.
#[derive(Debug, Clone)]
pub(crate) struct Allowed {
    all: Vec<Arc<Allowance>>,
    /// The most memory that an engine of this process can give.
    memory_bytes_max: u64,
}

impl Allowed {
    /// The smallest of all limits.
    pub(crate) fn limits(&self) -> Limits {
        let all = self.all.iter().map(|allowed| &allowed.limits);
        let least = all.fold(Limits::unlimited(), |least, limits| least.within(limits));
        Limits {
            memory_bytes: least.memory_bytes.min(self.memory_bytes_max),
            ..least
        }
    }

    /// What may be granted: a capability has to be in each.
    pub(crate) fn grants(&self) -> Vec<&Ceiling> {
        self.all.iter().map(|allowed| &allowed.grants).collect()
    }

    /// What a manifest says of instances, as far as it is allowed.
    pub(crate) fn instance(&self, asked: Instance) -> Instance {
        match self.all.iter().all(|allowed| allowed.reuse) {
            true => asked,
            false => Instance::default(),
        }
    }
}

/// See the module.
pub(crate) struct Ceilinged {
    default_tenant: String,
    /// What engines were made for.
    memory_bytes_max: u64,
    rules: RwLock<Rules>,
}

struct Rules {
    file: Ceilings,
    own: BTreeMap<String, Arc<Allowance>>,
}

impl Ceilinged {
    pub(crate) fn new(file: Ceilings, default_tenant: String) -> Self {
        let all = file.all();
        let memory = all.map(|allowed| allowed.limits.memory_bytes).max();
        Self {
            default_tenant,
            memory_bytes_max: memory.unwrap_or(crate::limits::MEMORY_BYTES_MAX),
            rules: RwLock::new(Rules {
                file,
                own: BTreeMap::new(),
            }),
        }
    }

    pub(crate) fn default_tenant(&self) -> &str {
        &self.default_tenant
    }

    /// The most memory that anybody's task may have. It stays: engines reserve it when they are made.
    pub(crate) fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }

    /// What is allowed to an account now: what the file writes and what the account has of its own; where the file writes nothing
    /// of it, its own alone, else what is usual.
    pub(crate) fn of(&self, account: &str) -> Allowed {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let own = rules.own.get(account);
        let written = rules.file.is_written(account, &self.default_tenant);
        let mut all = Vec::new();
        if written || own.is_none() {
            let of_file = rules.file.of(account, &self.default_tenant);
            all.push(Arc::new(of_file.clone()));
        }
        all.extend(own.cloned());
        Allowed {
            all,
            memory_bytes_max: self.memory_bytes_max,
        }
    }

    /// What an account's ceiling is read on top of: what holds for it without one and without a file.
    pub(crate) fn usual(&self, account: &str) -> Allowance {
        Ceilings::default()
            .of(account, &self.default_tenant)
            .clone()
    }

    /// Takes another file in the place of the one before.
    pub(crate) fn set_file(&self, file: Ceilings) {
        let most = file.all().map(|allowed| allowed.limits.memory_bytes).max();
        if most.is_some_and(|most| most > self.memory_bytes_max) {
            tracing::warn!(
                at_most_mib = self.memory_bytes_max >> 20,
                "a ceiling allows more memory than this process was started for; it counts from the next start on"
            );
        }
        self.rules
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .file = file;
    }

    /// Gives an account a ceiling of its own, or takes it away.
    pub(crate) fn set_own(&self, account: &str, own: Option<Allowance>) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        match own {
            Some(own) => drop(rules.own.insert(account.to_owned(), Arc::new(own))),
            None => drop(rules.own.remove(account)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "000000000000";
    const ACCOUNT: &str = "111111111111";

    fn with(file: &str, own: &str) -> Ceilinged {
        let all = Ceilinged::new(Ceilings::parse("f", file).unwrap(), DEFAULT.into());
        for account in [DEFAULT, ACCOUNT] {
            let own = Allowance::parse("o", own, &all.usual(account)).unwrap();
            all.set_own(account, Some(own));
        }
        all
    }

    #[test]
    fn the_smaller_of_both_holds_where_the_file_says_something() {
        let own = "reuse = \"never\"\nlimits = { memory = \"256MiB\", cpu = \"1s\" }\ngrants = { secrets = [\"A\"] }";
        for (file, memory_mib, ceilings) in [
            // Of the account nothing: its own alone.
            ("", 256, 1),
            (
                "[account.222222222222]\nlimits = { memory = \"1MiB\" }",
                256,
                1,
            ),
            (
                "[account.111111111111]\nlimits = { memory = \"64MiB\" }",
                64,
                2,
            ),
            ("[others]\nlimits = { memory = \"512MiB\" }", 256, 2),
        ] {
            let all = with(file, own);
            let allowed = all.of(ACCOUNT);
            let limits = allowed.limits();
            assert_eq!(limits.memory_bytes, memory_mib << 20, "{file}");
            assert_eq!(limits.cpu.as_secs(), 1);
            assert_eq!(allowed.grants().len(), ceilings, "{file}");
            let asked = Instance {
                reuse: crate::manifest::Reuse::Tenant,
                ..Instance::default()
            };
            assert_eq!(allowed.instance(asked).reuse, crate::manifest::Reuse::Never);
        }
    }

    #[test]
    fn a_ceiling_that_is_taken_away_leaves_what_is_usual() {
        let all = with("", "limits = { memory = \"1MiB\" }");
        // Of the default account the grants are what its plugins ask for, unless they are written.
        assert!(matches!(all.of(DEFAULT).grants()[..], [Ceiling::AsAsked]));
        assert!(matches!(all.of(ACCOUNT).grants()[..], [Ceiling::Nothing]));
        all.set_own(ACCOUNT, None);
        let usual = Limits::ceiling().memory_bytes;
        assert_eq!(all.of(ACCOUNT).limits().memory_bytes, usual);
    }

    #[test]
    fn no_ceiling_gives_more_memory_than_engines_were_made_for() {
        let all = with("", "limits = { memory = \"8GiB\" }");
        assert_eq!(
            all.of(ACCOUNT).limits().memory_bytes,
            all.memory_bytes_max()
        );
        all.set_file(Ceilings::parse("f", "[others]\nlimits = { memory = \"8GiB\" }").unwrap());
        assert_eq!(
            all.of(ACCOUNT).limits().memory_bytes,
            all.memory_bytes_max()
        );
    }
}
