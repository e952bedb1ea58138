//! What the real service recorded, asked again over the wire by an AWS SDK: the corpus's own runner against a served
//! program. `recorded_wire.expected` says how many cases pass at least, and which do not and why.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use stepwell_tests::{
    corpus, python,
    server::{self, Server, Turn},
};

const EXPECTED: &str = include_str!("recorded_wire.expected");
const KINDS: &str = "validate,express_sync,teststate,execution";
/// Cases at once: those that wait for a minute wait beside each other.
const JOBS: &str = "24";
/// Seconds for a case; some functions take 60.
const CASE_SECONDS_MAX: &str = "100";

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("recorded_wire::cases", || {
        cases().map_err(|error| Failed::from(format!("{error:#}")))
    })]
}

/// How many cases of a kind ended so.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

fn cases() -> Result<()> {
    let Some(corpus) = corpus::dir() else {
        println!("skipped: there is no corpus (STEPWELL_CORPUS or ../shared/corpus)");
        return Ok(());
    };
    let _turn = Turn::take()?;
    let scratch = tempfile::tempdir()?;
    let report = scratch.path().join("report.jsonl");
    run(&corpus, scratch.path(), &report)?;
    let text = std::fs::read_to_string(&report).context("the runner wrote no report")?;
    let (counts, wrong) = judge(&text)?;
    for (kind, counts) in &counts {
        println!(
            "recorded {kind} over the wire: {}/{}, {} skipped",
            counts.passed,
            counts.passed + counts.failed,
            counts.skipped
        );
    }
    if !wrong.is_empty() {
        bail!("{} are not as expected:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(())
}

/// Runs the corpus's runner against a fresh server; functions are copied in as the cases ask for them.
fn run(corpus: &Path, scratch: &Path, report: &Path) -> Result<()> {
    let python = python::interpreter()?;
    let (data, plugins) = (scratch.join("data"), scratch.join("plugins"));
    std::fs::create_dir_all(&plugins)?;
    let identity = server::guest("identity")?;
    let guests = identity.parent().context("guests lie in a folder")?;
    let copy = format!(
        "cp '{}'/{{behaviour}}.wasm '{}'/{{name}}.wasm",
        guests.display(),
        plugins.display()
    );
    let server = Server::start(&data, &plugins)?;
    let output = Command::new(python)
        .arg(corpus.join("run_cases.py"))
        .args(["--endpoint", &server.client().endpoint(), "--kinds", KINDS])
        .args([
            "--plugin-cmd",
            &copy,
            "--jobs",
            JOBS,
            "--timeout",
            CASE_SECONDS_MAX,
        ])
        .arg("--report")
        .arg(report)
        .output()?;
    ensure!(
        output.status.success(),
        "run_cases.py ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    server.stop()
}

/// Counts, and what is not as expected.
fn judge(report: &str) -> Result<(BTreeMap<String, Counts>, Vec<String>)> {
    let (floors, exceptions) = expected()?;
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in report.lines() {
        let case: Value =
            serde_json::from_str(line).with_context(|| format!("a line of the report: {line}"))?;
        let member = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
        let (id, outcome) = (member("id"), member("outcome"));
        let counts = counts.entry(member("kind")).or_default();
        let listed = exceptions.contains(&(
            member("kind"),
            id.rsplit("::").next().unwrap_or_default().to_owned(),
        ));
        match outcome.as_str() {
            "pass" => counts.passed += 1,
            "skip" => counts.skipped += 1,
            _ => counts.failed += 1,
        }
        if outcome == "pass" && listed {
            wrong.push(format!("{id}: is listed as an exception and passes"));
        }
        if outcome == "fail" && !listed {
            let differences: Vec<String> = case["diffs"]
                .as_array()
                .into_iter()
                .flatten()
                .take(3)
                .map(|difference| difference.as_str().unwrap_or_default().to_owned())
                .collect();
            wrong.push(format!("{id}\n    {}", differences.join("\n    ")));
        }
    }
    for (kind, floor) in floors {
        let passed = counts.get(&kind).map_or(0, |counts| counts.passed);
        if passed < floor {
            wrong.push(format!("{kind}: {passed} pass, and {floor} did before"));
        }
    }
    Ok((counts, wrong))
}

/// How many cases of a kind pass at least.
type Floor = (String, u64);
/// Kind and name of a case that differs.
type Exception = (String, String);

fn expected() -> Result<(Vec<Floor>, Vec<Exception>)> {
    let (mut floors, mut exceptions) = (Vec::new(), Vec::new());
    for line in EXPECTED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let parts: Vec<&str> = line.split('\t').collect();
        match parts[..] {
            ["floor", kind, floor] => floors.push((kind.to_owned(), floor.parse()?)),
            ["differs", kind, name, why] if !why.is_empty() => {
                exceptions.push((kind.to_owned(), name.to_owned()));
            }
            _ => bail!(
                "recorded_wire.expected: `{line}` is neither `floor KIND COUNT` nor `differs KIND CASE WHY`"
            ),
        }
    }
    Ok((floors, exceptions))
}
