//! What is left of a state machine when its deletion is answered, and after it: with few executions, with many, over a restart.

use std::sync::Arc;

use super::Engine;
use crate::{
    Caller, Code, CreateAlias, CreateMachine, Error, MachineKind, MachineSettings, Options,
    PageRequest, Route, StartRequest, Status, Store, UpdateMachine, arn,
    limits::DELETION_STOPS_MAX, runner::Hangs,
};

const HANGS: &str =
    r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:hang","End":true}}}"#;

fn caller() -> Caller {
    Caller {
        tenant: "000000000000".into(),
        region: "us-east-1".into(),
    }
}

fn open(directory: &std::path::Path) -> Engine {
    let options = Options {
        shards: 1,
        ..Options::of(Store::Directory(directory.to_owned()))
    };
    Engine::open(options, Arc::new(Hangs)).unwrap()
}

fn machine() -> CreateMachine {
    CreateMachine {
        name: "m".into(),
        definition: HANGS.into(),
        role_arn: "arn:aws:iam::000000000000:role/none".into(),
        kind: MachineKind::Standard,
        settings: MachineSettings::default(),
        tags: Vec::new(),
        publish: None,
    }
}

fn request(machine_arn: &str) -> StartRequest {
    StartRequest {
        machine_arn: machine_arn.into(),
        name: None,
        input: None,
        trace_header: None,
    }
}

fn update() -> UpdateMachine {
    UpdateMachine {
        role_arn: Some("arn:aws:iam::000000000000:role/other".into()),
        ..UpdateMachine::default()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

async fn created(engine: &Engine) -> Arc<str> {
    let created = engine.create_machine(&caller(), machine()).await.unwrap();
    created.machine.arn
}

/// The start of an engine begins what is left of deletions; where that was not yet, this does.
async fn finished(engine: &Engine) {
    engine.take_up_deletions().await.unwrap();
    engine.node().deletions.are_over().await;
}

async fn started(engine: &Engine, machine_arn: &str, count: u32) -> Vec<Arc<str>> {
    let mut arns = Vec::new();
    for _ in 0..count {
        let started = engine.start(&caller(), request(machine_arn)).await;
        arns.push(started.unwrap().execution_arn);
    }
    arns
}

fn code<T: std::fmt::Debug>(answer: Result<T, Error>) -> Code {
    match answer {
        Err(Error::Rejected { code, .. }) => code,
        other => panic!("it is no refusal: {other:?}"),
    }
}

/// The machine is gone with its executions, and its name is free.
async fn is_over(engine: &Engine, machine_arn: &str, executions: &[Arc<str>]) {
    for arn in executions {
        let stopped = engine.wait(&caller(), arn).await.unwrap();
        assert_eq!(stopped.status, Status::Aborted);
    }
    let gone = code(engine.machine(&caller(), machine_arn).await);
    assert_eq!(gone, Code::StateMachineDoesNotExist);
    engine.create_machine(&caller(), machine()).await.unwrap();
    finished(engine).await;
    engine.machine(&caller(), machine_arn).await.unwrap();
}

#[test]
fn the_next_start_finishes_a_deletion() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let (machine_arn, executions) = runtime.block_on(async {
        let engine = open(directory.path());
        let machine_arn = created(&engine).await;
        let executions = started(&engine, &machine_arn, 1).await;
        // As far as a process comes that is killed then.
        let parsed = arn::machine(&caller(), &machine_arn).unwrap();
        assert!(engine.mark_deleting(&caller(), &parsed).await.unwrap());
        engine.shutdown().await;
        (machine_arn, executions)
    });
    runtime.block_on(async {
        let engine = open(directory.path());
        finished(&engine).await;
        is_over(&engine, &machine_arn, &executions).await;
        engine.shutdown().await;
    });
}

/// What else is refused of a machine that is being deleted, and what is told of it all the same.
async fn takes_no_change(engine: &Engine, arn: &str) {
    let (caller, deleting) = (&caller(), Code::StateMachineDeleting);
    let route = Route {
        version_arn: format!("{arn}:1").into(),
        weight: 100,
    };
    let tag = vec![("team".to_owned(), "orders".to_owned())];
    let alias = CreateAlias {
        name: "live".into(),
        description: None,
        routes: vec![route.clone()],
    };
    let keys = ["team".to_owned()];
    let alias_arn = format!("{arn}:live");
    for (what, found) in [
        ("tag", code(engine.tag(caller, arn, tag).await)),
        ("untag", code(engine.untag(caller, arn, &keys).await)),
        (
            "publish",
            code(engine.publish_version(caller, arn, None, None).await),
        ),
        ("alias", code(engine.create_alias(caller, alias).await)),
        (
            "another route",
            code(
                engine
                    .update_alias(caller, &alias_arn, None, Some(vec![route]))
                    .await,
            ),
        ),
        (
            "aliases",
            code(engine.aliases(caller, arn, PageRequest::default()).await),
        ),
        (
            "a start of a version",
            code(engine.start(caller, request(&format!("{arn}:1"))).await),
        ),
    ] {
        assert_eq!(found, deleting, "{what}");
    }
    assert_eq!(engine.tags(caller, arn).await, Ok(Vec::new()));
    let versions = engine.versions(caller, arn, PageRequest::default()).await;
    assert!(versions.is_ok(), "{versions:?}");
    // What would be deleted goes anyway.
    assert_eq!(
        engine.delete_version(caller, &format!("{arn}:1")).await,
        Ok(())
    );
    assert_eq!(engine.delete_alias(caller, &alias_arn).await, Ok(()));
}

#[test]
fn a_machine_of_many_executions_is_deleting_when_the_call_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let (machine_arn, executions) = runtime.block_on(async {
        let engine = open(directory.path());
        let arn = created(&engine).await;
        let executions = started(&engine, &arn, 2 * DELETION_STOPS_MAX + 1).await;
        let held = engine.node().deletions.hold_back().await;
        engine.delete_machine(&caller(), &arn).await.unwrap();

        let described = engine.machine(&caller(), &arn).await.unwrap();
        assert!(described.deleting);
        let listed = engine.machines(&caller(), PageRequest::default()).await;
        assert!(listed.unwrap().items.iter().all(|found| found.deleting));
        let deleting = Code::StateMachineDeleting;
        let start = engine.start(&caller(), request(&arn)).await;
        assert_eq!(code(start), deleting);
        let updated = engine.update_machine(&caller(), &arn, update()).await;
        assert_eq!(code(updated), deleting);
        let created = engine.create_machine(&caller(), machine()).await;
        assert_eq!(code(created), deleting);
        takes_no_change(&engine, &arn).await;
        engine.delete_machine(&caller(), &arn).await.unwrap();
        assert!(engine.machine(&caller(), &arn).await.unwrap().deleting);
        engine.shutdown().await;
        drop(held);
        (arn, executions)
    });
    runtime.block_on(async {
        let engine = open(directory.path());
        finished(&engine).await;
        is_over(&engine, &machine_arn, &executions).await;
        engine.shutdown().await;
    });
}

#[test]
fn a_machine_of_few_executions_is_gone_when_the_call_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let engine = open(directory.path());
        let arn = created(&engine).await;
        let executions = started(&engine, &arn, 3).await;
        // Nothing of it needs the background.
        let held = engine.node().deletions.hold_back().await;
        engine.delete_machine(&caller(), &arn).await.unwrap();
        let gone = code(engine.machine(&caller(), &arn).await);
        assert_eq!(gone, Code::StateMachineDoesNotExist);
        drop(held);
        is_over(&engine, &arn, &executions).await;
        engine.shutdown().await;
    });
}

/// Whoever has the turn may be about to fail, or to be over: what was answered is durable all the same.
#[test]
fn a_machine_is_marked_while_another_call_has_the_turn() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let engine = open(directory.path());
        let arn = created(&engine).await;
        let parsed = arn::machine(&caller(), &arn).unwrap();
        let name = super::intent_name(&caller(), &parsed);
        let turn = engine.node().deletions.begin(&name).unwrap();
        engine.delete_machine(&caller(), &arn).await.unwrap();
        assert!(engine.machine(&caller(), &arn).await.unwrap().deleting);
        drop(turn);
        finished(&engine).await;
        is_over(&engine, &arn, &[]).await;
        engine.shutdown().await;
    });
}

#[test]
fn a_deletion_that_cannot_be_read_holds_up_no_other() {
    use crate::journal::{CatalogKey, CatalogWrite, Write};
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let engine = open(directory.path());
        let arn = created(&engine).await;
        let parsed = arn::machine(&caller(), &arn).unwrap();
        let damaged = CatalogWrite {
            key: CatalogKey {
                tenant: "".into(),
                kind: super::KIND.into(),
                name: "".into(),
            },
            expected: None,
            bytes: Some(Arc::from(&b"damaged"[..])),
        };
        engine.write(Write::Catalog(vec![damaged])).await.unwrap();
        assert!(engine.mark_deleting(&caller(), &parsed).await.unwrap());
        finished(&engine).await;
        is_over(&engine, &arn, &[]).await;
        engine.shutdown().await;
    });
}
