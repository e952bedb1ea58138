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
    Caller, CreateMachine, Engine, Error, MachineKind, MachineSettings, Options, PluginCall,
    PluginEnd, StartRequest, Status, Store, TaskRunner,
};
use stepwell_interp::OnCrash;

/// Hangs in its first call, succeeds in every later one.
#[derive(Default)]
struct HangsOnce {
    calls: AtomicU32,
}

impl TaskRunner for HangsOnce {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        let first = self.calls.fetch_add(1, SeqCst) == 0;
        call.signals.started("1");
        Box::pin(async move {
            if first {
                std::future::pending::<()>().await;
            }
            PluginEnd::Succeeded { output: call.input }
        })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

fn open(directory: &Path, runner: Arc<HangsOnce>, take_up: bool) -> Engine {
    let options = Options {
        store: Store::Directory(directory.to_owned()),
        raised_limits: false,
        take_up,
        shards: 2,
        storage: None,
    };
    Engine::open(options, runner).expect("the directory is free")
}

fn caller() -> Caller {
    Caller {
        tenant: "000000000000".into(),
        region: "us-east-1".into(),
    }
}

#[test]
fn the_next_life_takes_up_what_the_last_one_left() {
    let directory = tempfile::tempdir().unwrap();
    let runner = Arc::new(HangsOnce::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let machine = CreateMachine {
        name: "echo".into(),
        definition:
            r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:echo","End":true}}}"#
                .into(),
        role_arn: "arn:aws:iam::000000000000:role/none".into(),
        kind: MachineKind::Standard,
        settings: MachineSettings::default(),
        tags: Vec::new(),
        publish: None,
    };
    let arn = runtime.block_on(async {
        let engine = open(directory.path(), runner.clone(), true);
        let changed = engine.create_machine(&caller(), machine).await.unwrap();
        let request = StartRequest {
            machine_arn: changed.machine.arn.to_string(),
            name: Some("one".into()),
            input: Some(r#"{"n":1}"#.into()),
            trace_header: None,
        };
        let first = engine.start(&caller(), request.clone()).await.unwrap();
        let again = engine.start(&caller(), request).await.unwrap();
        assert_eq!(
            first, again,
            "the same name and input is the same execution"
        );
        engine.shutdown().await;
        first.execution_arn
    });
    let looked_at = runtime.block_on(async {
        let engine = open(directory.path(), runner.clone(), false);
        let looked_at = engine.execution(&caller(), &arn).await.unwrap();
        let request = StartRequest {
            machine_arn: looked_at.machine_arn.to_string(),
            name: Some("two".into()),
            input: None,
            trace_header: None,
        };
        let refused = engine.start(&caller(), request).await;
        assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
        engine.shutdown().await;
        looked_at
    });
    assert_eq!(looked_at.status, Status::Running, "looking runs nothing");
    assert_eq!(runner.calls.load(SeqCst), 1, "looking runs nothing");
    let execution = runtime.block_on(async {
        let engine = open(directory.path(), runner.clone(), true);
        let execution = engine.wait(&caller(), &arn).await.unwrap();
        engine.shutdown().await;
        execution
    });
    assert_eq!(execution.status, Status::Succeeded);
    assert_eq!(execution.output, Some(execution.input));
    assert_eq!(runner.calls.load(SeqCst), 2, "once in each life");
}
