//! The tree's own rules: who may name whom, what a source file looks like, what has to be listed where. Each rule is a
//! trial that tells all its breaches at once, each as place, what is wrong, how to mend it.

mod crates;
mod enrolled;
mod sources;

use std::{collections::BTreeSet, path::Path, process::Command};

use libtest_mimic::{Failed, Trial};
use stepwell_tests::server;

/// All that the root may hold; a paper that explains something belongs into `docs/`.
const ROOT: [&str; 19] = [
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "guest-sdk",
    "runtime",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "tests",
    "xtask",
];

/// Breaches of a rule.
type Breaches = Vec<String>;
/// A rule; fails when the tree cannot be read.
type Rule = fn(&Tree) -> anyhow::Result<Breaches>;

const RULES: [(&str, Rule); 15] = [
    ("root", root),
    ("crates_name_only_whom_they_may", crates::edges),
    ("bans_hold", crates::bans),
    ("pure_crates_are_guarded", crates::purity),
    ("crates_share_the_lints", crates::lints),
    ("crates_are_on_the_maps", crates::maps),
    ("files_say_what_they_hide", sources::openings),
    ("files_and_functions_are_short", sources::lengths),
    ("nothing_is_left_undone", sources::undone),
    ("no_file_is_forgotten", sources::orphans),
    ("words", sources::words),
    ("diagnostics_have_pages_and_cases", enrolled::diagnostics),
    ("examples_and_guests_are_used", enrolled::programs),
    ("one_contract", enrolled::contract),
    ("walls_are_where_it_is_written", enrolled::walls),
];

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |(name, rule): (&str, Rule)| {
        Trial::test(format!("tidy::{name}"), move || {
            let breaches = Tree::read()
                .and_then(|tree| rule(&tree))
                .map_err(|error| Failed::from(format!("{error:#}")))?;
            if breaches.is_empty() {
                Ok(())
            } else {
                Err(Failed::from(breaches.join("\n")))
            }
        })
    };
    RULES.into_iter().map(trial).collect()
}

/// The files of the project: what the repository holds or would take in.
pub(super) struct Tree {
    /// Paths from the root, sorted.
    files: Vec<String>,
}

impl Tree {
    fn read() -> anyhow::Result<Tree> {
        let mut git = Command::new("git");
        git.current_dir(server::root());
        git.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let listed = git.output()?;
        anyhow::ensure!(
            listed.status.success(),
            "`git ls-files` failed: {}; the rules of the tree are checked in a git checkout",
            String::from_utf8_lossy(&listed.stderr)
        );
        let text = String::from_utf8(listed.stdout)?;
        let there = |path: &&str| server::root().join(path).is_file();
        let files: BTreeSet<String> = text.lines().filter(there).map(str::to_owned).collect();
        Ok(Tree {
            files: files.into_iter().collect(),
        })
    }

    /// Files below a folder (given with its last slash) whose names end so.
    fn below<'a>(&'a self, folder: &'a str, ending: &'a str) -> impl Iterator<Item = &'a str> {
        let files = self.files.iter().map(String::as_str);
        files.filter(move |path| path.starts_with(folder) && path.ends_with(ending))
    }

    fn has(&self, path: &str) -> bool {
        self.files
            .binary_search_by(|file| file.as_str().cmp(path))
            .is_ok()
    }
}

/// The text of a file; empty when it is not text.
fn text(path: &str) -> anyhow::Result<String> {
    let bytes = std::fs::read(server::root().join(path))?;
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

/// A file's name without its ending.
fn stem(path: &str) -> &str {
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str());
    stem.unwrap_or_default()
}

fn root(tree: &Tree) -> anyhow::Result<Breaches> {
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let found: BTreeSet<String> = tree.files.iter().map(first).collect();
    let known: BTreeSet<String> = ROOT.into_iter().map(str::to_owned).collect();
    let surplus = found
        .difference(&known)
        .map(|name| format!("{name}: nothing of that name belongs into the root; move it into a folder, or list it in tidy.rs"));
    let missing = known.difference(&found).map(|name| {
        format!("{name}: is missing from the root; restore it, or strike it from tidy.rs")
    });
    Ok(surplus.chain(missing).collect())
}
