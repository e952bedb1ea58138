//! The command line as transcripts: each folder of `cmd` holds the arguments (`args`, a line each), what is expected on
//! stdout and stderr, and the exit code; `env` may hold variables, `NAME=VALUE` a line. `BLESS=1` rewrites what is expected.

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let case = entry?.path();
        if case.is_dir() {
            cases.push(case);
        }
    }
    cases.sort();
    let trials = cases.into_iter().map(|case| {
        let name = case
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Trial::test(name, move || run(&case))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit()
}

/// Runs one case in a folder of its own that holds a copy of the case's `files`.
fn run(case: &Path) -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    if case.join("files").is_dir() {
        for entry in std::fs::read_dir(case.join("files"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), scratch.path().join(entry.file_name()))?;
        }
    }
    let mut stdout = String::new();
    let mut stderr = String::new();
    let mut codes = String::new();
    // A line `----` ends one command and begins the next one, in the same folder.
    let text = std::fs::read_to_string(case.join("args"))?;
    let lines: Vec<&str> = text.lines().collect();
    let variables = std::fs::read_to_string(case.join("env")).unwrap_or_default();
    let variables: Vec<(&str, &str)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    for arguments in lines.split(|line| *line == "----") {
        let output = Command::new(env!("CARGO_BIN_EXE_stepwell"))
            .args(arguments)
            .current_dir(scratch.path())
            .env_remove("STEPWELL_ENDPOINT")
            .env_remove("AWS_ENDPOINT_URL")
            .env_remove("AWS_ENDPOINT_URL_SFN")
            .env_remove("AWS_REGION")
            .env_remove("AWS_DEFAULT_REGION")
            .env_remove("AWS_ACCESS_KEY_ID")
            .env("XDG_CACHE_HOME", scratch.path().join("cache"))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()?;
        stdout.push_str(&String::from_utf8(output.stdout)?);
        stderr.push_str(&String::from_utf8(output.stderr)?);
        codes.push_str(&format!("{}\n", output.status.code().unwrap_or(-1)));
    }
    let mut wrong = String::new();
    for (file, actual) in [
        ("stdout.txt", steady(&stdout)),
        ("stderr.txt", steady(&stderr)),
        ("code", codes),
    ] {
        let path = case.join(file);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &actual)?;
        } else if std::fs::read_to_string(&path).unwrap_or_default() != actual {
            wrong.push_str(&format!(
                "{} differs; BLESS=1 rewrites it. Now:\n{actual}\n",
                path.display()
            ));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}

/// A text whose UUIDs are replaced: `…:mapRun:map/M:UUID`.
fn without_uuids(word: &str) -> String {
    const LENGTH: usize = 36;
    let is_uuid = |part: &str| {
        let plain = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        part.bytes().enumerate().all(plain)
    };
    let start = (0..word.len()).find(|at| word.get(*at..at + LENGTH).is_some_and(is_uuid));
    match start {
        Some(start) => {
            let rest = without_uuids(&word[start + LENGTH..]);
            format!("{}UUID{rest}", &word[..start])
        }
        None => word.to_owned(),
    }
}

/// Replaces what differs from run to run: times of day and durations, the blanks that align them, and UUIDs.
fn steady(text: &str) -> String {
    let digits =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let instant =
        |word: &str| word.len() == 24 && word.ends_with('Z') && word.as_bytes()[10] == b'T';
    let mut out = String::new();
    for line in text.lines() {
        let mut words: Vec<String> = Vec::new();
        for word in line.trim_start().split(' ') {
            let after_number = words.last().is_some_and(|last| digits(last));
            if matches!(word, "ms" | "s") && after_number {
                words.pop();
                words.push("TIME".to_owned());
            } else if instant(word) {
                words.push("INSTANT".to_owned());
            } else if word.is_empty() && !words.is_empty() {
                continue;
            } else if word
                .split_once('.')
                .is_some_and(|(_, rest)| rest.len() == 3)
                && digits(word)
            {
                words.push("SECONDS".to_owned());
            } else {
                words.push(without_uuids(word));
            }
        }
        out.push_str(words.join(" ").trim_end());
        out.push('\n');
    }
    out
}
