//! A distributed Map over a large CSV: how many rows a second become child executions, and the memory that it takes.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    Bench,
    http::Connection,
    procfs,
    server::{Server, Setup},
    table::Target,
};

const GROUP: &str = "distributed";
const ROWS: u64 = 1_000_000;
const ROWS_QUICK: u64 = 20_000;
/// Rows of a batch.
const BATCH: u64 = 100;
/// Bytes of memory that may be taken however many rows there are (ours).
const MEMORY_BYTES_MAX: f64 = 512e6;
/// Pause between two looks at the execution.
const POLL_PAUSE: Duration = Duration::from_millis(100);
const BUCKET: &str = "bench";

/// All rows of the group.
pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    if !bench.wants(GROUP, "CSV") {
        return Ok(());
    }
    let rows = if bench.size.quick { ROWS_QUICK } else { ROWS };
    let disk = bench.disk()?;
    let cases = [
        ("a child each", json!(null)),
        ("100 a child", json!({ "MaxItemsPerBatch": BATCH })),
    ];
    for (name, batcher) in cases {
        let data = bench.paths.fresh("data-distributed")?;
        csv(&data.join("buckets").join(BUCKET), rows)?;
        let server = Server::start(&bench.paths, &data, Setup::default())?;
        let run = run(&server, &batcher, rows).await?;
        let beside = format!(
            "{:.0} s; server CPU {:.1} s; other processes {:.1} cores; {disk}",
            run.wall, run.cpu, run.others
        );
        bench.row(
            GROUP,
            &format!("CSV of {rows} rows, {name}"),
            (rows as f64 / run.wall, "rows/s"),
            Target::None,
            vec![beside],
        );
        bench.row(
            GROUP,
            &format!("CSV of {rows} rows, {name}: peak memory"),
            (run.peak / 1e6, "MB"),
            Target::AtMost(MEMORY_BYTES_MAX / 1e6),
            vec![format!("{:.0} MB before it", run.before / 1e6)],
        );
        server.stop()?;
        std::fs::remove_dir_all(&data)?;
    }
    Ok(())
}

/// Writes `rows.csv` of some 40 bytes a row.
fn csv(bucket: &Path, rows: u64) -> Result<()> {
    std::fs::create_dir_all(bucket)?;
    let mut file = BufWriter::new(File::create(bucket.join("rows.csv"))?);
    writeln!(file, "id,name,amount,city")?;
    for row in 0..rows {
        writeln!(file, "{row},customer {row},{}.50,Springfield", row % 1_000)?;
    }
    file.flush()?;
    Ok(())
}

struct Run {
    wall: f64,
    cpu: f64,
    others: f64,
    /// Resident memory before the Map, and the most that the process ever had.
    before: f64,
    peak: f64,
}

async fn run(server: &Server, batcher: &Value, rows: u64) -> Result<Run> {
    let mut connection = Connection::open(server.address).await?;
    let machine = connection
        .machine("rows", "STANDARD", &definition(batcher))
        .await?;
    let start = json!({ "stateMachineArn": machine, "input": "{}" });
    let before = server.resident()?;
    let (began, cpu) = (Instant::now(), procfs::cpu(server.pid)?);
    let busy = procfs::machine_busy()?;
    let started: Value = connection.ask("StartExecution", &start).await?;
    let arn = started.get("executionArn").context("an ARN")?.clone();
    let look = json!({ "executionArn": arn });
    let ended = loop {
        let described: Value = connection.ask("DescribeExecution", &look).await?;
        if described["status"] != "RUNNING" {
            break described;
        }
        tokio::time::sleep(POLL_PAUSE).await;
    };
    let wall = began.elapsed().as_secs_f64();
    let cpu = (procfs::cpu(server.pid)? - cpu).as_secs_f64();
    let busy = (procfs::machine_busy()? - busy).as_secs_f64();
    ensure!(ended["status"] == "SUCCEEDED", "the Map ended as {ended}");
    let listed: Value = connection.ask("ListMapRuns", &look).await?;
    let run = json!({ "mapRunArn": listed["mapRuns"][0]["mapRunArn"] });
    let counts: Value = connection.ask("DescribeMapRun", &run).await?;
    ensure!(
        counts["itemCounts"]["resultsWritten"] == rows,
        "not all rows were done: {counts}"
    );
    Ok(Run {
        wall,
        cpu,
        others: ((busy - cpu) / wall).max(0.0),
        before,
        peak: procfs::peak_resident(server.pid)?,
    })
}

/// Each row through one state of an EXPRESS child, its result into a file.
fn definition(batcher: &Value) -> Value {
    let mut each = json!({
        "Type": "Map",
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "Parameters": { "Bucket": BUCKET, "Key": "rows.csv" },
            "ReaderConfig": { "InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW" }
        },
        "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS" },
            "StartAt": "Row",
            "States": { "Row": { "Type": "Pass", "End": true } }
        },
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject",
            "Parameters": { "Bucket": BUCKET, "Prefix": "results" },
            "WriterConfig": { "Transformation": "COMPACT", "OutputType": "JSONL" }
        },
        "End": true
    });
    if !batcher.is_null() {
        each["ItemBatcher"] = batcher.clone();
    }
    json!({ "StartAt": "Each", "States": { "Each": each } })
}
