//! The life of uploaded plugins through the command line and a server: back to an earlier version while a task runs, the
//! collection of code that nothing has, and a server that is told to stop while it compiles.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use stepwell_tests::server::{self, Client, ROLE, Server, Turn};

/// Who waits longer for something waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn() -> Result<()>| {
        Trial::test(format!("uploads::{name}"), move || {
            run().map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    vec![
        trial("go_back_while_a_task_runs", go_back_while_a_task_runs),
        trial("are_collected", are_collected),
        trial("stop_with_the_server", stop_with_the_server),
    ]
}

/// The program, with its flags after the place.
fn stepwell(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(server::program()?);
    command
        .args(arguments)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("user-cache"))
        .env_remove("AWS_ACCESS_KEY_ID")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

fn well(output: Output) -> Result<String> {
    ensure!(
        output.status.success(),
        "it ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A command on a running server that must succeed, and what it prints.
fn told(folder: &Path, client: &Client, arguments: &[&str]) -> Result<String> {
    let endpoint = client.endpoint();
    let place = ["--endpoint", &endpoint];
    well(stepwell(folder, &[arguments, &place].concat())?.output()?)
}

fn push(folder: &Path, client: &Client, guest: &str, more: &[&str]) -> Result<String> {
    let file = server::guest(guest)?;
    let file = file.to_str().context("a path")?;
    let push = ["plugin", "push", file, "--name", "pay", "--timeout", "60s"];
    told(folder, client, &[&push, more].concat())
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if is_so()? {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!("in vain waited for: {what}")
}

fn go_back_while_a_task_runs() -> Result<()> {
    let _turn = Turn::take()?;
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let plugins = folder.join("plugins");
    std::fs::create_dir(&plugins)?;
    let server = Server::start(&folder.join("data"), &plugins)?;
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
        Ok(history.iter().any(|event| event["type"] == "TaskStarted"))
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
    let ended = client.ended(&running, PATIENCE)?;
    ensure!(
        ended["output"] == "\"awake\"",
        "a running task did not finish on its version: {ended}"
    );
    server.stop()
}

fn are_collected() -> Result<()> {
    let _turn = Turn::take()?;
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let (data, plugins) = (folder.join("data"), folder.join("plugins"));
    std::fs::create_dir(&plugins)?;
    let server = Server::start(&data, &plugins)?;
    let client = server.client();
    push(folder, &client, "noop", &[])?;
    push(folder, &client, "identity", &[])?;
    let gc = |more: &[&str]| -> Result<Value> {
        let gc = ["plugin", "gc", "--json", "--grace", "0s"];
        let said = told(folder, &client, &[&gc, more].concat())?;
        Ok(serde_json::from_str(&said)?)
    };
    // On a server there is a minute of grace, whatever is asked for.
    let found = gc(&["--dry-run"])?;
    ensure!(
        found["code"] == json!([]) && found["waiting"] == 1,
        "{found}"
    );
    told(folder, &client, &["plugin", "remove", "pay"])?;
    let found = gc(&[])?;
    ensure!(
        found["code"] == json!([]) && found["waiting"] == 2,
        "{found}"
    );
    let compiled = || -> Result<usize> { Ok(std::fs::read_dir(data.join("cache"))?.count()) };
    ensure!(compiled()? == 4, "{} files of compiled code", compiled()?);
    server.stop()?;
    let place = ["--grace", "0s", "--data", "data"];
    let told_here = |first: &[&str]| -> Result<String> {
        well(stepwell(folder, &[first, &place].concat())?.output()?)
    };
    let said = told_here(&["plugin", "gc", "--dry-run"])?;
    ensure!(said.contains("2 codes would go"), "{said}");
    let said = told_here(&["plugin", "gc", "--json"])?;
    let gone: Value = serde_json::from_str(&said)?;
    let code = gone["code"].as_array().context("a list")?;
    ensure!(
        code.len() == 2 && code.iter().all(|one| one["removed"] == true),
        "{gone}"
    );
    ensure!(compiled()? == 0, "compiled code is left behind");
    let said = told_here(&["plugin", "gc"])?;
    ensure!(said == "no code went, 0 bytes\n", "{said}");
    // And it comes again as if it had never been there.
    let server = Server::start(&data, &plugins)?;
    push(folder, &server.client(), "noop", &[])?;
    server.stop()
}

/// The server ends within its time, and nothing compiles on after it.
fn stop_with_the_server() -> Result<()> {
    let _turn = Turn::take()?;
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let (data, plugins) = (folder.join("data"), folder.join("plugins"));
    std::fs::create_dir(&plugins)?;
    let server = Server::start(&data, &plugins)?;
    std::fs::write(folder.join("slow.wasm"), slow())?;
    let endpoint = server.client().endpoint();
    let push = ["plugin", "push", "slow.wasm", "--endpoint", &endpoint];
    let pushing = stepwell(folder, &push)?.spawn()?;
    let mut worker = None;
    until("a process that compiles", || {
        worker = compiling(folder)?;
        Ok(worker.is_some())
    })?;
    let worker = worker.context("it was there")?;
    server.stop()?;
    let status = Path::new("/proc").join(&worker).join("cmdline");
    until("its end", || {
        let left = std::fs::read(&status).unwrap_or_default();
        Ok(!String::from_utf8_lossy(&left).contains("compile-plugin"))
    })?;
    ended(pushing)
}

/// The upload that was under way says how it ended: it has the time of a request in progress.
fn ended(pushing: Child) -> Result<()> {
    let output = pushing.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success() || (output.status.code() == Some(3) && said.contains("error")),
        "{}: {said}",
        output.status
    );
    Ok(())
}

/// A process that compiles for a server whose data is in this folder.
fn compiling(folder: &Path) -> Result<Option<String>> {
    let folder = folder.to_str().context("a path")?;
    let line = |process: &str| {
        let line = std::fs::read(Path::new("/proc").join(process).join("cmdline"));
        String::from_utf8_lossy(&line.unwrap_or_default()).into_owned()
    };
    for process in std::fs::read_dir("/proc")?.flatten() {
        let process = process.file_name().to_string_lossy().into_owned();
        if !line(&process).contains("compile-plugin") {
            continue;
        }
        let stat = Path::new("/proc").join(&process).join("stat");
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        // Behind the name, which may have anything in it, the state and the parent.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1).map(str::to_owned));
        if parent.is_some_and(|parent| line(&parent).contains(folder)) {
            return Ok(Some(process));
        }
    }
    Ok(None)
}

/// A command that takes a compiler minutes: functions that each do a lot, and none of which is called.
fn slow() -> Vec<u8> {
    const FUNCTIONS: u32 = 800;
    const STEPS: usize = 6_000;
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    section(&mut wasm, 1, b"\x02\x60\0\0\x60\x01\x7f\x01\x7f");
    let mut types = Vec::new();
    number(&mut types, FUNCTIONS + 1);
    types.push(0);
    types.extend(std::iter::repeat_n(1, FUNCTIONS as usize));
    section(&mut wasm, 3, &types);
    section(&mut wasm, 7, b"\x01\x06_start\0\0");
    let mut code = Vec::new();
    number(&mut code, FUNCTIONS + 1);
    body(&mut code, b"");
    // local.get 0; then again and again: i32.const; i32.xor; local.get 0; i32.rotl; local.get 0; i32.add
    let mut sum = b"\x20\0".to_vec();
    for step in 0..STEPS {
        sum.extend([0x20, 0, 0x41, (step % 64) as u8, 0x73, 0x20, 0, 0x77, 0x6a]);
    }
    for _ in 0..FUNCTIONS {
        body(&mut code, &sum);
    }
    section(&mut wasm, 10, &code);
    wasm
}

fn body(code: &mut Vec<u8>, instructions: &[u8]) {
    number(code, instructions.len() as u32 + 2);
    code.push(0);
    code.extend(instructions);
    code.push(0x0b);
}

fn section(wasm: &mut Vec<u8>, id: u8, content: &[u8]) {
    wasm.push(id);
    number(wasm, content.len() as u32);
    wasm.extend(content);
}

/// LEB128.
fn number(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
