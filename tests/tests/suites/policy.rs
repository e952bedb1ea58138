//! What the operator and a state machine's tags leave to plugins, through a served program.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    command,
    place::Place,
    server::{self, CallError, Client, ROLE},
    terminal::Terminal,
};

use super::trial;

/// Who waits longer for something waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("policy::tags_lower_limits", tags_lower_limits),
        trial("policy::tags_lower_each_limit", tags_lower_each_limit),
        trial("policy::logs_are_kept", logs_are_kept),
        trial(
            "policy::logs_are_found_and_bounded",
            logs_are_found_and_bounded,
        ),
        trial(
            "policy::notes_are_seen_while_a_task_runs",
            notes_are_seen_while_a_task_runs,
        ),
        trial("policy::ceilings_and_secrets", ceilings_and_secrets),
        trial("policy::what_an_attempt_used", what_an_attempt_used),
        trial(
            "policy::what_attempts_did_with_their_host",
            what_attempts_did_with_their_host,
        ),
    ]
}

fn create(client: &Client, name: &str, tags: &[(&str, &str)]) -> Result<String, CallError> {
    let tags: Vec<Value> = tags
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect();
    let definition = json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "Resource": "wasm:task", "End": true } } });
    let request = json!({
        "name": name, "definition": definition.to_string(), "roleArn": ROLE, "tags": tags,
    });
    let answer = client.call("CreateStateMachine", &request)?;
    Ok(answer["stateMachineArn"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Status, error and cause of an execution.
fn end(
    client: &Client,
    machine: &str,
    name: &str,
    input: &Value,
) -> Result<(String, String, String)> {
    let execution = client.start(machine, name, input)?;
    let ended = client.ended(&execution, PATIENCE)?;
    let text = |member: &str| ended[member].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("error"), text("cause")))
}

fn tags_lower_limits() -> Result<()> {
    let place = Place::new()?;
    server::install(
        &place.plugins,
        "task",
        "behave",
        "[limits]\nmemory = \"32MiB\"",
    )?;
    let server = place.serve(&[])?;
    let client = server.client();
    for (key, value) in [
        ("stepwell:limit:memory", "much"),
        ("stepwell:limit:speed", "1s"),
    ] {
        match create(&client, "wrong", &[(key, value)]) {
            Err(CallError::Refused { code, message }) => ensure!(
                code == "ValidationException" && message.contains(key),
                "{code}: {message}"
            ),
            other => anyhow::bail!("{key}={value} is taken: {other:?}"),
        }
    }
    let uses = |mib: u64| json!({ "do": "use", "mib": mib });
    let plain = create(&client, "plain", &[])?;
    let small = create(
        &client,
        "small",
        &[("stepwell:limit:memory", "8MiB"), ("team", "a")],
    )?;
    let large = create(&client, "large", &[("stepwell:limit:memory", "1GiB")])?;
    ensure!(end(&client, &plain, "plain", &uses(16))?.0 == "SUCCEEDED");
    for (machine, name, mib, limit) in [
        (
            &small,
            "small",
            16,
            "may use 8 MiB; the state machine's tag stepwell:limit:memory raises it",
        ),
        (
            &large,
            "large",
            40,
            "may use 32 MiB; [limits].memory in plugin.toml raises it",
        ),
    ] {
        let (_, error, cause) = end(&client, machine, name, &uses(mib))?;
        ensure!(
            error == "Stepwell.OutOfMemory" && cause.contains(limit),
            "{name}: {error}: {cause}"
        );
    }
    // The next task goes by the tags as they are then.
    let untag = json!({ "resourceArn": small, "tagKeys": ["stepwell:limit:memory"] });
    client.call("UntagResource", &untag)?;
    let again = end(&client, &small, "again", &uses(16))?;
    ensure!(again.0 == "SUCCEEDED", "{again:?}");
    server.stop()
}

/// Each tag that lowers a limit stops a guest which the plugin's own would let go on.
fn tags_lower_each_limit() -> Result<()> {
    let place = Place::new()?;
    let wide = "[limits]\nwall = \"60s\"\ncpu = \"60s\"";
    server::install(&place.plugins, "task", "behave", wide)?;
    let server = place.serve(&[])?;
    let client = server.client();
    for (limit, value, input, name, told) in [
        (
            "memory",
            "8MiB",
            json!({ "do": "use", "mib": 16 }),
            "Stepwell.OutOfMemory",
            "may use 8 MiB",
        ),
        (
            "wall",
            "300ms",
            json!({ "do": "sleep" }),
            "States.Timeout",
            "did not end within 0.3 s",
        ),
        (
            "cpu",
            "100ms",
            json!({ "do": "loop" }),
            "Stepwell.CpuTime",
            "more than 0.1 s",
        ),
        (
            "input",
            "30B",
            json!({ "do": "echo", "pad": "0123456789" }),
            "Stepwell.InputTooLarge",
            "the plugin takes 30",
        ),
        (
            "output",
            "100B",
            json!({ "do": "large", "bytes": 200 }),
            "Stepwell.InvalidOutput",
            "may return 100",
        ),
    ] {
        let key = format!("stepwell:limit:{limit}");
        let machine = create(&client, limit, &[(key.as_str(), value)])?;
        let (_, error, cause) = end(&client, &machine, limit, &input)?;
        let raised = format!("the state machine's tag {key} raises it");
        ensure!(
            error == name && cause.contains(told) && cause.contains(&raised),
            "{key}: {error}: {cause}"
        );
    }
    let machine = create(&client, "log", &[("stepwell:limit:log", "2000B")])?;
    let said = |what: &str| -> Result<Value> {
        let execution = client.start(&machine, what, &json!({ "do": what }))?;
        client.ended(&execution, PATIENCE)?;
        let (status, text) = client.get(&format!("/api/executions/{execution}/logs"))?;
        ensure!(status == 200, "{status}: {text}");
        let told: Value = serde_json::from_str(&text)?;
        Ok(told["attempts"][0].clone())
    };
    let flood = said("log-flood")?;
    let lines = flood["lines"].as_array().map_or(0, Vec::len);
    ensure!(
        (50..100).contains(&lines) && flood["cut"] == true,
        "{lines} lines"
    );
    let shout = said("shout")?;
    let bytes = |stream: &str| shout[stream].as_str().map_or(0, str::len);
    ensure!(
        bytes("stdout") == 2_000 && bytes("stderr") == 2_000,
        "{shout}"
    );
    server.stop()
}

fn logs_are_kept() -> Result<()> {
    let place = Place::new()?;
    server::install(&place.plugins, "task", "behave", "")?;
    let server = place.serve(&[])?;
    let client = server.client();
    let machine = create(&client, "m", &[])?;
    let execution = client.start(&machine, "said", &json!({ "do": "log" }))?;
    client.ended(&execution, PATIENCE)?;
    // After a crash as well: who sees the end finds the log.
    server.kill()?;
    let server = place.serve(&[])?;
    let client = server.client();
    let (status, text) = client.get(&format!("/api/executions/{execution}/logs"))?;
    ensure!(status == 200, "{status}: {text}");
    let told: Value = serde_json::from_str(&text)?;
    let attempt = &told["attempts"][0];
    let line = &attempt["lines"][0];
    ensure!(
        attempt["state"] == "T"
            && attempt["attempt"] == 1
            && line["level"] == "warn"
            && line["message"] == "noticed"
            && line["fields"] == json!([["attempt", "1"]])
            && attempt["stdout"] == "to stdout\n"
            && attempt["stderr"] == "to stderr\n",
        "{told}"
    );
    // Who says nothing keeps nothing.
    let silent = client.start(&machine, "silent", &json!({ "do": "echo" }))?;
    client.ended(&silent, PATIENCE)?;
    let (_, text) = client.get(&format!("/api/executions/{silent}/logs"))?;
    ensure!(text == r#"{"attempts":[]}"#, "{text}");
    let (status, _) = client.get(&format!("/api/executions/{execution}x/logs"))?;
    ensure!(status != 200, "logs of no execution: {status}");
    server.stop()
}

/// Lines are found by state, level and text, fields among it; of one that says too much some are kept, which is told.
fn logs_are_found_and_bounded() -> Result<()> {
    /// What is kept of an attempt, by the page of plugins.
    const KEPT_BYTES_MAX: usize = 64 << 10;
    let place = Place::new()?;
    let most = "[limits]\nlog = \"1MiB\"";
    server::install(&place.plugins, "task", "behave", most)?;
    let server = place.serve(&[])?;
    let client = server.client();
    let machine = create(&client, "m", &[])?;
    for (name, what) in [("said", "log"), ("flood", "log-flood")] {
        let execution = client.start(&machine, name, &json!({ "do": what }))?;
        client.ended(&execution, PATIENCE)?;
    }
    let endpoint = client.endpoint();
    let logs = |execution: &str, wanted: &[&str]| -> Result<Vec<String>> {
        let base = ["execution", "logs", execution, "--endpoint", &endpoint];
        let told = command::well(command::run(place.folder(), &[&base[..], wanted].concat())?)?;
        Ok(told.lines().map(str::to_owned).collect())
    };
    let cases: [(&[&str], &[&str]); 7] = [
        (&[], &["noticed", "to stdout", "to stderr"]),
        (&["--level", "warn"], &["noticed"]),
        (&["--level", "error"], &[]),
        (&["--contains", "attempt=1"], &["noticed"]),
        (&["--contains", "to std"], &["to stdout", "to stderr"]),
        (
            &["--state", "T", "--contains", "noticed", "--level", "info"],
            &["noticed"],
        ),
        (&["--state", "U"], &[]),
    ];
    for (wanted, found) in cases {
        let lines = logs("m/said", wanted)?;
        let as_found = lines.len() == found.len()
            && lines
                .iter()
                .zip(found)
                .all(|(line, part)| line.contains(*part));
        ensure!(as_found, "{wanted:?}: {lines:?}");
    }
    let flood = logs("m/flood", &[])?;
    let (last, kept) = flood.split_last().context("what was kept")?;
    let bytes = kept.iter().map(String::len).sum::<usize>();
    ensure!(
        last.contains("more was said than is kept")
            && kept.len() > 1_000
            && bytes < 2 * KEPT_BYTES_MAX,
        "{} lines, {bytes} bytes, {last}",
        kept.len()
    );
    server.stop()
}

/// Who looks on sees the latest note of a task: on a terminal, or when he asks once; of one that has ended nobody does.
fn notes_are_seen_while_a_task_runs() -> Result<()> {
    let place = Place::new()?;
    let long = "[limits]\nwall = \"300s\"\ncpu = \"300s\"";
    server::install(&place.plugins, "task", "behave", long)?;
    let server = place.serve(&[])?;
    let client = server.client();
    let machine = create(&client, "m", &[])?;
    let execution = client.start(&machine, "e", &json!({ "do": "wait-for-cancel" }))?;
    let endpoint = client.endpoint();
    let at_it = |command: &'static str| ["execution", command, "m/e", "--endpoint", &endpoint];
    let terminal = Terminal::start(place.folder(), &at_it("watch"))?;
    terminal.shows("the note", |shown| shown.contains("  waiting"))?;
    let noted = || -> Result<bool> {
        let told = command::well(command::run(place.folder(), &at_it("show"))?)?;
        let mut notes = told.lines().filter(|line| line.starts_with("progress"));
        Ok(notes.any(|line| line.ends_with("T#1: waiting")))
    };
    ensure!(noted()?, "it is not told to who asks once");
    client.call("StopExecution", &json!({ "executionArn": execution }))?;
    let (code, shown) = terminal.ended()?;
    ensure!(
        code == Some(1) && shown.contains("the execution was stopped"),
        "{code:?}: {shown}"
    );
    ensure!(!noted()?, "it is told of one that has ended");
    server.stop()
}

fn ceilings_and_secrets() -> Result<()> {
    let place = Place::new()?;
    let manifest = "[limits]\nmemory = \"64MiB\"\n[grants]\nsecrets = [\"KEY\", \"OTHER\"]";
    server::install(&place.plugins, "task", "behave", manifest)?;
    let path = |name: &str| place.folder().join(name);
    fs::write(
        path("ceilings.toml"),
        "[default]\nlimits = { memory = \"8MiB\" }\ngrants = { secrets = [\"KEY\"] }\n",
    )?;
    fs::write(
        path("secrets.toml"),
        "[secret]\nKEY = { file = \"key.txt\" }\nOTHER = \"not for tasks\"\n",
    )?;
    fs::write(path("key.txt"), "s3cret\n")?;
    let (ceilings, secrets) = (path("ceilings.toml"), path("secrets.toml"));
    let text = |path: &std::path::Path| path.to_str().map(str::to_owned).context("UTF-8");
    let (ceilings, secrets) = (text(&ceilings)?, text(&secrets)?);
    let flags = ["--ceilings", &ceilings, "--secrets", &secrets];
    let server = place.serve(&flags)?;
    let client = server.client();
    let machine = create(&client, "m", &[])?;
    let (_, error, cause) = end(
        &client,
        &machine,
        "memory",
        &json!({ "do": "use", "mib": 16 }),
    )?;
    ensure!(
        error == "Stepwell.OutOfMemory" && cause.contains("may use 8 MiB"),
        "{error}: {cause}"
    );
    let secret = |name: &str| json!({ "do": "secret", "name": name });
    let execution = client.start(&machine, "secret", &secret("KEY"))?;
    let ended = client.ended(&execution, PATIENCE)?;
    ensure!(ended["output"] == "\"s3cret\"", "{ended}");
    let (status, _, cause) = end(&client, &machine, "other", &secret("OTHER"))?;
    ensure!(
        status == "FAILED" && cause.contains("not granted") && !cause.contains("not for tasks"),
        "{status}: {cause}"
    );
    server.stop()
}

/// One attempt is told alike by its own record, by the usage of the day and by the metrics.
fn what_an_attempt_used() -> Result<()> {
    let place = Place::new()?;
    let manifest = "[limits]\nfuel = 100000000";
    server::install(&place.plugins, "task", "behave", manifest)?;
    let server = place.serve(&[])?;
    let client = server.client();
    let machine = create(&client, "m", &[])?;
    let input = json!({ "do": "beat", "times": 7 });
    let execution = client.start(&machine, "one", &input)?;
    let ended = client.ended(&execution, PATIENCE)?;
    ensure!(ended["output"] == "7", "{ended}");
    let (status, text) = client.get(&format!("/api/executions/{execution}/attempts"))?;
    ensure!(status == 200, "{status}: {text}");
    let told: Value = serde_json::from_str(&text)?;
    let used = &told["attempts"][0]["usage"];
    ensure!(
        used["heartbeatCalls"] == 7
            && used["bytesIn"] == input.to_string().len()
            && used["bytesOut"] == 1
            && ["cpuMicros", "wallMicros", "memoryBytesMax", "fuel"]
                .iter()
                .all(|measure| used[measure].as_u64() > Some(0)),
        "{told}"
    );
    let days = client.call("Stepwell.GetUsage", &json!({}))?;
    let rows = days["usage"].as_array().context("rows")?;
    let day = rows.iter().find(|row| row["plugin"] == "task");
    let day = day.with_context(|| days.to_string())?;
    for measure in ["cpuMicros", "fuel", "bytesIn", "bytesOut"] {
        ensure!(day[measure] == used[measure], "{measure}: {used}, {day}");
    }
    ensure!(
        day["tasks"] == 1 && day["hostCalls"].as_u64() >= Some(7),
        "{day}"
    );
    let number = |measure: &str| used[measure].as_u64().unwrap_or_default();
    // The most memory for as long as it ran, in MiB milliseconds.
    let memory_time = (number("memoryBytesMax") * number("wallMicros")).div_ceil((1 << 20) * 1_000);
    ensure!(day["memoryMibMillis"] == memory_time, "{used}, {day}");
    let (_, metrics) = client.get("/metrics")?;
    let metric = |name: &str| -> Option<f64> {
        let line = metrics.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    ensure!(
        metric("stepwell_sandbox_host_calls_total{kind=\"heartbeat\"}") == Some(7.0)
            && metric("stepwell_sandbox_fuel_total ") == used["fuel"].as_f64()
            && metric("stepwell_sandbox_input_bytes_total ") == used["bytesIn"].as_f64()
            && metric("stepwell_sandbox_output_bytes_total ") == used["bytesOut"].as_f64()
            && metric("stepwell_sandbox_memory_peak_bytes_total ")
                == used["memoryBytesMax"].as_f64()
            && metric("stepwell_sandbox_memory_peak_max_bytes ") == used["memoryBytesMax"].as_f64()
            && metric("stepwell_sandbox_cpu_seconds_total ") > Some(0.0)
            && metric("stepwell_sandbox_expected_long_total ").is_some(),
        "{metrics}"
    );
    server.stop()
}

/// What guests called their host for, and what went over the network, is told alike of each attempt, of the day and by the metrics.
fn what_attempts_did_with_their_host() -> Result<()> {
    /// Kinds of calls: the metrics' label, and an attempt's member.
    const CALLS: [(&str, &str); 7] = [
        ("log", "logCalls"),
        ("heartbeat", "heartbeatCalls"),
        ("config", "configCalls"),
        ("secret", "secretCalls"),
        ("http", "httpRequests"),
        ("tcp", "tcpConnections"),
        ("file", "filesOpened"),
    ];
    let place = Place::new()?;
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    let (http, tcp) = (answers("\r\n\r\n", reply)?, answers(".", "and back")?);
    let data = place.plugins.join("task/data");
    fs::create_dir_all(&data)?;
    fs::write(data.join("file"), "text")?;
    let grants = format!(
        "[grants]\nconfig = {{ region = \"eu\" }}\nsecrets = [\"KEY\"]\nhttp = [\"http://{http}\"]\ntcp = [\"{tcp}\"]\nfs = [{{ host = \"data\", guest = \"/data\" }}]"
    );
    server::install(&place.plugins, "task", "behave", &grants)?;
    let server = place.serve(&[])?;
    let client = server.client();
    let machine = create(&client, "m", &[])?;
    let mut used: BTreeMap<String, u64> = BTreeMap::new();
    for (number, input) in [
        json!({ "do": "log" }),
        json!({ "do": "beat", "times": 3 }),
        json!({ "do": "config", "key": "region" }),
        json!({ "do": "secret", "name": "KEY" }),
        json!({ "do": "read", "path": "/data/file" }),
        json!({ "do": "http", "url": format!("http://{http}/") }),
        json!({ "do": "talk", "address": tcp.to_string(), "say": "there." }),
    ]
    .into_iter()
    .enumerate()
    {
        let execution = client.start(&machine, &format!("e{number}"), &input)?;
        client.ended(&execution, PATIENCE)?;
        let (status, text) = client.get(&format!("/api/executions/{execution}/attempts"))?;
        ensure!(status == 200, "{status}: {text}");
        let told: Value = serde_json::from_str(&text)?;
        let usage = told["attempts"][0]["usage"].as_object();
        for (measure, count) in usage.with_context(|| text.clone())? {
            *used.entry(measure.clone()).or_default() += count.as_u64().context("a number")?;
        }
    }
    let of = |measure: &str| used.get(measure).copied().unwrap_or_default();
    let (_, metrics) = client.get("/metrics")?;
    let metric = |name: &str, label: &str, value: &str| -> Option<f64> {
        let series = format!("stepwell_sandbox_{name}_total{{{label}=\"{value}\"}} ");
        let line = metrics.lines().find(|line| line.starts_with(&series))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    for (kind, measure) in CALLS {
        ensure!(
            of(measure) > 0 && metric("host_calls", "kind", kind) == Some(of(measure) as f64),
            "{measure}: {used:?}\n{metrics}"
        );
    }
    for (over, sent, received) in [
        ("http", "httpBytesSent", "httpBytesReceived"),
        ("tcp", "tcpBytesSent", "tcpBytesReceived"),
    ] {
        ensure!(
            of(sent) > 0
                && of(received) > 0
                && metric("bytes_sent", "over", over) == Some(of(sent) as f64)
                && metric("bytes_received", "over", over) == Some(of(received) as f64),
            "{over}: {used:?}\n{metrics}"
        );
    }
    let days = client.call("Stepwell.GetUsage", &json!({}))?;
    let rows = days["usage"].as_array().context("rows")?;
    let day = |measure: &str| -> u64 {
        let of_task = rows.iter().filter(|row| row["plugin"] == "task");
        of_task.filter_map(|row| row[measure].as_u64()).sum()
    };
    let calls: u64 = CALLS.iter().map(|(_, measure)| of(measure)).sum();
    ensure!(
        day("hostCalls") == calls
            && day("bytesSent") == of("httpBytesSent") + of("tcpBytesSent")
            && day("bytesReceived") == of("httpBytesReceived") + of("tcpBytesReceived"),
        "{used:?}, {days}"
    );
    server.stop()
}

/// A server that reads what ends so, answers that and closes, until the test's process ends.
fn answers(end: &'static str, answer: &'static str) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut heard, mut chunk) = (Vec::new(), [0; 1024]);
            while !heard.ends_with(end.as_bytes()) {
                match stream.read(&mut chunk) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => heard.extend_from_slice(&chunk[..read]),
                }
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok(address)
}
