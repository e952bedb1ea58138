//! ValidateStateMachineDefinition: the diagnostics of a definition. Wire types of this call, AWS JSON 1.0.

use serde::Serialize;
use stepwell_asl::{Diagnostic, ExecutionType, Limits, Options, Severity, load};

use super::{fault::Fault, operation::Call, wire::json};
use crate::limits::DIAGNOSTICS_MAX;

#[derive(Serialize)]
struct Item<'a> {
    severity: &'a str,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
}

#[derive(Serialize)]
struct Answer<'a> {
    result: &'a str,
    diagnostics: Vec<Item<'a>>,
    truncated: bool,
}

/// Never refuses a bad definition: the verdict is in the answer.
pub(super) async fn validate(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let input = &mut call.input;
    let definition = input.required("definition");
    let kind = if input.is("type", "EXPRESS") {
        ExecutionType::Express
    } else {
        ExecutionType::Standard
    };
    let limits = if call.state.engine.raised_limits(&call.caller.tenant) {
        Limits::Raised
    } else {
        Limits::Strict
    };
    let options = Options {
        limits,
        kind,
        allow_substitutions: false,
    };
    let with_warnings = input.is("severity", "WARNING");
    let asked = input
        .number("maxResults")
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or(0);
    let most = if asked == 0 {
        DIAGNOSTICS_MAX
    } else {
        asked.min(DIAGNOSTICS_MAX)
    };
    // A definition may be a megabyte, which is too much work for the thread that serves connections.
    let checked =
        tokio::task::spawn_blocking(move || load(&definition, &options).diagnostics).await;
    let found =
        checked.map_err(|error| Fault::from(stepwell_engine::Error::Broken(error.to_string())))?;
    let refused = found
        .iter()
        .any(|diagnostic| diagnostic.severity() == Severity::Error);
    let shown = |diagnostic: &&Diagnostic| match diagnostic.severity() {
        Severity::Error => true,
        Severity::Warning => with_warnings,
    };
    let mut items: Vec<Item<'_>> = found.iter().filter(shown).map(item).collect();
    let truncated = items.len() > most;
    items.truncate(most);
    json(&Answer {
        result: if refused { "FAIL" } else { "OK" },
        diagnostics: items,
        truncated,
    })
}

fn item(diagnostic: &Diagnostic) -> Item<'_> {
    Item {
        severity: diagnostic.severity().wire(),
        code: diagnostic.code.aws(),
        message: &diagnostic.message,
        location: diagnostic.location.as_deref(),
    }
}
