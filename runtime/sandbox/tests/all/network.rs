//! TCP, names, and secrets in requests: to real servers on this machine.

use crate::rig::{Rig, TENANT};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use stepwell_sandbox::{Ceiling, Grants, Outcome, SecretSource, TcpRule};

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
}
