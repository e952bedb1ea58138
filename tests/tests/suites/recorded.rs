//! Executions that the real service recorded, on the bare interpreter. Exceptions are listed in `recorded.exceptions`:
//! the case's name, a tab, and where and why it differs.

use libtest_mimic::Trial;
use stepwell_query::Value;
use stepwell_tests::{
    aws, case,
    corpus::{self, Recorded, Services},
    driver, judge, print,
};

use super::{replay, trial};

const EXCEPTIONS: &str = include_str!("recorded.exceptions");

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("interp::recorded", judge_all)]
}

fn judge_all() -> Result<(), String> {
    if corpus::dir().is_none() {
        println!("skipped: there is no corpus (STEPWELL_CORPUS or ../shared/corpus)");
        return Ok(());
    }
    let cases: Vec<_> = corpus::executions()
        .into_iter()
        .filter(|case| case.needs.is_empty())
        .collect();
    let mut passed = 0;
    let mut wrong = Vec::new();
    for case in &cases {
        let excused = EXCEPTIONS
            .lines()
            .any(|line| line.split('\t').next() == Some(&case.name));
        match (run(case), excused) {
            (Ok(()), false) => passed += 1,
            (Err(_), true) => {}
            (Ok(()), true) => wrong.push(format!(
                "{}: is listed as an exception and agrees",
                case.name
            )),
            (Err(differences), false) => wrong.push(format!("{}\n    {differences}", case.name)),
        }
    }
    println!("recorded executions: {passed}/{}", cases.len());
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{} differ\n{}", wrong.len(), wrong.join("\n")))
    }
}

fn run(case: &Recorded) -> Result<(), String> {
    let program = case::program(&case.definition)?;
    let mut services = Services::new(&case.history);
    let driven = driver::drive(
        &program,
        driver::start(case.input.clone(), false),
        &mut services,
        None,
    );
    replay::check(&program, &driven, true)?;
    let differences = judge::differences(&case.history, &aws::history(&driven.events));
    if differences.is_empty()
        || concurrent(case) && same_events(&case.history, &aws::history(&driven.events))
    {
        return Ok(());
    }
    let differences: Vec<_> = differences.into_iter().take(4).collect();
    Err(format!(
        "{}\n{}",
        differences.join("\n    "),
        print::history(&driven.events)
    ))
}

/// Whether flows run side by side: then the recording fixes each flow's order only.
fn concurrent(case: &Recorded) -> bool {
    case.definition.contains("\"Parallel\"") || case.definition.contains("\"Map\"")
}

/// Whether the events are the same, in any order and with any ids.
fn same_events(expected: &Value, actual: &Value) -> bool {
    let strip = |events: &Value| -> Vec<Value> {
        let events = events
            .as_array()
            .iter()
            .flat_map(|events| events.iter())
            .collect::<Vec<_>>();
        let without = |event: &Value| {
            let members = event
                .as_object()
                .iter()
                .flat_map(|object| object.iter())
                .collect::<Vec<_>>();
            let kept = members
                .into_iter()
                .filter(|(key, _)| !["id", "previousEventId"].contains(&&***key));
            Value::object(kept.map(|(key, value)| (key.clone(), value.clone())))
        };
        events.into_iter().map(without).collect()
    };
    let mut left = strip(actual);
    let expected = strip(expected);
    expected.len() == left.len()
        && expected.iter().all(|wanted| {
            let found = left
                .iter()
                .position(|got| judge::differences(wanted, got).is_empty());
            found.map(|found| left.remove(found)).is_some()
        })
}
