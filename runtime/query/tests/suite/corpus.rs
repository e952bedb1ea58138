//! Finds the corpus and checks suites against their lists of exceptions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stepwell_query::Value;

/// The lines of a corpus file; `None`, with a note, when there is no corpus.
pub(crate) fn lines(file: &str) -> Option<Vec<Value>> {
    let text = read(file)?;
    Some(
        text.lines()
            .map(|line| Value::parse(line).unwrap_or_else(|error| panic!("{file}: {error}")))
            .collect(),
    )
}

#[allow(clippy::disallowed_methods, reason = "tests read the corpus")]
pub(crate) fn read(file: &str) -> Option<String> {
    let given = std::env::var_os("STEPWELL_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = given.clone().unwrap_or(beside).join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if given.is_some() => {
            panic!("STEPWELL_CORPUS is set, but {}: {error}", path.display())
        }
        Err(_) => {
            println!(
                "skipped: there is no corpus at {}; set STEPWELL_CORPUS",
                path.display()
            );
            None
        }
    }
}

/// Exceptions of a suite: lines `id | reason`.
pub(crate) fn exceptions(text: &'static str) -> BTreeMap<&'static str, &'static str> {
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(" | ").expect("id | reason"))
        .collect()
}

/// Fails when a case outside the list fails or one inside passes; prints the score.
pub(crate) fn verdict(
    suite: &str,
    outcomes: Vec<(String, Result<(), String>)>,
    listed: &BTreeMap<&str, &str>,
) {
    let total = outcomes.len();
    let passed = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.is_ok())
        .count();
    println!(
        "{suite}: {passed}/{total} passed, {} listed exceptions",
        listed.len()
    );
    let mut faults = Vec::new();
    for (id, outcome) in &outcomes {
        match (outcome, listed.get(id.as_str())) {
            (Ok(()), Some(reason)) => faults.push(format!("{id} passes, but is listed ({reason})")),
            (Err(difference), None) => faults.push(format!("{id}: {difference}")),
            _ => {}
        }
    }
    for id in listed.keys() {
        if !outcomes.iter().any(|(known, _)| known == id) {
            println!("{suite}: the listed case {id} is not in this corpus");
        }
    }
    assert!(
        faults.is_empty(),
        "{suite}: {} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}
