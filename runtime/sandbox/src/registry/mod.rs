//! Which plugin answers to a name. Hides the plugin folder, its watching, uploads and lazy loading.

mod entry;
mod loaded;
mod loader;
mod names;
mod resident;
mod uploads;
mod watched;

use crate::compiler::Compiler;
use crate::error::Error;
use crate::limits;
use crate::manifest::{Contract, Limits, OnCrash};
use crate::scan::{Found, Skipped};
use entry::Entry;
use futures_util::StreamExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;
use uploads::Uploads;
use watched::Watched;

pub(crate) use loaded::{Loaded, Noted};
pub(crate) use loader::{Loader, Settings};
pub use uploads::{Upload, UploadCode};

/// Why no plugin answers.
pub(crate) enum Refusal {
    Missing(String),
    Broken(String),
}

/// A plugin as the list shows it.
#[derive(Debug, Clone)]
pub struct PluginInfo {
    /// The account that it serves.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// The version in its manifest.
    pub version: Option<String>,
    /// Where it comes from: a path in the plugin folder, or `upload`.
    pub source: String,
    /// Its contract, once it has been loaded.
    pub contract: Option<Contract>,
    /// SHA-256 of its file, once it has been loaded.
    pub sha256: Option<String>,
    /// Limits in force, once it has been loaded.
    pub limits: Option<Limits>,
    /// What it asks for and does not get, once it has been loaded.
    pub missing_grants: Vec<String>,
    /// Why it cannot be called.
    pub problem: Option<String>,
}

type ByName<T> = BTreeMap<String, BTreeMap<String, T>>;

#[derive(Default)]
struct Known {
    found: ByName<Arc<Entry>>,
}

impl Known {
    /// All that a tenant has.
    fn names(&self, tenant: &str) -> BTreeSet<&str> {
        let found = self.found.get(tenant).into_iter().flat_map(BTreeMap::keys);
        found.map(String::as_str).collect()
    }
}

/// The plugins of all tenants.
pub(crate) struct Registry {
    folder: Option<Watched>,
    known: RwLock<Known>,
    uploads: Uploads,
    loader: Arc<Loader>,
}

impl Registry {
    pub(crate) fn new(folder: Option<&Path>, loader: Loader) -> Result<Self, Error> {
        let default_tenant = loader.settings.ceilings.default_tenant();
        // Where nothing is compiled, WebAssembly is of no use.
        let prefers_compiled = matches!(loader.compiler, Compiler::Absent);
        let folder = folder
            .map(|path| Watched::open(path, default_tenant, prefers_compiled))
            .transpose()?;
        let registry = Self {
            folder,
            known: RwLock::default(),
            uploads: Uploads::default(),
            loader: Arc::new(loader),
        };
        registry.rescan()?;
        Ok(registry)
    }

    pub(crate) fn loader(&self) -> &Arc<Loader> {
        &self.loader
    }

    /// Looks at the folder again, at once.
    ///
    /// # Errors
    /// The folder is not readable; what was known stays known.
    pub(crate) fn rescan(&self) -> Result<(), Error> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let (found, same) = folder.scan()?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut next: ByName<Arc<Entry>> = BTreeMap::new();
        for found in found {
            let old = known
                .found
                .get(&found.tenant)
                .and_then(|plugins| plugins.get(&found.name));
            let entry = match old {
                Some(entry) if entry.stamp() == Some(&found.stamp) && same => entry.clone(),
                Some(entry) if same => Arc::new(Entry::found(found, entry.serving())),
                Some(_) | None => Arc::new(Entry::found(found, None)),
            };
            next.entry(entry.tenant.clone())
                .or_default()
                .insert(entry.name.clone(), entry);
        }
        known.found = next;
        Ok(())
    }

    fn look_if_dirty(&self, now: Instant) {
        if self
            .folder
            .as_ref()
            .is_some_and(|folder| folder.is_dirty(now))
            && let Err(error) = self.rescan()
        {
            tracing::error!("{error}");
        }
    }

    /// Looks again even when nothing told of a change.
    fn look_again(&self) {
        if let Some(folder) = &self.folder {
            folder.dirty();
        }
        self.look_if_dirty(Instant::now());
    }

    fn find(&self, tenant: &str, name: &str) -> Option<Arc<Entry>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let plugins = known.found.get(tenant)?;
        plugins.get(name).cloned()
    }

    /// The plugin that a call brings along, if it is in memory.
    pub(crate) fn ready_upload(
        &self,
        tenant: &str,
        name: &str,
        upload: &Upload,
    ) -> Option<Arc<Loaded>> {
        let entry = self.uploads.entry(tenant, name, upload);
        entry.ready(&self.loader)
    }

    /// The plugin that serves a call that was made then, if it is in memory.
    pub(crate) fn ready(
        &self,
        tenant: &str,
        name: &str,
        version: Option<&str>,
        called: Instant,
    ) -> Option<Arc<Loaded>> {
        self.look_if_dirty(called);
        let loaded = self.find(tenant, name)?.ready(&self.loader)?;
        fits(loaded, numbered(version)).ok()
    }

    /// The plugin that a call brings along, or why it cannot be called.
    pub(crate) async fn uploaded(
        &self,
        tenant: &str,
        name: &str,
        upload: &Upload,
    ) -> Result<Arc<Loaded>, String> {
        let entry = self.uploads.entry(tenant, name, upload);
        entry.load(&self.loader).await
    }

    /// The plugin that serves a call that was made then.
    pub(crate) async fn resolve(
        &self,
        tenant: &str,
        name: &str,
        version: Option<&str>,
        called: Instant,
    ) -> Result<Arc<Loaded>, Refusal> {
        let version = numbered(version);
        self.look_if_dirty(called);
        let (mut give_up, mut looked_again) = (None, false);
        loop {
            let Some(entry) = self.find(tenant, name) else {
                if looked_again || self.folder.is_none() {
                    return Err(self.absent(tenant, name));
                }
                looked_again = true;
                self.look_again();
                continue;
            };
            match entry.load(&self.loader).await {
                Ok(loaded) => return fits(loaded, version),
                Err(_) if entry.may_be_half_written() && is_before(&mut give_up) => {
                    tokio::time::sleep(limits::HALF_WRITTEN_PAUSE).await;
                    self.forget(&entry);
                    self.look_again();
                }
                Err(why) => {
                    return match entry.stand_in() {
                        Some(before) => fits(before, version),
                        None => Err(Refusal::Broken(format!("plugin `{name}`: {why}"))),
                    };
                }
            }
        }
    }

    /// What a call waits for that has been waiting to be resolved, for people.
    pub(crate) fn waits_for(&self, tenant: &str, name: &str, upload: Option<&Upload>) -> String {
        let entry = match upload {
            Some(upload) => Some(self.uploads.entry(tenant, name, upload)),
            None => self.find(tenant, name),
        };
        match entry {
            Some(entry) => entry.waits_for(),
            None => format!("plugin `{name}` is being looked for"),
        }
    }

    /// See [`crate::Sandbox::has`].
    pub(crate) fn has(&self, tenant: &str, name: &str, version: Option<&str>) -> bool {
        self.look_if_dirty(Instant::now());
        let Some(entry) = self.find(tenant, name) else {
            return false;
        };
        version.is_none() || entry.version().is_ok_and(|own| own.as_deref() == version)
    }

    /// See [`crate::Sandbox::needs_compiling`].
    pub(crate) fn needs_compiling(&self, tenant: &str, name: &str) -> bool {
        self.look_if_dirty(Instant::now());
        let entry = self.find(tenant, name);
        entry.is_some_and(|entry| entry.needs_compiling(&self.loader).unwrap_or(false))
    }

    /// What the manifest of a plugin's newest version says; see [`crate::Sandbox::on_crash`].
    pub(crate) fn on_crash(&self, tenant: &str, name: &str) -> OnCrash {
        self.look_if_dirty(Instant::now());
        let entry = self.find(tenant, name);
        let manifest = entry.map(|entry| entry.on_crash());
        manifest.and_then(Result::ok).unwrap_or_default()
    }

    /// See [`crate::Sandbox::forget`].
    pub(crate) fn forget_code(&self, sha256: &str) {
        self.uploads.forget_code(sha256);
        self.loader.cache.forget(sha256);
    }

    /// Makes the next look open the file anew even when its stamp is the same.
    fn forget(&self, entry: &Arc<Entry>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let plugins = known.found.get_mut(&entry.tenant);
        if let Some(current) = plugins.and_then(|plugins| plugins.get_mut(&entry.name))
            && Arc::ptr_eq(current, entry)
        {
            *current = Arc::new(entry.again());
        }
    }

    /// Has the plugins of an account, or of all, loaded anew by their next call: what is allowed to them has changed. What runs
    /// goes on as it began.
    pub(crate) fn reload(&self, tenant: Option<&str>) {
        let concerns = |of: &str| tenant.is_none_or(|tenant| tenant == of);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (of, plugins) in &mut known.found {
            if concerns(of) {
                for entry in plugins.values_mut() {
                    *entry = Arc::new(entry.anew());
                }
            }
        }
        self.uploads.forget(concerns);
    }

    /// Why no plugin was found.
    fn absent(&self, tenant: &str, name: &str) -> Refusal {
        let folder = self.folder.as_ref();
        // No name that is none leads anywhere.
        let astray = crate::manifest::valid_name(name)
            .then(|| folder?.astray(tenant, name))
            .flatten();
        match astray {
            Some(why) => Refusal::Broken(format!("plugin `{name}`: {why}")),
            None => Refusal::Missing(self.missing(tenant, name)),
        }
    }

    fn missing(&self, tenant: &str, name: &str) -> String {
        let Some(folder) = &self.folder else {
            return format!(
                "account {tenant} has no plugin `{name}`, and there is no plugin directory; name one with --plugins, or upload it with `stepwell plugin push`"
            );
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let names = known.names(tenant);
        let instead = names::instead(name, &names);
        // Where the directory lies on the host is told to who put it there, and to no tenant.
        if tenant != self.loader.settings.ceilings.default_tenant() {
            return format!(
                "account {tenant} has no plugin `{name}` in its part of the plugin directory{instead}; upload it with `stepwell plugin \
                 push`, or ask the operator for it"
            );
        }
        let place = folder.place();
        format!(
            "account {tenant} has no plugin `{name}` in the plugin directory {place}{instead}; put {name}.wasm there, or upload it with `stepwell plugin push`"
        )
    }

    /// The plugin that a path of the plugin folder means, if it means one.
    ///
    /// # Errors
    /// Why what is there is not served.
    pub(crate) fn found_at(&self, path: &Path) -> Result<Option<Found>, String> {
        match &self.folder {
            Some(folder) => folder.found_at(path),
            None => Ok(None),
        }
    }

    /// What is in a plugin's place and is skipped; nothing of a folder that cannot be read, which a look tells of.
    pub(crate) fn skipped(&self) -> Vec<Skipped> {
        let skipped = self.folder.as_ref().map(Watched::skipped);
        skipped.and_then(Result::ok).unwrap_or_default()
    }

    pub(crate) fn list(&self) -> Vec<PluginInfo> {
        self.look_if_dirty(Instant::now());
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.found.values().flat_map(BTreeMap::values);
        let mut list: Vec<PluginInfo> = found.map(|entry| entry.info()).collect();
        list.sort_by(|a, b| {
            (&a.tenant, &a.name, &a.version).cmp(&(&b.tenant, &b.name, &b.version))
        });
        list
    }

    /// Loads whatever is not loaded yet, as many at a time as the compiler takes.
    pub(crate) async fn warm(&self) {
        self.look_if_dirty(Instant::now());
        let entries: Vec<Arc<Entry>> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known
                .found
                .values()
                .flat_map(BTreeMap::values)
                .cloned()
                .collect()
        };
        let seats = self.loader.queue.seats();
        let loads = futures_util::stream::iter(entries);
        loads
            .for_each_concurrent(seats, |entry| async move {
                if let Err(why) = entry.load(&self.loader).await {
                    tracing::warn!(tenant = entry.tenant, plugin = entry.name, "{why}");
                }
            })
            .await;
    }
}

/// Whether a file that is broken may still be looked at again: for as long as one may be half-written, from the first time on.
fn is_before(give_up: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    now < *give_up.get_or_insert(now + limits::HALF_WRITTEN_AGE)
}

/// The version that is wanted, if any one in particular is.
fn numbered(version: Option<&str>) -> Option<&str> {
    version.filter(|version| *version != "$LATEST")
}

fn fits(loaded: Arc<Loaded>, version: Option<&str>) -> Result<Arc<Loaded>, Refusal> {
    match version {
        Some(wanted) if loaded.stamp.version.as_deref() != Some(wanted) => {
            let has = loaded.stamp.version.as_deref().unwrap_or("no version");
            let name = &loaded.stamp.name;
            Err(Refusal::Missing(format!(
                "plugin `{name}` has {has}, not version `{wanted}`"
            )))
        }
        Some(_) | None => Ok(loaded),
    }
}
