//! An inline Map with a Wasm task an item: how its time grows with the items.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    Bench,
    http::Connection,
    median, procfs,
    server::{Server, Setup},
    table::Target,
    tasks,
};

const GROUP: &str = "map";
/// Pause between two looks at the execution.
const POLL_PAUSE: Duration = Duration::from_millis(4);

/// All rows of the group.
pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(GROUP, "Map") {
        return Ok(());
    }
    let data = bench.paths.fresh("data-map")?;
    let setup = Setup {
        raised: true,
        ..Setup::default()
    };
    let server = Server::start(&bench.paths, &data, setup)?;
    let mut connection = Connection::open(server.address).await?;
    let definition = json!({
        "StartAt": "Each",
        "States": {"Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": tasks::definition(),
            "End": true
        }}
    });
    let machine = connection.machine("map", "STANDARD", &definition).await?;
    let disk = bench.disk()?;
    run(&server, &mut connection, &machine, 1_000).await?;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..bench.size.repeats {
        small.push(run(&server, &mut connection, &machine, 10_000).await?);
        large.push(run(&server, &mut connection, &machine, 20_000).await?);
    }
    let wall = |runs: &[Run]| median(runs.iter().map(|run| run.wall).collect());
    let beside = |runs: &[Run]| {
        let of = |field: fn(&Run) -> f64| median(runs.iter().map(field).collect());
        format!(
            "server CPU {:.2} s; other processes {:.1} cores; {disk}",
            of(|run| run.cpu),
            of(|run| run.others)
        )
    };
    bench.row(
        GROUP,
        "Map of 10,000 iterations",
        (wall(&small), "s"),
        Target::AtMost(1.0),
        vec![beside(&small)],
    );
    bench.row(
        GROUP,
        "Map of 20,000 iterations",
        (wall(&large), "s"),
        Target::None,
        vec![beside(&large)],
    );
    bench.row(
        GROUP,
        "20,000 / 10,000 iterations",
        (wall(&large) / wall(&small), "times"),
        Target::AtMost(2.2),
        Vec::new(),
    );
    server.stop()
}

struct Run {
    wall: f64,
    cpu: f64,
    others: f64,
}

async fn run(
    server: &Server,
    connection: &mut Connection,
    machine: &str,
    items: usize,
) -> Result<Run> {
    let input = json!({"items": (0..items).collect::<Vec<_>>()}).to_string();
    let start = json!({"stateMachineArn": machine, "input": input});
    let (began, cpu) = (Instant::now(), procfs::cpu(server.pid)?);
    let busy = procfs::machine_busy()?;
    let started: Value = connection.ask("StartExecution", &start).await?;
    let arn = started.get("executionArn").context("an ARN")?;
    let look = json!({"executionArn": arn, "includedData": "METADATA_ONLY"});
    loop {
        let described: Value = connection.ask("DescribeExecution", &look).await?;
        if described["status"] != "RUNNING" {
            break;
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
    let wall = began.elapsed().as_secs_f64();
    let cpu = (procfs::cpu(server.pid)? - cpu).as_secs_f64();
    let busy = (procfs::machine_busy()? - busy).as_secs_f64();
    let whole: Value = connection
        .ask("DescribeExecution", &json!({"executionArn": arn}))
        .await?;
    ensure!(whole["status"] == "SUCCEEDED", "the Map ended as {whole}");
    let output: Vec<Value> = serde_json::from_str(whole["output"].as_str().unwrap_or("[]"))?;
    ensure!(
        output.len() == items && output.iter().all(Value::is_null),
        "the Map answered with {} items",
        output.len()
    );
    Ok(Run {
        wall,
        cpu,
        others: ((busy - cpu) / wall).max(0.0),
    })
}
