//! The engine on a real directory: what one life began, the next one ends.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use stepwell_engine::{
    Engine, Error, MachineKind, Options, PageRequest, PluginCall, PluginEnd, StartedExecution,
    Status, Store, TaskRunner,
};
use stepwell_interp::OnCrash;
use stepwell_query::Value;

use crate::support::{PATIENCE, at, caller, machine, named, named_with, runtime, succeeded};

/// Hangs in its first call, succeeds in every later one.
#[derive(Default)]
struct HangsOnce {
    calls: AtomicU32,
    /// Calls that were let begin.
    permitted: Arc<AtomicU32>,
}

impl HangsOnce {
    /// Waits for the first call: a dispatch that waits for a read has not called yet, and a shutdown does not wait for it.
    async fn is_called(&self) {
        let called = async {
            while self.calls.load(SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, called).await.unwrap();
    }
}

impl TaskRunner for HangsOnce {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        let first = self.calls.fetch_add(1, SeqCst) == 0;
        let permitted = self.permitted.clone();
        call.signals.started("1");
        Box::pin(async move {
            if let Some(permit) = call.permit {
                permit.await.expect("the engine lets it begin");
                permitted.fetch_add(1, SeqCst);
            }
            if first {
                std::future::pending::<()>().await;
            }
            succeeded(call.input)
        })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

fn open(directory: &Path, runner: Arc<HangsOnce>, take_up: bool) -> Engine {
    let options = Options {
        take_up,
        shards: 2,
        ..Options::of(at(directory))
    };
    Engine::open(options, runner).expect("the directory is free")
}

#[test]
fn the_next_life_takes_up_what_the_last_one_left() {
    let directory = tempfile::tempdir().unwrap();
    let runner = Arc::new(HangsOnce::default());
    let runtime = runtime();
    let machine = machine(
        "echo",
        MachineKind::Standard,
        r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:echo","End":true}}}"#,
    );
    let arn = runtime.block_on(async {
        let engine = open(directory.path(), runner.clone(), true);
        let changed = engine.create_machine(caller(), machine).await.unwrap();
        let request = named_with("one", r#"{"n":1}"#, &changed.machine.arn);
        let first = engine.start(caller(), request.clone()).await.unwrap();
        let again = engine.start(caller(), request).await.unwrap();
        assert_eq!(
            first, again,
            "the same name and input is the same execution"
        );
        runner.is_called().await;
        engine.shutdown().await;
        first.execution_arn
    });
    let looked_at = runtime.block_on(async {
        let engine = open(directory.path(), runner.clone(), false);
        let looked_at = engine.execution(caller(), &arn).await.unwrap();
        let request = named("two", &looked_at.machine_arn);
        let refused = engine.start(caller(), request).await;
        assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
        engine.shutdown().await;
        looked_at
    });
    assert_eq!(looked_at.status, Status::Running, "looking runs nothing");
    assert_eq!(runner.calls.load(SeqCst), 1, "looking runs nothing");
    let execution = runtime.block_on(async {
        let engine = open(directory.path(), runner.clone(), true);
        let execution = engine.wait(caller(), &arn).await.unwrap();
        engine.shutdown().await;
        execution
    });
    assert_eq!(execution.status, Status::Succeeded);
    assert_eq!(execution.output, Some(execution.input));
    assert_eq!(runner.calls.load(SeqCst), 2, "once in each life");
    assert_eq!(
        runner.permitted.load(SeqCst),
        1,
        "the second one is noted before it begins"
    );
}

/// Computes for a moment each time round, and goes round until its history is full.
const BUSY: &str = r#"{"QueryLanguage":"JSONata","StartAt":"A","States":{"A":{"Type":"Pass",
    "Output":"{% $sum($map([1..20000], function($n) { $n * 2 })) %}","Next":"B"},
    "B":{"Type":"Choice","Choices":[{"Condition":"{% $states.input < 0 %}","Next":"C"}],"Default":"A"},
    "C":{"Type":"Succeed"}}}"#;

async fn start(engine: &Engine, machine_arn: &str, name: &str) -> String {
    let started = start_named(engine, machine_arn, name).await;
    started.unwrap().execution_arn.to_string()
}

async fn start_named(
    engine: &Engine,
    machine_arn: &str,
    name: &str,
) -> Result<StartedExecution, Error> {
    let request = named_with(name, &format!(r#"{{"of":"{name}"}}"#), machine_arn);
    engine.start(caller(), request).await
}

#[test]
fn work_without_end_ends_neither_late_nor_for_good_at_a_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let arns = runtime().block_on(async {
        let engine = open(directory.path(), Arc::default(), true);
        let busy = machine("busy", MachineKind::Standard, BUSY);
        let changed = engine.create_machine(caller(), busy).await.unwrap();
        let machine_arn = changed.machine.arn.to_string();
        let mut arns = Vec::new();
        for name in ["one", "two", "three"] {
            arns.push(start(&engine, &machine_arn, name).await);
        }
        engine.shutdown().await;
        arns
    });
    runtime().block_on(async {
        let engine = open(directory.path(), Arc::default(), true);
        for arn in &arns {
            engine.stop(caller(), arn, None, None).await.unwrap();
            let execution = engine.execution(caller(), arn).await.unwrap();
            // It had neither ended nor come to the end of its history.
            assert_eq!(execution.status, Status::Aborted, "{execution:?}");
        }
        engine.shutdown().await;
    });
}

#[test]
fn executions_outlive_a_change_of_their_machines_type() {
    const PASS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let engine = open(directory.path(), Arc::default(), true);
        let create = async |kind| {
            let machine = machine("both", kind, PASS);
            let changed = engine.create_machine(caller(), machine).await.unwrap();
            changed.machine.arn.to_string()
        };
        let machine_arn = create(MachineKind::Standard).await;
        let standard = start(&engine, &machine_arn, "e").await;
        engine.wait(caller(), &standard).await.unwrap();
        engine.delete_machine(caller(), &machine_arn).await.unwrap();

        create(MachineKind::Express).await;
        let express = start(&engine, &machine_arn, "e").await;
        assert!(express.contains(":express:both:e:"), "{express}");
        let described = engine.execution(caller(), &standard).await.unwrap();
        assert_eq!(&*described.arn, &*standard);
        assert_eq!(described.input, Value::parse(r#"{"of":"e"}"#).unwrap());
        let ran = engine.machine_of_execution(caller(), &standard).await;
        assert_eq!(ran.unwrap().kind, MachineKind::Standard);
        engine.delete_machine(caller(), &machine_arn).await.unwrap();

        create(MachineKind::Standard).await;
        // The name is free but for what ran as a STANDARD one.
        start(&engine, &machine_arn, "f").await;
        let page = PageRequest::default();
        let listed = engine.executions(caller(), &machine_arn, None, page).await;
        let names: Vec<String> = listed
            .unwrap()
            .items
            .iter()
            .map(|found| found.arn.to_string())
            .collect();
        let of = |name: &str| standard.replace(":both:e", &format!(":both:{name}"));
        assert_eq!(names, [of("f"), of("e")]);
        engine.shutdown().await;
    });
}

#[test]
fn a_directory_is_free_after_a_shutdown_however_short_the_life_was() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        for _ in 0..20 {
            // Threads may begin only when the engine is closing already.
            let engine = open(directory.path(), Arc::default(), true);
            engine.shutdown().await;
        }
    });
}

#[cfg(unix)]
#[test]
fn a_directory_that_is_taken_away_acknowledges_nothing() {
    const PASS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
    let parent = tempfile::tempdir().unwrap();
    let (directory, away) = (parent.path().join("data"), parent.path().join("away"));
    runtime().block_on(async {
        let engine = open(&directory, Arc::default(), true);
        let machine = machine("pass", MachineKind::Standard, PASS);
        let changed = engine.create_machine(caller(), machine).await.unwrap();
        let machine_arn = changed.machine.arn.to_string();
        assert_eq!(engine.health().await, Ok(()));

        // Without its file the lock holds all the same.
        std::fs::remove_file(directory.join("LOCK")).unwrap();
        let options = Options {
            shards: 2,
            ..Options::of(Store::Directory(directory.clone()))
        };
        let second = Engine::open(options, Arc::<HangsOnce>::default());
        assert!(matches!(second, Err(Error::Held(_))));

        std::fs::rename(&directory, &away).unwrap();
        let request = named("lost", &machine_arn);
        engine.start(caller(), request).await.unwrap_err();
        let why = engine.health().await.unwrap_err();
        assert!(why.contains("journal.sqlite was removed"), "{why}");

        // Another server may begin anew there; this one has no part in it.
        let successor = open(&directory, Arc::default(), true);
        let refused = start_named(&engine, &machine_arn, "lost-too").await;
        assert!(matches!(refused, Err(Error::Broken(_))), "{refused:?}");
        let why = engine.health().await.unwrap_err();
        assert!(why.contains("journal.sqlite was replaced"), "{why}");
        assert_eq!(successor.health().await, Ok(()));
        successor.shutdown().await;
        drop(successor);
        std::fs::remove_dir_all(&directory).unwrap();

        std::fs::rename(&away, &directory).unwrap();
        let arn = start(&engine, &machine_arn, "kept").await;
        let execution = engine.wait(caller(), &arn).await.unwrap();
        assert_eq!(execution.status, Status::Succeeded);
        assert_eq!(engine.health().await, Ok(()));
        engine.shutdown().await;
    });
}
