//! What a plugin may reach: asked for by its manifest and allowed by the operator, both.

use crate::rig::{Rig, TENANT};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use stepwell_sandbox::{Ceiling, Grants, HttpRule, Outcome, SecretSource};

struct OneSecret;

impl SecretSource for OneSecret {
    fn secret(&self, tenant: &str, name: &str) -> Option<String> {
        (tenant == TENANT && name == "KEY").then(|| "s3cret".to_owned())
    }
}

/// A server that answers every request with its first line, until the test's process ends.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = String::new();
            let mut chunk = [0; 1024];
            while !is_whole(&text) {
                match stream.read(&mut chunk) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => text += &String::from_utf8_lossy(&chunk[..n]),
                }
            }
            let line = text.lines().next().unwrap_or_default();
            let reply = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{line}",
                line.len()
            );
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    address
}

/// Whether the request's body is there too: closing a connection with unread bytes resets it, and the reply may be lost.
fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    length.is_none_or(|length| body.len() >= length.trim().parse().unwrap())
}

fn http_grant(rules: &str) -> String {
    format!("[grants]\nhttp = [{rules}]")
}

#[tokio::test]
async fn http_goes_where_it_is_granted_and_nowhere_else() {
    let (rig, address) = (Rig::new(), server());
    let rule =
        format!(r#"{{ host = "http://{address}", methods = ["GET", "POST"], path = "/v1" }}"#);
    rig.put_with("api", "behave", &http_grant(&rule))
        .put("none", "behave");
    let get = |path: &str| json!({"do": "http", "url": format!("http://{address}{path}")});
    let reply = rig.output("api", get("/v1/x?y=1")).await;
    assert_eq!(
        reply,
        json!({"status": 200, "body": "GET /v1/x?y=1 HTTP/1.1"})
    );
    let post = json!({"do": "http", "method": "POST", "url": format!("http://{address}/v1"), "body": "hello"});
    assert_eq!(rig.output("api", post).await["body"], "POST /v1 HTTP/1.1");
    let put = json!({"do": "http", "method": "PUT", "url": format!("http://{address}/v1")});
    for (plugin, input) in [
        ("api", get("/v2")),
        ("api", get("/v1/../v2")),
        ("api", put),
        ("none", get("/v1")),
    ] {
        let end = rig.call(plugin, input.clone()).await;
        match &end.outcome {
            Outcome::Failed { error, cause } => {
                assert_eq!(error, "HttpError");
                assert!(cause.contains("[grants].http"), "{cause}");
            }
            other => panic!("{plugin} {input}: {other:?}"),
        }
        assert!(end.refused[0].contains(&address), "{:?}", end.refused);
    }
}

#[tokio::test]
async fn private_addresses_need_a_literal_grant() {
    let (rig, address) = (Rig::new(), server());
    let port = address.rsplit_once(':').unwrap().1;
    rig.put_with("any", "behave", &http_grant(r#""http://*:*""#));
    rig.put_with(
        "named",
        "behave",
        &http_grant(&format!(r#""http://localhost:{port}""#)),
    );
    let end = rig
        .call(
            "any",
            json!({"do": "http", "url": format!("http://{address}/")}),
        )
        .await;
    assert!(
        matches!(end.outcome, Outcome::Failed { .. }),
        "{:?}",
        end.outcome
    );
    assert!(
        end.refused[0].contains("private address"),
        "{:?}",
        end.refused
    );
    let end = rig
        .call(
            "any",
            json!({"do": "http", "url": "http://169.254.169.254/latest/meta-data"}),
        )
        .await;
    assert!(
        end.refused[0].contains("private address"),
        "{:?}",
        end.refused
    );
    let reply = rig
        .output(
            "named",
            json!({"do": "http", "url": format!("http://localhost:{port}/")}),
        )
        .await;
    assert_eq!(reply["status"], 200);
}

#[tokio::test]
async fn breaking_down_after_a_refusal_is_named_so() {
    let rig = Rig::new();
    rig.put("behave", "behave");
    match rig
        .outcome(
            "behave",
            json!({"do": "http-or-trap", "url": "http://example.com/"}),
        )
        .await
    {
        Outcome::GrantRefused { cause } => {
            assert!(cause.contains("GET http://example.com/"), "{cause}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_operators_ceiling_holds() {
    let address = server();
    let manifest = format!(
        "[grants]\nsecrets = [\"KEY\", \"OTHER\"]\nconfig = {{ region = \"eu\", mode = \"x\" }}\nenv = {{ LOG = \"1\" }}\nhttp = [\"http://{address}\"]"
    );
    let only = Grants {
        secrets: ["KEY".to_owned()].into(),
        config: [("region".to_owned(), "us".to_owned())].into(),
        http: vec![HttpRule::parse("http://10.0.0.1:80", &[], None).unwrap()],
        ..Grants::default()
    };
    let rig = Rig::with(|config| {
        config.ceiling = Ceiling::Only(Box::new(only));
        config.secrets = Arc::new(OneSecret);
    });
    rig.put_with("task", "behave", &manifest);
    assert_eq!(
        rig.output("task", json!({"do": "secret", "name": "KEY"}))
            .await,
        "s3cret"
    );
    assert!(matches!(
        rig.outcome("task", json!({"do": "secret", "name": "OTHER"}))
            .await,
        Outcome::Failed { .. }
    ));
    assert_eq!(
        rig.output("task", json!({"do": "config", "key": "region"}))
            .await,
        "us"
    );
    assert_eq!(
        rig.output("task", json!({"do": "config", "key": "mode"}))
            .await,
        json!(null)
    );
    assert_eq!(
        rig.output("task", json!({"do": "environment"})).await,
        json!({})
    );
    let input = json!({"do": "http", "url": format!("http://{address}/")});
    assert!(matches!(
        rig.outcome("task", input).await,
        Outcome::Failed { .. }
    ));
    let info = rig.sandbox.list().remove(0);
    assert_eq!(
        info.missing_grants,
        ["env `LOG`", "config `mode`", "secret `OTHER`"]
    );
}

#[tokio::test]
async fn as_asked_gives_what_the_manifest_says() {
    let rig = Rig::with(|config| config.secrets = Arc::new(OneSecret));
    let manifest = "[grants]\nsecrets = [\"KEY\", \"ABSENT\"]\nconfig = { region = \"eu\" }\nenv = { LOG = \"1\" }";
    rig.put_with("task", "behave", manifest)
        .put("bare", "behave");
    assert_eq!(
        rig.output("task", json!({"do": "secret", "name": "KEY"}))
            .await,
        "s3cret"
    );
    assert_eq!(
        rig.output("task", json!({"do": "config", "key": "region"}))
            .await,
        "eu"
    );
    assert_eq!(
        rig.output("task", json!({"do": "environment"})).await,
        json!({"LOG": "1"})
    );
    for (plugin, name, part) in [
        ("task", "ABSENT", "stepwell secret set"),
        ("bare", "KEY", "[grants].secrets"),
    ] {
        match rig
            .outcome(plugin, json!({"do": "secret", "name": name}))
            .await
        {
            Outcome::Failed { cause, .. } => assert!(cause.contains(part), "{cause}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn folders_are_granted_below_the_plugins_own() {
    let rig = Rig::new();
    let data = rig.folder.path().join("task/data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("hello.txt"), "hello").unwrap();
    std::fs::write(rig.folder.path().join("outside.txt"), "secret").unwrap();
    let manifest = "[grants]\nfs = [{ host = \"data\", guest = \"/data\" }, { host = \"../\", guest = \"/up\" }]";
    rig.put_with("task", "behave", manifest);
    let read = |path: &str| json!({"do": "read", "path": path});
    assert_eq!(rig.output("task", read("/data/hello.txt")).await, "hello");
    for path in ["/data/../../outside.txt", "/up/outside.txt", "/etc/passwd"] {
        let outcome = rig.outcome("task", read(path)).await;
        assert!(
            matches!(outcome, Outcome::Failed { .. }),
            "{path}: {outcome:?}"
        );
    }
    let write = rig
        .outcome("task", json!({"do": "write", "path": "/data/new.txt"}))
        .await;
    assert!(matches!(write, Outcome::Failed { .. }), "{write:?}");
    assert!(
        rig.sandbox.list()[0].missing_grants[0].contains("leads out"),
        "{:?}",
        rig.sandbox.list()
    );
}
