//! Calls of a component that does nothing: in a bare loop over the Wasm runtime, in the sandbox alone, in a workflow.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::json;
use stepwell_sandbox::{
    Outcome, Sandbox, SandboxConfig, TaskCall,
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
/// The same component with instances that serve many calls.
const REUSED: &str = "noop-reused";
const REUSE: &str = "[instance]\nreuse = \"tenant\"\ncalls = 1000000\nage = \"1h\"\nkept = 64\n";
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
        let (began, cpu, guests) = (Instant::now(), process_cpu(), procfs::threads_cpu(GUESTS));
        work.await?;
        let per_call = |time: Duration| time.as_secs_f64() * 1e6 / calls as f64;
        self.wall.push(per_call(began.elapsed()));
        self.cpu.push(per_call(process_cpu() - cpu));
        self.guests
            .push(per_call(procfs::threads_cpu(GUESTS) - guests));
        Ok(())
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
    let wasm = std::fs::read(bench.paths.guests.join("noop.wasm"))
        .context("the guests are built by `cargo xtask guests`")?;
    let bare = BareLoop::new(&wasm).map_err(|error| anyhow!("the bare loop: {error}"))?;
    let plugins = bench.paths.fresh("plugins-alone")?;
    let reused = plugins.join(REUSED);
    std::fs::create_dir_all(&reused)?;
    std::fs::write(plugins.join("noop.wasm"), &wasm)?;
    std::fs::write(reused.join("task.wasm"), &wasm)?;
    std::fs::write(reused.join("plugin.toml"), REUSE)?;
    let config = SandboxConfig {
        plugins: Some(plugins),
        cache: Some(bench.paths.fresh("cache")?),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::new(config.clone())?;
    let lone = Sandbox::new(SandboxConfig {
        workers: 1,
        ..config
    })?;
    let runtime = runtime()?;
    let (rounds, calls) = if bench.size.quick {
        (5, 1_000)
    } else {
        (15, 4_000)
    };
    let [
        mut loops,
        mut beside,
        mut one,
        mut handed,
        mut many,
        mut narrow,
        mut again,
    ] = [(); 7].map(|()| Rounds::default());
    runtime.block_on(async {
        bare_calls(&bare, calls).await?;
        sandbox_calls(&sandbox, "noop", calls, UnderWay::Many).await?;
        sandbox_calls(&lone, "noop", calls, UnderWay::Many).await?;
        for _ in 0..rounds {
            loops.round(calls, bare_calls(&bare, calls)).await?;
            beside
                .round(calls, async { bare_on_all_cores(&bare, calls) })
                .await?;
            one.round(
                calls,
                sandbox_calls(&sandbox, "noop", calls, UnderWay::Alone),
            )
            .await?;
            handed
                .round(calls, sandbox_calls(&sandbox, "noop", calls, UnderWay::One))
                .await?;
            many.round(
                calls,
                sandbox_calls(&sandbox, "noop", calls, UnderWay::Many),
            )
            .await?;
            narrow
                .round(calls, sandbox_calls(&lone, "noop", calls, UnderWay::Many))
                .await?;
            again
                .round(
                    calls,
                    sandbox_calls(&sandbox, REUSED, calls, UnderWay::Many),
                )
                .await?;
        }
        anyhow::Ok(())
    })?;
    report(bench, &loops, &beside, &one, &many);
    bench.row(
        GROUP,
        "sandbox, one call at a time, of a plugin that is not known for quick",
        (handed.cpu(), "µs CPU/call"),
        Target::None,
        vec![
            format!("{:.1} µs of wall time", handed.wall()),
            "each call wakes a thread of the sandbox, and its end the caller".to_owned(),
        ],
    );
    bench.row(
        GROUP,
        "sandbox of one thread / bare loop, 64 under way",
        (narrow.cpu() / loops.cpu(), "times"),
        Target::None,
        vec![
            format!(
                "{:.1} µs CPU/call, the caller's thread included",
                narrow.cpu()
            ),
            format!("on the sandbox's thread {:.1}", narrow.guests()),
            format!("{:.1} µs of wall time", narrow.wall()),
        ],
    );
    bench.row(
        GROUP,
        "sandbox, 64 calls under way, instances reused",
        (again.cpu(), "µs CPU/call"),
        Target::None,
        vec![
            format!("{:.1} µs of wall time", again.wall()),
            format!("{:.1} times less than fresh ones", many.cpu() / again.cpu()),
        ],
    );
    Ok(())
}

fn report(bench: &mut Bench, loops: &Rounds, on_all: &Rounds, one: &Rounds, many: &Rounds) {
    let bare = loops.cpu();
    let beside = |rounds: &Rounds| {
        vec![format!(
            "{:.1} µs of wall time, {:.0} calls/s",
            rounds.wall(),
            1e6 / rounds.wall()
        )]
    };
    let us = "µs CPU/call";
    bench.row(
        GROUP,
        "bare wasmtime loop, a fresh component",
        (bare, us),
        Target::None,
        beside(loops),
    );
    bench.row(
        GROUP,
        "bare wasmtime loops, one a core",
        (on_all.cpu(), us),
        Target::None,
        beside(on_all),
    );
    bench.row(
        GROUP,
        "sandbox, one call at a time",
        (one.cpu(), us),
        Target::None,
        beside(one),
    );
    bench.row(
        GROUP,
        "sandbox, 64 calls under way",
        (many.cpu(), us),
        Target::AtMost(20.0),
        beside(many),
    );
    bench.row(
        GROUP,
        "sandbox / bare loop, 64 under way",
        (many.cpu() / bare, "times"),
        Target::AtMost(1.3),
        vec!["the caller's thread included".to_owned()],
    );
    bench.row(
        GROUP,
        "sandbox / bare loops, 64 under way, each on all cores",
        (many.cpu() / on_all.cpu(), "times"),
        Target::None,
        vec!["the caller's thread included".to_owned()],
    );
    bench.row(
        GROUP,
        "the same, on the sandbox's threads alone",
        (many.guests() / bare, "times"),
        Target::None,
        vec![format!("{:.1} µs CPU/call", many.guests())],
    );
    bench.row(
        GROUP,
        "sandbox / bare loop, one at a time",
        (one.cpu() / bare, "times"),
        Target::AtMost(1.3),
        vec![
            "on the caller's thread, as the engine calls a quick plugin whose task comes alone"
                .to_owned(),
        ],
    );
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
    let most = match under_way {
        UnderWay::Alone | UnderWay::One => 1,
        UnderWay::Many => UNDER_WAY,
    };
    // Shared texts, as the engine's are.
    let [tenant, plugin, input] = [TENANT, plugin, "{}"].map(Arc::<str>::from);
    let call = || {
        let mut call = TaskCall::new(tenant.clone(), plugin.clone(), input.clone());
        // As the engine calls a task that no other one of its shard runs beside.
        call.alone = matches!(under_way, UnderWay::Alone);
        sandbox.call(call)
    };
    let mut left = calls;
    let mut running = FuturesUnordered::new();
    loop {
        while left > 0 && running.len() < most {
            running.push(call());
            left -= 1;
        }
        let Some(end) = running.next().await else {
            return Ok(());
        };
        match &end.outcome {
            Outcome::Ok(output) => ensure!(output == "null", "noop answered {output}"),
            other => ensure!(false, "noop ended with {}", other.explain()),
        }
    }
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
