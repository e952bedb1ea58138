//! All checks and tests, part by part, with a table of what each took and found. Hides how their output is read.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::binaries::Binaries;
use crate::{console, examples, fuzz, guests, tools};

/// A part of the suite.
struct Part {
    name: &'static str,
    what: &'static str,
    work: Work,
}

/// What a part does.
enum Work {
    Chore(fn() -> Result<()>),
    Cargo(&'static [&'static str]),
    /// Compiles all test binaries.
    Compile,
    /// Runs the test binaries of these packages with these arguments.
    Tests(&'static [&'static str], &'static [&'static str]),
    /// Brings the browser, then runs the whole system's tests with these arguments.
    Browser(&'static [&'static str]),
    /// Runs the examples' tasks natively, then the whole system's tests with these arguments.
    Examples(&'static [&'static str]),
}

/// What came of a part.
struct Done {
    name: &'static str,
    took: Duration,
    passed: u64,
    failed: u64,
    /// Lines that tell of the corpus.
    corpus: Vec<String>,
    ok: bool,
}

/// The package that tests the built system from the outside.
const WHOLE: &str = "stepwell-tests";

const PARTS: &[Part] = &[
    Part {
        name: "format",
        what: "rustfmt",
        work: Work::Cargo(&["fmt", "--all", "--check"]),
    },
    // A program without its console builds as well, so that somebody has to ask for it.
    Part {
        name: "types",
        what: "the console's modules and types",
        work: Work::Chore(console::check),
    },
    Part {
        name: "build",
        what: "the program",
        work: Work::Chore(tools::build_stepwell),
    },
    Part {
        name: "guests",
        what: "test guests",
        work: Work::Chore(|| guests::build().map(drop)),
    },
    Part {
        name: "plugins",
        what: "the examples' plugins",
        work: Work::Chore(|| examples::plugins().map(drop)),
    },
    Part {
        name: "lint",
        what: "clippy",
        work: Work::Cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]),
    },
    Part {
        name: "edge",
        what: "clippy of what small machines have",
        work: Work::Cargo(&[
            "clippy",
            "--quiet",
            "--package",
            "stepwell",
            "--no-default-features",
            "--features",
            "edge",
            "--",
            "--deny",
            "warnings",
        ]),
    },
    Part {
        name: "compile",
        what: "all tests",
        work: Work::Compile,
    },
    Part {
        name: "query",
        what: "values, JSONPath, JSONata",
        work: Work::Tests(&["stepwell-query"], &["--show-output"]),
    },
    Part {
        name: "asl",
        what: "definitions",
        work: Work::Tests(&["stepwell-asl"], &["--show-output"]),
    },
    Part {
        name: "interp",
        what: "the interpreter",
        work: Work::Tests(&["stepwell-interp"], &[]),
    },
    Part {
        name: "items",
        what: "a Map's items and results",
        work: Work::Tests(&["stepwell-items"], &[]),
    },
    Part {
        name: "egress",
        what: "outgoing connections",
        work: Work::Tests(&["stepwell-egress"], &[]),
    },
    Part {
        name: "engine",
        what: "durable execution",
        work: Work::Tests(&["stepwell-engine"], &[]),
    },
    Part {
        name: "sandbox",
        what: "plugins, limits, grants",
        work: Work::Tests(&["stepwell-sandbox"], &[]),
    },
    Part {
        name: "server",
        what: "the API, and the console's files",
        work: Work::Tests(&["stepwell-server", "stepwell-console"], &[]),
    },
    Part {
        name: "cli",
        what: "the command line",
        work: Work::Tests(&["stepwell"], &[]),
    },
    Part {
        name: "sdk",
        what: "the Rust SDK",
        work: Work::Tests(
            &[
                "stepwell-task",
                "stepwell-task-macros",
                "stepwell-sample-task",
            ],
            &[],
        ),
    },
    Part {
        name: "chores",
        what: "these chores and the bench",
        work: Work::Tests(
            &[
                "xtask",
                "stepwell-bench",
                "stepwell-fuzz",
                "stepwell-test-guests",
            ],
            &[],
        ),
    },
    Part {
        name: "fuzz",
        what: "whatever bytes come, for half a minute",
        work: Work::Chore(fuzz::briefly),
    },
    Part {
        name: "docs",
        what: "examples in the documentation of the Rust SDK",
        work: Work::Cargo(&["test", "--doc", "--workspace"]),
    },
    Part {
        name: "whole",
        what: "corpus and crashes, without a server",
        work: Work::Tests(
            &[WHOLE],
            &[
                "--skip",
                "boto3::",
                "--skip",
                "clients::",
                "--skip",
                "console::",
                "--skip",
                "examples::",
                "--skip",
                "hostile::",
                "--skip",
                "http_tasks::",
                "--skip",
                "kill::",
                "--skip",
                "recorded_wire::",
            ],
        ),
    },
    Part {
        name: "examples",
        what: "the examples: their tasks natively, their runs by the program",
        work: Work::Examples(&["examples::"]),
    },
    Part {
        name: "hostile",
        what: "tasks that mean harm, through a server",
        work: Work::Tests(&[WHOLE], &["hostile::"]),
    },
    Part {
        name: "http",
        what: "HTTP tasks, through a server",
        work: Work::Tests(&[WHOLE], &["http_tasks::"]),
    },
    Part {
        name: "kill",
        what: "a server that is killed again and again",
        work: Work::Tests(&[WHOLE], &["kill::"]),
    },
    Part {
        name: "boto3",
        what: "the AWS SDK's cases",
        work: Work::Tests(&[WHOLE], &["boto3::"]),
    },
    Part {
        name: "clients",
        what: "SDKs for JavaScript and Rust, Terraform's calls, the API fuzzed",
        work: Work::Tests(&[WHOLE], &["clients::"]),
    },
    Part {
        name: "console",
        what: "the web console in a browser",
        work: Work::Browser(&["console::"]),
    },
    Part {
        name: "recorded_wire",
        what: "recordings over the wire",
        work: Work::Tests(&[WHOLE], &["recorded_wire::"]),
    },
];

/// Runs the parts, all of them even when one fails, and prints the table.
pub(crate) fn test(wanted: &[String]) -> Result<()> {
    if let Some(unknown) = wanted
        .iter()
        .find(|name| !PARTS.iter().any(|part| part.name == name.as_str()))
    {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        bail!(
            "there is no part `{unknown}`; parts are: {}",
            names.join(", ")
        );
    }
    tools::targets()?;
    let chosen = PARTS
        .iter()
        .filter(|part| wanted.is_empty() || wanted.iter().any(|name| name == part.name));
    let mut binaries = Binaries::default();
    let done: Vec<Done> = chosen.map(|part| run(part, &mut binaries)).collect();
    table(&done);
    let failed: Vec<&str> = done
        .iter()
        .filter(|done| !done.ok)
        .map(|done| done.name)
        .collect();
    if !failed.is_empty() {
        bail!(
            "failed: {}; again: cargo xtask test {}",
            failed.join(", "),
            failed.join(" ")
        );
    }
    Ok(())
}

fn run(part: &Part, binaries: &mut Binaries) -> Done {
    eprintln!("\n=== {}: {}", part.name, part.what);
    let begun = Instant::now();
    let mut done = Done {
        name: part.name,
        took: Duration::ZERO,
        passed: 0,
        failed: 0,
        corpus: Vec::new(),
        ok: false,
    };
    let outcome = match &part.work {
        Work::Chore(chore) => chore().map(|()| true),
        Work::Cargo(arguments) => watched(tools::cargo().args(*arguments), &mut done),
        Work::Compile => binaries.compile().map(|()| true),
        Work::Tests(packages, arguments) => tests(binaries, packages, arguments, &mut done),
        Work::Browser(arguments) => {
            tools::browser().and_then(|()| tests(binaries, &[WHOLE], arguments, &mut done))
        }
        Work::Examples(arguments) => examples::packages().and_then(|packages| {
            let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
            let natively = tests(binaries, &packages, &[], &mut done)?;
            Ok(tests(binaries, &[WHOLE], arguments, &mut done)? && natively)
        }),
    };
    done.took = begun.elapsed();
    done.ok = outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        false
    });
    done
}

/// Runs the test binaries of packages, all of them even when one fails.
fn tests(
    binaries: &mut Binaries,
    packages: &[&str],
    arguments: &[&str],
    done: &mut Done,
) -> Result<bool> {
    let mut passed = true;
    for mut binary in binaries.of(packages)? {
        passed &= watched(binary.args(arguments), done)?;
    }
    Ok(passed)
}

/// Runs a command, passing on what it prints to stdout line by line and counting what the test harnesses say.
fn watched(command: &mut Command, done: &mut Done) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be started")?;
    let stdout = child.stdout.take().context("the output is piped")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("the output of a test cannot be read")?;
        // A closed stdout must not end the tests.
        let _ = writeln!(std::io::stdout(), "{line}");
        if let Some((passed, failed)) = counts(&line) {
            done.passed += passed;
            done.failed += failed;
        }
        if of_corpus(&line) {
            done.corpus.push(line.trim().to_owned());
        }
    }
    Ok(child.wait().context("cargo was lost")?.success())
}

/// `test result: ok. 12 passed; 0 failed; …`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let rest = line.trim().strip_prefix("test result:")?;
    let before = |word: &str| {
        rest.split(word)
            .next()?
            .split_whitespace()
            .last()?
            .parse()
            .ok()
    };
    Some((before(" passed")?, before(" failed").unwrap_or(0)))
}

/// `recorded executions: 105/117`, or that there is no corpus or no engine to compare with.
fn of_corpus(line: &str) -> bool {
    let share = |rest: &str| {
        let (passed, all) = rest.split_whitespace().next()?.split_once('/')?;
        Some(
            passed.parse::<u64>().is_ok()
                && all.trim_end_matches([',', ';', '.']).parse::<u64>().is_ok(),
        )
    };
    let counted = line
        .split_once(": ")
        .and_then(|(_, rest)| share(rest))
        .unwrap_or(false);
    let lacking = line.contains("corpus") || line.contains("reference engine");
    counted || (line.to_ascii_lowercase().contains("skipped") && lacking)
}

fn table(done: &[Done]) {
    let minutes = |took: Duration| format!("{:.1}", took.as_secs_f64() / 60.0);
    let mut text = format!(
        "\n{:<13} {:>7} {:>7} {:>7}\n",
        "part", "minutes", "passed", "failed"
    );
    for part in done {
        let end = if part.ok { "" } else { "  FAILED" };
        text.push_str(&format!(
            "{:<13} {:>7} {:>7} {:>7}{end}\n",
            part.name,
            minutes(part.took),
            part.passed,
            part.failed
        ));
    }
    let sum = |count: fn(&Done) -> u64| done.iter().map(count).sum::<u64>();
    let took = done.iter().map(|part| part.took).sum();
    text.push_str(&format!(
        "{:<13} {:>7} {:>7} {:>7}\n",
        "all",
        minutes(took),
        sum(|d| d.passed),
        sum(|d| d.failed)
    ));
    let corpus: Vec<&str> = done
        .iter()
        .flat_map(|part| part.corpus.iter().map(String::as_str))
        .collect();
    if !corpus.is_empty() {
        text.push_str(&format!("\n{}\n", corpus.join("\n")));
    }
    // A closed stdout must not hide whether the tests passed.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_harnesses_count() {
        assert_eq!(
            counts("test result: ok. 12 passed; 3 failed; 0 ignored"),
            Some((12, 3))
        );
        assert_eq!(
            counts("test result: FAILED. 1 passed; 1 failed; 0 ignored"),
            Some((1, 1))
        );
        assert_eq!(counts("running 3 tests"), None);
        assert!(of_corpus("recorded executions: 105/117"));
        assert!(of_corpus(
            "linters' verdicts: 3/4 agree, 1 exceptions listed"
        ));
        assert!(!of_corpus("test a: b/c"));
    }
}
