//! A collector: spans and log records that came over HTTP, as executions ran, were killed and redriven.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stepwell_tests::{
    otlp::{self, LogRecord, Span},
    receiver::{Received, Receiver},
    server::{ACCOUNT, Client, Server},
};

use super::{RUN_MAX, Rig, behave, machine, metrics::value, one, start, traced};

const TRACE: &str = "5759e988bd862e3fe1be46a994272793";
const HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const PARENT: &str = "53995c3f42cd8ad8";

/// All spans that were taken.
fn spans(received: &[Received]) -> Result<Vec<Span>> {
    let taken = received.iter().filter(|request| request.status == 200);
    let requests = taken.filter(|request| request.path == "/v1/traces");
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

pub(super) fn traces() -> Result<()> {
    let rig = Rig::new()?;
    let receiver = Receiver::start(&[503])?;
    let server = collected(&rig, &receiver)?;
    let client = server.client();
    let execution = start_tree(&client)?;
    let ended = client.ended(&execution, RUN_MAX)?;
    ensure!(ended["status"] == "FAILED", "{ended}");
    let spans = spans_of(&receiver, &execution)?;
    check_tree(&spans)?;
    ensure!(
        spans.iter().all(|span| span.trace == TRACE),
        "another trace"
    );
    check_states(&spans)?;
    let own = check_attempts(&spans)?;
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

/// Starts an execution of a Parallel, a task that is tried again, a child and a failure.
fn start_tree(client: &Client) -> Result<String> {
    let mut context = behave("context");
    context["End"] = json!(true);
    let mut broken = behave("fail");
    broken["End"] = json!(true);
    broken["Retry"] = json!([{"ErrorEquals": ["Broken"], "MaxAttempts": 1, "IntervalSeconds": 1}]);
    broken["Catch"] = json!([{"ErrorEquals": ["States.ALL"], "Next": "Mended"}]);
    let child = machine(
        client,
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
    let parent = machine(client, "parent", &definition, traced())?;
    start(client, &parent, "e", json!({"traceHeader": HEADER}))
}

fn check_states(spans: &[Span]) -> Result<()> {
    let root = named(spans, "parent")?;
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
    let both = named(spans, "Both")?;
    ensure!(
        both.parent == root.id && both.status == 1 && both.kind == 1,
        "{both:#?}"
    );
    let works = named(spans, "Works")?;
    ensure!(
        works.parent == both.id && works.attributes["stepwell.state.flow"] == "0",
        "{works:#?}"
    );
    let breaks = named(spans, "Breaks")?;
    ensure!(
        breaks.parent == both.id && breaks.status == 1,
        "it caught: {breaks:#?}"
    );
    ensure!(
        breaks.attributes["stepwell.state.handled_error"] == "Broken",
        "{breaks:#?}"
    );
    ensure!(named(spans, "Mended")?.parent == both.id);
    let lost = named(spans, "Lost")?;
    ensure!(lost.parent == root.id && lost.status == 2, "{lost:#?}");
    Ok(())
}

/// Gives the attempt that went well.
fn check_attempts(spans: &[Span]) -> Result<&Span> {
    let (works, breaks) = (named(spans, "Works")?, named(spans, "Breaks")?);
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
    Ok(own)
}

pub(super) fn untraced() -> Result<()> {
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

pub(super) fn traces_over_a_crash() -> Result<()> {
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

pub(super) fn logs() -> Result<()> {
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

pub(super) fn no_collector() -> Result<()> {
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
