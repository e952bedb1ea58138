//! The limits of the built program, from the outside: what a call may carry, what is told of an execution that comes near
//! a limit, and what a large value costs the store.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{self, CallError, Client},
};

use super::trial;

/// How long an execution may take.
const RUN_MAX: Duration = Duration::from_secs(60);
/// Bytes of a payload (AWS), and with raised limits (ours).
const STRICT: usize = 262_144;
const RAISED: usize = 16 * 1_048_576;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "walls::an execution's input, a token's answer, strict",
            || payloads(&[], STRICT),
        ),
        trial(
            "walls::an execution's input, a token's answer, raised",
            || payloads(&["--limits", "raised"], RAISED),
        ),
        trial("walls::what is near a limit is told", near),
        trial("walls::a large value is stored once", stored_once),
    ]
}

fn with_server(flags: &[&str], check: impl FnOnce(&Client, &Path) -> Result<()>) -> Result<()> {
    let place = Place::new()?;
    let server = place.serve(flags)?;
    check(&server.client(), &place.data)?;
    server.stop()
}

/// A JSON string of so many bytes.
fn text(bytes: usize) -> Value {
    json!("x".repeat(bytes - 2))
}

/// The code of a refusal.
fn refused<T: std::fmt::Debug>(result: Result<T, CallError>) -> Result<String> {
    match result {
        Err(CallError::Refused { code, .. }) => Ok(code),
        other => bail!("no refusal: {:?}", other.map(|_| "answered")),
    }
}

/// At the limit both are taken and come out as they went in; one past it they are refused.
fn payloads(flags: &[&str], most: usize) -> Result<()> {
    with_server(flags, |client, _| {
        let pass = json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}});
        let machine = client.create_machine("pass", &pass)?;
        let execution = client.start(&machine, "at", &text(most))?;
        let ended = client.ended(&execution, RUN_MAX)?;
        let output = ended["output"].as_str().unwrap_or_default();
        ensure!(
            ended["status"] == "SUCCEEDED" && output.len() == most,
            "{}",
            ended["status"]
        );
        pages(client, &execution, most)?;
        let code = refused(client.start(&machine, "past", &text(most + 1)))?;
        ensure!(
            ["ValidationException", "InvalidExecutionInput"].contains(&code.as_str()),
            "{code}"
        );

        let activity = client.call("CreateActivity", &json!({"name": "work"}))?;
        let arn = activity["activityArn"].as_str().context("an ARN")?;
        let work = json!({"StartAt": "W", "States": {"W": {"Type": "Task", "Resource": arn, "End": true}}});
        let machine = client.create_machine("work", &work)?;
        let execution = client.start(&machine, "answered", &json!({}))?;
        let task = client.call("GetActivityTask", &json!({"activityArn": arn}))?;
        let answer = |bytes: usize| json!({"taskToken": task["taskToken"], "output": text(bytes).to_string()});
        let code = refused(client.call("SendTaskSuccess", &answer(most + 1)))?;
        ensure!(
            ["ValidationException", "InvalidOutput"].contains(&code.as_str()),
            "{code}"
        );
        client.call("SendTaskSuccess", &answer(most))?;
        let ended = client.ended(&execution, RUN_MAX)?;
        let output = ended["output"].as_str().unwrap_or_default();
        ensure!(
            ended["status"] == "SUCCEEDED" && output.len() == most,
            "{}",
            ended["status"]
        );
        Ok(())
    })
}

/// A history is whole over its pages, both ways; a page of large events is shorter than asked for.
fn pages(client: &Client, execution: &str, payload: usize) -> Result<()> {
    for reverse in [false, true] {
        let (mut ids, mut pages, mut token) = (Vec::new(), 0, Value::Null);
        loop {
            let mut request =
                json!({"executionArn": execution, "maxResults": 1000, "reverseOrder": reverse});
            if token.is_string() {
                request["nextToken"] = token;
            }
            let page = client.call("GetExecutionHistory", &request)?;
            let events = page["events"].as_array().context("events")?;
            ids.extend(events.iter().filter_map(|event| event["id"].as_u64()));
            pages += 1;
            token = page["nextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        if reverse {
            ids.reverse();
        }
        // Four events carry the payload, and two of them are all that a page of 32 MiB holds.
        let expected = if payload == RAISED { 2 } else { 1 };
        ensure!(
            ids == [1, 2, 3, 4] && pages == expected,
            "events {ids:?} in {pages} pages"
        );
    }
    Ok(())
}

/// A payload of 80 % is told of by the JSON API, the metrics, the log and the command line; one byte less is not.
fn near() -> Result<()> {
    with_server(&[], |client, data| {
        let pass =
            json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "Result": 1, "End": true}}});
        let machine = client.create_machine("pass", &pass)?;
        let from = STRICT * 80 / 100 + 1;
        let limits = |name: &str, bytes: usize| -> Result<(String, Value)> {
            let execution = client.start(&machine, name, &text(bytes))?;
            client.ended(&execution, RUN_MAX)?;
            let (status, answer) = client.get(&format!("/api/executions/{execution}/limits"))?;
            ensure!(status == 200, "{status}: {answer}");
            Ok((execution, serde_json::from_str(&answer)?))
        };
        let neared = || -> Result<bool> {
            let (_, metrics) = client.get("/metrics")?;
            let line = metrics
                .lines()
                .find(|line| line.contains("limits_neared_total{limit=\"payload\"}"));
            Ok(line.context("the metric")?.ends_with(" 1.0"))
        };
        let (_, below) = limits("below", from - 1)?;
        ensure!(below["near"] == json!([]) && !neared()?, "{below}");
        let (execution, above) = limits("above", from)?;
        let told = json!({"event": 1, "limit": "payload", "unit": "bytes", "used": from, "most": STRICT,
            "left": STRICT - from, "near": true});
        ensure!(
            above["limits"] == "strict" && above["near"][0] == told,
            "{above:#}"
        );
        ensure!(neared()?, "the metric does not count it");
        let log = std::fs::read_to_string(data.with_extension("log"))?;
        ensure!(log.contains("an execution is near a limit"), "{log}");
        let command = |what: &[&str]| -> Result<String> {
            let output = Command::new(server::program()?)
                .args(["execution"])
                .args(what)
                .args([&execution, "--endpoint", &client.endpoint()])
                .output()?;
            let (out, err) = (output.stdout, output.stderr);
            Ok(format!(
                "{}{}",
                String::from_utf8(out)?,
                String::from_utf8(err)?
            ))
        };
        let left = format!(
            "payload: {from} of {STRICT} bytes used, {} left",
            STRICT - from
        );
        for what in [&["show"][..], &["history"]] {
            let said = command(what)?;
            ensure!(said.contains(&left), "{what:?} says nothing of {left}");
        }
        let shown: Value = serde_json::from_str(&command(&["show", "--json"])?)?;
        ensure!(shown["limits"]["near"][0] == told, "{:#}", shown["limits"]);
        Ok(())
    })
}

/// What thirty executions carry alike is in the store once.
fn stored_once() -> Result<()> {
    with_server(&[], |client, data| {
        let pass = json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}});
        let machine = client.create_machine("pass", &pass)?;
        // Random enough that it is not compressed away.
        let mut number = 1_u64;
        let noise: String = (0..12_000)
            .map(|_| {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                format!("{number:016x}")
            })
            .collect();
        for index in 0..30 {
            let execution = client.start(&machine, &format!("n{index}"), &json!(noise))?;
            let ended = client.ended(&execution, RUN_MAX)?;
            let output = json!(noise).to_string();
            ensure!(ended["output"].as_str() == Some(&output), "another output");
        }
        let bytes: u64 = std::fs::read_dir(data)?
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .map(|file| file.len())
            .sum();
        // The journal, its copy in the write-ahead log, and what else there is.
        let most = 6 * noise.len() as u64;
        ensure!(
            bytes < most,
            "the store has {bytes} bytes, less than {most} expected"
        );
        Ok(())
    })
}
