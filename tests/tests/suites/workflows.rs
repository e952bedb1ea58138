//! Public sample workflows with tasks that answer `{}`: whatever they do with that, they go on or end, and their
//! events rebuild them.

use libtest_mimic::Trial;
use stepwell_interp::{Input, TaskOutcome, TaskRequest};
use stepwell_query::Value;
use stepwell_tests::{
    case, corpus,
    driver::{self, Tasks},
    script::Act,
};

use super::{replay, trial};

/// Milliseconds after which a workflow that loops is stopped.
const STOP_AFTER_MS: u64 = 3_600_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("interp::workflows", check)]
}

fn check() -> Result<(), String> {
    if corpus::dir().is_none() {
        println!("skipped: there is no corpus (STEPWELL_CORPUS or ../shared/corpus)");
        return Ok(());
    }
    let workflows = corpus::lines("workflows/workflows.jsonl");
    let (mut run, mut wrong) = (0, Vec::new());
    for workflow in &workflows {
        let Some(definition) = workflow.get("definition") else {
            continue;
        };
        let definition = definition
            .as_str()
            .map_or_else(|| definition.to_json(), str::to_owned);
        // What cannot be loaded is another suite's concern.
        let Ok(program) = case::program(&definition) else {
            continue;
        };
        let stop = (
            STOP_AFTER_MS,
            Input::StopAsked {
                error: None,
                cause: None,
            },
        );
        let driven = driver::drive(
            &program,
            driver::start(Value::empty_object(), false),
            &mut Willing,
            Some(stop),
        );
        run += 1;
        if driven.run.ending().is_none() {
            wrong.push(format!("{definition}\ndoes not end"));
        } else if let Err(why) = replay::check(&program, &driven, true) {
            wrong.push(format!("{definition}\n{why}"));
        }
    }
    println!("sample workflows run: {run}/{}", workflows.len());
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n\n"))
    }
}

/// Does every task at once.
struct Willing;

impl Tasks for Willing {
    fn next(&mut self, _: &TaskRequest) -> Act {
        let output = Value::empty_object();
        Act {
            outcome: Some(TaskOutcome::Succeeded { output }),
            after_ms: 1_000,
            ..Act::at_once()
        }
    }
}
