//! Source files: how they open, how long they are, what they must not say, and that each is a part of its crate.

use super::{Breaches, Tree, stem, text};

/// Lines of a file, its unit tests apart.
const FILE_LINES_MAX: usize = 1_000;
/// Lines of a function, from `fn` to its last brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Longer functions, and why they are one.
const LONG: [(&str, &str, &str); 4] = [
    (
        "runtime/interp/src/codec/events.rs",
        "write",
        "an arm an event",
    ),
    (
        "runtime/interp/src/codec/events.rs",
        "read_what",
        "an arm an event",
    ),
    (
        "runtime/interp/src/history/details.rs",
        "details",
        "an arm an event",
    ),
    (
        "runtime/interp/src/run/evolve.rs",
        "apply",
        "an arm an event",
    ),
];

/// What a finished text has none of, and what to do instead.
const UNDONE: [(&str, &str); 4] = [
    ("todo!(", "write it"),
    (
        "unimplemented!(",
        "write it, or return an error that says so",
    ),
    ("#[ignore", "mend the test, or delete it"),
    ("dbg!(", "delete it"),
];

/// The project speaks of itself: no machinery around it, no machine it was written on, no place it is fetched from.
const WORDS: [&str; 11] = [
    "github",
    "gitlab",
    "jenkins",
    "buildkite",
    "crates.io",
    "npmjs",
    "pypi.org",
    "artifactory",
    "copilot",
    "chatgpt",
    "claude",
];
/// Paths of the machine that runs the test: where this checkout lies, and the user's home. They are asked for, so that
/// the rule holds on every machine and names none.
fn own_paths() -> Vec<String> {
    let checkout = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let checkout = checkout.map(|path| path.display().to_string());
    let home = std::env::var("HOME").ok().map(|home| format!("{home}/"));
    let paths = checkout.into_iter().chain(home);
    // A home of `/` would be found everywhere.
    paths
        .map(|path| path.to_ascii_lowercase())
        .filter(|path| path.len() > 2)
        .collect()
}

/// Files that hold such words by their nature.
const WORDS_EXCUSED: [(&str, &str); 4] = [
    ("Cargo.lock", "cargo writes it"),
    ("runtime/console/package-lock.json", "npm writes it"),
    ("tests/clients/rust/Cargo.lock", "cargo writes it"),
    ("tests/tests/suites/tidy/sources.rs", "the list itself"),
];

/// A source file.
struct Source<'a> {
    path: &'a str,
    text: String,
}

impl<'a> Source<'a> {
    fn all(tree: &'a Tree) -> anyhow::Result<Vec<Source<'a>>> {
        let read = |path| {
            let text = text(path)?;
            Ok(Source { path, text })
        };
        tree.below("", ".rs").map(read).collect()
    }

    /// What is built into the product or the harness: nothing of a test file, in others all before their unit tests.
    fn code(&self, all: &[Source<'_>]) -> &str {
        if self.path.contains("/tests/") || self.is_only_for_tests(all) {
            return "";
        }
        let tests = self.text.find("#[cfg(test)]\nmod tests {");
        &self.text[..tests.unwrap_or(self.text.len())]
    }

    /// Whether the module that declares it says `#[cfg(test)]`.
    fn is_only_for_tests(&self, all: &[Source<'_>]) -> bool {
        let declared = format!("#[cfg(test)]\nmod {};", self.module());
        self.declaring(all)
            .any(|source| source.text.contains(&declared))
    }

    /// Its name as a module.
    fn module(&self) -> &str {
        match stem(self.path) {
            "mod" => stem(self.folder()),
            name => name,
        }
    }

    fn folder(&self) -> &str {
        parent(self.path)
    }

    /// The files that may declare it: the module of its folder, or one that cargo finds there.
    fn declaring<'b>(&self, all: &'b [Source<'_>]) -> impl Iterator<Item = &'b Source<'b>> {
        let folder = if stem(self.path) == "mod" {
            parent(self.folder())
        } else {
            self.folder()
        };
        let named_as_it = format!("{folder}.rs");
        all.iter().filter(move |other| {
            let within =
                other.folder() == folder && (stem(other.path) == "mod" || other.is_a_root());
            within || other.path == named_as_it
        })
    }

    /// Whether cargo finds it by its place.
    fn is_a_root(&self) -> bool {
        matches!(stem(self.path), "lib" | "main" | "build")
            || ["/bin", "/tests", "/examples"]
                .iter()
                .any(|place| self.folder().ends_with(place))
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

pub(super) fn openings(tree: &Tree) -> anyhow::Result<Breaches> {
    let sources = Source::all(tree)?;
    let silent = sources
        .iter()
        .filter(|source| !source.text.starts_with("//!"));
    let breach = |source: &Source<'_>| {
        let path = source.path;
        format!("{path}: open it with a `//!` that says what the file is for and what it hides")
    };
    Ok(silent.map(breach).collect())
}

pub(super) fn lengths(tree: &Tree) -> anyhow::Result<Breaches> {
    let sources = Source::all(tree)?;
    let mut breaches = Breaches::new();
    let mut met = Vec::new();
    for source in &sources {
        let (path, code) = (source.path, source.code(&sources));
        let lines = code.lines().count();
        if lines > FILE_LINES_MAX {
            breaches.push(format!(
                "{path}: has {lines} lines, more than {FILE_LINES_MAX}; split it by its nouns"
            ));
        }
        for (name, line, lines) in functions(code) {
            if lines <= FUNCTION_LINES_MAX {
                continue;
            }
            if LONG.iter().any(|long| (long.0, long.1) == (path, name)) {
                met.push((path, name));
            } else {
                breaches.push(format!(
                    "{path}:{line}: `{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}; take a step of it out"
                ));
            }
        }
    }
    let kept = LONG.iter().filter(|long| !met.contains(&(long.0, long.1)));
    breaches.extend(kept.map(|long| {
        format!(
            "tidy/sources.rs: `{}` of {} is no longer too long; strike the exception",
            long.1, long.0
        )
    }));
    Ok(breaches)
}

/// Name, line and length of each function. Relies on rustfmt: the last brace stands as deep as the first word.
fn functions(code: &str) -> Vec<(&str, usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let Some(name) = function(line) else { continue };
        let depth = line.len() - line.trim_start().len();
        // The first line as deep as this one that ends the function, or its declaration in a trait.
        let ends = |line: &&str| {
            line.len() - line.trim_start().len() == depth
                && (line.ends_with(';') || line.ends_with('}'))
        };
        if let Some(length) = lines[n..].iter().position(ends) {
            found.push((name, n + 1, length + 1));
        }
    }
    found
}

/// The name of the function that begins on a line.
fn function(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split(' ');
    let before = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "const",
        "async",
        "unsafe",
        "extern",
        "\"C\"",
    ];
    let word = words.find(|word| !before.contains(word))?;
    let name = (word == "fn").then(|| words.next())??;
    name.split(['(', '<']).next()
}

pub(super) fn undone(tree: &Tree) -> anyhow::Result<Breaches> {
    let mut breaches = Breaches::new();
    for Source { path, text } in Source::all(tree)? {
        if WORDS_EXCUSED.iter().any(|(excused, _)| *excused == path) {
            continue;
        }
        for (n, line) in text.lines().enumerate() {
            for (word, instead) in UNDONE {
                if line.contains(word) {
                    breaches.push(format!("{path}:{}: `{word}`: {instead}", n + 1));
                }
            }
        }
    }
    Ok(breaches)
}

pub(super) fn orphans(tree: &Tree) -> anyhow::Result<Breaches> {
    let sources = Source::all(tree)?;
    let mut breaches = Breaches::new();
    for source in sources.iter().filter(|source| !source.is_a_root()) {
        let module = format!("mod {};", source.module());
        let by_path = format!("#[path = \"{}.rs\"]", stem(source.path));
        let mut declaring = source.declaring(&sources);
        if !declaring.any(|other| other.text.contains(&module) || other.text.contains(&by_path)) {
            breaches.push(format!(
                "{}: no file says `{module}`, so it is compiled nowhere; declare it, or delete it",
                source.path
            ));
        }
    }
    Ok(breaches)
}

pub(super) fn words(tree: &Tree) -> anyhow::Result<Breaches> {
    let mut breaches = Breaches::new();
    let own = own_paths();
    for path in tree.below("", "") {
        if WORDS_EXCUSED.iter().any(|(excused, _)| *excused == path) {
            continue;
        }
        for (n, line) in text(path)?.to_ascii_lowercase().lines().enumerate() {
            let own = own.iter().map(String::as_str);
            for word in WORDS
                .into_iter()
                .chain(own)
                .filter(|word| line.contains(word))
            {
                breaches.push(format!(
                    "{path}:{}: says `{word}`; the project speaks of itself alone, say it without",
                    n + 1
                ));
            }
        }
    }
    Ok(breaches)
}
