//! Executions over HTTP: durable and EXPRESS ones of ten Pass states, and how many syncs a durable one takes.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use crate::{
    Bench,
    http::Connection,
    load::{self, Job, Measured},
    median,
    server::{Server, Setup},
    table::Target,
};

const GROUP: &str = "executions";
const STATES: usize = 10;
/// One execution's input; Pass states hand it on.
const INPUT: &str = "{\"order\":17,\"lines\":[{\"sku\":\"a-1\",\"count\":2}]}";

/// All rows of the group that are asked for.
pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    for (express, clients, least) in [
        (false, 1, None),
        (false, 64, Some(3_000.0)),
        (true, 1, None),
        (true, 64, Some(8_000.0)),
    ] {
        let kind = if express { "EXPRESS" } else { "durable" };
        if bench.wants(GROUP, kind) {
            loaded(bench, kind, clients, least).await?;
        }
    }
    if bench.wants(GROUP, "syncs") {
        syncs(bench).await?;
    }
    Ok(())
}

/// Ten Pass states in a row.
fn passes() -> Value {
    let mut states = Map::new();
    for index in 1..=STATES {
        let state = if index == STATES {
            json!({"Type": "Pass", "End": true})
        } else {
            json!({"Type": "Pass", "Next": format!("Pass{}", index + 1)})
        };
        states.insert(format!("Pass{index}"), state);
    }
    json!({"StartAt": "Pass1", "States": states})
}

/// Makes the machine and what clients are to do with it.
pub(crate) async fn job(
    server: &Server,
    definition: &Value,
    express: bool,
    output: &str,
) -> Result<Job> {
    let mut connection = Connection::open(server.address).await?;
    let kind = if express { "EXPRESS" } else { "STANDARD" };
    let machine = connection.machine("bench", kind, definition).await?;
    let start = json!({"stateMachineArn": machine, "input": INPUT});
    Ok(Job {
        express,
        start: start.to_string().into_bytes(),
        output: output.to_owned(),
    })
}

async fn loaded(
    bench: &mut Bench,
    kind: &'static str,
    clients: usize,
    least: Option<f64>,
) -> Result<()> {
    let express = kind == "EXPRESS";
    let data = bench.paths.fresh(&format!("data-{kind}-{clients}"))?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    let job = Arc::new(job(&server, &passes(), express, INPUT).await?);
    let disk = bench.disk()?;
    let (middle, beside) = repeated(bench, &server, &job, clients, &disk).await?;
    let who = if clients == 1 { "client" } else { "clients" };
    let cpu_most = if express { 0.12 } else { 0.25 };
    bench.row(
        GROUP,
        &format!("{kind}, {clients} {who}"),
        (middle.rate, "executions/s"),
        least.map_or(Target::None, Target::AtLeast),
        vec![
            beside,
            format!(
                "median {:.2} ms, 99 % {:.2} ms",
                middle.median_ms, middle.p99_ms
            ),
        ],
    );
    bench.row(
        GROUP,
        &format!("{kind}, {clients} {who}: server CPU"),
        (middle.server_ms, "ms/execution"),
        Target::AtMost(cpu_most),
        vec![
            format!("client CPU {:.3} ms", middle.client_ms),
            format!("{:.1} requests an execution", middle.requests),
        ],
    );
    server.stop()
}

/// The medians of the repetitions, and what was beside them.
pub(crate) async fn repeated(
    bench: &Bench,
    server: &Server,
    job: &Arc<Job>,
    clients: usize,
    disk: &str,
) -> Result<(Measured, String)> {
    let mut all = Vec::new();
    for _ in 0..bench.size.repeats {
        let measured = load::run(server, job.clone(), clients, bench.size.time).await?;
        ensure!(
            measured.wrong == 0,
            "{} executions ended wrong; see the server's log below {}",
            measured.wrong,
            bench.paths.scratch.display()
        );
        all.push(measured);
    }
    let of = |field: fn(&Measured) -> f64| median(all.iter().map(field).collect());
    let best = all.iter().map(|one| one.rate).fold(0.0, f64::max);
    let middle = Measured {
        rate: of(|one| one.rate),
        server_ms: of(|one| one.server_ms),
        client_ms: of(|one| one.client_ms),
        others: of(|one| one.others),
        median_ms: of(|one| one.median_ms),
        p99_ms: of(|one| one.p99_ms),
        requests: of(|one| one.requests),
        wrong: 0,
    };
    let beside = format!(
        "{disk}; best {best:.0}/s; other processes {:.1} cores",
        middle.others
    );
    Ok((middle, beside))
}

/// Syncs of files that one client's executions cause, the moves of the write-ahead log included.
async fn syncs(bench: &mut Bench) -> Result<()> {
    let name = "durable, 1 client: syncs";
    let traced = std::process::Command::new("strace")
        .arg("-V")
        .stdout(std::process::Stdio::null())
        .status();
    if !traced.is_ok_and(|status| status.success()) {
        let why = "not counted: `strace` is missing (package strace)";
        let value = (f64::NAN, "syncs/execution");
        bench.row(GROUP, name, value, Target::None, vec![why.to_owned()]);
        return Ok(());
    }
    let executions = if bench.size.quick { 1_000 } else { 5_000 };
    let data = bench.paths.fresh("data-syncs")?;
    let setup = Setup {
        traced: true,
        ..Setup::default()
    };
    let server = Server::start(&bench.paths, &data, setup)?;
    let job = job(&server, &passes(), false, INPUT).await?;
    let before = server.syncs()?;
    let right = load::count(&server, &job, executions).await?;
    let syncs = server.syncs()? - before;
    bench.row(
        GROUP,
        name,
        (syncs as f64 / right as f64, "syncs/execution"),
        Target::AtMost(1.1),
        vec![format!("{syncs} system calls over {right} executions")],
    );
    server.stop()
}
