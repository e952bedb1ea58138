//! Limits by the manifest, lowered by the operator and by the call; clock and randomness that stand still.

use crate::rig::{Rig, TENANT, call};
use futures_util::future::BoxFuture;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use stepwell_sandbox::{
    Allowance, Ceilings, Limits, Outcome, Sandbox, TaskCall, TaskEnd, Upload, UploadCode,
};
use tokio::sync::oneshot;

/// A command that asks for 10,000 more elements of its table for ever; `(loop (table.grow …))`.
const TABLE_BOMB: [u8; 57] = *b"\0asm\x01\0\0\0\
    \x01\x04\x01\x60\0\0\
    \x03\x02\x01\0\
    \x04\x04\x01\x70\0\x01\
    \x07\x0a\x01\x06_start\0\0\
    \x0a\x13\x01\x11\0\x03\x40\xd0\x70\x41\x90\xce\0\xfc\x0f\0\x1a\x0c\0\x0b\x0b";

#[tokio::test]
async fn a_table_bomb_is_out_of_memory() {
    let rig = Rig::new();
    let place = rig.folder.path().join("bomb");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("bomb.wasm"), TABLE_BOMB).unwrap();
    std::fs::write(
        place.join("plugin.toml"),
        "[limits]\ntable-elements = 20000",
    )
    .unwrap();
    rig.sandbox.rescan().unwrap();
    match rig.outcome("bomb", json!(null)).await {
        Outcome::OutOfMemory { cause } => assert_eq!(
            cause,
            "the task needs 20001 table elements and may use 20000; [limits].table-elements in plugin.toml raises it"
        ),
        other => panic!("{other:?}"),
    }
}

/// A command that asks for another page of memory for ever; `(loop (memory.grow (i32.const 1)) …)`.
const MEMORY_BOMB: [u8; 51] = *b"\0asm\x01\0\0\0\
    \x01\x04\x01\x60\0\0\
    \x03\x02\x01\0\
    \x05\x03\x01\0\x01\
    \x07\x0a\x01\x06_start\0\0\
    \x0a\x0e\x01\x0c\0\x03\x40\x41\x01\x40\0\x1a\x0c\0\x0b\x0b";

/// What a call of the memory bomb is told.
async fn bombed(rig: &Rig, call: TaskCall) -> String {
    match rig.sandbox.call(call).await.outcome {
        Outcome::OutOfMemory { cause } => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_meets_a_limit_is_told_what_raises_it() {
    let account = "111111111111";
    let limits = Limits {
        memory_bytes: 1536 << 10,
        ..Limits::ceiling()
    };
    let rig = Rig::with(|config| config.ceilings = tight(limits));
    let folder = |below: &str, manifest: &str| {
        let place = rig.folder.path().join(below);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("plugin.toml"), manifest).unwrap();
        std::fs::write(place.join("bomb.wasm"), MEMORY_BOMB).unwrap();
    };
    folder("small", "[limits]\nmemory = \"128KiB\"");
    folder("odd", "[limits]\nmemory = \"100000\"");
    folder("111111111111/theirs", "[limits]\nmemory = \"16MiB\"");
    std::fs::write(rig.folder.path().join("alone.wasm"), MEMORY_BOMB).unwrap();
    rig.sandbox.rescan().unwrap();
    let of = |plugin: &str| call(plugin, json!(null));
    assert_eq!(
        bombed(&rig, of("small")).await,
        "the task needs 192 KiB of memory and may use 128 KiB; [limits].memory in plugin.toml raises it"
    );
    assert_eq!(
        bombed(&rig, of("odd")).await,
        "the task needs 131072 bytes of memory and may use 100000 bytes; [limits].memory in plugin.toml raises it"
    );
    assert_eq!(
        bombed(&rig, of("alone")).await,
        "the task needs 65 MiB of memory and may use 64 MiB; [limits].memory in the plugin.toml of a folder of its own raises it"
    );
    assert_eq!(
        bombed(&rig, TaskCall::new(account, "theirs", "null")).await,
        "the task needs 1600 KiB of memory and may use 1536 KiB; the operator's ceiling of the account (limits.memory) raises it"
    );
    let lowered = TaskCall {
        lowered: Some(Arc::new(Limits {
            memory_bytes: 64 << 10,
            ..Limits::unlimited()
        })),
        lowered_by: "the tag limit:",
        ..of("small")
    };
    assert_eq!(
        bombed(&rig, lowered).await,
        "the task needs 128 KiB of memory and may use 64 KiB; the tag limit:memory raises it"
    );
    let uploaded = TaskCall {
        upload: Some(bomb_sent()),
        ..of("sent")
    };
    assert_eq!(
        bombed(&rig, uploaded).await,
        "the task needs 2 MiB of memory and may use 1 MiB; MemorySize of the function (`plugin push --memory`) raises it"
    );
}

/// The memory bomb as a tenant sends it.
fn bomb_sent() -> Upload {
    struct Sent;
    impl UploadCode for Sent {
        fn wasm(&self) -> BoxFuture<'static, Result<Arc<[u8]>, String>> {
            Box::pin(async { Ok(Arc::from(&MEMORY_BOMB[..])) })
        }
    }
    Upload {
        id: "bomb".into(),
        version: None,
        memory_bytes: 1 << 20,
        wall: Duration::from_secs(3),
        environment: std::collections::BTreeMap::new(),
        code: Arc::new(Sent),
    }
}

#[tokio::test]
async fn who_runs_out_of_time_is_told_what_raises_it() {
    let rig = Rig::new();
    rig.put("alone", "behave")
        .put_with("task", "behave", "[limits]\ncpu = \"50ms\"");
    let endless = || json!({"do": "loop"});
    assert_eq!(
        rig.call("task", endless()).await.explain(),
        "the task computed for more than 0.05 s; [limits].cpu in plugin.toml raises it"
    );
    let lowered = TaskCall {
        lowered: Some(Arc::new(Limits {
            wall: Duration::from_millis(50),
            ..Limits::unlimited()
        })),
        ..call("alone", endless())
    };
    assert_eq!(
        rig.sandbox.call(lowered).await.explain(),
        "the task did not end within 0.05 s; the call's own limit of wall raises it"
    );
    // The time that the caller has is no limit of the plugin.
    let late = TaskCall {
        deadline: Some(Duration::from_millis(40)),
        ..call("alone", endless())
    };
    assert_eq!(
        rig.sandbox.call(late).await.explain(),
        "the task did not end within 0.04 s"
    );
    assert_eq!(
        rig.call("alone", json!("x".repeat(300_000)))
            .await
            .explain(),
        "the input has 300002 bytes, the plugin takes 262144; [limits].input in the plugin.toml of a folder of its own raises it"
    );
}

#[tokio::test]
async fn a_stack_is_as_deep_as_the_manifest_says() {
    let rig = Rig::new();
    rig.put_with("shallow", "behave", "[limits]\nstack = \"64KiB\"")
        .put_with("deep", "behave", "[limits]\nstack = \"1024KiB\"");
    let deep = || json!({"do": "deep", "levels": 4000});
    assert_eq!(rig.output("deep", deep()).await, 4000);
    match rig.outcome("shallow", deep()).await {
        Outcome::Trapped { cause } => assert!(
            cause.contains("it may have 64 KiB, and [limits].stack in plugin.toml raises it"),
            "{cause}"
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.output("shallow", json!({"do": "deep"})).await, 1);
}

#[tokio::test]
async fn stdout_and_stderr_have_bounds_of_their_own() {
    let rig = Rig::new();
    rig.put_with(
        "task",
        "behave",
        "[limits]\nstdout = \"100B\"\nstderr = \"2000B\"",
    );
    let end = rig.call("task", json!({"do": "shout"})).await;
    assert_eq!(end.outcome, Outcome::Ok(r#""shouted""#.into()));
    assert!(end.stdout.truncated && end.stderr.truncated);
    let sizes = (end.stdout.text.len(), end.stderr.text.len());
    assert_eq!(sizes, (100, 2000));
}

#[tokio::test]
async fn log_lines_have_a_bound_that_is_that_of_what_is_printed_too() {
    let rig = Rig::new();
    rig.put_with("task", "behave", "[limits]\nlog = \"2000B\"");
    let end = rig.call("task", json!({"do": "log-flood"})).await;
    assert_eq!(end.outcome, Outcome::Ok(r#""logged""#.into()));
    assert!(end.logs_cut && few(&end), "{} lines", end.logs.len());
    let end = rig.call("task", json!({"do": "shout"})).await;
    let sizes = (end.stdout.text.len(), end.stderr.text.len());
    assert_eq!(sizes, (2000, 2000));
}

/// As many lines of `log-flood` as 2,000 bytes hold; of the usual bound it has more than a thousand.
fn few(end: &TaskEnd) -> bool {
    (50..100).contains(&end.logs.len())
}

/// What a limit stops: the limit as a manifest writes it, what the guest does, and what is told of its end.
const STOPPED: [(&str, &str, &str); 8] = [
    (
        "memory = \"8MiB\"",
        r#"{"do": "use", "mib": 16}"#,
        "and may use 8 MiB; ",
    ),
    (
        "wall = \"200ms\"",
        r#"{"do": "sleep"}"#,
        "did not end within 0.2 s; ",
    ),
    (
        "cpu = \"100ms\"",
        r#"{"do": "loop"}"#,
        "computed for more than 0.1 s; ",
    ),
    (
        "input = \"30B\"",
        r#"{"do": "echo", "pad": "0123456789"}"#,
        "the plugin takes 30; ",
    ),
    (
        "output = \"100B\"",
        r#"{"do": "large", "bytes": 200}"#,
        "has 202 bytes, the plugin may return 100; ",
    ),
    (
        "stack = \"64KiB\"",
        r#"{"do": "deep", "levels": 4000}"#,
        "it may have 64 KiB, and ",
    ),
    (
        "fuel = 1000000",
        r#"{"do": "loop"}"#,
        "more than 1000000 units of fuel; ",
    ),
    (
        "table-elements = 20000",
        "null",
        "needs 20001 table elements and may use 20000; ",
    ),
];

/// A plugin that asks for more than enough of everything that it may ask for.
fn put_greedy(rig: &Rig) {
    let greedy = "[limits]\nstack = \"1024KiB\"";
    rig.put_with("task", "behave", greedy);
    std::fs::write(rig.folder.path().join("bomb.wasm"), TABLE_BOMB).unwrap();
    rig.sandbox.rescan().unwrap();
}

#[tokio::test]
async fn each_limit_of_a_ceiling_is_in_force() {
    let under = |limit: &str| {
        let text = format!("[default]\nlimits = {{ {limit} }}");
        let ceilings = Ceilings::parse("file", &text).unwrap();
        let rig = Rig::with(|config| config.ceilings = ceilings);
        put_greedy(&rig);
        rig
    };
    for (limit, input, told) in STOPPED {
        let rig = under(limit);
        let key = limit.split(' ').next().unwrap();
        let plugin = if key == "table-elements" {
            "bomb"
        } else {
            "task"
        };
        let call = TaskCall::new(TENANT, plugin, input);
        let explained = rig.sandbox.call(call).await.explain();
        let raised = format!("the operator's ceiling of the account (limits.{key}) raises it");
        assert!(
            explained.contains(told) && explained.ends_with(&raised),
            "{limit}: {explained}"
        );
    }
    let rig = under("log = \"2000B\", stdout = \"100B\", stderr = \"200B\"");
    let end = rig.call("task", json!({"do": "log-flood"})).await;
    assert!(end.logs_cut && few(&end), "{} lines", end.logs.len());
    let end = rig.call("task", json!({"do": "shout"})).await;
    let sizes = (end.stdout.text.len(), end.stderr.text.len());
    assert_eq!(sizes, (100, 200));
    let rig = under("concurrency = 1");
    let (started, start) = oneshot::channel();
    let mut first = call("task", json!({"do": "sleep"}));
    first.started = Some(started);
    let first = tokio::spawn(rig.sandbox.call(first));
    start.await.unwrap();
    match rig.outcome("task", json!({"do": "echo"})).await {
        Outcome::TooManyRunning { cause } => assert!(
            cause.contains("the operator's ceiling of the account (limits.concurrency)"),
            "{cause}"
        ),
        other => panic!("{other:?}"),
    }
    first.abort();
}

/// Those that a state machine's tags may lower.
#[tokio::test]
async fn each_limit_that_a_call_lowers_is_in_force() {
    let rig = Rig::new();
    put_greedy(&rig);
    let lowered = |lowered: Limits, input: &str| {
        let task = TaskCall {
            lowered: Some(Arc::new(lowered)),
            ..TaskCall::new(TENANT, "task", input)
        };
        rig.sandbox.call(task)
    };
    let all = Limits::unlimited;
    let limits = [
        Limits {
            memory_bytes: 8 << 20,
            ..all()
        },
        Limits {
            wall: Duration::from_millis(200),
            ..all()
        },
        Limits {
            cpu: Duration::from_millis(100),
            ..all()
        },
        Limits {
            input_bytes: 30,
            ..all()
        },
        Limits {
            output_bytes: 100,
            ..all()
        },
    ];
    for (limits, (limit, input, told)) in limits.into_iter().zip(STOPPED) {
        let explained = lowered(limits, input).await.explain();
        let key = limit.split(' ').next().unwrap();
        let raised = format!("the call's own limit of {key} raises it");
        assert!(
            explained.contains(told) && explained.ends_with(&raised),
            "{limit}: {explained}"
        );
    }
    let printed = Limits {
        log_bytes: 2000,
        stdout_bytes: 100,
        stderr_bytes: 200,
        ..all()
    };
    let end = lowered(printed.clone(), r#"{"do": "log-flood"}"#).await;
    assert!(end.logs_cut && few(&end), "{} lines", end.logs.len());
    let end = lowered(printed, r#"{"do": "shout"}"#).await;
    let sizes = (end.stdout.text.len(), end.stderr.text.len());
    assert_eq!(sizes, (100, 200));
}

fn tight(limits: Limits) -> Ceilings {
    let mut ceilings = Ceilings::default();
    ceilings.accounts.insert(
        "111111111111".to_owned(),
        Allowance {
            limits,
            ..Allowance::default()
        },
    );
    ceilings
}

/// Puts the guest into an account's folder.
fn put_for(rig: &Rig, account: &str, manifest: &str) {
    let place = rig.folder.path().join(account).join("task");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("plugin.toml"), manifest).unwrap();
    std::fs::write(place.join("task.wasm"), crate::rig::guest("behave")).unwrap();
    rig.sandbox.rescan().unwrap();
}

#[tokio::test]
async fn each_account_is_cut_to_its_own_ceiling() {
    let limits = Limits {
        memory_bytes: 8 << 20,
        cpu: Duration::from_millis(100),
        output_bytes: 1000,
        ..Limits::ceiling()
    };
    let rig = Rig::with(|config| config.ceilings = tight(limits));
    let manifest =
        "[limits]\nmemory = \"64MiB\"\noutput = \"1MiB\"\n[grants]\nconfig = { region = \"eu\" }";
    rig.put_with("task", "behave", manifest);
    put_for(&rig, "111111111111", manifest);
    let outcome = |account: &'static str, input: serde_json::Value| {
        let sandbox: Sandbox = rig.sandbox.clone();
        async move {
            sandbox
                .call(TaskCall::new(account, "task", input.to_string()))
                .await
                .outcome
        }
    };
    let use_memory = || json!({"do": "use", "mib": 16});
    assert!(matches!(
        outcome(TENANT, use_memory()).await,
        Outcome::Ok(_)
    ));
    match outcome("111111111111", use_memory()).await {
        Outcome::OutOfMemory { cause } => assert!(cause.contains("may use 8 MiB"), "{cause}"),
        other => panic!("{other:?}"),
    }
    let endless = outcome("111111111111", json!({"do": "loop"})).await;
    let limit = Duration::from_millis(100);
    assert_eq!(endless, Outcome::CpuTime { limit });
    let large = outcome("111111111111", json!({"do": "large", "bytes": 2000})).await;
    assert!(
        matches!(large, Outcome::OutputTooLarge { limit: 1000, .. }),
        "{large:?}"
    );
    let config = || json!({"do": "config", "key": "region"});
    assert_eq!(
        outcome(TENANT, config()).await,
        Outcome::Ok(r#""eu""#.into())
    );
    let null = Outcome::Ok("null".into());
    assert_eq!(outcome("111111111111", config()).await, null);
}

#[tokio::test]
async fn an_inspection_tells_what_each_account_would_have() {
    let limits = Limits {
        memory_bytes: 8 << 20,
        ..Limits::ceiling()
    };
    let mut ceilings = tight(limits);
    ceilings.accounts.get_mut("111111111111").unwrap().reuse = false;
    let rig = Rig::with(|config| config.ceilings = ceilings);
    let manifest = "[limits]\nmemory = \"100MiB\"\n[instance]\nreuse = \"tenant\"\n[grants]\nconfig = { region = \"eu\" }\nsecrets = [\"KEY\"]\nhttp = [\"https://api.example\"]\ntcp = [\"db.example:5432\"]";
    rig.put_with("task", "behave", manifest);
    let path = rig.folder.path().join("task");
    let own = rig.sandbox.inspect(&path, TENANT).unwrap();
    assert!(own.problems.is_empty(), "{:?}", own.problems);
    assert!(own.asked.iter().all(|asked| asked.refused.is_none()));
    let other = rig.sandbox.inspect(&path, "111111111111").unwrap();
    let what: Vec<&str> = other
        .problems
        .iter()
        .map(|problem| problem.what.as_str())
        .collect();
    assert_eq!(
        what,
        [
            "its [limits] go beyond what the operator allows and are cut to that",
            "it asks for config `region`: not allowed by the operator",
            "it asks for secret `KEY`: not allowed by the operator",
            "it asks for http `https://api.example`: not allowed by the operator",
            "it asks for tcp `db.example:5432`: not allowed by the operator",
            "its instances serve one attempt each: the operator allows no reuse",
        ]
    );
    assert!(other.usable());
    assert_eq!(other.limits.memory_bytes, 8 << 20);
}

/// Whatever is asked for and not allowed has its line, and on it why.
#[tokio::test]
async fn an_inspection_tells_why_of_each_kind_of_grant() {
    let rig = Rig::new();
    std::fs::create_dir_all(rig.folder.path().join("task/data")).unwrap();
    let manifest = r#"[grants]
env = { TZ = "UTC" }
config = { region = "eu" }
secrets = ["KEY"]
http = [{ host = "https://api.example", secrets = ["TOKEN"] }]
tcp = ["db.example:5432"]
dns = ["*.example"]
fs = [{ host = "data", guest = "/data" }]
"#;
    rig.put_with("task", "behave", manifest);
    let path = rig.folder.path().join("task");
    let asked = |rig: &Rig| -> Vec<(String, Option<String>)> {
        let found = rig.sandbox.inspect(&path, TENANT).unwrap();
        let asked = found.asked.into_iter();
        asked.map(|asked| (asked.what, asked.refused)).collect()
    };
    let given = asked(&rig);
    let kinds = [
        "env", "config", "secret", "http", "secret", "tcp", "dns", "fs",
    ];
    for kind in kinds {
        let of_kind = |(what, _): &&(String, Option<String>)| what.starts_with(kind);
        let of_kind: Vec<_> = given.iter().filter(of_kind).collect();
        let all = kinds.iter().filter(|other| **other == kind).count();
        assert_eq!(of_kind.len(), all, "{kind}: {given:?}");
    }
    assert_eq!(given.len(), kinds.len(), "{given:?}");
    assert!(given.iter().all(|(_, why)| why.is_none()), "{given:?}");
    let nothing = Ceilings::parse("file", "[default]\ngrants = \"nothing\"").unwrap();
    rig.sandbox.set_ceilings(nothing);
    let refused = asked(&rig);
    let names = |asked: &[(String, Option<String>)]| -> Vec<String> {
        asked.iter().map(|(what, _)| what.clone()).collect()
    };
    assert_eq!(names(&refused), names(&given));
    for (what, why) in &refused {
        assert_eq!(
            why.as_deref(),
            Some("not allowed by the operator"),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_call_lowers_limits_and_never_raises_them() {
    let rig = Rig::new();
    rig.put_with("task", "behave", "[limits]\nmemory = \"32MiB\"");
    let lowered = |memory_bytes: u64, input: serde_json::Value| {
        let mut task = call("task", input);
        task.lowered = Some(Arc::new(Limits {
            memory_bytes,
            output_bytes: 500,
            ..Limits::ceiling()
        }));
        rig.sandbox.call(task)
    };
    let use_memory = |mib: u64| json!({"do": "use", "mib": mib});
    for (memory, mib, limit) in [(8 << 20, 16, "8 MiB"), (1 << 30, 40, "32 MiB")] {
        match lowered(memory, use_memory(mib)).await.outcome {
            Outcome::OutOfMemory { cause } => assert!(cause.contains(limit), "{cause}"),
            other => panic!("{other:?}"),
        }
    }
    let large = lowered(1 << 30, json!({"do": "large", "bytes": 600}))
        .await
        .outcome;
    assert!(
        matches!(large, Outcome::OutputTooLarge { limit: 500, .. }),
        "{large:?}"
    );
}

#[tokio::test]
async fn clock_and_dice_stand_still_where_the_manifest_says_so() {
    let rig = Rig::new();
    rig.put_with(
        "fixed",
        "behave",
        "[grants]\nclock = \"fixed\"\nrandom = \"fixed\"",
    )
    .put("real", "behave");
    let dice = async |plugin: &str, key: &str| {
        let mut task = call(plugin, json!({"do": "dice"}));
        task.context.idempotency_key = key.to_owned();
        match rig.sandbox.call(task).await.outcome {
            Outcome::Ok(output) => serde_json::from_str::<serde_json::Value>(&output).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let first = dice("fixed", "a").await;
    assert_eq!(first["seconds"], 946_684_800);
    assert_eq!(first["moved"], false);
    assert_eq!(dice("fixed", "a").await, first);
    assert_ne!(dice("fixed", "b").await["random"], first["random"]);
    let real = dice("real", "a").await;
    assert_ne!(real["random"], dice("real", "a").await["random"]);
    assert!(real["seconds"].as_u64().unwrap() > 946_684_800);
}

/// A program of preview 1 has its random numbers from where bytes that are to be secret come from; what is built for preview 2 begins
/// its hash maps with others.
#[tokio::test]
async fn clock_and_dice_of_commands_stand_still_too() {
    let rig = Rig::new();
    for program in ["command", "command.p2"] {
        let (fixed, real) = ("fixed", "real");
        rig.put_with(
            fixed,
            program,
            "[grants]\nclock = \"fixed\"\nrandom = \"fixed\"",
        )
        .put_with(real, program, "");
        let dice = async |plugin: &str, key: &str| {
            let mut task = call(plugin, json!({"do": "dice"}));
            task.context.idempotency_key = key.to_owned();
            match rig.sandbox.call(task).await.outcome {
                Outcome::Ok(output) => serde_json::from_str::<serde_json::Value>(&output).unwrap(),
                other => panic!("{program}: {other:?}"),
            }
        };
        let first = dice(fixed, "a").await;
        assert_eq!(first["seconds"], 946_684_800, "{program}");
        assert_eq!(first["moved"], false, "{program}");
        assert_eq!(dice(fixed, "a").await, first, "{program}");
        let random = &first["random"];
        assert_ne!(&dice(fixed, "b").await["random"], random, "{program}");
        let rolled = dice(real, "a").await;
        let again = dice(real, "a").await;
        assert_ne!(rolled["random"], again["random"], "{program}");
        assert!(rolled["seconds"].as_u64().unwrap() > 946_684_800);
    }
}
