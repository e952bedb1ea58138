//! What computing guests cost others: how long a short task takes beside endless ones, and how late an attempt ends when
//! many compute.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use serde_json::{Value, json};
use stepwell_sandbox::{Outcome, Sandbox, SandboxConfig, TaskCall};

use crate::{
    Bench,
    http::Connection,
    server::{Server, Setup},
    spread::Spread,
    table::Target,
    tasks::{GROUP, TENANT},
};

/// Endless guests beside the short task.
const BESIDE: usize = 2;
/// A short task may take so many times what it takes alone, and one turn of a computing guest more.
const TIMES_MAX: f64 = 5.0;
const TICK_MS: f64 = 10.0;
/// Guests that compute at once until their wall limit, and that limit (of the plugin `bounded`).
const ENDLESS: usize = 200;
const WALL: Duration = Duration::from_millis(500);
/// An attempt ends within this of its limit.
const LATE_MS_MAX: f64 = 1_000.0;

/// All rows that are asked for.
pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    if bench.wants(GROUP, "a 1 ms task") {
        beside_endless(bench).await?;
    }
    if bench.wants(GROUP, "200 endless guests") {
        latest_end(bench).await?;
    }
    Ok(())
}

/// A task that sleeps for a millisecond, called over HTTP by one client, by turns alone and beside endless guests.
async fn beside_endless(bench: &mut Bench) -> Result<()> {
    let (rounds, samples) = if bench.size.quick { (2, 150) } else { (5, 300) };
    let data = bench.paths.fresh("data-fair")?;
    let setup = Setup {
        behaving: true,
        ..Setup::default()
    };
    let server = Server::start(&bench.paths, &data, setup)?;
    let mut client = Connection::open(server.address).await?;
    let short = client.machine("short", "EXPRESS", &one("short")).await?;
    let endless = client
        .machine("endless", "STANDARD", &one("endless"))
        .await?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    // Loads the plugins.
    short_tasks(&mut client, &short, samples / 10).await?;
    for _ in 0..rounds {
        alone.extend(short_tasks(&mut client, &short, samples).await?);
        let mut running = Vec::new();
        for _ in 0..BESIDE {
            let input = json!({"do": "loop"}).to_string();
            let request = json!({"stateMachineArn": endless, "input": input});
            let started: Value = client.ask("StartExecution", &request).await?;
            running.push(started["executionArn"].clone());
        }
        // Until then they load and begin.
        short_tasks(&mut client, &short, samples / 10).await?;
        beside.extend(short_tasks(&mut client, &short, samples).await?);
        for execution in running {
            let request = json!({"executionArn": execution});
            let state: Value = client.ask("DescribeExecution", &request).await?;
            ensure!(state["status"] == "RUNNING", "an endless guest is {state}");
            let _: Value = client.ask("StopExecution", &request).await?;
        }
    }
    server.stop()?;
    let (alone, beside) = (Spread::of(alone), Spread::of(beside));
    let most = alone.p99 * TIMES_MAX + TICK_MS;
    let note = |spread: &Spread| {
        vec![format!(
            "one client over HTTP; median {:.2} ms",
            spread.median
        )]
    };
    bench.row(
        GROUP,
        "a 1 ms task alone, 99 %",
        (alone.p99, "ms"),
        Target::None,
        note(&alone),
    );
    bench.row(
        GROUP,
        "a 1 ms task beside two endless guests, 99 %",
        (beside.p99, "ms"),
        Target::AtMost(most),
        note(&beside),
    );
    Ok(())
}

fn one(plugin: &str) -> Value {
    json!({
        "StartAt": "Call",
        "States": {"Call": {"Type": "Task", "Resource": format!("wasm:{plugin}"), "End": true}}
    })
}

/// Calls the short task so often; milliseconds of each.
async fn short_tasks(client: &mut Connection, machine: &str, samples: usize) -> Result<Vec<f64>> {
    let input = json!({"do": "sleep", "ms": 1}).to_string();
    let request = json!({"stateMachineArn": machine, "input": input});
    let mut took = Vec::with_capacity(samples);
    for _ in 0..samples {
        let began = Instant::now();
        let end: Value = client.ask("StartSyncExecution", &request).await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(end["output"] == "\"awake\"", "the short task gave {end}");
    }
    Ok(took)
}

/// Many guests begin at once and compute until their wall limit ends them.
async fn latest_end(bench: &mut Bench) -> Result<()> {
    let sandbox = Sandbox::new(SandboxConfig {
        plugins: Some(bench.paths.behaving()?),
        cache: Some(bench.paths.fresh("cache-behaving")?),
        ..SandboxConfig::default()
    })?;
    sandbox.warm().await;
    let input = json!({"do": "loop"}).to_string();
    let calls = (0..ENDLESS).map(|_| sandbox.call(TaskCall::new(TENANT, "bounded", &*input)));
    let mut late = Vec::new();
    for end in join_all(calls).await {
        ensure!(
            end.outcome == Outcome::TimedOut { wall: WALL },
            "an endless guest ended with {}",
            end.outcome.explain()
        );
        let over = end.usage.wall.checked_sub(WALL);
        late.push(over.context("none ends early")?.as_secs_f64() * 1e3);
    }
    let latest = late.iter().copied().fold(0.0, f64::max);
    bench.row(
        GROUP,
        "200 endless guests at once, the latest end after its limit",
        (latest, "ms"),
        Target::AtMost(LATE_MS_MAX),
        vec![format!("median {:.1} ms", Spread::of(late).median)],
    );
    Ok(())
}
