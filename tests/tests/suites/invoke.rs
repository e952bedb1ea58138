//! `plugin invoke`: a plugin called from the command line, in its own process, on a data directory and on a server; its error has a
//! name, and the trace of its functions is its own.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    command::{refused, run, well},
    place::Place,
    server,
};

use super::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("invoke::names_the_error", names_the_error),
        trial("invoke::calls_what_was_uploaded", calls_what_was_uploaded),
    ]
}

fn names_the_error() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    server::install(
        &folder.join("plugins"),
        "task",
        "behave",
        "[limits]\nmemory = \"16MiB\"\ncpu = \"100ms\"",
    )?;
    let invoke = |name: &str, input: &str, more: &[&str]| {
        let base = ["plugin", "invoke", name, input, "--plugins", "plugins"];
        run(folder, &[&base[..], more].concat())
    };
    for (input, code, words) in [
        (r#"{"do": "panic"}"#, 1, "error: Stepwell.Trapped: thread"),
        (
            r#"{"do": "bomb"}"#,
            1,
            "error: Stepwell.OutOfMemory: the task needs",
        ),
        (
            r#"{"do": "loop"}"#,
            1,
            "error: Stepwell.CpuTime: the task computed",
        ),
        (
            r#"{"do": "fail", "error": "Declined", "cause": "no money"}"#,
            1,
            "error: Declined: no money\n",
        ),
    ] {
        refused(&invoke("task", input, &[])?, code, &[words])?;
    }
    refused(
        &invoke("none", "1", &[])?,
        2,
        &["error: Stepwell.PluginMissing: account"],
    )?;
    // The trace begins where the program gave up.
    let panicked = invoke("task", r#"{"do": "panic"}"#, &[])?;
    let said = String::from_utf8_lossy(&panicked.stderr).into_owned();
    let trace = said.lines().find(|line| line.starts_with("  at "));
    ensure!(trace == Some("  at behave::give_up"), "{said}");
    let told = invoke("task", r#"{"do": "bomb"}"#, &["--json"])?;
    let told: Value = serde_json::from_slice(&told.stdout)?;
    ensure!(
        told["error"] == "Stepwell.OutOfMemory" && told["outcome"] == "out-of-memory",
        "{told}"
    );
    Ok(())
}

fn calls_what_was_uploaded() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    server::install(&place.plugins, "installed", "echo", "")?;
    let server = place.serve(&[])?;
    let endpoint = server.client().endpoint();
    let served = ["--endpoint", endpoint.as_str()];
    for (guest, more) in [("echo", &["--publish"][..]), ("behave", &[][..])] {
        let file = server::guest(guest)?;
        let push = ["plugin", "push", file.to_str().context("a path")?];
        let push = [&push[..], more, &served].concat();
        well(run(folder, &push)?)?;
    }
    let invoke = |name: &str, input: &str, place: &[&str]| {
        let base = ["plugin", "invoke", name, input];
        run(folder, &[&base[..], place].concat())
    };
    let calls = |place: &[&str]| -> Result<()> {
        for name in ["echo", "echo:1", "echo:$LATEST", "installed"] {
            let output = well(invoke(name, r#"{"n":1}"#, place)?)?;
            ensure!(output.trim() == r#"{"n":1}"#, "{name}: {output}");
        }
        let fails = r#"{"do": "fail", "error": "Declined", "cause": "no money"}"#;
        let failed = invoke("behave", fails, place)?;
        refused(&failed, 1, &["error: Declined: no money\n"])?;
        let told = invoke("behave", fails, &[place, &["--json"]].concat())?;
        let told: Value = serde_json::from_slice(&told.stdout)?;
        let end = json!([told["outcome"], told["error"], told["version"]]);
        ensure!(end == json!(["failed", "Declined", "$LATEST"]), "{told}");
        let log = told["log"].as_str().unwrap_or_default();
        ensure!(log.contains("REPORT RequestId: "), "{told}");
        // What it said last comes with its end.
        let panics = invoke(
            "behave",
            r#"{"do": "panic"}"#,
            &[place, &["--json"]].concat(),
        )?;
        let told: Value = serde_json::from_slice(&panics.stdout)?;
        let log = told["log"].as_str().unwrap_or_default();
        ensure!(log.contains("the guest gave up\n"), "{told}");
        refused(
            &invoke("none", "1", place)?,
            2,
            &["ResourceNotFoundException", "stepwell plugin versions --"],
        )
    };
    calls(&served)?;
    server.stop()?;
    calls(&["--data", "data", "--plugins", "plugins"])?;
    refused(
        &invoke("echo", "1", &["--data", "none"])?,
        2,
        &["there is no data directory `none`"],
    )
}
