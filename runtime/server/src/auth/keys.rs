//! The access keys that requests name, kept in memory for a moment. What it hides: the store. A key that is changed in
//! the store by another process counts after [`KEY_AGE_MAX`] at the latest.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use stepwell_engine::{Credentials, Engine, Error, Vault};

use crate::limits::{KEY_AGE_MAX, KEYS_KEPT_MAX};

/// See the module.
pub(super) struct Keys {
    engine: Engine,
    vault: Vault,
    known: Mutex<HashMap<String, (Instant, Arc<Credentials>)>>,
}

impl Keys {
    pub(super) fn new(engine: Engine, vault: Vault) -> Keys {
        Keys {
            engine,
            vault,
            known: Mutex::default(),
        }
    }

    /// The key of that id, if there is one. What is no key is not kept: strangers shall fill no memory.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Arc<Credentials>>, Error> {
        if let Some((at, found)) = self.lock().get(id)
            && at.elapsed() < KEY_AGE_MAX
        {
            return Ok(Some(found.clone()));
        }
        // An id that none can have is not worth a look.
        if id.len() > 128 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let found = self
            .engine
            .credentials(&self.vault, id)
            .await?
            .map(Arc::new);
        let mut known = self.lock();
        known.remove(id);
        if let Some(found) = &found {
            if known.len() >= KEYS_KEPT_MAX {
                known.clear();
            }
            known.insert(id.to_owned(), (Instant::now(), found.clone()));
        }
        Ok(found)
    }

    /// A key that was changed is looked at anew.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Arc<Credentials>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
