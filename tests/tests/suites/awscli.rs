//! The AWS CLI as users type it, against a server that authenticates: `aws stepfunctions …`, signed with a tenant's key.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{place::Place, python};

use super::{
    tenants::{A, B, add_key, told},
    trial,
};

const ROLE: &str = "arn:aws:iam::111111111111:role/tests";
/// Between two looks at an execution; each look starts a program, which takes longer.
const LOOKS_MAX: usize = 60;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("awscli::life_of_a_workflow", life)]
}

/// Has a client of AWS run in a folder, ask this server with this key, and know no other configuration.
pub(super) fn configure(
    command: &mut Command,
    folder: &Path,
    endpoint: &str,
    key: &Value,
) -> Result<()> {
    let text = |name: &str| key[name].as_str().context("a key");
    command
        .current_dir(folder)
        .env("AWS_CONFIG_FILE", folder.join("none"))
        .env("AWS_SHARED_CREDENTIALS_FILE", folder.join("none"))
        .env("AWS_ENDPOINT_URL_SFN", endpoint)
        .env("AWS_ENDPOINT_URL_LAMBDA", endpoint)
        .env("AWS_DISABLE_HOST_PREFIX_INJECTION", "true")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", text("accessKeyId")?)
        .env("AWS_SECRET_ACCESS_KEY", text("secretAccessKey")?)
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_PAGER", "")
        .env_remove("AWS_REGION")
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE");
    Ok(())
}

/// The program with one tenant's key.
pub(super) struct Aws {
    pub(super) program: PathBuf,
    pub(super) endpoint: String,
    pub(super) key: Value,
    pub(super) folder: PathBuf,
    /// `stepfunctions`, `lambda`.
    pub(super) service: &'static str,
}

impl Aws {
    pub(super) fn output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command
            .args([self.service, "--output", "json"])
            .args(arguments);
        configure(&mut command, &self.folder, &self.endpoint, &self.key)?;
        Ok(command.output()?)
    }

    /// The answer of a command that succeeds; null when it prints nothing.
    pub(super) fn answer(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.output(arguments)?;
        ensure!(
            output.status.success(),
            "{arguments:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        if output.stdout.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?}"))
    }

    /// One member of the answer, a text.
    fn text(&self, arguments: &[&str], member: &str) -> Result<String> {
        let answer = self.answer(arguments)?;
        let text = answer[member].as_str();
        text.map(str::to_owned)
            .with_context(|| format!("{arguments:?}: no {member} in {answer}"))
    }

    /// Refused with that code, as the program tells it.
    pub(super) fn refused(&self, arguments: &[&str], code: &str) -> Result<()> {
        let output = self.output(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success()
                && said.contains(&format!("An error occurred ({code}) when calling")),
            "{arguments:?}: expected {code}, not {}: {said}",
            output.status
        );
        Ok(())
    }

    /// The description of an execution once it is closed.
    pub(super) fn closed(&self, execution: &str) -> Result<Value> {
        let mut last = Value::Null;
        for _ in 0..LOOKS_MAX {
            last = self.answer(&["describe-execution", "--execution-arn", execution])?;
            if last["status"] != "RUNNING" {
                return Ok(last);
            }
        }
        anyhow::bail!("{execution} does not end: {last}")
    }

    pub(super) fn create(&self, name: &str, definition: &Value, more: &[&str]) -> Result<String> {
        let file = format!("{name}.asl.json");
        std::fs::write(self.folder.join(&file), definition.to_string())?;
        let definition = format!("file://{file}");
        let mut arguments = vec!["create-state-machine", "--name", name, "--role-arn", ROLE];
        arguments.extend(["--definition", &definition]);
        arguments.extend(more);
        self.text(&arguments, "stateMachineArn")
    }

    pub(super) fn start(&self, machine: &str, name: &str, input: &str) -> Result<String> {
        self.text(
            &[
                "start-execution",
                "--state-machine-arn",
                machine,
                "--name",
                name,
                "--input",
                input,
            ],
            "executionArn",
        )
    }
}

fn life() -> Result<()> {
    let place = Place::new()?;
    let program = python::aws_cli()?;
    for account in [A, B] {
        told(&place.data, &["tenant", "add", account])?;
    }
    let key = |account: &str| add_key(&place.data, account, "admin", "the AWS CLI");
    let (key, other) = (key(A)?, key(B)?);
    let server = place.serve(&["--auth"])?;
    let with = |key: Value| Aws {
        program: program.clone(),
        endpoint: server.client().endpoint(),
        key,
        folder: place.folder().to_owned(),
        service: "stepfunctions",
    };
    let aws = with(key);
    let machine = aws.create("orders", &orders(), &["--tags", "key=team,value=a"])?;
    ensure!(machine.contains(A), "another tenant's: {machine}");
    succeeds(&aws, &machine)?;
    fails(&aws, &machine)?;
    stops(&aws)?;
    answers_a_task(&aws)?;
    runs_at_once(&aws, place.folder())?;
    is_another_tenants(&with(other), &machine)?;
    cleans_up(&aws, &machine)?;
    server.stop()
}

fn orders() -> Value {
    json!({
        "StartAt": "Ask",
        "States": {
            "Ask": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.amount", "NumericGreaterThan": 100, "Next": "TooMuch"}],
                "Default": "Take",
            },
            "Take": {"Type": "Pass", "Result": {"taken": true}, "End": true},
            "TooMuch": {"Type": "Fail", "Error": "TooMuch", "Cause": "more than 100"},
        },
    })
}

fn succeeds(aws: &Aws, machine: &str) -> Result<()> {
    let described = aws.answer(&["describe-state-machine", "--state-machine-arn", machine])?;
    ensure!(
        described["status"] == "ACTIVE" && described["type"] == "STANDARD",
        "{described}"
    );
    let execution = aws.start(machine, "first", r#"{"amount": 7}"#)?;
    let ended = aws.closed(&execution)?;
    ensure!(
        ended["status"] == "SUCCEEDED" && ended["output"] == r#"{"taken":true}"#,
        "{ended}"
    );
    // Page by page, which the program does by itself.
    let history = ["get-execution-history", "--execution-arn", &execution];
    let events = aws.answer(&[&history[..], &["--page-size", "2"]].concat())?;
    let types: Vec<&str> = events["events"]
        .as_array()
        .context("events")?
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    ensure!(
        types
            == [
                "ExecutionStarted",
                "ChoiceStateEntered",
                "ChoiceStateExited",
                "PassStateEntered",
                "PassStateExited",
                "ExecutionSucceeded"
            ],
        "{types:?}"
    );
    let first = aws.answer(&[&history[..], &["--max-items", "1"]].concat())?;
    let token = first["NextToken"].as_str().context("a token")?;
    let rest = aws.answer(&[&history[..], &["--starting-token", token]].concat())?;
    ensure!(
        rest["events"]
            .as_array()
            .is_some_and(|rest| rest.len() == 5),
        "{rest}"
    );
    Ok(())
}

fn fails(aws: &Aws, machine: &str) -> Result<()> {
    let execution = aws.start(machine, "second", r#"{"amount": 700}"#)?;
    let ended = aws.closed(&execution)?;
    ensure!(
        ended["status"] == "FAILED"
            && ended["error"] == "TooMuch"
            && ended["cause"] == "more than 100",
        "{ended}"
    );
    let list = ["list-executions", "--state-machine-arn", machine];
    let failed = aws.answer(&[&list[..], &["--status-filter", "FAILED"]].concat())?;
    let names: Vec<&Value> = failed["executions"]
        .as_array()
        .context("executions")?
        .iter()
        .map(|execution| &execution["name"])
        .collect();
    ensure!(names == ["second"], "{failed}");
    let all = aws.answer(&[&list[..], &["--page-size", "1"]].concat())?;
    ensure!(
        all["executions"]
            .as_array()
            .is_some_and(|all| all.len() == 2),
        "{all}"
    );
    let start = ["start-execution", "--state-machine-arn", machine, "--input"];
    aws.refused(&[&start[..], &["{"]].concat(), "InvalidExecutionInput")?;
    aws.refused(
        &[
            "describe-execution",
            "--execution-arn",
            &format!("{execution}-none"),
        ],
        "ExecutionDoesNotExist",
    )
}

fn stops(aws: &Aws) -> Result<()> {
    let wait =
        json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 3600, "End": true}}});
    let machine = aws.create("waits", &wait, &[])?;
    let execution = aws.start(&machine, "long", "{}")?;
    let stop = ["stop-execution", "--execution-arn", &execution];
    aws.answer(&[&stop[..], &["--error", "Enough", "--cause", "tired"]].concat())?;
    let ended = aws.closed(&execution)?;
    ensure!(
        ended["status"] == "ABORTED" && ended["error"] == "Enough",
        "{ended}"
    );
    aws.answer(&["delete-state-machine", "--state-machine-arn", &machine])?;
    Ok(())
}

fn answers_a_task(aws: &Aws) -> Result<()> {
    let activity = aws.text(&["create-activity", "--name", "by-hand"], "activityArn")?;
    let asks = json!({"StartAt": "Ask", "States": {"Ask": {"Type": "Task", "Resource": activity, "End": true}}});
    let machine = aws.create("asks", &asks, &[])?;
    let execution = aws.start(&machine, "asked", r#"{"n": 1}"#)?;
    let task = aws.answer(&["get-activity-task", "--activity-arn", &activity])?;
    ensure!(as_json(&task["input"])? == json!({"n": 1}), "{task}");
    let token = task["taskToken"].as_str().context("a token")?;
    let success = ["send-task-success", "--task-token", token];
    aws.answer(&[&success[..], &["--task-output", r#"{"n": 2}"#]].concat())?;
    let ended = aws.closed(&execution)?;
    ensure!(
        ended["status"] == "SUCCEEDED" && as_json(&ended["output"])? == json!({"n": 2}),
        "{ended}"
    );
    aws.answer(&["delete-state-machine", "--state-machine-arn", &machine])?;
    aws.answer(&["delete-activity", "--activity-arn", &activity])?;
    Ok(())
}

/// The JSON that a text holds: white space is nobody's promise.
fn as_json(text: &Value) -> Result<Value> {
    let text = text.as_str().context("a text")?;
    Ok(serde_json::from_str(text)?)
}

/// Calls that answer with what was run: EXPRESS, and a state alone.
fn runs_at_once(aws: &Aws, folder: &Path) -> Result<()> {
    let machine = aws.create("at-once", &orders(), &["--type", "EXPRESS"])?;
    let start = ["start-sync-execution", "--state-machine-arn", &machine];
    let ended = aws.answer(&[&start[..], &["--input", r#"{"amount": 1}"#]].concat())?;
    ensure!(
        ended["status"] == "SUCCEEDED" && ended["output"] == r#"{"taken":true}"#,
        "{ended}"
    );
    std::fs::write(
        folder.join("state.json"),
        json!({"Type": "Pass", "Result": 1, "End": true}).to_string(),
    )?;
    let tested = aws.answer(&[
        "test-state",
        "--role-arn",
        ROLE,
        "--definition",
        "file://state.json",
    ])?;
    ensure!(
        tested["status"] == "SUCCEEDED" && tested["output"] == "1",
        "{tested}"
    );
    std::fs::write(
        folder.join("wrong.json"),
        r#"{"StartAt": "A", "States": {}}"#,
    )?;
    let judged = aws.answer(&[
        "validate-state-machine-definition",
        "--definition",
        "file://wrong.json",
    ])?;
    ensure!(judged["result"] == "FAIL", "{judged}");
    aws.answer(&["delete-state-machine", "--state-machine-arn", &machine])?;
    Ok(())
}

fn is_another_tenants(other: &Aws, machine: &str) -> Result<()> {
    let listed = other.answer(&["list-state-machines"])?;
    ensure!(listed["stateMachines"] == json!([]), "{listed}");
    other.refused(
        &["describe-state-machine", "--state-machine-arn", machine],
        "InvalidArn",
    )?;
    let unknown = Aws {
        program: other.program.clone(),
        endpoint: other.endpoint.clone(),
        key: json!({"accessKeyId": "AKIANOBODY0000000000", "secretAccessKey": "x"}),
        folder: other.folder.clone(),
        service: other.service,
    };
    unknown.refused(&["list-state-machines"], "UnrecognizedClientException")
}

fn cleans_up(aws: &Aws, machine: &str) -> Result<()> {
    let version = aws.text(
        &[
            "publish-state-machine-version",
            "--state-machine-arn",
            machine,
        ],
        "stateMachineVersionArn",
    )?;
    let routing = format!("stateMachineVersionArn={version},weight=100");
    let alias = aws.text(
        &[
            "create-state-machine-alias",
            "--name",
            "live",
            "--routing-configuration",
            &routing,
        ],
        "stateMachineAliasArn",
    )?;
    let execution = aws.start(&alias, "third", r#"{"amount": 1}"#)?;
    ensure!(
        aws.closed(&execution)?["stateMachineAliasArn"] == *alias,
        "not by the alias"
    );
    let tags = aws.answer(&["list-tags-for-resource", "--resource-arn", machine])?;
    ensure!(
        tags["tags"] == json!([{"key": "team", "value": "a"}]),
        "{tags}"
    );
    aws.answer(&[
        "delete-state-machine-alias",
        "--state-machine-alias-arn",
        &alias,
    ])?;
    aws.answer(&["delete-state-machine", "--state-machine-arn", machine])?;
    // It goes when its executions are closed; the list has it until then.
    for _ in 0..LOOKS_MAX {
        let listed = aws.answer(&["list-state-machines"])?;
        if listed["stateMachines"] == json!([]) {
            return Ok(());
        }
    }
    anyhow::bail!("{machine} stays in the list")
}
