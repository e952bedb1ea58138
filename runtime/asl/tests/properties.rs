//! What holds for every text: loading never panics, never depends on anything but the text, and stays fast.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests read files and measure time"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};
use stepwell_asl::{Code, Kind, Options, Then, load, load_state, load_stored};

/// Definitions to mutate: all the bad and good ones.
fn seeds() -> Vec<String> {
    let mut seeds = Vec::new();
    for folder in ["tests/bad", "tests/good"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut paths: Vec<_> = fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("readable").path())
            .collect();
        paths.sort();
        for path in paths
            .iter()
            .filter(|path| path.extension().is_some_and(|found| found == "json"))
        {
            seeds.push(fs::read_to_string(path).expect("the seed can be read"));
        }
    }
    seeds
}

/// Replaces the value that the choices lead to.
fn mutate(value: &mut Value, choices: &[prop::sample::Index], replacement: Value) {
    let Some((choice, rest)) = choices.split_first() else {
        *value = replacement;
        return;
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            let name = members
                .keys()
                .nth(choice.index(members.len()))
                .expect("within bounds")
                .clone();
            mutate(
                members.get_mut(&name).expect("it is there"),
                rest,
                replacement,
            );
        }
        Value::Array(items) if !items.is_empty() => {
            let index = choice.index(items.len());
            mutate(&mut items[index], rest, replacement);
        }
        _ => *value = replacement,
    }
}

fn replacement() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([null])),
        Just(json!({"": {"": ""}})),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(Value::from),
        "(\\$|States\\.|\\{%|[A-Za-z.$\\[\\]()'*@? %}]){0,20}".prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_definitions_never_panic(
        seed in any::<prop::sample::Index>(),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        replacement in replacement(),
    ) {
        let seeds = seeds();
        let text = &seeds[seed.index(seeds.len())];
        let Ok(mut value) = serde_json::from_str::<Value>(text) else { return Ok(()) };
        mutate(&mut value, &choices, replacement);
        let text = value.to_string();
        let once = load(&text, &Options::default());
        let twice = load(&text, &Options::default());
        prop_assert_eq!(&once.diagnostics, &twice.diagnostics);
        if once.program.is_some() {
            prop_assert!(load_stored(&text).is_ok());
        }
        let _ = load_state(&text, "State", &Options::default());
    }

    #[test]
    fn cut_and_spoilt_texts_never_panic(
        seed in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), spoil in "\\PC{0,3}",
    ) {
        let seeds = seeds();
        let text = &seeds[seed.index(seeds.len())];
        let at = text.char_indices().map(|(at, _)| at).nth(cut.index(text.chars().count().max(1))).unwrap_or(0);
        let _ = load(&text[..at], &Options::default());
        let _ = load(&format!("{}{spoil}{}", &text[..at], &text[at..]), &Options::default());
    }
}

fn chain(states: usize, padding: &str) -> String {
    let mut text = String::from(r#"{"StartAt":"S0","States":{"#);
    for index in 0..states {
        let next = index + 1;
        text.push_str(&format!(r#""S{index}":{{"Type":"Pass","Comment":"{padding}","Parameters":{{"a.$":"$.b"}},"Next":"S{next}"}},"#));
    }
    text + &format!(r#""S{states}":{{"Type":"Succeed"}}}}}}"#)
}

#[test]
fn a_megabyte_loads_fast() {
    let text = chain(10_000, "twenty characters...");
    assert!(
        text.len() > 900_000 && text.len() <= 1_048_576,
        "{} bytes",
        text.len()
    );
    let began = Instant::now();
    let loaded = load(&text, &Options::default());
    let took = began.elapsed();
    println!("{} bytes, 10,001 states: {took:?}", text.len());
    assert!(loaded.program.is_some());
    assert!(took < Duration::from_secs(2), "{took:?}");

    let wrong = text.replace("\"Type\":\"Pass\"", "\"Type\":\"Pas\"");
    let began = Instant::now();
    assert_eq!(load(&wrong, &Options::default()).diagnostics.len(), 10_000);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn thousands_of_faults_are_found_fast() {
    let text = chain(10_000, "").replace("\"Next\":\"S", "\"Next\":\"T");
    let began = Instant::now();
    let diagnostics = load(&text, &Options::default()).diagnostics;
    assert!(
        diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.code == Code::MissingTarget)
            .count()
            >= 10_000
    );
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

/// What a definition is refused for today does not matter to one that was accepted before.
#[test]
fn a_stored_definition_loads_whatever_is_said_about_it() {
    let text = r#"{ "StartAt": "A", "Version": "0.9", "States": {
        "A": { "Type": "Task", "Resource": "wasm:a", "Unknown": 1, "TimeoutSeconds": 0, "Next": "B",
               "Retry": [{ "ErrorEquals": ["States.ALL"], "BackoffRate": 0.1 }, { "ErrorEquals": ["States.ALL", "X"] }] },
        "B": { "Type": "Pass", "Next": "A" },
        "C": { "Type": "Pass", "Assign": { "not-a-name": 1 }, "End": true } } }"#;
    assert!(load(text, &Options::default()).program.is_none());
    assert_eq!(
        load_stored(text)
            .expect("it can be represented")
            .states()
            .len(),
        3
    );
    assert!(load_stored(r#"{ "StartAt": "A" }"#).is_err());
}

#[test]
fn state_machines_nest_to_a_limit() {
    let nested = |levels: usize| {
        let mut text = r#"{"StartAt":"S","States":{"S":{"Type":"Succeed"}}}"#.to_owned();
        for level in 0..levels {
            text = format!(
                r#"{{"StartAt":"P{level}","States":{{"P{level}":{{"Type":"Parallel","Branches":[{text}],"End":true}}}}}}"#
            );
        }
        load(&text, &Options::default())
    };
    assert!(nested(25).program.is_some());
    let refused = nested(26);
    assert!(refused.program.is_none());
    assert_eq!(refused.diagnostics[0].code, Code::TooDeep);
    assert!(nested(2_000).program.is_none());
}

#[test]
fn a_program_is_what_its_text_says() {
    let text = r#"{
        "StartAt": "Both",
        "States": {
            "Both": { "Type": "Parallel", "Next": "Done", "Branches": [
                { "StartAt": "Left", "States": { "Left": { "Type": "Pass", "End": true } } },
                { "StartAt": "Right", "States": { "Right": { "Type": "Pass", "End": true } } } ] },
            "Done": { "Type": "Succeed" }
        }
    }"#;
    let program = load(text, &Options::default())
        .program
        .expect("the definition is sound");
    assert_eq!(program.states().len(), 4);
    let both = &program[program.root.start];
    assert_eq!(&*both.name, "Both");
    let Kind::Parallel(parallel) = &both.kind else {
        panic!("Both is a Parallel state")
    };
    assert_eq!(
        parallel.then,
        Then::Next(program.find("Done").expect("it is there"))
    );
    let right = &program[parallel.branches[1].start];
    assert_eq!(
        (&*right.name, right.parent),
        ("Right", Some(program.root.start))
    );
    assert_eq!(right.kind.then(), Some(Then::End));
}

#[test]
fn a_single_state_loads_without_its_targets() {
    let text = r#"{ "Type": "Pass", "Next": "Elsewhere" }"#;
    let program = load_state(text, "Only", &Options::default())
        .program
        .expect("the state is sound");
    assert_eq!(&*program[program.root.start].name, "Only");
    let refused = load_state(
        "{ \"Type\": \"Parallel\",\n \"Branches\": [], \"End\": true }",
        "Only",
        &Options::default(),
    );
    let diagnostic = &refused.diagnostics[0];
    assert_eq!(
        diagnostic.location.as_deref(),
        Some("/States/Only/Branches")
    );
    assert_eq!((diagnostic.line, diagnostic.column), (2, 14));
}
