//! `validate` and `explain`: definitions and the codes of what is wrong with them.

use serde_json::{Value, json};
use stepwell_asl::{Code, Diagnostic, ExecutionType, Options, Severity};

use crate::args::{ExplainArgs, ValidateArgs};
use crate::error_names;
use crate::exit::{Outcome, Stop};
use crate::given::{self, count};
use crate::near;
use crate::needs;
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
    let mut unfilled = false;
    let mut found = Vec::new();
    for path in &args.files {
        let text = given::read(path)?;
        unfilled |= text.contains("${");
        let file = given::label(path);
        let loaded = stepwell_asl::load(&text, &options);
        let unserved = loaded
            .program
            .as_ref()
            .map_or_else(Vec::new, |program| needs::unserved(program, &text));
        for diagnostic in loaded.diagnostics.into_iter().chain(unserved) {
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
        if errors > 0 && unfilled && !args.substitutions {
            say!(
                "hint: --substitutions leaves alone what `${{…}}` stands for until it is deployed"
            );
        }
    }
    if errors > 0 {
        Err(Stop::Refused)
    } else {
        Ok(())
    }
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

fn table(codes: &[Code]) -> String {
    let mut table = Table::new(&["code", "severity", "what"]);
    for code in codes {
        table.row([code.id(), code.severity().wire(), code.title()].map(str::to_owned));
    }
    table.to_string()
}

/// All that has a page: codes, ours and the service's, and error names.
fn explained() -> impl Iterator<Item = &'static str> {
    let codes = stepwell_asl::codes().iter();
    codes
        .flat_map(|code| [code.id(), code.aws()])
        .chain(error_names::all())
}

/// Prints the page of a code, ours or the service's, or of an error name, or a list of those that are meant; of all
/// without one.
pub(super) fn explain(args: &ExplainArgs) -> Outcome {
    let Some(code) = &args.code else {
        super::print(&table(stepwell_asl::codes()))?;
        let names: Vec<&str> = error_names::all().collect();
        return super::print(&format!("\nerror names: {}\n", names.join(", ")));
    };
    let page = stepwell_asl::explain(code).map(str::to_owned);
    if let Some(page) = page.or_else(|| error_names::page(code)) {
        return super::print(&format!("{}\n", page.trim_end()));
    }
    match stepwell_asl::codes_of_service(code).as_slice() {
        [] => {
            let guess = near::nearest(code, explained());
            let guess = guess.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
            Err(Stop::Usage(anyhow::anyhow!(
                "there is no code and no error name `{code}`\nhint: {guess}`stepwell explain` lists all; the name of a task's own error is explained by its cause"
            )))
        }
        [only] => {
            let page = stepwell_asl::explain(only.id()).unwrap_or_default();
            super::print(&format!("{}\n", page.trim_end()))
        }
        several => super::print(&table(several)),
    }
}
