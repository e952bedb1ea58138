//! Executions that tasks of other executions start and wait for.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use stepwell_engine::{
    Caller, CreateMachine, Engine, MachineKind, MachineSettings, Options, PluginCall, PluginEnd,
    Quotas, StartRequest, Status, Store, TaskRunner,
};
use stepwell_interp::OnCrash;
use stepwell_query::Value;

const ACCOUNT: &str = "111111111111";

/// A slow machine gets there in minutes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Calls itself and tells how that ended.
const CALLS_ITSELF: &str = r#"{"StartAt": "A", "States": {"A": {"Type": "Task",
    "Resource": "arn:aws:states:::aws-sdk:sfn:startSyncExecution",
    "Parameters": {"StateMachineArn.$": "$$.StateMachine.Id", "Input": {}},
    "ResultSelector": {"status.$": "$.Status"}, "End": true}}}"#;

struct NoPlugins;

impl TaskRunner for NoPlugins {
    fn run(&self, _: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        Box::pin(std::future::pending())
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
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

#[test]
fn an_execution_that_calls_itself_comes_to_an_end() {
    // As many as the bound and the outermost one, or as the tenant's quota says.
    for (quota, most) in [(None, 1_001), (Some(20), 20)] {
        let engine = open();
        let called = async {
            let quotas = Quotas {
                open_executions: quota,
                ..Quotas::default()
            };
            engine.add_tenant(ACCOUNT, "calls itself").await.unwrap();
            engine.set_quotas(ACCOUNT, quotas).await.unwrap();
            let caller = Caller {
                tenant: ACCOUNT.into(),
                region: "us-east-1".into(),
            };
            let machine = CreateMachine {
                name: "m".into(),
                definition: CALLS_ITSELF.into(),
                role_arn: "arn:aws:iam::111111111111:role/none".into(),
                kind: MachineKind::Express,
                settings: MachineSettings::default(),
                tags: Vec::new(),
                publish: None,
            };
            let changed = engine.create_machine(&caller, machine).await.unwrap();
            let request = StartRequest {
                machine_arn: changed.machine.arn.to_string(),
                name: None,
                input: None,
                trace_header: None,
            };
            for round in 1..=2 {
                let ended = engine.start_sync(&caller, request.clone()).await.unwrap();
                let execution = ended.execution;
                assert_eq!(execution.status, Status::Succeeded);
                let output = Value::object([("status", Value::from("SUCCEEDED"))]);
                assert_eq!(execution.output, Some(output));
                let metrics = engine.metrics();
                assert_eq!(metrics.executions_started, round * most);
                assert_eq!(metrics.executions_failed, round, "the innermost one");
                let taken = engine.quotas(ACCOUNT).await.unwrap().1;
                assert_eq!(taken.open_executions, 0, "all places are free again");
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE, called).await })
            .unwrap();
    }
}
