//! Which plugin answers to a name. Hides the plugin folder, its watching, uploads and lazy loading.

use crate::cache::{Cache, hex};
use crate::code::{Code, Format, Program};
use crate::compiler::{Blame, Compiler, Fault};
use crate::error::Error;
use crate::folders::Guarded;
use crate::grants::{Ceiling, Effective};
use crate::limits;
use crate::machine::{Machine, Metering};
use crate::manifest::{Contract, Limits, Manifest, OnCrash};
use crate::outcome::PluginStamp;
use crate::scan::{Found, PluginFolder, Stamp, Whereabouts};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use notify::Watcher as _;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::Semaphore;

/// A plugin that can be called.
pub(crate) struct Loaded {
    pub(crate) code: Code,
    pub(crate) metering: Metering,
    pub(crate) limits: Limits,
    pub(crate) granted: Effective,
    pub(crate) stamp: PluginStamp,
    pub(crate) contract: Contract,
    running: AtomicU32,
}

/// A place among a plugin's concurrent attempts.
pub(crate) struct Place(Arc<Loaded>);

impl Loaded {
    /// Takes a place, or `None` when the plugin's own concurrency is used up.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        let now = self.running.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        self.limits
            .concurrency
            .is_none_or(|bound| now < bound)
            .then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

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
    /// Whether an upload of the same name hides it.
    pub hidden: bool,
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

/// A plugin that was handed over instead of found.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its name; wins over the manifest's.
    pub name: String,
    /// The text of its `plugin.toml`, if it has one.
    pub manifest: Option<String>,
    /// Its `.wasm`.
    pub wasm: bytes::Bytes,
}

/// One version of a plugin's file, loaded when first called.
struct Entry {
    tenant: String,
    name: String,
    source: Source,
    /// What it became, when that lasts.
    cell: OnceLock<Result<Arc<Loaded>, String>>,
    /// Its loading, while that is under way. Goes on when nobody waits for it any more: the next call wants it.
    opening: Mutex<Option<Opening>>,
}

type Opening = Shared<BoxFuture<'static, Result<Arc<Loaded>, String>>>;

enum Source {
    Folder {
        found: Found,
    },
    Upload {
        manifest: Option<String>,
        wasm: bytes::Bytes,
        version: Option<String>,
    },
}

type ByName<T> = BTreeMap<String, BTreeMap<String, T>>;

#[derive(Default)]
struct Known {
    found: ByName<Arc<Entry>>,
    /// All versions, the newest upload last.
    uploads: ByName<Vec<Arc<Entry>>>,
}

/// The plugins of all tenants.
pub(crate) struct Registry {
    folder: Option<PluginFolder>,
    known: RwLock<Known>,
    /// Something in the folder changed since the last look.
    dirty: Arc<AtomicBool>,
    watcher: Mutex<Option<notify::RecommendedWatcher>>,
    /// When it was last seen where the folder is.
    looked_for: Mutex<Instant>,
    loader: Arc<Loader>,
}

/// Makes a file into a plugin.
pub(crate) struct Loader {
    pub(crate) plain: Machine,
    fuel: OnceLock<Machine>,
    pub(crate) cache: Cache,
    pub(crate) compiler: Compiler,
    pub(crate) settings: Settings,
    compiling: Semaphore,
    on_engine: Box<dyn Fn(wasmtime::Engine) + Send + Sync>,
}

/// The operator's side of loading.
pub(crate) struct Settings {
    pub(crate) default_tenant: String,
    pub(crate) ceiling: Ceiling,
    pub(crate) ceilings: BTreeMap<String, Ceiling>,
    pub(crate) limits: Limits,
    pub(crate) instances: u32,
    pub(crate) guarded: Guarded,
}

impl Registry {
    pub(crate) fn new(folder: Option<&Path>, loader: Loader) -> Result<Self, Error> {
        let folder = folder
            .map(|path| PluginFolder::open(path, &loader.settings.default_tenant))
            .transpose()?;
        let dirty = Arc::new(AtomicBool::new(true));
        let watcher = folder
            .as_ref()
            .and_then(|folder| watch(folder.path(), dirty.clone()));
        let loader = Arc::new(loader);
        let registry = Self {
            folder,
            known: RwLock::default(),
            dirty,
            watcher: Mutex::new(watcher),
            looked_for: Mutex::new(Instant::now()),
            loader,
        };
        registry.look().map_err(|why| registry.unreadable(why))?;
        Ok(registry)
    }

    fn unreadable(&self, why: String) -> Error {
        let path = self
            .folder
            .as_ref()
            .map_or_else(PathBuf::new, |folder| folder.path().to_owned());
        Error::Folder {
            role: "plugin folder",
            path,
            why,
            hint: "make the folder readable for this user",
        }
    }

    pub(crate) fn loader(&self) -> &Arc<Loader> {
        &self.loader
    }

    /// Looks at the folder again, at once.
    ///
    /// # Errors
    /// The folder is not readable; what was known stays known.
    pub(crate) fn rescan(&self) -> Result<(), Error> {
        self.look().map_err(|why| self.unreadable(why))
    }

    fn look(&self) -> Result<(), String> {
        self.dirty.store(false, Ordering::SeqCst);
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let whereabouts = folder.whereabouts();
        let found = match whereabouts {
            Whereabouts::Same => folder.scan()?,
            Whereabouts::Another => {
                let watcher = watch(folder.path(), self.dirty.clone());
                *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = watcher;
                folder.scan()?
            }
            Whereabouts::Gone => {
                // Nobody tells when it is back.
                self.dirty.store(true, Ordering::SeqCst);
                Vec::new()
            }
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut next: ByName<Arc<Entry>> = BTreeMap::new();
        for found in found {
            let old = known
                .found
                .get(&found.tenant)
                .and_then(|plugins| plugins.get(&found.name));
            let entry = match old {
                Some(entry)
                    if entry.stamp() == Some(&found.stamp) && whereabouts == Whereabouts::Same =>
                {
                    entry.clone()
                }
                Some(_) | None => Arc::new(Entry::found(found)),
            };
            next.entry(entry.tenant.clone())
                .or_default()
                .insert(entry.name.clone(), entry);
        }
        known.found = next;
        Ok(())
    }

    /// Whether it is time to look where the folder is: when one above it is moved, no watcher tells.
    fn is_due(&self) -> bool {
        // Whoever finds the lock taken leaves it to the other.
        let Ok(mut last) = self.looked_for.try_lock() else {
            return false;
        };
        let due = last.elapsed() >= limits::FOLDER_LOOK_EVERY;
        if due {
            *last = Instant::now();
        }
        due
    }

    fn look_if_dirty(&self) {
        let moved = || {
            let folder = self.folder.as_ref().filter(|_| self.is_due());
            folder.is_some_and(PluginFolder::has_moved)
        };
        if (self.dirty.load(Ordering::SeqCst) || moved())
            && let Err(why) = self.look()
        {
            tracing::error!("{}", self.unreadable(why));
        }
    }

    fn find(&self, tenant: &str, name: &str, version: Option<&str>) -> Option<Arc<Entry>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let uploads = known
            .uploads
            .get(tenant)
            .and_then(|plugins| plugins.get(name));
        let upload = uploads.and_then(|versions| {
            versions
                .iter()
                .rev()
                .find(|entry| version.is_none_or(|wanted| entry.declared_version() == Some(wanted)))
        });
        upload
            .or_else(|| {
                known
                    .found
                    .get(tenant)
                    .and_then(|plugins| plugins.get(name))
            })
            .cloned()
    }

    /// The plugin that serves a call now.
    pub(crate) async fn resolve(
        &self,
        tenant: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Loaded>, Refusal> {
        let version = version.filter(|version| *version != "$LATEST");
        self.look_if_dirty();
        let give_up = Instant::now() + limits::HALF_WRITTEN_AGE;
        let mut looked_again = false;
        loop {
            let Some(entry) = self.find(tenant, name, version) else {
                if looked_again || self.folder.is_none() {
                    return Err(Refusal::Missing(self.missing(tenant, name)));
                }
                looked_again = true;
                self.dirty.store(true, Ordering::SeqCst);
                self.look_if_dirty();
                continue;
            };
            match entry.load(&self.loader).await {
                Ok(loaded) => return fits(loaded, version),
                Err(_) if entry.may_be_half_written() && Instant::now() < give_up => {
                    tokio::time::sleep(limits::HALF_WRITTEN_PAUSE).await;
                    self.forget(&entry);
                    self.dirty.store(true, Ordering::SeqCst);
                    self.look_if_dirty();
                }
                Err(why) => return Err(Refusal::Broken(format!("plugin `{name}`: {why}"))),
            }
        }
    }

    /// See [`crate::Sandbox::needs_compiling`].
    pub(crate) fn needs_compiling(&self, tenant: &str, name: &str) -> bool {
        self.look_if_dirty();
        let entry = self.find(tenant, name, None);
        entry.is_some_and(|entry| entry.needs_compiling(&self.loader).unwrap_or(false))
    }

    /// What the manifest of a plugin's newest version says; see [`crate::Sandbox::on_crash`].
    pub(crate) fn on_crash(&self, tenant: &str, name: &str) -> OnCrash {
        self.look_if_dirty();
        let entry = self.find(tenant, name, None);
        let manifest = entry.map(|entry| entry.on_crash());
        manifest.and_then(Result::ok).unwrap_or_default()
    }

    /// Makes the next look open the file anew even when its stamp is the same.
    fn forget(&self, entry: &Arc<Entry>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugins) = known.found.get_mut(&entry.tenant)
            && plugins
                .get(&entry.name)
                .is_some_and(|current| Arc::ptr_eq(current, entry))
        {
            plugins.remove(&entry.name);
        }
    }

    fn missing(&self, tenant: &str, name: &str) -> String {
        let Some(folder) = &self.folder else {
            return format!(
                "account {tenant} has no plugin `{name}`, and there is no plugin directory; name one with --plugins"
            );
        };
        let place = folder.place_of(tenant);
        format!(
            "account {tenant} has no plugin `{name}` in the plugin directory {place}{}; put {name}.wasm there",
            self.others(tenant, name)
        )
    }

    /// What a tenant has instead of a plugin that is not there, for people: the one that was meant, or all.
    fn others(&self, tenant: &str, name: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.found.get(tenant).into_iter().flat_map(BTreeMap::keys);
        let uploads = known
            .uploads
            .get(tenant)
            .into_iter()
            .flat_map(BTreeMap::keys);
        let names: BTreeSet<&str> = found.chain(uploads).map(String::as_str).collect();
        if let Some(near) = names.iter().find(|other| is_near(name, other)) {
            return format!(" (did you mean `{near}`?)");
        }
        let shown = names.iter().take(NAMES_SHOWN_MAX);
        let shown: Vec<String> = shown.map(|name| format!("`{name}`")).collect();
        match (shown.len(), names.len()) {
            (0, _) => ", which holds none".to_owned(),
            (all, total) if all == total => format!(" (which holds {})", shown.join(", ")),
            (some, total) => format!(
                " (which holds {} and {} more)",
                shown.join(", "),
                total - some
            ),
        }
    }

    /// Takes an uploaded plugin, or another version of one. Compiles it, so call it from a thread that may block.
    pub(crate) fn install(&self, tenant: &str, upload: Upload) -> Result<PluginInfo, Error> {
        let name = upload.name.clone();
        let broken = |why: String| Error::Plugin {
            name: name.clone(),
            why,
        };
        if !crate::manifest::valid_name(&upload.name) {
            return Err(broken("a name is 1 to 64 of A-Z a-z 0-9 - _".into()));
        }
        let manifest = read_manifest(upload.manifest.as_deref()).map_err(broken)?;
        let source = Source::Upload {
            manifest: upload.manifest,
            wasm: upload.wasm,
            version: manifest.version,
        };
        let entry = Arc::new(Entry {
            tenant: tenant.into(),
            name: upload.name,
            source,
            cell: OnceLock::new(),
            opening: Mutex::default(),
        });
        let loaded = entry
            .open(&self.loader)
            .map_err(|fault| broken(fault.why))?;
        // The cell is empty: nobody else has seen this entry yet.
        let _ = entry.cell.set(Ok(loaded));
        let info = entry.info(false);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let versions = known
            .uploads
            .entry(tenant.into())
            .or_default()
            .entry(entry.name.clone())
            .or_default();
        versions.retain(|other| other.declared_version() != entry.declared_version());
        versions.push(entry);
        Ok(info)
    }

    /// Forgets an uploaded plugin, or one version of it. Running attempts go on.
    pub(crate) fn remove(&self, tenant: &str, name: &str, version: Option<&str>) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Some(plugins) = known.uploads.get_mut(tenant) else {
            return false;
        };
        let Some(versions) = plugins.get_mut(name) else {
            return false;
        };
        let before = versions.len();
        versions
            .retain(|entry| version.is_some_and(|wanted| entry.declared_version() != Some(wanted)));
        let removed = versions.len() < before;
        if versions.is_empty() {
            plugins.remove(name);
        }
        removed
    }

    pub(crate) fn list(&self) -> Vec<PluginInfo> {
        self.look_if_dirty();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let uploads = known
            .uploads
            .values()
            .flat_map(BTreeMap::values)
            .flatten()
            .map(|entry| entry.info(false));
        let found = known
            .found
            .values()
            .flat_map(BTreeMap::values)
            .map(|entry| {
                entry.info(
                    known
                        .uploads
                        .get(&entry.tenant)
                        .is_some_and(|plugins| plugins.contains_key(&entry.name)),
                )
            });
        let mut list: Vec<PluginInfo> = uploads.chain(found).collect();
        list.sort_by(|a, b| {
            (&a.tenant, &a.name, &a.version).cmp(&(&b.tenant, &b.name, &b.version))
        });
        list
    }

    /// Loads whatever is not loaded yet, one after the other.
    pub(crate) async fn warm(&self) {
        self.look_if_dirty();
        let entries: Vec<Arc<Entry>> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known
                .found
                .values()
                .flat_map(BTreeMap::values)
                .cloned()
                .collect()
        };
        for entry in entries {
            if let Err(why) = entry.load(&self.loader).await {
                tracing::warn!(tenant = entry.tenant, plugin = entry.name, "{why}");
            }
        }
    }
}

/// Plugins that a message names.
const NAMES_SHOWN_MAX: usize = 10;

/// Whether one name may have been meant by another: but for case and for `-` and `_` they are the same, or a character is
/// missing, added, changed or in its neighbour's place.
fn is_near(one: &str, other: &str) -> bool {
    let plain = |name: &str| -> Vec<u8> {
        let lower = name.bytes().map(|b| b.to_ascii_lowercase());
        lower.map(|b| if b == b'_' { b'-' } else { b }).collect()
    };
    let (a, b) = (plain(one), plain(other));
    let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[same..], &b[same..]);
    match (a, b) {
        ([], []) => true,
        ([x, y, rest @ ..], [u, v, more @ ..]) if (x, y) == (v, u) && rest == more => true,
        ([_, rest @ ..], b) if rest == b => true,
        (a, [_, rest @ ..]) if a == rest => true,
        ([_, rest @ ..], [_, more @ ..]) => rest == more,
        _ => false,
    }
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

fn watch(path: &Path, dirty: Arc<AtomicBool>) -> Option<notify::RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        // Reading a plugin is no change of it, but is reported too.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            dirty.store(true, Ordering::SeqCst);
        }
    };
    let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
        watcher.watch(path, notify::RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(|error| {
            tracing::warn!(error = %error, "the plugin folder cannot be watched; changes are seen after a restart");
        })
        .ok()
}

fn read_manifest(text: Option<&str>) -> Result<Manifest, String> {
    text.map_or_else(|| Ok(Manifest::default()), Manifest::parse)
}

impl Entry {
    fn found(found: Found) -> Self {
        Self {
            tenant: found.tenant.clone(),
            name: found.name.clone(),
            source: Source::Folder { found },
            cell: OnceLock::new(),
            opening: Mutex::default(),
        }
    }

    fn stamp(&self) -> Option<&Stamp> {
        match &self.source {
            Source::Folder { found } => Some(&found.stamp),
            Source::Upload { .. } => None,
        }
    }

    fn declared_version(&self) -> Option<&str> {
        match &self.source {
            Source::Folder { .. } => None,
            Source::Upload { version, .. } => version.as_deref(),
        }
    }

    fn may_be_half_written(&self) -> bool {
        self.stamp()
            .is_some_and(|stamp| stamp.age() < limits::HALF_WRITTEN_AGE)
    }

    async fn load(self: &Arc<Self>, loader: &Arc<Loader>) -> Result<Arc<Loaded>, String> {
        if let Some(loaded) = self.cell.get() {
            return loaded.clone();
        }
        self.opening(loader).await
    }

    fn opening(self: &Arc<Self>, loader: &Arc<Loader>) -> Opening {
        let mut under_way = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opening) = &*under_way {
            return opening.clone();
        }
        let (entry, loader) = (self.clone(), loader.clone());
        let task = tokio::spawn(async move {
            let _turn = loader.compiling.acquire().await;
            let opened = {
                let (entry, loader) = (entry.clone(), loader.clone());
                tokio::task::spawn_blocking(move || entry.open(&loader)).await
            };
            let opened = opened.unwrap_or_else(|_| {
                Err("loading it failed inside the host; see the host's log"
                    .to_owned()
                    .into())
            });
            entry.opened(opened)
        });
        let opening: BoxFuture<'static, _> = Box::pin(async move {
            task.await
                .unwrap_or_else(|_| Err("the sandbox is shutting down".to_owned()))
        });
        let opening = opening.shared();
        *under_way = Some(opening.clone());
        opening
    }

    /// Keeps what the loading gave, if that would be the same another time.
    fn opened(&self, opened: Result<Arc<Loaded>, Fault>) -> Result<Arc<Loaded>, String> {
        let passes = opened
            .as_ref()
            .is_err_and(|fault| fault.blame == Blame::Circumstances);
        let opened = opened.map_err(|fault| fault.why);
        if !passes {
            // Whoever set it meanwhile has loaded the same file.
            return self.cell.get_or_init(|| opened).clone();
        }
        *self.opening.lock().unwrap_or_else(PoisonError::into_inner) = None;
        opened
    }

    /// From what is loaded, else from the manifest alone.
    fn on_crash(&self) -> Result<OnCrash, String> {
        if let Some(Ok(loaded)) = self.cell.get() {
            return Ok(loaded.stamp.on_crash);
        }
        let manifest = match &self.source {
            Source::Folder { found } => read_manifest(found.manifest()?.as_deref())?,
            Source::Upload { manifest, .. } => read_manifest(manifest.as_deref())?,
        };
        Ok(manifest.on_crash)
    }

    fn needs_compiling(&self, loader: &Loader) -> Result<bool, String> {
        if self.cell.get().is_some() {
            return Ok(false);
        }
        let (manifest, wasm) = match &self.source {
            Source::Folder { found } => {
                let files = found.read()?;
                (files.manifest, files.wasm)
            }
            // An upload is compiled before it is one.
            Source::Upload { .. } => return Ok(false),
        };
        Format::of(&wasm)?;
        let machine = loader.machine(loader.metering(&read_manifest(manifest.as_deref())?))?;
        let sha256 = hex(&Sha256::digest(&wasm));
        Ok(!loader.cache.has(&machine.engine, &sha256))
    }

    /// Reads, checks, compiles and links. Blocks.
    fn open(&self, loader: &Loader) -> Result<Arc<Loaded>, Fault> {
        let (manifest, wasm, folder) = match &self.source {
            Source::Folder { found } => {
                let files = found.read()?;
                (
                    read_manifest(files.manifest.as_deref())?,
                    files.wasm,
                    files.folder,
                )
            }
            Source::Upload { manifest, wasm, .. } => {
                (read_manifest(manifest.as_deref())?, wasm.to_vec(), None)
            }
        };
        if let Some(name) = &manifest.name
            && name != &self.name
        {
            let why = format!(
                "plugin.toml says name = \"{name}\"; the plugin is found as `{}`, make both the same",
                self.name
            );
            return Err(why.into());
        }
        let sha256 = hex(&Sha256::digest(&wasm));
        if let Some(pin) = &manifest.sha256
            && *pin != sha256
        {
            let why = format!(
                "its file has the SHA-256 {sha256}, plugin.toml pins {pin}; restore the file or the pin"
            );
            return Err(why.into());
        }
        let limits = manifest.limits.within(&loader.settings.limits);
        let metering = loader.metering(&manifest);
        let machine = loader.machine(metering)?;
        let (code, contract) =
            Program::compile(machine, &loader.cache, &loader.compiler, &sha256, &wasm)?
                .link(machine)?;
        if manifest.contract.is_some_and(|claimed| claimed != contract) {
            let claimed = manifest.contract;
            let why = format!("plugin.toml says contract = {claimed:?}, the file has {contract:?}");
            return Err(why.into());
        }
        let granted = Effective::new(
            &manifest.grants,
            loader.ceiling(&self.tenant),
            folder.as_deref(),
            &loader.settings.guarded,
        )
        .map_err(|wrong| wrong.join("\n"))?;
        let stamp = PluginStamp {
            name: self.name.clone(),
            version: manifest.version,
            sha256,
            on_crash: manifest.on_crash,
        };
        Ok(Arc::new(Loaded {
            code,
            metering,
            limits,
            granted,
            stamp,
            contract,
            running: AtomicU32::new(0),
        }))
    }

    fn info(&self, hidden: bool) -> PluginInfo {
        let loaded = self.cell.get();
        let ready = loaded.and_then(|loaded| loaded.as_ref().ok());
        let version = match ready {
            Some(loaded) => loaded.stamp.version.clone(),
            None => self.declared_version().map(ToOwned::to_owned),
        };
        PluginInfo {
            tenant: self.tenant.clone(),
            name: self.name.clone(),
            version,
            source: match &self.source {
                Source::Folder { found } => found.place.clone(),
                Source::Upload { .. } => "upload".into(),
            },
            hidden,
            contract: ready.map(|loaded| loaded.contract),
            sha256: ready.map(|loaded| loaded.stamp.sha256.clone()),
            limits: ready.map(|loaded| loaded.limits.clone()),
            missing_grants: ready
                .map(|loaded| loaded.granted.missing.clone())
                .unwrap_or_default(),
            problem: loaded.and_then(|loaded| loaded.as_ref().err().cloned()),
        }
    }
}

impl Loader {
    pub(crate) fn new(
        plain: Machine,
        cache: Cache,
        compiler: Compiler,
        settings: Settings,
        on_engine: Box<dyn Fn(wasmtime::Engine) + Send + Sync>,
    ) -> Self {
        let compiling = Semaphore::new(limits::COMPILATIONS_MAX);
        Self {
            plain,
            fuel: OnceLock::new(),
            cache,
            compiler,
            settings,
            compiling,
            on_engine,
        }
    }

    /// The engine for a way of metering; that for fuel is made when first needed.
    pub(crate) fn machine(&self, metering: Metering) -> Result<&Machine, String> {
        match metering {
            Metering::Off => Ok(&self.plain),
            Metering::Fuel => {
                if let Some(machine) = self.fuel.get() {
                    return Ok(machine);
                }
                let machine = Machine::new(
                    metering,
                    self.settings.instances,
                    self.settings.limits.memory_bytes,
                )
                .map_err(|error| {
                    format!("metering is not available: {}", crate::code::chain(&error))
                })?;
                // Two loaders may race here; the loser's engine is dropped unused.
                Ok(self.fuel.get_or_init(|| {
                    (self.on_engine)(machine.engine.clone());
                    machine
                }))
            }
        }
    }

    /// How a plugin's code has to count.
    pub(crate) fn metering(&self, manifest: &Manifest) -> Metering {
        match manifest.limits.within(&self.settings.limits).fuel {
            Some(_) => Metering::Fuel,
            None => Metering::Off,
        }
    }

    fn ceiling(&self, tenant: &str) -> &Ceiling {
        if tenant == self.settings.default_tenant {
            return &self.settings.ceiling;
        }
        self.settings
            .ceilings
            .get(tenant)
            .unwrap_or(&Ceiling::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_were_meant_are_near() {
        for (one, other) in [
            ("score", "score"),
            ("Score", "score"),
            ("scroe", "score"),
            ("scor", "score"),
            ("scoree", "score"),
            ("skore", "score"),
            ("fetch_page", "fetch-page"),
            ("core", "score"),
        ] {
            assert!(is_near(one, other) && is_near(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("score", "charge"),
            ("score", "scale"),
            ("a", "bcd"),
            ("", "ab"),
        ] {
            assert!(
                !is_near(one, other) && !is_near(other, one),
                "{one} {other}"
            );
        }
    }
}
