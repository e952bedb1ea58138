//! JSONata against the reference engine: thousands of pairs of expression and document, made from a seed, answered by
//! both. Where they part is listed in `differences.txt` by cause; an unlisted difference fails, and so does a listed one
//! that is gone. `cargo xtask differential --pairs N --seed N` compares other pairs, with no list.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests read files, start processes and tell what they skip"
)]

mod differences;
mod pairs;
mod reference;

use std::time::Instant;

use stepwell_query::{Bindings, Bounds, Expression, JsonataFailureKind, NoScope, Random, Value};

use differences::Difference;
use pairs::Pair;

/// Pairs of the listed run, and its seed.
const LISTED: (usize, u64) = (4_000, 1);

/// What an engine answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Value(Value),
    Undefined,
    /// The code of the error: `T2001`.
    Error(String),
    /// A result that is or holds a function.
    Function,
    /// The reference engine broke down: there is nothing to agree with.
    Crash(String),
}

impl Answer {
    /// For the list and for people, on one line.
    pub(crate) fn shown(&self) -> String {
        let text = match self {
            Answer::Value(value) => value.to_json(),
            Answer::Undefined => "undefined".into(),
            Answer::Error(code) => format!("error {code}"),
            Answer::Function => "function".into(),
            Answer::Crash(message) => format!("crash {message}"),
        };
        let cut: String = text.chars().take(160).collect();
        cut.replace(['\t', '\n'], " ")
    }
}

#[test]
fn jsonata_answers_as_the_reference_engine_does() {
    let Some(folder) = reference::installed() else {
        return;
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (count, seed) = (number("DIFFERENTIAL_PAIRS"), number("DIFFERENTIAL_SEED"));
    let listed = count.is_none() && seed.is_none();
    let count = count.map_or(LISTED.0, |count: u64| count as usize);
    let pairs = pairs::make(count, seed.unwrap_or(LISTED.1));
    let theirs = reference::answers(&folder, &pairs);
    let begun = Instant::now();
    let ours: Vec<Answer> = pairs.iter().map(answer).collect();
    println!("ours took {} ms", begun.elapsed().as_millis());
    let crashes = theirs
        .iter()
        .filter(|answer| matches!(answer, Answer::Crash(_)))
        .count();
    let found: Vec<Difference> = pairs
        .iter()
        .zip(ours.into_iter().zip(&theirs))
        .filter(|(_, (ours, theirs))| ours != *theirs && !matches!(theirs, Answer::Crash(_)))
        .map(|(pair, (ours, theirs))| Difference::of(pair, &ours, theirs))
        .collect();
    for (pair, theirs) in pairs.iter().zip(&theirs) {
        if !listed && matches!(theirs, Answer::Crash(_)) {
            println!(
                "crash: {} on {}: {}",
                pair.expression,
                pair.document,
                theirs.shown()
            );
        }
    }
    let compared = pairs.len() - crashes;
    println!(
        "jsonata against the reference engine: {}/{compared} agree, {crashes} crash it",
        compared - found.len()
    );
    if listed {
        differences::check(found);
    } else {
        found.iter().for_each(|difference| println!("{difference}"));
    }
}

/// What our engine answers.
fn answer(pair: &Pair) -> Answer {
    let expression = match Expression::parse(&pair.expression) {
        Ok(expression) => expression,
        Err(error) => return Answer::Error(error.code.unwrap_or(error.message)),
    };
    let bounds = Bounds {
        time_ms: 10_000,
        depth: 2_000,
        sequence: 10_000_000,
        ..Bounds::default()
    };
    let bindings = Bindings::new(&Value::Null, &NoScope, 1_700_000_000_000)
        .with_root(&pair.data)
        .with_bounds(bounds);
    match expression.evaluate(&bindings, &mut Random::from_seed([1; 32])) {
        Ok(Some(value)) => Answer::Value(value),
        Ok(None) => Answer::Undefined,
        Err(failure) => match failure.kind {
            JsonataFailureKind::UnsupportedType => Answer::Function,
            kind => Answer::Error(kind.code().map_or_else(|| kind.to_string(), str::to_owned)),
        },
    }
}
