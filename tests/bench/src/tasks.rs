//! Calls of a component that does nothing: in a bare loop over the Wasm runtime, in the sandbox alone, in a workflow.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::json;
use stepwell_sandbox::{
    Outcome, Sandbox, SandboxConfig, TaskCall, TaskEnd,
    bench::{BareLoop, process_cpu},
};

use crate::{
    Bench, executions, median, procfs,
    server::{Server, Setup},
    table::Target,
};

pub(crate) const GROUP: &str = "tasks";
/// Calls of the sandbox that are under way at once.
const UNDER_WAY: usize = 64;
const NOOP: &str = "noop";
/// The same component with instances that serve many calls.
const REUSED: &str = "noop-reused";
const REUSE: &str = "[instance]\nreuse = \"tenant\"\ncalls = 1000000\nage = \"1h\"\nkept = 64\n";
/// The same in C, and with instances that serve many calls; where its compiler can be had.
const IN_C: &str = "noop-c";
const REUSED_IN_C: &str = "noop-c-reused";
/// Name of the threads that guests run on.
const GUESTS: &str = "stepwell-guest";
/// The account that the plugin folder serves.
pub(crate) const TENANT: &str = "000000000000";

/// Calls of the sandbox that are under way at once.
#[derive(Clone, Copy)]
enum UnderWay {
    /// One, and its caller says so.
    Alone,
    One,
    Many,
}

/// One way of calling: wall and CPU time a call, µs, over the rounds; CPU of the whole process, and of the threads
/// that guests run on alone.
#[derive(Default)]
struct Rounds {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    guests: Vec<f64>,
}

impl Rounds {
    /// Runs one round of so many calls.
    async fn round(&mut self, calls: usize, work: impl Future<Output = Result<()>>) -> Result<()> {
        // Reading /proc takes longer than some calls, so it is outside of what is measured.
        let guests = procfs::threads_cpu(GUESTS);
        let (began, cpu) = (Instant::now(), process_cpu());
        work.await?;
        let (wall, cpu) = (began.elapsed(), process_cpu() - cpu);
        let guests = procfs::threads_cpu(GUESTS) - guests;
        let per_call = |time: Duration| time.as_secs_f64() * 1e6 / calls as f64;
        self.wall.push(per_call(wall));
        self.cpu.push(per_call(cpu));
        self.guests.push(per_call(guests));
        Ok(())
    }

    /// So many times the CPU time of another way: the median over the rounds, each beside the other's of that time.
    fn times(&self, other: &Self) -> f64 {
        median(
            self.cpu
                .iter()
                .zip(&other.cpu)
                .map(|(own, of)| own / of)
                .collect(),
        )
    }

    fn cpu(&self) -> f64 {
        median(self.cpu.clone())
    }

    fn guests(&self) -> f64 {
        median(self.guests.clone())
    }

    fn wall(&self) -> f64 {
        median(self.wall.clone())
    }
}

/// The bare loop and the sandbox, by turns, so that both meet the same noise.
pub(crate) fn alone(bench: &mut Bench) -> Result<()> {
    if !bench.wants(GROUP, "bare") && !bench.wants(GROUP, "sandbox") {
        return Ok(());
    }
    let callees = Callees::new(bench)?;
    // Short ones, so that the median is of those that nothing else came into.
    let (rounds, calls) = if bench.size.quick {
        (15, 500)
    } else {
        (101, 600)
    };
    let ways = runtime()?.block_on(callees.rounds(rounds, calls))?;
    costs(bench, &ways);
    ratios(bench, &ways);
    Ok(())
}

/// What is called.
struct Callees {
    bare: BareLoop,
    sandbox: Sandbox,
    /// A sandbox of one thread.
    narrow: Sandbox,
    /// The component in C, where there is one.
    bare_in_c: Option<BareLoop>,
}

/// The ways of calling.
#[derive(Default)]
struct Ways {
    bare: Rounds,
    bare_on_all: Rounds,
    alone: Rounds,
    handed: Rounds,
    many: Rounds,
    narrow: Rounds,
    reused: Rounds,
    bare_in_c: Rounds,
    in_c: Rounds,
    reused_in_c: Rounds,
}

impl Callees {
    fn new(bench: &Bench) -> Result<Self> {
        let guest = |name: &str| bench.paths.guests.join(format!("{name}.wasm"));
        let wasm =
            std::fs::read(guest(NOOP)).context("the guests are built by `cargo xtask guests`")?;
        let wasm_of_c = std::fs::read(guest(IN_C)).ok();
        let bare_of =
            |wasm: &[u8]| BareLoop::new(wasm).map_err(|error| anyhow!("the bare loop: {error}"));
        let (bare, bare_in_c) = (
            bare_of(&wasm)?,
            wasm_of_c.as_deref().map(bare_of).transpose()?,
        );
        let plugins = bench.paths.fresh("plugins-alone")?;
        place(&plugins, (NOOP, REUSED), &wasm)?;
        if let Some(wasm) = &wasm_of_c {
            place(&plugins, (IN_C, REUSED_IN_C), wasm)?;
        }
        let config = SandboxConfig {
            plugins: Some(plugins),
            cache: Some(bench.paths.fresh("cache")?),
            ..SandboxConfig::default()
        };
        Ok(Callees {
            bare,
            bare_in_c,
            sandbox: Sandbox::new(config.clone())?,
            narrow: Sandbox::new(SandboxConfig {
                workers: 1,
                ..config
            })?,
        })
    }

    async fn rounds(&self, rounds: usize, calls: usize) -> Result<Ways> {
        let mut ways = Ways::default();
        self.round(&mut ways, calls).await?;
        // The first one warms up.
        ways = Ways::default();
        for _ in 0..rounds {
            self.round(&mut ways, calls).await?;
        }
        Ok(ways)
    }

    async fn round(&self, ways: &mut Ways, calls: usize) -> Result<()> {
        let bare = bare_calls(&self.bare, calls);
        ways.bare.round(calls, bare).await?;
        let on_all = async { bare_on_all_cores(&self.bare, calls) };
        ways.bare_on_all.round(calls, on_all).await?;
        for (rounds, sandbox, plugin, under_way) in [
            (&mut ways.alone, &self.sandbox, NOOP, UnderWay::Alone),
            (&mut ways.handed, &self.sandbox, NOOP, UnderWay::One),
            (&mut ways.many, &self.sandbox, NOOP, UnderWay::Many),
            (&mut ways.narrow, &self.narrow, NOOP, UnderWay::Many),
            (&mut ways.reused, &self.sandbox, REUSED, UnderWay::Many),
        ] {
            let work = sandbox_calls(sandbox, plugin, calls, under_way);
            rounds.round(calls, work).await?;
        }
        let Some(bare) = &self.bare_in_c else {
            return Ok(());
        };
        ways.bare_in_c.round(calls, bare_calls(bare, calls)).await?;
        for (rounds, plugin) in [(&mut ways.in_c, IN_C), (&mut ways.reused_in_c, REUSED_IN_C)] {
            let work = sandbox_calls(&self.sandbox, plugin, calls, UnderWay::Alone);
            rounds.round(calls, work).await?;
        }
        Ok(())
    }
}

/// Puts a component into a plugin directory: with fresh instances, and with ones that serve many calls.
fn place(plugins: &Path, (fresh, reused): (&str, &str), wasm: &[u8]) -> Result<()> {
    std::fs::write(plugins.join(format!("{fresh}.wasm")), wasm)?;
    let folder = plugins.join(reused);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("task.wasm"), wasm)?;
    std::fs::write(folder.join("plugin.toml"), REUSE)?;
    Ok(())
}

/// What a call costs in each way.
fn costs(bench: &mut Bench, ways: &Ways) {
    let (most, any) = (Target::AtMost(20.0), Target::None);
    let here = "on the caller's thread, as a quick plugin runs whose task comes alone";
    let handed = "wakes a thread of the sandbox, and its end the caller: the plugin is not known for quick, or not alone";
    for (what, rounds, target, beside) in [
        ("bare wasmtime loop, a fresh component", &ways.bare, any, ""),
        (
            "bare wasmtime loops, one a core",
            &ways.bare_on_all,
            any,
            "",
        ),
        ("sandbox, one call at a time", &ways.alone, most, here),
        (
            "sandbox, one call at a time, handed over",
            &ways.handed,
            any,
            handed,
        ),
        ("sandbox, 64 calls under way", &ways.many, most, ""),
        ("sandbox of one thread, 64 under way", &ways.narrow, any, ""),
        (
            "sandbox, 64 calls under way, instances reused",
            &ways.reused,
            any,
            "",
        ),
        (
            "bare wasmtime loop, a fresh component in C",
            &ways.bare_in_c,
            any,
            "",
        ),
        ("sandbox, in C, one call at a time", &ways.in_c, most, here),
        (
            "sandbox, in C, one call at a time, instance reused",
            &ways.reused_in_c,
            any,
            here,
        ),
    ] {
        if rounds.cpu.is_empty() {
            continue;
        }
        let (cpu, wall, guests) = (rounds.cpu(), rounds.wall(), rounds.guests());
        let mut notes = vec![format!(
            "{wall:.1} µs of wall time, {:.0} calls/s",
            1e6 / wall
        )];
        if guests > 0.0 {
            notes.push(format!("{guests:.1} on the sandbox's threads"));
        }
        if !beside.is_empty() {
            notes.push(beside.to_owned());
        }
        bench.row(GROUP, what, (cpu, "µs CPU/call"), target, notes);
    }
}

/// The sandbox beside the bare loop, the caller's thread included: one call at a time beside one loop, and calls on all cores
/// beside as many loops, since cores that work on one process cost each other something whatever it is.
fn ratios(bench: &mut Bench, ways: &Ways) {
    for (what, rounds, beside, target) in [
        (
            "sandbox / bare loop, one at a time",
            &ways.alone,
            &ways.bare,
            Target::AtMost(1.3),
        ),
        (
            "sandbox / bare loop, one at a time, handed over",
            &ways.handed,
            &ways.bare,
            Target::None,
        ),
        (
            "sandbox of one thread / bare loop, 64 under way",
            &ways.narrow,
            &ways.bare,
            Target::None,
        ),
        (
            "sandbox / bare loop, 64 under way",
            &ways.many,
            &ways.bare,
            Target::None,
        ),
        (
            "sandbox / bare loops, 64 under way, each on all cores",
            &ways.many,
            &ways.bare_on_all,
            Target::AtMost(1.3),
        ),
        (
            "sandbox / bare loop, in C, one at a time",
            &ways.in_c,
            &ways.bare_in_c,
            Target::None,
        ),
    ] {
        if rounds.cpu.is_empty() {
            continue;
        }
        bench.row(
            GROUP,
            what,
            (rounds.times(beside), "times"),
            target,
            Vec::new(),
        );
    }
}

async fn bare_calls(bare: &BareLoop, calls: usize) -> Result<()> {
    for _ in 0..calls {
        let output = bare.call("{}").await;
        let output = output.map_err(|error| anyhow!("the bare loop: {error}"))?;
        ensure!(output == "null", "noop answered {output}");
    }
    Ok(())
}

/// As many loops as the sandbox has threads for short tasks, each with its part of the calls: what cores cost each other that
/// work on one process is in both then.
fn bare_on_all_cores(bare: &BareLoop, calls: usize) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let loops: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| runtime()?.block_on(bare_calls(bare, calls / threads))))
            .collect();
        let mut ends = loops.into_iter().map(|of| of.join());
        ends.try_for_each(|end| end.map_err(|_| anyhow!("a bare loop panicked"))?)
    })
}

/// As the engine's shards call: a runtime that waits for no sockets, so that a wake-up is no write to one.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?)
}

async fn sandbox_calls(
    sandbox: &Sandbox,
    plugin: &str,
    calls: usize,
    under_way: UnderWay,
) -> Result<()> {
    // Shared texts, as the engine's are.
    let [tenant, plugin, input] = [TENANT, plugin, "{}"].map(Arc::<str>::from);
    let call = || {
        let mut call = TaskCall::new(tenant.clone(), plugin.clone(), input.clone());
        // As the engine calls a task that no other one of its shard runs beside.
        call.alone = matches!(under_way, UnderWay::Alone);
        sandbox.call(call)
    };
    if matches!(under_way, UnderWay::Alone | UnderWay::One) {
        // As the bare loop: nothing between the calls.
        for _ in 0..calls {
            answered(&call().await)?;
        }
        return Ok(());
    }
    let mut left = calls;
    let mut running = FuturesUnordered::new();
    loop {
        while left > 0 && running.len() < UNDER_WAY {
            running.push(call());
            left -= 1;
        }
        let Some(end) = running.next().await else {
            return Ok(());
        };
        answered(&end)?;
    }
}

fn answered(end: &TaskEnd) -> Result<()> {
    match &end.outcome {
        Outcome::Ok(output) => ensure!(output == "null", "noop answered {output}"),
        other => ensure!(false, "noop ended with {}", other.explain()),
    }
    Ok(())
}

/// A workflow of one Task state.
pub(crate) async fn in_workflows(bench: &mut Bench) -> Result<()> {
    for (express, name) in [
        (true, "one Task in an EXPRESS execution"),
        (false, "one Task in a durable execution"),
    ] {
        if !bench.wants(GROUP, "one Task") {
            continue;
        }
        let data = bench.paths.fresh("data-tasks")?;
        let server = Server::start(&bench.paths, &data, Setup::default())?;
        let job = Arc::new(executions::job(&server, &definition(), express, "null").await?);
        let disk = bench.disk()?;
        let (middle, beside) = executions::repeated(bench, &server, &job, UNDER_WAY, &disk).await?;
        bench.row(
            GROUP,
            &format!("{name}, 64 clients"),
            (middle.rate, "task calls/s"),
            Target::None,
            vec![beside],
        );
        bench.row(
            GROUP,
            &format!("{name}: server CPU"),
            (middle.server_ms * 1e3, "µs CPU/call"),
            Target::None,
            vec![
                format!("client CPU {:.0} µs", middle.client_ms * 1e3),
                format!("{:.1} requests an execution", middle.requests),
            ],
        );
        server.stop()?;
    }
    Ok(())
}

pub(crate) fn definition() -> serde_json::Value {
    json!({
        "StartAt": "Call",
        "States": {"Call": {"Type": "Task", "Resource": "wasm:noop", "End": true}}
    })
}
