//! The language box by box: the files of `boxes/`, a few lines a case, on the bare interpreter.
//!
//! ```text
//! input  {"n": 1}                          for the cases that follow
//! tasks  {"wasm:a": [{"error": "E"}]}      likewise; see [`stepwell_tests::script`]
//! state  {"Type": "Pass"}                  one state, or `machine` with a whole definition
//! gives  {"n": 1}
//! ```
//!
//! What a case gives is its output, or `! error: cause`, with the place of what failed in brackets when JSONata did, or
//! `? ` and why the definition is refused. Time that passes is said: `after 5000 ms`. A Choice leads to `Yes` or `No`; a
//! state that says nothing else ends. `BLESS=1` writes anew what cases give.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use stepwell_asl::{Options, load, refusal};
use stepwell_interp::What;
use stepwell_query::{Object, Value};
use stepwell_tests::{driver, script::Script};

use super::trial;

pub(crate) fn trials() -> Vec<Trial> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("boxes");
    let entries = std::fs::read_dir(&folder).expect("the folder of boxes is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.file_stem().expect("a name").to_string_lossy();
            trial(format!("interp::boxes::{name}"), move || judge(&file))
        })
        .collect()
}

fn judge(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let (mut written, mut wrong) = (String::new(), Vec::new());
    let (mut input, mut tasks) = (Value::empty_object(), String::from("{}"));
    let mut given = None;
    for (number, line) in text.lines().enumerate() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "input" => input = json(rest)?,
            "tasks" => rest.clone_into(&mut tasks),
            "state" => given = Some(gives(&machine(&json(rest)?), &input, &tasks)),
            "machine" => given = Some(gives(rest, &input, &tasks)),
            "gives" => {
                let gives = given.take().ok_or("a case gives something once")?;
                if rest != gives {
                    wrong.push(format!(
                        "line {}\n  expected {rest}\n  but was  {gives}",
                        number + 1
                    ));
                }
                written.push_str(&format!("gives  {gives}\n"));
                continue;
            }
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => return Err(format!("line {}: {line}", number + 1)),
        }
        written.push_str(line);
        written.push('\n');
    }
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(file, written).map_err(|error| error.to_string());
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

fn json(text: &str) -> Result<Value, String> {
    Value::parse(text).map_err(|error| format!("{text}: {error}"))
}

/// A state machine of that state.
fn machine(state: &Value) -> String {
    let members = state.as_object().cloned().unwrap_or_default();
    let of = |name: &str| members.get(name).and_then(Value::as_str);
    let goes_on = |members: &Object| members.contains_key("Next") || members.contains_key("End");
    let choice = of("Type") == Some("Choice");
    let ends = choice || matches!(of("Type"), Some("Succeed" | "Fail")) || goes_on(&members);
    let state = if ends {
        members
    } else {
        members.with("End", Value::from(true))
    };
    let leads_on = choice || state.contains_key("Catch");
    let result =
        |text: &str| format!(r#"{{"Type":"Pass","Parameters":{{"{text}.$":"$"}},"End":true}}"#);
    let targets = match (choice, leads_on) {
        (true, _) => format!(r#","Yes":{},"No":{}"#, result("Yes"), result("No")),
        (false, true) => format!(r#","Caught":{}"#, result("Caught")),
        (false, false) => String::new(),
    };
    let state = Value::from(state);
    format!(r#"{{"StartAt":"A","States":{{"A":{state}{targets}}}}}"#)
}

fn gives(definition: &str, input: &Value, tasks: &str) -> String {
    let loaded = load(definition, &Options::default());
    let Some(program) = loaded.program else {
        let refusal = refusal(&loaded.diagnostics).unwrap_or_default();
        return format!(
            "? {}",
            refusal.trim_start_matches("Invalid State Machine Definition: ")
        );
    };
    let mut script = Script::parse(tasks);
    let driven = driver::drive(
        &program,
        driver::start(input.clone(), false),
        &mut script,
        None,
    );
    let took = driven
        .events
        .last()
        .map_or(0, |event| event.at.0 - driver::STARTED_AT.0);
    let took = match took {
        0 => String::new(),
        ms => format!(" after {ms} ms"),
    };
    if let Some(output) = driven.output() {
        return format!("{output}{took}");
    }
    let place = driven
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.what {
            What::EvaluationFailed { location, .. } => Some(format!(" [{location}]")),
            _ => None,
        });
    let failed = driven
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.what {
            What::ExecutionFailed { error, cause } => Some((error.clone(), cause.clone())),
            _ => None,
        });
    let Some((error, cause)) = failed else {
        return "nothing: the execution does not end".to_owned();
    };
    let prefix = "An error occurred while executing the state 'A' (entered at the event id #2). ";
    let cause = cause
        .as_deref()
        .unwrap_or("(no cause)")
        .replacen(prefix, "… ", 1);
    let error = error.as_deref().unwrap_or("(no error)").to_owned();
    format!("! {error}: {cause}{}{took}", place.unwrap_or_default())
}
