//! As many map runs are open as an account may have; the next one waits, begun and with nothing read, until one has ended.

use std::sync::Arc;

use stepwell_engine::{
    Engine, MachineKind, MapRunDescription, Options, PageRequest, StartRequest, Status, Store,
};

use crate::support::{Echo, PATIENCE, caller, machine, runtime, start_of};

/// AWS's quota.
const OPEN_MAX: usize = 1_000;

const WAITS: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","ItemsPath":"$","End":true,
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},
        "StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1000000,"End":true}}}}}}"#;

fn open() -> Engine {
    let options = Options {
        shards: 2,
        ..Options::of(Store::Memory)
    };
    Engine::open(options, Arc::new(Echo)).unwrap()
}

async fn start(engine: &Engine, count: usize) -> Vec<String> {
    let request = machine("m", MachineKind::Standard, WAITS);
    let made = engine.create_machine(caller(), request).await.unwrap();
    let mut started = Vec::new();
    for _ in 0..count {
        let request = StartRequest {
            input: Some("[1]".into()),
            ..start_of(&made.machine.arn)
        };
        let execution = engine.start(caller(), request).await.unwrap();
        started.push(execution.execution_arn.to_string());
    }
    started
}

/// The map run of an execution, once there is one that has begun.
async fn map_run(engine: &Engine, execution: &str) -> Option<MapRunDescription> {
    let listed = engine.map_runs(caller(), execution, PageRequest::default());
    let arn = listed.await.unwrap().items.first()?.arn.clone();
    engine.map_run(caller(), &arn).await.ok()
}

async fn runs(engine: &Engine, execution: &str) -> bool {
    let found = map_run(engine, execution).await;
    found.is_some_and(|run| run.executions.running == 1)
}

#[test]
fn the_next_map_run_waits_until_one_has_ended() {
    let engine = open();
    let told = async {
        let executions = start(&engine, OPEN_MAX + 1).await;
        let mut waiting = executions.clone();
        while waiting.len() > 1 {
            let mut still = Vec::new();
            for execution in waiting {
                if !runs(&engine, &execution).await {
                    still.push(execution);
                }
            }
            waiting = still;
            tokio::task::yield_now().await;
        }
        let [last] = waiting.as_slice() else {
            panic!("more are open than there may be");
        };
        while map_run(&engine, last).await.is_none() {
            tokio::task::yield_now().await;
        }
        let run = map_run(&engine, last).await.unwrap();
        assert_eq!(run.status, Status::Running);
        assert_eq!(
            (run.items.total, run.executions.total),
            (0, 0),
            "nothing is read"
        );
        let other = executions
            .iter()
            .find(|execution| *execution != last)
            .unwrap();
        engine.stop(caller(), other, None, None).await.unwrap();
        while !runs(&engine, last).await {
            tokio::task::yield_now().await;
        }
    };
    runtime()
        .block_on(async { tokio::time::timeout(PATIENCE, told).await })
        .unwrap();
}
