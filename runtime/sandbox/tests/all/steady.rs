//! Many calls: nothing is left over.

use crate::rig::{Rig, call};
use serde_json::json;
use std::time::Duration;
use stepwell_sandbox::Outcome;
use tokio::sync::oneshot;

/// Runs `count` calls, up to 500 handed over at once, all of which must succeed.
async fn burst(rig: &Rig, plugin: &str, count: u32) {
    let mut left = count;
    while left > 0 {
        let batch = left.min(500);
        left -= batch;
        let calls: Vec<_> = (0..batch)
            .map(|_| rig.sandbox.call(call(plugin, json!({}))))
            .collect();
        for call in calls {
            let end = call.await;
            assert!(matches!(end.outcome, Outcome::Ok(_)), "{:?}", end.outcome);
        }
    }
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ten_thousand_calls_leave_nothing_behind() {
    let rig = Rig::new();
    rig.put("noop", "noop");
    burst(&rig, "noop", 2000).await;
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (before, open) = (resident_bytes(), files());
    burst(&rig, "noop", 10_000).await;
    let grown = resident_bytes().saturating_sub(before);
    // Other tests run in this process; a leak of one page a call would be 40 MiB on its own.
    assert!(grown < 200 << 20, "{grown} bytes more are resident");
    assert!(files() < open + 200);
    let metrics = rig.sandbox.metrics();
    assert_eq!(
        (metrics.running, metrics.waiting, metrics.ended["ok"]),
        (0, 0, 12_000)
    );
}

/// Every round needs all of the instances, and no limit ends a call of the round before in time: only its drop can.
#[tokio::test]
async fn dropping_a_call_frees_its_instance() {
    const INSTANCES: u32 = 4;
    let rig = Rig::with(|config| config.instances = INSTANCES);
    rig.put_with(
        "behave",
        "behave",
        "[limits]\nwall = \"900s\"\ncpu = \"900s\"",
    );
    for behaviour in ["sleep", "loop"].repeat(5) {
        let mut calls = Vec::new();
        for _ in 0..INSTANCES {
            let (started, start) = oneshot::channel();
            let mut task = call("behave", json!({"do": behaviour}));
            task.started = Some(started);
            // Turns a wait for an instance that never comes into a failure.
            task.deadline = Some(Duration::from_secs(120));
            calls.push(rig.sandbox.call(task));
            start.await.expect("an instance is free");
        }
    }
    assert_eq!(
        rig.output("behave", json!({"do": "echo"})).await,
        json!({"do": "echo"})
    );
    assert_eq!(rig.sandbox.metrics().ended, [("ok", 1)].into());
}

/// A flood of endless guests is no flood of short ones: by what they were, others of their plugin are taken.
#[tokio::test]
async fn who_computes_for_long_again_and_again_is_expected_to() {
    let rig = Rig::new();
    rig.put_with("behave", "behave", "[limits]\ncpu = \"30ms\"");
    let expected = async |behaviour: &str| {
        let before = rig.sandbox.metrics().expected_long;
        rig.outcome("behave", json!({"do": behaviour})).await;
        rig.sandbox.metrics().expected_long - before
    };
    let long = [
        expected("loop").await,
        expected("loop").await,
        expected("loop").await,
    ];
    assert_eq!(long, [0, 0, 1]);
    let short = [
        expected("echo").await,
        expected("echo").await,
        expected("echo").await,
    ];
    assert_eq!(short, [1, 1, 0]);
}
