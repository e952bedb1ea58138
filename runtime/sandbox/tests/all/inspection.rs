//! What a check says of a plugin before it is used.

use crate::rig::{Rig, TENANT, guest};
use stepwell_sandbox::{Contract, Format};

#[test]
fn guests_are_recognised() {
    let rig = Rig::new();
    for (program, format, contract) in [
        ("noop", Format::Component, Contract::Component),
        ("command", Format::Module, Contract::Command),
        ("command.p2", Format::Component, Contract::Command),
    ] {
        let path = rig.folder.path().join("x.wasm");
        std::fs::write(&path, guest(program)).unwrap();
        let inspection = rig.sandbox.inspect(&path, TENANT).unwrap();
        assert_eq!(
            (inspection.format, inspection.contract),
            (Some(format), Some(contract)),
            "{program}"
        );
        assert!(
            inspection.usable() && inspection.problems.is_empty(),
            "{:?}",
            inspection.problems
        );
    }
}

#[test]
fn a_components_imports_are_its_request() {
    let rig = Rig::new();
    rig.put_with("echo", "echo", "")
        .put_with("behave", "behave", "");
    let inspect = |name: &str| {
        rig.sandbox
            .inspect(&rig.folder.path().join(name), TENANT)
            .map(|i| i.imports)
    };
    let wants = |name: &str, grant: &str| {
        inspect(name)
            .unwrap()
            .iter()
            .any(|import| import.grant == Some(grant))
    };
    assert!(wants("behave", "http") && wants("behave", "secrets"));
    assert!(!wants("echo", "http") && !wants("echo", "secrets"));
    let problems = rig
        .sandbox
        .inspect(&rig.folder.path().join("behave"), TENANT)
        .unwrap()
        .problems;
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}");
    };
    assert!(!problem.fatal && problem.hint.contains("[grants]"));
    assert_eq!(
        problem.what,
        "it imports config, http, secrets and no plugin.toml asks for that: calls will be denied"
    );
}

#[test]
fn what_cannot_run_says_why() {
    let rig = Rig::new();
    let path = rig.folder.path().join("x.wasm");
    std::fs::write(&path, "text").unwrap();
    let inspection = rig.sandbox.inspect(&path, TENANT).unwrap();
    assert!(!inspection.usable() && inspection.problems[0].what.contains("not WebAssembly"));
    assert!(
        rig.sandbox
            .inspect(&rig.folder.path().join("absent.wasm"), TENANT)
            .is_err()
    );
}

/// Some toolchains import whatever the contract has, so all that nobody asks for is one warning.
#[test]
fn what_no_manifest_asks_for_is_one_warning() {
    let rig = Rig::new();
    rig.put("alone", "behave")
        .put_with("some", "behave", "[grants]\nsecrets = [\"KEY\"]");
    for (path, told) in [
        ("alone.wasm", "it imports config, http, secrets and no"),
        ("some", "it imports config, http and no"),
    ] {
        let found = rig.sandbox.inspect(&rig.folder.path().join(path), TENANT);
        let problems = found.unwrap().problems;
        let [problem] = problems.as_slice() else {
            panic!("{path}: {problems:?}");
        };
        assert!(
            !problem.fatal && problem.what.starts_with(told),
            "{problem:?}"
        );
    }
}

/// Whoever copies the whole manifest of the docs has one that is fine.
#[test]
fn the_manifest_of_the_docs_passes_its_own_check() {
    let page = include_str!("../../../../docs/plugins.md");
    let manifest = page.split("```toml\n").nth(1).unwrap();
    let manifest = manifest.split("```").next().unwrap();
    let rig = Rig::new();
    let folder = rig.folder.path().join("resize");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("plugin.toml"), manifest).unwrap();
    std::fs::write(folder.join("resize.wasm"), guest("echo")).unwrap();
    let found = rig.sandbox.inspect(&folder, TENANT).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(found.manifest.version.as_deref(), Some("1.2.0"));
}

#[test]
fn a_broken_manifest_says_where_and_how_to_mend_it() {
    let rig = Rig::new();
    for (name, manifest, parts) in [
        // Beside a file to examine, and without one: what is wrong with the manifest is said either way.
        (
            "field",
            "version = \"1\"\n[limit]\nmemory = 1\n",
            ["plugin.toml:2:2: ", "limit: there is no such key"],
        ),
        (
            "syntax",
            "[limits]\nmemory = \n",
            ["plugin.toml:2:", "expected"],
        ),
        (
            "value",
            "[limits]\nmemory = \"much\"\n",
            ["limits.memory", "write it like \"64MiB\""],
        ),
    ] {
        rig.put_with(name, "echo", manifest);
        let folder = rig.folder.path().join(name);
        let found = rig.sandbox.inspect(&folder, TENANT).unwrap();
        let [problem] = found.problems.as_slice() else {
            panic!("{name}: {:?}", found.problems);
        };
        assert!(problem.fatal && !problem.hint.is_empty() && !found.usable());
        std::fs::remove_file(folder.join("task.wasm")).unwrap();
        let error = rig
            .sandbox
            .inspect(&folder, TENANT)
            .unwrap_err()
            .to_string();
        for part in parts {
            assert!(problem.what.contains(part), "{name}: {}", problem.what);
            assert!(error.contains(part), "{name}: {error}");
        }
        assert!(
            error.contains("hint: ") && error.contains("no .wasm"),
            "{error}"
        );
    }
}
