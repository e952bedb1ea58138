//! A bare loop over the Wasm runtime with the sandbox's knobs: what a call costs at least. For benchmarks alone.
//!
//! It sets what the sandbox sets at the Wasm runtime for each call: the engine's configuration, the epoch's deadline, a
//! limiter, bounds of handles and of what host calls may take, WASI with its streams captured, outgoing HTTP's part. It has none of what
//! is the sandbox's own: no registry, queue, threads, clocks, meters and no check of the output.

use crate::bindings::TaskPre;
use crate::bindings::stepwell::task::types::Context;
use crate::limits;
use crate::machine::{EngineKind, config};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;

/// The engine's configuration as the sandbox uses it, unmetered.
pub fn engine_config(instances: u32) -> Config {
    config(EngineKind::USUAL, instances, limits::MEMORY_BYTES_MAX)
}

/// CPU time of this process so far, all threads.
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// What is kept of a stream.
const CAPTURED_BYTES: usize = limits::LOG_BYTES_DEFAULT as usize;

/// A component ready to be called over and over, a fresh instance each time.
pub struct BareLoop {
    engine: Engine,
    pre: TaskPre<State>,
    context: Context,
}

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    /// What outgoing HTTP keeps in each store; this guest asks for none.
    _http: WasiHttpCtx,
    limits: StoreLimits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl BareLoop {
    /// Compiles a component of the typed contract. It may import nothing but WASI.
    ///
    /// # Errors
    /// The component does not fit the contract.
    pub fn new(wasm: &[u8]) -> wasmtime::Result<Self> {
        let engine = Engine::new(&engine_config(limits::INSTANCES_DEFAULT))?;
        let component = Component::from_binary(&engine, wasm)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        let pre = TaskPre::new(linker.instantiate_pre(&component)?)?;
        let text = String::new;
        let context = Context {
            execution_id: text(),
            state_machine: text(),
            state_name: text(),
            attempt: 1,
            idempotency_key: text(),
            task_token: None,
            deadline_ms: None,
            trace_parent: None,
        };
        Ok(Self {
            engine,
            pre,
            context,
        })
    }

    /// One call in a fresh instance.
    ///
    /// # Errors
    /// The guest trapped or failed.
    pub async fn call(&self, input: &str) -> wasmtime::Result<String> {
        let captured = || MemoryOutputPipe::new(CAPTURED_BYTES);
        let wasi = WasiCtx::builder()
            .stdout(captured())
            .stderr(captured())
            .max_random_size(limits::RANDOM_BYTES_MAX)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::RESOURCES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits::HTTP_FIELDS_BYTES_MAX);
        let state = State {
            wasi,
            table,
            _http: http,
            limits: StoreLimitsBuilder::new()
                .memory_size(limits::MEMORY_BYTES_DEFAULT as usize)
                .trap_on_grow_failure(true)
                .build(),
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(limits::HOSTCALL_BYTES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let task = self.pre.instantiate_async(&mut store).await?;
        let output = task
            .stepwell_task_handler()
            .call_handle(&mut store, input, &self.context)
            .await?;
        output.map_err(|error| wasmtime::Error::msg(error.cause))
    }
}
