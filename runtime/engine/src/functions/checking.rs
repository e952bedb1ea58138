//! Uploads that are looked at now, for whoever asks what they wait for. Hides how one that has ended is forgotten.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    api::Caller,
    engine::Engine,
    runner::{FunctionBounds, FunctionVersion},
};

/// A tenant and a name.
type Named = (Arc<str>, Arc<str>);

/// See the module.
#[derive(Default)]
pub(crate) struct Checking(Mutex<HashMap<Named, Arc<FunctionVersion>>>);

/// One that is looked at for as long as this lives.
pub(super) struct Checked {
    all: Arc<Checking>,
    named: Named,
    version: Arc<FunctionVersion>,
}

impl Checking {
    /// Of several of one name the last one is told of.
    pub(super) fn begin(
        self: &Arc<Self>,
        tenant: &Arc<str>,
        name: &str,
        version: &Arc<FunctionVersion>,
    ) -> Checked {
        let named = (tenant.clone(), Arc::from(name));
        self.lock().insert(named.clone(), version.clone());
        Checked {
            all: self.clone(),
            named,
            version: version.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Named, Arc<FunctionVersion>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        let is_it = |version: &Arc<FunctionVersion>| Arc::ptr_eq(version, &self.version);
        if all.get(&self.named).is_some_and(is_it) {
            all.remove(&self.named);
        }
    }
}

impl Engine {
    /// What an upload of an account waits for, for people; `None` when none of that name is looked at.
    pub fn upload_waits_for(&self, caller: &Caller, name: &str) -> Option<String> {
        let node = self.node();
        let named = (caller.tenant.clone(), Arc::from(name));
        let version = node.checking.lock().get(&named).cloned()?;
        node.runner.waits_for(&caller.tenant, name, &version)
    }

    /// The most that an attempt of an account's functions has, whatever their settings say; `None` where nothing bounds it.
    pub fn function_bounds(&self, caller: &Caller) -> Option<FunctionBounds> {
        self.node().runner.function_bounds(&caller.tenant)
    }
}
