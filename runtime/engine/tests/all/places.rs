//! The quota of open executions: who takes a place, and who needs none. And the weight of a tenant: who is told of it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use stepwell_engine::{
    Caller, Code, Engine, Error, MachineKind, Options, PluginCall, PluginEnd, Quotas,
    StartedExecution, Status, Store, TaskRunner,
};
use stepwell_interp::OnCrash;

use crate::support::{Echo, PATIENCE, caller_of, machine, named_with, runtime};

const ACCOUNT: &str = "111111111111";
const WAITS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":9999,"End":true}}}"#;
const FAILS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Fail","Error":"E"}}}"#;

/// A tenant with one place, on an engine in memory.
struct World {
    engine: Engine,
    caller: Caller,
}

impl World {
    async fn new() -> World {
        let options = Options {
            shards: 2,
            ..Options::of(Store::Memory)
        };
        let engine = Engine::open(options, Arc::new(Echo)).unwrap();
        engine.add_tenant(ACCOUNT, "has one place").await.unwrap();
        let quotas = Quotas {
            open_executions: Some(1),
            ..Quotas::default()
        };
        engine.set_quotas(ACCOUNT, quotas).await.unwrap();
        let caller = caller_of(ACCOUNT);
        World { engine, caller }
    }

    async fn machine(&self, name: &str, definition: &str) -> String {
        let machine = machine(name, MachineKind::Standard, definition);
        let changed = self.engine.create_machine(&self.caller, machine).await;
        changed.unwrap().machine.arn.to_string()
    }

    async fn start(
        &self,
        machine_arn: &str,
        name: &str,
        input: &str,
    ) -> Result<StartedExecution, Error> {
        let request = named_with(name, input, machine_arn);
        self.engine.start(&self.caller, request).await
    }

    async fn stop(&self, arn: &str) {
        let stopped = self.engine.stop(&self.caller, arn, None, None).await;
        stopped.unwrap();
    }

    /// Ends are seen in the store a moment before they are counted.
    async fn until_open(&self, wanted: u64) {
        let counted = async {
            while self.engine.quotas(ACCOUNT).await.unwrap().1.open_executions != wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.unwrap();
    }
}

fn code<T>(refused: Result<T, Error>) -> Code {
    match refused {
        Err(Error::Rejected { code, .. }) => code,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was served"),
    }
}

#[test]
fn a_start_that_begins_nothing_needs_no_place() {
    runtime().block_on(async {
        let world = World::new().await;
        let machine = world.machine("waits", WAITS).await;
        let first = world.start(&machine, "one", "{}").await.unwrap();
        assert_eq!(
            code(world.start(&machine, "two", "{}").await),
            Code::ExecutionLimitExceeded
        );
        // The same call again, written in another way.
        let again = world.start(&machine, "one", " { } ").await.unwrap();
        assert_eq!(again, first);
        assert_eq!(
            code(world.start(&machine, "one", "[]").await),
            Code::ExecutionAlreadyExists
        );
        world.until_open(1).await;
        world.stop(&first.execution_arn).await;
        let closed = world.start(&machine, "one", "{}").await;
        assert_eq!(code(closed), Code::ExecutionAlreadyExists);
        world.engine.shutdown().await;
    });
}

#[test]
fn a_redrive_takes_a_place_and_the_same_call_again_none() {
    runtime().block_on(async {
        let world = World::new().await;
        let (engine, caller) = (&world.engine, &world.caller);
        let (fails, waits) = (
            world.machine("fails", FAILS).await,
            world.machine("waits", WAITS).await,
        );
        let failed = world.start(&fails, "one", "{}").await.unwrap();
        let failed = failed.execution_arn;
        engine.wait(caller, &failed).await.unwrap();
        world.until_open(0).await;
        let at = engine.redrive(caller, &failed, Some("t")).await.unwrap();
        let ended = engine.wait(caller, &failed).await.unwrap();
        assert_eq!((ended.status, ended.redrive_count), (Status::Failed, 1));
        world.until_open(0).await;

        let open = world.start(&waits, "one", "{}").await.unwrap();
        for token in [None, Some("other")] {
            assert_eq!(
                code(engine.redrive(caller, &failed, token).await),
                Code::ExecutionLimitExceeded
            );
        }
        let again = engine.redrive(caller, &failed, Some("t")).await;
        assert_eq!(again.unwrap(), at, "the call that was served before");
        let described = engine.execution(caller, &failed).await.unwrap();
        assert_eq!(described.redrive_count, 1);
        world.until_open(1).await;

        world.stop(&open.execution_arn).await;
        world.until_open(0).await;
        engine
            .redrive(caller, &open.execution_arn, None)
            .await
            .unwrap();
        // It holds the place until it ends.
        world.until_open(1).await;
        assert_eq!(
            code(world.start(&waits, "two", "{}").await),
            Code::ExecutionLimitExceeded
        );
        world.engine.shutdown().await;
    });
}

/// Keeps what it is told of weights.
#[derive(Default)]
struct Weighed(Mutex<Vec<(String, u32)>>);

impl TaskRunner for Weighed {
    fn run(&self, _: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        Box::pin(std::future::pending())
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }

    fn weigh(&self, tenant: &str, weight: u32) {
        self.0.lock().unwrap().push((tenant.to_owned(), weight));
    }
}

/// At each change, and at each start of what the store has.
#[test]
fn whoever_runs_tasks_is_told_of_weights() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let runner = Arc::new(Weighed::default());
        let options = Options {
            shards: 1,
            ..Options::of(Store::Directory(directory.path().join("data")))
        };
        (Engine::open(options, runner.clone()).unwrap(), runner)
    };
    let told = |runner: &Weighed| std::mem::take(&mut *runner.0.lock().unwrap());
    let weight = |weight| Quotas {
        weight,
        ..Quotas::default()
    };
    let of = |number| vec![(ACCOUNT.to_owned(), number)];
    runtime().block_on(async {
        let (engine, runner) = open();
        engine.add_tenant(ACCOUNT, "weighs").await.unwrap();
        for wrong in [0, 1_001] {
            let set = engine.set_quotas(ACCOUNT, weight(Some(wrong))).await;
            let error = set.unwrap_err().to_string();
            assert!(error.contains("from 1 to 1000"), "{error}");
        }
        assert_eq!(told(&runner), []);
        engine.set_quotas(ACCOUNT, weight(Some(7))).await.unwrap();
        assert_eq!(told(&runner), of(7));
        engine.shutdown().await;
    });
    runtime().block_on(async {
        let (engine, runner) = open();
        assert_eq!(told(&runner), of(7));
        assert_eq!(engine.weight(&ACCOUNT.into()), 7);
        engine.set_quotas(ACCOUNT, weight(None)).await.unwrap();
        engine.set_quotas(ACCOUNT, weight(Some(9))).await.unwrap();
        engine.remove_tenant(ACCOUNT).await.unwrap();
        assert_eq!(told(&runner), [of(100), of(9), of(100)].concat());
        engine.shutdown().await;
    });
}
