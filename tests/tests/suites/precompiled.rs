//! Plugins compiled ahead of time, through the program: compiled by one command, served by a server that compiles nothing,
//! refused where nobody said that they may run, and never taken from who uploads.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_tests::{
    command::{refused, run, well},
    place::Place,
    python,
    server::{self, Server},
};

use super::trial;

/// How long an execution may take.
const RUN_MAX: Duration = Duration::from_secs(30);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "precompiled::served_without_a_compiler",
            served_without_a_compiler,
        ),
        trial("precompiled::refusals", refusals),
        trial("precompiled::looked_at", looked_at),
        trial("precompiled::never_from_an_upload", never_from_an_upload),
    ]
}

/// `echo.wasm`, and a folder `slow` whose time is bounded.
fn sources(folder: &Path) -> Result<()> {
    std::fs::copy(server::guest("echo")?, folder.join("echo.wasm"))?;
    server::install(folder, "slow", "behave", "[limits]\ncpu = \"100ms\"")
}

fn served_without_a_compiler() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    sources(folder)?;
    let compile = [
        "plugin",
        "compile",
        "echo.wasm",
        "slow",
        "--profile",
        "edge",
        "-o",
        "out",
    ];
    let said = well(run(folder, &compile)?)?;
    ensure!(
        said.lines().count() == 2 && said.contains("edge code for"),
        "{said}"
    );
    let out = folder.join("out");
    ensure!(
        out.join("echo.cwasm").is_file() && out.join("slow/plugin.cwasm").is_file(),
        "{said}"
    );
    ensure!(
        !out.join("slow/plugin.wasm").exists(),
        "WebAssembly is there as well"
    );
    let told = well(run(
        folder,
        &["plugin", "inspect", "out/echo.cwasm", "--json"],
    )?)?;
    let told: Value = serde_json::from_str(&told)?;
    ensure!(told["profile"] == "edge" && told["fits"] == true, "{told}");
    ensure!(
        told["engine"].as_str().is_some_and(|hash| hash.len() == 16),
        "{told}"
    );
    well(run(folder, &["plugin", "check", "out/echo.cwasm"])?)?;

    serves(folder, &out)
}

/// A server that compiles nothing runs them, within their limits.
fn serves(folder: &Path, plugins: &Path) -> Result<()> {
    let server = Server::start_with(&folder.join("data"), plugins, &["--precompiled", "only"])?;
    let client = server.client();
    let machine = json!({
        "StartAt": "Echo",
        "States": {
            "Echo": {"Type": "Task", "Resource": "wasm:echo", "Next": "Slow"},
            "Slow": {
                "Type": "Task",
                "Resource": "wasm:slow",
                "Parameters": {"do": "loop"},
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.caught", "Next": "Done"}],
                "End": true
            },
            "Done": {"Type": "Succeed"}
        }
    });
    let machine = client.create_machine("edge", &machine)?;
    let execution = client.start(&machine, "one", &json!({"n": 1}))?;
    let ended = client.ended(&execution, RUN_MAX)?;
    let output: Value = serde_json::from_str(ended["output"].as_str().context("an output")?)?;
    ensure!(
        output["n"] == 1 && output["caught"]["Error"].is_string(),
        "{output}"
    );
    let (_, metrics) = client.get("/metrics")?;
    let compiled = metrics
        .lines()
        .find(|line| line.starts_with("stepwell_sandbox_compiled_total"));
    ensure!(
        compiled.is_some_and(|line| line.ends_with(" 0") || line.ends_with(" 0.0")),
        "{compiled:?}"
    );
    server.stop()?;
    ensure!(!folder.join("data/cache").exists(), "a cache for nothing");
    Ok(())
}

fn refusals() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    sources(folder)?;
    well(run(
        folder,
        &["plugin", "compile", "echo.wasm", "-o", "out"],
    )?)?;
    let invoke = |plugins: &str, precompiled: &str| {
        run(
            folder,
            &[
                "plugin",
                "invoke",
                "echo",
                "1",
                "--plugins",
                plugins,
                "--precompiled",
                precompiled,
            ],
        )
    };
    ensure!(well(invoke("out", "only")?)?.trim() == "1", "only");
    ensure!(well(invoke("out", "also")?)?.trim() == "1", "also");
    refused(&invoke("out", "no")?, 2, &["--precompiled also"])?;
    refused(
        &invoke(".", "only")?,
        2,
        &["stepwell plugin compile FILE --profile edge --target"],
    )?;
    // Damaged on the way.
    let file = folder.join("out/echo.cwasm");
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes)?;
    refused(&invoke("out", "only")?, 2, &["it is damaged"])?;
    // For another machine: which, and what compiles for it.
    let other = [
        "plugin",
        "compile",
        "echo.wasm",
        "--target",
        "sparc-sun-solaris",
        "-o",
        "out",
    ];
    refused(&run(folder, &other)?, 2, &["sparc-sun-solaris", "`cross`"])?;
    refused(
        &run(folder, &["plugin", "check", "echo.cwasm"])?,
        2,
        &["there is no `echo.cwasm`"],
    )?;
    refused(
        &run(folder, &["plugin", "compile", "out/echo.cwasm"])?,
        2,
        &["give the .wasm"],
    )?;
    let profile = ["plugin", "compile", "echo.wasm", "--profile", "desktop"];
    refused(&run(folder, &profile)?, 2, &["server, edge"])
}

/// `plugin inspect` and `plugin check` find compiled plugins by their names, and call good what the program loads, and nothing else.
fn looked_at() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    sources(folder)?;
    let compile = ["plugin", "compile", "echo.wasm", "slow", "-o", "out"];
    well(run(folder, &compile)?)?;
    // What is called so here is not the plugin of that name.
    std::fs::create_dir(folder.join("echo"))?;
    let look = |verb: &str, name: &str, more: &[&str]| {
        let base = ["plugin", verb, name, "--plugins", "out"];
        run(folder, &[&base[..], more].concat())
    };
    let said = look("check", "echo", &[])?;
    let talk = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(talk.contains("`./echo`"), "{talk}");
    let said = well(said)?;
    ensure!(
        said.contains("out/echo.cwasm is a compiled plugin")
            && said.contains("`--precompiled also`"),
        "{said}"
    );
    let only = ["--precompiled", "only"];
    for name in ["echo", "slow"] {
        let said = well(look("check", name, &only)?)?;
        ensure!(said.ends_with("this program loads it\n"), "{said}");
        let told = well(look("inspect", name, &["--precompiled", "also", "--json"])?)?;
        let told: Value = serde_json::from_str(&told)?;
        ensure!(told["fits"] == true && told["loaded"] == true, "{told}");
        let told = well(look("inspect", name, &["--json"])?)?;
        let told: Value = serde_json::from_str(&told)?;
        ensure!(told["fits"] == true && told["loaded"] == false, "{told}");
    }
    refused(
        &look("check", "./echo", &[])?,
        2,
        &["the folder has no plugin.toml"],
    )?;
    let file = folder.join("out/echo.cwasm");
    let whole = std::fs::read(&file)?;
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&file, damaged)?;
    let mend = "`stepwell plugin compile FILE --profile server --target";
    for path in ["echo", "out/echo.cwasm"] {
        refused(&look("check", path, &[])?, 2, &["it is damaged", mend])?;
        refused(&look("inspect", path, &[])?, 2, &["it is damaged", mend])?;
    }
    std::fs::write(&file, whole)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666))?;
        refused(&look("check", "echo", &[])?, 2, &["everyone can write"])?;
        refused(&look("inspect", "echo", &only)?, 2, &["everyone can write"])?;
    }
    Ok(())
}

fn never_from_an_upload() -> Result<()> {
    let place = Place::new()?;
    let folder = place.folder();
    sources(folder)?;
    well(run(
        folder,
        &["plugin", "compile", "echo.wasm", "-o", "out"],
    )?)?;
    // As it is, under another name, and in an archive that says that it is WebAssembly.
    std::fs::copy(folder.join("out/echo.cwasm"), folder.join("evil.wasm"))?;
    let packed = Command::new(python::interpreter()?)
        .args(["-m", "zipfile", "-c", "evil.zip", "evil.wasm"])
        .current_dir(folder)
        .status()?;
    ensure!(packed.success(), "the archive is not made: {packed}");
    let server = place.serve(&["--precompiled", "also"])?;
    let endpoint = server.client().endpoint();
    for file in ["out/echo.cwasm", "evil.wasm", "evil.zip"] {
        let push = [
            "plugin",
            "push",
            file,
            "--name",
            "evil",
            "--endpoint",
            &endpoint,
        ];
        refused(&run(folder, &push)?, 2, &["WebAssembly"]).with_context(|| file.to_owned())?;
    }
    let versions = well(run(
        folder,
        &["plugin", "versions", "--endpoint", &endpoint],
    )?)?;
    ensure!(!versions.contains("evil"), "{versions}");
    // What is WebAssembly is taken all the same.
    well(run(
        folder,
        &["plugin", "push", "echo.wasm", "--endpoint", &endpoint],
    )?)?;
    server.stop()
}
