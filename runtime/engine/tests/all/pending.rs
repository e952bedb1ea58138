//! What a map run that failed or was stopped never started is listed in PENDING files, page by page, and nothing of it is
//! lost to a redrive.

use std::sync::Arc;

use stepwell_engine::{
    Engine, MachineKind, MapRunDescription, Options, PageRequest, Status, Store,
};
use stepwell_items::Storage;
use stepwell_query::Value;

use crate::support::{Echo, caller, machine, named_with, runtime};

const BUCKET: &str = "results";
/// More than are read ahead.
const ITEMS: i64 = 3_500;

fn open(storage: &Storage) -> Engine {
    let options = Options {
        shards: 1,
        storage: Some(storage.clone()),
        ..Options::of(Store::Memory)
    };
    Engine::open(options, Arc::new(Echo)).unwrap()
}

/// A distributed Map, one child at a time, with these states for an item and these fields more.
fn map(states: &str, more: &str) -> String {
    format!(
        r#"{{"StartAt":"M","States":{{"M":{{"Type":"Map","MaxConcurrency":1,"End":true,{more}
            "ItemProcessor":{{"ProcessorConfig":{{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"}},{states}}},
            "ResultWriter":{{"Resource":"arn:aws:states:::s3:putObject","Parameters":{{"Bucket":"{BUCKET}","Prefix":"p"}}}}}}}}}}"#
    )
}

const FAILS: &str = r#""StartAt":"F","States":{"F":{"Type":"Fail","Error":"No"}}"#;

struct Ran {
    engine: Engine,
    storage: Storage,
    execution: String,
}

impl Ran {
    async fn start(storage: Storage, definition: String, input: String) -> Ran {
        let engine = open(&storage);
        let request = machine("m", MachineKind::Standard, &definition);
        let made = engine.create_machine(caller(), request).await.unwrap();
        let request = named_with("e", &input, &made.machine.arn);
        let started = engine.start(caller(), request).await.unwrap();
        Ran {
            engine,
            storage: storage.for_account(&caller().tenant),
            execution: started.execution_arn.to_string(),
        }
    }

    async fn map_run(&self) -> MapRunDescription {
        self.found_map_run().await.expect("there is a map run")
    }

    async fn found_map_run(&self) -> Option<MapRunDescription> {
        let page = PageRequest::default();
        let listed = self.engine.map_runs(caller(), &self.execution, page).await;
        let arn = listed.unwrap().items.first()?.arn.clone();
        Some(self.engine.map_run(caller(), &arn).await.unwrap())
    }

    /// Stops the execution when a child runs, and waits until its map run has closed.
    async fn stop_when_running(&self) {
        let runs = |run: MapRunDescription| run.executions.running > 0;
        while !self.found_map_run().await.is_some_and(runs) {
            tokio::task::yield_now().await;
        }
        let stopped = self.engine.stop(caller(), &self.execution, None, None);
        stopped.await.unwrap();
        while self.map_run().await.status == Status::Running {
            tokio::task::yield_now().await;
        }
    }

    /// What the files of a kind hold that the manifest in that folder of the map run's lists.
    async fn listed(&self, folder: &str, kind: &str) -> Vec<Value> {
        let run = self.map_run().await;
        let id = run.arn.rsplit(':').next().unwrap().to_owned();
        let key = format!("p/{id}{folder}/manifest.json");
        let manifest = self.json(&key).await;
        let files = manifest.get("ResultFiles").unwrap().get(kind).unwrap();
        let mut all = Vec::new();
        for file in files.as_array().unwrap().iter() {
            let key = file.get("Key").unwrap().as_str().unwrap();
            all.extend(self.json(key).await.as_array().unwrap().iter().cloned());
        }
        all
    }

    async fn json(&self, key: &str) -> Value {
        let bytes = self.storage.get(BUCKET, key).await.unwrap();
        Value::parse(&String::from_utf8(bytes).unwrap()).unwrap()
    }
}

/// As the service writes it.
fn pending(input: &str) -> Value {
    let text = Value::from(input).to_json();
    let record =
        format!(r#"{{"Input":{text},"InputDetails":{{"Included":true}},"Status":"PENDING"}}"#);
    Value::parse(&record).unwrap()
}

fn numbers(from: i64, to: i64) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

#[test]
fn all_that_was_not_started_is_listed_in_order() {
    runtime().block_on(async {
        let input = format!("[{}]", numbers(0, ITEMS).join(","));
        let ran = Ran::start(Storage::memory(), map(FAILS, ""), input).await;
        let ended = ran.engine.wait(caller(), &ran.execution).await.unwrap();
        assert_eq!(ended.status, Status::Failed);
        assert_eq!(ran.listed("", "FAILED").await.len(), 1);
        let expected: Vec<Value> = numbers(1, ITEMS).iter().map(|n| pending(n)).collect();
        assert_eq!(ran.listed("", "PENDING").await, expected);
        let run = ran.map_run().await;
        assert_eq!(run.items.total, ITEMS as u64);
        assert_eq!(run.items.pending, ITEMS as u64 - 1);
        assert_eq!(
            run.items.results_written, 1,
            "what is pending has no result"
        );
    });
}

#[test]
fn batches_are_listed_as_their_children_would_have_got_them() {
    runtime().block_on(async {
        let batcher = r#""ItemBatcher":{"MaxItemsPerBatch":2,"BatchInput":{"b":1}},
            "ItemReader":{"Resource":"arn:aws:states:::s3:getObject","ReaderConfig":{"InputType":"JSONL"},
                "Parameters":{"Bucket":"results","Key":"items.jsonl"}},"#;
        let storage = Storage::memory();
        let of_account = storage.for_account(&caller().tenant);
        let lines = b"1\n2\n3\n4\n5\n".to_vec();
        of_account.put(BUCKET, "items.jsonl", lines).await.unwrap();
        let ran = Ran::start(storage, map(FAILS, batcher), "{}".into()).await;
        ran.engine.wait(caller(), &ran.execution).await.unwrap();
        let expected = [
            pending(r#"{"BatchInput":{"b":1},"Items":[3,4]}"#),
            pending(r#"{"BatchInput":{"b":1},"Items":[5]}"#),
        ];
        assert_eq!(ran.listed("", "PENDING").await, expected);
    });
}

#[test]
fn a_redrive_starts_what_a_stop_left_pending() {
    let states = r#""StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1000000,"End":true}}"#;
    runtime().block_on(async {
        let input = format!("[{}]", numbers(0, 5).join(","));
        let ran = Ran::start(Storage::memory(), map(states, ""), input).await;
        ran.stop_when_running().await;
        let left: Vec<Value> = numbers(1, 5).iter().map(|n| pending(n)).collect();
        assert_eq!(ran.listed("", "PENDING").await, left);
        assert!(ran.listed("", "SUCCEEDED").await.is_empty());
        // The child waits again: another stop ends it, and nothing is listed twice under one name.
        ran.engine
            .redrive(caller(), &ran.execution, None)
            .await
            .unwrap();
        ran.stop_when_running().await;
        let twice = ran.listed("/Redrive-1", "PENDING").await;
        assert_eq!(
            twice,
            [left.clone(), left].concat(),
            "earlier files stay listed"
        );
    });
}
