//! What makes a file into a plugin: engines, the compiler, the cache, and the operator's side of it.

use crate::cache::Cache;
use crate::compiler::Compiler;
use crate::folders::Guarded;
use crate::grants::Ceiling;
use crate::limits;
use crate::machine::{Machine, Metering};
use crate::manifest::{Limits, Manifest};
use crate::queue::Queue;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Semaphore, watch};

/// Makes a file into a plugin.
pub(crate) struct Loader {
    pub(crate) plain: Machine,
    fuel: OnceLock<Machine>,
    pub(crate) cache: Cache,
    pub(crate) compiler: Compiler,
    pub(crate) settings: Settings,
    pub(super) queue: Arc<Queue>,
    pub(super) reading: Semaphore,
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
    /// Whether code of the plugin folder that was compiled ahead of time is run.
    pub(crate) precompiled: bool,
}

impl Loader {
    pub(crate) fn new(
        plain: Machine,
        cache: Cache,
        compiler: Compiler,
        settings: Settings,
        on_engine: Box<dyn Fn(wasmtime::Engine) + Send + Sync>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let seats = cores.saturating_sub(limits::COMPILE_CORES_LEFT).max(1);
        Self {
            plain,
            fuel: OnceLock::new(),
            cache,
            compiler,
            settings,
            queue: Queue::new(seats),
            reading: Semaphore::new(limits::LOADS_MAX),
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

    /// Tells of every change of what a call of a plugin that is not loaded waits for.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.queue.moves()
    }

    /// Plugins that are compiled now, and those that wait for it.
    pub(crate) fn compiling(&self) -> (usize, usize) {
        self.queue.sizes()
    }

    /// How a plugin's code has to count.
    pub(crate) fn metering(&self, manifest: &Manifest) -> Metering {
        match manifest.limits.within(&self.settings.limits).fuel {
            Some(_) => Metering::Fuel,
            None => Metering::Off,
        }
    }

    pub(super) fn ceiling(&self, tenant: &str) -> &Ceiling {
        if tenant == self.settings.default_tenant {
            return &self.settings.ceiling;
        }
        self.settings
            .ceilings
            .get(tenant)
            .unwrap_or(&Ceiling::Nothing)
    }
}
