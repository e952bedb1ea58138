//! The demo: from a clean clone to a finished order with its pictures. Hides nothing; each step is a command that can
//! be pasted.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::{examples, tools};

const DATA: &str = "target/demo-data";
const PLUGINS: &str = "target/examples/order/plugins";
const EXECUTION: &str = "arn:aws:states:us-east-1:000000000000:execution:order:demo";

/// Builds, runs, draws and says what to look at. With `serve` a server stays on the data.
pub(crate) fn demo(serve: bool) -> Result<()> {
    let begun = Instant::now();
    step(1, "stepwell");
    tools::build_stepwell()?;
    step(2, "the plugins of examples/order");
    examples::plugins()?;
    step(3, "the order, durably");
    fresh_data()?;
    tools::run(
        tools::stepwell()
            .args([
                "run",
                "examples/order/machine.asl.json",
                "--input",
                "@examples/order/input.json",
            ])
            .args(["--plugins", PLUGINS, "--data", DATA, "--name", "demo"]),
        "the order was not fulfilled",
    )?;
    step(4, "pictures");
    draw()?;
    eprintln!(
        "\ndone in {:.0} s; look further:\n",
        begun.elapsed().as_secs_f64()
    );
    let program = tools::shown(&tools::stepwell_path());
    for command in [
        format!("execution show {EXECUTION} --data {DATA}"),
        format!("execution history {EXECUTION} --data {DATA}"),
        format!(
            "run examples/order/machine.asl.json --input @examples/order/input-declined.json --plugins {PLUGINS}"
        ),
        format!("serve --data {DATA} --plugins {PLUGINS}"),
    ] {
        eprintln!("  {program} {command}");
    }
    eprintln!();
    if serve {
        let mut server = tools::stepwell();
        return tools::run(
            server.args(["serve", "--data", DATA, "--plugins", PLUGINS]),
            "the server ended",
        );
    }
    Ok(())
}

fn step(number: usize, what: &str) {
    eprintln!("\n[{number}/4] {what}");
}

fn fresh_data() -> Result<()> {
    let data = tools::root().join(DATA);
    if data.exists() {
        std::fs::remove_dir_all(&data)
            .with_context(|| format!("{DATA} cannot be removed; does a server hold it?"))?;
    }
    Ok(())
}

fn draw() -> Result<()> {
    let drawn = "a picture could not be drawn";
    for (file, arguments) in [
        (
            "target/demo-graph.svg",
            vec![
                "graph",
                "--execution",
                EXECUTION,
                "--data",
                DATA,
                "--output",
            ],
        ),
        (
            "target/demo-waterfall.svg",
            vec!["execution", "show", EXECUTION, "--data", DATA, "--svg"],
        ),
    ] {
        let mut command = tools::stepwell();
        tools::run(
            command
                .args(arguments)
                .arg(file)
                .stdout(std::process::Stdio::null()),
            drawn,
        )?;
        eprintln!("  {file}");
    }
    Ok(())
}
