//! A component that behaves as its input says, or as its configuration key `behaviour` says. Each arm is one thing that
//! a task can do to its host.

use serde_json::{Value, json};
use std::hash::BuildHasher as _;
use std::io::{Read as _, Write as _};
use std::net::ToSocketAddrs as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stepwell_task::{Context, TaskError, config, heartbeat, http, log, secrets, task};

/// Calls of this instance.
static CALLS: AtomicU64 = AtomicU64::new(0);

#[task]
fn behave(input: Value, ctx: &Context) -> Result<Value, TaskError> {
    let text = |key: &str| {
        input
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let behaviour = config::get("behaviour").unwrap_or_else(|| text("do"));
    match behaviour.as_str() {
        "echo" => Ok(input.clone()),
        "context" => Ok(context(ctx)),
        "fail" => Err(TaskError::new(text("error"), text("cause"))),
        "panic" => give_up(),
        "loop" => loop {
            std::hint::black_box(());
        },
        "bomb" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1024 * 1024]);
                std::hint::black_box(&hoard);
            }
        }
        "use" => {
            let bytes = input["mib"].as_u64().unwrap_or(1) * 1024 * 1024;
            Ok(json!(
                std::hint::black_box(vec![1_u8; usize::try_from(bytes)?]).len()
            ))
        }
        "recurse" => Ok(json!(recurse(1))),
        "deep" => Ok(json!(deep(input["levels"].as_u64().unwrap_or(1)))),
        "large" => Ok(Value::String(
            "a".repeat(usize::try_from(input["bytes"].as_u64().unwrap_or(300_000))?),
        )),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(
                input["ms"].as_u64().unwrap_or(3_600_000),
            ));
            Ok(json!("awake"))
        }
        "beat" => beat(&input),
        "wait-for-cancel" => loop {
            heartbeat("waiting")?;
            std::thread::sleep(Duration::from_millis(5));
        },
        "log" => {
            log::warn("noticed", &[("attempt", &ctx.attempt)]);
            std::io::stdout().write_all(b"to stdout\n")?;
            eprintln!("to stderr");
            Ok(json!("logged"))
        }
        "log-flood" => {
            for n in 0..20_000_u32 {
                log::info("0123456789", &[("n", &n)]);
            }
            Ok(json!("logged"))
        }
        other => remember(other, &input, ctx),
    }
}

/// A frame of its own, which the trap's trace is to name.
#[inline(never)]
fn give_up() -> ! {
    panic!("the guest gave up")
}

/// What depends on more than the input.
fn remember(behaviour: &str, input: &Value, ctx: &Context) -> Result<Value, TaskError> {
    match behaviour {
        "count" => Ok(json!(CALLS.fetch_add(1, Ordering::Relaxed) + 1)),
        "shout" => {
            for _ in 0..1000 {
                writeln!(std::io::stdout(), "0123456789")?;
                eprintln!("0123456789");
            }
            Ok(json!("shouted"))
        }
        "dice" => Ok(json!({
            "random": std::hash::RandomState::new().hash_one(0_u8).to_string(),
            "seconds": std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs(),
            "moved": std::time::Instant::now().elapsed().as_nanos() > 0,
        })),
        other => reach(other, input, ctx),
    }
}

/// What needs a grant.
fn reach(behaviour: &str, input: &Value, ctx: &Context) -> Result<Value, TaskError> {
    let text = |key: &str| {
        input
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    match behaviour {
        "config" => Ok(json!(config::get(&text("key")))),
        "secret" => Ok(json!(secrets::get(&text("name"))?)),
        "environment" => Ok(json!(
            std::env::vars().collect::<std::collections::BTreeMap<_, _>>()
        )),
        "read" => Ok(json!(std::fs::read_to_string(text("path"))?)),
        "write" => Ok(json!(std::fs::write(text("path"), "written")?)),
        "open" => {
            let count = input["count"].as_u64().unwrap_or(1);
            let held: Result<Vec<_>, _> = (0..count)
                .map(|_| std::fs::File::open(text("path")))
                .collect();
            Ok(json!(held?.len()))
        }
        "append" => append(input, ctx),
        "connect" => {
            std::net::TcpStream::connect(text("address"))?;
            Ok(json!("connected"))
        }
        "talk" => {
            let mut stream = std::net::TcpStream::connect(text("address"))?;
            stream.write_all(text("say").as_bytes())?;
            let mut heard = String::new();
            stream.read_to_string(&mut heard)?;
            Ok(json!(heard))
        }
        "listen" => {
            std::net::TcpListener::bind(text("address"))?;
            Ok(json!("listening"))
        }
        "look-up" => {
            let found = (text("name").as_str(), 80).to_socket_addrs()?;
            Ok(json!(
                found.map(|at| at.ip().to_string()).collect::<Vec<_>>()
            ))
        }
        "http" => {
            let method = input.get("method").and_then(Value::as_str).unwrap_or("GET");
            let mut request = http::request(method, text("url")).body(text("body"));
            for (name, value) in input["headers"].as_object().into_iter().flatten() {
                request = request.header(name, value.as_str().unwrap_or_default());
            }
            let reply = request.send()?;
            Ok(json!({ "status": reply.status, "body": reply.text() }))
        }
        "http-or-trap" => {
            http::get(text("url")).send().expect("the request goes out");
            Ok(Value::Null)
        }
        other => Err(TaskError::new(
            "UnknownBehaviour",
            format!("`do` is {other:?}"),
        )),
    }
}

fn context(ctx: &Context) -> Value {
    json!({
        "execution": ctx.execution_id,
        "machine": ctx.state_machine,
        "state": ctx.state_name,
        "attempt": ctx.attempt,
        "key": ctx.idempotency_key,
        "token": ctx.task_token,
        "deadline": ctx.deadline.is_some(),
        "trace": ctx.trace_parent,
    })
}

/// Writes down that it was called, works for `ms`, and fails the first `fail_first` attempts.
fn append(input: &Value, ctx: &Context) -> Result<Value, TaskError> {
    let line = json!({
        "execution": ctx.execution_id,
        "call": input["call"],
        "key": ctx.idempotency_key,
        "attempt": ctx.attempt,
        "token": ctx.task_token,
    });
    let path = input["path"].as_str().unwrap_or_default();
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    // One write, so that lines of calls side by side stay whole.
    file.write_all(format!("{line}\n").as_bytes())?;
    std::thread::sleep(Duration::from_millis(input["ms"].as_u64().unwrap_or(0)));
    if u64::from(ctx.attempt) <= input["fail_first"].as_u64().unwrap_or(0) {
        return Err(TaskError::new("NotYet", "it fails the first times"));
    }
    Ok(json!({ "call": input["call"] }))
}

fn beat(input: &Value) -> Result<Value, TaskError> {
    let times = input["times"].as_u64().unwrap_or(3);
    for n in 1..=times {
        heartbeat(format!("{n} of {times}"))?;
    }
    Ok(json!(times))
}

/// Takes a frame of the stack a level.
fn deep(levels: u64) -> u64 {
    if levels == 0 {
        return 0;
    }
    std::hint::black_box(deep(std::hint::black_box(levels - 1))) + 1
}

#[expect(unconditional_recursion, reason = "this guest exhausts its stack")]
fn recurse(depth: u64) -> u64 {
    let pad = std::hint::black_box([depth; 16]);
    recurse(depth + 1) + pad[0]
}
