//! As many map runs are open as an account may have; the next one waits, begun and with nothing read, until one has ended.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use stepwell_engine::{
    Caller, CreateMachine, Engine, MachineKind, MachineSettings, MapRunDescription, Options,
    PageRequest, PluginCall, PluginEnd, StartRequest, Status, Store, TaskRunner,
};
use stepwell_interp::OnCrash;

/// AWS's quota.
const OPEN_MAX: usize = 1_000;

/// A slow machine gets there in minutes.
const PATIENCE: Duration = Duration::from_secs(300);

const WAITS: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","ItemsPath":"$","End":true,
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},
        "StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1000000,"End":true}}}}}}"#;

struct NoPlugins;

impl TaskRunner for NoPlugins {
    fn run(&self, _: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        Box::pin(std::future::pending())
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

fn caller() -> Caller {
    Caller {
        tenant: "000000000000".into(),
        region: "us-east-1".into(),
    }
}

fn open() -> Engine {
    let options = Options {
        store: Store::Memory,
        raised_limits: false,
        take_up: true,
        shards: 2,
        storage: None,
        connections: Default::default(),
        services: Default::default(),
        observer: None,
    };
    Engine::open(options, Arc::new(NoPlugins)).unwrap()
}

async fn start(engine: &Engine, count: usize) -> Vec<String> {
    let request = CreateMachine {
        name: "m".into(),
        definition: WAITS.into(),
        role_arn: "arn:aws:iam::000000000000:role/none".into(),
        kind: MachineKind::Standard,
        settings: MachineSettings::default(),
        tags: Vec::new(),
        publish: None,
    };
    let made = engine.create_machine(&caller(), request).await.unwrap();
    let mut started = Vec::new();
    for _ in 0..count {
        let request = StartRequest {
            machine_arn: made.machine.arn.to_string(),
            name: None,
            input: Some("[1]".into()),
            trace_header: None,
        };
        let execution = engine.start(&caller(), request).await.unwrap();
        started.push(execution.execution_arn.to_string());
    }
    started
}

/// The map run of an execution, once there is one that has begun.
async fn map_run(engine: &Engine, execution: &str) -> Option<MapRunDescription> {
    let caller = caller();
    let listed = engine.map_runs(&caller, execution, PageRequest::default());
    let arn = listed.await.unwrap().items.first()?.arn.clone();
    engine.map_run(&caller, &arn).await.ok()
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
        engine.stop(&caller(), other, None, None).await.unwrap();
        while !runs(&engine, last).await {
            tokio::task::yield_now().await;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, told).await })
        .unwrap();
}
