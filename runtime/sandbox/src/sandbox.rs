//! The sandbox: a cloneable handle over the plugins, the engine and the threads that guests run on. Hides that guests have
//! threads and timers of their own, apart from the caller's runtime, and in which order all of it is set up and taken down.

mod config;
mod counts;
mod waiting;

use crate::allowed::Ceilinged;
use crate::cache::Cache;
use crate::call::{Services, TaskCall, unstarted};
use crate::ceiling::{Allowance, Ceilings};
use crate::error::Error;
use crate::folders::Guarded;
use crate::inspect::{Inspection, inspect};
use crate::kept::Shelf;
use crate::limits;
use crate::machine::{EngineKind, Machine, Ticker};
use crate::manifest::{Limits, OnCrash};
use crate::outcome::{Outcome, TaskEnd};
use crate::precompiled::{self, CodeInspection};
use crate::registry::{Loader, PluginInfo, Refusal, Registry, Settings, Upload};
use crate::scan::{Found, Skipped};
use crate::slots::Slots;
use crate::turns::{Begun, Lost, Pace, Turns};
use crate::weight::{Weight, Weights};
use counts::Ends;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use stepwell_egress::Connector;
use tokio::runtime::Runtime;

pub use config::{SandboxConfig, SecretSource};
pub use counts::Metrics;

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

impl Sandbox {
    /// Sets everything up: engine, threads, cache; looks at the plugin folder and watches it. Plugins are loaded when
    /// first called, or by [`Sandbox::warm`].
    ///
    /// # Errors
    /// A folder cannot be used, or the machine cannot run the engine.
    pub fn new(config: SandboxConfig) -> Result<Self, Error> {
        let start = |why: String, hint| Error::Start { why, hint };
        check_instances(config.instances)?;
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

    /// Runs a task once, in a fresh instance, on the sandbox's own threads or, see [`TaskCall::alone`], on the caller's. Dropping
    /// the returned future ends the guest and frees its instance. Never fails: whatever happens is an [`Outcome`].
    pub fn call(&self, mut call: TaskCall) -> impl Future<Output = TaskEnd> + Send + 'static {
        let inner = self.0.clone();
        let input_bytes = call.input.len() as u64;
        let weight = inner.weights.of(&call.tenant);
        let pace = Arc::new(Pace::new(call.tenant.clone(), weight, call.deadline));
        let alone = call.alone;
        let attempt = {
            let pace = pace.clone();
            // Moved here once; what runs it has it by reference.
            Box::pin(async move { inner.call(&mut call, &pace).await })
        };
        Call {
            begun: match alone {
                true => self.0.turns.begin_here(pace, attempt),
                false => self.0.turns.begin(pace, attempt),
            },
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

    /// The most that an attempt of an account's plugins has, whatever they ask for: by the operator's ceilings and by the account's
    /// own. It changes with those.
    pub fn most(&self, tenant: &str) -> Limits {
        self.ceilings().of(tenant).limits()
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

    /// What is in the plugin folder in a plugin's place and is not served, by its place there.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.0.registry.skipped()
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

    /// Examines a `.wasm` file, or a folder with `plugin.toml`, as one of an account. Of one that is in the plugin folder it is a
    /// problem as well what keeps it from being served there. Compiles it: call it where blocking is fine.
    ///
    /// # Errors
    /// The path cannot be read, or a server does not read it where it is.
    pub fn inspect(&self, path: &Path, tenant: &str) -> Result<Inspection, Error> {
        let found = self.found_at(path)?;
        let mut inspection = inspect(path, tenant, self.0.registry.loader())?;
        if let Some(found) = found {
            inspection.check_found(&found);
        }
        Ok(inspection)
    }

    /// The plugin of the plugin folder that a path means, if it is one of those.
    fn found_at(&self, path: &Path) -> Result<Option<Found>, Error> {
        let found = self.0.registry.found_at(path);
        found.map_err(|why| Error::Plugin {
            name: path.display().to_string(),
            why,
        })
    }

    /// Examines code that was compiled ahead of time, a file `NAME.cwasm` or a folder that is served by one, as that of an account;
    /// none when the path's program is WebAssembly. It is mapped only where such code is run. Blocks.
    ///
    /// # Errors
    /// The file cannot be read, is no such code, or a server does not read it where it is.
    pub fn inspect_code(&self, path: &Path, tenant: &str) -> Result<Option<CodeInspection>, Error> {
        let found = self.found_at(path)?;
        let name = found.as_ref().map(|found| found.name.as_str());
        precompiled::look(path, tenant, name, self.0.registry.loader())
    }

    /// A snapshot of the counters.
    pub fn metrics(&self) -> Metrics {
        let loader = self.0.registry.loader();
        let (compiling, uncompiled) = loader.compiling();
        let (kept, kept_bytes) = self.0.services.shelf.sizes();
        let (fuel, host) = self.0.ends.fuel_and_host();
        let (input_bytes, output_bytes) = self.0.ends.payloads();
        let (memory_peak_bytes, memory_peak_bytes_max) = self.0.ends.memory_peaks();
        Metrics {
            ended: self.0.ends.by_name(),
            cpu: self.0.ends.cpu(),
            fuel,
            input_bytes,
            output_bytes,
            memory_peak_bytes,
            memory_peak_bytes_max,
            host,
            running: self.0.slots.taken() as usize,
            waiting: self.0.slots.waiting(),
            expected_long: self.0.ends.expected_long(),
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

fn check_instances(instances: u32) -> Result<(), Error> {
    let most = limits::INSTANCES_MAX;
    if (1..=most).contains(&instances) {
        return Ok(());
    }
    Err(Error::Start {
        why: format!("{instances} instances are not 1 to {most}"),
        hint: "each takes addresses for the memories that a plugin may have; run more processes for more",
    })
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
