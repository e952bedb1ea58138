//! Every bad definition says what is wrong with it: `bad/ASLnnn-what.json` beside `bad/ASLnnn-what.txt`, what people and
//! the wire are told. `BLESS=1` rewrites the texts; review the difference.
#![allow(
    clippy::disallowed_methods,
    reason = "tests read files and the environment"
)]

use std::fs;
use std::path::{Path, PathBuf};

use stepwell_asl::{Code, ExecutionType, Options, codes, explain, load, refusal};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

fn options(file: &str) -> Options {
    let kind = if file.contains(".express.") {
        ExecutionType::Express
    } else {
        ExecutionType::Standard
    };
    Options {
        kind,
        ..Options::default()
    }
}

/// What people are told, and what the wire says where the definition is refused.
fn told(text: &str, file: &str) -> String {
    let loaded = load(text, &options(file));
    let mut told = String::new();
    for diagnostic in &loaded.diagnostics {
        told.push_str(&format!("{}\n\n", diagnostic.show(file)));
    }
    let refusal = refusal(&loaded.diagnostics);
    assert_eq!(
        refusal.is_some(),
        loaded.program.is_none(),
        "{file}: refused and loaded must exclude each other"
    );
    told + refusal.as_deref().unwrap_or("accepted") + "\n"
}

#[test]
fn bad_definitions_say_what_is_wrong() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for path in files(&folder("tests/bad"), "json") {
        let file = path
            .file_name()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let told = told(
            &fs::read_to_string(&path).expect("the case can be read"),
            &file,
        );
        let expected = path.with_extension("txt");
        if bless {
            fs::write(&expected, &told).expect("the text can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{file} now says:\n{told}"));
        }
        let id = file.split('-').next().expect("a name has a first part");
        if !told.contains(&format!("[{id}]")) {
            wrong.push(format!("{file} does not show {id}:\n{told}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n(BLESS=1 accepts the new texts)",
        wrong.join("\n")
    );
}

#[test]
fn good_definitions_are_accepted_without_a_word() {
    for path in files(&folder("tests/good"), "json") {
        let text = fs::read_to_string(&path).expect("the case can be read");
        let loaded = load(&text, &Options::default());
        let said: String = loaded
            .diagnostics
            .iter()
            .map(|diagnostic| format!("{diagnostic}\n"))
            .collect();
        assert!(
            loaded.program.is_some() && said.is_empty(),
            "{}:\n{said}",
            path.display()
        );
    }
}

#[test]
fn every_code_has_a_page_and_a_bad_definition() {
    let cases = files(&folder("tests/bad"), "json");
    let pages = files(&folder("codes"), "md");
    assert_eq!(
        pages.len(),
        codes().len(),
        "a page for each code, and none besides"
    );
    for code in codes() {
        let page = explain(code.id()).expect("a code has a page");
        assert!(
            page.starts_with(&format!("# {}: {}\n", code.id(), code.title())),
            "{}: title",
            code.id()
        );
        assert!(page.contains(code.aws()), "{}: the wire's code", code.id());
        for heading in [
            "## What it means",
            "## Why",
            "## How to mend",
            "Before:",
            "After:",
        ] {
            assert!(page.contains(heading), "{}: {heading}", code.id());
        }
        // A definition of a megabyte is made by the test below; who serves what is not known here.
        let shown = matches!(code, Code::TooLarge | Code::Unserved)
            || cases.iter().any(|case| {
                let name = case
                    .file_name()
                    .expect("a file has a name")
                    .to_string_lossy();
                name.starts_with(code.id())
            });
        assert!(shown, "{} has no bad definition", code.id());
    }
    assert_eq!(explain("asl012"), explain("ASL012"));
    assert_eq!(explain("ASL999"), None);
}

#[test]
fn a_definition_has_a_largest_size() {
    let comment = "x".repeat(1_048_576);
    let text =
        format!(r#"{{"Comment":"{comment}","StartAt":"A","States":{{"A":{{"Type":"Succeed"}}}}}}"#);
    let loaded = load(&text, &Options::default());
    assert_eq!(loaded.diagnostics[0].code, Code::TooLarge);
    let raised = Options {
        limits: stepwell_asl::Limits::Raised,
        ..Options::default()
    };
    assert!(load(&text, &raised).program.is_some());
}
