//! Each way an attempt can end that is not an attack.

use crate::rig::{Rig, TENANT, call, guest};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use stepwell_sandbox::{
    CallContext, CancelHandle, CancelReason, Heartbeat, LogLevel, OnCrash, Outcome, TaskCall,
};
use tokio::sync::{oneshot, watch};

#[tokio::test]
async fn both_contracts_return_their_output() {
    let rig = Rig::new();
    let input = json!({"a": [1, 2.5, null], "ü": "é"});
    for program in ["echo", "identity", "identity.p2"] {
        let name = program.replace('.', "-");
        rig.put(&name, program);
        let end = rig.call(&name, input.clone()).await;
        let Outcome::Ok(output) = end.outcome else {
            panic!("{program}: {:?}", end.outcome)
        };
        assert_eq!(
            serde_json::from_str::<Value>(&output).unwrap(),
            input,
            "{program}"
        );
        assert!(
            end.started.is_some()
                && end.usage.memory_bytes_max > 0
                && end.usage.cpu > Duration::ZERO
        );
        assert_eq!(end.usage.output_bytes, output.len() as u64);
        let stamp = end.plugin.unwrap();
        assert_eq!(
            (stamp.name.as_str(), &stamp.version, stamp.sha256.len()),
            (name.as_str(), &None, 64)
        );
    }
}

#[tokio::test]
async fn a_task_error_is_passed_on_verbatim() {
    let rig = Rig::new();
    rig.put("behave", "behave")
        .put("command", "command")
        .put("command2", "command.p2");
    for plugin in ["behave", "command", "command2"] {
        let input = json!({"do": "fail", "error": "CardDeclined", "cause": "no money"});
        let expected = Outcome::Failed {
            error: "CardDeclined".into(),
            cause: "no money".into(),
        };
        assert_eq!(rig.outcome(plugin, input).await, expected, "{plugin}");
    }
}

#[tokio::test]
async fn the_recorded_functions_behave_as_recorded() {
    let rig = Rig::new();
    let failed = |error: &str, cause: &str| Outcome::Failed {
        error: error.into(),
        cause: cause.into(),
    };
    let ok = |output: &str| Outcome::Ok(output.into());
    let cases = [
        ("hello-world-object", ok(r#"{"Return":"HelloWorld"}"#)),
        ("bytes-hello-world", ok(r#""HelloWorld!""#)),
        (
            "decorated-input",
            ok(r#""input-event-{'x': True, 'y': [None]}""#),
        ),
        (
            "raise-custom-exception",
            failed(
                "CustomException",
                r#"{"errorMessage":"","errorType":"CustomException","stackTrace":["  File \"/var/task/handler.py\", line 9, in handler\n    raise CustomException()\n"]}"#,
            ),
        ),
        (
            "raise-exception",
            failed(
                "Exception",
                r#"{"errorMessage":"Some exception was raised.","errorType":"Exception","stackTrace":["  File \"/var/task/handler.py\", line 2, in handler\n    raise Exception(\"Some exception was raised.\")\n"]}"#,
            ),
        ),
        (
            "large-output",
            Outcome::OutputTooLarge {
                bytes: 257 * 1024 + 2,
                limit: 256 * 1024,
            },
        ),
    ];
    for (name, expected) in cases {
        rig.put(name, name);
        assert_eq!(
            rig.outcome(name, json!({"x": true, "y": [null]})).await,
            expected,
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_function_that_waits_is_waiting() {
    let rig = Rig::new();
    rig.put("wait", "wait-60-seconds");
    let deadline = Duration::from_millis(200);
    let task = TaskCall {
        deadline: Some(deadline),
        ..call("wait", json!(1))
    };
    // Its compilation is not to take the time.
    rig.sandbox.prepare(TENANT, "wait").await.unwrap();
    assert_eq!(
        rig.sandbox.call(task).await.outcome,
        Outcome::TimedOut { wall: deadline }
    );
}

#[test]
fn every_recorded_function_has_a_guest() {
    let given = std::env::var_os("STEPWELL_CORPUS");
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let corpus = given.as_ref().map_or(usual, PathBuf::from);
    let path = corpus.join("recorded/plugins.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        assert!(
            given.is_none(),
            "STEPWELL_CORPUS is set, but {} cannot be read",
            path.display()
        );
        println!("skipped: there is no corpus at {}", corpus.display());
        return;
    };
    let recorded: Value = serde_json::from_str(&text).unwrap();
    for plugin in recorded["plugins"].as_array().unwrap() {
        assert!(!guest(plugin["name"].as_str().unwrap()).is_empty());
    }
}

#[tokio::test]
async fn exit_codes_carry_the_end_of_stderr() {
    let rig = Rig::new();
    rig.put("command", "command").put("command2", "command.p2");
    let end = rig
        .outcome("command", json!({"do": "exit", "code": 3}))
        .await;
    assert_eq!(
        end,
        Outcome::Exited {
            code: 3,
            cause: "leaving".into()
        }
    );
    // Preview 2 knows success and failure alone; which codes survive is the toolchain's business.
    let end = rig
        .outcome("command2", json!({"do": "exit", "code": 1}))
        .await;
    assert_eq!(
        end,
        Outcome::Exited {
            code: 1,
            cause: "leaving".into()
        }
    );
}

#[tokio::test]
async fn output_that_is_not_json_is_told_apart() {
    let rig = Rig::new();
    rig.put("command", "command");
    for (behaviour, part) in [
        ("garbage", "begins with `this is not JSON`"),
        ("nothing", "wrote nothing to stdout"),
    ] {
        match rig.outcome("command", json!({"do": behaviour})).await {
            Outcome::InvalidOutput { cause } => assert!(cause.contains(part), "{cause}"),
            other => panic!("{behaviour}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn payload_bounds_hold_on_both_sides() {
    let rig = Rig::new();
    rig.put("behave", "behave");
    let large = rig
        .outcome("behave", json!({"do": "large", "bytes": 300_000}))
        .await;
    assert_eq!(
        large,
        Outcome::OutputTooLarge {
            bytes: 300_002,
            limit: 262_144
        }
    );
    let input = json!({"do": "echo", "pad": "x".repeat(300_000)});
    match rig.outcome("behave", input).await {
        Outcome::InputTooLarge {
            bytes,
            limit: 262_144,
        } => assert!(bytes > 300_000),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_context_reaches_both_contracts() {
    let rig = Rig::new();
    rig.put("behave", "behave").put("command", "command");
    let context = CallContext {
        execution_id: "arn:execution".into(),
        state_machine: "arn:machine".into(),
        state_name: "Charge".into(),
        attempt: 3,
        idempotency_key: "key".into(),
        task_token: Some("token".into()),
        trace_parent: Some("00-0af7-b7ad-01".into()),
    };
    let with = |plugin, input| TaskCall {
        context: context.clone(),
        ..call(plugin, input)
    };
    let typed = rig
        .sandbox
        .call(with("behave", json!({"do": "context"})))
        .await
        .outcome;
    let Outcome::Ok(typed) = typed else {
        panic!("{typed:?}")
    };
    let expected = json!({
        "execution": "arn:execution", "machine": "arn:machine", "state": "Charge", "attempt": 3, "key": "key",
        "token": "token", "deadline": true, "trace": "00-0af7-b7ad-01",
    });
    assert_eq!(serde_json::from_str::<Value>(&typed).unwrap(), expected);
    let command = rig
        .sandbox
        .call(with("command", json!({"do": "environment"})))
        .await
        .outcome;
    let Outcome::Ok(command) = command else {
        panic!("{command:?}")
    };
    let environment: Value = serde_json::from_str(&command).unwrap();
    for (name, value) in [
        ("STEPWELL_EXECUTION_ID", "arn:execution"),
        ("STEPWELL_STATE_NAME", "Charge"),
        ("STEPWELL_ATTEMPT", "3"),
        ("STEPWELL_IDEMPOTENCY_KEY", "key"),
        ("STEPWELL_TASK_TOKEN", "token"),
        ("TRACEPARENT", "00-0af7-b7ad-01"),
    ] {
        assert_eq!(environment[name], value, "{name}");
    }
}

#[tokio::test]
async fn logs_and_streams_are_kept_with_the_end() {
    let rig = Rig::new();
    rig.put("behave", "behave");
    let end = rig.call("behave", json!({"do": "log"})).await;
    assert_eq!(end.logs.len(), 1);
    assert_eq!(
        (end.logs[0].level, end.logs[0].message.as_str()),
        (LogLevel::Warn, "noticed")
    );
    assert_eq!(end.logs[0].fields, [("attempt".to_owned(), "1".to_owned())]);
    assert_eq!(
        (end.stdout.text.as_str(), end.stderr.text.as_str()),
        ("to stdout\n", "to stderr\n")
    );
    assert!(!end.logs_cut && !end.stdout.truncated && end.log_tail.is_none());
}

#[tokio::test]
async fn the_end_of_the_log_is_one_text_in_the_order_of_writing() {
    let rig = Rig::new();
    rig.put("behave", "behave");
    let tail = async |what: &str| {
        let mut task = call("behave", json!({"do": what}));
        task.log_tail = true;
        rig.sandbox.call(task).await.log_tail.unwrap()
    };
    let whole = tail("log").await;
    let text = "WARN noticed attempt=1\nto stdout\nto stderr\n";
    assert_eq!((whole.text.as_str(), whole.truncated), (text, false));
    let flood = tail("log-flood").await;
    assert!(flood.truncated && flood.text.len() == 4_096);
    assert!(
        flood.text.ends_with("INFO 0123456789 n=19999\n"),
        "{}",
        flood.text
    );
}

#[tokio::test]
async fn heartbeats_and_the_start_are_heard() {
    let rig = Rig::new();
    rig.put("behave", "behave");
    let (heartbeats, heard) = watch::channel(Heartbeat::default());
    let (started, start) = oneshot::channel();
    let mut task = call("behave", json!({"do": "beat", "times": 3}));
    (task.heartbeats, task.started) = (Some(heartbeats), Some(started));
    let end = rig.sandbox.call(task).await;
    assert_eq!(end.outcome, Outcome::Ok("3".into()));
    let begun = start.await.unwrap();
    assert!(
        begun.label().starts_with("behave@sha256:"),
        "{}",
        begun.label()
    );
    assert_eq!(Some(begun), end.plugin);
    let latest = heard.borrow();
    assert_eq!(
        (latest.beats, latest.progress.as_deref()),
        (3, Some("3 of 3"))
    );
}

#[tokio::test]
async fn a_guest_waits_for_its_permit() {
    let rig = Rig::new();
    rig.put("behave", "behave");
    for permitted in [true, false] {
        let (started, start) = oneshot::channel();
        let (permit, waits) = oneshot::channel();
        let (heartbeats, heard) = watch::channel(Heartbeat::default());
        let mut task = call("behave", json!({"do": "beat", "times": 1}));
        (task.started, task.permit) = (Some(started), Some(waits));
        task.heartbeats = Some(heartbeats);
        let running = tokio::spawn(rig.sandbox.call(task));
        start.await.unwrap();
        // In the time in which another one runs from its start to its end, this one has done nothing.
        let other = rig.output("behave", json!({"do": "beat", "times": 1}));
        assert_eq!(other.await, json!(1));
        assert_eq!(heard.borrow().beats, 0, "it has not begun");
        let outcome = match permitted {
            true => {
                permit.send(()).unwrap();
                Outcome::Ok("1".into())
            }
            false => {
                drop(permit);
                Outcome::Cancelled
            }
        };
        assert_eq!(running.await.unwrap().outcome, outcome);
    }
}

#[tokio::test]
async fn a_cancelled_task_may_tidy_up_and_a_deaf_one_is_ended() {
    let rig = Rig::new();
    // Nothing but the cancelling ends it while anybody waits.
    rig.put_with(
        "behave",
        "behave",
        "[limits]\nwall = \"900s\"\ncpu = \"900s\"",
    );
    for behaviour in ["wait-for-cancel", "loop", "sleep"] {
        let cancel = CancelHandle::new();
        let (started, start) = oneshot::channel();
        let mut task = call("behave", json!({"do": behaviour}));
        (task.cancel, task.started) = (Some(cancel.clone()), Some(started));
        let running = tokio::spawn(rig.sandbox.call(task));
        start.await.unwrap();
        cancel.cancel(CancelReason::Stopped);
        let end = running.await.unwrap();
        assert_eq!(end.outcome, Outcome::Cancelled, "{behaviour}");
    }
}

#[tokio::test]
async fn a_deadline_counts_from_the_call() {
    let rig = Rig::new();
    rig.put("behave", "behave");
    let deadline = Duration::from_millis(200);
    let task = TaskCall {
        deadline: Some(deadline),
        ..call("behave", json!({"do": "sleep"}))
    };
    let end = rig.sandbox.call(task).await;
    assert_eq!(end.outcome, Outcome::TimedOut { wall: deadline });
    assert!(end.usage.queued + end.usage.wall >= deadline);
}

#[tokio::test]
async fn a_deadline_also_bounds_the_wait_for_an_instance() {
    let rig = Rig::with(|config| config.instances = 1);
    rig.put("behave", "behave");
    let (started, start) = oneshot::channel();
    let mut first = call("behave", json!({"do": "sleep"}));
    first.started = Some(started);
    let first = tokio::spawn(rig.sandbox.call(first));
    start.await.unwrap();
    let deadline = Duration::from_millis(100);
    let second = TaskCall {
        deadline: Some(deadline),
        ..call("behave", json!({"do": "echo"}))
    };
    let end = rig.sandbox.call(second).await;
    assert_eq!(end.outcome, Outcome::TimedOut { wall: deadline });
    assert!(end.started.is_none());
    assert_eq!(rig.sandbox.metrics().waiting, 0);
    first.abort();
    // The place is free again once the first is gone.
    assert!(matches!(
        rig.outcome("behave", json!({"do": "echo"})).await,
        Outcome::Ok(_)
    ));
}

#[tokio::test]
async fn a_plugins_own_concurrency_refuses() {
    let rig = Rig::new();
    rig.put_with("one", "behave", "[limits]\nconcurrency = 1");
    let (started, start) = oneshot::channel();
    let mut first = call("one", json!({"do": "sleep"}));
    first.started = Some(started);
    let first = tokio::spawn(rig.sandbox.call(first));
    start.await.unwrap();
    assert!(matches!(
        rig.outcome("one", json!({})).await,
        Outcome::TooManyRunning { .. }
    ));
    first.abort();
}

#[tokio::test]
async fn missing_plugins_and_versions_say_what_to_do() {
    let rig = Rig::new();
    rig.put_with(
        "versioned",
        "echo",
        "version = \"1.2.0\"\non_crash = \"fail\"",
    );
    let missing = |outcome: Outcome| match outcome {
        Outcome::PluginMissing { cause } => cause,
        other => panic!("{other:?}"),
    };
    let instead = "put nowhere.wasm there, or upload it with `stepwell plugin push`";
    assert!(missing(rig.outcome("nowhere", json!({})).await).ends_with(instead));
    let version = |version: &str| TaskCall {
        version: Some(version.into()),
        ..call("versioned", json!(1))
    };
    assert!(missing(rig.sandbox.call(version("2.0.0")).await.outcome).contains("1.2.0"));
    for wanted in ["1.2.0", "$LATEST"] {
        let end = rig.sandbox.call(version(wanted)).await;
        assert_eq!(end.outcome, Outcome::Ok("1".into()));
        let stamp = end.plugin.unwrap();
        assert_eq!(
            (stamp.version.as_deref(), stamp.on_crash),
            (Some("1.2.0"), OnCrash::Fail)
        );
    }
    let on_crash = |plugin: &str| rig.sandbox.on_crash(TENANT, plugin);
    assert_eq!(on_crash("versioned"), OnCrash::Fail);
    assert_eq!(on_crash("../versioned"), OnCrash::Retry, "no such plugin");
    rig.put_with("unloaded", "echo", "on_crash = \"fail\"");
    assert_eq!(on_crash("unloaded"), OnCrash::Fail, "from its manifest");
    let other = TaskCall::new("111111111111", "versioned", "1");
    let cause = missing(rig.sandbox.call(other).await.outcome);
    let place = rig.folder.path().to_str().unwrap();
    // A tenant is not told where the host keeps things.
    assert!(
        cause.contains("111111111111") && cause.contains("plugin push"),
        "{cause}"
    );
    assert!(!cause.contains(place), "{cause}");
    assert_ne!(TENANT, "111111111111");
}

#[tokio::test]
async fn counters_follow() {
    let rig = Rig::new();
    rig.put("echo", "echo");
    for _ in 0..3 {
        rig.output("echo", json!(1)).await;
    }
    rig.outcome("nowhere", json!(1)).await;
    let metrics = rig.sandbox.metrics();
    assert_eq!(metrics.ended["ok"], 3);
    assert_eq!(metrics.ended["plugin-missing"], 1);
    assert_eq!((metrics.running, metrics.waiting), (0, 0));
}
