//! The Wasm engine: its one configuration, the linkers and the epoch clock. Hides every knob.

use crate::bindings;
use crate::guest::Guest;
use crate::limits;
#[cfg(feature = "compiler")]
use crate::precompiled::{Made, Profile};
use crate::sockets;
use crate::tally;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
#[cfg(feature = "compiler")]
use wasmtime::OptLevel;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine};
#[cfg(feature = "pool")]
use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi_http::WasiHttpView as _;

/// How compiled code differs: metered code counts fuel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metering {
    Off,
    Fuel,
}

/// The Wasm runtime's version: code of another one is not understood.
pub(crate) const RUNTIME: &str = "48.0.8";

/// What engines differ in. Code compiled for one stack runs under another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EngineKind {
    pub(crate) metering: Metering,
    /// One of [`Limits::STACKS`](crate::Limits::STACKS).
    pub(crate) stack_bytes: u64,
}

impl EngineKind {
    /// What most plugins run under.
    pub(crate) const USUAL: Self = Self {
        metering: Metering::Off,
        stack_bytes: limits::STACK_BYTES,
    };
}

/// The configuration of every engine here. `instances` of 0 means allocation on demand, as does a build without pools.
pub(crate) fn config(kind: EngineKind, instances: u32, memory_bytes_max: u64) -> Config {
    let mut config = Config::new();
    config
        // Saves a fifth of a call; guests with the async ABI need an engine of their own.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(kind.metering == Metering::Fuel)
        .max_wasm_stack(usize::try_from(kind.stack_bytes).unwrap_or(usize::MAX))
        .memory_init_cow(true)
        // For debuggers of native code; 14 of the 223 kB that a component of 73 kB becomes. Traps know their frames by other
        // means.
        .native_unwind_info(cfg!(windows))
        .wasm_memory64(false)
        .wasm_component_model_gc(false);
    #[cfg(feature = "pool")]
    if instances > 0 {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(
            instances,
            memory_bytes_max,
        )));
    }
    #[cfg(not(feature = "pool"))]
    let _ = (instances, memory_bytes_max);
    config
}

/// An engine that compiles and runs nothing: without instances, so that no address space is reserved.
///
/// # Errors
/// The target is unknown, or this build has no back end for it.
#[cfg(feature = "compiler")]
pub(crate) fn engine_for(
    metering: Metering,
    made: &Made,
    parallel: bool,
) -> wasmtime::Result<Engine> {
    let kind = EngineKind {
        metering,
        ..EngineKind::USUAL
    };
    let mut config = config(kind, 0, limits::MEMORY_BYTES_MAX);
    config.parallel_compilation(parallel);
    match made {
        Made::Here => {}
        Made::Ahead(ahead) => {
            // Of a named target, even of this machine's, no more is taken than all processors of its kind have.
            config.target(&ahead.target)?;
            match ahead.profile {
                Profile::Server => config.cranelift_opt_level(OptLevel::Speed),
                // The frames of a trap know their functions by other means. Where in them it was goes: 9 % of the file
                // (measured), where small code alone saves nothing.
                Profile::Edge => config
                    .cranelift_opt_level(OptLevel::SpeedAndSize)
                    .generate_address_map(false),
            };
        }
    }
    Engine::new(&config)
}

#[cfg(feature = "pool")]
fn pool(instances: u32, memory_bytes_max: u64) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let memory = usize::try_from(memory_bytes_max).unwrap_or(usize::MAX);
    let elements = usize::try_from(limits::TABLE_ELEMENTS_DEFAULT).unwrap_or(usize::MAX);
    pool.total_component_instances(instances)
        .total_core_instances(instances * limits::CORE_INSTANCES_PER_CALL)
        .total_memories(instances * limits::MEMORIES_PER_CALL)
        .total_tables(instances * limits::TABLES_PER_CALL)
        .max_core_instances_per_component(limits::CORE_INSTANCES_PER_CALL)
        .max_memories_per_component(limits::MEMORIES_PER_CALL)
        .max_tables_per_component(limits::TABLES_PER_CALL)
        .max_memories_per_module(limits::MEMORIES_PER_CALL)
        .max_tables_per_module(limits::TABLES_PER_CALL)
        .max_component_instance_size(limits::STATE_BYTES_PER_CALL)
        .max_core_instance_size(limits::STATE_BYTES_PER_CALL)
        .total_stacks(instances)
        .max_memory_size(memory)
        .table_elements(elements)
        .max_unused_warm_slots(limits::WARM_SLOTS_MAX)
        .linear_memory_keep_resident(limits::KEEP_RESIDENT_BYTES)
        .table_keep_resident(limits::KEEP_RESIDENT_SMALL_BYTES)
        .async_stack_keep_resident(limits::KEEP_RESIDENT_SMALL_BYTES)
        .pagemap_scan(Enabled::Auto);
    if !PoolingAllocationConfig::is_pagemap_scan_available() {
        // Without PAGEMAP_SCAN keeping pages costs more than it saves (measured).
        pool.linear_memory_keep_resident(0)
            .table_keep_resident(0)
            .async_stack_keep_resident(0);
    }
    pool
}

/// An engine with everything that guests may import, linked and denied by default.
pub(crate) struct Machine {
    pub(crate) metering: Metering,
    pub(crate) engine: Engine,
    pub(crate) components: Linker<Guest>,
    pub(crate) modules: wasmtime::Linker<Guest>,
}

impl Machine {
    /// Falls back to smaller pools, and at last to none, where the address space is limited.
    pub(crate) fn new(
        kind: EngineKind,
        instances: u32,
        memory_bytes_max: u64,
    ) -> wasmtime::Result<Self> {
        let mut failure = None;
        for instances in [instances, instances / 8, 0] {
            match Engine::new(&config(kind, instances, memory_bytes_max)) {
                Ok(engine) => return Self::link(engine, kind.metering),
                Err(error) => {
                    tracing::warn!(instances, error = %error, "no instance pool of this size; trying a smaller one");
                    failure = Some(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| wasmtime::format_err!("no engine")))
    }

    fn link(engine: Engine, metering: Metering) -> wasmtime::Result<Self> {
        let mut components = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut components)?;
        sockets::link(&mut components)?;
        tally::link(&mut components)?;
        wasmtime_wasi_http::p2::bindings::http::outgoing_handler::add_to_linker::<
            _,
            wasmtime_wasi_http::WasiHttp,
        >(&mut components, Guest::http)?;
        let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
        wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<
            _,
            wasmtime_wasi_http::WasiHttp,
        >(&mut components, &(&options).into(), Guest::http)?;
        bindings::Task::add_to_linker::<_, HasSelf<Guest>>(&mut components, |guest| guest)?;
        let mut modules = wasmtime::Linker::new(&engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut modules, |guest: &mut Guest| &mut guest.wasi)?;
        Ok(Self {
            metering,
            engine,
            components,
            modules,
        })
    }
}

/// Advances the engines' epoch every 10 ms while any thread is at work on guests; sleeps when none is.
pub(crate) struct Ticker {
    shared: Arc<Ticking>,
    thread: Option<JoinHandle<()>>,
}

struct Ticking {
    engines: Mutex<Vec<Engine>>,
    running: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// Held by a thread while it is at work.
pub(crate) struct Awake(Arc<Ticking>);

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    pub(crate) fn new(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Ticking {
            engines: Mutex::new(vec![engine]),
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let ticking = shared.clone();
        let thread = std::thread::Builder::new()
            .name("stepwell-epoch".into())
            .spawn(move || tick(&ticking))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Lets another engine be ticked.
    pub(crate) fn add(&self, engine: Engine) {
        self.shared
            .engines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(engine);
    }

    pub(crate) fn awake(&self) -> Awake {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Awake(self.shared.clone())
    }
}

fn tick(ticking: &Ticking) {
    let mut idle = 0;
    while !ticking.stop.load(Ordering::SeqCst) {
        if ticking.running.load(Ordering::SeqCst) > 0 {
            idle = 0;
        } else {
            idle += 1;
        }
        if idle < limits::EPOCH_IDLE_TICKS {
            std::thread::park_timeout(limits::EPOCH_TICK);
            let engines = ticking
                .engines
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            engines.iter().for_each(Engine::increment_epoch);
            continue;
        }
        ticking.asleep.store(true, Ordering::SeqCst);
        // Whoever raised `running` before the flag was set is seen here; whoever does so after it unparks.
        if ticking.running.load(Ordering::SeqCst) == 0 && !ticking.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        ticking.asleep.store(false, Ordering::SeqCst);
        idle = 0;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only ever parks and counts, so it ends at once; its panic would have been a defect of ours.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One attempt takes no more of the pool than what lies there for it, whatever its plugin is made of.
    #[cfg(feature = "pool")]
    #[test]
    fn the_pool_has_for_each_attempt_what_a_plugin_may_have() {
        let pool = pool(7, limits::MEMORY_BYTES_MAX);
        for (all, most) in [
            (
                pool.get_total_core_instances(),
                pool.get_max_core_instances_per_component(),
            ),
            (
                pool.get_total_memories(),
                pool.get_max_memories_per_component(),
            ),
            (
                pool.get_total_memories(),
                pool.get_max_memories_per_module(),
            ),
            (pool.get_total_tables(), pool.get_max_tables_per_component()),
            (pool.get_total_tables(), pool.get_max_tables_per_module()),
        ] {
            assert_eq!(all, 7 * most);
        }
    }

    /// The addresses of the largest pool fit into those of a process, in one piece.
    #[cfg(all(feature = "pool", target_os = "linux", target_pointer_width = "64"))]
    #[test]
    fn there_are_addresses_for_the_largest_pool() {
        let places = limits::INSTANCES_MAX + limits::KEPT_INSTANCES_MAX;
        let largest = config(EngineKind::USUAL, places, limits::MEMORY_BYTES_MAX);
        let made = Engine::new(&largest);
        assert!(made.is_ok(), "{:?}", made.err());
    }

    #[test]
    fn the_version_is_the_one_that_is_built() {
        let workspace = include_str!("../../../Cargo.toml");
        assert!(workspace.contains(&format!("\nwasmtime = {{ version = \"{RUNTIME}\"")));
    }
}
