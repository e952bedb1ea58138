//! The coverage-guided fuzzer: builds it with its flags, runs a target for a while, says how to do it again. Hides
//! where it keeps what it found.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools;

/// The targets, with the folders of what they start from.
const TARGETS: [(&str, &[&str]); 10] = [
    ("json", &["runtime/asl/tests/good"]),
    ("path", &["tests/fuzz/seeds/path"]),
    ("intrinsic", &["tests/fuzz/seeds/intrinsic"]),
    ("jsonata", &["tests/fuzz/seeds/jsonata"]),
    ("asl", &["runtime/asl/tests/good", "runtime/asl/tests/bad"]),
    ("step", &[]),
    ("package", &["tests/fuzz/seeds/package"]),
    ("manifest", &["tests/fuzz/seeds/manifest"]),
    ("ceilings", &["tests/fuzz/seeds/ceilings"]),
    ("wasm", &["tests/fuzz/seeds/wasm"]),
];

/// Those that take the Wasm runtime and the server, which with the fuzzer's flags are minutes to build: the tests run them
/// on changed seeds instead.
const OF_PLUGINS: [&str; 4] = ["package", "manifest", "ceilings", "wasm"];

/// What has the compiler count which code is reached and which values are compared; all of it works on stable Rust.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Clink-dead-code",
];

/// Seconds a target gets among the tests.
const SECONDS_IN_TESTS: u64 = 5;
/// The seed of the run among the tests.
const SEED_IN_TESTS: u32 = 1;

/// What one input may take: seconds and megabytes.
const INPUT_SECONDS_MAX: u32 = 20;
const MEMORY_MB_MAX: u32 = 4_096;
/// Bytes of one input.
const INPUT_BYTES_MAX: u32 = 4_096;

/// The part of the tests: each target for a few seconds, but those of plugins.
pub(crate) fn briefly() -> Result<()> {
    let program = build(false)?;
    for (name, seeds) in TARGETS {
        if !OF_PLUGINS.contains(&name) {
            run(&program, name, seeds, SECONDS_IN_TESTS, SEED_IN_TESTS)?;
        }
    }
    Ok(())
}

/// Runs the API's fuzzer against a server for that many seconds: a client that follows the API's model. It is one of the
/// tests, with a longer run.
pub(crate) fn api(seconds: u64, seed: Option<u32>) -> Result<()> {
    tools::build_stepwell()?;
    let seed = seed.unwrap_or_else(std::process::id);
    eprintln!("again: cargo xtask fuzz api --seconds {seconds} --seed {seed}");
    let mut cargo = tools::cargo();
    cargo
        .args(["test", "--quiet", "--workspace", "--test", "all", "--"])
        .args(["clients::fuzz", "--exact", "--nocapture"])
        .env("STEPWELL_FUZZ_SECONDS", seconds.to_string())
        .env("STEPWELL_SEED", seed.to_string());
    tools::run(&mut cargo, "a request was answered wrongly; it is above")
}

/// Runs a target, or each of them, for that many seconds; with `replay` it is given that one input instead.
pub(crate) fn fuzz(
    target: Option<&str>,
    seconds: u64,
    seed: Option<u32>,
    replay: Option<PathBuf>,
) -> Result<()> {
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|(name, _)| target.is_none_or(|target| target == *name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        bail!("there is no such target; targets are: {}", names.join(", "));
    }
    let program = build(chosen.iter().any(|(name, _)| OF_PLUGINS.contains(name)))?;
    if let Some(input) = replay {
        let Some(target) = target else {
            bail!("say which target the input is for: cargo xtask fuzz TARGET --replay FILE");
        };
        let mut command = Command::new(&program);
        command
            .current_dir(tools::root())
            .env("FUZZ_TARGET", target);
        return tools::run(command.arg(input), "the input still breaks the target");
    }
    let seed = seed.unwrap_or_else(std::process::id);
    for (name, seeds) in chosen {
        run(&program, name, seeds, seconds, seed)?;
    }
    Ok(())
}

/// Builds the fuzzer apart from everything else, since its flags are its own.
fn build(plugins: bool) -> Result<PathBuf> {
    let features = match plugins {
        true => "libfuzzer,plugins",
        false => "libfuzzer",
    };
    let host = host()?;
    let folder = tools::root().join("target/fuzz");
    let mut cargo = tools::cargo();
    cargo
        .args([
            "build",
            "--package",
            "stepwell-fuzz",
            "--no-default-features",
            "--features",
            features,
        ])
        .args(["--target", &host])
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", FLAGS.join(" "));
    tools::run(
        &mut cargo,
        "the fuzzer does not compile; it takes a C++ compiler",
    )?;
    let name = format!("fuzz{}", std::env::consts::EXE_SUFFIX);
    Ok(folder.join(host).join("debug").join(name))
}

fn host() -> Result<String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = rustc
        .arg("-vV")
        .output()
        .context("rustc cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line
        .context("rustc does not say what it compiles for")?
        .to_owned())
}

fn run(program: &Path, name: &str, seeds: &[&str], seconds: u64, seed: u32) -> Result<()> {
    let kept = tools::root().join("target/fuzz/kept").join(name);
    let broken = tools::root().join("target/fuzz/broken").join(name);
    for folder in [&kept, &broken] {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    eprintln!(
        "fuzzing {name} for {seconds} s; again: cargo xtask fuzz {name} --seconds {seconds} --seed {seed}"
    );
    let mut command = Command::new(program);
    command
        .current_dir(tools::root())
        .env("FUZZ_TARGET", name)
        .args([
            format!("-seed={seed}"),
            format!("-max_total_time={seconds}"),
            format!("-timeout={INPUT_SECONDS_MAX}"),
            format!("-rss_limit_mb={MEMORY_MB_MAX}"),
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-artifact_prefix={}/", broken.display()),
            "-print_final_stats=1".to_owned(),
            "-verbosity=0".to_owned(),
        ])
        .arg(&kept)
        .args(seeds);
    let failure = format!(
        "{name} broke; the input is the newest file of {}; again: cargo xtask fuzz {name} --replay FILE",
        tools::shown(&broken)
    );
    tools::run(&mut command, &failure)
}
