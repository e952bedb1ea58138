//! Two tenants on one server that authenticates: the AWS SDK for Python tries to cross between them
//! (`tests/clients/boto3/tenants.py`), the program makes their keys and tells their audit log.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    python,
    server::{self, CallError, Server, Turn},
};

use super::trial;

pub(super) const A: &str = "111111111111";
pub(super) const B: &str = "222222222222";
/// What tenant `a` keeps as a secret (tenants.py): it is never found in clear.
const HIDDEN: &str = "of-tenant-a-7f3c9b21";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("boto3::tenants", tenants),
        trial(
            "tenants::usual quotas of the configuration file",
            usual_quotas,
        ),
    ]
}

/// What the configuration file says of tenants counts for one whose quotas say nothing.
fn usual_quotas() -> Result<()> {
    let _turn = Turn::take()?;
    let scratch = tempfile::tempdir()?;
    let config = scratch.path().join("stepwell.toml");
    let lines = "rate = [\"ListActivities=1/0\"]\ntenant-state-machines = 1\n";
    std::fs::write(&config, lines)?;
    let (data, plugins) = (scratch.path().join("data"), scratch.path().join("plugins"));
    std::fs::create_dir_all(&plugins)?;
    let server = Server::start_with(&data, &plugins, &["--config", &config.to_string_lossy()])?;
    let client = server.client();
    let pass = json!({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}});
    client.create_machine("one", &pass)?;
    let refused = |code: &str, answer: Result<(), CallError>| match answer {
        Err(CallError::Refused { code: found, .. }) if found.ends_with(code) => Ok(()),
        other => bail!("not {code}: {other:?}"),
    };
    let second = client.create_machine("two", &pass).map(drop);
    refused("StateMachineLimitExceeded", second)?;
    client.call("ListActivities", &json!({}))?;
    let second = client.call("ListActivities", &json!({})).map(drop);
    refused("ThrottlingException", second)?;
    server.stop()
}

fn tenants() -> Result<()> {
    let python = python::interpreter()?;
    let place = Place::new()?;
    let own = place.plugins.join(A);
    std::fs::create_dir_all(&own)?;
    std::fs::copy(server::guest("echo")?, own.join("echo.wasm"))?;
    for account in [A, B] {
        let manifest = "[grants]\nsecrets = [\"KEY\"]";
        server::install(&place.plugins.join(account), "reads", "behave", manifest)?;
    }

    let connections = place.folder().join("connections.toml");
    std::fs::write(
        &connections,
        format!("[account.{A}.connection.api]\nallow = [\"http://127.0.0.1:9\"]\n"),
    )?;

    let keys = make_keys(&place.data)?;
    let named = connections.to_string_lossy();
    let prices = place.folder().join("prices.toml");
    std::fs::write(&prices, "currency = \"EUR\"\nexecution = 1.0\n")?;
    let prices = prices.to_string_lossy();
    let flags = ["--auth", "--connections", &named, "--prices", &prices];
    let server = place.serve(&flags)?;
    judge(&run(&python, &server, &keys)?)?;
    listed_by_the_program(&server, &keys)?;
    let used = asked_by_the_program(&server, &keys["b-operator"])?;
    server.stop()?;
    outlives_a_restart(&place.data, &used)?;

    check_audit(&place.data, &keys)?;
    let log = std::fs::read(place.data.with_extension("log"))?;
    let store = files(&place.data)?;
    for (name, key) in keys.as_object().context("keys by name")? {
        let secret = key["secretAccessKey"].as_str().context("a secret")?;
        ensure!(!holds(&log, secret), "the log holds the secret of {name}");
        ensure!(
            !store.iter().any(|file| holds(file, secret)),
            "the store holds the secret of {name}"
        );
    }
    for (what, bytes) in store
        .iter()
        .map(|file| ("store", file))
        .chain([("log", &log)])
    {
        ensure!(!holds(bytes, HIDDEN), "the {what} holds a tenant's secret");
    }
    outlive_rotation(&place.data, &place.plugins, &keys)
}

/// The program at the data directory; its stdout.
pub(super) fn told(data: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(server::program()?);
    command.args(arguments).arg("--data").arg(data);
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{arguments:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// An access key as the program tells it.
pub(super) fn add_key(data: &Path, account: &str, role: &str, description: &str) -> Result<Value> {
    let add = ["tenant", "keys", "add", account, "--role", role];
    let key = told(
        data,
        &[&add[..], &["--description", description, "--json"]].concat(),
    )?;
    Ok(serde_json::from_str(&key)?)
}

/// Two tenants with keys of all roles, by name.
fn make_keys(data: &Path) -> Result<Value> {
    let mut keys = json!({});
    for account in [A, B] {
        told(data, &["tenant", "add", account, "--name", "of the tests"])?;
    }
    for (name, account, role) in [
        ("a-read", A, "read"),
        ("a-run", A, "run"),
        ("a-admin", A, "admin"),
        ("a-operator", A, "operator"),
        ("a-disabled", A, "admin"),
        ("b-admin", B, "admin"),
        ("b-operator", B, "operator"),
    ] {
        keys[name] = add_key(data, account, role, name)?;
    }
    let id = keys["a-disabled"]["accessKeyId"]
        .as_str()
        .context("an id")?;
    told(data, &["tenant", "keys", "disable", id])?;
    Ok(keys)
}

fn run(python: &Path, server: &Server, keys: &Value) -> Result<String> {
    let mut run = Command::new(python);
    run.arg(server::root().join("tests/clients/boto3/tenants.py"))
        .args(["--endpoint", &server.client().endpoint()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = run.spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    stdin.write_all(keys.to_string().as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        text.starts_with("ok") || text.starts_with("FAIL"),
        "tenants.py ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

fn judge(text: &str) -> Result<()> {
    let failed: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("FAIL"))
        .collect();
    println!(
        "tenants: {}/{} cases",
        text.lines().count() - failed.len(),
        text.lines().count()
    );
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{} cases failed:\n{}", failed.len(), failed.join("\n"))
}

/// The command line signs what it asks.
fn listed_by_the_program(server: &Server, keys: &Value) -> Result<()> {
    let list = |key: &Value| -> Result<(bool, String)> {
        let mut command = Command::new(server::program()?);
        command
            .args([
                "machine",
                "list",
                "--json",
                "--endpoint",
                &server.client().endpoint(),
            ])
            .env(
                "AWS_ACCESS_KEY_ID",
                key["accessKeyId"].as_str().context("an id")?,
            )
            .env(
                "AWS_SECRET_ACCESS_KEY",
                key["secretAccessKey"].as_str().context("a secret")?,
            )
            .env_remove("AWS_REGION")
            .env_remove("AWS_DEFAULT_REGION");
        let output = command.output()?;
        Ok((output.status.success(), String::from_utf8(output.stdout)?))
    };
    let (listed, text) = list(&keys["a-read"])?;
    ensure!(
        listed && text.contains(&format!(":{A}:stateMachine:machine")),
        "machine list: {text}"
    );
    ensure!(!list(&keys["a-disabled"])?.0, "a disabled key lists");
    Ok(())
}

/// The program asks a running server for what it tells operators: what was used, which is given back.
fn asked_by_the_program(server: &Server, key: &Value) -> Result<Value> {
    let endpoint = server.client().endpoint();
    let ask = |arguments: &[&str]| -> Result<String> {
        let output = Command::new(server::program()?)
            .args(arguments)
            .args(["--endpoint", &endpoint])
            .env(
                "AWS_ACCESS_KEY_ID",
                key["accessKeyId"].as_str().context("an id")?,
            )
            .env(
                "AWS_SECRET_ACCESS_KEY",
                key["secretAccessKey"].as_str().context("a secret")?,
            )
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let third = "333333333333";
    ask(&["tenant", "add", third, "--name", "of the program"])?;
    let set = ["tenant", "set", third, "--open-executions", "5"];
    ask(&[&set[..], &["--rate", "StartExecution=10/1"]].concat())?;
    ask(&["tenant", "set", third, "--stored-bytes", "1GiB"])?;
    let shown = ask(&["tenant", "show", third])?;
    ensure!(shown.contains("100, the usual one"), "tenant show: {shown}");
    ask(&["tenant", "set", third, "--weight", "357"])?;
    let shown = ask(&["tenant", "show", third])?;
    for part in ["StartExecution", "1 GiB", "open executions", "357"] {
        ensure!(shown.contains(part), "tenant show: {shown}");
    }
    for weight in ["0", "1001", "much"] {
        let set = ask(&["tenant", "set", third, "--weight", weight]);
        let told = set.err().map(|error| error.to_string());
        ensure!(
            told.is_some_and(|text| text.contains("1 to 1000")),
            "{weight}"
        );
    }
    let made: Value = serde_json::from_str(&ask(&[
        "tenant", "keys", "add", third, "--role", "run", "--json",
    ])?)?;
    let id = made["accessKeyId"].as_str().context("an id")?;
    ensure!(ask(&["tenant", "keys", "list", third])?.contains(id));
    ask(&["tenant", "keys", "disable", id])?;
    ask(&["tenant", "keys", "remove", id])?;
    ensure!(ask(&["tenant", "list"])?.contains(third));
    ensure!(ask(&["tenant", "audit", third])?.contains("stepwell:AddAccessKey"));
    ask(&["tenant", "remove", third])?;
    ensure!(ask(&["usage", "--tenant", A])?.contains("EUR"));
    Ok(serde_json::from_str(&ask(&["usage", "--json"])?)?)
}

/// What was used and what may be is the same when the server is gone; without its prices there is no cost.
fn outlives_a_restart(data: &Path, used: &Value) -> Result<()> {
    let after: Value = serde_json::from_str(&told(data, &["usage", "--json"])?)?;
    let rows = |told: &Value| told["usage"].as_array().cloned().unwrap_or_default();
    let (before, after) = (rows(used), rows(&after));
    ensure!(!before.is_empty(), "nothing was used");
    for row in &before {
        // What a stopped server let go on writing is more, never less.
        let stays = after.iter().any(|other| outgrows(other, row));
        ensure!(stays, "used before: {row}\nafter: {after:#?}");
    }
    let free = after.iter().all(|row| row.get("cost").is_none());
    ensure!(free, "without prices nothing costs: {after:#?}");
    let shown: Value = serde_json::from_str(&told(data, &["tenant", "show", B, "--json"])?)?;
    ensure!(shown["quotas"] == json!({"activities": 1000}), "{shown}");
    ensure!(shown["taken"]["storedBytes"].as_u64() > Some(0), "{shown}");
    Ok(())
}

/// Whether a row of the usage is of the same and has no smaller counts.
fn outgrows(row: &Value, before: &Value) -> bool {
    let fields = before.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| *name != "cost")
        .all(|(name, value)| match (row[name].as_u64(), value.as_u64()) {
            (Some(now), Some(before)) => now >= before,
            (_, _) => row[name] == *value,
        })
}

/// What was changed and refused is in the tenant's log with its key, and nothing of the other tenant's.
fn check_audit(data: &Path, keys: &Value) -> Result<()> {
    let text = told(data, &["tenant", "audit", A, "--json"])?;
    let entries: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let id = |name: &str| keys[name]["accessKeyId"].as_str().unwrap_or_default();
    let has = |key: &str, operation: &str, resource: &str, refused: Option<&str>| {
        entries.iter().any(|entry| {
            entry["key"] == key
                && entry["operation"] == operation
                && entry["resource"]
                    .as_str()
                    .is_some_and(|found| found.ends_with(resource))
                && entry["refused"].as_str() == refused
        })
    };
    let machine = ":stateMachine:machine";
    let reads = format!("{}/reads", id("a-admin"));
    for (key, operation, resource, refused) in [
        ("-", "stepwell:AddTenant", A, None),
        ("-", "stepwell:DisableAccessKey", id("a-disabled"), None),
        (id("a-admin"), "CreateStateMachine", "machine", None),
        (id("a-admin"), "StartExecution", machine, None),
        (
            id("a-read"),
            "StartExecution",
            "machine-none",
            Some("AccessDeniedException"),
        ),
        (
            id("a-run"),
            "StartExecution",
            "machine-none",
            Some("StateMachineDoesNotExist"),
        ),
        (id("a-admin"), "sts:AssumeRole", ":role/read", None),
        (
            id("a-run"),
            "sts:AssumeRole",
            ":role/admin",
            Some("AccessDenied"),
        ),
        (
            &reads,
            "StartExecution",
            machine,
            Some("AccessDeniedException"),
        ),
    ] {
        ensure!(
            has(key, operation, resource, refused),
            "the audit log lacks {operation} of {key} ({refused:?}) in:\n{text}"
        );
    }
    let made = |entry: &&Value| {
        entry["operation"] == "CreateStateMachineAlias" && entry["key"] == id("a-admin")
    };
    let made = entries.iter().find(made).context("an alias was made")?;
    let of = made["resource"].as_str().unwrap_or_default();
    ensure!(
        of.ends_with(":stateMachine:machine:live") && made["alias"]["after"] == "1",
        "{made}"
    );
    let remote = entries.iter().filter(|entry| entry["key"] != "-");
    for entry in remote {
        ensure!(entry["address"] == "127.0.0.1", "no address: {entry}");
        // Operators keep the tenants of all, whichever is theirs.
        let operation = entry["operation"].as_str().unwrap_or_default();
        let keeps = entry["key"] == id("b-operator") && operation.starts_with("stepwell:");
        ensure!(
            keeps || (entry["key"] != id("b-admin") && entry["key"] != id("b-operator")),
            "another tenant's: {entry}"
        );
    }
    ensure!(
        entries.is_sorted_by(|a, b| a["time"].as_str() <= b["time"].as_str()),
        "not in order of time"
    );
    Ok(())
}

/// A new key in the key file opens what the old one sealed; the old file does not.
fn outlive_rotation(data: &Path, plugins: &Path, keys: &Value) -> Result<()> {
    let file = data.with_file_name("data.key");
    let before = std::fs::read_to_string(&file)?;
    told(data, &["tenant", "rotate"])?;
    let after = std::fs::read_to_string(&file)?;
    ensure!(
        before != after && after.lines().count() == 2,
        "one key, another one: {after}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "the key file's mode is {mode:o}");
    }
    // Without the flag: that there are keys suffices.
    let server = Server::start(data, plugins)?;
    listed_by_the_program(&server, keys)?;
    server.stop()?;
    std::fs::write(&file, before)?;
    let started = Server::start(data, plugins);
    ensure!(started.is_err(), "the old key file opens the store");
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            found.push(std::fs::read(path)?);
        }
    }
    Ok(found)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
