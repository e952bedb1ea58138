//! Plugins that are compiled in a process of their own: this test, started again with an order.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use libtest_mimic::{Arguments, Failed, Trial};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use stepwell_sandbox::{
    CancelHandle, CancelReason, CompileBounds, CompileWorker, Compiler, Outcome, Sandbox,
    SandboxConfig, TaskCall, Waits, compile_worker,
};
use tempfile::TempDir;

const COMPILE: &str = "--compile";
/// What a call of a plugin that is still being compiled does not wait for.
const NEVER: &str = "--never";
/// Compiles what is small, and hangs over what is as large as [`large`]: the compiler of a plugin that is one too many.
const HANGS: &str = "--hangs";
/// Compiles where nothing of the host's environment is, and nowhere else.
const BARE: &str = "--bare";
const TENANT: &str = "000000000000";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(COMPILE) => ExitCode::from(compile_worker(&arguments[2])),
        Some(NEVER) => hang(),
        Some(HANGS) => hang_over_large_ones(&arguments[2]),
        Some(BARE) => compile_bare(&arguments[2]),
        Some(_) | None => {
            let trials = vec![
                Trial::test("worker::compiles_as_the_host_does", || {
                    compiles_as_the_host_does();
                    Ok(())
                }),
                Trial::test("worker::bounds_are_named", bounds_are_named),
                Trial::test(
                    "worker::a_compiler_has_nothing_of_the_environment",
                    a_compiler_has_nothing_of_the_environment,
                ),
                Trial::test("worker::what_is_no_wasm_is_told", what_is_no_wasm_is_told),
                Trial::test(
                    "worker::waiting_ends_with_the_call",
                    waiting_ends_with_the_call,
                ),
                Trial::test(
                    "worker::a_lost_worker_is_tried_again",
                    a_lost_worker_is_tried_again,
                ),
                Trial::test(
                    "worker::compilers_that_hang_hold_nobody_up",
                    compilers_that_hang_hold_nobody_up,
                ),
                Trial::test(
                    "worker::who_waits_is_told_what_for",
                    who_waits_is_told_what_for,
                ),
                Trial::test(
                    "worker::what_takes_too_long_by_the_clock_is_given_up",
                    what_takes_too_long_by_the_clock_is_given_up,
                ),
            ];
            libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
        }
    }
}

/// As long as there is a host: a real compiler goes with it.
fn hang() -> ! {
    let host = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == host {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    std::process::exit(1)
}

/// The life of a compiler that hangs over some plugins: what it reads it hands to a real one.
fn hang_over_large_ones(order: &str) -> ExitCode {
    let mut wasm = Vec::new();
    std::io::stdin().read_to_end(&mut wasm).unwrap();
    if wasm.len() >= large().len() {
        hang();
    }
    let mut compiler = Command::new(std::env::current_exe().unwrap())
        .args([COMPILE, order])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    compiler.stdin.take().unwrap().write_all(&wasm).unwrap();
    assert!(compiler.wait().unwrap().success());
    ExitCode::SUCCESS
}

/// The life of a compiler that looks whether it could tell anything of its host.
fn compile_bare(order: &str) -> ExitCode {
    if std::env::var_os("PATH").is_some() {
        return ExitCode::FAILURE;
    }
    ExitCode::from(compile_worker(order))
}

fn large() -> Vec<u8> {
    module(50, 50)
}

fn worker(argument: &str, bounds: CompileBounds) -> CompileWorker {
    CompileWorker {
        bounds,
        ..CompileWorker::new(std::env::current_exe().unwrap(), vec![argument.into()])
    }
}

fn sandbox(plugins: &Path, cache: Option<&Path>, worker: CompileWorker) -> Sandbox {
    Sandbox::new(SandboxConfig {
        plugins: Some(plugins.to_owned()),
        cache: cache.map(Path::to_owned),
        compiler: Compiler::Worker(worker),
        instances: 8,
        ..SandboxConfig::default()
    })
    .unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

/// A module that writes `null`, made by hand so that nothing has to be built, with some functions that do nothing but
/// take time and memory to compile: each adds up as many numbers as `weight` says.
fn module(functions: u32, weight: u32) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    // Types: (i32 i32 i32 i32) -> i32, () -> (), (i32) -> i32
    section(
        &mut wasm,
        1,
        b"\x03\x60\x04\x7f\x7f\x7f\x7f\x01\x7f\x60\0\0\x60\x01\x7f\x01\x7f",
    );
    let mut import = vec![1, 22];
    import.extend(b"wasi_snapshot_preview1");
    import.push(8);
    import.extend(b"fd_write\0\0");
    section(&mut wasm, 2, &import);
    let mut types = Vec::new();
    number(&mut types, functions + 1);
    types.push(1);
    types.extend(std::iter::repeat_n(2, functions as usize));
    section(&mut wasm, 3, &types);
    section(&mut wasm, 5, b"\x01\0\x01");
    section(&mut wasm, 7, b"\x02\x06memory\x02\0\x06_start\0\x01");
    let mut code = Vec::new();
    number(&mut code, functions + 1);
    // fd_write(1, iovec at 0, 1, written at 8); drop
    body(&mut code, b"\x41\x01\x41\0\x41\x01\x41\x08\x10\0\x1a");
    let mut sum = b"\x20\0".to_vec();
    for step in 0..weight {
        // local.get 0; i32.const step; i32.xor; local.get 0; i32.rotl; i32.add
        sum.extend(b"\x20\0\x41");
        sum.push((step % 64) as u8);
        sum.extend(b"\x73\x20\0\x77\x6a");
    }
    for _ in 0..functions {
        body(&mut code, &sum);
    }
    section(&mut wasm, 10, &code);
    // At 0: the iovec (16, 4); at 16: the text.
    section(
        &mut wasm,
        11,
        b"\x02\0\x41\0\x0b\x08\x10\0\0\0\x04\0\0\0\0\x41\x10\x0b\x04null",
    );
    wasm
}

fn body(code: &mut Vec<u8>, instructions: &[u8]) {
    number(code, u32::try_from(instructions.len()).unwrap() + 2);
    code.push(0);
    code.extend(instructions);
    code.push(0x0b);
}

fn section(wasm: &mut Vec<u8>, id: u8, content: &[u8]) {
    wasm.push(id);
    number(wasm, u32::try_from(content.len()).unwrap());
    wasm.extend(content);
}

/// LEB128.
fn number(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn compiles_as_the_host_does() {
    let (plugins, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::write(plugins.path().join("plain.wasm"), module(1, 1)).unwrap();
    let metered = plugins.path().join("metered");
    std::fs::create_dir(&metered).unwrap();
    std::fs::write(metered.join("plugin.toml"), "[limits]\nfuel = 100000").unwrap();
    std::fs::write(metered.join("metered.wasm"), module(1, 1)).unwrap();
    let with = |cache: Option<&Path>| {
        let bounds = CompileBounds::default();
        let sandbox = sandbox(plugins.path(), cache, worker(COMPILE, bounds));
        let waiting = sandbox.needs_compiling(TENANT, "plain");
        for plugin in ["plain", "metered"] {
            run(sandbox.prepare(TENANT, plugin)).unwrap();
            let end = run(sandbox.call(TaskCall::new(TENANT, plugin, "1")));
            assert_eq!(end.outcome, Outcome::Ok("null".into()), "{plugin}");
        }
        assert!(!sandbox.needs_compiling(TENANT, "plain"));
        let metrics = sandbox.metrics();
        (waiting, metrics.compiled, metrics.cache_hits)
    };
    assert_eq!(with(Some(cache.path())), (true, 2, 0));
    // What the worker wrote is what this host looks for.
    assert_eq!(with(Some(cache.path())), (false, 0, 2));
    assert_eq!(with(None), (true, 2, 0));
}

/// Why a plugin cannot be called. Its file is an old one: of a new one that is broken it may be the half.
fn broken(wasm: &[u8], worker: CompileWorker) -> String {
    let plugins = TempDir::new().unwrap();
    let path = plugins.path().join("hostile.wasm");
    std::fs::write(&path, wasm).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(old).unwrap();
    let sandbox = sandbox(plugins.path(), None, worker);
    let end = run(sandbox.call(TaskCall::new(TENANT, "hostile", "1")));
    match end.outcome {
        Outcome::PluginBroken { cause } => cause,
        other => panic!("{other:?}"),
    }
}

fn bounds_are_named() -> Result<(), Failed> {
    let small = CompileBounds {
        memory_bytes: 192 << 20,
        ..CompileBounds::default()
    };
    let cause = broken(&module(1, 400_000), worker(COMPILE, small));
    if !(cause.contains("more than 192 MiB of memory") && cause.contains("--compile-memory")) {
        return Err(cause.into());
    }
    let short = CompileBounds {
        cpu: Duration::from_secs(1),
        memory_bytes: 8 << 30,
        threads: 1,
        ..CompileBounds::default()
    };
    let cause = broken(&module(2_000, 2_000), worker(COMPILE, short));
    if !(cause.contains("more than 1 s of CPU time") && cause.contains("--compile-cpu")) {
        return Err(cause.into());
    }
    Ok(())
}

/// What runs a stranger's file through a compiler knows no key that the host was started with.
fn a_compiler_has_nothing_of_the_environment() -> Result<(), Failed> {
    assert!(std::env::var_os("PATH").is_some());
    let plugins = TempDir::new()?;
    std::fs::write(plugins.path().join("task.wasm"), module(1, 1))?;
    let bare = worker(BARE, CompileBounds::default());
    let sandbox = sandbox(plugins.path(), None, bare);
    let end = run(sandbox.call(TaskCall::new(TENANT, "task", "1")));
    match end.outcome {
        Outcome::Ok(_) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn what_is_no_wasm_is_told() -> Result<(), Failed> {
    let mut wasm = module(1, 1);
    let last = wasm.len() - 30;
    wasm.truncate(last);
    let cause = broken(&wasm, worker(COMPILE, CompileBounds::default()));
    if !cause.contains("not valid WebAssembly for this host") {
        return Err(cause.into());
    }
    Ok(())
}

/// A deadline and a cancelled call do not wait for the compiler, and the compiler does not die with them.
fn waiting_ends_with_the_call() -> Result<(), Failed> {
    let plugins = TempDir::new().unwrap();
    std::fs::write(plugins.path().join("slow.wasm"), module(1, 1)).unwrap();
    let sandbox = sandbox(
        plugins.path(),
        None,
        worker(NEVER, CompileBounds::default()),
    );
    let deadline = Duration::from_millis(50);
    let mut call = TaskCall::new(TENANT, "slow", "1");
    call.deadline = Some(deadline);
    let late = run(sandbox.call(call)).outcome;
    assert!(matches!(late, Outcome::NotReady { .. }), "{late:?}");
    let cancel = CancelHandle::new();
    let mut call = TaskCall::new(TENANT, "slow", "1");
    call.cancel = Some(cancel.clone());
    cancel.cancel(CancelReason::Stopped);
    assert_eq!(run(sandbox.call(call)).outcome, Outcome::Cancelled);
    Ok(())
}

/// What went wrong outside of the file is not remembered.
fn a_lost_worker_is_tried_again() -> Result<(), Failed> {
    let plugins = TempDir::new().unwrap();
    std::fs::write(plugins.path().join("task.wasm"), module(1, 1)).unwrap();
    let program = plugins.path().join("worker");
    let mut lost = worker(COMPILE, CompileBounds::default());
    lost.program = program.clone();
    let sandbox = sandbox(plugins.path(), None, lost);
    let call = || TaskCall::new(TENANT, "task", "1");
    match run(sandbox.call(call())).outcome {
        Outcome::PluginBroken { cause } if cause.contains("cannot be started") => {}
        other => return Err(format!("{other:?}").into()),
    }
    std::os::unix::fs::symlink(std::env::current_exe()?, &program)?;
    assert_eq!(
        run(sandbox.call(call())).outcome,
        Outcome::Ok("null".into())
    );
    Ok(())
}

/// More plugins than there are places, each of which the compiler hangs over, of this account and of another: a small
/// plugin that comes after all of them is compiled all the same.
fn compilers_that_hang_hold_nobody_up() -> Result<(), Failed> {
    const OTHER: &str = "111111111111";
    let plugins = TempDir::new()?;
    let of_other = plugins.path().join(OTHER);
    std::fs::create_dir(&of_other)?;
    let places = std::thread::available_parallelism()?.get();
    let hanging: Vec<String> = (0..2 * places).map(|at| format!("large-{at}")).collect();
    for name in &hanging {
        std::fs::write(plugins.path().join(format!("{name}.wasm")), large())?;
        std::fs::write(of_other.join(format!("{name}.wasm")), large())?;
    }
    std::fs::write(plugins.path().join("small.wasm"), module(1, 1))?;
    let hangs = CompileWorker {
        share: Duration::from_millis(100),
        ..worker(HANGS, CompileBounds::default())
    };
    let sandbox = sandbox(plugins.path(), None, hangs);
    let hung: Vec<_> = hanging
        .iter()
        .flat_map(|name| [(TENANT, name), (OTHER, name)])
        .map(|(tenant, name)| sandbox.call(TaskCall::new(tenant, name.as_str(), "1")))
        .collect();
    until(&sandbox, hung.len());
    let small = run(sandbox.call(TaskCall::new(TENANT, "small", "1")));
    match small.outcome {
        Outcome::Ok(_) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// Waits until so many plugins are being compiled or wait for it.
fn until(sandbox: &Sandbox, plugins: usize) {
    loop {
        let metrics = sandbox.metrics();
        if metrics.compiling + metrics.uncompiled >= plugins {
            return;
        }
        std::thread::yield_now();
    }
}

fn who_waits_is_told_what_for() -> Result<(), Failed> {
    let plugins = TempDir::new()?;
    let seats = std::thread::available_parallelism()?.get() - 1;
    let seats = seats.max(1);
    let seated: Vec<String> = (0..seats).map(|at| format!("seated-{at}")).collect();
    for name in seated.iter().map(String::as_str).chain(["next", "last"]) {
        std::fs::write(plugins.path().join(format!("{name}.wasm")), module(1, 1))?;
    }
    let sandbox = sandbox(
        plugins.path(),
        None,
        worker(NEVER, CompileBounds::default()),
    );
    let mut calls = Vec::new();
    for (at, name) in seated.iter().enumerate() {
        calls.push(sandbox.call(TaskCall::new(TENANT, name.as_str(), "1")));
        until(&sandbox, at + 1);
    }
    let before = |count: usize| match count {
        1 => "1 plugin before it".to_owned(),
        count => format!("{count} plugins before it"),
    };
    for (place, name) in ["next", "last"].into_iter().enumerate() {
        let (sender, told) = mpsc::channel();
        let mut call = TaskCall::new(TENANT, name, "1");
        call.waits = Some(Waits::new(move |why| drop(sender.send(why.to_owned()))));
        calls.push(sandbox.call(call));
        let wanted = format!(
            "plugin `{name}` waits for the compiler, {}",
            before(seats + place)
        );
        while told.recv()? != wanted {}
    }
    let mut call = TaskCall::new(TENANT, "last", "1");
    call.deadline = Some(Duration::from_millis(20));
    let cause = format!(
        "plugin `last` waits for the compiler, {}",
        before(seats + 1)
    );
    let late = run(sandbox.call(call)).outcome;
    if late != (Outcome::NotReady { cause }) {
        return Err(format!("{late:?}").into());
    }
    Ok(())
}

fn what_takes_too_long_by_the_clock_is_given_up() -> Result<(), Failed> {
    let short = CompileBounds {
        wall: Some(Duration::from_secs(4)),
        ..CompileBounds::default()
    };
    let cause = broken(&module(1, 1), worker(NEVER, short));
    if !cause.contains("did not end within 4 s") {
        return Err(cause.into());
    }
    Ok(())
}
