//! The project's chores: `cargo xtask CHORE`. Whatever sets up, builds, shows or checks the project is here, and
//! nothing else scripts it.

mod bench;
mod binaries;
mod c_guest;
mod console;
mod demo;
mod edge;
mod examples;
mod fuzz;
mod guests;
// What the build script of `stepwell-console` does with npm, the chores do too.
#[path = "../../runtime/console/rust/npm.rs"]
mod npm;
mod suite;
mod tools;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The project's chores"
)]
struct Chores {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build everything, run the order example durably and draw it
    Demo {
        /// Leave a server running on what the example did
        #[arg(long)]
        serve: bool,
    },
    /// Check formatting and lints, run all tests, print a table of times
    Test {
        /// Only these parts; all of them when absent
        parts: Vec<String>,
    },
    /// Build the examples' plugins into target/examples/NAME/plugins
    Plugins {
        /// Write the plugins that the recorded cases call into this folder instead, as BEHAVIOUR.wasm
        #[arg(long, value_name = "DIR")]
        corpus: Option<PathBuf>,
    },
    /// Build the programs that test the sandbox into target/guests
    Guests,
    /// Install the web console's modules and build it into target/console; builds of the program do so by themselves
    Console {
        /// Check its types instead
        #[arg(long)]
        check: bool,
    },
    /// Build the program for small machines, without a compiler; print its size, start and memory
    Edge {
        /// Static for another machine, as aarch64-unknown-linux-musl; `static` stands for all of them
        targets: Vec<String>,
        /// Run the gateway's example with it, in qemu where this machine does not run it
        #[arg(long = "try")]
        tried: bool,
        /// Measure this program instead
        #[arg(long, value_name = "FILE", conflicts_with_all = ["targets", "tried"])]
        program: Option<PathBuf>,
    },
    /// Measure executions, tasks and the process in release; `-- --help` tells the options
    Bench {
        /// Rows or groups to measure, and options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Compare JSONata with the reference engine under Node, on pairs of expression and document made from a seed
    Differential {
        /// How many pairs
        #[arg(long, default_value_t = 20_000)]
        pairs: u64,
        /// Where the pairs follow from
        #[arg(long, default_value_t = 2)]
        seed: u64,
    },
    /// Feed the languages' readers and the interpreter with bytes, guided by the code that they reach
    Fuzz {
        /// json, path, intrinsic, jsonata, asl or step, each of them when absent; or api, requests to a server
        target: Option<String>,
        /// How long each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The seed; another one each time when absent
        #[arg(long)]
        seed: Option<u32>,
        /// Give the target this one input instead
        #[arg(long, value_name = "FILE")]
        replay: Option<PathBuf>,
    },
    /// Run the seeded simulation of crashes
    Torture {
        /// How many seeds
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// One seed alone, with what was seen
        #[arg(long)]
        seed: Option<u64>,
    },
}

fn main() -> Result<()> {
    match Chores::parse().chore {
        Chore::Demo { serve } => demo::demo(serve),
        Chore::Test { parts } => suite::test(&parts),
        Chore::Plugins { corpus: None } => {
            for folder in examples::plugins()? {
                eprintln!("plugins are in {}", tools::shown(&folder));
            }
            Ok(())
        }
        Chore::Plugins {
            corpus: Some(folder),
        } => corpus_plugins(&folder),
        Chore::Guests => {
            tools::targets()?;
            eprintln!("guests are in {}", tools::shown(&guests::build()?));
            Ok(())
        }
        Chore::Console { check: false } => console::build(),
        Chore::Console { check: true } => console::check(),
        Chore::Edge {
            targets,
            tried,
            program,
        } => edge::edge(edge::Edge {
            targets,
            tried,
            program,
        }),
        Chore::Bench { arguments } => bench::bench(&arguments),
        Chore::Differential { pairs, seed } => differential(pairs, seed),
        Chore::Fuzz {
            target,
            seconds,
            seed,
            replay,
        } => match target.as_deref() {
            Some("api") => fuzz::api(seconds, seed),
            target => fuzz::fuzz(target, seconds, seed, replay),
        },
        Chore::Torture { seeds, from, seed } => torture(seeds, from, seed),
    }
}

/// Guests that only the sandbox's own tests call.
const NOT_RECORDED: [&str; 1] = ["command"];

/// Each command among the guests is a function that recorded cases call, under its own name.
fn corpus_plugins(folder: &std::path::Path) -> Result<()> {
    tools::targets()?;
    let built = guests::build()?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("`{}` cannot be created", folder.display()))?;
    let sources = tools::root().join("tests/guests/src/bin");
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&sources)
        .with_context(|| format!("{} is not readable", sources.display()))?
    {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .and_then(|name| name.to_str())
                .map(str::to_owned),
        );
    }
    names.retain(|name| !NOT_RECORDED.contains(&name.as_str()));
    names.sort();
    for name in &names {
        let file = format!("{name}.wasm");
        std::fs::copy(built.join(&file), folder.join(&file))
            .with_context(|| format!("{file} was not built"))?;
    }
    eprintln!("{} plugins are in {}", names.len(), folder.display());
    Ok(())
}

/// Prints each pair on which the engines part; the list of known ones is held against the test's own pairs alone.
fn differential(pairs: u64, seed: u64) -> Result<()> {
    let mut command = tools::cargo();
    command
        .args(["test", "--quiet", "--package", "stepwell-query"])
        .args(["--test", "differential", "--", "--nocapture"])
        .env("DIFFERENTIAL_PAIRS", pairs.to_string())
        .env("DIFFERENTIAL_SEED", seed.to_string());
    tools::run(&mut command, "the comparison could not be made")
}

fn torture(seeds: u64, from: u64, seed: Option<u64>) -> Result<()> {
    let mut command = tools::cargo();
    command.args([
        "run",
        "--quiet",
        "--package",
        "stepwell-tests",
        "--bin",
        "torture",
        "--",
    ]);
    match seed {
        Some(seed) => command.args(["--seed", &seed.to_string()]),
        None => command.args(["--from", &from.to_string(), "--seeds", &seeds.to_string()]),
    };
    tools::run(
        &mut command,
        "the simulation found a defect; its seed is above",
    )
}
