//! Calls that come alone: quick plugins run where their callers are, and what is not quick does not stay there.

use crate::rig::{Rig, call};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;
use stepwell_sandbox::{Outcome, SecretSource, TaskEnd};

const MANIFEST: &str = "[limits]\nwall = \"60s\"\ncpu = \"200ms\"\n[grants]\nsecrets = [\"KEY\"]";
/// Calls after which a quick plugin is known for one, on a machine that other programs keep busy.
const CALLS_MAX: usize = 20_000;

/// Keeps the thread that an attempt gathered its secrets on, right before its guest began.
#[derive(Default)]
struct Seen(Mutex<Option<ThreadId>>);

impl SecretSource for Seen {
    fn secret(&self, _: &str, _: &str) -> Option<String> {
        *self.0.lock().unwrap() = Some(thread::current().id());
        None
    }
}

impl Seen {
    fn here(&self) -> bool {
        self.0.lock().unwrap().take() == Some(thread::current().id())
    }
}

async fn alone(rig: &Rig, input: Value) -> TaskEnd {
    let mut task = call("task", input);
    task.alone = true;
    rig.sandbox.call(task).await
}

async fn echo(rig: &Rig) {
    let end = alone(rig, json!({"do": "echo"})).await;
    assert!(matches!(end.outcome, Outcome::Ok(_)));
}

/// Calls until the plugin is taken for a quick one.
async fn until_here(rig: &Rig, seen: &Seen) {
    let mut calls = 0;
    while !seen.here() {
        calls += 1;
        assert!(calls < CALLS_MAX, "it is never taken for a quick one");
        echo(rig).await;
    }
}

#[tokio::test]
async fn a_quick_plugin_runs_where_its_caller_is_until_it_is_not_quick() {
    let seen = Arc::new(Seen::default());
    let source = seen.clone();
    let rig = Rig::with(|config| config.secrets = source);
    rig.put_with("task", "behave", MANIFEST);
    for _ in 0..10 {
        echo(&rig).await;
        assert!(!seen.here(), "nothing is known of it");
    }
    until_here(&rig, &seen).await;
    // Who is not alone goes to a thread of the sandbox.
    rig.output("task", json!({"do": "echo"})).await;
    assert!(!seen.here());
    // This one does not end, and nobody could know: its caller has its thread back at the next tick.
    let mut turns = 0;
    let others = async {
        loop {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let endless = tokio::select! {
        biased;
        end = alone(&rig, json!({"do": "loop"})) => end,
        () = others => unreachable!("it has no end"),
    };
    assert!(turns > 1, "nobody else had a turn");
    let limit = Duration::from_millis(200);
    assert_eq!(endless.outcome, Outcome::CpuTime { limit });
    seen.here();
    for _ in 0..10 {
        echo(&rig).await;
        assert!(!seen.here(), "it was not quick a moment ago");
    }
}

#[tokio::test]
async fn one_that_goes_on_makes_its_plugin_slow_before_it_ends() {
    let seen = Arc::new(Seen::default());
    let source = seen.clone();
    let rig = Rig::with(|config| {
        config.secrets = source;
        // One for what is endless, and one that rests.
        config.workers = 2;
    });
    rig.put_with("task", "behave", "[grants]\nsecrets = [\"KEY\"]");
    until_here(&rig, &seen).await;
    let endless = rig.sandbox.call(call("task", json!({"do": "loop"})));
    let mut endless = std::pin::pin!(endless);
    while seen.0.lock().unwrap().take().is_none() {
        thread::yield_now();
    }
    loop {
        echo(&rig).await;
        let ended = endless.as_mut().now_or_never();
        assert!(ended.is_none(), "others ran here until it had ended");
        if !seen.here() {
            break;
        }
    }
}
