//! The walls of a long history and a wide Map.

use libtest_mimic::{Failed, Trial};
use stepwell_interp::{Ending, STEP_EVENTS_MAX, What};
use stepwell_query::Value;
use stepwell_tests::{case, driver, script::Script};

const LOOP: &str = r#"{"StartAt": "A", "States": {"A": {"Type": "Choice", "Choices": [
    {"Variable": "$.never", "IsPresent": true, "Next": "E"}], "Default": "A"}, "E": {"Type": "Succeed"}}}"#;
const WIDE: &str = r#"{"StartAt": "M", "States": {"M": {"Type": "Map", "ItemProcessor": {"StartAt": "P", "States": {
    "P": {"Type": "Pass", "End": true}}}, "End": true}}}"#;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("interp::history of 25000 events", || {
            history().map_err(Failed::from)
        }),
        Trial::test("interp::express ends after five minutes", || {
            express().map_err(Failed::from)
        }),
        Trial::test("interp::map of 10000 items", || {
            wide().map_err(Failed::from)
        }),
    ]
}

/// An EXPRESS execution ends at its bound, whatever it waits for.
fn express() -> Result<(), String> {
    let program = case::program(
        r#"{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 400, "End": true}}}"#,
    )?;
    let driven = driver::drive(
        &program,
        driver::start(Value::empty_object(), true),
        &mut Script::default(),
        None,
    );
    let last = driven.events.last().ok_or("no events")?;
    let after_ms = last.at.since_ms(driver::STARTED_AT);
    let right = matches!(driven.run.ending(), Some(Ending::TimedOut { .. }));
    if right && after_ms == 300_000 {
        Ok(())
    } else {
        Err(format!("after {after_ms} ms {last:?}"))
    }
}

/// The last event that fits is the failure that says so, and no step records more than its bound.
fn history() -> Result<(), String> {
    let program = case::program(LOOP)?;
    let driven = driver::drive(
        &program,
        driver::start(Value::empty_object(), false),
        &mut Script::default(),
        None,
    );
    let last = driven.events.last().ok_or("no events")?;
    let public = driven
        .events
        .iter()
        .filter(|event| event.what.is_public())
        .count();
    let text = "The execution reached the maximum number of history events (25000).";
    let right = matches!(
        &last.what,
        What::ExecutionFailed { error: Some(error), cause: Some(cause) } if &**error == "States.Runtime" && &**cause == text
    );
    if public != 25_000 || !right || last.previous != 24_999 {
        return Err(format!("{public} events, the last is {last:?}"));
    }
    let mut before = 0;
    for step in &driven.steps {
        if step.events - before > STEP_EVENTS_MAX as usize + 2 {
            return Err(format!("a step recorded {} events", step.events - before));
        }
        before = step.events;
    }
    Ok(())
}

/// The raised limits let it through, with all results in place.
fn wide() -> Result<(), String> {
    let program = case::program(WIDE)?;
    let items = Value::array((0..10_000).map(Value::from));
    let mut start = driver::start(items.clone(), false);
    start.raised_limits = true;
    let driven = driver::drive(&program, start, &mut Script::default(), None);
    match driven.run.ending() {
        Some(Ending::Succeeded { output }) if *output == items => Ok(()),
        ending => Err(format!(
            "{:?}",
            ending.map(|ending| format!("{ending:?}").chars().take(300).collect::<String>())
        )),
    }
}
