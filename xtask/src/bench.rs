//! The benchmark: builds what it measures in release and starts it. Hides which packages that takes.

use std::process::Command;

use anyhow::Result;

use crate::{c_guest, guests, tools};

/// Where the pictures go unless told otherwise.
const PICTURES: &str = "docs/images";

/// Builds, measures, prints; `arguments` are the benchmark's own.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    tools::targets()?;
    guests::build()?;
    if let Err(error) = c_guest::build() {
        eprintln!("nothing is measured of a guest in C: {error:#}");
    }
    let mut both = tools::cargo();
    both.args(["build", "--release", "--package", "stepwell"]);
    both.args(["--package", "stepwell-bench"]);
    tools::run(&mut both, "stepwell or its benchmark does not compile")?;
    let program = tools::root()
        .join("target/release")
        .join(format!("bench{}", std::env::consts::EXE_SUFFIX));
    let mut bench = Command::new(program);
    bench.current_dir(tools::root());
    if !arguments
        .iter()
        .any(|argument| argument.starts_with("--svg") || argument == "--quick")
    {
        bench.args(["--svg", PICTURES]);
    }
    tools::run(bench.args(arguments), "the benchmark failed")
}
