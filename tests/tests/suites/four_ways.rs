//! The cases of `runs/` on the durable engine: straight through, and crashed after each append and recovered, on the
//! memory and the SQLite journal. (Folded from their own history they are in `runs`.)

use std::sync::Arc;

use libtest_mimic::Trial;
use stepwell_engine::sim::SimStore;
use stepwell_interp::Event;
use stepwell_tests::{
    case,
    case::{Case, difference},
    crashing, driver,
};

use super::trial;

pub(crate) fn trials() -> Vec<Trial> {
    let stores = [("memory", SimStore::Memory), ("sqlite", SimStore::Disk)];
    let mut trials = Vec::new();
    for (store_name, store) in stores {
        for dir in case::cases() {
            let case_name = dir
                .file_name()
                .expect("a case has a name")
                .to_string_lossy()
                .into_owned();
            let name = format!("engine::{store_name}::{case_name}");
            trials.push(trial(name, move || run(&Case::read(&dir), store)));
        }
    }
    trials
}

fn run(case: &Case, store: SimStore) -> Result<(), String> {
    let random = case.script.random;
    let bare = bare(case);
    let straight = crashing::run(case, store, None)?;
    same(
        "on the engine",
        &bare,
        &crashing::comparable(&straight.events, random),
    )?;
    let others = others(&straight.others, random);
    case.expect(
        "children.txt",
        Some(&others[..]).filter(|text| !text.is_empty()),
    )?;
    // A script that loses processes itself is near the limit of redispatches: one crash more is another story.
    let crashes = if case.script.loses() {
        0
    } else {
        straight.appends
    };
    for appends in 1..=crashes {
        let crashed = crashing::run(case, store, Some(appends))
            .map_err(|error| format!("crashed after append {appends}: {error}"))?;
        let way = format!("crashed after append {appends} of {}", straight.appends);
        same(&way, &bare, &crashing::comparable(&crashed.events, random))?;
        let [expected, actual] = [&straight, &crashed].map(|outcome| {
            let histories = outcome.others.iter();
            let told = histories.map(|(arn, events)| (arn.clone(), crashing::told(events)));
            self::others(&told.collect::<Vec<_>>(), random)
        });
        same(&way, &expected, &actual)?;
    }
    Ok(())
}

/// The histories of the executions that a case led to.
fn others(others: &[(Arc<str>, Vec<Event>)], random: bool) -> String {
    let mut texts: Vec<_> = others
        .iter()
        .map(|(_, events)| crashing::comparable(events, random))
        .collect();
    texts.sort();
    texts.join("\n")
}

/// The same case on the bare interpreter.
fn bare(case: &Case) -> String {
    let stop = case.script.stop.as_ref().map(|stop| {
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let (error, cause) = (text(&stop.error), text(&stop.cause));
        (
            stop.after_ms,
            stepwell_interp::Input::StopAsked { error, cause },
        )
    });
    let mut script = case.script.clone();
    let start = driver::start(case.input.clone(), false);
    let driven = driver::drive(&case.program, start, &mut script, stop);
    crashing::comparable(&driven.events, case.script.random)
}

fn same(way: &str, expected: &str, actual: &str) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    Err(format!(
        "{way} it has another history\n{}",
        difference(expected, actual)
    ))
}
