//! The official JSONata suite, through the layer.

use stepwell_query::{
    Bindings, Bound, Bounds, Expression, JsonataFailureKind, NoScope, Random, Scope, Value,
};

use crate::corpus;

struct Variables<'a>(Option<&'a Value>);

impl Scope for Variables<'_> {
    fn context(&self) -> Value {
        Value::Null
    }

    fn variable(&self, name: &str) -> Option<Value> {
        self.0?.get(name).cloned()
    }
}

enum Outcome {
    Value(Value),
    Undefined,
    Error(String),
}

#[test]
fn official_suite() {
    let Some(cases) = corpus::lines("jsonata/cases.jsonl") else {
        return;
    };
    let datasets = Value::parse(&corpus::read("jsonata/datasets.json").unwrap()).unwrap();
    let listed = corpus::exceptions(include_str!("data/jsonata.exceptions"));
    let outcomes = cases.iter().map(|line| {
        let id = line.get("id").and_then(Value::as_str).unwrap().to_owned();
        let case = line.get("case").unwrap();
        (id, check(case, run(case, &datasets)))
    });
    corpus::verdict("jsonata", outcomes.collect(), &listed);
}

fn run(case: &Value, datasets: &Value) -> Outcome {
    let text = case.get("expr").and_then(Value::as_str).unwrap();
    let root = match case.get("dataset").and_then(Value::as_str) {
        Some(name) => Some(
            datasets
                .get(name)
                .unwrap_or_else(|| panic!("no dataset {name}")),
        ),
        None => case.get("data"),
    };
    let expression = match Expression::parse(text) {
        Ok(expression) => expression,
        Err(error) => return Outcome::Error(error.code.unwrap_or(error.message)),
    };
    let variables = Variables(case.get("bindings"));
    let bounds = Bounds {
        time_ms: 10_000,
        depth: 2_000,
        sequence: 10_000_000,
        ..Bounds::default()
    };
    let mut bindings =
        Bindings::new(&Value::Null, &variables, 1_700_000_000_000).with_bounds(bounds);
    if let Some(root) = root {
        bindings = bindings.with_root(root);
    }
    match expression.evaluate(&bindings, &mut Random::from_seed([1; 32])) {
        Ok(Some(value)) => Outcome::Value(value),
        Ok(None) => Outcome::Undefined,
        // The suite's runner bounds depth and time itself, under a code of its own.
        Err(failure) => Outcome::Error(match (&failure.kind, failure.kind.code()) {
            (JsonataFailureKind::Exceeded { bound, .. }, _) if *bound != Bound::Memory => {
                "U1001".into()
            }
            (_, Some(code)) => code.to_owned(),
            (kind, None) => kind.to_string(),
        }),
    }
}

fn check(case: &Value, outcome: Outcome) -> Result<(), String> {
    let code = case
        .get("code")
        .or_else(|| case.get("error").and_then(|error| error.get("code")));
    let unordered = case.get("unordered").and_then(Value::as_bool) == Some(true);
    match (&outcome, case.get("result")) {
        (Outcome::Value(value), Some(result)) if same(value, result, unordered) => Ok(()),
        (Outcome::Undefined, _) if case.get("undefinedResult").is_some() => Ok(()),
        (Outcome::Error(found), None) => match code.and_then(Value::as_str) {
            Some(code) if found == code => Ok(()),
            None if case.get("error").is_some() => Ok(()),
            code => Err(format!("raised {found}, expected {code:?}")),
        },
        _ => {
            let found = match outcome {
                Outcome::Value(value) => value.to_json(),
                Outcome::Undefined => "undefined".into(),
                Outcome::Error(code) => format!("error {code}"),
            };
            let cut = |text: String| text.chars().take(200).collect::<String>();
            Err(format!("{} gave {}", cut(case.to_json()), cut(found)))
        }
    }
}

fn same(left: &Value, right: &Value, unordered: bool) -> bool {
    match (left.as_array(), right.as_array()) {
        (Some(left), Some(right)) if unordered => {
            left.len() == right.len() && left.iter().all(|item| right.contains(item))
        }
        _ => left == right,
    }
}

/// Lines `expression => code: text`, as the reference engine has them.
#[test]
fn errors_are_told_in_the_words_of_the_reference_engine() {
    let mut faults = Vec::new();
    let lines = include_str!("data/jsonata-errors.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (text, expected) = line.split_once(" => ").expect("expression => error");
        let bindings = Bindings::new(&Value::Null, &NoScope, 0);
        let told = match Expression::parse(text) {
            Err(error) => error.to_string(),
            Ok(expression) => {
                match expression.evaluate(&bindings, &mut Random::from_seed([7; 32])) {
                    Err(failure) => failure.kind.to_string(),
                    Ok(value) => format!("no error: {value:?}"),
                }
            }
        };
        let told = told.trim_start_matches("threw an error during evaluation. ");
        if told != expected {
            faults.push(format!(
                "{text}\n    expected {expected}\n    but was  {told}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
