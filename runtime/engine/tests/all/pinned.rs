//! What an execution runs is settled when it starts: machine, version and alias may change, processes come and go, and
//! a redrive goes on with the same definition.

use std::{path::Path, sync::Arc, time::Duration};

use stepwell_engine::{
    CreateAlias, CreateMachine, Engine, Execution, MachineKind, Options, Publish, Route, Status,
    UpdateMachine,
};
use stepwell_query::Value;

use crate::support::{Echo, at, caller, machine, runtime, start_of};

/// How long a worker asks for a task that is there.
const POLL: Duration = Duration::from_secs(60);

fn open(directory: &Path) -> Engine {
    let options = Options {
        shards: 2,
        ..Options::of(at(directory))
    };
    Engine::open(options, Arc::new(Echo)).expect("the directory is free")
}

/// A definition whose executions wait for a worker, which takes them out of memory, and then say which one it is.
fn says(word: &str, activity: &str) -> String {
    format!(
        r#"{{"StartAt":"Wait","States":{{"Wait":{{"Type":"Task","Resource":"{activity}","Next":"Say"}},"Say":{{"Type":"Pass","Result":"{word}","End":true}}}}}}"#
    )
}

/// A machine, a version of it and an alias, all of which run the first definition until they are changed.
struct Three {
    activity: String,
    machine: String,
    version: String,
    alias: String,
}

impl Three {
    async fn make(engine: &Engine) -> Three {
        let activity = engine
            .create_activity(caller(), "wait", None, Vec::new())
            .await;
        let activity = activity.unwrap().arn.to_string();
        let request = CreateMachine {
            publish: Some(Publish::default()),
            ..machine("says", MachineKind::Standard, &says("one", &activity))
        };
        let made = engine.create_machine(caller(), request).await.unwrap();
        let version = made.version_arn.unwrap().to_string();
        let request = CreateAlias {
            name: "live".into(),
            description: None,
            routes: vec![route(&version)],
        };
        let alias = engine.create_alias(caller(), request).await.unwrap();
        Three {
            activity,
            machine: made.machine.arn.to_string(),
            version,
            alias: alias.arn.to_string(),
        }
    }

    /// The machine runs another definition, and the alias its new version.
    async fn change(&self, engine: &Engine, word: &str) {
        let request = UpdateMachine {
            definition: Some(says(word, &self.activity)),
            publish: Some(Publish::default()),
            ..UpdateMachine::default()
        };
        let changed = engine.update_machine(caller(), &self.machine, request);
        let version = changed.await.unwrap().version_arn.unwrap().to_string();
        let routes = Some(vec![route(&version)]);
        let changed = engine.update_alias(caller(), &self.alias, None, routes);
        changed.await.unwrap();
    }

    async fn start_all(&self, engine: &Engine) -> Vec<Arc<str>> {
        let mut started = Vec::new();
        for arn in [&self.machine, &self.version, &self.alias] {
            let request = start_of(arn);
            let execution = engine.start(caller(), request).await.unwrap();
            started.push(execution.execution_arn);
        }
        started
    }

    /// Serves so many tasks.
    async fn work(&self, engine: &Engine, tasks: usize) {
        for _ in 0..tasks {
            let task = engine.activity_task(caller(), &self.activity, None, POLL);
            let task = task.await.unwrap().expect("a task waits");
            let sent = engine.send_task_success(caller(), &task.token, "null");
            sent.await.unwrap();
        }
    }

    /// All three said `one`, and are what they were started as.
    async fn said_one(&self, engine: &Engine, executions: &[Arc<str>], redrives: u32) {
        let mut ended: Vec<Execution> = Vec::new();
        for arn in executions {
            ended.push(engine.wait(caller(), arn).await.unwrap());
        }
        for execution in &ended {
            assert_eq!(execution.output, Some(Value::from("one")), "{execution:?}");
            assert_eq!(execution.redrive_count, redrives);
        }
        let of = |which: usize| {
            let execution: &Execution = &ended[which];
            let text = |arn: &Option<Arc<str>>| arn.as_deref().map(str::to_owned);
            (text(&execution.version_arn), text(&execution.alias_arn))
        };
        let version = Some(self.version.clone());
        assert_eq!(of(0), (None, None));
        assert_eq!(of(1), (version.clone(), None));
        assert_eq!(of(2), (version, Some(self.alias.clone())));
    }
}

fn route(version: &str) -> Route {
    Route {
        version_arn: version.into(),
        weight: 100,
    }
}

#[test]
fn executions_out_of_memory_keep_what_they_began_with() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let engine = open(directory.path());
        let three = Three::make(&engine).await;
        let executions = three.start_all(&engine).await;
        three.change(&engine, "two").await;
        three.work(&engine, 3).await;
        three.said_one(&engine, &executions, 0).await;
        engine.shutdown().await;
    });
}

#[test]
fn the_next_process_keeps_it_too() {
    let directory = tempfile::tempdir().unwrap();
    let (three, executions) = runtime().block_on(async {
        let engine = open(directory.path());
        let three = Three::make(&engine).await;
        let executions = three.start_all(&engine).await;
        three.change(&engine, "two").await;
        engine.shutdown().await;
        (three, executions)
    });
    runtime().block_on(async {
        let engine = open(directory.path());
        three.change(&engine, "three").await;
        three.work(&engine, 3).await;
        three.said_one(&engine, &executions, 0).await;
        engine.shutdown().await;
    });
}

#[test]
fn a_redrive_keeps_it_in_this_process_and_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (three, executions) = runtime().block_on(async {
        let engine = open(directory.path());
        let three = Three::make(&engine).await;
        let executions = three.start_all(&engine).await;
        for arn in &executions {
            engine.stop(caller(), arn, None, None).await.unwrap();
        }
        three.change(&engine, "two").await;
        for arn in &executions {
            engine.redrive(caller(), arn, None).await.unwrap();
            let execution = engine.execution(caller(), arn).await.unwrap();
            assert_eq!(execution.status, Status::Running);
            engine.stop(caller(), arn, None, None).await.unwrap();
        }
        engine.shutdown().await;
        (three, executions)
    });
    runtime().block_on(async {
        let engine = open(directory.path());
        three.change(&engine, "three").await;
        for arn in &executions {
            engine.redrive(caller(), arn, None).await.unwrap();
        }
        three.work(&engine, 3).await;
        three.said_one(&engine, &executions, 2).await;
        engine.shutdown().await;
    });
}
