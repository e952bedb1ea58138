//! `validate` and `explain`: definitions and the codes of what is wrong with them.

use serde_json::{Value, json};
use stepwell_asl::{Diagnostic, ExecutionType, Options, Severity};

use crate::args::{ExplainArgs, ValidateArgs};
use crate::exit::{Outcome, Stop};
use crate::given::{self, count};
use crate::needs::{self, Unserved};
use crate::table::Table;

/// Checks all files and prints all that is wrong with them; fails when one has errors or cannot be read.
pub(super) fn validate(args: &ValidateArgs) -> Outcome {
    let kind = if args.express {
        ExecutionType::Express
    } else {
        ExecutionType::Standard
    };
    let options = Options {
        allow_substitutions: args.substitutions,
        ..given::options(kind, args.limits)
    };
    let (mut errors, mut warnings) = (0, 0);
    let mut found = Vec::new();
    for path in &args.files {
        let text = given::read(path)?;
        let file = path.display().to_string();
        let loaded = stepwell_asl::load(&text, &options);
        let unserved = loaded
            .program
            .as_ref()
            .map_or_else(Vec::new, needs::unserved);
        for diagnostic in loaded.diagnostics {
            match diagnostic.severity() {
                Severity::Error => errors += 1,
                Severity::Warning => warnings += 1,
            }
            if args.json {
                found.push(as_json(&file, &diagnostic));
            } else {
                super::print(&format!("{}\n\n", diagnostic.show(&file)))?;
            }
        }
        for task in unserved {
            warnings += 1;
            if args.json {
                found.push(unserved_json(&file, &task));
            } else {
                super::print(&format!("{}\n\n", unserved_text(&file, &task)))?;
            }
        }
    }
    if args.json {
        super::print_json(&Value::Array(found))?;
    } else {
        say!(
            "{}, {}, {}",
            count(args.files.len(), "file"),
            count(errors, "error"),
            count(warnings, "warning")
        );
    }
    if errors > 0 {
        Err(Stop::Refused)
    } else {
        Ok(())
    }
}

const UNSERVED: &str = "a resource that this program does not serve";

/// As diagnostics are shown; it has no code, since on AWS there is nothing wrong with it.
fn unserved_text(file: &str, task: &Unserved) -> String {
    let Unserved {
        state,
        resource,
        hint,
    } = task;
    format!(
        "warning: {UNSERVED}\n  at state `{state}`  ({file})\n  {resource}; the task fails as Stepwell.PluginMissing\n  hint: {hint}"
    )
}

fn unserved_json(file: &str, task: &Unserved) -> Value {
    json!({
        "file": file,
        "severity": Severity::Warning.wire(),
        "title": UNSERVED,
        "message": format!("{} fails as Stepwell.PluginMissing", task.resource),
        "state": task.state,
        "value": task.resource,
        "hint": task.hint,
    })
}

fn as_json(file: &str, diagnostic: &Diagnostic) -> Value {
    json!({
        "file": file,
        "severity": diagnostic.severity().wire(),
        "id": diagnostic.code.id(),
        "code": diagnostic.code.aws(),
        "title": diagnostic.code.title(),
        "message": diagnostic.message,
        "location": diagnostic.location,
        "pointer": diagnostic.pointer,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "value": diagnostic.value,
        "hint": diagnostic.hint,
    })
}

/// Prints the page of a code, or the list of all.
pub(super) fn explain(args: &ExplainArgs) -> Outcome {
    let Some(code) = &args.code else {
        let mut table = Table::new(&["code", "severity", "what"]);
        for code in stepwell_asl::codes() {
            table.row([code.id(), code.severity().wire(), code.title()].map(str::to_owned));
        }
        return super::print(&table.to_string());
    };
    match stepwell_asl::explain(code) {
        Some(page) => super::print(&format!("{}\n", page.trim_end())),
        None => Err(Stop::Usage(anyhow::anyhow!(
            "there is no code `{code}`\nhint: `stepwell explain` lists all codes"
        ))),
    }
}
