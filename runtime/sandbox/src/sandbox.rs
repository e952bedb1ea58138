//! The sandbox: a cloneable handle over the plugins, the engine and the threads that guests run on.

use crate::cache::Cache;
use crate::call::{Services, TaskCall, run, unstarted};
use crate::egress::Tls;
use crate::error::Error;
use crate::grants::Ceiling;
use crate::inspect::{Inspection, inspect};
use crate::limits;
use crate::machine::{Machine, Metering, Ticker};
use crate::manifest::{Limits, OnCrash};
use crate::outcome::{Outcome, TaskEnd};
use crate::registry::{Loader, PluginInfo, Refusal, Registry, Settings, Upload};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// How a sandbox is set up. `SandboxConfig::default()` has no plugin folder, no cache and the default ceilings.
#[derive(Clone)]
pub struct SandboxConfig {
    /// The plugin folder; none serves uploads only.
    pub plugins: Option<PathBuf>,
    /// The folder for compiled plugins; none compiles in each process. Tenants must not be able to write to it.
    pub cache: Option<PathBuf>,
    /// The account that the plugin folder's own plugins serve.
    pub default_tenant: String,
    /// What the default account's plugins may be granted.
    pub ceiling: Ceiling,
    /// What other accounts' plugins may be granted; nothing where an account is not listed.
    pub ceilings: BTreeMap<String, Ceiling>,
    /// The most that a manifest may ask for; larger wishes are cut to it.
    pub limits: Limits,
    /// Guests alive at once, at most 9,000; further calls wait.
    pub instances: u32,
    /// Threads that guests compute on; 0 takes one a core.
    pub workers: usize,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            plugins: None,
            cache: None,
            default_tenant: "000000000000".into(),
            ceiling: Ceiling::AsAsked,
            ceilings: BTreeMap::new(),
            limits: Limits::ceiling(),
            instances: limits::INSTANCES_DEFAULT,
            workers: 0,
            secrets: Arc::new(NoSecrets),
        }
    }
}

/// The operator's store of secrets.
pub trait SecretSource: Send + Sync {
    /// A secret's current value, or none when there is no such secret. Called on a guest's thread: answer from memory.
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
    ticker: Arc<Ticker>,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    ends: Mutex<Ends>,
    /// Taken out only when the sandbox goes.
    runtime: Option<Runtime>,
    handle: tokio::runtime::Handle,
}

#[derive(Default)]
struct Ends {
    by_name: BTreeMap<&'static str, u64>,
    cpu: Duration,
}

/// A snapshot for /metrics.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Attempts ended since the start, by the outcome's name.
    pub ended: BTreeMap<&'static str, u64>,
    /// CPU time of all guests since the start.
    pub cpu: Duration,
    /// Guests running now.
    pub running: usize,
    /// Calls waiting for an instance now.
    pub waiting: usize,
    /// Guests that may run at once.
    pub instances: u32,
    /// Plugins compiled since the start.
    pub compiled: u64,
    /// Plugins taken from the cache since the start.
    pub cache_hits: u64,
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
        let plain = Machine::new(Metering::Off, config.instances, config.limits.memory_bytes)
            .map_err(|error| {
                start(
                    crate::code::chain(&error),
                    "is the address space of this process limited?",
                )
            })?;
        let ticker = Ticker::new(plain.engine.clone())
            .map_err(|error| start(error.to_string(), "the process may start no more threads"))?;
        let ticker = Arc::new(ticker);
        let tls = Tls::new()
            .map_err(|error| start(error.to_string(), "the TLS library is unusable here"))?;
        let runtime = runtime(config.workers)
            .map_err(|error| start(error.to_string(), "the process may start no more threads"))?;
        let settings = Settings {
            default_tenant: config.default_tenant,
            ceiling: config.ceiling,
            ceilings: config.ceilings,
            instances: config.instances,
            limits: config.limits,
        };
        let services = Services {
            tls,
            secrets: config.secrets,
            wall_max: settings.limits.wall,
        };
        let slots = Arc::new(Semaphore::new(settings.instances as usize));
        let clock = ticker.clone();
        let on_engine = Box::new(move |engine| clock.add(engine));
        let loader = Loader::new(
            plain,
            Cache::new(config.cache.as_deref())?,
            settings,
            on_engine,
        );
        let registry = Registry::new(config.plugins.as_deref(), loader)?;
        Ok(Self(Arc::new(Inner {
            registry,
            services,
            ticker,
            slots,
            waiting: AtomicUsize::new(0),
            ends: Mutex::default(),
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })))
    }

    /// Runs a task once, in a fresh instance, on the sandbox's own threads. Dropping the returned future ends the guest
    /// and frees its instance. Never fails: whatever happens is an [`Outcome`].
    pub fn call(&self, call: TaskCall) -> impl Future<Output = TaskEnd> + Send + 'static {
        let inner = self.0.clone();
        let input_bytes = call.input.len() as u64;
        let task = self
            .0
            .handle
            .spawn(Box::pin(async move { inner.call(call).await }));
        Call { task, input_bytes }
    }

    /// What a plugin's manifest says of an attempt that a crash interrupted; that it runs again when there is no such
    /// plugin or its manifest is unusable, as the next call then says. Reads the manifest, but compiles nothing.
    pub fn on_crash(&self, tenant: &str, plugin: &str) -> OnCrash {
        self.0.registry.on_crash(tenant, plugin)
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
        // On the sandbox's own runtime, so that it works under any executor. A failure has been logged by then.
        let _ = self
            .0
            .handle
            .spawn(async move { inner.registry.warm().await })
            .await;
    }

    /// Takes an uploaded plugin for a tenant; it wins over the folder's. Compiles it: call it where blocking is fine.
    ///
    /// # Errors
    /// The plugin is unusable; says why.
    pub fn install(&self, tenant: &str, upload: Upload) -> Result<PluginInfo, Error> {
        self.0.registry.install(tenant, upload)
    }

    /// Forgets an uploaded plugin, or one version of it; returns whether there was one. Running attempts go on.
    pub fn remove(&self, tenant: &str, name: &str, version: Option<&str>) -> bool {
        self.0.registry.remove(tenant, name, version)
    }

    /// Examines a `.wasm` file, or a folder with `plugin.toml`. Compiles it: call it where blocking is fine.
    ///
    /// # Errors
    /// The path cannot be read.
    pub fn inspect(&self, path: &Path) -> Result<Inspection, Error> {
        inspect(path, self.0.registry.loader())
    }

    /// A snapshot of the counters.
    pub fn metrics(&self) -> Metrics {
        let ends = self.0.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let loader = self.0.registry.loader();
        Metrics {
            ended: ends.by_name.clone(),
            cpu: ends.cpu,
            running: self.0.ticker.running(),
            waiting: self.0.waiting.load(Ordering::Relaxed),
            instances: loader.settings.instances,
            compiled: loader.cache.compiled.load(Ordering::Relaxed),
            cache_hits: loader.cache.hits.load(Ordering::Relaxed),
        }
    }
}

fn runtime(workers: usize) -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    // Computing guests hold a thread for a tick at a time: timers and sockets must be looked at between few of them.
    builder
        .event_interval(8)
        .thread_name("stepwell-guest")
        .enable_all()
        .build()
}

impl Inner {
    async fn call(self: &Arc<Self>, call: TaskCall) -> TaskEnd {
        let end = self.attempt(call).await;
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends.by_name.entry(end.outcome.name()).or_default() += 1;
        ends.cpu += end.usage.cpu;
        end
    }

    async fn attempt(self: &Arc<Self>, call: TaskCall) -> TaskEnd {
        let called = Instant::now();
        let bytes = call.input.len() as u64;
        let resolved = self
            .registry
            .resolve(&call.tenant, &call.plugin, call.version.as_deref())
            .await;
        let plugin = match resolved {
            Ok(plugin) => plugin,
            Err(refusal) => {
                let outcome = match refusal {
                    Refusal::Missing(cause) => Outcome::PluginMissing { cause },
                    Refusal::Broken(cause) => Outcome::PluginBroken { cause },
                };
                return unstarted(outcome, None, bytes, called.elapsed());
            }
        };
        let refuse = |outcome| unstarted(outcome, Some(&plugin), bytes, called.elapsed());
        if bytes > plugin.limits.input_bytes {
            return refuse(Outcome::InputTooLarge {
                bytes,
                limit: plugin.limits.input_bytes,
            });
        }
        let Some(_place) = plugin.enter() else {
            let name = &plugin.stamp.name;
            let cause =
                format!("plugin `{name}` runs as often at once as its [limits].concurrency allows");
            return refuse(Outcome::TooManyRunning { cause });
        };
        let _slot = match self.slot(&call, called).await {
            Ok(slot) => slot,
            Err(outcome) => return refuse(outcome),
        };
        let machine = match self.registry.loader().machine(plugin.metering) {
            Ok(machine) => machine,
            Err(cause) => return refuse(Outcome::HostFault { cause }),
        };
        let _awake = self.ticker.awake();
        Box::pin(run(machine, &plugin, &self.services, call, called)).await
    }

    /// Waits for an instance, in order of arrival.
    async fn slot(
        &self,
        call: &TaskCall,
        called: Instant,
    ) -> Result<OwnedSemaphorePermit, Outcome> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.ahead >= limits::QUEUE_MAX {
            let cause = format!(
                "{} calls wait for an instance already; try again later",
                waiting.ahead
            );
            return Err(Outcome::TooManyRunning { cause });
        }
        let slot = self.slots.clone().acquire_owned();
        let slot = match call.deadline {
            None => slot.await,
            Some(deadline) => match tokio::time::timeout_at((called + deadline).into(), slot).await
            {
                Ok(slot) => slot,
                Err(_) => return Err(Outcome::TimedOut { wall: deadline }),
            },
        };
        slot.map_err(|_| Outcome::HostFault {
            cause: "the sandbox is shutting down".into(),
        })
    }
}

/// Counts a waiting call, also when its future is dropped.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    ahead: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        Self {
            count,
            ahead: count.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A running call; ends the guest when dropped.
struct Call {
    task: JoinHandle<TaskEnd>,
    input_bytes: u64,
}

impl Future for Call {
    type Output = TaskEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TaskEnd> {
        Pin::new(&mut self.task).poll(cx).map(|joined| {
            joined.unwrap_or_else(|error| {
                let cause = if error.is_panic() {
                    tracing::error!("a task's host side panicked: {error}");
                    "the host failed while running the task; see the host's log"
                } else {
                    "the sandbox is shutting down"
                };
                unstarted(
                    Outcome::HostFault {
                        cause: cause.into(),
                    },
                    None,
                    self.input_bytes,
                    Duration::ZERO,
                )
            })
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last handle may go on one of the runtime's own threads, which must not wait for itself.
            runtime.shutdown_background();
        }
    }
}
