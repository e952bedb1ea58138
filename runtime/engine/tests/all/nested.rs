//! Executions that tasks of other executions start and wait for.

use std::sync::Arc;

use stepwell_engine::{Engine, MachineKind, Options, Quotas, Status, Store};
use stepwell_query::Value;

use crate::support::{Echo, PATIENCE, caller_of, machine, runtime, start_of};

const ACCOUNT: &str = "111111111111";

/// Calls itself and tells how that ended.
const CALLS_ITSELF: &str = r#"{"StartAt": "A", "States": {"A": {"Type": "Task",
    "Resource": "arn:aws:states:::aws-sdk:sfn:startSyncExecution",
    "Parameters": {"StateMachineArn.$": "$$.StateMachine.Id", "Input": {}},
    "ResultSelector": {"status.$": "$.Status"}, "End": true}}}"#;

fn open() -> Engine {
    let options = Options {
        shards: 2,
        ..Options::of(Store::Memory)
    };
    Engine::open(options, Arc::new(Echo)).unwrap()
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
            let caller = caller_of(ACCOUNT);
            let machine = machine("m", MachineKind::Express, CALLS_ITSELF);
            let changed = engine.create_machine(&caller, machine).await.unwrap();
            let request = start_of(&changed.machine.arn);
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
        runtime()
            .block_on(async { tokio::time::timeout(PATIENCE, called).await })
            .unwrap();
    }
}
