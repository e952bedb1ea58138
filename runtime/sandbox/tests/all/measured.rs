//! What an attempt used, measured: guests that do a known amount of each thing, and the counts of it.

use crate::rig::{Rig, TENANT};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use stepwell_sandbox::{HostUse, Outcome, SecretSource, Usage};

/// The guest asks its configuration what to do, whatever that is.
const ASKED: HostUse = HostUse {
    logs: 0,
    heartbeats: 0,
    configs: 1,
    secrets: 0,
    http_requests: 0,
    tcp_connections: 0,
    files: 0,
    http_bytes_sent: 0,
    http_bytes_received: 0,
    tcp_bytes_sent: 0,
    tcp_bytes_received: 0,
};

struct Secrets;

impl SecretSource for Secrets {
    fn secret(&self, tenant: &str, name: &str) -> Option<String> {
        (tenant == TENANT && name == "KEY").then(|| "value".to_owned())
    }
}

/// A server that reads a mark and answers with that text; gives its address, and what each connection told it until its end.
fn answers(mark: &'static [u8], answer: String) -> (String, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut all, mut chunk, mut answered) = (Vec::new(), [0; 1024], false);
            while let Ok(read) = stream.read(&mut chunk)
                && read > 0
            {
                all.extend_from_slice(&chunk[..read]);
                if !answered && all.windows(mark.len()).any(|part| part == mark) {
                    answered = true;
                    let _ = stream.write_all(answer.as_bytes());
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
            let _ = told.send(all);
        }
    });
    (address, heard)
}

#[tokio::test]
async fn calls_of_the_host_are_counted_by_kind() {
    let rig = Rig::with(|config| config.secrets = Arc::new(Secrets));
    let shared = tempfile::tempdir().unwrap();
    let folder = shared.path();
    std::fs::write(folder.join("there"), "text").unwrap();
    let grants = format!(
        "[grants]\nsecrets = [\"KEY\"]\nfs = [{{ host = {folder:?}, guest = \"/shared\", mode = \"ro\" }}]"
    );
    rig.put_with("task", "behave", &grants);
    let counted = async |input: Value| {
        let end = rig.call("task", input).await;
        assert!(
            matches!(end.outcome, Outcome::Ok(_) | Outcome::Failed { .. }),
            "{:?}",
            end.outcome
        );
        end.usage.host
    };
    assert_eq!(counted(json!({"do": "echo"})).await, ASKED);
    let beats = counted(json!({"do": "beat", "times": 2_000})).await;
    assert_eq!(
        beats,
        HostUse {
            heartbeats: 2_000,
            ..ASKED
        }
    );
    // Beyond the bound of the log, too: they are what the host had to do.
    let logs = counted(json!({"do": "log-flood"})).await;
    assert_eq!(
        logs,
        HostUse {
            logs: 20_000,
            ..ASKED
        }
    );
    let configs = counted(json!({"do": "config", "key": "x"})).await;
    assert_eq!(
        configs,
        HostUse {
            configs: 2,
            ..ASKED
        }
    );
    for name in ["KEY", "OTHER"] {
        let secrets = counted(json!({"do": "secret", "name": name})).await;
        assert_eq!(
            secrets,
            HostUse {
                secrets: 1,
                ..ASKED
            },
            "{name}"
        );
    }
    for path in ["/shared/there", "/shared/missing"] {
        let files = counted(json!({"do": "read", "path": path})).await;
        assert_eq!(files, HostUse { files: 1, ..ASKED }, "{path}");
    }
}

#[tokio::test]
async fn bytes_over_the_network_are_counted_exactly() {
    let body = "x".repeat(100_000);
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let (http, asked) = answers(b"the end", reply.clone());
    let (tcp, _said) = answers(b".", "and back again".to_owned());
    let rig = Rig::new();
    let grants = format!("[grants]\nhttp = [\"http://{http}\"]\ntcp = [\"{tcp}\"]");
    rig.put_with("task", "behave", &grants);
    let sent = format!("{} the end", "y".repeat(30_000));
    let input =
        json!({"do": "http", "method": "POST", "url": format!("http://{http}/"), "body": sent});
    let end = rig.call("task", input).await;
    let Outcome::Ok(output) = &end.outcome else {
        panic!("{:?}: {:?}", end.outcome, end.refused)
    };
    assert!(output.contains(&body), "all of it was read");
    let request = asked.recv().unwrap();
    assert_eq!(
        end.usage.host,
        HostUse {
            http_requests: 1,
            http_bytes_sent: request.len() as u64,
            http_bytes_received: reply.len() as u64,
            ..ASKED
        }
    );
    let talk = json!({"do": "talk", "address": tcp, "say": "there."});
    let end = rig.call("task", talk).await;
    assert_eq!(end.outcome, Outcome::Ok("\"and back again\"".into()));
    assert_eq!(
        end.usage.host,
        HostUse {
            tcp_connections: 1,
            tcp_bytes_sent: 6,
            tcp_bytes_received: 14,
            ..ASKED
        }
    );
    // What is refused is asked for all the same, and brings nothing.
    let elsewhere = json!({"do": "http", "url": "http://127.0.0.1:1/"});
    let end = rig.call("task", elsewhere).await;
    assert_eq!(
        end.usage.host,
        HostUse {
            http_requests: 1,
            ..ASKED
        }
    );
    let elsewhere = json!({"do": "connect", "address": "127.0.0.1:1"});
    let end = rig.call("task", elsewhere).await;
    assert_eq!(
        end.usage.host,
        HostUse {
            tcp_connections: 1,
            ..ASKED
        }
    );
    let metrics = rig.sandbox.metrics();
    assert_eq!(metrics.host.http_bytes_sent, request.len() as u64);
    assert_eq!(metrics.host.tcp_bytes_received, 14);
    assert_eq!(metrics.host.configs, 4);
}

#[tokio::test]
async fn time_and_memory_are_those_of_the_work() {
    let rig = Rig::new();
    rig.put_with(
        "task",
        "behave",
        "[limits]\ncpu = \"200ms\"\nwall = \"60s\"\nmemory = \"64MiB\"\nfuel = 100000000000",
    );
    let small = rig.call("task", json!({"do": "use", "mib": 1})).await.usage;
    let large = rig
        .call("task", json!({"do": "use", "mib": 24}))
        .await
        .usage;
    let more = large.memory_bytes_max - small.memory_bytes_max;
    assert!((22 << 20..=24 << 20).contains(&more), "{more} bytes more");
    assert!(large.fuel > small.fuel && small.fuel > Some(0));
    let end = rig.call("task", json!({"do": "loop"})).await;
    assert!(
        matches!(end.outcome, Outcome::CpuTime { .. }),
        "{:?}",
        end.outcome
    );
    // A guest yields every few milliseconds, and is ended then.
    let cpu = end.usage.cpu;
    let bounds = Duration::from_millis(200)..Duration::from_millis(1_200);
    assert!(bounds.contains(&cpu) && end.usage.wall >= cpu, "{cpu:?}");
    let slept = rig.call("task", json!({"do": "sleep", "ms": 100})).await;
    let used = slept.usage;
    assert!(used.wall >= Duration::from_millis(100), "{used:?}");
    assert!(used.cpu < Duration::from_millis(100), "{used:?}");
}

#[tokio::test]
async fn an_instance_that_serves_again_counts_anew() {
    let rig = Rig::new();
    rig.put_with("task", "behave", "[instance]\nreuse = \"tenant\"");
    for times in [5, 3] {
        let end = rig
            .call("task", json!({"do": "beat", "times": times}))
            .await;
        assert_eq!(end.usage.reused, times == 3);
        assert_eq!(
            end.usage.host,
            HostUse {
                heartbeats: times,
                ..ASKED
            }
        );
    }
}

/// What metrics tell of all attempts is what each of them was told to have used.
#[tokio::test]
async fn what_each_used_adds_up_for_all() {
    let rig = Rig::new();
    rig.put_with("task", "behave", "[limits]\nfuel = 1000000000");
    let mut ends = Vec::new();
    for input in [
        json!({"do": "use", "mib": 8}),
        json!({"do": "echo", "pad": "x".repeat(1000)}),
        json!({"do": "large", "bytes": 2000}),
        json!({"do": "panic"}),
    ] {
        ends.push(rig.call("task", input).await.usage);
    }
    // What no plugin served used nothing.
    rig.outcome("nowhere", json!("x".repeat(5000))).await;
    let sum = |of: fn(&Usage) -> u64| ends.iter().map(of).sum::<u64>();
    let metrics = rig.sandbox.metrics();
    assert_eq!(metrics.input_bytes, sum(|usage| usage.input_bytes));
    assert_eq!(metrics.output_bytes, sum(|usage| usage.output_bytes));
    assert!(metrics.input_bytes > 1000 && metrics.output_bytes > 3000);
    let memory = |usage: &Usage| usage.memory_bytes_max;
    assert_eq!(metrics.memory_peak_bytes, sum(memory));
    let largest = ends.iter().map(memory).max().unwrap();
    assert!(largest > 8 << 20, "{largest}");
    assert_eq!(metrics.memory_peak_bytes_max, largest);
    assert_eq!(metrics.fuel, sum(|usage| usage.fuel.unwrap()));
    let cpu = ends.iter().map(|usage| usage.cpu).sum::<Duration>();
    assert_eq!(metrics.cpu, cpu);
    assert_eq!(metrics.host.configs, 4);
}
