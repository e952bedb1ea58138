//! What the README shows of the API is run as it stands there, against a server at another address.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use stepwell_tests::{node, python, server};

use super::{Access, Served};

const SECTION: &str = "## Clients";
/// The address in the README.
const ADDRESS: &str = "http://127.0.0.1:8083";

pub(super) fn run() -> Result<()> {
    let readme = std::fs::read_to_string(server::root().join("README.md"))?;
    let section = readme
        .split_once(SECTION)
        .with_context(|| format!("README.md has no section `{SECTION}`"))?
        .1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let served = Served::open(Access::Open)?;
    let block = |language: &str| -> Result<String> {
        let text = fenced(section, language)?;
        Ok(text.replace(ADDRESS, &served.endpoint()))
    };
    let scratch = served.scratch.path();

    // Each prints what its execution answered.
    let cli = scratch.join("snippet.sh");
    std::fs::write(&cli, format!("set -eu\n{}", block("sh")?))?;
    let mut shell = served.command("sh");
    let programs = python::aws_cli()?;
    let programs = programs.parent().context("a folder of programs")?;
    let path = std::env::var("PATH").unwrap_or_default();
    shell.env("PATH", format!("{}:{path}", programs.display()));
    says_hello("the CLI's", shell.arg(&cli).current_dir(scratch))?;

    let file = scratch.join("snippet.py");
    std::fs::write(&file, block("python")?)?;
    says_hello("boto3's", served.command(python::interpreter()?).arg(&file))?;

    // Beside its modules.
    let modules = node::package("tests/clients/javascript")?;
    let file = modules.join("snippet.mjs");
    std::fs::write(&file, block("js")?)?;
    says_hello("JavaScript's", served.command("node").arg(&file))?;

    // Terraform fetches its provider from its own registry; what the block says to it is replayed from data.
    let terraform = block("hcl")?;
    for needed in [
        "sfn",
        "sts",
        "skip_metadata_api_check",
        "aws_sfn_state_machine",
    ] {
        ensure!(
            terraform.contains(needed),
            "Terraform's block lacks {needed}"
        );
    }
    served.close()
}

/// The first block of a language.
fn fenced<'a>(text: &'a str, language: &str) -> Result<&'a str> {
    let opening = format!("```{language}\n");
    let (_, rest) = text
        .split_once(&opening)
        .with_context(|| format!("`{SECTION}` in README.md has no block of {language}"))?;
    let (block, _) = rest.split_once("```").context("a block that ends")?;
    Ok(block)
}

fn says_hello(whose: &str, command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let found = super::json(&output).with_context(|| format!("{whose} snippet"))?;
    ensure!(
        found == json!({ "greeting": "Hello, Ada" }),
        "{whose} snippet printed {found}"
    );
    Ok(())
}
