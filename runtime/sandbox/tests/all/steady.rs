//! Many calls: nothing is left over, and a call costs what it should.

use crate::rig::{Rig, call, guest};
use serde_json::json;
use std::time::{Duration, Instant};
use stepwell_sandbox::Outcome;
use stepwell_sandbox::bench::{BareLoop, process_cpu};
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

#[tokio::test]
async fn dropping_a_call_frees_its_instance() {
    let rig = Rig::with(|config| config.instances = 4);
    rig.put("behave", "behave");
    for behaviour in ["sleep", "loop"] {
        for _ in 0..5 {
            let mut calls = Vec::new();
            for _ in 0..4 {
                let (started, start) = oneshot::channel();
                let mut task = call("behave", json!({"do": behaviour}));
                task.started = Some(started);
                calls.push(rig.sandbox.call(task));
                start.await.unwrap();
            }
            drop(calls);
        }
    }
    let begun = Instant::now();
    assert!(matches!(
        rig.outcome("behave", json!({"do": "echo"})).await,
        Outcome::Ok(_)
    ));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// CPU time of the threads that guests run on; zero where the system does not tell.
fn guest_threads_cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let spent = threads.filter_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let schedule = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        (name.trim() == "stepwell-guest")
            .then(|| schedule.split(' ').next()?.parse::<u64>().ok())?
    });
    Duration::from_nanos(spent.sum())
}

/// Prints what a fresh call costs beside a bare loop; no assertion, since machines differ.
/// `cargo test -p stepwell-sandbox cost -- --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cost_of_a_call() {
    const CALLS: u32 = 5000;
    let rig = Rig::with(|config| config.workers = 1);
    for program in ["noop", "echo"] {
        rig.put(program, program);
        let bare = BareLoop::new(&guest(program)).unwrap();
        for round in 1..=3 {
            let cpu = process_cpu();
            for _ in 0..CALLS {
                bare.call("{}").await.unwrap();
            }
            let bare = (process_cpu() - cpu) / CALLS;
            let (cpu, before, threads) = (
                process_cpu(),
                rig.sandbox.metrics().cpu,
                guest_threads_cpu(),
            );
            burst(&rig, program, CALLS).await;
            let whole = (process_cpu() - cpu) / CALLS;
            let guest = (rig.sandbox.metrics().cpu - before) / CALLS;
            let threads = (guest_threads_cpu() - threads) / CALLS;
            println!(
                "{program} {round}: bare loop {bare:?}; sandbox: process {whole:?}, its threads {threads:?}, guest {guest:?}"
            );
        }
    }
}
