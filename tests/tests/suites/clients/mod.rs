//! AWS's clients beside boto3 and the command line against a served program, without keys and with them: the SDKs for
//! JavaScript and Rust run the cases of `tests/clients/cases`, the calls of Terraform's provider are replayed, and the
//! API's model gives whatever requests. Hides how the clients are installed and how their lines are read.

mod snippets;

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use stepwell_tests::{
    node, python,
    server::{self, ACCOUNT, Server, Turn},
};
use tempfile::TempDir;

use super::{
    tenants::{A, add_key, told},
    trial,
};

/// What every SDK runs.
const CASES: &str = "tests/clients/cases";
const SDK: &str = "tests/clients/boto3/requirements.txt";
/// Requests of the fuzzer among the tests, and the seed that they follow from.
const FUZZ_REQUESTS: &str = "2500";
const FUZZ_SEED: &str = "1";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("clients::javascript", javascript),
        trial("clients::rust", rust),
        trial("clients::terraform", terraform),
        trial("clients::snippets", snippets::run),
        trial("clients::fuzz", fuzz),
    ]
}

/// Whether the server takes any key or a tenant's.
#[derive(Clone, Copy, Debug)]
enum Access {
    Open,
    Signed,
}

/// A fresh server, and a key that it takes.
pub(super) struct Served {
    server: Server,
    account: &'static str,
    /// Its id and its secret.
    key: (String, String),
    scratch: TempDir,
    _turn: Turn,
}

impl Served {
    fn open(access: Access) -> Result<Served> {
        let turn = Turn::take()?;
        let scratch = tempfile::tempdir()?;
        let (data, plugins) = (scratch.path().join("data"), scratch.path().join("plugins"));
        std::fs::create_dir_all(&plugins)?;
        let (account, flags, key): (_, &[&str], _) = match access {
            Access::Open => (ACCOUNT, &[], ("any".to_owned(), "any".to_owned())),
            Access::Signed => {
                told(&data, &["tenant", "add", A])?;
                let key = add_key(&data, A, "admin", "a client")?;
                let part = |name: &str| key[name].as_str().context("a key").map(str::to_owned);
                let key = (part("accessKeyId")?, part("secretAccessKey")?);
                (A, &["--auth"], key)
            }
        };
        let server = Server::start_with(&data, &plugins, flags)?;
        Ok(Served {
            server,
            account,
            key,
            scratch,
            _turn: turn,
        })
    }

    pub(super) fn endpoint(&self) -> String {
        self.server.client().endpoint()
    }

    /// Puts a guest into the account's part of the plugin directory, whole: the server may look at any time.
    pub(super) fn install(&self, name: &str, guest_name: &str, manifest: &str) -> Result<()> {
        let scratch = self.scratch.path();
        let (made, plugins) = (scratch.join("made"), scratch.join("plugins"));
        server::install(&made, name, guest_name, manifest)?;
        let (from, to) = match self.account {
            ACCOUNT => (made.join(name), plugins.join(name)),
            account => (made, plugins.join(account)),
        };
        std::fs::rename(from, to)?;
        Ok(())
    }

    /// The key where one is asked for: its id and its secret.
    pub(super) fn asked_key(&self) -> Option<(&str, &str)> {
        let (id, secret) = &self.key;
        (self.account == A).then_some((id.as_str(), secret.as_str()))
    }

    /// A program whose environment has the server and the key, and nothing else of AWS's.
    pub(super) fn command(&self, program: impl Into<PathBuf>) -> Command {
        let mut command = Command::new(program.into());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        let none = self.scratch.path().join("none");
        command
            .env("AWS_CONFIG_FILE", &none)
            .env("AWS_SHARED_CREDENTIALS_FILE", &none)
            .env("AWS_ENDPOINT_URL_SFN", self.endpoint())
            .env("AWS_ENDPOINT_URL_LAMBDA", self.endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", &self.key.0)
            .env("AWS_SECRET_ACCESS_KEY", &self.key.1);
        command
    }

    /// Stops the server, which has to have lived: its log tells of no panic.
    fn close(self) -> Result<()> {
        self.server.stop()?;
        let log = std::fs::read_to_string(self.scratch.path().join("data.log"))?;
        ensure!(!log.contains("panicked"), "the server panicked: {log}");
        Ok(())
    }
}

/// Runs a client without keys and with them.
pub(super) fn both(client: &str, run: impl Fn(&Served) -> Result<Command>) -> Result<()> {
    for access in [Access::Open, Access::Signed] {
        let served = Served::open(access)?;
        judge(&format!("{client}, {access:?}"), &run(&served)?.output()?)?;
        served.close()?;
    }
    Ok(())
}

/// A client prints `ok` or `FAIL` before each of its cases.
pub(super) fn judge(client: &str, output: &Output) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stdout);
    let of = |verdict: &str| -> Vec<&str> {
        let lines = text.lines();
        lines
            .filter(|line| line.split(' ').next() == Some(verdict))
            .collect()
    };
    let (passed, failed) = (of("ok"), of("FAIL"));
    println!(
        "{client}: {}/{} cases",
        passed.len(),
        passed.len() + failed.len()
    );
    if !failed.is_empty() {
        bail!("{client}: {} failed:\n{text}", failed.len());
    }
    ensure!(
        output.status.success() && !passed.is_empty(),
        "{client} ended with {}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn javascript() -> Result<()> {
    let modules = node::package("tests/clients/javascript")?;
    let over = |protocol: &str, flags: &[&str]| {
        both(
            &format!("the SDK for JavaScript over {protocol}"),
            |served| {
                let mut command = served.command("node");
                command.arg(modules.join("run.js")).args(flags);
                command.arg("--cases").arg(server::root().join(CASES));
                command.args(["--account", served.account]);
                Ok(command)
            },
        )?;
        both(
            &format!("the SDK for JavaScript with functions over {protocol}"),
            |served| {
                let mut command = served.command("node");
                command.arg(modules.join("functions.js")).args(flags);
                command.arg("--echo").arg(server::guest("echo")?);
                command.arg("--other").arg(server::guest("noop")?);
                command.args(["--account", served.account]);
                Ok(command)
            },
        )
    };
    over("HTTP/1.1", &[])?;
    over("HTTP/2", &["--http2"])
}

/// The client is a package of its own with a lock of its own: the SDK's many crates are no part of the workspace's.
fn rust() -> Result<()> {
    let folder = server::root().join("target/clients/rust");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(server::root())
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(server::root().join("tests/clients/rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        .output()
        .context("cargo cannot be started")?;
    ensure!(
        built.status.success(),
        "tests/clients/rust does not compile: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    let program = format!("stepwell-rust-client{}", std::env::consts::EXE_SUFFIX);
    let program = folder.join("debug").join(program);
    both("the SDK for Rust", |served| {
        let mut command = served.command(&program);
        command.arg(server::root().join(CASES)).arg(served.account);
        Ok(command)
    })
}

fn terraform() -> Result<()> {
    let python = python::with(SDK)?;
    both("Terraform's provider", |served| {
        let mut command = served.command(&python);
        command.arg(server::root().join("tests/clients/terraform/run.py"));
        command.args(["--endpoint", &served.endpoint()]);
        command.args(["--account", served.account]);
        Ok(command)
    })
}

/// `STEPWELL_FUZZ_SECONDS` and `STEPWELL_SEED` make it a longer one.
fn fuzz() -> Result<()> {
    let python = python::with(SDK)?;
    let served = Served::open(Access::Open)?;
    let mut command = served.command(&python);
    command.arg(server::root().join("tests/clients/fuzz/run.py"));
    command.args(["--endpoint", &served.endpoint()]);
    let seed = std::env::var("STEPWELL_SEED");
    command.args(["--seed", seed.as_deref().unwrap_or(FUZZ_SEED)]);
    match std::env::var("STEPWELL_FUZZ_SECONDS") {
        Ok(seconds) => command.args(["--seconds", &seconds]),
        Err(_) => command.args(["--requests", FUZZ_REQUESTS]),
    };
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("requests from the API's model: {}", text.trim());
    judge("the fuzzer", &output)?;
    served.close()
}

/// The JSON of a program's whole output.
fn json(output: &Output) -> Result<Value> {
    ensure!(
        output.status.success(),
        "ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
