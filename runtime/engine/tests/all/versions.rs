//! Versions and aliases on a real directory: numbers, what a start runs, and what a process leaves to the next one.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Instant};

use stepwell_engine::{
    Code, CreateAlias, CreateMachine, Engine, Error, MachineKind, Options, PageRequest, Publish,
    Route, Store, UpdateMachine,
};
use stepwell_query::Value;

use crate::support::{Echo, PATIENCE, at, caller, machine, start_of};

fn try_open(store: Store) -> Result<Engine, Error> {
    let options = Options {
        shards: 2,
        ..Options::of(store)
    };
    Engine::open(options, Arc::new(Echo))
}

fn open(store: Store) -> Engine {
    try_open(store).expect("the store opens")
}

/// Opens a directory that an engine which was dropped may hold yet: it lets go of it when its threads have ended.
async fn open_at(directory: &Path) -> Engine {
    let begun = Instant::now();
    loop {
        match try_open(at(directory)) {
            Err(Error::Held(_)) if begun.elapsed() < PATIENCE => {
                tokio::task::yield_now().await;
            }
            opened => return opened.expect("the store opens"),
        }
    }
}

/// A definition whose execution says which one it is.
fn says(word: &str) -> String {
    format!(r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass","Result":"{word}","End":true}}}}}}"#)
}

/// A machine that says `one`; its ARN.
async fn create(engine: &Engine, publish: bool) -> String {
    let request = CreateMachine {
        publish: publish.then(Publish::default),
        ..machine("says", MachineKind::Standard, &says("one"))
    };
    let changed = engine.create_machine(caller(), request).await;
    changed.expect("it is new").machine.arn.to_string()
}

async fn update(engine: &Engine, arn: &str, word: &str, publish: bool) -> Option<String> {
    let request = UpdateMachine {
        definition: Some(says(word)),
        publish: publish.then(Publish::default),
        ..UpdateMachine::default()
    };
    let changed = engine.update_machine(caller(), arn, request).await;
    let version = changed.expect("it is there").version_arn;
    version.map(|arn| arn.to_string())
}

async fn publish(engine: &Engine, arn: &str) -> String {
    let version = engine.publish_version(caller(), arn, None, None).await;
    version.expect("it is there").arn.to_string()
}

/// What an execution started by that ARN says.
async fn said(engine: &Engine, arn: &str) -> Value {
    let request = start_of(arn);
    let started = engine.start(caller(), request).await.expect("it starts");
    let ended = engine.wait(caller(), &started.execution_arn).await;
    ended.expect("it ends").output.expect("it succeeds")
}

async fn versions(engine: &Engine, arn: &str) -> Vec<String> {
    let page = engine.versions(caller(), arn, PageRequest::default()).await;
    let items = page.expect("readable").items.into_iter();
    items.map(|version| version.arn.to_string()).collect()
}

fn route(version_arn: &str, weight: u32) -> Route {
    Route {
        version_arn: version_arn.into(),
        weight,
    }
}

async fn aliased(engine: &Engine, name: &str, routes: Vec<Route>) -> Arc<str> {
    let request = CreateAlias {
        name: name.into(),
        description: None,
        routes,
    };
    let alias = engine.create_alias(caller(), request).await;
    alias.expect("it is new").arn
}

#[tokio::test]
async fn a_number_is_never_given_twice_over_deletions_and_lives() {
    let directory = tempfile::tempdir().expect("a folder");
    let engine = open_at(directory.path()).await;
    let arn = create(&engine, true).await;
    assert_eq!(
        update(&engine, &arn, "two", true).await,
        Some(format!("{arn}:2"))
    );
    let second = format!("{arn}:2");
    engine
        .delete_version(caller(), &second)
        .await
        .expect("deletable");
    assert_eq!(
        publish(&engine, &arn).await,
        format!("{arn}:3"),
        "of the same revision"
    );
    engine
        .delete_version(caller(), &format!("{arn}:3"))
        .await
        .expect("deletable");
    // No shutdown: the process dies.
    drop(engine);
    let engine = open_at(directory.path()).await;
    assert_eq!(versions(&engine, &arn).await, [format!("{arn}:1")]);
    assert_eq!(publish(&engine, &arn).await, format!("{arn}:4"));
    assert_eq!(
        publish(&engine, &arn).await,
        format!("{arn}:4"),
        "once a revision"
    );
    assert_eq!(said(&engine, &format!("{arn}:1")).await, Value::from("one"));
    assert_eq!(said(&engine, &format!("{arn}:4")).await, Value::from("two"));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_publishes_at_once_gets_one_version_a_revision() {
    let engine = open(Store::Memory);
    let arn = create(&engine, false).await;
    let mut publishing = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (engine, arn) = (engine.clone(), arn.clone());
        publishing.spawn(async move { publish(&engine, &arn).await });
    }
    let found: BTreeSet<String> = publishing.join_all().await.into_iter().collect();
    assert_eq!(found, BTreeSet::from([format!("{arn}:1")]));
    let mut updating = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (engine, arn) = (engine.clone(), arn.clone());
        updating.spawn(async move {
            let word = number.to_string();
            let version = update(&engine, &arn, &word, true).await.expect("published");
            // What the update published is what it wrote, whatever came between.
            assert_eq!(said(&engine, &version).await, Value::from(&*word));
            version
        });
    }
    let found: BTreeSet<String> = updating.join_all().await.into_iter().collect();
    let wanted: BTreeSet<String> = (2..10).map(|number| format!("{arn}:{number}")).collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_change_of_the_machine_reaches_what_follows_it_and_no_version() {
    let engine = open(Store::Memory);
    let arn = create(&engine, true).await;
    let version = format!("{arn}:1");
    // Both are in memory now.
    assert_eq!(said(&engine, &arn).await, Value::from("one"));
    assert_eq!(said(&engine, &version).await, Value::from("one"));
    update(&engine, &arn, "two", false).await;
    assert_eq!(said(&engine, &arn).await, Value::from("two"));
    assert_eq!(said(&engine, &version).await, Value::from("one"));
    let alias = aliased(&engine, "live", vec![route(&version, 100)]).await;
    assert_eq!(said(&engine, &alias).await, Value::from("one"));
    let second = publish(&engine, &arn).await;
    let routes = Some(vec![route(&second, 100)]);
    let moved = engine.update_alias(caller(), &alias, None, routes).await;
    moved.expect("it is there");
    assert_eq!(said(&engine, &alias).await, Value::from("two"));
    let refused = engine.delete_version(caller(), &second).await;
    assert!(
        matches!(&refused, Err(Error::Rejected { code: Code::ConflictException, message }) if message.ends_with("[live]")),
        "{refused:?}"
    );
    engine
        .delete_version(caller(), &version)
        .await
        .expect("nobody refers to it");
    let gone = start_of(&version);
    let refused = engine.start(caller(), gone).await;
    assert!(
        matches!(
            &refused,
            Err(Error::Rejected {
                code: Code::StateMachineDoesNotExist,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn starts_are_listed_by_what_they_were_started_with() {
    let engine = open(Store::Memory);
    let arn = create(&engine, true).await;
    let (first, second) = (format!("{arn}:1"), update(&engine, &arn, "two", true).await);
    let second = second.expect("published");
    let both = vec![route(&first, 50), route(&second, 50)];
    let alias = aliased(&engine, "both", both).await;
    said(&engine, &arn).await;
    said(&engine, &first).await;
    let mut words = Vec::new();
    for _ in 0..64 {
        words.push(said(&engine, &alias).await);
    }
    // That one of the two versions gets none of them has a chance of one in 2^63.
    let ones = words
        .iter()
        .filter(|word| **word == Value::from("one"))
        .count();
    assert!(
        (1..64).contains(&ones),
        "{ones} of 64 starts went to version 1"
    );
    let count = async |arn: &str| {
        let page = engine
            .executions(caller(), arn, None, PageRequest::default())
            .await;
        page.expect("readable").items.len()
    };
    assert_eq!(count(&arn).await, 66);
    assert_eq!(count(&alias).await, 64);
    assert_eq!(count(&first).await, ones + 1);
    assert_eq!(count(&second).await, 64 - ones);
    let page = engine
        .executions(caller(), &alias, None, PageRequest::default())
        .await;
    for execution in page.expect("readable").items {
        assert_eq!(execution.alias_arn.as_ref(), Some(&alias));
        assert!(
            execution
                .version_arn
                .is_some_and(|version| *version == *first || *version == *second)
        );
        assert_eq!(*execution.machine_arn, *arn);
    }
}

#[tokio::test]
async fn a_deleted_machine_takes_its_versions_and_aliases_along() {
    let engine = open(Store::Memory);
    let arn = create(&engine, true).await;
    let version = format!("{arn}:1");
    let alias = aliased(&engine, "live", vec![route(&version, 100)]).await;
    said(&engine, &alias).await;
    for qualified in [&*version, &*alias] {
        let refused = engine.delete_machine(caller(), qualified).await;
        assert!(
            matches!(
                &refused,
                Err(Error::Rejected {
                    code: Code::ValidationException,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
    engine
        .delete_machine(caller(), &arn)
        .await
        .expect("deletable");
    let again = create(&engine, false).await;
    assert_eq!(again, arn);
    assert_eq!(versions(&engine, &arn).await, [""; 0]);
    assert!(engine.alias(caller(), &alias).await.is_err());
    for gone in [&*version, &*alias] {
        assert!(engine.machine(caller(), gone).await.is_err(), "{gone}");
    }
    assert_eq!(
        publish(&engine, &arn).await,
        format!("{arn}:1"),
        "of another machine"
    );
}
