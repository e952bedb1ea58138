//! Cases as folders: `machine.asl.json`, `input.json`, `tasks.json` (a script, optional), and what is expected:
//! `history.txt`, `output.json`, and of what it started `children.txt`. `machines/NAME.asl.json` are state machines that its tasks may start. Hides the files; `BLESS=1` writes what is expected anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stepwell_asl::{ExecutionType, Options, Program, load};
use stepwell_query::Value;

use crate::script::Script;

/// A case without what it expects.
pub struct Case {
    pub name: String,
    pub dir: PathBuf,
    pub definition: String,
    pub program: Program,
    pub input: Value,
    pub script: Script,
    /// State machines that its tasks may start, by ARN.
    pub machines: BTreeMap<String, String>,
}

/// All cases in the folder of this crate.
pub fn cases() -> Vec<PathBuf> {
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs");
    let entries =
        std::fs::read_dir(&runs).unwrap_or_else(|error| panic!("{}: {error}", runs.display()));
    let mut dirs: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    dirs.retain(|dir| dir.is_dir());
    dirs.sort();
    dirs
}

impl Case {
    /// Reads a case; panics with the file's name when it cannot be used.
    pub fn read(dir: &Path) -> Case {
        let text = |file: &str| std::fs::read_to_string(dir.join(file));
        let name = dir
            .file_name()
            .expect("a case has a name")
            .to_string_lossy()
            .into_owned();
        let definition = text("machine.asl.json")
            .unwrap_or_else(|error| panic!("{name}/machine.asl.json: {error}"));
        let input = text("input.json").unwrap_or_else(|_| "{}".to_owned());
        let input =
            Value::parse(&input).unwrap_or_else(|error| panic!("{name}/input.json: {error}"));
        let mut script = text("tasks.json")
            .map(|text| Script::parse(&text))
            .unwrap_or_default();
        let machines = machines(dir);
        for (arn, definition) in &machines {
            let program = program(definition)
                .unwrap_or_else(|faults| panic!("{name}/machines, {arn}: {faults}"));
            script.machines.insert(arn.clone(), program.into());
        }
        let program = program(&definition)
            .unwrap_or_else(|faults| panic!("{name}/machine.asl.json: {faults}"));
        Case {
            name,
            dir: dir.to_owned(),
            definition,
            program,
            input,
            script,
            machines,
        }
    }

    /// Compares with a file of what is expected, or writes it.
    pub fn expect(&self, file: &str, actual: Option<&str>) -> Result<(), String> {
        let path = self.dir.join(file);
        if std::env::var_os("BLESS").is_some() {
            match actual {
                Some(actual) => std::fs::write(&path, actual).map_err(|error| error.to_string())?,
                None => drop(std::fs::remove_file(&path)),
            }
            return Ok(());
        }
        let expected = std::fs::read_to_string(&path).ok();
        if expected.as_deref() == actual {
            return Ok(());
        }
        let (expected, actual) = (expected.unwrap_or_default(), actual.unwrap_or_default());
        Err(format!(
            "{}/{file} differs (BLESS=1 writes it anew)\n{}",
            self.name,
            difference(&expected, actual)
        ))
    }
}

fn machines(dir: &Path) -> BTreeMap<String, String> {
    let Ok(files) = std::fs::read_dir(dir.join("machines")) else {
        return BTreeMap::new();
    };
    let machine = |path: PathBuf| {
        let file = path.file_name()?.to_string_lossy().into_owned();
        let name = file.strip_suffix(".asl.json")?;
        let arn = format!("arn:aws:states:us-east-1:000000000000:stateMachine:{name}");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Some((arn, text))
    };
    files
        .filter_map(|file| machine(file.expect("a readable folder").path()))
        .collect()
}

/// A state machine from its text, or all that is wrong with it.
pub fn program(definition: &str) -> Result<Program, String> {
    let loaded = load(
        definition,
        &Options {
            kind: ExecutionType::Standard,
            ..Options::default()
        },
    );
    loaded.program.ok_or_else(|| {
        let faults = loaded.diagnostics.iter().map(|fault| format!("{fault:?}"));
        faults.collect::<Vec<_>>().join("\n")
    })
}

/// The lines that differ, with their numbers.
pub fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<_>, Vec<_>) =
        (expected.lines().collect(), actual.lines().collect());
    let mut text = String::new();
    for number in 0..expected.len().max(actual.len()) {
        let (wanted, got) = (expected.get(number), actual.get(number));
        if wanted != got {
            let line = number + 1;
            wanted
                .iter()
                .for_each(|line_text| text.push_str(&format!("{line:>4} - {line_text}\n")));
            got.iter()
                .for_each(|line_text| text.push_str(&format!("{line:>4} + {line_text}\n")));
        }
    }
    text
}
