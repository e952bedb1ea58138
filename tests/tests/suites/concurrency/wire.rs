//! Limits as clients set and meet them: tags, DescribeExecution, ListExecutions, the program, metrics.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{self, CallError, Client},
};

const ROLE: &str = "arn:aws:iam::000000000000:role/tests";
const END_MAX: Duration = Duration::from_secs(60);
/// Looks at something that is about to come.
const LOOKS_MAX: usize = 600;
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn tells_and_refuses() -> Result<()> {
    let place = Place::new()?;
    let server = place.serve(&[])?;
    let client = server.client();
    wrong_tags(&client)?;
    waits(&client)?;
    refuses(&client)?;
    server.stop()
}

fn create(client: &Client, name: &str, tags: &Value) -> Result<String, CallError> {
    let definition = json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 3600, "End": true } } });
    let request = json!({
        "name": name, "definition": definition.to_string(), "roleArn": ROLE, "tags": tags,
    });
    let created = client.call("CreateStateMachine", &request)?;
    Ok(created["stateMachineArn"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn refused(result: Result<impl std::fmt::Debug, CallError>, code: &str, text: &str) -> Result<()> {
    match result {
        Err(CallError::Refused {
            code: found,
            message,
        }) if found == code && message.contains(text) => Ok(()),
        other => anyhow::bail!("expected {code} with `{text}`, not {other:?}"),
    }
}

fn wrong_tags(client: &Client) -> Result<()> {
    let tags = json!([{ "key": "stepwell:concurrency", "value": "some" }]);
    let created = create(client, "wrong", &tags);
    refused(created, "ValidationException", "`stepwell:concurrency`")?;
    let machine = create(client, "plain", &json!([]))?;
    let request = json!({
        "resourceArn": machine, "tags": [{ "key": "stepwell:concurrency-per-key", "value": "1" }],
    });
    let tagged = client.call("TagResource", &request);
    refused(tagged, "ValidationException", "stepwell:concurrency-key")
}

fn waits(client: &Client) -> Result<()> {
    let tags = json!([
        { "key": "stepwell:concurrency", "value": "1" },
        { "key": "stepwell:concurrency-key", "value": "{% $states.input.customer %}" },
    ]);
    let machine = create(client, "waits", &tags)?;
    let mut started = Vec::new();
    for n in 0..3 {
        let input = json!({ "customer": format!("c{n}") });
        started.push(client.start(&machine, &format!("e{n}"), &input)?);
    }
    let standing = |n: usize| -> Result<Option<Value>> {
        let described = client.call("DescribeExecution", &json!({ "executionArn": started[n] }))?;
        ensure!(described["status"] == "RUNNING", "{described}");
        Ok(described.get("stepwellWaiting").cloned())
    };
    // Who came first is told by their shards one after the other: one runs, two wait.
    let waiting = comes(|| {
        let all: Vec<_> = (0..3).map(standing).collect::<Result<_>>()?;
        let waiting: Vec<usize> = (0..3).filter(|n| all[*n].is_some()).collect();
        let told = all.iter().flatten().all(|waits| waits["of"] == 2);
        Ok((waiting.len() == 2 && told).then_some(waiting))
    })?;
    let waits = standing(waiting[0])?.context("it waits")?;
    ensure!(waits["key"] == format!("c{}", waiting[0]), "{waits}");
    ensure!(
        waits["since"].is_number() && waits["position"].is_number(),
        "{waits}"
    );

    let listed = client.call("ListExecutions", &json!({ "stateMachineArn": machine }))?;
    let listed = listed["executions"].as_array().context("a list")?;
    let waiting_ones = listed
        .iter()
        .filter(|one| one.get("stepwellWaiting").is_some());
    ensure!(waiting_ones.count() == 2, "{listed:?}");
    told_by_the_program(client, &machine, &started[waiting[0]])?;
    let (_, metrics) = client.get("/metrics")?;
    for expected in [
        "stepwell_executions_waiting{",
        "stepwell_executions_waiting_oldest_seconds{",
    ] {
        ensure!(
            metrics
                .lines()
                .any(|line| line.starts_with(expected) && line.contains(&machine)),
            "no `{expected}` in the metrics"
        );
    }

    // A higher limit lets one in at once, and so does the end of one that waits for nobody.
    let more = json!({
        "resourceArn": machine, "tags": [{ "key": "stepwell:concurrency", "value": "2" }],
    });
    client.call("TagResource", &more)?;
    let last = comes(|| {
        let still: Vec<usize> = (0..3)
            .filter(|n| standing(*n).is_ok_and(|waits| waits.is_some()))
            .collect();
        Ok((still.len() == 1).then(|| still[0]))
    })?;
    stop(client, &started[last])?;
    let history = client.history(&started[last])?;
    let types: Vec<_> = history.iter().map(|event| event["type"].clone()).collect();
    ensure!(
        types == ["ExecutionStarted", "ExecutionAborted"],
        "{types:?}"
    );
    for n in (0..3).filter(|n| *n != last) {
        stop(client, &started[n])?;
    }
    Ok(())
}

fn refuses(client: &Client) -> Result<()> {
    let tags = json!([
        { "key": "stepwell:concurrency", "value": "1" },
        { "key": "stepwell:concurrency-mode", "value": "refuse" },
    ]);
    let machine = create(client, "refuses", &tags)?;
    let first = client.start(&machine, "e0", &json!({}))?;
    let second = client.start(&machine, "e1", &json!({}));
    refused(second, "ThrottlingException", "try again")?;
    ensure!(
        client.start(&machine, "e0", &json!({}))? == first,
        "the same start again"
    );
    stop(client, &first)?;
    let second = comes(|| Ok(client.start(&machine, "e1", &json!({})).ok()))?;
    stop(client, &second)
}

fn stop(client: &Client, execution: &str) -> Result<()> {
    client.call("StopExecution", &json!({ "executionArn": execution }))?;
    let ended = client.ended(execution, END_MAX)?;
    ensure!(ended["status"] == "ABORTED", "{ended}");
    Ok(())
}

/// Looks until something is there.
fn comes<T>(look: impl Fn() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..LOOKS_MAX {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(LOOK);
    }
    anyhow::bail!("it did not come")
}

fn told_by_the_program(client: &Client, machine: &str, waits: &str) -> Result<()> {
    let told = |arguments: &[&str]| -> Result<String> {
        let mut command = Command::new(server::program()?);
        command
            .args(arguments)
            .args(["--endpoint", &client.endpoint()]);
        let output = command.output()?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let list = told(&["execution", "list", machine])?;
    ensure!(
        list.lines()
            .filter(|line| line.starts_with("waiting "))
            .count()
            == 2,
        "{list}"
    );
    let shown = told(&["execution", "show", waits])?;
    let line = shown.lines().find(|line| line.starts_with("waits "));
    let line = line.with_context(|| format!("no line `waits`: {shown}"))?;
    ensure!(line.contains(" of 2, by key c"), "{line}");
    Ok(())
}
