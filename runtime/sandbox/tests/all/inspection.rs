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

/// What is in the plugin folder is looked at as it is served from there; a folder elsewhere may have any name.
#[test]
fn a_plugin_of_the_folder_has_the_name_of_its_place() {
    let (rig, elsewhere) = (Rig::new(), tempfile::tempdir().unwrap());
    rig.put_with("nm", "echo", "name = \"id\"");
    let found = rig.sandbox.inspect(&rig.folder.path().join("nm"), TENANT);
    let problems = found.unwrap().problems;
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}");
    };
    assert!(problem.fatal, "{problem:?}");
    assert!(
        problem.what.contains("the plugin is found as `nm`"),
        "{problem:?}"
    );
    let sources = elsewhere.path().join("nm");
    std::fs::create_dir(&sources).unwrap();
    std::fs::write(sources.join("plugin.toml"), "name = \"id\"").unwrap();
    std::fs::write(sources.join("id.wasm"), guest("echo")).unwrap();
    let found = rig.sandbox.inspect(&sources, TENANT).unwrap();
    assert!(found.usable(), "{:?}", found.problems);
}

#[cfg(unix)]
#[test]
fn what_leads_out_of_the_folder_is_not_looked_at() {
    use std::os::unix::fs::symlink;
    let (rig, outside) = (Rig::new(), tempfile::tempdir().unwrap());
    let folder = rig.folder.path();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "password: hunter2").unwrap();
    let wasm = outside.path().join("echo.wasm");
    std::fs::write(&wasm, guest("echo")).unwrap();
    symlink(&wasm, folder.join("lnk.wasm")).unwrap();
    symlink("none", folder.join("gone.wasm")).unwrap();
    symlink(outside.path(), folder.join("all")).unwrap();
    for name in ["manifest", "module", "whole"] {
        rig.put_with(name, "echo", "");
    }
    std::fs::remove_file(folder.join("manifest/plugin.toml")).unwrap();
    symlink(&secret, folder.join("manifest/plugin.toml")).unwrap();
    std::fs::remove_file(folder.join("module/task.wasm")).unwrap();
    symlink(&wasm, folder.join("module/module.wasm")).unwrap();
    // Its own matter, and no program.
    symlink(&secret, folder.join("whole/notes")).unwrap();
    std::fs::write(folder.join("no name.wasm"), guest("echo")).unwrap();
    let refused = |place: &str| {
        let found = rig.sandbox.inspect(&folder.join(place), TENANT);
        let why = found.map(|found| found.problems).unwrap_err().to_string();
        assert!(!why.contains("hunter2"), "{place}: {why}");
        let code = rig.sandbox.inspect_code(&folder.join(place), TENANT);
        assert_eq!(code.map(|_| ()).unwrap_err().to_string(), why);
        why
    };
    for (place, part) in [
        (
            "lnk.wasm",
            "it is a link that leads out of the plugin directory",
        ),
        ("gone.wasm", "it is a link that leads nowhere"),
        ("all", "it is a link that leads out of the plugin directory"),
        ("all/echo.wasm", "does it lead outside?"),
        ("manifest", "its plugin.toml is a link that leads out"),
        ("module", "module/module.wasm: it is a link that leads out"),
        ("no name.wasm", "a name is 1 to 64 of A-Z a-z 0-9 - _"),
    ] {
        let why = refused(place);
        assert!(why.contains(part), "{place}: {why}");
    }
    let whole = rig.sandbox.inspect(&folder.join("whole"), TENANT).unwrap();
    assert!(whole.usable(), "{:?}", whole.problems);
    // The same is told of a look at all of the folder.
    let skipped: Vec<_> = rig.sandbox.skipped();
    let places: Vec<&str> = skipped.iter().map(|one| one.place.as_str()).collect();
    assert_eq!(
        places,
        ["all", "gone.wasm", "lnk.wasm", "manifest", "no name.wasm"]
    );
    assert_eq!(skipped[4].name, "no name");
    assert!(
        skipped[3].why.contains("its plugin.toml is a link"),
        "{skipped:?}"
    );
}
