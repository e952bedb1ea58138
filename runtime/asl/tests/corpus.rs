//! Definitions that nobody here wrote: all that ran on the real service load, its validator's answers are ours, and the
//! verdicts of public linters are ours but for the cases listed in `exceptions.txt`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests read files and the environment"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stepwell_asl::{
    Diagnostic, ExecutionType, Loaded, Options, Severity, load, load_state, load_stored, refusal,
};

/// The corpus's folder; `None`, said plainly, when it is not there.
fn corpus() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("STEPWELL_CORPUS") {
        let folder = PathBuf::from(folder);
        assert!(
            folder.is_dir(),
            "STEPWELL_CORPUS is {}, which is no folder",
            folder.display()
        );
        return Some(folder);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !folder.is_dir() {
        println!("SKIPPED: there is no corpus at {}", folder.display());
        return None;
    }
    Some(folder)
}

fn cases(file: &str) -> Option<Vec<Value>> {
    let path = corpus()?.join(file);
    if !path.is_file() {
        assert!(
            std::env::var_os("STEPWELL_CORPUS").is_none(),
            "the corpus has no {file}"
        );
        println!("SKIPPED: the corpus has no {file}");
        return None;
    }
    let text = fs::read_to_string(path).expect("the corpus can be read");
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a case is JSON"))
            .collect(),
    )
}

fn id(case: &Value) -> &str {
    case["id"].as_str().expect("a case has an id")
}

/// A definition's text, whether the case has it as text or as an object, with the recordings' placeholders filled.
fn text(definition: &Value) -> String {
    let text = definition
        .as_str()
        .map_or_else(|| definition.to_string(), str::to_owned);
    let (mut filled, mut rest) = (String::new(), text.as_str());
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        let simple: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        filled.push_str(before);
        match name.starts_with("activityArn") {
            true => filled.push_str("arn:aws:states:us-east-1:000000000000:activity:a"),
            false => filled.push_str(&simple),
        }
        rest = after;
    }
    filled + rest
}

fn kind(name: Option<&str>) -> ExecutionType {
    if name == Some("EXPRESS") {
        ExecutionType::Express
    } else {
        ExecutionType::Standard
    }
}

fn explained(loaded: &Loaded) -> String {
    loaded
        .diagnostics
        .iter()
        .map(|diagnostic| format!("    {diagnostic}\n"))
        .collect()
}

#[test]
fn recorded_executions_load() {
    let mut wrong = String::new();
    for file in ["recorded/execution.jsonl", "recorded/express_sync.jsonl"] {
        for case in cases(file).unwrap_or_default() {
            let kind = if file.contains("express") {
                ExecutionType::Express
            } else {
                kind(case["type"].as_str())
            };
            let definitions = case.get("definition").into_iter();
            let requests = case["requests"].as_array().into_iter().flatten();
            for definition in
                definitions.chain(requests.filter_map(|request| request.get("definition")))
            {
                let text = text(definition);
                let loaded = load(
                    &text,
                    &Options {
                        kind,
                        ..Options::default()
                    },
                );
                if loaded.program.is_none() || load_stored(&text).is_err() {
                    wrong.push_str(&format!("{}\n{}", id(&case), explained(&loaded)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn public_workflows_load() {
    let mut wrong = String::new();
    for case in cases("workflows/workflows.jsonl").unwrap_or_default() {
        // One of the samples is published as a text that is not JSON.
        if case["definition"].is_null() {
            continue;
        }
        let text = text(&case["definition"]);
        let loaded = load(
            &text,
            &Options {
                allow_substitutions: text.contains("${"),
                ..Options::default()
            },
        );
        if loaded.program.is_none() {
            wrong.push_str(&format!("{}\n{}", id(&case), explained(&loaded)));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// In each recorded sequence, a state machine is refused with the recorded text or made.
#[test]
fn recorded_sequences_refuse_with_the_recorded_text() {
    let mut wrong = String::new();
    for case in cases("recorded/sequence.jsonl").unwrap_or_default() {
        let recorded = case["expected"].to_string();
        for step in case["steps"].as_array().into_iter().flatten() {
            if step["op"] != "CreateStateMachine" || !step["params"]["definition"].is_string() {
                continue;
            }
            let kind = kind(step["params"]["type"].as_str());
            let text = text(&step["params"]["definition"]);
            let loaded = load(
                &text,
                &Options {
                    kind,
                    ..Options::default()
                },
            );
            // Labels were recorded from an emulator, so their refusal counts and not its words.
            let refused = recorded.contains("Invalid State Machine Definition")
                || recorded.contains("Label c");
            match refusal(&loaded.diagnostics) {
                Some(said) if recorded.contains(&said) => {}
                Some(_) if recorded.contains("Label c") => {}
                None if !refused => {}
                said => wrong.push_str(&format!("{}: {said:?}\n{}", id(&case), explained(&loaded))),
            }
            if let Some(program) = &loaded.program
                && let Some(references) = recorded_references(&case["expected"])
            {
                let ours: BTreeMap<String, Vec<String>> = program
                    .variable_references()
                    .into_iter()
                    .map(|(state, names)| {
                        (
                            state.to_string(),
                            names.iter().map(ToString::to_string).collect(),
                        )
                    })
                    .collect();
                if json!(ours) != references {
                    wrong.push_str(&format!(
                        "{}: references {ours:?}, not {references}\n",
                        id(&case)
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn recorded_references(expected: &Value) -> Option<Value> {
    expected
        .as_object()?
        .values()
        .find_map(|answer| answer.get("variableReferences"))
        .cloned()
}

#[test]
fn the_validators_answers_are_ours() {
    for case in cases("recorded/validate.jsonl").unwrap_or_default() {
        for request in case["requests"].as_array().into_iter().flatten() {
            let options = Options {
                kind: kind(request["type"].as_str()),
                ..Options::default()
            };
            let loaded = load(
                request["definition"]
                    .as_str()
                    .expect("a definition is text"),
                &options,
            );
            let ours: Vec<Value> = loaded.diagnostics.iter().map(on_the_wire).collect();
            assert_eq!(
                json!(ours),
                case["expected"]["validation_response"]["diagnostics"],
                "{}",
                id(&case)
            );
        }
    }
}

fn on_the_wire(diagnostic: &Diagnostic) -> Value {
    json!({
        "code": diagnostic.code.aws(),
        "location": diagnostic.location,
        "message": diagnostic.message,
        "severity": diagnostic.severity().wire(),
    })
}

#[test]
fn recorded_single_states_load_or_are_refused_with_the_recorded_text() {
    let mut wrong = String::new();
    for case in cases("recorded/teststate.jsonl").unwrap_or_default() {
        let recorded = case["expected"].to_string();
        for request in case["requests"].as_array().into_iter().flatten() {
            let Some(definition) = request["definition"].as_str() else {
                continue;
            };
            let definition = text(&json!(definition));
            let loaded = match definition.contains("\"StartAt\"")
                && definition.contains("\"States\"")
                && request["stateName"].is_string()
            {
                true => load(&definition, &Options::default()),
                false => load_state(&definition, "StateName", &Options::default()),
            };
            match refusal(&loaded.diagnostics) {
                Some(said) if recorded.contains(&said) => {}
                None if !recorded.contains("Invalid State Machine Definition") => {}
                said => wrong.push_str(&format!("{}: {said:?}\n{}", id(&case), explained(&loaded))),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Cases where the linters and the service part, each with the reason.
fn exceptions() -> BTreeMap<String, String> {
    let text = include_str!("exceptions.txt");
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (id, reason) = line.split_once(": ").expect("an exception has a reason");
            (id.to_owned(), reason.to_owned())
        })
        .collect()
}

#[test]
fn linters_verdicts_are_ours_but_for_the_exceptions() {
    let exceptions = exceptions();
    let (mut passed, mut total, mut wrong, mut met) = (0, 0, String::new(), 0);
    for file in [
        "validation/linters.jsonl",
        "validation/language-service.jsonl",
    ] {
        for case in cases(file).unwrap_or_default() {
            let text = text(&case["definition"]);
            let substitutions =
                text.contains("${") || text.contains("\"Ref\"") || text.contains("\"Fn::");
            let loaded = load(
                &text,
                &Options {
                    allow_substitutions: substitutions,
                    ..Options::default()
                },
            );
            let refused = loaded
                .diagnostics
                .iter()
                .any(|diagnostic| diagnostic.severity() == Severity::Error);
            let agrees = refused == (case["verdict"] == "invalid");
            let listed = exceptions.contains_key(id(&case));
            total += 1;
            passed += usize::from(agrees);
            met += usize::from(listed);
            if agrees && listed {
                wrong.push_str(&format!(
                    "{} passes and is listed as an exception\n",
                    id(&case)
                ));
            } else if !agrees && !listed {
                wrong.push_str(&format!(
                    "{} should be {}\n{}",
                    id(&case),
                    case["verdict"],
                    explained(&loaded)
                ));
            }
        }
    }
    println!("linters' verdicts: {passed}/{total} agree, {met} exceptions listed");
    assert!(wrong.is_empty(), "{wrong}");
}
