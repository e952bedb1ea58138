//! A server that is killed again and again while a hundred executions share three places. Their histories tell who was at
//! work when: a place is taken from the first state's entry to the execution's end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{self, Client, Dice},
};

const EXECUTIONS: usize = 100;
const MOST: usize = 3;
const MOST_OF_KEY: usize = 2;
const KEYS: usize = 4;
const KILLS: usize = 8;
/// After the last kill all end within this time.
const END_MAX: Duration = Duration::from_secs(120);

pub(super) fn ends_right() -> Result<()> {
    let (seed, mut dice) = Dice::seeded()?;
    println!("concurrency: seed {seed} (STEPWELL_SEED={seed} repeats its moments)");
    let place = Place::new()?;
    server::install(&place.plugins, "work", "behave", "")?;
    let mut server = place.serve(&[])?;
    let machine = machine(&server.client())?;
    let mut started = 0;
    for _ in 0..KILLS {
        let client = server.client();
        for _ in 0..dice.roll(4..20) {
            // The last one starts after the last kill: the server tells of lines that it has heard of.
            if started + 1 < EXECUTIONS {
                start(&client, &machine, started)?;
                started += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(dice.roll(20..700)));
        server.kill()?;
        server = place.serve(&[])?;
    }
    let client = server.client();
    while started < EXECUTIONS {
        start(&client, &machine, started)?;
        started += 1;
    }
    let end = Instant::now() + END_MAX;
    let mut spans = Vec::new();
    for n in 0..EXECUTIONS {
        let arn = execution(&machine, n);
        let left = end.saturating_duration_since(Instant::now());
        let ended = client.ended(&arn, left)?;
        ensure!(ended["status"] == "SUCCEEDED", "seed {seed}: {ended}");
        ensure!(ended.get("stepwellWaiting").is_none(), "{ended}");
        spans.push((span(&client.history(&arn)?)?, n % KEYS));
    }
    judge(&spans).with_context(|| format!("seed {seed}"))?;
    places_are_free(&client, &machine)?;
    server.stop()
}

fn machine(client: &Client) -> Result<String> {
    let task = |next: Value| {
        let mut task = json!({ "Type": "Task", "Resource": "wasm:work", "ResultPath": null });
        for (key, value) in next.as_object().into_iter().flatten() {
            task[key.as_str()] = value.clone();
        }
        task
    };
    let definition = json!({ "StartAt": "First", "States": {
        "First": task(json!({ "Next": "Second" })), "Second": task(json!({ "End": true })),
    } });
    let request = json!({
        "name": "limited", "definition": definition.to_string(), "roleArn": "arn:aws:iam::000000000000:role/tests",
        "tags": [
            { "key": "stepwell:concurrency", "value": MOST.to_string() },
            { "key": "stepwell:concurrency-key", "value": "{% $states.input.customer %}" },
            { "key": "stepwell:concurrency-per-key", "value": MOST_OF_KEY.to_string() },
        ],
    });
    let created = client.call("CreateStateMachine", &request)?;
    let arn = created["stateMachineArn"].as_str();
    Ok(arn.context("an ARN")?.to_owned())
}

fn start(client: &Client, machine: &str, n: usize) -> Result<()> {
    let input = json!({ "do": "sleep", "ms": 10 + n % 20, "customer": format!("c{}", n % KEYS) });
    client.start(machine, &format!("e{n}"), &input)?;
    Ok(())
}

fn execution(machine: &str, n: usize) -> String {
    format!("{}:e{n}", machine.replace(":stateMachine:", ":execution:"))
}

/// When an execution had its place, in milliseconds.
fn span(history: &[Value]) -> Result<(u64, u64)> {
    let ms = |event: Option<&Value>| {
        let seconds = event.and_then(|event| event["timestamp"].as_f64());
        seconds.map(|seconds| (seconds * 1_000.0).round() as u64)
    };
    let entered = history
        .iter()
        .find(|event| event["type"] == "TaskStateEntered");
    let from = ms(entered).context("it entered its first state")?;
    let to = ms(history.last()).context("it has a last event")?;
    Ok((from, to))
}

/// Never more at a time than may be; who ends in the millisecond in which another one begins is before it.
fn judge(spans: &[((u64, u64), usize)]) -> Result<()> {
    let mut changes = Vec::new();
    for ((from, to), key) in spans {
        changes.push((*from, true, *key));
        changes.push((*to, false, *key));
    }
    changes.sort_unstable();
    let (mut all, mut most) = (0_usize, 0);
    let mut by_key: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, begins, key) in changes {
        let of_key = by_key.entry(key).or_default();
        if begins {
            all += 1;
            *of_key += 1;
        } else {
            // One that began in the same millisecond as it ended.
            all = all.saturating_sub(1);
            *of_key = of_key.saturating_sub(1);
        }
        most = most.max(all);
        ensure!(all <= MOST, "{all} at a time at {at}");
        ensure!(*of_key <= MOST_OF_KEY, "{of_key} of one key at {at}");
    }
    ensure!(most == MOST, "only {most} at a time: places were lost");
    println!("concurrency: {} executions, {most} at a time", spans.len());
    Ok(())
}

/// Nobody waits, and nobody has a place.
fn places_are_free(client: &Client, machine: &str) -> Result<()> {
    let deadline = Instant::now() + END_MAX;
    loop {
        let (_, text) = client.get("/metrics")?;
        let value = |name: &str| {
            let line = text.lines().find(|line| {
                line.starts_with(&format!("stepwell_{name}{{")) && line.contains(machine)
            });
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        let (waiting, admitted) = (value("executions_waiting"), value("executions_admitted"));
        match (waiting, admitted) {
            (Some(0.0), Some(0.0)) => return Ok(()),
            _ if Instant::now() > deadline => {
                bail!("{waiting:?} wait and {admitted:?} have places after all have ended")
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
