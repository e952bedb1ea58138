//! What others hear of executions, over real sockets: metrics by state machine, a collector's spans and log records, a
//! webhook's events. Each is compared with what was run.

mod metrics;
mod telemetry;
mod webhooks;

use std::time::Duration;

use anyhow::{Context, Result};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::server::{self, Client, ROLE, Server, Turn};

use super::trial;

/// How long an execution may take.
const RUN_MAX: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("observe::metrics tell what was run", metrics::told),
        trial(
            "observe::spans form the tree of states and attempts",
            telemetry::traces,
        ),
        trial(
            "observe::what is not traced or not sampled has no spans",
            telemetry::untraced,
        ),
        trial(
            "observe::a trace goes on over a crash and a redrive",
            telemetry::traces_over_a_crash,
        ),
        trial(
            "observe::log records are those that the machine logs",
            telemetry::logs,
        ),
        trial(
            "observe::a collector that is away holds up nothing",
            telemetry::no_collector,
        ),
        trial(
            "observe::a webhook gets each change, signed, in order",
            webhooks::delivered,
        ),
        trial(
            "observe::no event of a webhook is lost by a crash or by a receiver that is away",
            webhooks::kept,
        ),
        trial(
            "observe::an event that a receiver never takes delays no other execution",
            webhooks::poisonous,
        ),
        trial(
            "observe::a webhook that leaves the file and comes back gets what waited",
            webhooks::comes_back,
        ),
        trial(
            "observe::a receiver whose answer never ends has taken the event",
            webhooks::endless,
        ),
        trial(
            "observe::a webhook at a private address gets nothing unasked",
            webhooks::private,
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

/// A state machine that passes its input on, by that name.
fn passing(client: &Client) -> Result<String> {
    let definition = one("Pass", json!({"End": true}));
    machine(client, "pass", &definition, json!({}))
}

fn behave(what: &str) -> Value {
    json!({"Type": "Task", "Resource": "wasm:behave", "Parameters": {"do": what, "error": "Broken", "cause": "on purpose"}})
}
