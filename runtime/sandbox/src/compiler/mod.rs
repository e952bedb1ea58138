//! Who compiles plugins, what that may take and why it fails. Hides whether this program has a compiler at all: a build
//! without the feature `compiler` has none, and serves what was compiled ahead of time.

#[cfg(feature = "compiler")]
mod worker;

use crate::code::{Format, chain};
use crate::limits;
use crate::machine::Metering;
#[cfg(feature = "compiler")]
use crate::precompiled::Made;
use crate::precompiled::this_target;
use crate::queue::{Lane, Leave};
use std::time::Duration;
use wasmtime::Engine;

#[cfg(feature = "compiler")]
pub use worker::{CompileWorker, compile_worker};

/// Where plugins are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// Nowhere: only what was compiled before is served.
    Absent,
    /// In this process, bounded by nothing: for programs that serve only plugins of their own, and for tests.
    #[cfg(feature = "compiler")]
    InProcess,
    /// In a process for each.
    #[cfg(feature = "compiler")]
    Worker(CompileWorker),
}

impl Default for Compiler {
    /// In this process where it has a compiler, else nowhere.
    fn default() -> Self {
        #[cfg(feature = "compiler")]
        {
            Self::InProcess
        }
        #[cfg(not(feature = "compiler"))]
        {
            Self::Absent
        }
    }
}

/// What compiling one plugin may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileBounds {
    /// Address space of the process, in bytes.
    pub memory_bytes: u64,
    /// CPU time of all its threads, in whole seconds. A process that uses none for a while (Linux) is taken to hang.
    pub cpu: Duration,
    /// By the clock; what that CPU time may take when absent.
    pub wall: Option<Duration>,
    /// Threads that compile; 0 takes half of the cores.
    pub threads: usize,
}

impl Default for CompileBounds {
    fn default() -> Self {
        Self {
            memory_bytes: limits::COMPILE_MEMORY_BYTES_DEFAULT,
            cpu: limits::COMPILE_CPU_DEFAULT,
            wall: None,
            threads: 0,
        }
    }
}

impl CompileBounds {
    /// How long may pass on the clock: unless it is said, until so much CPU time is used, as the process has the lowest priority of
    /// all.
    pub fn patience(&self) -> Duration {
        let usual = self.cpu.saturating_mul(limits::COMPILE_WALL_FACTOR);
        self.wall
            .unwrap_or_else(|| usual.max(limits::COMPILE_WALL_MIN))
    }
}

/// Why there is no compiled code.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) why: String,
    pub(crate) blame: Blame,
}

/// Who can mend a fault.
#[cfg_attr(
    not(feature = "compiler"),
    allow(dead_code, reason = "no compiler, no bounds of it")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Whoever made the file.
    File,
    /// The same, by the way in which the toolchain built it.
    Toolchain,
    /// The same, by the number of its parts or their size: more than there are for an attempt.
    Parts,
    /// The same, or the operator, who set the bounds.
    Bounds,
    /// The operator alone, who chose a program that does not compile.
    Operator,
    /// Nothing in the file was the reason: the next try may go better.
    Circumstances,
    /// Nobody: it takes a seat in that lane.
    Turn(Lane),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        let blame = Blame::File;
        Self { why, blame }
    }
}

impl Fault {
    pub(crate) fn passing(why: String) -> Self {
        Self {
            why,
            blame: Blame::Circumstances,
        }
    }

    /// Compiling it takes a seat.
    pub(crate) fn takes_turn(lane: Lane) -> Self {
        Self {
            why: "it is not compiled yet".to_owned(),
            blame: Blame::Turn(lane),
        }
    }

    /// There is nobody to compile it.
    fn no_compiler() -> Self {
        let why = format!(
            "it is not compiled ahead of time, and nothing is compiled here; \
             `stepwell plugin compile FILE --profile edge --target {}` by a program with a compiler makes NAME.cwasm of \
             it: put that beside it",
            this_target()
        );
        Self {
            why,
            blame: Blame::Operator,
        }
    }

    /// What the Wasm runtime refused.
    pub(crate) fn invalid(error: &wasmtime::Error) -> Self {
        let why = chain(error);
        let (blame, why) = if why.contains("requires the component model async") {
            let told = "it has async functions of the component model, which this host does not run: build it without them \
                        (componentize-qjs: --sync; jco: --backend-qjs-disable-async)";
            (Blame::Toolchain, told.to_owned())
        } else if why.contains("pooling allocator") {
            (Blame::Parts, too_much(error))
        } else {
            let told = format!("the file is not valid WebAssembly for this host: {why}");
            (Blame::File, told)
        };
        Self { why, blame }
    }
}

/// What a plugin may be made of, and what it has too much of: the innermost cause up to its details, which are many lines.
fn too_much(error: &wasmtime::Error) -> String {
    let innermost = error.chain().last().map(ToString::to_string);
    let innermost = innermost.unwrap_or_default();
    let detail = innermost.split([';', '\n']).next().unwrap_or_default();
    let instances = limits::CORE_INSTANCES_PER_CALL;
    let (memories, tables) = (limits::MEMORIES_PER_CALL, limits::TABLES_PER_CALL);
    let elements = limits::TABLE_ELEMENTS_DEFAULT;
    let state = limits::STATE_BYTES_PER_CALL >> 20;
    format!(
        "it needs more than one plugin may have ({instances} instances of modules, {memories} memories, {tables} tables of \
         {elements} elements, and {state} MiB of the host's memory beside them): {detail}"
    )
}

/// What distinguishes engines that do not understand each other's code.
#[cfg(feature = "compiler")]
pub(crate) fn engine_hash(engine: &Engine) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Compiles in this process.
#[cfg(feature = "compiler")]
pub(crate) fn precompile(
    engine: &Engine,
    format: Format,
    wasm: &[u8],
) -> wasmtime::Result<Vec<u8>> {
    match format {
        Format::Component => engine.precompile_component(wasm),
        Format::Module => engine.precompile_module(wasm),
    }
}

/// What is to be compiled.
pub(crate) struct Job<'a> {
    pub(crate) metering: Metering,
    pub(crate) format: Format,
    pub(crate) wasm: &'a [u8],
}

impl Compiler {
    /// The code of a plugin for an engine of this process. Blocks.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        job: &Job<'_>,
        leave: &mut Leave<'_>,
    ) -> Result<Vec<u8>, Fault> {
        if matches!(self, Self::Absent) {
            return Err(Fault::no_compiler());
        }
        if matches!(leave, Leave::Stored) {
            return Err(Fault::takes_turn(Lane::Short));
        }
        #[cfg(feature = "compiler")]
        {
            self.compile_for(engine, &Made::Here, job, leave)
        }
        #[cfg(not(feature = "compiler"))]
        {
            let _ = (engine, job.metering, job.format, job.wasm);
            Err(Fault::no_compiler())
        }
    }

    /// The code of a plugin for an engine that may be another machine's. Blocks.
    #[cfg(feature = "compiler")]
    pub(crate) fn compile_for(
        &self,
        engine: &Engine,
        made: &Made,
        job: &Job<'_>,
        leave: &mut Leave<'_>,
    ) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Absent => Err(Fault::no_compiler()),
            Self::InProcess => {
                precompile(engine, job.format, job.wasm).map_err(|error| Fault::invalid(&error))
            }
            Self::Worker(worker) => worker.code(engine, made, job, leave),
        }
    }
}

/// The name of an entry of the cache: whose code it is, and for which engine. None where nothing is compiled and so
/// nothing kept.
pub(crate) fn key(engine: &Engine, sha256: &str) -> Option<String> {
    #[cfg(feature = "compiler")]
    {
        Some(format!("{sha256}-{:016x}", engine_hash(engine)))
    }
    #[cfg(not(feature = "compiler"))]
    {
        let _ = (engine, sha256);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_cpu_time_is_not_little_time() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let within = |cpu| CompileBounds {
            cpu,
            ..CompileBounds::default()
        };
        for (cpu, wall) in [
            (Duration::from_secs(1), 5),
            (minutes(2), 8),
            (minutes(10), 40),
        ] {
            assert_eq!(within(cpu).patience(), minutes(wall), "{cpu:?}");
        }
        assert_eq!(CompileBounds::default().patience(), minutes(8));
        assert_eq!(within(Duration::MAX).patience(), Duration::MAX);
        let said = CompileBounds {
            wall: Some(minutes(1)),
            ..within(minutes(10))
        };
        assert_eq!(said.patience(), minutes(1));
    }

    #[test]
    fn without_a_compiler_the_command_that_has_one_is_named() {
        let why = Fault::no_compiler().why;
        assert!(why.contains("stepwell plugin compile"), "{why}");
        assert!(why.contains(std::env::consts::ARCH), "{why}");
    }
}
