//! Map runs whose appends are refused while their results are written.

use std::sync::Arc;

use stepwell_asl::{Program, load_stored};
use stepwell_query::Value;

use super::*;
use crate::{Effect, Env, Event, Input, Start, TaskId};

const AT: Timestamp = Timestamp(1_769_860_800_000);

const DEFINITION: &str = r#"{"StartAt": "Each", "States": {"Each": {"Type": "Map", "Label": "Each", "End": true,
    "ToleratedFailurePercentage": 100,
    "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "One", "States": {"One": {"Type": "Pass", "End": true}}},
    "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "results"}}}}}"#;

/// The map run of that definition over so many items, which writes its results.
fn start(items: u64) -> MapRunStart {
    let input = Value::array((0..items).map(Value::from));
    let parent = Start {
        execution_arn: "arn:aws:states:us-east-1:000000000000:execution:m:e".into(),
        execution_name: "e".into(),
        machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:m".into(),
        machine_name: "m".into(),
        role_arn: "".into(),
        version_arn: None,
        alias_arn: None,
        express: false,
        processor_of: None,
        forked_from: None,
        raised_limits: false,
        input: input.clone(),
    };
    MapRunStart {
        arn: "arn:aws:states:us-east-1:000000000000:mapRun:m/Each:1".into(),
        parent: Arc::new(parent),
        parent_started_at: AT,
        run: TaskId {
            entry: 2,
            attempt: 1,
        },
        state: "Each".into(),
        entered_at: AT,
        entered_id: 2,
        input: input.clone(),
        retries: 0,
        variables: Arc::from([]),
        source: Reading::State(input),
        destination: Some(Value::object([("Bucket", Value::from("results"))])),
        concurrency: 0,
        tolerated_count: None,
        tolerated_percentage: Some(100.0),
        batch_items: None,
        batch_bytes: None,
        batch_input: None,
        form: Form::COMPACT,
    }
}

/// A map run with what of it is durable.
struct Driven {
    program: Program,
    run: MapRun,
    log: Vec<Event>,
    /// What the manifest is to list.
    listed: Vec<Part>,
}

impl Driven {
    /// Begun, with all items read and a child for each.
    fn begun(items: u64) -> Driven {
        let mut driven = Driven {
            program: load_stored(DEFINITION).unwrap(),
            run: MapRun::default(),
            log: Vec::new(),
            listed: Vec::new(),
        };
        driven.step(MapRunInput::Started(Box::new(start(items))));
        let item = |index| Item {
            value: Value::from(index),
            key: None,
            source: "STATE_DATA".into(),
        };
        driven.step(MapRunInput::ItemsRead {
            first: 0,
            items: (0..items).map(item).collect(),
            cursor: "".into(),
            ended: true,
            ids: (0..items).map(child).collect(),
            expected: None,
        });
        driven
    }

    /// The writes that follow from an input. What it records is durable.
    fn step(&mut self, input: MapRunInput) -> Vec<ResultWrite> {
        self.take(Input::MapRun(Box::new(input)))
    }

    fn take(&mut self, input: Input) -> Vec<ResultWrite> {
        let env = Env {
            at: AT,
            seed: [7; 32],
        };
        let mut writes = Vec::new();
        for effect in step_map_run(&self.program, &mut self.run, input, env) {
            match effect {
                Effect::Record(event) => self.log.push(event),
                Effect::MapRun(effect) => {
                    writes.extend(ResultWrite::of(&effect, self.run.redrives()));
                    if let MapRunEffect::WriteManifest { parts } = *effect {
                        self.listed = parts;
                    }
                }
                _ => {}
            }
        }
        writes
    }

    fn ended(&mut self, index: u64, status: ChildStatus) -> Vec<ResultWrite> {
        let described = Value::object([("Name", Value::from(index))]);
        self.step(MapRunInput::ChildEnded(Box::new(ChildResult {
            index,
            child: child(index),
            status,
            events: 5,
            output: (status == ChildStatus::Succeeded).then(|| Value::from(index)),
            description: Some(described),
        })))
    }

    /// An append was refused: the run goes on from what is durable.
    fn folded_anew(&mut self) -> Vec<ResultWrite> {
        self.run = MapRun::default();
        for event in &self.log {
            self.run.evolve(event);
        }
        self.take(Input::Continue)
    }

    /// The keys of the parts that the log tells of.
    fn parts(&self) -> Vec<Arc<str>> {
        let part = |event: &Event| match &event.what {
            crate::What::MapRun(event) => match &**event {
                MapRunEvent::PartWritten(part) => Some(part.key.clone()),
                _ => None,
            },
            _ => None,
        };
        self.log.iter().filter_map(part).collect()
    }
}

fn child(index: u64) -> ChildId {
    ChildId(100 + index)
}

/// The answer to a write of a part.
fn written(write: ResultWrite) -> MapRunInput {
    let ResultWrite::Part {
        kind,
        number,
        executions,
        items,
        ..
    } = write
    else {
        panic!("a part is written: {write:?}");
    };
    let part = Part {
        kind,
        key: format!("{kind:?}_{number}").into(),
        bytes: 10,
        results: executions,
        executions,
        items,
    };
    MapRunInput::PartWritten { write, part }
}

#[test]
fn a_part_that_is_written_twice_is_taken_once() {
    let mut driven = Driven::begun(2);
    driven.ended(0, ChildStatus::Succeeded);
    let first = driven.ended(1, ChildStatus::Failed);
    let [successes] = first[..] else {
        panic!("{first:?}");
    };
    assert_eq!(driven.folded_anew(), [successes], "it is asked for again");
    let next = driven.step(written(successes));
    let [failures] = next[..] else {
        panic!("{next:?}");
    };
    // The answer to what was asked for again, while the next part is written.
    assert_eq!(driven.step(written(successes)), []);
    let next = driven.step(written(failures));
    let [manifest @ ResultWrite::Manifest { redrive: 0 }] = next[..] else {
        panic!("{next:?}");
    };
    assert_eq!(driven.parts(), ["Succeeded_0".into(), "Failed_0".into()]);
    let listed = driven.listed.iter().map(|part| part.executions);
    assert_eq!(listed.collect::<Vec<_>>(), [1, 1]);
    // Late answers come while the manifest is written, too.
    driven.step(written(failures));
    driven.step(MapRunInput::WriteFailed {
        write: successes,
        cause: "late".into(),
    });
    assert_eq!((driven.parts().len(), driven.run.ending()), (2, None));
    driven.step(MapRunInput::ManifestWritten {
        write: manifest,
        bucket: "results".into(),
        key: "manifest.json".into(),
    });
    let ending = driven.run.ending();
    let succeeded = matches!(ending, Some(MapRunEnding::Succeeded { .. }));
    assert!(succeeded, "{ending:?}");
}

#[test]
fn a_part_that_has_become_longer_waits_for_its_own_answer() {
    let mut driven = Driven::begun(3);
    driven.ended(0, ChildStatus::Succeeded);
    driven.ended(1, ChildStatus::Succeeded);
    let asked = driven.ended(2, ChildStatus::Succeeded);
    let [write] = asked[..] else {
        panic!("{asked:?}");
    };
    // The same part, asked for when fewer results were durable: its file is written over.
    let shorter = ResultWrite::Part {
        redrive: 0,
        kind: PartKind::Succeeded,
        number: 0,
        executions: 2,
        items: 2,
    };
    assert_eq!(driven.step(written(shorter)), []);
    assert!(driven.parts().is_empty());
    driven.step(written(write));
    assert_eq!(driven.parts(), ["Succeeded_0".into()]);
}
