//! Triggers from the outside: what is due while the server is killed starts once, HTTP endpoints answer, events come as
//! CloudEvents, and nothing crosses between tenants.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{self, ACCOUNT, CallError, Client, Server},
};

use super::{
    tenants::{A, B, add_key, told},
    trial,
};

/// Schedules and events that are accepted while the server is killed again and again.
const SCHEDULES: usize = 40;
const KILLS: u64 = 4;
/// Seconds over which the schedules are due.
const SPREAD_S: u64 = 8;
const END_MAX: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(50);
const JSON: (&str, &str) = ("Content-Type", "application/json");

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("triggers::start_once_over_kills", start_once_over_kills),
        trial("triggers::http_endpoints", http_endpoints),
        trial("triggers::cloud_events", cloud_events),
        trial("triggers::are_a_tenants_own", are_a_tenants_own),
    ]
}

fn pass() -> Value {
    json!({"StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": true}}})
}

/// Executions of a machine by name.
fn executions(client: &Client, machine: &str) -> Result<BTreeMap<String, u32>> {
    let mut names = BTreeMap::new();
    let mut request = json!({"stateMachineArn": machine, "maxResults": 1000});
    loop {
        let mut page = client.call("ListExecutions", &request)?;
        for execution in page["executions"].as_array().into_iter().flatten() {
            let name = execution["name"].as_str().context("a name")?.to_owned();
            *names.entry(name).or_default() += 1;
        }
        match page["nextToken"].take() {
            Value::Null => return Ok(names),
            token => request["nextToken"] = token,
        }
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < END_MAX, "{what}: not within {END_MAX:?}");
        std::thread::sleep(LOOK);
    }
}

fn now_s() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// Seconds since the Unix epoch as `at(...)` has them.
fn at(seconds: u64) -> Result<String> {
    let instant = jiff::Timestamp::from_second(i64::try_from(seconds)?)?;
    Ok(instant.strftime("at(%Y-%m-%dT%H:%M:%S)").to_string())
}

fn events(client: &Client, number: u64) -> Result<usize> {
    let event =
        json!({"Source": "kill", "DetailType": "n", "Detail": json!({"n": number}).to_string()});
    match client.call("AWSEvents.PutEvents", &json!({"Entries": [event]})) {
        Ok(answer) => {
            ensure!(answer["FailedEntryCount"] == 0, "{answer}");
            Ok(1)
        }
        // Whether it was accepted is unknown.
        Err(CallError::Lost(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn start_once_over_kills() -> Result<()> {
    let place = Place::new()?;
    let mut server = place.serve(&[])?;
    let client = server.client();
    let scheduled = client.create_machine("scheduled", &pass())?;
    let evented = client.create_machine("evented", &pass())?;
    let begin = now_s()? + 2;
    for number in 0..SCHEDULES {
        let due = begin + number as u64 * SPREAD_S / SCHEDULES as u64;
        let schedule = json!({
            "Name": format!("s-{number}"), "ScheduleExpression": at(due)?,
            "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": {"Arn": scheduled},
        });
        client.call("StepwellTriggers.PutSchedule", &schedule)?;
    }
    let rule = json!({"Name": "kill", "EventPattern": r#"{"source":["kill"]}"#});
    client.call("AWSEvents.PutRule", &rule)?;
    let targets = json!({"Rule": "kill", "Targets": [{"Id": "a", "Arn": evented}]});
    client.call("AWSEvents.PutTargets", &targets)?;

    let (mut accepted, mut sent) = (0, 0);
    for kill in 1..=KILLS {
        let until_s = begin + kill * SPREAD_S / KILLS;
        let client = server.client();
        while now_s()? < until_s {
            accepted += events(&client, sent)?;
            sent += 1;
            std::thread::sleep(LOOK);
        }
        server.kill()?;
        server = place.serve(&[])?;
    }
    let client = server.client();
    let names = until("all schedules", || {
        let found = executions(&client, &scheduled)?;
        Ok((found.len() >= SCHEDULES).then_some(found))
    })?;
    for number in 0..SCHEDULES {
        let stem = format!("s-{number}-");
        let of_it: Vec<_> = names
            .iter()
            .filter(|(name, _)| name.starts_with(&stem))
            .collect();
        ensure!(of_it.len() == 1 && *of_it[0].1 == 1, "{stem}: {of_it:?}");
    }
    until("all events", || {
        Ok((executions(&client, &evented)?.len() >= accepted).then_some(()))
    })?;
    let started = executions(&client, &evented)?;
    ensure!(
        started.len() <= usize::try_from(sent)? && started.values().all(|count| *count == 1),
        "{accepted} of {sent} events were accepted, and started {started:?}"
    );
    let mut numbers = BTreeMap::new();
    for name in started.keys() {
        let arn = format!("arn:aws:states:us-east-1:{ACCOUNT}:execution:evented:{name}");
        let told = client.ended(&arn, END_MAX)?;
        let input: Value = serde_json::from_str(told["input"].as_str().context("an input")?)?;
        *numbers.entry(input["detail"]["n"].as_u64()).or_insert(0) += 1;
    }
    ensure!(
        numbers.values().all(|count| *count == 1),
        "an event started twice: {numbers:?}"
    );
    println!(
        "triggers: {SCHEDULES} schedules and {accepted} accepted events over {KILLS} kills, {} executions",
        names.len() + started.len()
    );
    server.stop()
}

fn http_endpoints() -> Result<()> {
    let place = Place::new()?;
    let server = place.serve(&[])?;
    let client = server.client();
    let machine = client.create_machine("orders", &pass())?;
    let fails = json!({"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Sold.Out", "Cause": "none left"}}});
    let fails = client.create_machine("fails", &fails)?;
    let put = |name: &str, machine: &str, more: Value| {
        let mut body = json!({"name": name, "stateMachineArn": machine});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        client.call("StepwellTriggers.PutHttpTrigger", &body)
    };
    let made = put("orders", &machine, json!({}))?;
    let path = made["path"].as_str().context("a path")?;
    let secret = made["secret"].as_str().context("a secret")?;
    let bearer = format!("Bearer {secret}");
    let own = ("Authorization", bearer.as_str());
    let post = |path: &str, headers: &[(&str, &str)], body: &str| client.post(path, headers, body);

    secrets(&client, path, secret)?;
    starts(&client, path, own, &machine)?;
    waits_for_the_end(&client, put, [&machine, &fails])?;

    client.call(
        "StepwellTriggers.DisableTrigger",
        &json!({"kind": "http", "name": "orders"}),
    )?;
    ensure!(post(path, &[own, JSON], "{}")?.0 == 403, "it is disabled");
    client.call(
        "StepwellTriggers.DeleteTrigger",
        &json!({"kind": "http", "name": "orders"}),
    )?;
    ensure!(post(path, &[own, JSON], "{}")?.0 == 404, "it is gone");
    let large = "x".repeat(300_000);
    let waits = format!("/trigger/{ACCOUNT}/waits");
    let (status, _) = post(&waits, &[("Content-Type", "text/plain")], &large)?;
    ensure!(status == 413, "{status}");
    let (_, metrics) = client.get("/metrics")?;
    let line = r#"stepwell_triggers_fired_total{kind="http",outcome="repeated"} 2"#;
    ensure!(metrics.contains(line), "the metrics do not say {line}");
    let line = r#"stepwell_triggers_fired_total{kind="http",outcome="denied"} 2"#;
    ensure!(metrics.contains(line), "the metrics do not say {line}");
    server.says(
        "requests are refused that do not have an HTTP trigger's secret",
        1,
    )?;
    server.stop()
}

/// A request is the execution's input, but for its secret; with a key it is one however often it comes.
fn starts(client: &Client, path: &str, own: (&str, &str), machine: &str) -> Result<()> {
    let (status, answer) = client.post(
        &format!("{path}?a=1"),
        &[own, JSON, ("X-Own", "y")],
        r#"{"n":1}"#,
    )?;
    ensure!(status == 202, "{status} {answer}");
    let answer: Value = serde_json::from_str(&answer)?;
    let told = client.ended(answer["executionArn"].as_str().context("an ARN")?, END_MAX)?;
    let input: Value = serde_json::from_str(told["input"].as_str().context("an input")?)?;
    ensure!(
        input["body"] == json!({"n": 1})
            && input["query"] == json!({"a": "1"})
            && input["headers"]["x-own"] == "y",
        "{input}"
    );
    ensure!(input["headers"].get("authorization").is_none(), "{input}");

    let key = ("Idempotency-Key", "k1");
    let first = client.post(path, &[own, JSON, key], r#"{"n":2}"#)?;
    let again = client.post(path, &[own, JSON, key], r#"{"n":2}"#)?;
    ensure!(first == again && first.0 == 202, "{first:?} {again:?}");
    let other = client.post(path, &[own, JSON, key], r#"{"n":3}"#)?;
    ensure!(other.0 == 422, "{other:?}");
    ensure!(
        executions(client, machine)?.len() == 3,
        "one a key, beside two without one"
    );
    Ok(())
}

/// The answer is the output, or how the execution failed; a page in a browser fires nothing that has no secret.
fn waits_for_the_end(
    client: &Client,
    put: impl Fn(&str, &str, Value) -> Result<Value, CallError>,
    [machine, fails]: [&str; 2],
) -> Result<()> {
    put(
        "waits",
        machine,
        json!({"waitSeconds": 30, "secret": "none"}),
    )?;
    let waits = format!("/trigger/{ACCOUNT}/waits");
    let (status, output) = client.post(&waits, &[JSON], r#"{"n":4}"#)?;
    let output: Value = serde_json::from_str(&output)?;
    ensure!(
        status == 200 && output["body"]["n"] == 4,
        "{status} {output}"
    );
    put("waits", fails, json!({"waitSeconds": 30, "secret": "none"}))?;
    let (status, told) = client.post(&waits, &[JSON], "{}")?;
    ensure!(
        status == 502 && told.contains("Sold.Out"),
        "{status} {told}"
    );
    let page = client.post(&waits, &[JSON, ("Origin", "http://evil.example")], "{}")?;
    ensure!(page.0 == 403, "a page fires what has no secret: {page:?}");
    Ok(())
}

fn secrets(client: &Client, path: &str, secret: &str) -> Result<()> {
    let wrong = format!("Bearer {}x", &secret[1..]);
    for headers in [&[JSON][..], &[JSON, ("Authorization", wrong.as_str())]] {
        let (status, _) = client.post(path, headers, "{}")?;
        ensure!(status == 401, "{status} with {headers:?}");
    }
    let (status, _) = client.post(path, &[JSON, ("X-Stepwell-Secret", secret)], "{}")?;
    ensure!(status == 202, "{status}");
    let (status, _) = client.get(path)?;
    ensure!(status == 405, "{status}");
    Ok(())
}

fn cloud_events() -> Result<()> {
    let place = Place::new()?;
    let server = place.serve(&[])?;
    let client = server.client();
    let machine = client.create_machine("m", &pass())?;
    let rule = json!({"Name": "made", "EventPattern": r#"{"detail-type":[{"prefix":"order."}]}"#});
    client.call("AWSEvents.PutRule", &rule)?;
    let target = json!({"Id": "a", "Arn": machine, "InputPath": "$.detail"});
    client.call(
        "AWSEvents.PutTargets",
        &json!({"Rule": "made", "Targets": [target]}),
    )?;
    let event =
        r#"{"specversion":"1.0","id":"1","source":"/shop","type":"order.made","data":{"n":1}}"#;
    let structured = ("Content-Type", "application/cloudevents+json");
    // What is sent again starts nothing anew.
    for _ in 0..2 {
        let (status, answer) = client.post("/events", &[structured], event)?;
        ensure!(
            status == 202 && answer.contains("\"1\""),
            "{status} {answer}"
        );
    }
    let binary = [
        JSON,
        ("ce-specversion", "1.0"),
        ("ce-id", "2"),
        ("ce-source", "/shop"),
        ("ce-type", "order.paid"),
    ];
    let (status, answer) = client.post("/events", &binary, r#"{"n":2}"#)?;
    ensure!(status == 202, "{status} {answer}");
    let (status, answer) = client.post("/events", &[JSON], r#"{"n":3}"#)?;
    ensure!(
        status == 400 && answer.contains("no CloudEvent"),
        "{status} {answer}"
    );
    let page = [structured, ("Origin", "http://evil.example")];
    ensure!(
        client.post("/events", &page, event)?.0 == 403,
        "a page sends events"
    );
    let metric = |outcome: &str, count: u32| {
        format!("stepwell_triggers_fired_total{{kind=\"event\",outcome=\"{outcome}\"}} {count}.0\n")
    };
    until("three deliveries", || {
        let (_, metrics) = client.get("/metrics")?;
        let all =
            metrics.contains(&metric("started", 2)) && metrics.contains(&metric("repeated", 1));
        Ok(all.then_some(()))
    })?;
    ensure!(
        executions(&client, &machine)?.len() == 2,
        "two events, two executions"
    );
    server.stop()
}

/// A key's `Authorization` as HTTP's Basic scheme has it.
fn basic(key: &Value) -> Result<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let part = |name: &str| key[name].as_str().context("a key");
    let pair = format!("{}:{}", part("accessKeyId")?, part("secretAccessKey")?);
    Ok(format!("Basic {}", STANDARD.encode(pair)))
}

/// The program against a server, with an access key; whether it succeeded, and what it said.
fn program(server: &Server, key: &Value, arguments: &[&str]) -> Result<(bool, String)> {
    let part = |name: &str| key[name].as_str().context("a key");
    let output = std::process::Command::new(server::program()?)
        .args(arguments)
        .args(["--endpoint", &server.client().endpoint()])
        .env("AWS_ACCESS_KEY_ID", part("accessKeyId")?)
        .env("AWS_SECRET_ACCESS_KEY", part("secretAccessKey")?)
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8(said)?))
}

fn are_a_tenants_own() -> Result<()> {
    let place = Place::new()?;
    for account in [A, B] {
        told(&place.data, &["tenant", "add", account])?;
    }
    let admin = add_key(&place.data, A, "admin", "a")?;
    let runs = add_key(&place.data, A, "run", "t")?;
    let other = add_key(&place.data, B, "admin", "b")?;
    let reads = add_key(&place.data, B, "read", "r")?;
    told(
        &place.data,
        &["tenant", "set", B, "--rate", "StartExecution=2/1"],
    )?;
    let definition = place.folder().join("m.asl.json");
    std::fs::write(&definition, pass().to_string())?;
    let server = place.serve(&["--auth"])?;
    let client = server.client();
    let ours = |arguments: &[&str]| -> Result<String> {
        let (done, said) = program(&server, &admin, arguments)?;
        ensure!(done, "{arguments:?}: {said}");
        Ok(said)
    };
    let definition = definition.to_string_lossy();
    let machine = ours(&["machine", "put", &definition])?;
    let machine = machine.lines().next().context("an ARN")?;
    let at = "2190-01-01T00:00:00";
    ours(&["trigger", "schedule", "s", "--machine", machine, "--at", at])?;
    let pattern = r#"{"source":["/s"]}"#;
    ours(&[
        "trigger",
        "rule",
        "r",
        "--machine",
        machine,
        "--pattern",
        pattern,
    ])?;
    let secret = ours(&["trigger", "http", "h", "--machine", machine])?;
    let secret = secret.lines().next().context("a secret")?;
    crossing(&server, &other, &reads, machine)?;

    let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{}}"#;
    let kind = ("Content-Type", "application/cloudevents+json");
    let unsigned = client.post("/events", &[kind], event)?;
    ensure!(unsigned.0 == 400 || unsigned.0 == 403, "{unsigned:?}");
    for (key, taken) in [(&reads, false), (&other, true), (&runs, true)] {
        let basic = basic(key)?;
        let (status, answer) = client.post("/events", &[kind, ("Authorization", &basic)], event)?;
        ensure!((status == 202) == taken, "{status} {answer}");
    }
    let bearer = format!("Bearer {secret}");
    let own = [kind, ("Authorization", bearer.as_str())];
    let (status, answer) = client.post(&format!("/trigger/{A}/h"), &own, "{}")?;
    ensure!(status == 202, "{status} {answer}");
    let (status, _) = client.post(&format!("/trigger/{B}/h"), &own, "{}")?;
    ensure!(
        status == 404,
        "the other tenant has no such trigger: {status}"
    );
    // The rule's event of its own tenant, and the request.
    until("two executions", || {
        let listed = ours(&["execution", "list", machine, "--json"])?;
        let listed: Value = serde_json::from_str(&listed)?;
        let count = listed.as_array().context("a list")?.len();
        ensure!(
            count <= 2,
            "the event of another tenant started something: {listed}"
        );
        Ok((count == 2).then_some(()))
    })?;
    let started = unsigned_requests(&server, &other, &definition)?;
    server.stop()?;
    audited(&place.data, started)
}

/// What was changed and fired is in the audit logs, each in its account's.
fn audited(data: &Path, started: usize) -> Result<()> {
    let log = told(data, &["tenant", "audit", B, "--json"])?;
    let entries = log.matches("triggers:Fire").count();
    ensure!(
        entries == started,
        "{entries} entries of {started} requests that started something: {log}"
    );
    let log = told(data, &["tenant", "audit", A, "--json"])?;
    for wanted in [
        "events:PutEvents",
        "events:PutRule",
        "triggers:PutSchedule",
        "triggers:Fire",
    ] {
        ensure!(log.contains(wanted), "no {wanted} in the audit log: {log}");
    }
    Ok(())
}

/// Sends more requests than the rate allows to a trigger without a secret; how many of them started something.
fn unsigned_requests(server: &Server, key: &Value, definition: &str) -> Result<usize> {
    let ours = |arguments: &[&str]| {
        let (done, said) = program(server, key, arguments)?;
        ensure!(done, "{arguments:?}: {said}");
        Ok(said)
    };
    let machine = ours(&["machine", "put", definition])?;
    let machine = machine.lines().next().context("an ARN")?;
    ours(&["trigger", "http", "open", "--machine", machine, "--open"])?;
    let statuses = (0..20).map(|_| {
        let (status, answer) =
            server
                .client()
                .post(&format!("/trigger/{B}/open"), &[JSON], "{}")?;
        ensure!(status == 202 || status == 429, "{status} {answer}");
        Ok(status)
    });
    let statuses = statuses.collect::<Result<Vec<_>>>()?;
    let started = statuses.iter().filter(|status| **status == 202).count();
    ensure!((2..20).contains(&started), "{statuses:?}");
    Ok(started)
}

/// Neither the other tenant nor a key that reads gets at what is not theirs.
fn crossing(server: &Server, other: &Value, reads: &Value, machine: &str) -> Result<()> {
    let (done, said) = program(server, other, &["trigger", "list", "--json"])?;
    ensure!(done && said.trim() == "[]", "{said}");
    for (key, arguments, told) in [
        (
            other,
            &["trigger", "show", "schedule/s"][..],
            "does not exist",
        ),
        (other, &["trigger", "delete", "rule/r"], "does not exist"),
        (
            other,
            &["trigger", "disable", "http/h"],
            "there is no HTTP trigger",
        ),
        (
            other,
            &[
                "trigger",
                "schedule",
                "s",
                "--machine",
                machine,
                "--every",
                "1 day",
            ],
            "state machine of the same account",
        ),
        (
            other,
            &[
                "trigger",
                "rule",
                "r",
                "--machine",
                machine,
                "--pattern",
                r#"{"source":["x"]}"#,
            ],
            "state machine of the same account",
        ),
        (
            reads,
            &[
                "trigger",
                "rule",
                "r",
                "--machine",
                machine,
                "--pattern",
                r#"{"source":["x"]}"#,
            ],
            "AccessDeniedException",
        ),
        (
            reads,
            &["trigger", "delete", "schedule/s"],
            "AccessDeniedException",
        ),
    ] {
        let (done, said) = program(server, key, arguments)?;
        ensure!(!done && said.contains(told), "{arguments:?}: {said}");
    }
    Ok(())
}
