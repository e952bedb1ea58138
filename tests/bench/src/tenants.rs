//! Tenants beside each other: what a quiet one waits while another asks for as much as it can.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use stepwell_egress::sigv4::Signer;
use tokio::task::JoinSet;

use crate::{
    Bench,
    http::Connection,
    server::{Server, Setup},
    service::{self, GROUP},
    spread::Spread,
    table::Target,
};

/// Connections over which the other tenant asks, without a pause.
const FLOODING: usize = 64;
/// Starts a second that the flooding tenant may make, where it has a quota.
const RATE: &str = "StartExecution=100/100";
/// How many times longer a quiet tenant may wait than alone.
const TIMES_MAX: f64 = 2.0;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    access_key_id: String,
    secret_access_key: String,
}

/// The rows that are asked for.
pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    if bench.wants(GROUP, "a quiet tenant") {
        beside_flood(bench).await?;
    }
    Ok(())
}

/// By turns alone, beside a flood that its quota bounds, and beside one that nothing bounds.
async fn beside_flood(bench: &mut Bench) -> Result<()> {
    let data = bench.paths.fresh("data-tenants")?;
    let quiet = tenant(&bench.paths.stepwell, &data, "111111111111", None)?;
    let bounded = tenant(&bench.paths.stepwell, &data, "222222222222", Some(RATE))?;
    let unbounded = tenant(&bench.paths.stepwell, &data, "333333333333", None)?;
    let server = Server::start(&bench.paths, &data, Setup::default())?;
    let mut connection = Connection::signed(server.address, quiet).await?;
    let machine = connection
        .machine("quiet", "STANDARD", &service::pass())
        .await?;
    let samples = if bench.size.quick { 100 } else { 500 };
    let (mut alone, mut within, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    start_some(&mut connection, &machine, samples).await?;
    for _ in 0..bench.size.repeats {
        alone.extend(start_some(&mut connection, &machine, samples).await?);
        for (other, took) in [(&bounded, &mut within), (&unbounded, &mut beside)] {
            let flood = Flood::begin(&server, other).await?;
            took.extend(start_some(&mut connection, &machine, samples).await?);
            flood.end().await?;
        }
    }
    let alone = Spread::of(alone);
    let note = |spread: &Spread| vec![format!("median {:.2} ms, one client", spread.median)];
    bench.row(
        GROUP,
        "a quiet tenant's StartExecution alone, 99 %",
        (alone.p99, "ms"),
        Target::None,
        note(&alone),
    );
    for (name, values) in [
        ("beside a flood past its quota", within),
        ("beside a flood without a quota", beside),
    ] {
        let spread = Spread::of(values);
        bench.row(
            GROUP,
            &format!("the same {name}, 99 %"),
            (spread.p99, "ms"),
            Target::AtMost(alone.p99 * TIMES_MAX),
            note(&spread),
        );
    }
    server.stop()
}

/// A new tenant and what signs its requests.
fn tenant(stepwell: &Path, data: &Path, account: &str, rate: Option<&str>) -> Result<Signer> {
    let run = |arguments: &[&str]| -> Result<Vec<u8>> {
        let mut command = Command::new(stepwell);
        let command = command
            .arg("tenant")
            .args(arguments)
            .arg("--data")
            .arg(data);
        let output = command.output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`tenant {arguments:?}`: {errors}");
        Ok(output.stdout)
    };
    run(&["add", account])?;
    if let Some(rate) = rate {
        run(&["set", account, "--rate", rate])?;
    }
    let key = run(&["keys", "add", account, "--role", "admin", "--json"])?;
    let key: Key = serde_json::from_slice(&key).context("an access key")?;
    Ok(Signer {
        key_id: key.access_key_id,
        secret: key.secret_access_key,
        session_token: None,
        region: "us-east-1".to_owned(),
        service: "states".to_owned(),
    })
}

/// Starts executions one after another; milliseconds of each.
async fn start_some(client: &mut Connection, machine: &str, count: usize) -> Result<Vec<f64>> {
    let start = service::start_of(machine);
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        client.call("StartExecution", &start).await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}

/// A tenant that starts executions over all its connections as fast as it is answered.
struct Flood {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Flood {
    async fn begin(server: &Server, signer: &Signer) -> Result<Flood> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        let mut first = Connection::signed(server.address, signer.clone()).await?;
        let machine = machine(&mut first).await?;
        let start = service::start_of(&machine);
        for _ in 0..FLOODING {
            let mut connection = Connection::signed(server.address, signer.clone()).await?;
            let (stop, start) = (stop.clone(), start.clone());
            clients.spawn(async move {
                while !stop.load(Relaxed) {
                    // Refused ones count as asked, too.
                    let _ = connection.call("StartExecution", &start).await;
                }
            });
        }
        Ok(Flood { stop, clients })
    }

    async fn end(mut self) -> Result<()> {
        self.stop.store(true, Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// The flooding tenant's machine; the same one when it is there already.
async fn machine(connection: &mut Connection) -> Result<String> {
    let list: Value = connection.ask("ListStateMachines", &json!({})).await?;
    match list["stateMachines"][0]["stateMachineArn"].as_str() {
        Some(arn) => Ok(arn.to_owned()),
        None => {
            connection
                .machine("flood", "STANDARD", &service::pass())
                .await
        }
    }
}
