//! What is written to be used: diagnostics with their pages and cases, examples' tasks, test guests, the contract.

use std::collections::BTreeSet;

use super::{Breaches, Tree, stem, text};

/// Diagnostics without a case of their own, and why.
const NO_CASE: [(&str, &str); 2] = [
    ("ASL004", "its case would be a text of more than a megabyte"),
    (
        "ASL045",
        "what is served is known to the engine; the command line's transcripts show it",
    ),
];

/// Where test guests are called by name.
const CALLERS: [&str; 3] = ["runtime/sandbox/tests/", "tests/tests/", "tests/bench/"];

pub(super) fn diagnostics(tree: &Tree) -> anyhow::Result<Breaches> {
    let table = text("runtime/asl/src/codes.rs")?;
    let codes: BTreeSet<&str> = table
        .split('"')
        .filter(|word| word.len() == "ASL000".len() && word.starts_with("ASL"))
        .collect();
    let pages: BTreeSet<&str> = tree.below("runtime/asl/codes/", ".md").map(stem).collect();
    let case = |path| stem(path).split('-').next().unwrap_or_default();
    let cases: BTreeSet<&str> = tree
        .below("runtime/asl/tests/bad/", ".json")
        .map(case)
        .collect();
    let mut breaches = Breaches::new();
    for code in &codes {
        if !pages.contains(code) {
            breaches.push(format!(
                "runtime/asl/codes/{code}.md: is missing; `stepwell explain {code}` shows it"
            ));
        }
        let excused = NO_CASE.iter().any(|(excused, _)| excused == code);
        if !cases.contains(code) && !excused {
            breaches.push(format!(
                "runtime/asl/tests/bad/{code}-….json: is missing; write the shortest definition that meets it"
            ));
        }
    }
    for orphan in pages.union(&cases).filter(|code| !codes.contains(*code)) {
        breaches.push(format!(
            "runtime/asl: {orphan} has a page or a case, but codes.rs knows no such code; delete them"
        ));
    }
    Ok(breaches)
}

pub(super) fn programs(tree: &Tree) -> anyhow::Result<Breaches> {
    let mut breaches = Breaches::new();
    let listed = text("examples/README.md")?;
    for example in tree.below("examples/", "/README.md") {
        let folder = example.trim_end_matches("/README.md");
        let Some(name) = folder.strip_prefix("examples/") else {
            continue;
        };
        if !tree.has(&format!("{folder}/test.toml")) {
            breaches.push(format!(
                "{folder}/test.toml: is missing, so nothing runs the example"
            ));
        }
        if !listed.contains(&format!("[{name}]({name})")) {
            breaches.push(format!(
                "examples/README.md: does not list {name}; add it to the table"
            ));
        }
    }
    let callers: Vec<String> = CALLERS
        .iter()
        .flat_map(|folder| tree.below(folder, ".rs"))
        .map(text)
        .collect::<Result<_, _>>()?;
    let manifest = text("tests/guests/Cargo.toml")?;
    let commands = tree.below("tests/guests/src/bin/", ".rs");
    let components = tree.below("tests/guests/examples/", ".rs");
    for path in commands.chain(components) {
        let name = format!("\"{}\"", stem(path));
        if !callers.iter().any(|caller| caller.contains(&name)) {
            breaches.push(format!(
                "{path}: no test calls the program {name}; write one, or delete the program"
            ));
        }
        if path.contains("/examples/") && !manifest.contains(&format!("name = {name}")) {
            breaches.push(format!(
                "{path}: is no component yet; give it an [[example]] with crate-type cdylib in tests/guests/Cargo.toml"
            ));
        }
    }
    Ok(breaches)
}

/// What the security model names as the place of a wall, or of what judges it, is there.
pub(super) fn walls(tree: &Tree) -> anyhow::Result<Breaches> {
    const PAGE: &str = "docs/security.md";
    let page = text(PAGE)?;
    let before = |line: &&str| !line.starts_with("## Where the walls are");
    let rows: Vec<&str> = page
        .lines()
        .skip_while(before)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("| ") && line.contains('`'))
        .collect();
    let mut breaches = Breaches::new();
    if rows.is_empty() {
        breaches.push(format!("{PAGE}: the table of walls is gone; put it back"));
    }
    let named = rows
        .iter()
        .flat_map(|row| row.split('`').skip(1).step_by(2));
    for name in named.filter(|name| name.ends_with(".rs") || name.ends_with('/')) {
        let is_there = |path: &&str| path.starts_with(name) || path.contains(&format!("/{name}"));
        if !tree.below("", "").any(|path| is_there(&path)) {
            breaches.push(format!(
                "{PAGE}: a wall is in `{name}`, which is not there; name the file that has it now"
            ));
        }
    }
    Ok(breaches)
}

pub(super) fn contract(tree: &Tree) -> anyhow::Result<Breaches> {
    let mut copies = Vec::new();
    for path in tree.below("", ".wit") {
        if text(path)?.contains("package stepwell:task") {
            copies.push(path);
        }
    }
    Ok(match copies.as_slice() {
        ["guest-sdk/wit/task.wit"] => Breaches::new(),
        _ => vec![format!(
            "{}: the contract is guest-sdk/wit/task.wit and has no copies; read it by path",
            copies.join(", ")
        )],
    })
}
