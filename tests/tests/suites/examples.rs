//! Every folder of `examples/`: complete, listed, and each case run by the built program as `test.toml` says.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::{Value, json};
use stepwell_tests::server::{self, Client, Server, Turn};

use super::trial;

/// How long a run with answers may take.
const RUN_MAX: Duration = Duration::from_secs(60);
/// Between two looks at an execution.
const LOOK: Duration = Duration::from_millis(30);
/// What each example has beside its tasks, inputs and outputs: one of runs of a state machine.
const FILES: [&str; 6] = [
    "README.md",
    "machine.asl.json",
    "input.json",
    "expected.json",
    "test.toml",
    "run.svg",
];

/// And one with a script.
const SCRIPT_FILES: [&str; 2] = ["README.md", "test.toml"];

pub(crate) fn trials() -> Vec<Trial> {
    let folder = server::root().join("examples");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let of = |name: String| {
        let folder = folder.join(&name);
        trial(format!("examples::{name}"), move || example(&folder, &name))
    };
    names.into_iter().map(of).collect()
}

/// `test.toml`, as `examples/README.md` describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    server: Option<Helper>,
    mocks: Option<String>,
    #[serde(default)]
    case: Vec<Case>,
    /// In place of cases.
    script: Option<Script>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    command: Vec<String>,
    expected: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Helper {
    command: Vec<String>,
    ready: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    input: String,
    expected: Option<String>,
    #[serde(default)]
    exit: i32,
    error: Option<String>,
    cause: Option<String>,
    #[serde(default)]
    seconds_min: f64,
    #[serde(default)]
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    state: String,
    success: Option<Value>,
    failure: Option<Failure>,
    #[serde(default)]
    heartbeat: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    error: String,
    cause: String,
}

/// How a run ended, in the words of the API.
struct End {
    exit: i32,
    status: String,
    output: Option<Value>,
    error: Option<String>,
    cause: Option<String>,
}

fn example(folder: &Path, name: &str) -> Result<()> {
    let text = std::fs::read_to_string(folder.join("test.toml")).context("test.toml is missing")?;
    let test: Test = toml::from_str(&text).context("test.toml")?;
    complete(folder, name, &test)?;
    let plugins = server::example_plugins(name)?;
    if let Some(script) = &test.script {
        return scripted(folder, &plugins, script);
    }
    let _helper = test
        .server
        .as_ref()
        .map(|helper| Running::start(helper, folder))
        .transpose()?;
    for (n, case) in test.case.iter().enumerate() {
        let begun = Instant::now();
        let end = if case.answers.is_empty() {
            run(folder, &plugins, case)
        } else {
            answered(folder, &plugins, case)
        };
        let at = || format!("case {} ({})", n + 1, case.input);
        let end = end.with_context(at)?;
        compare(folder, case, &end).with_context(at)?;
        let took = begun.elapsed().as_secs_f64();
        ensure!(
            took >= case.seconds_min,
            "{}: took {took:.2} s, at least {} s expected",
            at(),
            case.seconds_min
        );
    }
    if let Some(mocks) = &test.mocks {
        mocked(folder, mocks)?;
    }
    println!("example {name}: {} cases", test.case.len());
    Ok(())
}

/// A script that starts what it needs by itself and says what it saw.
fn scripted(folder: &Path, plugins: &Path, script: &Script) -> Result<()> {
    let _turn = Turn::take()?;
    let (program, arguments) = script.command.split_first().context("`command` is empty")?;
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("STEPWELL", server::program()?)
        .env("PLUGINS", plugins)
        .env_remove("STEPWELL_EDGE")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .with_context(|| {
            format!("`{program}` cannot be started; install the package that has it")
        })?;
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = std::fs::read_to_string(folder.join(&script.expected))
        .with_context(|| format!("{} is missing", script.expected))?;
    ensure!(
        output.status.success() && said == expected,
        "{}, it said:\n{said}{}\nand not:\n{expected}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    println!("example {}: a script", folder.display());
    Ok(())
}

/// `stepwell test` with mocked tasks: every case passes and every state is reached.
fn mocked(folder: &Path, mocks: &str) -> Result<()> {
    let output = Command::new(server::program()?)
        .arg("test")
        .arg(folder.join("machine.asl.json"))
        .arg("--mocks")
        .arg(folder.join(mocks))
        .arg("--json")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("stepwell test: {} {said}", output.status))?;
    ensure!(
        output.status.success() && report["failed"] == 0 && report["notReached"] == json!([]),
        "stepwell test: {report:#}"
    );
    Ok(())
}

/// Nothing is missing, unlisted or unused.
fn complete(folder: &Path, name: &str, test: &Test) -> Result<()> {
    let files = match test.script {
        Some(_) => &SCRIPT_FILES[..],
        None => &FILES[..],
    };
    for file in files {
        ensure!(folder.join(file).is_file(), "{file} is missing");
    }
    let list = std::fs::read_to_string(server::root().join("examples/README.md"))?;
    ensure!(
        list.contains(&format!("[{name}]({name})")),
        "examples/README.md does not list it"
    );
    ensure!(
        test.case.is_empty() == test.script.is_some(),
        "test.toml has neither cases nor a script, or both"
    );
    let used: BTreeSet<&str> = test
        .case
        .iter()
        .flat_map(|case| [Some(case.input.as_str()), case.expected.as_deref()])
        .flatten()
        .chain(test.mocks.as_deref())
        .chain(test.script.as_ref().map(|script| script.expected.as_str()))
        .collect();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let is_data = ["input", "expected", "mocks"]
            .iter()
            .any(|kind| file.starts_with(kind));
        ensure!(
            !is_data || used.contains(file.as_str()),
            "no case of test.toml uses {file}"
        );
    }
    for task in std::fs::read_dir(folder.join("tasks")).context("it has no tasks")? {
        let task = task?.path();
        let source = std::fs::read_to_string(task.join("src/lib.rs")).unwrap_or_default();
        ensure!(
            source.contains("#[test]"),
            "{} has no tests",
            task.display()
        );
    }
    Ok(())
}

/// `stepwell run` to its end.
fn run(folder: &Path, plugins: &Path, case: &Case) -> Result<End> {
    let output = Command::new(server::program()?)
        .arg("run")
        .arg(folder.join("machine.asl.json"))
        .arg("--input")
        .arg(format!("@{}", folder.join(&case.input).display()))
        .arg("--plugins")
        .arg(plugins)
        .args(["--json", "--quiet"])
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let description: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} and no JSON on stdout; stderr: {said}", output.status))?;
    end(output.status.code().unwrap_or(-1), &description)
}

/// Against a server, with the answers that the case gives.
fn answered(folder: &Path, plugins: &Path, case: &Case) -> Result<End> {
    let scratch = tempfile::tempdir()?;
    let server = Server::start(&scratch.path().join("data"), plugins)?;
    let client = server.client();
    let machine = client.create_machine("example", &read(&folder.join("machine.asl.json"))?)?;
    let execution = client.start(&machine, "case", &read(&folder.join(&case.input))?)?;
    for answer in &case.answers {
        let token = submitted(&client, &execution, &answer.state)?;
        let (operation, mut request) = match (&answer.success, &answer.failure, answer.heartbeat) {
            (Some(output), None, false) => {
                ("SendTaskSuccess", json!({ "output": output.to_string() }))
            }
            (None, Some(failure), false) => (
                "SendTaskFailure",
                json!({ "error": failure.error, "cause": failure.cause }),
            ),
            (None, None, true) => ("SendTaskHeartbeat", json!({})),
            _ => bail!(
                "the answer to {} is not one of success, failure, heartbeat",
                answer.state
            ),
        };
        request["taskToken"] = json!(token);
        client.call(operation, &request)?;
    }
    let description = client.ended(&execution, RUN_MAX)?;
    server.stop()?;
    end(
        i32::from(description["status"] != "SUCCEEDED"),
        &description,
    )
}

/// Waits until the task of a state is submitted and still open. Gives its token.
fn submitted(client: &Client, execution: &str, state: &str) -> Result<String> {
    let begun = Instant::now();
    while begun.elapsed() < RUN_MAX {
        let history = client.history(execution)?;
        if let Some(token) = open_token(&history, state) {
            return Ok(token);
        }
        std::thread::sleep(LOOK);
    }
    bail!("the task of {state} was not submitted within {RUN_MAX:?}")
}

fn open_token(history: &[Value], state: &str) -> Option<String> {
    let mut entered = None;
    let mut token = None;
    let mut submitted = false;
    for event in history {
        match event["type"].as_str()? {
            "TaskStateEntered" => {
                entered = event["stateEnteredEventDetails"]["name"].as_str();
                (token, submitted) = (None, false);
            }
            "TaskScheduled" => {
                let parameters = event["taskScheduledEventDetails"]["parameters"].as_str()?;
                let parameters: Value = serde_json::from_str(parameters).ok()?;
                token = parameters["Payload"]["token"].as_str().map(str::to_owned);
                submitted = false;
            }
            "TaskSubmitted" => submitted = true,
            "TaskStarted" => {}
            _ => submitted = false,
        }
    }
    token.filter(|_| submitted && entered == Some(state))
}

fn end(exit: i32, description: &Value) -> Result<End> {
    let member = |name: &str| description[name].as_str().map(str::to_owned);
    Ok(End {
        exit,
        status: member("status").unwrap_or_default(),
        output: member("output")
            .map(|text| serde_json::from_str(&text))
            .transpose()?,
        error: member("error"),
        cause: member("cause"),
    })
}

fn compare(folder: &Path, case: &Case, end: &End) -> Result<()> {
    let found = || {
        format!(
            "{} {:?} {:?} {:?}",
            end.status, end.output, end.error, end.cause
        )
    };
    ensure!(
        end.exit == case.exit,
        "exit code {}, expected {}: {}",
        end.exit,
        case.exit,
        found()
    );
    let succeeds = case.exit == 0;
    ensure!(
        (end.status == "SUCCEEDED") == succeeds,
        "it ended so: {}",
        found()
    );
    ensure!(
        case.expected.is_some() == succeeds,
        "test.toml: a case has `expected` when it succeeds, and only then"
    );
    if let Some(expected) = &case.expected {
        let expected = read(&folder.join(expected))?;
        let output = end.output.clone().unwrap_or_default();
        ensure!(output == expected, "output {output}, expected {expected}");
    }
    for (wanted, found) in [(&case.error, &end.error), (&case.cause, &end.cause)] {
        ensure!(
            wanted.is_none() || wanted == found,
            "it failed with {found:?}, expected {wanted:?}"
        );
    }
    Ok(())
}

fn read(file: &PathBuf) -> Result<Value> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("{} is missing", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))
}

/// The process that an example's cases need; ended when dropped.
struct Running(Child);

impl Running {
    fn start(helper: &Helper, folder: &Path) -> Result<Running> {
        let (program, arguments) = helper.command.split_first().context("`command` is empty")?;
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("`{program}` cannot be started; install the package that has it")
            })?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        let running = Running(child);
        for line in BufReader::new(stdout).lines() {
            if line?.starts_with(&helper.ready) {
                return Ok(running);
            }
        }
        bail!("`{program}` ended and never wrote `{}`", helper.ready)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
