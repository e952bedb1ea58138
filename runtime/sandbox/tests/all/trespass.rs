//! Guests that want what is not theirs: files beyond their folders by links and moves of their own, one after the other and in a
//! race, and secrets that went out with their requests. What they did not get is looked for.

use crate::rig::{Rig, TENANT, call};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stepwell_sandbox::{Heartbeat, Outcome, SecretSource};
use tokio::sync::watch;

/// What nobody but another account may read.
const ANOTHERS: &str = "of another account";
const DATA: &str = "[grants]\nfs = [{ host = \"data\", guest = \"/data\", mode = \"rw\" }]";

/// A guest with a folder of its own, beside a file of another account's.
fn with_a_folder() -> (Rig, PathBuf) {
    let rig = Rig::new();
    let theirs = rig.folder.path().join("111111111111/pay");
    std::fs::create_dir_all(&theirs).unwrap();
    std::fs::write(theirs.join("secret.txt"), ANOTHERS).unwrap();
    let data = rig.folder.path().join("task/data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("own.txt"), "own").unwrap();
    rig.put_with("task", "trespass", DATA);
    (rig, theirs.join("secret.txt"))
}

fn does(what: &str, from: &str, to: &str) -> Value {
    json!({"do": what, "from": from, "to": to})
}

fn failed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { .. })
}

/// All that lies below a folder, links as they are.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[tokio::test]
async fn links_that_a_guest_makes_lead_nowhere_else() {
    let (rig, secret) = with_a_folder();
    // One within works, so that the others are refused for where they lead.
    rig.output("task", does("soft-link", "own.txt", "/data/near"))
        .await;
    assert_eq!(
        rig.output("task", does("read", "/data/near", "")).await,
        "own"
    );
    let absolute = secret.to_str().unwrap();
    let folder = secret.parent().unwrap().to_str().unwrap();
    for (n, (leads, then, made)) in [
        (absolute, "", false),
        (folder, "/secret.txt", false),
        ("/", absolute, false),
        ("../../111111111111/pay/secret.txt", "", true),
        ("../../111111111111/pay", "/secret.txt", true),
        ("..", "/../111111111111/pay/secret.txt", true),
        ("near/../../..", "/111111111111/pay/secret.txt", true),
    ]
    .into_iter()
    .enumerate()
    {
        let link = format!("/data/link-{n}");
        let linked = rig.outcome("task", does("soft-link", leads, &link)).await;
        assert_eq!(
            matches!(linked, Outcome::Ok(_)),
            made,
            "{leads}: {linked:?}"
        );
        let path = format!("{link}{then}");
        let write = json!({"do": "write", "to": path, "text": "overwritten"});
        let mut attempts = vec![does("read", &path, ""), does("list", &link, "")];
        // What is not there may be written anew.
        attempts.extend(made.then_some(write));
        for attempt in attempts {
            let outcome = rig.outcome("task", attempt.clone()).await;
            assert!(failed(&outcome), "{attempt}: {outcome:?}");
        }
    }
    assert_eq!(std::fs::read_to_string(secret).unwrap(), ANOTHERS);
}

#[tokio::test]
async fn what_lies_elsewhere_is_neither_linked_nor_moved() {
    let (rig, secret) = with_a_folder();
    let base = rig.folder.path();
    let before = below(base);
    let absolute = secret.to_str().unwrap();
    for what in ["hard-link", "rename"] {
        for from in [
            absolute,
            "/data/../../111111111111/pay/secret.txt",
            "../111111111111/pay/secret.txt",
            "/data/../plugin.toml",
            "/proc/self/environ",
        ] {
            let outcome = rig.outcome("task", does(what, from, "/data/mine")).await;
            assert!(failed(&outcome), "{what} {from}: {outcome:?}");
        }
        for to in [
            "/data/../plugin.toml",
            "/data/../../outside.txt",
            "/outside.txt",
            "../outside.txt",
            absolute,
        ] {
            let outcome = rig.outcome("task", does(what, "/data/own.txt", to)).await;
            assert!(failed(&outcome), "{what} to {to}: {outcome:?}");
        }
    }
    for (what, path) in [
        ("remove", absolute),
        ("remove", "/data/../plugin.toml"),
        ("list", "/"),
        ("list", "/data/.."),
        ("list", "/data/../../111111111111"),
        ("read", "/data/../plugin.toml"),
    ] {
        let outcome = rig.outcome("task", does(what, path, "")).await;
        assert!(failed(&outcome), "{what} {path}: {outcome:?}");
    }
    for to in ["/data/../made", "/made", "../made"] {
        let outcome = rig.outcome("task", does("make-folder", "", to)).await;
        assert!(failed(&outcome), "{to}: {outcome:?}");
    }
    assert_eq!(below(base), before, "something was made, moved or removed");
    assert_eq!(std::fs::read_to_string(secret).unwrap(), ANOTHERS);
}

/// What may be read alone is not changed in any way that there is: neither files nor the folder.
#[tokio::test]
async fn what_is_granted_for_reading_stays_as_it_is() {
    let rig = Rig::new();
    let data = rig.folder.path().join("task/data");
    std::fs::create_dir_all(data.join("below")).unwrap();
    std::fs::write(data.join("own.txt"), "own").unwrap();
    let [one, other] = [
        DATA.replace("\"rw\"", "\"ro\""),
        DATA.replace(", mode = \"rw\"", ""),
    ];
    let before = below(&data);
    // As it is written, and as it is when nothing is written.
    for manifest in [one, other] {
        rig.put_with("task", "trespass", &manifest);
        for attempt in [
            json!({"do": "write", "to": "/data/own.txt", "text": "overwritten"}),
            json!({"do": "write", "to": "/data/new.txt", "text": "new"}),
            json!({"do": "write", "to": "/data/below/new.txt", "text": "new"}),
            does("make-folder", "", "/data/made"),
            does("remove", "/data/own.txt", ""),
            does("rename", "/data/own.txt", "/data/moved"),
            does("rename", "/data/below", "/data/moved"),
            does("hard-link", "/data/own.txt", "/data/link"),
            does("soft-link", "own.txt", "/data/link"),
        ] {
            let outcome = rig.outcome("task", attempt.clone()).await;
            assert!(failed(&outcome), "{attempt}: {outcome:?}");
        }
        let read = rig.output("task", does("read", "/data/own.txt", "")).await;
        assert_eq!(read, "own");
        assert_eq!(below(&data), before, "{manifest}");
    }
}

/// One guest makes a folder a link that leads out, and a folder again; another one reads through it.
#[tokio::test]
async fn guests_that_race_gain_nothing() {
    let (rig, _) = with_a_folder();
    let inner = rig.folder.path().join("task/data/inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("secret.txt"), "own").unwrap();
    let swaps = async {
        for _ in 0..60 {
            for step in [
                does("rename", "/data/inner", "/data/aside"),
                does("soft-link", "../../111111111111/pay", "/data/inner"),
                does("remove", "/data/inner", ""),
                does("rename", "/data/aside", "/data/inner"),
            ] {
                rig.output("task", step).await;
            }
        }
    };
    let read = || does("read", "/data/inner/secret.txt", "");
    let reads = async {
        for _ in 0..240 {
            match rig.outcome("task", read()).await {
                Outcome::Ok(text) => assert_eq!(text, "\"own\""),
                outcome => assert!(failed(&outcome), "{outcome:?}"),
            }
        }
    };
    tokio::join!(swaps, reads);
    assert_eq!(rig.output("task", read()).await, "own");
}

struct Secrets;

impl SecretSource for Secrets {
    fn secret(&self, tenant: &str, name: &str) -> Option<String> {
        // What JSON writes in another way is in it.
        (tenant == TENANT && name == "KEY").then(|| "s3cret\"\\value".to_owned())
    }
}

/// A server that answers with the head of the request, until the test's process ends.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut heard, mut chunk) = (Vec::new(), [0; 1024]);
            while !heard.ends_with(b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => heard.extend_from_slice(&chunk[..read]),
                }
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                heard.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &heard].concat());
        }
    });
    address
}

/// The server echoes the secret, and the guest says it wherever it can.
#[tokio::test]
async fn an_echoed_secret_comes_out_nowhere() {
    let address = echo();
    let rig = Rig::with(|config| config.secrets = Arc::new(Secrets));
    let manifest =
        format!("[grants]\nhttp = [{{ host = \"http://{address}\", secrets = [\"KEY\"] }}]");
    rig.put_with("task", "trespass", &manifest);
    let (heartbeats, notes) = watch::channel(Heartbeat::default());
    let tell = json!({"do": "tell-secret", "url": format!("http://{address}/")});
    let mut task = call("task", tell);
    (task.heartbeats, task.log_tail) = (Some(heartbeats), true);
    let end = rig.sandbox.call(task).await;
    let note = notes.borrow().progress.clone().unwrap_or_default();
    let tail = end.log_tail.as_ref().map_or("", |tail| tail.text.as_str());
    // It is masked on each way, and so was on each.
    let ways: [(&str, &str); 8] = [
        ("the output", end.outcome.output().unwrap_or_default()),
        ("a note", &note),
        ("a log line", &end.logs[0].message),
        ("a field", &end.logs[0].fields[0].1),
        ("a field's name", &end.logs[0].fields[1].0),
        ("stdout", &end.stdout.text),
        ("stderr", &end.stderr.text),
        ("the end of the log", tail),
    ];
    for (way, text) in ways {
        assert!(text.contains("Bearer {{secret:KEY}}"), "{way}: {text}");
        assert!(!text.contains("s3cret"), "{way}: {text}");
    }
    assert!(!format!("{end:?}").contains("s3cret"), "{end:?}");
}

/// Nor does it come out of who fails by it, or breaks down over it.
#[tokio::test]
async fn an_echoed_secret_is_in_no_error() {
    let address = echo();
    let rig = Rig::with(|config| config.secrets = Arc::new(Secrets));
    let manifest =
        format!("[grants]\nhttp = [{{ host = \"http://{address}\", secrets = [\"KEY\"] }}]");
    rig.put_with("task", "trespass", &manifest);
    for what in ["fail-with-secret", "panic-with-secret"] {
        let does = json!({"do": what, "url": format!("http://{address}/")});
        let end = rig.call("task", does).await;
        let told: Vec<&str> = match &end.outcome {
            Outcome::Failed { error, cause } => vec![error.as_str(), cause.as_str()],
            Outcome::Trapped { cause } => vec![cause.as_str(), end.stderr.text.as_str()],
            other => panic!("{what}: {other:?}"),
        };
        for text in told {
            assert!(text.contains("Bearer {{secret:KEY}}"), "{what}: {text}");
        }
        assert!(!format!("{end:?}").contains("s3cret"), "{what}: {end:?}");
    }
}

/// Notes are kept while it runs, of every task that does.
#[tokio::test]
async fn a_note_is_as_long_as_a_note_may_be() {
    let rig = Rig::new();
    rig.put("task", "trespass");
    let (heartbeats, notes) = watch::channel(Heartbeat::default());
    let mut task = call("task", does("note-at-length", "", ""));
    task.heartbeats = Some(heartbeats);
    let end = rig.sandbox.call(task).await;
    assert_eq!(end.outcome, Outcome::Ok("null".into()));
    let note = notes.borrow().progress.clone().unwrap_or_default();
    assert_eq!(&*note, "\u{e9}".repeat(512));
}

/// Whatever it may connect to, it sends no datagrams: nobody looks where these go.
#[tokio::test]
async fn datagrams_go_nowhere() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    let address = receiver.local_addr().unwrap().to_string();
    let rig = Rig::new();
    let granted = format!("[grants]\ntcp = [\"{address}\"]");
    rig.put("bare", "trespass")
        .put_with("granted", "trespass", &granted);
    for plugin in ["bare", "granted"] {
        let send = does("send-datagram", "", &address);
        match rig.outcome(plugin, send).await {
            // The system has them, and says no.
            Outcome::Failed { cause, .. } => assert!(!cause.contains("support"), "{cause}"),
            other => panic!("{plugin}: {other:?}"),
        }
    }
    let came = receiver.recv(&mut [0; 16]);
    assert_eq!(came.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn signs_of_life_do_not_prolong_a_life() {
    let rig = Rig::new();
    let limits = "[limits]\nwall = \"60s\"\ncpu = \"200ms\"";
    rig.put_with("task", "trespass", limits);
    let outcome = rig.outcome("task", does("beat-for-ever", "", "")).await;
    let limit = Duration::from_millis(200);
    assert_eq!(outcome, Outcome::CpuTime { limit });
}

#[tokio::test]
async fn an_error_of_its_own_is_as_long_as_an_error_may_be() {
    let rig = Rig::new();
    rig.put("task", "trespass");
    match rig.outcome("task", does("boast", "", "")).await {
        Outcome::Failed { error, cause } => {
            assert_eq!(error, "E".repeat(256));
            assert_eq!(cause.chars().count(), 32_768);
        }
        other => panic!("{other:?}"),
    }
}

/// What a program is told by its environment is its call, and what was granted: nothing of the host's own.
#[tokio::test]
async fn the_hosts_environment_is_nobodys() {
    assert!(std::env::vars().any(|(name, _)| name == "PATH"));
    let rig = Rig::new();
    let granted = "[grants]\nenv = { GRANTED = \"yes\" }";
    rig.put("command", "command")
        .put_with("granted", "command", granted);
    for plugin in ["command", "granted"] {
        let told = rig.output(plugin, json!({"do": "environment"})).await;
        let told = told.as_object().unwrap();
        let others = told.keys().filter(|name| !name.starts_with("STEPWELL_"));
        let others: Vec<&String> = others.collect();
        match plugin {
            "granted" => assert_eq!(others, ["GRANTED"]),
            _ => assert!(others.is_empty(), "{others:?}"),
        }
        assert!(told.contains_key("STEPWELL_ATTEMPT"));
    }
    rig.put("component", "behave");
    let told = rig.output("component", json!({"do": "environment"})).await;
    assert_eq!(told, json!({}));
}
