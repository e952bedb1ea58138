//! Forks of the cases of `runs/`: from every event at which one can go on, a fork with the same definition comes to the
//! history of the case itself, on the bare interpreter; on the durable engine too, on both journals and crashed after
//! each append. And a server that is killed as soon as it has answered a fork.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use stepwell_engine::sim::SimStore;
use stepwell_interp::{Event, Fork, ForkPoint, Run, What};
use stepwell_tests::{
    case::{self, Case, difference},
    crashing,
    driver::{self, Driven},
    place::Place,
    script::Script,
};

use super::{replay, trial};

/// All cases together have more points than this.
const POINTS_MIN: usize = 300;
/// An execution ends within this time.
const END_MAX: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("forks::from_every_point", from_every_point),
        trial("forks::killed", killed),
    ];
    for (name, store) in [("memory", SimStore::Memory), ("sqlite", SimStore::Disk)] {
        trials.push(trial(format!("forks::crashed::{name}"), move || {
            crashed(store)
        }));
    }
    trials
}

/// A fork of a case, the script that is left for it, and the redrives.
struct Forked {
    fork: Fork,
    script: Script,
}

/// A case whose way does not depend on how long it takes in all, nor on executions that it started.
fn is_comparable(case: &Case) -> bool {
    let script = &case.script;
    script.stop.is_none()
        && !script.loses()
        && case.machines.is_empty()
        && case.program.timeout_s.is_none()
}

fn drive(case: &Case) -> Driven {
    let start = driver::start(case.input.clone(), false);
    driver::drive(&case.program, start, &mut case.script.clone(), None)
}

/// The fork from that public event, if one can go on there. Map runs take from the script what cannot be told from here.
fn fork_at(case: &Case, events: &[Event], id: u64) -> Option<(Forked, ForkPoint)> {
    let mut run = Run::default();
    let mut past = Vec::new();
    for event in events {
        run.evolve(event);
        past.push(event.clone());
        if event.what.is_public() && run.next_public_id() > id {
            break;
        }
    }
    let point = run.fork_point().ok()?;
    run.fits(&case.program).expect("it is its own definition");
    let mut script = case.script.clone();
    for event in &past {
        if let What::Scheduled(scheduled) = &event.what {
            drop(script.next(&scheduled.resource.text));
        }
        if matches!(event.what, What::MapRunStarted { .. }) {
            return None;
        }
        if matches!(event.what, What::ExecutionRedriven { .. }) {
            script.redrives_ms.remove(0);
            // What looks at the count sees another one in the fork.
            if case.definition.contains("Redrive") {
                return None;
            }
        }
    }
    let fork = Fork {
        start: driver::start(case.input.clone(), false),
        past: past.into(),
        input: None,
        assigned: Arc::new([]),
    };
    Some((Forked { fork, script }, point))
}

/// A history without what says that it is a fork's, whose redrives are counted anew.
fn without_fork(events: &[Event], random: bool) -> String {
    let events = events.iter();
    let own = events.filter(|event| !matches!(event.what, What::Forked { .. }));
    let mut own: Vec<Event> = own.cloned().collect();
    for event in &mut own {
        if let What::ExecutionRedriven { count, .. } = &mut event.what {
            *count = 0;
        }
    }
    crashing::comparable(&own, random)
}

fn same(way: &str, expected: &str, actual: &str) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    let difference = difference(expected, actual);
    Err(format!("{way} it has another history\n{difference}"))
}

fn from_every_point() -> Result<(), String> {
    let mut points = 0;
    let mut wrong = Vec::new();
    for dir in case::cases() {
        let case = Case::read(&dir);
        if !is_comparable(&case) {
            continue;
        }
        let origin = drive(&case);
        for id in 1..origin.run.next_public_id() {
            let Some((forked, point)) = fork_at(&case, &origin.events, id) else {
                continue;
            };
            points += 1;
            let way = format!("{}: forked after event {id} ({point:?})", case.name);
            wrong.extend(same_as_origin(&way, &case, &origin, forked).err());
        }
    }
    println!("forks: {points} points of cases");
    if points < POINTS_MIN {
        wrong.push(format!("{points} points are too few"));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n")),
    }
}

fn same_as_origin(way: &str, case: &Case, origin: &Driven, forked: Forked) -> Result<(), String> {
    let random = case.script.random;
    let Forked { fork, mut script } = forked;
    let redrives = script.redrives_ms.clone();
    let driven = driver::drive_fork(&case.program, fork, &mut script, redrives);
    replay::folds(&driven).map_err(|why| format!("{way}: {why}"))?;
    replay::segments(&driven).map_err(|why| format!("{way}: {why}"))?;
    let [expected, actual] =
        [&origin.events, &driven.events].map(|events| without_fork(events, random));
    same(way, &expected, &actual)
}

/// The fork from the last point between two states, straight through and crashed after each append.
fn crashed(store: SimStore) -> Result<(), String> {
    let mut forks = 0;
    for dir in case::cases() {
        let case = Case::read(&dir);
        if !is_comparable(&case) {
            continue;
        }
        let origin = drive(&case);
        let ids = (1..origin.run.next_public_id()).rev();
        let last = ids
            .filter_map(|id| Some((id, fork_at(&case, &origin.events, id)?)))
            .find(|(_, (_, point))| *point == ForkPoint::Between);
        let Some((id, (forked, _))) = last else {
            continue;
        };
        forks += 1;
        let random = case.script.random;
        let expected = without_fork(&origin.events, random);
        let run = |crash_after| {
            let fork = forked.fork.clone();
            crashing::fork(&case, &forked.script, fork, store, crash_after)
        };
        let mut way = format!("{}: forked after event {id}", case.name);
        let straight = run(None).map_err(|why| format!("{way}: {why}"))?;
        same(&way, &expected, &without_fork(&straight.events, random))?;
        for appends in 1..=straight.appends {
            way = format!(
                "{}: forked after event {id}, crashed after append {appends}",
                case.name
            );
            let again = run(Some(appends)).map_err(|why| format!("{way}: {why}"))?;
            same(&way, &expected, &without_fork(&again.events, random))?;
        }
    }
    if forks < 30 {
        return Err(format!("{forks} forks are too few"));
    }
    Ok(())
}

/// What a fork was answered is there after the server was killed, goes on, and has its past and its origin.
fn killed() -> Result<()> {
    let place = Place::new()?;
    let server = place.serve(&[])?;
    let client = server.client();
    let machine = client.create_machine("forked", &broken())?;
    let origin = client.start(&machine, "first", &json!({ "n": 1 }))?;
    let ended = client.ended(&origin, END_MAX)?;
    ensure!(ended["status"] == "FAILED", "{ended}");
    let request = json!({
        "executionArn": origin, "name": "mended", "definition": mended().to_string(),
        "variables": json!({ "rate": 3 }).to_string(),
    });
    let forked = client.call("Stepwell.ForkExecution", &request)?;
    server.kill()?;

    let server = place.serve(&[])?;
    let client = server.client();
    let fork = forked["executionArn"].as_str().unwrap_or_default();
    let ended = client.ended(fork, END_MAX)?;
    ensure!(ended["status"] == "SUCCEEDED", "{ended}");
    ensure!(ended["output"] == r#"{"sum":6}"#, "{ended}");
    let from = json!({ "executionArn": origin, "eventId": 3 });
    ensure!(ended["forkedFrom"] == from, "{ended}");
    let history = client.history(fork)?;
    let names = |events: &[Value]| -> Vec<String> {
        let text = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
        events.iter().map(text).collect()
    };
    let first = client.history(&origin)?;
    ensure!(names(&history)[..3] == names(&first)[..3], "{history:?}");
    ensure!(
        history[0]["executionStartedEventDetails"]["forkedFrom"] == from,
        "{}",
        history[0]
    );
    for (event, id) in history.iter().zip(1..) {
        ensure!(event["id"] == id, "{event}");
    }
    // It ended: the same name is taken for good, and another one goes on from the fork itself.
    let again = client.call("Stepwell.ForkExecution", &request);
    ensure!(again.is_err(), "{again:?}");
    let request = json!({ "executionArn": fork, "name": "third" });
    let third = client.call("Stepwell.ForkExecution", &request)?;
    let third = third["executionArn"].as_str().unwrap_or_default();
    let ended = client.ended(third, END_MAX)?;
    ensure!(ended["output"] == r#"{"sum":6}"#, "{ended}");
    server.stop()
}

/// Its second state reads what is not there.
fn broken() -> Value {
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "Count",
        "States": {
            "Count": {
                "Type": "Pass", "Assign": { "rate": 2 },
                "Output": "{% {'count': $states.input.n + 1} %}", "Next": "Sum",
            },
            "Sum": { "Type": "Pass", "Output": "{% $states.input.amount * $rate %}", "End": true },
        },
    })
}

fn mended() -> Value {
    let mut machine = broken();
    let states = &mut machine["States"];
    states["Sum"] = json!({ "Type": "Wait", "Seconds": 1, "Next": "Made" });
    states["Made"] = json!({
        "Type": "Pass", "Output": "{% {'sum': $states.input.count * $rate} %}", "End": true,
    });
    machine
}
