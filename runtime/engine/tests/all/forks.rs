//! Forks on a real directory and in memory: what was done is not done again, what is changed counts, the next life goes on
//! with them, and usage is what they did themselves.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use stepwell_engine::{
    Code, CreateMachine, Engine, Error, Execution, ForkRequest, ForkedExecution, MachineKind,
    Meter, Options, PageRequest, PluginCall, PluginEnd, Status, Store, TaskRunner, UpdateMachine,
};
use stepwell_interp::{OnCrash, What, event_type};

use crate::support::{PATIENCE, at, caller, machine, named_with, open_again, succeeded, tags};

/// `broken` fails, `hang` does not end, every other plugin gives back its input. Notes who was called.
#[derive(Default)]
struct Plugins {
    called: Mutex<Vec<String>>,
}

impl Plugins {
    fn called(&self) -> Vec<String> {
        std::mem::take(&mut self.called.lock().unwrap())
    }
}

impl TaskRunner for Plugins {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        self.called.lock().unwrap().push(call.plugin.to_string());
        call.signals.started("1");
        Box::pin(async move {
            match &*call.plugin {
                "broken" => PluginEnd::Missing {
                    cause: "it is broken".to_owned(),
                },
                "hang" => std::future::pending().await,
                _ => succeeded(call.input),
            }
        })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }
}

fn open(store: Store, plugins: &Arc<Plugins>) -> Engine {
    let options = Options {
        shards: 2,
        ..Options::of(store)
    };
    open_again(options, plugins.clone())
}

/// First, then a second task by that plugin, then a last one.
fn three(second: &str) -> String {
    let task = |plugin: &str, then: &str| {
        format!(r#"{{"Type":"Task","Resource":"wasm:{plugin}",{then}}}"#)
    };
    format!(
        r#"{{"StartAt":"First","States":{{"First":{},"Second":{},"Last":{}}}}}"#,
        task("one", r#""Assign":{"rate":2},"Next":"Second""#),
        task(second, r#""Next":"Last""#),
        task("last", r#""End":true"#),
    )
}

async fn create(engine: &Engine, name: &str, definition: &str, kind: MachineKind) -> String {
    tagged(engine, name, definition, kind, &[]).await
}

async fn tagged(
    engine: &Engine,
    name: &str,
    definition: &str,
    kind: MachineKind,
    with: &[(&str, &str)],
) -> String {
    let request = CreateMachine {
        tags: tags(with),
        ..machine(name, kind, definition)
    };
    let changed = engine.create_machine(caller(), request).await;
    changed.unwrap().machine.arn.to_string()
}

async fn start(engine: &Engine, machine: &str) -> String {
    let request = named_with("origin", r#"{"n":1}"#, machine);
    let started = engine.start(caller(), request).await.unwrap();
    started.execution_arn.to_string()
}

fn fork_of(origin: &str) -> ForkRequest {
    ForkRequest {
        execution_arn: origin.to_owned(),
        name: Some("fork".to_owned()),
        ..ForkRequest::default()
    }
}

async fn fork(engine: &Engine, request: ForkRequest) -> Result<ForkedExecution, Error> {
    engine.fork(caller(), request).await
}

async fn ended(engine: &Engine, arn: &str) -> Execution {
    engine.wait(caller(), arn).await.unwrap()
}

async fn types(engine: &Engine, arn: &str) -> Vec<&'static str> {
    let page = engine
        .history(caller(), arn, false, PageRequest::default())
        .await;
    let entries = page.unwrap().items;
    for (entry, id) in entries.iter().zip(1..) {
        assert_eq!(entry.id, id);
        assert!(entry.event.previous < id);
    }
    let types = entries
        .iter()
        .filter_map(|entry| event_type(&entry.event.what));
    types.collect()
}

/// Until it is in its line, which hears of it by a message.
async fn waits_for_a_place(engine: &Engine, arn: &str) {
    let wait = async {
        let waits = async || {
            let described = engine.execution(caller(), arn).await;
            described.unwrap().waiting.is_some()
        };
        while !waits().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "{arn} does not wait");
}

fn why(refused: Result<ForkedExecution, Error>) -> (Code, String) {
    match refused.unwrap_err() {
        Error::Rejected { code, message } => (code, message),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_mended_definition_goes_on_from_before_the_failure() {
    let plugins = Arc::new(Plugins::default());
    let engine = open(Store::Memory, &plugins);
    let machine = create(&engine, "m", &three("broken"), MachineKind::Standard).await;
    let origin = start(&engine, &machine).await;
    assert_eq!(ended(&engine, &origin).await.status, Status::Failed);
    assert_eq!(plugins.called(), ["one", "broken"]);

    // With the definition that it ran it fails again, and calls only what failed.
    let same = fork(&engine, fork_of(&origin)).await.unwrap();
    assert_eq!(
        ended(&engine, &same.execution_arn).await.status,
        Status::Failed
    );
    assert_eq!(plugins.called(), ["broken"]);

    // With the machine's present one.
    let update = UpdateMachine {
        definition: Some(three("two")),
        ..UpdateMachine::default()
    };
    engine
        .update_machine(caller(), &machine, update)
        .await
        .unwrap();
    let request = ForkRequest {
        name: Some("present".to_owned()),
        machine_arn: Some(machine.clone()),
        ..fork_of(&origin)
    };
    let present = fork(&engine, request).await.unwrap();
    let described = ended(&engine, &present.execution_arn).await;
    assert_eq!(described.status, Status::Succeeded);
    assert_eq!(described.input.to_json(), r#"{"n":1}"#);
    let from = described.forked_from.unwrap();
    assert_eq!(
        (&*from.execution_arn, from.event),
        (&*origin, present.event_id)
    );
    assert_eq!(plugins.called(), ["two", "last"]);
    let (before, after) = (
        types(&engine, &origin).await,
        types(&engine, &present.execution_arn).await,
    );
    let shared = usize::try_from(present.event_id).unwrap();
    assert_eq!(after[..shared], before[..shared]);
    assert_eq!(after.last(), Some(&"ExecutionSucceeded"));

    // And with one that the caller gives, another input and another value of a variable.
    let given = r#"{"QueryLanguage":"JSONata","StartAt":"Second","States":{
        "Second":{"Type":"Pass","Output":"{% {'product': $states.input.n * $rate} %}","End":true}}}"#;
    let request = ForkRequest {
        name: Some("given".to_owned()),
        definition: Some(given.to_owned()),
        input: Some(r#"{"n":5}"#.to_owned()),
        variables: Some(r#"{"rate":7}"#.to_owned()),
        ..fork_of(&origin)
    };
    let given_fork = fork(&engine, request).await.unwrap();
    let described = ended(&engine, &given_fork.execution_arn).await;
    assert_eq!(described.output.unwrap().to_json(), r#"{"product":35}"#);
    let run = engine
        .machine_of_execution(caller(), &given_fork.execution_arn)
        .await;
    assert_eq!(&*run.unwrap().definition, given);
    assert!(plugins.called().is_empty());
    // The machine's own stays what it is.
    let kept = engine.machine(caller(), &machine).await.unwrap();
    assert_eq!(&*kept.definition, three("two"));
}

#[tokio::test]
async fn from_within_a_state_its_work_is_not_done_again() {
    let plugins = Arc::new(Plugins::default());
    let engine = open(Store::Memory, &plugins);
    let shaped = |path: &str| {
        format!(
            r#"{{"StartAt":"A","States":{{"A":{{"Type":"Task","Resource":"wasm:one","OutputPath":"{path}","End":true}}}}}}"#
        )
    };
    let machine = create(&engine, "m", &shaped("$.absent"), MachineKind::Standard).await;
    let origin = start(&engine, &machine).await;
    assert_eq!(ended(&engine, &origin).await.status, Status::Failed);
    assert_eq!(plugins.called(), ["one"]);
    let succeeded = types(&engine, &origin).await;
    let at = succeeded
        .iter()
        .position(|name| *name == "TaskSucceeded" || *name == "LambdaFunctionSucceeded");
    let request = ForkRequest {
        event_id: at.map(|at| at as u64 + 1),
        definition: Some(shaped("$.n")),
        ..fork_of(&origin)
    };
    let forked = fork(&engine, request).await.unwrap();
    let described = ended(&engine, &forked.execution_arn).await;
    assert_eq!(described.output.unwrap().to_json(), "1");
    assert!(plugins.called().is_empty());
}

#[tokio::test]
async fn a_point_amid_work_is_refused_with_the_reason() {
    let plugins = Arc::new(Plugins::default());
    let engine = open(Store::Memory, &plugins);
    let definition = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"Both"},
        "Both":{"Type":"Parallel","End":true,"Branches":[
            {"StartAt":"Left","States":{"Left":{"Type":"Pass","End":true}}},
            {"StartAt":"Right","States":{"Right":{"Type":"Task","Resource":"wasm:hang","End":true}}}]}}}"#;
    let machine = create(&engine, "m", definition, MachineKind::Standard).await;
    let origin = start(&engine, &machine).await;
    // Its task is in flight when its schedule is durable, and that is when its start was answered.
    let names = types(&engine, &origin).await;
    let scheduled = names
        .iter()
        .position(|name| name.ends_with("Scheduled"))
        .unwrap() as u64
        + 1;
    let request = ForkRequest {
        event_id: Some(scheduled),
        ..fork_of(&origin)
    };
    let (code, text) = why(fork(&engine, request).await);
    assert_eq!(code, Code::ExecutionNotForkable);
    assert!(
        text.contains(
            "a task of the state 'Right' is in flight there; the last one before it is event 3"
        ),
        "{text}"
    );
    // The left branch has ended and the right one has not begun its work: both go on.
    let before = ForkRequest {
        event_id: Some(scheduled - 1),
        ..fork_of(&origin)
    };
    let within = fork(&engine, before.clone()).await.unwrap();
    assert_eq!(within.event_id, scheduled - 1);
    // The branches must be those that it is in.
    let fewer = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"Both"},
        "Both":{"Type":"Parallel","End":true,"Branches":[
            {"StartAt":"Right","States":{"Right":{"Type":"Pass","End":true}}}]}}}"#;
    let request = ForkRequest {
        definition: Some(fewer.to_owned()),
        name: None,
        ..before
    };
    let (code, text) = why(fork(&engine, request).await);
    assert_eq!(code, Code::ExecutionNotForkable);
    assert!(
        text.contains("in the state 'Both' with 2 branches, and the definition has 1"),
        "{text}"
    );
    let other = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"Both"},"Both":{"Type":"Pass","End":true}}}"#;
    let request = ForkRequest {
        event_id: Some(4),
        definition: Some(other.to_owned()),
        ..fork_of(&origin)
    };
    let (_, text) = why(fork(&engine, request).await);
    assert!(
        text.contains("'Both', a Parallel state, which is of type Pass"),
        "{text}"
    );
    engine.stop(caller(), &origin, None, None).await.unwrap();
    engine
        .stop(caller(), &within.execution_arn, None, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_next_life_has_the_fork_and_takes_the_same_call_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let plugins = Arc::new(Plugins::default());
    let engine = open(at(directory.path()), &plugins);
    let machine = create(&engine, "m", &three("broken"), MachineKind::Standard).await;
    let origin = start(&engine, &machine).await;
    ended(&engine, &origin).await;
    let request = ForkRequest {
        definition: Some(three("hang")),
        ..fork_of(&origin)
    };
    let first = fork(&engine, request.clone()).await.unwrap();
    engine.shutdown().await;
    drop(engine);

    let engine = open(at(directory.path()), &plugins);
    let again = fork(&engine, request.clone()).await.unwrap();
    assert_eq!(again, first);
    let other = ForkRequest {
        variables: Some(r#"{"rate":3}"#.to_owned()),
        ..request
    };
    assert_eq!(
        why(fork(&engine, other).await).0,
        Code::ExecutionAlreadyExists
    );
    // The running fork can be forked itself; its task is another one's.
    let request = ForkRequest {
        name: Some("third".to_owned()),
        definition: Some(three("two")),
        ..fork_of(&first.execution_arn)
    };
    let third = fork(&engine, request).await.unwrap();
    assert_eq!(third.event_id, first.event_id);
    let described = ended(&engine, &third.execution_arn).await;
    assert_eq!(described.status, Status::Succeeded);
    assert_eq!(
        described.forked_from.unwrap().execution_arn,
        first.execution_arn
    );
    engine
        .stop(caller(), &first.execution_arn, None, None)
        .await
        .unwrap();
    // A fork that ended without success is redriven like any other.
    let described = engine
        .execution(caller(), &first.execution_arn)
        .await
        .unwrap();
    assert_eq!(described.redrivable, stepwell_engine::Redrivable::Yes);
}

/// The other execution's redrives are not the fork's; its own are counted from 0.
#[tokio::test]
async fn redrives_of_the_origin_are_not_the_forks() {
    let plugins = Arc::new(Plugins::default());
    let engine = open(Store::Memory, &plugins);
    let machine = create(&engine, "m", &three("broken"), MachineKind::Standard).await;
    let origin = start(&engine, &machine).await;
    let redrive = async |arn: &str| {
        let described = ended(&engine, arn).await;
        assert_eq!(described.status, Status::Failed);
        engine.redrive(caller(), arn, None).await.unwrap();
        ended(&engine, arn).await.redrive_count
    };
    assert_eq!(redrive(&origin).await, 1);
    // From its last event on at which it can go on: behind the redrive.
    let events = engine
        .history(caller(), &origin, true, PageRequest::default())
        .await
        .unwrap();
    let redriven = events
        .items
        .iter()
        .find(|entry| matches!(entry.event.what, What::ExecutionRedriven { .. }));
    let redriven = redriven.expect("it was redriven").id;
    let request = ForkRequest {
        event_id: Some(redriven),
        definition: Some(three("broken")),
        ..fork_of(&origin)
    };
    let forked = fork(&engine, request).await.unwrap().execution_arn;
    let described = ended(&engine, &forked).await;
    assert_eq!(
        (described.redrive_count, described.redriven_at),
        (0, None),
        "the origin was redriven, and not the fork"
    );
    assert_eq!(redrive(&forked).await, 1);
}

#[tokio::test]
async fn usage_is_what_a_fork_did_itself() {
    let plugins = Arc::new(Plugins::default());
    let engine = open(Store::Memory, &plugins);
    let machine = create(&engine, "m", &three("broken"), MachineKind::Standard).await;
    let origin = start(&engine, &machine).await;
    ended(&engine, &origin).await;
    let used = async || {
        let rows = engine.usage(None, (0, u32::MAX), None, 100).await.unwrap();
        let sum = |meter| rows.iter().map(|(_, used)| used.get(meter)).sum::<u64>();
        (
            sum(Meter::Executions),
            sum(Meter::Transitions),
            sum(Meter::Ended),
        )
    };
    let before = used().await;
    let request = ForkRequest {
        definition: Some(three("two")),
        ..fork_of(&origin)
    };
    let forked = fork(&engine, request).await.unwrap();
    ended(&engine, &forked.execution_arn).await;
    let after = used().await;
    let added = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
    assert_eq!(
        added,
        (1, 2, 1),
        "one execution, the states Second and Last"
    );
}

#[tokio::test]
async fn children_of_map_runs_are_not_forked() {
    let plugins = Arc::new(Plugins::default());
    let engine = open(Store::Memory, &plugins);
    let definition = r#"{"StartAt":"Each","States":{
        "Each":{"Type":"Map","ItemsPath":"$.items","Next":"Done","ItemProcessor":{
            "ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},
            "StartAt":"One","States":{"One":{"Type":"Pass","End":true}}}},
        "Done":{"Type":"Pass","End":true}}}"#;
    let machine = create(&engine, "m", definition, MachineKind::Standard).await;
    let request = named_with("origin", r#"{"items":[1,2]}"#, &machine);
    let origin = engine.start(caller(), request).await.unwrap().execution_arn;
    assert_eq!(ended(&engine, &origin).await.status, Status::Succeeded);
    let names = types(&engine, &origin).await;
    let begun = names
        .iter()
        .position(|name| *name == "MapRunStarted")
        .unwrap() as u64
        + 1;
    let request = ForkRequest {
        event_id: Some(begun),
        ..fork_of(&origin)
    };
    let (code, text) = why(fork(&engine, request).await);
    assert_eq!(code, Code::ExecutionNotForkable);
    assert!(text.contains("'Each' has begun a map run"), "{text}");
    // After the Map state its result is part of the past.
    let forked = fork(&engine, fork_of(&origin)).await.unwrap();
    let described = ended(&engine, &forked.execution_arn).await;
    assert_eq!(described.output.unwrap().to_json(), "[1,2]");
    let runs = engine
        .map_runs(caller(), &origin, PageRequest::default())
        .await
        .unwrap();
    let children = engine
        .map_run_executions(
            caller(),
            &runs.items[0].arn,
            Default::default(),
            PageRequest::default(),
        )
        .await
        .unwrap();
    let child = children.items[0].arn.to_string();
    let (code, text) = why(fork(&engine, fork_of(&child)).await);
    assert_eq!(code, Code::ExecutionNotForkable);
    assert!(text.contains("a child of a map run"), "{text}");
}

#[tokio::test]
async fn a_fork_waits_for_a_place_like_any_other_and_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let plugins = Arc::new(Plugins::default());
    let engine = open(at(directory.path()), &plugins);
    let second = |state: &str| {
        format!(
            r#"{{"StartAt":"First","States":{{"First":{{"Type":"Pass","Next":"Second"}},"Second":{state}}}}}"#
        )
    };
    let waits = second(r#"{"Type":"Wait","Seconds":100000,"End":true}"#);
    let one = [("stepwell:concurrency", "1")];
    let machine = tagged(&engine, "m", &waits, MachineKind::Standard, &one).await;
    let origin = start(&engine, &machine).await;
    // The origin has its place when its second state is entered.
    let begins = async {
        while types(&engine, &origin).await.len() < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begins).await.unwrap();
    let request = ForkRequest {
        definition: Some(second(r#"{"Type":"Succeed"}"#)),
        ..fork_of(&origin)
    };
    let forked = fork(&engine, request).await.unwrap();
    waits_for_a_place(&engine, &forked.execution_arn).await;
    assert_eq!(types(&engine, &forked.execution_arn).await.len(), 3);
    engine.shutdown().await;
    drop(engine);

    let engine = open(at(directory.path()), &plugins);
    waits_for_a_place(&engine, &forked.execution_arn).await;
    let stopped_at = engine.stop(caller(), &origin, None, None).await.unwrap();
    let described = ended(&engine, &forked.execution_arn).await;
    assert_eq!(described.status, Status::Succeeded);
    assert!(
        described.stopped_at >= Some(stopped_at),
        "it had a place when the origin left its own"
    );
}

#[tokio::test]
async fn one_that_succeeded_is_forked_before_its_last_state() {
    let plugins = Arc::new(Plugins::default());
    let engine = open(Store::Memory, &plugins);
    let machine = create(&engine, "m", &three("two"), MachineKind::Standard).await;
    let origin = start(&engine, &machine).await;
    assert_eq!(ended(&engine, &origin).await.status, Status::Succeeded);
    assert_eq!(plugins.called(), ["one", "two", "last"]);
    let forked = fork(&engine, fork_of(&origin)).await.unwrap();
    ended(&engine, &forked.execution_arn).await;
    assert_eq!(plugins.called(), ["last"]);
    // Behind it the fork has nothing to do, and no state has an input.
    let last = types(&engine, &origin).await.len() as u64 - 1;
    let request = ForkRequest {
        event_id: Some(last),
        name: None,
        ..fork_of(&origin)
    };
    let at_the_end = fork(&engine, request.clone()).await.unwrap();
    let described = ended(&engine, &at_the_end.execution_arn).await;
    assert_eq!(described.output.unwrap().to_json(), r#"{"n":1}"#);
    assert!(plugins.called().is_empty());
    let request = ForkRequest {
        input: Some("{}".to_owned()),
        ..request
    };
    let (code, text) = why(fork(&engine, request).await);
    assert_eq!(code, Code::ExecutionNotForkable);
    assert!(text.contains("it has left its last state"), "{text}");
}
