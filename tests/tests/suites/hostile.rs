//! Tasks that mean harm, through a served program: each attempt ends with its own precise error, and whoever else calls
//! is served. How long after its limit an attempt ends, and what a short task takes beside endless ones, is printed; the
//! bench measures it.

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{self, CallError, Client, ROLE, Server, Turn},
};

use super::trial;

const CPU: Duration = Duration::from_millis(200);
const WALL: Duration = Duration::from_millis(500);
/// The other limit is far off, so that a busy machine cannot decide which comes first.
const CPU_LIMIT: &str = "[limits]\nwall = \"60s\"\ncpu = \"200ms\"\nmemory = \"16MiB\"";
const WALL_LIMIT: &str = "[limits]\nwall = \"500ms\"\ncpu = \"60s\"\nmemory = \"16MiB\"";
/// Runs that a percentile is taken of.
const SAMPLES: usize = 300;
/// Who waits longer for something waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("hostile::each_ends_alone", each_ends_alone),
        trial("hostile::short_beside_endless", short_beside_endless),
        trial("hostile::forged_tokens", forged_tokens),
    ]
}

/// What a guest does and how its attempt must end.
struct Attack {
    plugin: &'static str,
    input: Value,
    /// The time that it may take at most.
    limit: Duration,
    /// Event, error, and a part of the cause.
    end: (&'static str, &'static str, &'static str),
}

fn attacks(silent: &str) -> Vec<Attack> {
    let failed = |error, cause| ("TaskFailed", error, cause);
    let over_cpu = failed("Stepwell.CpuTime", "more than 0.2 s");
    let over_wall = ("TaskTimedOut", "States.Timeout", "within 0.5 s");
    let memory = failed("Stepwell.OutOfMemory", "16 MiB");
    let attack = |plugin, input, limit, end| Attack {
        plugin,
        input,
        limit,
        end,
    };
    let mut attacks = Vec::new();
    for (cpu, wall) in [
        ("cpu-behave", "wall-behave"),
        ("cpu-command", "wall-command"),
    ] {
        attacks.extend([
            attack(cpu, json!({ "do": "loop" }), CPU, over_cpu),
            attack(cpu, json!({ "do": "bomb" }), CPU, memory),
            attack(
                cpu,
                json!({ "do": "recurse" }),
                CPU,
                failed("Stepwell.Trapped", ""),
            ),
            attack(
                cpu,
                json!({ "do": "panic" }),
                CPU,
                failed("Stepwell.Trapped", "the guest gave up"),
            ),
            attack(wall, json!({ "do": "loop" }), WALL, over_wall),
            attack(wall, json!({ "do": "sleep" }), WALL, over_wall),
        ]);
    }
    let refused = |plugin, input, error, cause| attack(plugin, input, CPU, failed(error, cause));
    let (read, write) = (
        json!({ "do": "read", "path": "/etc/passwd" }),
        json!({ "do": "write", "path": "/tmp/x" }),
    );
    let connect = json!({ "do": "connect", "address": silent });
    attacks.extend([
        attack("cpu-command", json!({ "do": "stdout" }), CPU, over_cpu),
        attack("cpu-command", json!({ "do": "stderr" }), CPU, over_cpu),
        attack(
            "cpu-command",
            json!({ "do": "garbage" }),
            CPU,
            failed("Stepwell.InvalidOutput", ""),
        ),
        attack(
            "cpu-command",
            json!({ "do": "exit", "code": 3 }),
            CPU,
            failed("Stepwell.Exited", "exit code 3"),
        ),
        attack(
            "cpu-behave",
            json!({ "do": "large" }),
            CPU,
            failed("Stepwell.InvalidOutput", "bytes"),
        ),
        attack(
            "metered",
            json!({ "do": "loop" }),
            CPU,
            failed("Stepwell.OutOfFuel", "50000000"),
        ),
        attack(
            "wall-http",
            json!({ "do": "http", "url": format!("http://{silent}/") }),
            WALL,
            over_wall,
        ),
        refused(
            "cpu-behave",
            json!({ "do": "http", "url": format!("http://{silent}/") }),
            "",
            "",
        ),
        refused(
            "cpu-behave",
            json!({ "do": "http-or-trap", "url": format!("http://{silent}/") }),
            "Stepwell.GrantRefused",
            "",
        ),
        refused("cpu-behave", read.clone(), "", ""),
        refused("cpu-behave", write.clone(), "", ""),
        refused("cpu-behave", connect.clone(), "", ""),
        refused("cpu-command", read, "ReadFailed", ""),
        refused("cpu-command", write, "WriteFailed", ""),
        refused("cpu-command", connect, "ConnectFailed", ""),
    ]);
    attacks
}

fn each_ends_alone() -> Result<()> {
    let _turn = Turn::take()?;
    // It takes connections, by its backlog, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = silent.local_addr()?.to_string();
    let scratch = tempfile::tempdir()?;
    let plugins = scratch.path().join("plugins");
    install(&plugins, &address)?;
    let server = Server::start(&scratch.path().join("data"), &plugins)?;
    let client = server.client();
    let plugins = [
        "cpu-behave",
        "wall-behave",
        "cpu-command",
        "wall-command",
        "wall-http",
        "metered",
    ];
    for plugin in plugins {
        let machine = client.create_machine(plugin, &one_task(plugin))?;
        // Compiled first, so that no compilation is measured.
        client.start(&machine, "warm", &json!({ "do": "echo" }))?;
    }
    for plugin in plugins {
        client.ended(
            &format!("arn:aws:states:us-east-1:000000000000:execution:{plugin}:warm"),
            PATIENCE,
        )?;
    }
    let well = express(&client, "well", "echo")?;
    let (mut wrong, mut latest) = (Vec::new(), Duration::ZERO);
    let attacks = attacks(&address);
    for (n, attack) in attacks.iter().enumerate() {
        let at = format!("{} {}", attack.plugin, attack.input);
        match ends(&client, attack, n) {
            Ok(took) => latest = latest.max(took.saturating_sub(attack.limit)),
            Err(error) => wrong.push(format!("{at}: {error:#}")),
        }
        let output = sync(&client, &well, &json!({ "alive": n }))?;
        ensure!(
            output == json!({ "alive": n }),
            "after {at} another task gave {output}"
        );
    }
    println!(
        "hostile tasks: {}/{} ended precisely, the latest {latest:?} after its limit",
        attacks.len() - wrong.len(),
        attacks.len()
    );
    ensure!(
        wrong.is_empty(),
        "{} did not:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    ensure!(running(&client)? == 0.0, "guests are left running");
    server.stop()
}

fn install(plugins: &Path, silent: &str) -> Result<()> {
    for (limits, name) in [(CPU_LIMIT, "cpu"), (WALL_LIMIT, "wall")] {
        for guest in ["behave", "command"] {
            server::install(plugins, &format!("{name}-{guest}"), guest, limits)?;
        }
    }
    let http = format!("{WALL_LIMIT}\n[grants]\nhttp = [\"http://{silent}\"]");
    server::install(plugins, "wall-http", "behave", &http)?;
    server::install(plugins, "metered", "behave", "[limits]\nfuel = 50000000")?;
    server::install(plugins, "echo", "echo", "")
}

/// The attempt ends as it must; how long it lived, by the history.
fn ends(client: &Client, attack: &Attack, n: usize) -> Result<Duration> {
    let machine = format!(
        "arn:aws:states:us-east-1:000000000000:stateMachine:{}",
        attack.plugin
    );
    let execution = client.start(&machine, &format!("attack-{n}"), &attack.input)?;
    client.ended(&execution, PATIENCE)?;
    let history = client.history(&execution)?;
    let find = |kinds: &[&str]| {
        history
            .iter()
            .find(|event| kinds.contains(&event["type"].as_str().unwrap_or_default()))
    };
    let started = find(&["TaskStarted"]).context("no TaskStarted")?;
    let ended = find(&["TaskFailed", "TaskTimedOut", "TaskSucceeded"]).context("no outcome")?;
    let (kind, error, cause) = attack.end;
    let details = &ended[if kind == "TaskFailed" {
        "taskFailedEventDetails"
    } else {
        "taskTimedOutEventDetails"
    }];
    let text = |name: &str| details[name].as_str().unwrap_or_default();
    ensure!(
        ended["type"] == kind
            && (error.is_empty() || text("error") == error)
            && text("cause").contains(cause),
        "expected {kind} {error} with `{cause}`: {ended}"
    );
    // What a task reports itself has a name of its own; nothing of the host is told.
    ensure!(
        !text("error").is_empty() && !text("cause").contains("wasmtime"),
        "{ended}"
    );
    let at = |event: &Value| event["timestamp"].as_f64().unwrap_or_default();
    Ok(Duration::try_from_secs_f64(at(ended) - at(started))?)
}

fn short_beside_endless() -> Result<()> {
    let place = Place::new()?;
    server::install(
        &place.plugins,
        "endless",
        "behave",
        "[limits]\nwall = \"300s\"\ncpu = \"300s\"",
    )?;
    server::install(&place.plugins, "short", "behave", "")?;
    let server = place.serve(&[])?;
    let client = server.client();
    let short = express(&client, "short", "short")?;
    let alone = percentiles(&client, &short)?;
    let machine = client.create_machine("endless", &one_task("endless"))?;
    let endless = ["one", "two"].map(|name| client.start(&machine, name, &json!({ "do": "loop" })));
    wait_for(|| Ok(running(&client)? == 2.0)).context("the endless guests do not run")?;
    let beside = percentiles(&client, &short)?;
    let shown = |[p50, p99]: [f64; 2]| format!("p50 {p50:.1} ms, p99 {p99:.1} ms");
    println!(
        "a 1 ms task alone: {}; beside two endless guests: {}",
        shown(alone),
        shown(beside)
    );
    for execution in endless {
        let execution = execution?;
        client.call("StopExecution", &json!({ "executionArn": execution }))?;
        ensure!(
            client.ended(&execution, PATIENCE)?["status"] == "ABORTED",
            "{execution} is not stopped"
        );
    }
    wait_for(|| Ok(running(&client)? == 0.0)).context("guests outlive their stopped executions")?;
    server.stop()
}

/// Median and 99th percentile of a 1 ms task, milliseconds from the call to the answer.
fn percentiles(client: &Client, machine: &str) -> Result<[f64; 2]> {
    let mut took = Vec::new();
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        let output = sync(client, machine, &json!({ "do": "sleep", "ms": 1 }))?;
        ensure!(output == "awake", "the short task gave {output}");
        took.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok([took[SAMPLES / 2], took[SAMPLES * 99 / 100]])
}

/// Who has a task token has one task, and by it no other: tokens that are like it answer nothing, and the true one still does.
fn forged_tokens() -> Result<()> {
    let place = Place::new()?;
    let server = place.serve(&[])?;
    let client = server.client();
    let activity = client.call("CreateActivity", &json!({ "name": "work" }))?;
    let work = json!({ "StartAt": "W", "States": { "W": {
        "Type": "Task", "Resource": activity["activityArn"], "End": true } } });
    let machine = client.create_machine("works", &work)?;
    let mut tokens = Vec::new();
    let executions = [
        client.start(&machine, "one", &json!({}))?,
        client.start(&machine, "two", &json!({}))?,
    ];
    for _ in &executions {
        let arn = json!({ "activityArn": activity["activityArn"] });
        let task = client.call("GetActivityTask", &arn)?;
        tokens.push(task["taskToken"].as_str().context("a token")?.to_owned());
    }
    for forged in &forgeries(&tokens[0], &tokens[1]) {
        for (operation, more) in [
            ("SendTaskSuccess", json!({ "output": "\"forged\"" })),
            ("SendTaskFailure", json!({ "error": "Forged" })),
            ("SendTaskHeartbeat", json!({})),
        ] {
            let mut request = more;
            request["taskToken"] = json!(forged);
            match client.call(operation, &request) {
                Err(CallError::Refused { code, .. })
                    if ["InvalidToken", "TaskTimedOut"].contains(&code.as_str()) => {}
                other => anyhow::bail!("{operation} with {forged}: {other:?}"),
            }
        }
    }
    for (execution, token) in executions.iter().zip(&tokens) {
        let answer = json!({ "taskToken": token, "output": "\"true\"" });
        client.call("SendTaskSuccess", &answer)?;
        let ended = client.ended(execution, PATIENCE)?;
        ensure!(ended["output"] == "\"true\"", "{ended}");
    }
    server.stop()
}

/// Texts that are like a token.
fn forgeries(good: &str, other: &str) -> Vec<String> {
    let changed = |at: usize| {
        let mut forged = good.to_owned();
        let letter = if good[at..].starts_with('A') {
            "B"
        } else {
            "A"
        };
        forged.replace_range(at..=at, letter);
        forged
    };
    let middle = good.len() / 2;
    vec![
        changed(0),
        changed(middle),
        changed(good.len() - 1),
        "A".repeat(good.len()),
        // One half each of two that are good.
        format!("{}{}", &good[..middle], &other[middle..]),
        format!("{good}A"),
        good[1..].to_owned(),
        format!(" {}", &good[1..]),
        good.chars().rev().collect(),
    ]
}

fn one_task(plugin: &str) -> Value {
    json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "Resource": format!("wasm:{plugin}"), "End": true } } })
}

/// An EXPRESS state machine of one task.
fn express(client: &Client, name: &str, plugin: &str) -> Result<String> {
    let request = json!({
        "name": name, "definition": one_task(plugin).to_string(), "roleArn": ROLE, "type": "EXPRESS",
    });
    let answer = client.call("CreateStateMachine", &request)?;
    Ok(answer["stateMachineArn"]
        .as_str()
        .context("an ARN")?
        .to_owned())
}

/// The output of a synchronous execution.
fn sync(client: &Client, machine: &str, input: &Value) -> Result<Value> {
    let request = json!({ "stateMachineArn": machine, "input": input.to_string() });
    let answer = client.call("StartSyncExecution", &request)?;
    let output = answer["output"]
        .as_str()
        .with_context(|| format!("no output: {answer}"))?;
    Ok(serde_json::from_str(output)?)
}

/// Guests running now, by the server's metrics.
fn running(client: &Client) -> Result<f64> {
    let (_, text) = client.get("/metrics")?;
    let line = text
        .lines()
        .find(|line| line.contains("sandbox_running ") && !line.starts_with('#'));
    let value = line
        .and_then(|line| line.rsplit(' ').next())
        .context("no metric sandbox_running")?;
    Ok(value.parse()?)
}

/// Asks until it is so.
fn wait_for(is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so()? {
        ensure!(
            begun.elapsed() < PATIENCE,
            "not within {:?}",
            begun.elapsed()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
