//! Programs that mean harm: each ends with its own precise error, and harms nobody else. How soon after its limit is
//! measured by the bench.

use crate::rig::{Rig, TENANT, call};
use serde_json::json;
use std::time::Duration;
use stepwell_sandbox::{Outcome, TaskCall, TaskEnd, Weight};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const CPU_MAX: Duration = Duration::from_millis(200);
/// CPU time over its limit that an attempt may use: some ticks, which a busy machine makes longer.
const CPU_OVER: Duration = Duration::from_secs(1);
const WALL: &str = "[limits]\nwall = \"500ms\"\nmemory = \"16MiB\"";
/// The wall limit is far off, so that a busy machine cannot decide which limit comes first.
const CPU: &str = "[limits]\nwall = \"60s\"\ncpu = \"200ms\"\nmemory = \"16MiB\"";

/// Runs a behaviour under tight limits in both contracts, and checks that the sandbox still works.
async fn under_attack(
    limits: &str,
    behaviour: &str,
    programs: &[&str],
    check: impl Fn(&Outcome) -> bool,
) {
    let rig = Rig::new();
    rig.put("echo", "echo");
    for program in programs {
        let name = program.replace('.', "-");
        rig.put_with(&name, program, limits);
        // Loaded first, so that no compilation is measured.
        rig.outcome(&name, json!({"do": "echo"})).await;
        let end = rig.call(&name, json!({"do": behaviour})).await;
        assert!(
            check(&end.outcome),
            "{program} {behaviour}: {:?}",
            end.outcome
        );
        let used = end.usage.cpu;
        assert!(
            limits != CPU || used < CPU_MAX + CPU_OVER,
            "{program} {behaviour} computed for {used:?}"
        );
        let cause = end.outcome.explain();
        assert!(
            !cause.contains("wasmtime") && !cause.contains(".rs:") || cause.contains("\nthen: "),
            "{cause}"
        );
        assert_eq!(rig.output("echo", json!("alive")).await, json!("alive"));
    }
}

#[tokio::test]
async fn an_endless_loop_runs_out_of_cpu_time() {
    let limit = CPU_MAX;
    under_attack(CPU, "loop", &["behave", "command", "command.p2"], |o| {
        *o == Outcome::CpuTime { limit }
    })
    .await;
}

#[tokio::test]
async fn a_sleeper_times_out() {
    let wall = Duration::from_millis(500);
    under_attack(WALL, "sleep", &["behave", "command", "command.p2"], |o| {
        *o == Outcome::TimedOut { wall }
    })
    .await;
}

#[tokio::test]
async fn a_memory_bomb_is_out_of_memory() {
    under_attack(
        CPU,
        "bomb",
        &["behave", "command", "command.p2"],
        |o| matches!(o, Outcome::OutOfMemory { cause } if cause.contains("may use 16 MiB")),
    )
    .await;
}

#[tokio::test]
async fn endless_recursion_traps() {
    under_attack(
        CPU,
        "recurse",
        &["behave", "command", "command.p2"],
        |o| {
            // Whichever stack ends first: the engine's, or the one that the compiler keeps in memory.
            matches!(o, Outcome::Trapped { cause } if cause.contains("stack") || cause.contains("out of bounds"))
        },
    )
    .await;
}

#[tokio::test]
async fn a_panic_traps_with_its_message_and_names() {
    under_attack(
        CPU,
        "panic",
        &["behave", "command", "command.p2"],
        |o| matches!(o, Outcome::Trapped { cause } if cause.contains("the guest gave up")),
    )
    .await;
    let rig = Rig::new();
    rig.put("behave", "behave");
    let end = rig.call("behave", json!({"do": "panic"})).await;
    let first = end.frames.first().map(|frame| frame.function.as_str());
    assert_eq!(first, Some("behave::give_up"), "{:?}", end.frames);
    assert!(end.stderr.text.contains("the guest gave up"));
}

/// Whatever ends a guest that computes, its functions are told; of the host's nothing is.
#[tokio::test]
async fn where_it_was_is_told_of_whoever_is_stopped() {
    let rig = Rig::new();
    rig.put_with("cpu", "behave", CPU)
        .put_with(
            "wall",
            "behave",
            "[limits]\nwall = \"500ms\"\ncpu = \"60s\"",
        )
        .put_with("fuel", "behave", "[limits]\nfuel = 50000000");
    for (plugin, behaviour, function) in [
        ("cpu", "loop", "behave::spin"),
        ("wall", "loop", "behave::spin"),
        ("fuel", "loop", "behave::spin"),
        ("cpu", "panic", "behave::give_up"),
        ("cpu", "recurse", "behave::recurse"),
        ("cpu", "bomb", ""),
    ] {
        let end = rig.call(plugin, json!({"do": behaviour})).await;
        assert!(!matches!(end.outcome, Outcome::Ok(_)), "{behaviour}");
        let frames = &end.frames;
        let told = frames.iter().any(|frame| frame.function.contains(function));
        assert!(told, "{plugin} {behaviour}: {frames:?}");
        let hosts = |text: &str| text.contains("wasmtime") || text.contains("stepwell_sandbox");
        let leaks = frames.iter().any(|frame| hosts(&frame.function));
        assert!(!leaks, "{plugin} {behaviour}: {frames:?}");
    }
    // Who waits for its host is in no function of its own.
    let asleep = rig.call("wall", json!({"do": "sleep"})).await;
    assert!(matches!(asleep.outcome, Outcome::TimedOut { .. }));
    assert!(asleep.frames.is_empty(), "{:?}", asleep.frames);
}

#[tokio::test]
async fn output_floods_cost_the_flooder_alone() {
    let stopped =
        |outcome: &Outcome| matches!(outcome, Outcome::CpuTime { .. } | Outcome::TimedOut { .. });
    under_attack(CPU, "stdout", &["command", "command.p2"], stopped).await;
    under_attack(CPU, "stderr", &["command", "command.p2"], stopped).await;
}

#[tokio::test]
async fn logs_are_cut_silently() {
    let rig = Rig::new();
    rig.put("behave", "behave").put("command", "command");
    let end = rig.call("behave", json!({"do": "log-flood"})).await;
    assert_eq!(end.outcome, Outcome::Ok(r#""logged""#.into()));
    assert!(end.logs_cut && end.logs.len() < 20_000 && end.logs.len() > 500);
    let end = rig.call("command", json!({"do": "chatty"})).await;
    assert_eq!(end.outcome, Outcome::Ok(r#""done""#.into()));
    assert!(end.stderr.truncated && end.stderr.text.len() <= 64 << 10);
    assert!(end.stderr.text.ends_with("0123456789\n"));
}

#[tokio::test]
async fn memory_is_counted_over_its_peak() {
    let rig = Rig::new();
    rig.put("behave", "behave");
    let end = rig.call("behave", json!({"do": "use", "mib": 8})).await;
    assert_eq!(end.outcome, Outcome::Ok((8 << 20).to_string()));
    assert!(
        (8 << 20..16 << 20).contains(&end.usage.memory_bytes_max),
        "{}",
        end.usage.memory_bytes_max
    );
}

#[tokio::test]
async fn files_and_sockets_are_denied() {
    let rig = Rig::new();
    rig.put("behave", "behave").put("command", "command");
    for plugin in ["behave", "command"] {
        for input in [
            json!({"do": "read", "path": "/etc/passwd"}),
            json!({"do": "write", "path": "/tmp/x"}),
            json!({"do": "connect", "address": "127.0.0.1:22"}),
        ] {
            let outcome = rig.outcome(plugin, input.clone()).await;
            assert!(
                matches!(outcome, Outcome::Failed { .. }),
                "{plugin} {input}: {outcome:?}"
            );
        }
    }
    assert_eq!(
        rig.output("behave", json!({"do": "environment"})).await,
        json!({})
    );
}

#[tokio::test]
async fn fuel_is_counted_exactly() {
    let rig = Rig::new();
    rig.put_with("metered", "behave", "[limits]\nfuel = 50000000")
        .put_with("short", "behave", "[limits]\nfuel = 1000");
    let fuel = |end: stepwell_sandbox::TaskEnd| end.usage.fuel.unwrap();
    let first = fuel(rig.call("metered", json!({"do": "echo"})).await);
    assert!(first > 1000);
    assert_eq!(
        fuel(rig.call("metered", json!({"do": "echo"})).await),
        first
    );
    assert_eq!(
        rig.outcome("short", json!({"do": "echo"})).await,
        Outcome::OutOfFuel { limit: 1000 }
    );
    assert_eq!(
        rig.outcome("metered", json!({"do": "loop"})).await,
        Outcome::OutOfFuel { limit: 50_000_000 }
    );
}

/// Guests without an end, all of them at their loop.
async fn endless(rig: &Rig, plugin: &str, count: usize) -> Vec<JoinHandle<TaskEnd>> {
    let mut guests = Vec::new();
    for _ in 0..count {
        let (started, start) = oneshot::channel();
        let mut task = call(plugin, json!({"do": "loop"}));
        task.started = Some(started);
        guests.push(tokio::spawn(rig.sandbox.call(task)));
        start.await.unwrap();
    }
    guests
}

/// If the short ones waited for the turns of the others, the others' CPU time would be over first.
#[tokio::test]
async fn short_guests_are_served_before_endless_ones_are_over() {
    let rig = Rig::with(|config| config.workers = 1);
    rig.put_with(
        "spin",
        "behave",
        "[limits]\nwall = \"900s\"\ncpu = \"300ms\"",
    )
    .put("echo", "echo");
    rig.output("echo", json!(1)).await;
    rig.outcome("spin", json!({"do": "echo"})).await;
    let spinning = endless(&rig, "spin", 20).await;
    for n in 0..100 {
        assert_eq!(rig.output("echo", json!(n)).await, n);
    }
    assert_eq!(rig.sandbox.metrics().running, spinning.len());
    for spinning in spinning {
        let outcome = spinning.await.unwrap().outcome;
        assert_eq!(
            outcome,
            Outcome::CpuTime {
                limit: Duration::from_millis(300)
            }
        );
    }
}

/// A guest of more weight that comes last has used up its CPU time first; were all alike, who came first would be.
#[tokio::test]
async fn who_has_more_weight_has_more_of_the_threads() {
    const OTHER: &str = "111111111111";
    let rig = Rig::with(|config| config.workers = 1);
    let limits = "[limits]\nwall = \"900s\"\ncpu = \"500ms\"";
    rig.put_with("spin", "behave", limits)
        .put_with(&format!("{OTHER}/spin"), "behave", limits);
    rig.sandbox.weigh(OTHER, Weight::MAX);
    // Nobody computes while another one is compiled.
    for tenant in [TENANT, OTHER] {
        rig.sandbox.prepare(tenant, "spin").await.unwrap();
    }
    let mut running = Vec::new();
    for tenant in [TENANT, OTHER] {
        let (started, start) = oneshot::channel();
        let mut task = TaskCall::new(tenant, "spin", json!({"do": "loop"}).to_string());
        task.started = Some(started);
        running.push(tokio::spawn(rig.sandbox.call(task)));
        start.await.unwrap();
    }
    let (light, heavy) = (running.remove(0), running.remove(0));
    let limit = Duration::from_millis(500);
    assert_eq!(heavy.await.unwrap().outcome, Outcome::CpuTime { limit });
    assert!(!light.is_finished(), "it had as much");
    assert_eq!(light.await.unwrap().outcome, Outcome::CpuTime { limit });
}

#[tokio::test]
async fn who_is_due_ends_among_many_who_are_not() {
    const EACH: usize = 30;
    let rig = Rig::with(|config| config.workers = 1);
    rig.put_with("bounded", "behave", "[limits]\nwall = \"500ms\"")
        .put_with(
            "endless",
            "behave",
            "[limits]\nwall = \"900s\"\ncpu = \"900s\"",
        );
    let going_on = endless(&rig, "endless", EACH).await;
    for bounded in endless(&rig, "bounded", EACH).await {
        let wall = Duration::from_millis(500);
        assert_eq!(bounded.await.unwrap().outcome, Outcome::TimedOut { wall });
    }
    assert_eq!(rig.sandbox.metrics().running, EACH);
    for guest in &going_on {
        guest.abort();
    }
    for guest in going_on {
        assert!(guest.await.unwrap_err().is_cancelled());
    }
    assert_eq!(
        rig.output("endless", json!({"do": "echo"})).await,
        json!({"do": "echo"})
    );
}
