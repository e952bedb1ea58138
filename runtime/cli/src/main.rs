//! The binary `stepwell`: arguments in, one command out, an exit code.

#![cfg_attr(
    not(feature = "tools"),
    allow(
        dead_code,
        reason = "commands that are left out are not called, and the linker drops them"
    )
)]

/// A line of talk on stderr. Unlike `eprintln!` it does not panic when nobody reads it any more (`2>&1 | head`).
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod args;
mod cells;
mod client;
mod commands;
mod config;
mod connections;
mod console;
mod error_names;
mod exit;
mod given;
#[cfg(test)]
mod golden;
mod graph;
mod host;
mod key_file;
mod meter;
mod near;
mod needs;
mod oci;
mod panics;
mod policy;
mod progress;
mod runner;
mod sizes;
mod stopping;
mod table;
mod telemetry;
mod terminal;
mod testing;
mod timeline;
mod tls;
mod transfer;
mod watched;
mod waterfall;

use std::panic::catch_unwind;
use std::process::ExitCode;

/// Most of what is allocated is small and freed by another thread than allocated it: glibc's allocator takes locks for that.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    panics::hook();
    let outcome = catch_unwind(|| commands::run(config::arguments()?.command));
    exit::finish(outcome.unwrap_or(Err(exit::Stop::Panicked)))
}
