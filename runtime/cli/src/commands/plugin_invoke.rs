//! `plugin invoke`: one task on a plugin of the plugin directory, in this process, or on one that an installation has. Hides where it
//! runs, and how its end is told.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Value, json};
use stepwell_sandbox::{CODE_EXTENSION, Outcome as TaskOutcome, Sandbox, TaskCall, TaskEnd};

use super::function::refused_by;
use super::plugin::opened;
use super::waited::waited;
use crate::args::InvokeArgs;
use crate::client::{Client, Invoked, Purpose};
use crate::exit::{Blame, Outcome, Stop};
use crate::given;
use crate::host::{TENANT, USUAL_DATA};
use crate::policy;
use crate::terminal::{Paint, Tone, shown, shown_lines};

pub(super) async fn invoke(args: InvokeArgs) -> Outcome {
    check_no_path(&args.name)?;
    let given = args.given.as_deref().or(args.input.as_deref());
    let input = given::json(given.unwrap_or("{}"), "--input")?;
    if let Some(client) = installation(&args).await? {
        let called = on_installation(&client, &args, input).await;
        client.close().await;
        return called;
    }
    let policy = policy::read(&args.policy)?;
    let hint = "; `stepwell plugin build` makes one";
    let plugins = args.plugins.unwrap_or_else(usual_plugins);
    let sandbox = opened(&plugins, args.compile, policy, hint)?;
    here(&sandbox, &args.name, &input, args.json).await
}

/// Refuses what is a path and no name: as a name it would be looked for with an ending of its own.
fn check_no_path(name: &str) -> Outcome {
    let path = Path::new(name);
    let is_program = |kind: &std::ffi::OsStr| kind == "wasm" || kind == CODE_EXTENSION;
    let is_file = path.extension().is_some_and(is_program);
    if !is_file && !name.contains('/') {
        return Ok(());
    }
    let own = if is_file {
        path.file_stem()
    } else {
        path.file_name()
    };
    let own = own.map_or_else(|| "NAME".into(), |own| own.to_string_lossy());
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    Err(Stop::Usage(anyhow!(
        "`{name}` is a path; `plugin invoke` takes the name of a plugin, and `--plugins DIR` names its directory\nhint: `stepwell plugin invoke {own} --plugins {}`",
        folder.unwrap_or(Path::new(".")).display()
    )))
}

fn usual_plugins() -> PathBuf {
    Path::new(USUAL_DATA).join("plugins")
}

/// The installation that was named, if one was.
async fn installation(args: &InvokeArgs) -> Outcome<Option<Client>> {
    if let Some(endpoint) = &args.endpoint {
        return Client::server(endpoint, None).map(Some);
    }
    let Some(data) = args.data.as_deref() else {
        return Ok(None);
    };
    let client = Client::open_data(data, None, Purpose::Call(args)).await?;
    Ok(Some(client))
}

/// Calls a function, or a plugin of the installation's directory, by its name and qualifier.
async fn on_installation(client: &Client, args: &InvokeArgs, input: String) -> Outcome {
    let (name, qualifier) = match args.name.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (args.name.as_str(), None),
    };
    let called = tokio::select! {
        called = client.invoke(name, qualifier, input) => called?,
        _ = tokio::signal::ctrl_c() => return Err(Stop::Runtime(anyhow!("interrupted"))),
    };
    let called = called.map_err(|refused| refused_by(client, name, &refused))?;
    tell_invoked(&called, args.json)
}

/// What a function answered, and how it failed.
fn tell_invoked(called: &Invoked, as_json: bool) -> Outcome {
    let report: Value = match called.failed {
        true => serde_json::from_str(&called.payload).unwrap_or_default(),
        false => Value::Null,
    };
    let text = |key: &str| report[key].as_str();
    if as_json {
        let output: Value = match called.failed {
            true => Value::Null,
            false => serde_json::from_str(&called.payload).unwrap_or_default(),
        };
        super::print_json(&json!({
            "outcome": if called.failed { "failed" } else { "ok" },
            "output": output,
            "error": text("errorType"),
            "cause": text("errorMessage"),
            "version": called.version,
            "log": called.log,
        }))?;
    } else {
        say_lines(&called.log);
    }
    if called.failed {
        if !as_json {
            let name = text("errorType").unwrap_or(NAMELESS);
            tell_error(name, text("errorMessage").unwrap_or(&called.payload));
        }
        return Err(Stop::Failed);
    }
    match as_json {
        true => Ok(()),
        false => super::print_json_text(&called.payload),
    }
}

/// The lines of a log; its fields are parted by tabs, which stay.
fn say_lines(log: &str) {
    for line in told_lines(log) {
        say!("{line}");
    }
}

fn told_lines(log: &str) -> Vec<String> {
    log.lines().map(shown_lines).collect()
}

/// The name of an error that has none.
const NAMELESS: &str = "States.TaskFailed";

/// `error: NAME: cause`.
fn tell_error(name: &str, cause: &str) {
    let colon = if cause.is_empty() { "" } else { ": " };
    say!(
        "{} {}{colon}{}",
        Paint::stderr().paint(Tone::Bad, "error:"),
        shown(name),
        shown_lines(cause)
    );
}

/// The name by which a task of `wasm:NAME` fails that ends so; none of one that succeeded.
fn error_name(outcome: &TaskOutcome) -> Option<&str> {
    Some(match outcome {
        TaskOutcome::Ok(_) => return None,
        TaskOutcome::Failed { error, .. } if error.is_empty() => NAMELESS,
        TaskOutcome::Failed { error, .. } => error,
        TaskOutcome::Exited { .. } => "Stepwell.Exited",
        TaskOutcome::Trapped { .. } => "Stepwell.Trapped",
        TaskOutcome::TimedOut { .. } | TaskOutcome::NotReady { .. } => "States.Timeout",
        TaskOutcome::CpuTime { .. } => "Stepwell.CpuTime",
        TaskOutcome::OutOfFuel { .. } => "Stepwell.OutOfFuel",
        TaskOutcome::OutOfMemory { .. } => "Stepwell.OutOfMemory",
        TaskOutcome::InputTooLarge { .. } => "Stepwell.InputTooLarge",
        TaskOutcome::OutputTooLarge { .. } | TaskOutcome::InvalidOutput { .. } => {
            "Stepwell.InvalidOutput"
        }
        TaskOutcome::GrantRefused { .. } => "Stepwell.GrantRefused",
        TaskOutcome::PluginMissing { .. } => "Stepwell.PluginMissing",
        TaskOutcome::PluginBroken { .. } => "Stepwell.PluginBroken",
        TaskOutcome::TooManyRunning { .. } => "Stepwell.TooManyRunning",
        TaskOutcome::Cancelled => "Stepwell.Cancelled",
        TaskOutcome::HostFault { .. } => "Stepwell.Internal",
    })
}

/// What is told beside the name.
fn cause(end: &TaskEnd) -> String {
    if let TaskOutcome::Failed { cause, .. } = &end.outcome {
        return cause.clone();
    }
    end.explain()
}

/// Runs one task: its output goes to stdout, its logs and usage to stderr.
async fn here(sandbox: &Sandbox, name: &str, input: &str, as_json: bool) -> Outcome {
    compile_first(sandbox, name, as_json).await?;
    let end = tokio::select! {
        end = sandbox.call(TaskCall::new(TENANT, name, input)) => end,
        _ = tokio::signal::ctrl_c() => return Err(Stop::Runtime(anyhow!("interrupted"))),
    };
    if as_json {
        super::print_json(&end_json(&end))?;
    } else {
        tell(&end);
    }
    match &end.outcome {
        TaskOutcome::Ok(_) if as_json => Ok(()),
        TaskOutcome::Ok(output) => super::print_json_text(output),
        TaskOutcome::PluginMissing { .. }
        | TaskOutcome::PluginBroken { .. }
        | TaskOutcome::InputTooLarge { .. } => Err(Stop::Refused),
        TaskOutcome::HostFault { .. } => {
            Err(Stop::Runtime(anyhow!("the task failed inside the host")))
        }
        TaskOutcome::Failed { .. }
        | TaskOutcome::Exited { .. }
        | TaskOutcome::Trapped { .. }
        | TaskOutcome::TimedOut { .. }
        | TaskOutcome::CpuTime { .. }
        | TaskOutcome::OutOfFuel { .. }
        | TaskOutcome::OutOfMemory { .. }
        | TaskOutcome::OutputTooLarge { .. }
        | TaskOutcome::InvalidOutput { .. }
        | TaskOutcome::GrantRefused { .. }
        | TaskOutcome::TooManyRunning { .. }
        | TaskOutcome::NotReady { .. }
        | TaskOutcome::Cancelled => Err(Stop::Failed),
    }
}

/// Compiles a plugin that was not called before, under a sign that it goes on. Why it cannot be, the call says.
async fn compile_first(sandbox: &Sandbox, name: &str, quiet: bool) -> Outcome {
    let (asked, plugin) = (sandbox.clone(), name.to_owned());
    let slow = tokio::task::spawn_blocking(move || asked.needs_compiling(TENANT, &plugin));
    if !slow.await.runtime()? {
        return Ok(());
    }
    let what = format!("compiling plugin {name} (first use)");
    let compiled = async {
        let _ = sandbox.prepare(TENANT, name).await;
        Ok(())
    };
    waited(what, quiet, || None, compiled).await
}

fn tell(end: &TaskEnd) {
    let paint = Paint::stderr();
    for line in &end.logs {
        let fields: String = line
            .fields
            .iter()
            .map(|(name, value)| format!("  {}={}", shown(name), shown(value)))
            .collect();
        let level = format!("{:?}", line.level).to_lowercase();
        say!(
            "{:>9.3} {level:<5} {}{fields}",
            line.after.as_secs_f64(),
            shown(&line.message)
        );
    }
    for (name, tail) in [("stdout", &end.stdout), ("stderr", &end.stderr)] {
        for line in tail.text.lines() {
            say!("{name}: {}", shown(line));
        }
    }
    for refused in &end.refused {
        let refused = shown(refused);
        say!("{} refused: {refused}", paint.paint(Tone::Warn, "warning:"));
    }
    if let Some(name) = error_name(&end.outcome) {
        tell_error(name, &cause(end));
        for frame in &end.frames {
            say!("  at {}", frame.function);
        }
    }
    if end.started.is_none() {
        return;
    }
    let usage = &end.usage;
    let fuel = usage
        .fuel
        .map_or_else(String::new, |fuel| format!(", {fuel} fuel"));
    let line = format!(
        "{:.2} ms wall, {:.2} ms CPU, {} KiB memory{fuel}, {} bytes in, {} bytes out",
        usage.wall.as_secs_f64() * 1_000.0,
        usage.cpu.as_secs_f64() * 1_000.0,
        usage.memory_bytes_max >> 10,
        usage.input_bytes,
        usage.output_bytes
    );
    say!("{}", paint.paint(Tone::Dim, &line));
}

fn end_json(end: &TaskEnd) -> Value {
    let output = end.outcome.output().map(serde_json::from_str::<Value>);
    let output = output.and_then(Result::ok).unwrap_or_default();
    let error = error_name(&end.outcome);
    let cause = error.map(|_| cause(end));
    let logs = end.logs.iter().map(|line| {
        json!({"level": format!("{:?}", line.level).to_lowercase(), "message": line.message, "fields": line.fields, "afterMs": line.after.as_secs_f64() * 1_000.0})
    });
    json!({
        "outcome": end.outcome.name(),
        "output": output,
        "error": error,
        "cause": cause,
        "usage": {
            "wallMs": end.usage.wall.as_secs_f64() * 1_000.0,
            "cpuMs": end.usage.cpu.as_secs_f64() * 1_000.0,
            "memoryBytes": end.usage.memory_bytes_max,
            "inputBytes": end.usage.input_bytes,
            "outputBytes": end.usage.output_bytes,
            "fuel": end.usage.fuel,
            "reused": end.usage.reused,
        },
        "logs": logs.collect::<Vec<_>>(),
        "stdout": end.stdout.text,
        "stderr": end.stderr.text,
        "frames": end.frames.iter().map(|frame| frame.function.clone()).collect::<Vec<_>>(),
        "refused": end.refused,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error_names;

    #[test]
    fn the_tabs_of_a_report_stay_and_nothing_else_moves() {
        assert_eq!(
            told_lines("a\u{1b}[2J\nREPORT RequestId: r\tDuration: 1.00 ms\t\n"),
            ["a\u{fffd}[2J", "REPORT RequestId: r\tDuration: 1.00 ms\t"]
        );
    }

    #[test]
    fn a_path_is_no_name_and_is_told_as_name_and_directory() {
        for name in ["echo", "pay:live", "pay:7", "odd name"] {
            assert!(check_no_path(name).is_ok(), "{name}");
        }
        for (path, told) in [
            ("./x/echo.wasm", "invoke echo --plugins ./x`"),
            ("echo.cwasm", "invoke echo --plugins .`"),
            ("x/echo", "invoke echo --plugins x`"),
            ("/echo.wasm", "invoke echo --plugins /`"),
        ] {
            let why = match check_no_path(path) {
                Err(Stop::Usage(why)) => why.to_string(),
                other => panic!("{path}: {other:?}"),
            };
            assert!(why.starts_with(&format!("`{path}` is a path; ")), "{why}");
            assert!(why.ends_with(told), "{why}");
        }
    }

    #[test]
    fn every_end_has_a_name_that_is_explained() {
        let cause = String::new;
        let (wall, limit) = (Duration::ZERO, Duration::ZERO);
        for outcome in [
            TaskOutcome::Exited {
                code: 1,
                cause: cause(),
            },
            TaskOutcome::Trapped { cause: cause() },
            TaskOutcome::TimedOut { wall },
            TaskOutcome::NotReady { cause: cause() },
            TaskOutcome::CpuTime { limit },
            TaskOutcome::OutOfFuel { limit: 1 },
            TaskOutcome::OutOfMemory { cause: cause() },
            TaskOutcome::InputTooLarge { bytes: 2, limit: 1 },
            TaskOutcome::OutputTooLarge { bytes: 2, limit: 1 },
            TaskOutcome::InvalidOutput { cause: cause() },
            TaskOutcome::GrantRefused { cause: cause() },
            TaskOutcome::PluginMissing { cause: cause() },
            TaskOutcome::PluginBroken { cause: cause() },
            TaskOutcome::TooManyRunning { cause: cause() },
            TaskOutcome::Cancelled,
            TaskOutcome::HostFault { cause: cause() },
            TaskOutcome::Failed {
                error: cause(),
                cause: cause(),
            },
        ] {
            let name = error_name(&outcome).unwrap();
            assert!(error_names::page(name).is_some(), "{outcome:?}: {name}");
        }
        let (error, cause) = ("Declined".to_owned(), cause());
        let own = TaskOutcome::Failed { error, cause };
        assert_eq!(error_name(&own), Some("Declined"));
        assert_eq!(error_name(&TaskOutcome::Ok("1".to_owned())), None);
    }
}
