//! Uploaded functions on a server that authenticates, as users of the AWS CLI meet them: `aws lambda …` with the keys of two
//! tenants, a state machine that calls what was uploaded, and a restart in between.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    python,
    server::{self, Server},
};

use super::{
    awscli::Aws,
    tenants::{A, B, add_key, told},
};

use super::trial;

const ROLE: &str = "arn:aws:iam::111111111111:role/tests";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("awscli::life_of_a_function", life)]
}

/// The tenants' keys.
struct Keys {
    admin: Value,
    run: Value,
    read: Value,
    other: Value,
}

fn life() -> Result<()> {
    let place = Place::new()?;
    let own = place.plugins.join(A);
    std::fs::create_dir_all(&own)?;
    std::fs::copy(server::guest("echo")?, own.join("shelved.wasm"))?;
    for account in [A, B] {
        told(&place.data, &["tenant", "add", account])?;
    }
    // A rate that is used up by the first request.
    told(
        &place.data,
        &["tenant", "set", A, "--rate", "lambda:GetPolicy=1/0"],
    )?;
    let keys = Keys {
        admin: add_key(&place.data, A, "admin", "a")?,
        run: add_key(&place.data, A, "run", "a")?,
        read: add_key(&place.data, A, "read", "a")?,
        other: add_key(&place.data, B, "admin", "b")?,
    };
    pack(place.folder(), "echo")?;
    pack(place.folder(), "noop")?;

    let server = place.serve(&["--auth"])?;
    let lambda = |key: &Value| client(&server, place.folder(), key, "lambda");
    upload(&lambda(&keys.admin)?)?;
    rights(&lambda(&keys.run)?, &lambda(&keys.read)?)?;
    unknown_qualifiers(&lambda(&keys.run)?)?;
    rates(&lambda(&keys.read)?)?;
    walls(&lambda(&keys.other)?, &lambda(&keys.admin)?)?;
    let workflow = workflow(&server, place.folder(), &keys)?;
    server.stop()?;

    let server = place.serve(&["--auth"])?;
    let lambda = client(&server, place.folder(), &keys.admin, "lambda")?;
    ensure!(
        invoke(&lambda, "pay:live")? == json!({"n": 1}),
        "after a restart"
    );
    let steps = client(&server, place.folder(), &keys.admin, "stepfunctions")?;
    let again = steps.start(&workflow, "again", r#"{"n": 2}"#)?;
    ensure!(
        steps.closed(&again)?["status"] == "SUCCEEDED",
        "after a restart"
    );
    lambda.answer(&["delete-function", "--function-name", "pay"])?;
    lambda.refused(
        &["get-function", "--function-name", "pay"],
        "ResourceNotFoundException",
    )?;
    server.stop()?;
    audited(&place.data)
}

fn client(server: &Server, folder: &Path, key: &Value, service: &'static str) -> Result<Aws> {
    Ok(Aws {
        program: python::aws_cli()?,
        endpoint: server.client().endpoint(),
        key: key.clone(),
        folder: folder.to_owned(),
        service,
    })
}

/// A zip of a guest.
fn pack(folder: &Path, name: &str) -> Result<()> {
    let file = folder.join(format!("{name}.wasm"));
    std::fs::copy(server::guest(name)?, &file)?;
    zip(folder, name, &file)
}

/// A zip of a file, made by what Python brings along.
fn zip(folder: &Path, name: &str, file: &Path) -> Result<()> {
    let archive = folder.join(format!("{name}.zip"));
    let packed = Command::new(python::interpreter()?)
        .args(["-m", "zipfile", "-c"])
        .arg(archive)
        .arg(file)
        .status()?;
    ensure!(packed.success(), "{name} is not packed: {packed}");
    Ok(())
}

fn upload(aws: &Aws) -> Result<()> {
    let made = aws.answer(&[
        "create-function",
        "--function-name",
        "pay",
        "--role",
        ROLE,
        "--zip-file",
        "fileb://echo.zip",
        "--timeout",
        "5",
        "--publish",
    ])?;
    ensure!(
        made["Version"] == "1" && made["State"] == "Active",
        "{made}"
    );
    let alias = ["create-alias", "--function-name", "pay", "--name", "live"];
    aws.answer(&[&alias[..], &["--function-version", "1"]].concat())?;
    let update = ["update-function-code", "--function-name", "pay"];
    let broken = [&update[..], &["--zip-file", "fileb://text.zip"]].concat();
    let text = aws.folder.join("text.txt");
    std::fs::write(&text, "no code at all")?;
    zip(&aws.folder, "text", &text)?;
    aws.refused(&broken, "InvalidParameterValueException")?;
    aws.answer(&[&update[..], &["--zip-file", "fileb://noop.zip"]].concat())?;
    ensure!(
        invoke(aws, "pay:live")? == json!({"n": 1}),
        "a version stays what it is"
    );
    ensure!(
        invoke(aws, "pay")? != json!({"n": 1}),
        "the new code serves"
    );
    let listed = aws.answer(&["list-functions"])?;
    ensure!(listed["Functions"][0]["FunctionName"] == "pay", "{listed}");
    Ok(())
}

/// The payload that a call answers.
fn invoke(aws: &Aws, name: &str) -> Result<Value> {
    let (function, qualifier) = name.split_once(':').unwrap_or((name, "$LATEST"));
    let call = [
        "invoke",
        "--function-name",
        function,
        "--qualifier",
        qualifier,
    ];
    let payload = ["--payload", r#"{"n": 1}"#];
    aws.answer(&[&call[..], &payload, &["out.json"]].concat())?;
    let out = std::fs::read(aws.folder.join("out.json"))?;
    serde_json::from_slice(&out).context("the payload is JSON")
}

/// What the keys of lesser roles may do.
fn rights(run: &Aws, read: &Aws) -> Result<()> {
    ensure!(
        invoke(run, "pay:live")? == json!({"n": 1}),
        "a key that runs calls"
    );
    let named = ["--function-name", "pay"];
    let update = [
        &["update-function-code"],
        &named[..],
        &["--zip-file", "fileb://noop.zip"],
    ]
    .concat();
    let delete = [&["delete-function"], &named[..]].concat();
    for aws in [run, read] {
        aws.answer(&[&["get-function"], &named[..]].concat())?;
        aws.refused(&update, "AccessDeniedException")?;
        aws.refused(&delete, "AccessDeniedException")?;
    }
    let call = [&["invoke"], &named[..], &["out.json"]].concat();
    read.refused(&call, "AccessDeniedException")
}

/// A qualifier that no version or alias has calls nothing, now or later, and none of them becomes part of a definition.
fn unknown_qualifiers(run: &Aws) -> Result<()> {
    ensure!(
        invoke(run, "shelved")? == json!({"n": 1}),
        "a plugin of the directory is called alike"
    );
    for (qualifier, refusal) in [
        ("9", "ResourceNotFoundException"),
        (
            r#"x","End":true},"E":{"Type":"Pass","#,
            "ValidationException",
        ),
    ] {
        let call = [
            "invoke",
            "--function-name",
            "shelved",
            "--qualifier",
            qualifier,
        ];
        for kind in ["Event", "DryRun"] {
            let how = ["--invocation-type", kind, "out.json"];
            run.refused(&[&call[..], &how].concat(), refusal)?;
        }
    }
    Ok(())
}

/// Requests are counted, those of each operation apart.
fn rates(read: &Aws) -> Result<()> {
    let policy = ["get-policy", "--function-name", "pay"];
    read.refused(&policy, "ResourceNotFoundException")?;
    read.refused(&policy, "TooManyRequestsException")?;
    read.answer(&["list-functions"]).map(drop)
}

/// The other tenant finds nothing of it, by name or by ARN, and has its own under the same name.
fn walls(other: &Aws, owner: &Aws) -> Result<()> {
    let arn = format!("arn:aws:lambda:us-east-1:{A}:function:pay");
    let calls: [&[&str]; 7] = [
        &["get-function", "--function-name"],
        &["get-policy", "--function-name"],
        &["get-function-concurrency", "--function-name"],
        &["delete-function-concurrency", "--function-name"],
        &["delete-function", "--function-name"],
        &["list-versions-by-function", "--function-name"],
        &["publish-version", "--function-name"],
    ];
    for call in calls {
        other.refused(&[call, &["pay"]].concat(), "ResourceNotFoundException")?;
        other.refused(&[call, &[&*arn]].concat(), "AccessDeniedException")?;
    }
    other.refused(
        &["invoke", "--function-name", "pay", "out.json"],
        "ResourceNotFoundException",
    )?;
    other.refused(
        &["invoke", "--function-name", &arn, "out.json"],
        "AccessDeniedException",
    )?;
    let listed = other.answer(&["list-functions"])?;
    ensure!(listed["Functions"] == json!([]), "{listed}");
    let create = ["create-function", "--function-name", "pay", "--role", ROLE];
    other.answer(&[&create[..], &["--zip-file", "fileb://noop.zip"]].concat())?;
    ensure!(
        invoke(owner, "pay:live")? == json!({"n": 1}),
        "each has its own"
    );
    other.answer(&["delete-function", "--function-name", "pay"])?;
    ensure!(
        invoke(owner, "pay:live")? == json!({"n": 1}),
        "each deletes its own"
    );
    Ok(())
}

/// A state machine of each tenant calls the function by name: only its owner's finds it.
fn workflow(server: &Server, folder: &Path, keys: &Keys) -> Result<String> {
    let definition = json!({"StartAt": "Pay", "States": {"Pay": {
        "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "OutputPath": "$.Payload", "End": true,
        "Parameters": {"FunctionName": "pay:live", "Payload.$": "$"}}}});
    let owner = client(server, folder, &keys.admin, "stepfunctions")?;
    let machine = owner.create("orders", &definition, &[])?;
    let execution = owner.start(&machine, "one", r#"{"n": 1}"#)?;
    let closed = owner.closed(&execution)?;
    ensure!(
        closed["status"] == "SUCCEEDED" && closed["output"] == r#"{"n":1}"#,
        "{closed}"
    );
    let other = client(server, folder, &keys.other, "stepfunctions")?;
    let theirs = other.create("orders", &definition, &[])?;
    let closed = other.closed(&other.start(&theirs, "one", "{}")?)?;
    ensure!(
        closed["error"] == "Lambda.ResourceNotFoundException",
        "{closed}"
    );
    Ok(machine)
}

fn audited(data: &Path) -> Result<()> {
    let log = told(data, &["tenant", "audit", A, "--json"])?;
    for wanted in [
        "lambda:CreateFunction",
        "lambda:UpdateFunctionCode",
        "lambda:Invoke",
        "lambda:DeleteFunction",
    ] {
        ensure!(log.contains(wanted), "no {wanted} in the audit log: {log}");
    }
    let entries = log.lines().map(serde_json::from_str::<Value>);
    let entries: Vec<Value> = entries.collect::<Result<_, _>>()?;
    let made = entries
        .iter()
        .find(|entry| entry["operation"] == "lambda:CreateAlias");
    let made = made.context("an alias was made")?;
    ensure!(made["resource"] == "pay:live", "{made}");
    ensure!(
        made["alias"] == serde_json::json!({"before": null, "after": "1"}),
        "{made}"
    );
    let last = told(data, &["tenant", "audit", A, "--json", "--limit", "1"])?;
    ensure!(
        Some(last.trim_end()) == log.lines().last(),
        "{last} of {log}"
    );
    ensure!(
        log.contains("InvalidParameterValueException"),
        "what was refused is in it: {log}"
    );
    // In the table a request that was refused after its entry was written is one line.
    let is_second = |entry: &&Value| {
        let of_it = |begin: &Value| {
            let same = |name: &str| begin[name] == entry[name];
            begin["refused"].is_null() && same("requestId") && same("operation")
        };
        entry["refused"].is_string() && entries.iter().any(of_it)
    };
    let seconds = entries.iter().filter(is_second).count();
    let table = told(data, &["tenant", "audit", A])?;
    ensure!(
        seconds > 0 && table.lines().count() == 1 + entries.len() - seconds,
        "{seconds} of {log}\n{table}"
    );
    Ok(())
}
