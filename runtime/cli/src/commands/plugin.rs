//! `plugin`: write, build, check and inspect plugins.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use stepwell_sandbox::{Asked, Format, Inspection, Instance, Problem, Reuse, Sandbox};

use super::plugin_named::{bare_name, check_no_sources, directory, existing};
#[cfg(feature = "tools")]
use super::plugin_project;
use super::waited::watched_blocking;
use super::{plugin_compile, plugin_invoke, plugin_known::Known, plugin_list};
use crate::args::{CompileArgs, InspectArgs, PluginCommand};
use crate::exit::{Blame, Outcome, Stop};
use crate::host::{self, TENANT, contract_name};
use crate::policy::{self, Policy};
use crate::table::Table;
use crate::terminal::{Paint, Tone, shown, shown_lines};

pub(super) async fn plugin(command: PluginCommand) -> Outcome {
    match command {
        #[cfg(feature = "tools")]
        PluginCommand::New { name, path, sdk } => {
            plugin_project::new(&name, path.as_deref(), sdk.as_deref())
        }
        #[cfg(feature = "tools")]
        PluginCommand::Build {
            path,
            plugins,
            profile,
            target_dir,
            compile,
        } => {
            let target = target_dir.or_else(|| Some(host::user_cache()?.join("plugin-target")));
            let installed = plugin_project::build(&path, &plugins, &profile, target.as_deref())?;
            check(&installed, Some(&plugins), compile).await
        }
        PluginCommand::Check {
            path,
            plugins,
            compile,
        } => {
            let path = existing(&path, plugins.as_deref(), None, compile)?;
            check(&path, plugins.as_deref(), compile).await
        }
        PluginCommand::Inspect(args) => inspect(*args).await,
        PluginCommand::List {
            plugins,
            json,
            compile,
            policy,
        } => {
            let policy = policy::read(&policy)?;
            let sandbox = opened(&plugins, compile, policy, "")?;
            plugin_list::list(&sandbox, &plugins, json).await
        }
        PluginCommand::Invoke(args) => plugin_invoke::invoke(*args).await,
        PluginCommand::Compile(args) => plugin_compile::compile(args).await,
        #[cfg(feature = "tools")]
        PluginCommand::Pull(args) => super::plugin_registry::pull(args).await,
        #[cfg(feature = "tools")]
        PluginCommand::Uploaded(command) => super::function::function(command).await,
        #[cfg(not(feature = "tools"))]
        PluginCommand::Other(words) => super::left_out("plugin ", &words),
    }
}

/// A sandbox over a plugin directory that is there.
pub(super) fn opened(
    plugins: &Path,
    compile: CompileArgs,
    policy: Policy,
    hint: &str,
) -> Outcome<Sandbox> {
    std::fs::read_dir(plugins)
        .with_context(|| {
            format!(
                "the plugin directory `{}` cannot be read{hint}",
                plugins.display()
            )
        })
        .usage()?;
    host::sandbox(Some(plugins), None, host::compiler(compile, false)?, policy)
}

pub(super) async fn inspection(
    path: &Path,
    tenant: &str,
    plugins: Option<&Path>,
    compile: CompileArgs,
    policy: Policy,
) -> Outcome<Inspection> {
    check_no_sources(path)?;
    let sandbox = host::sandbox(plugins, None, host::compiler(compile, false)?, policy)?;
    examined(&sandbox, path, tenant).await
}

/// What there is to say of a plugin, which is compiled for that where it is not yet.
async fn examined(sandbox: &Sandbox, path: &Path, tenant: &str) -> Outcome<Inspection> {
    let name = path.display().to_string();
    let what = format!("compiling {} to check it", shown(&name));
    let (sandbox, path, tenant) = (sandbox.clone(), path.to_owned(), tenant.to_owned());
    watched_blocking(what, move || sandbox.inspect(&path, &tenant).usage()).await
}

/// Prints what is wrong; fails when the plugin cannot be called.
async fn check(path: &Path, plugins: Option<&Path>, compile: CompileArgs) -> Outcome {
    let code = host::compiler(compile, false)?;
    let plugins = directory(plugins);
    let sandbox = host::sandbox(plugins.as_deref(), None, code, Policy::default())?;
    let compiled = tokio::task::block_in_place(|| sandbox.inspect_code(path, TENANT));
    if let Some(compiled) = compiled.usage()? {
        return plugin_compile::check(&compiled, compile.precompiled);
    }
    let found = examined(&sandbox, path, TENANT).await?;
    print_problems(&found.problems);
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

pub(super) fn print_problems(problems: &[Problem]) {
    let paint = Paint::stderr();
    for problem in problems {
        let (tone, word) = if problem.fatal {
            (Tone::Bad, "error")
        } else {
            (Tone::Warn, "warning")
        };
        say!(
            "{} {}",
            paint.paint(tone, &format!("{word}:")),
            shown_lines(&problem.what)
        );
        if !problem.hint.is_empty() {
            say!("  hint: {}", shown_lines(&problem.hint));
        }
    }
}

async fn inspect(args: InspectArgs) -> Outcome {
    let InspectArgs {
        path,
        plugins,
        tenant,
        json: as_json,
        known: place,
        compile,
        policy,
    } = args;
    let of_data = place.data.as_ref().map(|data| data.join("plugins"));
    let plugins = plugins.or(of_data);
    let asks_nobody = place.endpoint(tenant.as_deref()).is_none() && place.data.is_none();
    let account = tenant.as_deref().or(asks_nobody.then_some(TENANT));
    // A name is looked up in the folder of an account; without one of those, whose key it is has to be asked first.
    let there = match account.is_some() || bare_name(&path).is_none() {
        true => Some(existing(&path, plugins.as_deref(), account, compile)?),
        false => None,
    };
    let known = Known::of(&place, tenant.as_deref()).await?;
    let tenant = known.account.clone();
    let path = match there {
        Some(path) => path,
        None => existing(&path, plugins.as_deref(), Some(&tenant), compile)?,
    };
    let with_secrets = policy.secrets.is_some();
    let policy = policy::read(&policy)?;
    let secrets = with_secrets.then(|| policy.secrets.clone());
    let plugins = directory(plugins.as_deref()).filter(|plugins| plugins.is_dir());
    let code = host::compiler(compile, false)?;
    let sandbox = host::sandbox(plugins.as_deref(), None, code, policy)?;
    known.apply(&sandbox)?;
    let compiled = tokio::task::block_in_place(|| sandbox.inspect_code(&path, &tenant));
    if let Some(compiled) = compiled.usage()? {
        return plugin_compile::inspect(&compiled, compile.precompiled, as_json);
    }
    let mut found = examined(&sandbox, &path, &tenant).await?;
    known.note_missing(&mut found, secrets.as_ref());
    tell_inspected(&found, &known, as_json)?;
    if !as_json && asks_nobody && tenant != TENANT {
        say!(
            "the tenant's own ceiling and secrets were not asked for; --endpoint or --data says where they are"
        );
    }
    if found.usable() {
        Ok(())
    } else {
        Err(Stop::Refused)
    }
}

/// What was found, with the ceiling where that is known.
fn tell_inspected(found: &Inspection, known: &Known, as_json: bool) -> Outcome {
    if as_json {
        let mut told = inspection_json(found);
        if let Some(ceiling) = &known.ceiling {
            told["ceiling"] = json!(ceiling);
        }
        return super::print_json(&told);
    }
    let mut text = inspection_text(found);
    if let Some(ceiling) = &known.ceiling {
        text.push_str(&format!("\nceiling of account {}\n", known.account));
        for line in ceiling.trim_end().lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    super::print(&shown_lines(&text))?;
    print_problems(&found.problems);
    Ok(())
}

pub(super) fn format_name(format: Format) -> &'static str {
    match format {
        Format::Component => "component",
        Format::Module => "module",
    }
}

fn inspection_text(found: &Inspection) -> String {
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
        ("reuse", reuse(&found.instance)),
    ];
    let mut out: String = lines
        .iter()
        .map(|(label, value)| format!("{label:<9} {value}\n"))
        .collect();
    out.push('\n');
    let mut table = Table::new(&["limit", "in force", "asked for"]);
    for (limit, asked) in limits(found) {
        let (name, in_force) = limit;
        // What is given as asked needs no second look.
        let asked = if asked == in_force {
            String::new()
        } else {
            asked
        };
        table.row([name.to_owned(), in_force, asked]);
    }
    out.push_str(&table.to_string());
    if found.asked.is_empty() {
        out.push_str("\nasks for no grants\n");
    } else {
        out.push('\n');
        let mut table = Table::new(&["asks for", "granted", "why not"]);
        for asked in &found.asked {
            table.row([
                asked.what.clone(),
                granted(asked).to_owned(),
                why_not(asked),
            ]);
        }
        out.push_str(&table.to_string());
    }
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

/// Each limit in force, and what the manifest says of it.
fn limits(found: &Inspection) -> impl Iterator<Item = ((&'static str, String), String)> {
    let asked = found.manifest.limits.rows().into_iter();
    found
        .limits
        .rows()
        .into_iter()
        .zip(asked.map(|(_, asked)| asked))
}

/// Why it does not have it, or why that is of no use.
fn why_not(asked: &Asked) -> String {
    let why = asked.refused.as_ref().or(asked.unset.as_ref());
    why.cloned().unwrap_or_default()
}

fn granted(asked: &Asked) -> &'static str {
    match (&asked.refused, asked.wholly) {
        (None, _) if asked.unset.is_some() => "not set",
        (None, _) => "yes",
        (Some(_), false) => "partly",
        (Some(_), true) => "no",
    }
}

fn reuse(instance: &Instance) -> String {
    match instance.reuse {
        Reuse::Never => "never".to_owned(),
        Reuse::Tenant => format!(
            "within the tenant: {} calls, {} s, {} s without a call; {} kept at most",
            instance.calls,
            instance.age.as_secs_f64(),
            instance.idle.as_secs_f64(),
            instance.kept
        ),
    }
}

fn inspection_json(found: &Inspection) -> Value {
    let imports = found
        .imports
        .iter()
        .map(|i| json!({"name": i.name, "offered": i.offered, "grant": i.grant}));
    let limits: serde_json::Map<String, Value> = limits(found)
        .map(|((name, in_force), asked)| {
            let row = json!({"inForce": in_force, "askedFor": asked});
            (name.to_owned(), row)
        })
        .collect();
    let grants = found
        .asked
        .iter()
        .map(|asked| json!({"what": asked.what, "granted": granted(asked), "why": asked.refused.as_ref().or(asked.unset.as_ref())}));
    json!({
        "file": found.file,
        "bytes": found.wasm_bytes,
        "sha256": found.sha256,
        "format": found.format.map(format_name),
        "contract": found.contract.map(contract_name),
        "name": found.manifest.name,
        "version": found.manifest.version,
        "usable": found.usable(),
        "limits": limits,
        "grants": grants.collect::<Vec<_>>(),
        "reuse": found.instance.reuse == Reuse::Tenant,
        "imports": imports.collect::<Vec<_>>(),
        "problems": problems_json(&found.problems),
    })
}

pub(super) fn problems_json(problems: &[Problem]) -> Value {
    let told = problems
        .iter()
        .map(|p| json!({"fatal": p.fatal, "what": p.what, "hint": p.hint}));
    told.collect()
}
