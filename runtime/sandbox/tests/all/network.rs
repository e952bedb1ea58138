//! TCP, names, and secrets in requests: to real servers on this machine.

use crate::rig::{Rig, TENANT};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use stepwell_sandbox::{Addresses, Ceiling, Grants, Outcome, Resolve, SecretSource, TcpRule};

struct Secrets;

impl SecretSource for Secrets {
    fn secret(&self, tenant: &str, name: &str) -> Option<String> {
        (tenant == TENANT && name == "KEY").then(|| "s3cret-value".to_owned())
    }
}

/// A server that says what it was told, until the test's process ends; of HTTP the whole head.
fn echo(http: bool) -> String {
    echo_and_note(http, Arc::default())
}

/// The same; what it was told is noted too.
fn echo_and_note(http: bool, note: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut heard = Vec::new();
            let mut chunk = [0; 1024];
            while let Ok(n) = stream.read(&mut chunk)
                && n > 0
            {
                heard.extend_from_slice(&chunk[..n]);
                let ends: &[u8] = if http { b"\r\n\r\n" } else { b"." };
                if heard.ends_with(ends) {
                    break;
                }
            }
            if http {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    heard.len()
                );
                let _ = stream.write_all(head.as_bytes());
            }
            note.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&heard));
            let _ = stream.write_all(&heard);
        }
    });
    address
}

fn failed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { .. })
}

#[tokio::test]
async fn tcp_goes_where_it_is_granted_and_nowhere_else() {
    let (rig, address, other) = (Rig::new(), echo(false), echo(false));
    let port = address.rsplit_once(':').unwrap().1;
    rig.put_with(
        "literal",
        "behave",
        &format!("[grants]\ntcp = [\"{address}\"]"),
    )
    .put_with("any", "behave", "[grants]\ntcp = [\"*:*\"]")
    .put_with(
        "public",
        "behave",
        &format!("[grants]\ntcp = [\"localhost:{port}\"]"),
    )
    .put_with(
        "named",
        "behave",
        &format!("[grants]\ntcp = [{{ host = \"localhost:{port}\", private = true }}]"),
    )
    .put("none", "behave");
    let talk = |address: &str| json!({"do": "talk", "address": address, "say": "hello."});
    assert_eq!(rig.output("literal", talk(&address)).await, "hello.");
    let by_name = format!("localhost:{port}");
    assert_eq!(rig.output("named", talk(&by_name)).await, "hello.");
    for (plugin, address) in [
        ("literal", &other),
        ("any", &address),
        ("public", &by_name),
        ("named", &other),
        ("none", &address),
    ] {
        let end = rig.call(plugin, talk(address)).await;
        assert!(
            failed(&end.outcome),
            "{plugin} {address}: {:?}",
            end.outcome
        );
        assert_eq!(
            plugin == "none",
            end.refused.is_empty(),
            "{plugin}: {:?}",
            end.refused
        );
    }
    let listen = json!({"do": "listen", "address": "127.0.0.1:0"});
    assert!(failed(&rig.outcome("literal", listen).await));
}

#[tokio::test]
async fn the_ceiling_of_tcp_holds() {
    let address = echo(false);
    let only = Grants {
        tcp: vec![TcpRule::parse("10.0.0.1:*", false).unwrap()],
        ..Grants::default()
    };
    let rig = Rig::with(|config| config.ceilings.own.grants = Ceiling::Only(Box::new(only)));
    rig.put_with(
        "task",
        "behave",
        &format!("[grants]\ntcp = [\"{address}\"]"),
    );
    let talk = json!({"do": "talk", "address": address, "say": "hello."});
    assert!(failed(&rig.outcome("task", talk).await));
}

#[tokio::test]
async fn names_are_looked_up_where_granted() {
    let rig = Rig::new();
    rig.put_with("task", "behave", "[grants]\ndns = [\"localhost\"]")
        .put_with("other", "behave", "[grants]\ndns = [\"*.example\"]")
        .put("none", "behave");
    let look_up = || json!({"do": "look-up", "name": "localhost"});
    let found = rig.output("task", look_up()).await;
    assert!(
        found.as_array().unwrap().contains(&json!("127.0.0.1")),
        "{found}"
    );
    let end = rig.call("other", look_up()).await;
    assert!(failed(&end.outcome), "{:?}", end.outcome);
    assert_eq!(end.refused, ["dns `localhost`"]);
    assert!(failed(&rig.outcome("none", look_up()).await));
}

#[tokio::test]
async fn a_secret_goes_out_and_never_comes_in() {
    let noted = Arc::new(Mutex::new(String::new()));
    let address = echo_and_note(true, noted.clone());
    let rig = Rig::with(|config| config.secrets = Arc::new(Secrets));
    let rule = |more: &str| format!("[grants]\nhttp = [{{ host = \"http://{address}\"{more} }}]");
    rig.put_with("task", "behave", &rule(", secrets = [\"KEY\", \"GONE\"]"))
        .put_with("bare", "behave", &rule(""));
    let ask = |value: &str| json!({"do": "http", "url": format!("http://{address}/"), "headers": {"authorization": value}});
    let end = rig.call("task", ask("Bearer {{secret:KEY}}")).await;
    // The server echoed it; what the task gave back has the placeholder again.
    let output = end.outcome.output().unwrap();
    assert!(output.contains("Bearer {{secret:KEY}}"), "{output}");
    assert!(!format!("{end:?}").contains("s3cret"), "{end:?}");
    assert!(
        noted
            .lock()
            .unwrap()
            .contains("authorization: Bearer s3cret-value\r\n")
    );
    for (plugin, value, why) in [
        ("bare", "{{secret:KEY}}", "name it in `secrets` of the rule"),
        (
            "task",
            "{{secret:OTHER}}",
            "name it in `secrets` of the rule",
        ),
        (
            "task",
            "{{secret:GONE}}",
            "`stepwell secret put GONE` sets it",
        ),
    ] {
        let end = rig.call(plugin, ask(value)).await;
        assert!(failed(&end.outcome), "{plugin} {value}: {:?}", end.outcome);
        assert!(end.refused[0].contains(why), "{:?}", end.refused);
    }
    // It was for requests alone.
    let read = json!({"do": "secret", "name": "KEY"});
    assert!(failed(&rig.outcome("task", read).await));
}

#[tokio::test]
async fn the_idempotency_key_goes_along_where_the_rule_says_so() {
    let address = echo(true);
    let rig = Rig::new();
    let rule =
        format!("[grants]\nhttp = [{{ host = \"http://{address}\", idempotency-key = true }}]");
    rig.put_with("task", "behave", &rule);
    let ask = json!({"do": "http", "url": format!("http://{address}/"), "headers": {"idempotency-key": "mine"}});
    let mut task = crate::rig::call("task", ask);
    task.context.idempotency_key = "0123abcd".into();
    let outcome = rig.sandbox.call(task).await.outcome;
    let output = outcome.output().unwrap();
    assert!(output.contains("idempotency-key: 0123abcd"), "{output}");
    assert!(!output.contains("mine"), "{output}");
    // A rule that says nothing of it leaves the request as it is.
    rig.put_with(
        "plain",
        "behave",
        &format!("[grants]\nhttp = [\"http://{address}\"]"),
    );
    for (headers, kept) in [
        (json!({"idempotency-key": "mine"}), "idempotency-key: mine"),
        (json!({}), "GET / "),
    ] {
        let ask = json!({"do": "http", "url": format!("http://{address}/"), "headers": headers});
        let mut task = crate::rig::call("plain", ask);
        task.context.idempotency_key = "0123abcd".into();
        let outcome = rig.sandbox.call(task).await.outcome;
        let output = outcome.output().unwrap();
        assert!(
            output.contains(kept) && !output.contains("0123abcd"),
            "{output}"
        );
    }
}

/// Says in turn what a name stands for, as a server of names does that means harm.
struct Rebinds {
    answers: Mutex<Vec<Vec<&'static str>>>,
    asked: AtomicUsize,
}

impl Rebinds {
    fn new(answers: &[&[&'static str]]) -> Arc<Self> {
        let answers = answers.iter().rev().map(|answer| answer.to_vec());
        Arc::new(Self {
            answers: Mutex::new(answers.collect()),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Resolve for Rebinds {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Addresses<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop().unwrap_or_default();
        let addresses = answer
            .iter()
            .map(|address| SocketAddr::new(address.parse().unwrap(), port));
        let addresses: Vec<SocketAddr> = addresses.collect();
        Box::pin(async move { Ok(addresses) })
    }
}

/// A public address that leads nowhere: nobody was given one of this range.
const NOWHERE: &str = "2000::1";
const HOME: &str = "127.0.0.1";

#[tokio::test]
async fn a_name_is_looked_up_once_and_what_it_stands_for_later_counts_for_nothing() {
    let noted = Arc::new(Mutex::new(String::new()));
    let address = echo_and_note(true, noted.clone());
    let port = address.rsplit_once(':').unwrap().1;
    // By the second answer the name leads home: whoever asked again when connecting would go there.
    let names = Rebinds::new(&[&[NOWHERE], &[HOME], &[HOME], &[HOME, NOWHERE], &[HOME]]);
    let asked = names.clone();
    let rig = Rig::with(|config| config.names = names);
    let short = "[limits]\nwall = \"500ms\"";
    rig.put_with(
        "any",
        "behave",
        &format!("{short}\n[grants]\nhttp = [\"http://*:*\"]"),
    )
    .put_with(
        "named",
        "behave",
        &format!("[grants]\nhttp = [\"http://rebound.example:{port}\"]"),
    );
    // Loaded first, so that no compilation is measured.
    rig.output("any", json!({"do": "echo"})).await;
    let ask = || json!({"do": "http", "url": format!("http://rebound.example:{port}/")});
    let none_came = || noted.lock().unwrap().is_empty();
    let lookups = || asked.asked.load(Ordering::SeqCst);
    for (lookup, private) in [(1, false), (2, true), (3, true), (4, false)] {
        let end = rig.call("any", ask()).await;
        assert!(
            failed(&end.outcome) || matches!(end.outcome, Outcome::TimedOut { .. }),
            "{lookup}: {:?}",
            end.outcome
        );
        let refused = end
            .refused
            .iter()
            .any(|why| why.contains("private address"));
        assert_eq!(refused, private, "{lookup}: {:?}", end.refused);
        assert_eq!(lookups(), lookup, "a request looks its name up once");
        assert!(none_came(), "{lookup}: {}", noted.lock().unwrap());
    }
    // A rule that names this very host and port means it.
    assert_eq!(rig.output("named", ask()).await["status"], 200);
    assert_eq!(lookups(), 5);
    assert!(!none_came());
}

/// A guest connects to an address. Where a rule has a name, what that stands for at this moment decides, and the connection goes to
/// the address that was asked about.
#[tokio::test]
async fn a_name_in_a_rule_of_tcp_is_what_it_stands_for_at_the_connection() {
    let noted = Arc::new(Mutex::new(String::new()));
    let address = echo_and_note(false, noted.clone());
    let port = address.rsplit_once(':').unwrap().1;
    let names = Rebinds::new(&[
        &[NOWHERE],
        &[HOME],
        &[HOME, NOWHERE],
        &[NOWHERE],
        &[],
        // Of the public address, which the name leaves at once.
        &[NOWHERE],
        &[HOME],
    ]);
    let asked = names.clone();
    let rig = Rig::with(|config| config.names = names);
    let name = format!("rebound.example:{port}");
    let short = "[limits]\nwall = \"500ms\"";
    rig.put_with(
        "public",
        "behave",
        &format!("{short}\n[grants]\ntcp = [\"{name}\"]"),
    )
    .put_with(
        "private",
        "behave",
        &format!("[grants]\ntcp = [{{ host = \"{name}\", private = true }}]"),
    );
    // Loaded first, so that no compilation is measured.
    rig.output("public", json!({"do": "echo"})).await;
    let talk = |address: &str| json!({"do": "talk", "address": address, "say": "hello."});
    let came = || !std::mem::take(&mut *noted.lock().unwrap()).is_empty();
    let lookups = || asked.asked.load(Ordering::SeqCst);
    // What is private is closed whatever a name stands for.
    let end = rig.call("public", talk(&address)).await;
    assert!(failed(&end.outcome), "{:?}", end.outcome);
    assert_eq!(end.refused, [format!("tcp `{address}`")]);
    assert!(!came() && lookups() == 0);
    for (lookup, goes) in [(1, false), (2, true), (3, true), (4, false), (5, false)] {
        let end = rig.call("private", talk(&address)).await;
        assert_eq!(failed(&end.outcome), !goes, "{lookup}: {:?}", end.outcome);
        assert_eq!(end.refused.is_empty(), goes, "{lookup}: {:?}", end.refused);
        assert_eq!(lookups(), lookup, "a connection looks the name up once");
        assert_eq!(came(), goes, "{lookup}");
    }
    let end = rig
        .call("public", talk(&format!("[{NOWHERE}]:{port}")))
        .await;
    assert!(end.outcome.output().is_none(), "{:?}", end.outcome);
    assert!(end.refused.is_empty(), "{:?}", end.refused);
    assert_eq!(lookups(), 6);
    assert!(!came(), "it went where the name leads a moment later");
}

/// To whom a request goes, and where it ends, is said by the connection and by nobody else.
#[tokio::test]
async fn a_request_is_framed_by_the_host_alone() {
    let noted = Arc::new(Mutex::new(String::new()));
    let address = echo_and_note(true, noted.clone());
    let rig = Rig::new();
    let rule = format!("[grants]\nhttp = [\"http://{address}\"]");
    rig.put_with("task", "behave", &rule);
    let ask = |name: &str, value: &str| {
        let url = format!("http://{address}/");
        json!({"do": "http", "url": url, "headers": {name: value}})
    };
    for (name, value) in [
        ("host", "inside.example"),
        ("transfer-encoding", "chunked"),
        ("connection", "upgrade"),
        ("x-split", "a\r\nhost: inside.example"),
        ("x split", "a"),
    ] {
        let outcome = rig.outcome("task", ask(name, value)).await;
        assert!(failed(&outcome), "{name}: {outcome:?}");
    }
    assert!(noted.lock().unwrap().is_empty(), "somebody came");
    let answer = rig.output("task", ask("x-plain", "a")).await;
    assert_eq!(answer["status"], 200);
}

/// A server that sends everyone elsewhere.
fn redirects(to: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let reply = format!(
        "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    address
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_another() {
    let noted = Arc::new(Mutex::new(String::new()));
    let inside = echo_and_note(true, noted.clone());
    let outside = redirects(&format!("http://{inside}/"));
    let rig = Rig::new();
    let rule = format!("[grants]\nhttp = [\"http://{outside}\"]");
    rig.put_with("task", "behave", &rule);
    let ask = |address: &str| json!({"do": "http", "url": format!("http://{address}/")});
    assert_eq!(rig.output("task", ask(&outside)).await["status"], 302);
    // Who follows it asks again, and is asked for its grant again.
    let end = rig.call("task", ask(&inside)).await;
    assert!(failed(&end.outcome), "{:?}", end.outcome);
    assert!(end.refused[0].contains(&inside), "{:?}", end.refused);
    assert!(noted.lock().unwrap().is_empty(), "somebody came");
}

/// A server that says a length that no body has.
fn says_too_much() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let length = u64::MAX;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }
    });
    address
}

#[tokio::test]
async fn a_reply_whose_length_no_body_has_is_told_as_that() {
    let address = says_too_much();
    let rig = Rig::new();
    let rule = format!("[grants]\nhttp = [\"http://{address}\"]");
    rig.put_with("task", "behave", &rule);
    let ask = json!({"do": "http", "url": format!("http://{address}/")});
    let outcome = rig.outcome("task", ask).await;
    let told = format!("{outcome:?}");
    let why = "HttpResponseBodySize(Some(18446744073709551615))";
    assert!(failed(&outcome) && told.contains(why), "{told}");
}

/// A server that announces its reply until nobody listens.
fn announces() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {}
        }
    });
    address
}

#[tokio::test]
async fn a_reply_that_is_announced_without_end_is_given_up_and_what_came_of_it_is_counted() {
    let address = announces();
    let rig = Rig::new();
    let rule = format!("[grants]\nhttp = [\"http://{address}\"]");
    rig.put_with("task", "behave", &rule);
    let ask = json!({"do": "http", "url": format!("http://{address}/")});
    let end = rig.call("task", ask).await;
    let told = format!("{:?}", end.outcome);
    assert!(
        failed(&end.outcome) && told.contains("HttpResponseHeaderSectionSize(Some(307200))"),
        "{told}"
    );
    // The bound, and the rest of what was read at once.
    let received = end.usage.host.http_bytes_received;
    assert!((307_200..1 << 20).contains(&received), "{received}");
}
