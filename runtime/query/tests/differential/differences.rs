//! The list of differences: a heading for each cause, below it one line a pair. `BLESS=1` takes in what is new, under a
//! heading that fails until a cause is written there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::Answer;
use crate::pairs::Pair;

/// A pair on which the engines part.
pub(crate) struct Difference {
    /// Document and expression.
    pair: String,
    /// What both answer.
    answers: String,
}

const UNEXPLAINED: &str = "# unexplained";

impl Difference {
    pub(crate) fn of(pair: &Pair, ours: &Answer, theirs: &Answer) -> Difference {
        Difference {
            pair: format!("{}\t{}", pair.document, pair.expression),
            answers: format!("{}\t{}", ours.shown(), theirs.shown()),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}", self.pair, self.answers)
    }
}

/// Holds what was found against the list.
pub(crate) fn check(found: Vec<Difference>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/differences.txt");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let found: BTreeMap<String, Difference> = found
        .into_iter()
        .map(|difference| (difference.to_string(), difference))
        .collect();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, blessed(&text, &found)).expect("the list can be written");
        return;
    }
    let mut faults = Vec::new();
    for line in listed(&text) {
        if !found.contains_key(line) {
            faults.push(format!("gone, but listed: {line}"));
        }
    }
    for line in found.keys() {
        if !listed(&text).any(|listed| listed == line) {
            faults.push(format!("not listed: {line}"));
        }
    }
    if text.contains(UNEXPLAINED) {
        faults.push("a difference has no cause: write its heading".to_owned());
    }
    assert!(
        faults.is_empty(),
        "{} faults; each line is document, expression, our answer, the reference engine's; BLESS=1 rewrites the list\n{}",
        faults.len(),
        faults.join("\n")
    );
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The list without what is gone and with what is new.
fn blessed(text: &str, found: &BTreeMap<String, Difference>) -> String {
    let mut blessed: Vec<&str> = text
        .lines()
        .filter(|line| line.is_empty() || line.starts_with('#') || found.contains_key(*line))
        .filter(|line| *line != UNEXPLAINED)
        .collect();
    let new: Vec<&str> = found
        .keys()
        .map(String::as_str)
        .filter(|line| !listed(text).any(|listed| listed == *line))
        .collect();
    if !new.is_empty() {
        blessed.extend(["", UNEXPLAINED]);
        blessed.extend(new);
    }
    blessed.join("\n").trim_end().to_owned() + "\n"
}
