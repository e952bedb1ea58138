//! Aliases of uploaded plugins: back to an earlier version while a task runs, with weights, and by several at once.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stepwell_tests::{
    command::refused,
    place::Place,
    server::{self, Client, ROLE},
};

use super::{PATIENCE, push, stepwell, told, until};

pub(super) fn go_back_while_a_task_runs() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    let live = ["--publish", "--alias", "live"];
    push(folder, &client, "behave", &live)?;
    let function = "arn:aws:lambda:us-east-1:000000000000:function:pay:live";
    let definition = json!({
        "StartAt": "Pay",
        "States": {"Pay": {"Type": "Task", "Resource": function, "End": true}}
    });
    let durable = client.create_machine("durable", &definition)?;
    let express = json!({
        "name": "express", "definition": definition.to_string(), "roleArn": ROLE, "type": "EXPRESS",
    });
    let express = client.call("CreateStateMachine", &express)?;
    let express = express["stateMachineArn"].as_str().context("an ARN")?;
    let now = |client: &Client| -> Result<Value> {
        let request = json!({"stateMachineArn": express, "input": "{\"do\": \"echo\"}"});
        let answer = client.call("StartSyncExecution", &request)?;
        let output = answer["output"].as_str();
        Ok(serde_json::from_str(
            output.with_context(|| answer.to_string())?,
        )?)
    };
    let one = json!({"do": "echo"});
    ensure!(now(&client)? == one, "the first version");
    let running = client.start(&durable, "running", &json!({"do": "sleep", "ms": 3_000}))?;
    until("the task", || {
        let history = client.history(&running)?;
        Ok(history
            .iter()
            .any(|event| event["type"] == "LambdaFunctionStarted"))
    })?;
    push(folder, &client, "noop", &live)?;
    ensure!(now(&client)? == Value::Null, "the second version");
    told(folder, &client, &["plugin", "rollback", "pay", "live"])?;
    ensure!(now(&client)? == one, "the first version again");
    // The newest code goes back as well, by the same upload.
    push(folder, &client, "behave", &[])?;
    told(
        folder,
        &client,
        &["plugin", "alias", "pay", "live", "$LATEST"],
    )?;
    ensure!(now(&client)? == one, "the first code again");
    // What it stood for before is no matter of numbers, and a second one takes the first back.
    for version in ["1", "$LATEST"] {
        let said = told(folder, &client, &["plugin", "rollback", "pay", "live"])?;
        ensure!(
            said == format!("live of pay stands for {version}\n"),
            "{said}"
        );
    }
    let ended = client.ended(&running, PATIENCE)?;
    ensure!(
        ended["output"] == "\"awake\"",
        "a running task did not finish on its version: {ended}"
    );
    server.stop()
}

/// An alias that stood for one version alone does not go to another one that is there.
pub(super) fn no_fresh_alias_goes_back() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    push(folder, &client, "noop", &["--publish"])?;
    push(
        folder,
        &client,
        "behave",
        &["--publish", "--alias", "fresh"],
    )?;
    let endpoint = client.endpoint();
    let rollback = [
        "plugin",
        "rollback",
        "pay",
        "fresh",
        "--endpoint",
        &endpoint,
    ];
    let output = stepwell(folder, &rollback)?.output()?;
    refused(
        &output,
        2,
        &[
            "fresh of pay stands for 2, and has stood for nothing else",
            "hint: ",
        ],
    )?;
    let versions = ["plugin", "versions", "pay", "--json"];
    let told: Value = serde_json::from_str(&told(folder, &client, &versions)?)?;
    ensure!(told["aliases"][0]["FunctionVersion"] == "2", "{told}");
    server.stop()
}

/// What an alias stood for is a version and its weights, of which neither goes in silence.
pub(super) fn weights_go_back() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    for guest in ["noop", "behave", "echo"] {
        push(folder, &client, guest, &["--publish"])?;
    }
    let weigh = |alias: &str, weights: Value| -> Result<()> {
        let change = json!({"RoutingConfig": {"AdditionalVersionWeights": weights}});
        let path = format!("/2015-03-31/functions/pay/aliases/{alias}");
        let (status, answer) = client.put(&path, &change.to_string())?;
        ensure!(status == 200, "{status}: {answer}");
        Ok(())
    };
    for version in ["1", "2"] {
        told(folder, &client, &["plugin", "alias", "pay", "can", version])?;
    }
    weigh("can", json!({"3": 0.1}))?;
    told(folder, &client, &["plugin", "alias", "pay", "one", "1"])?;
    weigh("one", json!({"3": 1.0}))?;
    let said = told(folder, &client, &["plugin", "versions", "pay"])?;
    for (version, aliases) in [
        ("1", "one 0 %"),
        ("2", "can 90 %"),
        ("3", "can 10 %, one 100 %"),
    ] {
        let row = said.lines().find(|row| row.starts_with(version));
        ensure!(row.is_some_and(|row| row.contains(aliases)), "{said}");
    }
    for (alias, stands_for) in [
        ("can", "2"),
        ("can", "2, and for 3 in 10 % of its calls"),
        ("can", "2"),
        ("one", "1"),
        ("one", "1, and for 3 in 100 % of its calls"),
    ] {
        let said = told(folder, &client, &["plugin", "rollback", "pay", alias])?;
        ensure!(
            said == format!("{alias} of pay stands for {stands_for}\n"),
            "{said}"
        );
    }
    let endpoint = client.endpoint();
    let file = server::guest("noop")?;
    let file = file.to_str().context("a path")?;
    for takes in [
        &["plugin", "alias", "pay", "one", "2"][..],
        &[
            "plugin",
            "push",
            file,
            "--name",
            "pay",
            "--publish",
            "--alias",
            "one",
        ],
    ] {
        let output = stepwell(folder, &[takes, &["--endpoint", &endpoint]].concat())?.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success()
                && said.contains("the weights of one are taken away: it stood for"),
            "{said}"
        );
        told(folder, &client, &["plugin", "rollback", "pay", "one"])?;
    }
    server.stop()
}

/// What no alias may be called is refused before anything is sent.
pub(super) fn no_alias_is_refused_too_late() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let endpoint = server.client().endpoint();
    let file = server::guest("noop")?;
    let file = file.to_str().context("a path")?;
    for name in ["a b", "7", ""] {
        let push = [
            "plugin",
            "push",
            file,
            "--name",
            "pay",
            "--publish",
            "--alias",
            name,
        ];
        let output =
            stepwell(folder, &[&push[..], &["--endpoint", &endpoint]].concat())?.output()?;
        refused(
            &output,
            2,
            &["an alias's name is 1 to 128 of A-Z a-z 0-9 - _"],
        )?;
    }
    let said = told(folder, &server.client(), &["plugin", "versions", "--json"])?;
    let all: Value = serde_json::from_str(&said)?;
    ensure!(all == json!([]), "{all}");
    server.stop()
}

/// Whoever rolls back is told what the alias stands for by it, or that somebody else was faster.
pub(super) fn rollbacks_at_once_follow_each_other() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    let server = place.serve(&[])?;
    let client = server.client();
    let live = ["--publish", "--alias", "live"];
    push(folder, &client, "noop", &live)?;
    push(folder, &client, "behave", &live)?;
    let endpoint = client.endpoint();
    let rollback = ["plugin", "rollback", "pay", "live", "--endpoint", &endpoint];
    let mut running = Vec::new();
    for _ in 0..7 {
        let mut command = stepwell(folder, &rollback)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        running.push(command.spawn()?);
    }
    let (mut back, mut forth) = (0, 0);
    for child in running {
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match said.as_str() {
            "live of pay stands for 1\n" => back += 1,
            "live of pay stands for 2\n" => forth += 1,
            _ => refused(&output, 2, &["live of pay was changed meanwhile", "hint: "])?,
        }
    }
    // From 2 to 1, and in turn: no other sequence gives these replies.
    ensure!(
        back == forth || back == forth + 1,
        "{back} to 1, {forth} to 2"
    );
    ensure!(back > 0, "nobody was first");
    let versions = ["plugin", "versions", "pay", "--json"];
    let told: Value = serde_json::from_str(&told(folder, &client, &versions)?)?;
    let now = if back == forth { "2" } else { "1" };
    ensure!(told["aliases"][0]["FunctionVersion"] == now, "{told}");
    server.stop()
}
