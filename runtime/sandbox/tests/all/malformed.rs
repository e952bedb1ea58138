//! Files that are no programs, or programs that want what none may have: each is refused with a reason that says what it is, or
//! ends by its limits; none is served, and whoever comes next is.

use crate::modules::{
    COMPONENT, FOR_EVER, MODULE, command, component, count, function, idle, importing,
    loops_at_its_start, name, number, section,
};
use crate::rig::{Rig, TENANT, call, guest};
use futures_util::future::BoxFuture;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stepwell_sandbox::{Error, Outcome, TaskCall, Upload, UploadCode};

struct Bytes(Arc<[u8]>);

impl UploadCode for Bytes {
    fn wasm(&self) -> BoxFuture<'static, Result<Arc<[u8]>, String>> {
        let wasm = self.0.clone();
        Box::pin(async { Ok(wasm) })
    }
}

fn upload(id: &str, wasm: &[u8]) -> Upload {
    Upload {
        id: id.into(),
        version: None,
        memory_bytes: 64 << 20,
        wall: Duration::from_millis(300),
        environment: BTreeMap::new(),
        code: Arc::new(Bytes(wasm.into())),
    }
}

/// Nothing that is compiled here is to lie among the guests.
fn rig() -> (Rig, tempfile::TempDir) {
    let cache = tempfile::tempdir().unwrap();
    let rig = Rig::with(|config| config.cache = Some(cache.path().to_owned()));
    rig.put("echo", "echo");
    (rig, cache)
}

/// Why a file is not taken.
async fn refusal(rig: &Rig, id: &str, wasm: &[u8]) -> Option<String> {
    match rig.sandbox.check(TENANT, "task", upload(id, wasm)).await {
        Ok(()) => None,
        Err(Error::Plugin { why, .. }) => Some(why),
        Err(other) => panic!("{id}: {other}"),
    }
}

async fn outcome(rig: &Rig, id: &str, wasm: &[u8]) -> Outcome {
    let called = TaskCall {
        upload: Some(upload(id, wasm)),
        ..call("task", json!(null))
    };
    rig.sandbox.call(called).await.outcome
}

#[tokio::test]
async fn a_file_that_is_cut_off_anywhere_is_none() {
    let (rig, _cache) = rig();
    let whole = command(b"", "the last section");
    assert_eq!(refusal(&rig, "whole", &whole).await, None);
    // What is left without the last section, which says nothing, is whole too.
    let without = whole.len() - section(0, &name("the last section")).len();
    for length in 0..whole.len() {
        let id = format!("cut at {length}");
        let why = refusal(&rig, &id, &whole[..length]).await;
        assert_eq!(why.is_none(), length == without, "{id}: {why:?}");
    }
    // The same of one that is large, at some places.
    let whole = guest("echo");
    for part in 1..16 {
        let length = whole.len() * part / 16;
        let id = format!("echo, {part} of 16 parts");
        let why = refusal(&rig, &id, &whole[..length]).await;
        assert!(why.is_some(), "{id}");
    }
    assert_eq!(rig.output("echo", json!("alive")).await, "alive");
}

#[tokio::test]
async fn what_is_no_program_is_told_what_it_is() {
    let (rig, _cache) = rig();
    // A section that says that it is longer than all there is, and one of more functions than it holds.
    let endless = [MODULE, &[1, 0xff, 0xff, 0xff, 0xff, 0x0f][..]].concat();
    let hollow = [MODULE, &section(10, &count(1 << 30))].concat();
    // A body whose result is not what its type says.
    let wrong = [
        MODULE,
        &section(1, b"\x01\x60\0\x01\x7f"),
        &section(3, b"\x01\0"),
        &section(7, &[&[1][..], &name("_start"), b"\0\0"].concat()),
        &section(10, &[&[1][..], &function(b"")].concat()),
    ]
    .concat();
    let zip = b"PK\x03\x04 and so on".to_vec();
    let elf = b"\x7fELF\x02\x01\x01\0and so on".to_vec();
    let invalid = "not valid WebAssembly for this host";
    for (id, wasm, part) in [
        ("nothing", vec![], "not WebAssembly"),
        ("a text", b"hello".to_vec(), "not WebAssembly"),
        ("an archive", zip, "not WebAssembly"),
        ("a program of a machine", elf, "compiled for a machine"),
        (
            "another version",
            b"\0asm\x07\0\0\0".to_vec(),
            "unknown version",
        ),
        ("no code", MODULE.to_vec(), "_start"),
        ("no component's code", COMPONENT.to_vec(), "exports neither"),
        ("an endless section", endless, invalid),
        ("a hollow section", hollow, invalid),
        ("a wrong body", wrong, invalid),
    ] {
        let why = refusal(&rig, id, &wasm).await.unwrap_or_default();
        assert!(why.contains(part), "{id}: {why}");
        // Who calls it all the same hears the same.
        match outcome(&rig, id, &wasm).await {
            Outcome::PluginBroken { cause } => assert!(cause.contains(part), "{id}: {cause}"),
            other => panic!("{id}: {other:?}"),
        }
    }
    assert_eq!(rig.output("echo", json!("alive")).await, "alive");
}

#[tokio::test]
async fn imports_that_nobody_has_are_named_but_not_all() {
    let (rig, _cache) = rig();
    let one = importing(&["secret_door".to_owned()]);
    let why = refusal(&rig, "one", &one).await.unwrap();
    assert!(
        why.contains("what this host does not have: `env.secret_door`;"),
        "{why}"
    );
    // Names as long as they may be, that move the cursor of who reads them.
    let many: Vec<String> = (0..1_000)
        .map(|n| format!("{n}\u{1b}[2J\n{}", "x".repeat(10_000)))
        .collect();
    let why = refusal(&rig, "many", &importing(&many)).await;
    let why = why.unwrap();
    assert!(why.len() < 5_000, "{} bytes are told", why.len());
    assert!(why.contains(" and 992 more"), "{why}");
    assert!(!why.contains(['\u{1b}', '\n']), "{why}");
    let path = rig.folder.path().join("many.wasm");
    std::fs::write(&path, importing(&many)).unwrap();
    let inspected = rig.sandbox.inspect(&path, TENANT).unwrap();
    let told: Vec<String> = inspected.problems.into_iter().map(|p| p.what).collect();
    assert_eq!(told.len(), 9, "{told:?}");
    assert!(told[8].contains("992 more"), "{told:?}");
}

/// No plugin has so many parts that others find no place in the pool.
#[tokio::test]
async fn parts_of_a_plugin_are_bounded() {
    let (rig, _cache) = rig();
    let memory = section(5, b"\x01\0\x01");
    let table = section(4, b"\x01\x70\0\x01");
    let nothing = Vec::new();
    for (id, most, module, part) in [
        ("instances", 128, &nothing, "129 core module instances"),
        ("memories", 4, &memory, "5 Wasm linear memories"),
        ("tables", 8, &table, "9 tables"),
    ] {
        let why = refusal(&rig, &format!("few {id}"), &component(most, module)).await;
        // It is loaded, and has no contract.
        assert!(why.unwrap().contains("exports neither"), "{id}");
        let many = component(most + 1, module);
        let why = refusal(&rig, &format!("many {id}"), &many).await;
        let why = why.unwrap();
        let told = why.contains(
            "128 instances of modules, 4 memories, 8 tables of 50000 elements, and 2 MiB",
        );
        assert!(told && why.contains(part), "{id}: {why}");
    }
    // The same of one module alone.
    for (id, most, of, one) in [("memories", 4, 5, &memory), ("tables", 8, 4, &table)] {
        let module = |parts: usize| {
            let each = &one[3..];
            idle(&section(
                of,
                &[&count(parts)[..], &each.repeat(parts)].concat(),
            ))
        };
        let few = refusal(&rig, &format!("{most} {id} in one"), &module(most)).await;
        assert_eq!(few, None, "{id}");
        let why = refusal(&rig, &format!("too many {id} in one"), &module(most + 1)).await;
        assert!(
            why.unwrap().contains("more than one plugin may have"),
            "{id}"
        );
    }
    assert_eq!(rig.output("echo", json!("alive")).await, "alive");
}

/// What the host keeps for an attempt's instances is no memory of the guest's, and bounded all the same. A global has 16 bytes.
#[tokio::test]
async fn what_the_host_keeps_for_a_plugin_is_bounded() {
    let (rig, _cache) = rig();
    let globals = |of: usize| {
        let each = b"\x7f\0\x41\0\x0b".repeat(of);
        idle(&section(6, &[&count(of)[..], &each].concat()))
    };
    // 1.9 MiB of the 2, and some more.
    assert_eq!(refusal(&rig, "few globals", &globals(124_500)).await, None);
    let why = refusal(&rig, "many globals", &globals(132_000)).await;
    let why = why.unwrap();
    assert!(why.contains("more than one plugin may have"), "{why}");
    assert!(why.contains("2097152 bytes"), "{why}");
    assert_eq!(rig.output("echo", json!("alive")).await, "alive");
}

/// What componentize-qjs makes when nobody tells it otherwise: the refusal has how to mend it.
#[tokio::test]
async fn async_functions_are_told_by_name() {
    let (rig, _cache) = rig();
    // `(canon task.cancel)`.
    let cancels = [COMPONENT, &section(8, b"\x01\x05")].concat();
    let why = refusal(&rig, "cancels", &cancels).await.unwrap();
    assert!(why.contains("async functions"), "{why}");
    assert!(why.contains("--sync"), "{why}");
    let path = rig.folder.path().join("cancels.wasm");
    std::fs::write(&path, cancels).unwrap();
    let problems = rig.sandbox.inspect(&path, TENANT).unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].hint.contains("docs/guest-contracts.md"),
        "{problems:?}"
    );
}

/// So many memories of so many pages each.
fn memories(of: usize, pages: u32) -> Vec<u8> {
    let each = [&[0][..], &number(pages)].concat();
    section(5, &[count(of), each.repeat(of)].concat())
}

/// So many tables of so many elements each.
fn tables(of: usize, elements: u32) -> Vec<u8> {
    let each = [&[0x70, 0][..], &number(elements)].concat();
    section(4, &[count(of), each.repeat(of)].concat())
}

/// What a call would be refused at its first instruction is refused as an upload: the sum over all parts, as it is counted then.
#[tokio::test]
async fn what_it_needs_to_begin_with_counts() {
    let (rig, _cache) = rig();
    let memory = |bytes: u64| {
        format!(
            "it begins with {bytes} bytes of memory and may have 67108864; raise MemorySize of the function (`plugin push --memory`)"
        )
    };
    let table = |elements: u64| {
        format!(
            "it begins with {elements} elements of tables, all tables together, and may have 50000; build it with smaller \
             tables: a function has no setting for them"
        )
    };
    // Whatever it is called with, a component without a contract is no plugin.
    let no_contract = || "the component exports neither".to_owned();
    for (id, wasm, wanted) in [
        ("1 memory", idle(&memories(1, 1_024)), None),
        (
            "1 memory more",
            idle(&memories(1, 1_025)),
            Some(memory(67_174_400)),
        ),
        ("4 memories", idle(&memories(4, 256)), None),
        (
            "4 memories more",
            idle(&memories(4, 257)),
            Some(memory(67_371_008)),
        ),
        (
            "all there can be",
            idle(&memories(1, 65_536)),
            Some(memory(1 << 32)),
        ),
        (
            "4 with one",
            component(4, &memories(1, 256)),
            Some(no_contract()),
        ),
        (
            "4 with one more",
            component(4, &memories(1, 257)),
            Some(memory(67_371_008)),
        ),
        ("1 table", idle(&tables(1, 50_000)), None),
        (
            "1 table more",
            idle(&tables(1, 50_001)),
            Some(table(50_001)),
        ),
        (
            "1 huge table",
            idle(&tables(1, 1_000_000)),
            Some(table(1_000_000)),
        ),
        ("8 tables", idle(&tables(8, 6_250)), None),
        (
            "8 large tables",
            idle(&tables(8, 49_999)),
            Some(table(399_992)),
        ),
        (
            "8 with one",
            component(8, &tables(1, 6_250)),
            Some(no_contract()),
        ),
        (
            "8 with one more",
            component(8, &tables(1, 6_251)),
            Some(table(50_008)),
        ),
        (
            "8 with a large one",
            component(8, &tables(1, 49_999)),
            Some(table(399_992)),
        ),
    ] {
        let why = refusal(&rig, id, &wasm).await;
        match wanted {
            None => assert_eq!(why, None, "{id}"),
            Some(wanted) => {
                let why = why.unwrap_or_default();
                assert!(why.starts_with(&wanted), "{id}: {why}");
            }
        }
    }
    // Both at once, and nothing was compiled of what cannot begin.
    let compiled = rig.sandbox.metrics().compiled;
    let both = [tables(2, 40_000), memories(2, 1_024)].concat();
    let why = refusal(&rig, "both", &idle(&both)).await.unwrap();
    assert!(
        why.contains(&memory(1 << 27)) && why.contains(&table(80_000)),
        "{why}"
    );
    assert_eq!(rig.sandbox.metrics().compiled, compiled);
}

/// Code that is kept under its hash, as functions have it.
struct Kept(Arc<[u8]>);

impl UploadCode for Kept {
    fn wasm(&self) -> BoxFuture<'static, Result<Arc<[u8]>, String>> {
        Bytes(self.0.clone()).wasm()
    }

    fn sha256(&self) -> Option<String> {
        let digest = Sha256::digest(&*self.0);
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// What was compiled once is held against each setting anew, without being compiled again.
#[tokio::test]
async fn compiled_code_is_held_against_another_setting() {
    let (rig, _cache) = rig();
    // 100 MiB in four parts: what is known of the compiled form alone would leave 64 MiB open.
    let wasm: Arc<[u8]> = idle(&memories(4, 400)).into();
    let with = |mib: u64| Upload {
        memory_bytes: mib << 20,
        code: Arc::new(Kept(wasm.clone())),
        ..upload(&format!("{mib} MiB"), b"")
    };
    let checked = async |mib: u64| rig.sandbox.check(TENANT, "task", with(mib)).await;
    checked(128).await.unwrap();
    let compiled = rig.sandbox.metrics().compiled;
    for (mib, part) in [(64, "104857600 bytes"), (16, "26214400 bytes")] {
        match checked(mib).await {
            Err(Error::Plugin { why, .. }) => {
                assert!(
                    why.contains(part) && why.contains("raise MemorySize"),
                    "{why}"
                );
            }
            other => panic!("{mib}: {other:?}"),
        }
    }
    checked(100).await.unwrap();
    assert_eq!(rig.sandbox.metrics().compiled, compiled);
}

/// Where the operator allows more elements, each table has its bound all the same, and the refusal names it.
#[tokio::test]
async fn tables_are_bounded_one_by_one_too() {
    let cache = tempfile::tempdir().unwrap();
    let rig = Rig::with(|config| {
        config.cache = Some(cache.path().to_owned());
        config.ceilings.own.limits.table_elements = 400_000;
    });
    let put = |name: &str, manifest: &str, wasm: &[u8]| {
        let place = rig.folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("plugin.toml"), manifest).unwrap();
        std::fs::write(place.join("task.wasm"), wasm).unwrap();
        rig.sandbox.rescan().unwrap();
    };
    let more = "[limits]\ntable-elements = 400000";
    put("eight", more, &idle(&tables(8, 49_999)));
    put("huge", more, &idle(&tables(1, 60_000)));
    put("usual", "", &idle(&tables(8, 49_999)));
    // It begins, and writes nothing.
    let begun = rig.outcome("eight", json!(null)).await;
    assert!(matches!(begun, Outcome::InvalidOutput { .. }), "{begun:?}");
    let refused = async |name: &str| match rig.outcome(name, json!(null)).await {
        Outcome::PluginBroken { cause } => cause,
        other => panic!("{name}: {other:?}"),
    };
    let huge = refused("huge").await;
    assert!(
        huge.contains("8 tables of 50000 elements") && huge.contains("60000"),
        "{huge}"
    );
    let usual = refused("usual").await;
    assert!(
        usual.contains("399992 elements")
            && usual.contains("may have 50000; raise [limits].table-elements in plugin.toml"),
        "{usual}"
    );
    // An inspection says it once, and goes on.
    let path = rig.folder.path().join("usual");
    let problems = rig.sandbox.inspect(&path, TENANT).unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].fatal && problems[0].what.contains("399992 elements"),
        "{problems:?}"
    );
    assert!(
        problems[0]
            .hint
            .starts_with("raise [limits].table-elements"),
        "{problems:?}"
    );
    let one = rig.folder.path().join("one.wasm");
    std::fs::write(&one, idle(&tables(1, 1_000_000))).unwrap();
    let problems = rig.sandbox.inspect(&one, TENANT).unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].what.contains("may have 50000")
            && problems[0]
                .hint
                .contains("in the plugin.toml of a folder of its own"),
        "{problems:?}"
    );
}

/// Its limits hold before its first instruction as a task.
#[tokio::test]
async fn a_loop_at_the_start_runs_out_of_its_time() {
    let (rig, _cache) = rig();
    let looping = loops_at_its_start();
    assert_eq!(refusal(&rig, "start", &looping).await, None);
    let ended = outcome(&rig, "start", &looping).await;
    assert!(
        matches!(ended, Outcome::CpuTime { .. } | Outcome::TimedOut { .. }),
        "{ended:?}"
    );
    // Another one, as a command.
    let looping = command(FOR_EVER, "loops");
    let ended = outcome(&rig, "loops", &looping).await;
    assert!(
        matches!(ended, Outcome::CpuTime { .. } | Outcome::TimedOut { .. }),
        "{ended:?}"
    );
    assert_eq!(rig.output("echo", json!("alive")).await, "alive");
}
