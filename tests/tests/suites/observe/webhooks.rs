//! Receivers of events: which come, in which order, signed how, and again after a refusal.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use stepwell_tests::{
    receiver::{Received, Receiver},
    server::{ACCOUNT, Client},
};

use super::{RUN_MAX, Rig, machine, one, passing};

/// Executions that are under way when the server is killed.
const MANY: usize = 40;
/// A receiver that was away is tried again within a minute; this is longer.
const COMES_MAX: Duration = Duration::from_secs(90);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn write_webhooks(path: &Path, text: &str) -> Result<String> {
    std::fs::write(path, text)?;
    Ok(path.to_string_lossy().into_owned())
}

pub(super) fn delivered() -> Result<()> {
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
    let pass = passing(&client)?;
    let other = client.start(&pass, "p", &json!({"a": 1}))?;
    client.ended(&other, RUN_MAX)?;

    // Two of them were asked to come again.
    let received = all.wait("the events", |received| {
        (received.len() >= 8).then(|| received.to_vec())
    })?;
    let taken = taken_once(&received)?;
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
    only_failures(&failures)?;
    ensure!(others.all().is_empty(), "another account's");
    Ok(())
}

/// The events that were taken: six, each signed, after two that were asked to come again.
fn taken_once(received: &[Received]) -> Result<Vec<Value>> {
    let mut taken = Vec::new();
    for request in received {
        check_signature(request)?;
        if request.status == 200 {
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
    Ok(taken)
}

/// Who wants failures alone gets them alone.
fn only_failures(receiver: &Receiver) -> Result<()> {
    let failed: Vec<Value> = receiver
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

pub(super) fn private() -> Result<()> {
    let rig = Rig::new()?;
    let receiver = Receiver::start(&[])?;
    let url = format!("https://{}", receiver.address);
    let webhook =
        |path: &str| format!("[[webhook]]\nurl = \"{url}/{path}\"\nsecret = \"{SECRET}\"\n");
    let text = ["one", "two"].map(webhook).concat();
    let file = write_webhooks(&rig.path("webhooks.toml"), &text)?;
    let server = rig.start(&["--webhooks", &file])?;
    let client = server.client();
    let pass = passing(&client)?;
    let execution = client.start(&pass, "p", &json!({}))?;
    client.ended(&execution, RUN_MAX)?;
    server.says(
        "it is at a private address; `private = true` lets events go there",
        2,
    )?;
    // They are at one host.
    for number in [1, 2] {
        server.says(&format!("webhook={number} origin=\"{url}\""), 1)?;
    }
    server.stop()?;
    ensure!(receiver.all().is_empty(), "a request came");
    Ok(())
}

pub(super) fn endless() -> Result<()> {
    let rig = Rig::new()?;
    let receiver = Receiver::start(&[])?;
    receiver.never_ends();
    let file = write_webhooks(&rig.path("webhooks.toml"), &webhook_at(receiver.address))?;
    let server = rig.start(&["--webhooks", &file])?;
    let client = server.client();
    let pass = passing(&client)?;
    let execution = client.start(&pass, "p", &json!({}))?;
    client.ended(&execution, RUN_MAX)?;
    // The second event is sent once the first is taken; else the first comes again.
    let received = receiver.wait("both events", |received| {
        (received.len() >= 2).then(|| received.to_vec())
    })?;
    let statuses: Vec<Value> = received
        .iter()
        .map(|request| {
            Ok(serde_json::from_slice::<Value>(&request.body)?["data"]["status"].clone())
        })
        .collect::<Result<_>>()?;
    ensure!(statuses == ["RUNNING", "SUCCEEDED"], "{statuses:?}");
    server.stop()
}

fn webhook_at(address: SocketAddr) -> String {
    format!(
        "[[webhook]]\nurl = \"http://{address}/in?token=t\"\nsecret = \"{SECRET}\"\nprivate = true\n"
    )
}

/// The statuses that were taken, by execution, in the order in which they came; an event that came again counts once.
fn taken(received: &[Received]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut statuses = BTreeMap::<String, Vec<String>>::new();
    let mut seen = BTreeSet::new();
    for request in received.iter().filter(|request| request.status == 200) {
        let event: Value = serde_json::from_slice(&request.body)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if seen.insert(text(&event["id"])) {
            let own = statuses.entry(text(&event["subject"])).or_default();
            own.push(text(&event["data"]["status"]));
        }
    }
    Ok(statuses)
}

/// Waits until each of these executions has had these statuses told, and nothing else.
fn all_told(receiver: &Receiver, executions: &[String], expected: &[&str]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let wanted = executions.len() * expected.len();
        let told = receiver.wait("an event", |received| {
            let told = taken(received).ok()?;
            let own = executions
                .iter()
                .filter_map(|execution| told.get(execution));
            (own.map(Vec::len).sum::<usize>() >= wanted).then_some(told)
        });
        match told {
            Ok(told) => {
                for execution in executions {
                    ensure!(told[execution] == expected, "{execution}: {told:#?}");
                }
                return Ok(());
            }
            Err(error) if begun.elapsed() > COMES_MAX => return Err(error),
            Err(_) => {}
        }
    }
}

/// Starts that many executions and gives their ARNs.
fn start_many(client: &Client, machine: &str, name: &str, many: usize) -> Result<Vec<String>> {
    let numbers = 0..many;
    let started = numbers.map(|number| {
        let execution = client.start(machine, &format!("{name}{number}"), &json!({}))?;
        Ok(execution)
    });
    started.collect()
}

pub(super) fn kept() -> Result<()> {
    let rig = Rig::new()?;
    let address = Receiver::nobody()?;
    let file = write_webhooks(&rig.path("webhooks.toml"), &webhook_at(address))?;
    let flags = ["--webhooks", &file];
    let server = rig.start(&flags)?;
    let client = server.client();
    let pass = passing(&client)?;
    let wait = one("Wait", json!({"Seconds": 3_600, "End": true}));
    let wait = machine(&client, "wait", &wait, json!({}))?;
    let ended = start_many(&client, &pass, "p", MANY)?;
    for execution in &ended {
        client.ended(execution, RUN_MAX)?;
    }
    let waiting = start_many(&client, &wait, "w", MANY)?;
    // At once after the last answer.
    server.kill()?;
    let server = rig.start(&flags)?;
    let stopped = server.client();
    for execution in &waiting {
        stopped.call("StopExecution", &json!({"executionArn": execution}))?;
    }
    server.kill()?;

    let server = rig.start(&flags)?;
    let receiver = Receiver::start_at(address)?;
    all_told(&receiver, &ended, &["RUNNING", "SUCCEEDED"])?;
    all_told(&receiver, &waiting, &["RUNNING", "ABORTED"])?;
    for request in &receiver.all() {
        check_signature(request)?;
    }
    server.stop()?;

    // What was taken is not sent again.
    let before = receiver.all().len();
    let server = rig.start(&flags)?;
    let last = start_many(&server.client(), &pass, "last", 1)?;
    all_told(&receiver, &last, &["RUNNING", "SUCCEEDED"])?;
    server.stop()?;
    let after = receiver.all().len();
    ensure!(after == before + 2, "{before} requests, then {after}");
    Ok(())
}

pub(super) fn poisonous() -> Result<()> {
    let rig = Rig::new()?;
    let receiver = Receiver::start(&[])?;
    receiver.refuse(":execution:fail:poison\"");
    let text = webhook_at(receiver.address);
    let file = write_webhooks(&rig.path("webhooks.toml"), &text)?;
    let server = rig.start(&["--webhooks", &file])?;
    let client = server.client();
    let fail = one("Fail", json!({"Error": "E"}));
    let fail = machine(&client, "fail", &fail, json!({}))?;
    let poison = client.start(&fail, "poison", &json!({}))?;
    client.ended(&poison, RUN_MAX)?;
    receiver.wait("the poisonous event", |received| {
        received
            .iter()
            .find(|request| request.status == 500)
            .map(drop)
    })?;
    let begun = Instant::now();
    let others = start_many(&client, &fail, "other", MANY)?;
    all_told(&receiver, &others, &["RUNNING", "FAILED"])?;
    ensure!(begun.elapsed() < RUN_MAX, "it took {:?}", begun.elapsed());
    let told = taken(&receiver.all())?;
    ensure!(!told.contains_key(&poison), "{told:#?}");
    // The server may not have heard the last answers yet.
    loop {
        let (_, metrics) = client.get("/metrics")?;
        let mut lines = metrics.lines();
        let depth = lines.find(|line| line.starts_with("stepwell_webhook_queue_depth{"));
        if depth.context("the depth of the queue")?.ends_with(" 2.0") {
            break;
        }
        ensure!(begun.elapsed() < RUN_MAX, "{depth:?}");
    }
    // It is taken at last, the first before the second.
    receiver.refuse("nothing");
    all_told(&receiver, &[poison], &["RUNNING", "FAILED"])?;
    server.stop()
}

pub(super) fn comes_back() -> Result<()> {
    let rig = Rig::new()?;
    let (one_address, other) = (Receiver::nobody()?, Receiver::start(&[])?);
    let both = webhook_at(other.address) + &webhook_at(one_address);
    let both = write_webhooks(&rig.path("both.toml"), &both)?;
    let server = rig.start(&["--webhooks", &both])?;
    let client = server.client();
    let pass = passing(&client)?;
    let first = start_many(&client, &pass, "first", 3)?;
    all_told(&other, &first, &["RUNNING", "SUCCEEDED"])?;
    server.stop()?;
    let without = write_webhooks(&rig.path("other.toml"), &webhook_at(other.address))?;
    let server = rig.start(&["--webhooks", &without])?;
    let second = start_many(&server.client(), &pass, "second", 3)?;
    all_told(&other, &second, &["RUNNING", "SUCCEEDED"])?;
    server.stop()?;
    // Now the first of the file.
    let again = webhook_at(one_address) + &webhook_at(other.address);
    let again = write_webhooks(&rig.path("again.toml"), &again)?;
    let receiver = Receiver::start_at(one_address)?;
    let server = rig.start(&["--webhooks", &again])?;
    all_told(&receiver, &first, &["RUNNING", "SUCCEEDED"])?;
    server.stop()?;
    let told = taken(&receiver.all())?;
    ensure!(told.len() == first.len(), "{told:#?}");
    Ok(())
}
