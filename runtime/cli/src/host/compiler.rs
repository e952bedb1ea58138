//! Where the code of plugins comes from, as the flags say. Hides the process that compiles.

#[cfg(feature = "compiler")]
use std::path::PathBuf;

use anyhow::anyhow;
use stepwell_sandbox::Compiler;
#[cfg(feature = "compiler")]
use stepwell_sandbox::{CompileBounds, CompileWorker};

use crate::args::{CompileArgs, PrecompiledArg};
use crate::exit::{Outcome, Stop};

/// Where the code of plugins comes from.
pub(crate) struct CodeFrom {
    pub(crate) compiler: Compiler,
    /// Whether code of the plugin directory is run as well that was compiled ahead of time.
    pub(super) precompiled: bool,
    /// Bytes that compiled plugins may have on disk.
    pub(super) cache_bytes: u64,
}

/// Where plugins come from, as the flags say.
pub(crate) fn compiler(args: CompileArgs, serves: bool) -> Outcome<CodeFrom> {
    let only = args.precompiled == PrecompiledArg::Only;
    if !only && cfg!(not(feature = "compiler")) {
        return Err(Stop::Usage(anyhow!(
            "this program was built without the feature `compiler` and compiles no plugins\nhint: leave --precompiled away; `stepwell plugin compile` of a program with that feature makes what this one runs"
        )));
    }
    Ok(CodeFrom {
        compiler: match only {
            true => Compiler::Absent,
            false => own_compiler(args, serves),
        },
        precompiled: args.precompiled != PrecompiledArg::No,
        cache_bytes: args.cache_bytes,
    })
}

/// No plugin is compiled and none is run.
pub(crate) fn no_compiler() -> CodeFrom {
    CodeFrom {
        compiler: Compiler::Absent,
        precompiled: false,
        cache_bytes: CompileArgs::default().cache_bytes,
    }
}

/// This program again, in bounds, for each plugin that is compiled. A command that does nothing else meanwhile gives it
/// all cores, a server half of them.
#[cfg(feature = "compiler")]
pub(crate) fn own_compiler(args: CompileArgs, serves: bool) -> Compiler {
    // On Linux also when the file was replaced since: the version that runs is the one that compiles.
    let program = if cfg!(target_os = "linux") {
        Some(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe().ok()
    };
    let Some(program) = program else {
        tracing::warn!("this program does not find itself; plugins are compiled without bounds");
        return Compiler::InProcess;
    };
    let bounds = CompileBounds {
        memory_bytes: args.compile_memory,
        cpu: args.compile_cpu,
        wall: None,
        threads: if serves { 0 } else { cores() },
    };
    Compiler::Worker(CompileWorker {
        bounds,
        ..CompileWorker::new(program, vec!["compile-plugin".into()])
    })
}

#[cfg(not(feature = "compiler"))]
fn own_compiler(_: CompileArgs, _: bool) -> Compiler {
    Compiler::Absent
}

#[cfg(feature = "compiler")]
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
