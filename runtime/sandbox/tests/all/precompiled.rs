//! Plugins that were compiled ahead of time: they run where nothing is compiled, and only what fits is taken, from the
//! operator alone.

use crate::modules::{idle, number, section};
use crate::rig::{Rig, guest};
use futures_util::future::BoxFuture;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stepwell_sandbox::{
    AheadOfTime, Ceilings, CodeRecord, Compiler, Limits, Outcome, Profile, Upload, UploadCode,
    compile_ahead, this_target,
};

/// A rig that compiles nothing and trusts its plugin folder.
fn edge() -> Rig {
    Rig::with(|config| {
        config.compiler = Compiler::Absent;
        config.precompiled = true;
        config.cache = None;
    })
}

fn how(profile: Profile) -> AheadOfTime {
    AheadOfTime {
        profile,
        target: None,
        compiler: Compiler::InProcess,
        limits: Limits::ceiling(),
    }
}

/// A guest's compiled form.
fn code_of(program: &str, profile: Profile) -> (CodeRecord, Vec<u8>) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("task.wasm");
    std::fs::write(&path, guest(program)).unwrap();
    compile_ahead(&path, &how(profile)).unwrap()
}

fn write(rig: &Rig, name: &str, bytes: &[u8]) -> PathBuf {
    let path = rig.folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    rig.sandbox.rescan().unwrap();
    path
}

/// Why a plugin cannot be called.
async fn refusal(rig: &Rig, plugin: &str) -> String {
    match rig.outcome(plugin, json!({})).await {
        Outcome::PluginBroken { cause } => cause,
        other => panic!("{plugin}: {other:?}"),
    }
}

#[tokio::test]
async fn compiled_code_runs_where_nothing_is_compiled() {
    let rig = edge();
    for (program, profile) in [("echo", Profile::Edge), ("echo", Profile::Server)] {
        let (record, file) = code_of(program, profile);
        let path = write(&rig, &format!("{program}-{profile}.cwasm"), &file);
        let found = rig.sandbox.inspect_code(&path, crate::rig::TENANT);
        assert_eq!(found.unwrap().expect("compiled code").record, record);
        assert_eq!(record.target, this_target());
        let call = crate::rig::call(&format!("{program}-{profile}"), json!({"n": 1}));
        let end = rig.sandbox.call(call).await;
        assert!(
            matches!(&end.outcome, Outcome::Ok(output) if output.contains("\"n\":1")),
            "{:?}",
            end.outcome
        );
        // It is known by the plugin that it was made of.
        let sha256: String = Sha256::digest(guest(program))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(end.plugin.unwrap().sha256, sha256);
    }
    let (_, file) = code_of("command", Profile::Edge);
    write(&rig, "command.cwasm", &file);
    let end = rig.call("command", json!({})).await;
    assert!(end.started.is_some(), "{:?}", end.outcome);
}

/// Code for small machines is smaller, and knows all the same in which functions a guest was.
#[tokio::test]
async fn edge_code_is_smaller_and_names_its_functions() {
    let (server, _) = code_of("behave", Profile::Server);
    let (edge_code, file) = code_of("behave", Profile::Edge);
    let (small, large) = (edge_code.code_bytes, server.code_bytes);
    assert!(small * 100 <= large * 95, "{small} of {large} bytes");
    assert_ne!(edge_code.engine, server.engine);
    let rig = edge();
    write(&rig, "behave.cwasm", &file);
    let end = rig.call("behave", json!({"do": "panic"})).await;
    assert!(
        matches!(&end.outcome, Outcome::Trapped { cause } if cause.contains("the guest gave up")),
        "{:?}",
        end.outcome
    );
    let first = end.frames.first().map(|frame| frame.function.as_str());
    assert_eq!(first, Some("behave::give_up"), "{:?}", end.frames);
}

#[tokio::test]
async fn limits_hold_for_compiled_code() {
    let rig = edge();
    let (_, file) = code_of("behave", Profile::Edge);
    let place = rig.folder.path().join("behave");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(
        place.join("plugin.toml"),
        "module = \"task.wasm\"\n[limits]\ncpu = \"200ms\"\n",
    )
    .unwrap();
    std::fs::write(place.join("task.cwasm"), file).unwrap();
    rig.sandbox.rescan().unwrap();
    let outcome = rig.outcome("behave", json!({"do": "loop"})).await;
    assert!(matches!(outcome, Outcome::CpuTime { .. }), "{outcome:?}");
}

/// A machine without a compiler gets no code that cannot begin there.
#[test]
fn what_cannot_begin_is_not_compiled_ahead() {
    let place = tempfile::tempdir().unwrap();
    // `(table 30000 funcref)` twice.
    let two = [
        &[2][..],
        &[&[0x70, 0][..], &number(30_000)].concat().repeat(2),
    ]
    .concat();
    let wasm = idle(&section(4, &two));
    let file = place.path().join("task.wasm");
    std::fs::write(&file, wasm).unwrap();
    std::fs::write(place.path().join("plugin.toml"), "").unwrap();
    // What a manifest may not raise, the operator may.
    let ceiling = "raise the operator's ceiling of the account (limits.table-elements)";
    for (path, setting) in [
        (place.path(), "raise [limits].table-elements in plugin.toml"),
        (file.as_path(), ceiling),
    ] {
        let why = compile_ahead(path, &how(Profile::Edge)).unwrap_err();
        let why = why.to_string();
        for part in ["60000 elements", "may have 50000", setting] {
            assert!(why.contains(part), "{part} in {why}");
        }
    }
}

#[tokio::test]
async fn webassembly_needs_a_compiler() {
    let rig = edge();
    rig.put("echo", "echo");
    let why = refusal(&rig, "echo").await;
    assert!(
        why.contains("`stepwell plugin compile FILE --profile edge"),
        "{why}"
    );
    assert!(!rig.sandbox.needs_compiling(crate::rig::TENANT, "echo"));
}

#[tokio::test]
async fn compiled_code_is_not_run_unless_the_operator_says_so() {
    let rig = Rig::new();
    let (_, file) = code_of("echo", Profile::Server);
    write(&rig, "echo.cwasm", &file);
    let why = refusal(&rig, "echo").await;
    assert!(why.contains("--precompiled also"), "{why}");
    // Its WebAssembly beside it is what is run then.
    rig.put("echo", "echo");
    assert_eq!(rig.output("echo", json!(1)).await, json!(1));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_reason() {
    let rig = edge();
    let (record, file) = code_of("echo", Profile::Edge);
    let code = usize::try_from(record.code_bytes).unwrap();
    let mut damaged = file.clone();
    damaged[code / 2] ^= 1;
    let foreign = resealed(
        &file[..code],
        |record| record["target"] = json!("sparc-sun-solaris"),
        &record,
    );
    let older = resealed(
        &file[..code],
        |record| record["runtime"] = json!("1.0.0"),
        &record,
    );
    let metered = resealed(
        &file[..code],
        |record| record["metered"] = json!(true),
        &record,
    );
    let module = resealed(
        &file[..code],
        |record| record["format"] = json!("module"),
        &record,
    );
    for (name, bytes, reason) in [
        ("damaged", &damaged[..], "it is damaged"),
        ("cut", &file[..file.len() - 9], "is cut off"),
        ("naked", &file[..code], "was not made by"),
        ("foreign", &foreign, "code for sparc"),
        ("older", &older, "version 1.0.0 of the Wasm runtime"),
        ("metered", &metered, "counts fuel"),
        ("module", &module, "does not fit this program"),
        ("wasm", &guest("echo"), "was not made by"),
    ] {
        let path = write(&rig, &format!("{name}.cwasm"), bytes);
        let why = refusal(&rig, name).await;
        assert!(why.contains(reason), "{name}: {why}");
        // Who looks at the file is told the same.
        let why = looked_at(&rig, &path).unwrap_err();
        assert!(why.contains(reason), "{name}: {why}");
    }
    let path = write(&rig, "whole.cwasm", &file);
    assert_eq!(looked_at(&rig, &path), Ok(()));
}

/// Why compiled code would not be loaded, by its inspection.
fn looked_at(rig: &Rig, path: &Path) -> Result<(), String> {
    let found = rig.sandbox.inspect_code(path, crate::rig::TENANT);
    let found = found.map_err(|error| error.to_string())?;
    found.expect("compiled code").unfit.map_or(Ok(()), Err)
}

#[tokio::test]
async fn a_folder_is_looked_at_by_the_program_that_would_be_served() {
    let (record, file) = code_of("echo", Profile::Edge);
    let (usual, edge) = (Rig::new(), edge());
    for rig in [&usual, &edge] {
        let place = rig.folder.path().join("echo");
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("plugin.toml"), "").unwrap();
        std::fs::write(place.join("echo.cwasm"), &file).unwrap();
        let found = rig.sandbox.inspect_code(&place, crate::rig::TENANT);
        let found = found.unwrap().expect("there is no other program");
        assert_eq!(found.file, place.join("echo.cwasm"));
        assert_eq!((found.record, found.unfit), (record.clone(), None));
        let pin = format!("sha256 = \"{}\"", "0".repeat(64));
        std::fs::write(place.join("plugin.toml"), pin).unwrap();
        let why = looked_at(rig, &place).unwrap_err();
        assert!(why.contains("plugin.toml pins"), "{why}");
        std::fs::write(place.join("plugin.toml"), "[limits]\nfuel = 0\n").unwrap();
        let why = looked_at(rig, &place).unwrap_err();
        assert!(why.contains("plugin.toml:2"), "{why}");
        std::fs::write(place.join("plugin.toml"), "").unwrap();
        std::fs::write(place.join("echo.wasm"), guest("echo")).unwrap();
    }
    let of = |rig: &Rig| {
        let place = rig.folder.path().join("echo");
        let found = rig.sandbox.inspect_code(&place, crate::rig::TENANT);
        found.unwrap().is_some()
    };
    // WebAssembly goes before, where there is a compiler for it.
    assert_eq!((of(&usual), of(&edge)), (false, true));
}

/// Who looks at a folder is told what its loader would say.
#[tokio::test]
async fn what_a_folders_manifest_says_of_its_code_is_checked_as_by_the_loader() {
    let rig = edge();
    let (_, file) = code_of("echo", Profile::Edge);
    let folder = rig.folder.path().join("echo");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("echo.cwasm"), &file).unwrap();
    for (manifest, reason) in [
        ("name = \"other\"", "is found as `echo`, make both the same"),
        (
            "contract = \"command\"",
            "says contract = \"command\", the file is a component",
        ),
        (
            "[grants]\nfs = [{ host = \"data\", guest = \"/data\" }]",
            "plugin.toml:2:7: grants.fs[0]: `data`: ",
        ),
    ] {
        std::fs::write(folder.join("plugin.toml"), manifest).unwrap();
        rig.sandbox.rescan().unwrap();
        let looked_at = looked_at(&rig, &folder).unwrap_err();
        let told = refusal(&rig, "echo").await;
        assert!(looked_at.contains(reason), "{looked_at}");
        assert!(told.contains(&looked_at), "{told}\nby a look: {looked_at}");
    }
    let fine = "name = \"echo\"\ncontract = \"component\"";
    std::fs::write(folder.join("plugin.toml"), fine).unwrap();
    assert_eq!(looked_at(&rig, &folder), Ok(()));
    // Where nothing is served from, a folder may have any name.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("plugin.toml"), fine).unwrap();
    std::fs::write(elsewhere.path().join("echo.cwasm"), &file).unwrap();
    assert_eq!(looked_at(&rig, elsewhere.path()), Ok(()));
}

/// What the operator does not allow is no reason not to load it, and is told.
#[test]
fn what_compiled_code_is_not_allowed_is_a_warning() {
    let rig = Rig::with(|config| {
        config.compiler = Compiler::Absent;
        config.precompiled = true;
        config.cache = None;
        let nothing = "[default]\ngrants = \"nothing\"\nlimits = { memory = \"16MiB\" }";
        config.ceilings = Ceilings::parse("file", nothing).unwrap();
    });
    let (_, file) = code_of("echo", Profile::Edge);
    let folder = rig.folder.path().join("echo");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("echo.cwasm"), &file).unwrap();
    let asks = "[limits]\nmemory = \"32MiB\"\n[grants]\nsecrets = [\"KEY\"]";
    std::fs::write(folder.join("plugin.toml"), asks).unwrap();
    let found = rig.sandbox.inspect_code(&folder, crate::rig::TENANT);
    let found = found.unwrap().expect("compiled code");
    assert_eq!(found.unfit, None);
    let [limits, grants] = found.problems.as_slice() else {
        panic!("{:?}", found.problems);
    };
    assert!(!limits.fatal && limits.what.contains("its [limits] go beyond"));
    assert!(!grants.fatal && grants.what.contains("secret `KEY`"));
}

/// The same code with another record.
fn resealed(
    code: &[u8],
    change: impl FnOnce(&mut serde_json::Value),
    record: &CodeRecord,
) -> Vec<u8> {
    let mut told = serde_json::to_value(record).unwrap();
    change(&mut told);
    let text = told.to_string().into_bytes();
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    [code, &text, &length, b"STEPWLP1"].concat()
}

#[tokio::test]
async fn a_limit_of_fuel_takes_code_that_counts_it() {
    let rig = edge();
    let source = tempfile::tempdir().unwrap();
    let folder = source.path().join("echo");
    std::fs::create_dir(&folder).unwrap();
    let manifest = |fuel: &str| format!("module = \"echo.wasm\"\n{fuel}");
    let fuel = manifest("[limits]\nfuel = 100000000\n");
    std::fs::write(folder.join("plugin.toml"), &fuel).unwrap();
    std::fs::write(folder.join("echo.wasm"), guest("echo")).unwrap();
    let (record, file) = compile_ahead(&folder, &how(Profile::Edge)).unwrap();
    assert!(record.metered);
    let place = rig.folder.path().join("echo");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("echo.cwasm"), file).unwrap();
    std::fs::write(place.join("plugin.toml"), &fuel).unwrap();
    rig.sandbox.rescan().unwrap();
    let end = rig.call("echo", json!(1)).await;
    assert!(
        matches!(end.outcome, Outcome::Ok(_)) && end.usage.fuel.is_some(),
        "{:?}",
        end.outcome
    );
    std::fs::write(place.join("plugin.toml"), manifest("")).unwrap();
    rig.sandbox.rescan().unwrap();
    let why = refusal(&rig, "echo").await;
    assert!(why.contains("`stepwell plugin compile FOLDER`"), "{why}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_everyone_can_write_is_not_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = edge();
    let (_, file) = code_of("echo", Profile::Edge);
    let path = write(&rig, "echo.cwasm", &file);
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&path, 0o666);
    let why = refusal(&rig, "echo").await;
    assert!(why.contains("everyone can write"), "{why}");
    let why = looked_at(&rig, &path).unwrap_err();
    assert!(why.contains("everyone can write"), "{why}");
}

/// Code that a tenant sent.
struct Sent(Arc<[u8]>);

impl UploadCode for Sent {
    fn wasm(&self) -> BoxFuture<'static, Result<Arc<[u8]>, String>> {
        let code = self.0.clone();
        Box::pin(async move { Ok(code) })
    }
}

#[tokio::test]
async fn a_tenants_upload_is_never_compiled_code() {
    let rig = Rig::with(|config| config.precompiled = true);
    let (record, file) = code_of("echo", Profile::Server);
    let code = usize::try_from(record.code_bytes).unwrap();
    for (id, bytes) in [("whole", &file[..]), ("naked", &file[..code])] {
        let upload = Upload {
            id: id.into(),
            version: None,
            memory_bytes: 128 << 20,
            wall: Duration::from_secs(3),
            environment: std::collections::BTreeMap::new(),
            code: Arc::new(Sent(bytes.into())),
        };
        let checked = rig.sandbox.check("111111111111", "task", upload).await;
        let why = checked.unwrap_err().to_string();
        assert!(
            why.contains("give the .wasm that it was made of"),
            "{id}: {why}"
        );
    }
}

#[test]
fn a_target_without_a_compiler_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("task.wasm");
    std::fs::write(&path, guest("noop")).unwrap();
    for (target, reason) in [
        ("nonsense", "the feature `cross`"),
        ("s390x-unknown-linux-gnu", "the feature `cross`"),
    ] {
        let how = AheadOfTime {
            target: Some(target.to_owned()),
            ..how(Profile::Edge)
        };
        let why = compile_ahead(&path, &how).unwrap_err().to_string();
        assert!(why.contains(reason) && why.contains(target), "{why}");
    }
}
