//! What others hear of executions, over real sockets: metrics by state machine, a collector's spans and log records, a
//! webhook's events. Each is compared with what was run.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use sha2::Sha256;
use stepwell_tests::{
    otlp::{self, LogRecord, Span},
    receiver::{Received, Receiver},
    server::{self, ACCOUNT, Client, ROLE, Server, Turn},
};

/// How long an execution may take.
const RUN_MAX: Duration = Duration::from_secs(60);
const TRACE: &str = "5759e988bd862e3fe1be46a994272793";
const HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const PARENT: &str = "53995c3f42cd8ad8";

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, check: fn() -> Result<()>| {
        Trial::test(format!("observe::{name}"), move || {
            check().map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    vec![
        trial("metrics tell what was run", metrics),
        trial("spans form the tree of states and attempts", traces),
        trial("what is not traced or not sampled has no spans", untraced),
        trial(
            "a trace goes on over a crash and a redrive",
            traces_over_a_crash,
        ),
        trial("log records are those that the machine logs", logs),
        trial("a collector that is away holds up nothing", no_collector),
        trial("a webhook gets each change, signed, in order", webhook),
        trial(
            "a webhook at a private address gets nothing unasked",
            private_webhook,
        ),
    ]
}

/// A server over a data directory, with plugins `behave`.
struct Rig {
    _turn: Turn,
    scratch: tempfile::TempDir,
}

impl Rig {
    fn new() -> Result<Rig> {
        let rig = Rig {
            _turn: Turn::take()?,
            scratch: tempfile::tempdir()?,
        };
        std::fs::create_dir_all(rig.path("plugins"))?;
        server::install(&rig.path("plugins"), "behave", "behave", "")?;
        Ok(rig)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }

    fn start(&self, flags: &[&str]) -> Result<Server> {
        Server::start_with(&self.path("data"), &self.path("plugins"), flags)
    }
}

/// A state machine with these members beside the definition.
fn machine(client: &Client, name: &str, definition: &Value, more: Value) -> Result<String> {
    let mut request = json!({"name": name, "definition": definition.to_string(), "roleArn": ROLE});
    if let (Some(request), Value::Object(more)) = (request.as_object_mut(), more) {
        request.extend(more);
    }
    let created = client.call("CreateStateMachine", &request)?;
    Ok(created["stateMachineArn"]
        .as_str()
        .context("an ARN")?
        .to_owned())
}

fn traced() -> Value {
    json!({"tracingConfiguration": {"enabled": true}})
}

fn start(client: &Client, machine: &str, name: &str, more: Value) -> Result<String> {
    let mut request = json!({"stateMachineArn": machine, "name": name});
    if let (Some(request), Value::Object(more)) = (request.as_object_mut(), more) {
        request.extend(more);
    }
    let started = client.call("StartExecution", &request)?;
    Ok(started["executionArn"]
        .as_str()
        .context("an ARN")?
        .to_owned())
}

fn one(kind: &str, more: Value) -> Value {
    let mut state = json!({"Type": kind});
    if let (Some(state), Value::Object(more)) = (state.as_object_mut(), more) {
        state.extend(more);
    }
    json!({"StartAt": "S", "States": {"S": state}})
}

fn behave(what: &str) -> Value {
    json!({"Type": "Task", "Resource": "wasm:behave", "Parameters": {"do": what, "error": "Broken", "cause": "on purpose"}})
}

/// The value of a series, by its name and what its labels hold.
fn value(metrics: &str, name: &str, label: &str) -> Result<f64> {
    let line = metrics.lines().find(|line| {
        let named = line.strip_prefix(name);
        named.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
    });
    let line = line.with_context(|| format!("no {name} with {label} in:\n{metrics}"))?;
    let value = line.rsplit(' ').next().context("a value")?;
    Ok(value.parse()?)
}

fn metrics() -> Result<()> {
    let rig = Rig::new()?;
    let server = rig.start(&[])?;
    let client = server.client();
    let pass = machine(
        &client,
        "pass",
        &one("Pass", json!({"End": true})),
        json!({}),
    )?;
    let fail = machine(
        &client,
        "fail",
        &one("Fail", json!({"Error": "E"})),
        json!({}),
    )?;
    for number in 0..3 {
        let execution = client.start(&pass, &format!("p{number}"), &json!({}))?;
        client.ended(&execution, RUN_MAX)?;
    }
    let failed = client.start(&fail, "f", &json!({}))?;
    client.ended(&failed, RUN_MAX)?;
    client.call("RedriveExecution", &json!({"executionArn": failed}))?;
    client.ended(&failed, RUN_MAX)?;
    let wait = machine(
        &client,
        "wait",
        &one("Wait", json!({"Seconds": 3600, "End": true})),
        json!({}),
    )?;
    let stopped = client.start(&wait, "w", &json!({}))?;
    client.call("StopExecution", &json!({"executionArn": stopped}))?;
    client.ended(&stopped, RUN_MAX)?;

    let activity = client.call("CreateActivity", &json!({"name": "work"}))?;
    let activity = activity["activityArn"].as_str().context("an ARN")?;
    let mut good = behave("echo");
    good["Next"] = json!("Work");
    let work = json!({"StartAt": "Plugin", "States": {
        "Plugin": good,
        "Work": {"Type": "Task", "Resource": activity, "End": true},
    }});
    let work = machine(&client, "work", &work, json!({}))?;
    let execution = client.start(&work, "a", &json!({}))?;
    let task = client.call("GetActivityTask", &json!({"activityArn": activity}))?;
    client.call(
        "SendTaskFailure",
        &json!({"taskToken": task["taskToken"], "error": "E"}),
    )?;
    client.ended(&execution, RUN_MAX)?;
    let express = json!({"type": "EXPRESS"});
    let express = machine(&client, "express", &one("Succeed", json!({})), express)?;
    client.call("StartSyncExecution", &json!({"stateMachineArn": express}))?;

    let (status, text) = client.get("/metrics")?;
    ensure!(status == 200 && text.matches("# EOF").count() == 1 && text.ends_with("# EOF\n"));
    for (name, machine, expected) in [
        ("executions_started_total", &pass, 3.0),
        ("executions_succeeded_total", &pass, 3.0),
        ("executions_failed_total", &pass, 0.0),
        ("execution_time_seconds_count", &pass, 3.0),
        ("executions_started_total", &fail, 1.0),
        ("executions_failed_total", &fail, 2.0),
        ("executions_redriven_total", &fail, 1.0),
        ("redriven_executions_failed_total", &fail, 1.0),
        ("executions_aborted_total", &wait, 1.0),
        ("executions_timed_out_total", &wait, 0.0),
        ("service_integrations_scheduled_total", &work, 1.0),
        ("service_integrations_started_total", &work, 1.0),
        ("service_integrations_succeeded_total", &work, 1.0),
        ("service_integration_time_seconds_count", &work, 1.0),
        ("activities_scheduled_total", &work, 1.0),
        ("activities_started_total", &work, 1.0),
        ("activities_failed_total", &work, 1.0),
        ("activities_succeeded_total", &work, 0.0),
        ("activity_schedule_time_seconds_count", &work, 1.0),
        ("activity_run_time_seconds_count", &work, 1.0),
        ("executions_succeeded_total", &express, 1.0),
        (
            "express_execution_billed_duration_seconds_sum",
            &express,
            0.1,
        ),
    ] {
        let label = format!("account=\"{ACCOUNT}\",state_machine_arn=\"{machine}\"");
        let found = value(&text, &format!("aws_states_{name}"), &label)?;
        // A machine that is slow may take more than one step of 100 ms.
        let fits = found == expected || (name.contains("billed") && found > expected);
        ensure!(fits, "{name} of {machine} is {found}, not {expected}");
    }
    let commits = value(&text, "stepwell_journal_commits_total", "")?;
    let measured = value(&text, "stepwell_journal_commit_seconds_count", "")?;
    ensure!(commits > 0.0 && measured > 0.0, "{commits} {measured}");
    server.stop()
}

/// All spans that came, by path of the request.
fn spans(received: &[Received]) -> Result<Vec<Span>> {
    let requests = received
        .iter()
        .filter(|request| request.path == "/v1/traces");
    let spans = requests.map(|request| otlp::spans(&request.body));
    Ok(spans.collect::<Result<Vec<_>>>()?.concat())
}

/// The spans of an execution once its own is there.
fn spans_of(receiver: &Receiver, execution: &str) -> Result<Vec<Span>> {
    let of = |span: &&Span| {
        span.attributes
            .get("stepwell.execution.arn")
            .map(String::as_str)
            == Some(execution)
    };
    receiver.wait("the execution's span", |received| {
        let all = match spans(received) {
            Ok(all) => all,
            Err(error) => return Some(Err(error)),
        };
        let status = "stepwell.execution.status";
        let root = all
            .iter()
            .filter(of)
            .find(|span| span.attributes.contains_key(status))?;
        let trace = root.trace.clone();
        Some(Ok(all
            .into_iter()
            .filter(|span| span.trace == trace)
            .collect()))
    })?
}

fn named<'a>(spans: &'a [Span], name: &str) -> Result<&'a Span> {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found
        .next()
        .with_context(|| format!("no span `{name}` in {spans:#?}"))?;
    ensure!(found.next().is_none(), "more than one `{name}`");
    Ok(span)
}

/// Every id is there once, every parent but the caller's is there, and no span is outside of its parent's time.
fn check_tree(spans: &[Span]) -> Result<()> {
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (&*span.id, span)).collect();
    ensure!(
        by_id.len() == spans.len(),
        "an id is there twice: {spans:#?}"
    );
    for span in spans {
        ensure!(
            span.start_ns <= span.end_ns && span.trace.len() == 32,
            "{span:#?}"
        );
        ensure!(
            span.resource["service.name"] == "flows",
            "{:?}",
            span.resource
        );
        if span.parent.is_empty() || span.parent == PARENT {
            continue;
        }
        let parent = by_id
            .get(&*span.parent)
            .with_context(|| format!("no parent of {span:#?}"))?;
        ensure!(
            parent.start_ns <= span.start_ns && span.end_ns <= parent.end_ns,
            "{span:#?} is outside of {parent:#?}"
        );
    }
    Ok(())
}

fn collected(rig: &Rig, receiver: &Receiver) -> Result<Server> {
    let endpoint = format!("http://{}", receiver.address);
    rig.start(&[
        "--otlp-endpoint",
        &endpoint,
        "--otlp-headers",
        "x-key=a%20b",
        "--service-name",
        "flows",
    ])
}

fn traces() -> Result<()> {
    let rig = Rig::new()?;
    let receiver = Receiver::start(&[503])?;
    let server = collected(&rig, &receiver)?;
    let client = server.client();
    let mut context = behave("context");
    context["End"] = json!(true);
    let mut broken = behave("fail");
    broken["End"] = json!(true);
    broken["Retry"] = json!([{"ErrorEquals": ["Broken"], "MaxAttempts": 1, "IntervalSeconds": 1}]);
    broken["Catch"] = json!([{"ErrorEquals": ["States.ALL"], "Next": "Mended"}]);
    let child = machine(
        &client,
        "child",
        &one("Pass", json!({"End": true})),
        traced(),
    )?;
    let definition = json!({"StartAt": "Both", "States": {
        "Both": {"Type": "Parallel", "Next": "Child", "Branches": [
            {"StartAt": "Works", "States": {"Works": context}},
            {"StartAt": "Breaks", "States": {"Breaks": broken, "Mended": {"Type": "Pass", "End": true}}},
        ]},
        "Child": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
            "Parameters": {"StateMachineArn": child, "Input": {}}, "Next": "Lost"},
        "Lost": {"Type": "Fail", "Error": "Gone", "Cause": "for good"},
    }});
    let parent = machine(&client, "parent", &definition, traced())?;
    let execution = start(&client, &parent, "e", json!({"traceHeader": HEADER}))?;
    let ended = client.ended(&execution, RUN_MAX)?;
    ensure!(ended["status"] == "FAILED", "{ended}");
    let spans = spans_of(&receiver, &execution)?;
    check_tree(&spans)?;
    ensure!(
        spans.iter().all(|span| span.trace == TRACE),
        "another trace"
    );

    let root = named(&spans, "parent")?;
    ensure!(
        root.parent == PARENT && root.kind == 2 && root.status == 2,
        "{root:#?}"
    );
    ensure!(
        root.message == "Gone: for good" && root.attributes["error.type"] == "Gone",
        "{root:#?}"
    );
    ensure!(
        root.attributes["stepwell.execution.status"] == "FAILED",
        "{root:#?}"
    );
    let both = named(&spans, "Both")?;
    ensure!(
        both.parent == root.id && both.status == 1 && both.kind == 1,
        "{both:#?}"
    );
    let works = named(&spans, "Works")?;
    ensure!(
        works.parent == both.id && works.attributes["stepwell.state.flow"] == "0",
        "{works:#?}"
    );
    let breaks = named(&spans, "Breaks")?;
    ensure!(
        breaks.parent == both.id && breaks.status == 1,
        "it caught: {breaks:#?}"
    );
    ensure!(
        breaks.attributes["stepwell.state.handled_error"] == "Broken",
        "{breaks:#?}"
    );
    ensure!(named(&spans, "Mended")?.parent == both.id);
    let lost = named(&spans, "Lost")?;
    ensure!(lost.parent == root.id && lost.status == 2, "{lost:#?}");

    let attempts: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == "wasm:behave")
        .collect();
    let of = |state: &Span| {
        attempts
            .iter()
            .filter(|span| span.parent == state.id)
            .count()
    };
    ensure!((of(works), of(breaks)) == (1, 2), "{attempts:#?}");
    let of_breaks: BTreeSet<_> = attempts
        .iter()
        .filter(|span| span.parent == breaks.id)
        .map(|span| {
            (
                &*span.attributes["stepwell.task.attempt"],
                span.status,
                &*span.message,
            )
        })
        .collect();
    let broken = "Broken: on purpose";
    ensure!(
        of_breaks == BTreeSet::from([("1", 2, broken), ("2", 2, broken)]),
        "{of_breaks:?}"
    );
    // The guest was given its own attempt's span.
    let own = attempts
        .iter()
        .find(|span| span.parent == works.id)
        .context("an attempt")?;
    ensure!(
        own.status == 1 && own.kind == 3 && own.events == ["started"],
        "{own:#?}"
    );
    let history = client.history(&execution)?;
    let told = format!("00-{TRACE}-{}-01", own.id);
    ensure!(
        Value::Array(history).to_string().contains(&told),
        "the guest was not given {told}"
    );
    // The child's span is below the attempt that started it.
    let child = named(&spans, "child")?;
    let starts = named(&spans, "arn:aws:states:::states:startExecution.sync:2")?;
    ensure!(child.parent == starts.id, "{child:#?}\n{starts:#?}");
    let first = receiver.all().into_iter().next().context("a request")?;
    let header = |name: &str| first.headers.get(name).map(String::as_str);
    ensure!(header("x-key") == Some("a b"), "{:?}", first.headers);
    ensure!(
        header("content-type") == Some("application/x-protobuf"),
        "{:?}",
        first.headers
    );
    let (_, text) = client.get("/metrics")?;
    let failed = value(
        &text,
        "stepwell_otlp_requests_failed_total",
        "signal=\"traces\"",
    )?;
    ensure!(failed == 1.0, "it was busy once: {failed}");
    server.stop()
}

fn untraced() -> Result<()> {
    let rig = Rig::new()?;
    let receiver = Receiver::start(&[])?;
    let server = collected(&rig, &receiver)?;
    let client = server.client();
    let pass = one("Pass", json!({"End": true}));
    let off = machine(&client, "off", &pass, json!({}))?;
    let on = machine(&client, "on", &pass, traced())?;
    let mut express = traced();
    express["type"] = json!("EXPRESS");
    let express = machine(&client, "express", &pass, express)?;
    start(&client, &off, "e", json!({"traceHeader": HEADER}))?;
    let unsampled = HEADER.replace("Sampled=1", "Sampled=0");
    start(&client, &on, "unsampled", json!({"traceHeader": unsampled}))?;
    let header = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    let request = json!({"stateMachineArn": express, "name": "sync"});
    let sync = client.call_with("StartSyncExecution", &request, &header)?;
    ensure!(sync["status"] == "SUCCEEDED", "{sync}");
    let own = start(&client, &on, "own", json!({}))?;
    let own = spans_of(&receiver, &own)?;
    ensure!(
        own.len() == 2 && named(&own, "on")?.parent.is_empty(),
        "{own:#?}"
    );
    server.stop()?;
    // All is sent by then.
    let all = spans(&receiver.all())?;
    let names: Vec<&str> = all.iter().map(|span| &*span.name).collect();
    ensure!(all.len() == 4 && !names.contains(&"off"), "{names:?}");
    let root = named(&all, "express")?;
    ensure!(
        root.trace == TRACE && root.parent == PARENT && root.status == 1,
        "{root:#?}"
    );
    ensure!(
        root.attributes["stepwell.state_machine.type"] == "EXPRESS",
        "{root:#?}"
    );
    Ok(())
}

fn traces_over_a_crash() -> Result<()> {
    let rig = Rig::new()?;
    let receiver = Receiver::start(&[])?;
    let server = collected(&rig, &receiver)?;
    let client = server.client();
    let activity = client.call("CreateActivity", &json!({"name": "work"}))?;
    let activity = activity["activityArn"].as_str().context("an ARN")?;
    let definition = json!({"StartAt": "Before", "States": {
        "Before": {"Type": "Pass", "Next": "Work"},
        "Work": {"Type": "Task", "Resource": activity, "End": true},
    }});
    let arn = machine(&client, "flow", &definition, traced())?;
    let execution = start(&client, &arn, "e", json!({}))?;
    receiver.wait("the span of what is over", |received| {
        let all = spans(received).ok()?;
        all.iter().find(|span| span.name == "Before").map(drop)
    })?;
    server.kill()?;

    let server = collected(&rig, &receiver)?;
    let client = server.client();
    let task = client.call("GetActivityTask", &json!({"activityArn": activity}))?;
    let failure = json!({"taskToken": task["taskToken"], "error": "Tired"});
    client.call("SendTaskFailure", &failure)?;
    client.ended(&execution, RUN_MAX)?;
    let first = spans_of(&receiver, &execution)?;
    check_tree(&first)?;
    let (root, work) = (named(&first, "flow")?, named(&first, "Work")?);
    ensure!(
        root.status == 2 && work.status == 2 && work.parent == root.id,
        "{first:#?}"
    );
    ensure!(named(&first, "Before")?.parent == root.id, "{first:#?}");
    ensure!(first.len() == 4, "the attempt and the three: {first:#?}");

    client.call("RedriveExecution", &json!({"executionArn": execution}))?;
    let task = client.call("GetActivityTask", &json!({"activityArn": activity}))?;
    let success = json!({"taskToken": task["taskToken"], "output": "1"});
    client.call("SendTaskSuccess", &success)?;
    client.ended(&execution, RUN_MAX)?;
    let all = receiver.wait("the spans of the redrive", |received| {
        let all = spans(received).ok()?;
        (all.len() == 7).then_some(all)
    })?;
    check_tree(&all)?;
    let again: Vec<&Span> = all.iter().filter(|span| !first.contains(span)).collect();
    let roots: Vec<&&Span> = again.iter().filter(|span| span.name == "flow").collect();
    let [redriven] = roots.as_slice() else {
        anyhow::bail!("{again:#?}");
    };
    ensure!(
        redriven.status == 1 && redriven.links == [root.id.clone()],
        "{redriven:#?}"
    );
    let work = again
        .iter()
        .find(|span| span.name == "Work")
        .context("Work again")?;
    ensure!(work.parent == redriven.id && work.status == 1, "{work:#?}");
    server.stop()
}

fn log_records(received: &[Received]) -> Result<Vec<LogRecord>> {
    let requests = received.iter().filter(|request| request.path == "/v1/logs");
    let records = requests.map(|request| otlp::log_records(&request.body));
    Ok(records.collect::<Result<Vec<_>>>()?.concat())
}

fn logs() -> Result<()> {
    let rig = Rig::new()?;
    let receiver = Receiver::start(&[])?;
    let server = collected(&rig, &receiver)?;
    let client = server.client();
    let logging = |level: &str| {
        let group = format!("arn:aws:logs:us-east-1:{ACCOUNT}:log-group:flows:*");
        json!({"loggingConfiguration": {"level": level, "includeExecutionData": false,
            "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}]},
            "tracingConfiguration": {"enabled": true}})
    };
    let fail = one("Fail", json!({"Error": "E"}));
    let all = machine(&client, "all", &fail, logging("ALL"))?;
    let fatal = machine(&client, "fatal", &fail, logging("FATAL"))?;
    let none = machine(&client, "none", &fail, json!({}))?;
    let mut executions = Vec::new();
    for machine in [&none, &fatal, &all] {
        let execution = start(&client, machine, "e", json!({"input": "{\"secret\":1}"}))?;
        client.ended(&execution, RUN_MAX)?;
        executions.push(execution);
    }
    server.stop()?;
    let records = log_records(&receiver.all())?;
    let of = |execution: &str| -> Vec<&LogRecord> {
        let own = records.iter();
        own.filter(|record| record.attributes["stepwell.execution.arn"] == execution)
            .collect()
    };
    let told = |execution: &str| -> Vec<(String, u64)> {
        let own = of(execution).into_iter();
        own.map(|record| (record.event.clone(), record.severity))
            .collect()
    };
    let event = |name: &str, severity: u64| (name.to_owned(), severity);
    ensure!(
        told(&executions[0]).is_empty(),
        "{:?}",
        told(&executions[0])
    );
    let failed = event("ExecutionFailed", 17);
    ensure!(
        told(&executions[1]) == [failed.clone()],
        "{:?}",
        told(&executions[1])
    );
    let expected = [
        event("ExecutionStarted", 9),
        event("FailStateEntered", 9),
        failed,
    ];
    ensure!(
        told(&executions[2]) == expected,
        "{:?}",
        told(&executions[2])
    );
    // They belong to the spans of what they tell of, and their bodies are the lines of the log file.
    let spans = spans_of(&receiver, &executions[2])?;
    let (root, state) = (named(&spans, "all")?, named(&spans, "S")?);
    let owners: Vec<&str> = of(&executions[2])
        .iter()
        .map(|record| &*record.span)
        .collect();
    ensure!(owners == [&root.id, &state.id, &root.id], "{owners:?}");
    let file = std::fs::read_to_string(rig.path("data").join("logs/executions.jsonl"))?;
    for record in &records {
        ensure!(
            file.lines().any(|line| line == record.body),
            "{}",
            record.body
        );
        ensure!(!record.body.contains("secret"), "{}", record.body);
    }
    Ok(())
}

fn no_collector() -> Result<()> {
    let rig = Rig::new()?;
    // A port that nobody listens on any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let endpoint = format!("http://{gone}");
    let server = rig.start(&["--otlp-endpoint", &endpoint])?;
    let client = server.client();
    let pass = machine(
        &client,
        "pass",
        &one("Pass", json!({"End": true})),
        traced(),
    )?;
    for number in 0..50 {
        let execution = client.start(&pass, &format!("e{number}"), &json!({}))?;
        let ended = client.ended(&execution, RUN_MAX)?;
        ensure!(ended["status"] == "SUCCEEDED", "{ended}");
    }
    server.says("a collector takes no telemetry", 1)?;
    let (_, text) = client.get("/metrics")?;
    let failed = value(
        &text,
        "stepwell_otlp_requests_failed_total",
        "signal=\"traces\"",
    )?;
    let exported = value(&text, "stepwell_otlp_exported_total", "signal=\"traces\"")?;
    ensure!(failed > 0.0 && exported == 0.0, "{failed} {exported}");
    server.stop()
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn write_webhooks(path: &Path, text: &str) -> Result<String> {
    std::fs::write(path, text)?;
    Ok(path.to_string_lossy().into_owned())
}

fn webhook() -> Result<()> {
    let rig = Rig::new()?;
    let (all, failures) = (Receiver::start(&[503, 429])?, Receiver::start(&[])?);
    let others = Receiver::start(&[])?;
    let url = |receiver: &Receiver| format!("http://{}/in?token=t", receiver.address);
    let text = format!(
        "[[webhook]]\nurl = \"{}\"\nsecret = \"{SECRET}\"\nprivate = true\n\
         [[webhook]]\nurl = \"{}\"\nsecret = \"{SECRET}\"\nprivate = true\naccount = \"{ACCOUNT}\"\nstatuses = [\"FAILED\"]\n\
         [[webhook]]\nurl = \"{}\"\nsecret = \"{SECRET}\"\nprivate = true\naccount = \"111111111111\"\n",
        url(&all),
        url(&failures),
        url(&others)
    );
    let file = write_webhooks(&rig.path("webhooks.toml"), &text)?;
    let server = rig.start(&["--webhooks", &file])?;
    let client = server.client();
    let fail = machine(
        &client,
        "fail",
        &one("Fail", json!({"Error": "E", "Cause": "C"})),
        json!({}),
    )?;
    let execution = client.start(&fail, "e", &json!({"a": 1}))?;
    client.ended(&execution, RUN_MAX)?;
    client.call("RedriveExecution", &json!({"executionArn": execution}))?;
    client.ended(&execution, RUN_MAX)?;
    let pass = machine(
        &client,
        "pass",
        &one("Pass", json!({"End": true})),
        json!({}),
    )?;
    let other = client.start(&pass, "p", &json!({"a": 1}))?;
    client.ended(&other, RUN_MAX)?;

    // Two of them were asked to come again.
    let received = all.wait("the events", |received| {
        (received.len() >= 8).then(|| received.to_vec())
    })?;
    let mut taken = Vec::new();
    for (number, request) in received.iter().enumerate() {
        check_signature(request)?;
        if number >= 2 {
            taken.push(serde_json::from_slice::<Value>(&request.body)?);
        }
    }
    let id = |request: &Received| request.headers["webhook-id"].clone();
    let (first, later): (BTreeSet<_>, BTreeSet<_>) = (
        received[..2].iter().map(id).collect(),
        received[2..].iter().map(id).collect(),
    );
    ensure!(
        first.is_subset(&later) && later.len() == 6,
        "{first:?} {later:?}"
    );
    let of = |arn: &str| {
        taken
            .iter()
            .filter(|event| event["subject"] == arn)
            .collect::<Vec<_>>()
    };
    let statuses = |arn: &str| {
        let own = of(arn).into_iter();
        own.map(|event| event["data"]["status"].clone())
            .collect::<Vec<_>>()
    };
    ensure!(
        statuses(&execution) == ["RUNNING", "FAILED", "RUNNING", "FAILED"],
        "{taken:#?}"
    );
    ensure!(statuses(&other) == ["RUNNING", "SUCCEEDED"], "{taken:#?}");
    check_event(of(&other)[1], &other, &pass)?;
    let failed = &of(&execution)[3]["data"];
    ensure!(
        failed["error"] == "E" && failed["cause"] == "C" && failed["redriveCount"] == 1,
        "{failed:#}"
    );
    server.stop()?;
    let failed: Vec<Value> = failures
        .all()
        .iter()
        .map(|request| serde_json::from_slice(&request.body))
        .collect::<Result<_, _>>()?;
    ensure!(failed.len() == 2, "{failed:#?}");
    ensure!(
        failed
            .iter()
            .all(|event| event["data"]["status"] == "FAILED"),
        "{failed:#?}"
    );
    ensure!(others.all().is_empty(), "another account's");
    Ok(())
}

/// The event of an execution that succeeded, as EventBridge's says it and CloudEvents wraps it.
fn check_event(event: &Value, execution: &str, machine: &str) -> Result<()> {
    for (member, expected) in [
        ("specversion", "1.0"),
        ("source", "aws.states"),
        ("type", "Step Functions Execution Status Change"),
        ("datacontenttype", "application/json"),
        ("account", ACCOUNT),
        ("region", "us-east-1"),
    ] {
        ensure!(event[member] == expected, "{member}: {event:#}");
    }
    let data = &event["data"];
    let included = json!({"included": true});
    ensure!(
        data["executionArn"] == execution
            && data["stateMachineArn"] == machine
            && data["name"] == "p"
            && data["input"] == "{\"a\":1}"
            && data["output"] == "{\"a\":1}"
            && data["inputDetails"] == included
            && data["outputDetails"] == included
            && data["error"].is_null()
            && data["redriveCount"] == 0,
        "{data:#}"
    );
    let at = |name: &str| data[name].as_u64().context("milliseconds");
    ensure!(at("startDate")? <= at("stopDate")?, "{data:#}");
    Ok(())
}

fn check_signature(request: &Received) -> Result<()> {
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .with_context(|| format!("no {name}"))
    };
    ensure!(request.path == "/in?token=t", "{}", request.path);
    ensure!(header("content-type")?.starts_with("application/cloudevents+json"));
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_"))?;
    let (id, at) = (header("webhook-id")?, header("webhook-timestamp")?);
    let body = std::str::from_utf8(&request.body)?;
    let mut hmac = Hmac::<Sha256>::new_from_slice(&key)?;
    hmac.update(format!("{id}.{at}.{body}").as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()));
    ensure!(
        *header("webhook-signature")? == expected,
        "another signature"
    );
    Ok(())
}

fn private_webhook() -> Result<()> {
    let rig = Rig::new()?;
    let receiver = Receiver::start(&[])?;
    let url = format!("https://{}/", receiver.address);
    let text = format!("[[webhook]]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n");
    let file = write_webhooks(&rig.path("webhooks.toml"), &text)?;
    let server = rig.start(&["--webhooks", &file])?;
    let client = server.client();
    let pass = machine(
        &client,
        "pass",
        &one("Pass", json!({"End": true})),
        json!({}),
    )?;
    let execution = client.start(&pass, "p", &json!({}))?;
    client.ended(&execution, RUN_MAX)?;
    server.says(
        "it is at a private address; `private = true` lets events go there",
        1,
    )?;
    server.stop()?;
    ensure!(receiver.all().is_empty(), "a request came");
    Ok(())
}
