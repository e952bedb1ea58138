//! Before an execution begins in this process: the plugins that it will call are compiled, and those that it cannot call
//! are told. Hides how a definition's plugins are found.

use anyhow::anyhow;
use axum::http::Method;
use serde_json::json;
use stepwell_asl::{ExecutionType, Program};

use crate::args::LimitsArg;
use crate::client::{Client, path_of};
use crate::exit::{Blame, Outcome, Stop};
use crate::given;
use crate::host::TENANT;
use crate::needs;
use crate::terminal::{Paint, Tone, Waiting, shown};

/// The error of a Lambda task whose plugin is not there. AWS's text names the function alone.
const NOT_FOUND: &str = "Lambda.ResourceNotFoundException";

/// Compiles what the execution will call, so that no attempt's time passes over it, and warns of what cannot be called:
/// the definition may never come there, or catch it. What was uploaded goes before the plugin directory, and was compiled then.
/// A server prepares its own.
pub(super) async fn prepare(
    client: &Client,
    program: &Program,
    definition: &str,
    quiet: bool,
) -> Outcome {
    let Client::Here { host, .. } = client else {
        return Ok(());
    };
    for plugin in needs::plugins(program, definition) {
        let path = path_of(&plugin);
        let stored = client.functions(Method::GET, &path, None).await;
        // A build without functions answers nothing that can be understood.
        if matches!(stored, Ok(Ok(_))) {
            continue;
        }
        let sandbox = host.sandbox.clone();
        let name = plugin.clone();
        let slow = tokio::task::spawn_blocking(move || sandbox.needs_compiling(TENANT, &name));
        let silent = quiet || !slow.await.runtime()?;
        let mut wait = Waiting::new(format!("compiling plugin {plugin} (first use)"), silent);
        let mut compiled = std::pin::pin!(host.why_not(&plugin));
        let why = loop {
            tokio::select! {
                why = &mut compiled => break why,
                () = wait.turn() => {}
                _ = tokio::signal::ctrl_c() => {
                    wait.over();
                    return Err(Stop::Runtime(anyhow!("interrupted before the execution began")));
                }
            }
        };
        wait.over();
        if let Some(why) = why.filter(|_| !quiet) {
            say!(
                "{} {}",
                Paint::stderr().paint(Tone::Warn, "warning:"),
                shown(&why)
            );
        }
    }
    Ok(())
}

/// The same with a definition that the installation has: `operation` describes whose it is.
pub(super) async fn prepare_stored(
    client: &Client,
    operation: &str,
    key: &str,
    arn: &str,
) -> Outcome {
    if matches!(client, Client::Server { .. }) {
        return Ok(());
    }
    let stored = client.call(operation, json!({ key: arn })).await?;
    let definition = super::text(&stored, "definition");
    let kind = match super::text(&stored, "type") {
        "EXPRESS" => ExecutionType::Express,
        _ => ExecutionType::Standard,
    };
    // What was accepted once may have errors by now; it is executed all the same.
    let loaded = stepwell_asl::load(definition, &given::options(kind, LimitsArg::Raised));
    match loaded.program {
        Some(program) => prepare(client, &program, definition, false).await,
        None => Ok(()),
    }
}

/// What the sandbox of this process says of the function that a failed execution did not find.
pub(super) async fn missing_plugin(client: &Client, error: &str, cause: &str) -> Option<String> {
    let Client::Here { host, .. } = client else {
        return None;
    };
    let arn = cause
        .split_whitespace()
        .find(|word| word.starts_with("arn:"))
        .filter(|_| error == NOT_FOUND)?;
    host.why_not(needs::function_name(arn)?).await
}
