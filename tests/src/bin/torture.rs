//! `torture [--from N] [--seeds N] [--seed N]`: the seeded simulation for as many seeds as asked; `--seed` runs one
//! and prints what was seen.

#![allow(clippy::print_stdout, reason = "a tool tells what it found")]

use std::{process::ExitCode, time::Instant};

use stepwell_tests::torture;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--seed") {
        return match torture::run(seed) {
            Ok(report) => {
                println!(
                    "{}seed {seed}: {} executions, {} crashes",
                    report.trace, report.executions, report.crashes
                );
                ExitCode::SUCCESS
            }
            Err(wrong) => {
                println!("seed {seed}: {wrong}");
                ExitCode::FAILURE
            }
        };
    }
    let (from, seeds) = (
        number("--from").unwrap_or(0),
        number("--seeds").unwrap_or(1_000),
    );
    let begun = Instant::now();
    let mut failed = Vec::new();
    let mut total = torture::Report::default();
    for seed in from..from + seeds {
        match torture::run(seed) {
            Ok(report) => {
                total.executions += report.executions;
                total.acknowledged += report.acknowledged;
                total.crashes += report.crashes;
                total.dispatches += report.dispatches;
            }
            Err(wrong) => {
                println!("seed {seed}: {wrong}\n  again: cargo xtask torture --seed {seed}");
                failed.push(seed);
            }
        }
    }
    println!(
        "{seeds} seeds from {from}: {} failed; {} executions, {} acknowledged, {} dispatches, {} crashes, {:.1} s",
        failed.len(),
        total.executions,
        total.acknowledged,
        total.dispatches,
        total.crashes,
        begun.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
