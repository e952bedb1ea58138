//! `plugin`: write, build, check and call plugins.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use stepwell_sandbox::{
    Contract, Format, FsGrant, Grants, Inspection, Outcome as TaskOutcome, TaskCall, TaskEnd,
};

use super::{plugin_compile, plugin_project, plugin_registry};
use crate::args::{CompileArgs, PluginCommand};
use crate::exit::{Blame, Outcome, Stop};
use crate::given;
use crate::host::{self, TENANT, USUAL_DATA};
use crate::table::Table;
use crate::terminal::{Paint, Tone};

pub(super) async fn plugin(command: PluginCommand) -> Outcome {
    match command {
        PluginCommand::New { name, path, sdk } => {
            plugin_project::new(&name, path.as_deref(), sdk.as_deref())
        }
        PluginCommand::Build {
            path,
            plugins,
            profile,
            target_dir,
            compile,
        } => {
            let target = target_dir.or_else(|| Some(host::user_cache()?.join("plugin-target")));
            let installed = plugin_project::build(&path, &plugins, &profile, target.as_deref())?;
            check(&installed, Some(&plugins), compile)
        }
        PluginCommand::Check { path, compile } => check(&path, None, compile),
        PluginCommand::Inspect {
            path,
            json,
            compile,
        } => inspect(&path, json, compile),
        PluginCommand::List {
            plugins,
            json,
            compile,
        } => list(&plugins, json, compile).await,
        PluginCommand::Invoke {
            name,
            given,
            input,
            plugins,
            json,
            compile,
        } => {
            let input = given::json(given.or(input).as_deref().unwrap_or("{}"), "--input")?;
            invoke(&name, &input, &plugins, json, compile).await
        }
        PluginCommand::Compile(args) => plugin_compile::compile(args).await,
        PluginCommand::Pull(args) => plugin_registry::pull(args).await,
        PluginCommand::Uploaded(command) => super::function::function(command).await,
    }
}

pub(super) fn inspection(
    path: &Path,
    plugins: Option<&Path>,
    compile: CompileArgs,
) -> Outcome<Inspection> {
    if path.join("Cargo.toml").is_file() {
        return Err(Stop::Usage(anyhow::anyhow!(
            "`{at}` holds a plugin's sources\nhint: `stepwell plugin build {at}` builds, installs and checks it",
            at = path.display()
        )));
    }
    let sandbox = host::sandbox(plugins, None, host::compiler(compile, false)?)?;
    let path = installed(path).unwrap_or_else(|| path.to_owned());
    tokio::task::block_in_place(|| sandbox.inspect(&path)).usage()
}

/// Where the plugin of that name is in the usual plugin directory, when the path itself is not there.
fn installed(path: &Path) -> Option<PathBuf> {
    let name = path.to_str().filter(|_| !path.exists())?;
    let plugins = Path::new(USUAL_DATA).join("plugins");
    let places = [plugins.join(name), plugins.join(format!("{name}.wasm"))];
    places.into_iter().find(|place| place.exists())
}

/// Prints what is wrong; fails when the plugin cannot be called.
fn check(path: &Path, plugins: Option<&Path>, compile: CompileArgs) -> Outcome {
    if plugin_compile::is_code(path) {
        return plugin_compile::check(path);
    }
    let found = inspection(path, plugins, compile)?;
    print_problems(&found);
    if !found.usable() {
        return Err(Stop::Refused);
    }
    let kind = found.contract.map_or("", contract_name);
    super::print(&format!(
        "{} is a plugin ({kind}, {} bytes)\n",
        found.file.display(),
        found.wasm_bytes
    ))
}

pub(super) fn print_problems(found: &Inspection) {
    let paint = Paint::stderr();
    for problem in &found.problems {
        let (tone, word) = if problem.fatal {
            (Tone::Bad, "error")
        } else {
            (Tone::Warn, "warning")
        };
        say!(
            "{} {}",
            paint.paint(tone, &format!("{word}:")),
            problem.what
        );
        if !problem.hint.is_empty() {
            say!("  hint: {}", problem.hint);
        }
    }
}

fn inspect(path: &Path, as_json: bool, compile: CompileArgs) -> Outcome {
    if plugin_compile::is_code(path) {
        return plugin_compile::inspect(path, as_json);
    }
    let found = inspection(path, None, compile)?;
    if as_json {
        super::print_json(&inspection_json(&found))?;
    } else {
        super::print(&inspection_text(&found))?;
        print_problems(&found);
    }
    if found.usable() {
        Ok(())
    } else {
        Err(Stop::Refused)
    }
}

fn contract_name(contract: Contract) -> &'static str {
    match contract {
        Contract::Component => "task component",
        Contract::Command => "command",
    }
}

pub(super) fn format_name(format: Format) -> &'static str {
    match format {
        Format::Component => "component",
        Format::Module => "module",
    }
}

fn inspection_text(found: &Inspection) -> String {
    let limits = &found.limits;
    let named = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let lines = [
        ("file", found.file.display().to_string()),
        ("size", format!("{} bytes", found.wasm_bytes)),
        ("sha256", found.sha256.clone()),
        ("format", named(found.format.map(format_name))),
        ("contract", named(found.contract.map(contract_name))),
        ("name", named(found.manifest.name.as_deref())),
        ("version", named(found.manifest.version.as_deref())),
        (
            "on crash",
            format!("{:?}", found.manifest.on_crash).to_lowercase(),
        ),
        (
            "memory",
            format!("{} MiB at most", limits.memory_bytes >> 20),
        ),
        (
            "time",
            format!(
                "{} s wall, {} s CPU",
                limits.wall.as_secs_f64(),
                limits.cpu.as_secs_f64()
            ),
        ),
        (
            "payload",
            format!(
                "{} KiB in, {} KiB out",
                limits.input_bytes >> 10,
                limits.output_bytes >> 10
            ),
        ),
    ];
    let mut out: String = lines
        .iter()
        .map(|(label, value)| format!("{label:<9} {value}\n"))
        .collect();
    out.push_str(&format!("asks for  {}\n", asked(&found.manifest.grants)));
    if !found.imports.is_empty() {
        out.push('\n');
        let mut table = Table::new(&["import", "offered", "needs"]);
        for import in &found.imports {
            let offered = if import.offered { "yes" } else { "no" };
            table.row([
                import.name.clone(),
                offered.to_owned(),
                import.grant.unwrap_or("").to_owned(),
            ]);
        }
        out.push_str(&table.to_string());
    }
    out
}

/// What a manifest asks for, on one line.
fn asked(grants: &Grants) -> String {
    let mut asked: Vec<String> = grants
        .http
        .iter()
        .map(|rule| format!("http {rule}"))
        .collect();
    asked.extend(grants.secrets.iter().map(|name| format!("secret {name}")));
    asked.extend(grants.config.keys().map(|name| format!("config {name}")));
    asked.extend(grants.env.keys().map(|name| format!("env {name}")));
    let folder = |grant: &FsGrant| format!("folder {} as {}", grant.host.display(), grant.guest);
    asked.extend(grants.fs.iter().map(folder));
    if asked.is_empty() {
        "nothing".to_owned()
    } else {
        asked.join(", ")
    }
}

fn inspection_json(found: &Inspection) -> Value {
    let imports = found
        .imports
        .iter()
        .map(|i| json!({"name": i.name, "offered": i.offered, "grant": i.grant}));
    let problems = found
        .problems
        .iter()
        .map(|p| json!({"fatal": p.fatal, "what": p.what, "hint": p.hint}));
    json!({
        "file": found.file,
        "bytes": found.wasm_bytes,
        "sha256": found.sha256,
        "format": found.format.map(format_name),
        "contract": found.contract.map(contract_name),
        "name": found.manifest.name,
        "version": found.manifest.version,
        "usable": found.usable(),
        "imports": imports.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
    })
}

async fn list(plugins: &Path, as_json: bool, compile: CompileArgs) -> Outcome {
    std::fs::read_dir(plugins)
        .with_context(|| {
            format!(
                "the plugin directory `{}` cannot be read",
                plugins.display()
            )
        })
        .usage()?;
    let sandbox = host::sandbox(Some(plugins), None, host::compiler(compile, false)?)?;
    sandbox.warm().await;
    let found = sandbox.list();
    if as_json {
        let all = found.iter().map(|plugin| {
            json!({
                "tenant": plugin.tenant,
                "name": plugin.name,
                "version": plugin.version,
                "source": plugin.source,
                "contract": plugin.contract.map(contract_name),
                "sha256": plugin.sha256,
                "missingGrants": plugin.missing_grants,
                "problem": plugin.problem,
            })
        });
        return super::print_json(&Value::Array(all.collect()));
    }
    // Without accounts of their own in the folder, the account says nothing.
    let accounts = found.iter().any(|plugin| plugin.tenant != TENANT);
    let mut columns = vec!["name", "version", "contract", "account", "source", "state"];
    if !accounts {
        columns.retain(|column| *column != "account");
    }
    let mut table = Table::new(&columns);
    for plugin in &found {
        let problem = plugin.problem.as_deref().map(one_line);
        let mut row = vec![
            plugin.name.clone(),
            plugin.version.clone().unwrap_or_else(|| "-".to_owned()),
            plugin.contract.map_or("-", contract_name).to_owned(),
        ];
        row.extend(accounts.then(|| plugin.tenant.clone()));
        row.extend([
            plugin.source.clone(),
            problem.unwrap_or_else(|| "ok".to_owned()),
        ]);
        table.row(row);
    }
    if table.is_empty() {
        say!(
            "there are no plugins in `{}`; `stepwell plugin new NAME` writes one",
            plugins.display()
        );
        return Ok(());
    }
    super::print(&table.to_string())
}

/// A problem of several lines, such as the place in a manifest, within a table's cell.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Runs one task: its output goes to stdout, its logs and usage to stderr.
async fn invoke(
    name: &str,
    input: &str,
    plugins: &Path,
    as_json: bool,
    compile: CompileArgs,
) -> Outcome {
    std::fs::read_dir(plugins)
        .with_context(|| {
            format!(
                "the plugin directory `{}` cannot be read; `stepwell plugin build` makes one",
                plugins.display()
            )
        })
        .usage()?;
    let sandbox = host::sandbox(Some(plugins), None, host::compiler(compile, false)?)?;
    let end = tokio::select! {
        end = sandbox.call(TaskCall::new(TENANT, name, input)) => end,
        _ = tokio::signal::ctrl_c() => return Err(Stop::Runtime(anyhow::anyhow!("interrupted"))),
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
        TaskOutcome::HostFault { .. } => Err(Stop::Runtime(anyhow::anyhow!(
            "the task failed inside the host"
        ))),
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

fn tell(end: &TaskEnd) {
    let paint = Paint::stderr();
    for line in &end.logs {
        let fields: String = line
            .fields
            .iter()
            .map(|(name, value)| format!("  {name}={value}"))
            .collect();
        let level = format!("{:?}", line.level).to_lowercase();
        say!(
            "{:>9.3} {level:<5} {}{fields}",
            line.after.as_secs_f64(),
            line.message
        );
    }
    for (name, tail) in [("stdout", &end.stdout), ("stderr", &end.stderr)] {
        for line in tail.text.lines() {
            say!("{name}: {line}");
        }
    }
    for refused in &end.refused {
        say!("{} refused: {refused}", paint.paint(Tone::Warn, "warning:"));
    }
    if !matches!(end.outcome, TaskOutcome::Ok(_)) {
        say!(
            "{} {}",
            paint.paint(Tone::Bad, "error:"),
            end.outcome.explain()
        );
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
    let output = match &end.outcome {
        TaskOutcome::Ok(output) => serde_json::from_str(output).unwrap_or(Value::Null),
        _ => Value::Null,
    };
    let (error, cause) = match &end.outcome {
        TaskOutcome::Failed { error, cause } => (Some(error.clone()), Some(cause.clone())),
        TaskOutcome::Ok(_) => (None, None),
        other => (None, Some(other.explain())),
    };
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
        },
        "logs": logs.collect::<Vec<_>>(),
        "stdout": end.stdout.text,
        "stderr": end.stderr.text,
        "frames": end.frames.iter().map(|frame| frame.function.clone()).collect::<Vec<_>>(),
        "refused": end.refused,
    })
}
