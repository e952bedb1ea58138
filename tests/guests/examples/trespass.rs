//! A component that wants what is not its own: files beyond its folders, by links and moves that it makes itself, and secrets
//! that went out with its requests, on every way by which something comes out of a task.

use serde_json::{Value, json};
use std::io::Write as _;
use stepwell_task::{Context, TaskError, heartbeat, http, log, task};

#[task]
fn trespass(input: Value, _: &Context) -> Result<Value, TaskError> {
    let text = |key: &str| {
        input
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (from, to) = (text("from"), text("to"));
    match text("do").as_str() {
        "read" => Ok(json!(std::fs::read_to_string(from)?)),
        "list" => {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(from)? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            Ok(json!(names))
        }
        "write" => Ok(json!(std::fs::write(to, text("text"))?)),
        "make-folder" => Ok(json!(std::fs::create_dir(to)?)),
        "remove" => Ok(json!(std::fs::remove_file(from)?)),
        "rename" => Ok(json!(std::fs::rename(from, to)?)),
        "hard-link" => Ok(json!(std::fs::hard_link(from, to)?)),
        "soft-link" => soft_link(&from, &to),
        "tell-secret" => tell_secret(&text("url")),
        "fail-with-secret" => {
            let heard = echoed(&text("url"))?;
            let line = heard.lines().find(|line| line.contains("Bearer"));
            Err(TaskError::new(line.unwrap_or_default(), heard.as_str()))
        }
        "panic-with-secret" => panic!("{}", echoed(&text("url"))?),
        "beat-for-ever" => loop {
            heartbeat("still here")?;
        },
        "note-at-length" => {
            heartbeat("\u{e9}".repeat(100_000))?;
            Ok(Value::Null)
        }
        "send-datagram" => {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            Ok(json!(socket.send_to(b"hello", to)?))
        }
        "boast" => Err(TaskError::new(
            "E".repeat(100_000),
            "because ".repeat(100_000),
        )),
        other => Err(TaskError::new(
            "UnknownBehaviour",
            format!("`do` is {other:?}"),
        )),
    }
}

/// At `to` a link to what is called `from`, whatever that is.
#[expect(
    deprecated,
    reason = "what takes its place is there for one system or the other"
)]
fn soft_link(from: &str, to: &str) -> Result<Value, TaskError> {
    Ok(json!(std::fs::soft_link(from, to)?))
}

/// Sends a secret that it may not read to a server that echoes it: what it got.
fn echoed(url: &str) -> Result<String, TaskError> {
    let request = http::get(url).header("authorization", "Bearer {{secret:KEY}}");
    Ok(request.send()?.text())
}

/// Hands on what it got by all ways that there are for who ends well.
fn tell_secret(url: &str) -> Result<Value, TaskError> {
    let heard = echoed(url)?;
    heartbeat(heard.as_str())?;
    log::info(&heard, &[("heard", &heard), (heard.as_str(), &"heard")]);
    writeln!(std::io::stdout(), "{heard}")?;
    eprintln!("{heard}");
    Ok(json!({ "heard": heard }))
}
