//! The process: how soon it answers, what it holds when idle and for each execution that waits.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Bench, executions,
    http::Connection,
    load, median,
    server::{Server, Setup},
    table::Target,
    tasks,
};

const GROUP: &str = "process";
/// Connections that start the waiting executions.
const STARTERS: usize = 16;
/// How long a server rests before its memory is read.
const SETTLED: Duration = Duration::from_secs(6);

/// All rows of the group that are asked for.
pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    if bench.wants(GROUP, "start") {
        start(bench).await?;
    }
    if bench.wants(GROUP, "memory") {
        memory(bench).await?;
    }
    Ok(())
}

/// From the start of the process to the first result of a task, its compiled code in the cache.
async fn start(bench: &mut Bench) -> Result<()> {
    let data = bench.paths.fresh("data-start")?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    let job = executions::job(&server, &tasks::definition(), true, "null").await?;
    ensure!(load::count(&server, &job, 1).await? == 1, "the task failed");
    server.stop()?;
    let repeats = bench.size.repeats * 5;
    let mut served = Vec::new();
    for _ in 0..repeats {
        let began = Instant::now();
        let server = Server::start(&bench.paths, &data, Setup::default())?;
        let right = load::count(&server, &job, 1).await?;
        served.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(right == 1, "the task failed");
        server.stop()?;
    }
    let best = served.iter().copied().fold(f64::INFINITY, f64::min);
    bench.row(
        GROUP,
        "start of `serve` to a task's result",
        (median(served), "ms"),
        Target::AtMost(50.0),
        vec![format!("best {best:.0} ms; {}", bench.disk()?)],
    );
    let mut ran = Vec::new();
    for _ in 0..repeats {
        ran.push(run_once(bench, &data)?.as_secs_f64() * 1e3);
    }
    let best = ran.iter().copied().fold(f64::INFINITY, f64::min);
    bench.row(
        GROUP,
        "start of `run` to its end",
        (median(ran), "ms"),
        Target::AtMost(50.0),
        vec![format!("best {best:.0} ms; in memory, the process ended")],
    );
    Ok(())
}

/// `stepwell run` of one Task, its cache below `data`.
fn run_once(bench: &Bench, data: &Path) -> Result<Duration> {
    let machine = data.join("machine.asl.json");
    std::fs::write(&machine, tasks::definition().to_string())?;
    let began = Instant::now();
    let output = Command::new(&bench.paths.stepwell)
        .arg("run")
        .arg(&machine)
        .arg("--plugins")
        .arg(bench.paths.plugins()?)
        .env("XDG_CACHE_HOME", data.join("user-cache"))
        .stderr(Stdio::null())
        .output()?;
    let took = began.elapsed();
    ensure!(
        output.status.success() && output.stdout.trim_ascii() == b"null",
        "`stepwell run` ended wrong"
    );
    Ok(took)
}

async fn memory(bench: &mut Bench) -> Result<()> {
    let data = bench.paths.fresh("data-memory")?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    tokio::time::sleep(SETTLED).await;
    let compiled = server.resident()?;
    server.stop()?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    tokio::time::sleep(SETTLED).await;
    let idle = server.resident()?;
    bench.row(
        GROUP,
        "memory, idle",
        (idle / 1e6, "MB"),
        Target::AtMost(30.0),
        vec![format!(
            "one plugin, from the cache; {:.1} MB after compiling it",
            compiled / 1e6
        )],
    );
    let waiting = if bench.size.quick { 2_000 } else { 10_000 };
    let mut connection = Connection::open(server.address).await?;
    let definition = json!({
        "StartAt": "Wait",
        "States": {"Wait": {"Type": "Wait", "Seconds": 86_400, "End": true}}
    });
    let machine = connection.machine("wait", "STANDARD", &definition).await?;
    start_all(&server, &machine, waiting).await?;
    tokio::time::sleep(SETTLED).await;
    let held = server.resident()? - idle;
    let list = json!({"stateMachineArn": machine, "statusFilter": "RUNNING", "maxResults": 1});
    let running: Value = connection.ask("ListExecutions", &list).await?;
    ensure!(
        running["executions"]
            .as_array()
            .is_some_and(|all| !all.is_empty()),
        "the executions do not wait"
    );
    bench.row(
        GROUP,
        "memory, per waiting execution",
        (held / 1e3 / waiting as f64, "kB"),
        Target::AtMost(2.0),
        vec![format!(
            "{waiting} wait; resident {:.1} MB more than idle, the store's page cache included",
            held / 1e6
        )],
    );
    server.stop()
}

async fn start_all(server: &Server, machine: &str, executions: usize) -> Result<()> {
    let start = json!({"stateMachineArn": machine, "input": "{\"order\":17}"});
    let start: Arc<[u8]> = start.to_string().into_bytes().into();
    let mut starters = JoinSet::new();
    for _ in 0..STARTERS {
        let mut connection = Connection::open(server.address).await?;
        let start = start.clone();
        starters.spawn(async move {
            for _ in 0..executions / STARTERS {
                connection.call("StartExecution", &start).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = starters.join_next().await {
        done?.context("an execution could not be started")?;
    }
    Ok(())
}
