//! The commands, one file a noun. Hides the async runtime and the log that they run under.

mod at_rest;
mod execution;
mod follow;
mod fork;
mod function;
mod function_bounds;
mod function_target;
mod graph;
mod machine;
mod map_runs;
mod plugin;
mod plugin_compile;
mod plugin_events;
mod plugin_gc;
mod plugin_invoke;
mod plugin_known;
mod plugin_list;
mod plugin_named;
mod plugin_project;
mod plugin_registry;
mod prepare;
mod run;
mod sealed;
mod serve;
mod task;
mod task_logs;
mod tenant;
mod test;
mod trigger;
mod usage;
mod validate;
mod waited;

#[cfg(test)]
pub(crate) use execution::history_table;
#[cfg(test)]
pub(crate) use graph::marks;

use std::io::{IsTerminal, Write};

use anyhow::Context;
use serde_json::Value;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::Command;
use crate::exit::{Blame, Outcome};

/// Carries out one command.
pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Validate(args) => validate::validate(&args),
        Command::Explain(args) => validate::explain(&args),
        #[cfg(feature = "tools")]
        Command::Test(args) => test::test(&args),
        Command::Serve(args) => wait(serve::serve(*args), "info"),
        Command::Run(args) => wait(run::run(args), "error"),
        #[cfg(feature = "tools")]
        Command::Graph(args) => wait(graph::graph(args), "error"),
        Command::Execution(command) => wait(execution::execution(command), "error"),
        Command::Task(command) => wait(task::task(command), "error"),
        Command::Machine(command) => wait(machine::machine(command), "error"),
        Command::Plugin(command) => wait(plugin::plugin(command), "error"),
        #[cfg(feature = "compiler")]
        Command::CompilePlugin { order } => {
            // Its exit code speaks to the process that started it, in words of the sandbox.
            std::process::exit(i32::from(stepwell_sandbox::compile_worker(&order)))
        }
        #[cfg(feature = "tools")]
        Command::Trigger(command) => wait(trigger::trigger(command), "error"),
        Command::Secret(command) => wait(sealed::secret(command), "error"),
        Command::Connection(command) => wait(sealed::connection(command), "error"),
        Command::Tenant(command) => wait(tenant::tenant(command), "error"),
        #[cfg(feature = "tools")]
        Command::Usage(args) => wait(usage::usage(args), "error"),
        #[cfg(not(feature = "tools"))]
        Command::Other(words) => left_out("", &words),
    }
}

/// Says of a command whether this program was built without it, or nobody knows it. `before` is what stands before the
/// words.
#[cfg(not(feature = "tools"))]
fn left_out(before: &str, words: &[std::ffi::OsString]) -> Outcome {
    let word = words.first().map(|word| word.to_string_lossy());
    let name = format!("{before}{}", word.unwrap_or_default());
    let error = if crate::args::TOOLS.contains(&&*name) {
        anyhow::anyhow!(
            "this program was built without the feature `tools`, of which `{name}` is\nhint: a program with it works on this one's server: `stepwell {name} --help` tells of --endpoint"
        )
    } else {
        anyhow::anyhow!("there is no command `{name}`\nhint: `stepwell {before}--help` lists them")
    };
    Err(crate::exit::Stop::Usage(error))
}

/// Runs a command that waits for something. `level` is what the log shows unless `STEPWELL_LOG` says otherwise.
fn wait(work: impl Future<Output = Outcome>, level: &str) -> Outcome {
    let filter = log_filter(level)?;
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Without a reader of stderr the log is lost, not the process.
    let log = log
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_target(false);
    tracing_subscriber::registry().with(log).with(filter).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime
        .context("the process may start no more threads")
        .runtime()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

/// What `STEPWELL_LOG` asks for, or all from `level` on.
fn log_filter(level: &str) -> Outcome<Targets> {
    let asked = std::env::var("STEPWELL_LOG").unwrap_or_default();
    let asked = if asked.is_empty() { level } else { &asked };
    asked
        .parse()
        .with_context(|| {
            format!("`{asked}` of the variable STEPWELL_LOG is no filter such as `warn` or `stepwell_engine=debug`")
        })
        .usage()
}

/// Writes data to stdout. A reader that went away (`| head`) is no failure.
fn print(text: &str) -> Outcome {
    print_more(text).map(drop)
}

/// The same, and tells whether there still is a reader.
fn print_more(text: &str) -> Outcome<bool> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("stdout cannot be written").runtime(),
    }
}

/// Writes a JSON value to stdout, for people to read.
fn print_json(value: &Value) -> Outcome {
    let text = serde_json::to_string_pretty(value)
        .context("the answer is not JSON")
        .runtime()?;
    print(&format!("{text}\n"))
}

/// Writes JSON text to stdout: indented on a terminal, as it is elsewhere.
fn print_json_text(text: &str) -> Outcome {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if std::io::stdout().is_terminal() => print_json(&value),
        Ok(_) | Err(_) => print(&format!("{text}\n")),
    }
}

/// A text of a JSON object.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A timestamp of the API as `2026-01-31T12:00:00.000Z`, or nothing.
fn time(value: &Value, key: &str) -> String {
    let seconds = value.get(key).and_then(Value::as_f64);
    let instant =
        seconds.and_then(|s| jiff::Timestamp::from_millisecond((s * 1_000.0).round() as i64).ok());
    instant.map_or_else(String::new, |at| format!("{at:.3}"))
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
