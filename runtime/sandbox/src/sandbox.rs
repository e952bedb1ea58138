//! The sandbox: a cloneable handle over the plugins, the engine and the threads that guests run on.

use crate::allowed::Ceilinged;
use crate::cache::Cache;
use crate::call::{Services, TaskCall, Waits, limits_of, run, unstarted};
use crate::ceiling::{Allowance, Ceilings};
use crate::compiler::Compiler;
use crate::error::Error;
use crate::folders::Guarded;
use crate::inspect::{Inspection, inspect};
use crate::kept::Shelf;
use crate::limits;
use crate::machine::{EngineKind, Machine, Ticker};
use crate::manifest::OnCrash;
use crate::outcome::{HostUse, Outcome, SUCCEEDED, TaskEnd};
use crate::registry::{Loaded, Loader, PluginInfo, Refusal, Registry, Settings, Upload};
use crate::secret::Had;
use crate::slots::{Slot, Slots, Taken, Waiting};
use crate::turns::{Begun, Lost, Pace, Turns};
use crate::weight::{Weight, Weights};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use stepwell_egress::{Connector, Resolve, SystemResolver};
use tokio::runtime::Runtime;

/// How a sandbox is set up. `SandboxConfig::default()` has no plugin folder, no cache and the default ceilings.
#[derive(Clone)]
pub struct SandboxConfig {
    /// The plugin folder; none serves uploads only.
    pub plugins: Option<PathBuf>,
    /// The folder for compiled plugins; none compiles in each process. Tenants must not be able to write to it.
    pub cache: Option<PathBuf>,
    /// Bytes that it may have; past it what was not of use for longest goes.
    pub cache_bytes: u64,
    /// Where plugins are compiled.
    pub compiler: Compiler,
    /// Whether code of the plugin folder that was compiled ahead of time (`NAME.cwasm`) is run. It is run unchecked: whoever
    /// can write to that folder can then do all that this process can.
    pub precompiled: bool,
    /// Folders of the host that no guest may be granted for writing, nor what holds them; the plugin folder and the
    /// cache are such folders anyway.
    pub guarded: Vec<PathBuf>,
    /// The account that the plugin folder's own plugins serve.
    pub default_tenant: String,
    /// What the plugins of each account may be granted, and use.
    pub ceilings: Ceilings,
    /// Guests alive at once, at most 9,000; further calls wait.
    pub instances: u32,
    /// Threads that guests compute on; 0 takes one a core. As many more, of a lower priority where the system has that,
    /// are for guests that compute for long.
    pub workers: usize,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// Where the names of guests' HTTP requests are looked up.
    pub names: Arc<dyn Resolve>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            plugins: None,
            cache: None,
            cache_bytes: limits::CACHE_BYTES_DEFAULT,
            compiler: Compiler::default(),
            precompiled: false,
            guarded: Vec::new(),
            default_tenant: "000000000000".into(),
            ceilings: Ceilings::default(),
            instances: limits::INSTANCES_DEFAULT,
            workers: 0,
            secrets: Arc::new(NoSecrets),
            names: Arc::new(SystemResolver),
        }
    }
}

/// The operator's own secrets.
pub trait SecretSource: Send + Sync {
    /// A secret's current value, or none when there is no such secret. Called for each that a guest may use, before it begins:
    /// answer from memory.
    fn secret(&self, tenant: &str, name: &str) -> Option<String>;
}

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn secret(&self, _: &str, _: &str) -> Option<String> {
        None
    }
}

/// Runs tasks. A handle: clones share everything.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    registry: Registry,
    services: Services,
    slots: Arc<Slots>,
    weights: Weights,
    ends: Ends,
    turns: Turns,
    /// For timers, sockets and files. Taken out only when the sandbox goes.
    io: Option<Runtime>,
    handle: tokio::runtime::Handle,
}

/// Counts ends. Nearly all of them succeed, on all threads at once: those take no lock.
#[derive(Default)]
struct Ends {
    succeeded: AtomicU64,
    expected_long: AtomicU64,
    cpu_ns: AtomicU64,
    others: Mutex<Others>,
}

/// What few attempts have anything of.
#[derive(Default)]
struct Others {
    by_name: BTreeMap<&'static str, u64>,
    fuel: u64,
    host: HostUse,
}

impl Ends {
    fn count(&self, end: &TaskEnd) {
        let usage = &end.usage;
        let cpu_ns = u64::try_from(usage.cpu.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_ns.fetch_add(cpu_ns, Ordering::Relaxed);
        let succeeded = matches!(end.outcome, Outcome::Ok(_));
        if succeeded {
            self.succeeded.fetch_add(1, Ordering::Relaxed);
        }
        if succeeded && usage.fuel.is_none() && usage.host == HostUse::default() {
            return;
        }
        let mut others = self.others();
        if !succeeded {
            *others.by_name.entry(end.outcome.name()).or_default() += 1;
        }
        others.fuel = others.fuel.saturating_add(usage.fuel.unwrap_or(0));
        others.host.add(&usage.host);
    }

    fn by_name(&self) -> BTreeMap<&'static str, u64> {
        let mut by_name = self.others().by_name.clone();
        let succeeded = self.succeeded.load(Ordering::Relaxed);
        if succeeded > 0 {
            by_name.insert(SUCCEEDED, succeeded);
        }
        by_name
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot for /metrics.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Attempts ended since the start, by the outcome's name.
    pub ended: BTreeMap<&'static str, u64>,
    /// CPU time of all guests since the start.
    pub cpu: Duration,
    /// Fuel used since the start, of plugins that are bounded by it.
    pub fuel: u64,
    /// What all guests did with their host since the start.
    pub host: HostUse,
    /// Guests running now.
    pub running: usize,
    /// Calls waiting for an instance now.
    pub waiting: usize,
    /// Attempts since the start that were taken for long ones from their beginning, by what their plugin's had been.
    pub expected_long: u64,
    /// Guests that may run at once.
    pub instances: u32,
    /// Plugins compiled since the start.
    pub compiled: u64,
    /// Plugins taken from the cache since the start.
    pub cache_hits: u64,
    /// Plugins that are being compiled now.
    pub compiling: usize,
    /// Plugins that wait for the compiler now.
    pub uncompiled: usize,
    /// Instances that wait for another attempt now.
    pub kept: usize,
    /// Memory that they hold, in bytes.
    pub kept_bytes: u64,
    /// Plugins in memory now.
    pub loaded: usize,
}

impl Sandbox {
    /// Sets everything up: engine, threads, cache; looks at the plugin folder and watches it. Plugins are loaded when
    /// first called, or by [`Sandbox::warm`].
    ///
    /// # Errors
    /// A folder cannot be used, or the machine cannot run the engine.
    pub fn new(config: SandboxConfig) -> Result<Self, Error> {
        let start = |why: String, hint| Error::Start { why, hint };
        if !(1..=limits::INSTANCES_MAX).contains(&config.instances) {
            let why = format!(
                "{} instances are not 1 to {}",
                config.instances,
                limits::INSTANCES_MAX
            );
            return Err(start(
                why,
                "each takes six memory mappings; run more processes for more",
            ));
        }
        let weights = Weights::default();
        let settings = Settings {
            weights: weights.clone(),
            ceilings: Ceilinged::new(config.ceilings, config.default_tenant),
            instances: config.instances,
            precompiled: config.precompiled,
            guarded: Guarded {
                plugins: config.plugins.clone(),
                cache: config.cache.clone(),
                others: config.guarded,
            },
        };
        let (pooled, memory) = (settings.pooled(), settings.ceilings.memory_bytes_max());
        let plain = Machine::new(EngineKind::USUAL, pooled, memory).map_err(|error| {
            start(
                crate::code::chain(&error),
                "is the address space of this process limited?",
            )
        })?;
        let ticker = Ticker::new(plain.engine.clone())
            .map_err(|error| start(error.to_string(), "the process may start no more threads"))?;
        let ticker = Arc::new(ticker);
        let connector = Connector::new()
            .map_err(|error| start(error.to_string(), "the TLS library is unusable here"))?
            .resolving(config.names);
        let threads = |error: std::io::Error| {
            start(error.to_string(), "the process may start no more threads")
        };
        let io = io().map_err(threads)?;
        let turns = Turns::new(workers(config.workers), io.handle(), &ticker).map_err(threads)?;
        let services = Services {
            connector,
            secrets: config.secrets,
            shelf: Shelf::new(io.handle().clone()),
        };
        let slots = Slots::new(settings.instances);
        let on_engine = Box::new(move |engine| ticker.add(engine));
        let loader = Loader::new(
            plain,
            Cache::new(config.cache.as_deref(), config.cache_bytes)?,
            config.compiler,
            settings,
            on_engine,
        );
        let registry = Registry::new(config.plugins.as_deref(), loader)?;
        Ok(Self(Arc::new(Inner {
            registry,
            services,
            slots,
            weights,
            ends: Ends::default(),
            turns,
            handle: io.handle().clone(),
            io: Some(io),
        })))
    }

    /// Runs a task once, in a fresh instance, on the sandbox's own threads. Dropping the returned future ends the guest
    /// and frees its instance. Never fails: whatever happens is an [`Outcome`].
    pub fn call(&self, mut call: TaskCall) -> impl Future<Output = TaskEnd> + Send + 'static {
        let inner = self.0.clone();
        let input_bytes = call.input.len() as u64;
        let weight = inner.weights.of(&call.tenant);
        let pace = Arc::new(Pace::new(call.tenant.clone(), weight, call.deadline));
        let attempt = {
            let pace = pace.clone();
            // Moved here once; what runs it has it by reference.
            Box::pin(async move { inner.call(&mut call, &pace).await })
        };
        Call {
            begun: self.0.turns.begin(pace, attempt),
            input_bytes,
        }
    }

    /// Gives a tenant another part of instances, threads and the compiler where others want them too. It counts for calls that
    /// come from now on.
    pub fn weigh(&self, tenant: &str, weight: Weight) {
        self.0.weights.set(tenant, weight);
    }

    /// What a plugin's manifest says of an attempt that a crash interrupted; that it runs again when there is no such
    /// plugin or its manifest is unusable, as the next call then says. Reads the manifest, but compiles nothing.
    pub fn on_crash(&self, tenant: &str, plugin: &str) -> OnCrash {
        self.0.registry.on_crash(tenant, plugin)
    }

    /// Whether a plugin of that name is in the folder, in that version where one is given. Reads the manifest for a version,
    /// but compiles nothing; a manifest that is unusable has none.
    pub fn has(&self, tenant: &str, plugin: &str, version: Option<&str>) -> bool {
        self.0.registry.has(tenant, plugin, version)
    }

    /// Takes other ceilings in the place of those that it was set up with. They count for attempts that begin from now on; more
    /// memory than any of the first ones allowed is had only after a restart.
    pub fn set_ceilings(&self, ceilings: Ceilings) {
        self.ceilings().set_file(ceilings);
        self.0.registry.reload(None);
    }

    /// Gives an account a ceiling of its own, or takes it away. Where the operator's ceilings say something of the account, a
    /// capability has to be in both, and of the limits the smaller holds.
    pub fn set_ceiling(&self, tenant: &str, own: Option<Allowance>) {
        self.ceilings().set_own(tenant, own);
        self.0.registry.reload(Some(tenant));
    }

    /// Reads the ceiling of an account: what a file of ceilings has in the account's section. `name` stands in messages.
    ///
    /// # Errors
    /// All that is wrong with it, each on a line.
    pub fn parse_ceiling(&self, tenant: &str, name: &str, text: &str) -> Result<Allowance, String> {
        Allowance::parse(name, text, &self.ceilings().usual(tenant))
    }

    fn ceilings(&self) -> &Ceilinged {
        &self.0.registry.loader().settings.ceilings
    }

    /// Whether the operator has set a secret of that name for an account.
    pub fn has_secret(&self, tenant: &str, name: &str) -> bool {
        self.0.services.secrets.secret(tenant, name).is_some()
    }

    /// All plugins of all tenants, by tenant and name.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.0.registry.list()
    }

    /// Looks at the plugin folder at once, without waiting for the watcher.
    ///
    /// # Errors
    /// The folder cannot be read; what was known stays known.
    pub fn rescan(&self) -> Result<(), Error> {
        self.0.registry.rescan()
    }

    /// Loads every plugin in the folder that is not loaded yet, so that no task waits for a compiler.
    pub async fn warm(&self) {
        let inner = self.0.clone();
        // On the sandbox's own threads, so that it works under any executor. A failure has been logged by then.
        let _ = self
            .0
            .handle
            .spawn(async move { inner.registry.warm().await })
            .await;
    }

    /// Whether a call of a plugin would wait for a compiler; not when there is no such plugin, or none that can be read.
    /// Reads the plugin's file: call it where blocking is fine.
    pub fn needs_compiling(&self, tenant: &str, plugin: &str) -> bool {
        self.0.registry.needs_compiling(tenant, plugin)
    }

    /// Loads one plugin, so that no task waits for a compiler.
    ///
    /// # Errors
    /// Why it cannot be called.
    pub async fn prepare(&self, tenant: &str, plugin: &str) -> Result<(), Error> {
        let inner = self.0.clone();
        let (tenant, name) = (tenant.to_owned(), plugin.to_owned());
        // On the sandbox's own threads, so that it works under any executor.
        let loading = self.0.handle.spawn(async move {
            let loaded = inner
                .registry
                .resolve(&tenant, &name, None, Instant::now())
                .await;
            loaded.map(drop).map_err(|refusal| match refusal {
                Refusal::Missing(why) | Refusal::Broken(why) => Error::Plugin { name, why },
            })
        });
        loading.await.unwrap_or_else(|_| {
            Err(Error::Plugin {
                name: plugin.to_owned(),
                why: STOPPING.to_owned(),
            })
        })
    }

    /// Loads a plugin that calls will bring along, so that nobody takes it up who could not call it.
    ///
    /// # Errors
    /// Why it cannot be called.
    pub async fn check(&self, tenant: &str, name: &str, upload: Upload) -> Result<(), Error> {
        let (inner, tenant, plugin) = (self.0.clone(), tenant.to_owned(), name.to_owned());
        // On the sandbox's own threads, so that it works under any executor.
        let loading = self.0.handle.spawn(async move {
            let loaded = inner.registry.uploaded(&tenant, &plugin, &upload).await;
            loaded.map(drop)
        });
        let name = name.to_owned();
        let loaded = loading.await.unwrap_or_else(|_| Err(STOPPING.to_owned()));
        loaded.map_err(|why| Error::Plugin { name, why })
    }

    /// What a plugin that is looked at by [`Sandbox::check`] waits for, for people.
    pub fn waits_for(&self, tenant: &str, name: &str, upload: &Upload) -> String {
        self.0.registry.waits_for(tenant, name, Some(upload))
    }

    /// Nobody will bring along the plugin of that SHA-256 any more: takes it out of memory, as far as nobody runs it, and what
    /// was compiled of it out of the cache. Blocks.
    pub fn forget(&self, wasm_sha256: &str) {
        self.0.registry.forget_code(wasm_sha256);
    }

    /// Examines a `.wasm` file, or a folder with `plugin.toml`, as one of an account. Compiles it: call it where blocking is
    /// fine.
    ///
    /// # Errors
    /// The path cannot be read.
    pub fn inspect(&self, path: &Path, tenant: &str) -> Result<Inspection, Error> {
        inspect(path, tenant, self.0.registry.loader())
    }

    /// A snapshot of the counters.
    pub fn metrics(&self) -> Metrics {
        let loader = self.0.registry.loader();
        let (compiling, uncompiled) = loader.compiling();
        let (kept, kept_bytes) = self.0.services.shelf.sizes();
        let (fuel, host) = {
            let others = self.0.ends.others();
            (others.fuel, others.host)
        };
        Metrics {
            ended: self.0.ends.by_name(),
            cpu: Duration::from_nanos(self.0.ends.cpu_ns.load(Ordering::Relaxed)),
            fuel,
            host,
            running: self.0.slots.taken() as usize,
            waiting: self.0.slots.waiting(),
            expected_long: self.0.ends.expected_long.load(Ordering::Relaxed),
            instances: loader.settings.instances,
            compiled: loader.cache.compiled.load(Ordering::Relaxed),
            cache_hits: loader.cache.hits.load(Ordering::Relaxed),
            compiling,
            uncompiled,
            kept,
            kept_bytes,
            loaded: loader.resident.count(),
        }
    }
}

/// Drives timers and sockets, and has threads for files and compilers. Guests compute elsewhere: it is never late.
fn io() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("stepwell-io")
        .enable_all()
        .build()
}

fn workers(configured: usize) -> usize {
    if configured > 0 {
        return configured;
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Inner {
    async fn call(&self, call: &mut TaskCall, pace: &Pace) -> TaskEnd {
        let end = self.attempt(call, pace).await;
        self.ends.count(&end);
        end
    }

    /// What an attempt may have to wait for is boxed, and only when it has to: there may be very many that wait, and most do
    /// not.
    async fn attempt(&self, call: &mut TaskCall, pace: &Pace) -> TaskEnd {
        let called = pace.called;
        let bytes = call.input.len() as u64;
        let plugin = match self.ready_plugin(call, called) {
            Some(plugin) => plugin,
            None => match Box::pin(self.plugin(call, called)).await {
                Ok(plugin) => plugin,
                Err(outcome) => return unstarted(outcome, None, bytes, called.elapsed()),
            },
        };
        let refuse = |outcome| unstarted(outcome, Some(&plugin), bytes, called.elapsed());
        let limits = limits_of(&plugin, call);
        if bytes > limits.input_bytes {
            return refuse(Outcome::InputTooLarge {
                bytes,
                limit: limits.input_bytes,
            });
        }
        let Some(_place) = plugin.enter() else {
            let name = &plugin.stamp.name;
            let cause =
                format!("plugin `{name}` runs as often at once as its [limits].concurrency allows");
            return refuse(Outcome::TooManyRunning { cause });
        };
        if plugin.habit.lasts() {
            pace.expect_long();
            self.ends.expected_long.fetch_add(1, Ordering::Relaxed);
            // Goes on at a thread of the long ones.
            tokio::task::yield_now().await;
        }
        let slot = match self
            .slots
            .take((&pace.tenant, pace.weight), limits::QUEUE_MAX)
        {
            Ok(Taken::Now(slot)) => Ok(slot),
            Ok(Taken::Later(waiting)) => Box::pin(slot(waiting, call, pace)).await,
            Err(waiting) => Err(Outcome::TooManyRunning {
                cause: format!("{waiting} calls wait for an instance already; try again later"),
            }),
        };
        let _slot = match slot {
            Ok(slot) => slot,
            Err(outcome) => return refuse(outcome),
        };
        let secrets = match plugin.granted.secret_names() {
            names if names.is_empty() => Had::default(),
            names => match Box::pin(self.secrets(names, call)).await {
                Ok(secrets) => secrets,
                Err(cause) => return refuse(Outcome::HostFault { cause }),
            },
        };
        let _noted = Noted(&plugin, pace);
        Box::pin(run(&plugin, &limits, &self.services, secrets, call, pace)).await
    }

    /// The secrets of these names, as they are now.
    async fn secrets(&self, names: BTreeSet<&str>, call: &TaskCall) -> Result<Had, String> {
        let operators = self.services.secrets.as_ref();
        Had::gather(names, &call.tenant, operators, call.secrets.as_ref()).await
    }

    /// The plugin that the call names, if it is in memory.
    fn ready_plugin(&self, call: &TaskCall, called: Instant) -> Option<Arc<Loaded>> {
        let (tenant, name, version) = (&call.tenant, &call.plugin, call.version.as_deref());
        match &call.upload {
            Some(upload) => self.registry.ready_upload(tenant, name, upload),
            None => self.registry.ready(tenant, name, version, called),
        }
    }

    /// The plugin that the call names; waits while it is compiled, but no longer than the call may.
    async fn plugin(&self, call: &TaskCall, called: Instant) -> Result<Arc<Loaded>, Outcome> {
        let resolved = async {
            let (tenant, name) = (&call.tenant, &call.plugin);
            match &call.upload {
                Some(upload) => {
                    let loaded = self.registry.uploaded(tenant, name, upload).await;
                    loaded.map_err(|why| Refusal::Broken(format!("plugin `{name}`: {why}")))
                }
                None => {
                    let version = call.version.as_deref();
                    self.registry.resolve(tenant, name, version, called).await
                }
            }
        };
        let cancelled = async {
            match &call.cancel {
                Some(cancel) => cancel.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let late = async {
            match call.deadline {
                Some(deadline) => tokio::time::sleep_until((called + deadline).into()).await,
                None => std::future::pending().await,
            }
        };
        let told = async {
            match &call.waits {
                Some(tell) => self.tell_waits(call, tell).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            resolved = resolved => resolved.map_err(|refusal| match refusal {
                Refusal::Missing(cause) => Outcome::PluginMissing { cause },
                Refusal::Broken(cause) => Outcome::PluginBroken { cause },
            }),
            () = cancelled => Err(Outcome::Cancelled),
            () = late => Err(Outcome::NotReady { cause: self.waits_for(call) }),
            () = told => Err(Outcome::Cancelled),
        }
    }

    fn waits_for(&self, call: &TaskCall) -> String {
        let upload = call.upload.as_ref();
        self.registry.waits_for(&call.tenant, &call.plugin, upload)
    }

    /// Tells what a call waits for whenever that changes; ends when the sandbox does.
    async fn tell_waits(&self, call: &TaskCall, tell: &Waits) {
        let mut moves = self.registry.loader().moves();
        let mut told = self.waits_for(call);
        tell.tell(&told);
        while moves.changed().await.is_ok() {
            let why = self.waits_for(call);
            if why != told {
                tell.tell(&why);
                told = why;
                // Thousands may wait, and each plugin that is compiled moves them all.
                tokio::time::sleep(limits::WAITS_TOLD_EVERY).await;
            }
        }
    }
}

/// Notes for the next attempts what this one was, also when nobody waits for its end any more.
struct Noted<'a>(&'a Loaded, &'a Pace);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.habit.note(self.1);
    }
}

/// Waits for an instance.
async fn slot(waiting: Waiting, call: &TaskCall, pace: &Pace) -> Result<Slot, Outcome> {
    let slot = match call.deadline {
        None => waiting.slot().await,
        Some(deadline) => {
            let due = (pace.called + deadline).into();
            match tokio::time::timeout_at(due, waiting.slot()).await {
                Ok(slot) => slot,
                Err(_) => return Err(Outcome::TimedOut { wall: deadline }),
            }
        }
    };
    slot.ok_or_else(|| Outcome::HostFault {
        cause: STOPPING.into(),
    })
}

const STOPPING: &str = "the sandbox is shutting down";

/// A running call; ends the guest when dropped.
struct Call {
    begun: Begun,
    input_bytes: u64,
}

impl Future for Call {
    type Output = TaskEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TaskEnd> {
        Pin::new(&mut self.begun).poll(cx).map(|end| {
            end.unwrap_or_else(|lost| {
                let cause = match lost {
                    Lost::Panicked => {
                        tracing::error!("a task's host side panicked");
                        "the host failed while running the task; see the host's log"
                    }
                    Lost::Stopped => STOPPING,
                };
                let cause = cause.into();
                let outcome = Outcome::HostFault { cause };
                unstarted(outcome, None, self.input_bytes, Duration::ZERO)
            })
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(io) = self.io.take() {
            // The last handle may go on a thread of the sandbox, which must not wait for itself.
            io.shutdown_background();
        }
    }
}
