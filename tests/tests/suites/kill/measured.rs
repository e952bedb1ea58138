//! A server that is killed while tasks run: what the attempts of the histories used is what the days are charged with.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{self, Client, Dice},
};

use super::machines;

/// As often as a task may take its process with it.
const KILLS: usize = 3;
const EXECUTIONS: usize = 12;
/// A kill comes so long after the executions were started, or the server.
const KILL_WITHIN_MS: u64 = 400;
const END_MAX: Duration = Duration::from_secs(60);

pub(super) fn adds_up() -> Result<()> {
    let (seed, mut dice) = Dice::seeded()?;
    println!("kill: seed {seed} (STEPWELL_SEED={seed} repeats its moments)");
    let place = Place::new()?;
    server::install(&place.plugins, machines::PLUGIN, "behave", "")?;
    let mut server = place.serve(&[])?;
    super::warm(&server.client())?;
    let executions = start(&server.client())?;
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(dice.roll(0..KILL_WITHIN_MS)));
        server.kill()?;
        server = place.serve(&[])?;
    }
    let client = server.client();
    let warm = "arn:aws:states:us-east-1:000000000000:execution:warm:once".to_owned();
    let mut of_attempts = BTreeMap::new();
    let mut attempts = 0;
    for arn in executions.iter().chain([&warm]) {
        let ended = client.ended(arn, END_MAX)?;
        ensure!(ended["status"] == "SUCCEEDED", "{ended}");
        let told = get(
            &client,
            &format!("/api/executions/{arn}/attempts?maxResults=1000"),
        )?;
        let list = told["attempts"].as_array().context("a list")?;
        attempts += list.len();
        for attempt in list {
            add(&mut of_attempts, &attempt["usage"]);
        }
    }
    let wanted = executions.len() * TASKS + 1;
    ensure!(
        attempts >= wanted,
        "seed {seed}: {attempts} attempts, {wanted} succeeded"
    );
    let usage = client.call("Stepwell.GetUsage", &json!({}))?;
    let rows = usage["usage"].as_array().context("a list")?;
    let mut of_days = BTreeMap::new();
    for row in rows.iter().filter(|row| row["plugin"] == machines::PLUGIN) {
        add(&mut of_days, row);
    }
    let tasks = rows
        .iter()
        .filter_map(|row| row["tasks"].as_u64())
        .sum::<u64>();
    server.stop()?;
    ensure!(
        of_attempts == of_days && tasks == u64::try_from(attempts)?,
        "seed {seed}: {attempts} attempts used {of_attempts:?}, the days have {tasks} with {of_days:?}"
    );
    println!(
        "kill: {attempts} attempts of {} executions add up to their day after {KILLS} kills",
        executions.len()
    );
    Ok(())
}

fn get(client: &Client, path: &str) -> Result<Value> {
    let (status, text) = client.get(path)?;
    ensure!(status == 200, "{path}: {status} {text}");
    Ok(serde_json::from_str(&text)?)
}

/// Adds what both forms have under the same name; heartbeats are all the calls that these guests make of their host
/// beside the one of their configuration.
fn add(sums: &mut BTreeMap<&'static str, u64>, used: &Value) {
    for name in ["cpuMicros", "bytesIn", "bytesOut"] {
        *sums.entry(name).or_default() += used[name].as_u64().unwrap_or(0);
    }
    let calls = ["hostCalls", "heartbeatCalls", "configCalls"];
    let calls = calls.iter().filter_map(|name| used[*name].as_u64());
    *sums.entry("hostCalls").or_default() += calls.sum::<u64>();
}

/// Tasks of each execution.
const TASKS: usize = 6;

/// Starts executions whose tasks run side by side and after each other.
fn start(client: &Client) -> Result<Vec<String>> {
    let task = |does: Value| {
        json!({
            "Type": "Task", "Resource": format!("wasm:{}", machines::PLUGIN), "Parameters": does,
            "ResultPath": null, "End": true,
        })
    };
    let branch = |number: usize| {
        let name = format!("Sleep{number}");
        let sleeps = task(json!({ "do": "sleep", "ms": 40 * number }));
        json!({ "StartAt": name, "States": { name: sleeps } })
    };
    let branches: Vec<Value> = (1..TASKS).map(branch).collect();
    let definition = json!({ "StartAt": "All", "States": {
        "All": { "Type": "Parallel", "Branches": branches, "Next": "Last" },
        "Last": task(json!({ "do": "beat", "times": 7 })),
    } });
    let machine = client.create_machine("measured", &definition)?;
    let started = (0..EXECUTIONS).map(|n| client.start(&machine, &format!("e{n}"), &json!({})));
    Ok(started.collect::<Result<_, _>>()?)
}
