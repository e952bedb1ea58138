//! Plugins that a call brings along, instead of naming one in the folder. Hides how many of them are remembered.

use super::entry::Entry;
use crate::grants_text;
use crate::limits;
use crate::manifest::{Limits, Manifest};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A plugin of a tenant that is kept elsewhere. It is granted nothing but its own variables.
#[derive(Clone)]
pub struct Upload {
    /// Names this build with these settings among all of the tenant's of that name: another one has another.
    pub id: Arc<str>,
    /// As people see it; none where it has no number.
    pub version: Option<String>,
    /// Bytes of memory that one attempt may use; cut to the operator's ceiling.
    pub memory_bytes: u64,
    /// Wall and CPU time of an attempt, each; cut to the operator's ceiling.
    pub wall: Duration,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Where its `.wasm` is.
    pub code: Arc<dyn UploadCode>,
}

/// Fetches the `.wasm` of an upload.
pub trait UploadCode: Send + Sync {
    /// The file; an error says why it cannot be had now.
    fn wasm(&self) -> BoxFuture<'static, Result<Arc<[u8]>, String>>;

    /// SHA-256 of the file in lower-case hex, where that is known for certain: then it is not fetched when it is compiled
    /// already.
    fn sha256(&self) -> Option<String> {
        None
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values of variables may be secrets.
        write!(f, "Upload({})", self.id)
    }
}

impl Upload {
    /// What a manifest would say.
    pub(super) fn manifest(&self) -> Result<Manifest, String> {
        for (name, value) in &self.environment {
            grants_text::variable(name, value)
                .map_err(|why| format!("environment variable `{name}`: {why}"))?;
        }
        let mut manifest = Manifest {
            version: self.version.clone(),
            limits: Limits {
                memory_bytes: self.memory_bytes,
                wall: self.wall,
                cpu: self.wall,
                stack_bytes: limits::STACK_BYTES,
                ..Limits::ceiling()
            },
            ..Manifest::default()
        };
        manifest.grants.env = self.environment.clone();
        Ok(manifest)
    }
}

/// What was brought along lately; the one that has not been called for longest goes first.
#[derive(Default)]
pub(super) struct Uploads(Mutex<Known>);

type Named = (String, String, Arc<str>);

#[derive(Default)]
struct Known {
    entries: HashMap<Named, (Arc<Entry>, u64)>,
    /// Counts calls.
    calls: u64,
}

impl Uploads {
    /// Forgets all that have that code; a running attempt keeps what it runs.
    pub(super) fn forget_code(&self, sha256: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .entries
            .retain(|_, (entry, _)| !entry.has_code(sha256));
    }

    /// Forgets the uploads of some accounts.
    pub(super) fn forget(&self, concerns: impl Fn(&str) -> bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entries.retain(|(of, _, _), _| !concerns(of));
    }

    /// The entry of an upload, made when it is not remembered.
    pub(super) fn entry(&self, tenant: &str, name: &str, upload: &Upload) -> Arc<Entry> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.calls += 1;
        let calls = known.calls;
        let named = (tenant.to_owned(), name.to_owned(), upload.id.clone());
        if let Some((entry, last)) = known.entries.get_mut(&named) {
            *last = calls;
            return entry.clone();
        }
        if known.entries.len() >= limits::UPLOADS_KEPT_MAX {
            let oldest = known.entries.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(oldest) = oldest.map(|(named, _)| named.clone()) {
                known.entries.remove(&oldest);
            }
        }
        let entry = Arc::new(Entry::uploaded(tenant, name, upload.clone()));
        known.entries.insert(named, (entry.clone(), calls));
        entry
    }
}
