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
        http: vec![
            HttpRule::parse("http://10.0.0.1:80", &[], None)
                .unwrap()
                .into(),
        ],
        ..Grants::default()
    };
    let rig = Rig::with(|config| {
        config.ceilings.own.grants = Ceiling::Only(Box::new(only));
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
        [
            "env `LOG`: not allowed by the operator".to_owned(),
            "config `mode`: not allowed by the operator".to_owned(),
            "secret `OTHER`: not allowed by the operator".to_owned(),
            format!("http `http://{address}`: the operator allows another host"),
        ]
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
        ("task", "ABSENT", "--secrets"),
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
    let manifest = "[grants]\nfs = [{ host = \"data\", guest = \"/data\" }, { host = \".\", guest = \"/own\" }]";
    rig.put_with("task", "behave", manifest);
    let read = |path: &str| json!({"do": "read", "path": path});
    assert_eq!(rig.output("task", read("/data/hello.txt")).await, "hello");
    assert_eq!(
        rig.output("task", read("/own/data/hello.txt")).await,
        "hello"
    );
    for path in [
        "/data/../../outside.txt",
        "/own/../outside.txt",
        "/etc/passwd",
    ] {
        let outcome = rig.outcome("task", read(path)).await;
        assert!(
            matches!(outcome, Outcome::Failed { .. }),
            "{path}: {outcome:?}"
        );
    }
    for path in ["/data/new.txt", "/own/plugin.toml"] {
        let write = json!({"do": "write", "path": path});
        let write = rig.outcome("task", write).await;
        assert!(matches!(write, Outcome::Failed { .. }), "{write:?}");
    }
}

/// A program of preview 1 opens files by another interface than a component, behind the same grants.
#[tokio::test]
async fn a_commands_folders_are_granted_alike() {
    let rig = Rig::new();
    std::fs::write(rig.folder.path().join("outside.txt"), "secret").unwrap();
    let grant = |mode: &str| {
        format!("[grants]\nfs = [{{ host = \"data\", guest = \"/data\", mode = \"{mode}\" }}]")
    };
    for program in ["command", "command.p2"] {
        for mode in ["ro", "rw"] {
            let plugin = format!("{mode}-{}", program.replace('.', "-"));
            let data = rig.folder.path().join(&plugin).join("data");
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join("hello.txt"), "hello").unwrap();
            rig.put_with(&plugin, program, &grant(mode));
            let does = async |what: &str, path: &str| {
                rig.outcome(&plugin, json!({"do": what, "path": path}))
                    .await
            };
            let read = does("read", "/data/hello.txt").await;
            assert_eq!(read, Outcome::Ok("\"hello\"".into()), "{plugin}");
            for (what, path) in [
                ("read", "/data/../plugin.toml"),
                ("read", "/data/../../outside.txt"),
                ("read", "/etc/passwd"),
                ("write", "/data/../plugin.toml"),
                ("write", "/elsewhere"),
            ] {
                let outcome = does(what, path).await;
                assert!(
                    matches!(outcome, Outcome::Failed { .. }),
                    "{plugin} {what} {path}: {outcome:?}"
                );
            }
            for path in ["/data/new.txt", "/data/hello.txt"] {
                let wrote = matches!(does("write", path).await, Outcome::Ok(_));
                assert_eq!(wrote, mode == "rw", "{plugin} {path}");
            }
            assert_eq!(data.join("new.txt").exists(), mode == "rw", "{plugin}");
            let left = std::fs::read_to_string(data.join("hello.txt")).unwrap();
            let wanted = if mode == "rw" { "written" } else { "hello" };
            assert_eq!(left, wanted, "{plugin}");
        }
    }
}

/// What a plugin with this folder grant is refused for; nothing when it is served.
#[cfg(unix)]
async fn refused(rig: &Rig, host: &str, mode: &str) -> Option<String> {
    let manifest =
        format!("[grants]\nfs = [{{ host = {host:?}, guest = \"/there\", mode = {mode:?} }}]");
    rig.put_with("task", "behave", &manifest);
    // A fresh file that is broken might be half-written and would be tried again for a while.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for file in ["plugin.toml", "task.wasm"] {
        let file = std::fs::File::options()
            .write(true)
            .open(rig.folder.path().join("task").join(file));
        file.unwrap().set_modified(old).unwrap();
    }
    rig.sandbox.rescan().unwrap();
    match rig.outcome("task", json!({"do": "echo"})).await {
        Outcome::Ok(_) => None,
        Outcome::PluginBroken { cause } => {
            let place = format!("plugin `task`: plugin.toml:2:7: grants.fs[0]: `{host}`: ");
            Some(cause.strip_prefix(&place).unwrap_or(&cause).to_owned())
        }
        other => panic!("{host}: {other:?}"),
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_writes_where_grants_and_code_come_from() {
    use std::os::unix::fs::symlink;
    let scratch = tempfile::TempDir::new().unwrap();
    let at = |name: &str| scratch.path().join(name);
    for folder in ["data/buckets", "cache", "notes"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    let rig = Rig::with(|config| {
        config.cache = Some(at("cache"));
        config.guarded = vec![at("data")];
    });
    let plugins = rig.folder.path();
    for folder in ["task/data", "task/work", "other", "111111111111"] {
        std::fs::create_dir_all(plugins.join(folder)).unwrap();
    }
    symlink("../task", plugins.join("task/self")).unwrap();
    symlink(at("notes"), plugins.join("task/out")).unwrap();
    symlink("../other", plugins.join("task/other")).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let parent = text(plugins.parent().unwrap());
    for (host, why) in [
        (".".into(), "holds the plugin's own plugin.toml"),
        ("self".into(), "holds the plugin's own plugin.toml"),
        (text(plugins), "holds the plugin's own plugin.toml"),
        (parent, "holds the plugin's own plugin.toml"),
        (text(&plugins.join("other")), "lies in the plugin directory"),
        (
            text(&plugins.join("111111111111")),
            "lies in the plugin directory",
        ),
        (text(&at("cache")), "holds compiled plugins"),
        (text(&at("data")), "holds the data directory"),
        (text(scratch.path()), "holds compiled plugins"),
        ("out".into(), "a link in it leads out"),
        ("other".into(), "a link in it leads out"),
    ] {
        let cause = refused(&rig, &host, "rw").await.unwrap_or_default();
        assert!(cause.contains(why), "{host}: {cause}");
    }
    for host in ["data".into(), text(&at("notes")), text(&at("data/buckets"))] {
        assert_eq!(refused(&rig, &host, "rw").await, None, "{host}");
    }
    for host in [
        ".".into(),
        "self".into(),
        text(plugins),
        text(scratch.path()),
    ] {
        assert_eq!(refused(&rig, &host, "ro").await, None, "{host}");
    }
    for (host, why) in [
        ("absent", "there is no such folder"),
        ("/nowhere/at/all", "there is no such folder"),
        ("task.wasm", "it is no folder"),
    ] {
        let cause = refused(&rig, host, "ro").await.unwrap_or_default();
        assert!(cause.contains(why), "{host}: {cause}");
    }
    let up = refused(&rig, "data/../..", "ro").await.unwrap_or_default();
    assert!(up.contains("leads up by `..`"), "{up}");

    // The manifest itself, or another plugin, may be a link into the folder.
    std::fs::rename(
        plugins.join("task/plugin.toml"),
        plugins.join("task/work/plugin.toml"),
    )
    .unwrap();
    symlink("work/plugin.toml", plugins.join("task/plugin.toml")).unwrap();
    let cause = refused(&rig, "work", "rw").await.unwrap_or_default();
    assert!(
        cause.contains("plugin.toml or module is a link to"),
        "{cause}"
    );
    std::fs::remove_file(plugins.join("task/plugin.toml")).unwrap();
    symlink("task/data", plugins.join("guest")).unwrap();
    let cause = refused(&rig, "data", "rw").await.unwrap_or_default();
    assert!(cause.contains("is a link to"), "{cause}");
}

/// A guest that may write above another grant can put a link in its place; the next attempt must not follow it.
#[cfg(unix)]
#[tokio::test]
async fn a_granted_folder_that_became_a_link_is_not_followed() {
    let scratch = tempfile::TempDir::new().unwrap();
    let (work, inner) = (
        scratch.path().join("work"),
        scratch.path().join("work/inner"),
    );
    std::fs::create_dir_all(&inner).unwrap();
    let rig = Rig::new();
    let manifest =
        format!("[grants]\nfs = [{{ host = {inner:?}, guest = \"/in\", mode = \"rw\" }}]");
    rig.put_with("task", "behave", &manifest);
    let write = || json!({"do": "write", "path": "/in/plugin.toml"});
    let written = rig.outcome("task", write()).await;
    assert!(matches!(written, Outcome::Ok(_)), "{written:?}");
    assert!(inner.join("plugin.toml").is_file());
    std::fs::rename(&inner, work.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(rig.folder.path().join("task"), &inner).unwrap();
    match rig.outcome("task", write()).await {
        Outcome::PluginBroken { cause } => assert!(cause.contains("cannot be opened"), "{cause}"),
        other => panic!("{other:?}"),
    }
    let kept = std::fs::read_to_string(rig.folder.path().join("task/plugin.toml")).unwrap();
    assert_eq!(kept, manifest);
}

/// Who may not have a folder is not told either whether it is there.
#[tokio::test]
async fn folders_beyond_the_ceiling_are_missing_and_nothing_else() {
    let scratch = tempfile::TempDir::new().unwrap();
    let allowed = scratch.path().join("allowed");
    std::fs::create_dir_all(allowed.join("below")).unwrap();
    let only = Grants {
        fs: vec![stepwell_sandbox::FsGrant {
            host: allowed.clone(),
            guest: String::new(),
            mode: stepwell_sandbox::FsMode::ReadOnly,
            at: None,
        }],
        ..Grants::default()
    };
    let rig = Rig::with(|config| config.ceilings.own.grants = Ceiling::Only(Box::new(only)));
    let below = allowed.join("below");
    let manifest = format!(
        "[grants]\nfs = [{{ host = {below:?}, guest = \"/a\" }}, {{ host = {below:?}, guest = \"/b\", mode = \"rw\" }}, {{ host = \"/nowhere/at/all\", guest = \"/c\" }}]"
    );
    rig.put_with("task", "behave", &manifest);
    rig.output("task", json!({"do": "echo"})).await;
    let info = rig.sandbox.list().remove(0);
    assert_eq!(
        info.missing_grants,
        [
            format!("fs `{}`: not allowed by the operator", below.display()),
            "fs `/nowhere/at/all`: not allowed by the operator".to_owned()
        ]
    );
}
