//! Receivers of events: which come, in which order, signed how, and again after a refusal.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use stepwell_tests::{
    receiver::{Received, Receiver},
    server::ACCOUNT,
};

use super::{RUN_MAX, Rig, machine, one};

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
    for request in &received {
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

pub(super) fn private() -> Result<()> {
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
