//! What makes a file into a plugin: engines, the compiler, the cache, and the operator's side of it.

use super::resident::Resident;
use crate::allowed::{Allowed, Ceilinged};
use crate::cache::Cache;
use crate::compiler::Compiler;
use crate::folders::Guarded;
use crate::limits;
use crate::machine::{EngineKind, Machine, Metering};
use crate::manifest::Limits;
use crate::queue::Queue;
use crate::weight::Weights;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, watch};

/// Makes a file into a plugin.
pub(crate) struct Loader {
    plain: Arc<Machine>,
    others: Mutex<BTreeMap<EngineKind, Arc<Machine>>>,
    pub(crate) cache: Cache,
    pub(crate) compiler: Compiler,
    pub(crate) settings: Settings,
    pub(super) queue: Arc<Queue>,
    pub(super) reading: Semaphore,
    pub(crate) resident: Resident,
    on_engine: Box<dyn Fn(wasmtime::Engine) + Send + Sync>,
}

/// The operator's side of loading.
pub(crate) struct Settings {
    pub(crate) ceilings: Ceilinged,
    pub(crate) instances: u32,
    pub(crate) guarded: Guarded,
    /// Whether code of the plugin folder that was compiled ahead of time is run.
    pub(crate) precompiled: bool,
    pub(crate) weights: Weights,
}

impl Settings {
    /// Places of an engine's pool: one for each that runs, and those that are kept for another call.
    pub(crate) fn pooled(&self) -> u32 {
        self.instances.saturating_add(limits::KEPT_INSTANCES_MAX)
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
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let seats = cores.saturating_sub(limits::COMPILE_CORES_LEFT).max(1);
        let queue = Queue::new(seats, settings.weights.clone());
        Self {
            plain: Arc::new(plain),
            others: Mutex::default(),
            cache,
            compiler,
            settings,
            queue,
            reading: Semaphore::new(limits::LOADS_MAX),
            resident: Resident::default(),
            on_engine,
        }
    }

    /// The engine for a kind; but for the usual one they are made when first needed.
    pub(crate) fn machine(&self, kind: EngineKind) -> Result<Arc<Machine>, String> {
        if kind == EngineKind::USUAL {
            return Ok(self.plain.clone());
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = others.get(&kind) {
            return Ok(machine.clone());
        }
        // A pool takes terabytes of addresses, so that engines of odd stacks do without: a call takes 30 µs more.
        let instances = match kind.stack_bytes == EngineKind::USUAL.stack_bytes {
            true => self.settings.pooled(),
            false => 0,
        };
        let machine = Machine::new(kind, instances, self.settings.ceilings.memory_bytes_max())
            .map_err(|error| format!("no engine of its kind: {}", crate::code::chain(&error)))?;
        (self.on_engine)(machine.engine.clone());
        let machine = Arc::new(machine);
        others.insert(kind, machine.clone());
        Ok(machine)
    }

    /// Tells of every change of what a call of a plugin that is not loaded waits for.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.queue.moves()
    }

    /// Plugins that are compiled now, and those that wait for it.
    pub(crate) fn compiling(&self) -> (usize, usize) {
        self.queue.sizes()
    }

    /// What is allowed to an account's plugins now.
    pub(crate) fn allowed(&self, tenant: &str) -> Allowed {
        self.settings.ceilings.of(tenant)
    }

    /// The engine that a plugin needs, as far as its limits say.
    pub(crate) fn kind(limits: &Limits) -> EngineKind {
        let metering = match limits.fuel {
            Some(_) => Metering::Fuel,
            None => Metering::Off,
        };
        EngineKind {
            metering,
            stack_bytes: limits.stack_bytes,
        }
    }
}
