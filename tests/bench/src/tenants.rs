//! Tenants beside each other: what a quiet one waits while another asks for as much as it can.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    Bench,
    flood::{FLOODING, Flood, tenant},
    http::Connection,
    median,
    server::{Server, Setup},
    service::{self, GROUP},
    spread::Spread,
    table::Target,
};

/// Starts a second that the flooding tenant may make, where it has a quota.
const RATE: &str = "StartExecution=100/100";
/// How many times longer a quiet tenant may wait than alone.
const TIMES_MAX: f64 = 2.0;

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
    let (mut alone, mut within, mut beside) = (Vec::new(), Beside::default(), Beside::default());
    start_some(&mut connection, &machine, samples).await?;
    for _ in 0..bench.size.repeats {
        alone.extend(start_some(&mut connection, &machine, samples).await?);
        for (other, found) in [(&bounded, &mut within), (&unbounded, &mut beside)] {
            let mut first = Connection::signed(server.address, other.clone()).await?;
            let start = service::start_of(&flooded(&mut first).await?);
            let flood = Flood::begin(&server, other, "StartExecution", start).await?;
            let took = start_some(&mut connection, &machine, samples).await?;
            found.took.extend(took);
            found.answers.push(flood.end()?);
        }
    }
    let alone = Spread::of(alone);
    let note = |spread: &Spread| format!("median {:.2} ms, one client", spread.median);
    bench.row(
        GROUP,
        "a quiet tenant's StartExecution alone, 99 %",
        (alone.p99, "ms"),
        Target::None,
        vec![note(&alone)],
    );
    for (name, found) in [
        ("beside a flood past its quota", within),
        ("beside a flood without a quota", beside),
    ] {
        let (spread, answers) = (Spread::of(found.took), median(found.answers));
        bench.row(
            GROUP,
            &format!("the same {name}, 99 %"),
            (spread.p99, "ms"),
            Target::AtMost(alone.p99 * TIMES_MAX),
            vec![
                note(&spread),
                format!("the flood has {answers:.0} answers a second over {FLOODING} connections"),
            ],
        );
    }
    server.stop()
}

/// What was measured beside a flood: milliseconds of the quiet one's starts, and the flood's answers a second.
#[derive(Default)]
struct Beside {
    took: Vec<f64>,
    answers: Vec<f64>,
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

/// The flooding tenant's machine; the same one when it is there already.
async fn flooded(connection: &mut Connection) -> Result<String> {
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
