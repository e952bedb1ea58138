//! A command that behaves as its input says: `{"do": "exit", "code": 3}`. Each arm is one thing a command can do to its
//! host.

use serde_json::{Value, json};
use std::hash::BuildHasher as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Instant, SystemTime};
use stepwell_test_guests::{fail, input, output, write};

fn main() {
    let input = input();
    let text = |key: &str| {
        input
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    match text("do").as_str() {
        "echo" => output(&input),
        "nothing" => {}
        "exit" => {
            eprintln!("leaving");
            std::process::exit(input["code"].as_i64().unwrap_or(1).try_into().unwrap_or(1));
        }
        "fail" => fail(&text("error"), &text("cause")),
        "panic" => panic!("the guest gave up"),
        "loop" => loop {
            std::hint::black_box(());
        },
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        "bomb" => bomb(),
        "recurse" => output(&json!(recurse(1))),
        "garbage" => write(b"this is not JSON"),
        "stdout" => flood(&mut std::io::stdout()),
        "stderr" => flood(&mut std::io::stderr()),
        "chatty" => {
            for _ in 0..10_000 {
                eprintln!("0123456789");
            }
            output(&json!("done"));
        }
        "environment" => output(&json!(
            std::env::vars().collect::<std::collections::BTreeMap<_, _>>()
        )),
        "dice" => output(&dice()),
        "read" => match std::fs::read_to_string(text("path")) {
            Ok(content) => output(&json!(content)),
            Err(error) => fail("ReadFailed", &error.to_string()),
        },
        "write" => match std::fs::write(text("path"), "written") {
            Ok(()) => output(&json!("written")),
            Err(error) => fail("WriteFailed", &error.to_string()),
        },
        "connect" => match TcpStream::connect(text("address")) {
            Ok(_) => output(&json!("connected")),
            Err(error) => fail("ConnectFailed", &error.to_string()),
        },
        other => fail("UnknownBehaviour", &format!("`do` is {other:?}")),
    }
}

/// A random number, the time, and whether time passes.
fn dice() -> Value {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    json!({
        "random": std::hash::RandomState::new().hash_one(0_u8).to_string(),
        "seconds": since.map_or(0, |since| since.as_secs()),
        "moved": Instant::now().elapsed().as_nanos() > 0,
    })
}

fn bomb() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 1024 * 1024]);
        std::hint::black_box(&hoard);
    }
}

#[expect(unconditional_recursion, reason = "this guest exhausts its stack")]
fn recurse(depth: u64) -> u64 {
    let pad = std::hint::black_box([depth; 16]);
    recurse(depth + 1) + pad[0]
}

fn flood(stream: &mut dyn std::io::Write) {
    let line = [b'x'; 4096];
    while stream.write_all(&line).is_ok() {}
    let _ = std::io::stderr().write_all(b"the host refused output");
}
