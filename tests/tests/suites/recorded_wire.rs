//! What the real service recorded, asked again over the wire by an AWS SDK against a served program: executions by the
//! corpus's own runner, sequences of calls by ours. `recorded_wire.expected` says how many cases pass at least, and
//! which do not and why.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use stepwell_tests::{
    corpus,
    moto::Moto,
    python,
    server::{self, Server, Turn},
};

use super::{recorded_services, recorded_storage, trial};

const EXPECTED: &str = include_str!("recorded_wire.expected");
const KINDS: &str = "validate,express_sync,teststate,execution";
/// Cases at once: those that wait for a minute wait beside each other.
const JOBS: &str = "24";
/// Seconds for a case; some functions take 60.
const CASE_SECONDS_MAX: &str = "100";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("recorded_wire::cases", || cases(Runner::Corpus)),
        trial("recorded_wire::sequences", || cases(Runner::Sequences)),
        trial("recorded_wire::storage", || cases(Runner::Storage)),
        trial("recorded_wire::services", || cases(Runner::Services)),
        trial("recorded_wire::queues", || cases(Runner::Queues)),
    ]
}

/// Who makes the calls and judges the answers.
#[derive(Clone, Copy)]
enum Runner {
    /// `run_cases.py` of the corpus: one case, one execution or one call.
    Corpus,
    /// `sequences.py` of ours: recorded sequences of calls.
    Sequences,
    /// The corpus's runner for executions that need object storage, which it leaves out by itself.
    Storage,
    /// The same for executions that need queues and event buses.
    Services,
    /// `sequences.py` for those sequences that call queues too.
    Queues,
}

impl Runner {
    fn kinds(self) -> &'static str {
        match self {
            Runner::Corpus => KINDS,
            Runner::Sequences => "sequence",
            Runner::Storage => "storage",
            Runner::Services => "services",
            Runner::Queues => "queues",
        }
    }

    /// The services that have an endpoint. A queue's own host is asked for where SQS has none.
    fn services(self) -> &'static [&'static str] {
        match self {
            Runner::Corpus => &["dynamodb", "secretsmanager"],
            Runner::Services => &["events", "sqs"],
            Runner::Queues => &["sqs"],
            Runner::Sequences | Runner::Storage => &[],
        }
    }

    /// The kind of a case for floors and exceptions; `kind` is the runner's word.
    fn kind(self, kind: String) -> String {
        match self {
            Runner::Corpus | Runner::Sequences => kind,
            Runner::Storage | Runner::Services | Runner::Queues => self.kinds().to_owned(),
        }
    }

    fn command(self, python: &Path, corpus: &Path) -> Command {
        let mut command = Command::new(python);
        match self {
            Runner::Corpus => command
                .arg(corpus.join("run_cases.py"))
                .args(["--kinds", KINDS]),
            Runner::Storage | Runner::Services => command
                .arg(corpus.join("run_cases.py"))
                .args(["--kinds", "execution"]),
            Runner::Sequences | Runner::Queues => command
                .arg(server::root().join("tests/clients/boto3/sequences.py"))
                .arg("--corpus")
                .arg(corpus),
        };
        command
    }
}

/// How many cases of a kind ended so.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

fn cases(runner: Runner) -> Result<()> {
    let Some(corpus) = corpus::dir() else {
        println!("skipped: there is no corpus (STEPWELL_CORPUS or ../shared/corpus)");
        return Ok(());
    };
    let _turn = Turn::take()?;
    let scratch = tempfile::tempdir()?;
    let report = scratch.path().join("report.jsonl");
    run(runner, &corpus, scratch.path(), &report)?;
    let text = std::fs::read_to_string(&report).context("the runner wrote no report")?;
    let (counts, wrong) = judge(runner, &text)?;
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

/// Runs the runner against a fresh server; functions are copied in as the cases ask for them.
fn run(runner: Runner, corpus: &Path, scratch: &Path, report: &Path) -> Result<()> {
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
    let prepared = scratch.join("cases");
    let moto = match runner.services() {
        [] => None,
        _ => Some(Moto::start()?),
    };
    let corpus = match runner {
        Runner::Corpus | Runner::Sequences | Runner::Queues => corpus,
        Runner::Services => {
            let moto = moto.as_ref().context("there are services")?;
            recorded_services::prepare(corpus, moto, &prepared)?;
            &prepared
        }
        Runner::Storage => {
            recorded_storage::prepare(corpus, &data, &prepared)?;
            &prepared
        }
    };
    let endpoints: Vec<String> = moto
        .iter()
        .flat_map(|moto| {
            let services = runner.services().iter();
            services.map(|service| format!("--endpoint={service}={}", moto.url))
        })
        .collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let calls_too = match (runner, &moto) {
        (Runner::Queues, Some(moto)) => {
            vec![
                "--needing".to_owned(),
                format!("--service=sqs={}", moto.url),
            ]
        }
        (
            Runner::Corpus
            | Runner::Sequences
            | Runner::Storage
            | Runner::Services
            | Runner::Queues,
            _,
        ) => Vec::new(),
    };
    let server = Server::start_with(&data, &plugins, &endpoints)?;
    let output = runner
        .command(&python, corpus)
        .args(["--endpoint", &server.client().endpoint()])
        .args([
            "--plugin-cmd",
            &copy,
            "--jobs",
            JOBS,
            "--timeout",
            CASE_SECONDS_MAX,
        ])
        .args(calls_too)
        .arg("--report")
        .arg(report)
        .output()?;
    ensure!(
        output.status.success(),
        "the runner ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    server.stop()
}

/// Counts, and what is not as expected.
fn judge(runner: Runner, report: &str) -> Result<(BTreeMap<String, Counts>, Vec<String>)> {
    let (floors, exceptions) = expected()?;
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in report.lines() {
        let case: Value =
            serde_json::from_str(line).with_context(|| format!("a line of the report: {line}"))?;
        let member = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
        let (id, outcome) = (member("id"), member("outcome"));
        let of_kind = runner.kind(member("kind"));
        let counts = counts.entry(of_kind.clone()).or_default();
        let name = id.rsplit("::").next().unwrap_or_default();
        let listed = exceptions
            .iter()
            .find(|exception| exception.kind == of_kind && names(&exception.case, name));
        let differences: Vec<&str> = case["diffs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        match outcome.as_str() {
            "pass" => counts.passed += 1,
            "skip" => counts.skipped += 1,
            _ => counts.failed += 1,
        }
        if outcome == "pass" && listed.is_some() {
            wrong.push(format!("{id}: is listed as an exception and passes"));
        }
        // A listed case may differ where it is said to and nowhere else.
        let unlisted = |difference: &&&str| !listed.is_some_and(|at| at.is_about(difference));
        let unlisted: Vec<&str> = differences.iter().filter(unlisted).copied().collect();
        if outcome == "fail" && (listed.is_none() || !unlisted.is_empty()) {
            let first = &unlisted[..unlisted.len().min(3)];
            wrong.push(format!("{id}\n    {}", first.join("\n    ")));
        }
    }
    let kinds: Vec<&str> = runner.kinds().split(',').collect();
    for (kind, floor) in floors
        .into_iter()
        .filter(|(kind, _)| kinds.contains(&&**kind))
    {
        let passed = counts.get(&kind).map_or(0, |counts| counts.passed);
        if passed < floor {
            wrong.push(format!("{kind}: {passed} pass, and {floor} did before"));
        }
    }
    Ok((counts, wrong))
}

/// Whether a line of the exceptions is about a case: by its name, or by how that begins, before an ellipsis.
pub(super) fn names(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('…') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// How many cases of a kind pass at least.
type Floor = (String, u64);
/// A case that differs, or several whose names begin so.
struct Exception {
    kind: String,
    case: String,
    /// The member that differs, in any case; `$` for the whole.
    at: String,
}

impl Exception {
    /// Whether a difference that a runner tells, `PATH: WHAT`, is the one that is listed.
    fn is_about(&self, difference: &str) -> bool {
        let path = difference.split(": ").next().unwrap_or_default();
        let at = self.at.to_lowercase();
        path.to_lowercase().contains(&at) || self.at == "$"
    }
}

fn expected() -> Result<(Vec<Floor>, Vec<Exception>)> {
    let (mut floors, mut exceptions) = (Vec::new(), Vec::new());
    for line in EXPECTED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let parts: Vec<&str> = line.split('\t').collect();
        match parts[..] {
            ["floor", kind, floor] => floors.push((kind.to_owned(), floor.parse()?)),
            ["differs", kind, case, why] => {
                let at = why.split_once(": ").map(|(at, _)| at.to_owned());
                exceptions.push(Exception {
                    kind: kind.to_owned(),
                    case: case.to_owned(),
                    at: at.with_context(|| format!("`{why}` is not `MEMBER: WHY`"))?,
                });
            }
            _ => bail!(
                "recorded_wire.expected: `{line}` is neither `floor KIND COUNT` nor `differs KIND CASE MEMBER: WHY`"
            ),
        }
    }
    Ok((floors, exceptions))
}
