//! The plugin folder, uploads and the compile cache.

use crate::rig::{Rig, TENANT, call, guest};
use serde_json::json;
use std::time::{Duration, Instant};
use stepwell_sandbox::{Error, Outcome, Sandbox, SandboxConfig, TaskCall, Upload};
use tempfile::TempDir;
use tokio::sync::oneshot;

#[tokio::test]
async fn a_new_plugin_serves_the_next_task() {
    let rig = Rig::new();
    assert!(matches!(
        rig.outcome("late", json!(1)).await,
        Outcome::PluginMissing { .. }
    ));
    std::fs::write(rig.folder.path().join("late.wasm"), guest("echo")).unwrap();
    assert_eq!(rig.output("late", json!(1)).await, 1);
}

#[tokio::test]
async fn a_changed_plugin_is_noticed_and_running_tasks_finish_on_theirs() {
    let rig = Rig::new();
    rig.put("task", "behave");
    let (started, start) = oneshot::channel();
    let mut old = call("task", json!({"do": "sleep", "ms": 300}));
    old.started = Some(started);
    let old = tokio::spawn(rig.sandbox.call(old));
    start.await.unwrap();
    // Not through `put`: the watcher has to notice.
    std::fs::write(
        rig.folder.path().join("task.wasm"),
        guest("hello-world-object"),
    )
    .unwrap();
    let begun = Instant::now();
    // The system tells of changes when it likes; a watcher that never does would keep this here for ever.
    while rig.outcome("task", json!({"do": "echo"})).await
        != Outcome::Ok(r#"{"Return":"HelloWorld"}"#.into())
    {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "the change was not noticed"
        );
    }
    assert_eq!(old.await.unwrap().outcome, Outcome::Ok(r#""awake""#.into()));
}

#[tokio::test]
async fn a_half_written_plugin_is_tried_again() {
    let rig = Rig::new();
    let (path, whole) = (rig.folder.path().join("slow.wasm"), guest("echo"));
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    rig.sandbox.rescan().unwrap();
    let running = tokio::spawn(rig.sandbox.call(call("slow", json!("late"))));
    // Begins while half of the file is there; the other half comes when the call has been looked at.
    while rig.sandbox.list()[0].problem.is_none() && !running.is_finished() {
        tokio::task::yield_now().await;
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(
        running.await.unwrap().outcome,
        Outcome::Ok(r#""late""#.into())
    );
}

#[tokio::test]
async fn a_broken_plugin_says_what_is_wrong() {
    let rig = Rig::new();
    let broken = |outcome: Outcome| match outcome {
        Outcome::PluginBroken { cause } => cause,
        other => panic!("{other:?}"),
    };
    rig.put_with(
        "pinned",
        "echo",
        &format!("sha256 = \"{}\"", "0".repeat(64)),
    );
    rig.put_with("named", "echo", "name = \"other\"");
    rig.put_with("claimed", "echo", "contract = \"command\"");
    rig.put_with("typo", "echo", "[limit]\nmemory = 1");
    std::fs::write(rig.folder.path().join("text.wasm"), "hello, this is text").unwrap();
    let library = b"\0asm\x01\0\0\0";
    std::fs::write(rig.folder.path().join("empty.wasm"), library).unwrap();
    for (name, part) in [
        ("pinned", "pins"),
        ("named", "name = \"other\""),
        ("claimed", "contract"),
        ("typo", "limit"),
        ("text", "not WebAssembly"),
        ("empty", "_start"),
    ] {
        let cause = broken(rig.outcome(name, json!(1)).await);
        assert!(
            cause.contains(part) && cause.contains(name),
            "{name}: {cause}"
        );
    }
}

#[tokio::test]
async fn tenants_see_their_own_folder_only() {
    let rig = Rig::new();
    let theirs = rig.folder.path().join("111111111111");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("task.wasm"), guest("echo")).unwrap();
    rig.put("mine", "echo");
    let ask = |tenant: &str, plugin: &str| rig.sandbox.call(TaskCall::new(tenant, plugin, "1"));
    assert_eq!(
        ask("111111111111", "task").await.outcome,
        Outcome::Ok("1".into())
    );
    assert_eq!(ask(TENANT, "mine").await.outcome, Outcome::Ok("1".into()));
    assert!(matches!(
        ask(TENANT, "task").await.outcome,
        Outcome::PluginMissing { .. }
    ));
    assert!(matches!(
        ask("111111111111", "mine").await.outcome,
        Outcome::PluginMissing { .. }
    ));
    let listed: Vec<String> = rig
        .sandbox
        .list()
        .into_iter()
        .map(|p| format!("{}/{}", p.tenant, p.name))
        .collect();
    assert_eq!(listed, ["000000000000/mine", "111111111111/task"]);
}

#[cfg(unix)]
#[tokio::test]
async fn links_do_not_lead_out() {
    let (rig, outside) = (Rig::new(), TempDir::new().unwrap());
    std::fs::write(outside.path().join("task.wasm"), guest("echo")).unwrap();
    std::os::unix::fs::symlink(
        outside.path().join("task.wasm"),
        rig.folder.path().join("task.wasm"),
    )
    .unwrap();
    assert!(matches!(
        rig.outcome("task", json!(1)).await,
        Outcome::PluginMissing { .. }
    ));
}

#[tokio::test]
async fn uploads_win_and_have_versions() {
    let rig = Rig::new();
    rig.put("task", "echo");
    let upload = |version: &str, program: &str| Upload {
        name: "task".into(),
        manifest: Some(format!("version = \"{version}\"")),
        wasm: guest(program).into(),
    };
    rig.sandbox
        .install(TENANT, upload("1", "hello-world-object"))
        .unwrap();
    rig.sandbox
        .install(TENANT, upload("2", "bytes-hello-world"))
        .unwrap();
    let versioned = |version: &str| TaskCall {
        version: Some(version.into()),
        ..call("task", json!(7))
    };
    assert_eq!(rig.output("task", json!(7)).await, "HelloWorld!");
    assert_eq!(
        rig.sandbox.call(versioned("1")).await.outcome,
        Outcome::Ok(r#"{"Return":"HelloWorld"}"#.into())
    );
    let hidden: Vec<bool> = rig
        .sandbox
        .list()
        .iter()
        .map(|plugin| plugin.hidden)
        .collect();
    assert_eq!(hidden, [true, false, false]);
    assert!(rig.sandbox.remove(TENANT, "task", None));
    assert_eq!(rig.output("task", json!(7)).await, 7);
    let broken = Upload {
        name: "bad".into(),
        manifest: None,
        wasm: b"nonsense"[..].into(),
    };
    assert!(matches!(
        rig.sandbox.install(TENANT, broken),
        Err(Error::Plugin { .. })
    ));
}

#[tokio::test]
async fn compiled_plugins_are_cached_and_damage_is_mended() {
    let cache = TempDir::new().unwrap();
    let sandbox = || {
        let rig = Rig::with(|config| config.cache = Some(cache.path().to_owned()));
        rig.put("echo", "echo").put("identity", "identity");
        rig
    };
    let counts = |rig: &Rig| {
        (
            rig.sandbox.metrics().compiled,
            rig.sandbox.metrics().cache_hits,
        )
    };
    let use_both = async |rig: &Rig| {
        assert_eq!(rig.output("echo", json!(1)).await, 1);
        assert_eq!(rig.output("identity", json!(1)).await, 1);
    };
    let first = sandbox();
    use_both(&first).await;
    assert_eq!(counts(&first), (2, 0));
    let second = sandbox();
    use_both(&second).await;
    assert_eq!(counts(&second), (0, 2));
    for entry in std::fs::read_dir(cache.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "cwasm")
        {
            let mut code = std::fs::read(&path).unwrap();
            let middle = code.len() / 2;
            code[middle] ^= 0xFF;
            std::fs::write(&path, code).unwrap();
        }
    }
    let third = sandbox();
    use_both(&third).await;
    assert_eq!(counts(&third), (2, 0));
}

#[tokio::test]
async fn a_folder_that_is_removed_and_put_back_is_watched_again() {
    let scratch = TempDir::new().unwrap();
    let plugins = scratch.path().join("a/plugins");
    let put = |program: &str| {
        std::fs::create_dir_all(&plugins).unwrap();
        std::fs::write(plugins.join("task.wasm"), guest(program)).unwrap();
    };
    put("echo");
    let rig = Rig::with(|config| config.plugins = Some(plugins.clone()));
    assert_eq!(rig.output("task", json!(1)).await, 1);
    // The folder itself, and one above it, of which no watcher tells.
    for gone in [plugins.as_path(), plugins.parent().unwrap()] {
        let aside = scratch.path().join("aside");
        std::fs::rename(gone, &aside).unwrap();
        until(&rig, |outcome| {
            matches!(outcome, Outcome::PluginMissing { .. })
        })
        .await;
        put("hello-world-object");
        let hello = Outcome::Ok(r#"{"Return":"HelloWorld"}"#.into());
        until(&rig, |outcome| *outcome == hello).await;
        // Not through a look of ours: the new folder is watched.
        put("echo");
        until(&rig, |outcome| *outcome == Outcome::Ok("1".into())).await;
        std::fs::remove_dir_all(&aside).unwrap();
    }
}

/// Calls until the outcome is right. The system tells of changes when it likes; a watcher that never does would keep this
/// here for ever.
async fn until(rig: &Rig, right: impl Fn(&Outcome) -> bool) {
    let begun = Instant::now();
    loop {
        let outcome = rig.outcome("task", json!(1)).await;
        if right(&outcome) {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "not noticed; still {outcome:?}"
        );
    }
}

#[test]
fn an_unusable_folder_is_one_clear_error() {
    let config = SandboxConfig {
        plugins: Some("/nowhere/at/all".into()),
        ..SandboxConfig::default()
    };
    let Err(error) = Sandbox::new(config) else {
        panic!("the folder does not exist")
    };
    let text = error.to_string();
    assert!(
        text.contains("/nowhere/at/all") && text.contains("hint:"),
        "{text}"
    );
}
