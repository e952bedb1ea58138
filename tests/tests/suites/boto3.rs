//! The AWS SDK for Python against a served program: `tests/clients/boto3`. Hides how its lines are read.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use libtest_mimic::{Failed, Trial};
use stepwell_tests::{
    python,
    server::{self, Server, Turn},
};

/// Guests that the server serves.
const GUESTS: [&str; 4] = ["behave", "command", "echo", "noop"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("boto3::cases", || {
        cases().map_err(|error| Failed::from(format!("{error:#}")))
    })]
}

fn cases() -> Result<()> {
    let _turn = Turn::take()?;
    let python = python::interpreter()?;
    let scratch = tempfile::tempdir()?;
    let (data, plugins) = (scratch.path().join("data"), scratch.path().join("plugins"));
    std::fs::create_dir_all(&plugins)?;
    for guest in GUESTS {
        std::fs::copy(server::guest(guest)?, plugins.join(format!("{guest}.wasm")))?;
    }
    let server = Server::start(&data, &plugins)?;
    let mut run = Command::new(python);
    run.arg(server::root().join("tests/clients/boto3/run.py"))
        .args(["--endpoint", &server.client().endpoint()])
        .arg("--guests")
        .arg(&plugins);
    let output = run.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let of = |verdict: &str| -> Vec<&str> {
        let lines = text.lines();
        lines
            .filter(|line| line.split(' ').next() == Some(verdict))
            .collect()
    };
    let (passed, failed) = (of("ok"), of("FAIL"));
    println!(
        "boto3 cases: {}/{}",
        passed.len(),
        passed.len() + failed.len()
    );
    if !failed.is_empty() {
        bail!("{} cases failed:\n{}", failed.len(), failed.join("\n"));
    }
    ensure!(
        output.status.success() && !passed.is_empty(),
        "run.py ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    server.stop()
}
