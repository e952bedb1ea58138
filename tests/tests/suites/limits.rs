//! Every limit of an execution at its last value and one past it, under both sets of limits: the largest that is let
//! through and the smallest that is not.

use libtest_mimic::Trial;
use stepwell_asl::{Limits as DefinitionLimits, Options, load};
use stepwell_interp::{Ending, Env, Input, Limits, Run, STEP_EVENTS_MAX, What, step};
use stepwell_query::Value;
use stepwell_tests::{case, driver, script::Script};

use super::trial;

const LOOP: &str = r#"{"StartAt": "A", "States": {"A": {"Type": "Choice", "Choices": [
    {"Variable": "$.never", "IsPresent": true, "Next": "E"}], "Default": "A"}, "E": {"Type": "Succeed"}}}"#;
const WIDE: &str = r#"{"StartAt": "M", "States": {"M": {"Type": "Map", "ItemProcessor": {"StartAt": "P", "States": {
    "P": {"Type": "Pass", "End": true}}}, "End": true}}}"#;
const DATA_LIMIT: &str = "States.DataLimitExceeded";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("interp::history of 25000 events", history),
        trial("interp::express ends after five minutes", express),
        trial("interp::map of 10000 items", wide),
    ];
    for raised in [false, true] {
        let set = if raised { "raised" } else { "strict" };
        let mut add = |what: &str, check: fn(bool) -> Result<(), String>| {
            trials.push(trial(format!("limits::{what}, {set}"), move || {
                check(raised)
            }));
        };
        add("a state's output", state_output);
        add("a task's input", task_input);
        add("a task's output", task_output);
        add("an iteration's input", iteration_input);
        add("one variable", variable);
        add("the variables of one state", assigned);
        add("all variables", variables);
        add("levels of a state's output", depth);
        add("the history", history_of);
        add("a definition's size", definition);
        add("nested state machines", nesting);
    }
    trials
}

/// A string whose JSON text has so many bytes.
fn text(bytes: usize) -> Value {
    Value::from("x".repeat(bytes - 2))
}

/// How the machine ends with that input: its output, or the error.
fn end(machine: &str, input: Value, tasks: &str, raised: bool) -> Result<Value, String> {
    let program = case::program(machine)?;
    let mut start = driver::start(input, false);
    start.raised_limits = raised;
    let driven = driver::drive(&program, start, &mut Script::parse(tasks), None);
    match driven.run.ending() {
        Some(Ending::Succeeded { output }) => Ok(output.clone()),
        Some(Ending::Failed { error, .. }) => Err(error.as_deref().unwrap_or_default().to_owned()),
        other => Err(format!("{other:?}")),
    }
}

/// At the limit the machine succeeds, one past it it fails with `States.DataLimitExceeded`.
fn walled(ends: impl Fn(usize) -> Result<Value, String>) -> Result<(), String> {
    ends(0).map_err(|error| format!("at the limit: {error}"))?;
    match ends(1) {
        Err(error) if error == DATA_LIMIT => Ok(()),
        other => Err(format!(
            "past the limit: {:?}",
            other.map(|value| value.json_bytes())
        )),
    }
}

fn state_output(raised: bool) -> Result<(), String> {
    let most = Limits::of(raised).payload_bytes_max;
    let machine = r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}"#;
    walled(|past| end(machine, text(most + past), "{}", raised))
}

fn task_input(raised: bool) -> Result<(), String> {
    let most = Limits::of(raised).payload_bytes_max;
    let machine =
        r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "wasm:t", "End": true}}}"#;
    let tasks = r#"{"wasm:t": [{"output": 1}]}"#;
    walled(|past| end(machine, text(most + past), tasks, raised))
}

fn task_output(raised: bool) -> Result<(), String> {
    let most = Limits::of(raised).payload_bytes_max;
    let machine =
        r#"{"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "wasm:t", "End": true}}}"#;
    walled(|past| {
        let tasks = format!(
            r#"{{"wasm:t": [{{"output": {}}}]}}"#,
            text(most + past).to_json()
        );
        end(machine, Value::empty_object(), &tasks, raised)
    })
}

fn iteration_input(raised: bool) -> Result<(), String> {
    let most = Limits::of(raised).payload_bytes_max;
    let machine = r#"{"StartAt": "M", "States": {"M": {"Type": "Map", "ItemsPath": "$.items",
        "ItemSelector": {"t.$": "$.t"}, "ItemProcessor": {"StartAt": "P", "States": {
        "P": {"Type": "Pass", "Result": 1, "End": true}}}, "End": true}}}"#;
    // The selected item is `{"t":"…"}`.
    walled(|past| {
        let input = Value::object([
            ("items", Value::array([Value::from(1)])),
            ("t", text(most + past - 6)),
        ]);
        end(machine, input, "{}", raised)
    })
}

const ASSIGN: &str = r#"{"QueryLanguage": "JSONata", "StartAt": "P", "States": {"P": {"Type": "Pass",
    "Assign": "ASSIGNED", "Output": 1, "End": true}}}"#;

fn variable(raised: bool) -> Result<(), String> {
    let most = Limits::of(raised).variable_bytes_max;
    let machine = ASSIGN.replace("\"ASSIGNED\"", r#"{"v": "{% $states.input %}"}"#);
    walled(|past| end(&machine, text(most + past), "{}", raised))
}

fn assigned(raised: bool) -> Result<(), String> {
    let most = Limits::of(raised).assign_bytes_max;
    let two = r#"{"a": "{% $states.input[0] %}", "b": "{% $states.input[1] %}"}"#;
    let machine = ASSIGN.replace("\"ASSIGNED\"", two);
    walled(|past| {
        let input = Value::array([text(most / 2), text(most - most / 2 + past)]);
        end(&machine, input, "{}", raised)
    })
}

/// States that each assign a variable of the largest size, and four that assign a quarter of one.
fn variables(raised: bool) -> Result<(), String> {
    let limits = Limits::of(raised);
    let each = limits.variable_bytes_max;
    let full = limits.variables_bytes_max / each - 1;
    let large = (0..full)
        .map(|index| format!("v{index}"))
        .map(|name| (name, "each"));
    let small = [("a", "q"), ("b", "q"), ("c", "q"), ("d", "r")];
    let small = small.map(|(name, input)| (name.to_owned(), input));
    let all: Vec<(String, &str)> = large.chain(small).collect();
    let mut states = String::new();
    for (index, (name, input)) in all.iter().enumerate() {
        let next = index + 1;
        states.push_str(&format!(
            r#""S{index}": {{"Type": "Pass", "Result": 1, "Assign": {{"{name}.$": "$$.Execution.Input.{input}"}}, "Next": "S{next}"}},"#
        ));
    }
    let machine = format!(
        r#"{{"StartAt": "S0", "States": {{{states} "S{}": {{"Type": "Succeed"}}}}}}"#,
        all.len()
    );
    walled(|past| {
        let input = Value::object([
            ("each", text(each)),
            ("q", text(each / 4)),
            ("r", text(each / 4 + past)),
        ]);
        end(&machine, input, "{}", raised)
    })
}

/// Values nested so deep, under both sets alike.
fn depth(raised: bool) -> Result<(), String> {
    let machine = r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}"#;
    walled(|past| {
        let levels = 1_000 + past;
        let nested = (1..levels).fold(Value::array([]), |inner, _| Value::array([inner]));
        end(machine, nested, "{}", raised)
    })
}

/// The last event that fits is the failure that says so.
fn history_of(raised: bool) -> Result<(), String> {
    let most = Limits::of(raised).history_events_max;
    let program = case::program(LOOP)?;
    let mut start = driver::start(Value::empty_object(), false);
    start.raised_limits = raised;
    let mut run = Run::default();
    let mut input = Input::Started(Box::new(start));
    let mut last = None;
    while run.ending().is_none() {
        let env = Env {
            at: driver::STARTED_AT,
            seed: [0; 32],
        };
        let effects = step(&program, &mut run, input, env);
        last = effects.iter().rev().find_map(|effect| match effect {
            stepwell_interp::Effect::Record(event) => Some(event.clone()),
            _ => None,
        });
        input = Input::Continue;
    }
    let text = format!("The execution reached the maximum number of history events ({most}).");
    match last.map(|event| event.what) {
        Some(What::ExecutionFailed {
            cause: Some(cause), ..
        }) if *cause == *text && run.next_public_id() == most + 1 => Ok(()),
        other => Err(format!(
            "{} events, the last is {other:?}",
            run.next_public_id() - 1
        )),
    }
}

fn definition(raised: bool) -> Result<(), String> {
    let (limits, most) = if raised {
        (DefinitionLimits::Raised, 16 * 1_048_576)
    } else {
        (DefinitionLimits::Strict, 1_048_576)
    };
    let options = Options {
        limits,
        ..Options::default()
    };
    let of = |bytes: usize| {
        let (head, tail) = (
            r#"{"Comment": ""#,
            r#"", "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}"#,
        );
        let comment = "x".repeat(bytes - head.len() - tail.len());
        load(&format!("{head}{comment}{tail}"), &options)
            .program
            .is_some()
    };
    match (of(most), of(most + 1)) {
        (true, false) => Ok(()),
        (at, past) => Err(format!("{most} bytes load: {at}, one more: {past}")),
    }
}

/// Maps within Maps, under both sets alike.
fn nesting(raised: bool) -> Result<(), String> {
    let limits = if raised {
        DefinitionLimits::Raised
    } else {
        DefinitionLimits::Strict
    };
    let options = Options {
        limits,
        ..Options::default()
    };
    let of = |levels: usize| {
        let inner = format!(
            r#"{{"StartAt": "S{levels}", "States": {{"S{levels}": {{"Type": "Pass", "End": true}}}}}}"#
        );
        let whole = (0..levels).rev().fold(inner, |inner, level| {
            format!(
                r#"{{"StartAt": "S{level}", "States": {{"S{level}": {{"Type": "Map", "ItemProcessor": {inner}, "End": true}}}}}}"#
            )
        });
        let loaded = load(&whole, &options);
        let codes = loaded
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.code.aws());
        (loaded.program.is_some(), codes.collect::<Vec<_>>())
    };
    match (of(25), of(26)) {
        ((true, _), (false, codes)) if codes == ["TOO_DEEPLY_NESTED"] => Ok(()),
        (at, past) => Err(format!("25 levels: {at:?}, 26: {past:?}")),
    }
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
