//! Tasks of activities that were open before anybody who knows of them polls: they are read from the store, for all who wait.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use futures_util::future::{join, join_all};
use stepwell_engine::{Engine, MachineKind, Options};

use crate::support::{Echo, at, caller, machine, runtime, start_of};

/// How long a worker asks for a task that is there.
const POLL: Duration = Duration::from_secs(10);
/// How long one asks for a task that comes: after this it is a defect that it did not.
const PATIENCE: Duration = Duration::from_secs(120);
/// Workers that may ask for the tasks of one activity at a time.
const WORKERS_MAX: usize = 1_000;

fn open(directory: &Path) -> Engine {
    let options = Options {
        shards: 2,
        ..Options::of(at(directory))
    };
    Engine::open(options, Arc::new(Echo)).expect("the directory is free")
}

/// Has so many executions wait for a worker of the activity, whose ARN it gives.
async fn waiting(engine: &Engine, executions: usize) -> String {
    let (activity, machine) = asking(engine, "wait").await;
    start(engine, &machine, executions).await;
    activity
}

/// An activity and a state machine that asks its workers, by their ARNs.
async fn asking(engine: &Engine, name: &str) -> (String, String) {
    let activity = engine.create_activity(caller(), name, None, Vec::new());
    let activity = activity.await.unwrap().arn.to_string();
    let definition = format!(
        r#"{{"StartAt":"Wait","States":{{"Wait":{{"Type":"Task","Resource":"{activity}","End":true}}}}}}"#
    );
    let request = machine(name, MachineKind::Standard, &definition);
    let made = engine.create_machine(caller(), request).await.unwrap();
    (activity, made.machine.arn.to_string())
}

/// All at once, so that they share commits.
async fn start(engine: &Engine, machine: &str, executions: usize) {
    let starts = (0..executions).map(|_| engine.start(caller(), start_of(machine)));
    for started in join_all(starts).await {
        started.unwrap();
    }
}

#[test]
fn all_who_poll_a_new_process_at_once_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let activity = runtime().block_on(async {
        let engine = open(directory.path());
        let activity = waiting(&engine, 3).await;
        engine.shutdown().await;
        activity
    });
    runtime().block_on(async {
        let engine = open(directory.path());
        let poll = || engine.activity_task(caller(), &activity, None, POLL);
        let (one, two, three) = tokio::join!(poll(), poll(), poll());
        for task in [one, two, three] {
            assert!(task.unwrap().is_some(), "a task waits for whoever polls");
        }
        engine.shutdown().await;
    });
}

#[test]
fn thousands_of_workers_wait_and_each_gets_a_task_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let engine = open(directory.path());
        let mut asked = Vec::new();
        for name in ["one", "two", "three"] {
            asked.push(asking(&engine, name).await);
        }
        let workers = asked
            .iter()
            .flat_map(|(activity, _)| std::iter::repeat_n(activity, WORKERS_MAX));
        let workers =
            workers.map(|activity| engine.activity_task(caller(), activity, None, PATIENCE));
        let news = async {
            for (_, machine) in &asked {
                start(&engine, machine, WORKERS_MAX).await;
            }
        };
        let (tasks, ()) = join(join_all(workers), news).await;
        let tokens = tasks.into_iter().map(|task| {
            let task = task.unwrap().expect("there is a task for each worker");
            task.token.to_string()
        });
        assert_eq!(tokens.collect::<BTreeSet<_>>().len(), 3 * WORKERS_MAX);
        engine.shutdown().await;
    });
}
