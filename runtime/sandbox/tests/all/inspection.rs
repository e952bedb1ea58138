//! What a check says of a plugin before it is used.

use crate::rig::{Rig, guest};
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
        let inspection = rig.sandbox.inspect(&path).unwrap();
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
            .inspect(&rig.folder.path().join(name))
            .map(|i| i.imports)
    };
    std::fs::write(
        rig.folder.path().join("echo/plugin.toml"),
        "module = \"task.wasm\"",
    )
    .unwrap();
    std::fs::write(
        rig.folder.path().join("behave/plugin.toml"),
        "module = \"task.wasm\"",
    )
    .unwrap();
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
        .inspect(&rig.folder.path().join("behave"))
        .unwrap()
        .problems;
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems
            .iter()
            .all(|problem| !problem.fatal && problem.hint.contains("[grants]"))
    );
}

#[test]
fn what_cannot_run_says_why() {
    let rig = Rig::new();
    let path = rig.folder.path().join("x.wasm");
    std::fs::write(&path, "text").unwrap();
    let inspection = rig.sandbox.inspect(&path).unwrap();
    assert!(!inspection.usable() && inspection.problems[0].what.contains("not WebAssembly"));
    assert!(
        rig.sandbox
            .inspect(&rig.folder.path().join("absent.wasm"))
            .is_err()
    );
}
