//! Instances that serve more than one attempt, where the manifest asks for it.

use crate::rig::{Rig, TENANT, call};
use serde_json::json;
use stepwell_sandbox::{Outcome, TaskCall};

const REUSE: &str = "[limits]\ncpu = \"200ms\"\nmemory = \"16MiB\"\n[instance]\nreuse = \"tenant\"";

#[tokio::test]
async fn an_instance_is_fresh_unless_the_manifest_says_otherwise() {
    let rig = Rig::new();
    rig.put("fresh", "behave")
        .put_with("again", "behave", REUSE);
    for n in 1..=3 {
        assert_eq!(rig.output("fresh", json!({"do": "count"})).await, 1);
        let end = rig.call("again", json!({"do": "count"})).await;
        assert_eq!(end.outcome, Outcome::Ok(n.to_string()));
        assert_eq!(end.usage.reused, n > 1);
    }
    let metrics = rig.sandbox.metrics();
    assert_eq!(metrics.kept, 1);
    assert!(
        (1 << 16..16 << 20).contains(&metrics.kept_bytes),
        "{}",
        metrics.kept_bytes
    );
}

#[tokio::test]
async fn whoever_did_not_come_back_serves_nobody_again() {
    let rig = Rig::new();
    rig.put_with("again", "behave", REUSE);
    for bad in ["panic", "loop", "bomb", "recurse"] {
        rig.output("again", json!({"do": "count"})).await;
        let outcome = rig.outcome("again", json!({"do": bad})).await;
        assert!(!matches!(outcome, Outcome::Ok(_)), "{bad}: {outcome:?}");
        assert_eq!(rig.sandbox.metrics().kept, 0, "{bad}");
        assert_eq!(
            rig.output("again", json!({"do": "count"})).await,
            1,
            "{bad}"
        );
    }
    // An error of its own is an answer like another.
    rig.outcome("again", json!({"do": "fail", "error": "E", "cause": "c"}))
        .await;
    assert_eq!(rig.output("again", json!({"do": "count"})).await, 2);
    // Neither is who was cancelled half-way.
    drop(rig.sandbox.call(call("again", json!({"do": "sleep"}))));
    assert!(rig.sandbox.metrics().kept <= 1);
}

#[tokio::test]
async fn an_instance_is_never_shared_between_tenants_or_versions() {
    let rig = Rig::new();
    rig.put_with("again", "behave", REUSE);
    let other = rig.folder.path().join("111111111111/again");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("plugin.toml"), REUSE).unwrap();
    std::fs::write(other.join("task.wasm"), crate::rig::guest("behave")).unwrap();
    rig.sandbox.rescan().unwrap();
    for _ in 0..2 {
        rig.output("again", json!({"do": "count"})).await;
    }
    let count = json!({"do": "count"}).to_string();
    let stranger = rig
        .sandbox
        .call(TaskCall::new("111111111111", "again", count))
        .await;
    assert_eq!(stranger.outcome, Outcome::Ok("1".into()));
    rig.put_with("again", "behave", &format!("version = \"2\"\n{REUSE}"));
    assert_eq!(rig.output("again", json!({"do": "count"})).await, 1);
}

#[tokio::test]
async fn an_instance_serves_so_many_calls_and_so_many_wait() {
    let rig = Rig::new();
    rig.put_with("twice", "behave", &format!("{REUSE}\ncalls = 2"))
        .put_with("one", "behave", &format!("{REUSE}\nkept = 1"));
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(rig.output("twice", json!({"do": "count"})).await);
    }
    assert_eq!(counts, [1, 2, 1, 2]);
    assert_eq!(rig.sandbox.metrics().kept, 0);
    let pair = || rig.call("one", json!({"do": "sleep", "ms": 50}));
    tokio::join!(pair(), pair());
    assert_eq!(rig.sandbox.metrics().kept, 1);
}

#[tokio::test]
async fn an_instance_waits_and_lives_no_longer_than_it_may() {
    let rig = Rig::new();
    rig.put_with("idle", "behave", &format!("{REUSE}\nidle = \"20ms\""))
        .put_with("old", "behave", &format!("{REUSE}\nage = \"20ms\""))
        .put("other", "behave");
    for plugin in ["idle", "old"] {
        for _ in 0..2 {
            let end = rig.call(plugin, json!({"do": "count"})).await;
            assert_eq!(end.outcome, Outcome::Ok("1".into()), "{plugin}");
            assert!(!end.usage.reused, "{plugin}");
            // Meanwhile its time passes.
            rig.output("other", json!({"do": "sleep", "ms": 30})).await;
        }
    }
}

#[tokio::test]
async fn what_belongs_to_an_attempt_is_not_seen_by_the_next() {
    let rig = Rig::new();
    rig.put_with("again", "behave", REUSE);
    let first = rig.call("again", json!({"do": "log"})).await;
    assert_eq!(
        (first.logs.len(), first.stderr.text.as_str()),
        (1, "to stderr\n")
    );
    let refused = json!({"do": "http", "url": "http://example.com/"});
    assert_eq!(rig.call("again", refused).await.refused.len(), 1);
    let mut task = call("again", json!({"do": "context"}));
    task.context.idempotency_key = "second".into();
    task.log_tail = true;
    let second = rig.sandbox.call(task).await;
    assert!(second.usage.reused);
    assert!(second.logs.is_empty() && second.refused.is_empty() && !second.logs_cut);
    assert_eq!(
        (second.stdout.text.as_str(), second.stderr.text.as_str()),
        ("", "")
    );
    assert_eq!(second.log_tail.map(|tail| tail.text), Some(String::new()));
    let output = second.outcome.output().unwrap();
    assert!(output.contains("second"), "{output}");
}

#[tokio::test]
async fn the_operator_may_forbid_it() {
    let rig = Rig::with(|config| config.ceilings.own.reuse = false);
    rig.put_with("again", "behave", REUSE);
    for _ in 0..2 {
        assert_eq!(rig.output("again", json!({"do": "count"})).await, 1);
    }
    assert_eq!(rig.sandbox.list()[0].tenant, TENANT);
}
