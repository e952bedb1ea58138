//! A program for small machines at work: what it was built without says so, and the gateway's example goes well with it, on
//! this machine or in an emulator. Hides what has to be built for that, and how an emulator is called.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::measure::Served;
use crate::{examples, tools};

/// Arguments of what is left out, and the feature that has to be named then.
const LEFT_OUT: [(&[&str], &str); 7] = [
    (&["graph", "machine.asl.json"], "tools"),
    (&["plugin", "new", "a"], "tools"),
    (&["plugin", "push", "a.wasm"], "tools"),
    (&["plugin", "compile", "a.wasm"], "compiler"),
    (
        &["plugin", "list", "--plugins=.", "--precompiled=no"],
        "compiler",
    ),
    (&["serve", PORT, "--storage=http://127.0.0.1:9"], "s3"),
    (
        &["serve", PORT, "--store=postgres://127.0.0.1:9/a"],
        "postgres",
    ),
];

/// Whichever port is free.
const PORT: &str = "--listen=127.0.0.1:0";

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Requests of what is left out: method and path, the operation that the first kind names, and the feature that has to be named.
const UNSERVED: [(&str, &str, &str); 5] = [
    ("POST /", "AWSStepFunctions.TestState", "services"),
    ("POST /", "AWSEvents.PutEvents", "services"),
    ("GET /2015-03-31/functions", "", "services"),
    ("GET /schedules", "", "services"),
    ("GET /console/", "", "console"),
];

/// Tries a program that runs here. The whole program compiles for the gateway.
pub(super) fn here(program: &Path) -> Result<()> {
    tools::build_stepwell()?;
    tried(&[&program.display().to_string()], None)
}

/// Tries a program for another processor. The whole program compiles for that one, with the feature `cross`.
pub(super) fn emulated(program: &Path, target: &str) -> Result<()> {
    let processor = target.split('-').next().unwrap_or_default();
    let emulator = format!("qemu-{processor}");
    let found = Command::new(&emulator)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        bail!("{emulator} is missing, which runs {target} here; Debian's package is qemu-user");
    }
    let mut cargo = tools::cargo();
    cargo.args(["build", "--workspace", "--bin", "stepwell"]);
    cargo.args(["--features", "stepwell/cross"]);
    tools::run(&mut cargo, "stepwell does not compile")?;
    tried(&[&emulator, &program.display().to_string()], Some(target))
}

fn tried(program: &[&str], target: Option<&str>) -> Result<()> {
    let scratch = super::measure::Scratch::new()?;
    for (arguments, feature) in LEFT_OUT {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(arguments);
        let output = command.current_dir(scratch.path()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2) && said.contains(&format!("`{feature}`")),
            "`{}` does not say that the feature `{feature}` is left out: {said}",
            arguments.join(" ")
        );
    }
    let served = Served::start(program, scratch.path())?;
    for (request, operation, feature) in UNSERVED {
        let answer = asked(&served.address, request, operation)?;
        ensure!(
            answer.contains(&format!("`{feature}`")),
            "{request} {operation} does not say that the feature `{feature}` is left out: {answer}"
        );
    }
    served.stop()?;
    example(program, target)?;
    eprintln!("tried: what is left out says so, and the gateway's example went well");
    Ok(())
}

/// The answer to a request, whole.
fn asked(address: &str, request: &str, operation: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).context("the server takes no connection")?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nx-amz-target: {operation}\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: 19\r\n\r\n{{\"definition\":\"{{}}\"}}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn example(program: &[&str], target: Option<&str>) -> Result<()> {
    examples::plugins()?;
    let words: Vec<String> = program.iter().map(|word| format!("'{word}'")).collect();
    let mut python = Command::new("python3");
    python
        .arg("examples/edge-gateway/run.py")
        .current_dir(tools::root())
        .env("STEPWELL", tools::stepwell_path())
        .env("STEPWELL_EDGE", words.join(" "))
        .env("STEPWELL_TARGET", target.unwrap_or_default());
    tools::run(&mut python, "the gateway's example failed")
}
