//! HTTP tasks against a real server: `tests/http/CASE.json` is a connection, a state machine and the replies that it gets;
//! `CASE.txt` beside it is what was asked, what became of the execution, and its events. `BLESS=1` rewrites the latter. No
//! secret of a case may stand in its history, its description or the server's log.

mod provider;

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::{Value, json};
use stepwell_tests::server::{self, Client, ROLE, Server, Turn};

use super::trial;
use provider::{Provider, Reply};

/// Who waits longer for an execution waits in vain.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("http_tasks::cases", cases),
        trial("http_tasks::stopped", stopped),
        trial("http_tasks::killed", killed),
    ]
}

/// A file of the folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "what")]
    _what: String,
    connection: Value,
    machine: Value,
    #[serde(default)]
    input: Option<Value>,
    replies: Vec<Reply>,
    /// Texts that must not be told.
    #[serde(default)]
    secrets: Vec<String>,
    /// The state is tried alone, with these members of the call.
    #[serde(default)]
    test_state: Option<Value>,
}

fn folder() -> PathBuf {
    server::root().join("tests/http")
}

/// A server with the connections of all cases, and the API that they reach.
struct Stage {
    provider: Provider,
    scratch: tempfile::TempDir,
}

impl Stage {
    fn set(connections: &BTreeMap<String, Value>) -> Result<Stage> {
        let file = |name: &str| std::fs::read(folder().join("tls").join(name));
        let provider = Provider::start(&file("certificate.pem")?, &file("key.pem")?)?;
        let stage = Stage {
            provider,
            scratch: tempfile::tempdir()?,
        };
        let connections: BTreeMap<&String, Value> = connections
            .iter()
            .map(|(name, connection)| Ok((name, stage.fill(name, connection)?)))
            .collect::<Result<_>>()?;
        let trust = folder().join("tls/certificate.pem");
        let file = json!({ "trust": trust, "connection": connections });
        std::fs::write(stage.path("connections.json"), file.to_string())?;
        std::fs::create_dir_all(stage.path("plugins"))?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn serve(&self) -> Result<Server> {
        let connections = self.path("connections.json");
        let connections = connections.to_str().context("the path is UTF-8")?;
        let (data, plugins) = (self.path("data"), self.path("plugins"));
        Server::start_with(&data, &plugins, &["--connections", connections])
    }

    /// A case's part with its addresses in it.
    fn fill(&self, case: &str, part: &Value) -> Result<Value> {
        let provider = &self.provider;
        let text = part
            .to_string()
            .replace("{origin}", &provider.plain)
            .replace("{url}", &format!("{}/{case}", provider.plain))
            .replace("{tls}", &provider.tls)
            .replace("{tls-by-name}", &provider.tls_by_name)
            .replace("{connection}", &arn(case));
        Ok(serde_json::from_str(&text)?)
    }

    /// A text without what differs from run to run.
    fn plain(&self, text: &str) -> String {
        let provider = &self.provider;
        let host = |origin: &str| origin.rsplit("//").next().unwrap_or_default().to_owned();
        text.replace(&provider.plain, "{origin}")
            .replace(&provider.tls, "{tls}")
            .replace(&provider.tls_by_name, "{tls-by-name}")
            .replace(&host(&provider.plain), "{host}")
            .replace(&host(&provider.tls), "{tls-host}")
    }
}

fn arn(connection: &str) -> String {
    format!("arn:aws:events:us-east-1:000000000000:connection/{connection}/81210c42-8af1")
}

fn cases() -> Result<()> {
    let _turn = Turn::take()?;
    let mut cases = BTreeMap::new();
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text = std::fs::read_to_string(&path)?;
            let case: Case = serde_json::from_str(&text).with_context(|| name.to_string())?;
            cases.insert(name.to_string(), case);
        }
    }
    ensure!(!cases.is_empty(), "there are no cases");
    let connections = cases
        .iter()
        .map(|(name, case)| (name.clone(), case.connection.clone()))
        .collect();
    let stage = Stage::set(&connections)?;
    let server = stage.serve()?;
    let mut wrong = Vec::new();
    for (name, case) in &cases {
        let found = stage.plain(&play(&stage, &server.client(), name, case)?);
        let path = folder().join(format!("{name}.txt"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &found)?;
            continue;
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{name}: expected\n{expected}\nfound\n{found}"));
        }
    }
    server.stop()?;
    let log = std::fs::read_to_string(stage.path("data.log"))?;
    for (name, case) in &cases {
        for secret in case.secrets.iter().filter(|secret| log.contains(*secret)) {
            wrong.push(format!("{name}: the log tells {secret}"));
        }
    }
    if !wrong.is_empty() {
        bail!("{} are not as expected:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(())
}

/// What was asked and what came of it.
fn play(stage: &Stage, client: &Client, name: &str, case: &Case) -> Result<String> {
    stage.provider.expect(name, case.replies.clone());
    let machine = stage.fill(name, &case.machine)?;
    let told = match &case.test_state {
        Some(members) => try_state(client, &machine, members)?,
        None => run(client, name, &machine, case)?,
    };
    for secret in &case.secrets {
        ensure!(!told.contains(secret), "{name}: {secret} is told:\n{told}");
    }
    if case.replies.iter().any(Reply::hangs) {
        stage.provider.wait(name, case.replies.len() + 1)?;
    }
    let mut text = String::new();
    for request in stage.provider.asked(name) {
        writeln!(text, "{request}")?;
    }
    Ok(text + &told)
}

fn run(client: &Client, name: &str, machine: &Value, case: &Case) -> Result<String> {
    let arn = client.create_machine(name, machine)?;
    let input = case.input.clone().unwrap_or_else(|| json!({}));
    let execution = client.start(&arn, "one", &input)?;
    let ended = client.ended(&execution, PATIENCE)?;
    let history = client.history(&execution)?;
    let mut told = String::new();
    for member in ["status", "output", "error", "cause"] {
        if let Some(text) = ended[member].as_str() {
            writeln!(told, "{member}: {text}")?;
        }
    }
    for event in &history {
        let kind = event["type"].as_str().unwrap_or_default();
        write!(told, "{kind}")?;
        let details = event.as_object().into_iter().flatten();
        for (_, details) in details.filter(|(name, _)| name.starts_with("task")) {
            for member in ["resourceType", "resource", "error", "cause"] {
                if let Some(text) = details[member].as_str() {
                    write!(told, " {member}={text}")?;
                }
            }
        }
        writeln!(told)?;
    }
    for secret in &case.secrets {
        let history = Value::from(history.clone()).to_string();
        ensure!(
            !history.contains(secret),
            "{name}: the history tells {secret}"
        );
    }
    Ok(told)
}

fn try_state(client: &Client, machine: &Value, members: &Value) -> Result<String> {
    let mut request = json!({
        "definition": machine["States"]["Call"].to_string(),
        "roleArn": ROLE,
        "input": "{}",
        "inspectionLevel": "TRACE",
    });
    for (name, value) in members.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    let tested = client.call("TestState", &request)?;
    let mut told = String::new();
    for member in ["status", "error", "cause", "output"] {
        if let Some(text) = tested[member].as_str() {
            writeln!(told, "{member}: {text}")?;
        }
    }
    for of in ["request", "response"] {
        let inspected = serde_json::to_string_pretty(&tested["inspectionData"][of])?;
        writeln!(told, "{of}: {inspected}")?;
    }
    Ok(told)
}

/// A state machine of one task that asks for `/CASE`.
fn one_task(stage: &Stage, case: &str) -> Result<Value> {
    let machine = json!({ "StartAt": "Call", "States": { "Call": {
        "Type": "Task",
        "Resource": "arn:aws:states:::http:invoke",
        "Parameters": {
            "ApiEndpoint": "{url}", "Method": "GET", "InvocationConfig": { "ConnectionArn": "{connection}" },
        },
        "End": true,
    } } });
    stage.fill(case, &machine)
}

fn replies(replies: Value) -> Result<Vec<Reply>> {
    Ok(serde_json::from_value(replies)?)
}

fn stage_of(case: &str) -> Result<Stage> {
    Stage::set(&[(case.to_owned(), json!({ "allow": ["{origin}"] }))].into())
}

/// StopExecution ends the request.
fn stopped() -> Result<()> {
    let _turn = Turn::take()?;
    let stage = stage_of("stopped")?;
    let server = stage.serve()?;
    let client = server.client();
    stage
        .provider
        .expect("stopped", replies(json!([{ "hang": true }]))?);
    let machine = client.create_machine("stopped", &one_task(&stage, "stopped")?)?;
    let execution = client.start(&machine, "one", &json!({}))?;
    stage.provider.wait("stopped", 1)?;
    client.call("StopExecution", &json!({ "executionArn": execution }))?;
    stage.provider.wait("stopped", 2)?;
    let ended = client.ended(&execution, PATIENCE)?;
    ensure!(ended["status"] == "ABORTED", "{ended}");
    server.stop()
}

/// A request that was under way when the server was killed is made again, under the same attempt.
fn killed() -> Result<()> {
    let _turn = Turn::take()?;
    let stage = stage_of("killed")?;
    let server = stage.serve()?;
    let then = json!([{ "hang": true }, { "status": "200 OK", "body": "again" }]);
    stage.provider.expect("killed", replies(then)?);
    let machine = server
        .client()
        .create_machine("killed", &one_task(&stage, "killed")?)?;
    let execution = server.client().start(&machine, "one", &json!({}))?;
    stage.provider.wait("killed", 1)?;
    server.kill()?;
    let server = stage.serve()?;
    let ended = server.client().ended(&execution, PATIENCE)?;
    let output: Value = serde_json::from_str(ended["output"].as_str().unwrap_or("null"))?;
    ensure!(output["ResponseBody"] == "again", "{ended}");
    let history = server.client().history(&execution)?;
    let scheduled = history
        .iter()
        .filter(|event| event["type"] == "TaskScheduled");
    ensure!(scheduled.count() == 1, "{history:?}");
    server.stop()
}
