//! What hostile programs try beside computing for ever: host calls without end, handles and headers by the thousand, links and
//! names that lead elsewhere, uploads one after the other. Each test fails without its wall.

use crate::modules::{asks_for_random_bytes, command};
use crate::rig::{Rig, TENANT, call};
use futures_util::future::BoxFuture;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use stepwell_sandbox::{Outcome, TaskCall, Upload, UploadCode};

/// `(loop (drop (call $clock_time_get …)) (br 0))`: it computes next to nothing itself.
const ASKS_FOR_EVER: &[u8] = b"\x03\x40\x41\0\x42\x01\x41\x08\x10\0\x1a\x0c\0\x0b";

fn put(rig: &Rig, name: &str, wasm: &[u8], manifest: &str) {
    let place = rig.folder.path().join(name);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("plugin.toml"), manifest).unwrap();
    std::fs::write(place.join("task.wasm"), wasm).unwrap();
    rig.sandbox.rescan().unwrap();
}

#[tokio::test]
async fn host_calls_without_end_run_out_of_cpu_time() {
    let rig = Rig::new();
    let limits = "[limits]\nwall = \"60s\"\ncpu = \"200ms\"";
    put(&rig, "asks", &command(ASKS_FOR_EVER, "asks"), limits);
    let outcome = rig.outcome("asks", json!(null)).await;
    let limit = Duration::from_millis(200);
    assert_eq!(outcome, Outcome::CpuTime { limit });
}

#[tokio::test]
async fn handles_are_bounded() {
    let rig = Rig::new();
    rig.put("echo", "echo");
    let data = rig.folder.path().join("task/data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("file"), "x").unwrap();
    let manifest = "[grants]\nfs = [{ host = \"data\", guest = \"/data\" }]";
    rig.put_with("task", "behave", manifest);
    let open = |count: u64| json!({"do": "open", "path": "/data/file", "count": count});
    assert_eq!(rig.output("task", open(100)).await, 100);
    // Some more than a guest may hold, of the many that the system gives this process.
    give_files();
    match rig.outcome("task", open(1_100)).await {
        Outcome::Trapped { cause } => {
            assert!(cause.contains("resource table has no free keys"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.output("echo", json!("alive")).await, "alive");
}

/// Has the system give as many files to this process as it would, if it asked for them.
#[cfg(unix)]
fn give_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

#[cfg(not(unix))]
fn give_files() {}

/// Of what a guest hands over at once the host holds so much, whatever else it may: a copy of each of many guests' is memory too.
#[tokio::test]
async fn one_call_hands_over_so_much_and_no_more() {
    let rig = Rig::new();
    rig.put("echo", "echo");
    let limits = "[limits]\nmemory = \"256MiB\"\noutput = \"6MiB\"";
    rig.put_with("task", "behave", limits);
    let large = |bytes: u64| json!({"do": "large", "bytes": bytes});
    let outcome = rig.outcome("task", large(7_000_000)).await;
    let over = matches!(
        outcome,
        Outcome::OutputTooLarge {
            bytes: 7_000_002,
            ..
        }
    );
    assert!(over, "{outcome:?}");
    match rig.outcome("task", large(9_000_000)).await {
        Outcome::Trapped { cause } => {
            assert!(cause.contains("more than 8 MiB in one call"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.output("echo", json!("alive")).await, "alive");
}

/// Random bytes are made by the host, for who asks, before they are the guest's.
#[tokio::test]
async fn random_bytes_are_bounded() {
    let rig = Rig::new();
    put(&rig, "some", &asks_for_random_bytes(65_536), "");
    put(&rig, "many", &asks_for_random_bytes(65_537), "");
    // It has them, and writes nothing.
    let outcome = rig.outcome("some", json!(null)).await;
    assert!(
        matches!(outcome, Outcome::InvalidOutput { .. }),
        "{outcome:?}"
    );
    match rig.outcome("many", json!(null)).await {
        Outcome::Trapped { cause } => assert!(cause.contains("exceeds limit 65536"), "{cause}"),
        other => panic!("{other:?}"),
    }
}

/// A server that counts who comes, and answers each with these bytes again and again, until they are taken no more.
fn flood(head: &'static [u8], again: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let met = Arc::new(AtomicUsize::new(0));
    let counted = met.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]);
            let mut sent = stream.write_all(head);
            while sent.is_ok() && !again.is_empty() {
                sent = stream.write_all(again);
            }
        }
    });
    (address, met)
}

#[tokio::test]
async fn headers_are_bounded_both_ways() {
    let (address, met) = flood(b"HTTP/1.1 200 OK\r\nx: ", &[b'a'; 4096]);
    let rig = Rig::new();
    let manifest = format!("[limits]\nwall = \"60s\"\n[grants]\nhttp = [\"http://{address}\"]");
    rig.put_with("task", "behave", &manifest);
    let url = format!("http://{address}/");
    let large = "a".repeat(200 << 10);
    let sends = json!({"do": "http", "url": url, "headers": {"x-large": large}});
    let outcome = rig.outcome("task", sends).await;
    assert!(
        matches!(outcome, Outcome::Failed { .. } | Outcome::Trapped { .. }),
        "{outcome:?}"
    );
    assert_eq!(met.load(Ordering::SeqCst), 0, "the request went out");
    // Headers that never end are not taken for ever.
    let outcome = rig.outcome("task", json!({"do": "http", "url": url})).await;
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    assert!(met.load(Ordering::SeqCst) > 0, "nobody came");
}

#[tokio::test]
async fn a_name_that_leads_home_is_no_way_in() {
    let (address, met) = flood(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"");
    let port = address.rsplit_once(':').unwrap().1;
    let rig = Rig::new();
    // The rule allows every name; what the name stands for is looked at when the request leaves.
    rig.put_with("task", "behave", "[grants]\nhttp = [\"http://*:*\"]");
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
    ] {
        let url = format!("http://{host}:{port}/");
        let end = rig.call("task", json!({"do": "http", "url": url})).await;
        let refused = matches!(end.outcome, Outcome::Failed { .. });
        assert!(refused, "{host}: {:?}", end.outcome);
    }
    assert_eq!(met.load(Ordering::SeqCst), 0, "somebody came");
}

#[cfg(unix)]
#[tokio::test]
async fn links_in_a_granted_folder_lead_nowhere_else() {
    use std::os::unix::fs::symlink;
    let rig = Rig::new();
    let base = rig.folder.path();
    // Another account's plugin, and a file of the host.
    let other = base.join("111111111111/pay");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("secret.txt"), "another account's").unwrap();
    let data = base.join("task/data");
    std::fs::create_dir_all(data.join("below")).unwrap();
    std::fs::write(data.join("own.txt"), "own").unwrap();
    symlink("own.txt", data.join("near")).unwrap();
    symlink(other.join("secret.txt"), data.join("far")).unwrap();
    symlink("../../111111111111/pay/secret.txt", data.join("up")).unwrap();
    symlink("/", data.join("whole")).unwrap();
    symlink("loop", data.join("loop")).unwrap();
    let manifest = "[grants]\nfs = [{ host = \"data\", guest = \"/data\", mode = \"rw\" }]";
    rig.put_with("task", "behave", manifest);
    let read = |path: &str| json!({"do": "read", "path": path});
    assert_eq!(rig.output("task", read("/data/own.txt")).await, "own");
    for path in [
        "/data/far",
        "/data/up",
        "/data/whole/etc/hostname",
        "/data/loop",
        "/data/../../111111111111/pay/secret.txt",
        "/data/below/../../../111111111111/pay/secret.txt",
        "/111111111111/pay/secret.txt",
        "//data/../../outside",
        "../111111111111/pay/secret.txt",
    ] {
        let outcome = rig.outcome("task", read(path)).await;
        assert!(
            matches!(outcome, Outcome::Failed { .. }),
            "{path}: {outcome:?}"
        );
    }
    for path in ["/data/far", "/data/up"] {
        let write = json!({"do": "write", "path": path});
        let outcome = rig.outcome("task", write).await;
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    }
    let kept = std::fs::read_to_string(other.join("secret.txt")).unwrap();
    assert_eq!(kept, "another account's");
}

/// While a guest opens a file, somebody beside it makes it a link that leads out, and a file again.
#[cfg(unix)]
#[tokio::test]
async fn a_link_that_comes_and_goes_is_never_followed_out() {
    use std::os::unix::fs::symlink;
    let rig = Rig::new();
    let outside = rig.folder.path().join("outside.txt");
    std::fs::write(&outside, "secret").unwrap();
    let data = rig.folder.path().join("task/data");
    std::fs::create_dir_all(&data).unwrap();
    let manifest = "[grants]\nfs = [{ host = \"data\", guest = \"/data\" }]";
    rig.put_with("task", "behave", manifest);
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (stop, data) = (stop.clone(), data.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let (file, link) = (data.join("file"), data.join("link"));
                std::fs::write(&file, "own").unwrap();
                std::fs::rename(&file, data.join("it")).unwrap();
                symlink(&outside, &link).unwrap();
                std::fs::rename(&link, data.join("it")).unwrap();
            }
        })
    };
    for _ in 0..200 {
        match rig
            .outcome("task", json!({"do": "read", "path": "/data/it"}))
            .await
        {
            Outcome::Ok(text) => assert_eq!(text, "\"own\""),
            Outcome::Failed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    stop.store(true, Ordering::SeqCst);
    swapping.join().unwrap();
}

struct Bytes(Arc<[u8]>);

impl UploadCode for Bytes {
    fn wasm(&self) -> BoxFuture<'static, Result<Arc<[u8]>, String>> {
        let wasm = self.0.clone();
        Box::pin(async { Ok(wasm) })
    }
}

fn upload(number: usize) -> Upload {
    let note = format!("upload {number}");
    Upload {
        id: note.as_str().into(),
        version: None,
        memory_bytes: 1 << 20,
        wall: Duration::from_secs(30),
        environment: BTreeMap::new(),
        code: Arc::new(Bytes(command(b"", &note).into())),
    }
}

#[tokio::test]
async fn uploads_one_after_the_other_do_not_fill_the_memory() {
    const COUNT: usize = 1_100;
    let cache = tempfile::tempdir().unwrap();
    let rig = Rig::with(|config| config.cache = Some(cache.path().to_owned()));
    rig.put("echo", "echo");
    for number in 0..COUNT {
        let checked = rig.sandbox.check(TENANT, "task", upload(number));
        checked.await.unwrap();
    }
    let metrics = rig.sandbox.metrics();
    assert!(metrics.loaded <= 1_000, "{} are in memory", metrics.loaded);
    // The first one went first, and is there again, from the disk.
    let compiled = metrics.compiled;
    let end = rig
        .sandbox
        .call(TaskCall {
            upload: Some(upload(0)),
            ..call("task", json!(null))
        })
        .await;
    assert!(end.started.is_some(), "{:?}", end.outcome);
    assert_eq!(rig.sandbox.metrics().compiled, compiled);
    assert_eq!(rig.output("echo", json!("alive")).await, "alive");
}

#[tokio::test]
async fn a_thousand_plugins_are_in_memory_and_others_come_back() {
    const COUNT: usize = 1_010;
    let cache = tempfile::tempdir().unwrap();
    let rig = Rig::with(|config| config.cache = Some(cache.path().to_owned()));
    for number in 0..COUNT {
        let file = rig.folder.path().join(format!("p{number:04}.wasm"));
        std::fs::write(file, command(b"", &format!("plugin {number}"))).unwrap();
    }
    rig.sandbox.rescan().unwrap();
    rig.sandbox.warm().await;
    let metrics = rig.sandbox.metrics();
    assert_eq!((metrics.loaded, metrics.compiled), (1_000, COUNT as u64));
    for name in ["p0000", "p0005", "p1009"] {
        let end = rig.call(name, json!(null)).await;
        assert!(end.started.is_some(), "{name}: {:?}", end.outcome);
    }
    let metrics = rig.sandbox.metrics();
    assert_eq!((metrics.loaded, metrics.compiled), (1_000, COUNT as u64));
    // What was unloaded is told of all the same.
    let told = rig.sandbox.list();
    assert!(told.iter().all(|plugin| plugin.contract.is_some()));
}

#[tokio::test]
async fn what_is_forgotten_leaves_memory_and_cache() {
    let cache = tempfile::tempdir().unwrap();
    let rig = Rig::with(|config| config.cache = Some(cache.path().to_owned()));
    let files = || std::fs::read_dir(cache.path()).unwrap().count();
    for number in [1, 2] {
        let checked = rig.sandbox.check(TENANT, "task", upload(number));
        checked.await.unwrap();
    }
    assert_eq!((files(), rig.sandbox.metrics().loaded), (4, 2));
    let wasm = command(b"", "upload 1");
    let sha256: String = <sha2::Sha256 as sha2::Digest>::digest(&wasm)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    rig.sandbox.forget(&sha256);
    assert_eq!((files(), rig.sandbox.metrics().loaded), (2, 1));
}
