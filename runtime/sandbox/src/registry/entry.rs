//! One version of a plugin's file, and what it becomes when it is first called. Hides where the file comes from, and that all who
//! call it meanwhile wait for one loading.

mod open;

use super::loaded::Loaded;
use super::loader::Loader;
use super::{PluginInfo, Upload};
use crate::compiler::{Blame, Fault};
use crate::limits;
use crate::manifest::{Contract, Limits, Manifest, OnCrash};
use crate::outcome::PluginStamp;
use crate::queue::{Leave, Place as QueuePlace, Seat};
use crate::scan::{Found, Stamp};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use open::{digest, read_manifest};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// One version of a plugin's file, loaded when first called.
pub(super) struct Entry {
    pub(super) tenant: String,
    pub(super) name: String,
    source: Source,
    /// What it became, when that lasts.
    state: RwLock<State>,
    /// What served under its name before its file was another one; none any more once this one is loaded.
    before: Mutex<Option<Arc<Loaded>>>,
    /// The number of its last call; see [`super::resident::Resident`].
    last_call: AtomicU64,
    /// Its loading, while that is under way. Goes on when nobody waits for it any more: the next call wants it.
    opening: Mutex<Option<Opening>>,
    /// How far that is.
    stage: Mutex<Stage>,
}

type Opening = Shared<BoxFuture<'static, Result<Arc<Loaded>, String>>>;

/// What a plugin's file has become.
#[derive(Default)]
enum State {
    #[default]
    Unread,
    Loaded(Arc<Loaded>),
    /// It was loaded, and is not any more.
    Unloaded(Box<Told>),
    /// It never can be.
    Broken(String),
}

/// What a plugin says of itself once it was loaded.
#[derive(Clone)]
struct Told {
    stamp: Arc<PluginStamp>,
    contract: Contract,
    limits: Limits,
    missing_grants: Vec<String>,
}

impl Told {
    fn of(loaded: &Loaded) -> Self {
        Self {
            stamp: loaded.stamp.clone(),
            contract: loaded.contract,
            limits: loaded.limits.clone(),
            missing_grants: loaded.granted.missing(),
        }
    }
}

impl State {
    /// What lasts of it for a call.
    fn kept(&self) -> Option<Result<Arc<Loaded>, String>> {
        match self {
            Self::Loaded(loaded) => Some(Ok(loaded.clone())),
            Self::Broken(why) => Some(Err(why.clone())),
            Self::Unread | Self::Unloaded(_) => None,
        }
    }

    fn told(&self) -> Option<Told> {
        match self {
            Self::Loaded(loaded) => Some(Told::of(loaded)),
            Self::Unloaded(told) => Some((**told).clone()),
            Self::Unread | Self::Broken(_) => None,
        }
    }
}

/// How far the loading of a plugin is.
#[derive(Default)]
enum Stage {
    /// Its files are read, and it is looked for in the cache.
    #[default]
    Reading,
    /// It waits for the compiler.
    Queued(QueuePlace),
    Compiling,
}

#[derive(Clone)]
enum Source {
    Folder { found: Found },
    Upload(Upload),
}

impl Entry {
    fn new(tenant: String, name: String, source: Source) -> Self {
        Self {
            tenant,
            name,
            source,
            state: RwLock::default(),
            before: Mutex::default(),
            last_call: AtomicU64::new(0),
            opening: Mutex::default(),
            stage: Mutex::default(),
        }
    }

    /// One of the plugin folder, in the place of what serves under that name.
    pub(super) fn found(found: Found, before: Option<Arc<Loaded>>) -> Self {
        let (tenant, name) = (found.tenant.clone(), found.name.clone());
        Self {
            before: Mutex::new(before),
            ..Self::new(tenant, name, Source::Folder { found })
        }
    }

    pub(super) fn uploaded(tenant: &str, name: &str, upload: Upload) -> Self {
        Self::new(tenant.into(), name.into(), Source::Upload(upload))
    }

    /// The same plugin, to be loaded anew: what is allowed to it has changed.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.tenant.clone(), self.name.clone(), self.source.clone())
    }

    /// The same file, to be opened once more.
    pub(super) fn again(&self) -> Self {
        Self {
            before: Mutex::new(self.before().clone()),
            ..self.anew()
        }
    }

    fn before(&self) -> MutexGuard<'_, Option<Arc<Loaded>>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What serves under its name: itself once it is loaded, else what did before.
    pub(super) fn serving(&self) -> Option<Arc<Loaded>> {
        match self.kept() {
            Some(Ok(loaded)) => Some(loaded),
            Some(Err(_)) | None => self.before().clone(),
        }
    }

    /// What goes on serving when this file cannot be used: what did before, unless the manifest is another one by now. Then what
    /// was granted before may be too much.
    pub(super) fn stand_in(&self) -> Option<Arc<Loaded>> {
        let before = self.before().clone()?;
        let Source::Folder { found } = &self.source else {
            return None;
        };
        let manifest = found.manifest().ok()?;
        (digest(manifest.as_deref()) == before.manifest).then_some(before)
    }

    pub(super) fn stamp(&self) -> Option<&Stamp> {
        match &self.source {
            Source::Folder { found } => Some(&found.stamp),
            Source::Upload(_) => None,
        }
    }

    pub(super) fn declared_version(&self) -> Option<&str> {
        match &self.source {
            Source::Folder { .. } => None,
            Source::Upload(upload) => upload.version.as_deref(),
        }
    }

    pub(super) fn may_be_half_written(&self) -> bool {
        self.stamp()
            .is_some_and(|stamp| stamp.age() < limits::HALF_WRITTEN_AGE)
    }

    /// What is called now, if it is in memory.
    pub(super) fn ready(&self, loader: &Loader) -> Option<Arc<Loaded>> {
        self.last_call
            .store(loader.resident.call(), Ordering::Relaxed);
        self.kept()?.ok()
    }

    pub(super) async fn load(
        self: &Arc<Self>,
        loader: &Arc<Loader>,
    ) -> Result<Arc<Loaded>, String> {
        self.last_call
            .store(loader.resident.call(), Ordering::Relaxed);
        if let Some(kept) = self.kept() {
            return kept;
        }
        self.opening(loader).await
    }

    fn kept(&self) -> Option<Result<Arc<Loaded>, String>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.kept()
    }

    /// What its stamp says, once it was loaded.
    fn of_stamp<T>(&self, of: impl FnOnce(&PluginStamp) -> T) -> Option<T> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Loaded(loaded) => Some(of(&loaded.stamp)),
            State::Unloaded(told) => Some(of(&told.stamp)),
            State::Unread | State::Broken(_) => None,
        }
    }

    /// Whether it was made of that file, as far as it was loaded.
    pub(super) fn has_code(&self, sha256: &str) -> bool {
        self.of_stamp(|stamp| stamp.sha256 == sha256)
            .unwrap_or(false)
    }

    pub(super) fn last_call(&self) -> u64 {
        self.last_call.load(Ordering::Relaxed)
    }

    pub(super) fn is_loaded(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*state, State::Loaded(_))
    }

    /// Whether it is loaded, and nobody runs it, waits for it or keeps an instance of it.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*state, State::Loaded(loaded) if Arc::strong_count(loaded) == 1)
    }

    /// Takes it out of memory, unless somebody has begun to use it.
    pub(super) fn unload(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Loaded(loaded) = &*state
            && Arc::strong_count(loaded) == 1
        {
            *state = State::Unloaded(Box::new(Told::of(loaded)));
        }
    }

    fn opening(self: &Arc<Self>, loader: &Arc<Loader>) -> Opening {
        let mut under_way = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opening) = &*under_way {
            return opening.clone();
        }
        if let Some(kept) = self.kept() {
            // It was loaded a moment ago.
            let kept: BoxFuture<'static, _> = Box::pin(std::future::ready(kept));
            return kept.shared();
        }
        let (entry, loader) = (self.clone(), loader.clone());
        let task = tokio::spawn(async move {
            let opened = entry.open_in_turn(&loader).await;
            entry.opened(&loader, opened)
        });
        let opening: BoxFuture<'static, _> = Box::pin(async move {
            task.await
                .unwrap_or_else(|_| Err("the sandbox is shutting down".to_owned()))
        });
        let opening = opening.shared();
        *under_way = Some(opening.clone());
        opening
    }

    /// Loads the plugin; takes its turn at the compiler when it has to be compiled.
    async fn open_in_turn(self: &Arc<Self>, loader: &Arc<Loader>) -> Result<Arc<Loaded>, Fault> {
        let mut opened = {
            self.reaches(loader, Stage::Reading);
            let _reading = loader.reading.acquire().await;
            self.open_apart(loader, None).await
        };
        let tenant: Arc<str> = self.tenant.as_str().into();
        while let Err(Fault {
            blame: Blame::Turn(lane),
            ..
        }) = &opened
        {
            let waiting = loader.queue.enter(*lane, &tenant);
            if let Some(place) = waiting.place() {
                self.reaches(loader, Stage::Queued(place));
            }
            let Some(seat) = waiting.seat().await else {
                return Err("the sandbox is shutting down".to_owned().into());
            };
            self.reaches(loader, Stage::Compiling);
            opened = self.open_apart(loader, Some(seat)).await;
        }
        opened
    }

    /// The same on a thread that may block; without a seat only what is compiled already is taken.
    async fn open_apart(
        self: &Arc<Self>,
        loader: &Arc<Loader>,
        seat: Option<Seat>,
    ) -> Result<Arc<Loaded>, Fault> {
        let (entry, loader) = (self.clone(), loader.clone());
        let opened = tokio::task::spawn_blocking(move || match seat {
            Some(mut seat) => entry.open(&loader, &mut Leave::Seat(&mut seat)),
            None => entry.open(&loader, &mut Leave::Stored),
        });
        opened.await.unwrap_or_else(|_| {
            Err("loading it failed inside the host; see the host's log"
                .to_owned()
                .into())
        })
    }

    fn reaches(&self, loader: &Loader, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        loader.queue.moved();
    }

    /// What a call of it waits for now, for people.
    pub(super) fn waits_for(&self) -> String {
        let name = &self.name;
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stage {
            Stage::Reading => format!("plugin `{name}` is being loaded"),
            Stage::Queued(place) => match place.before() {
                Some(1) => format!("plugin `{name}` waits for the compiler, 1 plugin before it"),
                Some(before) => {
                    format!("plugin `{name}` waits for the compiler, {before} plugins before it")
                }
                None => format!("plugin `{name}` is being compiled"),
            },
            Stage::Compiling => format!("plugin `{name}` is being compiled"),
        }
    }

    /// Keeps what the loading gave, if that would be the same another time.
    fn opened(
        self: &Arc<Self>,
        loader: &Loader,
        opened: Result<Arc<Loaded>, Fault>,
    ) -> Result<Arc<Loaded>, String> {
        let passes = opened.as_ref().is_err_and(|fault| match fault.blame {
            Blame::File | Blame::Toolchain | Blame::Parts | Blame::Bounds | Blame::Operator => {
                false
            }
            Blame::Circumstances | Blame::Turn(_) => true,
        });
        let opened = opened.map_err(|fault| bounded(fault.why));
        if !passes {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            *state = match &opened {
                Ok(loaded) => State::Loaded(loaded.clone()),
                Err(why) => State::Broken(why.clone()),
            };
        }
        match &opened {
            Ok(_) => {
                *self.before() = None;
                loader.resident.loaded(self);
            }
            Err(why) if !passes && self.stand_in().is_some() => {
                let (tenant, plugin) = (&self.tenant, &self.name);
                tracing::warn!(
                    tenant,
                    plugin,
                    "a file was put in a plugin's place and is none, {STANDS_IN}: {why}"
                );
            }
            Err(_) => {}
        }
        // Only now: who comes from here on finds what it became.
        *self.opening.lock().unwrap_or_else(PoisonError::into_inner) = None;
        opened
    }

    /// From what is loaded, else from the manifest alone.
    pub(super) fn on_crash(&self) -> Result<OnCrash, String> {
        if let Some(on_crash) = self.of_stamp(|stamp| stamp.on_crash) {
            return Ok(on_crash);
        }
        Ok(self.manifest()?.on_crash)
    }

    /// The same of its version.
    pub(super) fn version(&self) -> Result<Option<String>, String> {
        if let Some(version) = self.of_stamp(|stamp| stamp.version.clone()) {
            return Ok(version);
        }
        Ok(self.manifest()?.version)
    }

    fn manifest(&self) -> Result<Manifest, String> {
        match &self.source {
            Source::Folder { found } => read_manifest(found.manifest()?.as_deref()),
            Source::Upload(upload) => upload.manifest(),
        }
    }

    pub(super) fn info(&self) -> PluginInfo {
        let (mut problem, mut told) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (state.kept().and_then(Result::err), state.told())
        };
        if let Some(why) = &problem
            && let Some(before) = self.stand_in()
        {
            problem = Some(format!("{why}; {STANDS_IN}"));
            told = Some(Told::of(&before));
        }
        let version = match &told {
            Some(told) => told.stamp.version.clone(),
            None => self.declared_version().map(ToOwned::to_owned),
        };
        PluginInfo {
            tenant: self.tenant.clone(),
            name: self.name.clone(),
            version,
            source: match &self.source {
                Source::Folder { found } => found.place.clone(),
                Source::Upload(_) => "upload".into(),
            },
            contract: told.as_ref().map(|told| told.contract),
            sha256: told.as_ref().map(|told| told.stamp.sha256.clone()),
            limits: told.as_ref().map(|told| told.limits.clone()),
            missing_grants: told.map(|told| told.missing_grants).unwrap_or_default(),
            problem,
        }
    }
}

/// What is said of a file that is not taken in the place of another one.
const STANDS_IN: &str = "what was there before goes on serving";

/// At most so much of it.
fn bounded(mut why: String) -> String {
    if why.len() > limits::WHY_BYTES_MAX {
        why.truncate(why.floor_char_boundary(limits::WHY_BYTES_MAX));
        why.push('…');
    }
    why
}
