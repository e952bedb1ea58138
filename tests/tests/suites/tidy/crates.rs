//! The crates: whom each may name, what each must never name, what guards the pure ones, on which maps they stand.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, ensure};
use serde::Deserialize;
use stepwell_tests::server;

use super::{Breaches, Tree, text};

/// Of ours, whom each crate may name. Crates that are not here are guests: [`GUESTS_MAY`].
const EDGES: [(&str, &[&str]); 15] = [
    ("stepwell-query", &[]),
    ("stepwell-asl", &["stepwell-query"]),
    ("stepwell-interp", &["stepwell-asl", "stepwell-query"]),
    ("stepwell-items", &["stepwell-query"]),
    ("stepwell-egress", &[]),
    (
        "stepwell-engine",
        &[
            "stepwell-asl",
            "stepwell-egress",
            "stepwell-interp",
            "stepwell-items",
            "stepwell-query",
        ],
    ),
    ("stepwell-sandbox", &["stepwell-egress"]),
    (
        "stepwell-server",
        &[
            "stepwell-asl",
            "stepwell-egress",
            "stepwell-engine",
            "stepwell-interp",
            "stepwell-query",
        ],
    ),
    // Files, whoever serves them.
    ("stepwell-console", &[]),
    (
        "stepwell",
        &[
            "stepwell-asl",
            "stepwell-console",
            "stepwell-egress",
            "stepwell-engine",
            "stepwell-interp",
            "stepwell-items",
            "stepwell-query",
            "stepwell-sandbox",
            "stepwell-server",
        ],
    ),
    ("stepwell-task-macros", &[]),
    (
        "stepwell-tests",
        &[
            "stepwell-asl",
            "stepwell-engine",
            "stepwell-interp",
            "stepwell-query",
        ],
    ),
    // Measures the languages and a bare loop over the Wasm runtime beside the program.
    (
        "stepwell-bench",
        &[
            "stepwell-asl",
            "stepwell-egress",
            "stepwell-interp",
            "stepwell-query",
            "stepwell-sandbox",
        ],
    ),
    (
        "stepwell-fuzz",
        &[
            "stepwell-asl",
            "stepwell-interp",
            "stepwell-query",
            "stepwell-sandbox",
            "stepwell-server",
        ],
    ),
    ("xtask", &[]),
];
/// The SDK, samples, examples' tasks and test guests.
const GUESTS_MAY: [&str; 2] = ["stepwell-task", "stepwell-task-macros"];

/// Crates from outside, by the beginning of their names, and who of ours may name them.
const BANS: [(&str, &[&str]); 13] = [
    ("wasmtime", &["stepwell-sandbox"]),
    ("axum", &["stepwell-server", "stepwell"]),
    ("rusqlite", &["stepwell-engine"]),
    ("tokio-postgres", &["stepwell-engine"]),
    ("object_store", &["stepwell-items"]),
    ("csv", &["stepwell-items"]),
    ("parquet", &["stepwell-items"]),
    ("getrandom", &["stepwell-engine"]),
    // A generator that only expands a given seed.
    (
        "rand_chacha",
        &["stepwell-engine", "stepwell-query", "stepwell-sandbox"],
    ),
    ("rand", &["stepwell-engine", "stepwell-query"]),
    ("clap", &["stepwell", "stepwell-bench", "xtask"]),
    (
        "anyhow",
        &["stepwell", "stepwell-bench", "stepwell-tests", "xtask"],
    ),
    (
        "tokio",
        &[
            "stepwell",
            "stepwell-bench",
            "stepwell-egress",
            "stepwell-engine",
            "stepwell-items",
            "stepwell-sandbox",
            "stepwell-server",
        ],
    ),
];

/// Crates that read no clock, do no I/O and know no order that differs from run to run.
const PURE: [&str; 3] = ["query", "asl", "interp"];
/// What the `clippy.toml` of each of them forbids at least.
const IMPURE: [&str; 6] = [
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::fs::read",
    "std::fs::write",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// `cargo metadata`, as far as it is needed.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: std::path::PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

impl Package {
    /// Its manifest from the root.
    fn manifest(&self) -> String {
        let path = self.manifest_path.strip_prefix(server::root());
        path.unwrap_or(&self.manifest_path).display().to_string()
    }

    /// What it names in all builds but its tests'.
    fn names(&self) -> impl Iterator<Item = &str> {
        let dependencies = self.dependencies.iter();
        let built = dependencies.filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        built.map(|dependency| dependency.name.as_str())
    }
}

fn packages() -> anyhow::Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.current_dir(server::root());
    cargo.args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]);
    let told = cargo.output().context("cargo cannot be started")?;
    ensure!(
        told.status.success(),
        "`cargo metadata` failed: {}",
        String::from_utf8_lossy(&told.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&told.stdout)?;
    Ok(metadata.packages)
}

pub(super) fn edges(_: &Tree) -> anyhow::Result<Breaches> {
    let packages = packages()?;
    let allowed = BTreeMap::from(EDGES);
    let mut breaches = Breaches::new();
    for package in &packages {
        let may = allowed.get(package.name.as_str()).copied();
        let may = may.unwrap_or(&GUESTS_MAY);
        for name in package.names() {
            let ours = packages.iter().any(|other| other.name == name);
            if ours && !may.contains(&name) {
                breaches.push(format!(
                    "{}: {} may not name {name}; move what needs it, or change the table of crates in ARCHITECTURE.md and tidy/crates.rs",
                    package.manifest(),
                    package.name
                ));
            }
        }
    }
    for (name, _) in EDGES {
        if !packages.iter().any(|package| package.name == name) {
            breaches.push(format!(
                "tidy/crates.rs: there is no crate {name}; strike it from the table"
            ));
        }
    }
    Ok(breaches)
}

pub(super) fn bans(_: &Tree) -> anyhow::Result<Breaches> {
    let mut breaches = Breaches::new();
    for package in packages()? {
        for name in package.names() {
            let ban = BANS.iter().find(|(banned, _)| {
                name.strip_prefix(banned)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            });
            if let Some((banned, may)) = ban
                && !may.contains(&package.name.as_str())
            {
                breaches.push(format!(
                    "{}: {} may not name {name}: {banned} is for {} alone; put the work there",
                    package.manifest(),
                    package.name,
                    may.join(", ")
                ));
            }
        }
    }
    Ok(breaches)
}

pub(super) fn purity(_: &Tree) -> anyhow::Result<Breaches> {
    let mut breaches = Breaches::new();
    for name in PURE {
        let path = format!("runtime/{name}/clippy.toml");
        let guard = text(&path).with_context(|| {
            format!("{path}: without it nothing keeps the crate pure; restore it")
        })?;
        let guard: toml::Table = guard.parse().with_context(|| path.clone())?;
        let forbidden: Vec<&str> = ["disallowed-types", "disallowed-methods"]
            .iter()
            .filter_map(|list| guard.get(*list)?.as_array())
            .flatten()
            .filter_map(|ban| ban.get("path")?.as_str())
            .collect();
        for impure in IMPURE {
            // A type may be forbidden whole, or by the method that reads the clock.
            let covers = |path: &&str| {
                path.strip_prefix(impure)
                    .is_some_and(|rest| rest.is_empty() || rest == "::now")
            };
            if !forbidden.iter().any(covers) {
                breaches.push(format!(
                    "{path}: {impure} is not forbidden; a pure crate must not use it"
                ));
            }
        }
    }
    Ok(breaches)
}

pub(super) fn lints(tree: &Tree) -> anyhow::Result<Breaches> {
    let mut breaches = Breaches::new();
    for package in packages()? {
        let path = package.manifest();
        let manifest: toml::Table = text(&path)?.parse().with_context(|| path.clone())?;
        let shared = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        if shared.and_then(toml::Value::as_bool) != Some(true) {
            breaches.push(format!(
                "{path}: without `[lints] workspace = true` the common lints do not hold here; add it"
            ));
        }
    }
    // The lint finds each unwrap outside of tests; so it must be on, and nobody may switch it off.
    let root: toml::Table = text("Cargo.toml")?.parse()?;
    let lint = root.get("workspace").and_then(|table| {
        table
            .get("lints")?
            .get("clippy")?
            .get("unwrap_used")?
            .as_str()
    });
    if lint != Some("deny") {
        breaches.push("Cargo.toml: `unwrap_used = \"deny\"` is gone from [workspace.lints.clippy]; restore it".to_owned());
    }
    for path in tree
        .below("runtime/", ".rs")
        .filter(|path| path.contains("/src/"))
    {
        if text(path)?.contains("allow(clippy::unwrap_used") {
            breaches.push(format!(
                "{path}: allows unwrap; return the error, or say with `expect` why it cannot happen"
            ));
        }
    }
    Ok(breaches)
}

pub(super) fn maps(_: &Tree) -> anyhow::Result<Breaches> {
    let mut breaches = Breaches::new();
    let (architecture, readme) = (text("ARCHITECTURE.md")?, text("README.md")?);
    for package in packages()? {
        let manifest = package.manifest();
        // The examples' tasks are many, and alike.
        let name = if manifest.starts_with("examples/") {
            "EXAMPLE-TASK"
        } else {
            &package.name
        };
        let named = format!("`{name}`");
        for (map, place) in [
            (&architecture, "ARCHITECTURE.md (Crates)"),
            (&readme, "README.md (Folders)"),
        ] {
            if !map.contains(&named) {
                breaches.push(format!("{manifest}: add the crate {named} to {place}"));
            }
        }
    }
    Ok(breaches)
}
