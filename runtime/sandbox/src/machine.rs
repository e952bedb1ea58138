//! The Wasm engine: its one configuration, the linkers and the epoch clock. Hides every knob.

use crate::bindings;
use crate::guest::Guest;
use crate::limits;
use crate::sockets;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi_http::WasiHttpView as _;

/// How compiled code differs: metered code counts fuel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metering {
    Off,
    Fuel,
}

/// What engines differ in. Code compiled for one stack runs under another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Profile {
    pub(crate) metering: Metering,
    /// One of [`Limits::STACKS`](crate::Limits::STACKS).
    pub(crate) stack_bytes: u64,
}

impl Profile {
    /// What most plugins run under.
    pub(crate) const USUAL: Self = Self {
        metering: Metering::Off,
        stack_bytes: limits::STACK_BYTES,
    };
}

/// The configuration of every engine here. `instances` of 0 means allocation on demand.
pub(crate) fn config(profile: Profile, instances: u32, memory_bytes_max: u64) -> Config {
    let mut config = Config::new();
    config
        // Saves a fifth of a call; guests with the async ABI need an engine of their own.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(profile.metering == Metering::Fuel)
        .max_wasm_stack(usize::try_from(profile.stack_bytes).unwrap_or(usize::MAX))
        .memory_init_cow(true)
        .wasm_memory64(false)
        .wasm_component_model_gc(false);
    if instances > 0 {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(
            instances,
            memory_bytes_max,
        )));
    }
    config
}

fn pool(instances: u32, memory_bytes_max: u64) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let memory = usize::try_from(memory_bytes_max).unwrap_or(usize::MAX);
    let elements = usize::try_from(limits::TABLE_ELEMENTS_DEFAULT).unwrap_or(usize::MAX);
    pool.total_component_instances(instances)
        .total_core_instances(instances * limits::CORE_INSTANCES_PER_CALL)
        .total_memories(instances * limits::MEMORIES_PER_CALL)
        .total_tables(instances * limits::TABLES_PER_CALL)
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
        profile: Profile,
        instances: u32,
        memory_bytes_max: u64,
    ) -> wasmtime::Result<Self> {
        let mut failure = None;
        for instances in [instances, instances / 8, 0] {
            match Engine::new(&config(profile, instances, memory_bytes_max)) {
                Ok(engine) => return Self::link(engine, profile.metering),
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

/// Advances the engines' epoch every 10 ms while a guest runs; sleeps when none does.
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

/// Held while a guest runs.
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

    pub(crate) fn running(&self) -> usize {
        self.shared.running.load(Ordering::SeqCst)
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
