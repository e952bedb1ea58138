//! The binary `stepwell`: arguments in, one command out, an exit code.

mod args;
mod client;
mod commands;
mod exit;
mod given;
#[cfg(test)]
mod golden;
mod graph;
mod host;
mod progress;
mod runner;
mod table;
mod terminal;
mod timeline;
mod waterfall;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    exit::finish(commands::run(cli.command))
}
