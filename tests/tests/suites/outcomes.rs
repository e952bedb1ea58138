//! The table of `docs/errors.md`, lived through: each end of an attempt, by real guests on a served program, has the names that the
//! table says in both forms of a resource; who may catch it catches it; and its cause tells what the guest said last and where
//! it was, and nothing of the host.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{self, Client, ROLE},
};

use super::trial;

/// Who waits longer for something waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: &str = "States.Timeout";

/// Rows that no guest brings about at will, and where they are judged.
const ELSEWHERE: [(&str, &str); 3] = [
    (
        "is cancelled",
        "nobody is left to be told: `a_stopped_execution_has_no_other_end` here, and the engine's own table",
    ),
    ("is lost with its process, four times", "the suite `kill`"),
    ("meets a failure of the host", "the engine's own table"),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("outcomes::as_the_table_says", as_the_table_says),
        trial("outcomes::causes", causes),
        trial("outcomes::a_broken_reply", a_broken_reply),
        trial("outcomes::missed_heartbeat", missed_heartbeat),
        trial("outcomes::no_place", no_place),
        trial(
            "outcomes::a_stopped_execution_has_no_other_end",
            a_stopped_execution_has_no_other_end,
        ),
    ]
}

/// A row of the table: the attempt, and its error of a Lambda form and of `wasm:`.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    attempt: String,
    lambda: String,
    wasm: String,
}

/// The rows of the table, without its head.
fn table() -> Result<Vec<Row>> {
    let page = std::fs::read_to_string(server::root().join("docs/errors.md"))?;
    let (_, table) = page
        .split_once("| the attempt | Lambda |")
        .context("docs/errors.md has the table")?;
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [attempt, lambda, wasm] = cells.as_slice() else {
            anyhow::bail!("{line}: three cells");
        };
        let name = |cell: &str| cell.trim_matches('`').to_owned();
        Ok(Row {
            attempt: (*attempt).to_owned(),
            lambda: name(lambda),
            wasm: name(wasm),
        })
    })
    .collect()
}

/// How a guest comes to an end: the plugin, its input, and the row.
fn ends() -> Vec<(&'static str, Value, &'static str)> {
    let does = |what: &str| json!({ "do": what });
    vec![
        (
            "behave",
            json!({"do": "fail", "error": "CardDeclined", "cause": "no money"}),
            "fails with an error of its own",
        ),
        (
            "command",
            json!({"do": "exit", "code": 3}),
            "leaves with an exit code other than 0 and no error of its own",
        ),
        (
            "narrow",
            json!({"do": "echo", "pad": "x".repeat(500)}),
            "is given more input than `[limits].input`",
        ),
        ("command", does("garbage"), "returns no JSON"),
        (
            "narrow",
            json!({"do": "large", "bytes": 1_000}),
            "returns more than `[limits].output`",
        ),
        (
            "behave",
            does("panic"),
            "traps (panic, `unreachable`, stack)",
        ),
        (
            "behave",
            does("recurse"),
            "traps (panic, `unreachable`, stack)",
        ),
        ("behave", does("bomb"), "needs more memory than it may use"),
        ("metered", does("loop"), "runs out of fuel"),
        (
            "behave",
            does("loop"),
            "computes for longer than `[limits].cpu`",
        ),
        ("short", does("sleep"), "takes longer than `[limits].wall`"),
        (
            "behave",
            json!({"do": "http-or-trap", "url": "http://127.0.0.1:9/"}),
            "breaks down over a refused grant",
        ),
        ("nowhere", does("echo"), "has no plugin"),
        ("broken", does("echo"), "has a plugin that cannot be used"),
    ]
}

fn install(plugins: &Path) -> Result<()> {
    let tight = "[limits]\nwall = \"60s\"\ncpu = \"200ms\"\nmemory = \"16MiB\"";
    let narrow = "[limits]\ninput = \"200B\"\noutput = \"200B\"";
    let one = "[limits]\nconcurrency = 1\nwall = \"60s\"";
    for (name, guest, manifest) in [
        ("behave", "behave", tight),
        ("command", "command", tight),
        ("narrow", "behave", narrow),
        ("metered", "behave", "[limits]\nfuel = 50000000"),
        ("short", "behave", "[limits]\nwall = \"300ms\""),
        ("one", "behave", one),
    ] {
        server::install(plugins, name, guest, manifest)?;
    }
    std::fs::write(plugins.join("broken.wasm"), "this is a text")?;
    Ok(())
}

fn with_server(judge: impl FnOnce(&Client) -> Result<()>) -> Result<()> {
    let place = Place::new()?;
    install(&place.plugins)?;
    let server = place.serve(&[])?;
    judge(&server.client())?;
    server.stop()
}

/// A task whose errors of this name are caught, and become the output.
fn catching(resource: &str, catcher: &str) -> Value {
    json!({
        "StartAt": "T",
        "States": {
            "T": {
                "Type": "Task", "Resource": resource, "Next": "Done",
                "Catch": [{ "ErrorEquals": [catcher], "Next": "Caught" }],
            },
            "Caught": { "Type": "Succeed" },
            "Done": { "Type": "Fail", "Error": "NothingWentWrong" },
        }
    })
}

/// How a task ended under a catcher.
#[derive(Debug)]
struct End {
    caught: bool,
    error: String,
    cause: String,
}

/// Runs a definition as an EXPRESS execution.
fn run(client: &Client, name: &str, definition: &Value, input: &Value) -> Result<End> {
    let create = json!({
        "name": name, "definition": definition.to_string(), "roleArn": ROLE, "type": "EXPRESS",
    });
    let machine = client.call("CreateStateMachine", &create)?;
    let start =
        json!({ "stateMachineArn": machine["stateMachineArn"], "input": input.to_string() });
    let answer = client.call("StartSyncExecution", &start)?;
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    if answer["status"] == "SUCCEEDED" {
        let output: Value = serde_json::from_str(&text(&answer, "output"))?;
        return Ok(End {
            caught: true,
            error: text(&output, "Error"),
            cause: text(&output, "Cause"),
        });
    }
    ensure!(answer["status"] == "FAILED", "{answer}");
    Ok(End {
        caught: false,
        error: text(&answer, "error"),
        cause: text(&answer, "cause"),
    })
}

fn as_the_table_says() -> Result<()> {
    let table = table()?;
    let mut judged: BTreeSet<&str> = ELSEWHERE.iter().map(|(row, _)| *row).collect();
    // It takes a place that another one has: see there.
    judged.insert("finds no place (`[limits].concurrency`, the host's queue)");
    with_server(|client| {
        let mut wrong = Vec::new();
        for (number, (plugin, input, attempt)) in ends().into_iter().enumerate() {
            let row = table.iter().find(|row| row.attempt == attempt);
            let row = row.with_context(|| format!("no row `{attempt}` in docs/errors.md"))?;
            judged.insert(attempt);
            let lambda = format!("arn:aws:lambda:us-east-1:000000000000:function:{plugin}");
            let wasm = format!("wasm:{plugin}");
            for (form, resource, told) in
                [("lambda", &lambda, &row.lambda), ("wasm", &wasm, &row.wasm)]
            {
                let name = format!("{form}-{number}");
                let found = judge(client, &name, resource, &input, told);
                let found = found.with_context(|| format!("{form}: {attempt}"))?;
                wrong.extend(found.map(|why| format!("{form}, {attempt}: {why}")));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        let missing: Vec<&Row> = table
            .iter()
            .filter(|row| !judged.contains(row.attempt.as_str()))
            .collect();
        ensure!(missing.is_empty(), "nobody brings these about: {missing:?}");
        Ok(())
    })
}

/// What is not as it should be with an end under each catcher, if something is. `told` is what the table has for its name.
fn judge(
    client: &Client,
    name: &str,
    resource: &str,
    input: &Value,
    told: &str,
) -> Result<Option<String>> {
    // The guest's own name is the guest's.
    let error = if told.starts_with("that name") {
        "CardDeclined"
    } else {
        told
    };
    for (number, catcher) in ["States.TaskFailed", "States.ALL", error, "Another"]
        .into_iter()
        .enumerate()
    {
        let definition = catching(resource, catcher);
        let end = run(client, &format!("{name}-{number}"), &definition, input)?;
        let catches = match catcher {
            "States.TaskFailed" => error != TIMEOUT,
            "Another" => false,
            _ => true,
        };
        if end.error != error || end.caught != catches {
            return Ok(Some(format!("under a catcher of {catcher}: {end:?}")));
        }
        if end.cause.is_empty() || tells_of_the_host(&end.cause) {
            return Ok(Some(format!("its cause: {}", end.cause)));
        }
    }
    Ok(None)
}

/// Whether a text has what only a trace of the host has.
fn tells_of_the_host(cause: &str) -> bool {
    let hosts = [
        "wasmtime",
        "stepwell_sandbox",
        "stepwell_engine",
        "stack backtrace",
        "Stack backtrace",
        "tokio",
    ];
    hosts.iter().any(|text| cause.contains(text))
}

/// Stderr's end and the guest's functions stand in the cause; bounded, whatever it wrote.
fn causes() -> Result<()> {
    let cases: [(&str, Value, &[&str]); 7] = [
        (
            "behave",
            json!({"do": "panic"}),
            &["the guest gave up", "at behave::give_up"],
        ),
        (
            "behave",
            json!({"do": "loop"}),
            &["more than 0.2 s", "at behave::spin"],
        ),
        (
            "metered",
            json!({"do": "loop"}),
            &["50000000 units of fuel", "at behave::spin"],
        ),
        ("behave", json!({"do": "bomb"}), &["16 MiB", "\n  at "]),
        (
            "behave",
            json!({"do": "http-or-trap", "url": "http://127.0.0.1:9/"}),
            &["not granted", "the request goes out", "\n  at "],
        ),
        (
            "command",
            json!({"do": "exit", "code": 3}),
            &["exit code 3", "leaving"],
        ),
        (
            "command",
            json!({"do": "stderr"}),
            &["more than 0.2 s", "\nstderr: xxxx"],
        ),
    ];
    with_server(|client| {
        for (number, (plugin, input, parts)) in cases.into_iter().enumerate() {
            let definition = catching(&format!("wasm:{plugin}"), "States.ALL");
            let end = run(client, &format!("cause-{number}"), &definition, &input)?;
            let has_all = parts.iter().all(|part| end.cause.contains(part));
            ensure!(has_all, "{plugin} {input}, {parts:?}: {end:?}");
            ensure!(
                !tells_of_the_host(&end.cause) && end.cause.len() < 8 << 10,
                "{plugin} {input}: {} bytes: {end:?}",
                end.cause.len()
            );
        }
        Ok(())
    })
}

/// What goes wrong in the host on a guest's behalf is told to the guest without the host's trace.
fn a_broken_reply() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        }
    });
    let place = Place::new()?;
    let grant = format!("[grants]\nhttp = [\"http://{address}\"]");
    server::install(&place.plugins, "asks", "behave", &grant)?;
    let server = place.serve(&[])?;
    let input = json!({ "do": "http", "url": format!("http://{address}/") });
    let definition = catching("wasm:asks", "States.TaskFailed");
    let end = run(&server.client(), "asks", &definition, &input)?;
    ensure!(
        end.caught && end.error == "HttpError" && end.cause.contains("broke off"),
        "{end:?}"
    );
    ensure!(
        !tells_of_the_host(&end.cause) && end.cause.len() < 1_000,
        "{end:?}"
    );
    server.stop()
}

/// No sign of life for HeartbeatSeconds is a timeout, which its own name and `States.Timeout` match.
fn missed_heartbeat() -> Result<()> {
    with_server(|client| {
        for (number, (catcher, catches)) in [
            ("States.HeartbeatTimeout", true),
            (TIMEOUT, true),
            ("States.ALL", true),
            ("States.TaskFailed", false),
        ]
        .into_iter()
        .enumerate()
        {
            let mut definition = catching("wasm:behave", catcher);
            definition["States"]["T"]["HeartbeatSeconds"] = json!(1);
            let input = json!({ "do": "sleep" });
            let end = run(client, &format!("beat-{number}"), &definition, &input)?;
            ensure!(
                end.error == TIMEOUT && end.caught == catches,
                "{catcher}: {end:?}"
            );
        }
        Ok(())
    })
}

/// Of a plugin that runs as often as it may, another attempt finds no place.
fn no_place() -> Result<()> {
    let attempt = "finds no place (`[limits].concurrency`, the host's queue)";
    let row = table()?.into_iter().find(|row| row.attempt == attempt);
    let row = row.context("the row is in docs/errors.md")?;
    with_server(|client| {
        let occupies = json!({"StartAt": "T", "States": {"T": {
            "Type": "Task", "Resource": "wasm:one", "End": true}}});
        let machine = client.create_machine("occupies", &occupies)?;
        let execution = client.start(&machine, "one", &json!({ "do": "sleep" }))?;
        started(client, &execution)?;
        let lambda = "arn:aws:lambda:us-east-1:000000000000:function:one";
        for (form, resource, told) in [
            ("lambda", lambda, &row.lambda),
            ("wasm", "wasm:one", &row.wasm),
        ] {
            let found = judge(client, form, resource, &json!({ "do": "echo" }), told)?;
            ensure!(found.is_none(), "{form}: {found:?}");
        }
        client.call("StopExecution", &json!({ "executionArn": execution }))?;
        Ok(())
    })
}

/// Waits until an execution's task has begun.
fn started(client: &Client, execution: &str) -> Result<()> {
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        let history = client.history(execution)?;
        if history.iter().any(|event| event["type"] == "TaskStarted") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("the task of {execution} has not begun")
}

/// StopExecution cancels the guest; no catcher is asked, and the place is free again.
fn a_stopped_execution_has_no_other_end() -> Result<()> {
    with_server(|client| {
        let machine = client.create_machine("stopped", &catching("wasm:one", "States.ALL"))?;
        let execution = client.start(&machine, "one", &json!({ "do": "sleep" }))?;
        started(client, &execution)?;
        let stop = json!({ "executionArn": execution, "error": "Enough", "cause": "by hand" });
        client.call("StopExecution", &stop)?;
        let ended = client.ended(&execution, PATIENCE)?;
        ensure!(
            ended["status"] == "ABORTED" && ended["error"] == "Enough",
            "{ended}"
        );
        let history = client.history(&execution)?;
        let kinds: Vec<&str> = history
            .iter()
            .filter_map(|event| event["type"].as_str())
            .collect();
        ensure!(
            kinds.last() == Some(&"ExecutionAborted") && !kinds.contains(&"TaskFailed"),
            "{kinds:?}"
        );
        // The only place of the plugin is another one's by now, or soon.
        let again = catching("wasm:one", "States.ALL");
        let begun = std::time::Instant::now();
        for number in 0.. {
            let end = run(
                client,
                &format!("after-{number}"),
                &again,
                &json!({ "do": "echo" }),
            )?;
            if end.error == "NothingWentWrong" {
                break;
            }
            ensure!(
                end.error == "Stepwell.TooManyRunning" && begun.elapsed() < PATIENCE,
                "{end:?}"
            );
        }
        Ok(())
    })
}
