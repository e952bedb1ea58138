//! The reference engine: the package `jsonata` under Node, installed once into the build folder and asked in one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stepwell_query::{ObjectBuilder, Value};

use crate::Answer;
use crate::pairs::Pair;

const FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("package.json")),
    ("package-lock.json", include_str!("package-lock.json")),
    ("reference.mjs", include_str!("reference.mjs")),
];

/// The folder with the reference engine; `None`, said in a line, when it cannot be had.
pub(crate) fn installed() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jsonata-reference");
    match install(&folder) {
        Ok(()) => Some(folder),
        Err(reason) => {
            println!("skipped: no reference engine of JSONata to compare with: {reason}");
            None
        }
    }
}

fn install(folder: &Path) -> Result<(), String> {
    let lock = folder.join("package-lock.json");
    let is_current = fs::read_to_string(&lock).is_ok_and(|text| text == FILES[1].1)
        && folder.join("node_modules/jsonata/package.json").is_file();
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    for (name, text) in FILES {
        fs::write(folder.join(name), text).map_err(|error| error.to_string())?;
    }
    if is_current {
        return Ok(());
    }
    let arguments =
        "ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=20000";
    let mut npm = Command::new("npm");
    npm.current_dir(folder).args(arguments.split(' '));
    match npm.output() {
        Err(_) => Err("npm is not installed; install Node.js".into()),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or_default();
            // The next run tries again.
            let _ = fs::remove_file(lock);
            Err(format!("npm cannot install it: {first}"))
        }
    }
}

/// What it answers to the pairs, in their order.
pub(crate) fn answers(folder: &Path, pairs: &[Pair]) -> Vec<Answer> {
    let mut asked = String::new();
    for pair in pairs {
        let mut line = ObjectBuilder::default();
        line.insert("expression", Value::from(pair.expression.as_str()));
        line.insert("data", pair.data.clone());
        asked.push_str(&Value::from(line).to_json());
        asked.push('\n');
    }
    let file = folder.join("pairs.jsonl");
    fs::write(&file, asked).expect("the build folder can be written");
    let mut node = Command::new("node");
    node.current_dir(folder).arg("reference.mjs").arg(&file);
    let output = node.output().expect("Node starts, since npm did");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the reference engine fails: {said}"
    );
    let text = String::from_utf8(output.stdout).expect("Node writes UTF-8");
    let answers: Vec<Answer> = text.lines().map(read).collect();
    assert_eq!(answers.len(), pairs.len(), "an answer for each pair");
    answers
}

fn read(line: &str) -> Answer {
    let answer = Value::parse(line).expect("an answer is JSON");
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some(value) = answer.get("value") {
        Answer::Value(value.clone())
    } else if let Some(message) = text("crash") {
        Answer::Crash(message)
    } else {
        match text("code").as_deref() {
            None => Answer::Undefined,
            Some("FUNCTION") => Answer::Function,
            Some(code) => Answer::Error(code.to_owned()),
        }
    }
}
