//! What the operator and a state machine's tags leave to plugins, through a served program.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{self, CallError, Client, ROLE},
};

use super::trial;

/// Who waits longer for something waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("policy::tags_lower_limits", tags_lower_limits),
        trial("policy::logs_are_kept", logs_are_kept),
        trial("policy::ceilings_and_secrets", ceilings_and_secrets),
        trial("policy::what_an_attempt_used", what_an_attempt_used),
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
