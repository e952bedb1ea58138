//! The AWS SDK for Python against a served program: `tests/clients/boto3`. Hides what that server serves.

use std::process::Command;

use anyhow::Result;
use libtest_mimic::Trial;
use stepwell_tests::{place::Place, python, server};

use super::{clients::judge, trial};

/// Guests that the server serves.
const GUESTS: [&str; 4] = ["behave", "command", "echo", "noop"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("boto3::cases", cases)]
}

fn cases() -> Result<()> {
    let place = Place::new()?;
    let python = python::interpreter()?;
    for guest in GUESTS {
        std::fs::copy(
            server::guest(guest)?,
            place.plugins.join(format!("{guest}.wasm")),
        )?;
    }
    let server = place.serve(&[])?;
    let mut run = Command::new(python);
    run.arg(server::root().join("tests/clients/boto3/run.py"))
        .args(["--endpoint", &server.client().endpoint()])
        .arg("--guests")
        .arg(&place.plugins);
    let output = run.output()?;
    judge("the SDK for Python", &output)?;
    server.stop()
}
