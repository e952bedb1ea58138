//! Plugins: how soon one can be called, what it holds in memory, and what a thousand of them do. Each has the code of a test
//! guest and content of its own, by a section that nobody reads.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::json;
use stepwell_sandbox::{
    AheadOfTime, Compiler, Limits, Profile, Sandbox, SandboxConfig, TaskCall, compile_ahead,
};

use crate::{
    Bench,
    http::Connection,
    median, procfs,
    server::{Paths, Server, Setup},
    table::Target,
    tasks::TENANT,
};

pub(crate) const GROUP: &str = "plugins";
/// Plugins that are loaded cold.
const COLD: usize = 50;
/// Instances that run at once.
const RUNNING: usize = 200;
/// How long a process rests before its memory is read.
const SETTLED: Duration = Duration::from_secs(3);
/// The program for small machines, where `cargo xtask edge` has built it.
const EDGE: &str = "target/edge/stepwell";

/// What needs no server.
pub(crate) fn alone(bench: &mut Bench) -> Result<()> {
    if bench.wants(GROUP, "plugin") {
        loading(bench)?;
    }
    if bench.wants(GROUP, "memory, per running instance") {
        running(bench)?;
    }
    Ok(())
}

/// What takes one.
pub(crate) async fn served(bench: &mut Bench) -> Result<()> {
    if bench.wants(GROUP, "upload") {
        upload(bench).await?;
    }
    if bench.wants(GROUP, "1,000 plugins") {
        thousand(bench).await?;
    }
    if bench.wants(GROUP, "edge") {
        edge(bench).await?;
    }
    Ok(())
}

/// A guest with a section of its own: another content, and the same code.
fn variant(wasm: &[u8], number: usize) -> Vec<u8> {
    let note = format!("bench {number:010}");
    let length = u8::try_from(note.len()).unwrap_or(u8::MAX);
    // Section 0, its size, its name, which is all of it.
    let section = [&[0, length + 1, length], note.as_bytes()].concat();
    [wasm, &section].concat()
}

fn guest(paths: &Paths, name: &str) -> Result<Vec<u8>> {
    std::fs::read(paths.guests.join(format!("{name}.wasm")))
        .context("the guests are built by `cargo xtask guests`")
}

/// So many variants of `noop` in a folder.
fn variants(paths: &Paths, folder: &Path, count: usize) -> Result<()> {
    let wasm = guest(paths, "noop")?;
    std::fs::create_dir_all(folder)?;
    for number in 0..count {
        std::fs::write(
            folder.join(format!("{}.wasm", name(number))),
            variant(&wasm, number),
        )?;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("noop-{number}")
}

fn sandbox(plugins: &Path, cache: &Path) -> Result<Sandbox> {
    Ok(Sandbox::new(SandboxConfig {
        plugins: Some(plugins.to_owned()),
        cache: Some(cache.to_owned()),
        ..SandboxConfig::default()
    })?)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?)
}

/// From the cache into memory: in a process that has not seen the plugin, and after it was unloaded.
fn loading(bench: &mut Bench) -> Result<()> {
    let plugins = bench.paths.fresh("plugins-cold")?;
    let cache = bench.paths.fresh("cache-cold")?;
    variants(&bench.paths, &plugins, COLD)?;
    let runtime = runtime()?;
    runtime.block_on(sandbox(&plugins, &cache)?.warm());
    let fresh = sandbox(&plugins, &cache)?;
    let (mut cold, mut again) = (Vec::new(), Vec::new());
    for number in 0..COLD {
        let name = name(number);
        cold.push(runtime.block_on(loaded(&fresh, &name))?);
        // Another file of that name, and the same content: it is opened anew, and was seen before.
        let file = plugins.join(format!("{name}.wasm"));
        let wasm = std::fs::read(&file)?;
        std::fs::remove_file(&file)?;
        fresh.rescan()?;
        std::fs::write(&file, wasm)?;
        fresh.rescan()?;
        again.push(runtime.block_on(loaded(&fresh, &name))?);
    }
    ensure!(fresh.metrics().compiled == 0, "the cache has not all");
    let bytes = guest(&bench.paths, "noop")?.len();
    for (what, values) in [
        ("plugin, cold load from the cache", cold),
        ("plugin, loaded again by the same process", again),
    ] {
        let worst = values.iter().copied().fold(0.0, f64::max);
        bench.row(
            GROUP,
            what,
            (median(values), "ms"),
            Target::AtMost(1.0),
            vec![format!(
                "worst {worst:.2} ms; a component of {:.0} kB",
                bytes as f64 / 1e3
            )],
        );
    }
    Ok(())
}

/// Milliseconds until a plugin can be called.
async fn loaded(sandbox: &Sandbox, name: &str) -> Result<f64> {
    let began = Instant::now();
    sandbox.prepare(TENANT, name).await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// What an instance that runs holds.
fn running(bench: &mut Bench) -> Result<()> {
    let plugins = bench.paths.fresh("plugins-running")?;
    std::fs::write(plugins.join("behave.wasm"), guest(&bench.paths, "behave")?)?;
    let sandbox = sandbox(&plugins, &bench.paths.fresh("cache-running")?)?;
    let pid = std::process::id();
    let held = runtime()?.block_on(async {
        sandbox.prepare(TENANT, "behave").await?;
        let input = json!({"do": "sleep"}).to_string();
        let before = procfs::resident(pid)?;
        let mut calls: FuturesUnordered<_> = (0..RUNNING)
            .map(|_| sandbox.call(TaskCall::new(TENANT, "behave", input.clone())))
            .collect();
        // None ends; meanwhile all begin.
        let ended = tokio::time::timeout(SETTLED, calls.next()).await;
        ensure!(ended.is_err(), "an instance ended");
        ensure!(
            sandbox.metrics().running == RUNNING,
            "{} of {RUNNING} run",
            sandbox.metrics().running
        );
        Ok(procfs::resident(pid)? - before)
    })?;
    bench.row(
        GROUP,
        "memory, per running instance",
        (held / 1e3 / RUNNING as f64, "kB"),
        Target::None,
        vec![format!(
            "{RUNNING} components that sleep, each in memory of its own"
        )],
    );
    Ok(())
}

/// From the upload of code that nobody has seen to the answer of its first call, and to the second one's.
async fn upload(bench: &mut Bench) -> Result<()> {
    let data = bench.paths.fresh("data-upload")?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    let wasm = guest(&bench.paths, "noop")?;
    let mut connection = Connection::open(server.address).await?;
    let (mut whole, mut first) = (Vec::new(), Vec::new());
    for number in 0..bench.size.repeats * 5 {
        let name = name(number);
        let new = json!({
            "FunctionName": name,
            "Role": "arn:aws:iam::000000000000:role/bench",
            "Code": {"ZipFile": base64(&variant(&wasm, number))},
        });
        let body = new.to_string();
        let began = Instant::now();
        connection
            .rest("POST", "/2015-03-31/functions", body.as_bytes())
            .await?;
        let uploaded = Instant::now();
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let answer = connection.rest("POST", &path, b"{}").await?;
        ensure!(answer == b"null", "noop answered otherwise");
        first.push(uploaded.elapsed().as_secs_f64() * 1e3);
        whole.push(began.elapsed().as_secs_f64() * 1e3);
    }
    server.stop()?;
    bench.row(
        GROUP,
        "upload to the first call's answer",
        (median(whole), "ms"),
        Target::None,
        vec![format!(
            "the call itself {:.2} ms; {:.0} kB, compiled in a process of its own; {}",
            median(first),
            wasm.len() as f64 / 1e3,
            bench.disk()?
        )],
    );
    Ok(())
}

/// A thousand plugins of different content, each called once.
async fn thousand(bench: &mut Bench) -> Result<()> {
    let count = if bench.size.quick { 100 } else { 1_000 };
    let data = bench.paths.fresh("data-thousand")?;
    bench.paths.fresh("plugins-many")?;
    let plugins = bench.paths.many()?;
    variants(&bench.paths, &plugins, count)?;
    // Compiled here, into the server's own cache: what is measured is what it holds, and how soon.
    let cache = data.join("cache");
    std::fs::create_dir_all(&cache)?;
    let began = Instant::now();
    sandbox(&plugins, &cache)?.warm().await;
    let compiled = began.elapsed();
    let setup = Setup {
        many: true,
        ..Setup::default()
    };
    let server = Server::start(&bench.paths, &data, setup)?;
    let mut connection = Connection::open(server.address).await?;
    let began = Instant::now();
    for number in 0..count {
        let path = format!("/2015-03-31/functions/{}/invocations", name(number));
        let answer = connection.rest("POST", &path, b"{}").await?;
        ensure!(answer == b"null", "noop answered otherwise");
    }
    let called = began.elapsed();
    tokio::time::sleep(SETTLED).await;
    let held = server.resident()?;
    server.stop()?;
    bench.row(
        GROUP,
        &format!("{} plugins, each called once", grouped(count)),
        (held / 1e6, "MB resident"),
        Target::AtMost(300.0),
        vec![format!(
            "compiled before in {:.0} s; the calls took {:.2} ms each, loading included",
            compiled.as_secs_f64(),
            called.as_secs_f64() * 1e3 / count as f64
        )],
    );
    Ok(())
}

fn grouped(count: usize) -> String {
    match count {
        1_000.. => format!("{},{:03}", count / 1_000, count % 1_000),
        _ => count.to_string(),
    }
}

/// The program for small machines, if it is there: its size, and what it holds with a plugin that was called.
async fn edge(bench: &mut Bench) -> Result<()> {
    let program = Path::new(EDGE);
    let Ok(program) = program.canonicalize() else {
        eprintln!("  edge: {EDGE} is not there; `cargo xtask edge` builds it");
        return Ok(());
    };
    let size = std::fs::metadata(&program)?.len() as f64;
    bench.row(
        GROUP,
        "edge: size of the program",
        (size / 1e6, "MB"),
        Target::AtMost(12.0),
        vec!["not static".to_owned()],
    );
    let scratch = bench.paths.fresh("edge")?;
    let paths = Paths {
        stepwell: program,
        guests: bench.paths.guests.clone(),
        scratch: scratch.clone(),
    };
    ahead(&paths)?;
    let data = paths.fresh("data")?;
    let setup = Setup {
        many: true,
        ..Setup::default()
    };
    let mut took = Vec::new();
    let mut held = 0.0;
    for _ in 0..bench.size.repeats {
        let began = Instant::now();
        let server = Server::start(&paths, &data, setup)?;
        let mut connection = Connection::open(server.address).await?;
        let path = "/2015-03-31/functions/noop/invocations";
        let answer = connection.rest("POST", path, b"{}").await?;
        ensure!(answer == b"null", "noop answered otherwise");
        took.push(began.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(SETTLED).await;
        held = server.resident()?;
        server.stop()?;
    }
    bench.row(
        GROUP,
        "edge: start to a plugin's answer",
        (median(took), "ms"),
        Target::AtMost(20.0),
        Vec::new(),
    );
    bench.row(
        GROUP,
        "edge: memory",
        (held / 1e6, "MB resident"),
        Target::AtMost(15.0),
        vec!["idle, after a call of its one plugin".to_owned()],
    );
    Ok(())
}

/// `noop` compiled ahead of time, in the plugin folder of a program without a compiler.
fn ahead(paths: &Paths) -> Result<()> {
    let how = AheadOfTime {
        profile: Profile::Edge,
        target: None,
        compiler: Compiler::InProcess,
        limits: Limits::ceiling(),
    };
    let (_, code) = compile_ahead(&paths.guests.join("noop.wasm"), &how)?;
    let folder: PathBuf = paths.many()?;
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("noop.cwasm"), code)?;
    Ok(())
}

/// Base64 with padding, as the API has it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |at: usize| u32::from(part.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4_u32 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            let filled = at as usize > part.len();
            text.push(char::from(if filled { b'=' } else { digit }));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn variants_differ_in_a_section_alone() {
        let (one, other) = (variant(b"\0asm", 1), variant(b"\0asm", 2));
        assert_ne!(one, other);
        assert_eq!(one[4..7], [0, 17, 16]);
        assert_eq!(one.len(), 4 + 2 + 17);
    }
}
