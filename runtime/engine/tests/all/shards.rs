//! The shards of one engine: what goes wrong in one of them is no matter of the others, nor of the store's threads.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
};

use stepwell_engine::{
    CreateMachine, Engine, Error, MachineKind, MachineSettings, Observed, Observer, Options,
    StartedExecution, Status,
};
use stepwell_interp::What;
use stepwell_query::Value;

use crate::support::{Echo, PATIENCE, at, caller, machine, named, runtime};

fn open(directory: &Path, observer: Arc<dyn Observer>) -> Engine {
    let options = Options {
        shards: 2,
        observer: Some(observer),
        ..Options::of(at(directory))
    };
    Engine::open(options, Arc::new(Echo)).expect("the directory is free")
}

/// A state machine that logs everything; its ARN.
async fn create(engine: &Engine, kind: MachineKind, definition: &str) -> String {
    let group = Value::object([(
        "logGroupArn",
        Value::from("arn:aws:logs:us-east-1:000000000000:log-group:g:*"),
    )]);
    let destination = Value::object([("cloudWatchLogsLogGroup", group)]);
    let logging = Value::object([
        ("level", Value::from("ALL")),
        ("destinations", Value::array([destination])),
    ]);
    let machine = CreateMachine {
        settings: MachineSettings {
            logging: Some(logging),
            ..MachineSettings::default()
        },
        ..machine("m", kind, definition)
    };
    let changed = engine.create_machine(caller(), machine).await.unwrap();
    changed.machine.arn.to_string()
}

async fn start(engine: &Engine, machine: &str, name: &str) -> Result<StartedExecution, Error> {
    let request = named(name, machine);
    engine.start(caller(), request).await
}

/// Breaks the shard that tells of an execution of that name.
#[derive(Debug)]
struct Breaks(&'static str);

impl Observer for Breaks {
    fn observe(&self, logged: &Arc<Observed>) {
        assert!(
            !logged.execution_arn.ends_with(self.0),
            "a test breaks this shard"
        );
    }
}

#[test]
fn a_shard_that_fails_ends_alone() {
    const PASS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path(), Arc::new(Breaks(":breaks")));
    let broken = async {
        let machine = create(&engine, MachineKind::Standard, PASS).await;
        // It is durable before anyone is told of it, and the caller is told first.
        start(&engine, &machine, "breaks").await.unwrap();
        while engine.health().await.is_ok() {
            tokio::task::yield_now().await;
        }
        let (mut served, mut refused) = (0, 0);
        for number in 0.. {
            match start(&engine, &machine, &format!("e{number}")).await {
                Ok(started) => {
                    let arn = started.execution_arn.to_string();
                    let execution = engine.wait(caller(), &arn).await.unwrap();
                    assert_eq!(execution.status, Status::Succeeded);
                    served += 1;
                }
                Err(Error::Busy(_)) => refused += 1,
                Err(error) => panic!("the store is as before: {error}"),
            }
            if served > 0 && refused > 0 {
                break;
            }
        }
        let wrong = engine.health().await.unwrap_err();
        assert_eq!(wrong.matches("has ended").count(), 1, "{wrong}");
        engine.shutdown().await;
    };
    runtime()
        .block_on(async { tokio::time::timeout(PATIENCE, broken).await })
        .unwrap();
}

/// On which threads it was told of turns, and how many executions ended.
#[derive(Debug, Default)]
struct Turns {
    seen: Mutex<Seen>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    threads: BTreeSet<String>,
    ends: usize,
}

impl Turns {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

impl Observer for Turns {
    fn observe(&self, logged: &Arc<Observed>) {
        let whats = || logged.entries.iter().map(|entry| &entry.event.what);
        let is_end = |what: &&What| matches!(what, What::ExecutionSucceeded { .. });
        let ends = whats().filter(is_end).count();
        // Of a start it is told when it is durable, which is no turn.
        if whats().any(|what| matches!(what, What::ExecutionStarted { .. })) {
            return;
        }
        let mut seen = self.seen();
        seen.ends += ends;
        let name = thread::current().name().unwrap_or_default().to_owned();
        seen.threads.insert(name);
        self.ended.notify_all();
    }
}

#[test]
fn expressions_do_not_hold_up_the_journal() {
    // Too costly to be evaluated before the start is durable: it goes on when the journal says that it is.
    const COSTLY: &str = r#"{"QueryLanguage":"JSONata","StartAt":"A","States":{"A":{"Type":"Pass",
        "Output":"{% $sum($map([1..20000], function($n) { $n * 2 })) %}","End":true}}}"#;
    const EXECUTIONS: usize = 20;
    let directory = tempfile::tempdir().unwrap();
    let turns = Arc::new(Turns::default());
    let engine = open(directory.path(), turns.clone());
    runtime().block_on(async {
        let machine = create(&engine, MachineKind::Express, COSTLY).await;
        for number in 0..EXECUTIONS {
            let name = format!("e{number}");
            start(&engine, &machine, &name).await.unwrap();
        }
    });
    let waiting = |seen: &mut Seen| seen.ends < EXECUTIONS;
    let waited = turns
        .ended
        .wait_timeout_while(turns.seen(), PATIENCE, waiting);
    let (seen, timeout) = waited.unwrap();
    assert!(!timeout.timed_out(), "{seen:?}");
    let journals = |name: &&String| name.starts_with("journal");
    assert_eq!(seen.threads.iter().find(journals), None, "{seen:?}");
    drop(seen);
    runtime().block_on(engine.shutdown());
}
