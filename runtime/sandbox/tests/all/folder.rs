//! The plugin folder, uploads and the compile cache.

use crate::rig::{Rig, TENANT, call, guest};
use futures_util::future::BoxFuture;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};
use stepwell_sandbox::{
    Ceilings, Error, Outcome, Sandbox, SandboxConfig, TaskCall, Upload, UploadCode,
};
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
async fn a_version_is_there_when_the_manifest_says_so() {
    let rig = Rig::new();
    rig.put("plain", "echo");
    rig.put_with("dated", "echo", "version = \"2\"\n");
    rig.put_with("wrong", "echo", "version = 2\n");
    let has = |name, version| rig.sandbox.has(TENANT, name, version);
    for (name, version, there) in [
        ("plain", None, true),
        ("plain", Some("2"), false),
        ("dated", None, true),
        ("dated", Some("2"), true),
        ("dated", Some("3"), false),
        ("wrong", None, true),
        ("wrong", Some("2"), false),
        ("absent", None, false),
    ] {
        assert_eq!(has(name, version), there, "{name} {version:?}");
    }
    assert_eq!(rig.output("dated", json!(1)).await, 1);
    assert!(
        has("dated", Some("2")) && !has("dated", Some("3")),
        "loaded"
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

/// Puts a file that was changed so many hours ago: a fresh one that is broken might be half-written.
fn put_old(path: &Path, bytes: &[u8], hours: u64) {
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let then = SystemTime::now() - Duration::from_secs(3600 * hours);
    file.set_modified(then).unwrap();
}

#[tokio::test]
async fn a_broken_file_does_not_take_the_place_of_one_that_works() {
    let rig = Rig::new();
    let path = rig.folder.path().join("task.wasm");
    rig.put("task", "echo");
    assert_eq!(rig.output("task", json!(0)).await, 0);
    let echo = guest("echo");
    let broken = [
        &b"this is a text"[..],
        b"",
        b"\0asm\x01\0\0\0",
        &echo[..5_000],
    ];
    for (hours, bytes) in (1..).zip(broken) {
        put_old(&path, bytes, hours);
        rig.sandbox.rescan().unwrap();
        assert_eq!(rig.output("task", json!(hours)).await, hours);
        let told = rig.sandbox.list().remove(0);
        let problem = told.problem.unwrap();
        assert!(
            problem.ends_with("what was there before goes on serving"),
            "{problem}"
        );
        assert_eq!(told.sha256.map(|sha256| sha256.len()), Some(64));
    }
    // One that works does, and is kept in its turn.
    rig.put("task", "hello-world-object");
    let hello = json!({"Return": "HelloWorld"});
    assert_eq!(rig.output("task", json!(1)).await, hello);
    assert_eq!(rig.sandbox.list()[0].problem, None);
    put_old(&path, b"this is a text", 9);
    rig.sandbox.rescan().unwrap();
    assert_eq!(rig.output("task", json!(1)).await, hello);
    // Another process does not know what was there.
    let next = Rig::with(|config| config.plugins = Some(rig.folder.path().to_owned()));
    let outcome = next.outcome("task", json!(1)).await;
    assert!(
        matches!(outcome, Outcome::PluginBroken { .. }),
        "{outcome:?}"
    );
    // Nor does what is gone come back.
    std::fs::remove_file(&path).unwrap();
    rig.sandbox.rescan().unwrap();
    let outcome = rig.outcome("task", json!(1)).await;
    assert!(
        matches!(outcome, Outcome::PluginMissing { .. }),
        "{outcome:?}"
    );
}

/// Of what is larger than a plugin may be no more is read, and it is told how large that is.
#[tokio::test]
async fn files_have_so_many_bytes_and_no_more() {
    let rig = Rig::new();
    let module = rig.folder.path().join("large.wasm");
    put_old(&module, &guest("echo"), 1);
    let file = std::fs::File::options().write(true).open(&module).unwrap();
    file.set_len((100 << 20) + 1).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    let comment = format!("# {}\n", "x".repeat(64 << 10));
    rig.put_with("long", "echo", &comment);
    let manifest = rig.folder.path().join("long/plugin.toml");
    put_old(&manifest, comment.as_bytes(), 1);
    rig.sandbox.rescan().unwrap();
    for (name, part) in [
        ("large", "is larger than 104857600 bytes"),
        ("long", "is larger than 65536 bytes"),
    ] {
        match rig.outcome(name, json!(1)).await {
            Outcome::PluginBroken { cause } => assert!(cause.contains(part), "{name}: {cause}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    for path in [module.as_path(), manifest.parent().unwrap()] {
        let why = rig.sandbox.inspect(path, TENANT).unwrap_err().to_string();
        assert!(why.contains("which is the most that is taken"), "{why}");
    }
}

/// What was granted before may be what a new manifest takes away.
#[tokio::test]
async fn nothing_stands_in_for_another_manifest() {
    let rig = Rig::new();
    let asks = "[grants]\nconfig = { region = \"eu\" }";
    rig.put_with("task", "behave", asks);
    let region = || json!({"do": "config", "key": "region"});
    assert_eq!(rig.output("task", region()).await, "eu");
    let place = rig.folder.path().join("task");
    let mut hours = 0;
    let mut changed = |manifest: &str| {
        hours += 1;
        put_old(&place.join("plugin.toml"), manifest.as_bytes(), hours);
        put_old(&place.join("task.wasm"), b"this is a text", hours);
        rig.sandbox.rescan().unwrap();
    };
    changed(asks);
    assert_eq!(rig.output("task", region()).await, "eu");
    for manifest in ["", "[grants]\nconfig = { region = "] {
        changed(manifest);
        let outcome = rig.outcome("task", region()).await;
        assert!(
            matches!(outcome, Outcome::PluginBroken { .. }),
            "{manifest}: {outcome:?}"
        );
    }
    // Neither does it where what is allowed has changed.
    changed(asks);
    assert_eq!(rig.output("task", region()).await, "eu");
    rig.sandbox
        .set_ceilings(Ceilings::parse("file", "[default]\ngrants = \"nothing\"").unwrap());
    let outcome = rig.outcome("task", region()).await;
    assert!(
        matches!(outcome, Outcome::PluginBroken { .. }),
        "{outcome:?}"
    );
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
    let gone = rig.folder.path().join("gone");
    std::os::unix::fs::symlink(outside.path().join("none"), gone).unwrap();
    for name in ["task", "gone"] {
        let outcome = rig.outcome(name, json!(1)).await;
        let Outcome::PluginBroken { cause } = &outcome else {
            panic!("{name}: {outcome:?}");
        };
        assert!(cause.contains("is a link that leads"), "{cause}");
    }
}

/// The file of an upload, and how often it was asked for.
struct Kept(Arc<[u8]>, AtomicU32);

impl UploadCode for Kept {
    fn wasm(&self) -> BoxFuture<'static, Result<Arc<[u8]>, String>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let wasm = self.0.clone();
        Box::pin(async { Ok(wasm) })
    }
}

fn upload(id: &str, wasm: Vec<u8>) -> (Upload, Arc<Kept>) {
    let code = Arc::new(Kept(wasm.into(), AtomicU32::new(0)));
    let upload = Upload {
        id: id.into(),
        version: None,
        memory_bytes: 128 << 20,
        wall: Duration::from_secs(30),
        environment: BTreeMap::new(),
        code: code.clone(),
    };
    (upload, code)
}

fn uploaded(plugin: &str, upload: &Upload) -> TaskCall {
    TaskCall {
        upload: Some(upload.clone()),
        ..call(plugin, json!(7))
    }
}

#[tokio::test]
async fn a_call_may_bring_its_plugin_along() {
    let rig = Rig::new();
    rig.put("task", "echo");
    let (first, code) = upload("1", guest("hello-world-object"));
    let (second, _) = upload("2", guest("bytes-hello-world"));
    let checked = rig.sandbox.check(TENANT, "task", first.clone()).await;
    checked.unwrap();
    let fetched = code.1.load(Ordering::SeqCst);
    assert_eq!(
        rig.sandbox.call(uploaded("task", &first)).await.outcome,
        Outcome::Ok(r#"{"Return":"HelloWorld"}"#.into())
    );
    assert_eq!(code.1.load(Ordering::SeqCst), fetched, "it is kept ready");
    assert_eq!(
        rig.sandbox.call(uploaded("task", &second)).await.outcome,
        Outcome::Ok(r#""HelloWorld!""#.into())
    );
    assert_eq!(rig.output("task", json!(7)).await, 7, "the folder's");
    let stranger = TaskCall {
        tenant: "111111111111".into(),
        ..call("task", json!(7))
    };
    let outcome = rig.sandbox.call(stranger).await.outcome;
    assert!(matches!(outcome, Outcome::PluginMissing { .. }));
}

#[tokio::test]
async fn an_upload_that_cannot_be_called_says_why() {
    let rig = Rig::new();
    let why = async |upload: Upload| match rig.sandbox.check(TENANT, "bad", upload).await {
        Err(Error::Plugin { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let (nonsense, _) = upload("1", b"nonsense".to_vec());
    assert!(why(nonsense).await.contains("the file is not WebAssembly"));
    let (mut small, _) = upload("2", guest("echo"));
    small.memory_bytes = 64 << 10;
    assert!(why(small).await.contains("raise MemorySize"));
    let (mut named, _) = upload("3", guest("echo"));
    let (name, value) = ("STEPWELL_ATTEMPT".to_owned(), "7".to_owned());
    named.environment.insert(name, value);
    assert!(why(named).await.contains("belongs to the host"));
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

/// Code of another engine is not run, whoever put it in the place of an entry: it is compiled anew.
#[tokio::test]
async fn compiled_code_of_another_engine_is_made_anew() {
    let cache = TempDir::new().unwrap();
    let use_both = async || {
        let rig = Rig::with(|config| config.cache = Some(cache.path().to_owned()));
        rig.put("plain", "echo")
            .put_with("metered", "echo", "[limits]\nfuel = 100000000");
        for plugin in ["plain", "metered"] {
            let end = rig.call(plugin, json!(1)).await;
            assert_eq!(end.outcome, Outcome::Ok("1".into()), "{plugin}");
            assert_eq!(end.usage.fuel.is_some(), plugin == "metered");
        }
        let metrics = rig.sandbox.metrics();
        (metrics.compiled, metrics.cache_hits)
    };
    assert_eq!(use_both().await, (2, 0));
    assert_eq!(use_both().await, (0, 2));
    let entries = std::fs::read_dir(cache.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let keys: BTreeSet<String> = names
        .map(|name| name.rsplit_once('.').unwrap().0.to_owned())
        .collect();
    let keys: Vec<String> = keys.into_iter().collect();
    let [one, other] = keys.as_slice() else {
        panic!("{keys:?}")
    };
    // Each whole, with its checksum, under the other's name.
    for kind in ["cwasm", "sha256"] {
        let at = |key: &str| cache.path().join(format!("{key}.{kind}"));
        std::fs::rename(at(one), at("aside")).unwrap();
        std::fs::rename(at(other), at(one)).unwrap();
        std::fs::rename(at("aside"), at(other)).unwrap();
    }
    assert_eq!(use_both().await, (2, 0));
    assert_eq!(use_both().await, (0, 2));
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
