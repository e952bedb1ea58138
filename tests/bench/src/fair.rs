//! What computing guests cost others: how long a short task takes beside endless ones, and how late an attempt ends when
//! many compute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::{FutureExt, future::join_all};
use serde_json::{Value, json};
use stepwell_sandbox::{Outcome, Sandbox, SandboxConfig, TaskCall, Weight};

use crate::{
    Bench,
    flood::{FLOODING, Flood, tenant},
    http::Connection,
    median,
    server::{Server, Setup, TENANTS},
    spread::Spread,
    table::Target,
    tasks::{GROUP, TENANT},
};

/// Endless guests beside the short task.
const BESIDE: usize = 2;
/// A short task may take so many times what it takes alone, and one turn of a computing guest more.
const TIMES_MAX: f64 = 5.0;
const TICK_MS: f64 = 10.0;
/// A quiet tenant's task may take so many times what it takes alone, whatever another tenant does.
const QUIET_TIMES_MAX: f64 = 2.0;
/// Endless guests of each of two tenants, for how long, the weight of one (the other has the usual one, 100), and how many
/// times the other's CPU time it has at least. Each guest has a first turn as a young one, whatever its tenant's
/// weight is: 0.32 s of CPU together, which is little of the time on two cores.
const BY_WEIGHT: usize = 16;
const BY_WEIGHT_WALL: Duration = Duration::from_secs(16);
const HEAVY: u32 = 300;
const HEAVY_TIMES_MIN: f64 = 2.7;
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
    if bench.wants(GROUP, "a quiet tenant's task") {
        beside_hostile(bench).await?;
    }
    if bench.wants(GROUP, "CPU of two flooding tenants") {
        by_weight(bench).await?;
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

/// A task that sleeps for a millisecond, called by a quiet tenant over HTTP, by turns alone and while another tenant keeps
/// as many endless guests under way as it has connections: each is ended by its limit and comes anew.
async fn beside_hostile(bench: &mut Bench) -> Result<()> {
    let samples = if bench.size.quick { 100 } else { 300 };
    let data = bench.paths.fresh("data-hostile")?;
    let stepwell = &bench.paths.stepwell;
    let [quiet, hostile] = TENANTS.map(|account| tenant(stepwell, &data, account, None));
    let (quiet, hostile) = (quiet?, hostile?);
    let setup = Setup {
        behaving: true,
        ..Setup::default()
    };
    let server = Server::start(&bench.paths, &data, setup)?;
    let mut client = Connection::signed(server.address, quiet).await?;
    let short = client.machine("short", "EXPRESS", &one("short")).await?;
    let mut other = Connection::signed(server.address, hostile.clone()).await?;
    let endless = other.machine("endless", "EXPRESS", &one("bounded")).await?;
    let input = json!({"do": "loop"}).to_string();
    let flooding = json!({"stateMachineArn": endless, "input": input}).to_string();
    let flooding: Arc<[u8]> = flooding.into_bytes().into();
    let (mut alone, mut beside, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    // Loads the plugins.
    short_tasks(&mut client, &short, samples).await?;
    for _ in 0..bench.size.repeats {
        alone.extend(short_tasks(&mut client, &short, samples).await?);
        let flood = Flood::begin(&server, &hostile, "StartSyncExecution", flooding.clone()).await?;
        beside.extend(short_tasks(&mut client, &short, samples).await?);
        answers.push(flood.end()?);
    }
    server.stop()?;
    let (alone, beside) = (Spread::of(alone), Spread::of(beside));
    let note = |spread: &Spread| format!("one client over HTTP; median {:.2} ms", spread.median);
    bench.row(
        GROUP,
        "a quiet tenant's task of 1 ms alone, 99 %",
        (alone.p99, "ms"),
        Target::None,
        vec![note(&alone)],
    );
    bench.row(
        GROUP,
        "a quiet tenant's task of 1 ms beside a tenant's flood of endless ones, 99 %",
        (beside.p99, "ms"),
        Target::AtMost(alone.p99 * QUIET_TIMES_MAX),
        vec![
            note(&beside),
            format!(
                "{FLOODING} endless ones under way, {:.0} a second ended by their limit",
                median(answers)
            ),
        ],
    );
    Ok(())
}

/// Two tenants whose guests compute for as long as they are let, one of three times the other's weight.
async fn by_weight(bench: &mut Bench) -> Result<()> {
    let sandbox = Sandbox::new(SandboxConfig {
        plugins: Some(bench.paths.behaving()?),
        cache: Some(bench.paths.fresh("cache-weights")?),
        ..SandboxConfig::default()
    })?;
    sandbox.warm().await;
    let [light, heavy] = TENANTS;
    sandbox.weigh(heavy, Weight::new(HEAVY).context("a weight")?);
    let input = json!({"do": "loop"}).to_string();
    let calls = (0..2 * BY_WEIGHT).map(|number| {
        let tenant = TENANTS[number % 2];
        let call = TaskCall {
            wall: Some(BY_WEIGHT_WALL),
            ..TaskCall::new(tenant, "endless", &*input)
        };
        sandbox
            .call(call)
            .map(move |end| (tenant, end.usage.cpu.as_secs_f64()))
    });
    let ends = join_all(calls).await;
    let of = |tenant| -> f64 {
        let own = ends.iter().filter(|(of, _)| *of == tenant);
        own.map(|(_, cpu)| cpu).sum()
    };
    bench.row(
        GROUP,
        "CPU of two flooding tenants, the one of weight 300 to the one of 100",
        (of(heavy) / of(light), "times"),
        Target::AtLeast(HEAVY_TIMES_MIN),
        vec![format!(
            "{BY_WEIGHT} endless guests each for {} s; {:.2} and {:.2} s of CPU",
            BY_WEIGHT_WALL.as_secs(),
            of(heavy),
            of(light)
        )],
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
